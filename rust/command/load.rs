// SPDX-License-Identifier: GPL-2.0

//! PROG_LOAD: checks who asks, verifies, and makes the program.

mod source;

use super::errno::eproto;
use super::log::LogAttr;
use super::{object_name, Attr};
use crate::abi::{ProgType, COMPLEXITY_LIMIT_INSNS, MAX_USED_MAPS};
use crate::attach;
use crate::btf::Btf;
use crate::isa::RawInsn;
use crate::object::btf::{BtfFile, BtfObject};
use crate::object::{MapFile, MapObject};
use crate::prog::{self, ProgFile};
use crate::sys::anon::{self, FileRef, Mode};
use crate::sys::context;
use crate::sys::cpus;
use crate::sys::cred::{self, Cap, Uid};
use crate::sys::shared::Shared;
use crate::sys::user::User;
use crate::verifier::log::Log;
use crate::verifier::source::Source;
use crate::verifier::{verify, Env, MapFacts, Options, VerifiedProg};
use kernel::prelude::*;

/// Fields of PROG_LOAD.
#[repr(C)]
#[derive(FromBytes)]
struct LoadAttr {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
    prog_ifindex: u32,
    expected_attach_type: u32,
    prog_btf_fd: u32,
    func_info_rec_size: u32,
    func_info: u64,
    func_info_cnt: u32,
    line_info_rec_size: u32,
    line_info: u64,
    line_info_cnt: u32,
    attach_btf_id: u32,
    attach_prog_fd: u32,
    core_relo_cnt: u32,
    fd_array: u64,
    core_relos: u64,
    core_relo_rec_size: u32,
    log_true_size: u32,
    prog_token_fd: i32,
    fd_array_cnt: u32,
    signature: u64,
    signature_size: u32,
    keyring_id: i32,
}

const STRICT_ALIGNMENT: u32 = 1 << 0;
const ANY_ALIGNMENT: u32 = 1 << 1;
const TEST_STATE_FREQ: u32 = 1 << 3;
const SLEEPABLE: u32 = 1 << 4;
const XDP_HAS_FRAGS: u32 = 1 << 5;
const TOKEN_FD: u32 = 1 << 16;
/// All flags that there are; `BPF_F_TEST_RND_HI32`, `BPF_F_XDP_HAS_FRAGS`,
/// `BPF_F_XDP_DEV_BOUND_ONLY` and `BPF_F_TEST_REG_INVARIANTS` besides those above.
const FLAGS: u32 = 0xff | TOKEN_FD;

/// Instructions of a program whose loader has no CAP_BPF.
const UNPRIVILEGED_INSNS: u32 = 4096;
/// Bytes of a license that are looked at, the NUL included.
const LICENSE_LEN: usize = 128;

/// Types (`enum bpf_prog_type`) that everybody may load, as far as the sysctl lets them: socket
/// filters and cgroup packet filters.
const UNPRIVILEGED_TYPES: &[u32] = &[1, 8];
/// Types that need CAP_NET_ADMIN too.
const NET_ADMIN_TYPES: &[u32] = &[
    3, 4, 6, 9, 10, 11, 12, 13, 14, 15, 16, 18, 19, 22, 23, 25, 28, 32,
];
/// Types that need CAP_PERFMON too.
const PERFMON_TYPES: &[u32] = &[2, 5, 7, 17, 24, 26, 27, 28, 29];

impl LoadAttr {
    fn log(&self) -> LogAttr {
        LogAttr {
            level: self.log_level,
            size: self.log_size,
            buf: self.log_buf,
            true_size_at: core::mem::offset_of!(LoadAttr, log_true_size),
        }
    }
}

/// May the current task load such a program?
fn check_caps(a: &LoadAttr, bpf: bool) -> Result {
    if cred::unprivileged_disabled() && !bpf {
        return Err(EPERM);
    }
    let limit = if bpf {
        COMPLEXITY_LIMIT_INSNS
    } else {
        UNPRIVILEGED_INSNS
    };
    if a.insn_cnt == 0 || a.insn_cnt > limit {
        return Err(E2BIG);
    }
    if !bpf && !UNPRIVILEGED_TYPES.contains(&a.prog_type) {
        return Err(EPERM);
    }
    if NET_ADMIN_TYPES.contains(&a.prog_type) && !Cap::NetAdmin.held() {
        return Err(EPERM);
    }
    if PERFMON_TYPES.contains(&a.prog_type) && !Cap::Perfmon.held() {
        return Err(EPERM);
    }
    Ok(())
}

/// What a program is to be attached to, as far as the load has to say it.
fn check_attach(a: &LoadAttr) -> Result {
    // Only types that are not there attach to programs or by BTF id.
    if a.attach_prog_fd != 0 || a.attach_btf_id != 0 {
        return Err(EINVAL);
    }
    // BPF_TRACE_FENTRY_MULTI to BPF_TRACE_FSESSION_MULTI are for tracing programs only.
    if (59..=61).contains(&a.expected_attach_type) {
        return Err(EINVAL);
    }
    // Ingress or egress.
    if a.prog_type == ProgType::CgroupSkb as u32 && a.expected_attach_type > 1 {
        return Err(EINVAL);
    }
    Ok(())
}

fn read_insns(a: &LoadAttr) -> Result<KVVec<RawInsn>> {
    const SLOT: usize = 8;
    let count = a.insn_cnt as usize;
    let bytes = User::new(a.insns).read_vec(count.checked_mul(SLOT).ok_or(E2BIG)?)?;
    let mut insns = KVVec::with_capacity(count, GFP_KERNEL_ACCOUNT)?;
    for slot in bytes.chunks_exact(SLOT) {
        let &[code, regs, off0, off1, imm0, imm1, imm2, imm3] = slot else {
            return Err(EINVAL);
        };
        let raw = RawInsn {
            code,
            regs,
            off: i16::from_le_bytes([off0, off1]),
            imm: i32::from_le_bytes([imm0, imm1, imm2, imm3]),
        };
        insns.push(raw, GFP_KERNEL_ACCOUNT)?;
    }
    Ok(insns)
}

/// The verifier's view of the loading task: its descriptors and signals.
struct LoadEnv {
    /// The program's maps so far; each is kept.
    maps: KVec<Shared<MapObject>>,
    /// The load's array of descriptors.
    fd_array: User,
    /// Its type information, and the records that refer to it.
    source: Option<(Shared<BtfObject>, Source)>,
}

impl LoadEnv {
    /// Takes the maps of a counted `fd_array` in.
    fn take_array(&mut self, count: u32, log: &mut Log) -> Result {
        if count >= u32::MAX / 4 {
            log.line(format_args!("fd_array_cnt is too big ({count})"));
            return Err(EINVAL);
        }
        for i in 0..count {
            let fd = self.array_fd(u64::from(i))?;
            match self.use_map_fd(fd) {
                Ok(_) => {}
                Err(e) if e == EBADF || e == EINVAL => {
                    log.line(format_args!(
                        "fd {fd} is not pointing to valid bpf_map or btf"
                    ));
                    return Err(e);
                }
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    fn array_fd(&self, index: u64) -> Result<i32> {
        let mut fd = [0; 4];
        self.fd_array.add(index.wrapping_mul(4)).read(&mut fd)?;
        Ok(i32::from_ne_bytes(fd))
    }
}

impl Env for LoadEnv {
    fn use_map_fd(&mut self, fd: i32) -> Result<u32> {
        let file = FileRef::<MapFile>::get(fd as u32)?;
        let map = file.object();
        if let Some(index) = self.maps.iter().position(|used| used.same(map)) {
            return u32::try_from(index).map_err(|_| E2BIG);
        }
        if self.maps.len() >= MAX_USED_MAPS {
            return Err(E2BIG);
        }
        self.maps.push(map.clone(), GFP_KERNEL_ACCOUNT)?;
        u32::try_from(self.maps.len().saturating_sub(1)).map_err(|_| E2BIG)
    }

    fn use_map_idx(&mut self, idx: i32) -> Result<u32> {
        if self.fd_array.is_null() {
            return Err(eproto());
        }
        let fd = self.array_fd(idx as u64)?;
        self.use_map_fd(fd)
    }

    fn map(&self, index: u32) -> Option<MapFacts> {
        let object = self.maps.get(index as usize)?;
        let mut facts = object.map().facts();
        facts.frozen = facts.rdonly_prog && object.frozen();
        Some(facts)
    }

    fn inner_map(&self, index: u32) -> Option<MapFacts> {
        Some(self.maps.get(index as usize)?.template()?.facts())
    }

    fn read_frozen(&self, index: u32, off: u32, buf: &mut [u8]) -> bool {
        let mut read = |object: &MapObject| -> Result<()> {
            let mut value = KVVec::from_elem(0u8, object.map().user_value_size(0), GFP_KERNEL)?;
            object.map().lookup(&[0; 4], &mut value, 0)?;
            let from = off as usize;
            let to = from.checked_add(buf.len()).ok_or(EINVAL)?;
            buf.copy_from_slice(value.get(from..to).ok_or(EINVAL)?);
            Ok(())
        };
        self.maps.get(index as usize).is_some_and(|object| {
            object.frozen() && object.map().facts().direct_value && read(object).is_ok()
        })
    }

    fn cpus(&self) -> u32 {
        u32::try_from(cpus::ids()).unwrap_or(u32::MAX)
    }

    fn sys_admin(&self) -> bool {
        Cap::SysAdmin.held()
    }

    fn btf(&self) -> Option<&Btf> {
        self.source.as_ref().map(|(object, _)| object.btf())
    }

    fn source(&self) -> Option<&Source> {
        self.source.as_ref().map(|(_, source)| source)
    }

    fn interrupted(&mut self) -> bool {
        context::breathe()
    }
}

/// Checks the program, with an explanation in `log`.
fn check(
    attr: &Attr,
    a: &LoadAttr,
    insns: &[RawInsn],
    options: &Options,
    env: &mut LoadEnv,
    log: &mut Log,
) -> Result<VerifiedProg> {
    env.take_array(a.fd_array_cnt, log)?;
    if a.func_info_cnt != 0 || a.line_info_cnt != 0 {
        let file = FileRef::<BtfFile>::get(a.prog_btf_fd)?;
        let object = file.object().clone();
        let records = source::read_source(attr, a, object.btf(), log)?;
        env.source = Some((object, records));
        // Relocations by type are for who has the kernel's types.
        if a.core_relo_cnt != 0 {
            return Err(ENOTSUPP);
        }
    }
    if a.prog_flags & SLEEPABLE != 0 {
        log.line(format_args!(
            "Only fentry/fexit/fmod_ret, lsm, iter, uprobe, and struct_ops programs can be sleepable"
        ));
        return Err(EINVAL);
    }
    verify(insns, options, env, log)
}

/// PROG_LOAD
pub(super) fn load(attr: &Attr) -> Result<i32> {
    let a: LoadAttr = attr.view()?;
    a.log().check()?;
    if a.prog_flags & !FLAGS != 0 {
        return Err(EINVAL);
    }
    if a.prog_flags & TOKEN_FD != 0 {
        return Err(super::foreign_fd(a.prog_token_fd as u32));
    }
    let bpf_capable = Cap::Bpf.held();
    check_caps(&a, bpf_capable)?;
    check_attach(&a)?;
    let insns = read_insns(&a)?;
    let mut license = [0; LICENSE_LEN];
    let gpl = cred::gpl_compatible(User::new(a.license).read_str(&mut license)?);
    // Neither signatures nor programs bound to a device are there.
    if a.signature != 0 || a.prog_ifindex != 0 {
        return Err(EINVAL);
    }
    let prog_type = ProgType::new(a.prog_type).ok_or(EINVAL)?;
    let name = object_name(&a.prog_name)?;
    let options = Options {
        prog_type,
        attach_type: a.expected_attach_type,
        gpl,
        allow_ptr_leaks: Cap::Perfmon.held(),
        bpf_capable,
        strict_alignment: a.prog_flags & STRICT_ALIGNMENT != 0 && a.prog_flags & ANY_ALIGNMENT == 0,
        test_state_freq: bpf_capable && a.prog_flags & TEST_STATE_FREQ != 0,
        layout: attach::layout::running(),
    };
    let mut env = LoadEnv {
        maps: KVec::new(),
        fd_array: User::new(a.fd_array),
        source: None,
    };
    let mut log = a.log().start();
    let verdict = check(attr, &a, &insns, &options, &mut env, &mut log);
    a.log().finish(attr, &log)?;
    let prog = prog::Prog::new(prog::Source {
        ty: prog_type,
        gpl,
        expected_attach_type: a.expected_attach_type,
        xdp_frags: a.prog_flags & XDP_HAS_FRAGS != 0,
        name,
        uid: Uid::current(),
        tag: prog::tag(&insns)?,
        verified: verdict?,
        maps: env.maps,
        btf: env.source.map(|(btf, _)| btf),
    })?;
    prog.publish()?;
    anon::install(ProgFile::new(prog), Mode::ReadWrite)
}
