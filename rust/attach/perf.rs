// SPDX-License-Identifier: GPL-2.0

//! Programs at perf events: of tracepoints, kprobes and uprobes, and those of counters.

use super::Runner;
use crate::helper;
use crate::prog::Prog;
use crate::sys::perf::{self, Facts};
use crate::sys::shared::Shared;
use kernel::prelude::*;

pub(crate) use crate::sys::perf::Info;

/// A program that runs at a perf event, which it keeps open. Dropping detaches it, and waits until
/// it runs no more.
pub(crate) struct Perf {
    hook: perf::Perf<Runner>,
    cookie: u64,
}

impl Perf {
    /// Attaches `prog` to the perf event behind descriptor `fd`.
    ///
    /// # Errors
    ///
    /// `EBADF`: not a perf event. `EINVAL`: programs of that type do not go there. `EEXIST`: it has a
    /// program. `EACCES`: the program reads more than the event's record has. `E2BIG`: 64 programs
    /// are there. `EOPNOTSUPP`: an inherited event. `ENOMEM`.
    pub(crate) fn attach(fd: u32, cookie: u64, prog: Shared<Prog>) -> Result<Self> {
        /// `BPF_FUNC_get_stackid`, `BPF_FUNC_get_stack`
        const STACKS: [i32; 2] = [27, 67];
        /// `BPF_FUNC_get_func_ip`
        const FUNC_IP: i32 = 173;
        let aux = prog.aux();
        let facts = Facts {
            ty: aux.ty as u32,
            attach_type: aux.expected_attach_type,
            ctx_end: aux.ctx_end,
            stacks: aux.calls().any(|id| STACKS.contains(&id)),
            tail_calls: aux.calls().any(|id| id == helper::TAIL_CALL),
            asks_func: aux.calls().any(|id| id == FUNC_IP),
        };
        let runner = KBox::new(Runner { prog }, GFP_KERNEL_ACCOUNT)?;
        let hook = perf::Perf::attach(fd, &facts, cookie, runner)?;
        Ok(Perf { hook, cookie })
    }

    /// Leaves it at the event, which lives as long as its descriptors.
    ///
    /// # Errors
    ///
    /// `ENODEV`: the module is about to go.
    pub(crate) fn give(self) -> Result {
        self.hook.give()
    }

    /// Where it is; `None` for a counter's event.
    pub(crate) fn info(&self) -> Option<Info<'_>> {
        self.hook.info()
    }

    /// `type` and `config` of the event's attributes.
    pub(crate) fn event(&self) -> (u32, u64) {
        self.hook.event()
    }

    /// What the program gets as the cookie.
    pub(crate) fn cookie(&self) -> u64 {
        self.cookie
    }
}
