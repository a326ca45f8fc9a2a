// SPDX-License-Identifier: GPL-2.0

//! Small changes to programs.

use crate::rng::Rng;
use oxbpf_fixtures::Fixture;

/// The fixture with one to four slots changed.
pub fn mutate(fixture: &Fixture, rng: &mut Rng) -> Fixture {
    let mut fixture = fixture.clone();
    fixture.name.push_str(", changed");
    fixture.runs.clear();
    fixture.difference = None;
    for _ in 0..1 + rng.below(4) {
        change(&mut fixture, rng);
    }
    fixture
}

/// Conditions of jumps, by their bits in the opcode.
const CONDS: [u8; 11] = [
    0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0xa0, 0xb0, 0xc0, 0xd0,
];
/// Operations of arithmetic.
const OPS: [u8; 12] = [
    0x00, 0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0x90, 0xa0, 0xb0, 0xc0,
];

fn change(fixture: &mut Fixture, rng: &mut Rng) {
    let len = fixture.insns.len();
    if len == 0 {
        return;
    }
    let at = rng.below(len);
    // Slots that name maps, and their second halves, stay as they are.
    let named = |slot: usize| {
        fixture
            .relocs
            .iter()
            .any(|r| r.slot == slot || r.slot + 1 == slot)
    };
    if named(at) {
        return;
    }
    let other = fixture.insns[rng.below(len)];
    let insn = &mut fixture.insns[at];
    let class = insn.code & 7;
    let alu = class == 4 || class == 7;
    let jump = (class == 5 || class == 6) && CONDS.contains(&(insn.code & 0xf0));
    match rng.below(10) {
        0 if alu => insn.code = (insn.code & 0x0f) | rng.pick(&OPS),
        1 if jump => insn.code = (insn.code & 0x0f) | rng.pick(&CONDS),
        2 if alu => insn.code ^= 3,
        2 if jump => insn.code ^= 3,
        3 => insn.imm = rng.edge() as i32,
        4 => insn.imm = insn.imm.wrapping_add(rng.below(5) as i32 - 2),
        5 => insn.off = insn.off.wrapping_add(rng.below(5) as i16 - 2),
        6 => {
            let reg = rng.below(11) as u8;
            insn.regs = (insn.regs & 0xf0) | reg;
        }
        7 => {
            let reg = rng.below(11) as u8;
            insn.regs = (insn.regs & 0x0f) | (reg << 4);
        }
        // Another size of a load or store.
        8 if matches!(class, 1..=3) && insn.code & 0xe0 == 0x60 => {
            insn.code = (insn.code & !0x18) | rng.pick(&[0, 8, 0x10, 0x18]);
        }
        _ if other.code != 0x18 && other.code != 0 && insn.code != 0x18 && insn.code != 0 => {
            *insn = other;
        }
        _ => {}
    }
}
