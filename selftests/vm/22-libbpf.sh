#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Programs in C that use libbpf, by the kernel's own bpf(2) and under the preload library.

top=${OXBPF_TOP:?the tree}
OXBPF_PRELOAD=$top/build/preload/liboxbpf_preload.so
export OXBPF_PRELOAD
c=$top/build/selftests
n=0
log=$(mktemp)
echo TAP version 14

try() { # NAME COMMAND...
	n=$((n + 1))
	name=$1
	shift
	if "$@" >"$log" 2>&1; then
		echo "ok $n $name"
	else
		sed 's/^/# /' "$log"
		echo "not ok $n $name"
	fi
}

try "in-tree: ring_buffer__poll" "$c/records" "$c/records.bpf.o"
try "ring_buffer__poll" "$top/scripts/with-oxbpf" "$c/records" "$c/records.bpf.o"

echo "1..$n"
rm -f "$log"
