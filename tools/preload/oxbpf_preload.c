// SPDX-License-Identifier: GPL-2.0
/*
 * Sends a program's bpf(2) calls to /dev/oxbpf.
 *
 * libbpf, bpftool and the kernel's own tests reach bpf(2) through libc's syscall(); this library
 * stands before it (LD_PRELOAD) and makes an ioctl of each such call. Every other system call goes
 * to libc. What oxbpf does not have answers as a kernel that does not know the command.
 *
 * OXBPF_TRACE=1 in the environment prints each forwarded call to standard error.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/oxbpf.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;
static long (*next_syscall)(long number, ...);
static int device = -1;
static int device_errno;
static int trace;

/*
 * The device's fd is moved out of the way of programs that count on small numbers, and closes on
 * exec: the new image's copy of this library opens its own.
 */
static void start(void)
{
	int fd = open(OXBPF_DEVICE, O_RDWR | O_CLOEXEC);

	next_syscall = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
	trace = getenv("OXBPF_TRACE") != NULL;
	if (fd < 0) {
		device_errno = errno;
		fprintf(stderr, "oxbpf: %s: %s: is the module loaded?\n", OXBPF_DEVICE,
			strerror(errno));
		return;
	}
	device = fcntl(fd, F_DUPFD_CLOEXEC, 500);
	if (device < 0)
		device = fd;
	else
		close(fd);
}

static long forward(unsigned long cmd, unsigned long attr, unsigned long size)
{
	long ret;

	if (device < 0) {
		errno = device_errno;
		return -1;
	}
	/* the ioctl number has room for 8 bits of command and 14 of size */
	if (cmd > 0xff) {
		errno = EINVAL;
		return -1;
	}
	if (size > OXBPF_SIZE_MAX) {
		errno = E2BIG;
		return -1;
	}
	ret = ioctl(device, OXBPF_IOC(cmd, size), attr);
	if (trace) {
		int saved = errno;

		fprintf(stderr, "oxbpf: bpf(%lu, %lu bytes) = %ld%s%s\n", cmd, size, ret,
			ret < 0 ? " " : "", ret < 0 ? strerror(saved) : "");
		errno = saved;
	}
	return ret;
}

long syscall(long number, ...)
{
	unsigned long a[6];
	va_list ap;

	va_start(ap, number);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(ap, unsigned long);
	va_end(ap);

	pthread_once(&once, start);
	/* bpf(2) takes int and unsigned int: the upper halves carry nothing */
	if (number == SYS_bpf)
		return forward((unsigned int)a[0], a[1], (unsigned int)a[2]);
	if (!next_syscall) {
		errno = ENOSYS;
		return -1;
	}
	return next_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
