// SPDX-License-Identifier: GPL-2.0

//! Random programs, run natively and by the reference. `JIT_ROUNDS` and `JIT_SEED` choose how many
//! and which.

mod common;
mod generate;

use common::*;
use generate::*;
use oxbpf_jit_run::code;
use oxbpf_jit_run::rng::Rng;

extern "C" fn mix(a: u64, b: u64, c: u64, d: u64, e: u64) -> u64 {
    // Something that needs the vector registers, and so an aligned stack.
    let v: [f64; 4] = [
        a as u32 as f64,
        b as u32 as f64,
        c as u32 as f64,
        d as u32 as f64,
    ];
    let s = std::hint::black_box(v).iter().sum::<f64>();
    a ^ b.rotate_left(8) ^ c.rotate_left(16) ^ d.rotate_left(24) ^ e.rotate_left(32) ^ s as u64
}

extern "C" fn sum(a: u64, b: u64, _: u64, _: u64, _: u64) -> u64 {
    a.wrapping_add(b)
}

#[test]
fn random_programs() {
    let rounds: u64 = std::env::var("JIT_ROUNDS").map_or(6000, |v| v.parse().unwrap());
    let seed: u64 = std::env::var("JIT_SEED").map_or(0, |v| v.parse().unwrap());
    let mut runs = 0;
    for round in 0..rounds {
        let mut rng = Rng::new(1000 + seed * 1_000_000 + round);
        let (insns, starts) = random_insns(&mut rng, &[], true);
        let c = code(&insns, &starts);
        let mut inputs = Vec::new();
        for _ in 0..6 {
            let mut ctx = with_registers(&[], &mut rng);
            for slot in &mut ctx {
                *slot = rng.value();
            }
            inputs.push(ctx);
        }
        runs += compare(&c, &[mix, sum], &[], &inputs);
    }
    println!("{runs} runs");
}
