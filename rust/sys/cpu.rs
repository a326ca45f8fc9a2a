// SPDX-License-Identifier: GPL-2.0

//! What the running kernel wants of generated code on this CPU.

use super::symbols;

/// As `struct oxbpf_cpu` in `helpers/cpu.h`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CpuFacts {
    /// Indirect branches must land on ENDBR.
    pub(crate) ibt: bool,
    /// Returns go through a thunk.
    pub(crate) rethunk: bool,
    /// Indirect branches go through a thunk.
    pub(crate) retpoline: bool,
    /// Indirect branches come after an lfence.
    pub(crate) retpoline_lfence: bool,
    /// Indirect branches go through a thunk against indirect target selection.
    pub(crate) its_thunk: bool,
    /// Calls are counted.
    pub(crate) call_depth: bool,
    /// A trap follows returns and indirect jumps.
    pub(crate) sls: bool,
    /// `rorx`, `shlx` and so on are there.
    pub(crate) bmi2: bool,
    /// Swapping loads and stores are there.
    pub(crate) movbe: bool,
    /// Address of the thunk for jumps to `rax`, of the kind that is wanted; 0 when unknown.
    pub(crate) indirect_thunk_rax: usize,
    /// The CPU's number, relative to `gs`.
    pub(crate) cpu_number: usize,
    /// The current task, relative to `gs`.
    pub(crate) current_task: usize,
    /// Address of the 64-bit count of ticks.
    pub(crate) jiffies_64: usize,
}

extern "C" {
    fn oxbpf_cpu_facts(cpu: *mut CpuFacts);
}

/// Asks the kernel.
pub(crate) fn facts() -> CpuFacts {
    let mut cpu = CpuFacts::default();
    // SAFETY: the shim fills a struct of the same layout.
    unsafe { oxbpf_cpu_facts(&mut cpu) };
    cpu
}

/// Where a return has to jump to; `None` when the kernel's choice cannot be read.
pub(crate) fn return_thunk() -> Option<usize> {
    let addr = symbols::RETURN_THUNK.address()?;
    // SAFETY: the kernel's variable of that name is a function pointer, set during boot.
    match unsafe { (addr as *const usize).read_volatile() } {
        0 => None,
        thunk => Some(thunk),
    }
}
