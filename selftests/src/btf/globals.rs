// SPDX-License-Identifier: GPL-2.0

//! Global functions: verified by themselves, and called by their prototypes.

mod cases;

use super::blobs::{kind, made, Blob};
use crate::both::{no_fd, Both};
use crate::insn::raw;
use crate::ktap::Suite;
use oxbpf::attr::Attr;
use oxbpf::{cmd, Bpf, Errno, Map, MapSpec, MapType, Slot};
use oxbpf_fixtures::bpf::{load_types, lock_types};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

/// A type in a prototype.
#[derive(Clone, Copy)]
enum Ty {
    Void,
    Int,
    Long,
    Float,
    /// `void *`
    Any,
    /// A pointer to so many bytes.
    Mem(u32),
    /// A pointer to a struct of eight bytes.
    To(&'static str),
    /// A pointer to such a struct that is only declared.
    Declared(&'static str),
    /// A struct by value.
    Struct,
    /// An argument with a tag.
    Tagged(&'static Ty, &'static str),
    /// With two.
    Tagged2(&'static Ty, &'static str, &'static str),
}

/// A function of a program.
#[derive(Clone)]
struct Func {
    linkage: u32,
    ret: Ty,
    args: Vec<Ty>,
    insns: Vec<Slot>,
}

fn global(args: &[Ty], insns: &[Slot]) -> Func {
    Func {
        linkage: 1,
        ret: Ty::Int,
        args: args.to_vec(),
        insns: insns.to_vec(),
    }
}

fn local(args: &[Ty], insns: &[Slot]) -> Func {
    Func {
        linkage: 0,
        ..global(args, insns)
    }
}

impl Func {
    fn returning(self, ret: Ty) -> Func {
        Func { ret, ..self }
    }
}

/// `call function n`, to be linked.
fn sub(n: i32) -> Slot {
    raw(0x85, 0, 1, 0, n)
}

/// Maps that programs use.
struct Maps {
    array: Map,
    rdonly: Map,
    lock: Map,
    progs: Map,
    ring: Map,
}

impl Maps {
    fn new(b: &Bpf) -> Maps {
        let make = |spec: &MapSpec| b.map_create(spec).unwrap();
        let types = load_types(b, &lock_types(16, 4)).unwrap();
        let mut lock = MapSpec::new(MapType(2), 4, 16, 1);
        lock.types = Some((types.as_raw_fd(), 1, 3));
        let mut rdonly = MapSpec::new(MapType(2), 4, 16, 1);
        rdonly.flags = 0x80;
        Maps {
            array: make(&MapSpec::new(MapType(2), 4, 16, 1)),
            rdonly: make(&rdonly),
            lock: make(&lock),
            progs: make(&MapSpec::new(MapType(3), 4, 4, 1)),
            ring: make(&MapSpec::new(MapType(27), 0, 0, 4096)),
        }
    }
}

/// What is known of a case besides that both kernels' answers are the same.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Want {
    /// Accepted.
    Fine,
    /// Refused.
    Refused,
    /// Refused here, with these words, and accepted in-tree.
    OnlyHere(&'static str),
}

/// Makes a program that uses such maps.
type Make = Box<dyn Fn(&Maps) -> Vec<Func>>;

/// A program, the main function first.
struct Case {
    name: &'static str,
    prog_type: u32,
    want: Want,
    /// Names of the kernel's structs matter.
    kernel_btf: bool,
    funcs: Make,
}

fn type_of(b: &mut Blob, ty: Ty) -> u32 {
    match ty {
        Ty::Void => 0,
        Ty::Int => b.int(),
        Ty::Long => b.long(),
        Ty::Float => b.add("float", kind::FLOAT, 0, 4, &[]),
        Ty::Any => b.ptr(0),
        Ty::Mem(size) => {
            let int = b.int();
            let byte = b.add("char", kind::INT, 0, 1, &[8]);
            let array = b.array(byte, int, size);
            b.ptr(array)
        }
        Ty::To(name) => {
            let long = b.long();
            let to = b.structure(name, 8, &[("a", long, 0)]);
            b.ptr(to)
        }
        Ty::Declared(name) => {
            let to = b.add(name, kind::FWD, 0, 0, &[]);
            b.ptr(to)
        }
        Ty::Struct => {
            let long = b.long();
            b.structure("s", 8, &[("a", long, 0)])
        }
        Ty::Tagged(ty, _) | Ty::Tagged2(ty, ..) => type_of(b, *ty),
    }
}

/// The functions' types, and their numbers.
fn types(funcs: &[Func]) -> (Vec<u8>, Vec<u32>) {
    let mut ids = Vec::new();
    let blob = made(|b| {
        for (i, f) in funcs.iter().enumerate() {
            let ret = type_of(b, f.ret);
            let args: Vec<_> = f.args.iter().map(|t| ("arg", type_of(b, *t))).collect();
            let proto = b.proto(ret, &args);
            let id = b.func(&format!("f{i}"), f.linkage, proto);
            for (n, ty) in f.args.iter().enumerate() {
                let tags = match ty {
                    Ty::Tagged(_, tag) => vec![*tag],
                    Ty::Tagged2(_, a, b) => vec![*a, *b],
                    _ => vec![],
                };
                for tag in tags {
                    b.add(tag, kind::DECL_TAG, 0, id, &[n as u32]);
                }
            }
            ids.push(id);
        }
    });
    (blob, ids)
}

/// Puts the functions behind each other.
fn link(funcs: &[Func]) -> (Vec<Slot>, Vec<u32>) {
    let mut starts = Vec::new();
    let mut all: Vec<Slot> = Vec::new();
    for f in funcs {
        starts.push(all.len() as u32);
        all.extend(&f.insns);
    }
    let mut second = false;
    for (at, slot) in all.iter_mut().enumerate() {
        let source = slot[1] >> 4;
        let refers = (slot[0] == 0x85 && source == 1) || (slot[0] == 0x18 && source == 4);
        if refers && !second {
            let n = i32::from_ne_bytes([slot[4], slot[5], slot[6], slot[7]]);
            let by = starts[n as usize] as i32 - at as i32 - 1;
            slot[4..].copy_from_slice(&by.to_ne_bytes());
        }
        second = !second && slot[0] == 0x18;
    }
    (all, starts)
}

fn load(b: &Bpf, prog_type: u32, funcs: &[Func]) -> (Result<OwnedFd, Errno>, String) {
    let (blob, ids) = types(funcs);
    let btf = super::load(b, &blob).unwrap_or_else(|e| panic!("types: {e}"));
    let (insns, starts) = link(funcs);
    let records: Vec<u32> = starts.iter().zip(ids).flat_map(|(s, i)| [*s, i]).collect();
    let log = vec![0u8; 1 << 18];
    let license = *b"GPL\0";
    let mut a = Attr::new(168);
    a.u32(0, prog_type)
        .u32(4, insns.len() as u32)
        .ptr(8, &insns)
        .ptr(16, &license)
        .u32(24, 1)
        .u32(28, log.len() as u32)
        .ptr(32, &log)
        .u32(72, btf.as_raw_fd() as u32)
        .u32(76, 8)
        .ptr(80, &records)
        .u32(88, funcs.len() as u32);
    let result = b.call(cmd::PROG_LOAD, a.bytes()).map(|fd| {
        // SAFETY: the command made `fd` for us.
        unsafe { OwnedFd::from_raw_fd(fd) }
    });
    let log = std::hint::black_box(log);
    let end = log.iter().position(|&c| c == 0).unwrap_or(0);
    (result, String::from_utf8_lossy(&log[..end]).into_owned())
}

/// What the log says of functions, and why a program is refused: without states and instructions.
fn said(log: &str) -> Vec<String> {
    let of_interest = |line: &&str| {
        let number = line.starts_with(|c: char| c.is_ascii_digit());
        let starts = [
            "; ",
            "processed ",
            "from ",
            "caller:",
            "callee:",
            "frame",
            "returning ",
            "to caller ",
            "mark_precise",
            " ",
        ];
        !number && !line.is_empty() && !starts.iter().any(|s| line.starts_with(s))
    };
    // Numbers of references depend on what else got one.
    let plain = |line: &str| match line.starts_with("Unreleased") {
        true => "Unreleased".to_string(),
        false => line.to_string(),
    };
    log.lines().filter(of_interest).map(plain).collect()
}

/// The verdict, what is said of it, and the result of a run.
type Answer = (Result<(), Errno>, Vec<String>, Option<u32>);

fn answer(b: &Bpf, case: &Case) -> Answer {
    let maps = Maps::new(b);
    let funcs = (case.funcs)(&maps);
    let (prog, log) = load(b, case.prog_type, &funcs);
    let ran = prog.as_ref().ok().and_then(|prog| {
        let data = [7u8; 64];
        let mut a = Attr::new(80);
        a.u32(0, prog.as_raw_fd() as u32)
            .u32(8, 64)
            .ptr(16, &data)
            .u32(32, 1);
        no_fd(b.call(cmd::PROG_TEST_RUN, a.bytes())).ok()?;
        Some(a.get_u32(4))
    });
    (prog.map(drop), said(&log), ran)
}

fn check(both: &Both, case: &Case) -> Result<(), String> {
    if let Want::OnlyHere(words) = case.want {
        let (ours, theirs) = (answer(&both.ours, case), answer(&both.theirs, case));
        let said_so = ours.1.iter().any(|line| line.contains(words));
        return match (&ours.0, &theirs.0, said_so) {
            (Err(_), Ok(()), true) => Ok(()),
            _ => Err(format!("in-tree: {theirs:?}\noxbpf:   {ours:?}")),
        };
    }
    let both = both.same(|b| answer(b, case))?;
    match both.0.is_ok() == (case.want == Want::Fine) {
        true => Ok(()),
        false => Err(format!("both say {both:?}")),
    }
}

/// The suite's part.
pub fn suite(s: &mut Suite, both: &Both) {
    let has_btf = Path::new("/sys/kernel/btf/vmlinux").exists();
    for case in cases::all() {
        if case.kernel_btf && !has_btf {
            continue;
        }
        s.test(&format!("global function: {}", case.name), || {
            check(both, &case)
        });
    }
}
