// SPDX-License-Identifier: GPL-2.0

//! Which code a system call went through, where the kernel has kcov
//! (Documentation/dev-tools/kcov.rst in the kernel tree).

use std::collections::HashSet;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU64, Ordering};

/// Addresses that one call may leave.
const ENTRIES: usize = 1 << 17;
/// `KCOV_INIT_TRACE`
const INIT_TRACE: u64 = 0x8008_6301;
/// `KCOV_ENABLE`, of the calling thread.
const ENABLE: u64 = 0x6364;
/// `KCOV_TRACE_PC`
const TRACE_PC: u64 = 0;

/// The calling thread's coverage.
pub struct Kcov {
    /// How many addresses there are, then those.
    cover: &'static [AtomicU64],
    seen: HashSet<u64>,
    _file: File,
}

impl Kcov {
    /// Starts it; `None` without kcov.
    pub fn open() -> Option<Kcov> {
        let path = "/sys/kernel/debug/kcov";
        let file = File::options().read(true).write(true).open(path).ok()?;
        let fd = file.as_raw_fd();
        // SAFETY: as kcov's documentation has it: the buffer is mapped before it is enabled, and
        // stays mapped. The kernel writes to it, so it is atomics here.
        unsafe {
            if libc::ioctl(fd, INIT_TRACE, ENTRIES as u64) != 0 {
                return None;
            }
            let at = libc::mmap(
                std::ptr::null_mut(),
                ENTRIES * 8,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                fd,
                0,
            );
            if at == libc::MAP_FAILED || libc::ioctl(fd, ENABLE, TRACE_PC) != 0 {
                return None;
            }
            Some(Kcov {
                cover: std::slice::from_raw_parts(at.cast(), ENTRIES),
                seen: HashSet::new(),
                _file: file,
            })
        }
    }

    /// Forgets what was so far.
    pub fn start(&self) {
        self.cover[0].store(0, Ordering::Relaxed);
    }

    /// Whether there was code since `start` that there never was before.
    pub fn new_code(&mut self) -> bool {
        let n = self.cover[0].load(Ordering::Relaxed) as usize;
        let before = self.seen.len();
        let entries = &self.cover[1..];
        self.seen.extend(
            entries[..n.min(entries.len())]
                .iter()
                .map(|a| a.load(Ordering::Relaxed)),
        );
        self.seen.len() > before
    }

    /// Places of code seen so far.
    pub fn seen(&self) -> usize {
        self.seen.len()
    }
}
