// SPDX-License-Identifier: GPL-2.0

//! Helpers that say where and when the program runs.

use super::errno;
use crate::sys::args::{ReadArg, StrArg, WriteArg};
use crate::sys::task;
use kernel::prelude::*;

/// `ktime_get_ns()`
pub(super) extern "C" fn ktime_get_ns() -> u64 {
    task::mono_ns()
}

/// `ktime_get_boot_ns()`
pub(super) extern "C" fn ktime_get_boot_ns() -> u64 {
    task::boot_ns()
}

/// `ktime_get_coarse_ns()`
pub(super) extern "C" fn ktime_get_coarse_ns() -> u64 {
    task::coarse_ns()
}

/// `ktime_get_tai_ns()`
pub(super) extern "C" fn ktime_get_tai_ns() -> u64 {
    task::tai_ns()
}

/// `jiffies64()`
pub(super) extern "C" fn jiffies64() -> u64 {
    task::jiffies64()
}

/// `get_prandom_u32()`
pub(super) extern "C" fn get_prandom_u32() -> u64 {
    task::prandom_u32()
}

/// `get_smp_processor_id()`
pub(super) extern "C" fn get_smp_processor_id() -> u64 {
    task::cpu_id()
}

/// `get_numa_node_id()`
pub(super) extern "C" fn get_numa_node_id() -> u64 {
    task::numa_node_id()
}

/// `get_current_task()`
pub(super) extern "C" fn get_current_task() -> u64 {
    task::current_task()
}

/// `get_current_pid_tgid()`
pub(super) extern "C" fn get_current_pid_tgid() -> u64 {
    task::pid_tgid()
}

/// `get_current_uid_gid()`
pub(super) extern "C" fn get_current_uid_gid() -> u64 {
    task::uid_gid()
}

/// `get_current_comm(buf, size)`
pub(super) extern "C" fn get_current_comm(buf: WriteArg) -> u64 {
    task::comm(buf);
    0
}

/// `get_current_cgroup_id()`
pub(super) extern "C" fn get_current_cgroup_id() -> u64 {
    task::cgroup_id()
}

/// `get_current_ancestor_cgroup_id(level)`
pub(super) extern "C" fn get_current_ancestor_cgroup_id(level: u64) -> u64 {
    // The level is an int.
    task::ancestor_cgroup_id(level as i32)
}

/// `get_ns_current_pid_tgid(dev, ino, ids, size)`: the ids are two numbers of 32 bits.
pub(super) extern "C" fn get_ns_current_pid_tgid(dev: u64, ino: u64, mut ids: WriteArg) -> u64 {
    let numbers = match ids.len() {
        8 => task::ns_pid_tgid(dev, ino),
        _ => Err(EINVAL),
    };
    errno(match numbers {
        Ok((pid, tgid)) => {
            ids.put(&(u64::from(tgid) << 32 | u64::from(pid)).to_ne_bytes());
            Ok(0)
        }
        Err(e) => {
            ids.clear();
            Err(e)
        }
    })
}

/// `send_signal(signal)`: to the current process.
pub(super) extern "C" fn send_signal(signal: u64) -> u64 {
    errno(task::send_signal(signal as u32, false).map(|()| 0))
}

/// `send_signal_thread(signal)`: to the current thread.
pub(super) extern "C" fn send_signal_thread(signal: u64) -> u64 {
    errno(task::send_signal(signal as u32, true).map(|()| 0))
}

/// `probe_write_user(dst, src, len)`
pub(super) extern "C" fn probe_write_user(dst: u64, src: ReadArg) -> u64 {
    errno(task::write_user(dst, &src).map(|()| 0))
}

/// `strncmp(s1, size, s2)`: less than, equal to or greater than 0, as of the first bytes that differ.
pub(super) extern "C" fn strncmp(s1: ReadArg, s2: StrArg) -> u64 {
    let s2 = s2.to_cstr().to_bytes_with_nul();
    for (i, b) in s2.iter().enumerate() {
        let Some(a) = s1.bytes().u8(i) else {
            break;
        };
        if a != *b {
            return if a < *b { u64::MAX } else { 1 };
        }
    }
    0
}
