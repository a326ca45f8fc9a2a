// SPDX-License-Identifier: GPL-2.0

//! Cases that are measured with two implementations: what they are, and how a figure is made.

pub mod asm;
pub mod cases;
pub mod clock;
mod netlink;
mod perf;
pub mod subject;

use cases::Outcome;

/// The two columns of an outcome: ticks and code bytes, each behind a tab.
pub fn columns(outcome: &Outcome) -> String {
    match outcome {
        Ok(f) => {
            let bytes = f.bytes.map_or("-".to_owned(), |n| n.to_string());
            format!("\t{:.2}\t{bytes}", f.ticks)
        }
        Err(_) => "\t-\t-".to_owned(),
    }
}

/// Is the case `group/name` one of those wanted? All are but slow ones when none is named.
pub fn is_wanted(case: &cases::Case, wanted: &[String]) -> bool {
    let id = format!("{}/{}", case.group, case.name);
    match wanted {
        [] => !case.slow,
        _ => wanted.iter().any(|w| id.contains(w.as_str())),
    }
}
