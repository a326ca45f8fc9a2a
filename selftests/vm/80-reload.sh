#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# 100 rounds of insmod and rmmod leave no memory behind: slab, vmalloc and per-CPU memory after
# them are what they were before, up to the noise of an idle kernel.

# OXBPF_VOLUME is per cent of that, for a slow kernel.
rounds=$((${1:-100} * ${OXBPF_VOLUME:-100} / 100))
module=${OXBPF_MODULE:?the path of oxbpf.ko}

reload() { # TIMES
	n=0
	while [ $n -lt "$1" ]; do
		insmod "$module" || return
		[ -c /dev/oxbpf ] || return
		rmmod oxbpf || return
		n=$((n + 1))
	done
}

# Memory that a module could leak, in KiB (areas: their number).
figures() {
	sync
	echo 3 >/proc/sys/vm/drop_caches
	sleep 1
	awk '/^(SUnreclaim|VmallocUsed|Percpu):/ {printf "%s%s ", $1, $2}' /proc/meminfo
	echo "areas:$(wc -l </proc/vmallocinfo)"
}

value() { # NAME FIGURES
	echo "$2" | tr ' ' '\n' | sed -n "s/^$1://p"
}

echo TAP version 14
echo 1..6
[ ! -d /sys/module/oxbpf ] || rmmod oxbpf
# What the first rounds allocate stays for good: slab caches, the log's buffers, kallsyms.
if reload 5; then echo "ok 1 five rounds"; else echo "not ok 1 five rounds"; fi
before=$(figures)
if reload "$rounds"; then echo "ok 2 $rounds rounds"; else echo "not ok 2 $rounds rounds"; fi
# The tolerance is far below what one leaked page or area a round would add up to.
rows="SUnreclaim:300 VmallocUsed:200 Percpu:100 areas:20"

grown() { # NAME
	echo $(($(value "$1" "$after") - $(value "$1" "$before")))
}

settled() {
	for row in $rows; do
		[ "$(grown "${row%:*}")" -le "${row#*:}" ] || return
	done
}

# What is given back late is not lost.
for _ in 1 2 3 4 5 6 7 8 9 10; do
	after=$(figures)
	! settled || break
done
echo "# before: $before"
echo "# after:  $after"
i=3
for row in $rows; do
	name=${row%:*} most=${row#*:}
	if [ "$(grown "$name")" -le "$most" ]; then
		echo "ok $i $name grew by no more than $most"
	else
		echo "not ok $i $name grew by $(grown "$name"), more than $most"
	fi
	i=$((i + 1))
done
