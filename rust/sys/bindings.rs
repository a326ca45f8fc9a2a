// SPDX-License-Identifier: GPL-2.0

//! What bindgen makes of `rust/bindings.h`.

#![allow(
    clippy::all,
    dead_code,
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    unreachable_pub,
    unsafe_op_in_unsafe_fn
)]

#[allow(unused_imports)]
use kernel::ffi;

include!(concat!(env!("OXBPF_OUT"), "/rust/bindings.rs"));
