// SPDX-License-Identifier: GPL-2.0

//! KTAP output (Documentation/dev-tools/ktap.rst in the kernel tree).

use std::panic::{catch_unwind, AssertUnwindSafe};

/// How often to do what is done often only for volume: `count`, or `OXBPF_VOLUME` per cent of it, as
/// the debug kernel is slow; once at least.
pub fn volume(count: u64) -> u64 {
    let percent = std::env::var("OXBPF_VOLUME").ok();
    let percent = percent.and_then(|v| v.parse().ok()).unwrap_or(100);
    (count.saturating_mul(percent) / 100).max(1)
}

/// How many seconds to go on with what takes a while: `OXBPF_SECONDS`, or else 3.
pub fn seconds() -> u64 {
    let given = std::env::var("OXBPF_SECONDS").ok();
    given.and_then(|s| s.parse().ok()).unwrap_or(3)
}

/// The running list of tests.
pub struct Suite {
    /// Stands before each test's name.
    pub prefix: String,
    /// Only every so many-th test is run; 1 is all.
    pub every: u64,
    /// Only tests whose names have this in them: `OXBPF_ONLY`.
    only: Option<String>,
    seen: u64,
    run: u32,
    failed: u32,
}

impl Suite {
    /// Prints the header.
    pub fn start() -> Suite {
        println!("KTAP version 1");
        Suite {
            prefix: String::new(),
            every: 1,
            only: std::env::var("OXBPF_ONLY").ok(),
            seen: 0,
            run: 0,
            failed: 0,
        }
    }

    /// Runs one test; what it returns or panics with as an error is printed as diagnosis.
    pub fn test(&mut self, name: &str, f: impl FnOnce() -> Result<(), String>) {
        if self.only.as_ref().is_some_and(|only| !name.contains(only)) {
            return;
        }
        self.seen += 1;
        if self.every > 1 && self.seen % self.every != 0 {
            return;
        }
        self.run += 1;
        let verdict = catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|p| {
            Err(p
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| p.downcast_ref::<&str>().map(|s| (*s).to_string()))
                .unwrap_or_else(|| "panic".to_string()))
        });
        let number = self.run;
        let prefix = &self.prefix;
        match verdict {
            Ok(()) => println!("ok {number} {prefix}: {name}"),
            Err(why) => {
                self.failed += 1;
                for line in why.lines() {
                    println!("# {line}");
                }
                println!("not ok {number} {prefix}: {name}");
            }
        }
    }

    /// One test that was not run, and why.
    pub fn skip(&mut self, name: &str, why: &str) {
        self.run += 1;
        println!("ok {} {}: {name} # SKIP {why}", self.run, self.prefix);
    }

    /// Prints the plan; true when nothing failed and something ran.
    pub fn finish(self) -> bool {
        println!("1..{}", self.run);
        self.failed == 0 && self.run > 0
    }
}
