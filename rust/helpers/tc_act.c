// SPDX-License-Identifier: GPL-2.0
/*
 * The tc action kind: actions that are programs, with the netlink attributes of kind bpf.
 */

#include <linux/module.h>
#include <linux/rtnetlink.h>
#include <linux/slab.h>
#include <linux/tc_act/tc_bpf.h>
#include <net/act_api.h>
#include <net/netlink.h>
#include <net/netns/generic.h>
#include <net/pkt_cls.h>
#include <net/sock.h>

#include "tc.h"

#define OXBPF_NAME_MAX 256

/* `enum tca_id` has numbers up to 255; the kernel's own are given out from the lower end. */
#define OXBPF_ACT_ID 0xbf

struct oxbpf_act {
	struct tc_action common;
	const void __rcu *prog;
	char *name;
};

#define oxbpf_to_act(a) container_of(a, struct oxbpf_act, common)

static const struct nla_policy oxbpf_act_policy[TCA_ACT_BPF_MAX + 1] = {
	[TCA_ACT_BPF_PARMS] = { .len = sizeof(struct tc_act_bpf) },
	[TCA_ACT_BPF_FD] = { .type = NLA_U32 },
	[TCA_ACT_BPF_NAME] = { .type = NLA_NUL_STRING, .len = OXBPF_NAME_MAX },
	[TCA_ACT_BPF_OPS_LEN] = { .type = NLA_U16 },
	[TCA_ACT_BPF_OPS] = { .type = NLA_BINARY },
};

static struct tc_action_ops oxbpf_act_ops[2];

static int oxbpf_act_run(struct sk_buff *skb, const struct tc_action *a, struct tcf_result *res)
{
	struct oxbpf_act *act = oxbpf_to_act(a);
	int ret;

	tcf_lastuse_update(&act->common.tcfa_tm);
	bstats_update(this_cpu_ptr(act->common.cpu_bstats), skb);

	ret = oxbpf_tc_classify((const void *)rcu_dereference_bh(act->prog), NULL, skb,
				true);

	/* Who does not let the packet pass must not take its early-found socket along. */
	if (skb_sk_is_prefetched(skb) && ret != TC_ACT_OK)
		skb_orphan(skb);

	switch (ret) {
	case TC_ACT_OK:
	case TC_ACT_RECLASSIFY:
	case TC_ACT_PIPE:
	case TC_ACT_REDIRECT:
		return ret;
	case TC_ACT_SHOT:
		qstats_cpu_drop_inc(act->common.cpu_qstats);
		return ret;
	case TC_ACT_UNSPEC:
		/* What the action was set up with. */
		return READ_ONCE(act->common.tcfa_action);
	default:
		return TC_ACT_UNSPEC;
	}
}

/* What the attributes say, but for the action's number. The program is the caller's. */
static int oxbpf_act_parse(struct nlattr **tb, const void **prog, char **name,
			   struct netlink_ext_ack *extack)
{
	bool classic = tb[TCA_ACT_BPF_OPS_LEN] && tb[TCA_ACT_BPF_OPS];
	int err;

	if (classic == !!tb[TCA_ACT_BPF_FD])
		return -EINVAL;
	if (classic) {
		NL_SET_ERR_MSG(extack, "oxbpf runs no classic filters");
		return -EOPNOTSUPP;
	}
	err = oxbpf_tc->get(nla_get_u32(tb[TCA_ACT_BPF_FD]), BPF_PROG_TYPE_SCHED_ACT, prog);
	if (err)
		return err;
	*name = NULL;
	if (tb[TCA_ACT_BPF_NAME]) {
		*name = nla_strdup(tb[TCA_ACT_BPF_NAME], GFP_KERNEL);
		if (!*name) {
			oxbpf_tc->put(*prog);
			return -ENOMEM;
		}
	}
	return 0;
}

/* The action of that number, new or (for a replacement) old. ACT_P_CREATED, 0, or an errno. */
static int oxbpf_act_find(struct tc_action_net *tn, const struct tc_act_bpf *parm,
			  struct nlattr *est, struct tc_action **a,
			  const struct tc_action_ops *ops, u32 flags, bool *bound)
{
	bool bind = flags & TCA_ACT_FLAGS_BIND;
	u32 index = parm->index;
	int ret;

	*bound = false;
	ret = tcf_idr_check_alloc(tn, &index, a, bind);
	if (ret < 0)
		return ret;
	if (!ret) {
		ret = tcf_idr_create(tn, index, est, a, ops, bind, true, flags);
		if (ret) {
			tcf_idr_cleanup(tn, index);
			return ret;
		}
		return ACT_P_CREATED;
	}
	if (bind) {
		/* It is there, and stays as it is. */
		*bound = true;
		return ACT_P_BOUND;
	}
	if (!(flags & TCA_ACT_FLAGS_REPLACE)) {
		tcf_idr_release(*a, bind);
		return -EEXIST;
	}
	return 0;
}

static int oxbpf_act_setup(struct net *net, struct nlattr *nla, struct nlattr *est,
			   struct tc_action **a, struct tcf_proto *tp, u32 flags,
			   struct netlink_ext_ack *extack, const struct tc_action_ops *ops)
{
	struct tc_action_net *tn = net_generic(net, ops->net_id);
	struct nlattr *tb[TCA_ACT_BPF_MAX + 1];
	const void *prog, *old_prog = NULL;
	const struct tc_act_bpf *parm;
	struct tcf_chain *chain = NULL;
	char *name, *old_name = NULL;
	struct oxbpf_act *act;
	int err, ret;
	bool bound;

	if (!nla)
		return -EINVAL;
	err = nla_parse_nested_deprecated(tb, TCA_ACT_BPF_MAX, nla, oxbpf_act_policy, NULL);
	if (err < 0)
		return err;
	if (!tb[TCA_ACT_BPF_PARMS])
		return -EINVAL;
	parm = nla_data(tb[TCA_ACT_BPF_PARMS]);

	ret = oxbpf_act_find(tn, parm, est, a, ops, flags, &bound);
	if (ret < 0 || bound)
		return ret;

	err = tcf_action_check_ctrlact(parm->action, tp, &chain, extack);
	if (err < 0)
		goto release;
	err = oxbpf_act_parse(tb, &prog, &name, extack);
	if (err)
		goto chain;

	act = oxbpf_to_act(*a);
	spin_lock_bh(&act->common.tcfa_lock);
	old_prog = (const void *)rcu_dereference_protected(act->prog, true);
	old_name = act->name;
	act->name = name;
	chain = tcf_action_set_ctrlact(*a, parm->action, chain);
	rcu_assign_pointer(act->prog, (const void __rcu *)prog);
	spin_unlock_bh(&act->common.tcfa_lock);

	if (chain)
		tcf_chain_put_by_act(chain);
	if (old_prog) {
		/* Packets may be in it. */
		synchronize_rcu();
		oxbpf_tc->put(old_prog);
	}
	kfree(old_name);
	return ret;

chain:
	if (chain)
		tcf_chain_put_by_act(chain);
release:
	tcf_idr_release(*a, flags & TCA_ACT_FLAGS_BIND);
	return err;
}

static int oxbpf_act_init(struct net *net, struct nlattr *nla, struct nlattr *est,
			  struct tc_action **a, struct tcf_proto *tp, u32 flags,
			  struct netlink_ext_ack *extack)
{
	return oxbpf_act_setup(net, nla, est, a, tp, flags, extack, &oxbpf_act_ops[false]);
}

static int oxbpf_act_init_bpf(struct net *net, struct nlattr *nla, struct nlattr *est,
			      struct tc_action **a, struct tcf_proto *tp, u32 flags,
			      struct netlink_ext_ack *extack)
{
	return oxbpf_act_setup(net, nla, est, a, tp, flags, extack, &oxbpf_act_ops[true]);
}

/* Packets may still be in it: the program waits by itself, and the action is freed later. */
static void oxbpf_act_cleanup(struct tc_action *a)
{
	struct oxbpf_act *act = oxbpf_to_act(a);
	const void *prog = (const void *)rcu_dereference_protected(act->prog, true);

	/* One whose setting up failed has none. */
	if (prog)
		oxbpf_tc->put(prog);
	kfree(act->name);
}

static int oxbpf_act_put_attrs(struct sk_buff *skb, struct oxbpf_act *act, int bind, int ref)
{
	struct tc_act_bpf parm = {
		.index = act->common.tcfa_index,
		.action = act->common.tcfa_action,
		.refcnt = refcount_read(&act->common.tcfa_refcnt) - ref,
		.bindcnt = atomic_read(&act->common.tcfa_bindcnt) - bind,
	};
	const void *prog = (const void *)rcu_dereference_protected(act->prog, true);
	struct oxbpf_tc_info info;
	struct tcf_t tm;

	oxbpf_tc->info(prog, &info);
	tcf_tm_dump(&tm, &act->common.tcfa_tm);
	if (nla_put(skb, TCA_ACT_BPF_PARMS, sizeof(parm), &parm) ||
	    (act->name && nla_put_string(skb, TCA_ACT_BPF_NAME, act->name)) ||
	    nla_put_u32(skb, TCA_ACT_BPF_ID, info.id) ||
	    nla_put(skb, TCA_ACT_BPF_TAG, sizeof(info.tag), info.tag) ||
	    nla_put_64bit(skb, TCA_ACT_BPF_TM, sizeof(tm), &tm, TCA_ACT_BPF_PAD))
		return -1;
	return skb->len;
}

static int oxbpf_act_dump(struct sk_buff *skb, struct tc_action *a, int bind, int ref)
{
	unsigned char *start = skb_tail_pointer(skb);
	struct oxbpf_act *act = oxbpf_to_act(a);
	int ret;

	/* A replacement waits, so program and name stay. */
	spin_lock_bh(&act->common.tcfa_lock);
	ret = oxbpf_act_put_attrs(skb, act, bind, ref);
	spin_unlock_bh(&act->common.tcfa_lock);
	if (ret < 0)
		nlmsg_trim(skb, start);
	return ret;
}

static size_t oxbpf_act_fill_size(const struct tc_action *a)
{
	return nla_total_size(sizeof(struct tc_act_bpf)) +
	       nla_total_size(OXBPF_NAME_MAX + 1) +
	       nla_total_size(sizeof(u32)) +
	       nla_total_size(sizeof_field(struct oxbpf_tc_info, tag));
}

#define OXBPF_ACT_OPS(name, number, setup)			\
	{							\
		.kind = name,					\
		.id = number,					\
		.owner = THIS_MODULE,				\
		.act = oxbpf_act_run,				\
		.dump = oxbpf_act_dump,				\
		.cleanup = oxbpf_act_cleanup,			\
		.init = setup,					\
		.get_fill_size = oxbpf_act_fill_size,		\
		.size = sizeof(struct oxbpf_act),		\
	}

static struct tc_action_ops oxbpf_act_ops[2] __read_mostly = {
	OXBPF_ACT_OPS("oxbpf", OXBPF_ACT_ID, oxbpf_act_init),
	OXBPF_ACT_OPS("bpf", TCA_ID_BPF, oxbpf_act_init_bpf),
};
MODULE_ALIAS_NET_ACT("oxbpf");

static __net_init int oxbpf_act_net_begin(struct net *net, struct tc_action_ops *ops)
{
	return tc_action_net_init(net, net_generic(net, ops->net_id), ops);
}

#define OXBPF_ACT_NET(which)							\
	static __net_init int oxbpf_act_net_init_##which(struct net *net)	\
	{									\
		return oxbpf_act_net_begin(net, &oxbpf_act_ops[which]);		\
	}									\
	static __net_exit void oxbpf_act_net_exit_##which(struct list_head *nets)	\
	{									\
		tc_action_net_exit(nets, oxbpf_act_ops[which].net_id);		\
	}

OXBPF_ACT_NET(0)
OXBPF_ACT_NET(1)

#define OXBPF_ACT_NET_OPS(which)				\
	{							\
		.init = oxbpf_act_net_init_##which,		\
		.exit_batch = oxbpf_act_net_exit_##which,	\
		.id = &oxbpf_act_ops[which].net_id,		\
		.size = sizeof(struct tc_action_net),		\
	}

static struct pernet_operations oxbpf_act_net_ops[2] = {
	OXBPF_ACT_NET_OPS(0), OXBPF_ACT_NET_OPS(1),
};

int oxbpf_act_register(bool bpf)
{
	return tcf_register_action(&oxbpf_act_ops[bpf], &oxbpf_act_net_ops[bpf]);
}

void oxbpf_act_unregister(bool bpf)
{
	tcf_unregister_action(&oxbpf_act_ops[bpf], &oxbpf_act_net_ops[bpf]);
}
