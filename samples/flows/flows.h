/* SPDX-License-Identifier: GPL-2.0 */
/* What the flows program and its users share. */
#ifndef FLOWS_H
#define FLOWS_H

/* Where packets go; ports of UDP and TCP, 0 for others. Numbers as they are in the packet. */
struct flow {
	__u32 saddr;
	__u32 daddr;
	__u16 dport;
	__u16 proto;
};

struct count {
	__u64 packets;
	__u64 bytes;
};

/* Classes by the type-of-service field, and what was dropped: indexes into counts. */
enum { CLASS_DELAY, CLASS_THROUGHPUT, CLASS_OTHER, DROPPED, COUNTS };

#endif
