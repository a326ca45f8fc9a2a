// SPDX-License-Identifier: GPL-2.0

//! SHA-256, as the kernel computes it.

use kernel::bindings;

/// The digest of `data`.
pub(crate) fn sha256(data: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    // SAFETY: both are valid for their lengths.
    unsafe { bindings::sha256(data.as_ptr(), data.len(), out.as_mut_ptr()) };
    out
}
