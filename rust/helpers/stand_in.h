/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A struct bpf_prog of the kernel's that stands for a program of ours, where the kernel's own hooks
 * want one. It was made by the kernel's functions for that, has no instructions, and calls what it is
 * told to. It has no number and nobody can get at it by bpf(2).
 */
#ifndef OXBPF_HELPERS_STAND_IN_H
#define OXBPF_HELPERS_STAND_IN_H

#include <linux/bpf.h>
#include <linux/filter.h>

typedef unsigned int (*oxbpf_stand_in_t)(const void *ctx, const struct bpf_insn *insn);

struct bpf_prog *oxbpf_stand_in(enum bpf_prog_type type, oxbpf_stand_in_t run, void *data);

/* What was given as data, from what the function got as insn. */
static __always_inline void *oxbpf_stand_in_data(const struct bpf_insn *insn)
{
	void *data;

	memcpy(&data, insn, sizeof(data));
	return data;
}

#endif
