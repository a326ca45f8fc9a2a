// SPDX-License-Identifier: GPL-2.0

//! PROG_TEST_RUN: runs a program on a packet, or on registers, that user space makes up.

mod xdp;

use super::errno::ebadmsg;
use super::{check_tail, Attr};
use crate::abi::ProgType;
use crate::attach::tracepoint::ARGS_MAX;
use crate::prog::{Prog, ProgFile};
use crate::sys::anon::FileRef;
use crate::sys::context::NoEvent;
use crate::sys::skb::{self, SkBuffCtx, TestSkb, SK_BUFF_CTX_SIZE};
use crate::sys::testrun::{self, TestPacket};
use crate::sys::user::User;
use kernel::page::PAGE_SIZE;
use kernel::prelude::*;

/// Fields of PROG_TEST_RUN.
#[repr(C)]
#[derive(FromBytes)]
struct TestAttr {
    prog_fd: u32,
    retval: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    ctx_size_in: u32,
    ctx_size_out: u32,
    ctx_in: u64,
    ctx_out: u64,
    flags: u32,
    cpu: u32,
    batch_size: u32,
    _pad: u32,
}

/// Bytes of the attr where results go.
mod answer {
    pub(super) const RETVAL: u64 = 4;
    pub(super) const DATA_SIZE_OUT: u64 = 12;
    pub(super) const DURATION: u64 = 36;
    pub(super) const CTX_SIZE_OUT: u64 = 44;
}

/// `BPF_F_TEST_SKB_CHECKSUM_COMPLETE`: the packet looks summed up by its device, and the program
/// must keep the sum right.
const CHECKSUM_COMPLETE: u32 = 1 << 2;

/// `ETH_HLEN`
const ETH_HLEN: u32 = 14;

/// Fields of `struct __sk_buff` that say something about the made-up packet.
mod field {
    pub(super) const IFINDEX: usize = 40;
    pub(super) const DATA: usize = 76;
    pub(super) const DATA_END: usize = 80;
    pub(super) const DATA_META: usize = 140;
}

/// PROG_TEST_RUN
pub(super) fn test_run(attr: &Attr) -> Result<i32> {
    let a: TestAttr = attr.view()?;
    if (a.ctx_size_in != 0) != (a.ctx_in != 0) || (a.ctx_size_out != 0) != (a.ctx_out != 0) {
        return Err(EINVAL);
    }
    let file = FileRef::<ProgFile>::get(a.prog_fd)?;
    let prog = file.prog();
    match prog.aux().ty {
        ProgType::SocketFilter | ProgType::CgroupSkb | ProgType::SchedCls | ProgType::SchedAct => {
            on_packet(attr, &a, prog)
        }
        ProgType::Kprobe if a.ctx_size_in != 0 => on_registers(attr, &a, prog),
        ProgType::RawTracepoint => on_arguments(attr, &a, prog),
        ProgType::Xdp => xdp::on_frame(attr, &a, prog),
        ProgType::Kprobe | ProgType::Tracepoint | ProgType::PerfEvent => Err(ENOTSUPP),
    }
}

/// `BPF_F_TEST_RUN_ON_CPU`
const RUN_ON_CPU: u32 = 1 << 0;

/// Bytes of a raw tracepoint's context.
const ARGS_SIZE: usize = ARGS_MAX * 8;

/// A raw tracepoint's arguments.
#[repr(align(8))]
struct Arguments([u8; ARGS_SIZE]);

/// A raw tracepoint's program on arguments that user space gives, once; those that it does not give
/// are 0.
fn on_arguments(attr: &Attr, a: &TestAttr, prog: &Prog) -> Result<i32> {
    let others = a.duration | a.repeat | a.batch_size;
    if a.data_in != 0 || a.data_out != 0 || a.ctx_out != 0 || others != 0 {
        return Err(EINVAL);
    }
    let size = a.ctx_size_in as usize;
    if a.ctx_size_in < prog.aux().ctx_end || size > ARGS_SIZE {
        return Err(EINVAL);
    }
    let cpu = match a.flags & RUN_ON_CPU {
        0 if a.cpu != 0 => return Err(EINVAL),
        0 => None,
        _ => Some(a.cpu),
    };
    let mut args = KBox::new(Arguments([0; ARGS_SIZE]), GFP_KERNEL)?;
    User::new(a.ctx_in).read(args.0.get_mut(..size).ok_or(EINVAL)?)?;

    let at = args.0.as_ptr() as usize;
    let retval = testrun::on_cpu(cpu, |run| {
        // The program must not be started by a tracepoint that it hits itself.
        let _level = NoEvent::enter(run);
        prog.run(run, at) as u32
    })?;
    attr.answer(answer::RETVAL, &retval.to_ne_bytes())?;
    Ok(0)
}

/// Bytes of `struct pt_regs`, which is the same to user space.
const PT_REGS_SIZE: usize = 168;

/// Registers that user space makes up, where the kernel would have a `struct pt_regs`.
#[repr(align(8))]
struct Registers([u8; PT_REGS_SIZE]);

/// A kprobe's program on registers that user space gives. In-tree has no such thing: without a
/// context the answer is its own.
fn on_registers(attr: &Attr, a: &TestAttr, prog: &Prog) -> Result<i32> {
    if a.flags != 0 || a.cpu != 0 || a.batch_size != 0 {
        return Err(EINVAL);
    }
    let no_data = a.data_in == 0 && a.data_size_in == 0;
    if !no_data || a.data_out != 0 || a.data_size_out != 0 {
        return Err(EINVAL);
    }
    let user = User::new(a.ctx_in);
    check_tail(user, PT_REGS_SIZE, a.ctx_size_in as usize)?;
    let size = PT_REGS_SIZE.min(a.ctx_size_in as usize);
    let mut regs = KBox::new(Registers([0; PT_REGS_SIZE]), GFP_KERNEL)?;
    user.read(regs.0.get_mut(..size).ok_or(EINVAL)?)?;

    let at = regs.0.as_ptr() as usize;
    let (retval, duration) = testrun::repeat(a.repeat, |run| {
        // A probe that the program itself hits must not start another.
        let _level = NoEvent::enter(run);
        prog.run(run, at) as u32
    })?;

    attr.answer(answer::RETVAL, &retval.to_ne_bytes())?;
    attr.answer(answer::DURATION, &duration.to_ne_bytes())?;
    if a.ctx_out != 0 {
        write_ctx(attr, a, &regs.0)?;
    }
    Ok(0)
}

/// The context that user space gives, or zeroes when it wants one back; `None` for neither.
fn read_ctx(a: &TestAttr) -> Result<Option<KBox<SkBuffCtx>>> {
    if a.ctx_in == 0 && a.ctx_out == 0 {
        return Ok(None);
    }
    let mut ctx = KBox::new(SkBuffCtx([0; SK_BUFF_CTX_SIZE]), GFP_KERNEL)?;
    fill_ctx(a, &mut ctx.0)?;
    Ok(Some(ctx))
}

/// Copies to `ctx` the context that user space gives, if any.
fn fill_ctx(a: &TestAttr, ctx: &mut [u8]) -> Result {
    if a.ctx_in == 0 {
        return Ok(());
    }
    let user = User::new(a.ctx_in);
    let size = a.ctx_size_in as usize;
    check_tail(user, ctx.len(), size)?;
    let size = size.min(ctx.len());
    user.read(ctx.get_mut(..size).ok_or(EINVAL)?)
}

/// The number at byte `off` of a context.
fn ctx_u32(ctx: &[u8], off: usize) -> u32 {
    match ctx.get(off..).and_then(|tail| tail.first_chunk()) {
        Some(bytes) => u32::from_ne_bytes(*bytes),
        None => 0,
    }
}

/// The packet that user space gives: the first `linear` bytes in one piece, the rest in pages.
fn read_packet(a: &TestAttr, linear: usize) -> Result<TestSkb> {
    let user = User::new(a.data_in);
    let mut skb = TestSkb::new(linear)?;
    user.read(skb.head_mut())?;
    let size = a.data_size_in as usize;
    let mut done = linear;
    while done < size {
        let len = size.saturating_sub(done).min(PAGE_SIZE);
        user.add(done as u64).read(skb.add_page(len)?)?;
        done = done.saturating_add(len);
    }
    Ok(skb)
}

fn on_packet(attr: &Attr, a: &TestAttr, prog: &Prog) -> Result<i32> {
    if a.flags & !CHECKSUM_COMPLETE != 0 || a.cpu != 0 || a.batch_size != 0 {
        return Err(EINVAL);
    }
    if a.data_size_in < ETH_HLEN {
        return Err(EINVAL);
    }
    // tc sees the link-layer header; the others start behind it.
    let (is_l2, pointers) = match prog.aux().ty {
        ProgType::SchedCls | ProgType::SchedAct => (true, true),
        ProgType::CgroupSkb => (false, true),
        _ => (false, false),
    };
    let mut ctx = read_ctx(a)?;
    let mut linear = a.data_size_in;
    let mut ifindex = 0;
    if let Some(ctx) = &ctx {
        let data_end = ctx_u32(&ctx.0, field::DATA_END);
        if data_end > a.data_size_in
            || ctx_u32(&ctx.0, field::DATA) != 0
            || ctx_u32(&ctx.0, field::DATA_META) != 0
        {
            return Err(EINVAL);
        }
        if data_end != 0 {
            linear = data_end.max(ETH_HLEN);
        }
        ifindex = ctx_u32(&ctx.0, field::IFINDEX);
    }
    let linear = (linear as usize).min(skb::linear_max());

    let mut skb = read_packet(a, linear)?;
    skb.prepare(ifindex, is_l2, pointers)?;
    if let Some(ctx) = &ctx {
        skb.import(ctx)?;
    }
    let summed = a.flags & CHECKSUM_COMPLETE != 0;
    if summed {
        skb.set_checksum();
    }

    let at = skb.ctx();
    let (retval, duration) = testrun::repeat(a.repeat, |run| prog.run(run, at) as u32)?;

    if !is_l2 {
        skb.push_l2()?;
    }
    if summed && !skb.checksum_ok() {
        return Err(ebadmsg());
    }
    if let Some(ctx) = &mut ctx {
        skb.export(ctx);
    }
    finish(attr, a, &skb, retval, duration)?;
    if let Some(ctx) = &ctx {
        write_ctx(attr, a, &ctx.0)?;
    }
    Ok(0)
}

/// Copies the packet and the results out.
///
/// The packet is cut to what user space has room for; how long it is, it gets to know in any case.
fn finish<P: TestPacket>(
    attr: &Attr,
    a: &TestAttr,
    packet: &P,
    retval: u32,
    duration: u32,
) -> Result {
    let size = packet.len();
    let cut = a.data_size_out != 0 && size > a.data_size_out;
    let room = if cut { a.data_size_out } else { size } as usize;
    let write = || {
        if a.data_out != 0 {
            copy_packet(User::new(a.data_out), packet, room)?;
        }
        attr.answer(answer::DATA_SIZE_OUT, &size.to_ne_bytes())?;
        attr.answer(answer::RETVAL, &retval.to_ne_bytes())?;
        attr.answer(answer::DURATION, &duration.to_ne_bytes())
    };
    finished(write(), cut)
}

/// A cut is what is told, also where something could not be written.
fn finished(written: Result, cut: bool) -> Result {
    if cut {
        Err(ENOSPC)
    } else {
        written
    }
}

/// The first `room` bytes of the packet.
fn copy_packet<P: TestPacket>(user: User, packet: &P, room: usize) -> Result {
    let mut done = 0;
    let mut piece = Some(packet.head());
    let mut next = 0u32;
    while let Some(bytes) = piece {
        let len = bytes.len().min(room.saturating_sub(done));
        user.add(done as u64)
            .write(bytes.get(..len).unwrap_or(&[]))?;
        done = done.saturating_add(len);
        piece = packet.frag(next);
        next = next.saturating_add(1);
    }
    Ok(())
}

/// Copies the context out, if user space wants it.
fn write_ctx(attr: &Attr, a: &TestAttr, ctx: &[u8]) -> Result {
    if a.ctx_out == 0 {
        return Ok(());
    }
    let room = ctx.len().min(a.ctx_size_out as usize);
    let size = ctx.len() as u32;
    let write = || {
        User::new(a.ctx_out).write(ctx.get(..room).unwrap_or(&[]))?;
        attr.answer(answer::CTX_SIZE_OUT, &size.to_ne_bytes())
    };
    finished(write(), room < ctx.len())
}
