// SPDX-License-Identifier: GPL-2.0

//! `LD_ABS` and `LD_IND`: loads from the packet that end the program when out of it.

use crate::abi::ProgType;
use crate::isa::Reg;
use crate::verifier::domain::scalar::Scalar;
use crate::verifier::error::refuse;
use crate::verifier::explore::{Flow, Verifier};
use crate::verifier::state::reg::{Base, Num, Val};
use kernel::prelude::*;

impl Verifier<'_> {
    /// `R0 = ntoh(packet[..])`; `index` is the register part of the offset.
    pub(in crate::verifier) fn ld_packet(&mut self, index: Option<Reg>) -> Result<Flow> {
        match self.options.prog_type {
            ProgType::SocketFilter | ProgType::SchedCls | ProgType::SchedAct => {}
            ProgType::CgroupSkb
            | ProgType::Kprobe
            | ProgType::Tracepoint
            | ProgType::Xdp
            | ProgType::PerfEvent
            | ProgType::RawTracepoint => {
                return refuse!(
                    self.log,
                    EINVAL,
                    "BPF_LD_[ABS|IND] instructions not allowed for this program type"
                );
            }
        }
        if self.cur.in_callback() {
            return refuse!(
                self.log,
                EINVAL,
                "cannot use BPF_LD_[ABS|IND] within callback"
            );
        }
        let Val::Ptr(ctx) = self.read(Reg::R6)? else {
            return self.not_skb();
        };
        if ctx.base != Base::Ctx {
            return self.not_skb();
        }
        self.check_leak("BPF_LD_[ABS|IND]")?;
        if let Some(r) = index {
            self.read(r)?;
        }
        self.check_unmodified(&ctx, Reg::R6)?;
        self.clobber_caller_saved();
        // In-tree takes the loaded number for any 64-bit one; so do we.
        let v = Num::fresh(Scalar::unknown());
        self.set(Reg::R0, Val::Scalar(v));
        if self.depth() > 0 {
            // Out of the packet a subprogram returns 0 to its caller.
            let next = self.at.wrapping_add(1);
            self.postpone(next, |_, _| Ok(()))?;
            self.set(Reg::R0, Val::constant(0));
            return self.exit();
        }
        Ok(Flow::Next)
    }

    fn not_skb(&mut self) -> Result<Flow> {
        refuse!(
            self.log,
            EINVAL,
            "at the time of BPF_LD_ABS|IND R6 != pointer to skb"
        )
    }
}
