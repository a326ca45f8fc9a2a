// SPDX-License-Identifier: GPL-2.0

//! Verdicts and logs of small programs, instruction by instruction.

use crate::both::Both;
use crate::insn::{add, call, exit, mov, mov_reg, raw};
use crate::ktap::Suite;
use oxbpf::{Bpf, ProgSpec, ProgType, Slot};

/// Verdict and the line that says why.
fn verdict(b: &Bpf, ty: ProgType, insns: &[Slot]) -> Result<(), (String, String)> {
    let spec = ProgSpec {
        log_level: 1,
        ..ProgSpec::new(ty, insns)
    };
    match b.prog_load(&spec) {
        Ok(_) => Ok(()),
        Err(e) => {
            let mut lines: Vec<&str> = e
                .log
                .lines()
                .filter(|l| !l.starts_with("processed "))
                .collect();
            let last = lines.pop().unwrap_or("");
            Err((e.errno.to_string(), last.to_string()))
        }
    }
}

/// The suite.
pub fn suite(s: &mut Suite) {
    let both = Both::open();
    let programs: &[(&str, &[Slot])] = &[
        ("returns 0", &[mov(0, 0), exit()]),
        ("no return value", &[exit()]),
        ("falls off the end", &[mov(0, 0)]),
        ("unreachable", &[mov(0, 0), exit(), mov(0, 1), exit()]),
        (
            "jump out of range",
            &[mov(0, 0), raw(0x05, 0, 0, 7, 0), exit()],
        ),
        ("endless loop", &[mov(0, 0), raw(0x05, 0, 0, -1, 0), exit()]),
        ("register 11", &[raw(0xb7, 11, 0, 0, 0), exit()]),
        ("writes R10", &[mov(10, 0), exit()]),
        ("unknown opcode", &[raw(0xff, 0, 0, 0, 0), exit()]),
        ("unset register", &[mov_reg(0, 3), exit()]),
        (
            "division by zero",
            &[mov(0, 1), raw(0x37, 0, 0, 0, 0), exit()],
        ),
        (
            "shift too far",
            &[mov(0, 1), raw(0x67, 0, 0, 0, 64), exit()],
        ),
        (
            "stack out of bounds",
            &[raw(0x7a, 10, 0, -520, 0), mov(0, 0), exit()],
        ),
        ("stack above", &[raw(0x7a, 10, 0, 0, 0), mov(0, 0), exit()]),
        ("unknown helper", &[call(9999), exit()]),
        ("helper without arguments", &[call(1), exit()]),
        ("half a ld_imm64", &[raw(0x18, 0, 0, 0, 0)]),
        (
            "R1 to R5 are gone after a call",
            &[call(5), mov_reg(0, 1), exit()],
        ),
        ("context store", &[raw(0x62, 1, 0, 0, 0), mov(0, 0), exit()]),
        ("context out of bounds", &[raw(0x61, 0, 1, 4000, 0), exit()]),
        (
            "pointer arithmetic on the context",
            &[add(1, 8), raw(0x61, 0, 1, 0, 0), exit()],
        ),
        (
            "reads a number as pointer",
            &[mov(1, 8), raw(0x79, 0, 1, 0, 0), exit()],
        ),
    ];
    for ty in [
        ProgType::SOCKET_FILTER,
        ProgType::KPROBE,
        ProgType::SCHED_CLS,
    ] {
        for (name, insns) in programs {
            if ty == ProgType::KPROBE && *name == "context store" {
                continue; // in-tree takes it for uprobes, which oxbpf does not have
            }
            s.test(&format!("type {}: {name}", ty.0), || {
                both.same(|b| verdict(b, ty, insns)).map(|_| ())
            });
        }
    }
}
