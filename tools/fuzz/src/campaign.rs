// SPDX-License-Identifier: GPL-2.0

//! Many programs, one after the other.

use crate::in_tree::{ask, repeatable, Answer};
use crate::oracle::{
    check, check_native, check_with, has_sockets, listing, reaches, verifier_log, Outcome,
};
use crate::rng::Rng;
use crate::{gen, mutate};
use oxbpf_fixtures::bpf::tail;
use oxbpf_fixtures::host::options;
use oxbpf_fixtures::Fixture;
use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

/// What to do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// First seed.
    pub seed: u64,
    /// Programs at most.
    pub programs: u64,
    /// Time at most.
    pub time: Duration,
    /// Random inputs a program.
    pub inputs: usize,
    /// Ask the running kernel, if it lets us.
    pub kernel: bool,
    /// Programs that are given, to be mutated.
    pub corpus: Vec<Fixture>,
    /// Print nothing on the way.
    pub quiet: bool,
}

impl Default for Plan {
    fn default() -> Self {
        Plan {
            seed: 0,
            programs: u64::MAX,
            time: Duration::from_secs(60),
            inputs: 4,
            kernel: true,
            corpus: Vec::new(),
            quiet: false,
        }
    }
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Programs tried.
    pub programs: u64,
    /// Accepted by oxbpf.
    pub accepted: u64,
    /// Accepted by oxbpf for a loader that may not see pointers.
    pub unprivileged: u64,
    /// Run as machine code, with the interpreter's result.
    pub native: u64,
    /// Asked of the kernel.
    pub asked: u64,
    /// Accepted by both, refused by both.
    pub agreed: u64,
    /// Results compared with the kernel's.
    pub results: u64,
    /// Refused by oxbpf and accepted in-tree, by the last line of our log.
    pub stricter: BTreeMap<String, (u64, String)>,
    /// Accepted by oxbpf and refused in-tree, by the last line of the kernel's log.
    pub laxer: BTreeMap<String, (u64, String)>,
    /// Reasons of refusal.
    pub refusals: BTreeMap<String, u64>,
    /// Failed checks.
    pub wrong: Vec<String>,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} programs, {} accepted, {} also without the right to see pointers, {} compiled and run",
            self.programs, self.accepted, self.unprivileged, self.native
        )?;
        writeln!(
            f,
            "{} asked of the kernel, {} agreed, {} results compared",
            self.asked, self.agreed, self.results
        )?;
        for (what, table) in [
            ("refused here only", &self.stricter),
            ("accepted here only", &self.laxer),
        ] {
            for (reason, (count, first)) in table {
                writeln!(f, "{what}: {count} ({first}): {reason}")?;
            }
        }
        write!(f, "{} wrong", self.wrong.len())
    }
}

/// Runs of digits become `N`, so that reasons can be counted.
fn reason(log: &str) -> String {
    let line = log
        .trim_end()
        .lines()
        .rev()
        .find(|l| !l.starts_with("processed ") && !l.is_empty())
        .unwrap_or("");
    let mut out = String::new();
    let mut digits = false;
    for c in line.chars() {
        if c.is_ascii_digit() {
            if !digits {
                out.push('N');
            }
            digits = true;
        } else {
            out.push(c);
            digits = false;
        }
    }
    out.truncate(160);
    out
}

/// The slot of the last instruction in a log of level 2.
fn last_slot(log: &str) -> Option<usize> {
    log.lines().rev().find_map(|line| {
        let (slot, rest) = line.split_once(": ")?;
        rest.starts_with('(').then(|| slot.parse().ok())?
    })
}

/// Why a program that is accepted here was refused in-tree, as `log` tells: at something that no path
/// leads to, by what is known here, or else at what is taken for safe.
fn refused_at(fixture: &Fixture, log: &str) -> String {
    let unreached = last_slot(log).is_some_and(|at| !reaches(fixture, at));
    let place = if unreached { "not reached here: " } else { "" };
    format!("{place}{}", reason(log))
}

/// The program of that seed, as text.
pub fn show(seed: u64) -> String {
    let (fixture, _) = program(seed, &[]);
    let mut text = format!("{:?}\n{}", fixture.prog_type, listing(&fixture));
    match check(&fixture, &mut Rng::new(seed), 4) {
        Outcome::Refused(errno, log) => text.push_str(&format!("refused: {errno}\n{log}")),
        Outcome::Fine(results) => {
            text.push_str(&verifier_log(&fixture));
            text.push_str(&format!("fine: {results:x?}\n"));
        }
        Outcome::Wrong(what) => text.push_str(&what),
    }
    if let Some(kernel) = oxbpf_fixtures::bpf::in_tree() {
        match ask(&kernel, &fixture) {
            Answer::Accepted(result) => text.push_str(&format!("in-tree: {result:x?}\n")),
            Answer::Refused(errno, log) => {
                text.push_str(&format!("in-tree refuses: {errno}\n{log}"));
            }
        }
    }
    text
}

/// The program of that seed, perhaps one of `corpus` changed, and random numbers to go on with.
fn program(seed: u64, corpus: &[Fixture]) -> (Fixture, Rng) {
    let mut rng = Rng::new(seed ^ 0x5eed);
    let fixture = match rng.below(4) {
        0 if !corpus.is_empty() => mutate::mutate(&corpus[rng.below(corpus.len())], &mut rng),
        1 => mutate::mutate(&gen::program(seed), &mut rng),
        _ => gen::program(seed),
    };
    (fixture, rng)
}

/// Does it.
pub fn run(plan: &Plan) -> Tally {
    let start = Instant::now();
    let kernel = if plan.kernel {
        oxbpf_fixtures::bpf::in_tree()
    } else {
        None
    };
    let mut tally = Tally::default();
    let mut last = Instant::now();
    let mut seed = plan.seed;
    while tally.programs < plan.programs && start.elapsed() < plan.time {
        let (fixture, mut rng) = program(seed, &plan.corpus);
        one(plan, &kernel, &fixture, &mut rng, &mut tally);
        seed += 1;
        if !plan.quiet && last.elapsed() > Duration::from_secs(10) {
            last = Instant::now();
            println!(
                "{:4} s: {} programs, {} accepted, {} wrong",
                start.elapsed().as_secs(),
                tally.programs,
                tally.accepted,
                tally.wrong.len()
            );
        }
    }
    tally
}

fn one(
    plan: &Plan,
    kernel: &Option<oxbpf::Bpf>,
    fixture: &Fixture,
    rng: &mut Rng,
    tally: &mut Tally,
) {
    tally.programs += 1;
    let outcome = check(fixture, rng, plan.inputs);
    let wrong = |tally: &mut Tally, text: String| {
        if !plan.quiet {
            println!("WRONG {text}");
        }
        tally.wrong.push(text);
    };
    // Without the right to see pointers a result depends on neither addresses nor what was on the
    // stack before.
    let mut pure = false;
    match &outcome {
        Outcome::Wrong(text) => return wrong(tally, text.clone()),
        Outcome::Refused(_, log) => *tally.refusals.entry(reason(log)).or_default() += 1,
        Outcome::Fine(_) => {
            tally.accepted += 1;
            let mut options = options(fixture);
            options.allow_ptr_leaks = false;
            match check_with(fixture, &options, rng, 1) {
                Outcome::Wrong(text) => return wrong(tally, format!("unprivileged: {text}")),
                Outcome::Fine(_) => {
                    tally.unprivileged += 1;
                    pure = true;
                }
                Outcome::Refused(..) => {}
            }
        }
    }
    if let (Outcome::Fine(results), true) = (&outcome, pure && repeatable(fixture)) {
        match results.first().map(|r| r.map(|r| check_native(fixture, r))) {
            Some(Some(Ok(true))) => tally.native += 1,
            Some(Some(Err(text))) => wrong(tally, text),
            _ => {}
        }
    }
    let Some(kernel) = kernel else { return };
    tally.asked += 1;
    let note = |table: &mut BTreeMap<String, (u64, String)>, key: String| {
        let row = table.entry(key).or_insert((0, fixture.name.clone()));
        row.0 += 1;
        row.0 == 1
    };
    match (outcome, ask(kernel, fixture)) {
        (Outcome::Refused(..), Answer::Refused(..)) => tally.agreed += 1,
        (Outcome::Refused(_, ours), Answer::Accepted(_)) => {
            note(&mut tally.stricter, reason(&ours));
        }
        (_, Answer::Refused(errno, log)) => {
            if note(&mut tally.laxer, refused_at(fixture, &log)) && !plan.quiet {
                println!(
                    "{}: accepted here, refused in-tree with {errno}:\n{}\n{}",
                    fixture.name,
                    listing(fixture),
                    tail(&log)
                );
            }
        }
        (Outcome::Fine(results), Answer::Accepted(theirs)) => {
            tally.agreed += 1;
            if let (Some(Some(ours)), Some(theirs), true) =
                (results.first(), theirs, pure && repeatable(fixture))
            {
                tally.results += 1;
                // The kernel's packets have sockets.
                if *ours as u32 != theirs && !has_sockets(fixture) {
                    let text = format!(
                        "{}: returns {:#x}, in-tree {theirs:#x}\n{}",
                        fixture.name,
                        *ours as u32,
                        listing(fixture)
                    );
                    wrong(tally, text);
                }
            }
        }
        (Outcome::Wrong(_), Answer::Accepted(_)) => {}
    }
}
