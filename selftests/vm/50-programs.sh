#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Programs that come with the kernel's source, by the kernel's own bpf(2) and under the preload library.

top=${OXBPF_TOP:?the tree}
if [ ! -e /sys/kernel/btf/vmlinux ]; then
	echo "TAP version 14"
	echo "1..0 # SKIP a kernel without BTF loads other programs"
	exit 0
fi
OXBPF_PRELOAD=$top/build/preload/liboxbpf_preload.so
export OXBPF_PRELOAD
exec python3 -B "$top/selftests/programs/compare.py" "$top/build/selftests/programs" \
	"$top/scripts/with-oxbpf" "$top"/build/programs/*.o
