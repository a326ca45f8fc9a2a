// SPDX-License-Identifier: GPL-2.0

//! Shows programs as eBPF and as machine code.
//!
//! ```text
//! oxbpf-dump [--in-tree] id NUMBER        a loaded program: each function's instructions, then its code
//! oxbpf-dump [--blind] fixture NAME...    compiles fixtures here: each instruction with its code
//! ```
//!
//! A fixture is named as the tests name it, `file/section`, or by a part of that.

mod code;
mod loaded;
mod offline;

use std::process::ExitCode;

const USAGE: &str = "usage: oxbpf-dump [--in-tree] id NUMBER | [--blind] fixture NAME...";

fn run(args: &[String]) -> Result<(), String> {
    let flag = |name: &str| args.iter().any(|a| a == name);
    let words: Vec<&str> = args
        .iter()
        .map(String::as_str)
        .filter(|a| !a.starts_with("--"))
        .collect();
    match words[..] {
        ["id", number] => {
            let id = number.parse().map_err(|_| format!("no number: {number}"))?;
            loaded::dump(id, flag("--in-tree"))
        }
        ["fixture", ref names @ ..] if !names.is_empty() => offline::dump(names, flag("--blind")),
        _ => Err(USAGE.to_string()),
    }
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            eprintln!("oxbpf-dump: {text}");
            ExitCode::FAILURE
        }
    }
}
