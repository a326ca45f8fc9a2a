// SPDX-License-Identifier: GPL-2.0

//! The verifier: proves that a program is safe to run, or says why it cannot.

pub mod domain;
pub mod log;

mod error;

// Before simulation.
mod cfg;
mod liveness;
mod resolve;
pub mod source;
mod subprog;

// Simulation.
mod access;
mod explore;
mod global;
mod precision;
mod print;
mod proto;
mod prune;
mod state;
mod transfer;
pub mod watch;

// After it.
mod fixup;

use crate::abi::{MapType, ProgType};
use crate::btf::Btf;
use crate::helper::Caps;
use crate::isa::code::Code;
use crate::isa::{Insn, RawInsn};
use cfg::Cfg;
use explore::{Figures, Proved, Verifier};
use kernel::prelude::*;
use liveness::Liveness;
use log::Log;
use source::Source;
use subprog::Subprogs;

/// What the verifier needs to know of a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapFacts {
    /// Type.
    pub ty: MapType,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value.
    pub value_size: u32,
    /// Entries at most.
    pub max_entries: u32,
    /// Programs may not write values (`BPF_F_RDONLY_PROG`).
    pub rdonly_prog: bool,
    /// Programs may not read values (`BPF_F_WRONLY_PROG`).
    pub wronly_prog: bool,
    /// Values never change any more (frozen, and `rdonly_prog`).
    pub frozen: bool,
    /// The map has one value whose address a program may take (`BPF_PSEUDO_MAP_VALUE`).
    pub direct_value: bool,
    /// Maps of another number of entries may stand in for it (`BPF_F_INNER_MAP`).
    pub any_size: bool,
    /// Byte of a value where its spin lock begins, if it has one.
    pub lock: Option<u32>,
}

/// The verifier's view of the world outside the program.
pub trait Env {
    /// Takes the map behind `fd` into the program's used maps (once) and returns its index there.
    ///
    /// # Errors
    ///
    /// `EBADF` or `EINVAL` when `fd` is no map, `E2BIG` past 64 maps.
    fn use_map_fd(&mut self, fd: i32) -> Result<u32>;

    /// The same by index in the load's `fd_array`.
    ///
    /// # Errors
    ///
    /// As `use_map_fd`; `EPROTO` without an array, `EFAULT` when it cannot be read.
    fn use_map_idx(&mut self, idx: i32) -> Result<u32>;

    /// Facts of used map `index`.
    fn map(&self, index: u32) -> Option<MapFacts>;

    /// Facts of every map that is, or will be, in used map `index`, a map of maps.
    fn inner_map(&self, _index: u32) -> Option<MapFacts> {
        None
    }

    /// Reads `buf.len()` bytes at `off` of the frozen read-only value of used map `index`.
    fn read_frozen(&self, index: u32, off: u32, buf: &mut [u8]) -> bool;

    /// One more than the highest number that a CPU has; no limit is known by default.
    fn cpus(&self) -> u32 {
        u32::MAX
    }

    /// The loader has CAP_SYS_ADMIN.
    fn sys_admin(&self) -> bool {
        false
    }

    /// The type information that the load names.
    fn btf(&self) -> Option<&Btf> {
        None
    }

    /// Records of functions and lines.
    fn source(&self) -> Option<&Source> {
        None
    }

    /// Called now and then: lets others run, and says whether the load shall end (fatal signal).
    fn interrupted(&mut self) -> bool;
}

/// What the loader knows of a program besides its instructions.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Type.
    pub prog_type: ProgType,
    /// What it says that it will be attached to (`enum bpf_attach_type`).
    pub attach_type: u32,
    /// License is compatible with the GPL.
    pub gpl: bool,
    /// The loader has CAP_PERFMON: pointers may become numbers.
    pub allow_ptr_leaks: bool,
    /// The loader has CAP_BPF: bounded loops, calls, uninitialised stack reads and more.
    pub bpf_capable: bool,
    /// `BPF_F_STRICT_ALIGNMENT`
    pub strict_alignment: bool,
    /// `BPF_F_TEST_STATE_FREQ`
    pub test_state_freq: bool,
    /// Where the running kernel keeps what contexts show.
    pub layout: crate::ctx::KernelLayout,
}

impl Options {
    /// What the loader is allowed to.
    pub(crate) fn caps(&self) -> Caps {
        Caps {
            bpf: self.bpf_capable,
            perfmon: self.allow_ptr_leaks,
            // The environment knows, for the one helper where it matters.
            sys_admin: false,
        }
    }
}

/// A program that the verifier accepted, rewritten for execution.
///
/// # Invariants
///
/// Made by [`verify`] only: running `code` on a context of `options.prog_type` touches no memory
/// that it may not touch, and ends.
#[derive(Debug)]
pub struct VerifiedProg {
    code: Code,
    processed: u32,
    ctx_end: u32,
    source: Source,
}

impl VerifiedProg {
    /// What the engines run.
    pub fn code(&self) -> &Code {
        &self.code
    }

    /// Functions and lines of the code as it is now, for who keeps them.
    pub fn take_source(&mut self) -> Source {
        core::mem::take(&mut self.source)
    }

    /// Instructions that were simulated for the proof.
    pub fn processed(&self) -> u32 {
        self.processed
    }

    /// Byte of the context up to which it reads it, other programs that it goes on in apart.
    pub fn ctx_end(&self) -> u32 {
        self.ctx_end
    }
}

/// A decoded program and what is known of it before simulation.
#[derive(Debug)]
pub(crate) struct Program {
    /// Instructions, map references resolved.
    pub(crate) insns: KVVec<Insn>,
    /// Control flow.
    pub(crate) cfg: cfg::Cfg,
    /// Liveness.
    pub(crate) live: liveness::Liveness,
}

/// Verifies `insns`; the explanation goes to `log`.
///
/// # Errors
///
/// `EINVAL`, `EACCES`, `EPERM`, `E2BIG` as the in-tree verifier for the same fault; `ENOMEM` when
/// memory ends; `EAGAIN` when interrupted; `ENOTSUPP` for what only the in-tree one can do.
pub fn verify(
    raw: &[RawInsn],
    options: &Options,
    env: &mut dyn Env,
    log: &mut Log,
) -> Result<VerifiedProg> {
    verify_with(raw, options, env, log, None)
}

/// [`verify`], with somebody watching.
fn verify_with(
    raw: &[RawInsn],
    options: &Options,
    env: &mut dyn Env,
    log: &mut Log,
    mut watcher: Option<&mut dyn watch::Watcher>,
) -> Result<VerifiedProg> {
    let mut figures = Figures::default();
    let proved = prove(raw, options, env, log, &mut figures, &mut watcher);
    let rewritten =
        proved.and_then(|(prog, proved)| fixup::rewrite(&prog, &proved, options, watcher));
    if matches!(rewritten, Err(e) if e == ERANGE) {
        log.line(format_args!(
            "a conditional jump goes too far for 16 bits over what is put into the program"
        ));
    }
    figures.print(log);
    let (code, moved) = rewritten?;
    let source = match env.source() {
        Some(source) => source.moved(&moved, code.insns.len())?,
        None => Source::default(),
    };
    Ok(VerifiedProg {
        code,
        source,
        processed: figures.insns,
        ctx_end: figures.ctx_end,
    })
}

/// All passes up to the verdict.
fn prove(
    raw: &[RawInsn],
    options: &Options,
    env: &mut dyn Env,
    log: &mut Log,
    figures: &mut Figures,
    watcher: &mut Option<&mut dyn watch::Watcher>,
) -> Result<(Program, Proved)> {
    let insns = resolve::decode_and_resolve(raw, options, env, log)?;
    let subs = Subprogs::find(&insns, log)?;
    if let (Some(source), Some(btf)) = (env.source(), env.btf()) {
        source.check(btf, &subs, &insns, raw, log)?;
    }
    let cfg = Cfg::build(&insns, &subs, options, env, log)?;
    subs.check_recursion(&insns, log)?;
    subs.check_tail_calls(&insns, log)?;
    let live = Liveness::compute(&insns, &subs, &cfg, options, env)?;
    let prog = Program { insns, cfg, live };

    let globals = global::find(env, &subs, &prog.insns, options)?;
    let mut verifier = Verifier::new(env, log, options, &prog, subs, globals)?;
    if let Some(w) = watcher {
        verifier.watcher = Some(&mut **w);
    }
    let verdict = verifier.run_all();
    *figures = verifier.figures;
    let depth = verdict.and_then(|()| verifier.check_depth());
    verifier.print_stack(depth.unwrap_or(0));
    let proved = verifier.into_proved(depth?);
    Ok((prog, proved))
}

#[cfg(test)]
mod tests;
