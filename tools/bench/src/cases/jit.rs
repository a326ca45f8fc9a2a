// SPDX-License-Identifier: GPL-2.0

//! The compilers alone: what machine code costs an instruction of the program.
//!
//! In-tree's is the time that the kernel's function graph tracer gives for its compiler's one function;
//! ours cannot be seen by that tracer, so it is loading with compilation less loading without, which
//! includes the allocation of the image.

use super::load::{diamonds, lookups, packet, straight, time_of};
use super::{create, Case, Figure, Missing, Outcome};
use oxbpf::{Bpf, MapSpec, MapType, ProgSpec, ProgType, Slot};
use std::fs;

const GROUP: &str = "compiler";
const UNIT: &str = "insns/insn";
const TRACING: &str = "/sys/kernel/tracing";
const COMPILER: &str = "bpf_int_jit_compile";
const PARAMETER: &str = "/sys/module/oxbpf/parameters/jit";

fn write(path: &str, what: &str) -> Result<(), Missing> {
    fs::write(path, what).map_err(|e| Missing::Unsupported(format!("{path}: {e}")))
}

/// Nanoseconds, which are instructions here, of one call of the compiler.
fn traced(load: impl FnOnce() -> Result<(), Missing>) -> Result<f64, Missing> {
    let set = |file: &str, what: &str| write(&format!("{TRACING}/{file}"), what);
    set("set_ftrace_filter", COMPILER)?;
    set("current_tracer", "function_graph")?;
    set("trace", "")?;
    let loaded = load();
    let trace = fs::read_to_string(format!("{TRACING}/trace"));
    set("current_tracer", "nop")?;
    set("set_ftrace_filter", "")?;
    loaded?;
    let trace = trace.map_err(|e| e.to_string())?;
    // `0) # 1234.567 us |  bpf_int_jit_compile();`
    let line = trace.lines().find(|l| l.contains(COMPILER));
    let words = line.map(|l| l.split_whitespace().collect::<Vec<_>>());
    let us = words.and_then(|w| {
        let at = w.iter().position(|x| *x == "us")?;
        w.get(at.checked_sub(1)?)?.parse::<f64>().ok()
    });
    us.map(|us| us * 1000.0).ok_or(Missing::Unsupported(
        "the tracer shows no compiler".to_owned(),
    ))
}

fn measure(bpf: &Bpf, insns: &[Slot]) -> Outcome {
    let ticks = if bpf.name() == "in-tree" {
        traced(|| {
            bpf.prog_load(&ProgSpec::new(ProgType::SCHED_CLS, insns))?;
            Ok(())
        })?
    } else {
        let compiled = time_of(bpf, insns)?;
        write(PARAMETER, "off")?;
        let interpreted = time_of(bpf, insns);
        write(PARAMETER, "on")?;
        compiled - interpreted?
    };
    Ok(Figure {
        ticks: ticks / insns.len() as f64,
        bytes: None,
    })
}

fn case(name: &str, write: impl Fn() -> Vec<Slot> + 'static) -> Case {
    Case::of_kernel(GROUP, name, UNIT, None, move |b| measure(b, &write()))
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        case("straight line, 1000", || straight(1000)),
        case("diamonds, 1000", || diamonds(1000)),
        case("packet checks, 100", || packet(100)),
        Case::of_kernel(GROUP, "map lookups, 400", UNIT, None, |b| {
            let map = create(b, &MapSpec::new(MapType::HASH, 8, 8, 16))?;
            measure(b, &lookups(400, &map))
        }),
    ]
}
