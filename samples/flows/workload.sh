#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Packets from namespace flows-a to 10.9.0.2, the same ones each time: pings of three types of
# service, datagrams to a port, and to one that is dropped.
set -e
in_a="ip netns exec flows-a"
for tos in 0x10 0x08 0x00; do
	$in_a ping -q -c 3 -i 0.2 -Q $tos 10.9.0.2 >/dev/null
done
for port in 5000 5000 5000 7777 7777; do
	$in_a bash -c "echo something >/dev/udp/10.9.0.2/$port" || true
done
