// SPDX-License-Identifier: GPL-2.0

//! Every row of the instruction table, with every register and kind of memory operand, against a
//! second disassembler.

use iced_x86::{Decoder, DecoderOptions, Instruction, OpKind, Register};
use oxbpf_core::isa::Width;
use oxbpf_core::jit::x64::encode::{self as enc, Encoded, ROOM};
use oxbpf_core::jit::x64::inst::{self, Prefix, Row, Wide};
use oxbpf_core::jit::x64::reg::{Cc, Gpr, Index, Mem, Rm, Scale};

/// What one operand must decode to.
#[derive(Clone, Copy, Debug)]
enum Want {
    Reg(Gpr, u32),
    Mem(Mem, u32),
    Imm(i64),
    Cl,
}

fn register(gpr: Gpr, bits: u32) -> Register {
    let full = [
        Register::RAX,
        Register::RCX,
        Register::RDX,
        Register::RBX,
        Register::RSP,
        Register::RBP,
        Register::RSI,
        Register::RDI,
        Register::R8,
        Register::R9,
        Register::R10,
        Register::R11,
        Register::R12,
        Register::R13,
        Register::R14,
        Register::R15,
    ][gpr as usize];
    match bits {
        8 => [
            Register::AL,
            Register::CL,
            Register::DL,
            Register::BL,
            Register::SPL,
            Register::BPL,
            Register::SIL,
            Register::DIL,
            Register::R8L,
            Register::R9L,
            Register::R10L,
            Register::R11L,
            Register::R12L,
            Register::R13L,
            Register::R14L,
            Register::R15L,
        ][gpr as usize],
        16 => Register::AX + gpr as u32,
        32 => full.full_register32(),
        _ => full,
    }
}

fn mems() -> Vec<Mem> {
    let mut out = Vec::new();
    let disps = [0, 1, -1, 127, 128, -128, -129, i32::MAX, i32::MIN];
    let scales = [Scale::X1, Scale::X2, Scale::X4, Scale::X8];
    let bases: Vec<Option<Gpr>> = Gpr::ALL.iter().map(|g| Some(*g)).chain([None]).collect();
    for base in &bases {
        for disp in disps {
            out.push(Mem {
                base: *base,
                index: None,
                disp,
                gs: false,
            });
            if ![0, 127, 128, i32::MIN].contains(&disp) {
                continue;
            }
            for index in Gpr::ALL.iter().filter_map(|g| Index::new(*g)) {
                let scale = scales[(index.gpr() as usize + disp as u8 as usize) % 4];
                out.push(Mem {
                    base: *base,
                    index: Some((index, scale)),
                    disp,
                    gs: disp == 127,
                });
            }
        }
    }
    out
}

fn bytes(code: &Encoded) -> Vec<u8> {
    let mut room = [0; ROOM];
    let len = code.write(&mut room);
    room[..len].to_vec()
}

fn decode(code: &Encoded, what: &str) -> Instruction {
    let bytes = bytes(code);
    let mut decoder = Decoder::with_ip(64, &bytes, 0x1000, DecoderOptions::NONE);
    let insn = decoder.decode();
    assert!(!insn.is_invalid(), "{what}: {bytes:02x?}");
    assert_eq!(insn.len(), bytes.len(), "{what}: {bytes:02x?}");
    insn
}

fn check(row: &Row, name: &str, code: &Encoded, wants: &[Want]) {
    let what = format!("{name} {wants:?}");
    let insn = decode(code, &what);
    let shown = format!("{what}: {:02x?} is {insn}", bytes(code));
    assert_eq!(
        format!("{:?}", insn.mnemonic()).to_lowercase(),
        name.to_lowercase(),
        "{shown}"
    );
    assert_eq!(
        insn.has_lock_prefix(),
        matches!(row.prefix, Prefix::Lock | Prefix::Lock66),
        "{shown}"
    );
    assert_eq!(insn.op_count() as usize, wants.len(), "{shown}");
    for (i, want) in wants.iter().enumerate() {
        let i = i as u32;
        match *want {
            Want::Reg(gpr, bits) => {
                assert_eq!(insn.op_kind(i), OpKind::Register, "{shown}");
                assert_eq!(insn.op_register(i), register(gpr, bits), "{shown}");
            }
            Want::Cl => assert_eq!(insn.op_register(i), Register::CL, "{shown}"),
            Want::Mem(mem, bits) => {
                assert_eq!(insn.op_kind(i), OpKind::Memory, "{shown}");
                let base = mem.base.map_or(Register::None, |b| register(b, 64));
                let index = mem
                    .index
                    .map_or(Register::None, |(x, _)| register(x.gpr(), 64));
                let scale = mem.index.map_or(1, |(_, s)| 1 << s.log2());
                assert_eq!(insn.memory_base(), base, "{shown}");
                assert_eq!(insn.memory_index(), index, "{shown}");
                assert_eq!(insn.memory_index_scale(), scale, "{shown}");
                assert_eq!(
                    insn.memory_displacement64() as i64 as i32,
                    mem.disp,
                    "{shown}"
                );
                let high = insn.memory_displacement64() as i64 == i64::from(mem.disp);
                assert!(high, "{shown}");
                assert_eq!(insn.segment_prefix() == Register::GS, mem.gs, "{shown}");
                if bits != 0 {
                    assert_eq!(insn.memory_size().size() as u32 * 8, bits, "{shown}");
                }
            }
            Want::Imm(v) => {
                let mask = match insn.op_kind(i) {
                    OpKind::Immediate8 => 0xff,
                    OpKind::Immediate16 => 0xffff,
                    OpKind::Immediate32 | OpKind::Immediate8to32 => 0xffff_ffff,
                    _ => u64::MAX,
                };
                assert_eq!(insn.immediate(i) & mask, v as u64 & mask, "{shown}");
            }
        }
    }
    // A row that says it keeps the flags must keep those that comparisons set.
    let flags = iced_x86::RflagsBits::ZF | iced_x86::RflagsBits::SF | iced_x86::RflagsBits::CF;
    let writes = insn.rflags_modified() & flags != 0;
    assert!(!(code.keeps_flags && writes), "{shown}");
}

fn op_bits(row: &Row, w: Width) -> u32 {
    match (row.prefix, row.wide, w) {
        (Prefix::P66 | Prefix::Lock66, ..) if !is_vex(row) => 16,
        (_, Wide::W0, _) => 32,
        (_, Wide::W1, _) | (_, Wide::Arg, Width::W64) => 64,
        _ => 32,
    }
}

fn is_vex(row: &Row) -> bool {
    ["shlx", "mulx"].contains(&row.name)
}

fn rm_bits(row: &Row, w: Width) -> u32 {
    if row.rm8 {
        8
    } else if row.rm16 {
        16
    } else if row.name == "movsxd" {
        32
    } else {
        op_bits(row, w)
    }
}

struct Forms {
    checked: u64,
    rows: std::collections::BTreeSet<&'static str>,
}

/// Finds the typed constant of a row by name and calls the encoder with it.
macro_rules! each {
    ($forms:ident, $rms:ident, $mems:ident, $($name:ident: $kind:ident;)*) => {
        $( each!(@ $forms, $rms, $mems, $name, $kind); )*
    };
    (@head $forms:ident, $name:ident, $row:ident, $widths:ident) => {
        let $row = inst::$name.row();
        $forms.rows.insert(stringify!($name));
        let $widths: &[Width] = if $row.wide == Wide::Arg { &[Width::W32, Width::W64] } else { &[Width::W32] };
    };
    (@ $forms:ident, $rms:ident, $mems:ident, $name:ident, RmR) => {
        each!(@head $forms, $name, row, widths);
        for w in widths { for rm in $rms { for r in Gpr::ALL {
            let reg = Want::Reg(r, if row.reg8 { 8 } else { op_bits(row, *w) });
            check(row, row.name, &enc::rm_r(&inst::$name, *w, *rm, r), &[want(*rm, rm_bits(row, *w)), reg]);
            $forms.checked += 1;
        }}}
    };
    (@ $forms:ident, $rms:ident, $mems:ident, $name:ident, RRm) => {
        each!(@head $forms, $name, row, widths);
        for w in widths { for rm in $rms { for r in Gpr::ALL {
            let reg = Want::Reg(r, op_bits(row, *w));
            check(row, row.name, &enc::r_rm(&inst::$name, *w, r, *rm), &[reg, want(*rm, rm_bits(row, *w))]);
            $forms.checked += 1;
        }}}
    };
    (@ $forms:ident, $rms:ident, $mems:ident, $name:ident, RM) => {
        each!(@head $forms, $name, row, widths);
        for w in widths { for m in $mems { for r in Gpr::ALL {
            let size = if row.name == "lea" { 0 } else { op_bits(row, *w) };
            let m = Mem { gs: m.gs && row.name != "lea", ..*m };
            check(row, row.name, &enc::r_m(&inst::$name, *w, r, m), &[Want::Reg(r, op_bits(row, *w)), Want::Mem(m, size)]);
            $forms.checked += 1;
        }}}
    };
    (@ $forms:ident, $rms:ident, $mems:ident, $name:ident, MR) => {
        each!(@head $forms, $name, row, widths);
        for w in widths { for m in $mems { for r in Gpr::ALL {
            check(row, row.name, &enc::m_r(&inst::$name, *w, *m, r), &[Want::Mem(*m, op_bits(row, *w)), Want::Reg(r, op_bits(row, *w))]);
            $forms.checked += 1;
        }}}
    };
    (@ $forms:ident, $rms:ident, $mems:ident, $name:ident, Rm) => {
        each!(@head $forms, $name, row, widths);
        for w in widths { for rm in $rms {
            check(row, row.name, &enc::rm(&inst::$name, *w, *rm), &[want(*rm, rm_bits(row, *w))]);
            $forms.checked += 1;
        }}
    };
    (@ $forms:ident, $rms:ident, $mems:ident, $name:ident, RmCl) => {
        each!(@head $forms, $name, row, widths);
        for w in widths { for rm in $rms {
            check(row, row.name, &enc::rm_cl(&inst::$name, *w, *rm), &[want(*rm, rm_bits(row, *w)), Want::Cl]);
            $forms.checked += 1;
        }}
    };
    (@ $forms:ident, $rms:ident, $mems:ident, $name:ident, RmI8) => {
        each!(@head $forms, $name, row, widths);
        for w in widths { for rm in $rms { for i in [0i8, 1, -1, 31, 63, 127, -128] {
            check(row, row.name, &enc::rm_i8(&inst::$name, *w, *rm, i), &[want(*rm, rm_bits(row, *w)), Want::Imm(i.into())]);
            $forms.checked += 1;
        }}}
    };
    (@ $forms:ident, $rms:ident, $mems:ident, $name:ident, RmI16) => {
        each!(@head $forms, $name, row, widths);
        for w in widths { for rm in $rms { for i in [0i16, -1, i16::MAX, i16::MIN] {
            check(row, row.name, &enc::rm_i16(&inst::$name, *w, *rm, i), &[want(*rm, rm_bits(row, *w)), Want::Imm(i.into())]);
            $forms.checked += 1;
        }}}
    };
    (@ $forms:ident, $rms:ident, $mems:ident, $name:ident, RmI32) => {
        each!(@head $forms, $name, row, widths);
        for w in widths { for rm in $rms { for i in [0i32, -1, i32::MAX, i32::MIN, 0x1234_5678] {
            check(row, row.name, &enc::rm_i32(&inst::$name, *w, *rm, i), &[want(*rm, rm_bits(row, *w)), Want::Imm(i.into())]);
            $forms.checked += 1;
        }}}
    };
    (@ $forms:ident, $rms:ident, $mems:ident, $name:ident, MI8) => {
        each!(@head $forms, $name, row, widths);
        for w in widths { for m in $mems { for i in [0i8, 127, -128] {
            check(row, row.name, &enc::m_i8(&inst::$name, *w, *m, i), &[Want::Mem(*m, op_bits(row, *w)), Want::Imm(i.into())]);
            $forms.checked += 1;
        }}}
    };
    (@ $forms:ident, $rms:ident, $mems:ident, $name:ident, MI32) => {
        each!(@head $forms, $name, row, widths);
        for w in widths { for m in $mems { for i in [0i32, i32::MAX, i32::MIN] {
            check(row, row.name, &enc::m_i32(&inst::$name, *w, *m, i), &[Want::Mem(*m, op_bits(row, *w)), Want::Imm(i.into())]);
            $forms.checked += 1;
        }}}
    };
    (@ $forms:ident, $rms:ident, $mems:ident, $name:ident, RRmI8) => {
        each!(@head $forms, $name, row, widths);
        for w in widths { for rm in $rms { for r in Gpr::ALL { for i in [-128i8, 127] {
            check(row, row.name, &enc::r_rm_i8(&inst::$name, *w, r, *rm, i), &[Want::Reg(r, op_bits(row, *w)), want(*rm, rm_bits(row, *w)), Want::Imm(i.into())]);
            $forms.checked += 1;
        }}}}
    };
    (@ $forms:ident, $rms:ident, $mems:ident, $name:ident, RRmI32) => {
        each!(@head $forms, $name, row, widths);
        for w in widths { for rm in $rms { for r in Gpr::ALL { for i in [i32::MIN, 0x1234_5678] {
            check(row, row.name, &enc::r_rm_i32(&inst::$name, *w, r, *rm, i), &[Want::Reg(r, op_bits(row, *w)), want(*rm, rm_bits(row, *w)), Want::Imm(i.into())]);
            $forms.checked += 1;
        }}}}
    };
    (@ $forms:ident, $rms:ident, $mems:ident, $name:ident, O) => {
        each!(@head $forms, $name, row, widths);
        for w in widths { for r in Gpr::ALL {
            let bits = if row.name == "bswap" { op_bits(row, *w) } else { 64 };
            check(row, row.name, &enc::o(&inst::$name, *w, r), &[Want::Reg(r, bits)]);
            $forms.checked += 1;
        }}
    };
    (@ $forms:ident, $rms:ident, $mems:ident, $name:ident, OI32) => {
        each!(@head $forms, $name, row, _w);
        for r in Gpr::ALL { for i in [0, 1, u32::MAX, 0x8000_0000] {
            check(row, row.name, &enc::o_i32(&inst::$name, r, i), &[Want::Reg(r, 32), Want::Imm(i.into())]);
            $forms.checked += 1;
        }}
    };
    (@ $forms:ident, $rms:ident, $mems:ident, $name:ident, OI64) => {
        each!(@head $forms, $name, row, _w);
        for r in Gpr::ALL { for i in [0, 1, u64::MAX, 1 << 63, 0x0123_4567_89ab_cdef] {
            check(row, row.name, &enc::o_i64(&inst::$name, r, i), &[Want::Reg(r, 64), Want::Imm(i as i64)]);
            $forms.checked += 1;
        }}
    };
    (@ $forms:ident, $rms:ident, $mems:ident, $name:ident, Zo) => {
        each!(@head $forms, $name, row, widths);
        for w in widths {
            let name = if row.name == "cdq" && *w == Width::W64 { "cqo" } else { row.name };
            check(row, name, &enc::zo(&inst::$name, *w), &[]);
            $forms.checked += 1;
        }
    };
    (@ $forms:ident, $rms:ident, $mems:ident, $name:ident, CcRRm) => {
        each!(@head $forms, $name, row, widths);
        for w in widths { for rm in $rms { for r in Gpr::ALL { for cc in Cc::ALL {
            if cc as usize % 3 != r as usize % 3 { continue; }
            let name = format!("{}{}", row.name, suffix(cc));
            check(row, &name, &enc::cc_r_rm(&inst::$name, cc, *w, r, *rm), &[Want::Reg(r, op_bits(row, *w)), want(*rm, rm_bits(row, *w))]);
            $forms.checked += 1;
        }}}}
    };
    (@ $forms:ident, $rms:ident, $mems:ident, $name:ident, CcRm) => {
        each!(@head $forms, $name, row, _w);
        for rm in $rms { for cc in Cc::ALL {
            let name = format!("{}{}", row.name, suffix(cc));
            check(row, &name, &enc::cc_rm(&inst::$name, cc, *rm), &[want(*rm, 8)]);
            $forms.checked += 1;
        }}
    };
    (@ $forms:ident, $rms:ident, $mems:ident, $name:ident, VexRRmV) => {
        each!(@head $forms, $name, row, widths);
        for w in widths { for rm in $rms { for r in Gpr::ALL { for v in [Gpr::Rax, Gpr::Rsp, Gpr::R9, Gpr::R15, r] {
            let b = if *w == Width::W64 { 64 } else { 32 };
            check(row, row.name, &enc::vex_r_rm_v(&inst::$name, *w, r, *rm, v), &[Want::Reg(r, b), want(*rm, b), Want::Reg(v, b)]);
            $forms.checked += 1;
        }}}}
    };
    (@ $forms:ident, $rms:ident, $mems:ident, $name:ident, VexRVRm) => {
        each!(@head $forms, $name, row, widths);
        for w in widths { for rm in $rms { for r in Gpr::ALL { for v in [Gpr::Rax, Gpr::Rsp, Gpr::R9, Gpr::R15, r] {
            let b = if *w == Width::W64 { 64 } else { 32 };
            check(row, row.name, &enc::vex_r_v_rm(&inst::$name, *w, r, v, *rm), &[Want::Reg(r, b), Want::Reg(v, b), want(*rm, b)]);
            $forms.checked += 1;
        }}}}
    };
    (@ $forms:ident, $rms:ident, $mems:ident, $name:ident, VexRRmI8) => {
        each!(@head $forms, $name, row, widths);
        for w in widths { for rm in $rms { for r in Gpr::ALL { for i in [1i8, 63] {
            let b = if *w == Width::W64 { 64 } else { 32 };
            check(row, row.name, &enc::vex_r_rm_i8(&inst::$name, *w, r, *rm, i), &[Want::Reg(r, b), want(*rm, b), Want::Imm(i.into())]);
            $forms.checked += 1;
        }}}}
    };
}

fn want(rm: Rm, bits: u32) -> Want {
    match rm {
        Rm::Reg(r) => Want::Reg(r, bits),
        Rm::Mem(m) => Want::Mem(m, bits),
    }
}

fn suffix(cc: Cc) -> &'static str {
    [
        "o", "no", "b", "ae", "e", "ne", "be", "a", "s", "ns", "p", "np", "l", "ge", "le", "g",
    ][cc as usize]
}

#[test]
fn every_row_decodes_to_what_it_says() {
    let mems = &mems();
    let rms: Vec<Rm> = Gpr::ALL
        .iter()
        .map(|g| Rm::Reg(*g))
        .chain(mems.iter().map(|m| Rm::Mem(*m)))
        .collect();
    let rms = &rms;
    let mut forms = Forms {
        checked: 0,
        rows: Default::default(),
    };
    each! { forms, rms, mems,
        ADD_RM_R: RmR; OR_RM_R: RmR; AND_RM_R: RmR; SUB_RM_R: RmR; XOR_RM_R: RmR; CMP_RM_R: RmR;
        TEST_RM_R: RmR; MOV_RM_R: RmR; MOV_RM8_R8: RmR; MOV_RM16_R16: RmR; BT_RM_R: RmR;
        ADD_R_RM: RRm; OR_R_RM: RRm; AND_R_RM: RRm; SUB_R_RM: RRm; XOR_R_RM: RRm; CMP_R_RM: RRm;
        MOV_R_RM: RRm; IMUL_R_RM: RRm; MOVZX_R_RM8: RRm; MOVZX_R_RM16: RRm; MOVSX_R_RM8: RRm;
        MOVSX_R_RM16: RRm; MOVSXD_R_RM32: RRm; BSF_R_RM: RRm;
        LEA_R_M: RM; MOVBE_R_M: RM; MOVBE_M_R: MR; MOVBE_M16_R16: MR;
        LOCK_ADD_M_R: MR; LOCK_OR_M_R: MR; LOCK_AND_M_R: MR; LOCK_XOR_M_R: MR; LOCK_XADD_M_R: MR;
        LOCK_CMPXCHG_M_R: MR; LOCK_CMPXCHG_M16_R16: MR; XCHG_M_R: MR;
        LOCK_ADD_M_I8: MI8; LOCK_ADD_M_I32: MI32;
        INC_RM: Rm; DEC_RM: Rm; NOT_RM: Rm; NEG_RM: Rm; MUL_RM: Rm; IMUL_RM: Rm; DIV_RM: Rm;
        IDIV_RM: Rm; JMP_RM: Rm;
        SHL_RM_CL: RmCl; SHR_RM_CL: RmCl; SAR_RM_CL: RmCl;
        ADD_RM_I8: RmI8; OR_RM_I8: RmI8; AND_RM_I8: RmI8; SUB_RM_I8: RmI8; XOR_RM_I8: RmI8;
        CMP_RM_I8: RmI8; CMP_RM8_I8: RmI8; TEST_RM8_I8: RmI8; MOV_RM8_I8: RmI8; SHL_RM_I8: RmI8;
        SHR_RM_I8: RmI8; SAR_RM_I8: RmI8; ROL_RM16_I8: RmI8; BT_RM_I8: RmI8;
        MOV_RM16_I16: RmI16;
        ADD_RM_I32: RmI32; OR_RM_I32: RmI32; AND_RM_I32: RmI32; SUB_RM_I32: RmI32;
        XOR_RM_I32: RmI32; CMP_RM_I32: RmI32; TEST_RM_I32: RmI32; MOV_RM_I32: RmI32;
        IMUL_R_RM_I8: RRmI8; IMUL_R_RM_I32: RRmI32;
        PUSH_R: O; POP_R: O; BSWAP_R: O; MOV_R_I32: OI32; MOV_R_I64: OI64;
        RET: Zo; INT3: Zo; CDQ: Zo;
        CMOV_R_RM: CcRRm; SET_RM8: CcRm;
        SHLX: VexRRmV; SHRX: VexRRmV; SARX: VexRRmV; MULX: VexRVRm; RORX: VexRRmI8;
    }
    for (name, ..) in inst::ALL {
        assert!(forms.rows.contains(name), "{name} is not checked");
    }
    println!("{} rows, {} encodings", forms.rows.len(), forms.checked);
    assert!(forms.checked > 1_000_000);
}
