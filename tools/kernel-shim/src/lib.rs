// SPDX-License-Identifier: GPL-2.0

//! The part of Rust-for-Linux's `kernel` crate that oxbpf's pure modules use, on std.
//!
//! Same paths, names and signatures; an allocation can be made to fail (see [`alloc::fail`]).

pub mod alloc;
pub mod error;

/// What `use kernel::prelude::*` brings.
pub mod prelude {
    pub use crate::alloc::{flags::*, Box, KBox, KVBox, KVVec, KVec, VBox, VVec};
    pub use crate::error::{code::*, Error, Result};
    pub use crate::{dev_printk_stub, pr_err, pr_info, pr_warn};
}

/// Prints to standard error.
#[macro_export]
macro_rules! pr_err { ($($a:tt)*) => { eprintln!($($a)*) } }
/// Prints to standard error.
#[macro_export]
macro_rules! pr_warn { ($($a:tt)*) => { eprintln!($($a)*) } }
/// Prints to standard error.
#[macro_export]
macro_rules! pr_info { ($($a:tt)*) => { eprintln!($($a)*) } }
/// Nothing.
#[macro_export]
macro_rules! dev_printk_stub {
    ($($a:tt)*) => {};
}
