// SPDX-License-Identifier: GPL-2.0

//! A second interpreter, written apart from the project's, that runs on this process's memory.

use crate::exec::{packet_word, Helper, CPU, FIRST_HELPER};
use oxbpf_core::isa::code::Code;
use oxbpf_core::isa::{AluOp, AtomicOp, Cond, Imm64, Insn, Reg, Size, Src, SwapKind, Width};
use oxbpf_core::jit::{ArrayTarget, HashTarget, MapTarget};
use oxbpf_core::map::Map;
use oxbpf_core::sys::cpus;

/// Everything a program may call or name.
pub struct World<'a> {
    /// Helpers, numbered from `FIRST_HELPER`.
    pub helpers: &'a [Helper],
    /// Used maps.
    pub maps: &'a [MapTarget],
}

/// Where a map's elements are for the CPU that programs are told they run on.
pub fn this_cpu(map: &MapTarget) -> Option<ArrayTarget> {
    let of = |per_cpu: ArrayTarget| {
        let entry = (per_cpu.base + CPU * 8) as *const u64;
        ArrayTarget {
            // SAFETY: tests give a table with that many entries.
            base: unsafe { *entry },
            ..per_cpu
        }
    };
    map.array.or(map.per_cpu.map(of))
}

/// A hash map for programs, under its own address; none where its keys are not one word. The map must
/// stay where it is while programs use it.
pub fn hash_target(map: &Map) -> Option<MapTarget> {
    let layout = map.hash_layout()?;
    let per_cpu = layout.per_cpu.map(|array| {
        let table = array.base as *const u64;
        let mut as_told = vec![0; CPU as usize + 1];
        // SAFETY: the map has an entry for each CPU there is.
        as_told[CPU as usize] = unsafe { *table.add(cpus::current()) };
        ArrayTarget {
            base: as_told.leak().as_ptr() as u64,
            stride: array.stride,
            max_entries: array.entries,
        }
    });
    Some(MapTarget {
        addr: std::ptr::from_ref(map) as u64,
        hash: Some(HashTarget {
            constants: layout.constants as u64,
            bucket_mask: layout.bucket_mask,
            key_size: layout.key_size,
            stride: layout.stride,
            value_at: layout.value_at,
            mark: layout.mark,
            per_cpu,
        }),
        ..MapTarget::default()
    })
}

/// The address of the value of the key at `key`, 0 for none.
///
/// # Safety
///
/// `map` must be of an array, or of [`hash_target`] of a map that is still there; a key must be at
/// `key`.
pub unsafe fn find(map: &MapTarget, key: u64) -> u64 {
    if let Some(hash) = &map.hash {
        // SAFETY: the caller says so.
        let (map, key) = unsafe {
            let key = std::slice::from_raw_parts(key as *const u8, hash.key_size as usize);
            (&*(map.addr as *const Map), key)
        };
        return map.lookup_addr(key).unwrap_or(0) as u64;
    }
    // SAFETY: the caller says so.
    let key = u64::from(unsafe { (key as *const u32).read_unaligned() });
    let array = this_cpu(map).filter(|a| key < a.max_entries.into());
    array.map_or(0, |a| a.base + key * u64::from(a.stride))
}

fn alu(op: AluOp, w: Width, a: u64, b: u64) -> u64 {
    match w {
        Width::W64 => {
            let (sa, sb) = (a as i64, b as i64);
            match op {
                AluOp::Add => a.wrapping_add(b),
                AluOp::Sub => a.wrapping_sub(b),
                AluOp::Mul => a.wrapping_mul(b),
                AluOp::Div => a.checked_div(b).unwrap_or(0),
                AluOp::Mod => a.checked_rem(b).unwrap_or(a),
                AluOp::Sdiv if b == 0 => 0,
                AluOp::Sdiv => sa.wrapping_div(sb) as u64,
                AluOp::Smod if b == 0 => a,
                AluOp::Smod => sa.wrapping_rem(sb) as u64,
                AluOp::Or => a | b,
                AluOp::And => a & b,
                AluOp::Xor => a ^ b,
                AluOp::Lsh => a << (b & 63),
                AluOp::Rsh => a >> (b & 63),
                AluOp::Arsh => (sa >> (b & 63)) as u64,
            }
        }
        Width::W32 => {
            let (a, b) = (a as u32, b as u32);
            let (sa, sb) = (a as i32, b as i32);
            u64::from(match op {
                AluOp::Add => a.wrapping_add(b),
                AluOp::Sub => a.wrapping_sub(b),
                AluOp::Mul => a.wrapping_mul(b),
                AluOp::Div => a.checked_div(b).unwrap_or(0),
                AluOp::Mod => a.checked_rem(b).unwrap_or(a),
                AluOp::Sdiv if b == 0 => 0,
                AluOp::Sdiv => sa.wrapping_div(sb) as u32,
                AluOp::Smod if b == 0 => a,
                AluOp::Smod => sa.wrapping_rem(sb) as u32,
                AluOp::Or => a | b,
                AluOp::And => a & b,
                AluOp::Xor => a ^ b,
                AluOp::Lsh => a << (b & 31),
                AluOp::Rsh => a >> (b & 31),
                AluOp::Arsh => (sa >> (b & 31)) as u32,
            })
        }
    }
}

fn cond(c: Cond, w: Width, a: u64, b: u64) -> bool {
    let (a, b, sa, sb) = match w {
        Width::W64 => (a, b, a as i64, b as i64),
        Width::W32 => (
            u64::from(a as u32),
            u64::from(b as u32),
            i64::from(a as i32),
            i64::from(b as i32),
        ),
    };
    match c {
        Cond::Eq => a == b,
        Cond::Ne => a != b,
        Cond::Set => a & b != 0,
        Cond::Gt => a > b,
        Cond::Ge => a >= b,
        Cond::Lt => a < b,
        Cond::Le => a <= b,
        Cond::Sgt => sa > sb,
        Cond::Sge => sa >= sb,
        Cond::Slt => sa < sb,
        Cond::Sle => sa <= sb,
    }
}

unsafe fn load(addr: u64, size: Size) -> u64 {
    // SAFETY: as the caller promises.
    unsafe {
        match size {
            Size::B => u64::from((addr as *const u8).read()),
            Size::H => u64::from((addr as *const u16).read_unaligned()),
            Size::W => u64::from((addr as *const u32).read_unaligned()),
            Size::Dw => (addr as *const u64).read_unaligned(),
        }
    }
}

unsafe fn store(addr: u64, size: Size, v: u64) {
    // SAFETY: as the caller promises.
    unsafe {
        match size {
            Size::B => (addr as *mut u8).write(v as u8),
            Size::H => (addr as *mut u16).write_unaligned(v as u16),
            Size::W => (addr as *mut u32).write_unaligned(v as u32),
            Size::Dw => (addr as *mut u64).write_unaligned(v),
        }
    }
}

fn sx(v: u64, size: Size) -> u64 {
    match size {
        Size::B => v as i8 as u64,
        Size::H => v as i16 as u64,
        Size::W => v as i32 as u64,
        Size::Dw => v,
    }
}

/// Runs `code` from slot `start`.
///
/// # Safety
///
/// The program must touch only memory that is there, and end.
pub unsafe fn run(code: &Code, world: &World<'_>, start: u32, args: [u64; 5]) -> u64 {
    let mut stack = [0u64; 64];
    let mut r = [0u64; 11];
    r[1..6].copy_from_slice(&args);
    r[10] = stack.as_mut_ptr() as u64 + 512;
    let mut pc = start as usize;
    // SAFETY: as the caller promises.
    unsafe {
        loop {
            let insn = code.insns[pc];
            pc += 1;
            let src = |s: Src| match s {
                Src::Reg(reg) => r[reg.index()],
                Src::Imm(i) => i as i64 as u64,
            };
            let at = |base: Reg, off: i16| r[base.index()].wrapping_add(off as i64 as u64);
            match insn {
                Insn::Alu {
                    op,
                    width,
                    dst,
                    src: s,
                } => r[dst.index()] = alu(op, width, r[dst.index()], src(s)),
                Insn::Neg { width, dst } => {
                    r[dst.index()] = alu(AluOp::Sub, width, 0, r[dst.index()]);
                }
                Insn::Mov { width, dst, src: s } => {
                    let v = src(s);
                    r[dst.index()] = match width {
                        Width::W64 => v,
                        Width::W32 => u64::from(v as u32),
                    };
                }
                Insn::MovSx {
                    width,
                    from,
                    dst,
                    src,
                } => {
                    let v = sx(r[src.index()], from);
                    r[dst.index()] = match width {
                        Width::W64 => v,
                        Width::W32 => u64::from(v as u32),
                    };
                }
                Insn::Swap { kind, size, dst } => {
                    let v = r[dst.index()];
                    let swap = kind != SwapKind::ToLe;
                    r[dst.index()] = match (size, swap) {
                        (Size::B, _) => panic!("swap of a byte"),
                        (Size::H, false) => u64::from(v as u16),
                        (Size::W, false) => u64::from(v as u32),
                        (Size::Dw, false) => v,
                        (Size::H, true) => u64::from((v as u16).swap_bytes()),
                        (Size::W, true) => u64::from((v as u32).swap_bytes()),
                        (Size::Dw, true) => v.swap_bytes(),
                    };
                }
                Insn::LdImm64 { dst, imm } => {
                    r[dst.index()] = match imm {
                        Imm64::Value(v) => v,
                        Imm64::Map(i) => world.maps[i as usize].addr,
                        Imm64::MapValue { map, off } => {
                            world.maps[map as usize].value.unwrap() + u64::from(off)
                        }
                        other => panic!("{other:?}"),
                    };
                }
                Insn::Hole => {}
                Insn::Load {
                    size,
                    sx: signed,
                    dst,
                    src,
                    off,
                } => {
                    let v = load(at(src, off), size);
                    r[dst.index()] = if signed { sx(v, size) } else { v };
                }
                Insn::LoadAcquire {
                    size,
                    dst,
                    src,
                    off,
                } => r[dst.index()] = load(at(src, off), size),
                Insn::Store {
                    size,
                    dst,
                    off,
                    src: s,
                } => store(at(dst, off), size, src(s)),
                Insn::StoreRelease {
                    size,
                    dst,
                    off,
                    src,
                } => store(at(dst, off), size, r[src.index()]),
                Insn::Atomic {
                    op,
                    fetch,
                    size,
                    dst,
                    off,
                    src,
                } => {
                    let addr = at(dst, off);
                    let old = load(addr, size);
                    let v = r[src.index()];
                    let low = |v: u64| {
                        if size == Size::W {
                            u64::from(v as u32)
                        } else {
                            v
                        }
                    };
                    let new = match op {
                        AtomicOp::Add => old.wrapping_add(v),
                        AtomicOp::Or => old | v,
                        AtomicOp::And => old & v,
                        AtomicOp::Xor => old ^ v,
                        AtomicOp::Xchg => v,
                        AtomicOp::Cmpxchg if old == low(r[0]) => v,
                        AtomicOp::Cmpxchg => old,
                    };
                    store(addr, size, new);
                    match op {
                        AtomicOp::Cmpxchg => r[0] = old,
                        AtomicOp::Xchg => r[src.index()] = old,
                        _ if fetch => r[src.index()] = old,
                        _ => {}
                    }
                }
                Insn::Ja { target, .. } => pc = target as usize,
                Insn::Jmp {
                    cond: c,
                    width,
                    dst,
                    src: s,
                    target,
                } => {
                    if cond(c, width, r[dst.index()], src(s)) {
                        pc = target as usize;
                    }
                }
                Insn::Call { helper: 1 } => {
                    let map = world.maps.iter().find(|m| m.addr == r[1]).unwrap();
                    r[0] = find(map, r[2]);
                }
                Insn::Call {
                    helper: 8 | 35 | 118,
                } => r[0] = CPU,
                Insn::Call { helper } => {
                    r[0] = world.helpers[(helper - FIRST_HELPER) as usize](
                        r[1], r[2], r[3], r[4], r[5],
                    );
                }
                Insn::CallSub { target } => {
                    r[0] = run(code, world, target, [r[1], r[2], r[3], r[4], r[5]]);
                }
                Insn::Exit => return r[0],
                Insn::LdAbs { size, imm } => match packet_word(imm, size.bytes()) {
                    Some(word) => r[0] = word,
                    None => return 0,
                },
                Insn::LdInd { size, src, imm } => {
                    let offset = (r[src.index()] as i32).wrapping_add(imm);
                    match packet_word(offset, size.bytes()) {
                        Some(word) => r[0] = word,
                        None => return 0,
                    }
                }
                other => panic!("{other:?}"),
            }
        }
    }
}
