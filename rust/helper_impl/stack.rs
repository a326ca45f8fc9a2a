// SPDX-License-Identifier: GPL-2.0

//! Helpers of call chains.

use crate::map::Map;
use crate::sys::args::{CtxArg, MapArg, WriteArg};
use crate::sys::bytes::Bytes;
use crate::sys::callchain::{self, Side};
use crate::sys::context::RunGuard;
use crate::sys::perf_map::{PtRegs, Regs, TraceRecord};
use kernel::prelude::*;

/// `BPF_F_SKIP_FIELD_MASK`
const SKIP: u64 = 0xff;
/// `BPF_F_USER_STACK`
const USER: u64 = 1 << 8;
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
