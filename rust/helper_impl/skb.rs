// SPDX-License-Identifier: GPL-2.0

//! Helpers of packet programs.

use crate::sys::args::{CtxArg, WriteArg};
use crate::sys::skb::{self, SkBuff};

/// `skb_load_bytes(skb, offset, to, len)`
pub(super) extern "C" fn skb_load_bytes(skb: CtxArg<SkBuff>, offset: u64, to: WriteArg) -> u64 {
    // The offset is an u32.
    i64::from(skb::load_bytes(skb, offset as u32, to)) as u64
}
