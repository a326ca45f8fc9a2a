// SPDX-License-Identifier: GPL-2.0
/*
 * test_maps DIR [quick]: the tests of test_maps, each in a process of its own, for theirs end the
 * process that they fail in. DIR has the programs that they load. quick: without those that take long.
 */

/* Made by the build from the kernel's source: its tests are static functions. */
#define main upstream_main
#include "test_maps.c"
#undef main

/* For the test of SOCKMAP, which does not run. */
int bpf_prog_test_load(const char *file, enum bpf_prog_type type, struct bpf_object **obj, int *fd)
{
	return -ENOTSUP;
}

extern void test_array_map_batch_ops(void);
extern void test_htab_map_batch_ops(void);
extern void test_lpm_trie_map_basic_ops(void);
extern void test_lpm_trie_map_batch_ops(void);
extern void test_lpm_trie_map_get_next_key(void);
extern void test_map_in_map_batch_ops_array(void);
extern void test_map_in_map_batch_ops_hash(void);

/* Tasks that do one thing at the same time. */
#define MANY 4

#define ALONE(name) static void name(void) { test_##name(0, NULL); }
#define TOGETHER(name) static void many_##name(void) { __run_parallel(MANY, test_##name, NULL); }

ALONE(hashmap)
ALONE(hashmap_percpu)
ALONE(hashmap_walk)
ALONE(arraymap)
ALONE(arraymap_percpu)
ALONE(queuemap)
ALONE(stackmap)
TOGETHER(hashmap_walk)
TOGETHER(hashmap)
TOGETHER(hashmap_percpu)
TOGETHER(hashmap_sizes)
TOGETHER(arraymap)
TOGETHER(arraymap_percpu)

struct test {
	const char *name;
	void (*run)(void);
	/* Why it does not run. */
	const char *skip;
	bool slow;
};

/* Run twice: with memory from the start, and without. */
static const struct test twice[] = {
	{ "hashmap", hashmap },
	{ "hashmap_percpu", hashmap_percpu },
	{ "hashmap_walk", hashmap_walk },
	{ "hashmap_zero_seed", test_hashmap_zero_seed },
	{ "arraymap", arraymap },
	{ "arraymap_percpu", arraymap_percpu },
	{ "arraymap_percpu_many_keys", test_arraymap_percpu_many_keys },
	{ "map_large", test_map_large, .slow = true },
	{ "map_parallel", test_map_parallel, .slow = true },
	{ "map_stress: hashmap_walk", many_hashmap_walk, .slow = true },
	{ "map_stress: hashmap", many_hashmap },
	{ "map_stress: hashmap_percpu", many_hashmap_percpu },
	{ "map_stress: hashmap_sizes", many_hashmap_sizes, .slow = true },
	{ "map_stress: arraymap", many_arraymap },
	{ "map_stress: arraymap_percpu", many_arraymap_percpu },
	{ "map_rdonly", test_map_rdonly },
	{ "map_wronly", test_map_wronly },
	{ "queuemap", queuemap },
	{ "stackmap", stackmap },
	{ "map_in_map", test_map_in_map },
};

static const struct test once[] = {
	{ "array_map_batch_ops", test_array_map_batch_ops },
	{ "htab_map_batch_ops", test_htab_map_batch_ops },
	{ "lpm_trie_map_basic_ops", test_lpm_trie_map_basic_ops, .slow = true },
	{ "lpm_trie_map_batch_ops", test_lpm_trie_map_batch_ops },
	{ "lpm_trie_map_get_next_key", test_lpm_trie_map_get_next_key, .slow = true },
	{ "map_in_map_batch_ops_array", test_map_in_map_batch_ops_array },
	{ "map_in_map_batch_ops_hash", test_map_in_map_batch_ops_hash },
	{ "devmap", NULL, "no DEVMAP" },
	{ "devmap_hash", NULL, "no DEVMAP_HASH" },
	{ "sockmap", NULL, "no SOCKMAP" },
	{ "reuseport_array", NULL, "no REUSEPORT_SOCKARRAY" },
	{ "sk_storage_map", NULL, "no SK_STORAGE" },
	{ "map_percpu_stats", NULL, "no programs of iterators, which it counts with" },
};

static int number;
static bool quick;
/* What a test says, which is shown when it fails. */
static FILE *said;

static void show(void)
{
	char line[512];

	rewind(said);
	while (fgets(line, sizeof(line), said))
		printf("# %s%s", line, strchr(line, '\n') ? "" : "\n");
}

static void run(const struct test *t, const char *how)
{
	struct timespec from, to;
	int status = 0;
	pid_t pid;

	number++;
	if (t->skip || (quick && t->slow)) {
		printf("ok %d %s%s # SKIP %s\n", number, t->name, how,
		       t->skip ?: "takes long on a kernel that looks at every access");
		return;
	}
	fflush(stdout);
	if (ftruncate(fileno(said), 0) || lseek(fileno(said), 0, SEEK_SET))
		exit(1);
	clock_gettime(CLOCK_MONOTONIC, &from);
	pid = fork();
	if (!pid) {
		dup2(fileno(said), 1);
		dup2(fileno(said), 2);
		alarm(100);
		t->run();
		fflush(stdout);
		_exit(0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		status = -1;
	clock_gettime(CLOCK_MONOTONIC, &to);
	if (status)
		show();
	printf("%sok %d %s%s (%ld ms)\n", status ? "not " : "", number, t->name, how,
	       (to.tv_sec - from.tv_sec) * 1000 + (to.tv_nsec - from.tv_nsec) / 1000000);
}

int main(int argc, char **argv)
{
	size_t i;

	quick = argc == 3 && !strcmp(argv[2], "quick");
	if (argc != 2 + quick || chdir(argv[1])) {
		fprintf(stderr, "usage: test_maps DIR [quick]\n");
		return 2;
	}
	said = tmpfile();
	if (!said)
		return 2;
	srand(time(NULL));
	libbpf_set_strict_mode(LIBBPF_STRICT_ALL);
	printf("TAP version 14\n1..%zu\n", 2 * ARRAY_SIZE(twice) + ARRAY_SIZE(once));
	for (i = 0; i < ARRAY_SIZE(twice); i++)
		run(&twice[i], "");
	map_opts.map_flags = BPF_F_NO_PREALLOC;
	for (i = 0; i < ARRAY_SIZE(twice); i++)
		run(&twice[i], ", not preallocated");
	for (i = 0; i < ARRAY_SIZE(once); i++)
		run(&once[i], "");
	return 0;
}
