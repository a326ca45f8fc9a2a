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

# Sets KVER, and where its files are: KDIR (prepared source), VMLINUZ.
find_kernel() {
	local given=${KVER:-}
	if [ -z "$given" ]; then
		KVER=$(cat "$CACHE/kernel/chosen" 2>/dev/null) || KVER=$KVER_PINNED
	fi
	VMLINUZ=$CACHE/kernel/$KVER/usr/lib/modules/$KVER/vmlinuz
	KDIR=${KDIR:-$CACHE/kernel/$KVER/linux}
	[ -e "$KDIR/rust/libkernel.rmeta" ] ||
		die "$KDIR is no prepared kernel tree with Rust metadata (rust/libkernel.rmeta): run 'make setup', or set KDIR= to one"
	KDIR=$(cd "$KDIR" && pwd)
	[ "$(cat "$KDIR/include/config/kernel.release" 2>/dev/null)" = "$KVER" ] || [ -n "$given" ] ||
		KVER=$(cat "$KDIR/include/config/kernel.release")
	# Out of the tree, so that two kernels' objects do not meet.
	OUT=${OXBPF_OUT:-$TOP/build/$KVER}
}

njobs() {
	echo "${JOBS:-$(nproc)}"
}
