// SPDX-License-Identifier: GPL-2.0

//! Random numbers.

extern "C" {
    fn oxbpf_random_u64() -> u64;
}

/// A number that nobody can guess.
pub(crate) fn unguessable() -> u64 {
    // SAFETY: the shim has no requirements.
    unsafe { oxbpf_random_u64() }
}
