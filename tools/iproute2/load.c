// SPDX-License-Identifier: GPL-2.0
/*
 * Loads BPF objects into oxbpf: libbpf, whose bpf(2) calls go to /dev/oxbpf.
 *
 * Opened into a link-map name space of its own. There this library comes before the C library, so
 * that the system calls of the libbpf that it depends on are this file's.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <bpf/libbpf.h>
#include <linux/oxbpf.h>

#include "load.h"

int oxbpf_load(struct source *s, enum bpf_prog_type type);

long syscall(long number, ...)
{
	static int device = -1;
	unsigned long a[6];
	va_list args;
	int i;

	va_start(args, number);
	for (i = 0; i < 6; i++)
		a[i] = va_arg(args, unsigned long);
	va_end(args);

	if (number != SYS_bpf) {
		static long (*next)(long, ...);

		if (!next)
			next = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
		return next(number, a[0], a[1], a[2], a[3], a[4], a[5]);
	}
	if (device < 0)
		device = open(OXBPF_DEVICE, O_RDWR | O_CLOEXEC);
	if (device < 0)
		return -1;
	/* The commands and sizes that an ioctl's number has room for. */
	if (a[0] > 0xff || a[2] > 0x3fff) {
		errno = EINVAL;
		return -1;
	}
	return ioctl(device, _IOC(_IOC_READ | _IOC_WRITE, 0xbf, a[0], a[2]), a[1]);
}

static int complain(const struct source *s, const char *why)
{
	fprintf(stderr, "oxbpf: %s: %s\n", s->file, why);
	return -1;
}

static int print_all(enum libbpf_print_level level, const char *format, va_list args)
{
	return level <= LIBBPF_DEBUG ? vfprintf(stderr, format, args) : 0;
}

static int print_warnings(enum libbpf_print_level level, const char *format, va_list args)
{
	return level == LIBBPF_WARN ? vfprintf(stderr, format, args) : 0;
}

static bool wanted(const struct source *s, const struct bpf_program *p)
{
	if (s->program)
		return !strcmp(bpf_program__name(p), s->program);
	return !s->section || !strcmp(bpf_program__section_name(p), s->section);
}

/* Programs that the wanted one can jump to are loaded with it. */
static bool has_tail_calls(const struct bpf_object *obj)
{
	struct bpf_map *map;

	bpf_object__for_each_map(map, obj)
		if (bpf_map__type(map) == BPF_MAP_TYPE_PROG_ARRAY)
			return true;
	return false;
}

int oxbpf_load(struct source *s, enum bpf_prog_type type)
{
	struct bpf_program *p, *found = NULL;
	char path[4096];
	struct bpf_object *obj;
	bool all;

	libbpf_set_print(s->verbose ? print_all : print_warnings);
	obj = bpf_object__open_file(s->file, NULL);
	if (!obj)
		return complain(s, strerror(errno));
	all = has_tail_calls(obj);
	bpf_object__for_each_program(p, obj) {
		bpf_program__set_type(p, type);
		/* The attach type of a section named for tcx would bind it to that hook. */
		bpf_program__set_expected_attach_type(p, 0);
		if (!found && wanted(s, p))
			found = p;
		else if (!all)
			bpf_program__set_autoload(p, false);
	}
	if (!found)
		return complain(s, "no such program in it");
	if (bpf_object__load(obj))
		return complain(s, strerror(errno));
	if (!s->name[0]) {
		snprintf(path, sizeof(path), "%s", s->file);
		snprintf(s->name, sizeof(s->name), "%.100s:[%.100s]", basename(path),
			 bpf_program__section_name(found));
	}
	return bpf_program__fd(found);
}
