// SPDX-License-Identifier: GPL-2.0
/*
 * records OBJECT: a ring buffer by libbpf, as programs use it: ring_buffer__poll() in one thread, a
 * program that writes records in another. Each record must come once and in order. The count is in an
 * array that is mapped too. 0 when all is well.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#define RECORDS	20000

static unsigned long long next, bad;
static volatile unsigned long long *count;

static int got(void *ctx, void *data, size_t size)
{
	unsigned long long *record = data;

	(void)ctx;
	if (next % 10 == 4)
		next++;
	if (size != 16 || record[0] != next || record[1] != next * next)
		bad++;
	next++;
	return 0;
}

static void *produce(void *arg)
{
	static char packet[64];
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = packet, .data_size_in = sizeof(packet));
	int fd = *(int *)arg;

	while (*count < RECORDS) {
		int err = bpf_prog_test_run_opts(fd, &opts);

		if (err || opts.retval == 1) {
			fprintf(stderr, "run: %d, retval %u\n", err, opts.retval);
			exit(1);
		}
		if (opts.retval == 2)
			usleep(100);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	struct ring_buffer *ring;
	struct bpf_object *object;
	pthread_t thread;
	time_t since = time(NULL);
	int fd, n;

	if (argc != 2)
		return 2;
	object = bpf_object__open_file(argv[1], NULL);
	if (!object || bpf_object__load(object)) {
		fprintf(stderr, "load: %s\n", strerror(errno));
		return 1;
	}
	fd = bpf_program__fd(bpf_object__find_program_by_name(object, "records"));
	count = mmap(NULL, getpagesize(), PROT_READ, MAP_SHARED,
		     bpf_object__find_map_fd_by_name(object, "count"), 0);
	if (count == MAP_FAILED) {
		fprintf(stderr, "mmap: %s\n", strerror(errno));
		return 1;
	}
	ring = ring_buffer__new(bpf_object__find_map_fd_by_name(object, "ring"), got, NULL, NULL);
	if (!ring) {
		fprintf(stderr, "ring_buffer__new: %s\n", strerror(errno));
		return 1;
	}
	if (pthread_create(&thread, NULL, produce, &fd))
		return 1;
	/*
	 * 0 is a timeout, or that all that came was discarded, or at once that the next record is
	 * still being written: only time tells whether something is wrong.
	 */
	while (next < RECORDS) {
		n = ring_buffer__poll(ring, 1000);
		if (n > 0)
			since = time(NULL);
		if (n < 0 || time(NULL) - since > 60) {
			fprintf(stderr, "poll: %d after %llu of %llu\n", n, next, *count);
			return 1;
		}
	}
	pthread_join(thread, NULL);
	printf("%llu records, %llu wrong\n", next, bad);
	ring_buffer__free(ring);
	bpf_object__close(object);
	return bad != 0;
}
