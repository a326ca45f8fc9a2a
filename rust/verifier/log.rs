// SPDX-License-Identifier: GPL-2.0

//! The verifier's log: text that user space asked for, in the in-tree format.

use core::fmt;
use kernel::prelude::*;

/// A log of limited size.
#[derive(Debug, Default)]
pub struct Log {
    /// `BPF_LOG_LEVEL1` (1), `BPF_LOG_LEVEL2` (2), `BPF_LOG_STATS` (4), `BPF_LOG_FIXED` (8).
    pub level: u32,
    text: KVVec<u8>,
}

impl fmt::Write for Log {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        self.text
            .extend_from_slice(s.as_bytes(), GFP_KERNEL)
            .map_err(|_| fmt::Error)
    }
}
