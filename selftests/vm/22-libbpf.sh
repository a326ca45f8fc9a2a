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

# bpftool pins to a filesystem of ours, and finds what it pinned.
dir=$(mktemp -d)
ours=$top/scripts/with-oxbpf
m=$dir/map
try "mount -t oxbpf" mount -t oxbpf oxbpf "$dir"
try "bpftool map create, pinned" "$ours" bpftool map create "$m" type hash key 4 value 4 \
	entries 4 name pinned
try "bpftool map update, pinned" "$ours" bpftool map update pinned "$m" key 1 0 0 0 value 7 0 0 0
try "bpftool map lookup, pinned" sh -c '"$1" bpftool map lookup pinned "$2" key 1 0 0 0 | grep "07 00 00 00"' \
	- "$ours" "$m"
try "bpftool map show pinned" sh -c '"$1" bpftool map show pinned "$2" | grep "name pinned"' - "$ours" "$m"
# Functions, source lines and types come along with a program.
try "bpftool prog load" "$ours" bpftool prog load "$c/records.bpf.o" "$dir/prog" type socket
try "bpftool prog dump xlated linum" sh -c '"$1" bpftool prog dump xlated pinned "$2" linum |
	grep "file:.*records.bpf.c line_num:"' - "$ours" "$dir/prog"
try "bpftool prog dump jited linum" sh -c '"$1" bpftool prog dump jited pinned "$2" linum 2>&1 |
	grep -e "file:.*records.bpf.c line_num:" -e "No JIT disassembly support"' - "$ours" "$dir/prog"
try "bpftool btf dump" sh -c 'id=$("$1" bpftool prog show pinned "$2" | sed -n "s/.*btf_id //p")
	"$1" bpftool btf dump id "$id" | grep "STRUCT .__sk_buff. size=192"' - "$ours" "$dir/prog"
try "bpftool map dump by type" sh -c '"$1" bpftool map dump name count | grep "\"key\": 0"' - "$ours"
try "umount" umount "$dir"
rmdir "$dir"

echo "1..$n"
rm -f "$log"
