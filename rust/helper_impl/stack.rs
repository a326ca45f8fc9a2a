// SPDX-License-Identifier: GPL-2.0

//! Helpers of call chains.

use crate::map::Map;
use crate::sys::args::{CtxArg, MapArg, WriteArg};
use crate::sys::bytes::Bytes;
use crate::sys::callchain::{self, Side};
use crate::sys::context::RunGuard;
use crate::sys::event::PerfData;
use crate::sys::perf_map::{PtRegs, Regs, TraceRecord};
use kernel::prelude::*;

/// `BPF_F_SKIP_FIELD_MASK`
const SKIP: u64 = 0xff;
/// `BPF_F_USER_STACK`
const USER: u64 = 1 << 8;
/// `PERF_CONTEXT_USER`: behind it the user's addresses begin.
const CONTEXT_USER: u64 = -512i64 as u64;
/// `BPF_F_FAST_STACK_CMP` and `BPF_F_REUSE_STACKID`
const BY_NUMBER: u64 = 3 << 9;

/// The chain that has `depth` addresses, at most, behind those that `flags` skip.
fn chain<'a>(
    regs: Option<Regs<'_>>,
    depth: u32,
    flags: u64,
    run: &'a RunGuard,
) -> Result<Bytes<'a>> {
    let most = callchain::max_depth().ok_or(EFAULT)?;
    let depth = depth.saturating_add((flags & SKIP) as u32).min(most);
    let side = match flags & USER {
        0 => Side::Kernel,
        _ => Side::User,
    };
    callchain::get(regs, side, depth, run).ok_or(EFAULT)
}

fn id(regs: Option<Regs<'_>>, map: &MapArg<Map>, flags: u64) -> Result<u64> {
    if flags & !(SKIP | USER | BY_NUMBER) != 0 {
        return Err(EINVAL);
    }
    let table = map.stack_trace().ok_or(EINVAL)?;
    let run = RunGuard::enter();
    let ips = chain(regs, table.depth(), flags, &run)?;
    Ok(table.id(ips, flags)?.into())
}

fn copy(regs: Option<Regs<'_>>, to: &mut WriteArg, flags: u64) -> Result<u64> {
    // What a kernel without build ids says to who asks for them.
    if flags & !(SKIP | USER) != 0 || to.len() % 8 != 0 {
        return Err(EINVAL);
    }
    let run = RunGuard::enter();
    let depth = u32::try_from(to.len() / 8).unwrap_or(u32::MAX);
    let ips = chain(regs, depth, flags, &run)?;
    let skip = ((flags & SKIP) as usize).wrapping_mul(8);
    let len = ips.len().checked_sub(skip).ok_or(EFAULT)?;
    let len = len.min(to.len());
    to.copy(ips.part(skip, len).ok_or(EFAULT)?);
    Ok(len as u64)
}

/// `get_stackid(ctx, map, flags)` of a probe.
pub(super) extern "C" fn id_of_regs(regs: CtxArg<PtRegs>, map: MapArg<Map>, flags: u64) -> u64 {
    super::errno(id(Some(regs.regs()), &map, flags))
}

/// The same of a tracepoint.
pub(super) extern "C" fn id_of_record(
    record: CtxArg<TraceRecord>,
    map: MapArg<Map>,
    flags: u64,
) -> u64 {
    super::errno(id(Some(record.regs()), &map, flags))
}

/// The same where there are no registers.
pub(super) extern "C" fn id_of_caller(_: CtxArg<PtRegs>, map: MapArg<Map>, flags: u64) -> u64 {
    super::errno(id(None, &map, flags))
}

/// `get_stack(ctx, buf, size, flags)` of a probe.
pub(super) extern "C" fn of_regs(regs: CtxArg<PtRegs>, mut to: WriteArg, flags: u64) -> u64 {
    to.clear();
    super::errno(copy(Some(regs.regs()), &mut to, flags))
}

/// The same of a tracepoint.
pub(super) extern "C" fn of_record(
    record: CtxArg<TraceRecord>,
    mut to: WriteArg,
    flags: u64,
) -> u64 {
    to.clear();
    super::errno(copy(Some(record.regs()), &mut to, flags))
}

/// The same where there are no registers.
pub(super) extern "C" fn of_caller(_: CtxArg<PtRegs>, mut to: WriteArg, flags: u64) -> u64 {
    to.clear();
    super::errno(copy(None, &mut to, flags))
}

/// What `flags` select of a chain that a perf event collected: at most as many addresses as all
/// chains have, counted from its start.
fn part<'a>(all: Option<Bytes<'a>>, flags: u64) -> Result<Bytes<'a>> {
    let all = all.ok_or(EFAULT)?;
    let most = callchain::max_depth().ok_or(EFAULT)? as usize;
    let kernel = all.words().take_while(|ip| *ip != CONTEXT_USER).count();
    let nr = (all.len() / 8).min(most);
    let (from, to) = match flags & USER {
        0 => (0, kernel.min(nr)),
        // In-tree counts the kernel's among those that are skipped, of which there is a greatest number.
        _ if kernel.saturating_add((flags & SKIP) as usize) > SKIP as usize => return Err(EFAULT),
        _ => (kernel, nr),
    };
    let len = to.checked_sub(from).ok_or(EFAULT)?;
    let (from, len) = (from.saturating_mul(8), len.saturating_mul(8));
    all.part(from, len).ok_or(EFAULT)
}

fn id_given(all: Option<Bytes<'_>>, map: &MapArg<Map>, flags: u64) -> Result<u64> {
    if flags & !(SKIP | USER | BY_NUMBER) != 0 {
        return Err(EINVAL);
    }
    let table = map.stack_trace().ok_or(EINVAL)?;
    Ok(table.id(part(all, flags)?, flags)?.into())
}

fn copy_given(all: Option<Bytes<'_>>, to: &mut WriteArg, flags: u64) -> Result<u64> {
    if flags & !(SKIP | USER) != 0 {
        return Err(EINVAL);
    }
    let ips = part(all, flags)?;
    if to.len() % 8 != 0 {
        return Err(EINVAL);
    }
    let skip = ((flags & SKIP) as usize).wrapping_mul(8);
    let len = ips.len().checked_sub(skip).ok_or(EFAULT)?.min(to.len());
    to.copy(ips.part(skip, len).ok_or(EFAULT)?);
    Ok(len as u64)
}

/// `get_stackid(ctx, map, flags)` of a counter's event, which may have collected a chain already.
pub(super) extern "C" fn id_of_counter(ctx: CtxArg<PerfData>, map: MapArg<Map>, flags: u64) -> u64 {
    super::errno(match callchain::given(&ctx) {
        None => id(Some(ctx.regs()), &map, flags),
        Some(all) => id_given(all, &map, flags),
    })
}

/// `get_stack(ctx, buf, size, flags)` of one.
pub(super) extern "C" fn of_counter(ctx: CtxArg<PerfData>, mut to: WriteArg, flags: u64) -> u64 {
    to.clear();
    super::errno(match callchain::given(&ctx) {
        None => copy(Some(ctx.regs()), &mut to, flags),
        Some(all) => copy_given(all, &mut to, flags),
    })
}
