// SPDX-License-Identifier: GPL-2.0

//! The module's parameters.

use kernel::prelude::*;

extern "C" {
    fn oxbpf_param_jit() -> c_uint;
    fn oxbpf_param_debug() -> bool;
    fn oxbpf_param_tc_bpf() -> bool;
    fn oxbpf_param_harden() -> c_uint;
    fn oxbpf_announce_codegen();
}

/// Parameter `jit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Jit {
    /// Programs are interpreted.
    Off,
    /// Programs are compiled, and interpreted when that is not possible.
    On,
    /// Programs that cannot be compiled are refused.
    Required,
}

/// What parameter `jit` says now.
pub(crate) fn jit() -> Jit {
    // SAFETY: no requirements.
    match unsafe { oxbpf_param_jit() } {
        0 => Jit::Off,
        1 => Jit::On,
        _ => Jit::Required,
    }
}

/// Parameter `tc_bpf`: tc's kind `bpf` is served too.
pub(crate) fn tc_bpf() -> bool {
    // SAFETY: no requirements.
    unsafe { oxbpf_param_tc_bpf() }
}

/// What parameter `debug` says now.
pub(crate) fn debug() -> bool {
    // SAFETY: no requirements.
    unsafe { oxbpf_param_debug() }
}

/// Parameter `harden`, with the meaning of bpf(2)'s sysctl `bpf_jit_harden`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Harden {
    /// Constants are not blinded.
    Off,
    /// Those of programs whose loader has no `CAP_BPF`.
    Unprivileged,
    /// All.
    All,
}

/// What parameter `harden` says now.
pub(crate) fn harden() -> Harden {
    // SAFETY: no requirements.
    match unsafe { oxbpf_param_harden() } {
        0 => Harden::Off,
        1 => Harden::Unprivileged,
        _ => Harden::All,
    }
}

/// Says in the kernel's log what compiled programs do for the CPU's and the kernel's sake.
pub(crate) fn announce() {
    // SAFETY: no requirements.
    unsafe { oxbpf_announce_codegen() };
}
