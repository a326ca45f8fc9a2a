#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# The samples run, and count what the kernel's own bpf(2) counts; unmodified programs run under the
# preload library.

top=${OXBPF_TOP:?the tree}
n=0

verdict() { # NAME STATUS
	n=$((n + 1))
	if [ "$2" = 0 ]; then echo "ok $n $1"; else echo "not ok $n $1"; fi
}

said() {
	sed 's/^/# /' "$1"
}

# The samples find the kernel's fields by its BTF, which a kernel of ours is built without.
btf=/sys/kernel/btf/vmlinux
log=$(mktemp)
echo TAP version 14

if [ -e $btf ]; then
	sh "$top/samples/run.sh" >"$log" 2>&1
	s=$?
	[ $s = 0 ] || said "$log"
	verdict "opens, C and Rust: equal counts" $s
else
	verdict "opens, C and Rust: equal counts # SKIP no $btf" 0
fi

modprobe -a veth sch_ingress cls_bpf 2>/dev/null
sh "$top/samples/flows/run.sh" >"$log" 2>&1
s=$?
[ $s = 0 ] || said "$log"
verdict "flows, C and Rust: equal counts" $s

"$top/scripts/with-oxbpf" bpftool -j map create /nowhere/x type hash key 4 value 4 entries 4 \
	name x >"$log" 2>&1
grep -q "bpffs\|mount\|pin" "$log"
s=$?
[ $s = 0 ] || said "$log"
verdict "bpftool map create: only the pinning fails" $s

"$top/scripts/with-oxbpf" bpftool prog show >"$log" 2>&1
s=$?
[ $s = 0 ] || said "$log"
verdict "bpftool prog show" $s

"$top/scripts/with-oxbpf" bpftool map show >"$log" 2>&1
s=$?
[ $s = 0 ] || said "$log"
verdict "bpftool map show" $s

[ -e $btf ] || {
	verdict "bpftool prog show and dump, oxbpf-dump # SKIP no $btf" 0
	echo "1..$n"
	rm -f "$log"
	exit
}

# while the sample runs, bpftool sees its program and maps, and prints its instructions
OXBPF_PRELOAD=$top/build/preload/liboxbpf_preload.so
export OXBPF_PRELOAD
running=$(mktemp)
"$top/scripts/with-oxbpf" "$top/build/samples/opens" \
	sh -c "while [ -e $running ]; do sleep 1; done" >/dev/null 2>&1 &
for _ in $(seq 30); do
	"$top/scripts/with-oxbpf" bpftool prog show name count_open 2>/dev/null | grep -q count_open && break
	sleep 1
done
"$top/scripts/with-oxbpf" bpftool prog show name count_open >"$log" 2>&1 &&
	grep -q 'kprobe  *name count_open' "$log"
s=$?
[ $s = 0 ] || said "$log"
verdict "bpftool prog show name count_open" $s
"$top/scripts/with-oxbpf" bpftool prog dump xlated name count_open >"$log" 2>&1 &&
	grep -q 'exit' "$log"
s=$?
[ $s = 0 ] || said "$log"
verdict "bpftool prog dump xlated" $s
# Debian's bpftool has no disassembler; then it says how much there is.
"$top/scripts/with-oxbpf" bpftool prog dump jited name count_open >"$log" 2>&1
s=$?
if grep -q 'No JIT disassembly support' "$log"; then
	"$top/scripts/with-oxbpf" bpftool prog show name count_open >"$log" 2>&1 &&
		grep -q 'jited [1-9][0-9]*B' "$log"
	s=$?
fi
[ $s = 0 ] || said "$log"
verdict "bpftool prog dump jited" $s
id=$("$top/scripts/with-oxbpf" bpftool prog show name count_open 2>/dev/null |
	sed -n 's/^\([0-9]*\):.*/\1/p')
"$OXBPF_BIN/oxbpf-dump" id "$id" >"$log" 2>&1 &&
	grep -q '^bpf_prog_[0-9a-f]*_count_open, ' "$log" && grep -q 'exit$' "$log" &&
	grep -q ' ret$\| jmp .*thunk' "$log"
s=$?
[ $s = 0 ] || said "$log"
verdict "oxbpf-dump id" $s
rm -f "$running"
wait

echo "1..$n"
rm -f "$log"
