// SPDX-License-Identifier: GPL-2.0

//! Tests of the notation.

use super::*;
use crate::isa::decode::decode;
use crate::isa::RawInsn;

fn show(code: u8, dst: u8, src: u8, off: i16, imm: i32) -> String {
    let mut raw = [RawInsn::new(0x95, 0, 0, 0, 0); 8];
    raw[1] = RawInsn::new(code, dst, src, off, imm);
    if code == 0x18 {
        raw[2] = RawInsn::new(0, 0, 0, 0, if src == 0 { 0x11 } else { 0 });
    }
    let insns = decode(&raw).unwrap();
    Line::with_pointer(1, &insns[1], 0xffff_8000).to_string()
}

#[test]
fn notation() {
    assert_eq!(show(0xb7, 0, 0, 0, 0), "(b7) r0 = 0");
    assert_eq!(show(0xb4, 3, 0, 0, -5), "(b4) w3 = -5");
    assert_eq!(show(0xbf, 2, 10, 0, 0), "(bf) r2 = r10");
    assert_eq!(show(0xbf, 1, 2, 8, 0), "(bf) r1 = (s8)r2");
    assert_eq!(show(0xbc, 1, 2, 16, 0), "(bc) w1 = (s16)w2");
    assert_eq!(show(0xbf, 1, 2, 32, 0), "(bf) r1 = (s32)r2");
    assert_eq!(show(0x07, 1, 0, 0, -8), "(07) r1 += -8");
    assert_eq!(show(0x3f, 1, 2, 1, 0), "(3f) r1 s/= r2");
    assert_eq!(show(0x94, 1, 0, 1, 3), "(94) w1 s%= 3");
    assert_eq!(show(0xcf, 1, 2, 0, 0), "(cf) r1 s>>= r2");
    assert_eq!(show(0x84, 1, 0, 0, 0), "(84) w1 = -w1");
    assert_eq!(show(0xdc, 1, 0, 0, 16), "(dc) r1 = be16 r1");
    assert_eq!(show(0xd4, 1, 0, 0, 64), "(d4) r1 = le64 r1");
    assert_eq!(show(0xd7, 1, 0, 0, 32), "(d7) r1 = bswap32 r1");
    assert_eq!(show(0x7b, 10, 1, -8, 0), "(7b) *(u64 *)(r10 -8) = r1");
    assert_eq!(show(0x6a, 10, 0, -8, -1), "(6a) *(u16 *)(r10 -8) = -1");
    assert_eq!(show(0x61, 2, 1, 0, 0), "(61) r2 = *(u32 *)(r1 +0)");
    assert_eq!(show(0x91, 2, 1, 4, 0), "(91) r2 = *(s8 *)(r1 +4)");
    assert_eq!(show(0xc3, 1, 2, 4, 0), "(c3) lock *(u32 *)(r1 +4) += r2");
    assert_eq!(
        show(0xdb, 1, 2, 4, 0x51),
        "(db) r2 = atomic64_fetch_and((u64 *)(r1 +4), r2)"
    );
    assert_eq!(
        show(0xc3, 1, 2, 4, 0xe1),
        "(c3) r2 = atomic_xchg((u32 *)(r1 +4), r2)"
    );
    assert_eq!(
        show(0xdb, 1, 2, 4, 0xf1),
        "(db) r0 = atomic64_cmpxchg((u64 *)(r1 +4), r0, r2)"
    );
    assert_eq!(
        show(0xd3, 1, 2, 4, 0x100),
        "(d3) r1 = load_acquire((u8 *)(r2 +4))"
    );
    assert_eq!(
        show(0xcb, 1, 2, 4, 0x110),
        "(cb) store_release((u16 *)(r1 +4), r2)"
    );
    assert_eq!(show(0x20, 0, 0, 0, 12), "(20) r0 = *(u32 *)skb[12]");
    assert_eq!(show(0x50, 0, 7, 0, -3), "(50) r0 = *(u8 *)skb[r7 + -3]");
    assert_eq!(show(0x18, 1, 0, 0, 1), "(18) r1 = 0x1100000001");
    assert_eq!(show(0x18, 1, 1, 0, 9), "(18) r1 = 0xffff8000");
    assert_eq!(show(0x18, 1, 4, 0, 3), "(18) r1 = 0x3");
    assert_eq!(show(0x05, 0, 0, 2, 0), "(05) goto pc+2");
    assert_eq!(show(0x06, 0, 0, 0, -1), "(06) gotol pc-1");
    assert_eq!(show(0xe5, 0, 0, 1, 0), "(e5) may_goto pc+1");
    assert_eq!(show(0x55, 0, 0, 1, 0), "(55) if r0 != 0x0 goto pc+1");
    assert_eq!(
        show(0xc6, 4, 0, 1, -1),
        "(c6) if w4 s< 0xffffffff goto pc+1"
    );
    assert_eq!(show(0x4d, 4, 5, 0, 0), "(4d) if r4 & r5 goto pc+0");
    assert_eq!(show(0x85, 0, 0, 0, 1), "(85) call bpf_map_lookup_elem#1");
    assert_eq!(show(0x85, 0, 0, 0, 5000), "(85) call unknown#5000");
    assert_eq!(show(0x85, 0, 1, 0, 2), "(85) call pc+2");
    assert_eq!(show(0x95, 0, 0, 0, 0), "(95) exit");
}
