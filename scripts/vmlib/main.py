# SPDX-License-Identifier: GPL-2.0
"""The command line of scripts/vm."""

import argparse
import os
import shlex
import sys
import time

import icount
import judge
from machine import Hung, Machine

TOP = os.environ["TOP"]
OUT = os.environ["OUT"]
MODULE = os.path.join(OUT, "oxbpf.ko")
# What a command in the guest finds in its environment.
GUEST_ENV = {
    "OXBPF_TOP": TOP,
    "OXBPF_MODULE": MODULE,
    "OXBPF_BUILD": os.path.join(TOP, "build"),
    "OXBPF_FIXTURE_OBJECTS": os.path.join(TOP, "build", "fixtures"),
    "OXBPF_BIN": os.path.join(os.environ["CARGO_TARGET_DIR"], "release"),
    "OXBPF_KDIR": os.environ["KDIR"],
    "OXBPF_KERNEL": os.environ["OXBPF_KERNEL"],
    # What changes how much a test does: per cent of its volume, minutes of a long form, a seed.
    **{k: v for k in ("OXBPF_VOLUME", "OXBPF_ONLY", "OXBPF_MINUTES", "OXBPF_SECONDS", "OXBPF_SEED") if (v := os.environ.get(k))},
}
# A kernel of ours looks at every access: this much slower than the stock one it may be.
SLOW = 1 if GUEST_ENV["OXBPF_KERNEL"] == "stock" else 5
# KASAN says all it sees, and addresses have four levels: with five, an interrupt while the first CPU
# is identified, which is long under TCG, finds that feature off for a moment, and KASAN is wrong.
#
# virtiofsd writes to the guest's memory behind QEMU's back. Where a page held code before, TCG goes on
# with its translation of that, unless the guest itself wrote to the page in between: so every page is
# cleared when it is allocated, or (where the kernel has that: it hides no leak) poisoned when it is freed.
OWN_WORDS = "kasan_multi_shot no5lvl init_on_alloc=1"
STOCK_WORDS = "page_poison=1"
TAIL = 60
LEAKS = "/sys/kernel/debug/kmemleak"
# A guest that keeps breaking is not worth a boot per test.
BOOTS = 6
# Under TCG a kernel may die on its way up: where it patches its own code, a virtual CPU may still run the
# translation of a breakpoint that is gone. Nothing of ours is in it then, so it is started again.
STARTS = 3


def arguments():
    """Reads the command line."""
    p = argparse.ArgumentParser(
        prog="scripts/vm",
        description="Runs things in a virtual machine with the stock kernel, or (--kernel NAME as the "
        "first argument, or OXBPF_KERNEL=NAME) with one that scripts/debug-kernel made.",
    )
    p.add_argument("--no-module", action="store_true", help="do not load oxbpf.ko")
    p.add_argument("--limit", type=int, default=120, help="seconds that one command may take")
    p.add_argument("--cpus", type=int, default=2, help="virtual CPUs")
    p.add_argument("--memory", default="2G", help="the guest's memory")
    p.add_argument("--module", default=MODULE, help="another oxbpf.ko than the one that was built for this kernel")
    p.add_argument("--append", default="", help="words for the kernel's command line")
    p.add_argument(
        "--icount",
        action="store_true",
        help="for run: one CPU whose clock counts instructions, and nothing there but the program",
    )
    p.add_argument("--dmesg", action="store_true", help="show the kernel log after each command")
    sub = p.add_subparsers(dest="what", required=True, metavar="COMMAND")
    run = sub.add_parser("run", help="boot, load the module, run one command, show what it prints")
    run.add_argument("command", nargs=argparse.REMAINDER)
    test = sub.add_parser(
        "test",
        help="boot once; run tests: executables, directories of them (in the order of their "
        "names), or *.list files with a command a line",
    )
    test.add_argument("tests", nargs="+")
    args = p.parse_args()
    GUEST_ENV["OXBPF_MODULE"] = os.path.abspath(args.module)
    return args


# What lkdtm can do wrong without ending the guest, and what a splat must say then.
WRONGS = (
    ("READ_AFTER_FREE", "KASAN: slab-use-after-free"),
    ("SLAB_LINEAR_OVERFLOW", "KASAN: slab-out-of-bounds"),
    ("VMALLOC_LINEAR_OVERFLOW", "KASAN: vmalloc-out-of-bounds"),
    ("CORRUPT_LIST_ADD", "list_add corruption"),
    ("WARNING", "WARNING:"),
)


class Session:
    """Boots, and boots again when a test broke the guest."""

    def __init__(self, args):
        self.args = args
        self.machine = None
        self.boots = 0
        self.since = 0

    def start(self):
        """A running guest, with the kernel's own modules only; returns problems."""
        a = self.args
        for left in reversed(range(STARTS)):
            self.machine = Machine(
                os.environ["VMLINUZ"],
                os.getcwd(),
                cpus=a.cpus,
                memory=a.memory,
                append=f"{STOCK_WORDS if SLOW == 1 else OWN_WORDS} {a.append}",
                boot_limit=180 * SLOW,
                env=GUEST_ENV,
                dirs=[TOP, os.environ["CACHE"], GUEST_ENV["OXBPF_KDIR"], os.environ["CARGO_TARGET_DIR"]],
            )
            try:
                problems = [f"boot: {line}" for line in judge.splats(self.machine.boot())]
            except Hung as e:
                if not left:
                    raise
                problems = [str(e)] + self.machine.console()[-TAIL:]
            if not problems or not left:
                return problems
            print("vm: the kernel did not come up; once more, for nothing of ours was in it:", file=sys.stderr)
            print("\n".join(f"    | {line}" for line in problems), file=sys.stderr)
            self.drop()
        return []

    def ready(self):
        """A running guest with the module loaded; returns the problems on the way there."""
        problems = []
        if self.machine is None:
            self.boots += 1
            problems += self.start()
            self.since = self.jiffies()
        if not self.args.no_module:
            module = shlex.quote(GUEST_ENV["OXBPF_MODULE"])
            problems += self.step(f"[ -d /sys/module/oxbpf ] || insmod {module}", "insmod")
        return problems

    def step(self, command, name):
        """Runs a command of the runner's own; returns problems."""
        status, output, log = self.machine.run(command, 60 * SLOW)
        if self.args.dmesg:
            show_log(log)
        problems = [f"{name}: {line}" for line in judge.splats(log)]
        if status != 0:
            problems.append(f"{name} failed ({judge.describe_status(status)}): {output.strip()}")
            problems += [f"  {line}" for line in log[-10:]]
        return problems

    def unload(self):
        """Takes the module out, and looks for what it left behind; returns problems."""
        if self.machine is None or self.args.no_module:
            return []
        problems = self.step("[ ! -d /sys/module/oxbpf ] || rmmod oxbpf", "rmmod")
        return problems or self.leaks()

    def jiffies(self):
        """The guest's clock as kmemleak shows it; 0 without kmemleak, whose absence is fine."""
        words = self.machine.run(f"[ ! -e {LEAKS} ] || grep -m 1 '^jiffies: ' /proc/timer_list", 60 * SLOW)[1].split()
        return int(words[-1]) if words else 0

    def leaks(self):
        """What kmemleak says was leaked since the boot, if the kernel has it; returns problems."""
        # It reports what is unreferenced, 5 s old, and the same in two scans.
        scan = f"echo scan >{LEAKS}"
        look = f"[ ! -e {LEAKS} ] || {{ {scan}; sleep 6; {scan} && cat {LEAKS}; }}"
        status, found, log = self.machine.run(look, 300 * SLOW)
        if status != 0:
            return [f"kmemleak: the scan failed ({judge.describe_status(status)}): {found.strip()}"]
        # The log's own line on new leaks counts those of the boot too.
        problems = [f"kmemleak: {line}" for line in judge.splats(log) if "new suspected" not in line]
        return problems + [f"kmemleak: {line}" for line in judge.leaks(found, self.since)][: 2 * TAIL]

    def watched(self):
        """Shows that the debug kernel and judge.py see what they are there for; returns problems.

        The kernel does each wrong thing itself, by lkdtm and its kmemleak sample; the guest is of no
        use afterwards.
        """
        problems = []
        # The first splat turns lockdep off; before it, only its own tables' end may have.
        stats = self.machine.run("grep '^ debug_locks: *1$' /proc/lockdep_stats", 60 * SLOW)
        if stats[0] != 0:
            problems.append("lockdep was off already")
        for crash, sign in WRONGS:
            log = self.machine.run(f"echo {crash} >/sys/kernel/debug/provoke-crash/DIRECT", 60 * SLOW)[2]
            if not any(sign in line for line in judge.splats(log)):
                problems.append(f"{crash} went unseen: no '{sign}' in the kernel's log")
        self.machine.run(f"insmod {GUEST_ENV['OXBPF_KDIR']}/samples/kmemleak/kmemleak-test.ko", 60 * SLOW)
        if not self.leaks():
            problems.append("kmemleak saw none of its own sample's leaks")
        return problems

    def problems_of(self, log):
        """What the kernel says about the last command."""
        found = judge.splats(log)
        bad = self.machine.taint & ~judge.EXPECTED_TAINT
        if bad and not found:
            found.append("unexpected taint: " + judge.taint_words(bad))
        return found

    def drop(self):
        """Forgets the guest."""
        if self.machine:
            self.machine.stop()
            self.machine = None


def show_log(log):
    """Prints kernel log lines."""
    for line in log:
        print(f"    | {line}")


def show_console(machine):
    """Prints the end of the console."""
    print("  the end of the console:")
    for line in machine.console()[-3 * TAIL :]:
        print(f"    | {line}")


def run(args):
    """`vm run`."""
    session = Session(args)
    command = args.command[1:] if args.command[:1] == ["--"] else args.command
    if not command:
        print("vm run: no command", file=sys.stderr)
        return 2
    if args.icount:
        module = None if args.no_module else MODULE
        return icount.run(os.environ["VMLINUZ"], command, module, args.memory, args.append, args.limit)
    line = command[0] if len(command) == 1 else shlex.join(command)

    def out(data):
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()

    try:
        problems = session.ready()
        if problems:
            print("\n".join(problems), file=sys.stderr)
            return 1
        status, _, log = session.machine.run(line, args.limit, out)
        if args.dmesg:
            show_log(log)
        problems = session.problems_of(log)
        if problems:
            print("\nthe guest's kernel complains:")
            show_log(log)
        problems += session.unload()
        if problems:
            print("\n".join(problems), file=sys.stderr)
            return status or 1
        return status
    except Hung as e:
        print(f"\nvm: {e}", file=sys.stderr)
        if session.machine:
            show_console(session.machine)
        return 1
    finally:
        session.drop()


def find_tests(paths):
    """The (name, command) pairs that the arguments mean."""
    tests = []
    for path in paths:
        if os.path.isdir(path):
            inside = sorted(os.path.join(path, f) for f in os.listdir(path))
            tests += [t for f in inside if os.path.isfile(f) for t in find_file(f, False)]
        else:
            tests += find_file(path, True)
    return tests


def find_file(path, must):
    """Those of one file."""
    if path.endswith(".list"):
        with open(path, encoding="utf-8") as f:
            lines = [line.strip() for line in f]
        return [(line, line) for line in lines if line and not line.startswith("#")]
    if os.access(path, os.X_OK):
        return [(os.path.basename(path), shlex.quote(os.path.abspath(path)))]
    if must:
        return [(path, shlex.quote(path))]
    return []


class Totals:
    """Counts of a whole run."""

    def __init__(self):
        self.passed = 0
        self.failed = 0
        self.skipped = 0

    def add(self, ktap):
        """Adds a test's results."""
        self.passed += ktap.passed
        self.failed += ktap.failed
        self.skipped += ktap.skipped


def one_test(session, name, command, totals):
    """Runs one test and prints its verdict; True when the guest can go on."""
    start = time.monotonic()
    session.machine.run(f"echo 'oxvm: test {shlex.quote(name)}' >/dev/kmsg", 30)
    alive = True
    log = []
    try:
        status, output, log = session.machine.run(command, session.args.limit)
        ktap = judge.Ktap(output, status)
        problems = session.problems_of(log)
        for line in problems:
            ktap.fail(f"kernel: {line}")
        alive = not problems
    except Hung as e:
        output = session.machine.buffer.decode("utf-8", "replace")
        ktap = judge.Ktap("", 0)
        ktap.passed = 0
        ktap.fail(str(e))
        alive = False
    keep_log(name, output, log or session.machine.console())
    took = time.monotonic() - start
    skipped = f", {ktap.skipped} skipped" if ktap.skipped else ""
    print(f"{name}: {ktap.passed} passed, {ktap.failed} failed{skipped} ({took:.1f} s)", flush=True)
    if ktap.failed:
        for why in ktap.failures[:40]:
            print("  not ok: " + "\n    ".join(why.splitlines()[:TAIL]))
        explained = any("\n" in why for why in ktap.failures)
        for line in output.splitlines()[-5 if explained else -TAIL :]:
            print(f"    {line}")
        if not alive:
            print("  kernel log:")
            show_log(log[-2 * TAIL :] or session.machine.console()[-3 * TAIL :])
    if session.args.dmesg and alive:
        show_log(log)
    totals.add(ktap)
    return alive


def keep_log(name, output, log):
    """Leaves what a test printed in the build directory."""
    folder = os.path.join(OUT, "vm")
    os.makedirs(folder, exist_ok=True)
    safe = "".join(c if c.isalnum() or c in "-_." else "_" for c in name)[:80]
    with open(os.path.join(folder, safe + ".log"), "w", encoding="utf-8") as f:
        f.write(output + "\n--- kernel log\n" + "\n".join(log) + "\n")


def test(args):
    """`vm test`."""
    if args.icount:
        print("vm test: --icount is for run", file=sys.stderr)
        return 2
    tests = find_tests(args.tests)
    session = Session(args)
    totals = Totals()
    broken = []
    start = time.monotonic()
    # When no test is begun any more, in seconds since 1970.
    deadline = float(os.environ.get("OXBPF_DEADLINE") or "inf")
    late = []
    try:
        while tests and not broken:
            try:
                broken = session.ready()
            except Hung as e:
                broken = [str(e)] + session.machine.console()[-TAIL:]
            while tests and not broken:
                if time.time() > deadline:
                    late, tests = tests, []
                    break
                name, command = tests.pop(0)
                if not one_test(session, name, command, totals):
                    session.drop()
                    if tests and session.boots >= BOOTS:
                        broken = [f"gave up after {session.boots} boots"]
                    break
                broken = session.ready() if tests else []
        if not broken:
            broken = session.unload()
            totals.passed += not broken
            if not broken and GUEST_ENV["OXBPF_KERNEL"] == "debug":
                broken = session.watched()
                totals.passed += not broken
                print(f"the debug kernel sees what it is there for: {'no' if broken else 'yes'}")
    except Hung as e:
        broken = [str(e)] + session.machine.console()[-TAIL:]
    finally:
        session.drop()
    for line in broken:
        print(f"  not ok: {line}")
    for name, _ in tests:
        print(f"  not run: {name}")
    for name, _ in late:
        print(f"  left out, for want of time: {name}")
    totals.failed += bool(broken) + len(tests)
    skipped = f", {totals.skipped} skipped" if totals.skipped else ""
    took = time.monotonic() - start
    print(f"vm: {took:.0f} s, {session.boots} boot(s){skipped}")
    print(f"{totals.passed} passed, {totals.failed} failed")
    return 1 if totals.failed else 0


def main():
    """Runs what the command line says."""
    args = arguments()
    # A command's output is written as bytes; what we say must not overtake it.
    sys.stdout.reconfigure(line_buffering=True)
    return run(args) if args.what == "run" else test(args)


if __name__ == "__main__":
    sys.exit(main())
