// SPDX-License-Identifier: GPL-2.0

//! CPU numbers.

extern "C" {
    fn oxbpf_nr_cpu_ids() -> u32;
    fn oxbpf_cpu_possible(cpu: u32) -> bool;
    fn oxbpf_cpu_node(cpu: u32) -> i32;
    /// A variable of each CPU (`DECLARE_PER_CPU`).
    static cpu_number: u32;
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
#[inline(always)]
pub(crate) fn current() -> usize {
    let cpu: u32;
    // SAFETY: reads this CPU's number, as the kernel's `raw_smp_processor_id` does: its address relative
    // to `gs` is that of the symbol.
    unsafe {
        core::arch::asm!(
            "mov {cpu:e}, gs:[rip + {number}]",
            cpu = out(reg) cpu,
            number = sym cpu_number,
            options(readonly, nostack, preserves_flags),
        );
    }
    cpu as usize
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
