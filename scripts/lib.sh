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

# Counts up when scripts/debug-kernel changes so that what is there must be made anew.
OWN_RECIPE=1

# For a kernel of our own (scripts/debug-kernel): sets OWN, its directory, STOCK, whose source it
# has, and FRAGMENTS, its configuration. The directory's name has a hash of all that it is made of.
find_own_kernel() { # NAME
	local fragments=$TOP/scripts/kernels status=/var/lib/dpkg/status
	FRAGMENTS=("$fragments/small.config" "$fragments/$1.config")
	[ -e "${FRAGMENTS[1]}" ] && [ "$1" != small ] ||
		die "no kernel '$1'; there are: stock $(cd "$fragments" && ls | sed -n 's/\.config$//p' | grep -v '^small$' | tr '\n' ' ')"
	[ -z "${KDIR:-}" ] || die "KDIR= and a kernel of our own ($1) exclude each other"
	STOCK=${KVER:-$(cat "$CACHE/kernel/chosen" 2>/dev/null || echo $KVER_PINNED)}
	[ -e /.oxbpf-toolroot ] || status=$CACHE/toolroot$status
	OWN=$CACHE/debug/$1-$STOCK-$({
		echo "$OWN_RECIPE $(cat "$CACHE/kernel/$STOCK/stamp" 2>/dev/null)"
		awk '/^Package: /{p=$2} /^Version: /{if (p=="clang-19"||p=="lld-19") print p "=" $2}' "$status"
		grep -h '^CONFIG_' "${FRAGMENTS[@]}"
	} | sha256sum | cut -c1-12)
}

# Sets KVER, KDIR (a prepared tree) and OUT (where this kernel's objects go). OXBPF_KERNEL=NAME is a
# kernel of our own; OXBPF_VARIANT=WORD keeps a module that was built differently apart.
find_kernel() {
	case ${OXBPF_KERNEL:-stock} in
	stock) ;;
	*)
		find_own_kernel "$OXBPF_KERNEL"
		[ -e "$OWN/stamp" ] || die "no kernel '$OXBPF_KERNEL' in $CACHE: run 'scripts/debug-kernel $OXBPF_KERNEL'"
		KDIR=$OWN/linux
		;;
	esac
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
	OUT=$TOP/build/$KVER${OXBPF_VARIANT:+-$OXBPF_VARIANT}
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
