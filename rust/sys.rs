// SPDX-License-Identifier: GPL-2.0

//! The unsafe edge: one safe abstraction per kernel facility, nothing above it is unsafe.

pub(crate) mod bindings;
pub(crate) mod module;
