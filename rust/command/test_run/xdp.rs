// SPDX-License-Identifier: GPL-2.0

//! XDP programs on packets that user space makes up.

use super::{ctx_u32, fill_ctx, finish, write_ctx, TestAttr, ETH_HLEN};
use crate::command::errno::eopnotsupp;
use crate::command::Attr;
use crate::prog::Prog;
use crate::sys::testrun;
use crate::sys::user::User;
use crate::sys::xdp::{self, TestXdp};
use kernel::page::PAGE_SIZE;
use kernel::prelude::*;

/// `BPF_F_TEST_XDP_LIVE_FRAMES`
const LIVE_FRAMES: u32 = 1 << 1;

/// `expected_attach_type` of programs that run behind a device map (`BPF_XDP_DEVMAP`) or a CPU map
/// (`BPF_XDP_CPUMAP`).
const BEHIND_MAPS: [u32; 2] = [33, 35];

/// `struct xdp_md`, the context as user space passes and gets it. Its pointers are counted from the
/// metadata's start.
type Md = [u8; 24];

/// Fields of it.
mod field {
    pub(super) const DATA: usize = 0;
    pub(super) const DATA_END: usize = 4;
    pub(super) const DATA_META: usize = 8;
    pub(super) const INGRESS_IFINDEX: usize = 12;
    pub(super) const RX_QUEUE_INDEX: usize = 16;
    pub(super) const EGRESS_IFINDEX: usize = 20;
}

/// Runs the program on a packet: metadata and the first bytes up to `data_end` of the context in one
/// piece, the rest in pages.
pub(super) fn on_frame(attr: &Attr, a: &TestAttr, prog: &Prog) -> Result<i32> {
    if BEHIND_MAPS.contains(&prog.aux().expected_attach_type) {
        return Err(EINVAL);
    }
    if a.flags & !LIVE_FRAMES != 0 {
        return Err(EINVAL);
    }
    // Packets that go on into the kernel.
    if a.flags & LIVE_FRAMES != 0 {
        return Err(eopnotsupp());
    }
    if a.batch_size != 0 {
        return Err(EINVAL);
    }
    let mut md: Md = [0; 24];
    let given = a.ctx_in != 0 || a.ctx_out != 0;
    fill_ctx(a, &mut md)?;

    let mut meta = 0;
    let mut linear = a.data_size_in;
    if given {
        let (data, end) = (ctx_u32(&md, field::DATA), ctx_u32(&md, field::DATA_END));
        if ctx_u32(&md, field::DATA_META) != 0 || end > a.data_size_in || data > end {
            return Err(EINVAL);
        }
        if !xdp::meta_ok(data) {
            return Err(EINVAL);
        }
        meta = data;
        linear = end;
    }
    let linear = linear.min(xdp::linear_max(meta));
    if a.data_size_in.saturating_sub(meta) < ETH_HLEN {
        return Err(EINVAL);
    }
    let mut packet = TestXdp::new(meta, linear)?;
    let user = User::new(a.data_in);
    user.read(packet.head_mut())?;
    receive(&mut packet, &md)?;
    let size = a.data_size_in as usize;
    let mut done = linear as usize;
    while done < size {
        let len = size.saturating_sub(done).min(PAGE_SIZE);
        user.add(done as u64).read(packet.add_page(len)?)?;
        done = done.saturating_add(len);
    }

    let at = packet.ctx();
    let (retval, duration) = testrun::repeat(a.repeat, |run| prog.run(run, at) as u32)?;

    finish(attr, a, &packet, retval, duration)?;
    if given {
        let meta = packet.meta();
        let end = packet.head_mut().len() as u32;
        put(&mut md, field::DATA, meta);
        put(&mut md, field::DATA_END, end);
        write_ctx(attr, a, &md)?;
    }
    Ok(0)
}

/// Where the context says that the packet came from.
fn receive(packet: &mut TestXdp, md: &Md) -> Result {
    if ctx_u32(md, field::EGRESS_IFINDEX) != 0 {
        return Err(EINVAL);
    }
    let queue = ctx_u32(md, field::RX_QUEUE_INDEX);
    match ctx_u32(md, field::INGRESS_IFINDEX) {
        0 if queue != 0 => Err(EINVAL),
        0 => Ok(()),
        ifindex => packet.receive(ifindex, queue),
    }
}

/// Writes the number at byte `off` of a context.
fn put(md: &mut Md, off: usize, value: u32) {
    if let Some(bytes) = md.get_mut(off..).and_then(|tail| tail.first_chunk_mut()) {
        *bytes = value.to_ne_bytes();
    }
}
