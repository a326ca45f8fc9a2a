// SPDX-License-Identifier: GPL-2.0

//! Decoding, and map references: fds and indices become entries of the program's used maps.

use super::error::refuse;
use super::log::Log;
use super::{Env, Options};
use crate::abi::ProgType;
use crate::isa::decode::decode_into;
use crate::isa::{Imm64, Insn, RawInsn};
use kernel::prelude::*;

/// Decodes a program and resolves its maps.
///
/// # Errors
///
/// Those of the decoder; those of [`Env::use_map_fd`] and [`Env::use_map_idx`]; `EINVAL` for an
/// address inside a map that has none, or outside of the value.
pub(crate) fn decode_and_resolve(
    raw: &[RawInsn],
    options: &Options,
    env: &mut dyn Env,
    log: &mut Log,
) -> Result<KVVec<Insn>> {
    // Maps that the load named besides.
    let mut given = 0;
    while env.map(given).is_some() {
        check_lock(given, options, env, log)?;
        given = given.saturating_add(1);
    }
    let mut insns = KVVec::new();
    let decoded = decode_into(raw, options.bpf_capable, &mut insns);
    // Maps of the instructions before a fault come first, as they do in-tree.
    for (at, insn) in insns.iter_mut().enumerate() {
        if at % 4096 == 4095 && env.interrupted() {
            return Err(EAGAIN);
        }
        if let Insn::LdImm64 { imm, .. } = insn {
            *imm = resolve(*imm, options, env, log)?;
        }
    }
    match decoded {
        Ok(()) => Ok(insns),
        Err(e) => {
            if e.errno() == ENOMEM {
                return Err(ENOMEM);
            }
            refuse!(log, e.errno(), "{}", e)
        }
    }
}

/// Programs of this type may use map `index`.
///
/// What a lock is in may not be used by programs that can run anywhere, also while the lock is held, or
/// where an interrupt waits for who waits for it. In-tree does not ask this of maps in maps.
fn check_lock(index: u32, options: &Options, env: &dyn Env, log: &mut Log) -> Result {
    let maps = [env.map(index), env.inner_map(index)];
    if maps.iter().flatten().all(|facts| facts.lock.is_none()) {
        return Ok(());
    }
    let which = match options.prog_type {
        ProgType::SocketFilter => "socket filter",
        ProgType::Kprobe | ProgType::Tracepoint | ProgType::PerfEvent | ProgType::RawTracepoint => {
            "tracing"
        }
        ProgType::SchedCls | ProgType::SchedAct | ProgType::Xdp | ProgType::CgroupSkb => {
            return Ok(())
        }
    };
    refuse!(log, EINVAL, "{} progs cannot use bpf_spin_lock yet", which)
}

fn resolve(imm: Imm64, options: &Options, env: &mut dyn Env, log: &mut Log) -> Result<Imm64> {
    let (found, off) = match imm {
        Imm64::MapFd(fd) => (env.use_map_fd(fd).map_err(|e| (e, Some(fd))), None),
        Imm64::MapValueFd { fd, off } => (env.use_map_fd(fd).map_err(|e| (e, Some(fd))), Some(off)),
        Imm64::MapIdx(idx) => (env.use_map_idx(idx).map_err(|e| (e, None)), None),
        Imm64::MapValueIdx { idx, off } => (env.use_map_idx(idx).map_err(|e| (e, None)), Some(off)),
        Imm64::Value(_)
        | Imm64::Func(_)
        | Imm64::BtfId { .. }
        | Imm64::Map(_)
        | Imm64::MapValue { .. } => return Ok(imm),
    };
    let map = match found {
        Ok(map) => map,
        Err((e, fd)) => {
            if e == E2BIG {
                return refuse!(
                    log,
                    e,
                    "The total number of maps per program has reached the limit of {}",
                    crate::abi::MAX_USED_MAPS
                );
            }
            return match fd {
                Some(fd) => refuse!(log, e, "fd {} is not pointing to valid bpf_map", fd),
                None => Err(e),
            };
        }
    };
    check_lock(map, options, env, log)?;
    let Some(off) = off else {
        return Ok(Imm64::Map(map));
    };
    let facts = env.map(map).ok_or(EFAULT)?;
    if !facts.direct_value {
        return refuse!(
            log,
            EINVAL,
            "no direct value access support for this map type"
        );
    }
    if off >= facts.value_size {
        return refuse!(
            log,
            EINVAL,
            "invalid access to map value pointer, value_size={} off={}",
            facts.value_size,
            off
        );
    }
    Ok(Imm64::MapValue { map, off })
}
