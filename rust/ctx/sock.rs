// SPDX-License-Identifier: GPL-2.0

//! `struct bpf_sock` and `struct bpf_tcp_sock`: the views of sockets.
//!
//! Both are read only. Any socket can be seen through the former, but of one that may be a request or
//! one that waits for its end only what these have too, `struct sock_common`, which ends before the
//! others' type to priority.

use super::field::{self, table, Field, Place, Rule};
use super::layout::{SockPart, TCP_FIELDS};
use super::{CtxLoad, KernelLayout, Lowering, Value};
use crate::abi::{ProgType, ProgTypes};
use crate::helper::Cap;
use crate::isa::{Insn, Size};
use kernel::prelude::*;

/// How much is known of a socket, which is what a program may see of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sock {
    /// Nothing but that it is one, or a request, or waits for its end (`sock_common`).
    Common,
    /// It is a full one (`sock`).
    Full,
    /// It is a full one of TCP (`tcp_sock`).
    Tcp,
}

const fn row(start: u32, end: u32, rule: Rule, place: Place) -> Field {
    Field {
        start,
        end,
        value: Value::Scalar,
        rule,
        load: ProgTypes::ALL,
        store: ProgTypes::of(&[]),
        cgroup_load: Cap::None,
        cgroup_store: Cap::None,
        place,
    }
}

/// A u32 field of which its start may be read.
const fn word(start: u32, place: Place) -> Field {
    row(start, start + 4, Rule::Start, place)
}

/// A u32 field that is read whole.
const fn whole(start: u32, place: Place) -> Field {
    row(start, start + 4, Rule::Whole(Size::W), place)
}

/// Where the socket has that.
macro_rules! at {
    ($part:ident, $size:ident) => {
        Place::Member(|l| l.sock[SockPart::$part as usize], Size::$size)
    };
}

/// `struct bpf_sock`, in the order of `<linux/bpf.h>`.
static SOCK: &[Field] = table(SOCK_ROWS);

const SOCK_ROWS: &[Field] = &[
    // bound_dev_if
    whole(0, at!(BoundDevIf, W)),
    // family
    word(4, at!(Family, H)),
    // type
    word(8, at!(Type, H)),
    // protocol
    word(12, at!(Protocol, H)),
    // mark
    whole(16, at!(Mark, W)),
    // priority
    whole(20, at!(Priority, W)),
    // src_ip4
    row(24, 28, Rule::Narrow(Size::W), at!(Source, W)),
    // src_ip6[4]
    row(
        28,
        44,
        Rule::Narrow(Size::W),
        Place::Address6(|l| l.sock[SockPart::Source6 as usize]),
    ),
    // src_port
    word(44, at!(SourcePort, H)),
    // dst_port, of which only the first two bytes are read in parts
    row(48, 52, Rule::Port, at!(DestPort, H)),
    // dst_ip4
    row(52, 56, Rule::Narrow(Size::W), at!(Dest, W)),
    // dst_ip6[4]
    row(
        56,
        72,
        Rule::Narrow(Size::W),
        Place::Address6(|l| l.sock[SockPart::Dest6 as usize]),
    ),
    // state
    word(72, at!(State, B)),
    // rx_queue_mapping
    word(76, Place::RxQueue(|l| l.sock[SockPart::RxQueue as usize])),
];

/// First byte of `type`, which no `sock_common` has.
const FULL_START: u32 = 8;
/// Where `src_ip4` starts, which it has again.
const FULL_END: u32 = 24;

/// `struct bpf_tcp_sock`: 26 fields, of which the 21st and 22nd have eight bytes.
static TCP: &[Field] = table(&tcp_rows());

/// Fields with eight bytes: `bytes_received` and `bytes_acked`.
const TCP_WIDE: core::ops::Range<usize> = 20..22;

const fn tcp_rows() -> [Field; TCP_FIELDS] {
    let mut rows = [whole(0, Place::Tcp(0)); TCP_FIELDS];
    let mut start = 0;
    let mut i = 0;
    while i < TCP_FIELDS {
        let wide = TCP_WIDE.start <= i && i < TCP_WIDE.end;
        let (bytes, size) = if wide { (8, Size::Dw) } else { (4, Size::W) };
        rows[i] = row(start, start + bytes, Rule::Whole(size), Place::Tcp(i));
        start += bytes;
        i += 1;
    }
    assert!(start == 112, "struct bpf_tcp_sock has another size");
    rows
}

/// The verifier's question: may a program read `size` bytes at byte `off` of a socket?
///
/// In-tree asks nothing else of the program, and neither is anything asked here: what a program may get a
/// socket from, is asked where it does.
pub fn check_sock(sock: Sock, off: i32, size: Size) -> bool {
    let Ok(off) = u32::try_from(off) else {
        return false;
    };
    if off % size.bytes() != 0 {
        return false;
    }
    let fields = match sock {
        Sock::Common if (FULL_START..FULL_END).contains(&off) => return false,
        Sock::Common | Sock::Full => SOCK,
        Sock::Tcp => TCP,
    };
    let caps = crate::helper::Caps {
        bpf: false,
        perfmon: false,
        sys_admin: false,
    };
    let access = super::Access::Load { sx: false };
    field::find(fields, off).is_some_and(|f| {
        f.check(ProgType::SchedCls, caps, off, size, access)
            .is_some()
    })
}

/// Appends to `out` what a proved load from a socket becomes on the running kernel's structures.
///
/// As for [`super::lower_load`].
///
/// # Errors
///
/// `ENOMEM` when `out` cannot grow; `EINVAL` for an access that [`check_sock`] refuses.
pub fn lower_sock_load(
    sock: Sock,
    lowering: &Lowering<'_>,
    load: &CtxLoad,
    out: &mut KVVec<Insn>,
) -> Result {
    let fields = match sock {
        Sock::Common | Sock::Full => SOCK,
        Sock::Tcp => TCP,
    };
    field::at(fields, load.off)?.lower_load(lowering, load, out)
}

/// Where a field of `struct tcp_sock` is, and its size there.
pub(super) fn tcp_member(layout: &KernelLayout, index: usize) -> Result<(i16, Size)> {
    let at = layout.tcp.get(index).ok_or(EINVAL)?;
    let size = match layout.tcp_size.get(index) {
        Some(1) => Size::B,
        Some(2) => Size::H,
        Some(4) => Size::W,
        Some(8) => Size::Dw,
        _ => return Err(EINVAL),
    };
    Ok((*at, size))
}
