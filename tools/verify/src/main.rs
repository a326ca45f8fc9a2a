// SPDX-License-Identifier: GPL-2.0

//! Verifies the programs of BPF objects with oxbpf's verifier, in this process: no module, no VM, no
//! privileges. It is what a build can run to know that its programs will be accepted, and what
//! says in plain words why one is not.
//!
//! ```text
//! oxbpf-verify [OPTION...] OBJECT...
//! ```
//!
//! libbpf reads the objects and relocates them (kernel fields by `/sys/kernel/btf/vmlinux`), as a
//! loader would; see `syscall.rs` for how its calls of bpf(2) come here. Exit status: 0 when
//! everything was accepted, 1 when something was refused, 2 when nothing could be said.

mod fake;
mod libbpf;
mod lines;
mod syscall;
mod why;

use lexopt::{Arg, ValueExt};
use oxbpf::Errno;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const USAGE: &str = "\
usage: oxbpf-verify [OPTION...] OBJECT...
Verifies the programs of BPF object files.
  -p, --program NAME    only this program (can be repeated)
  -t, --type TYPE       as this program type, whatever the section says
  -u, --unprivileged    as a loader without CAP_BPF and CAP_PERFMON
  -s, --strict          every access aligned (BPF_F_STRICT_ALIGNMENT)
  -l, --log             the whole log of each program that is refused
  -v, --verbose         the log of every way through every program
  -h, --help
";

/// Names by which `--type` knows the types: libbpf's for sections, and bpftool's.
const TYPES: &[(&str, u32)] = &[
    ("socket", 1),
    ("socket_filter", 1),
    ("kprobe", 2),
    ("tc", 3),
    ("classifier", 3),
    ("sched_cls", 3),
    ("action", 4),
    ("sched_act", 4),
    ("tracepoint", 5),
    ("xdp", 6),
    ("perf_event", 7),
    ("cgroup_skb", 8),
    ("raw_tracepoint", 17),
];

/// Bytes behind the address by which a load is recognised; nothing is written there.
const MARK: usize = 4096;

#[derive(Default)]
struct Args {
    objects: Vec<PathBuf>,
    programs: Vec<String>,
    ty: Option<u32>,
    loader: fake::Loader,
    log: bool,
}

fn parse() -> Result<Option<Args>, lexopt::Error> {
    let mut args = Args::default();
    args.loader.log_level = 1;
    let mut parser = lexopt::Parser::from_env();
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Short('p') | Arg::Long("program") => args.programs.push(parser.value()?.string()?),
            Arg::Short('t') | Arg::Long("type") => {
                let name = parser.value()?.string()?;
                let known = TYPES.iter().find(|(n, _)| *n == name);
                let names: Vec<&str> = TYPES.iter().map(|(n, _)| *n).collect();
                let text = || format!("no type '{name}'; there are: {}", names.join(" "));
                args.ty = Some(known.ok_or_else(text)?.1);
            }
            Arg::Short('u') | Arg::Long("unprivileged") => args.loader.unprivileged = true,
            Arg::Short('s') | Arg::Long("strict") => args.loader.strict_alignment = true,
            Arg::Short('l') | Arg::Long("log") => args.log = true,
            Arg::Short('v') | Arg::Long("verbose") => {
                args.loader.log_level = 2;
                args.log = true;
            }
            Arg::Short('h') | Arg::Long("help") => return Ok(None),
            Arg::Value(path) => args.objects.push(path.into()),
            _ => return Err(arg.unexpected()),
        }
    }
    match args.objects.is_empty() {
        true => Err("no object".into()),
        false => Ok(Some(args)),
    }
}

/// What was found in one object.
#[derive(Default)]
struct Found {
    accepted: usize,
    refused: usize,
}

fn object(path: &Path, args: &Args) -> Result<Found, String> {
    fake::start(args.loader);
    let object = libbpf::Object::open(path)?;
    let mut marks = vec![];
    for prog in object.programs() {
        let name = prog.name();
        let wanted = args.programs.is_empty() || args.programs.contains(&name);
        prog.set_autoload(wanted);
        if !wanted {
            continue;
        }
        if let Some(ty) = args.ty {
            prog.set_type(ty);
        }
        if prog.ty() == 0 {
            let section = prog.section();
            return Err(format!(
                "{name}: section {section} names no program type: say it with --type"
            ));
        }
        let mark = Box::leak(vec![0u8; MARK].into_boxed_slice());
        marks.push((mark.as_ptr() as u64, name));
        prog.log_to(mark);
    }
    let loaded = object.load();
    let outcomes = fake::outcomes();
    let mut found = Found::default();
    for (mark, name) in marks {
        let Some(outcome) = outcomes.iter().find(|o| o.log_buf == mark) else {
            let why = loaded
                .as_ref()
                .err()
                .map_or("libbpf did not load it", |e| e.trim_end());
            return Err(format!("{name}: not verified\n{why}"));
        };
        let what = format!("{}: {name}", path.display());
        match outcome.result {
            Ok(processed) => {
                found.accepted += 1;
                println!("{what}: accepted, {processed} instructions simulated");
            }
            Err(errno) => {
                found.refused += 1;
                println!("{what}: refused, {}", Errno(errno));
                if !args.log {
                    print!("{}", why::explain(&outcome.log, outcome.source.as_ref()));
                }
            }
        }
        if args.log && (outcome.result.is_err() || args.loader.log_level > 1) {
            print!("{}", outcome.log);
            if outcome.result.is_err() {
                print!("{}", why::explain(&outcome.log, outcome.source.as_ref()));
            }
        }
    }
    Ok(found)
}

fn main() -> ExitCode {
    let args = match parse() {
        Ok(Some(args)) => args,
        Ok(None) => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(e) => {
            eprint!("oxbpf-verify: {e}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let mut all = Found::default();
    let mut trouble = false;
    for path in &args.objects {
        match object(path, &args) {
            Ok(found) => {
                all.accepted += found.accepted;
                all.refused += found.refused;
            }
            Err(e) => {
                trouble = true;
                let text = e.trim_end().replace("libbpf: ", "");
                eprintln!("oxbpf-verify: {}: {text}", path.display());
            }
        }
    }
    if trouble || all.accepted + all.refused == 0 {
        if !trouble {
            eprintln!("oxbpf-verify: no programs");
        }
        return ExitCode::from(2);
    }
    println!("{} accepted, {} refused", all.accepted, all.refused);
    ExitCode::from(u8::from(all.refused > 0))
}
