// SPDX-License-Identifier: GPL-2.0

//! Sockets, by the rows of [`crate::ctx`].
//!
//! A pointer to a socket never moves and is read only, so an access is sound if the socket is there and is
//! as much of one as the pointer says. What is there: a socket that a look-up gave, until it is given
//! back, which ends the pointers to it; the packet's, which stays as long as the packet is at the
//! program, for no helper takes it away; and a listener, which goes after a grace period while the
//! program is in a reader's section. Of sockets that are being freed meanwhile nothing but numbers is read.

use super::Access;
use crate::ctx::{self, Sock};
use crate::verifier::error::refuse;
use crate::verifier::explore::Verifier;
use crate::verifier::state::reg::Ptr;
use kernel::prelude::*;

impl Verifier<'_> {
    /// A load from a socket.
    pub(super) fn check_sock(&mut self, ptr: &Ptr, sock: Sock, a: &Access) -> Result {
        // No arithmetic is allowed on it.
        let own = self.check_fixed(ptr, a.reg, false)?;
        let off = own.saturating_add(a.off);
        if i32::try_from(off).is_ok_and(|off| ctx::check_sock(sock, off, a.size)) {
            return Ok(());
        }
        refuse!(
            self.log,
            EACCES,
            "R{} invalid {} access off={} size={}",
            a.reg.index(),
            ptr.base.name(),
            off,
            a.size.bytes()
        )
    }
}
