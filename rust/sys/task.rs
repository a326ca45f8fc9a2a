// SPDX-License-Identifier: GPL-2.0

//! What a program can ask about where it runs: the current task, the CPU, the time, a number by
//! chance. Any context.

use super::args::WriteArg;

unsafe extern "C" {
    safe fn oxbpf_current_task() -> u64;
    safe fn oxbpf_current_pid_tgid() -> u64;
    safe fn oxbpf_current_uid_gid() -> u64;
    fn oxbpf_current_comm(buf: *mut u8, size: usize);
    safe fn oxbpf_cpu_id() -> u64;
    safe fn oxbpf_numa_node_id() -> u64;
    safe fn oxbpf_jiffies64() -> u64;
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
