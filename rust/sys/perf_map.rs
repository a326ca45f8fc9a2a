// SPDX-License-Identifier: GPL-2.0

//! Perf events in maps: what programs write to, and counters that they read.

use super::args::{CtxArg, MapArg, ReadArg};
use super::cpus;
use super::event::PerfData;
use super::skb::SkBuff;
use super::symbols;
use super::xdp::XdpBuff;
use crate::abi::MapType;
use crate::map::Map;
use core::marker::PhantomData;
use core::ptr::{self, NonNull};
use kernel::prelude::*;

extern "C" {
    fn oxbpf_held_event_get(fd: c_int) -> *mut c_void;
    fn oxbpf_held_event_put(event: *mut c_void);
    fn oxbpf_held_event_output(
        event: *mut c_void,
        regs: *mut c_void,
        packet: *const EventPacket,
        data: *const c_void,
        size: u64,
    ) -> c_long;
    fn oxbpf_skb_size(skb: *const SkBuff) -> u32;
    fn oxbpf_xdp_size(xdp: *const XdpBuff) -> u32;
    fn oxbpf_held_event_read(
        event: *mut c_void,
        counter: *mut u64,
        enabled: *mut u64,
        running: *mut u64,
    ) -> c_int;
}

/// `struct oxbpf_event_packet`
#[repr(C)]
struct EventPacket {
    packet: *mut c_void,
    size: u32,
    xdp: bool,
}

/// The index in a helper's flags (`BPF_F_INDEX_MASK`); all of it set means the current CPU.
const INDEX: u64 = u32::MAX as u64;
/// How much of the packet, in a helper's flags (`BPF_F_CTXLEN_MASK`).
const CTX_LEN: u64 = 0xf_ffff << 32;

/// A perf event that a map holds, in the way that programs find it.
///
/// # Invariants
///
/// The pointer came from `oxbpf_held_event_get`, and is given back when this is dropped.
pub(crate) struct Event(NonNull<c_void>);

// SAFETY: an event belongs to no thread.
unsafe impl Send for Event {}
// SAFETY: there is nothing to do with a shared one but to read its address.
unsafe impl Sync for Event {}

impl Event {
    /// Whether the kernel's functions for them were found.
    pub(crate) fn usable() -> bool {
        symbols::PERF_EVENT_GET.found()
            && symbols::PERF_OUTPUT.found()
            && symbols::PERF_READ.found()
    }

    /// The event behind a descriptor.
    ///
    /// # Errors
    ///
    /// `EBADF` when that is no perf event; `EOPNOTSUPP` for one whose children count too; `ENOMEM`.
    pub(crate) fn get(fd: u32) -> Result<Self> {
        if !Self::usable() {
            return Err(ENOTSUPP);
        }
        // SAFETY: the kernel's functions are there; this may sleep.
        let event = kernel::error::from_err_ptr(unsafe { oxbpf_held_event_get(fd as c_int) })?;
        // INVARIANT: from there.
        NonNull::new(event).map(Event).ok_or(EBADF)
    }

    /// What stands for it in a map's words.
    pub(crate) fn word(&self) -> u64 {
        self.0.as_ptr() as u64
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: by the invariant. Who found it in a map's words may still use it: it is freed after
        // a grace period.
        unsafe { oxbpf_held_event_put(self.0.as_ptr()) };
    }
}

/// The event that a program means by `flags`.
///
/// # Errors
///
/// `E2BIG` for an index past the end, `ENOENT` for nothing.
fn find(map: &Map, flags: u64) -> Result<*mut c_void> {
    let index = match flags & INDEX {
        INDEX => cpus::current() as u64,
        index => index,
    };
    let words = map.fd_array();
    let words = words.filter(|_| map.spec().ty == MapType::PerfEventArray);
    let words = words.ok_or(EINVAL)?;
    let index = u32::try_from(index).map_err(|_| E2BIG)?;
    if index >= words.entries() {
        return Err(E2BIG);
    }
    match words.get(index) {
        0 => Err(ENOENT),
        word => Ok(word as *mut c_void),
    }
}

fn answer(result: c_long) -> Result<u64> {
    match result {
        0 => Ok(0),
        errno => Err(Error::from_errno(i32::try_from(errno).unwrap_or(-22))),
    }
}

impl CtxArg<SkBuff> {
    /// Bytes of the packet.
    fn size(&self) -> u32 {
        // SAFETY: by the type this is the packet that the program runs on.
        unsafe { oxbpf_skb_size(self.as_ptr()) }
    }
}

impl CtxArg<XdpBuff> {
    /// Bytes of the packet.
    fn size(&self) -> u32 {
        // SAFETY: by the type this is the packet that the program runs on.
        unsafe { oxbpf_xdp_size(self.as_ptr()) }
    }
}

/// The context of a kprobe program: registers.
#[repr(C)]
pub(crate) struct PtRegs([u8; 0]);

/// The context of a tracepoint program: a record, before which the kernel puts the address of the
/// registers at the tracepoint. Programs can neither read nor write that word.
#[repr(C)]
pub(crate) struct TraceRecord(*mut c_void);

/// Registers that a program's context has.
///
/// # Invariants
///
/// The address of the kernel's registers, which are there as long as the context (`'a`).
#[derive(Clone, Copy)]
pub(crate) struct Regs<'a> {
    addr: *mut c_void,
    probe: bool,
    _regs: PhantomData<&'a PtRegs>,
}

impl Regs<'_> {
    /// Where they are.
    pub(super) fn as_ptr(self) -> *mut c_void {
        self.addr
    }

    /// Are they a probe's, so all there? Of a tracepoint's only place and stack are.
    pub(super) fn of_probe(self) -> bool {
        self.probe
    }
}

impl CtxArg<PtRegs> {
    /// The registers.
    pub(crate) fn regs(&self) -> Regs<'_> {
        // INVARIANT: by the type.
        Regs {
            addr: self.as_ptr().cast_mut().cast(),
            probe: true,
            _regs: PhantomData,
        }
    }
}

impl CtxArg<TraceRecord> {
    /// The registers.
    pub(crate) fn regs(&self) -> Regs<'_> {
        // SAFETY: by the type this is a record that such a word begins; programs of this type run at
        // perf events of tracepoints only.
        let record = unsafe { self.as_ptr().read() };
        // INVARIANT: the kernel's registers outlast the run.
        Regs {
            addr: record.0,
            probe: false,
            _regs: PhantomData,
        }
    }
}

impl CtxArg<PerfData> {
    /// The registers.
    pub(crate) fn regs(&self) -> Regs<'_> {
        // SAFETY: by the type this is the kernel's structure, whose first member is the address of
        // the registers; programs of this type run at perf events only.
        let addr = unsafe { self.as_ptr().cast::<*mut c_void>().read() };
        // INVARIANT: the kernel's registers outlast the run.
        Regs {
            addr,
            probe: false,
            _regs: PhantomData,
        }
    }
}

/// Where a record comes from.
pub(crate) enum From<'a> {
    /// A probe's registers.
    Regs(Regs<'a>),
    /// The helper's caller.
    Caller,
    /// A packet, of which the flags say how much goes with the record.
    Packet(&'a CtxArg<SkBuff>),
    /// One that has no skb, likewise.
    Frame(&'a CtxArg<XdpBuff>),
}

/// Writes a record to the event of `map` that `flags` says.
///
/// # Errors
///
/// `EINVAL` for other flags, and for an event of another kind; those of finding it; `EOPNOTSUPP` for
/// an event of another CPU; `EFAULT` for more than the packet has; `E2BIG` for a record that is too
/// long; those of the kernel when its buffer is full.
pub(crate) fn output(map: &MapArg<Map>, from: From<'_>, flags: u64, data: &ReadArg) -> Result<u64> {
    let allowed = match from {
        From::Packet(_) | From::Frame(_) => INDEX | CTX_LEN,
        From::Regs(_) | From::Caller => INDEX,
    };
    if flags & !allowed != 0 {
        return Err(EINVAL);
    }
    let size = ((flags & CTX_LEN) >> 32) as u32;
    let none = (ptr::null_mut(), 0, false);
    let (regs, (packet, has, xdp)) = match from {
        From::Packet(p) => (
            ptr::null_mut(),
            (p.as_ptr().cast_mut().cast(), p.size(), false),
        ),
        From::Frame(p) => (
            ptr::null_mut(),
            (p.as_ptr().cast_mut().cast(), p.size(), true),
        ),
        From::Regs(given) => (given.as_ptr(), none),
        From::Caller => (ptr::null_mut(), none),
    };
    if size > has {
        return Err(EFAULT);
    }
    let packet = EventPacket { packet, size, xdp };
    let event = find(map, flags)?;
    let (at, len) = data.raw();
    // SAFETY: a map of this type has the words of events only (`Event::word`), which live until a
    // grace period after they were taken out, and programs run inside of one; registers and packet
    // are the program's context, by the types; the bytes can be read during the call.
    answer(unsafe { oxbpf_held_event_output(event, regs, &packet, at.cast(), len as u64) })
}

/// A counter: its value, and for how long it was enabled and running, in ns.
#[derive(Clone, Copy, Default)]
pub(crate) struct Counter {
    /// Value.
    pub(crate) counter: u64,
    /// Enabled.
    pub(crate) enabled: u64,
    /// Running.
    pub(crate) running: u64,
}

/// Reads the event of `map` that `flags` says.
///
/// # Errors
///
/// `EINVAL` for other flags, and for an event of another CPU or task; those of finding it; `EBUSY`
/// for one that is pinned and not here.
pub(crate) fn read(map: &MapArg<Map>, flags: u64) -> Result<Counter> {
    if flags & !INDEX != 0 {
        return Err(EINVAL);
    }
    let event = find(map, flags)?;
    let mut c = Counter::default();
    // SAFETY: as in `output`; the numbers can be written.
    let done =
        unsafe { oxbpf_held_event_read(event, &mut c.counter, &mut c.enabled, &mut c.running) };
    answer(done as c_long)?;
    Ok(c)
}
