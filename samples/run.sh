#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# The main job: one BPF object on one workload, in oxbpf and in the kernel's own bpf(2), once from
# C (libbpf) and once from Rust, with the counts side by side. Runs in the VM, module loaded.
set -e
top=$(cd "$(dirname "$0")/.." && pwd)
build=${OXBPF_BUILD:-$top/build}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

echo "== oxbpf on Linux $(uname -r): opens of files, from C through libbpf"
workload="sh $top/samples/opens/workload.sh"
$workload	# once before, so that both measured runs find the same caches
OXBPF_PRELOAD=$build/preload/liboxbpf_preload.so \
	"$top/scripts/with-oxbpf" "$build/samples/opens" -o "$work/oxbpf" $workload
"$build/samples/opens" -o "$work/in-tree" $workload
"$build/samples/opens" -c "$work/oxbpf" "$work/in-tree"

echo
echo "== the same object and workload, from Rust"
"$build/samples/opens-rs" "$build/samples/opens.bpf.o" $workload
