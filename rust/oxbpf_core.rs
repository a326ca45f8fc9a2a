// SPDX-License-Identifier: GPL-2.0

//! oxbpf's pure modules as a host crate: everything of the kernel module that needs no kernel.
//!
//! The same files are part of `oxbpf.rs`; here they are compiled for tests, fuzzers and
//! user-space tools.

#![forbid(unsafe_code)]

pub mod abi;
pub mod isa;

pub mod ctx;
pub mod helper;

pub mod btf;

pub mod verifier;

pub mod format;
pub mod interp;
pub mod jit;

pub mod map;

#[path = "../tools/core/sys/sys.rs"]
pub mod sys;
