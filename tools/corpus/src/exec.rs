// SPDX-License-Identifier: GPL-2.0

//! Runs accepted tests: in the checked interpreter and as machine code, on the packets of the test.

use crate::ours::{self, Loader};
use crate::read::Test;
use kernel::prelude::*;
use oxbpf_core::abi::{MapType, ProgType, ProgTypes};
use oxbpf_core::interp::Fault;
use oxbpf_core::isa::Insn;
use oxbpf_core::verifier::{log::Log, verify, VerifiedProg};
use oxbpf_fixtures::host::{self, HostEnv};
use oxbpf_fixtures::{native, Fixture, MapDecl, MapReloc, Verdict};

/// Expected by tests that return a pointer: any result will do.
const ANY: u32 = 0x00ca_fe4a;
/// Helpers that machine code in this process has: look-up, update, delete, and a random number.
const NATIVE: [i32; 4] = [1, 2, 3, 7];

/// What the runs of one test came to.
#[derive(Debug, Default)]
pub struct Runs {
    /// Results that were as expected.
    pub same: usize,
    /// Results that were not, in words.
    pub different: Vec<String>,
    /// Results of machine code that were as expected.
    pub native: usize,
    /// Why nothing was run.
    pub left_out: Option<&'static str>,
}

/// The value that test_verifier.c puts into arrays: an offset within the value, and a number there.
fn array_value(size: u32) -> Vec<u8> {
    let mut value = vec![0; 48];
    value[..4].copy_from_slice(&28u32.to_le_bytes());
    value[28..32].copy_from_slice(&0xabcd_ef12u32.to_le_bytes());
    value.truncate(size as usize);
    value
}

/// The test as a fixture.
fn fixture(t: &Test, prog_type: ProgType) -> Option<Fixture> {
    let mut maps: Vec<MapDecl> = Vec::new();
    let mut relocs = Vec::new();
    for (slot, kind) in &t.maps {
        let map = match maps.iter().position(|m| m.name == *kind) {
            Some(map) => map,
            None => {
                let f = ours::facts(kind)?;
                let array = f.ty == MapType::Array;
                maps.push(MapDecl {
                    lock: None,
                    name: kind.clone(),
                    ty: f.ty as u32,
                    key_size: f.key_size,
                    value_size: f.value_size,
                    max_entries: f.max_entries,
                    flags: (u32::from(f.rdonly_prog) << 7) | (u32::from(f.wronly_prog) << 8),
                    frozen: f.frozen,
                    init: match array {
                        true => vec![(vec![0; 4], array_value(f.value_size))],
                        false => Vec::new(),
                    },
                    inner: None,
                    holds: Vec::new(),
                });
                maps.len() - 1
            }
        };
        relocs.push(MapReloc { slot: *slot, map });
    }
    Some(Fixture {
        name: t.name.clone(),
        prog_type,
        license: "GPL".to_owned(),
        flags: u32::from(t.flags & ours::F_LOAD_WITH_STRICT_ALIGNMENT != 0),
        perfmon: true,
        insns: t.insns.clone(),
        relocs,
        maps,
        verdict: Verdict::Accept,
        runs: Vec::new(),
        difference: None,
        since: (0, 0),
        kernel_btf: false,
    })
}

/// Verifies for that loader.
fn load(f: &Fixture, t: &Test, loader: Loader) -> Result<(VerifiedProg, HostEnv)> {
    let mut options = host::options(f);
    options.attach_type = t.attach_type;
    options.allow_ptr_leaks = loader == Loader::Root;
    options.bpf_capable = loader == Loader::Root;
    let mut env = HostEnv::new(&f.maps);
    let insns = f.with_fds(|map| map as i32);
    let prog = verify(&insns, &options, &mut env, &mut Log::none())?;
    Ok((prog, env))
}

/// Runs a test that `loader` may load.
pub fn run(t: &Test, ty: ProgType, loader: Loader) -> Runs {
    let mut runs = Runs::default();
    if !ProgTypes::SKB.contains(ty) {
        runs.left_out = Some("contexts of this type cannot be made here");
        return runs;
    }
    if t.maps.iter().any(|(_, kind)| kind.starts_with("prog")) {
        runs.left_out = Some("tail calls to programs that are not there");
        return runs;
    }
    let loaded = fixture(t, ty).and_then(|f| {
        let (prog, env) = load(&f, t, loader).ok()?;
        Some((f, prog, env))
    });
    let Some((fixture, prog, env)) = loaded else {
        runs.left_out = Some("it is not loaded");
        return runs;
    };
    let native = prog.code().insns.iter().all(|insn| match insn {
        Insn::Call { helper } => NATIVE.contains(helper),
        _ => true,
    });
    for run in &t.runs {
        let expected = match loader {
            Loader::Root => run.value,
            Loader::Unprivileged => run.value_unpriv,
        };
        let fits = |got: u64| got as u32 == expected || expected == ANY;
        match host::interpret(&fixture, &prog, &env, &run.packet) {
            Ok(got) if fits(got) => runs.same += 1,
            Err(Fault::Helper(_)) => {
                runs.left_out = Some("a helper that the checked interpreter has not");
                return runs;
            }
            other => runs
                .different
                .push(format!("interpreter {other:x?}, expected {expected:#x}")),
        }
        if !native {
            continue;
        }
        for features in native::FEATURES {
            match native::run_verified(&fixture, &prog, &env, &run.packet, features) {
                Ok(Some(got)) if fits(got) => runs.native += 1,
                Ok(None) => {}
                other => runs
                    .different
                    .push(format!("machine code {other:x?}, expected {expected:#x}")),
            }
        }
    }
    runs
}
