// SPDX-License-Identifier: GPL-2.0

//! Machine code as text.

use iced_x86::{Decoder, DecoderOptions, Formatter, Instruction, IntelFormatter};
use std::fmt::Write;

/// Two digits a byte.
pub fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Prints `bytes`, which lie at `addr`, an instruction a line; `name` says what a jump or call out
/// of them leads to.
pub fn print(bytes: &[u8], addr: u64, indent: &str, name: impl Fn(u64) -> Option<String>) {
    let mut decoder = Decoder::with_ip(64, bytes, addr, DecoderOptions::NONE);
    let mut formatter = IntelFormatter::new();
    let mut text = String::new();
    let mut insn = Instruction::default();
    let inside = addr..addr + bytes.len() as u64;
    while decoder.can_decode() {
        decoder.decode_out(&mut insn);
        text.clear();
        formatter.format(&insn, &mut text);
        let start = (insn.ip() - addr) as usize;
        let raw = hex(&bytes[start..start + insn.len()]);
        let target = insn.near_branch_target();
        let target = (target != 0 && !inside.contains(&target))
            .then(|| name(target))
            .flatten();
        let note = target.map_or(String::new(), |n| format!("  ; {n}"));
        println!("{indent}{:x}: {raw:<22} {text}{note}", insn.ip());
    }
}
