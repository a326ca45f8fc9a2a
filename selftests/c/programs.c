// SPDX-License-Identifier: GPL-2.0
/*
 * programs OBJECT...: loads every program of each object by itself, attaches or runs it, and prints a
 * line of it:
 *
 *	OBJECT:PROGRAM load=ERRNO attach=ERRNO run=RESULT why=TEXT
 *
 * attach is by the program's section, as libbpf does it; run is the result of test runs on some
 * packets, with a sum of the bytes that came out. "-" stands for what does not apply. The text is the
 * last but one line of the verifier's log, or what libbpf complained of last.
 */
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

static char said[4096];
static char verifier_log[1 << 20];

static int note(enum libbpf_print_level level, const char *format, va_list args)
{
	char line[4096], *end;

	if (level == LIBBPF_DEBUG)
		return 0;
	vsnprintf(line, sizeof(line), format, args);
	/* That BTF could not be loaded is no error of a program. */
	if (strstr(line, "BTF") || strstr(line, "-- END") || strstr(line, "failed to load"))
		return 0;
	end = strchr(line, '\n');
	if (end)
		*end = '\0';
	snprintf(said, sizeof(said), "%s", line);
	return 0;
}

/* The last line of the log that says something of the program. */
static const char *last_line(void)
{
	char *line, *best = NULL, *next;

	for (line = strtok_r(verifier_log, "\n", &next); line; line = strtok_r(NULL, "\n", &next))
		if (strncmp(line, "processed ", 10) && strncmp(line, "verification time", 17) &&
		    strncmp(line, "stack depth", 11) && *line)
			best = line;
	return best;
}

/* TCP over IPv4, UDP over IPv6, and neither. */
static void packet(int kind, unsigned char *data)
{
	int i;

	for (i = 0; i < 128; i++)
		data[i] = i * 7;
	if (kind == 0) {
		memcpy(data + 12, "\x08\x00\x45\x10\x00\x72\x00\x00\x40\x00\x40\x06\x00\x00", 14);
		memcpy(data + 26, "\x0a\x00\x00\x01\x0a\x00\x00\x02\x00\x50\x1f\x90", 12);
		data[46] = 0x50;
	} else if (kind == 1) {
		memcpy(data + 12, "\x86\xdd\x60\x00\x00\x00\x00\x4a\x11\x40", 10);
	} else {
		memcpy(data + 12, "\x12\x34", 2);
	}
}

static void run(int fd)
{
	unsigned char in[128], out[1024];
	int kind, err;
	unsigned int i;

	for (kind = 0; kind < 3; kind++) {
		LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = in, .data_size_in = sizeof(in),
			    .data_out = out, .data_size_out = sizeof(out));
		unsigned int sum = 0;

		packet(kind, in);
		err = bpf_prog_test_run_opts(fd, &opts);
		for (i = 0; !err && i < opts.data_size_out && i < sizeof(out); i++)
			sum = sum * 31 + out[i];
		if (err)
			printf("%sE%d", kind ? "," : "", -err);
		else
			printf("%s%d/%u/%08x", kind ? "," : "", (int)opts.retval,
			       opts.data_size_out, sum);
	}
}

/* Types that the module knows. */
static bool known(enum bpf_prog_type type)
{
	switch (type) {
	case BPF_PROG_TYPE_SOCKET_FILTER:
	case BPF_PROG_TYPE_KPROBE:
	case BPF_PROG_TYPE_SCHED_CLS:
	case BPF_PROG_TYPE_SCHED_ACT:
	case BPF_PROG_TYPE_TRACEPOINT:
	case BPF_PROG_TYPE_XDP:
	case BPF_PROG_TYPE_PERF_EVENT:
	case BPF_PROG_TYPE_CGROUP_SKB:
	case BPF_PROG_TYPE_RAW_TRACEPOINT:
		return true;
	default:
		return false;
	}
}

/* In a process of its own, for what may end or hang it. */
static void try(const char *path, const char *wanted, const char *object_name)
{
	struct bpf_program *prog, *p;
	struct bpf_object *object;
	struct bpf_link *link;
	int err;

	object = bpf_object__open_file(path, NULL);
	if (!object)
		return;
	prog = bpf_object__find_program_by_name(object, wanted);
	bpf_object__for_each_program(p, object)
		bpf_program__set_autoload(p, p == prog);
	bpf_program__set_log_buf(prog, verifier_log, sizeof(verifier_log));
	bpf_program__set_log_level(prog, 1);
	printf("%s:%s ", object_name, wanted);
	err = bpf_object__load(object);
	printf("load=%d ", -err);
	if (err) {
		const char *line = last_line();

		printf("attach=- run=- why=%s\n", line ? line : said);
		return;
	}
	switch (bpf_program__type(prog)) {
	case BPF_PROG_TYPE_SOCKET_FILTER:
	case BPF_PROG_TYPE_SCHED_CLS:
	case BPF_PROG_TYPE_SCHED_ACT:
	case BPF_PROG_TYPE_CGROUP_SKB:
		printf("attach=- run=");
		run(bpf_program__fd(prog));
		break;
	case BPF_PROG_TYPE_KPROBE:
	case BPF_PROG_TYPE_TRACEPOINT:
	case BPF_PROG_TYPE_RAW_TRACEPOINT:
		errno = 0;
		link = bpf_program__attach(prog);
		printf("attach=%d run=-", link ? 0 : errno);
		usleep(1000);
		bpf_link__destroy(link);
		break;
	default:
		printf("attach=- run=-");
	}
	printf(" why=%s\n", said);
}

int main(int argc, char **argv)
{
	struct bpf_program *prog;
	struct bpf_object *object;
	const char *name;
	int i, status;
	pid_t pid;

	libbpf_set_print(note);
	for (i = 1; i < argc; i++) {
		name = strrchr(argv[i], '/');
		name = name ? name + 1 : argv[i];
		object = bpf_object__open_file(argv[i], NULL);
		if (!object) {
			fprintf(stderr, "%s: errno %d: %s\n", name, errno, said);
			continue;
		}
		bpf_object__for_each_program(prog, object) {
			if (!known(bpf_program__type(prog)))
				continue;
			fflush(stdout);
			pid = fork();
			if (!pid) {
				alarm(20);
				try(argv[i], bpf_program__name(prog), name);
				fflush(stdout);
				_exit(0);
			}
			waitpid(pid, &status, 0);
			if (status)
				printf("%s:%s died=%d\n", name, bpf_program__name(prog), status);
		}
		bpf_object__close(object);
	}
	return 0;
}
