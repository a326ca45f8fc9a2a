# SPDX-License-Identifier: GPL-2.0
"""Tests of judge.py: what must fail a run does, what is harmless does not."""

import unittest

from judge import Ktap, leaks, splats


class Splats(unittest.TestCase):
    """Lines of the kernel log."""

    def test_bad(self):
        """Each line is one that the kernel prints when something is wrong."""
        for line in (
            "WARNING: CPU: 0 PID: 1 at kernel/x.c:1 f+0x1/0x2",
            "WARNING: possible circular locking dependency detected",
            "WARNING: suspicious RCU usage",
            "BUG: kernel NULL pointer dereference, address: 0",
            "BUG: KASAN: slab-use-after-free in f+0x1/0x2",
            "BUG: sleeping function called from invalid context at mm/x.c:1",
            "BUG: KCSAN: data-race in _RNvCs_5oxbpf1f [oxbpf] / g",
            "BUG: KCSAN: data-race in _RNvCs_5oxbpf1f+0x1/0x2 [oxbpf]",
            "BUG: scheduling while atomic: a/1/0x2",
            "Oops: general protection fault, probably for non-canonical address",
            "Oops: Oops: 0002 [#1] SMP",
            "rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:",
            "rcu: INFO: rcu_preempt self-detected stall on CPU",
            "watchdog: BUG: soft lockup - CPU#0 stuck for 22s!",
            "INFO: task a:1 blocked for more than 120 seconds.",
            "kmemleak: 3 new suspected memory leaks (see /sys/kernel/debug/kmemleak)",
            "rust_kernel: panicked at rust/x.rs:1:2:",
            "refcount_t: underflow; use-after-free.",
            "UBSAN: array-index-out-of-bounds in x.c:1",
            "inconsistent lock state",
            "Kernel panic - not syncing: x",
            "Missing ENDBR: f+0x0/0x1",
        ):
            self.assertEqual(splats([line]), [line])

    def test_harmless(self):
        """Each line is one of an orderly run."""
        for line in (
            "oxbpf: loading out-of-tree module taints kernel.",
            "oxbpf: module verification failed: signature and/or required key missing - tainting kernel",
            "oxbpf: loaded on 7.2.12",
            "random: crng init done",
            "oxvm: test errno",
            "BUG: KCSAN: data-race in wake_up_q / try_to_wake_up",
            "rcu: \\x09RCU callback double-/use-after-free debug is enabled.",
            "kmemleak: Automatic memory scanning thread started",
        ):
            self.assertEqual(splats([line]), [])


class Leaks(unittest.TestCase):
    """kmemleak's report."""

    def test_since(self):
        """Objects of before do not count, and all lines of one after do."""
        old = 'unreferenced object 0xff11 (size 64):\n  comm "init", pid 1, jiffies 4294900000\n  backtrace:\n    f+0x1\n'
        new = 'unreferenced object 0xff22 (size 64):\n  comm "insmod", pid 9, jiffies 4294905000\n  backtrace:\n    g+0x1\n'
        self.assertEqual(leaks(old + new, 4294904000), new.splitlines())
        self.assertEqual(leaks(new + old, 4294904000), new.splitlines())
        self.assertEqual(leaks(old, 4294904000), [])
        self.assertEqual(leaks("", 0), [])


class Results(unittest.TestCase):
    """KTAP output with an exit status."""

    def count(self, output, status=0):
        """(passed, failed, skipped)"""
        k = Ktap(output, status)
        return k.passed, k.failed, k.skipped

    def test_plain(self):
        """All is said and well."""
        self.assertEqual(self.count("TAP version 14\n1..3\nok 1 a\nok 2 - b\nok 3 c # SKIP no\n"), (2, 0, 1))

    def test_not_ok(self):
        """One failure is one, also when the exit status says so again."""
        self.assertEqual(self.count("1..2\nok 1 a\nnot ok 2 b\n", 1), (1, 1, 0))

    def test_diagnosis(self):
        """What a test says before its verdict goes with it, and with no other's."""
        k = Ktap("1..3\n# x\nok 1 a\n# y\n# z\nnot ok 2 b\nnot ok 3 c\n", 1)
        self.assertEqual(k.failures, ["b\n# y\n# z", "c"])

    def test_plan(self):
        """A test that ends early fails, with and without a plan."""
        self.assertEqual(self.count("1..3\nok 1 a\n"), (1, 1, 0))
        self.assertEqual(self.count("ok 1 a\n"), (1, 1, 0))
        self.assertEqual(self.count("ok 1 a\nok 2 b\n1..2\n"), (2, 0, 0))

    def test_nested(self):
        """Subtests count through their parent."""
        self.assertEqual(self.count("1..1\n    1..2\n    ok 1 x\n    not ok 2 y\nnot ok 1 a\n", 1), (0, 1, 0))

    def test_status(self):
        """Without KTAP the exit status is the result; with it, it can only add a failure."""
        self.assertEqual(self.count("hello", 0), (1, 0, 0))
        self.assertEqual(self.count("hello", 139), (0, 1, 0))
        self.assertEqual(self.count("1..1\nok 1 a\n", 139), (1, 1, 0))
        self.assertEqual(self.count("", 4), (0, 0, 1))


if __name__ == "__main__":
    unittest.main()
