// SPDX-License-Identifier: GPL-2.0

//! Programs at queueing disciplines: tc's classifier and action.
//!
//! Netlink makes and deletes the filters, so there is no link; a filter holds its program.

use super::layout;
use crate::abi::ProgType;
use crate::helper;
use crate::prog::{Prog, ProgFile};
use crate::sys::anon::FileRef;
use crate::sys::context::RunGuard;
use crate::sys::params;
use crate::sys::shared::Shared;
use crate::sys::tc::{self, Classifier, Name};
use crate::sys::text::Base;
use core::sync::atomic::AtomicI64;
use kernel::prelude::*;

impl Classifier for Prog {
    fn from_fd(fd: u32, ty: u32) -> Result<Shared<Self>> {
        let file = FileRef::<ProgFile>::get(fd)?;
        let prog = file.prog();
        if prog.base().ty() != ty {
            return Err(EINVAL);
        }
        Ok(prog.clone())
    }

    #[inline]
    fn classify(&self, run: &RunGuard, skb: usize) -> u32 {
        self.run(run, skb) as u32
    }

    fn base(&self) -> &Base {
        Prog::base(self)
    }

    fn counting() -> &'static AtomicI64 {
        Prog::counting()
    }

    fn tag(&self) -> [u8; 8] {
        self.aux().tag
    }

    fn needs_dst(&self) -> bool {
        /// `BPF_FUNC_get_route_realm`
        const ROUTE_REALM: i32 = 24;
        self.aux().calls().any(|id| id == ROUTE_REALM)
    }

    fn needs_ends(&self) -> bool {
        /// `BPF_LDX | BPF_MEM | BPF_DW`
        const LOAD: u8 = 0x79;
        let layout = layout::running();
        let ends = [layout.skb_cb_data_end, layout.skb_cb_data_meta];
        // What a load of `data_end` or `data_meta` became; others may look the same.
        let mut insns = self.aux().xlated.iter();
        if insns.any(|i| i.code == LOAD && ends.contains(&i.off)) {
            return true;
        }
        // Helpers that move the packet note anew where it is; a tail call counts among them.
        self.aux().calls().any(|id| {
            let row = helper::HELPERS.iter().find(|row| row.id == id);
            row.is_none_or(|row| row.moves_packet || id == helper::TAIL_CALL)
        })
    }
}

/// The kinds that tc knows of us.
pub(crate) struct Kinds {
    _own: Option<tc::Kinds<Prog>>,
    _bpf: Option<tc::Kinds<Prog>>,
}

impl Kinds {
    /// Makes them known: `oxbpf`, and with parameter `tc_bpf` also `bpf`. What cannot be is said in
    /// the log, and the rest of the module works without.
    pub(crate) fn register() -> Self {
        let kinds = |name, text| match tc::Kinds::register(name) {
            Ok(kinds) => Some(kinds),
            Err(e) => {
                pr_warn!("no tc kind {}: error {}\n", text, e.to_errno());
                None
            }
        };
        let own = kinds(Name::Own, "oxbpf");
        let bpf = match params::tc_bpf() && own.is_some() {
            true => kinds(Name::Bpf, "bpf"),
            false => None,
        };
        Kinds {
            _own: own,
            _bpf: bpf,
        }
    }
}

const _: () = {
    // What the C side asks for by number.
    assert!(ProgType::SchedCls as u32 == 3 && ProgType::SchedAct as u32 == 4);
};
