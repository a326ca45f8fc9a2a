// SPDX-License-Identifier: GPL-2.0

//! The fixtures, and every operation on edge operands: verdict, log, and what runs give.

use crate::both::Both;
use crate::ktap::Suite;
use oxbpf::{Bpf, Errno, TestRun};
use oxbpf_fixtures::conformance::{programs, Vectors};
use oxbpf_fixtures::{bpf, default_dir, load, Fixture, Verdict};

/// The suite.
pub fn suite(s: &mut Suite) {
    let both = Both::open();
    let fixtures = match load(&default_dir()) {
        Ok(fixtures) => fixtures,
        Err(e) => {
            s.test("fixtures can be read", || Err(e.to_string()));
            return;
        }
    };
    let interpreted = std::fs::read_to_string("/sys/module/oxbpf/parameters/jit")
        .is_ok_and(|mode| mode.trim() == "off");
    for fixture in &fixtures {
        s.test(&fixture.name, || {
            if interpreted && joins_tail_calls_and_subprograms(fixture) {
                refused_by_interpreter(&both.ours, fixture)?;
            } else {
                bpf::check(&both.ours, fixture, fixture.oxbpf_verdict())?;
            }
            if !bpf::is_answered_here(fixture) {
                return Ok(());
            }
            bpf::check(&both.theirs, fixture, &fixture.verdict)
                .map_err(|difference| format!("in-tree: {difference}"))
        });
    }
    for (index, vectors) in programs().iter().enumerate() {
        let name = format!("operations {index} ({} results)", vectors.labels.len());
        s.test(&name, || compare(&both, vectors));
    }
}

/// The interpreter runs no such programs.
fn joins_tail_calls_and_subprograms(fixture: &Fixture) -> bool {
    let accepted = !matches!(fixture.oxbpf_verdict(), Verdict::Refuse { .. });
    let has = |code: u8, src: u8, imm: Option<i32>| {
        fixture
            .insns
            .iter()
            .any(|i| i.code == code && i.regs >> 4 == src && imm.is_none_or(|imm| i.imm == imm))
    };
    // Called, or a helper's callback.
    let subprograms = has(0x85, 1, None) || has(0x18, 4, None);
    accepted && has(0x85, 0, Some(12)) && subprograms
}

/// The verifier accepts it, and then the load is refused.
fn refused_by_interpreter(bpf: &Bpf, fixture: &Fixture) -> Result<(), String> {
    match bpf::load(bpf, fixture, 1) {
        Err(e) if e.errno == Errno(libc::EINVAL) && e.log.starts_with("processed ") => Ok(()),
        Err(e) => Err(format!("{}, {}", e.errno, e.log)),
        Ok(_) => Err("loaded for the interpreter".to_string()),
    }
}

/// The map's value after a run.
fn run(bpf: &Bpf, fixture: &Fixture) -> Result<Vec<u8>, String> {
    let (prog, maps) = bpf::load(bpf, fixture, 0).map_err(|e| format!("load: {e}"))?;
    let input = TestRun {
        data_in: &[0; 64],
        ..TestRun::default()
    };
    prog.test_run(&input).map_err(|e| format!("run: {e}"))?;
    let map = maps.first().ok_or("no map")?;
    map.lookup(&[0; 4]).map_err(|e| format!("lookup: {e}"))
}

fn compare(both: &Both, vectors: &Vectors) -> Result<(), String> {
    let fixture = vectors.fixture("operations");
    let theirs = run(&both.theirs, &fixture).map_err(|e| format!("in-tree: {e}"))?;
    let ours = run(&both.ours, &fixture)?;
    let mut different = String::new();
    for ((label, ours), (_, theirs)) in vectors.results(&ours).zip(vectors.results(&theirs)) {
        if ours != theirs && different.len() < 2000 {
            different += &format!("{label}: {ours:#x}, in-tree {theirs:#x}\n");
        }
    }
    if different.is_empty() {
        Ok(())
    } else {
        Err(different)
    }
}
