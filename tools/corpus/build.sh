#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Writes the verifier tests of a kernel tree as text (see dump.c).
# usage: build.sh KERNEL_TREE OUTPUT
set -e
tree=$1 out=$2
here=$(cd "$(dirname "$0")" && pwd)
tests=$tree/tools/testing/selftests/bpf
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

# The list of tests, with a mark before each file's.
mkdir "$tmp/verifier"
for f in "$tests"/verifier/*.c; do
	name=$(basename "$f")
	printf '{ .errstr = "%s" },\n#include "%s"\n' "$name" "$f"
done > "$tmp/list"
{ echo '#ifdef FILL_ARRAY'; cat "$tmp/list"; echo '#endif'; } > "$tmp/verifier/tests.h"

# What only test_verifier.c's own main() calls is dropped, so no library is needed.
${CC:-gcc} -O0 -w -std=gnu11 -D_GNU_SOURCE -I"$tmp" -I"$tests" -I"$tree/tools/testing/selftests" \
	-I"$tree/tools/lib" -I"$tree/tools/include" -I"$tree/tools/include/uapi" \
	-ffunction-sections -fdata-sections -Wl,--gc-sections -o "$tmp/dump" "$here/dump.c"
"$tmp/dump" > "$out"
