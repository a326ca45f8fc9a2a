// SPDX-License-Identifier: GPL-2.0

//! Compiled code against this host's own bpf(2): the conformance vectors and random programs.

mod common;
mod generate;

use common::*;
use generate::*;
use oxbpf::{Map, MapSpec, MapType, Prog, ProgSpec, ProgType, TestRun};
use oxbpf_core::isa::code::Code;
use oxbpf_core::isa::{decode, encode, Imm64, Insn, RawInsn, Reg};
use oxbpf_core::jit::{MapTarget, Mitigations};
use oxbpf_fixtures::bpf;
use oxbpf_fixtures::conformance::{programs, VALUE_SIZE};
use oxbpf_jit_run::code;
use oxbpf_jit_run::exec::place;
use oxbpf_jit_run::rng::Rng;
use std::os::fd::{AsFd, AsRawFd};

/// A map with one value.
fn one_value(bpf: &oxbpf::Bpf, size: usize) -> Map {
    bpf.map_create(&MapSpec::new(MapType(2), 4, size as u32, 1))
        .unwrap()
}

fn load(bpf: &oxbpf::Bpf, insns: &[RawInsn]) -> Prog {
    let slots = bpf::slots(insns);
    let spec = ProgSpec {
        log_level: 1,
        log_size: 1 << 22,
        ..ProgSpec::new(ProgType::SOCKET_FILTER, &slots)
    };
    match bpf.prog_load(&spec) {
        Ok(prog) => prog,
        Err(e) => panic!("{}\n{insns:?}", bpf::tail(&e.log)),
    }
}

fn run_in_tree(prog: &Prog) {
    let input = TestRun {
        data_in: &[0; 64],
        ..TestRun::default()
    };
    prog.test_run(&input).unwrap();
}

/// The program with the map's value named as the verifier would.
fn resolved(insns: &[Insn]) -> Vec<Insn> {
    let resolve = |insn: &Insn| match *insn {
        Insn::LdImm64 {
            dst,
            imm: Imm64::MapValueFd { off, .. },
        } => Insn::LdImm64 {
            dst,
            imm: Imm64::MapValue { map: 0, off },
        },
        other => other,
    };
    insns.iter().map(resolve).collect()
}

fn run_compiled(c: &Code, value: &mut [u64]) -> usize {
    let before = value.to_vec();
    let map = MapTarget {
        addr: 0x7000,
        value: Some(value.as_mut_ptr() as u64),
        ..MapTarget::default()
    };
    let mut after: Option<Vec<u64>> = None;
    let mut size = 0;
    for features in FEATURES {
        value.copy_from_slice(&before);
        let placed = place(c, &[], &[map], features, Mitigations::default()).unwrap();
        // SAFETY: the kernel's verifier accepted the program.
        unsafe { placed.run(std::ptr::null_mut()) };
        size = placed.image.bytes().len();
        match &after {
            Some(after) => assert_eq!(after, value),
            None => after = Some(value.to_vec()),
        }
    }
    size
}

#[test]
fn vectors_equal_in_tree() {
    let Some(bpf) = bpf::in_tree() else { return };
    let (mut compared, mut ours_bytes, mut theirs_bytes) = (0, 0, 0);
    for vectors in programs() {
        let map = one_value(&bpf, VALUE_SIZE);
        map.update(&[0; 4], &vectors.value, 0).unwrap();
        let mut insns = vectors.insns.clone();
        insns[0].imm = map.as_fd().as_raw_fd();
        let prog = load(&bpf, &insns);
        run_in_tree(&prog);
        let theirs = map.lookup(&[0; 4]).unwrap();
        theirs_bytes += prog.info().unwrap().jited.len();

        let decoded = resolved(&decode::decode(&insns).unwrap());
        let c = code(&decoded, &[(0, 64)]);
        let mut value: Vec<u64> = vec![0; VALUE_SIZE / 8];
        for (word, bytes) in value.iter_mut().zip(vectors.value.chunks_exact(8)) {
            *word = u64::from_le_bytes(bytes.try_into().unwrap());
        }
        ours_bytes += run_compiled(&c, &mut value);
        let ours: Vec<u8> = value.iter().flat_map(|w| w.to_le_bytes()).collect();
        for ((label, a), (_, b)) in vectors.results(&ours).zip(vectors.results(&theirs)) {
            assert_eq!(a, b, "{label}");
            compared += 1;
        }
    }
    println!("{compared} vectors, {ours_bytes} bytes of code against {theirs_bytes}");
}

#[test]
fn random_programs_equal_in_tree() {
    let Some(bpf) = bpf::in_tree() else { return };
    let rounds: u64 = std::env::var("JIT_ROUNDS").map_or(400, |v| v.parse().unwrap());
    let (mut ours_bytes, mut theirs_bytes) = (0, 0);
    for round in 0..rounds {
        let mut rng = Rng::new(77_000_000 + round);
        let map = one_value(&bpf, CTX * 8);
        let fd = map.as_fd().as_raw_fd();
        let start = [
            Insn::LdImm64 {
                dst: Reg::R1,
                imm: Imm64::MapValueFd { fd, off: 0 },
            },
            Insn::Hole,
        ];
        let insns = random_code(&mut rng, &start, false).insns;
        let mut raw = kernel::prelude::KVVec::new();
        let wire = encode::encode(&insns, encode::wire_imm64, &mut raw);
        wire.unwrap();
        let prog = load(&bpf, &raw);
        theirs_bytes += prog.info().unwrap().jited.len();
        for _ in 0..3 {
            let mut value = [0u64; CTX];
            for slot in &mut value {
                *slot = rng.value();
            }
            let input: Vec<u8> = value.iter().flat_map(|w| w.to_le_bytes()).collect();
            map.update(&[0; 4], &input, 0).unwrap();
            run_in_tree(&prog);
            let theirs = map.lookup(&[0; 4]).unwrap();
            let c = code(&resolved(&insns), &[(0, 304)]);
            ours_bytes += run_compiled(&c, &mut value);
            let ours: Vec<u8> = value.iter().flat_map(|w| w.to_le_bytes()).collect();
            assert_eq!(ours, theirs, "round {round}\n{}", show(&c));
        }
    }
    println!("{} bytes of code against {theirs_bytes}", ours_bytes / 3);
}
