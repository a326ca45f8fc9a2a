#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# test_maps, which comes with the kernel's source, under the preload library.

top=${OXBPF_TOP:?the tree}
OXBPF_PRELOAD=$top/build/preload/liboxbpf_preload.so
export OXBPF_PRELOAD
dir=$top/build/upstream
if [ ! -e "$dir/test_maps" ]; then
	echo "TAP version 14"
	echo "1..0 # SKIP this kernel's test_maps does not compile"
	exit 0
fi
quick=quick
if [ "${OXBPF_KERNEL:-stock}" = stock ]; then quick=; fi
exec "$top/scripts/with-oxbpf" "$dir/test_maps" "$dir" $quick
