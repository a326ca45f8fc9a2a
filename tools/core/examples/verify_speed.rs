// SPDX-License-Identifier: GPL-2.0

//! Verifies and compiles programs of some shapes on the host, and prints nanoseconds an instruction
//! that is simulated, and that is compiled: least of several runs. With a shape's name, that one once,
//! for a profiler.

use kernel::prelude::*;
use oxbpf_core::abi::{MapType, ProgType};
use oxbpf_core::ctx::KernelLayout;
use oxbpf_core::isa::RawInsn;
use oxbpf_core::jit::{self, HashTarget, MapTarget, Mitigations, TailCalls, Target, Variables};
use oxbpf_core::verifier::log::Log;
use oxbpf_core::verifier::{verify, Env, MapFacts, Options};
use std::time::Instant;

struct OneHash;

impl Env for OneHash {
    fn use_map_fd(&mut self, _fd: i32) -> Result<u32> {
        Ok(0)
    }

    fn use_map_idx(&mut self, _idx: i32) -> Result<u32> {
        Err(EINVAL)
    }

    fn map(&self, index: u32) -> Option<MapFacts> {
        (index == 0).then_some(MapFacts {
            ty: MapType::Hash,
            key_size: 8,
            value_size: 8,
            max_entries: 16,
            rdonly_prog: false,
            wronly_prog: false,
            frozen: false,
            direct_value: false,
            any_size: false,
            lock: None,
        })
    }

    fn read_frozen(&self, _index: u32, _off: u32, _buf: &mut [u8]) -> bool {
        false
    }

    fn interrupted(&mut self) -> bool {
        false
    }
}

fn insn(code: u8, dst: u8, src: u8, off: i16, imm: i32) -> RawInsn {
    RawInsn {
        code,
        regs: dst | (src << 4),
        off,
        imm,
    }
}

fn mov(dst: u8, imm: i32) -> RawInsn {
    insn(0xb7, dst, 0, 0, imm)
}

fn copy(dst: u8, src: u8) -> RawInsn {
    insn(0xbf, dst, src, 0, 0)
}

fn add(dst: u8, imm: i32) -> RawInsn {
    insn(0x07, dst, 0, 0, imm)
}

fn straight(n: i32) -> Vec<RawInsn> {
    let mut p = vec![mov(0, 0)];
    p.extend((0..n).map(|k| add(0, k)));
    p
}

fn diamonds(n: i32) -> Vec<RawInsn> {
    let mut p = vec![mov(6, 0)];
    for k in 0..n {
        p.extend([insn(0x85, 0, 0, 0, 7), insn(0x15, 0, 0, 1, k), add(6, k)]);
    }
    p.push(copy(0, 6));
    p
}

fn bounded(n: i32) -> Vec<RawInsn> {
    vec![
        mov(0, 0),
        mov(1, 0),
        add(0, 3),
        add(1, 1),
        insn(0xa5, 1, 0, -3, n),
    ]
}

fn branchy(n: i32) -> Vec<RawInsn> {
    vec![
        mov(6, 0),
        mov(7, 0),
        insn(0x85, 0, 0, 0, 7),
        insn(0x15, 0, 0, 1, 3),
        add(7, 3),
        add(6, 1),
        insn(0xa5, 6, 0, -5, n),
        copy(0, 7),
    ]
}

fn packet(n: i32) -> Vec<RawInsn> {
    let mut p = vec![insn(0x61, 2, 1, 76, 0), insn(0x61, 3, 1, 80, 0), mov(0, 0)];
    for k in 0..n {
        p.extend([
            copy(4, 2),
            add(4, 14 + k),
            insn(0x2d, 4, 3, 1, 0),
            insn(0x71, 5, 2, 13 + k as i16, 0),
        ]);
    }
    p
}

fn lookups(n: i32) -> Vec<RawInsn> {
    let mut p = Vec::new();
    for k in 0..n {
        p.extend([
            insn(0x7a, 10, 0, -8, k),
            copy(2, 10),
            add(2, -8),
            insn(0x18, 1, 1, 0, 3),
            insn(0, 0, 0, 0, 0),
            insn(0x85, 0, 0, 0, 1),
            insn(0x15, 0, 0, 1, 0),
            insn(0x79, 1, 0, 0, 0),
        ]);
    }
    p.push(mov(0, 0));
    p
}

fn main() {
    let wanted = std::env::args().nth(1);
    let options = Options {
        prog_type: ProgType::SchedCls,
        attach_type: 0,
        gpl: true,
        allow_ptr_leaks: true,
        bpf_capable: true,
        strict_alignment: false,
        test_state_freq: false,
        layout: KernelLayout::default(),
    };
    let maps = [MapTarget {
        addr: 0xffff_8880_0123_4560,
        hash: Some(HashTarget {
            constants: 0xffff_8880_0123_4568,
            bucket_mask: 0xc0,
            key_size: 8,
            stride: 16,
            value_at: 8,
            mark: None,
            per_cpu: None,
        }),
        ..MapTarget::default()
    }];
    let target = Target {
        features: jit::Features::default(),
        mitigations: Mitigations::default(),
        align_stack: false,
        helper: &|id| Some(0xffff_ffff_c000_0000 + id as u64 * 64),
        packet: None,
        blind: None,
        variables: Variables::default(),
        maps: &maps,
        tail: TailCalls::default(),
    };
    let shapes = [
        ("straight 1000", straight(1000)),
        ("straight 100000", straight(100_000)),
        ("diamonds 1000", diamonds(1000)),
        ("bounded 20000", bounded(20_000)),
        ("branchy 1000", branchy(1000)),
        ("packet 100", packet(100)),
        ("lookups 400", lookups(400)),
        ("lookups 4000", lookups(4000)),
    ];
    for (name, mut insns) in shapes {
        if wanted.as_deref().is_some_and(|w| w != name) {
            continue;
        }
        insns.push(insn(0x95, 0, 0, 0, 0));
        let runs = if wanted.is_some() { 1 } else { 5 };
        let (mut best, mut compiling) = (f64::MAX, f64::MAX);
        for _ in 0..runs {
            let t = Instant::now();
            let prog = match verify(&insns, &options, &mut OneHash, &mut Log::none()) {
                Ok(prog) => prog,
                Err(e) => {
                    println!("{name}: refused: {e:?}");
                    break;
                }
            };
            best = best.min(t.elapsed().as_secs_f64());
            let t = Instant::now();
            if let Err(e) = jit::compile(&prog, &target) {
                println!("{name}: {e}");
            }
            compiling = compiling.min(t.elapsed().as_secs_f64());
        }
        if wanted.is_some() {
            continue;
        }
        let mut log = Log::new(4, 1 << 16);
        let _ = verify(&insns, &options, &mut OneHash, &mut log);
        let text = String::from_utf8_lossy(log.text().0).into_owned();
        let last = text.lines().find(|l| l.starts_with("processed"));
        let last = last.unwrap_or("");
        let steps: f64 = last
            .split_whitespace()
            .nth(1)
            .and_then(|w| w.parse().ok())
            .unwrap_or(1.0);
        println!(
            "{name:16} {:9.0} us {:7.0} ns/insn  {last}",
            best * 1e6,
            best * 1e9 / steps
        );
    }
}
