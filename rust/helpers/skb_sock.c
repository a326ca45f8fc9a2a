// SPDX-License-Identifier: GPL-2.0
/*
 * Sockets for programs on packets: finding one, giving it back, and what kind it is.
 *
 * Who owns what. A look-up in the table of established connections takes a reference, whatever it finds
 * there: a socket, a request, or what is left of a socket until its time is over. One among listeners or
 * among sockets of UDP takes none: those have SOCK_RCU_FREE, are freed a grace period after they were
 * closed, and programs run in a reader's section. So a program has a reference to give back exactly to
 * what has not the flag, and what is no full socket has no flags. The flag is set before a socket can be
 * found as one without a reference and never taken away, so nothing is given back that was not taken.
 * (A connection that begins to listen between the two keeps a reference too many, as in-tree.)
 */

#include <linux/bpf.h>
#include <linux/filter.h>
#include <linux/netdevice.h>
#include <linux/skbuff.h>
#include <linux/unaligned.h>
#include <net/inet6_hashtables.h>
#include <net/inet_hashtables.h>
#include <net/inet_sock.h>
#include <net/ip.h>
#include <net/ipv6.h>
#include <net/net_namespace.h>
#include <net/request_sock.h>
#include <net/sock.h>
#include <net/tcp.h>
#include <net/udp.h>
#include <net/xdp.h>

#include "packet.h"
#include "xdp.h"

/* Where a look-up is done. */
struct oxbpf_sk_from {
	struct net *net;
	int dif;
	int sdif;
};

struct sock *oxbpf_tc_sk_lookup_tcp(struct sk_buff *skb, const void *tuple, u32 len, u64 netns,
				    u64 flags);
struct sock *oxbpf_tc_sk_lookup_udp(struct sk_buff *skb, const void *tuple, u32 len, u64 netns,
				    u64 flags);
struct sock *oxbpf_tc_skc_lookup_tcp(struct sk_buff *skb, const void *tuple, u32 len, u64 netns,
				     u64 flags);
struct sock *oxbpf_cg_sk_lookup_tcp(struct sk_buff *skb, const void *tuple, u32 len, u64 netns,
				    u64 flags);
struct sock *oxbpf_cg_sk_lookup_udp(struct sk_buff *skb, const void *tuple, u32 len, u64 netns,
				    u64 flags);
struct sock *oxbpf_cg_skc_lookup_tcp(struct sk_buff *skb, const void *tuple, u32 len, u64 netns,
				     u64 flags);
struct sock *oxbpf_xdp_sk_lookup_tcp(struct xdp_buff *xdp, const void *tuple, u32 len, u32 netns,
				     u64 flags);
struct sock *oxbpf_xdp_sk_lookup_udp(struct xdp_buff *xdp, const void *tuple, u32 len, u32 netns,
				     u64 flags);
struct sock *oxbpf_xdp_skc_lookup_tcp(struct xdp_buff *xdp, const void *tuple, u32 len, u32 netns,
				      u64 flags);
u64 oxbpf_sk_release(struct sock *sk);
struct sock *oxbpf_sk_fullsock(struct sock *sk);
struct sock *oxbpf_tcp_sock(struct sock *sk);
struct sock *oxbpf_get_listener_sock(struct sock *sk);

/* What the kernel's tables have for the four numbers, of IPv4. */
static struct sock *oxbpf_sk_find4(const struct oxbpf_sk_from *from, const struct bpf_sock_tuple *t,
				   u8 proto, bool *held)
{
	if (proto == IPPROTO_TCP)
		return __inet_lookup(from->net, NULL, 0, t->ipv4.saddr, t->ipv4.sport, t->ipv4.daddr,
				     t->ipv4.dport, from->dif, from->sdif, held);
	return __udp4_lib_lookup(from->net, t->ipv4.saddr, t->ipv4.sport, t->ipv4.daddr,
				 t->ipv4.dport, from->dif, from->sdif, NULL);
}

/* The same, of IPv6. */
static struct sock *oxbpf_sk_find6(const struct oxbpf_sk_from *from, const struct bpf_sock_tuple *t,
				   u8 proto, bool *held)
{
#if IS_ENABLED(CONFIG_IPV6)
	struct in6_addr saddr, daddr;

	memcpy(&saddr, t->ipv6.saddr, sizeof(saddr));
	memcpy(&daddr, t->ipv6.daddr, sizeof(daddr));
	if (proto == IPPROTO_TCP)
		return __inet6_lookup(from->net, NULL, 0, &saddr, t->ipv6.sport, &daddr,
				      ntohs(t->ipv6.dport), from->dif, from->sdif, held);
	if (ipv6_mod_enabled())
		return __udp6_lib_lookup(from->net, &saddr, t->ipv6.sport, &daddr, t->ipv6.dport,
					 from->dif, from->sdif, NULL);
#endif
	return NULL;
}

/* A socket, a request, or what is left of a socket. */
static struct sock *oxbpf_skc_lookup(const struct oxbpf_sk_from *from, const void *tuple, u32 len,
				     u8 proto, u64 netns, u64 flags)
{
	struct oxbpf_sk_from at = *from;
	struct net *other = NULL;
	struct bpf_sock_tuple t;
	struct sock *sk;
	bool held = false;

	if (len != sizeof(t.ipv4) && len != sizeof(t.ipv6))
		return NULL;
	/* A number of 32 bits: negative for this namespace, else another one's. */
	if (flags || ((s32)netns >= 0 && netns > S32_MAX))
		return NULL;
	/* The program may have it anywhere. */
	memcpy(&t, tuple, len);

	if ((s32)netns >= 0) {
		other = get_net_ns_by_id(at.net, netns);
		if (!other)
			return NULL;
		at.net = other;
	}
	if (len == sizeof(t.ipv4))
		sk = oxbpf_sk_find4(&at, &t, proto, &held);
	else
		sk = oxbpf_sk_find6(&at, &t, proto, &held);
	/* It could be freed while the program looks at it. No such socket is in those tables. */
	if (sk && !held && !sock_flag(sk, SOCK_RCU_FREE))
		sk = NULL;
	if (other)
		put_net(other);
	return sk;
}

/* A socket: of a request, whose it is. */
static struct sock *oxbpf_sk_lookup(const struct oxbpf_sk_from *from, const void *tuple, u32 len,
				    u8 proto, u64 netns, u64 flags)
{
	struct sock *sk = oxbpf_skc_lookup(from, tuple, len, proto, netns, flags);
	struct sock *full = sk_to_full_sk(sk);

	if (full == sk)
		return sk;
	/* The listener stays without the request, if it is one that is freed late. */
	sock_gen_put(sk);
	return full && sock_flag(full, SOCK_RCU_FREE) ? full : NULL;
}

/* The device that the other one is part of has another number; who asks is in the part. */
static int oxbpf_dev_sdif(const struct net_device *dev)
{
	return netif_is_l3_slave(dev) ? dev->ifindex : 0;
}

static struct oxbpf_sk_from oxbpf_from_dev(const struct net_device *dev)
{
	return (struct oxbpf_sk_from) {
		.net = dev_net(dev),
		.dif = dev->ifindex,
		.sdif = oxbpf_dev_sdif(dev),
	};
}

/* A cgroup's filter sees packets whose device may not be chosen yet; those have a socket. */
static bool oxbpf_from_cgroup(const struct sk_buff *skb, u32 len, struct oxbpf_sk_from *from)
{
	if (skb->dev) {
		from->net = dev_net(skb->dev);
		from->dif = skb->dev->ifindex;
	} else if (skb->sk) {
		from->net = sock_net(skb->sk);
		from->dif = 0;
	} else {
		return false;
	}
	if (len == sizeof_field(struct bpf_sock_tuple, ipv4))
		from->sdif = inet_sdif(skb);
	else
		from->sdif = inet6_sdif(skb);
	return true;
}

struct sock *oxbpf_tc_sk_lookup_tcp(struct sk_buff *skb, const void *tuple, u32 len, u64 netns,
				    u64 flags)
{
	struct oxbpf_sk_from from = oxbpf_from_dev(skb->dev);

	return oxbpf_sk_lookup(&from, tuple, len, IPPROTO_TCP, netns, flags);
}

struct sock *oxbpf_tc_sk_lookup_udp(struct sk_buff *skb, const void *tuple, u32 len, u64 netns,
				    u64 flags)
{
	struct oxbpf_sk_from from = oxbpf_from_dev(skb->dev);

	return oxbpf_sk_lookup(&from, tuple, len, IPPROTO_UDP, netns, flags);
}

struct sock *oxbpf_tc_skc_lookup_tcp(struct sk_buff *skb, const void *tuple, u32 len, u64 netns,
				     u64 flags)
{
	struct oxbpf_sk_from from = oxbpf_from_dev(skb->dev);

	return oxbpf_skc_lookup(&from, tuple, len, IPPROTO_TCP, netns, flags);
}

struct sock *oxbpf_cg_sk_lookup_tcp(struct sk_buff *skb, const void *tuple, u32 len, u64 netns,
				    u64 flags)
{
	struct oxbpf_sk_from from;

	if (!oxbpf_from_cgroup(skb, len, &from))
		return NULL;
	return oxbpf_sk_lookup(&from, tuple, len, IPPROTO_TCP, netns, flags);
}

struct sock *oxbpf_cg_sk_lookup_udp(struct sk_buff *skb, const void *tuple, u32 len, u64 netns,
				    u64 flags)
{
	struct oxbpf_sk_from from;

	if (!oxbpf_from_cgroup(skb, len, &from))
		return NULL;
	return oxbpf_sk_lookup(&from, tuple, len, IPPROTO_UDP, netns, flags);
}

struct sock *oxbpf_cg_skc_lookup_tcp(struct sk_buff *skb, const void *tuple, u32 len, u64 netns,
				     u64 flags)
{
	struct oxbpf_sk_from from;

	if (!oxbpf_from_cgroup(skb, len, &from))
		return NULL;
	return oxbpf_skc_lookup(&from, tuple, len, IPPROTO_TCP, netns, flags);
}

/* Of XDP's number of a namespace in-tree looks at 32 bits only. */
struct sock *oxbpf_xdp_sk_lookup_tcp(struct xdp_buff *xdp, const void *tuple, u32 len, u32 netns,
				     u64 flags)
{
	struct oxbpf_sk_from from = oxbpf_from_dev(xdp->rxq->dev);

	return oxbpf_sk_lookup(&from, tuple, len, IPPROTO_TCP, netns, flags);
}

struct sock *oxbpf_xdp_sk_lookup_udp(struct xdp_buff *xdp, const void *tuple, u32 len, u32 netns,
				     u64 flags)
{
	struct oxbpf_sk_from from = oxbpf_from_dev(xdp->rxq->dev);

	return oxbpf_sk_lookup(&from, tuple, len, IPPROTO_UDP, netns, flags);
}

struct sock *oxbpf_xdp_skc_lookup_tcp(struct xdp_buff *xdp, const void *tuple, u32 len, u32 netns,
				      u64 flags)
{
	struct oxbpf_sk_from from = oxbpf_from_dev(xdp->rxq->dev);

	return oxbpf_skc_lookup(&from, tuple, len, IPPROTO_TCP, netns, flags);
}

u64 oxbpf_sk_release(struct sock *sk)
{
	if (sk_is_refcounted(sk))
		sock_gen_put(sk);
	return 0;
}

struct sock *oxbpf_sk_fullsock(struct sock *sk)
{
	return sk_fullsock(sk) ? sk : NULL;
}

struct sock *oxbpf_tcp_sock(struct sock *sk)
{
	return sk_fullsock(sk) && sk_is_tcp(sk) ? sk : NULL;
}

/* Only one that stays until the program ends. */
struct sock *oxbpf_get_listener_sock(struct sock *sk)
{
	sk = sk_to_full_sk(sk);
	if (sk && sk->sk_state == TCP_LISTEN && sock_flag(sk, SOCK_RCU_FREE))
		return sk;
	return NULL;
}
