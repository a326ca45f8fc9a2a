// SPDX-License-Identifier: GPL-2.0

//! Times cases of `oxbpf-bench` in nanoseconds on the host: oxbpf's verifier, compiler, machine code and
//! maps in this process beside the bpf(2) of the running kernel, which loads and runs programs and attaches
//! nothing.
//!
//! ```text
//! oxbpf-bench-native [PATTERN...]
//! ```
//!
//! Prints lines as `oxbpf-bench` does. Each case is measured several times, both sides in turn, and the
//! middle one of each side's figures counts: what disturbs the machine disturbs both.

mod ours;
#[cfg(test)]
mod tests;

use ours::Native;
use oxbpf::Bpf;
use oxbpf_bench::cases::{self, Figure, Missing, Outcome};
use oxbpf_bench::subject::Subject;
use oxbpf_bench::{clock, columns, is_wanted};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// How often each side is measured; odd.
const PASSES: usize = 5;

/// Ticks of the time stamp counter a nanosecond.
fn ticks_per_ns() -> f64 {
    let (start, from) = (Instant::now(), clock::now());
    while start.elapsed() < Duration::from_millis(100) {}
    (clock::now() - from) as f64 / start.elapsed().as_nanos() as f64
}

/// The middle one of the figures, unless one is missing.
fn middle(mut outcomes: Vec<Outcome>) -> Outcome {
    if let Some(missing) = outcomes.iter().position(Result::is_err) {
        return outcomes.swap_remove(missing);
    }
    let mut figures: Vec<Figure> = outcomes.into_iter().flatten().collect();
    figures.sort_by(|a, b| a.ticks.total_cmp(&b.ticks));
    let middle = figures.len() / 2;
    figures
        .get(middle)
        .copied()
        .ok_or(Missing::Failed("never measured".to_owned()))
}

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let rate = ticks_per_ns();
    let both: [Box<dyn Subject>; 2] = [Box::new(Bpf::in_tree()), Box::<Native>::default()];
    let mut failed = false;
    for case in cases::programs() {
        if !is_wanted(&case, &wanted) {
            continue;
        }
        let mut outcomes = [Vec::new(), Vec::new()];
        'case: for _ in 0..PASSES {
            for (subject, outcomes) in both.iter().zip(&mut outcomes) {
                let outcome = (case.run)(&**subject).map(|f| Figure {
                    ticks: f.ticks / rate,
                    ..f
                });
                let missing = outcome.is_err();
                outcomes.push(outcome);
                if missing {
                    break 'case;
                }
            }
        }
        let unit = case.unit.replace("insns", "ns");
        let mut line = format!("{}\t{}\t{unit}\t-", case.group, case.name);
        let mut there = true;
        for (subject, outcomes) in both.iter().zip(outcomes) {
            let outcome = middle(outcomes);
            let (id, name) = (format!("{}/{}", case.group, case.name), subject.name());
            match &outcome {
                Ok(_) => {}
                Err(Missing::Unsupported(why)) => {
                    there = false;
                    println!("# {id}: {name}: {why}");
                }
                Err(Missing::Failed(why)) => {
                    // The other side's may be the only one that was begun.
                    if there {
                        failed = true;
                        println!("# {id}: {name} FAILED: {why}");
                    }
                    there = false;
                }
            }
            line += &columns(&outcome);
        }
        if there {
            println!("{line}");
        }
    }
    match failed {
        true => ExitCode::FAILURE,
        false => ExitCode::SUCCESS,
    }
}
