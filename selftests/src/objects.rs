// SPDX-License-Identifier: GPL-2.0

//! What is there: counts of the objects of the module and of what keeps them, to show that nothing
//! was left behind.

use oxbpf::attr::Attr;
use oxbpf::{cmd, Bpf};
use std::fs;
use std::time::{Duration, Instant};

/// Counts at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Objects {
    /// This process's fds.
    pub fds: usize,
    /// The module's use count: its open files, and what else holds it.
    pub uses: i64,
    /// Maps, programs, links and BTF objects.
    pub objects: [usize; 4],
}

impl Objects {
    /// Counts now.
    pub fn now(b: &Bpf) -> Objects {
        Objects {
            fds: open_fds(),
            uses: use_count(),
            objects: [
                cmd::MAP_GET_NEXT_ID,
                cmd::PROG_GET_NEXT_ID,
                cmd::LINK_GET_NEXT_ID,
                cmd::BTF_GET_NEXT_ID,
            ]
            .map(|c| ids(b, c)),
        }
    }

    /// Counts when all that was given back before is gone, or after a minute.
    pub fn settled(b: &Bpf) -> Objects {
        // MEMBARRIER_CMD_GLOBAL: a grace period.
        // SAFETY: no memory argument.
        let grace = || unsafe { libc::syscall(libc::SYS_membarrier, 1, 0, 0) };
        let mut now = Objects::now(b);
        for _ in 0..300 {
            grace();
            std::thread::sleep(Duration::from_millis(200));
            let next = Objects::now(b);
            if next == now {
                break;
            }
            now = next;
        }
        now
    }

    /// Waits until the counts are these again: releases go through RCU and work queues.
    ///
    /// # Errors
    ///
    /// What is different after a minute.
    pub fn again(&self, b: &Bpf) -> Result<(), String> {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let now = Objects::now(b);
            if now == *self {
                return Ok(());
            }
            if Instant::now() > deadline {
                let fds = fds().join(", ");
                return Err(format!("before: {self:?}\nafter:  {now:?}\nopen:   {fds}"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// This process's fds.
pub fn open_fds() -> usize {
    fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

/// What this process's fds are open on.
fn fds() -> Vec<String> {
    let name = |e: fs::DirEntry| {
        let to = fs::read_link(e.path()).map_or("?".into(), |p| p.display().to_string());
        format!("{} {to}", e.file_name().to_string_lossy())
    };
    let entries = fs::read_dir("/proc/self/fd").into_iter().flatten();
    entries.flatten().map(name).collect()
}

/// The module's use count, from /proc/modules; -1 when it is not loaded.
pub fn use_count() -> i64 {
    let text = fs::read_to_string("/proc/modules").unwrap_or_default();
    text.lines()
        .find(|l| l.starts_with("oxbpf "))
        .and_then(|l| l.split_whitespace().nth(2)?.parse().ok())
        .unwrap_or(-1)
}

/// How many ids one of the `*_GET_NEXT_ID` commands knows.
fn ids(b: &Bpf, command: u32) -> usize {
    let mut all = 0;
    let mut a = Attr::new(8);
    while b.call(command, a.bytes()).is_ok() {
        let id = a.get_u32(4);
        all += 1;
        a.u32(0, id);
    }
    all
}
