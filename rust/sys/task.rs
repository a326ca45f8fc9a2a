// SPDX-License-Identifier: GPL-2.0

//! What a program can ask about where it runs: the current task, the CPU, the time, a number by
//! chance. Any context.

use super::args::{ReadArg, WriteArg};
use kernel::error::to_result;
use kernel::prelude::*;

unsafe extern "C" {
    safe fn oxbpf_current_task() -> u64;
    safe fn oxbpf_current_pid_tgid() -> u64;
    safe fn oxbpf_current_uid_gid() -> u64;
    fn oxbpf_current_comm(buf: *mut u8, size: usize);
    safe fn oxbpf_cpu_id() -> u64;
    safe fn oxbpf_numa_node_id() -> u64;
    safe fn oxbpf_jiffies64() -> u64;
    safe fn oxbpf_cgroup_id() -> u64;
    safe fn oxbpf_ancestor_cgroup_id(level: c_int) -> u64;
    fn oxbpf_ns_pid_tgid(dev: u64, ino: u64, pid: *mut u32, tgid: *mut u32) -> c_int;
    safe fn oxbpf_send_signal(sig: u32, thread: bool) -> c_int;
    fn oxbpf_write_user(to: c_ulong, from: *const u8, size: usize) -> c_int;
    safe fn oxbpf_signal_init();
    safe fn oxbpf_signal_exit();
    safe fn oxbpf_prandom_u32() -> u64;
    safe fn oxbpf_prandom_seed();
    safe fn ktime_get_mono_fast_ns() -> u64;
    safe fn ktime_get_boot_fast_ns() -> u64;
    safe fn ktime_get_tai_fast_ns() -> u64;
    safe fn oxbpf_ktime_coarse_ns() -> u64;
}

/// Address of the current `task_struct`.
#[inline]
pub(crate) fn current_task() -> u64 {
    oxbpf_current_task()
}

/// Thread group id in the upper half, thread id in the lower.
#[inline]
pub(crate) fn pid_tgid() -> u64 {
    oxbpf_current_pid_tgid()
}

/// Group id in the upper half, user id in the lower, as the initial user namespace numbers them.
#[inline]
pub(crate) fn uid_gid() -> u64 {
    oxbpf_current_uid_gid()
}

/// Writes the current task's name, cut to fit, and zeroes behind it.
#[inline]
pub(crate) fn comm(mut to: WriteArg) {
    let len = to.len();
    if len != 0 {
        // SAFETY: by the invariant of `WriteArg` that many bytes can be written, and it is not 0.
        unsafe { oxbpf_current_comm(to.as_mut_ptr(), len) };
    }
}

/// Number of the CPU.
#[inline]
pub(crate) fn cpu_id() -> u64 {
    oxbpf_cpu_id()
}

/// Number of the CPU's memory node.
#[inline]
pub(crate) fn numa_node_id() -> u64 {
    oxbpf_numa_node_id()
}

/// The kernel's tick count.
#[inline]
pub(crate) fn jiffies64() -> u64 {
    oxbpf_jiffies64()
}

/// A pseudo-random number of 32 bits, of no use for secrets.
#[inline]
pub(crate) fn prandom_u32() -> u64 {
    oxbpf_prandom_u32()
}

/// Starts the pseudo-random numbers from a random place; once, when the module is loaded.
pub(crate) fn prandom_seed() {
    oxbpf_prandom_seed();
}

/// Nanoseconds since boot without the time asleep; in any context.
#[inline]
pub(crate) fn mono_ns() -> u64 {
    ktime_get_mono_fast_ns()
}

/// Nanoseconds since boot with the time asleep; in any context.
#[inline]
pub(crate) fn boot_ns() -> u64 {
    ktime_get_boot_fast_ns()
}

/// International atomic time in nanoseconds; in any context.
#[inline]
pub(crate) fn tai_ns() -> u64 {
    ktime_get_tai_fast_ns()
}

/// As [`mono_ns`] at the last tick; not where the kernel's own clock may be under change, as in a
/// probe.
#[inline]
pub(crate) fn coarse_ns() -> u64 {
    oxbpf_ktime_coarse_ns()
}

/// Number of the current task's cgroup.
#[inline]
pub(crate) fn cgroup_id() -> u64 {
    oxbpf_cgroup_id()
}

/// Number of that cgroup's ancestor `level` levels below the root; 0 when there is none.
#[inline]
pub(crate) fn ancestor_cgroup_id(level: i32) -> u64 {
    oxbpf_ancestor_cgroup_id(level)
}

/// Thread and thread group id in the pid namespace of that device and inode, which must be the current
/// task's.
///
/// # Errors
///
/// `EINVAL`: it is another. `ENOENT`: the task has none any more.
pub(crate) fn ns_pid_tgid(dev: u64, ino: u64) -> Result<(u32, u32)> {
    let (mut pid, mut tgid) = (0, 0);
    // SAFETY: both can be written.
    to_result(unsafe { oxbpf_ns_pid_tgid(dev, ino, &mut pid, &mut tgid) })?;
    Ok((pid, tgid))
}

/// Sends the current thread or its process a signal, as soon as that can be. With preemption off.
///
/// # Errors
///
/// `EINVAL`: no such signal. `EPERM`: to a kernel thread, to one that exits, or to init. `EBUSY`: this
/// CPU has one to send.
pub(crate) fn send_signal(signal: u32, thread: bool) -> Result {
    to_result(oxbpf_send_signal(signal, thread))
}

/// Writes to the current process's memory, if it is there.
///
/// # Errors
///
/// `EFAULT`; `EPERM` where there is no process, as in an interrupt.
#[inline]
pub(crate) fn write_user(to: u64, from: &ReadArg) -> Result {
    let (from, len) = from.raw();
    // SAFETY: by the invariant of `ReadArg` that many bytes can be read; `to` may be any address.
    to_result(unsafe { oxbpf_write_user(to as c_ulong, from, len) })
}

/// While it lives, programs can send signals.
pub(crate) struct Signals(());

impl Signals {
    /// Once, when the module is loaded.
    pub(crate) fn start() -> Self {
        oxbpf_signal_init();
        Signals(())
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        oxbpf_signal_exit();
    }
}
