// SPDX-License-Identifier: GPL-2.0
/*
 * flows: which IPv4 packets a device receives while a command runs.
 *
 *	flows [-k KIND] [-p PORT] [-b OBJECT] DEVICE COMMAND [ARG...]
 *
 * UDP to PORT is dropped. A libbpf program: with kind bpf, the default, it attaches by libbpf; with
 * kind oxbpf, under scripts/with-oxbpf, by tc, which passes the program's descriptor on. Exit status:
 * the command's, or 1 when something failed.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <net/if.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "flows.h"

#define ROWS_MAX 1024

static const char *const count_names[COUNTS] = {
	[CLASS_DELAY] = "class low delay",
	[CLASS_THROUGHPUT] = "class throughput",
	[CLASS_OTHER] = "class other",
	[DROPPED] = "dropped",
};

static int fail(const char *what, int err)
{
	fprintf(stderr, "flows: %s: %s\n", what, strerror(err < 0 ? -err : err));
	return 1;
}

/* Runs a program; its exit status, or 1. */
static int run(char *const argv[])
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		execvp(argv[0], argv);
		fprintf(stderr, "flows: %s: %s\n", argv[0], strerror(errno));
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return fail(argv[0], errno);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

/* By tc, which gets the descriptor from us and gives it to the kernel. */
static int attach_tc(const char *dev, int fd)
{
	char number[16];
	char *const qdisc[] = { "tc", "qdisc", "replace", "dev", (char *)dev, "clsact", NULL };
	char *const filter[] = { "tc", "filter", "add", "dev", (char *)dev, "ingress", "oxbpf",
				 "da", "fd", number, NULL };

	snprintf(number, sizeof(number), "%d", fd);
	if (fcntl(fd, F_SETFD, 0))
		return fail("descriptor", errno);
	return run(qdisc) || run(filter);
}

static int attach(const char *kind, const char *dev, struct bpf_program *prog)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = if_nametoindex(dev),
		    .attach_point = BPF_TC_INGRESS);
	LIBBPF_OPTS(bpf_tc_opts, opts, .prog_fd = bpf_program__fd(prog));
	int err;

	if (!strcmp(kind, "oxbpf"))
		return attach_tc(dev, bpf_program__fd(prog));
	err = bpf_tc_hook_create(&hook);
	if (err && err != -EEXIST)
		return fail("clsact", err);
	err = bpf_tc_attach(&hook, &opts);
	return err ? fail("attaching", err) : 0;
}

static void detach(const char *dev)
{
	char *const argv[] = { "tc", "qdisc", "del", "dev", (char *)dev, "clsact", NULL };

	run(argv);
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int print(struct bpf_object *obj)
{
	int flows = bpf_object__find_map_fd_by_name(obj, "flows");
	int counts = bpf_object__find_map_fd_by_name(obj, "counts");
	struct flow flow, *prev = NULL;
	static char *rows[ROWS_MAX];
	struct count c;
	int n = 0;

	while (n < ROWS_MAX && bpf_map_get_next_key(flows, prev, &flow) == 0) {
		char from[16], to[16];

		prev = &flow;
		if (bpf_map_lookup_elem(flows, &flow, &c))
			continue;
		inet_ntop(AF_INET, &flow.saddr, from, sizeof(from));
		inet_ntop(AF_INET, &flow.daddr, to, sizeof(to));
		if (asprintf(&rows[n], "flow %s > %s proto %u port %u: %llu packets, %llu bytes",
			     from, to, flow.proto, ntohs(flow.dport), (unsigned long long)c.packets,
			     (unsigned long long)c.bytes) < 0)
			return fail("memory", ENOMEM);
		n++;
	}
	qsort(rows, n, sizeof(rows[0]), by_text);
	for (int i = 0; i < n; i++)
		puts(rows[i]);
	for (__u32 slot = 0; slot < COUNTS; slot++) {
		if (bpf_map_lookup_elem(counts, &slot, &c))
			return fail("reading map counts", errno);
		printf("%s: %llu packets, %llu bytes\n", count_names[slot],
		       (unsigned long long)c.packets, (unsigned long long)c.bytes);
	}
	return fflush(stdout) ? fail("output", errno) : 0;
}

/* The object beside this program. */
static const char *default_object(void)
{
	static char path[PATH_MAX];
	ssize_t len = readlink("/proc/self/exe", path, sizeof(path) - 1);
	char *slash;

	path[len < 0 ? 0 : len] = 0;
	slash = strrchr(path, '/');
	if (slash)
		slash[1] = 0;
	strncat(path, "flows.bpf.o", sizeof(path) - strlen(path) - 1);
	return path;
}

int main(int argc, char **argv)
{
	const char *object = default_object(), *kind = "bpf";
	__u32 zero = 0, port = 0;
	struct bpf_program *prog;
	struct bpf_object *obj;
	int opt, err, status;

	while ((opt = getopt(argc, argv, "+k:p:b:")) != -1) {
		switch (opt) {
		case 'k':
			kind = optarg;
			break;
		case 'p':
			port = atoi(optarg);
			break;
		case 'b':
			object = optarg;
			break;
		default:
			return 2;
		}
	}
	if (argc - optind < 2) {
		fprintf(stderr, "usage: flows [-k KIND] [-p PORT] [-b OBJECT] DEVICE COMMAND [ARG...]\n");
		return 2;
	}
	obj = bpf_object__open_file(object, NULL);
	if (!obj)
		return fail(object, errno);
	err = bpf_object__load(obj);
	if (err)
		return fail("loading", err);
	if (bpf_map_update_elem(bpf_object__find_map_fd_by_name(obj, "settings"), &zero, &port, 0))
		return fail("setting the port", errno);
	prog = bpf_object__find_program_by_name(obj, "count_flows");
	status = attach(kind, argv[optind], prog);
	if (!status) {
		status = run(&argv[optind + 1]);
		detach(argv[optind]);
		status = print(obj) || status;
	}
	bpf_object__close(obj);
	return status;
}
