// SPDX-License-Identifier: GPL-2.0
/*
 * Cgroups in maps: who is below one.
 */

#include <linux/cgroup.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/skbuff.h>
#include <net/inet_sock.h>

struct cgroup *oxbpf_held_cgroup_get(int fd);
void oxbpf_held_cgroup_put(struct cgroup *cgroup);
bool oxbpf_current_under_cgroup(struct cgroup *ancestor);
bool oxbpf_skb_has_cgroup(const struct sk_buff *skb);
bool oxbpf_skb_under_cgroup(const struct sk_buff *skb, struct cgroup *ancestor);

/* The cgroup of the default hierarchy whose directory that is, or an errno. */
struct cgroup *oxbpf_held_cgroup_get(int fd)
{
	return cgroup_get_from_fd(fd);
}

/* It is in no map any more. The kernel frees it after a grace period. */
void oxbpf_held_cgroup_put(struct cgroup *cgroup)
{
	cgroup_put(cgroup);
}

/* In any context; ancestor was found in this grace period. */
bool oxbpf_current_under_cgroup(struct cgroup *ancestor)
{
	bool under;

	rcu_read_lock();
	under = task_under_cgroup_hierarchy(current, ancestor);
	rcu_read_unlock();
	return under;
}

/* Has the packet a socket that belongs to one? */
bool oxbpf_skb_has_cgroup(const struct sk_buff *skb)
{
	struct sock *sk = sk_to_full_sk(skb->sk);

	return sk && sk_fullsock(sk);
}

/* For a packet that has. */
bool oxbpf_skb_under_cgroup(const struct sk_buff *skb, struct cgroup *ancestor)
{
	struct sock *sk = sk_to_full_sk(skb->sk);

	return cgroup_is_descendant(sock_cgroup_ptr(&sk->sk_cgrp_data), ancestor);
}
