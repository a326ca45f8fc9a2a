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
    "OXBPF_BIN": os.path.join(os.environ["CARGO_TARGET_DIR"], "release"),
    "OXBPF_KDIR": os.environ["KDIR"],
}
TAIL = 60
# A guest that keeps breaking is not worth a boot per test.
BOOTS = 6


def arguments():
    """Reads the command line."""
    p = argparse.ArgumentParser(
        prog="scripts/vm", description="Runs things on the stock kernel in a virtual machine."
    )
    p.add_argument("--no-module", action="store_true", help="do not load oxbpf.ko")
    p.add_argument("--limit", type=int, default=120, help="seconds that one command may take")
    p.add_argument("--cpus", type=int, default=2, help="virtual CPUs")
    p.add_argument("--memory", default="2G", help="the guest's memory")
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
    return p.parse_args()


class Session:
    """Boots, and boots again when a test broke the guest."""

    def __init__(self, args):
        self.args = args
        self.machine = None
        self.boots = 0

    def ready(self):
        """A running guest with the module loaded; returns the problems on the way there."""
        problems = []
        if self.machine is None:
            self.boots += 1
            a = self.args
            self.machine = Machine(
                os.environ["VMLINUZ"],
                os.getcwd(),
                cpus=a.cpus,
                memory=a.memory,
                append=a.append,
                env=GUEST_ENV,
                dirs=[TOP, os.environ["CACHE"], GUEST_ENV["OXBPF_KDIR"], os.environ["CARGO_TARGET_DIR"]],
            )
            log = self.machine.boot()
            problems += [f"boot: {line}" for line in judge.splats(log)]
        if not self.args.no_module:
            problems += self.step(f"[ -d /sys/module/oxbpf ] || insmod {shlex.quote(MODULE)}", "insmod")
        return problems

    def step(self, command, name):
        """Runs a command of the runner's own; returns problems."""
        status, output, log = self.machine.run(command, 60)
        if self.args.dmesg:
            show_log(log)
        problems = [f"{name}: {line}" for line in judge.splats(log)]
        if status != 0:
            problems.append(f"{name} failed ({judge.describe_status(status)}): {output.strip()}")
            problems += [f"  {line}" for line in log[-10:]]
        return problems

    def unload(self):
        """Takes the module out; returns problems."""
        if self.machine is None or self.args.no_module:
            return []
        return self.step("[ ! -d /sys/module/oxbpf ] || rmmod oxbpf", "rmmod")

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
            print(f"  not ok: {why}")
        for line in output.splitlines()[-TAIL:]:
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
    try:
        while tests and not broken:
            try:
                broken = session.ready()
            except Hung as e:
                broken = [str(e)] + session.machine.console()[-TAIL:]
            while tests and not broken:
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
    except Hung as e:
        broken = [str(e)] + session.machine.console()[-TAIL:]
    finally:
        session.drop()
    for line in broken:
        print(f"  not ok: {line}")
    for name, _ in tests:
        print(f"  not run: {name}")
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
