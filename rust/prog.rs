// SPDX-License-Identifier: GPL-2.0

//! Programs as objects: what runs, and what user space may know of it.

pub(crate) mod array;
mod engine;
pub(crate) mod stats;

use crate::abi::ProgType;
use crate::isa::encode::{encode, wire_imm64, RawImm64};
use crate::isa::{Imm64, Insn, RawInsn};
use crate::object::btf::BtfObject;
use crate::object::MapObject;
use crate::sys::anon::FileObject;
use crate::sys::callchain::Buffers;
use crate::sys::context::RunGuard;
use crate::sys::cred::Uid;
use crate::sys::hash::sha256;
use crate::sys::shared::{self, Kind, Object, Release, Shared};
use crate::sys::text::{BaseSpec, Fixed};
use crate::sys::time;
use crate::verifier::VerifiedProg;
use core::fmt::Write;
use core::sync::atomic::AtomicI64;
use engine::{Compiled, Engine};
use kernel::prelude::*;
use kernel::sync::{new_mutex, Mutex};
use stats::{Stats, Sums};

/// Bytes of a tag (`BPF_TAG_SIZE`).
pub(crate) const TAG_SIZE: usize = 8;

/// A program. With its count, number and what its release needs this is one cache line; what a hook
/// needs to run it lies in memory that nobody can write.
pub(crate) struct Prog {
    base: Fixed,
    info: KBox<Info>,
}

// A work item that lockdep watches is larger.
const _: () = assert!(cfg!(CONFIG_LOCKDEP) || shared::footprint::<Prog>() == 64);

/// What is not needed to run a compiled program. The engine goes before the maps.
struct Info {
    engine: Engine,
    stats: Stats,
    aux: Aux,
}

/// What nobody needs while the program runs.
pub(crate) struct Aux {
    /// Type.
    pub(crate) ty: ProgType,
    /// `expected_attach_type` of its load.
    pub(crate) expected_attach_type: u32,
    /// Name, padded with NULs.
    pub(crate) name: [u8; 16],
    /// Start of the digest of its instructions.
    pub(crate) tag: [u8; TAG_SIZE],
    /// The same for each subprogram, or for the program if it has no others.
    pub(crate) subprog_tags: KVec<[u8; TAG_SIZE]>,
    /// Who loaded it.
    pub(crate) uid: Uid,
    /// When, in nanoseconds since boot.
    pub(crate) load_time: u64,
    /// Instructions that the verifier looked at.
    pub(crate) verified_insns: u32,
    /// Byte up to which it reads its context.
    pub(crate) ctx_end: u32,
    /// The maps that it uses, in the order in which its code numbers them.
    pub(crate) maps: KVec<Shared<MapObject>>,
    /// Maps that it only keeps.
    bound: Pin<KBox<Mutex<KVec<Shared<MapObject>>>>>,
    /// Its instructions as they came out of the verifier, maps by number.
    pub(crate) xlated: KVVec<RawInsn>,
    /// Its type information, if the load gave any.
    pub(crate) btf: Option<Shared<BtfObject>>,
    /// Its functions and source lines, as `xlated` has them.
    pub(crate) source: crate::verifier::source::Source,
    /// What it needs of the kernel to ask for call chains.
    _buffers: Option<Buffers>,
}

/// `bpf_get_stack`
const GET_STACK: Insn = Insn::Call { helper: 67 };

impl Object for Prog {
    const KIND: Kind = Kind::Prog;
    /// Hooks find it under RCU.
    const RELEASE: Release = Release::Grace;
}

impl Aux {
    /// The helpers that it calls.
    pub(crate) fn calls(&self) -> impl Iterator<Item = i32> + '_ {
        /// `BPF_JMP | BPF_CALL`
        const CALL: u8 = 0x85;
        let calls = self.xlated.iter().filter(|i| i.code == CALL);
        calls.filter(|i| i.src() == 0).map(|i| i.imm)
    }

    /// Keeps a map for as long as the program lives; one that it has already is no more.
    ///
    /// # Errors
    ///
    /// `ENOMEM`
    pub(crate) fn bind(&self, map: &Shared<MapObject>) -> Result {
        let mut bound = self.bound.lock();
        let has = |maps: &[Shared<MapObject>]| maps.iter().any(|m| m.same(map));
        if !has(&self.maps) && !has(&bound) {
            bound.push(map.clone(), GFP_KERNEL_ACCOUNT)?;
        }
        Ok(())
    }

    /// The numbers of all maps that it keeps, its code's first.
    ///
    /// # Errors
    ///
    /// `ENOMEM`
    pub(crate) fn map_ids(&self) -> Result<KVec<u32>> {
        let bound = self.bound.lock();
        let mut ids = KVec::new();
        for maps in [&self.maps[..], &bound[..]] {
            for map in maps {
                ids.push(map.id(), GFP_KERNEL)?;
            }
        }
        Ok(ids)
    }
}

/// What a program is made from.
pub(crate) struct Source {
    pub(crate) ty: ProgType,
    pub(crate) gpl: bool,
    pub(crate) expected_attach_type: u32,
    pub(crate) xdp_frags: bool,
    pub(crate) name: [u8; 16],
    pub(crate) uid: Uid,
    pub(crate) tag: [u8; TAG_SIZE],
    pub(crate) verified: VerifiedProg,
    pub(crate) maps: KVec<Shared<MapObject>>,
    pub(crate) btf: Option<Shared<BtfObject>>,
}

impl Prog {
    /// Makes a program that can run.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; `ENOTSUPP` when it must be compiled and cannot; `EINVAL` when it uses an array of
    /// other programs, or makes tail calls in subprograms and is not compiled.
    pub(crate) fn new(mut source: Source) -> Result<Shared<Self>> {
        let xlated = xlate(&source.verified, &source.maps)?;
        let subprog_tags = subprog_tags(&source, &xlated)?;
        let aux = Aux {
            ty: source.ty,
            expected_attach_type: source.expected_attach_type,
            name: source.name,
            tag: source.tag,
            subprog_tags,
            uid: source.uid,
            load_time: time::boot_ns(),
            verified_insns: source.verified.processed(),
            ctx_end: source.verified.ctx_end(),
            _buffers: match source.verified.code().insns.iter().any(|i| *i == GET_STACK) {
                true => Some(Buffers::new()?),
                false => None,
            },
            maps: source.maps,
            bound: KBox::pin_init(new_mutex!(KVec::new()), GFP_KERNEL_ACCOUNT)?,
            xlated,
            btf: source.btf,
            source: source.verified.take_source(),
        };
        let mut engine = Engine::new(source.verified, &aux)?;
        engine.publish(&aux.name, &aux.subprog_tags)?;
        let patches = engine.take_patches();
        let stats = Stats::new()?;
        // From here on the engine does not move.
        let info = KBox::new(Info { engine, stats, aux }, GFP_KERNEL_ACCOUNT)?;
        let base = info.engine.base(&BaseSpec {
            ty: source.ty as u32,
            gpl: source.gpl,
            xdp_frags: source.xdp_frags,
            word: 0,
        })?;
        let prog = Shared::new(Prog { base, info })?;
        for map in &prog.aux().maps {
            if let Some(progs) = map.progs() {
                progs.admit(&prog)?;
            }
        }
        for patch in patches {
            let map = prog.aux().maps.get(usize::from(patch.site().map));
            let map = map.ok_or(EFAULT)?;
            if let (Some(progs), Some(words)) = (map.progs(), map.map().fd_array()) {
                progs.track(words, prog.key(), patch)?;
            }
        }
        Ok(prog)
    }

    /// What tells it from all other programs as long as it lives.
    fn key(&self) -> usize {
        core::ptr::from_ref(self) as usize
    }

    /// Runs it on the context at `ctx`, which is what programs of its type expect there.
    #[inline]
    pub(crate) fn run(&self, guard: &RunGuard, ctx: usize) -> u64 {
        // What is seldom is called at the end, with the context where it is: there is nothing to save
        // or to move before.
        match stats::wanted() {
            false => self.run_it(guard, ctx),
            true => self.run_counted(ctx, guard),
        }
    }

    #[inline(always)]
    fn run_it(&self, guard: &RunGuard, ctx: usize) -> u64 {
        match self.base.run(guard, ctx) {
            Some(value) => value,
            None => self.interpret(ctx, guard),
        }
    }

    #[inline(never)]
    fn run_counted(&self, ctx: usize, guard: &RunGuard) -> u64 {
        self.info.stats.count(|| self.run_it(guard, ctx))
    }

    #[inline(never)]
    fn interpret(&self, ctx: usize, guard: &RunGuard) -> u64 {
        self.info.engine.interpret(guard, ctx)
    }

    /// A hook was hit and did not run it, because one of ours ran on that CPU already.
    pub(crate) fn missed(&self) {
        self.info.stats.missed();
    }

    /// How often it ran, and so on.
    pub(crate) fn stats(&self) -> Sums {
        self.info.stats.sums()
    }

    /// Not 0 while runs of programs are counted.
    pub(crate) fn counting() -> &'static AtomicI64 {
        stats::counting()
    }

    /// The part that never changes.
    pub(crate) fn base(&self) -> &Fixed {
        &self.base
    }

    /// Its machine code, if it was compiled.
    pub(crate) fn compiled(&self) -> Option<&Compiled> {
        self.info.engine.compiled()
    }

    /// Everything else.
    pub(crate) fn aux(&self) -> &Aux {
        &self.info.aux
    }
}

impl Drop for Prog {
    /// Nothing runs it any more. Arrays that it uses forget its jumps, before its machine code goes.
    fn drop(&mut self) {
        for map in &self.aux().maps {
            if let Some(progs) = map.progs() {
                progs.forget(self.key());
            }
        }
    }
}

/// The tag of instructions: a digest in which descriptors of maps do not count.
///
/// # Errors
///
/// `ENOMEM`
pub(crate) fn tag(insns: &[RawInsn]) -> Result<[u8; TAG_SIZE]> {
    /// `BPF_LD | BPF_IMM | BPF_DW`
    const LD_IMM64: u8 = 0x18;
    /// `BPF_PSEUDO_MAP_FD`, `BPF_PSEUDO_MAP_VALUE`
    const MAP_SOURCES: [u8; 2] = [1, 2];

    let mut bytes = KVVec::with_capacity(insns.len().saturating_mul(8), GFP_KERNEL)?;
    let mut after_map = false;
    for insn in insns {
        let map = !after_map && insn.code == LD_IMM64 && MAP_SOURCES.contains(&insn.src());
        let second = after_map && insn.code == 0 && insn.regs == 0 && insn.off == 0;
        let imm = if map || second { 0 } else { insn.imm };
        after_map = map;
        bytes.extend_from_slice(&[insn.code, insn.regs], GFP_KERNEL)?;
        bytes.extend_from_slice(&insn.off.to_le_bytes(), GFP_KERNEL)?;
        bytes.extend_from_slice(&imm.to_le_bytes(), GFP_KERNEL)?;
    }
    let digest = sha256(&bytes);
    let mut tag = [0; TAG_SIZE];
    for (to, from) in tag.iter_mut().zip(digest) {
        *to = from;
    }
    Ok(tag)
}

/// The tags of a program's subprograms; one that has no others has its own.
fn subprog_tags(source: &Source, xlated: &[RawInsn]) -> Result<KVec<[u8; TAG_SIZE]>> {
    let subprogs = &source.verified.code().subprogs;
    let mut tags = KVec::with_capacity(subprogs.len(), GFP_KERNEL_ACCOUNT)?;
    for (i, sub) in subprogs.iter().enumerate() {
        let insns = xlated.get(sub.start as usize..sub.end as usize);
        let tag = match i {
            // It is the program's name in the kernel's symbol table.
            0 => source.tag,
            _ => tag(insns.ok_or(EINVAL)?)?,
        };
        tags.push(tag, GFP_KERNEL_ACCOUNT)?;
    }
    Ok(tags)
}

/// The instructions as user space gets to see them: maps by number instead of by descriptor.
fn xlate(verified: &VerifiedProg, maps: &[Shared<MapObject>]) -> Result<KVVec<RawInsn>> {
    let id = |map: u32| maps.get(map as usize).map_or(0, |map| map.id() as i32);
    let resolve = |at, imm| match imm {
        Imm64::Map(map) => RawImm64 {
            src: 1,
            lo: id(map),
            hi: 0,
        },
        Imm64::MapValue { map, off } => RawImm64 {
            src: 2,
            lo: id(map),
            hi: off as i32,
        },
        Imm64::Value(_)
        | Imm64::MapFd(_)
        | Imm64::MapValueFd { .. }
        | Imm64::MapIdx(_)
        | Imm64::MapValueIdx { .. }
        | Imm64::Func(_)
        | Imm64::BtfId { .. } => wire_imm64(at, imm),
    };
    let mut out = KVVec::new();
    encode(&verified.code().insns, resolve, &mut out)?;
    Ok(out)
}

/// What a program's descriptor holds.
pub(crate) struct ProgFile(Shared<Prog>);

impl ProgFile {
    pub(crate) fn new(prog: Shared<Prog>) -> Self {
        ProgFile(prog)
    }

    /// The program.
    pub(crate) fn prog(&self) -> &Shared<Prog> {
        &self.0
    }
}

impl FileObject for ProgFile {
    const NAME: &'static CStr = c"bpf-prog";

    fn fdinfo(&self, out: &mut dyn Write) {
        let aux = self.0.aux();
        let stats = self.0.stats();
        let _ = write!(
            out,
            "prog_type:\t{}\nprog_jited:\t{}\nprog_tag:\t",
            aux.ty as u32,
            u32::from(self.0.compiled().is_some()),
        );
        for byte in aux.tag {
            let _ = write!(out, "{byte:02x}");
        }
        let _ = write!(
            out,
            "\nprog_id:\t{}\nrun_time_ns:\t{}\nrun_cnt:\t{}\nrecursion_misses:\t{}\n\
             verified_insns:\t{}\n",
            self.0.id(),
            stats.ns,
            stats.runs,
            stats.misses,
            aux.verified_insns,
        );
    }
}
