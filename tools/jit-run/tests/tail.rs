// SPDX-License-Identifier: GPL-2.0

//! Tail calls between programs in this process: frames of all sizes, the limit, what is left.

use oxbpf_core::helper::TAIL_CALL;
use oxbpf_core::isa::code::Code;
use oxbpf_core::isa::{AluOp, Imm64, Insn, Reg, Src};
use oxbpf_core::jit::{self, ArrayTarget, Jumps, MapTarget, Mitigations};
use oxbpf_jit_run::exec::{place_tail, Options, Placed};
use oxbpf_jit_run::{alu64, code, mov, stx};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use Reg::*;

/// The words of the array of programs that all tests here use, each its own part.
static WORDS: [AtomicU64; 256] = [const { AtomicU64::new(0) }; 256];

/// As the kernel side's function, for a map whose address is the number of its first word.
extern "C" fn lookup(map: u64, index: u64, _: u64, _: u64, _: u64) -> u64 {
    let word = WORDS.get(map as usize + index as u32 as usize);
    word.filter(|_| index < 16).map_or(0, |w| w.load(Relaxed))
}

/// How a tail call names its program.
#[derive(Clone, Copy, Debug, PartialEq)]
enum How {
    /// A known index.
    Constant,
    /// An index in a register.
    Register,
    /// Through a map that the compiler does not know.
    AnyMap,
}

/// `tail_call(R1, map, index)`; `index` comes from the stack or is a number.
fn tail_call(how: How, index: i32) -> Vec<Insn> {
    let index = match how {
        How::Constant => vec![mov(R3, Src::Imm(index))],
        // The compiler cannot see through that.
        How::Register | How::AnyMap => vec![
            mov(R3, Src::Imm(index)),
            mov(R4, Src::Reg(R1)),
            alu64(AluOp::Xor, R4, Src::Reg(R1)),
            alu64(AluOp::Add, R3, Src::Reg(R4)),
        ],
    };
    let imm = Imm64::Map(0);
    let mut insns = vec![Insn::LdImm64 { dst: R2, imm }, Insn::Hole];
    insns.extend(index);
    insns.push(Insn::Call { helper: TAIL_CALL });
    insns
}

/// Says what the verifier would have said.
fn prove(code: &mut Code, how: How) {
    for (insn, fact) in code.insns.iter().zip(code.facts.iter_mut()) {
        if let Insn::Call { helper: TAIL_CALL } = insn {
            fact.map = (how != How::AnyMap).then_some(0);
        }
    }
    for sub in code.subprogs.iter_mut() {
        sub.tail_call = code.insns[sub.start as usize..sub.end as usize]
            .iter()
            .any(|i| matches!(i, Insn::Call { helper: TAIL_CALL }));
    }
}

fn compile(mut c: Code, how: How, first: usize, mitigations: Mitigations) -> Placed {
    prove(&mut c, how);
    let maps = [MapTarget {
        addr: first as u64,
        value: None,
        array: Some(ArrayTarget {
            base: WORDS[first].as_ptr() as u64,
            stride: 8,
            max_entries: 16,
        }),
        per_cpu: None,
        hash: None,
    }];
    let options = Options {
        mitigations,
        ..Options::default()
    };
    place_tail(&c, lookup, &maps, &options).expect("compiles")
}

/// Runs a program with a context that is a number.
fn run(p: &Placed, ctx: u64) -> u64 {
    // SAFETY: the programs here touch their stack only, and end.
    unsafe { p.run(ctx as *mut _) }
}

fn kinds() -> Vec<(How, Mitigations)> {
    let mut all = Vec::new();
    for how in [How::Constant, How::Register, How::AnyMap] {
        for jumps in [Jumps::Plain, Jumps::Lfence] {
            for ibt in [false, true] {
                let m = Mitigations {
                    ibt,
                    jumps,
                    ..Mitigations::default()
                };
                all.push((how, m));
            }
        }
    }
    all
}

/// Each program of a chain has another frame, and adds its digit to the context.
#[test]
fn frames_differ() {
    let first = 0;
    for (how, m) in kinds() {
        let mut chain = Vec::new();
        for i in 0..8i32 {
            let mut insns = Vec::new();
            for (bit, reg) in [R6, R7, R8, R9].into_iter().enumerate() {
                if (i >> (bit % 3)) & 1 != 0 {
                    insns.push(mov(reg, Src::Imm(0x1000 + i)));
                }
            }
            if i % 3 != 0 {
                insns.push(stx(oxbpf_core::isa::Size::Dw, R10, -8 * i as i16, R1));
            }
            insns.push(alu64(AluOp::Mul, R1, Src::Imm(10)));
            insns.push(alu64(AluOp::Add, R1, Src::Imm(i)));
            insns.push(mov(R6, Src::Reg(R1)));
            insns.extend(tail_call(how, i + 1));
            insns.extend([mov(R0, Src::Reg(R6)), Insn::Exit]);
            let stack = if i % 3 != 0 { 8 * i as u16 } else { 0 };
            chain.push(compile(code(&insns, &[(0, stack)]), how, first, m));
        }
        for (i, p) in chain.iter().enumerate() {
            WORDS[first + i].store(p.tail_entry(), Relaxed);
        }
        assert_eq!(run(&chain[0], 9), 901234567, "{how:?} {m:?}");
        // With a hole in it.
        WORDS[first + 4].store(0, Relaxed);
        assert_eq!(run(&chain[0], 9), 90123, "{how:?} {m:?}");
        // In the middle.
        assert_eq!(run(&chain[5], 9), 9567, "{how:?} {m:?}");
    }
}

/// 33 tail calls and no more, in one program and over subprograms; each run begins anew.
#[test]
fn limit() {
    let first = 32;
    for (how, m) in kinds() {
        // Counts itself in the context.
        let mut insns = vec![alu64(AluOp::Add, R1, Src::Imm(1)), mov(R6, Src::Reg(R1))];
        insns.extend(tail_call(how, 0));
        insns.extend([mov(R0, Src::Reg(R6)), Insn::Exit]);
        let p = compile(code(&insns, &[(0, 0)]), how, first, m);
        WORDS[first].store(p.tail_entry(), Relaxed);
        assert_eq!(run(&p, 0), 34, "{how:?} {m:?}");
        assert_eq!(run(&p, 100), 134, "{how:?} {m:?}");

        // Two calls of a subprogram that goes on in it: the second finds none left.
        let mut insns = vec![mov(R6, Src::Reg(R1)), Insn::CallSub { target: 7 }];
        insns.extend([mov(R7, Src::Reg(R0)), mov(R1, Src::Reg(R6))]);
        insns.extend([
            Insn::CallSub { target: 7 },
            alu64(AluOp::Add, R0, Src::Reg(R7)),
        ]);
        insns.push(Insn::Exit);
        insns.push(mov(R9, Src::Imm(1)));
        insns.extend(tail_call(how, 0));
        insns.extend([mov(R0, Src::Imm(1000)), Insn::Exit]);
        let caller = compile(code(&insns, &[(0, 16), (7, 32)]), how, first, m);
        assert_eq!(run(&caller, 0), 33 + 1000, "{how:?} {m:?}");
    }
}

/// Indices: only the low half counts, and what is out of range is not there.
#[test]
fn indices() {
    let first = 64;
    let leaf = code(&[mov(R0, Src::Imm(7)), Insn::Exit], &[(0, 0)]);
    for (how, m) in kinds() {
        let leaf = compile(clone(&leaf), how, first, m);
        WORDS[first + 15].store(leaf.tail_entry(), Relaxed);
        // One that must not be reached.
        WORDS[first + 16].store(leaf.tail_entry(), Relaxed);
        for (index, result) in [
            (15u64, 7),
            (16, 1),
            (0x1_0000_000f, 7),
            (0xffff_ffff, 1),
            (u64::MAX, 1),
            (0x8000_0000_0000_000f, 7),
            (0x1_0000_0010, 1),
        ] {
            let big = Imm64::Value(index);
            let mut insns = vec![Insn::LdImm64 { dst: R5, imm: big }, Insn::Hole];
            insns.extend(tail_call(how, 0));
            let at = insns.len() - 1;
            insns.insert(at, mov(R3, Src::Reg(R5)));
            if how != How::Constant {
                insns.insert(at + 1, alu64(AluOp::Add, R3, Src::Reg(R4)));
            }
            insns.extend([mov(R0, Src::Imm(1)), Insn::Exit]);
            let p = compile(code(&insns, &[(0, 0)]), how, first, m);
            assert_eq!(run(&p, 0), result, "{how:?} {m:?} {index:#x}");
        }
    }
}

fn clone(c: &Code) -> Code {
    code(&c.insns, &[(0, 0)])
}

/// A patched site is two jumps of five bytes: to behind it, and nowhere, with a trap behind.
#[test]
fn sites() {
    let mut insns = vec![mov(R6, Src::Imm(5)), mov(R9, Src::Imm(5))];
    insns.extend(tail_call(How::Constant, 3));
    insns.extend([
        mov(R0, Src::Reg(R6)),
        alu64(AluOp::Add, R0, Src::Reg(R9)),
        Insn::Exit,
    ]);
    let mut c = code(&insns, &[(0, 64)]);
    prove(&mut c, How::Constant);
    for fact in c.facts.iter_mut() {
        fact.key = fact.map.map(|_| 3);
    }
    let maps = [MapTarget {
        addr: 0x1000,
        value: None,
        array: Some(ArrayTarget {
            base: 0x2000,
            stride: 8,
            max_entries: 16,
        }),
        per_cpu: None,
        hash: None,
    }];
    let target = jit::Target {
        blind: None,
        features: jit::Features::default(),
        mitigations: Mitigations::default(),
        align_stack: false,
        packet: None,
        variables: jit::Variables::default(),
        helper: &|_| None,
        maps: &maps,
        tail: jit::TailCalls {
            patch: true,
            lookup: None,
        },
    };
    let image = jit::emit(&c, &target).expect("compiles");
    let [site] = image.sites() else {
        panic!("{:?}", image.sites())
    };
    assert_eq!((site.map, site.index), (0, 3));
    let bytes = image.bytes();
    let at = |off: u32| &bytes[off as usize..off as usize + 5];
    let check = at(site.check);
    assert_eq!(check[0], 0xe9);
    let distance = i32::from_le_bytes(check[1..].try_into().unwrap());
    assert_eq!(
        i64::from(site.check) + 5 + i64::from(distance),
        i64::from(site.out)
    );
    assert_eq!(at(site.jump), [0xe9, 0, 0, 0, 0]);
    assert_eq!(bytes[site.jump as usize + 5], 0xcc);
    assert_eq!(site.out, site.jump + 6);
}
