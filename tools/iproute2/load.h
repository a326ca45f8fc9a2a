/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Between the plug-in and the library beside it that loads programs.
 */
#ifndef OXBPF_LOAD_H
#define OXBPF_LOAD_H

#include <stdbool.h>

#include <linux/bpf.h>

#define OXBPF_LOAD_LIBRARY "oxbpf_load.so"

/* Where the program comes from, and under which name tc shows it. */
struct source {
	const char *file;
	const char *section;
	const char *program;
	int fd;
	bool verbose;
	char name[256];
};

/*
 * Loads the object's programs of that type. Returns the wanted one's descriptor, which stays open
 * like those of its maps, or -1 when it has said what is wrong. Fills an empty name.
 */
typedef int (*oxbpf_load_t)(struct source *s, enum bpf_prog_type type);

#endif
