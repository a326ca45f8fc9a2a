// SPDX-License-Identifier: GPL-2.0

//! opens in Rust: counts file opens while a command runs, first in oxbpf, then in the kernel's own
//! bpf(2), and shows both.
//!
//! ```text
//! opens-rs OBJECT COMMAND [ARG...]
//! ```
//!
//! The object is the one that the C sample loads (`opens.bpf.o`). Its ELF and BTF are read, and
//! its references to maps and kernel fields resolved, by the aya-obj crate; the calls are made by
//! the oxbpf crate. Exit status: 1 when something failed, or the counts differ.

use aya_obj::btf::Btf;
use aya_obj::Object;
use oxbpf::link::TRACE_KPROBE_MULTI;
use oxbpf::{Bpf, Map, MapSpec, MapType, ProgSpec, ProgType, Slot};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::error::Error;
use std::os::fd::{AsFd, AsRawFd};
use std::process::{Command, ExitCode};

const FUNCTION: &str = "vfs_open";
const PROGRAM: &str = "count_open";

/// What one run counted: opens and bytes by process name, opens by size slot.
#[derive(Default)]
struct Counts {
    processes: BTreeMap<String, (u64, u64)>,
    sizes: BTreeMap<u32, u64>,
}

fn u64_at(b: &[u8], off: usize) -> u64 {
    b.get(off..off + 8)
        .and_then(|s| s.try_into().ok())
        .map_or(0, u64::from_ne_bytes)
}

fn create_maps(bpf: &Bpf, obj: &Object) -> Result<HashMap<String, Map>, Box<dyn Error>> {
    let mut maps = HashMap::new();
    for (name, m) in &obj.maps {
        let mut spec = MapSpec::new(
            MapType(m.map_type()),
            m.key_size(),
            m.value_size(),
            m.max_entries(),
        );
        spec.flags = m.map_flags();
        spec.name.clone_from(name);
        let map = bpf
            .map_create(&spec)
            .map_err(|e| format!("creating map {name}: {e}"))?;
        maps.insert(name.clone(), map);
    }
    Ok(maps)
}

/// Runs `command` with the object's program attached.
fn measure(bpf: &Bpf, object: &[u8], command: &[String]) -> Result<Counts, Box<dyn Error>> {
    let mut obj = Object::parse(object)?;
    obj.relocate_btf(&Btf::from_sys_fs()?)?;
    let maps = create_maps(bpf, &obj)?;

    let text: HashSet<usize> = obj
        .functions
        .keys()
        .map(|(section, _)| *section)
        .filter(|s| !obj.programs.values().any(|p| p.section_index == *s))
        .collect();
    let fds: Vec<(String, i32, aya_obj::Map)> = obj
        .maps
        .iter()
        .map(|(name, m)| (name.clone(), maps[name].as_fd().as_raw_fd(), m.clone()))
        .collect();
    obj.relocate_maps(
        fds.iter().map(|(name, fd, m)| (name.as_str(), *fd, m)),
        &text,
    )?;
    obj.relocate_calls(&text)?;

    let program = obj
        .programs
        .get(PROGRAM)
        .ok_or("the object has no program count_open")?;
    let function = obj
        .functions
        .get(&program.function_key())
        .ok_or("program without code")?;
    let insns: Vec<Slot> = function
        .instructions
        .iter()
        .map(|i| {
            let mut slot = [0; 8];
            slot[0] = i.code;
            slot[1] = i.dst_reg() | (i.src_reg() << 4);
            slot[2..4].copy_from_slice(&i.off.to_ne_bytes());
            slot[4..8].copy_from_slice(&i.imm.to_ne_bytes());
            slot
        })
        .collect();
    let license = program.license.to_string_lossy();
    let spec = ProgSpec {
        license: &license,
        name: PROGRAM,
        expected_attach_type: TRACE_KPROBE_MULTI,
        log_level: 1,
        ..ProgSpec::new(ProgType::KPROBE, &insns)
    };
    let prog = bpf
        .prog_load(&spec)
        .map_err(|e| format!("loading {PROGRAM}: {e}"))?;
    let link = prog
        .attach_kprobes(&[FUNCTION], 0)
        .map_err(|e| format!("attaching to {FUNCTION}: {e}"))?;
    let status = Command::new(&command[0]).args(&command[1..]).status()?;
    drop(link);
    if !status.success() {
        return Err(format!("{}: {status}", command[0]).into());
    }

    let mut counts = Counts::default();
    for (key, value) in maps["processes"].entries()? {
        let name = key
            .iter()
            .take_while(|c| **c != 0)
            .map(|c| *c as char)
            .collect();
        counts
            .processes
            .insert(name, (u64_at(&value, 0), u64_at(&value, 8)));
    }
    for (key, value) in maps["sizes"].entries()? {
        let slot = u32::from_ne_bytes(key.try_into().map_err(|_| "key size")?);
        if u64_at(&value, 0) != 0 {
            counts.sizes.insert(slot, u64_at(&value, 0));
        }
    }
    Ok(counts)
}

/// 2^bits bytes as people write it.
fn power(bits: u32) -> String {
    let unit = ["", "K", "M", "G", "T"]
        .get(bits as usize / 10)
        .copied()
        .unwrap_or("P");
    format!("{}{unit}", 1u64 << (bits % 10))
}

fn range(slot: u32) -> String {
    match slot {
        0 => "empty".to_string(),
        s => format!("{} to {}", power(s - 1), power(s)),
    }
}

/// Prints one row; true when both agree.
fn row(name: &str, a: u64, b: u64) -> bool {
    let word = if a == b { "equal" } else { "DIFFERENT" };
    println!("  {name:<16} {a:>12} {b:>12}   {word}");
    a == b
}

fn compare(a: &Counts, b: &Counts) -> bool {
    let mut same = true;
    println!("\n  {:<16} {:>12} {:>12}", "PROCESS", "oxbpf", "in-tree");
    let mut names: Vec<_> = a.processes.keys().chain(b.processes.keys()).collect();
    names.sort();
    names.dedup();
    for name in names {
        let of = |c: &Counts| c.processes.get(name).map_or(0, |u| u.0);
        same &= row(name, of(a), of(b));
    }
    println!("\n  {:<16} {:>12} {:>12}", "FILE SIZE", "oxbpf", "in-tree");
    let mut slots: Vec<_> = a.sizes.keys().chain(b.sizes.keys()).collect();
    slots.sort();
    slots.dedup();
    for slot in slots {
        let of = |c: &Counts| c.sizes.get(slot).copied().unwrap_or(0);
        same &= row(&range(*slot), of(a), of(b));
    }
    println!(
        "\n  {}",
        if same {
            "all counts are equal"
        } else {
            "the counts differ"
        }
    );
    same
}

fn run() -> Result<bool, Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [object, command @ ..] = args.as_slice() else {
        return Err("usage: opens-rs OBJECT COMMAND [ARG...]".into());
    };
    if command.is_empty() {
        return Err("usage: opens-rs OBJECT COMMAND [ARG...]".into());
    }
    let object = std::fs::read(object).map_err(|e| format!("{object}: {e}"))?;
    let oxbpf = Bpf::oxbpf().map_err(|e| format!("{}: {e} (module loaded?)", oxbpf::DEVICE))?;
    let ours = measure(&oxbpf, &object, command)?;
    let theirs = measure(&Bpf::in_tree(), &object, command)?;
    Ok(compare(&ours, &theirs))
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("opens-rs: {e}");
            ExitCode::FAILURE
        }
    }
}
