// SPDX-License-Identifier: GPL-2.0

//! Runs the kernel tree's verifier tests through oxbpf's verifier and says where they differ.
//!
//! usage: oxbpf-corpus TESTS [-v] [-i] [-l LEVEL] [-t NAME] [-m COUNT [-s SEED]]
//!
//!        oxbpf-corpus -b
//!
//! TESTS is what build.sh wrote. Each test is verified as root and, where the tests say something
//! about it, without capabilities. `-t` runs the tests whose name contains NAME and prints their
//! logs, `-v` prints the log of every difference. `-i` compares with the running kernel's own
//! bpf(2) instead: verdict, instructions processed and time (needs root). `-m` does that with COUNT
//! programs made from the tests by random changes, and shows what oxbpf alone accepts. `-b` compares
//! the time for programs of its own, of several shapes and sizes.

mod bench;
mod exec;
mod in_tree;
mod mutate;
mod ours;
mod read;

use ours::Loader;
use read::{Expect, Test};
use std::collections::BTreeMap;
use std::process::ExitCode;

/// Percent of verdicts, and of texts, that must be as the tests expect.
const VERDICT_FLOOR: usize = 98;
const TEXT_FLOOR: usize = 95;

/// What the tests of one kind of loader came to.
#[derive(Default)]
struct Tally {
    run: usize,
    verdict: usize,
    text: usize,
    text_wanted: usize,
    unsafe_accepts: Vec<String>,
    results: usize,
    native: usize,
    results_differ: usize,
    not_run: BTreeMap<&'static str, usize>,
    /// File, name and reason of each test whose verdict or text differs.
    differences: Vec<String>,
    unexplained: usize,
    skipped: BTreeMap<String, usize>,
}

/// All of the expected parts, in order.
fn contains(log: &str, expected: &str) -> bool {
    let mut rest = log;
    expected.split('\t').all(|part| match rest.find(part) {
        Some(at) => {
            rest = &rest[at + part.len()..];
            true
        }
        None => false,
    })
}

/// Why oxbpf cannot take part in the test, if so.
fn skip_reason(t: &Test) -> Option<String> {
    if ours::prog_type(t.prog_type).is_none() {
        return Some(format!("program type {}", t.prog_type));
    }
    if t.needs_btf {
        return Some("needs BTF".to_owned());
    }
    t.maps
        .iter()
        .find(|(_, kind)| ours::facts(kind).is_none())
        .map(|(_, kind)| format!("map type of {kind}"))
}

/// Why a test may differ, if there is a reason that is known.
fn reason(log: &str, wanted: &str) -> Option<String> {
    if wanted.contains("mark_precise") {
        return Some("nothing is walked back, so no line tells of it".to_owned());
    }
    let helper = "program of this type cannot use helper ";
    let at = log.find(helper)?;
    let name = log[at + helper.len()..].lines().next()?;
    Some(format!("{name} has no body"))
}

/// Instructions processed, as the log's last line says.
fn processed(log: &str) -> Option<u64> {
    let line = log.lines().rev().find(|l| l.starts_with("processed "))?;
    line.split(' ').nth(1)?.parse().ok()
}

/// Runs every test here and in the running kernel.
fn compare(tests: &[Test], only: Option<&str>, level: u32) -> ExitCode {
    let mut both = 0u32;
    let mut same = 0u32;
    let (mut our_insns, mut their_insns) = (0, 0);
    let mut ratios = Vec::new();
    for t in tests {
        if only.is_some_and(|o| !t.name.contains(o)) || skip_reason(t).is_some() {
            continue;
        }
        let Some(ty) = ours::prog_type(t.prog_type) else {
            continue;
        };
        let Some(theirs) = in_tree::run(t, level) else {
            println!("{}: no maps", t.name);
            continue;
        };
        let ours = ours::run(t, ty, Loader::Root, level);
        both += 1;
        if ours.verdict == theirs.verdict {
            same += 1;
        } else {
            println!(
                "{}: {}: oxbpf {:?}, in-tree {:?}",
                t.file, t.name, ours.verdict, theirs.verdict
            );
            let last = |log: &str| log.lines().rev().nth(1).unwrap_or("").to_owned();
            println!("    oxbpf:   {}", last(&ours.log));
            println!("    in-tree: {}", last(&theirs.log));
        }
        let (Some(a), Some(b)) = (processed(&ours.log), processed(&theirs.log)) else {
            continue;
        };
        if ours.verdict.is_ok() && theirs.verdict.is_ok() {
            our_insns += a;
            their_insns += b;
            if a != b {
                println!("{}: {}: {a} insns, in-tree {b}", t.file, t.name);
            }
            ratios.push((ours.time.as_secs_f64() / theirs.time.as_secs_f64()).ln());
            if only.is_some() || theirs.time.as_millis() > 20 || ours.time.as_millis() > 20 {
                println!(
                    "{}: {}: {:?}, in-tree {:?}",
                    t.file, t.name, ours.time, theirs.time
                );
            }
        }
    }
    let mean = ratios.iter().sum::<f64>() / ratios.len().max(1) as f64;
    println!(
        "{both} in both: same verdict {same}; accepted by both: {our_insns} insns processed, \
         in-tree {their_insns}; time {:.3} of in-tree's on geometric mean (system call included \
         there only)",
        mean.exp()
    );
    ExitCode::SUCCESS
}

/// Compares verdicts on changed tests.
fn fuzz(tests: &[Test], count: u64, seed: u64) -> ExitCode {
    let usable: Vec<&Test> = tests
        .iter()
        .filter(|t| skip_reason(t).is_none() && t.insns.len() < 200)
        .collect();
    let mut rng = mutate::Rng::new(seed);
    let (mut both, mut neither, mut only_theirs, mut only_ours) = (0, 0, 0, 0);
    let mut reasons: BTreeMap<String, u64> = BTreeMap::new();
    for n in 0..count {
        let base = usable[rng.below(usable.len())];
        let t = mutate::mutate(base, &mut rng, &usable);
        let Some(ty) = ours::prog_type(t.prog_type) else {
            continue;
        };
        let ours = ours::run(&t, ty, Loader::Root, 1);
        let Some(theirs) = in_tree::run(&t, 1) else {
            continue;
        };
        match (ours.verdict, theirs.verdict) {
            (Ok(()), Ok(())) => both += 1,
            (Err(_), Err(_)) => neither += 1,
            (Err(e), Ok(())) => {
                only_theirs += 1;
                let why = ours.log.lines().rev().nth(1).unwrap_or("").to_owned();
                let why: String = why
                    .chars()
                    .map(|c| if c.is_ascii_digit() { 'N' } else { c })
                    .collect();
                *reasons.entry(format!("errno {e}: {why}")).or_default() += 1;
            }
            (Ok(()), Err(e)) => {
                only_ours += 1;
                println!("--- only oxbpf accepts (in-tree {e}), program {n} of seed {seed}:");
                println!("    from {}: {}", t.file, t.name);
                for l in theirs.log.lines() {
                    println!("    in-tree: {l}");
                }
            }
        }
    }
    println!(
        "{count} programs: accepted by both {both}, by neither {neither}, by in-tree only \
         {only_theirs}, by oxbpf only {only_ours}"
    );
    for (why, n) in &reasons {
        println!("in-tree only: {n} x {why}");
    }
    ExitCode::SUCCESS
}

fn main() -> ExitCode {
    let mut path = None;
    let mut verbose = false;
    let mut side_by_side = false;
    let mut mutants = None;
    let mut seed = 1;
    let mut level = None;
    let mut only = None;
    let mut args = std::env::args().skip(1);
    while let Some(a) = args.next() {
        match a.as_str() {
            "-v" => verbose = true,
            "-i" => side_by_side = true,
            "-b" => return compare(&bench::tests(), Some(""), level.unwrap_or(4)),
            "-m" => mutants = args.next().and_then(|n| n.parse::<u64>().ok()),
            "-s" => seed = args.next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(1),
            "-l" => level = args.next().and_then(|l| l.parse::<u32>().ok()),
            "-t" => only = args.next(),
            _ => path = Some(a),
        }
    }
    let Some(path) = path else {
        eprintln!("usage: oxbpf-corpus TESTS [-v] [-i] [-l LEVEL] [-t NAME]");
        return ExitCode::from(2);
    };
    let tests = match std::fs::read_to_string(&path)
        .map_err(|e| e.to_string())
        .and_then(|s| read::tests(&s))
    {
        Ok(t) => t,
        Err(e) => {
            eprintln!("oxbpf-corpus: {path}: {e}");
            return ExitCode::from(2);
        }
    };

    if let Some(count) = mutants {
        return fuzz(&tests, count, seed);
    }
    if side_by_side {
        return compare(&tests, only.as_deref(), level.unwrap_or(4));
    }
    let mut safe = true;
    for loader in [Loader::Root, Loader::Unprivileged] {
        let mut tally = Tally::default();
        for t in &tests {
            if only.as_ref().is_some_and(|o| !t.name.contains(o)) {
                continue;
            }
            let (expect, text) = match loader {
                Loader::Root => (t.result, &t.err),
                Loader::Unprivileged => (
                    if t.result_unpriv == Expect::Undefined {
                        t.result
                    } else {
                        t.result_unpriv
                    },
                    if t.err_unpriv.is_some() {
                        &t.err_unpriv
                    } else {
                        &t.err
                    },
                ),
            };
            // Other types need capabilities.
            if loader == Loader::Unprivileged && !matches!(t.prog_type, 1 | 8) {
                continue;
            }
            if let Some(why) = skip_reason(t) {
                *tally.skipped.entry(why).or_default() += 1;
                continue;
            }
            let Some(ty) = ours::prog_type(t.prog_type) else {
                continue;
            };
            let level = level.unwrap_or(if expect == Expect::VerboseAccept {
                2
            } else {
                1
            });
            let out = ours::run(t, ty, loader, level);
            tally.run += 1;
            let same = out.verdict.is_ok() == expect.accepts();
            tally.verdict += usize::from(same);
            let wanted = match expect {
                Expect::Reject | Expect::VerboseAccept => text.as_deref().filter(|s| !s.is_empty()),
                Expect::Accept | Expect::Undefined => None,
            };
            let text_ok = wanted.is_none_or(|w| contains(&out.log, w));
            if wanted.is_some() {
                tally.text_wanted += 1;
                tally.text += usize::from(text_ok);
            }
            if expect.accepts() && out.verdict.is_ok() {
                let runs = exec::run(t, ty, loader);
                tally.results += runs.same;
                tally.native += runs.native;
                tally.results_differ += runs.different.len();
                if let Some(why) = runs.left_out {
                    *tally.not_run.entry(why).or_default() += 1;
                }
                for what in &runs.different {
                    println!("{:?}: {}: {}: {what}", loader, t.file, t.name);
                }
            }
            if !same && out.verdict.is_ok() {
                tally.unsafe_accepts.push(t.name.clone());
            }
            if !same || !text_ok {
                let why = reason(&out.log, wanted.unwrap_or(""));
                tally.unexplained += usize::from(why.is_none());
                let what = if same { "text" } else { "verdict" };
                tally.differences.push(format!(
                    "{}: {}: {what}: {}",
                    t.file,
                    t.name,
                    why.as_deref().unwrap_or("no reason known")
                ));
                println!(
                    "{:?}: {}: {}: {} {:?}, expected {:?} {:?}",
                    loader,
                    t.file,
                    t.name,
                    if same { "text differs," } else { "got" },
                    out.verdict,
                    expect,
                    wanted.unwrap_or("")
                );
                let lines: Vec<&str> = out.log.lines().collect();
                let tail = if verbose { lines.len() } else { 3 };
                for l in lines.iter().skip(lines.len().saturating_sub(tail)) {
                    println!("    {l}");
                }
            } else if only.is_some() {
                println!("{:?}: {}: as expected, {:?}", loader, t.name, out.time);
                print!("{}", out.log);
            }
            if out.time.as_millis() > 500 {
                println!("{:?}: {}: took {:?}", loader, t.name, out.time);
            }
        }
        println!(
            "{:?}: {} run: verdict as in-tree {}, text {} of {}",
            loader, tally.run, tally.verdict, tally.text, tally.text_wanted
        );
        println!(
            "{:?} run: {} results as expected, {} not; {} results of machine code",
            loader, tally.results, tally.results_differ, tally.native
        );
        for (why, n) in &tally.not_run {
            println!("{loader:?}: accepted but not run {n}: {why}");
        }
        if tally.results_differ > 0 {
            safe = false;
        }
        for (why, n) in &tally.skipped {
            println!("{loader:?}: skipped {n}: {why}");
        }
        if tally.verdict * 100 < tally.run * VERDICT_FLOOR
            || tally.text * 100 < tally.text_wanted * TEXT_FLOOR
        {
            println!("{loader:?}: too few are as expected");
            safe = false;
        }
        for row in &tally.differences {
            println!("{loader:?}: difference: {row}");
        }
        if tally.unexplained > 0 {
            println!(
                "{loader:?}: {} differences without a reason",
                tally.unexplained
            );
            safe = false;
        }
        if !tally.unsafe_accepts.is_empty() {
            safe = false;
            println!(
                "{:?}: accepted though in-tree refuses: {}",
                loader,
                tally.unsafe_accepts.join("; ")
            );
        }
    }
    if safe {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
