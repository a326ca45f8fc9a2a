# SPDX-License-Identifier: GPL-2.0
"""Which parts of the Rust source are tests, and what is code and what is comment."""

import functools
import pathlib
import re

TOP = pathlib.Path(__file__).resolve().parent.parent.parent
RUST = TOP / "rust"
TEST_ATTRIBUTE = re.compile(r"#\[cfg\((test|all\(test\b.*|any\(test\b.*)\)\]|#\[test\]")


def strip(line):
    """A line without the contents of its strings and without its comment."""
    line = re.sub(r"'(\\.|[^'\\])'", "' '", line)
    line = re.sub(r'"(\\.|[^"\\])*"', '""', line)
    return re.sub(r"//.*", "", line)


def code_lines(text):
    """(number, line) of what is code and no test: comments and `#[cfg(test)]` items are left out."""
    lines = text.splitlines()
    number = 0
    while number < len(lines):
        line = lines[number]
        number += 1
        if line.strip().startswith("//"):
            continue
        if TEST_ATTRIBUTE.match(line.strip()):
            number = skip_item(lines, number)
            continue
        yield number, strip(line)


def skip_item(lines, number):
    """The index after the item that starts at or after `number`."""
    depth = 0
    while number < len(lines):
        line = strip(lines[number])
        number += 1
        depth += line.count("{") - line.count("}")
        if depth <= 0 and ("}" in line or line.rstrip().endswith(";")):
            break
    return number


def module_path(path):
    """The module path of a file, from the crate root: rust/a/b.rs is (a, b)."""
    return path.relative_to(RUST).with_suffix("").parts


@functools.cache
def test_modules():
    """Paths of the modules that their parent declares under `#[cfg(test)]`."""
    found = set()
    for path in RUST.rglob("*.rs"):
        parent = module_path(path)
        if len(parent) == 1 and parent[0] in ("oxbpf", "oxbpf_core"):
            parent = ()
        text = path.read_text(encoding="utf-8")
        pattern = r"#\[cfg\((?:test|all\(test\b[^\n]*|any\(test\b[^\n]*)\)\]\s*(?:#\[[^\n]*\]\s*)*(?:pub(?:\([^)]*\))? )?mod (\w+);"
        for name in re.findall(pattern, text):
            found.add(parent + (name,))
    return found


def is_test(path):
    """Whether a file under rust/ is compiled for tests only."""
    where = module_path(path)
    return any(where[: i + 1] in test_modules() for i in range(len(where)))
