/* SPDX-License-Identifier: GPL-2.0 */
/* What the BPF program and its user space share. */
#ifndef OPENS_H
#define OPENS_H

#include <linux/types.h>

#define SIZE_SLOTS 40

/* Key of map "processes". */
struct process {
	char name[16];
};

/* Value of map "processes". */
struct usage {
	__u64 opens;
	__u64 bytes;	/* sum of the opened files' sizes */
};

#endif
