// SPDX-License-Identifier: GPL-2.0

//! Probes: what a system call costs more when a function in it is probed.
//!
//! The kernel has two ways to attach a kprobe program: a link to many functions, which oxbpf has
//! too, and a perf event, which alone can be inside a function. oxbpf's link is the peer of both.

use super::{load_probe, Case, Figure, Missing, Outcome};
use crate::asm::*;
use crate::clock::per_round;
use crate::perf;
use oxbpf::link::KPROBE_MULTI_RETURN;
use oxbpf::{Bpf, Prog};

const GROUP: &str = "probes";
const UNIT: &str = "insns/hit";
const FUNCTION: &str = "__x64_sys_getppid";

/// Ticks of the system call.
fn call() -> f64 {
    per_round(|n| {
        for _ in 0..n {
            // SAFETY: the call takes nothing and changes nothing.
            std::hint::black_box(unsafe { libc::syscall(libc::SYS_getppid) });
        }
    })
}

/// What `attach` makes a call cost more, with a program that does nothing.
fn measure<L>(
    bpf: &Bpf,
    multi: bool,
    attach: impl FnOnce(&Prog) -> Result<L, oxbpf::Errno>,
) -> Outcome {
    let mut a = Asm::new();
    a.mov(R0, 0);
    a.exit();
    let prog = load_probe(bpf, &a.finish(), multi)?;
    let bare = call();
    let link = attach(&prog).map_err(|e| Missing::Unsupported(format!("attach: {e}")))?;
    let probed = call();
    drop(link);
    Ok(Figure {
        ticks: probed - bare,
        bytes: None,
    })
}

/// By a link.
fn linked(bpf: &Bpf, place: &str, flags: u32) -> Outcome {
    measure(bpf, true, |prog| prog.attach_kprobes(&[place], flags))
}

/// By a perf event in-tree, by a link in oxbpf.
fn evented(bpf: &Bpf, offset: u64, at_return: bool) -> Outcome {
    if bpf.name() == "in-tree" {
        return measure(bpf, false, |prog| {
            perf::attach(prog, FUNCTION, offset, at_return)
        });
    }
    let flags = if at_return { KPROBE_MULTI_RETURN } else { 0 };
    if offset == 0 {
        linked(bpf, FUNCTION, flags)
    } else {
        linked(bpf, &format!("{FUNCTION}+{offset:#x}"), flags)
    }
}

pub(super) fn cases() -> Vec<Case> {
    // Behind ENDBR and ftrace's call.
    const INSIDE: u64 = 9;
    vec![
        Case::of_kernel(GROUP, "kprobe, link", UNIT, None, |b| {
            linked(b, FUNCTION, 0)
        }),
        Case::of_kernel(GROUP, "kprobe, perf event", UNIT, 331.0, |b| {
            evented(b, 0, false)
        }),
        Case::of_kernel(GROUP, "kprobe by int3, perf event", UNIT, 686.0, |b| {
            evented(b, INSIDE, false)
        }),
        Case::of_kernel(GROUP, "kretprobe, link", UNIT, None, |b| {
            linked(b, FUNCTION, KPROBE_MULTI_RETURN)
        }),
        Case::of_kernel(GROUP, "kretprobe, perf event", UNIT, 642.0, |b| {
            evented(b, 0, true)
        }),
    ]
}
