// SPDX-License-Identifier: GPL-2.0

//! oxbpf: an implementation of the eBPF subsystem as a loadable module.

use kernel::prelude::*;

pub mod abi;
pub mod isa;

pub mod ctx;
pub mod helper;

pub mod verifier;

pub mod format;
pub mod interp;
pub mod jit;

pub mod map;

mod attach;
mod helper_impl;
mod sys;

module! {
    type: Oxbpf,
    name: "oxbpf",
    authors: ["The oxbpf authors"],
    description: "A second implementation of eBPF",
    license: "GPL",
}

/// The loaded module.
struct Oxbpf;

impl kernel::Module for Oxbpf {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        sys::symbols::resolve();
        pr_info!("loaded on {}\n", sys::module::kernel_release());
        Ok(Oxbpf)
    }
}

impl Drop for Oxbpf {
    fn drop(&mut self) {
        pr_info!("unloaded\n");
    }
}
