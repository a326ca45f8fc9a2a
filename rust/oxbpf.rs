// SPDX-License-Identifier: GPL-2.0

//! oxbpf: an implementation of the eBPF subsystem as a loadable module.

use kernel::prelude::*;

pub mod abi;
pub mod isa;

pub mod ctx;
pub mod helper;

pub mod btf;

pub mod verifier;

pub mod format;
pub mod interp;
pub mod jit;

pub mod map;

mod object;

mod prog;

mod attach;
mod helper_impl;

mod link;

mod command;

mod chardev;

mod sys;

module! {
    type: Oxbpf,
    name: "oxbpf",
    authors: ["The oxbpf authors"],
    description: "A second implementation of eBPF",
    license: "GPL",
}

/// The loaded module. Its parts go in this order.
struct Oxbpf {
    _device: Pin<KBox<sys::chardev::Registration<chardev::BpfDevice>>>,
    _tc: attach::tc::Kinds,
    _pins: sys::pinfs::Registration,
    _given: sys::perf::Given,
    _signals: sys::task::Signals,
    _tunnels: sys::packet::Tunnels,
    _releases: sys::shared::Releases,
    _exec: sys::exec::Areas,
}

impl kernel::Module for Oxbpf {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        sys::symbols::resolve();
        sys::params::announce();
        helper_impl::init();
        let exec = sys::exec::Areas::start();
        let releases = sys::shared::Releases::start()?;
        let signals = sys::task::Signals::start();
        // From here on there are callers.
        let pins = sys::pinfs::Registration::new()?;
        let tc = attach::tc::Kinds::register();
        let device = KBox::pin_init(sys::chardev::Registration::new(), GFP_KERNEL)?;
        pr_info!("loaded on {}\n", sys::module::kernel_release());
        Ok(Oxbpf {
            _device: device,
            _tc: tc,
            _pins: pins,
            _given: sys::perf::Given::start(),
            _signals: signals,
            _tunnels: sys::packet::Tunnels::start(),
            _releases: releases,
            _exec: exec,
        })
    }
}
