// SPDX-License-Identifier: GPL-2.0

//! `oxbpf-fuzz [--seed N] [--programs N] [--seconds N] [--inputs N] [--no-kernel] [--show SEED]`

#![forbid(unsafe_code)]

use oxbpf_fuzz::campaign::{self, Plan};
use std::process::ExitCode;
use std::time::Duration;

const USAGE: &str = "usage: oxbpf-fuzz [--seed N] [--programs N] [--seconds N] [--inputs N] \
                     [--no-kernel] [--quiet] [--show N]";

fn main() -> ExitCode {
    let mut plan = Plan::default();
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut number = || args.next().and_then(|n| n.parse::<u64>().ok());
        let known = match arg.as_str() {
            "--seed" => number().map(|n| plan.seed = n),
            "--programs" => number().map(|n| plan.programs = n),
            "--seconds" => number().map(|n| plan.time = Duration::from_secs(n)),
            "--inputs" => number().map(|n| plan.inputs = n as usize),
            "--no-kernel" => {
                plan.kernel = false;
                Some(())
            }
            "--quiet" => {
                plan.quiet = true;
                Some(())
            }
            "--show" => {
                if let Some(n) = number() {
                    print!("{}", campaign::show(n));
                    return ExitCode::SUCCESS;
                }
                None
            }
            _ => None,
        };
        if known.is_none() {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    }
    let tally = campaign::run(&plan);
    println!("{tally}");
    if tally.wrong.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
