// SPDX-License-Identifier: GPL-2.0

//! Tests of the loaded module, each run through the kernel's own bpf(2) too.
//!
//! ```text
//! oxbpf-selftest [SUITE...]
//! oxbpf-selftest --fixture-objects DIR
//! ```
//!
//! Prints KTAP. A test passes when oxbpf answers as the kernel's own bpf(2) does in the same
//! situation: errno, value, verdict, log line, result of a run. Runs as root in the test VM.

mod batch;
mod both;
mod btf;
mod callbacks;
mod caps;
mod cgroups;
mod charges;
mod errno;
mod events;
mod faults;
mod fd_array;
mod fds;
mod fib;
mod fixtures;
mod fuzz;
mod hooks;
mod ids;
mod info;
mod inner;
mod insn;
mod jit;
mod kprobe;
mod ktap;
mod load;
mod locks;
mod map_types;
mod mapped;
mod maps;
mod memory;
mod objects;
mod packet;
mod pin;
mod prog;
mod release;
mod ringbuf;
mod run;
mod security;
mod shape;
mod socks;
mod stress;
mod table;
mod tail;
mod trace;
mod xdp;

use ktap::Suite;
use std::path::Path;
use std::process::ExitCode;

/// A suite's name, and what runs it.
type Entry = (&'static str, fn(&mut Suite));

const SUITES: &[Entry] = &[
    ("errno", errno::suite),
    ("maps", maps::suite),
    ("map_types", map_types::suite),
    ("batch", batch::suite),
    ("inner", inner::suite),
    ("events", events::suite),
    ("cgroups", cgroups::suite),
    ("charges", charges::suite),
    ("ids", ids::suite),
    ("btf", btf::suite),
    ("mapped", mapped::suite),
    ("ringbuf", ringbuf::suite),
    ("pin", pin::suite),
    ("load", load::suite),
    ("locks", locks::suite),
    ("run", run::suite),
    ("packet", packet::suite),
    ("xdp", xdp::suite),
    ("fib", fib::suite),
    ("socks", socks::suite),
    ("fixtures", fixtures::suite),
    ("tail", tail::suite),
    ("prog", prog::suite),
    ("release", release::suite),
    ("info", info::suite),
    ("jit", jit::suite),
    ("callbacks", callbacks::suite),
    ("caps", caps::suite),
    ("kprobe", kprobe::suite),
    ("hooks", hooks::suite),
    ("trace", trace::suite),
    ("fds", fds::suite),
    ("security", security::suite),
    ("faults", faults::suite),
    ("stress", stress::suite),
    ("fuzz", fuzz::suite),
];

/// Suites of hundreds of tests of one kind: with less volume (`ktap::volume`), fewer of them are run.
const BULK: &[&str] = &["batch", "run", "fixtures"];

/// Makes the fixtures' objects for a guest, which would take long for that.
fn assemble_fixtures(objects: &Path) -> ExitCode {
    match oxbpf_fixtures::compile(&oxbpf_fixtures::default_dir(), objects) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("oxbpf-selftest: {e}");
            ExitCode::FAILURE
        }
    }
}

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    if let [option, objects] = &wanted[..] {
        if option == "--fixture-objects" {
            return assemble_fixtures(objects.as_ref());
        }
    }
    if let Some(unknown) = wanted
        .iter()
        .find(|w| !SUITES.iter().any(|(name, _)| name == w))
    {
        let names: Vec<_> = SUITES.iter().map(|(name, _)| *name).collect();
        eprintln!(
            "oxbpf-selftest: no suite '{unknown}'; there are: {}",
            names.join(" ")
        );
        return ExitCode::from(2);
    }
    // What others left is not to go while a suite counts.
    if let Ok(bpf) = oxbpf::Bpf::oxbpf() {
        objects::Objects::settled(&bpf);
    }
    let mut suite = Suite::start();
    for (name, run) in SUITES {
        if wanted.is_empty() || wanted.iter().any(|w| w == name) {
            suite.prefix = (*name).to_string();
            suite.every = match BULK.contains(name) {
                true => (50 / ktap::volume(100)).max(1),
                false => 1,
            };
            run(&mut suite);
        }
    }
    if suite.finish() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
