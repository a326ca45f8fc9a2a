// SPDX-License-Identifier: GPL-2.0

//! Host twin of `rust/sys.rs`: the same safe interfaces on std, for the pure modules' tests.

pub mod bytes;
pub mod cpus;
pub mod maplock;
pub mod random;
pub mod region;
pub mod ring;
