// SPDX-License-Identifier: GPL-2.0

//! Measures oxbpf and the kernel's own bpf(2) on the same cases, in the guest whose clock counts
//! instructions.
//!
//! ```text
//! oxbpf-bench [PATTERN...]
//! ```
//!
//! Prints a line a case: group, name, unit, noted figure, then ticks and code bytes of in-tree and
//! of oxbpf, separated by tabs; `-` where there is none. With patterns, only cases whose
//! `group/name` contains one; without, all but those that take minutes. Lines that begin with `#` say why a figure is missing.

use oxbpf::Bpf;
use oxbpf_bench::cases::{self, Missing};
use oxbpf_bench::{clock, columns, is_wanted};
use std::process::ExitCode;

/// Where the module's functions are, for who follows the steps.
fn show_symbols() {
    let all = std::fs::read_to_string("/proc/kallsyms").unwrap_or_default();
    for line in all.lines().filter(|l| l.ends_with("[oxbpf]")) {
        let mut words = line.split_whitespace();
        if let (Some(at), Some(_), Some(name)) = (words.next(), words.next(), words.next()) {
            println!("@sym {at} {name}");
        }
    }
}

fn main() -> ExitCode {
    let mut wanted: Vec<String> = std::env::args().skip(1).collect();
    if wanted.first().is_some_and(|w| w == "--steps") {
        wanted.remove(0);
        clock::only_steps();
        show_symbols();
    }
    let ours = match Bpf::oxbpf() {
        Ok(b) => b,
        Err(e) => {
            eprintln!("{}: {e}", oxbpf::DEVICE);
            return ExitCode::FAILURE;
        }
    };
    let both = [Bpf::in_tree(), ours];
    let mut failed = false;
    for case in cases::all() {
        let id = format!("{}/{}", case.group, case.name);
        if !is_wanted(&case, &wanted) {
            continue;
        }
        let mut line = format!("{}\t{}\t{}", case.group, case.name, case.unit);
        line += &case
            .noted
            .map_or("\t-".to_owned(), |noted| format!("\t{noted}"));
        for bpf in &both {
            let outcome = (case.run)(bpf);
            match &outcome {
                Ok(_) => {}
                Err(Missing::Unsupported(why)) => println!("# {id}: {}: {why}", bpf.name()),
                Err(Missing::Failed(why)) => {
                    failed = true;
                    println!("# {id}: {} FAILED: {why}", bpf.name());
                }
            }
            line += &columns(&outcome);
        }
        println!("{line}");
    }
    if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}
