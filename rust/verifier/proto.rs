// SPDX-License-Identifier: GPL-2.0

//! Prototypes of global functions: what goes in and out, by the type information of the load.
//!
//! A global function is verified once, for all arguments that its prototype allows, and each caller is
//! held to the prototype ([`super::transfer`]). So all that is believed of an argument must be said
//! here, and nothing here is believed of the type information's author: a wrong prototype makes one of
//! the two sides fail.

use super::log::Log;
use super::Options;
use crate::abi::ProgType;
use crate::btf::{Btf, Kind, Type};
use crate::verifier::error::refuse;
use kernel::prelude::*;

/// Arguments that are passed in registers.
pub(crate) const MAX_ARGS: usize = 5;
/// Parameters that a function may have at all (`MAX_BPF_FUNC_ARGS`).
const MAX_PARAMS: u32 = 12;

/// What an argument is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ArgKind {
    /// A number.
    Scalar,
    /// The program's context.
    Ctx,
    /// Memory that may be read and written.
    Mem {
        /// Bytes.
        size: u32,
        /// It may be NULL.
        or_null: bool,
    },
}

/// A function's prototype.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Proto {
    args: [ArgKind; MAX_ARGS],
    count: usize,
    /// It returns nothing.
    pub(crate) void: bool,
}

/// What tags say of an argument (`__arg_ctx` and the like).
#[derive(Clone, Copy, Default)]
struct Tags {
    bits: u8,
    /// There is one that nobody knows.
    unknown: bool,
}

impl Tags {
    const CTX: u8 = 1;
    const NONNULL: u8 = 2;
    const TRUSTED: u8 = 4;
    const UNTRUSTED: u8 = 8;
    const NULLABLE: u8 = 16;
    const ARENA: u8 = 32;
    /// What all values of such tags begin with.
    const KEY: &'static [u8] = b"arg:";
    const NAMES: [(&'static [u8], u8); 6] = [
        (b"ctx", Tags::CTX),
        (b"nonnull", Tags::NONNULL),
        (b"trusted", Tags::TRUSTED),
        (b"untrusted", Tags::UNTRUSTED),
        (b"nullable", Tags::NULLABLE),
        (b"arena", Tags::ARENA),
    ];

    fn has(self, bits: u8) -> bool {
        self.bits & bits != 0
    }

    /// Others than those.
    fn others(self, bits: u8) -> bool {
        self.bits & !bits != 0
    }
}

/// Names of the struct that is the context of programs of that type; the first is the type's own.
fn ctx_names(prog: ProgType) -> &'static [&'static [u8]] {
    match prog {
        ProgType::SocketFilter | ProgType::SchedCls | ProgType::SchedAct | ProgType::CgroupSkb => {
            &[b"__sk_buff", b"sk_buff"]
        }
        ProgType::Xdp => &[b"xdp_md", b"xdp_buff"],
        ProgType::Kprobe => &[b"pt_regs", b"bpf_user_pt_regs_t"],
        ProgType::PerfEvent => &[b"bpf_perf_event_data"],
        ProgType::RawTracepoint => &[b"bpf_raw_tracepoint_args"],
        ProgType::Tracepoint => &[b"__u64"],
    }
}

/// The name of function number `id`.
pub(crate) fn name(btf: &Btf, id: u32) -> &[u8] {
    btf.ty(id)
        .and_then(|func| btf.prefix(func.name, Log::MAX_PIECE))
        .unwrap_or(&[])
}

impl Proto {
    /// What goes in, in order.
    pub(crate) fn args(&self) -> &[ArgKind] {
        self.args.get(..self.count).unwrap_or(&self.args)
    }

    /// The prototype of function number `id` of the type information.
    ///
    /// # Errors
    ///
    /// As in-tree, which are `EINVAL` for arguments of other types, `EOPNOTSUPP` for such results and for unknown
    /// tags, `EFAULT` for more than five arguments; `ENOTSUPP` for what only in-tree has: dynptrs, objects of
    /// the kernel, arenas.
    pub(crate) fn of(btf: &Btf, id: u32, options: &Options, log: &mut Log) -> Result<Proto> {
        let func = btf.ty(id).filter(|t| t.kind == Kind::Func);
        let func = func.ok_or(EFAULT)?;
        let proto = btf.ty(func.refers()).filter(|t| t.kind == Kind::FuncProto);
        let proto = proto.ok_or(EFAULT)?;
        let count = proto.vlen as usize;
        if proto.vlen > MAX_PARAMS {
            log.put(format_args!(
                "kernel supports at most {MAX_PARAMS} parameters, function "
            ));
            log.put_bytes(name(btf, id));
            return refuse!(log, EFAULT, " has {count}");
        }
        if count > MAX_ARGS {
            log.put(format_args!("global function "));
            log.put_bytes(name(btf, id));
            log.line(format_args!(
                " has {count} > {MAX_ARGS} args, stack args not supported"
            ));
            // Nobody can have put it there.
            return refuse!(
                log,
                EFAULT,
                "callee expects {count} args, stack arg1 is not initialized"
            );
        }
        let result = btf.skip_modifiers(proto.refers()).ok_or(EFAULT)?;
        let void = result.kind == Kind::Void;
        if !void && result.kind != Kind::Int && !result.kind.is_enum() {
            log.put(format_args!("Global function "));
            log.put_bytes(name(btf, id));
            return refuse!(
                log,
                unsupported(),
                "() return value not void or scalar. Only those are supported."
            );
        }
        let tags = tags(btf, id);
        let mut args = [ArgKind::Scalar; MAX_ARGS];
        for (i, (arg, tags)) in (0..proto.vlen).zip(args.iter_mut().zip(tags)) {
            let param = btf.param(&proto, i).ok_or(EFAULT)?;
            let about = About {
                btf,
                i,
                options,
                func: id,
            };
            *arg = about.arg(param.ty, tags, log)?;
        }
        Ok(Proto { args, count, void })
    }
}

/// `EOPNOTSUPP`
fn unsupported() -> Error {
    Error::from_errno(-95)
}

/// The tags of all arguments of function number `id`.
fn tags(btf: &Btf, id: u32) -> [Tags; MAX_ARGS] {
    let mut all = [Tags::default(); MAX_ARGS];
    for tag in (1..btf.types()).filter_map(|tag| btf.ty(tag)) {
        if tag.kind != Kind::DeclTag || tag.refers() != id {
            continue;
        }
        let index = usize::try_from(btf.tag_index(&tag)).ok();
        let Some(arg) = index.and_then(|i| all.get_mut(i)) else {
            continue;
        };
        // Longer than any that is known is as good as all of it.
        let value = btf.prefix(tag.name, 32).unwrap_or(&[]);
        let Some(value) = value.strip_prefix(Tags::KEY) else {
            continue;
        };
        match Tags::NAMES.iter().find(|(name, _)| *name == value) {
            Some((_, bit)) => arg.bits |= bit,
            None => arg.unknown = true,
        }
    }
    all
}

/// The argument that is looked at.
struct About<'a> {
    btf: &'a Btf,
    i: u32,
    options: &'a Options,
    func: u32,
}

impl About<'_> {
    fn arg(&self, ty: u32, mut tags: Tags, log: &mut Log) -> Result<ArgKind> {
        let i = self.i;
        if tags.unknown {
            return refuse!(log, unsupported(), "arg#{i} has unsupported set of tags");
        }
        let t = self.btf.skip_modifiers(ty).ok_or(EFAULT)?;
        if t.kind == Kind::Ptr {
            if self.points_to_arena(&t) {
                tags.bits |= Tags::ARENA;
            }
            return self.pointer(&t, tags, log);
        }
        if tags.bits != 0 {
            return refuse!(
                log,
                EINVAL,
                "arg#{i} has pointer tag, but is not a pointer type"
            );
        }
        if t.kind == Kind::Int || t.kind.is_enum() {
            return Ok(ArgKind::Scalar);
        }
        log.put(format_args!("Arg#{i} type {} in ", t.kind.name()));
        log.put_bytes(name(self.btf, self.func));
        refuse!(log, EINVAL, "() is not supported yet.")
    }

    fn pointer(&self, ptr: &Type, tags: Tags, log: &mut Log) -> Result<ArgKind> {
        let i = self.i;
        let wrong_tags =
            |log: &mut Log| refuse!(log, EINVAL, "arg#{i} has invalid combination of tags");
        if tags.has(Tags::CTX) || self.is_ctx(ptr) {
            if tags.others(Tags::CTX) {
                return wrong_tags(log);
            }
            if tags.has(Tags::CTX) {
                self.check_tagged_ctx(ptr, log)?;
            }
            return Ok(ArgKind::Ctx);
        }
        let to = self.btf.skip_modifiers(ptr.refers()).ok_or(EFAULT)?;
        if self.is_dynptr(&to) {
            if tags.bits != 0 {
                return wrong_tags(log);
            }
            return refuse!(log, ENOTSUPP, "arg#{i} is a dynptr, which is not supported");
        }
        if tags.has(Tags::TRUSTED | Tags::UNTRUSTED | Tags::ARENA) {
            return refuse!(log, ENOTSUPP, "arg#{i} has a tag that is not supported");
        }
        if tags.has(Tags::NULLABLE) {
            return wrong_tags(log);
        }
        let Some((_, size)) = self.btf.sized(to.id) else {
            log.put(format_args!("arg#{i} reference type('{} ", to.kind.name()));
            log.put_bytes(self.btf.prefix(to.name, Log::MAX_PIECE).unwrap_or(&[]));
            return refuse!(log, EINVAL, "') size cannot be determined: -22");
        };
        Ok(ArgKind::Mem {
            size,
            or_null: !tags.has(Tags::NONNULL),
        })
    }

    /// A type tag says that the pointer is one into an arena.
    fn points_to_arena(&self, ptr: &Type) -> bool {
        let mut next = self.btf.ty(ptr.refers());
        while let Some(t) = next.filter(|t| t.kind.is_modifier()) {
            if t.kind == Kind::TypeTag && !t.kflag && self.named(&t, b"arena") {
                return true;
            }
            next = self.btf.ty(t.refers());
        }
        false
    }

    fn named(&self, t: &Type, name: &[u8]) -> bool {
        self.btf.prefix(t.name, name.len().saturating_add(1)) == Some(name)
    }

    fn is_dynptr(&self, t: &Type) -> bool {
        let right = t.kind.is_struct() || (t.kind == Kind::Fwd && !t.kflag);
        right && self.named(t, b"bpf_dynptr")
    }

    /// The pointer is one to the typedef that stands for registers of user space.
    fn is_regs_typedef(&self, ptr: &Type) -> bool {
        let mut next = self.btf.ty(ptr.refers());
        while let Some(t) = next.filter(|t| t.kind.is_modifier()) {
            if t.kind == Kind::Typedef {
                return self.named(&t, b"bpf_user_pt_regs_t");
            }
            next = self.btf.ty(t.refers());
        }
        false
    }

    /// The pointer is one to the context of such programs, by its name.
    fn is_ctx(&self, ptr: &Type) -> bool {
        let prog = self.options.prog_type;
        if prog == ProgType::Kprobe && self.is_regs_typedef(ptr) {
            return true;
        }
        let to = self.btf.skip_modifiers(ptr.refers());
        to.filter(|t| t.kind.is_struct())
            .is_some_and(|t| ctx_names(prog).iter().any(|name| self.named(&t, name)))
    }

    /// An argument that is tagged as the context may be of that type.
    fn check_tagged_ctx(&self, ptr: &Type, log: &mut Log) -> Result {
        let (i, prog) = (self.i, self.options.prog_type);
        let regs = matches!(prog, ProgType::Kprobe | ProgType::PerfEvent);
        if regs && self.is_regs_typedef(ptr) {
            return Ok(());
        }
        let to = self.btf.skip_modifiers(ptr.refers()).ok_or(EFAULT)?;
        if to.kind == Kind::Void {
            return Ok(());
        }
        if self.btf.prefix(to.name, 1).is_none_or(<[u8]>::is_empty) {
            return refuse!(log, EINVAL, "arg#{i} type doesn't have a name");
        }
        let is_struct = |name: &[u8]| to.kind == Kind::Struct && self.named(&to, name);
        let special = match prog {
            ProgType::Kprobe | ProgType::PerfEvent => is_struct(b"pt_regs"),
            ProgType::RawTracepoint => to.kind == Kind::Int && to.size == 8,
            ProgType::Tracepoint => true,
            ProgType::SocketFilter
            | ProgType::SchedCls
            | ProgType::SchedAct
            | ProgType::CgroupSkb
            | ProgType::Xdp => false,
        };
        let own = ctx_names(prog).first().copied().unwrap_or(&[]);
        if special || is_struct(own) {
            return Ok(());
        }
        log.put(format_args!("arg#{i} should be `struct "));
        log.put_bytes(own);
        refuse!(log, EINVAL, " *`")
    }
}
