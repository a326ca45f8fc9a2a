// SPDX-License-Identifier: GPL-2.0

//! Host twin of `rust/sys/random.rs`.

use std::hash::{BuildHasher, RandomState};

/// A number that nobody can guess.
pub fn unguessable() -> u64 {
    RandomState::new().hash_one(std::thread::current().id())
}
