// SPDX-License-Identifier: GPL-2.0
/*
 * Helpers of packet programs about tunnels that devices put packets into, and about who a packet
 * belongs to.
 */

#include <linux/bpf.h>
#include <linux/cgroup.h>
#include <linux/percpu.h>
#include <linux/skbuff.h>
#include <linux/string.h>
#include <net/dst.h>
#include <net/dst_metadata.h>
#include <net/inet_sock.h>
#include <net/ip_tunnels.h>
#include <net/net_namespace.h>
#include <net/sock.h>

u64 oxbpf_skb_get_tunnel_key(struct sk_buff *skb, void *to, u64 size, u64 flags);
u64 oxbpf_skb_set_tunnel_key(struct sk_buff *skb, const void *from, u64 size, u64 flags);
u64 oxbpf_skb_get_tunnel_opt(struct sk_buff *skb, void *to, u64 size);
u64 oxbpf_skb_set_tunnel_opt(struct sk_buff *skb, const void *from, u64 size);
u64 oxbpf_skb_cgroup_id(const struct sk_buff *skb);
u64 oxbpf_skb_ancestor_cgroup_id(const struct sk_buff *skb, u64 level);
u64 oxbpf_get_netns_cookie(const struct sk_buff *skb);
void oxbpf_tunnel_exit(void);

/*
 * What a program of this CPU last asked for, with a reference: so nobody else's can be at its address,
 * and options go where there is room for them. Each packet has its own, which the kernel frees.
 */
static DEFINE_PER_CPU(struct metadata_dst *, oxbpf_tunnel);

/* Lengths that the structure had once. */
static bool oxbpf_tunnel_size_ok(u64 size)
{
	switch (size) {
	case sizeof(struct bpf_tunnel_key):
	case offsetof(struct bpf_tunnel_key, local_ipv6[0]):
	case offsetof(struct bpf_tunnel_key, tunnel_label):
	case offsetof(struct bpf_tunnel_key, tunnel_ext):
	case offsetof(struct bpf_tunnel_key, remote_ipv6[1]):
		return true;
	default:
		return false;
	}
}

static int oxbpf_tunnel_get(const struct ip_tunnel_info *info, struct bpf_tunnel_key *key, u64 size,
			    u64 flags)
{
	bool ipv6 = flags & BPF_F_TUNINFO_IPV6;

	if (!info || flags & ~(BPF_F_TUNINFO_IPV6 | BPF_F_TUNINFO_FLAGS))
		return -EINVAL;
	if ((ip_tunnel_info_af(info) == AF_INET6) != ipv6)
		return -EPROTO;
	if (!oxbpf_tunnel_size_ok(size))
		return -EINVAL;
	/* That one had no room for such an address. */
	if (ipv6 && size == offsetof(struct bpf_tunnel_key, remote_ipv6[1]))
		return -EINVAL;
	key->tunnel_id = be64_to_cpu(info->key.tun_id);
	key->tunnel_tos = info->key.tos;
	key->tunnel_ttl = info->key.ttl;
	if (flags & BPF_F_TUNINFO_FLAGS)
		key->tunnel_flags = ip_tunnel_flags_to_be16(info->key.tun_flags);
	if (ipv6) {
		memcpy(key->remote_ipv6, &info->key.u.ipv6.src, sizeof(key->remote_ipv6));
		memcpy(key->local_ipv6, &info->key.u.ipv6.dst, sizeof(key->local_ipv6));
		key->tunnel_label = be32_to_cpu(info->key.label);
	} else {
		key->remote_ipv4 = be32_to_cpu(info->key.u.ipv4.src);
		key->local_ipv4 = be32_to_cpu(info->key.u.ipv4.dst);
	}
	return 0;
}

u64 oxbpf_skb_get_tunnel_key(struct sk_buff *skb, void *to, u64 size, u64 flags)
{
	struct bpf_tunnel_key key = {};
	int err = oxbpf_tunnel_get(skb_tunnel_info(skb), &key, size, flags);

	if (err)
		memset(to, 0, size);
	else
		memcpy(to, &key, size);
	return err;
}

u64 oxbpf_skb_set_tunnel_key(struct sk_buff *skb, const void *from, u64 size, u64 flags)
{
	struct bpf_tunnel_key key = {};
	struct metadata_dst *md, *old;
	struct ip_tunnel_info *info;

	if (flags & ~(BPF_F_TUNINFO_IPV6 | BPF_F_ZERO_CSUM_TX | BPF_F_DONT_FRAGMENT |
		      BPF_F_SEQ_NUMBER | BPF_F_NO_TUNNEL_KEY))
		return -EINVAL;
	if (!oxbpf_tunnel_size_ok(size))
		return -EINVAL;
	memcpy(&key, from, size);
	if ((!(flags & BPF_F_TUNINFO_IPV6) && key.tunnel_label) || key.tunnel_ext)
		return -EINVAL;
	md = metadata_dst_alloc(IP_TUNNEL_OPTS_MAX, METADATA_IP_TUNNEL, GFP_ATOMIC | __GFP_NOWARN);
	if (!md)
		return -ENOMEM;
	info = &md->u.tun_info;
	info->mode = IP_TUNNEL_INFO_TX;
	__set_bit(IP_TUNNEL_NOCACHE_BIT, info->key.tun_flags);
	__assign_bit(IP_TUNNEL_DONT_FRAGMENT_BIT, info->key.tun_flags,
		     flags & BPF_F_DONT_FRAGMENT);
	__assign_bit(IP_TUNNEL_CSUM_BIT, info->key.tun_flags, !(flags & BPF_F_ZERO_CSUM_TX));
	__assign_bit(IP_TUNNEL_SEQ_BIT, info->key.tun_flags, flags & BPF_F_SEQ_NUMBER);
	__assign_bit(IP_TUNNEL_KEY_BIT, info->key.tun_flags, !(flags & BPF_F_NO_TUNNEL_KEY));
	info->key.tun_id = cpu_to_be64(key.tunnel_id);
	info->key.tos = key.tunnel_tos;
	info->key.ttl = key.tunnel_ttl;
	if (flags & BPF_F_TUNINFO_IPV6) {
		info->mode |= IP_TUNNEL_INFO_IPV6;
		memcpy(&info->key.u.ipv6.dst, key.remote_ipv6, sizeof(key.remote_ipv6));
		memcpy(&info->key.u.ipv6.src, key.local_ipv6, sizeof(key.local_ipv6));
		info->key.label = cpu_to_be32(key.tunnel_label) & IPV6_FLOWLABEL_MASK;
	} else {
		info->key.u.ipv4.dst = cpu_to_be32(key.remote_ipv4);
		info->key.u.ipv4.src = cpu_to_be32(key.local_ipv4);
		info->key.flow_flags = FLOWI_FLAG_ANYSRC;
	}
	skb_dst_drop(skb);
	dst_hold(&md->dst);
	skb_dst_set(skb, &md->dst);
	old = this_cpu_xchg(oxbpf_tunnel, md);
	if (old)
		dst_release(&old->dst);
	return 0;
}

u64 oxbpf_skb_get_tunnel_opt(struct sk_buff *skb, void *to, u64 size)
{
	const struct ip_tunnel_info *info = skb_tunnel_info(skb);
	int err;

	if (!info || !ip_tunnel_is_options_present(info->key.tun_flags)) {
		err = -ENOENT;
	} else if (size < info->options_len) {
		err = -ENOMEM;
	} else {
		memset(to, 0, size);
		ip_tunnel_info_opts_get(to, info);
		return info->options_len;
	}
	memset(to, 0, size);
	return err;
}

u64 oxbpf_skb_set_tunnel_opt(struct sk_buff *skb, const void *from, u64 size)
{
	struct ip_tunnel_info *info = skb_tunnel_info(skb);
	const struct metadata_dst *md = this_cpu_read(oxbpf_tunnel);
	IP_TUNNEL_DECLARE_FLAGS(present) = { };

	if (!md || info != &md->u.tun_info || size & (sizeof(u32) - 1))
		return -EINVAL;
	if (size > IP_TUNNEL_OPTS_MAX)
		return -ENOMEM;
	ip_tunnel_set_options_present(present);
	ip_tunnel_info_opts_set(info, from, size, present);
	return 0;
}

/* Nobody runs any program. */
void oxbpf_tunnel_exit(void)
{
	struct metadata_dst *md;
	int cpu;

	for_each_possible_cpu(cpu) {
		md = xchg(per_cpu_ptr(&oxbpf_tunnel, cpu), NULL);
		if (md)
			dst_release(&md->dst);
	}
}

/* The cgroup of the packet's socket, in the default hierarchy, or NULL. */
static struct cgroup *oxbpf_skb_cgroup(const struct sk_buff *skb)
{
	struct sock *sk = sk_to_full_sk(skb->sk);

	if (!sk || !sk_fullsock(sk))
		return NULL;
	return sock_cgroup_ptr(&sk->sk_cgrp_data);
}

u64 oxbpf_skb_cgroup_id(const struct sk_buff *skb)
{
	struct cgroup *cgroup = oxbpf_skb_cgroup(skb);

	return cgroup ? cgroup_id(cgroup) : 0;
}

u64 oxbpf_skb_ancestor_cgroup_id(const struct sk_buff *skb, u64 level)
{
	struct cgroup *cgroup = oxbpf_skb_cgroup(skb);

	if (cgroup)
		cgroup = cgroup_ancestor(cgroup, (int)level);
	return cgroup ? cgroup_id(cgroup) : 0;
}

u64 oxbpf_get_netns_cookie(const struct sk_buff *skb)
{
	return (skb->sk ? sock_net(skb->sk) : &init_net)->net_cookie;
}
