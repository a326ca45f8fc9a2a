// SPDX-License-Identifier: GPL-2.0
/*
 * Helpers of tc and XDP programs that ask where a packet would go: routes, neighbours, lengths.
 */

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/inetdevice.h>
#include <linux/netdevice.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <net/addrconf.h>
#include <net/arp.h>
#include <net/gso.h>
#include <net/inet_dscp.h>
#include <net/ip6_fib.h>
#include <net/ip6_route.h>
#include <net/ip_fib.h>
#include <net/l3mdev.h>
#include <net/ndisc.h>
#include <net/sock.h>

#include "packet.h"
#include "symbols.h"
#include "xdp.h"

OXBPF_UNEXPORTED_VOID(fib_select_path);
OXBPF_UNEXPORTED(ip_mtu_from_fib_result);
OXBPF_UNEXPORTED(fib_result_prefsrc);
OXBPF_UNEXPORTED(fib6_lookup);
OXBPF_UNEXPORTED(fib6_get_table);
OXBPF_UNEXPORTED(fib6_table_lookup);
OXBPF_UNEXPORTED_VOID(fib6_select_path);
OXBPF_UNEXPORTED(ip6_mtu_from_fib6);
OXBPF_UNEXPORTED(__sock_gen_cookie);

u64 oxbpf_fib_lookup(struct sk_buff *skb, struct bpf_fib_lookup *p, u64 size, u32 flags);
u64 oxbpf_xdp_fib_lookup(struct xdp_buff *xdp, struct bpf_fib_lookup *p, u64 size, u32 flags);
u64 oxbpf_check_mtu(struct sk_buff *skb, u32 ifindex, u32 *mtu_len, s32 diff, u64 flags);
u64 oxbpf_xdp_check_mtu(struct xdp_buff *xdp, u32 ifindex, u32 *mtu_len, s32 diff, u64 flags);
u64 oxbpf_get_socket_cookie(struct sk_buff *skb);

#define OXBPF_FIB_FLAGS	(BPF_FIB_LOOKUP_DIRECT | BPF_FIB_LOOKUP_OUTPUT |	\
			 BPF_FIB_LOOKUP_SKIP_NEIGH | BPF_FIB_LOOKUP_TBID |	\
			 BPF_FIB_LOOKUP_SRC | BPF_FIB_LOOKUP_MARK)

/* The table that the program names, whose number is an answer's field too; or the device's. */
static u32 oxbpf_fib_table_id(const struct net_device *dev, struct bpf_fib_lookup *p, u32 flags)
{
	u32 id = l3mdev_fib_table_rcu(dev);

	if (flags & BPF_FIB_LOOKUP_TBID) {
		id = p->tbid;
		p->tbid = 0;
		return id;
	}
	return id ?: RT_TABLE_MAIN;
}

/* The way is found: out by dev, to that neighbour's address. */
static int oxbpf_fib_found(struct bpf_fib_lookup *p, const struct net_device *dev,
			   struct neighbour *neigh, u32 flags, u32 mtu)
{
	if (!(flags & BPF_FIB_LOOKUP_SKIP_NEIGH)) {
		if (!neigh || !(READ_ONCE(neigh->nud_state) & NUD_VALID))
			return BPF_FIB_LKUP_RET_NO_NEIGH;
		memcpy(p->dmac, neigh->ha, ETH_ALEN);
		memcpy(p->smac, dev->dev_addr, ETH_ALEN);
	}
	p->h_vlan_TCI = 0;
	p->h_vlan_proto = 0;
	if (mtu)
		p->mtu_result = mtu;
	return BPF_FIB_LKUP_RET_SUCCESS;
}

static struct neighbour *oxbpf_neigh6(struct net_device *dev, const void *addr)
{
#if IS_BUILTIN(CONFIG_IPV6)
	return __ipv6_neigh_lookup_noref(dev, addr);
#else
	return NULL;
#endif
}

/* The functions that a lookup in IPv4's tables needs were found. */
static bool oxbpf_fib4_there(void)
{
	return OXBPF_FOUND_VOID(fib_select_path) && OXBPF_FOUND(ip_mtu_from_fib_result) &&
	       OXBPF_FOUND(fib_result_prefsrc);
}

static struct fib_table *oxbpf_fib4_table(struct net *net, u32 id)
{
#ifdef CONFIG_IP_MULTIPLE_TABLES
	struct hlist_head *head;
	struct fib_table *table;

	id = id ?: RT_TABLE_MAIN;
	head = &net->ipv4.fib_table_hash[id & (FIB_TABLE_HASHSZ - 1)];
	hlist_for_each_entry_rcu(table, head, tb_hlist)
		if (table->tb_id == id)
			return table;
	return NULL;
#else
	return fib_get_table(net, id);
#endif
}

/* What a route's type would answer to a sender. */
static int oxbpf_fib4_refused(int err)
{
	switch (err) {
	case -EINVAL:
		return BPF_FIB_LKUP_RET_BLACKHOLE;
	case -EHOSTUNREACH:
		return BPF_FIB_LKUP_RET_UNREACHABLE;
	case -EACCES:
		return BPF_FIB_LKUP_RET_PROHIBIT;
	default:
		return BPF_FIB_LKUP_RET_NOT_FWDED;
	}
}

static int oxbpf_fib4(struct net *net, struct bpf_fib_lookup *p, u32 flags, bool check_len)
{
	struct net_device *dev = dev_get_by_index_rcu(net, p->ifindex);
	const struct in_device *in_dev;
	const struct fib_nh_common *nhc;
	struct fib_result res = {};
	struct flowi4 fl4 = {};
	u32 mtu = 0;
	int err;

	if (unlikely(!dev))
		return -ENODEV;
	in_dev = __in_dev_get_rcu(dev);
	if (unlikely(!in_dev || !IN_DEV_FORWARD(in_dev)))
		return BPF_FIB_LKUP_RET_FWD_DISABLED;

	fl4.flowi4_iif = p->ifindex;
	if (flags & BPF_FIB_LOOKUP_OUTPUT) {
		fl4.flowi4_iif = LOOPBACK_IFINDEX;
		fl4.flowi4_oif = p->ifindex;
	}
	fl4.flowi4_dscp = inet_dsfield_to_dscp(p->tos);
	fl4.flowi4_scope = RT_SCOPE_UNIVERSE;
	fl4.flowi4_proto = p->l4_protocol;
	fl4.daddr = p->ipv4_dst;
	fl4.saddr = p->ipv4_src;
	fl4.fl4_sport = p->sport;
	fl4.fl4_dport = p->dport;

	if (flags & BPF_FIB_LOOKUP_DIRECT) {
		struct fib_table *table;

		table = oxbpf_fib4_table(net, oxbpf_fib_table_id(dev, p, flags));
		if (unlikely(!table))
			return BPF_FIB_LKUP_RET_NOT_FWDED;
		err = fib_table_lookup(table, &fl4, &res, FIB_LOOKUP_NOREF);
	} else {
		if (flags & BPF_FIB_LOOKUP_MARK)
			fl4.flowi4_mark = p->mark;
		fl4.flowi4_uid = sock_net_uid(net, NULL);
		err = fib_lookup(net, &fl4, &res, FIB_LOOKUP_NOREF);
	}
	if (err)
		return oxbpf_fib4_refused(err);
	if (res.type != RTN_UNICAST)
		return BPF_FIB_LKUP_RET_NOT_FWDED;
	if (fib_info_num_path(res.fi) > 1)
		static_call_cond(oxbpf_fib_select_path)(net, &res, &fl4, NULL);

	if (check_len) {
		mtu = static_call(oxbpf_ip_mtu_from_fib_result)(&res, p->ipv4_dst);
		if (p->tot_len > mtu) {
			p->mtu_result = mtu;
			return BPF_FIB_LKUP_RET_FRAG_NEEDED;
		}
	}
	nhc = res.nhc;
	if (nhc->nhc_lwtstate)
		return BPF_FIB_LKUP_RET_UNSUPP_LWT;

	dev = nhc->nhc_dev;
	p->rt_metric = res.fi->fib_priority;
	p->ifindex = dev->ifindex;
	if (flags & BPF_FIB_LOOKUP_SRC)
		p->ipv4_src = static_call(oxbpf_fib_result_prefsrc)(net, &res);

	if (nhc->nhc_gw_family == AF_INET6) {
		p->family = AF_INET6;
		memcpy(p->ipv6_dst, &nhc->nhc_gw.ipv6, sizeof(p->ipv6_dst));
		return oxbpf_fib_found(p, dev, oxbpf_neigh6(dev, &nhc->nhc_gw.ipv6), flags, mtu);
	}
	if (nhc->nhc_gw_family)
		p->ipv4_dst = nhc->nhc_gw.ipv4;
	return oxbpf_fib_found(p, dev,
			       __ipv4_neigh_lookup_noref(dev, (__force u32)p->ipv4_dst), flags, mtu);
}

#if IS_BUILTIN(CONFIG_IPV6)
static bool oxbpf_fib6_there(void)
{
	return OXBPF_FOUND(fib6_lookup) && OXBPF_FOUND(fib6_get_table) &&
	       OXBPF_FOUND(fib6_table_lookup) && OXBPF_FOUND_VOID(fib6_select_path) &&
	       OXBPF_FOUND(ip6_mtu_from_fib6);
}

static int oxbpf_fib6(struct net *net, struct bpf_fib_lookup *p, u32 flags, bool check_len)
{
	struct in6_addr src, dst;
	struct fib6_result res = {};
	const struct inet6_dev *in_dev;
	struct flowi6 fl6 = {};
	struct net_device *dev;
	int err, strict = 0;
	u32 mtu = 0;

	/* A copy: the memory may be a map's, which others write. */
	memcpy(&src, p->ipv6_src, sizeof(src));
	memcpy(&dst, p->ipv6_dst, sizeof(dst));
	/* Addresses of one link go nowhere else. */
	if (rt6_need_strict(&dst) || rt6_need_strict(&src))
		return BPF_FIB_LKUP_RET_NOT_FWDED;
	dev = dev_get_by_index_rcu(net, p->ifindex);
	if (unlikely(!dev))
		return -ENODEV;
	in_dev = __in6_dev_get_safely(dev);
	if (unlikely(!in_dev || !READ_ONCE(in_dev->cnf.forwarding)))
		return BPF_FIB_LKUP_RET_FWD_DISABLED;

	if (flags & BPF_FIB_LOOKUP_OUTPUT) {
		fl6.flowi6_iif = LOOPBACK_IFINDEX;
		fl6.flowi6_oif = dev->ifindex;
	} else {
		fl6.flowi6_iif = dev->ifindex;
		strict = RT6_LOOKUP_F_HAS_SADDR;
	}
	fl6.flowlabel = p->flowinfo;
	fl6.flowi6_proto = p->l4_protocol;
	fl6.daddr = dst;
	fl6.saddr = src;
	fl6.fl6_sport = p->sport;
	fl6.fl6_dport = p->dport;

	if (flags & BPF_FIB_LOOKUP_DIRECT) {
		struct fib6_table *table;
		u32 id = oxbpf_fib_table_id(dev, p, flags);

		table = static_call(oxbpf_fib6_get_table)(net, id);
		if (unlikely(!table))
			return BPF_FIB_LKUP_RET_NOT_FWDED;
		err = static_call(oxbpf_fib6_table_lookup)(net, table, dev->ifindex, &fl6, &res,
							   strict);
	} else {
		if (flags & BPF_FIB_LOOKUP_MARK)
			fl6.flowi6_mark = p->mark;
		fl6.flowi6_uid = sock_net_uid(net, NULL);
		err = static_call(oxbpf_fib6_lookup)(net, dev->ifindex, &fl6, &res, strict);
	}
	if (unlikely(err || IS_ERR_OR_NULL(res.f6i) || res.f6i == net->ipv6.fib6_null_entry))
		return BPF_FIB_LKUP_RET_NOT_FWDED;

	switch (res.fib6_type) {
	case RTN_UNICAST:
		break;
	case RTN_BLACKHOLE:
		return BPF_FIB_LKUP_RET_BLACKHOLE;
	case RTN_UNREACHABLE:
		return BPF_FIB_LKUP_RET_UNREACHABLE;
	case RTN_PROHIBIT:
		return BPF_FIB_LKUP_RET_PROHIBIT;
	default:
		return BPF_FIB_LKUP_RET_NOT_FWDED;
	}
	static_call_cond(oxbpf_fib6_select_path)(net, &res, &fl6, fl6.flowi6_oif,
						 fl6.flowi6_oif != 0, NULL, strict);

	if (check_len) {
		mtu = static_call(oxbpf_ip6_mtu_from_fib6)(&res, &dst, &src);
		if (p->tot_len > mtu) {
			p->mtu_result = mtu;
			return BPF_FIB_LKUP_RET_FRAG_NEEDED;
		}
	}
	if (res.nh->fib_nh_lws)
		return BPF_FIB_LKUP_RET_UNSUPP_LWT;
	if (res.nh->fib_nh_gw_family) {
		dst = res.nh->fib_nh_gw6;
		memcpy(p->ipv6_dst, &dst, sizeof(dst));
	}
	dev = res.nh->fib_nh_dev;
	p->rt_metric = res.f6i->fib6_metric;
	p->ifindex = dev->ifindex;
	if (flags & BPF_FIB_LOOKUP_SRC) {
		if (res.f6i->fib6_prefsrc.plen)
			src = res.f6i->fib6_prefsrc.addr;
		else if (ipv6_dev_get_saddr(net, dev, &fl6.daddr, 0, &src))
			return BPF_FIB_LKUP_RET_NO_SRC_ADDR;
		memcpy(p->ipv6_src, &src, sizeof(src));
	}
	return oxbpf_fib_found(p, dev, oxbpf_neigh6(dev, &dst), flags, mtu);
}
#else
static bool oxbpf_fib6_there(void)
{
	return false;
}

static int oxbpf_fib6(struct net *net, struct bpf_fib_lookup *p, u32 flags, bool check_len)
{
	return -EAFNOSUPPORT;
}
#endif

static int oxbpf_fib(struct net *net, struct bpf_fib_lookup *p, u32 flags, bool check_len)
{
	if (p->family == AF_INET && oxbpf_fib4_there())
		return oxbpf_fib4(net, p, flags, check_len);
	if (p->family == AF_INET6 && oxbpf_fib6_there())
		return oxbpf_fib6(net, p, flags, check_len);
	return -EAFNOSUPPORT;
}

u64 oxbpf_fib_lookup(struct sk_buff *skb, struct bpf_fib_lookup *p, u64 size, u32 flags)
{
	struct net *net = dev_net(skb->dev);
	bool check_len;
	int ret;

	if (size < sizeof(*p) || flags & ~OXBPF_FIB_FLAGS)
		return -EINVAL;
	/* The program says how long the packet will be, or it is as long as it is. */
	check_len = p->tot_len;
	ret = oxbpf_fib(net, p, flags, check_len);
	if (ret == BPF_FIB_LKUP_RET_SUCCESS && !check_len) {
		const struct net_device *dev = dev_get_by_index_rcu(net, p->ifindex);

		if (unlikely(!dev))
			return -ENODEV;
		if (!is_skb_forwardable(dev, skb))
			ret = BPF_FIB_LKUP_RET_FRAG_NEEDED;
		p->mtu_result = dev->mtu;
	}
	return ret;
}

/* Without a length from the program there is none to compare, but the route's MTU is told. */
u64 oxbpf_xdp_fib_lookup(struct xdp_buff *xdp, struct bpf_fib_lookup *p, u64 size, u32 flags)
{
	if (size < sizeof(*p) || flags & ~OXBPF_FIB_FLAGS)
		return -EINVAL;
	return oxbpf_fib(dev_net(xdp->rxq->dev), p, flags, true);
}

/* How the packet, longer by diff, fits the device; 0 is its own. To mtu_len: what fits. */
u64 oxbpf_check_mtu(struct sk_buff *skb, u32 ifindex, u32 *mtu_len, s32 diff, u64 flags)
{
	const struct net_device *dev = skb->dev;
	const u32 given = READ_ONCE(*mtu_len);
	int ret = BPF_MTU_CHK_RET_SUCCESS;
	u32 mtu, len;

	if (unlikely(flags & ~(u64)BPF_MTU_CHK_SEGS))
		return -EINVAL;
	if (unlikely(flags & BPF_MTU_CHK_SEGS && (diff || given)))
		return -EINVAL;
	if (ifindex)
		dev = dev_get_by_index_rcu(dev_net(dev), ifindex);
	if (unlikely(!dev))
		return -ENODEV;

	mtu = READ_ONCE(dev->mtu);
	len = given ? given + dev->hard_header_len : skb->len;
	/* The sum wraps around, and is compared as a signed number. */
	if ((s32)(len + (u32)diff) > (s32)(mtu + dev->hard_header_len)) {
		if (!skb_is_gso(skb)) {
			ret = BPF_MTU_CHK_RET_FRAG_NEEDED;
		} else if (flags & BPF_MTU_CHK_SEGS) {
			if (!skb_transport_header_was_set(skb))
				return -EINVAL;
			if (!skb_gso_validate_network_len(skb, mtu))
				ret = BPF_MTU_CHK_RET_SEGS_TOOBIG;
		}
	}
	WRITE_ONCE(*mtu_len, mtu);
	return ret;
}

/* The same of a packet without an skb, of which the linear part counts. */
u64 oxbpf_xdp_check_mtu(struct xdp_buff *xdp, u32 ifindex, u32 *mtu_len, s32 diff, u64 flags)
{
	const struct net_device *dev = xdp->rxq->dev;
	const u32 given = READ_ONCE(*mtu_len);
	u32 mtu, len;

	if (unlikely(flags))
		return -EINVAL;
	if (ifindex)
		dev = dev_get_by_index_rcu(dev_net(dev), ifindex);
	if (unlikely(!dev))
		return -ENODEV;

	mtu = READ_ONCE(dev->mtu);
	len = given ? given + dev->hard_header_len : oxbpf_xdp_linear(xdp);
	WRITE_ONCE(*mtu_len, mtu);
	/* The sum wraps around, and is compared as a signed number. */
	if ((s32)(len + (u32)diff) > (s32)(mtu + dev->hard_header_len))
		return BPF_MTU_CHK_RET_FRAG_NEEDED;
	return BPF_MTU_CHK_RET_SUCCESS;
}

/* The number of the packet's socket, which no other has; 0 without one. */
u64 oxbpf_get_socket_cookie(struct sk_buff *skb)
{
	return skb->sk ? static_call(oxbpf___sock_gen_cookie)(skb->sk) : 0;
}
