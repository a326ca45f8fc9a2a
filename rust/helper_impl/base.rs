// SPDX-License-Identifier: GPL-2.0

//! Helpers that say where and when the program runs.

use crate::sys::args::WriteArg;
use crate::sys::task;

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
