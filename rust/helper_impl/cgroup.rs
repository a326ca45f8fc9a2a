// SPDX-License-Identifier: GPL-2.0

//! Helpers of cgroups in maps: 1 for who is in the one that is meant, or below.

use super::errno;
use crate::map::Map;
use crate::sys::args::{CtxArg, MapArg};
use crate::sys::cgroup;
use crate::sys::skb::SkBuff;

/// `skb_under_cgroup(skb, map, index)`
pub(super) extern "C" fn skb_under_cgroup(
    skb: CtxArg<SkBuff>,
    map: MapArg<Map>,
    index: u64,
) -> u64 {
    errno(cgroup::packet_is_under(&skb, &map, index as u32).map(u64::from))
}

/// `current_task_under_cgroup(map, index)`
pub(super) extern "C" fn current_task_under_cgroup(map: MapArg<Map>, index: u64) -> u64 {
    errno(cgroup::current_is_under(&map, index as u32).map(u64::from))
}
