// SPDX-License-Identifier: GPL-2.0
/*
 * tc's kind oxbpf: `tc filter ... oxbpf ...` and `action oxbpf ...` for an unmodified iproute2.
 *
 *	TC_LIB_DIR=build/iproute2 tc filter add dev eth0 ingress oxbpf da obj prog.o sec tc
 *
 * tc opens this library under the names f_oxbpf.so and m_oxbpf.so.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include <linux/tc_act/tc_bpf.h>

#include "iproute2.h"
#include "load.h"

#define EXPORT __attribute__((visibility("default")))

EXPORT extern struct filter_util oxbpf_filter_util;

static int complain(const char *what, const char *why)
{
	fprintf(stderr, "oxbpf: %s%s%s\n", what, why ? ": " : "", why ? why : "");
	return -1;
}

/* The loader, which lives in a name space of its own: tc has a libbpf too, for its own bpf(2). */
static int load(struct source *s, enum bpf_prog_type type)
{
	char path[4096];
	oxbpf_load_t load;
	Dl_info self;
	void *lib;

	if (!dladdr(&oxbpf_filter_util, &self) || !self.dli_fname)
		return complain("dladdr", NULL);
	snprintf(path, sizeof(path), "%.*s" OXBPF_LOAD_LIBRARY,
		 (int)(strrchr(self.dli_fname, '/') + 1 - self.dli_fname), self.dli_fname);
	lib = dlmopen(LM_ID_NEWLM, path, RTLD_NOW | RTLD_LOCAL);
	load = lib ? (oxbpf_load_t)dlsym(lib, "oxbpf_load") : NULL;
	if (!load)
		return complain("loading", dlerror());
	return load(s, type);
}

static const char *const source_usage =
	"object-file FILE [section NAME | program NAME] [verbose] | fd NUMBER";

/*
 * One option about the program: 1 when it was one, 0 when not, -1 when it is wrong. The option's
 * words but the last are taken.
 */
static int parse_source(struct source *s, int *argc, char ***argv)
{
	const char *word = **argv;
	const char **to = NULL;
	__u32 number;

	if (!strcmp(word, "verbose") || !strcmp(word, "verb")) {
		s->verbose = true;
		return 1;
	}
	if (!strcmp(word, "object-file") || !strcmp(word, "object") || !strcmp(word, "obj"))
		to = &s->file;
	else if (!strcmp(word, "section") || !strcmp(word, "sec"))
		to = &s->section;
	else if (!strcmp(word, "program"))
		to = &s->program;
	else if (strcmp(word, "fd") && strcmp(word, "name"))
		return 0;

	if (*argc < 2)
		return complain(word, "its value is missing");
	++*argv;
	--*argc;
	if (to)
		*to = **argv;
	else if (!strcmp(word, "name"))
		snprintf(s->name, sizeof(s->name), "%s", **argv);
	else if (get_u32(&number, **argv, 0))
		return complain("not a descriptor", **argv);
	else
		s->fd = number;
	return 1;
}

/* The attributes of the program that the options named. */
static int add_source(struct source *s, enum bpf_prog_type type, struct nlmsghdr *n, int fd_attr,
		      int name_attr)
{
	int fd = s->fd;

	if (s->file && fd >= 0)
		return complain("object-file and fd are both given", NULL);
	if (s->file)
		fd = load(s, type);
	else if (fd < 0)
		return complain("no program", source_usage);
	if (fd < 0)
		return -1;
	if (!s->name[0])
		snprintf(s->name, sizeof(s->name), "fd:%d", fd);
	addattr32(n, TC_MESSAGE_MAX, fd_attr, fd);
	addattr_l(n, TC_MESSAGE_MAX, name_attr, s->name, strlen(s->name) + 1);
	return 0;
}

static int filter_usage(void)
{
	fprintf(stderr, "Usage: ... oxbpf [ %s ]\n"
		"                 [ name NAME ] [ classid CLASSID ] [ direct-action ]\n"
		"                 [ skip_hw ] [ police POLICE | action ACTION ]\n",
		source_usage);
	return -1;
}

static int parse_filter(const struct filter_util *kind, char *handle, int argc, char **argv,
			struct nlmsghdr *n)
{
	struct tcmsg *t = NLMSG_DATA(n);
	struct source s = { .fd = -1 };
	__u32 flags = 0, gen = 0, classid;
	struct rtattr *nest;

	if (handle && get_u32(&t->tcm_handle, handle, 0))
		return complain("not a handle", handle);
	if (!argc)
		return 0;

	nest = addattr_nest(n, TC_MESSAGE_MAX, TCA_OPTIONS);
	for (; argc > 0; argc--, argv++) {
		int taken = parse_source(&s, &argc, &argv);

		if (taken < 0)
			return -1;
		if (taken)
			continue;
		if (!strcmp(*argv, "direct-action") || !strcmp(*argv, "da")) {
			flags |= TCA_BPF_FLAG_ACT_DIRECT;
		} else if (!strcmp(*argv, "skip_hw")) {
			gen |= TCA_CLS_FLAGS_SKIP_HW;
		} else if (!strcmp(*argv, "skip_sw")) {
			gen |= TCA_CLS_FLAGS_SKIP_SW;
		} else if (!strcmp(*argv, "classid") || !strcmp(*argv, "flowid")) {
			argc--;
			argv++;
			if (argc < 1 || get_tc_classid(&classid, *argv))
				return complain("classid", "not a class");
			addattr32(n, TC_MESSAGE_MAX, TCA_BPF_CLASSID, classid);
		} else if (!strcmp(*argv, "action") || !strcmp(*argv, "police")) {
			bool police = !strcmp(*argv, "police");

			argc--;
			argv++;
			if (police ? parse_police(&argc, &argv, TCA_BPF_POLICE, n) :
				     parse_action(&argc, &argv, TCA_BPF_ACT, n))
				return -1;
			/* They stop at the word after theirs. */
			argc++;
			argv--;
		} else {
			if (strcmp(*argv, "help"))
				complain("what is", *argv);
			return filter_usage();
		}
	}
	if (add_source(&s, BPF_PROG_TYPE_SCHED_CLS, n, TCA_BPF_FD, TCA_BPF_NAME))
		return -1;
	if (flags)
		addattr32(n, TC_MESSAGE_MAX, TCA_BPF_FLAGS, flags);
	if (gen)
		addattr32(n, TC_MESSAGE_MAX, TCA_BPF_FLAGS_GEN, gen);
	addattr_nest_end(n, nest);
	return 0;
}

static void read_attrs(struct rtattr **tb, int max, struct rtattr *nest)
{
	int len = RTA_PAYLOAD(nest);
	struct rtattr *a;

	memset(tb, 0, sizeof(*tb) * (max + 1));
	for (a = RTA_DATA(nest); RTA_OK(a, len); a = RTA_NEXT(a, len)) {
		int type = a->rta_type & NLA_TYPE_MASK;

		if (type <= max)
			tb[type] = a;
	}
}

static __u32 attr_u32(const struct rtattr *a)
{
	return a ? *(const __u32 *)RTA_DATA(a) : 0;
}

static void show_text(FILE *f, const char *key, const char *before, const char *text)
{
	if (is_json_context())
		print_color_string(PRINT_JSON, 0, key, NULL, text);
	else
		fprintf(f, "%s%s ", before, text);
}

static void show_number(FILE *f, const char *key, unsigned int number)
{
	if (is_json_context())
		print_color_uint(PRINT_JSON, 0, key, NULL, number);
	else
		fprintf(f, "%s %u ", key, number);
}

static void show_flag(FILE *f, const char *key, const char *word)
{
	if (is_json_context())
		print_color_bool(PRINT_JSON, 0, key, NULL, true);
	else
		fprintf(f, "%s ", word);
}

static void show_program(FILE *f, const struct rtattr *id, const struct rtattr *tag)
{
	char text[3 * 8] = "";
	unsigned int i;

	if (id)
		show_number(f, "id", attr_u32(id));
	if (!tag)
		return;
	for (i = 0; i < RTA_PAYLOAD(tag) && i < 8; i++)
		sprintf(text + 2 * i, "%02x", ((const unsigned char *)RTA_DATA(tag))[i]);
	show_text(f, "tag", "tag ", text);
}

static int print_filter(const struct filter_util *kind, FILE *f, struct rtattr *opt, __u32 handle)
{
	struct rtattr *tb[TCA_BPF_MAX + 1];
	__u32 gen, classid;
	char text[32];

	if (!opt)
		return 0;
	read_attrs(tb, TCA_BPF_MAX, opt);
	if (handle) {
		snprintf(text, sizeof(text), "0x%x", handle);
		show_text(f, "handle", "handle ", text);
	}
	classid = attr_u32(tb[TCA_BPF_CLASSID]);
	if (classid) {
		snprintf(text, sizeof(text), "%x:%x", classid >> 16, classid & 0xffff);
		show_text(f, "flowid", "flowid ", text);
	}
	if (tb[TCA_BPF_NAME])
		show_text(f, "bpf_name", "", RTA_DATA(tb[TCA_BPF_NAME]));
	if (attr_u32(tb[TCA_BPF_FLAGS]) & TCA_BPF_FLAG_ACT_DIRECT)
		show_flag(f, "direct-action", "direct-action");
	gen = attr_u32(tb[TCA_BPF_FLAGS_GEN]);
	if (gen & TCA_CLS_FLAGS_SKIP_HW)
		show_flag(f, "skip_hw", "skip_hw");
	if (gen & TCA_CLS_FLAGS_NOT_IN_HW)
		show_flag(f, "not_in_hw", "not_in_hw");
	show_program(f, tb[TCA_BPF_ID], tb[TCA_BPF_TAG]);
	if (tb[TCA_BPF_POLICE])
		show_flag(f, "police", "police");
	if (tb[TCA_BPF_ACT])
		tc_print_action(f, tb[TCA_BPF_ACT], 0);
	return 0;
}

static int parse_act(const struct action_util *kind, int *argc, char ***argv, int attr,
		     struct nlmsghdr *n)
{
	struct tc_act_bpf parm = { .action = TC_ACT_PIPE };
	struct source s = { .fd = -1 };
	struct rtattr *nest;

	if (*argc < 1 || strcmp(**argv, "oxbpf"))
		return -1;
	nest = addattr_nest(n, TC_MESSAGE_MAX, attr);
	for (--*argc, ++*argv; *argc > 0; --*argc, ++*argv) {
		int taken = parse_source(&s, argc, argv);

		if (taken < 0)
			return -1;
		if (!taken)
			break;
	}
	if (*argc > 0 && !strcmp(**argv, "help")) {
		fprintf(stderr, "Usage: ... oxbpf [ %s ] [ name NAME ] [ CONTROL ] [ index INDEX ]\n",
			source_usage);
		return -1;
	}
	parse_action_control_dflt(argc, argv, &parm.action, false, TC_ACT_PIPE);
	if (*argc > 0 && !strcmp(**argv, "index")) {
		--*argc;
		++*argv;
		if (*argc < 1 || get_u32(&parm.index, **argv, 0))
			return complain("index", "not a number");
		--*argc;
		++*argv;
	}
	addattr_l(n, TC_MESSAGE_MAX, TCA_ACT_BPF_PARMS, &parm, sizeof(parm));
	/* An action that is there already is named by its number alone. */
	if ((s.file || s.fd >= 0 || !parm.index) &&
	    add_source(&s, BPF_PROG_TYPE_SCHED_ACT, n, TCA_ACT_BPF_FD, TCA_ACT_BPF_NAME))
		return -1;
	addattr_nest_end(n, nest);
	return 0;
}

static const char *action_name(int action)
{
	static const char *const names[] = {
		[TC_ACT_OK] = "pass",
		[TC_ACT_RECLASSIFY] = "reclassify",
		[TC_ACT_SHOT] = "drop",
		[TC_ACT_PIPE] = "pipe",
		[TC_ACT_STOLEN] = "stolen",
		[TC_ACT_QUEUED] = "queued",
		[TC_ACT_REPEAT] = "repeat",
		[TC_ACT_REDIRECT] = "redirect",
		[TC_ACT_TRAP] = "trap",
	};

	if (action == TC_ACT_UNSPEC)
		return "continue";
	if (TC_ACT_EXT_CMP(action, TC_ACT_GOTO_CHAIN))
		return "goto";
	if (TC_ACT_EXT_CMP(action, TC_ACT_JUMP))
		return "jump";
	return (unsigned int)action < sizeof(names) / sizeof(*names) ? names[action] : "?";
}

static int print_act(const struct action_util *kind, FILE *f, struct rtattr *opt)
{
	struct rtattr *tb[TCA_ACT_BPF_MAX + 1];
	const struct tc_act_bpf *parm;

	if (!opt)
		return 0;
	read_attrs(tb, TCA_ACT_BPF_MAX, opt);
	if (!tb[TCA_ACT_BPF_PARMS])
		return complain("an action without its parameters", NULL);
	parm = RTA_DATA(tb[TCA_ACT_BPF_PARMS]);

	show_text(f, "kind", "", "oxbpf");
	if (tb[TCA_ACT_BPF_NAME])
		show_text(f, "bpf_name", "", RTA_DATA(tb[TCA_ACT_BPF_NAME]));
	show_program(f, tb[TCA_ACT_BPF_ID], tb[TCA_ACT_BPF_TAG]);
	show_text(f, "default-action", "default-action ", action_name(parm->action));
	if (!is_json_context())
		fputs("\n\t ", f);
	show_number(f, "index", parm->index);
	show_number(f, "ref", parm->refcnt);
	show_number(f, "bind", parm->bindcnt);
	if (!is_json_context())
		fputc('\n', f);
	return 0;
}

EXPORT struct filter_util oxbpf_filter_util = {
	.id = "oxbpf",
	.parse_fopt = parse_filter,
	.print_fopt = print_filter,
};

EXPORT struct action_util oxbpf_action_util = {
	.id = "oxbpf",
	.parse_aopt = parse_act,
	.print_aopt = print_act,
};
