// SPDX-License-Identifier: GPL-2.0
/*
 * The tc classifier kind: filters that are programs, with the netlink attributes of kind bpf.
 */

#include <linux/idr.h>
#include <linux/module.h>
#include <linux/rculist.h>
#include <linux/rtnetlink.h>
#include <linux/slab.h>
#include <net/netlink.h>
#include <net/pkt_cls.h>

#include "tc.h"

#define OXBPF_NAME_MAX 256

/* One instance of the classifier: the filters of one priority of one chain. */
struct oxbpf_cls {
	struct list_head filters;
	struct idr handles;
	struct rcu_head rcu;
};

/* What a packet's way through the filters touches comes first. */
struct oxbpf_filter {
	struct list_head link;
	oxbpf_tc_entry_t entry;
	struct tcf_result res;
	/* Of the class. */
	u32 major;
	/* Results that are the verdict, as bits: none where they are classes instead. */
	u32 ends;
	bool needs_ends;
	/* The program's result is the verdict; else it is a class, and actions give the verdict. */
	bool direct;
	const void *prog;
	const struct oxbpf_cls *cls;
	struct tcf_exts exts;
	u32 handle;
	u32 gen_flags;
	char *name;
	struct rcu_work free;
};

static const struct nla_policy oxbpf_cls_policy[TCA_BPF_MAX + 1] = {
	[TCA_BPF_CLASSID] = { .type = NLA_U32 },
	[TCA_BPF_FD] = { .type = NLA_U32 },
	[TCA_BPF_NAME] = { .type = NLA_NUL_STRING, .len = OXBPF_NAME_MAX },
	[TCA_BPF_FLAGS] = { .type = NLA_U32 },
	[TCA_BPF_FLAGS_GEN] = { .type = NLA_U32 },
	[TCA_BPF_OPS_LEN] = { .type = NLA_U16 },
	[TCA_BPF_OPS] = { .type = NLA_BINARY },
};

/* Results of a direct program that end the search; every other one goes on. */
#define OXBPF_ENDS	(BIT(TC_ACT_OK) | BIT(TC_ACT_SHOT) | BIT(TC_ACT_STOLEN) |	\
			 BIT(TC_ACT_REDIRECT) | BIT(TC_ACT_TRAP))

static __always_inline bool oxbpf_filter_ends(const struct oxbpf_filter *f, int ret)
{
	return (u32)ret < 32 && f->ends & BIT(ret);
}

/* The program's result on the packet, which is in the filter's class meanwhile. */
static __always_inline int oxbpf_filter_run(const struct oxbpf_filter *f, struct sk_buff *skb,
					    const bool needs_ends)
{
	qdisc_skb_cb(skb)->tc_classid = f->res.classid;
	return oxbpf_tc_classify(f->prog, f->entry, skb, needs_ends);
}

/* A direct program may have chosen another class of the same discipline. */
static __always_inline void oxbpf_filter_class(const struct oxbpf_filter *f,
					       const struct sk_buff *skb, struct tcf_result *res)
{
	res->class = 0;
	res->classid = f->major | qdisc_skb_cb(skb)->tc_classid;
}

/* The verdict after filter f gave ret: of its actions, or of filters behind it. */
static noinline int oxbpf_cls_continue(const struct oxbpf_filter *f, int ret, struct sk_buff *skb,
				       struct tcf_result *res)
{
	const struct oxbpf_cls *cls = f->cls;
	int verdict = TC_ACT_UNSPEC;

	for (;;) {
		if (f->direct) {
			oxbpf_filter_class(f, skb, res);
			if (oxbpf_filter_ends(f, ret))
				return ret;
			verdict = TC_ACT_UNSPEC;
		} else if (ret) {
			if (ret == -1) {
				*res = f->res;
			} else {
				res->class = 0;
				res->classid = ret;
			}
			verdict = tcf_exts_exec(skb, (struct tcf_exts *)&f->exts, res);
			if (verdict >= 0)
				return verdict;
		}
		f = list_entry_rcu(f->link.next, struct oxbpf_filter, link);
		if (&f->link == &cls->filters)
			return verdict;
		ret = oxbpf_filter_run(f, skb, true);
	}
}

/* Most often there is one filter, and its program has the last word: that way is kept short. */
static __always_inline int oxbpf_filter_first(const struct oxbpf_filter *f, struct sk_buff *skb,
					      struct tcf_result *res, const bool needs_ends)
{
	int ret = oxbpf_filter_run(f, skb, needs_ends);

	if (likely(oxbpf_filter_ends(f, ret))) {
		oxbpf_filter_class(f, skb, res);
		return ret;
	}
	return oxbpf_cls_continue(f, ret, skb, res);
}

static noinline int oxbpf_filter_first_ends(const struct oxbpf_filter *f, struct sk_buff *skb,
					    struct tcf_result *res)
{
	return oxbpf_filter_first(f, skb, res, true);
}

static int oxbpf_cls_classify(struct sk_buff *skb, const struct tcf_proto *tp,
			      struct tcf_result *res)
{
	const struct oxbpf_cls *cls = rcu_dereference_bh(tp->root);
	const struct oxbpf_filter *f = list_entry_rcu(cls->filters.next, struct oxbpf_filter, link);

	if (unlikely(&f->link == &cls->filters))
		return TC_ACT_UNSPEC;
	if (f->needs_ends)
		return oxbpf_filter_first_ends(f, skb, res);
	return oxbpf_filter_first(f, skb, res, false);
}

static int oxbpf_cls_init(struct tcf_proto *tp)
{
	struct oxbpf_cls *cls = kzalloc(sizeof(*cls), GFP_KERNEL);

	if (!cls)
		return -ENOBUFS;
	INIT_LIST_HEAD(&cls->filters);
	idr_init(&cls->handles);
	rcu_assign_pointer(tp->root, cls);
	return 0;
}

/* Nobody runs the filter any more. */
static void oxbpf_filter_free(struct oxbpf_filter *f)
{
	tcf_exts_destroy(&f->exts);
	tcf_exts_put_net(&f->exts);
	oxbpf_tc->put(f->prog);
	kfree(f->name);
	kfree(f);
}

static void oxbpf_filter_work(struct work_struct *work)
{
	struct oxbpf_filter *f = container_of(to_rcu_work(work), struct oxbpf_filter, free);

	/* Actions are let go of under it. */
	rtnl_lock();
	oxbpf_filter_free(f);
	rtnl_unlock();
}

/* The filter is in no list any more; packets may still be in it. */
static void oxbpf_filter_retire(struct tcf_proto *tp, struct oxbpf_filter *f)
{
	tcf_unbind_filter(tp, &f->res);
	/* Without a namespace to hold nothing runs: it is being taken down. */
	if (tcf_exts_get_net(&f->exts))
		tcf_queue_work(&f->free, oxbpf_filter_work);
	else
		oxbpf_filter_free(f);
}

static void oxbpf_filter_remove(struct tcf_proto *tp, struct oxbpf_filter *f)
{
	struct oxbpf_cls *cls = rtnl_dereference(tp->root);

	idr_remove(&cls->handles, f->handle);
	list_del_rcu(&f->link);
	oxbpf_filter_retire(tp, f);
}

static int oxbpf_cls_delete(struct tcf_proto *tp, void *arg, bool *last, bool rtnl_held,
			    struct netlink_ext_ack *extack)
{
	struct oxbpf_cls *cls = rtnl_dereference(tp->root);

	oxbpf_filter_remove(tp, arg);
	*last = list_empty(&cls->filters);
	return 0;
}

static void oxbpf_cls_destroy(struct tcf_proto *tp, bool rtnl_held,
			      struct netlink_ext_ack *extack)
{
	struct oxbpf_cls *cls = rtnl_dereference(tp->root);
	struct oxbpf_filter *f, *next;

	list_for_each_entry_safe(f, next, &cls->filters, link)
		oxbpf_filter_remove(tp, f);
	idr_destroy(&cls->handles);
	kfree_rcu(cls, rcu);
}

static void *oxbpf_cls_get(struct tcf_proto *tp, u32 handle)
{
	struct oxbpf_cls *cls = rtnl_dereference(tp->root);

	return idr_find(&cls->handles, handle);
}

/* What the attributes say, but for the program and the class. */
static int oxbpf_filter_parse(struct oxbpf_filter *f, struct nlattr **tb,
			      struct netlink_ext_ack *extack)
{
	bool classic = tb[TCA_BPF_OPS_LEN] && tb[TCA_BPF_OPS];
	u32 flags = nla_get_u32_default(tb[TCA_BPF_FLAGS], 0);

	if (classic == !!tb[TCA_BPF_FD])
		return -EINVAL;
	if (flags & ~TCA_BPF_FLAG_ACT_DIRECT)
		return -EINVAL;
	f->direct = flags & TCA_BPF_FLAG_ACT_DIRECT;
	f->ends = f->direct ? OXBPF_ENDS : 0;

	f->gen_flags = nla_get_u32_default(tb[TCA_BPF_FLAGS_GEN], 0);
	if (f->gen_flags & ~(TCA_CLS_FLAGS_SKIP_HW | TCA_CLS_FLAGS_SKIP_SW) ||
	    !tc_flags_valid(f->gen_flags))
		return -EINVAL;
	if (tc_skip_sw(f->gen_flags)) {
		NL_SET_ERR_MSG(extack, "No hardware runs programs of oxbpf");
		return -EOPNOTSUPP;
	}
	f->gen_flags |= TCA_CLS_FLAGS_NOT_IN_HW;
	if (classic) {
		NL_SET_ERR_MSG(extack, "oxbpf runs no classic filters");
		return -EOPNOTSUPP;
	}
	return 0;
}

/* A handle for a new filter: the wanted one, or any. */
static int oxbpf_handle_alloc(struct oxbpf_cls *cls, struct oxbpf_filter *f, u32 wanted)
{
	f->handle = wanted ?: 1;
	return idr_alloc_u32(&cls->handles, NULL, &f->handle, wanted ?: INT_MAX, GFP_KERNEL);
}

static int oxbpf_cls_change(struct net *net, struct sk_buff *in_skb, struct tcf_proto *tp,
			    unsigned long base, u32 handle, struct nlattr **tca, void **arg,
			    u32 flags, struct netlink_ext_ack *extack)
{
	struct oxbpf_cls *cls = rtnl_dereference(tp->root);
	struct oxbpf_filter *old = *arg;
	struct nlattr *tb[TCA_BPF_MAX + 1];
	struct oxbpf_tc_info info = {};
	struct oxbpf_filter *f;
	int err;

	if (!tca[TCA_OPTIONS])
		return -EINVAL;
	err = nla_parse_nested_deprecated(tb, TCA_BPF_MAX, tca[TCA_OPTIONS], oxbpf_cls_policy, NULL);
	if (err < 0)
		return err;
	if (old && handle && old->handle != handle)
		return -EINVAL;

	f = kzalloc(sizeof(*f), GFP_KERNEL_ACCOUNT);
	if (!f)
		return -ENOBUFS;
	err = tcf_exts_init(&f->exts, net, TCA_BPF_ACT, TCA_BPF_POLICE);
	if (err < 0)
		goto free;

	if (old) {
		f->handle = old->handle;
	} else {
		err = oxbpf_handle_alloc(cls, f, handle);
		if (err)
			goto free;
	}

	err = tcf_exts_validate(net, tp, tb, tca[TCA_RATE], &f->exts, flags, extack);
	if (err < 0)
		goto handle;
	err = oxbpf_filter_parse(f, tb, extack);
	if (err)
		goto handle;
	if (tb[TCA_BPF_NAME]) {
		f->name = nla_strdup(tb[TCA_BPF_NAME], GFP_KERNEL_ACCOUNT);
		if (!f->name) {
			err = -ENOMEM;
			goto handle;
		}
	}
	err = oxbpf_tc->get(nla_get_u32(tb[TCA_BPF_FD]), BPF_PROG_TYPE_SCHED_CLS, &f->prog);
	if (err)
		goto name;
	oxbpf_tc->info(f->prog, &info);
	f->cls = cls;
	f->entry = info.entry;
	f->needs_ends = info.needs_ends;
	if (info.needs_dst)
		tcf_block_netif_keep_dst(tp->chain->block);

	if (tb[TCA_BPF_CLASSID]) {
		f->res.classid = nla_get_u32(tb[TCA_BPF_CLASSID]);
		f->major = TC_H_MAJ(f->res.classid);
		tcf_bind_filter(tp, &f->res, base);
	}
	idr_replace(&cls->handles, f, f->handle);
	if (old) {
		list_replace_rcu(&old->link, &f->link);
		oxbpf_filter_retire(tp, old);
	} else {
		list_add_rcu(&f->link, &cls->filters);
	}
	*arg = f;
	return 0;

name:
	kfree(f->name);
handle:
	if (!old)
		idr_remove(&cls->handles, f->handle);
free:
	tcf_exts_destroy(&f->exts);
	kfree(f);
	return err;
}

static int oxbpf_filter_put_attrs(struct sk_buff *skb, const struct oxbpf_filter *f)
{
	struct oxbpf_tc_info info;

	oxbpf_tc->info(f->prog, &info);
	if ((f->res.classid && nla_put_u32(skb, TCA_BPF_CLASSID, f->res.classid)) ||
	    (f->name && nla_put_string(skb, TCA_BPF_NAME, f->name)) ||
	    nla_put_u32(skb, TCA_BPF_ID, info.id) ||
	    nla_put(skb, TCA_BPF_TAG, sizeof(info.tag), info.tag) ||
	    tcf_exts_dump(skb, (struct tcf_exts *)&f->exts) < 0 ||
	    (f->direct && nla_put_u32(skb, TCA_BPF_FLAGS, TCA_BPF_FLAG_ACT_DIRECT)) ||
	    nla_put_u32(skb, TCA_BPF_FLAGS_GEN, f->gen_flags))
		return -EMSGSIZE;
	return 0;
}

static int oxbpf_cls_dump(struct net *net, struct tcf_proto *tp, void *fh, struct sk_buff *skb,
			  struct tcmsg *tm, bool rtnl_held)
{
	struct oxbpf_filter *f = fh;
	struct nlattr *nest;

	if (!f)
		return skb->len;
	tm->tcm_handle = f->handle;

	nest = nla_nest_start_noflag(skb, TCA_OPTIONS);
	if (!nest)
		return -1;
	if (oxbpf_filter_put_attrs(skb, f)) {
		nla_nest_cancel(skb, nest);
		return -1;
	}
	nla_nest_end(skb, nest);
	if (tcf_exts_dump_stats(skb, &f->exts) < 0) {
		nla_nest_cancel(skb, nest);
		return -1;
	}
	return skb->len;
}

static void oxbpf_cls_walk(struct tcf_proto *tp, struct tcf_walker *arg, bool rtnl_held)
{
	struct oxbpf_cls *cls = rtnl_dereference(tp->root);
	struct oxbpf_filter *f;

	list_for_each_entry(f, &cls->filters, link)
		if (!tc_cls_stats_dump(tp, arg, f))
			break;
}

static void oxbpf_cls_bind_class(void *fh, u32 classid, unsigned long cl, void *q,
				 unsigned long base)
{
	struct oxbpf_filter *f = fh;

	tc_cls_bind_class(classid, cl, q, &f->res, base);
}

#define OXBPF_CLS_OPS(name)				\
	{						\
		.kind = name,				\
		.owner = THIS_MODULE,			\
		.classify = oxbpf_cls_classify,		\
		.init = oxbpf_cls_init,			\
		.destroy = oxbpf_cls_destroy,		\
		.get = oxbpf_cls_get,			\
		.change = oxbpf_cls_change,		\
		.delete = oxbpf_cls_delete,		\
		.walk = oxbpf_cls_walk,			\
		.dump = oxbpf_cls_dump,			\
		.bind_class = oxbpf_cls_bind_class,	\
	}

static struct tcf_proto_ops oxbpf_cls_ops[] __read_mostly = {
	OXBPF_CLS_OPS("oxbpf"), OXBPF_CLS_OPS("bpf"),
};
MODULE_ALIAS_NET_CLS("oxbpf");

int oxbpf_cls_register(bool bpf)
{
	return register_tcf_proto_ops(&oxbpf_cls_ops[bpf]);
}

void oxbpf_cls_unregister(bool bpf)
{
	unregister_tcf_proto_ops(&oxbpf_cls_ops[bpf]);
}
