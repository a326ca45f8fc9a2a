#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# rmmod is refused while something of the module is open, and works again afterwards.

# Tries rmmod; prints what it says.
refused() {
	said=$(rmmod oxbpf 2>&1) && return 1
	case $said in
	*"in use"*|*"temporarily unavailable"*) return 0 ;;
	esac
	echo "# rmmod says: $said"
	return 1
}

verdict() { # NUMBER NAME: of the last command
	if [ $? = 0 ]; then echo "ok $1 $2"; else echo "not ok $1 $2"; fi
}

echo TAP version 14
echo 1..4
exec 9</dev/oxbpf
refused
verdict 1 "refused while the device is open"
exec 9<&-
rmmod oxbpf
verdict 2 "works when it is closed"
insmod "${OXBPF_MODULE:?the path of oxbpf.ko}"
verdict 3 "the module can be loaded again"
[ -c /dev/oxbpf ]
verdict 4 "the device is back"
