// SPDX-License-Identifier: GPL-2.0
/*
 * opens: which processes open files, and how large the files are, while a command runs.
 *
 *	opens [-o FILE] [-l LABEL] [-b OBJECT] COMMAND [ARG...]
 *	opens -c FILE FILE
 *
 * An ordinary libbpf program that knows nothing of oxbpf: as it is it uses the kernel's own
 * bpf(2), and under scripts/with-oxbpf it uses oxbpf. -o saves the counts, -c compares two saved
 * runs. Exit status: the command's, or 1 when something failed, or with -c 1 when counts differ.
 */
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "opens.h"

#define FUNCTION "vfs_open"
#define BAR 40
#define ROWS_MAX 1024

struct row {
	struct process process;
	struct usage usage;
};

/* What one run counted. */
struct counts {
	char label[32];
	struct row rows[ROWS_MAX];
	int row_cnt;
	unsigned long long sizes[SIZE_SLOTS];
};

static struct counts runs[2];

static int fail(const char *what, int err)
{
	fprintf(stderr, "opens: %s: %s\n", what, strerror(err < 0 ? -err : err));
	return 1;
}

static int by_opens(const void *a, const void *b)
{
	const struct row *x = a, *y = b;

	if (x->usage.opens != y->usage.opens)
		return x->usage.opens < y->usage.opens ? 1 : -1;
	return strncmp(x->process.name, y->process.name, sizeof(x->process.name));
}

/* "512", "1K", "64M": 2^bits bytes */
static const char *power(int bits)
{
	static char text[4][16];
	static int turn;
	char *t = text[turn++ % 4];

	snprintf(t, sizeof(text[0]), "%llu%.1s", 1ULL << bits % 10, &"\0KMGTP"[bits / 10]);
	return t;
}

static const char *human(unsigned long long bytes)
{
	static char text[32];
	double x = bytes;
	int unit = 0;

	while (x >= 1024 && unit < 5) {
		x /= 1024;
		unit++;
	}
	snprintf(text, sizeof(text), unit ? "%.1f %ciB" : "%.0f %c", x, "BKMGTP"[unit]);
	return text;
}

static const char *range(int slot)
{
	static char text[32];

	if (slot == 0)
		return "empty";
	if (slot == SIZE_SLOTS - 1)
		snprintf(text, sizeof(text), "%s and more", power(slot - 1));
	else
		snprintf(text, sizeof(text), "%s to %s", power(slot - 1), power(slot));
	return text;
}

static int read_maps(struct bpf_object *obj, struct counts *c)
{
	int processes = bpf_object__find_map_fd_by_name(obj, "processes");
	int sizes = bpf_object__find_map_fd_by_name(obj, "sizes");
	struct process key, *prev = NULL;

	c->row_cnt = 0;
	while (c->row_cnt < ROWS_MAX && bpf_map_get_next_key(processes, prev, &key) == 0) {
		struct row *r = &c->rows[c->row_cnt];

		r->process = key;
		prev = &r->process;
		if (bpf_map_lookup_elem(processes, &key, &r->usage) == 0)
			c->row_cnt++;
	}
	for (__u32 slot = 0; slot < SIZE_SLOTS; slot++)
		if (bpf_map_lookup_elem(sizes, &slot, &c->sizes[slot]))
			return fail("reading map sizes", errno);
	qsort(c->rows, c->row_cnt, sizeof(c->rows[0]), by_opens);
	return 0;
}

static void print(const struct counts *c, double seconds)
{
	unsigned long long opens = 0, bytes = 0, most = 1;

	for (int i = 0; i < c->row_cnt; i++) {
		opens += c->rows[i].usage.opens;
		bytes += c->rows[i].usage.bytes;
	}
	printf("\n%s: %llu opens in %.1f s, counted at " FUNCTION "\n\n", c->label, opens, seconds);
	printf("  %-16s %8s %14s\n", "PROCESS", "OPENS", "SIZE OF FILES");
	for (int i = 0; i < c->row_cnt; i++)
		printf("  %-16.16s %8llu %14s\n", c->rows[i].process.name,
		       (unsigned long long)c->rows[i].usage.opens, human(c->rows[i].usage.bytes));
	printf("  %-16s %8llu %14s\n\n", "(all)", opens, human(bytes));

	for (int s = 0; s < SIZE_SLOTS; s++)
		if (c->sizes[s] > most)
			most = c->sizes[s];
	printf("  %-16s %8s\n", "FILE SIZE", "OPENS");
	for (int s = 0; s < SIZE_SLOTS; s++) {
		int bar = c->sizes[s] * BAR / most;

		if (c->sizes[s])
			printf("  %-16s %8llu |%.*s%*s|\n", range(s), c->sizes[s], bar,
			       "########################################", BAR - bar, "");
	}
	fflush(stdout);
}

static int save(const struct counts *c, const char *file)
{
	FILE *f = fopen(file, "w");

	if (!f)
		return fail(file, errno);
	fprintf(f, "label\t%s\n", c->label);
	for (int i = 0; i < c->row_cnt; i++)
		fprintf(f, "process\t%.16s\t%llu\t%llu\n", c->rows[i].process.name,
			(unsigned long long)c->rows[i].usage.opens,
			(unsigned long long)c->rows[i].usage.bytes);
	for (int s = 0; s < SIZE_SLOTS; s++)
		fprintf(f, "size\t%d\t%llu\n", s, c->sizes[s]);
	return fclose(f) ? fail(file, errno) : 0;
}

static int load(struct counts *c, const char *file)
{
	FILE *f = fopen(file, "r");
	char line[256];

	if (!f)
		return fail(file, errno);
	while (fgets(line, sizeof(line), f)) {
		struct row *r = &c->rows[c->row_cnt];
		unsigned long long a, b;
		int slot;

		if (sscanf(line, "label\t%31[^\n]", c->label) == 1)
			continue;
		if (c->row_cnt < ROWS_MAX &&
		    sscanf(line, "process\t%15[^\t]\t%llu\t%llu", r->process.name, &a, &b) == 3) {
			r->usage.opens = a;
			r->usage.bytes = b;
			c->row_cnt++;
		} else if (sscanf(line, "size\t%d\t%llu", &slot, &a) == 2 && slot >= 0 &&
			   slot < SIZE_SLOTS) {
			c->sizes[slot] = a;
		} else {
			fprintf(stderr, "opens: %s: not a line of a saved run: %s", file, line);
			fclose(f);
			return 1;
		}
	}
	fclose(f);
	return 0;
}

static unsigned long long opens_of(const struct counts *c, const char *name)
{
	for (int i = 0; i < c->row_cnt; i++)
		if (!strncmp(c->rows[i].process.name, name, sizeof(c->rows[i].process.name)))
			return c->rows[i].usage.opens;
	return 0;
}

static int differ(const char *name, unsigned long long a, unsigned long long b)
{
	printf("  %-16.16s %12llu %12llu   %s\n", name, a, b, a == b ? "equal" : "DIFFERENT");
	return a != b;
}

/* Side by side; returns how many rows differ. */
static int compare(const struct counts *a, const struct counts *b)
{
	int bad = 0;

	printf("\nside by side, opens on the same workload\n\n");
	printf("  %-16s %12s %12s\n", "PROCESS", a->label, b->label);
	for (int i = 0; i < a->row_cnt; i++)
		bad += differ(a->rows[i].process.name, a->rows[i].usage.opens,
			      opens_of(b, a->rows[i].process.name));
	for (int i = 0; i < b->row_cnt; i++)
		if (!opens_of(a, b->rows[i].process.name))
			bad += differ(b->rows[i].process.name, 0, b->rows[i].usage.opens);
	printf("\n  %-16s %12s %12s\n", "FILE SIZE", a->label, b->label);
	for (int s = 0; s < SIZE_SLOTS; s++)
		if (a->sizes[s] || b->sizes[s])
			bad += differ(range(s), a->sizes[s], b->sizes[s]);
	printf("\n  %s\n", bad ? "the counts differ" : "all counts are equal");
	return bad;
}

static int run_command(char **argv)
{
	pid_t pid = fork();
	int status;

	if (pid < 0)
		return fail("fork", errno);
	if (pid == 0) {
		/* the command's own bpf(2) calls, if any, are its own business */
		unsetenv("LD_PRELOAD");
		execvp(argv[0], argv);
		fprintf(stderr, "opens: %s: %s\n", argv[0], strerror(errno));
		_exit(127);
	}
	if (waitpid(pid, &status, 0) < 0)
		return fail("waitpid", errno);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int measure(const char *object, const char *label, const char *out, char **argv)
{
	const char *functions[] = { FUNCTION };
	LIBBPF_OPTS(bpf_kprobe_multi_opts, opts, .syms = functions, .cnt = 1);
	struct counts *c = &runs[0];
	struct timespec start, end;
	struct bpf_program *prog;
	struct bpf_object *obj;
	struct bpf_link *link;
	int status;

	snprintf(c->label, sizeof(c->label), "%s", label);
	obj = bpf_object__open_file(object, NULL);
	if (!obj)
		return fail(object, errno);
	prog = bpf_object__find_program_by_name(obj, "count_open");
	if (!prog)
		return fail("count_open is not in the object", ENOENT);
	bpf_program__set_expected_attach_type(prog, BPF_TRACE_KPROBE_MULTI);
	if (bpf_object__load(obj))
		return fail("loading the program", errno);
	link = bpf_program__attach_kprobe_multi_opts(prog, NULL, &opts);
	if (!link)
		return fail("attaching to " FUNCTION, errno);

	clock_gettime(CLOCK_MONOTONIC, &start);
	status = run_command(argv);
	clock_gettime(CLOCK_MONOTONIC, &end);

	bpf_link__destroy(link);
	if (read_maps(obj, c))
		return 1;
	bpf_object__close(obj);
	print(c, (end.tv_sec - start.tv_sec) + (end.tv_nsec - start.tv_nsec) / 1e9);
	if (out && save(c, out))
		return 1;
	return status;
}

static int quiet(enum libbpf_print_level level, const char *format, va_list args)
{
	return level == LIBBPF_WARN ? vfprintf(stderr, format, args) : 0;
}

int main(int argc, char **argv)
{
	const char *label = getenv("LD_PRELOAD") ? "oxbpf" : "in-tree";
	const char *object = NULL, *out = NULL;
	char path[PATH_MAX];
	int opt;

	libbpf_set_print(quiet);
	while ((opt = getopt(argc, argv, "+o:l:b:c")) != -1) {
		switch (opt) {
		case 'o':
			out = optarg;
			break;
		case 'l':
			label = optarg;
			break;
		case 'b':
			object = optarg;
			break;
		case 'c':
			if (argc - optind != 2)
				goto usage;
			if (load(&runs[0], argv[optind]) || load(&runs[1], argv[optind + 1]))
				return 1;
			return compare(&runs[0], &runs[1]) ? 1 : 0;
		default:
			goto usage;
		}
	}
	if (optind == argc)
		goto usage;
	if (!object) {
		/* beside this program */
		ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 16);

		if (n < 0)
			return fail("/proc/self/exe", errno);
		snprintf(path + n, sizeof(path) - n, ".bpf.o");
		object = path;
	}
	return measure(object, label, out, argv + optind);

usage:
	fprintf(stderr, "usage: opens [-o FILE] [-l LABEL] [-b OBJECT] COMMAND [ARG...]\n"
			"       opens -c FILE FILE\n");
	return 2;
}
