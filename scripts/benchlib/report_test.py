# SPDX-License-Identifier: GPL-2.0
"""Tests of report.py: figures are read as printed, and a worse ratio fails the comparison."""

import unittest

from report import compare, mean, merge, plot, read, table

TEXT = (
    "# a remark\n"
    "g\tone\tinsns\t10\t10.00\t40\t5.00\t20\n"
    "g\ttwo\tinsns\t-\t10.00\t-\t20.00\t-\n"
    "g\tthree\tinsns\t-\t10.00\t-\t-\t-\n"
)


class Report(unittest.TestCase):
    """One output of the program."""

    def test_read(self):
        """Ratios are where both have a figure."""
        rows, remarks = read(TEXT)
        self.assertEqual([r["ratio"] for r in rows], [0.5, 2.0, None])
        self.assertEqual(rows[0]["ratio_bytes"], 0.5)
        self.assertEqual(remarks, ["a remark"])
        self.assertAlmostEqual(mean(r["ratio"] for r in rows), 1.0)

    def test_show(self):
        """A missing figure is a dash, in table and plot."""
        rows, _ = read(TEXT)
        self.assertRegex("\n".join(table(rows)), r"three +10\.0 +- +-")
        self.assertIn("three", plot(rows, "instructions"))

    def check(self, ratios, whole=True):
        """Names that the comparison with a baseline of these ratios finds worse."""
        rows, _ = read(TEXT)
        cases = [{"group": "g", "case": c, "ratio": r} for c, r in ratios.items()]
        return [w.split(":")[0] for w in compare(rows, {"cases": cases}, whole)[0]]

    def test_compare(self):
        """Three per cent are tolerated, a lost figure or case is not."""
        self.assertEqual(self.check({"one": 0.5, "two": 1.95}), [])
        self.assertEqual(self.check({"one": 0.48, "two": 1.9}), ["g/one", "g/two"])
        self.assertEqual(self.check({"three": 0.5}), ["g/three"])
        self.assertEqual(self.check({"three": None}), [])
        self.assertEqual(self.check({"gone": 0.5}), ["g/gone"])
        self.assertEqual(self.check({"gone": 0.5}, whole=False), [])

    def test_merge(self):
        """A measurement of some cases leaves the others as they were."""
        rows, _ = read(TEXT)
        old = [{"group": "g", "case": c, "ratio": 9} for c in ("zero", "two")]
        merged = [(r["case"], r["ratio"]) for r in merge(rows, old)]
        self.assertEqual(merged, [("zero", 9), ("two", 2.0), ("one", 0.5), ("three", None)])
        self.assertEqual(len(merge(rows, [])), 3)


if __name__ == "__main__":
    unittest.main()
