#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Ordinary commands that open many files, the same ones each time.
set -e
src=/usr/include

find $src/linux -name 'b*.h' >/dev/null
grep -rl MAP_CREATE $src/linux >/dev/null || true
tar cf - $src/net $src/netinet 2>/dev/null | wc -c >/dev/null
for i in 1 2 3 4 5 6 7 8; do
	cat $src/stdio.h $src/stdlib.h >/dev/null
done
sort $src/errno.h $src/fcntl.h >/dev/null
