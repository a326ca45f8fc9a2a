// SPDX-License-Identifier: GPL-2.0

//! The log of a command: what user space asked for, and how it gets it.

use super::Attr;
use crate::sys::user::User;
use crate::verifier::log::{self, Log};
use kernel::prelude::*;

/// A command's fields for a log.
pub(super) struct LogAttr {
    /// What to write.
    pub(super) level: u32,
    /// Bytes of the buffer.
    pub(super) size: u32,
    /// The buffer.
    pub(super) buf: u64,
    /// Byte of the attr where the needed size goes.
    pub(super) true_size_at: usize,
}

impl LogAttr {
    /// The fields make sense together.
    ///
    /// # Errors
    ///
    /// `EINVAL`
    pub(super) fn check(&self) -> Result {
        let buffer = self.buf != 0;
        if buffer != (self.size != 0)
            || (buffer && self.level == 0)
            || self.level & !log::MASK != 0
            || self.size > u32::MAX >> 2
        {
            return Err(EINVAL);
        }
        Ok(())
    }

    /// An empty log as asked for.
    pub(super) fn start(&self) -> Log {
        Log::new(self.level, self.size)
    }

    /// Hands the log to user space.
    ///
    /// # Errors
    ///
    /// `EFAULT`, `ENOSPC` when it did not fit; both replace the verdict.
    pub(super) fn finish(&self, attr: &Attr, log: &Log) -> Result {
        let mut result = log.status();
        if self.buf != 0 && log.true_size() != 0 {
            let (first, second) = log.text();
            let user = User::new(self.buf);
            let at = first.len() as u64;
            let end = at.wrapping_add(second.len() as u64);
            let written = user
                .write(first)
                .and_then(|()| user.add(at).write(second))
                .and_then(|()| user.add(end).write(&[0]));
            if written.is_err() {
                result = Err(EFAULT);
            }
        }
        if attr.reaches(self.true_size_at.wrapping_add(4)) {
            let size = if log.on() { log.true_size() } else { 0 };
            attr.answer(self.true_size_at as u64, &size.to_ne_bytes())?;
        }
        result
    }
}
