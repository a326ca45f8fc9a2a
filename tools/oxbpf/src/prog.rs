// SPDX-License-Identifier: GPL-2.0

//! Programs.

use crate::attr::{self, Attr};
use crate::{cmd, Bpf, Errno, Result};
use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// One instruction slot, as it lies in memory.
pub type Slot = [u8; 8];

/// Program type (`enum bpf_prog_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProgType(pub u32);

impl ProgType {
    /// Socket filter.
    pub const SOCKET_FILTER: ProgType = ProgType(1);
    /// Kernel probe.
    pub const KPROBE: ProgType = ProgType(2);
    /// tc classifier.
    pub const SCHED_CLS: ProgType = ProgType(3);
    /// tc action.
    pub const SCHED_ACT: ProgType = ProgType(4);
    /// Tracepoint.
    pub const TRACEPOINT: ProgType = ProgType(5);
    /// Express data path.
    pub const XDP: ProgType = ProgType(6);
    /// Perf event.
    pub const PERF_EVENT: ProgType = ProgType(7);
    /// Cgroup packet filter.
    pub const CGROUP_SKB: ProgType = ProgType(8);
    /// Raw tracepoint.
    pub const RAW_TRACEPOINT: ProgType = ProgType(17);
}

/// What a program is loaded from.
#[derive(Clone, Debug)]
pub struct ProgSpec<'a> {
    /// Type.
    pub ty: ProgType,
    /// Instructions.
    pub insns: &'a [Slot],
    /// License text.
    pub license: &'a str,
    /// Name, 15 bytes at most.
    pub name: &'a str,
    /// `BPF_F_*`
    pub flags: u32,
    /// `enum bpf_attach_type`
    pub expected_attach_type: u32,
    /// Verifier log: 0 none, 1, 2, and bit 2 for statistics.
    pub log_level: u32,
    /// Bytes of the log's buffer.
    pub log_size: usize,
    /// Map fds that instructions name by index.
    pub fd_array: &'a [i32],
}

impl<'a> ProgSpec<'a> {
    /// With license GPL, and the log off.
    pub fn new(ty: ProgType, insns: &'a [Slot]) -> ProgSpec<'a> {
        ProgSpec {
            ty,
            insns,
            license: "GPL",
            name: "",
            flags: 0,
            expected_attach_type: 0,
            log_level: 0,
            log_size: 1 << 20,
            fd_array: &[],
        }
    }
}

/// Why a program was not loaded.
#[derive(Clone, Debug)]
pub struct LoadError {
    /// The command's error.
    pub errno: Errno,
    /// The verifier's log, when it was asked for.
    pub log: String,
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.errno)?;
        if !self.log.is_empty() {
            write!(f, "\n{}", self.log)?;
        }
        Ok(())
    }
}

impl std::error::Error for LoadError {}

/// Input of a test run.
#[derive(Clone, Debug, Default)]
pub struct TestRun<'a> {
    /// Packet.
    pub data_in: &'a [u8],
    /// Room for the packet afterwards; `None`: not wanted.
    pub data_out: Option<usize>,
    /// Context.
    pub ctx_in: &'a [u8],
    /// Room for the context afterwards.
    pub ctx_out: Option<usize>,
    /// How often; 0 is once.
    pub repeat: u32,
}

/// Result of a test run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TestRunResult {
    /// The program's return value.
    pub retval: u32,
    /// Mean duration of a run in ns.
    pub duration: u32,
    /// Packet afterwards.
    pub data_out: Vec<u8>,
    /// Context afterwards.
    pub ctx_out: Vec<u8>,
}

/// What `OBJ_GET_INFO_BY_FD` says of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct ProgInfo {
    pub ty: u32,
    pub id: u32,
    pub tag: [u8; 8],
    pub name: String,
    pub gpl_compatible: bool,
    pub xlated: Vec<u8>,
    pub jited: Vec<u8>,
    pub map_ids: Vec<u32>,
    /// Address of each function's machine code.
    pub ksyms: Vec<u64>,
    /// Bytes of each function's machine code.
    pub func_lens: Vec<u32>,
    pub load_time: u64,
    pub verified_insns: u32,
}

/// A program's fd, and the log of its load.
pub struct Prog {
    bpf: Bpf,
    fd: OwnedFd,
    log: String,
}

impl Bpf {
    /// `PROG_LOAD`
    ///
    /// # Errors
    ///
    /// The command's, with the verifier's log.
    pub fn prog_load(&self, s: &ProgSpec<'_>) -> std::result::Result<Prog, LoadError> {
        let mut license = s.license.as_bytes().to_vec();
        license.push(0);
        let mut log = vec![0u8; if s.log_level == 0 { 0 } else { s.log_size }];
        let mut a = Attr::new(attr::SIZE);
        a.u32(0, s.ty.0)
            .u32(4, s.insns.len() as u32)
            .ptr(8, s.insns)
            .ptr(16, &license);
        if s.log_level != 0 {
            a.u32(24, s.log_level)
                .u32(28, log.len() as u32)
                .u64(32, log.as_mut_ptr() as u64);
        }
        a.u32(44, s.flags)
            .put(48, &attr::name(s.name))
            .u32(68, s.expected_attach_type);
        a.ptr(120, s.fd_array);
        let fd = self.call_fd(cmd::PROG_LOAD, a.bytes());
        let end = log.iter().position(|c| *c == 0).unwrap_or(log.len());
        let log = String::from_utf8_lossy(&log[..end]).into_owned();
        match fd {
            Ok(fd) => Ok(Prog {
                bpf: self.clone(),
                fd,
                log,
            }),
            Err(errno) => Err(LoadError { errno, log }),
        }
    }
}

impl Bpf {
    /// `PROG_GET_FD_BY_ID`
    ///
    /// # Errors
    ///
    /// The command's.
    pub fn prog_by_id(&self, id: u32) -> Result<Prog> {
        let mut a = Attr::new(12);
        a.u32(0, id);
        let fd = self.call_fd(cmd::PROG_GET_FD_BY_ID, a.bytes())?;
        Ok(Prog {
            bpf: self.clone(),
            fd,
            log: String::new(),
        })
    }
}

impl Prog {
    /// The verifier's log, when it was asked for.
    pub fn log(&self) -> &str {
        &self.log
    }

    /// `PROG_TEST_RUN`
    ///
    /// # Errors
    ///
    /// The command's.
    pub fn test_run(&self, t: &TestRun<'_>) -> Result<TestRunResult> {
        let mut data_out = vec![0u8; t.data_out.unwrap_or(0)];
        let mut ctx_out = vec![0u8; t.ctx_out.unwrap_or(0)];
        let mut a = Attr::new(80);
        a.u32(0, self.fd.as_raw_fd() as u32);
        a.u32(8, t.data_in.len() as u32)
            .u32(12, data_out.len() as u32)
            .ptr(16, t.data_in);
        if t.data_out.is_some() {
            a.u64(24, data_out.as_mut_ptr() as u64);
        }
        a.u32(32, t.repeat)
            .u32(40, t.ctx_in.len() as u32)
            .u32(44, ctx_out.len() as u32);
        a.ptr(48, t.ctx_in);
        if t.ctx_out.is_some() {
            a.u64(56, ctx_out.as_mut_ptr() as u64);
        }
        self.bpf.call(cmd::PROG_TEST_RUN, a.bytes())?;
        data_out.truncate(a.get_u32(12) as usize);
        ctx_out.truncate(a.get_u32(44) as usize);
        Ok(TestRunResult {
            retval: a.get_u32(4),
            duration: a.get_u32(36),
            data_out,
            ctx_out,
        })
    }

    /// `OBJ_GET_INFO_BY_FD`, with instructions and map ids.
    ///
    /// # Errors
    ///
    /// The command's.
    pub fn info(&self) -> Result<ProgInfo> {
        let fd = self.fd.as_raw_fd();
        let mut b = [0u8; 232];
        self.bpf.info(fd, &mut b)?;
        let mut jited = vec![0u8; attr::get_u32(&b, 16) as usize];
        let mut xlated = vec![0u8; attr::get_u32(&b, 20) as usize];
        let mut map_ids = vec![0u32; attr::get_u32(&b, 52) as usize];
        let mut ask = Attr::new(b.len());
        ask.u32(16, jited.len() as u32).u32(20, xlated.len() as u32);
        ask.u64(24, jited.as_mut_ptr() as u64)
            .u64(32, xlated.as_mut_ptr() as u64);
        ask.u32(52, map_ids.len() as u32)
            .u64(56, map_ids.as_mut_ptr() as u64);
        let mut ksyms = vec![0u64; attr::get_u32(&b, 104) as usize];
        let mut func_lens = vec![0u32; attr::get_u32(&b, 108) as usize];
        ask.u32(104, ksyms.len() as u32)
            .u32(108, func_lens.len() as u32)
            .u64(112, ksyms.as_mut_ptr() as u64)
            .u64(120, func_lens.as_mut_ptr() as u64);
        self.bpf.info(fd, ask.bytes())?;
        let b = ask.bytes();
        let mut tag = [0; 8];
        tag.copy_from_slice(&b[8..16]);
        Ok(ProgInfo {
            ty: attr::get_u32(b, 0),
            id: attr::get_u32(b, 4),
            tag,
            name: attr::name_str(&b[64..80]),
            gpl_compatible: attr::get_u32(b, 84) & 1 != 0,
            xlated,
            jited,
            map_ids,
            ksyms,
            func_lens,
            load_time: attr::get_u64(b, 40),
            verified_insns: attr::get_u32(b, 216),
        })
    }

    /// The implementation that it is loaded into.
    pub fn bpf(&self) -> &Bpf {
        &self.bpf
    }
}

impl AsFd for Prog {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
