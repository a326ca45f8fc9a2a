// SPDX-License-Identifier: GPL-2.0

//! Helpers of perf events.

use crate::map::Map;
use crate::sys::args::{CtxArg, MapArg, ReadArg, WriteArg};
use crate::sys::event::PerfData;
use crate::sys::perf_map::{self, Counter, From, PtRegs, TraceRecord};
use crate::sys::skb::SkBuff;
use crate::sys::xdp::XdpBuff;
use kernel::prelude::*;

/// `perf_event_output(ctx, map, flags, data, size)` of a probe.
pub(super) extern "C" fn of_regs(
    regs: CtxArg<PtRegs>,
    map: MapArg<Map>,
    flags: u64,
    data: ReadArg,
) -> u64 {
    super::errno(perf_map::output(
        &map,
        From::Regs(regs.regs()),
        flags,
        &data,
    ))
}

/// The same of a tracepoint.
pub(super) extern "C" fn of_record(
    record: CtxArg<TraceRecord>,
    map: MapArg<Map>,
    flags: u64,
    data: ReadArg,
) -> u64 {
    super::errno(perf_map::output(
        &map,
        From::Regs(record.regs()),
        flags,
        &data,
    ))
}

/// The same of a counter's event.
pub(super) extern "C" fn of_counter(
    ctx: CtxArg<PerfData>,
    map: MapArg<Map>,
    flags: u64,
    data: ReadArg,
) -> u64 {
    super::errno(perf_map::output(&map, From::Regs(ctx.regs()), flags, &data))
}

/// The same where there are no registers.
pub(super) extern "C" fn of_caller(
    _ctx: CtxArg<PtRegs>,
    map: MapArg<Map>,
    flags: u64,
    data: ReadArg,
) -> u64 {
    super::errno(perf_map::output(&map, From::Caller, flags, &data))
}

/// The same with a packet.
pub(super) extern "C" fn of_packet(
    skb: CtxArg<SkBuff>,
    map: MapArg<Map>,
    flags: u64,
    data: ReadArg,
) -> u64 {
    super::errno(perf_map::output(&map, From::Packet(&skb), flags, &data))
}

/// The same with a packet that has no skb.
pub(super) extern "C" fn of_frame(
    xdp: CtxArg<XdpBuff>,
    map: MapArg<Map>,
    flags: u64,
    data: ReadArg,
) -> u64 {
    super::errno(perf_map::output(&map, From::Frame(&xdp), flags, &data))
}

/// `perf_event_read(map, flags)`
pub(super) extern "C" fn read(map: MapArg<Map>, flags: u64) -> u64 {
    super::errno(perf_map::read(&map, flags).map(|c| c.counter))
}

/// Bytes of `struct bpf_perf_event_value`.
const VALUE: usize = 24;

/// `perf_event_read_value(map, flags, buf, size)`
pub(super) extern "C" fn read_value(map: MapArg<Map>, flags: u64, mut to: WriteArg) -> u64 {
    to.clear();
    super::errno(value(&map, flags, &mut to).map(|()| 0))
}

fn value(map: &MapArg<Map>, flags: u64, to: &mut WriteArg) -> Result {
    if to.len() != VALUE {
        return Err(EINVAL);
    }
    let Counter {
        counter,
        enabled,
        running,
    } = perf_map::read(map, flags)?;
    let mut bytes = [0; VALUE];
    let words = [counter, enabled, running];
    for (to, from) in bytes.chunks_exact_mut(8).zip(words) {
        to.copy_from_slice(&from.to_ne_bytes());
    }
    to.put(&bytes);
    Ok(())
}
