// SPDX-License-Identifier: GPL-2.0

//! Abstract domains for numbers.
//!
//! A [`scalar::Scalar`] stands for a set of 64-bit values. It is the product of a
//! [`tnum::Tnum`] (bits that are known) and of unsigned and signed intervals of the whole value
//! and of its low half. Every operation gives a set that contains each result that the machine
//! can compute from the operands' sets; Documentation/soundness.rst says why, operation by
//! operation, and the tests beside the code check it exhaustively at small widths.
//!
//! The algorithms are generic over the width for that reason: what runs at 64 and 32 bits in the
//! kernel is the same code that the tests run at 4 and 2 bits over all values.

mod alu;
mod bounds;
pub mod branch;
pub mod fmt;
pub mod scalar;
pub mod tnum;

#[cfg(test)]
mod testing;
