// SPDX-License-Identifier: GPL-2.0

//! The same programs through the running kernel's own bpf(2).

use crate::inputs::Input;
use oxbpf::{Bpf, TestRun};
use oxbpf_core::abi::ProgType;
use oxbpf_fixtures::{bpf, Fixture};

/// What the kernel says.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Refused: errno, log.
    Refused(i32, String),
    /// Accepted; what a run of it on the plain input returned, where such a program can be run.
    Accepted(Option<u32>),
}

/// Loads and runs a program.
pub fn ask(kernel: &Bpf, fixture: &Fixture) -> Answer {
    let (prog, _maps) = match bpf::load(kernel, fixture, 0) {
        Ok(loaded) => loaded,
        Err(_) => {
            // Again, for the text.
            return match bpf::load(kernel, fixture, 1) {
                Ok(_) => Answer::Accepted(None),
                Err(e) => Answer::Refused(e.errno.0, e.log),
            };
        }
    };
    if matches!(
        fixture.prog_type,
        ProgType::Kprobe | ProgType::Tracepoint | ProgType::PerfEvent | ProgType::RawTracepoint
    ) {
        return Answer::Accepted(None);
    }
    let input = Input::plain();
    let run = prog.test_run(&TestRun {
        data_in: &input.packet,
        ..TestRun::default()
    });
    Answer::Accepted(run.ok().map(|r| r.retval))
}

/// Whether a run's result is the same each time: no helper gives numbers of its own.
///
/// What a pointer to a hash table's value shows when the entry is replaced is not said anywhere: in
/// the kernel the old value until its memory is used again, in the machine the new one. So programs
/// that replace entries are left out.
pub fn repeatable(fixture: &Fixture) -> bool {
    let hash = fixture.maps.iter().any(|map| map.ty == 1);
    fixture
        .insns
        .iter()
        .all(|i| match (i.code, i.src(), i.imm) {
            (0x85, 0, 2 | 3) => !hash,
            (0x85, 0, 1 | 26) => true,
            (0x85, 0, _) => false,
            _ => true,
        })
}
