// SPDX-License-Identifier: GPL-2.0

//! tc: what a packet costs more with a filter at the clsact hook than with an empty clsact.
//!
//! The packet goes out through `lo`, of a protocol that nobody listens to. In-tree's kind is `bpf`,
//! ours `oxbpf`, with the same options.

use super::{load, Case, Figure, Missing, Outcome};
use crate::asm::*;
use crate::clock::per_round;
use crate::netlink::{Message, Netlink, Packets};
use oxbpf::{Bpf, ProgType};
use std::os::fd::{AsFd, AsRawFd};

const GROUP: &str = "tc";
const UNIT: &str = "insns/packet";
/// `lo`
const INTERFACE: i32 = 1;
/// `RTM_NEWQDISC`, `RTM_DELQDISC`, `RTM_NEWTFILTER`
const NEW_QDISC: u16 = 36;
const DEL_QDISC: u16 = 37;
const NEW_FILTER: u16 = 44;
/// `NLM_F_CREATE | NLM_F_EXCL`
const CREATE: u16 = 0x600;
/// `TC_H_CLSACT`, the handle of its qdisc, and `TC_H_MIN_EGRESS` in it.
const CLSACT: u32 = 0xffff_fff1;
const CLSACT_HANDLE: u32 = 0xffff_0000;
const EGRESS: u32 = 0xffff_fff3;
/// `TCA_KIND`, `TCA_OPTIONS`
const KIND: u16 = 1;
const OPTIONS: u16 = 2;
/// `TCA_BPF_FD`, `TCA_BPF_FLAGS`, `TCA_BPF_FLAG_ACT_DIRECT`
const BPF_FD: u16 = 6;
const BPF_FLAGS: u16 = 8;
const ACT_DIRECT: u32 = 1;
/// Priority 1, `ETH_P_ALL`.
const ALL_FIRST: u32 = (1 << 16) | 0x0300;

fn qdisc(ty: u16, flags: u16) -> Message {
    let mut m = Message::new(ty, flags);
    m.tcmsg(INTERFACE, CLSACT_HANDLE, CLSACT, 0);
    m.attr(KIND, b"clsact\0");
    m
}

fn packet_ticks() -> Result<f64, Missing> {
    let packets = Packets::new(INTERFACE).map_err(|e| format!("socket: {e}"))?;
    let mut failed = None;
    let ticks = per_round(|n| {
        for _ in 0..n {
            if let Err(e) = packets.send() {
                failed = Some(e);
            }
        }
    });
    match failed {
        Some(e) => Err(Missing::Failed(format!("send: {e}"))),
        None => Ok(ticks),
    }
}

/// With a program that lets the packet go, and counts nothing.
fn direct(bpf: &Bpf) -> Outcome {
    let mut a = Asm::new();
    a.mov(R0, 0);
    a.exit();
    let prog = load(bpf, ProgType::SCHED_CLS, &a.finish())?;
    let net = Netlink::new().map_err(|e| format!("netlink: {e}"))?;
    let ask = |what: &str, m: Message| {
        net.ask(m)
            .map_err(|e| Missing::Unsupported(format!("{what}: {e}")))
    };
    ask("clsact", qdisc(NEW_QDISC, CREATE))?;
    let with_filter = || {
        let empty = packet_ticks()?;
        let mut m = Message::new(NEW_FILTER, CREATE);
        m.tcmsg(INTERFACE, 0, EGRESS, ALL_FIRST);
        let kind: &[u8] = match bpf.name() {
            "in-tree" => b"bpf\0",
            _ => b"oxbpf\0",
        };
        m.attr(KIND, kind);
        let options = m.nest(OPTIONS);
        m.attr(BPF_FD, &prog.as_fd().as_raw_fd().to_ne_bytes());
        m.attr(BPF_FLAGS, &ACT_DIRECT.to_ne_bytes());
        m.end(options);
        ask("filter", m)?;
        Ok(packet_ticks()? - empty)
    };
    let ticks = with_filter();
    ask("clsact", qdisc(DEL_QDISC, 0))?;
    ticks.map(|ticks| Figure { ticks, bytes: None })
}

pub(super) fn cases() -> Vec<Case> {
    vec![Case::of_kernel(
        GROUP,
        "direct action, above an empty clsact",
        UNIT,
        392.0 - 191.0,
        direct,
    )]
}
