# SPDX-License-Identifier: GPL-2.0
"""Makes a table, JSON and a plot of what oxbpf-bench printed, and compares with a baseline.

    report.py run|check|baseline|native FOLDER BASELINE KVER whole|part
"""

import json
import math
import os
import sys
from xml.sax.saxutils import escape

# A ratio may get worse by this before `check` fails.
TOLERANCE = 0.03
FIELDS = ("group", "case", "unit", "noted", "in_tree", "in_tree_bytes", "oxbpf", "oxbpf_bytes")


def number(text):
    """A figure; None for `-`."""
    return None if text == "-" else float(text)


def read(text):
    """The rows of oxbpf-bench's output, and its remarks."""
    rows, remarks = [], []
    for line in text.splitlines():
        if line.startswith("#"):
            remarks.append(line[1:].strip())
            continue
        words = line.split("\t")
        if len(words) != len(FIELDS):
            continue
        row = dict(zip(FIELDS, words))
        for field in FIELDS[3:]:
            row[field] = number(row[field])
        for kind in ("", "_bytes"):
            a, b = row["in_tree" + kind], row["oxbpf" + kind]
            row["ratio" + kind] = b / a if a and b is not None and a > 0 else None
        rows.append(row)
    return rows, remarks


def mean(ratios):
    """The geometric mean of what is there; None of nothing."""
    ratios = [r for r in ratios if r]
    return math.exp(sum(map(math.log, ratios)) / len(ratios)) if ratios else None


def groups(rows):
    """Name and rows of each group, in order."""
    names = list(dict.fromkeys(r["group"] for r in rows))
    return [(n, [r for r in rows if r["group"] == n]) for n in names]


def shown(value):
    """A figure with as many places as mean something."""
    if value is None:
        return "-"
    if value >= 1e6:
        return f"{value / 1e6:.2f}M"
    return f"{value:.1f}" if value < 10000 else f"{value:.0f}"


def ratio(value):
    """A ratio."""
    return "-" if value is None else f"{value:.2f}"


def table(rows):
    """The lines of the table."""
    out = []
    for name, members in groups(rows):
        out.append(f"{name} ({members[0]['unit']})".ljust(40) + "  in-tree    oxbpf  ratio   bytes  bytes  ratio")
        for r in members:
            line = f"  {r['case']:<36} {shown(r['in_tree']):>10} {shown(r['oxbpf']):>8} {ratio(r['ratio']):>6}"
            if r["in_tree_bytes"] or r["oxbpf_bytes"]:
                a, b = ("-" if v is None else f"{v:.0f}" for v in (r["in_tree_bytes"], r["oxbpf_bytes"]))
                line += f" {a:>7} {b:>6} {ratio(r['ratio_bytes']):>6}"
            out.append(line)
        both = mean(r["ratio"] for r in members), mean(r["ratio_bytes"] for r in members)
        line = f"  {'geometric mean':<36} {'':>10} {'':>8} {ratio(both[0]):>6}"
        out.append(line + (f" {'':>7} {'':>6} {ratio(both[1]):>6}" if both[1] else ""))
    return out


def reproduced(rows):
    """How far in-tree's figures are from the noted ones."""
    off = [(r["in_tree"] / r["noted"] - 1, r) for r in rows if r["noted"] and r["in_tree"]]
    if not off:
        return []
    near = sum(abs(d) <= 0.02 for d, _ in off)
    far = [f"  {r['group']}/{r['case']}: {shown(r['noted'])} noted ({d:+.1%})" for d, r in off if abs(d) > 0.02]
    return [f"in-tree's figures of the notes: {near} of {len(off)} within 2 %"] + far


def plot(rows, unit):
    """Bars of the ratios, as SVG."""
    height, left, width = 18, 330, 420
    lines, y = [], 40
    top = max([1.0] + [r["ratio"] for r in rows if r["ratio"]])
    scale = width / min(max(top, 1.2), 2.5)

    def text(x, y, words, extra=""):
        return f'<text x="{x:.0f}" y="{y:.0f}" {extra}>{escape(words)}</text>'

    for name, members in groups(rows):
        average = mean(r["ratio"] for r in members)
        title = name + (f": geometric mean {average:.2f}" if average else "")
        lines.append(text(8, y + 13, title, 'font-weight="bold"'))
        y += height + 2
        for r in members:
            lines.append(text(left - 8, y + 13, r["case"], 'text-anchor="end"'))
            value = r["ratio"]
            if value is None:
                lines.append(text(left + 4, y + 13, "-"))
            else:
                colour = "#2e7d32" if value <= 1 else "#b3261e"
                bar = min(value * scale, width)
                lines.append(f'<rect x="{left}" y="{y + 2}" width="{bar:.1f}" height="{height - 5}" fill="{colour}"/>')
                label = f"{value:.2f}   ({shown(r['oxbpf'])} / {shown(r['in_tree'])})"
                lines.append(text(left + bar + 5, y + 13, label, 'fill="#555"'))
            y += height
        y += 8
    one = left + scale
    axis = f'<line x1="{one:.1f}" y1="34" x2="{one:.1f}" y2="{y}" stroke="#888" stroke-dasharray="3 3"/>'
    head = text(8, 20, f"oxbpf / in-tree, {unit} (less is better)", 'font-weight="bold"')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 190}" height="{y + 10}" '
        'font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="white"/>\n'
        + "\n".join([head, axis, *lines])
        + "\n</svg>\n"
    )


def compare(rows, baseline, whole):
    """What is worse than the baseline, in words; and remarks."""
    now = {(r["group"], r["case"]): r["ratio"] for r in rows}
    worse, remarks = [], []
    for r in baseline["cases"]:
        key = (r["group"], r["case"])
        was, name = r["ratio"], "/".join(key)
        if was is None:
            continue
        if key not in now:
            if whole:
                worse.append(f"{name}: no longer measured")
        elif now[key] is None:
            worse.append(f"{name}: no figure; the ratio was {was:.3f}")
        elif now[key] > was * (1 + TOLERANCE):
            worse.append(f"{name}: ratio {now[key]:.3f}, was {was:.3f}")
        elif now[key] < was * (1 - TOLERANCE):
            remarks.append(f"{name}: ratio {now[key]:.3f}, was {was:.3f}: better")
    known = {(r["group"], r["case"]) for r in baseline["cases"]}
    remarks += [f"{'/'.join(k)}: not in the baseline" for k in now if k not in known]
    return worse, remarks


def merge(rows, cases):
    """The baseline's `cases` with those of `rows` in their places, new ones at the end."""
    kept = [{k: r[k] for k in ("group", "case", "in_tree", "oxbpf", "ratio")} for r in rows]
    new = {(r["group"], r["case"]): r for r in kept}
    merged = [new.pop((r["group"], r["case"]), r) for r in cases]
    return merged + list(new.values())


def main(what, folder, baseline, kver, extent):
    """Reads, shows, writes."""
    with open(os.path.join(folder, "bench.txt"), encoding="utf-8") as f:
        rows, _ = read(f.read())
    if not rows:
        print("bench: nothing was measured", file=sys.stderr)
        return 1
    print("\n".join(table(rows) + reproduced(rows)))
    unit = "nanoseconds" if what == "native" else "executed guest instructions"
    result = {
        "kernel": kver,
        "unit": unit,
        "means": {n: mean(r["ratio"] for r in m) for n, m in groups(rows)},
        "cases": rows,
    }
    with open(os.path.join(folder, "bench.json"), "w", encoding="utf-8") as f:
        json.dump(result, f, indent=1)
        f.write("\n")
    with open(os.path.join(folder, "bench.svg"), "w", encoding="utf-8") as f:
        f.write(plot(rows, unit))
    print(f"written: {folder}/bench.json, bench.svg")
    if what == "baseline":
        cases = []
        if extent == "part":
            with open(baseline, encoding="utf-8") as f:
                cases = json.load(f)["cases"]
        lines = ",\n".join("  " + json.dumps(r) for r in merge(rows, cases))
        with open(baseline, "w", encoding="utf-8") as f:
            f.write(f'{{"kernel": {json.dumps(kver)}, "cases": [\n{lines}\n]}}\n')
    if what == "check":
        with open(baseline, encoding="utf-8") as f:
            worse, remarks = compare(rows, json.load(f), extent == "whole")
        for line in remarks:
            print("  " + line)
        for line in worse:
            print("  worse: " + line)
        print(f"{len(rows) - len(worse)} passed, {len(worse)} failed")
        return 1 if worse else 0
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
