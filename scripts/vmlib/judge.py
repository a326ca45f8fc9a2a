# SPDX-License-Identifier: GPL-2.0
"""What a guest's output means: lines of its kernel log that fail a run, and KTAP results."""

import re

# A line of the kernel log that matches one of these fails the command during which it was logged.
SPLATS = re.compile(
    "|".join(
        (
            r"\bWARNING:",
            r"\bBUG:",
            r"\bOops\b",
            r"[Gg]eneral protection",
            r"Unable to handle",
            r"[Uu]nhandled (fault|exception)",
            r"\b(KASAN|KCSAN|KMSAN|UBSAN|KFENCE):",
            r"kmemleak: [1-9]\d* new suspected",
            r"ODEBUG:",
            r"refcount_t:",
            r"list_(add|del) corruption",
            r"rcu: INFO: rcu\w* (self-)?detected",
            r"rcu: INFO: rcu\w* detected",
            r"\bstall(s|ed)? (on|detected)",
            r"soft lockup|hard LOCKUP",
            r"INFO: task .* blocked for more than",
            r"possible (recursive locking|circular locking|irq lock inversion|deadlock)",
            r"possible (unsafe locking|.*lock order)",
            r"inconsistent lock state",
            r"suspicious RCU usage",
            r"[Ii]nvalid wait context",
            r"sleeping function called",
            r"scheduling while atomic",
            r"DEBUG_LOCKS_WARN_ON",
            r"held lock freed|lock held when returning",
            r"Kernel panic",
            r"kernel BUG at",
            r"rust_kernel: panicked|panicked at",
            r"stack-protector:|stack guard page",
            r"Bad page|bad pte|corrupted",
            r"Call Trace:",
            r"double free|use-after-free",
            r"Missing ENDBR",
            r"unexpected taint",
        )
    )
)

# Log lines that match a pattern above and are nobody's fault.
HARMLESS = re.compile(
    r"loading out-of-tree module taints kernel|module verification failed: signature"
    r"|rcu: \S*RCU callback double-/use-after-free debug is enabled"
)

# A data race is reported as `data-race in A / B`, or with one function: none of them ours.
FOREIGN_RACE = re.compile(r"KCSAN: data-race in (?!.*\[oxbpf\])")

# Bits of /proc/sys/kernel/tainted that loading oxbpf may set: out of tree, unsigned.
EXPECTED_TAINT = (1 << 12) | (1 << 13)

TAINTS = {
    0: "proprietary module",
    1: "forced load",
    3: "forced unload",
    4: "machine check",
    5: "bad page",
    7: "died",
    9: "warning",
    12: "out of tree",
    13: "unsigned",
    14: "soft lockup",
    18: "test",
}


def splats(log):
    """Those lines of a kernel log that fail a run."""
    bad = (line for line in log if SPLATS.search(line) and not HARMLESS.search(line))
    return [line for line in bad if not FOREIGN_RACE.search(line)]


def leaks(report, since):
    """Lines of kmemleak's report on objects that were allocated at `since` (jiffies) or later."""
    lines = []
    ours = False
    for line in report.splitlines():
        if line.startswith("unreferenced object"):
            head = line
            ours = None
        elif ours is None:
            when = re.search(r"jiffies (\d+)", line)
            ours = not when or int(when.group(1)) >= since
            if ours:
                lines += [head, line]
        elif ours and line:
            lines.append(line)
    return lines


def taint_words(bits):
    """Names of the set bits."""
    return ", ".join(TAINTS.get(b, f"bit {b}") for b in range(32) if bits >> b & 1)


RESULT = re.compile(r"^(ok|not ok)\b\s*(\d+)?\s*-?\s*(.*)$")
PLAN = re.compile(r"^1\.\.(\d+)")


class Ktap:
    """The results that a command printed, top level only: a subtest's verdict is its parent's."""

    def __init__(self, output, status):
        self.passed = 0
        self.failed = 0
        self.skipped = 0
        self.failures = []
        plan = None
        is_ktap = False
        diagnosis = []
        for line in output.splitlines():
            if m := RESULT.match(line):
                is_ktap = True
                verdict, _, text = m.groups()
                name, _, directive = text.partition("#")
                if directive.strip().upper().startswith("SKIP"):
                    self.skipped += 1
                elif verdict == "ok":
                    self.passed += 1
                else:
                    self.fail("\n".join([name.strip() or line] + diagnosis))
                diagnosis = []
            elif line.startswith("#"):
                diagnosis.append(line)
            elif m := PLAN.match(line):
                is_ktap = True
                plan = (plan or 0) + int(m.group(1))
        if not is_ktap:
            # Not a test that speaks KTAP: its exit status is its one result.
            if status == 0:
                self.passed += 1
            elif status == 4:
                self.skipped += 1
        seen = self.passed + self.failed + self.skipped
        if is_ktap and plan is None:
            self.fail(f"no plan (1..N): it ended early ({describe_status(status)})")
        elif plan is not None and seen != plan:
            self.fail(f"planned {plan} results, printed {seen}")
        if status != 0 and not self.failures and not (not is_ktap and status == 4):
            self.fail(describe_status(status))

    def fail(self, why):
        """Counts one more failure."""
        self.failed += 1
        self.failures.append(why)


def describe_status(status):
    """An exit status in words."""
    if status == 124 or status == 137:
        return f"time limit (exit status {status})"
    if status > 128:
        return f"killed by signal {status - 128}"
    return f"exit status {status}"
