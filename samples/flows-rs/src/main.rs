// SPDX-License-Identifier: GPL-2.0

//! flows in Rust: counts the packets that a device receives while a command runs, first with a filter
//! of oxbpf, then with one of the kernel's own bpf(2), and shows both.
//!
//! ```text
//! flows-rs OBJECT PORT DEVICE COMMAND [ARG...]
//! ```
//!
//! The object is the one that the C sample loads (`flows.bpf.o`); UDP to PORT is dropped. The filter is
//! made by netlink, without tc. Exit status: 1 when something failed, or the counts differ.

mod netlink;

use aya_obj::Object;
use netlink::Filter;
use oxbpf::{Bpf, Map, MapSpec, MapType, ProgSpec, ProgType, Slot};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::error::Error;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd};
use std::process::{Command, ExitCode};

const PROGRAM: &str = "count_flows";
const COUNTS: [&str; 4] = ["low delay", "throughput", "other", "dropped"];

/// Packets and bytes by what was counted.
type Counts = BTreeMap<String, (u64, u64)>;

fn bytes<const N: usize>(of: &[u8], at: usize) -> [u8; N] {
    of.get(at..at + N)
        .and_then(|s| s.try_into().ok())
        .unwrap_or([0; N])
}

/// `struct count`
fn count(value: &[u8]) -> (u64, u64) {
    let number = |at| u64::from_ne_bytes(bytes(value, at));
    (number(0), number(8))
}

/// `struct flow`
fn flow(key: &[u8]) -> String {
    let addr = |at| Ipv4Addr::from(bytes::<4>(key, at));
    let port = u16::from_be_bytes(bytes(key, 8));
    let proto = u16::from_ne_bytes(bytes(key, 10));
    format!("{} > {} {proto}/{port}", addr(0), addr(4))
}

fn create_maps(bpf: &Bpf, obj: &Object) -> Result<HashMap<String, Map>, Box<dyn Error>> {
    let mut maps = HashMap::new();
    for (name, m) in &obj.maps {
        let ty = MapType(m.map_type());
        let mut spec = MapSpec::new(ty, m.key_size(), m.value_size(), m.max_entries());
        spec.name.clone_from(name);
        let map = bpf
            .map_create(&spec)
            .map_err(|e| format!("creating map {name}: {e}"))?;
        maps.insert(name.clone(), map);
    }
    Ok(maps)
}

/// The program's instructions, with the maps' descriptors in them.
fn instructions(
    obj: &mut Object,
    maps: &HashMap<String, Map>,
) -> Result<Vec<Slot>, Box<dyn Error>> {
    let text = HashSet::new();
    let fds: Vec<(String, i32, aya_obj::Map)> = obj
        .maps
        .iter()
        .map(|(name, m)| (name.clone(), maps[name].as_fd().as_raw_fd(), m.clone()))
        .collect();
    let fds = fds.iter().map(|(name, fd, m)| (name.as_str(), *fd, m));
    obj.relocate_maps(fds, &text)?;
    let program = obj.programs.get(PROGRAM).ok_or("no such program")?;
    let function = obj.functions.get(&program.function_key());
    let slots = function.ok_or("program without code")?.instructions.iter();
    let slots = slots.map(|i| {
        let mut slot = [0; 8];
        slot[0] = i.code;
        slot[1] = i.dst_reg() | (i.src_reg() << 4);
        slot[2..4].copy_from_slice(&i.off.to_ne_bytes());
        slot[4..8].copy_from_slice(&i.imm.to_ne_bytes());
        slot
    });
    Ok(slots.collect())
}

/// Runs the command with the program at the device, in a filter of `kind`.
fn measure(bpf: &Bpf, kind: &str, args: &Args) -> Result<Counts, Box<dyn Error>> {
    let mut obj = Object::parse(&args.object)?;
    let maps = create_maps(bpf, &obj)?;
    maps["settings"].update(&[0; 4], &args.port.to_ne_bytes(), 0)?;
    let insns = instructions(&mut obj, &maps)?;
    let spec = ProgSpec {
        name: PROGRAM,
        log_level: 1,
        ..ProgSpec::new(ProgType::SCHED_CLS, &insns)
    };
    let prog = bpf
        .prog_load(&spec)
        .map_err(|e| format!("loading {PROGRAM}: {e}"))?;
    let filter = Filter::attach(&args.device, kind, prog.as_fd())
        .map_err(|e| format!("{kind} at {}: {e}", args.device))?;
    let status = Command::new(&args.command[0])
        .args(&args.command[1..])
        .status()?;
    drop(filter);
    if !status.success() {
        return Err(format!("{}: {status}", args.command[0]).into());
    }
    let mut counts = Counts::new();
    for (key, value) in maps["flows"].entries()? {
        counts.insert(flow(&key), count(&value));
    }
    for (key, value) in maps["counts"].entries()? {
        let slot = u32::from_ne_bytes(bytes(&key, 0)) as usize;
        let name = COUNTS.get(slot).ok_or("another object's counts")?;
        counts.insert((*name).to_string(), count(&value));
    }
    Ok(counts)
}

/// Prints both; true when they agree.
fn compare(ours: &Counts, theirs: &Counts) -> bool {
    println!(
        "  {:<34} {:>12} {:>12}",
        "PACKETS (BYTES)", "oxbpf", "in-tree"
    );
    let mut names: Vec<_> = ours.keys().chain(theirs.keys()).collect();
    names.sort();
    names.dedup();
    let mut same = true;
    for name in names {
        let of = |c: &Counts| c.get(name).copied().unwrap_or((0, 0));
        let (a, b) = (of(ours), of(theirs));
        let word = if a == b { "equal" } else { "DIFFERENT" };
        let text = |(packets, bytes)| format!("{packets} ({bytes})");
        println!("  {name:<34} {:>12} {:>12}   {word}", text(a), text(b));
        same &= a == b;
    }
    same
}

struct Args {
    object: Vec<u8>,
    port: u32,
    device: String,
    command: Vec<String>,
}

fn run() -> Result<bool, Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [object, port, device, command @ ..] = args.as_slice() else {
        return Err("usage: flows-rs OBJECT PORT DEVICE COMMAND [ARG...]".into());
    };
    if command.is_empty() {
        return Err("no command".into());
    }
    let args = Args {
        object: std::fs::read(object).map_err(|e| format!("{object}: {e}"))?,
        port: port.parse()?,
        device: device.clone(),
        command: command.to_vec(),
    };
    let oxbpf = Bpf::oxbpf().map_err(|e| format!("{}: {e} (module loaded?)", oxbpf::DEVICE))?;
    let ours = measure(&oxbpf, "oxbpf", &args)?;
    let theirs = measure(&Bpf::in_tree(), "bpf", &args)?;
    Ok(compare(&ours, &theirs))
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("flows-rs: {e}");
            ExitCode::FAILURE
        }
    }
}
