/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * oxbpf: the user-space interface of /dev/oxbpf.
 *
 * A command of bpf(2) is one ioctl: its number is the command (enum bpf_cmd), its size is what
 * bpf(2) takes as third argument, its argument is the same union bpf_attr:
 *
 *	bpf(BPF_MAP_CREATE, &attr, sizeof(attr))
 *	ioctl(dev, OXBPF_IOC(BPF_MAP_CREATE, sizeof(attr)), &attr)
 *
 * Result and errno are those of bpf(2). File descriptors of maps, programs and links are closed
 * with close(2), as there.
 */
#ifndef _UAPI_LINUX_OXBPF_H
#define _UAPI_LINUX_OXBPF_H

#include <linux/bpf.h>
#include <linux/ioctl.h>

#define OXBPF_DEVICE		"/dev/oxbpf"

/* ioctl type of the commands that bpf(2) has too */
#define OXBPF_IOC_TYPE		0xBF

/* @cmd: enum bpf_cmd, 0 to 255; @size: bytes of the attr, at most OXBPF_SIZE_MAX */
#define OXBPF_IOC(cmd, size)	_IOC(_IOC_READ | _IOC_WRITE, OXBPF_IOC_TYPE, (cmd), (size))

/* the size field of an ioctl has 14 bits; bpf(2) refuses more than a page (E2BIG) anyway */
#define OXBPF_SIZE_MAX		((1 << _IOC_SIZEBITS) - 1)

/*
 * PERF_EVENT_IOC_SET_BPF for programs of oxbpf: attaches one to a perf event of a tracepoint, kprobe,
 * uprobe or counter for as long as that event lives. Its result 0 drops the event; with any other it
 * goes to the event's ring buffer.
 */
#define OXBPF_PERF_TYPE		0xBD
struct oxbpf_perf_set_prog {
	__u32 event_fd;		/* from perf_event_open(2) */
	__u32 prog_fd;
};
#define OXBPF_PERF_SET_PROG	_IOW(OXBPF_PERF_TYPE, 1, struct oxbpf_perf_set_prog)

/*
 * For tests, while the module's parameter debug is on: tries to write to the part of a program (its
 * descriptor is the argument) that never changes, and to other memory; returns the bits of what
 * could be written.
 */
#define OXBPF_DEBUG_TYPE	0xBE
#define OXBPF_DEBUG_WRITE_PROG	_IO(OXBPF_DEBUG_TYPE, 1)
#define OXBPF_DEBUG_PROG	1
#define OXBPF_DEBUG_OTHER	2

#endif /* _UAPI_LINUX_OXBPF_H */
