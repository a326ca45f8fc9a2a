// SPDX-License-Identifier: GPL-2.0

//! What the tests that run code share.

// No test uses all of it.
#![allow(dead_code)]

use oxbpf_core::isa::code::Code;
use oxbpf_core::isa::{AluOp, Cond, Insn, Reg, Size, Width};
use oxbpf_core::jit::{Features, MapTarget};
use oxbpf_jit_run::exec::{place_numbered, Helper, Options, FIRST_HELPER};
use oxbpf_jit_run::reference::{self, World};
use oxbpf_jit_run::rng::Rng;
use oxbpf_jit_run::{code, ldx, stx};

/// Each test runs with and without the extensions.
pub const FEATURES: [Features; 2] = [
    Features {
        bmi2: false,
        movbe: false,
    },
    Features {
        bmi2: true,
        movbe: true,
    },
];
/// Both widths.
pub const WIDTHS: [Width; 2] = [Width::W32, Width::W64];
/// Every operation.
pub const OPS: [AluOp; 13] = [
    AluOp::Add,
    AluOp::Sub,
    AluOp::Mul,
    AluOp::Div,
    AluOp::Sdiv,
    AluOp::Or,
    AluOp::And,
    AluOp::Lsh,
    AluOp::Rsh,
    AluOp::Mod,
    AluOp::Smod,
    AluOp::Xor,
    AluOp::Arsh,
];
/// Every condition.
pub const CONDS: [Cond; 11] = [
    Cond::Eq,
    Cond::Ne,
    Cond::Set,
    Cond::Gt,
    Cond::Ge,
    Cond::Lt,
    Cond::Le,
    Cond::Sgt,
    Cond::Sge,
    Cond::Slt,
    Cond::Sle,
];
/// The registers that programs write.
pub const GENERAL: [Reg; 10] = [
    Reg::R0,
    Reg::R1,
    Reg::R2,
    Reg::R3,
    Reg::R4,
    Reg::R5,
    Reg::R6,
    Reg::R7,
    Reg::R8,
    Reg::R9,
];

/// Slots of the context: ten registers, then memory for the program.
pub const CTX: usize = 26;

/// Loads all registers from the context, which is kept at `R10 - 8`.
pub fn prologue() -> Vec<Insn> {
    let mut p = vec![stx(Size::Dw, Reg::R10, -8, Reg::R1)];
    for r in GENERAL {
        if r != Reg::R1 {
            p.push(ldx(Size::Dw, r, Reg::R1, r.index() as i16 * 8));
        }
    }
    p.push(ldx(Size::Dw, Reg::R1, Reg::R1, 8));
    p
}

/// Writes all registers to the context.
pub fn epilogue(p: &mut Vec<Insn>) {
    for r in GENERAL {
        p.push(stx(Size::Dw, Reg::R10, -16 - r.index() as i16 * 8, r));
    }
    p.push(ldx(Size::Dw, Reg::R1, Reg::R10, -8));
    for r in GENERAL {
        p.push(ldx(Size::Dw, Reg::R2, Reg::R10, -16 - r.index() as i16 * 8));
        p.push(stx(Size::Dw, Reg::R1, r.index() as i16 * 8, Reg::R2));
    }
    p.push(ldx(Size::Dw, Reg::R0, Reg::R10, -16));
    p.push(Insn::Exit);
}

pub fn show(c: &Code) -> String {
    let line = |(i, x): (usize, &Insn)| format!("{i}: {x:?}\n");
    c.insns.iter().enumerate().map(line).collect()
}

/// Keys of hash maps are below this, and values have so many bytes.
pub const KEYS: u64 = 24;
pub const VALUE: usize = 16;

/// The elements of the maps that are arrays, and the values of hash maps.
fn elements(maps: &[MapTarget]) -> Vec<&'static mut [u8]> {
    let bytes = |a: oxbpf_core::jit::ArrayTarget| {
        let len = (a.stride * a.max_entries) as usize;
        // SAFETY: tests give arrays that they own, and that nothing else uses meanwhile.
        unsafe { std::slice::from_raw_parts_mut(a.base as *mut u8, len) }
    };
    let values = |map: &MapTarget| {
        // SAFETY: tests own the maps; the key is a local.
        let at = |key: u64| unsafe { reference::find(map, std::ptr::from_ref(&key) as u64) };
        let found: Vec<u64> = (0..KEYS).map(at).filter(|at| *at != 0).collect();
        // SAFETY: as above; these are values of the map.
        found
            .into_iter()
            .map(|at| unsafe { std::slice::from_raw_parts_mut(at as *mut u8, VALUE) })
    };
    let arrays = maps.iter().filter_map(reference::this_cpu).map(bytes);
    let hashes = maps.iter().filter(|m| m.hash.is_some()).flat_map(values);
    arrays.chain(hashes).collect()
}

/// Runs `c` on each context, compiled with each set of features, and compares with the reference.
pub fn compare(c: &Code, helpers: &[Helper], maps: &[MapTarget], inputs: &[[u64; CTX]]) -> usize {
    let world = World { helpers, maps };
    let mut wants = Vec::new();
    let before: Vec<Vec<u8>> = elements(maps).iter().map(|e| e.to_vec()).collect();
    let reset = || {
        for (now, before) in elements(maps).iter_mut().zip(&before) {
            now.copy_from_slice(before);
        }
    };
    let values = || {
        elements(maps)
            .iter()
            .map(|e| e.to_vec())
            .collect::<Vec<_>>()
    };
    for input in inputs {
        reset();
        let mut ctx = *input;
        // SAFETY: the tests' programs use their stack and context only.
        let r0 = unsafe { reference::run(c, &world, 0, [ctx.as_mut_ptr() as u64, 0, 0, 0, 0]) };
        wants.push((r0, ctx, values()));
    }
    let blinded = (FEATURES[1], true);
    let ways = FEATURES.map(|features| (features, false));
    for (features, blind) in ways.into_iter().chain([blinded]) {
        let options = Options {
            features,
            blind,
            ..Options::default()
        };
        let placed = place_numbered(c, FIRST_HELPER, helpers, maps, &options).unwrap();
        for (input, want) in inputs.iter().zip(&wants) {
            reset();
            let mut ctx = *input;
            // SAFETY: as above.
            let r0 = unsafe { placed.run(ctx.as_mut_ptr().cast()) };
            if (r0, ctx) != (want.0, want.1) || values() != want.2 {
                let bytes = placed.image.bytes();
                panic!(
                    "{features:?} {blind}\n{}\ninput {input:x?}\ngot  {r0:x} {ctx:x?}\nwant {:x} {:x?}\n{bytes:02x?}",
                    show(c),
                    want.0,
                    want.1
                );
            }
        }
    }
    reset();
    inputs.len() * (FEATURES.len() + 1)
}

pub fn with_registers(pairs: &[(Reg, u64)], rng: &mut Rng) -> [u64; CTX] {
    let mut ctx = [0; CTX];
    for slot in &mut ctx {
        *slot = rng.bits();
    }
    for (r, v) in pairs {
        ctx[r.index()] = *v;
    }
    ctx
}

pub fn body(insns: &[Insn]) -> Code {
    let mut p = prologue();
    p.extend_from_slice(insns);
    epilogue(&mut p);
    code(&p, &[(0, 512)])
}
