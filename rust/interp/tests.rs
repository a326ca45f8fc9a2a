// SPDX-License-Identifier: GPL-2.0

//! Tests of the loop: frames, memory, faults.

use super::*;
use crate::isa::decode::decode;
use crate::isa::RawInsn;
use kernel::prelude::*;

/// Bytes at made-up addresses; every access is checked.
struct Bytes {
    stack: [u8; 64],
    packet: [u8; 4],
    calls: Vec<(i32, [u64; 5])>,
}

const BASE: u64 = 0x1000;

impl Bytes {
    fn at(&mut self, addr: u64, size: Size) -> Result<&mut [u8], Fault> {
        let start = addr.wrapping_sub(BASE) as usize;
        let end = start.wrapping_add(size.bytes() as usize);
        self.stack.get_mut(start..end).ok_or(Fault::Access(addr))
    }
}

impl Memory for Bytes {
    fn load(&mut self, addr: u64, size: Size, _: bool) -> Result<u64, Fault> {
        let mut word = [0; 8];
        let bytes = self.at(addr, size)?;
        word[..bytes.len()].copy_from_slice(bytes);
        Ok(u64::from_le_bytes(word))
    }

    fn store(&mut self, addr: u64, size: Size, value: u64) -> Result<(), Fault> {
        let bytes = self.at(addr, size)?;
        bytes.copy_from_slice(&value.to_le_bytes()[..bytes.len()]);
        Ok(())
    }

    fn atomic(
        &mut self,
        op: AtomicOp,
        addr: u64,
        size: Size,
        src: u64,
        r0: u64,
    ) -> Result<u64, Fault> {
        let old = self.load(addr, size, false)?;
        let new = match op {
            AtomicOp::Add => old.wrapping_add(src),
            AtomicOp::Or => old | src,
            AtomicOp::And => old & src,
            AtomicOp::Xor => old ^ src,
            AtomicOp::Xchg => src,
            AtomicOp::Cmpxchg if old == r0 => src,
            AtomicOp::Cmpxchg => old,
        };
        self.store(addr, size, new)?;
        Ok(old)
    }

    fn imm64(&mut self, imm: Imm64) -> Result<u64, Fault> {
        match imm {
            Imm64::MapFd(fd) => Ok(fd as u64 * 0x100),
            _ => Err(Fault::Access(0)),
        }
    }

    fn stack_top(&mut self) -> u64 {
        BASE + 64
    }

    fn call(&mut self, id: i32, args: [u64; 5]) -> Result<u64, Fault> {
        self.calls.push((id, args));
        if id == 1 {
            Ok(77)
        } else {
            Err(Fault::Helper(id))
        }
    }

    fn packet(&mut self, skb: u64, offset: i32, size: Size) -> Result<Option<u64>, Fault> {
        assert_eq!(skb, 5);
        let start = offset as usize;
        let bytes = self.packet.get(start..start + size.bytes() as usize);
        Ok(bytes.map(|b| b.iter().fold(0, |v, b| (v << 8) | u64::from(*b))))
    }
}

/// Runs slots given as (code, dst, src, off, imm) on context 5; `stacks` per subprogram.
fn exec(raw: &[(u8, u8, u8, i16, i32)], stacks: &[(u32, u16)]) -> (Result<u64, Fault>, Bytes) {
    let raw: Vec<RawInsn> = raw
        .iter()
        .map(|i| RawInsn::new(i.0, i.1, i.2, i.3, i.4))
        .collect();
    let insns = decode(&raw).unwrap();
    let mut code = Code {
        facts: KVVec::from_elem(Default::default(), insns.len(), GFP_KERNEL).unwrap(),
        insns,
        stack_depth: 64,
        ..Default::default()
    };
    for (i, (start, stack)) in stacks.iter().enumerate() {
        let end = stacks.get(i + 1).map_or(raw.len() as u32, |s| s.0);
        let subprog = Subprog {
            start: *start,
            end,
            stack: *stack,
            ..Default::default()
        };
        code.subprogs.push(subprog, GFP_KERNEL).unwrap();
    }
    let mut mem = Bytes {
        stack: [0xaa; 64],
        packet: [1, 2, 3, 0xff],
        calls: Vec::new(),
    };
    (run(&code, &mut mem, 5, Some(1000)), mem)
}

#[test]
fn calls_have_frames() {
    // main: r6 = 1; *(r10-8) = 2; call f; r0 += r6; r0 += *(r10-8); exit
    // f: *(r10-8) = 40; r6 = 9; r0 = *(r10-8); exit
    let (result, mem) = exec(
        &[
            (0xb7, 6, 0, 0, 1),
            (0x7a, 10, 0, -8, 2),
            (0x85, 0, 1, 0, 4),
            (0x0f, 0, 6, 0, 0),
            (0x79, 1, 10, -8, 0),
            (0x0f, 0, 1, 0, 0),
            (0x95, 0, 0, 0, 0),
            (0x7a, 10, 0, -8, 40),
            (0xb7, 6, 0, 0, 9),
            (0x79, 0, 10, -8, 0),
            (0x95, 0, 0, 0, 0),
        ],
        &[(0, 16), (7, 8)],
    );
    assert_eq!(result, Ok(43));
    assert_eq!(mem.stack[56], 2);
    assert_eq!(mem.stack[40], 40);
}

#[test]
fn frames_end() {
    let (result, _) = exec(&[(0x85, 0, 1, 0, -1), (0x95, 0, 0, 0, 0)], &[(0, 0)]);
    assert_eq!(result, Err(Fault::Insn(0)));
}

#[test]
fn memory_is_checked() {
    let out = [(0x79, 0, 10, 0, 0), (0x95, 0, 0, 0, 0)];
    let (result, _) = exec(&out, &[(0, 0)]);
    assert_eq!(result, Err(Fault::Access(BASE + 64)));
}

#[test]
fn loads_and_stores() {
    let (result, mem) = exec(
        &[
            (0x62, 10, 0, -4, -2),
            (0x91, 0, 10, -4, 0),
            (0x71, 1, 10, -4, 0),
            (0x0f, 0, 1, 0, 0),
            (0x7a, 10, 0, -16, -1),
            (0x95, 0, 0, 0, 0),
        ],
        &[(0, 16)],
    );
    assert_eq!(result, Ok(0xfe - 2));
    assert_eq!(mem.stack[60..], [0xfe, 0xff, 0xff, 0xff]);
    assert_eq!(mem.stack[48..56], [0xff; 8]);
}

#[test]
fn atomics() {
    // *(u32 *)(r10-8) = 5; r1 = 3; r1 = fetch_add; r0 = 8; cmpxchg(8 -> r2 = -1); r0 += r1
    let (result, mem) = exec(
        &[
            (0x7a, 10, 0, -8, 5),
            (0xb7, 1, 0, 0, 3),
            (0xc3, 10, 1, -8, 1),
            (0x18, 0, 0, 0, 8),
            (0, 0, 0, 0, 1),
            (0xb7, 2, 0, 0, -1),
            (0xc3, 10, 2, -8, 0xf1),
            (0x0f, 0, 1, 0, 0),
            (0x95, 0, 0, 0, 0),
        ],
        &[(0, 8)],
    );
    assert_eq!(result, Ok(13));
    assert_eq!(mem.stack[56..], [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
}

#[test]
fn packet_loads_end_the_program() {
    let (result, _) = exec(
        &[(0xbf, 6, 1, 0, 0), (0x28, 0, 0, 0, 1), (0x95, 0, 0, 0, 0)],
        &[(0, 0)],
    );
    assert_eq!(result, Ok(0x0203));
    let (result, _) = exec(
        &[
            (0xbf, 6, 1, 0, 0),
            (0xb7, 0, 0, 0, 9),
            (0xb7, 7, 0, 0, 2),
            (0x40, 0, 7, 0, 1),
            (0xb7, 0, 0, 0, 9),
            (0x95, 0, 0, 0, 0),
        ],
        &[(0, 0)],
    );
    assert_eq!(result, Ok(0));
}

#[test]
fn helpers_and_maps() {
    let (result, mem) = exec(
        &[
            (0x18, 1, 1, 0, 3),
            (0, 0, 0, 0, 0),
            (0xb7, 2, 0, 0, -1),
            (0x85, 0, 0, 0, 1),
            (0x85, 0, 0, 0, 2),
            (0x95, 0, 0, 0, 0),
        ],
        &[(0, 0)],
    );
    assert_eq!(result, Err(Fault::Helper(2)));
    assert_eq!(mem.calls[0], (1, [0x300, u64::MAX, 0, 0, 0]));
}

#[test]
fn budget_and_loops_end() {
    let (result, _) = exec(&[(0x05, 0, 0, -1, 0)], &[(0, 0)]);
    assert_eq!(result, Err(Fault::Budget));
    // may_goto +1; goto -2; exit: leaves after its loops.
    let raw = [
        RawInsn::new(0xb7, 0, 0, 0, 4),
        RawInsn::new(0xe5, 0, 0, 1, 0),
        RawInsn::new(0x05, 0, 0, -2, 0),
        RawInsn::new(0x95, 0, 0, 0, 0),
    ];
    let code = Code {
        insns: decode(&raw).unwrap(),
        ..Default::default()
    };
    let mut mem = Bytes {
        stack: [0; 64],
        packet: [0; 4],
        calls: Vec::new(),
    };
    assert_eq!(run(&code, &mut mem, 0, None), Ok(4));
}
