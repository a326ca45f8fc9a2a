// SPDX-License-Identifier: GPL-2.0

//! Fixtures, verified and compiled in this process: each instruction beside its machine code.

use crate::code;
use oxbpf_core::isa::disasm::Line;
use oxbpf_core::isa::Insn;
use oxbpf_core::jit::{self, Features, MapTarget, Mitigations, Target, Variables};
use oxbpf_fixtures::{default_dir, host, load, Fixture};

/// Where the code is said to lie, and helpers, a page each.
const PLACE: u64 = 0xffff_ffff_c000_0000;
const HELPERS: u64 = 0xffff_ffff_8100_0000;

fn helper_name(addr: u64) -> Option<String> {
    let id = addr.checked_sub(HELPERS).filter(|off| *off < 1 << 24)? / 4096;
    let name = oxbpf_core::helper::name(i32::try_from(id).ok()?);
    Some(name.map_or(format!("helper {id}"), |name| format!("bpf_{name}")))
}

fn dump_one(fixture: &Fixture, blind: bool) -> Result<(), String> {
    let (prog, env) =
        host::verify_fixture(fixture).map_err(|(errno, log)| format!("refused: {errno}\n{log}"))?;
    let maps: Vec<MapTarget> = (0u64..)
        .zip(env.used())
        .map(|(i, decl)| {
            let base = 0xffff_c900_0000_0000 + i * 0x10_0000;
            let array = jit::ArrayTarget {
                base,
                stride: decl.value_size.next_multiple_of(8),
                max_entries: decl.max_entries,
            };
            MapTarget {
                addr: 0xffff_8881_0000_0000 + i * 0x1000,
                value: Some(base),
                array: (decl.ty == 2).then_some(array),
                per_cpu: (decl.ty == 6).then_some(array),
                hash: None,
            }
        })
        .collect();
    let random = || 0x5a17_3c99_e421_7b0d;
    let target = Target {
        features: Features {
            bmi2: true,
            movbe: true,
        },
        mitigations: Mitigations::default(),
        align_stack: false,
        helper: &|id| Some(HELPERS + u64::try_from(id).ok()? * 4096),
        packet: Some(HELPERS - 4096),
        blind: blind.then_some(&random),
        variables: Variables {
            cpu_number: Some(0xffff_ffff_8300_0000),
            current_task: Some(0xffff_ffff_8300_0008),
            jiffies: Some(0xffff_ffff_8300_0010),
        },
        maps: &maps,
        tail: jit::TailCalls {
            patch: false,
            lookup: Some(HELPERS - 8192),
        },
    };
    let mut image = jit::compile(&prog, &target).map_err(|e| e.to_string())?;
    image.relocate(PLACE).map_err(|e| format!("{e:?}"))?;
    let bytes = image.bytes();
    let start = |slot: u32| image.slot(slot).unwrap_or(bytes.len() as u32);
    println!("{}: {} bytes", fixture.name, bytes.len());
    let insns = &prog.code().insns;
    print_part(bytes, 0, start(0));
    for (at, insn) in (0u32..).zip(insns.iter()) {
        if prog.code().subprogs.iter().any(|s| s.start == at) && at != 0 {
            println!("  subprogram:");
        }
        if !matches!(insn, Insn::Hole) {
            println!("  {at:4}: {}", Line::new(at, insn));
        }
        print_part(bytes, start(at), start(at + 1));
    }
    Ok(())
}

fn print_part(bytes: &[u8], start: u32, end: u32) {
    if let Some(part) = bytes.get(start as usize..end as usize) {
        code::print(part, PLACE + u64::from(start), "          ", helper_name);
    }
}

/// Prints the fixtures whose name contains one of `names`.
pub fn dump(names: &[&str], blind: bool) -> Result<(), String> {
    let all = load(&default_dir()).map_err(|e| e.to_string())?;
    let mut found = false;
    for fixture in &all {
        if names.iter().any(|n| fixture.name.contains(n)) {
            found = true;
            if let Err(why) = dump_one(fixture, blind) {
                println!("{}: {why}", fixture.name);
            }
        }
    }
    match found {
        true => Ok(()),
        false => Err(format!("no fixture like {}", names.join(", "))),
    }
}
