// SPDX-License-Identifier: GPL-2.0

//! The two implementations side by side.

use oxbpf::{Bpf, Errno};
use std::fmt::Debug;

/// oxbpf and the kernel's own bpf(2).
pub struct Both {
    /// Under test.
    pub ours: Bpf,
    /// The yardstick.
    pub theirs: Bpf,
}

impl Both {
    /// Opens the device.
    pub fn open() -> Both {
        let ours = Bpf::oxbpf().unwrap_or_else(|e| panic!("{}: {e}", oxbpf::DEVICE));
        Both {
            ours,
            theirs: Bpf::in_tree(),
        }
    }

    /// Runs `f` with each; an error when the results differ.
    pub fn same<T: PartialEq + Debug>(&self, f: impl Fn(&Bpf) -> T) -> Result<T, String> {
        let theirs = f(&self.theirs);
        let ours = f(&self.ours);
        if ours == theirs {
            Ok(ours)
        } else {
            Err(format!("in-tree: {theirs:?}\noxbpf:   {ours:?}"))
        }
    }
}

/// Replaces an fd by 0, so that results can be compared.
pub fn no_fd(r: Result<i32, Errno>) -> Result<i32, Errno> {
    r.map(|fd| {
        if fd > 2 {
            // SAFETY: the command just made `fd` and nobody else has it.
            unsafe { libc::close(fd) };
        }
        0
    })
}
