#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""compare.py PROGRAMS WITH_OXBPF OBJECT...: existing programs by the kernel's own bpf(2) and by oxbpf.

Runs PROGRAMS (selftests/c/programs.c) on the objects twice, the second time by the command
WITH_OXBPF, and prints what each program came to, with the reason where it came to less than in-tree.
"""

import collections
import re
import subprocess
import sys

# Fewer than these mean that something was lost which was there once: on a kernel that has, of its
# own, as many as this.
IN_TREE = 154
LOADED = 145
ATTACHED = 25
SAME = 94


def results(command):
    """What `programs` prints, by program."""
    out = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    table = {}
    for line in out.stdout.splitlines():
        name, _, rest = line.partition(" ")
        fields = dict(re.findall(r"(load|attach|run|died)=(\S+)", rest.partition(" why=")[0]))
        fields["why"] = rest.partition(" why=")[2]
        table[name] = fields
    return table


def kind(why):
    """The reason without what differs from program to program."""
    why = re.sub(r"^libbpf: ", "", why)
    why = re.sub(r"(prog|map|elf|sec|extern) .*?'.*?':?", r"\1", why)
    return re.sub(r"\b(0x)?[0-9a-f]*\d[0-9a-f]*\b", "N", why)[:90]


def main():
    programs, with_oxbpf, objects = sys.argv[1], sys.argv[2], sys.argv[3:]
    theirs = results([programs] + objects)
    ours = results([with_oxbpf, programs] + objects)
    names = [n for n, t in theirs.items() if t.get("load") == "0"]
    loaded = [n for n in names if ours.get(n, {}).get("load") == "0"]
    attachable = [n for n in names if theirs[n]["attach"] == "0"]
    attached = [n for n in attachable if n in loaded and ours[n]["attach"] == "0"]
    runs = [n for n in names if theirs[n]["run"] != "-"]
    same = [n for n in runs if n in loaded and ours[n]["run"] == theirs[n]["run"]]
    print("TAP version 14")
    print(f"# {len(theirs)} programs of {len(objects)} objects; in-tree loads {len(names)}")
    print(f"# loads: {len(loaded)} of {len(names)}")
    print(f"# attaches: {len(attached)} of {len(attachable)}")
    print(f"# same results of test runs: {len(same)} of {len(runs)}")
    reasons = collections.defaultdict(list)
    for n in names:
        if n not in loaded:
            reasons[kind(ours.get(n, {}).get("why", "died"))].append(n)
    for why, which in sorted(reasons.items(), key=lambda item: -len(item[1])):
        print(f"#   {len(which):3} not loaded: {why}: {' '.join(which[:4])}")
    bad = {
        "what is loaded has the results that it has in-tree": [
            f"{n}: in-tree {theirs[n]['run']}, oxbpf {ours[n]['run']}"
            for n in runs
            if n in loaded and n not in same
        ],
        "what is loaded attaches as in-tree": [
            f"{n}: errno {ours[n]['attach']}: {ours[n]['why']}"
            for n in attachable
            if n in loaded and n not in attached
        ],
        "nothing is loaded that in-tree refuses": [
            f"{n}: {theirs[n].get('why')}"
            for n in theirs
            if n not in names and ours.get(n, {}).get("load") == "0"
        ],
        "no fewer programs than there were": [
            f"{what}: {len(now)} of {once}"
            for what, now, once in (
                ("loaded", loaded, LOADED),
                ("attached", attached, ATTACHED),
                ("same", same, SAME),
            )
            if len(now) < once and len(names) >= IN_TREE
        ],
    }
    for number, (name, lines) in enumerate(bad.items(), 1):
        for line in lines:
            print(f"# {line}")
        print(f"{'not ' if lines else ''}ok {number} existing programs: {name}")
    print(f"1..{len(bad)}")
    return any(bad.values())


if __name__ == "__main__":
    sys.exit(main())
