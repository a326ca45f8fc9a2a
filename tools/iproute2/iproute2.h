/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the tc command of iproute2 expects of a plug-in, and what of itself it lets one use.
 *
 * Distributions ship no header for it. These are declarations of ours, after the symbols that tc
 * looks up and exports (it is linked with its symbols visible to plug-ins), as of 6.15. Exported
 * functions whose arguments changed lately are not used, but for tc_print_action.
 */
#ifndef OXBPF_IPROUTE2_H
#define OXBPF_IPROUTE2_H

#include <stdbool.h>
#include <stdio.h>

#include <linux/netlink.h>
#include <linux/pkt_cls.h>
#include <linux/rtnetlink.h>

/* Room in the message that tc fills. */
#define TC_MESSAGE_MAX 16384
#define TC_KIND_SIZE 16

/* `tc filter ... KIND`: symbol KIND_filter_util of f_KIND.so. */
struct filter_util {
	struct filter_util *next;
	char id[TC_KIND_SIZE];
	int (*parse_fopt)(const struct filter_util *kind, char *handle, int argc, char **argv,
			  struct nlmsghdr *n);
	int (*print_fopt)(const struct filter_util *kind, FILE *f, struct rtattr *opt,
			  __u32 handle);
};

/* `action KIND`: symbol KIND_action_util of m_KIND.so. */
struct action_util {
	struct action_util *next;
	char id[TC_KIND_SIZE];
	int (*parse_aopt)(const struct action_util *kind, int *argc, char ***argv, int attr,
			  struct nlmsghdr *n);
	int (*print_aopt)(const struct action_util *kind, FILE *f, struct rtattr *opt);
	int (*print_xstats)(const struct action_util *kind, FILE *f, struct rtattr *xstats);
};

/* What tc exports. */
int addattr32(struct nlmsghdr *n, int room, int attr, __u32 value);
int addattr_l(struct nlmsghdr *n, int room, int attr, const void *data, int len);
struct rtattr *addattr_nest(struct nlmsghdr *n, int room, int attr);
int addattr_nest_end(struct nlmsghdr *n, struct rtattr *nest);
int get_u32(__u32 *value, const char *text, int base);
int get_tc_classid(__u32 *classid, const char *text);
int parse_action(int *argc, char ***argv, int attr, struct nlmsghdr *n);
int parse_police(int *argc, char ***argv, int attr, struct nlmsghdr *n);
void parse_action_control_dflt(int *argc, char ***argv, int *result, bool numbers, int otherwise);
int tc_print_action(FILE *f, const struct rtattr *attr, unsigned short count);
bool is_json_context(void);

/* Where and how one value is printed; in JSON a colour has no meaning. */
enum output_type { PRINT_FP = 1, PRINT_JSON = 2, PRINT_ANY = 4 };
int print_color_string(enum output_type where, int color, const char *key, const char *format,
		       const char *value);
int print_color_uint(enum output_type where, int color, const char *key, const char *format,
		     unsigned int value);
int print_color_bool(enum output_type where, int color, const char *key, const char *format,
		     bool value);

#endif
