// SPDX-License-Identifier: GPL-2.0

//! Tests of access rules and lowering.

use super::*;
use crate::isa::{AluOp, Cond, Width};

const ROOT: Caps = Caps {
    bpf: true,
    perfmon: true,
    sys_admin: true,
};
const LOAD: Access = Access::Load { sx: false };
const LOADSX: Access = Access::Load { sx: true };

const LAYOUT: KernelLayout = KernelLayout {
    skb_len: 112,
    skb_mark: 160,
    skb_priority: 132,
    skb_protocol: 180,
    skb_queue_mapping: 124,
    skb_hash: 140,
    skb_tc_index: 134,
    skb_vlan_tci: 150,
    skb_vlan_proto: 148,
    skb_vlan_all: 148,
    skb_pkt_type: 128,
    skb_pkt_type_mask: 7,
    skb_iif: 144,
    skb_napi_id: 156,
    min_napi_id: 65,
    skb_data: 200,
    skb_dev: 16,
    dev_ifindex: 224,
    skb_cb_data: 48,
    skb_cb_tc_classid: 46,
    skb_cb_pkt_len: 40,
    skb_cb_data_end: 80,
    skb_cb_data_meta: 72,
    skb_head: 192,
    skb_end: 188,
    shinfo_gso_segs: 6,
    shinfo_gso_size: 4,
    shinfo_hwtstamps: 8,
    skb_tstamp: 32,
    skb_tstamp_type: 129,
    skb_tstamp_type_mask: 3,
    skb_at_ingress_mask: 4,
    skb_cloned: 126,
    skb_cloned_mask: 1,
    xdp_data: 0,
    xdp_data_end: 8,
    xdp_data_meta: 16,
    xdp_rxq: 32,
    rxq_dev: 0,
    rxq_queue_index: 8,
    pe_regs: 0,
    pe_data: 8,
    sample_period: 32,
    sample_addr: 40,
    skb_sk: 24,
    sock: [20, 16, 518, 520, 460, 448, 4, 72, 14, 12, 0, 56, 18, 128],
    tcp: [0; 26],
    tcp_size: [4; 26],
};

fn lowering(prog: ProgType) -> Lowering<'static> {
    Lowering {
        prog,
        layout: &LAYOUT,
        scratch: -24,
        tstamp_as_is: false,
    }
}

fn check(prog: ProgType, off: i32, size: Size, access: Access) -> Option<Value> {
    check_access(prog, ROOT, off, size, access)
}

#[test]
fn skb_rules() {
    use ProgType::*;
    use Size::*;
    let scalar = Some(Value::Scalar);
    assert_eq!(check(SocketFilter, 0, W, LOAD), scalar);
    assert_eq!(check(SocketFilter, 0, B, LOAD), scalar);
    assert_eq!(check(SocketFilter, 3, B, LOADSX), scalar);
    assert_eq!(check(SocketFilter, 1, H, LOAD), None);
    assert_eq!(check(SocketFilter, 0, Dw, LOAD), None);
    assert_eq!(check(SocketFilter, 0, W, Access::Store), None);
    assert_eq!(check(SocketFilter, -4, W, LOAD), None);
    assert_eq!(check(SocketFilter, 192, W, LOAD), None);
    // cb: every aligned access inside.
    assert_eq!(check(SocketFilter, 48, Dw, LOAD), scalar);
    assert_eq!(check(SocketFilter, 56, Dw, Access::Store), scalar);
    assert_eq!(check(SocketFilter, 64, Dw, LOAD), None);
    assert_eq!(check(SocketFilter, 67, B, Access::Store), scalar);
    // Packet pointers.
    assert_eq!(check(SocketFilter, 76, W, LOAD), None);
    assert_eq!(check(SchedCls, 76, W, LOAD), Some(Value::PacketData));
    assert_eq!(check(SchedCls, 80, W, LOAD), Some(Value::PacketEnd));
    assert_eq!(check(SchedAct, 140, W, LOAD), Some(Value::PacketMeta));
    assert_eq!(check(SchedCls, 76, W, LOADSX), None);
    assert_eq!(check(SchedCls, 76, H, LOAD), None);
    assert_eq!(check(CgroupSkb, 140, W, LOAD), None);
    let unprivileged = Caps {
        bpf: false,
        perfmon: false,
        sys_admin: false,
    };
    assert_eq!(check_access(CgroupSkb, unprivileged, 76, W, LOAD), None);
    assert_eq!(check_access(SchedCls, unprivileged, 8, W, LOAD), scalar);
    // Stores.
    assert_eq!(check(SchedCls, 8, W, Access::Store), scalar);
    assert_eq!(check(SchedCls, 8, H, Access::Store), None);
    assert_eq!(check(CgroupSkb, 32, W, Access::Store), scalar);
    assert_eq!(check(CgroupSkb, 72, W, LOAD), None);
    assert_eq!(check(SchedCls, 72, W, Access::Store), scalar);
    assert_eq!(check(SchedCls, 0, W, Access::Store), None);
    // Times.
    assert_eq!(check(SchedCls, 152, Dw, Access::Store), scalar);
    assert_eq!(check(SocketFilter, 152, Dw, LOAD), None);
    assert_eq!(check(SchedCls, 180, B, LOAD), scalar);
    assert_eq!(check_access(CgroupSkb, unprivileged, 152, Dw, LOAD), scalar);
    assert_eq!(
        check_access(CgroupSkb, unprivileged, 152, Dw, Access::Store),
        None
    );
    // No rows.
    assert_eq!(check(SchedCls, 144, Dw, LOAD), None);
    assert_eq!(check(SchedCls, 181, B, LOAD), None);
}

#[test]
fn flat_rules() {
    use ProgType::*;
    use Size::*;
    let scalar = Some(Value::Scalar);
    assert_eq!(check(Kprobe, 0, Dw, LOAD), scalar);
    assert_eq!(check(Kprobe, 167, B, LOAD), scalar);
    assert_eq!(check(Kprobe, 160, Dw, LOADSX), scalar);
    assert_eq!(check(Kprobe, 168, B, LOAD), None);
    assert_eq!(check(Kprobe, 4, Dw, LOAD), None);
    assert_eq!(check(Kprobe, 0, Dw, Access::Store), None);
    assert_eq!(check(Tracepoint, 0, Dw, LOAD), None);
    assert_eq!(check(Tracepoint, 8184, Dw, LOAD), scalar);
    assert_eq!(check(Tracepoint, 8192, B, LOAD), None);
    assert_eq!(check(RawTracepoint, 88, Dw, LOAD), scalar);
    assert_eq!(check(RawTracepoint, 96, Dw, LOAD), None);
    assert_eq!(check(PerfEvent, 160, Dw, LOAD), scalar);
    assert_eq!(check(PerfEvent, 160, W, LOAD), None);
    assert_eq!(check(PerfEvent, 172, W, LOAD), scalar);
    assert_eq!(check(Xdp, 20, W, LOAD), None);
    assert_eq!(check(Xdp, 4, W, LOAD), Some(Value::PacketEnd));
    assert!(is_flat(Kprobe) && !is_flat(SchedCls));
}

fn lowered(prog: ProgType, off: i16, size: Size, sx: bool) -> KVVec<Insn> {
    let load = CtxLoad {
        size,
        sx,
        dst: Reg::R2,
        src: Reg::R1,
        off,
    };
    let mut out = KVVec::from_elem(Insn::Exit, 10, GFP_KERNEL).unwrap();
    lower_load(&lowering(prog), &load, &mut out).unwrap();
    out
}

fn load(size: Size, src: Reg, off: i16) -> Insn {
    Insn::Load {
        size,
        sx: false,
        dst: Reg::R2,
        src,
        off,
    }
}

fn alu(op: AluOp, width: Width, imm: i32) -> Insn {
    Insn::Alu {
        op,
        width,
        dst: Reg::R2,
        src: Src::Imm(imm),
    }
}

#[test]
fn loads_become_member_loads() {
    use ProgType::*;
    use Reg::{R1, R2};
    use Size::*;
    let skb = |off, size, sx| lowered(SchedCls, off, size, sx)[10..].to_vec();
    assert_eq!(skb(0, W, false), [load(W, R1, 112)]);
    assert_eq!(skb(2, H, false), [load(H, R1, 114)]);
    assert_eq!(skb(16, W, false), [load(H, R1, 180)]);
    assert_eq!(skb(17, B, false), [load(B, R1, 181)]);
    assert_eq!(skb(18, H, false), [load(H, R1, 180)]);
    let zero = Insn::Mov {
        width: Width::W32,
        dst: R2,
        src: Src::Imm(0),
    };
    assert_eq!(skb(18, B, false), [zero]);
    assert_eq!(skb(52, Dw, false), [load(Dw, R1, 52)]);
    assert_eq!(skb(76, W, false), [load(Dw, R1, 200)]);
    assert_eq!(
        skb(4, W, false),
        [load(B, R1, 128), alu(AluOp::And, Width::W32, 7)]
    );
    assert_eq!(
        skb(20, B, false),
        [
            load(W, R1, 148),
            Insn::Neg {
                width: Width::W64,
                dst: R2
            },
            alu(AluOp::Rsh, Width::W64, 63),
            alu(AluOp::And, Width::W32, 0xff)
        ]
    );
    let skip = Insn::Jmp {
        cond: Cond::Eq,
        width: Width::W64,
        dst: R2,
        src: Src::Imm(0),
        target: 13,
    };
    assert_eq!(
        skb(42, H, true),
        [
            load(Dw, R1, 16),
            skip,
            load(W, R2, 224),
            alu(AluOp::Rsh, Width::W32, 16),
            alu(AluOp::And, Width::W32, 0xffff),
            Insn::MovSx {
                width: Width::W64,
                from: H,
                dst: R2,
                src: R2
            },
        ]
    );
    assert_eq!(
        lowered(Xdp, 12, W, false)[10..],
        [load(Dw, R1, 32), load(Dw, R2, 0), load(W, R2, 224)]
    );
    assert_eq!(
        lowered(PerfEvent, 8, Dw, false)[10..],
        [load(Dw, R1, 0), load(Dw, R2, 8)]
    );
    assert_eq!(lowered(Kprobe, 8, W, false)[10..], [load(W, R1, 8)]);
}

#[test]
fn a_second_register_is_saved() {
    use Reg::{R0, R10, R2};
    let shared = lowered(ProgType::SocketFilter, 176, Size::W, false);
    let save = Insn::Store {
        size: Size::Dw,
        dst: R10,
        off: -24,
        src: Src::Reg(R0),
    };
    let second = |off, src| Insn::Load {
        size: Size::Dw,
        sx: false,
        dst: R0,
        src,
        off,
    };
    let sum = Insn::Alu {
        op: AluOp::Add,
        width: Width::W64,
        dst: R2,
        src: Src::Reg(R0),
    };
    assert_eq!(
        shared[10..],
        [
            save,
            second(192, Reg::R1),
            load(Size::W, Reg::R1, 188),
            sum,
            second(-24, R10),
            load(Size::H, R2, 4),
        ]
    );
    // The time of a packet that is not at ingress, or has a time of arrival, is as it is.
    for (byte, expected) in [(0, 7), (4, 7), (1, 7), (5, 0), (6, 0)] {
        assert_eq!(run_tstamp_load(byte), expected, "{byte}");
    }
}

/// Interprets the lowered load of a time 7 with that byte of flags.
fn run_tstamp_load(flags: u8) -> u64 {
    use crate::interp::alu;
    let insns = lowered(ProgType::SchedCls, 152, Size::Dw, false);
    let (mut regs, mut saved, mut at) = ([0u64; 11], 0, 10);
    while let Some(insn) = insns.get(at) {
        at += 1;
        match *insn {
            Insn::Store { off: -24, .. } => saved = regs[0],
            Insn::Load { dst, off: -24, .. } => regs[dst.index()] = saved,
            Insn::Load { dst, off: 129, .. } => regs[dst.index()] = flags.into(),
            Insn::Load { dst, off: 32, .. } => regs[dst.index()] = 7,
            Insn::Mov { dst, .. } => regs[dst.index()] = 0,
            Insn::Ja { target, .. } => at = target as usize,
            Insn::Jmp {
                cond,
                width,
                dst,
                src: Src::Imm(imm),
                target,
            } => {
                if alu::cond(cond, width, regs[dst.index()], imm as u64) {
                    at = target as usize;
                }
            }
            other => panic!("{other:?}"),
        }
    }
    regs[2]
}

#[test]
fn stores_become_member_stores() {
    let lower = |off, size, src| {
        let store = CtxStore {
            size,
            dst: Reg::R1,
            off,
            src,
        };
        let mut out = KVVec::new();
        lower_store(&lowering(ProgType::SchedCls), &store, &mut out).unwrap();
        out.to_vec()
    };
    let write = |size, off, src| Insn::Store {
        size,
        dst: Reg::R1,
        off,
        src,
    };
    let reg = Src::Reg(Reg::R3);
    assert_eq!(lower(8, Size::W, reg), [write(Size::W, 160, reg)]);
    assert_eq!(lower(44, Size::W, reg), [write(Size::H, 134, reg)]);
    assert_eq!(lower(50, Size::H, reg), [write(Size::H, 50, reg)]);
    let skip = Insn::Jmp {
        cond: Cond::Ge,
        width: Width::W64,
        dst: Reg::R3,
        src: Src::Imm(0xffff),
        target: 2,
    };
    assert_eq!(lower(12, Size::W, reg), [skip, write(Size::H, 124, reg)]);
    let five = Src::Imm(5);
    assert_eq!(lower(12, Size::W, five), [write(Size::H, 124, five)]);
    let long = false;
    assert_eq!(
        lower(12, Size::W, Src::Imm(0xffff)),
        [Insn::Ja { target: 1, long }]
    );
}

#[test]
fn whatever_is_allowed_can_be_lowered() {
    use ProgType::*;
    let types = [
        SocketFilter,
        Kprobe,
        SchedCls,
        SchedAct,
        Tracepoint,
        Xdp,
        PerfEvent,
        CgroupSkb,
        RawTracepoint,
    ];
    let mut allowed = 0;
    for prog in types {
        for off in -8..8300i32 {
            for size in [Size::B, Size::H, Size::W, Size::Dw] {
                for access in [LOAD, LOADSX, Access::Store] {
                    if check(prog, off, size, access).is_none() {
                        continue;
                    }
                    allowed += 1;
                    let off = off as i16;
                    let mut out = KVVec::new();
                    match access {
                        Access::Load { sx } => {
                            let (dst, src) = (Reg::R1, Reg::R1);
                            let load = CtxLoad {
                                size,
                                sx,
                                dst,
                                src,
                                off,
                            };
                            lower_load(&lowering(prog), &load, &mut out).unwrap();
                        }
                        Access::Store => {
                            let dst = Reg::R1;
                            let src = Src::Imm(1);
                            let store = CtxStore {
                                size,
                                dst,
                                off,
                                src,
                            };
                            lower_store(&lowering(prog), &store, &mut out).unwrap();
                        }
                    }
                    assert!(!out.is_empty());
                }
            }
        }
    }
    assert!(allowed > 1000);
}
