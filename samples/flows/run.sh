#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Packets from one network namespace to another, counted there by one BPF object: in oxbpf and
# in-tree, once from C (libbpf) and once from Rust. Runs in the VM, module loaded.
set -e
top=$(cd "$(dirname "$0")/../.." && pwd)
build=${OXBPF_BUILD:-$top/build}
here=$top/samples/flows
work=$(mktemp -d)
export TC_LIB_DIR=$build/iproute2

clean() {
	rm -rf "$work"
	ip netns del flows-a 2>/dev/null || true
	ip netns del flows-b 2>/dev/null || true
}
trap clean EXIT

ip netns add flows-a
ip netns add flows-b
ip link add fa netns flows-a type veth peer name fb netns flows-b
ip -n flows-a addr add 10.9.0.1/24 dev fa
ip -n flows-b addr add 10.9.0.2/24 dev fb
ip -n flows-a link set fa up
ip -n flows-b link set fb up
# So that each run sees the same packets, whoever is asked for its address when.
ip -n flows-a neigh replace 10.9.0.2 lladdr "$(ip netns exec flows-b cat /sys/class/net/fb/address)" dev fa
ip -n flows-b neigh replace 10.9.0.1 lladdr "$(ip netns exec flows-a cat /sys/class/net/fa/address)" dev fb

in_b="ip netns exec flows-b"
workload="bash $here/workload.sh"
drop=7777

echo "== the packets of a workload, from C through libbpf"
OXBPF_PRELOAD=$build/preload/liboxbpf_preload.so $in_b "$top/scripts/with-oxbpf" \
	"$build/samples/flows" -k oxbpf -p $drop fb $workload >"$work/oxbpf"
$in_b "$build/samples/flows" -p $drop fb $workload >"$work/in-tree"
cat "$work/oxbpf"
cmp "$work/oxbpf" "$work/in-tree"
echo "in-tree counts the same"
grep -q '^flow 10.9.0.1 > 10.9.0.2 proto 17 port 5000: 3 packets' "$work/oxbpf"
grep -q '^class low delay: 3 packets' "$work/oxbpf"
grep -q '^dropped: 2 packets' "$work/oxbpf"

echo
echo "== the same object and workload, from Rust"
$in_b "$build/samples/flows-rs" "$build/samples/flows.bpf.o" $drop fb $workload
