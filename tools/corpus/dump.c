// SPDX-License-Identifier: GPL-2.0
/*
 * Writes the kernel tree's verifier tests (tools/testing/selftests/bpf/verifier) as text.
 *
 * The tests are C initialisers, and what they use is defined in test_verifier.c; so that file is
 * included whole, under another name for its main(). Nothing of it is called except the functions
 * that fill in generated programs. build.sh says how this is compiled.
 *
 * A test is these lines, in this order, and an empty line:
 *   test DESCRIPTION
 *   file NAME
 *   prog TYPE FLAGS ATTACH_TYPE RESULT RESULT_UNPRIV NEEDS_BTF
 *   err TEXT            (may be absent; tabs separate parts)
 *   err_unpriv TEXT     (may be absent)
 *   run VALUE VALUE DATA  (a run: what it returns, what it does for unprivileged loaders if not
 *                          0, and the packet)
 *   map SLOT KIND       (one for each map reference)
 *   insns HEX           (16 hex digits an instruction, bytes in memory order)
 */
#define main test_verifier_main
#include "test_verifier.c"
#undef main

static void maps(const char *kind, const int *at)
{
	for (int i = 0; i < MAX_FIXUPS && at[i]; i++)
		printf("map %d %s\n", at[i], kind);
}

static void text(const char *key, const char *s)
{
	if (!s)
		return;
	printf("%s ", key);
	for (; *s; s++) {
		if (*s == '\n')
			printf("\\n");
		else
			putchar(*s);
	}
	putchar('\n');
}

int main(void)
{
	const char *file = "";

	for (size_t n = 0; n < ARRAY_SIZE(tests); n++) {
		struct bpf_test *t = &tests[n];
		const struct bpf_insn *insns = t->insns;
		int len;

		if (!t->descr) {
			/* A mark that build.sh put before each file's tests. */
			file = t->errstr;
			continue;
		}
		bpf_semi_rand_init();
		if (t->fill_helper) {
			t->fill_insns = calloc(MAX_TEST_INSNS, sizeof(struct bpf_insn));
			t->fill_helper(t);
			insns = t->fill_insns;
			len = t->prog_len;
		} else {
			len = t->prog_len ? t->prog_len : probe_filter_length(t->insns);
		}
		text("test", t->descr);
		text("file", file);
		printf("prog %d %d %d %d %d %d\n",
		       t->prog_type ? t->prog_type : BPF_PROG_TYPE_SOCKET_FILTER, t->flags,
		       t->expected_attach_type, t->result, t->result_unpriv,
		       t->func_info_cnt || t->kfunc || t->fixup_kfunc_btf_id[0].kfunc);
		text("err", t->errstr);
		text("err_unpriv", t->errstr_unpriv);
		for (int i = 0; i < (t->runs ? t->runs : 1) && i < MAX_TEST_RUNS; i++) {
			printf("run %u %u ", t->retvals[i].retval, t->retvals[i].retval_unpriv);
			for (int j = 0; j < TEST_DATA_LEN; j++)
				printf("%02x", t->retvals[i].data[j]);
			printf("\n");
		}
		maps("hash_8b", t->fixup_map_hash_8b);
		maps("hash_48b", t->fixup_map_hash_48b);
		maps("hash_16b", t->fixup_map_hash_16b);
		maps("array_48b", t->fixup_map_array_48b);
		maps("array_ro", t->fixup_map_array_ro);
		maps("array_wo", t->fixup_map_array_wo);
		maps("array_small", t->fixup_map_array_small);
		maps("prog1", t->fixup_prog1);
		maps("prog2", t->fixup_prog2);
		maps("sockmap", t->fixup_map_sockmap);
		maps("sockhash", t->fixup_map_sockhash);
		maps("xskmap", t->fixup_map_xskmap);
		maps("stacktrace", t->fixup_map_stacktrace);
		maps("map_in_map", t->fixup_map_in_map);
		maps("cgroup_storage", t->fixup_cgroup_storage);
		maps("percpu_cgroup_storage", t->fixup_percpu_cgroup_storage);
		maps("spin_lock", t->fixup_map_spin_lock);
		maps("sk_storage", t->fixup_sk_storage_map);
		maps("event_output", t->fixup_map_event_output);
		maps("reuseport_array", t->fixup_map_reuseport_array);
		maps("ringbuf", t->fixup_map_ringbuf);
		maps("timer", t->fixup_map_timer);
		maps("kptr", t->fixup_map_kptr);
		printf("insns ");
		for (int i = 0; i < len; i++) {
			const unsigned char *b = (const void *)&insns[i];

			for (int j = 0; j < 8; j++)
				printf("%02x", b[j]);
		}
		printf("\n\n");
	}
	return 0;
}
