// SPDX-License-Identifier: GPL-2.0

//! The fixtures, and every operation on edge operands: verdict, log, and what runs give.

use crate::both::Both;
use crate::ktap::Suite;
use oxbpf::{Bpf, TestRun};
use oxbpf_fixtures::conformance::{programs, Vectors};
use oxbpf_fixtures::{bpf, default_dir, load, Fixture};

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
    for fixture in &fixtures {
        s.test(&fixture.name, || {
            bpf::check(&both.ours, fixture, fixture.oxbpf_verdict())?;
            if bpf::kernel_version() < fixture.since {
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
