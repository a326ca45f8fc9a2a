// SPDX-License-Identifier: GPL-2.0

//! bpf(2) without a kernel: maps are declarations, and programs are verified by oxbpf's verifier in
//! this process. It answers what libbpf asks on its way to a loaded object.
//!
//! Each object is a memory file, so that descriptors are real, can be duplicated and are closed as
//! usual; its inode says which object a descriptor means.

use crate::lines::Source;
use kernel::error::Error;
use kernel::prelude::{KVVec, GFP_KERNEL};
use libc::{c_int, c_long};
use oxbpf_core::abi::{MapType, ProgType};
use oxbpf_core::btf::Btf;
use oxbpf_core::isa::RawInsn;
use oxbpf_core::verifier::log::Log;
use oxbpf_core::verifier::{verify, Options};
use oxbpf_fixtures::host::{log_text, HostEnv, LAYOUT};
use oxbpf_fixtures::MapDecl;
use std::collections::HashMap;
use std::ffi::CStr;
use std::sync::{Mutex, MutexGuard};

/// Commands (`enum bpf_cmd`).
const MAP_CREATE: u32 = 0;
const MAP_UPDATE_ELEM: u32 = 2;
const PROG_LOAD: u32 = 5;
const BTF_LOAD: u32 = 18;
const MAP_FREEZE: u32 = 22;
const PROG_BIND_MAP: u32 = 35;

/// Bytes of a log that is kept.
const LOG_SIZE: u32 = 64 << 20;
/// Instructions that a load may have.
const INSNS_MAX: u32 = 1_000_000;

/// Who the loader is said to be, and how strict to be.
#[derive(Clone, Copy, Debug, Default)]
pub struct Loader {
    /// Without CAP_BPF and CAP_PERFMON.
    pub unprivileged: bool,
    /// `BPF_F_STRICT_ALIGNMENT`, asked for or not.
    pub strict_alignment: bool,
    /// Bits of the log's level.
    pub log_level: u32,
}

/// What became of one load that named a log.
pub struct Outcome {
    /// The log's buffer, by which the caller knows the program.
    pub log_buf: u64,
    /// Instructions that were simulated, or a positive error number.
    pub result: Result<u32, i32>,
    /// What the verifier said.
    pub log: String,
    /// Source lines, if the object has them.
    pub source: Option<Source>,
}

enum Object {
    Map(usize),
    Btf(Vec<u8>),
    Prog,
}

#[derive(Default)]
struct State {
    loader: Loader,
    maps: Vec<MapDecl>,
    objects: HashMap<u64, Object>,
    outcomes: Vec<Outcome>,
}

static STATE: Mutex<Option<State>> = Mutex::new(None);

fn state() -> MutexGuard<'static, Option<State>> {
    STATE.lock().unwrap_or_else(|e| e.into_inner())
}

/// From now on loads are this loader's.
pub fn start(loader: Loader) {
    *state() = Some(State {
        loader,
        ..State::default()
    });
}

/// What became of the loads since [`start`].
pub fn outcomes() -> Vec<Outcome> {
    state()
        .as_mut()
        .map(|s| std::mem::take(&mut s.outcomes))
        .unwrap_or_default()
}

/// An `attr`, short or long: what is not there is 0.
struct Attr<'a>(&'a [u8]);

impl Attr<'_> {
    fn u32(&self, off: usize) -> u32 {
        self.0
            .get(off..off + 4)
            .and_then(|b| b.try_into().ok())
            .map_or(0, u32::from_ne_bytes)
    }

    fn u64(&self, off: usize) -> u64 {
        self.0
            .get(off..off + 8)
            .and_then(|b| b.try_into().ok())
            .map_or(0, u64::from_ne_bytes)
    }

    fn name(&self, off: usize) -> String {
        let bytes = self.0.get(off..off + 16).unwrap_or_default();
        let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
        String::from_utf8_lossy(&bytes[..end]).into_owned()
    }
}

/// `len` bytes that the caller keeps at `at`.
///
/// # Safety
///
/// They can be read.
pub unsafe fn bytes_at<'a>(at: u64, len: usize) -> &'a [u8] {
    match at == 0 || len == 0 {
        true => &[],
        // SAFETY: the caller's promise.
        false => unsafe { std::slice::from_raw_parts(at as *const u8, len) },
    }
}

/// bpf(2).
///
/// # Safety
///
/// `attr` has `size` bytes, and the pointers in it point at what the command wants there.
pub unsafe fn bpf(cmd: u32, attr: *mut u8, size: usize) -> c_long {
    // SAFETY: the caller's promise.
    let attr = Attr(unsafe { bytes_at(attr as u64, size) });
    let mut guard = state();
    let Some(state) = guard.as_mut() else {
        return -c_long::from(libc::EPERM);
    };
    let done = match cmd {
        MAP_CREATE => state.map_create(&attr),
        // SAFETY: the caller's promise.
        MAP_UPDATE_ELEM => unsafe { state.map_update(&attr) },
        MAP_FREEZE => state.map_freeze(&attr),
        // SAFETY: as above.
        BTF_LOAD => unsafe { state.btf_load(&attr) },
        // SAFETY: as above.
        PROG_LOAD => unsafe { state.prog_load(&attr) },
        PROG_BIND_MAP => Ok(0),
        _ => Err(libc::EINVAL),
    };
    match done {
        Ok(n) => c_long::from(n),
        Err(errno) => -c_long::from(errno),
    }
}

fn inode(fd: c_int) -> Result<u64, i32> {
    // SAFETY: zeroes are a valid `stat`, and it is as large as the call expects.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: as above.
    match unsafe { libc::fstat(fd, &mut stat) } {
        0 => Ok(stat.st_ino),
        _ => Err(libc::EBADF),
    }
}

impl State {
    fn add(&mut self, object: Object) -> Result<c_int, i32> {
        // SAFETY: the name ends with NUL.
        let fd = unsafe { libc::memfd_create(c"oxbpf-verify".as_ptr(), libc::MFD_CLOEXEC) };
        if fd < 0 {
            return Err(libc::EMFILE);
        }
        self.objects.insert(inode(fd)?, object);
        Ok(fd)
    }

    fn map_index(&self, fd: u32) -> Result<usize, i32> {
        match self.objects.get(&inode(fd as c_int)?) {
            Some(Object::Map(index)) => Ok(*index),
            _ => Err(libc::EINVAL),
        }
    }

    fn map_create(&mut self, attr: &Attr<'_>) -> Result<c_int, i32> {
        let ty = MapType::new(attr.u32(0)).ok_or(libc::EINVAL)?;
        let inner = match ty.is_of_maps() {
            true => self.maps.get(self.map_index(attr.u32(20))?).cloned(),
            false => None,
        };
        self.maps.push(MapDecl {
            name: attr.name(28),
            ty: attr.u32(0),
            key_size: attr.u32(4),
            value_size: attr.u32(8),
            max_entries: attr.u32(12),
            flags: attr.u32(16),
            frozen: false,
            lock: self.lock(attr),
            init: vec![],
            inner: inner.map(Box::new),
            holds: vec![],
        });
        let index = self.maps.len() - 1;
        self.add(Object::Map(index))
    }

    /// Where the lock is in values of the map's type.
    fn lock(&self, attr: &Attr<'_>) -> Option<u32> {
        let btf = match self.objects.get(&inode(attr.u32(48) as c_int).ok()?) {
            Some(Object::Btf(bytes)) => bytes,
            _ => return None,
        };
        let mut data = KVVec::new();
        data.extend_from_slice(btf, GFP_KERNEL).ok()?;
        let btf = Btf::parse(data, &mut Log::none()).ok()?;
        let (t, size) = btf.sized(attr.u32(56))?;
        btf.value_fields(&t, size).ok()??.lock()
    }

    /// # Safety
    ///
    /// Key and value are where the attr says.
    unsafe fn map_update(&mut self, attr: &Attr<'_>) -> Result<c_int, i32> {
        let index = self.map_index(attr.u32(0))?;
        let map = self.maps.get_mut(index).ok_or(libc::EBADF)?;
        // SAFETY: the caller's promise.
        let [key, value] = [(8, map.key_size), (16, map.value_size)]
            .map(|(off, len)| unsafe { bytes_at(attr.u64(off), len as usize) }.to_vec());
        map.init.push((key, value));
        Ok(0)
    }

    fn map_freeze(&mut self, attr: &Attr<'_>) -> Result<c_int, i32> {
        let index = self.map_index(attr.u32(0))?;
        self.maps.get_mut(index).ok_or(libc::EBADF)?.frozen = true;
        Ok(0)
    }

    /// # Safety
    ///
    /// The BTF is where the attr says.
    unsafe fn btf_load(&mut self, attr: &Attr<'_>) -> Result<c_int, i32> {
        // SAFETY: the caller's promise.
        let btf = unsafe { bytes_at(attr.u64(0), attr.u32(16) as usize) };
        self.add(Object::Btf(btf.to_vec()))
    }

    /// The slots with maps' indices in place of their descriptors.
    fn resolve(&self, insns: &mut [RawInsn], fd_array: &[u8]) -> Result<(), i32> {
        let mut second = false;
        for insn in insns {
            let first = insn.code == 0x18 && !second;
            second = first;
            if !first {
                continue;
            }
            let fd = match insn.src() {
                1 | 2 => insn.imm,
                // By its place in the load's array.
                5 | 6 => {
                    let at = insn.imm as usize * 4;
                    let fd = fd_array.get(at..at + 4).and_then(|b| b.try_into().ok());
                    fd.map(i32::from_ne_bytes).ok_or(libc::EPROTO)?
                }
                _ => continue,
            };
            let index = self.map_index(fd as u32)? as i32;
            let src = if insn.src() > 2 {
                insn.src() - 4
            } else {
                insn.src()
            };
            *insn = RawInsn::new(insn.code, insn.dst(), src, insn.off, index);
        }
        Ok(())
    }

    fn options(&self, attr: &Attr<'_>, license: &[u8]) -> Result<Options, i32> {
        let free = !self.loader.unprivileged;
        let license = String::from_utf8_lossy(license);
        Ok(Options {
            prog_type: ProgType::new(attr.u32(0)).ok_or(libc::EINVAL)?,
            attach_type: attr.u32(68),
            gpl: matches!(
                &*license,
                "GPL"
                    | "GPL v2"
                    | "GPL and additional rights"
                    | "Dual BSD/GPL"
                    | "Dual MIT/GPL"
                    | "Dual MPL/GPL"
            ),
            allow_ptr_leaks: free,
            bpf_capable: free,
            strict_alignment: self.loader.strict_alignment || attr.u32(44) & 1 != 0,
            test_state_freq: attr.u32(44) & 8 != 0,
            layout: LAYOUT,
        })
    }

    /// # Safety
    ///
    /// Everything is where the attr says.
    unsafe fn prog_load(&mut self, attr: &Attr<'_>) -> Result<c_int, i32> {
        let log_buf = attr.u64(32);
        let (result, log) = match attr.u32(4) {
            1..=INSNS_MAX => {
                // SAFETY: the caller's promise.
                unsafe { self.verify(attr) }
            }
            _ => (Err(libc::E2BIG), String::new()),
        };
        // A load without a log is one of libbpf's questions about the kernel.
        if log_buf == 0 {
            result?;
            return self.add(Object::Prog);
        }
        let source = match self.objects.get(&inode(attr.u32(72) as c_int).unwrap_or(0)) {
            // SAFETY: the caller's promise.
            Some(Object::Btf(btf)) => unsafe {
                let size = attr.u32(92) as usize;
                let lines = bytes_at(attr.u64(96), size * attr.u32(104) as usize);
                Source::new(btf, lines, size)
            },
            _ => None,
        };
        self.outcomes.push(Outcome {
            log_buf,
            result,
            log,
            source,
        });
        // The verdict is ours to tell; the object's other programs are to be loaded too.
        self.add(Object::Prog)
    }

    /// # Safety
    ///
    /// As [`Self::prog_load`].
    unsafe fn verify(&self, attr: &Attr<'_>) -> (Result<u32, i32>, String) {
        let count = attr.u32(4) as usize;
        // SAFETY: the caller's promise.
        let slots = unsafe { bytes_at(attr.u64(8), count * 8) };
        let license = match attr.u64(16) {
            0 => &[],
            // SAFETY: the caller's promise; it ends with NUL.
            at => unsafe { CStr::from_ptr(at as *const libc::c_char) }.to_bytes(),
        };
        let slots = slots.chunks_exact(8).map(|b| {
            let off = i16::from_ne_bytes([b[2], b[3]]);
            let imm = i32::from_ne_bytes([b[4], b[5], b[6], b[7]]);
            RawInsn::new(b[0], b[1] & 0xf, b[1] >> 4, off, imm)
        });
        let mut insns: Vec<RawInsn> = slots.collect();
        let by_place = |i: &&RawInsn| i.code == 0x18 && matches!(i.src(), 5 | 6);
        let places = insns
            .iter()
            .filter(by_place)
            .map(|i| i.imm as u32 as usize + 1);
        // SAFETY: the caller's promise: the array is as long as the instructions want.
        let fds = unsafe { bytes_at(attr.u64(120), places.max().unwrap_or(0) * 4) };
        let mut log = Log::new(self.loader.log_level, LOG_SIZE);
        let done = self
            .resolve(&mut insns, fds)
            .and_then(|()| self.options(attr, license))
            .and_then(|options| {
                let mut env = HostEnv::new(&self.maps);
                verify(&insns, &options, &mut env, &mut log)
                    .map(|prog| prog.processed())
                    .map_err(|e: Error| -e.to_errno())
            });
        (done, log_text(&log))
    }
}
