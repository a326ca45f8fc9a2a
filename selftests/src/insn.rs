// SPDX-License-Identifier: GPL-2.0

//! Instruction slots by hand, for tests that say what they load byte by byte.

use oxbpf::{Map, Slot};
use std::os::fd::{AsFd, AsRawFd};

/// One slot.
pub fn raw(code: u8, dst: u8, src: u8, off: i16, imm: i32) -> Slot {
    let mut s = [0; 8];
    s[0] = code;
    s[1] = dst | (src << 4);
    s[2..4].copy_from_slice(&off.to_ne_bytes());
    s[4..8].copy_from_slice(&imm.to_ne_bytes());
    s
}

/// `dst = imm` (64 bits)
pub fn mov(dst: u8, imm: i32) -> Slot {
    raw(0xb7, dst, 0, 0, imm)
}

/// `dst = src` (64 bits)
pub fn mov_reg(dst: u8, src: u8) -> Slot {
    raw(0xbf, dst, src, 0, 0)
}

/// `dst += imm` (64 bits)
pub fn add(dst: u8, imm: i32) -> Slot {
    raw(0x07, dst, 0, 0, imm)
}

/// `dst = imm` (64 bits wide, two slots)
pub fn ld_imm64(dst: u8, imm: u64) -> [Slot; 2] {
    [
        raw(0x18, dst, 0, 0, imm as u32 as i32),
        raw(0, 0, 0, 0, (imm >> 32) as i32),
    ]
}

/// `dst = map`
pub fn ld_map(dst: u8, map: &Map) -> [Slot; 2] {
    [
        raw(0x18, dst, 1, 0, map.as_fd().as_raw_fd()),
        raw(0, 0, 0, 0, 0),
    ]
}

/// `call helper`
pub fn call(helper: i32) -> Slot {
    raw(0x85, 0, 0, 0, helper)
}

/// `exit`
pub fn exit() -> Slot {
    raw(0x95, 0, 0, 0, 0)
}
