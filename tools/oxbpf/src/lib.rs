// SPDX-License-Identifier: GPL-2.0

//! The calls of bpf(2), made to the kernel's own implementation or to `/dev/oxbpf`.
//!
//! ```no_run
//! use oxbpf::{Bpf, MapSpec, MapType};
//!
//! let bpf = Bpf::oxbpf()?; // or Bpf::in_tree()
//! let map = bpf.map_create(&MapSpec::new(MapType::HASH, 4, 8, 16))?;
//! map.update(&1u32.to_ne_bytes(), &7u64.to_ne_bytes(), 0)?;
//! assert_eq!(map.lookup(&1u32.to_ne_bytes())?, 7u64.to_ne_bytes());
//! # Ok::<(), oxbpf::Errno>(())
//! ```

pub mod attr;
mod btf;
pub mod caps;
pub mod cpu;
mod errno;
pub mod link;
mod map;
mod prog;

pub use btf::SourceLine;
pub use errno::{Errno, Result};
pub use link::Link;
pub use map::{possible_cpus, Map, MapInfo, MapSpec, MapType};
pub use prog::{LoadError, Prog, ProgInfo, ProgSpec, ProgType, Slot, TestRun, TestRunResult};

use std::ffi::CString;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;

/// Path of the device that the module registers.
pub const DEVICE: &str = "/dev/oxbpf";

/// Commands (`enum bpf_cmd`).
pub mod cmd {
    /// Creates a map.
    pub const MAP_CREATE: u32 = 0;
    /// Reads a value.
    pub const MAP_LOOKUP_ELEM: u32 = 1;
    /// Writes a value.
    pub const MAP_UPDATE_ELEM: u32 = 2;
    /// Removes a key.
    pub const MAP_DELETE_ELEM: u32 = 3;
    /// The key after a key.
    pub const MAP_GET_NEXT_KEY: u32 = 4;
    /// Loads a program.
    pub const PROG_LOAD: u32 = 5;
    /// Pins an object.
    pub const OBJ_PIN: u32 = 6;
    /// Opens a pinned object.
    pub const OBJ_GET: u32 = 7;
    /// Attaches the old way.
    pub const PROG_ATTACH: u32 = 8;
    /// Detaches the old way.
    pub const PROG_DETACH: u32 = 9;
    /// Runs a program on given data.
    pub const PROG_TEST_RUN: u32 = 10;
    /// The next program id.
    pub const PROG_GET_NEXT_ID: u32 = 11;
    /// The next map id.
    pub const MAP_GET_NEXT_ID: u32 = 12;
    /// A program's fd by id.
    pub const PROG_GET_FD_BY_ID: u32 = 13;
    /// A map's fd by id.
    pub const MAP_GET_FD_BY_ID: u32 = 14;
    /// Information about an object.
    pub const OBJ_GET_INFO_BY_FD: u32 = 15;
    /// Loads type information.
    pub const BTF_LOAD: u32 = 18;
    /// A descriptor of type information by id.
    pub const BTF_GET_FD_BY_ID: u32 = 19;
    /// The next id of type information.
    pub const BTF_GET_NEXT_ID: u32 = 23;
    /// `MAP_LOOKUP_AND_DELETE_ELEM`
    pub const RAW_TRACEPOINT_OPEN: u32 = 17;
    /// `BPF_MAP_LOOKUP_AND_DELETE_ELEM`
    pub const MAP_LOOKUP_AND_DELETE_ELEM: u32 = 21;
    /// Makes a map read-only for user space.
    pub const MAP_FREEZE: u32 = 22;
    /// Reads many elements.
    pub const MAP_LOOKUP_BATCH: u32 = 24;
    /// Reads and removes many elements.
    pub const MAP_LOOKUP_AND_DELETE_BATCH: u32 = 25;
    /// Writes many elements.
    pub const MAP_UPDATE_BATCH: u32 = 26;
    /// Removes many keys.
    pub const MAP_DELETE_BATCH: u32 = 27;
    /// Attaches a program; the link's fd owns the attachment.
    pub const LINK_CREATE: u32 = 28;
    /// Changes a link's program.
    pub const LINK_UPDATE: u32 = 29;
    /// A link's fd by id.
    pub const LINK_GET_FD_BY_ID: u32 = 30;
    /// The next link id.
    pub const LINK_GET_NEXT_ID: u32 = 31;
    /// Counts and times runs of programs while its descriptor is open.
    pub const ENABLE_STATS: u32 = 32;
    /// Detaches what a link holds, and leaves the link.
    pub const LINK_DETACH: u32 = 34;
    /// Lets a program keep a map.
    pub const PROG_BIND_MAP: u32 = 35;
    /// One past the last command that Linux 7.2 knows.
    pub const END: u32 = 39;
}

enum Target {
    InTree,
    Oxbpf(OwnedFd),
}

/// One of the two implementations of bpf(2).
#[derive(Clone)]
pub struct Bpf(Arc<Target>);

impl Bpf {
    /// The running kernel's own bpf(2).
    pub fn in_tree() -> Bpf {
        Bpf(Arc::new(Target::InTree))
    }

    /// oxbpf, by its device.
    ///
    /// # Errors
    ///
    /// `ENOENT` when the module is not loaded.
    pub fn oxbpf() -> Result<Bpf> {
        let path = CString::new(DEVICE).map_err(|_| Errno(libc::EINVAL))?;
        // SAFETY: `path` is a NUL-terminated string.
        let fd = unsafe { libc::open(path.as_ptr(), libc::O_RDWR | libc::O_CLOEXEC) };
        if fd < 0 {
            return Err(Errno::last());
        }
        // SAFETY: `fd` was just opened and nobody else has it.
        Ok(Bpf(Arc::new(Target::Oxbpf(unsafe {
            OwnedFd::from_raw_fd(fd)
        }))))
    }

    /// `"in-tree"` or `"oxbpf"`.
    pub fn name(&self) -> &'static str {
        match *self.0 {
            Target::InTree => "in-tree",
            Target::Oxbpf(_) => "oxbpf",
        }
    }

    /// The device, if it is oxbpf.
    pub(crate) fn device(&self) -> Option<RawFd> {
        match &*self.0 {
            Target::InTree => None,
            Target::Oxbpf(device) => Some(device.as_raw_fd()),
        }
    }

    /// One command with `attr` as its argument, which the kernel may write to.
    ///
    /// Malformed commands can be made too, except an attr of more than 16,383 bytes.
    ///
    /// # Errors
    ///
    /// The command's.
    pub fn call(&self, cmd: u32, attr: &mut [u8]) -> Result<i32> {
        // SAFETY: the kernel reads and writes at most `attr.len()` bytes at `attr`. What addresses
        // inside it point to is the business of the caller, who made them from live buffers.
        unsafe { self.call_raw(cmd, attr.as_mut_ptr() as u64, attr.len()) }
    }

    /// The same with the attr's address as a number, which may be a wrong one.
    ///
    /// # Safety
    ///
    /// The kernel may write to the `size` bytes at `addr`, if they are mapped writable.
    ///
    /// # Errors
    ///
    /// The command's.
    pub unsafe fn call_raw(&self, cmd: u32, addr: u64, size: usize) -> Result<i32> {
        let ret = match &*self.0 {
            // SAFETY: as the function's.
            Target::InTree => unsafe { libc::syscall(libc::SYS_bpf, cmd, addr, size) },
            Target::Oxbpf(dev) => {
                if cmd > 0xff {
                    return Err(Errno(libc::EINVAL));
                }
                if size > 0x3fff {
                    return Err(Errno(libc::E2BIG));
                }
                let request = (3u64 << 30) | ((size as u64) << 16) | (0xbf << 8) | u64::from(cmd);
                // SAFETY: as the function's.
                i64::from(unsafe { libc::ioctl(dev.as_raw_fd(), request, addr) })
            }
        };
        if ret < 0 {
            Err(Errno::last())
        } else {
            i32::try_from(ret).map_err(|_| Errno(libc::EOVERFLOW))
        }
    }

    /// A command that returns a new fd.
    ///
    /// # Errors
    ///
    /// The command's.
    pub fn call_fd(&self, cmd: u32, attr: &mut [u8]) -> Result<OwnedFd> {
        let fd = self.call(cmd, attr)?;
        // SAFETY: the command made `fd` for us.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    /// `OBJ_GET_INFO_BY_FD`: writes at most `info.len()` bytes and returns how many.
    ///
    /// # Errors
    ///
    /// `EBADFD` for a bad fd, `E2BIG` when bytes that the kernel does not know are not zero.
    pub fn info(&self, fd: RawFd, info: &mut [u8]) -> Result<usize> {
        let mut a = attr::Attr::new(16);
        a.u32(0, fd as u32)
            .u32(4, info.len() as u32)
            .u64(8, info.as_mut_ptr() as u64);
        self.call(cmd::OBJ_GET_INFO_BY_FD, a.bytes())?;
        Ok(a.get_u32(4) as usize)
    }
}
