// SPDX-License-Identifier: GPL-2.0

//! An assembler for the part of x86-64 that the compiler uses.
//!
//! [`inst`] has one row an instruction form, [`encode`] turns a row and typed operands into bytes,
//! [`buffer`] collects them and places jumps.

pub mod buffer;
pub mod encode;
pub mod inst;
pub mod reg;
