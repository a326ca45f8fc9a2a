// SPDX-License-Identifier: GPL-2.0

//! Tests of the decoder, alone and against the encoder.

use super::*;
use crate::isa::encode::{encode, wire_imm64};

const EXIT: RawInsn = RawInsn::new(0x95, 0, 0, 0, 0);

/// Every opcode byte with field values around each rule.
fn all_forms() -> impl Iterator<Item = RawInsn> {
    let imms = [
        0,
        1,
        2,
        7,
        8,
        16,
        32,
        64,
        63,
        -1,
        i32::MIN,
        i32::MAX,
        0x40,
        0x41,
        0x50,
        0x51,
        0xa0,
        0xa1,
        0xe0,
        0xe1,
        0xf0,
        0xf1,
        0x100,
        0x101,
        0x110,
        0x111,
        0x10000,
    ];
    let offs = [0i16, 1, 2, 3, 4, 8, 16, 32, 64, -1, -8, i16::MIN, i16::MAX];
    let regs = [
        0x00u8, 0x01, 0x10, 0x21, 0x1a, 0xa1, 0xaa, 0x0b, 0xb0, 0xff, 0x20, 0x30, 0x40, 0x50, 0x60,
        0x70,
    ];
    (0..=255u8).flat_map(move |code| {
        regs.into_iter().flat_map(move |regs| {
            offs.into_iter().flat_map(move |off| {
                imms.into_iter().map(move |imm| RawInsn {
                    code,
                    regs,
                    off,
                    imm,
                })
            })
        })
    })
}

/// A program with `insn` in its middle, so that short jumps in both directions have a target.
fn around(insn: RawInsn) -> [RawInsn; 80] {
    let mut prog = [RawInsn::new(0xb7, 0, 0, 0, 0); 80];
    prog[20] = insn;
    if insn.code == op::LD_IMM64 {
        prog[21] = RawInsn::new(0, 0, 0, 0, 0x1234);
        if matches!(
            insn.src(),
            op::PSEUDO_MAP_FD | op::PSEUDO_MAP_IDX | op::PSEUDO_FUNC
        ) {
            prog[21].imm = 0;
        }
    }
    // A subprogram may start at any slot, so each must end in an exit.
    for at in [19, 23, 79] {
        prog[at] = EXIT;
    }
    if insn.code != op::LD_IMM64 {
        prog[21] = EXIT;
    }
    prog
}

#[test]
fn decoded_encodes_to_the_same() {
    let mut accepted = 0;
    let mut codes = std::collections::BTreeSet::new();
    for insn in all_forms() {
        let raw = around(insn);
        let Ok(decoded) = decode(&raw) else { continue };
        let mut back = KVVec::new();
        encode(&decoded, wire_imm64, &mut back).unwrap();
        assert!(decode(&back).unwrap() == decoded, "{insn:?}");
        // Nobody looks at the offset of an exit.
        let exit = insn.code == EXIT.code;
        assert!(exit || raw[..] == back[..], "{insn:?} {:?}", decoded[20]);
        assert_eq!(crate::isa::encode::opcode(&decoded[20]), insn.code);
        accepted += 1;
        codes.insert(insn.code);
    }
    assert!(accepted > 10_000, "{accepted}");
    // All opcodes of RFC 9669 and of the in-tree table, without gotox.
    assert_eq!(codes.len(), 128, "{codes:x?}");
}

fn line(raw: &[RawInsn]) -> String {
    let error = decode(raw).unwrap_err();
    format!("{} {} {}", error.at, error.errno().to_errno(), error)
}

#[test]
fn faults_and_their_order() {
    let mov = RawInsn::new(0xb7, 0, 0, 0, 0);
    let bad = RawInsn::new(0xff, 0, 0, 0, 0);
    let insn = RawInsn::new;
    assert_eq!(line(&[]), "0 -22 call to invalid destination");
    assert_eq!(line(&[mov]), "0 -22 last insn is not an exit or jmp");
    assert_eq!(
        line(&[bad, insn(0x05, 0, 0, 5, 0), EXIT]),
        "1 -22 jump out of range from insn 1 to 7"
    );
    assert_eq!(line(&[bad, EXIT]), "0 -22 unknown opcode ff");
    assert_eq!(
        line(&[insn(0x05, 0, 0, -2, 0), EXIT]),
        "0 -22 jump out of range from insn 0 to -1"
    );
    assert_eq!(
        line(&[insn(0x06, 0, 0, 0, i32::MAX), EXIT]),
        "0 -22 jump out of range from insn 0 to -2147483648"
    );
    assert_eq!(
        line(&[bad, insn(0x85, 0, 1, 0, 5), EXIT]),
        "1 -22 call to invalid destination"
    );
    assert_eq!(
        line(&[insn(0xbf, 0, 11, 0, 0), EXIT]),
        "0 -22 R11 is invalid"
    );
    assert_eq!(
        line(&[insn(0xff, 12, 13, 0, 0), EXIT]),
        "0 -22 R12 is invalid"
    );
    assert_eq!(
        line(&[insn(0x18, 1, 0, 0, 0), EXIT]),
        "0 -22 invalid bpf_ld_imm64 insn"
    );
    assert_eq!(
        line(&[insn(0x18, 1, 0, 1, 0), insn(0, 0, 0, 0, 0), EXIT]),
        "0 -22 BPF_LD_IMM64 uses reserved fields"
    );
    assert_eq!(
        line(&[insn(0x18, 1, 1, 0, 3), insn(0, 0, 0, 0, 1), EXIT]),
        "0 -22 unrecognized bpf_ld_imm64 insn"
    );
    assert_eq!(
        line(&[insn(0x18, 1, 7, 0, 3), insn(0, 0, 0, 0, 0), EXIT]),
        "0 -22 unrecognized bpf_ld_imm64 insn"
    );
    assert_eq!(
        line(&[insn(0x87, 0, 0, 0, 1), EXIT]),
        "0 -22 BPF_NEG uses reserved fields"
    );
    assert_eq!(
        line(&[insn(0xd7, 0, 0, 0, 8), EXIT]),
        "0 -22 BPF_END uses reserved fields"
    );
    assert_eq!(
        line(&[insn(0xbc, 0, 0, 32, 0), EXIT]),
        "0 -22 BPF_MOV uses reserved fields"
    );
    assert_eq!(
        line(&[insn(0x07, 0, 0, 1, 0), EXIT]),
        "0 -22 BPF_ALU uses reserved fields"
    );
    assert_eq!(
        line(&[insn(0x0f, 0, 0, 0, 1), EXIT]),
        "0 -22 BPF_ALU uses reserved fields"
    );
    assert_eq!(
        line(&[insn(0x37, 0, 0, 2, 1), EXIT]),
        "0 -22 BPF_ALU uses reserved fields"
    );
    assert_eq!(
        line(&[insn(0x61, 0, 0, 0, 1), EXIT]),
        "0 -22 BPF_LDX uses reserved fields"
    );
    assert_eq!(
        line(&[insn(0x63, 0, 0, 0, 1), EXIT]),
        "0 -22 BPF_STX uses reserved fields"
    );
    assert_eq!(
        line(&[insn(0x62, 0, 1, 0, 1), EXIT]),
        "0 -22 BPF_ST uses reserved fields"
    );
    assert_eq!(
        line(&[insn(0x15, 0, 1, 0, 1), EXIT]),
        "0 -22 BPF_JMP/JMP32 uses reserved fields"
    );
    assert_eq!(
        line(&[insn(0x05, 0, 0, 0, 1), EXIT]),
        "0 -22 BPF_JA uses reserved fields"
    );
    assert_eq!(
        line(&[insn(0x85, 1, 0, 0, 1), EXIT]),
        "0 -22 BPF_CALL uses reserved fields"
    );
    assert_eq!(
        line(&[insn(0x85, 0, 3, 0, 1), EXIT]),
        "0 -22 BPF_CALL uses reserved fields"
    );
    assert_eq!(
        line(&[insn(0x95, 0, 0, 0, 1)]),
        "0 -22 BPF_EXIT uses reserved fields"
    );
    assert_eq!(
        line(&[insn(0x20, 1, 0, 0, 1), EXIT]),
        "0 -22 BPF_LD_[ABS|IND] uses reserved fields"
    );
    assert_eq!(
        line(&[insn(0x38, 0, 0, 0, 1), EXIT]),
        "0 -22 unknown opcode 38"
    );
    assert_eq!(
        line(&[insn(0x99, 0, 0, 0, 0), EXIT]),
        "0 -22 unknown opcode 99"
    );
    assert_eq!(
        line(&[insn(0x86, 0, 0, 0, 0), EXIT]),
        "0 -22 unknown opcode 86"
    );
    assert_eq!(
        line(&[insn(0xe5, 0, 0, 0, 4), EXIT]),
        "0 -22 invalid may_goto imm 4"
    );
    assert_eq!(
        line(&[insn(0xc3, 0, 0, 0, -1), EXIT]),
        "0 -22 BPF_ATOMIC uses invalid atomic opcode ffffffff"
    );
    assert_eq!(
        line(&[insn(0xd3, 0, 0, 0, 0), EXIT]),
        "0 -22 invalid atomic operand size"
    );
    assert_eq!(
        line(&[EXIT, insn(0x0d, 1, 0, 0, 0), EXIT]),
        "1 -22 no jump tables found for subprog starting at 0"
    );
}

#[test]
fn jumps_stay_in_their_subprogram() {
    let insn = RawInsn::new;
    // The jump is in the main program, its target in the subprogram at slot 3.
    let raw = [insn(0x85, 0, 1, 0, 2), insn(0x05, 0, 0, 1, 0), EXIT, EXIT];
    assert_eq!(line(&raw), "1 -22 jump out of range from insn 1 to 3");
    // The main program would run into the subprogram.
    let raw = [insn(0x85, 0, 1, 0, 1), insn(0xb7, 0, 0, 0, 0), EXIT];
    assert_eq!(line(&raw), "1 -22 last insn is not an exit or jmp");
}

#[test]
fn subprograms_have_a_limit() {
    let mut raw: Vec<RawInsn> = (0..MAX_SUBPROGS)
        .map(|i| RawInsn::new(0x85, 0, 1, 0, (2 * MAX_SUBPROGS - i) as i32))
        .collect();
    raw.resize(4 * MAX_SUBPROGS, EXIT);
    // All calls have the same target: one subprogram.
    assert!(decode(&raw).is_ok());
    for (i, insn) in raw.iter_mut().take(MAX_SUBPROGS).enumerate() {
        insn.imm += i as i32;
    }
    assert_eq!(line(&raw), "255 -7 too many subprograms");
}

#[test]
fn unprivileged_may_not_call() {
    let raw = [RawInsn::new(0x85, 0, 1, 0, 0), EXIT];
    let mut out = KVVec::new();
    let error = decode_into(&raw, false, &mut out).unwrap_err();
    assert_eq!(error.errno(), EPERM);
    assert!(error.to_string().starts_with("loading/calling other bpf"));
}

#[test]
fn a_fault_leaves_what_was_before_it() {
    let raw = [
        RawInsn::new(0x18, 1, 1, 0, 7),
        RawInsn::default(),
        RawInsn::new(0xff, 0, 0, 0, 0),
        EXIT,
    ];
    let mut out = KVVec::new();
    assert_eq!(decode_into(&raw, true, &mut out).unwrap_err().at, 2);
    assert_eq!(
        &out[..],
        [
            Insn::LdImm64 {
                dst: Reg::R1,
                imm: Imm64::MapFd(7)
            },
            Insn::Hole
        ]
    );
}

#[test]
fn memory_may_end() {
    for n in 0..2 {
        kernel::alloc::fail::after(Some(n));
        let result = decode(&[EXIT]);
        kernel::alloc::fail::after(None);
        assert_eq!(result.unwrap_err().errno(), ENOMEM);
    }
}
