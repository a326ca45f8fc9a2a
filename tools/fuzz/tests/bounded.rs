// SPDX-License-Identifier: GPL-2.0

//! Fixed seeds, every time the same programs.

use oxbpf_fuzz::campaign::{run, Plan};
use std::time::Duration;

/// Time that the test may take; the figure for a loaded machine is the programs.
const LIMIT: Duration = Duration::from_secs(40);

#[test]
fn accepted_programs_do_what_the_verifier_says() {
    let fixtures = oxbpf_fixtures::load(&oxbpf_fixtures::default_dir());
    let plan = Plan {
        seed: 1,
        programs: 4000,
        time: LIMIT,
        inputs: 3,
        // Without clang there are no fixtures to change.
        corpus: fixtures.unwrap_or_default(),
        quiet: true,
        ..Plan::default()
    };
    let tally = run(&plan);
    println!("{tally}");
    for text in &tally.wrong {
        eprintln!("{text}");
    }
    assert!(tally.wrong.is_empty());
    // Most programs are to reach the machine.
    assert!(tally.accepted * 3 > tally.programs);
}
