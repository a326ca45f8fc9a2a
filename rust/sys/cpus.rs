// SPDX-License-Identifier: GPL-2.0

//! CPU numbers.

extern "C" {
    fn oxbpf_nr_cpu_ids() -> u32;
    fn oxbpf_cpu_possible(cpu: u32) -> bool;
    fn oxbpf_this_cpu() -> u32;
    fn oxbpf_cpu_node(cpu: u32) -> i32;
}

/// One more than the highest CPU number.
pub(crate) fn ids() -> usize {
    // SAFETY: the shim has no requirements.
    unsafe { oxbpf_nr_cpu_ids() as usize }
}

/// Whether a CPU of that number can ever be there.
pub(crate) fn is_possible(cpu: usize) -> bool {
    // SAFETY: the shim takes any number.
    u32::try_from(cpu).is_ok_and(|c| unsafe { oxbpf_cpu_possible(c) })
}

/// The CPU that this runs on; it stays so only where preemption is off.
#[inline]
pub(crate) fn current() -> usize {
    // SAFETY: the shim has no requirements.
    unsafe { oxbpf_this_cpu() as usize }
}

/// The NUMA node that possible CPU `cpu` is nearest to.
pub(crate) fn node(cpu: usize) -> Option<u32> {
    if !is_possible(cpu) {
        return None;
    }
    let cpu = u32::try_from(cpu).ok()?;
    // SAFETY: the CPU is a possible one.
    u32::try_from(unsafe { oxbpf_cpu_node(cpu) }).ok()
}
