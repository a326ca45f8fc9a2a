// SPDX-License-Identifier: GPL-2.0

//! Looks for programs that the verifier accepts and should not.
//!
//! [`gen`] makes programs, [`mutate`] changes given ones. Each that the verifier accepts is run
//! in the checked interpreter on several inputs ([`oracle`]): no access may leave its region, the
//! run must end, and every register must hold what the verifier says it may hold there. The same
//! program goes to the host's own bpf(2) ([`in_tree`]): what is accepted here and refused there
//! is printed, and results are compared.

#![forbid(unsafe_code)]

pub mod campaign;
pub mod gen;
pub mod in_tree;
pub mod inputs;
pub mod mutate;
pub mod oracle;
pub mod rng;
