// SPDX-License-Identifier: GPL-2.0
/*
 * Programs of the kernel's kind that stand for ours.
 */

#include "stand_in.h"

/*
 * One that calls run with data behind its instructions' address. It starts with a reference more
 * than the hook will put, so the kernel never takes it for unused: bpf_prog_free() ends it, when no
 * hook has it and a grace period is over. NULL when there is no memory.
 */
struct bpf_prog *oxbpf_stand_in(enum bpf_prog_type type, oxbpf_stand_in_t run, void *data)
{
	/* Hooks pass over programs of no length. */
	const unsigned int len = 1;
	/* Without memory the caller gets an error, and the log no warning. */
	struct bpf_prog *prog = bpf_prog_alloc(bpf_prog_size(len), __GFP_NOWARN);

	if (!prog)
		return NULL;
	BUILD_BUG_ON(sizeof(data) > sizeof(struct bpf_insn));
	memcpy(prog->insnsi, &data, sizeof(data));
	prog->len = len;
	prog->type = type;
	prog->gpl_compatible = 1;
	prog->bpf_func = run;
	atomic64_set(&prog->aux->refcnt, 2);
	return prog;
}
