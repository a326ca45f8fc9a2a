// SPDX-License-Identifier: GPL-2.0

//! Programs at raw tracepoints.

use super::Runner;
use crate::prog::Prog;
use crate::sys::shared::Shared;
use crate::sys::tracepoint;
use kernel::prelude::*;

/// Arguments that a tracepoint has at most.
pub(crate) use crate::sys::tracepoint::ARGS_MAX;

/// A program that runs at a raw tracepoint. Dropping detaches it, and waits until it runs no more.
pub(crate) struct Tracepoint {
    hook: tracepoint::Tracepoint<Runner>,
    cookie: u64,
}

impl Tracepoint {
    /// Attaches `prog`, which is of type RAW_TRACEPOINT, to the tracepoint `name`.
    ///
    /// # Errors
    ///
    /// `ENOENT`: no such tracepoint. `EINVAL`: it has fewer arguments than the program reads.
    /// `EOPNOTSUPP`: not on this kernel. `ENOMEM`.
    pub(crate) fn attach(name: &CStr, cookie: u64, prog: Shared<Prog>) -> Result<Self> {
        let ctx_end = prog.aux().ctx_end;
        let runner = KBox::new(Runner { prog }, GFP_KERNEL_ACCOUNT)?;
        let hook = tracepoint::Tracepoint::attach(name, ctx_end, cookie, runner)?;
        Ok(Tracepoint { hook, cookie })
    }

    /// The tracepoint's name.
    pub(crate) fn name(&self) -> &CStr {
        self.hook.name()
    }

    /// What the program gets as the cookie.
    pub(crate) fn cookie(&self) -> u64 {
        self.cookie
    }
}
