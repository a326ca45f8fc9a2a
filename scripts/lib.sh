# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Sourced by the scripts: where things are, and how they speak.

# The tree.
TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# What the set-up makes.
CACHE=${CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/oxbpf}
# The kernel that is preferred; the set-up takes another of SERIES when it is gone.
KVER_PINNED=7.2.12+deb13-amd64
SERIES="7.2 7.3"

# One line that says what is wrong and what to do.
die() {
	echo "oxbpf: $*" >&2
	exit 1
}

say() {
	echo "oxbpf: $*"
}

# Sets KVER, KDIR (a prepared tree) and OUT (where this kernel's objects go).
find_kernel() {
	if [ -n "${KDIR:-}" ]; then
		[ -e "$KDIR/rust/libkernel.rmeta" ] ||
			die "KDIR=$KDIR is no kernel tree prepared with CONFIG_RUST (no rust/libkernel.rmeta): leave KDIR= out, or prepare it"
		KDIR=$(cd "$KDIR" && pwd)
		KVER=$(cat "$KDIR/include/config/kernel.release")
	else
		: "${KVER:=$(cat "$CACHE/kernel/chosen" 2>/dev/null || echo $KVER_PINNED)}"
		KDIR=$CACHE/kernel/$KVER/linux
		[ -e "$CACHE/kernel/$KVER/stamp" ] || die "no kernel $KVER in $CACHE: run 'make setup KVER=$KVER'"
	fi
	# Out of the tree, so that two kernels' objects do not meet.
	OUT=$TOP/build/$KVER
}

# Sets VMLINUZ to the image that goes with KDIR: the tree's own, else the distribution's.
find_image() {
	local i
	for i in "$KDIR/arch/x86/boot/bzImage" "$CACHE/kernel/$KVER/usr/lib/modules/$KVER/vmlinuz"; do
		if [ -e "$i" ]; then
			VMLINUZ=$i
			return
		fi
	done
	die "no image for the kernel $KVER: build one in $KDIR (make bzImage), or run 'make setup KVER=$KVER'"
}

njobs() {
	echo "${JOBS:-$(nproc)}"
}
