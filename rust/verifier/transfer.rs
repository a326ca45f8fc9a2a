// SPDX-License-Identifier: GPL-2.0

//! What an instruction does to the state, by concern.

mod alu;
mod arg;
mod branch;
mod call;
mod callback;
mod global;
mod imm;
mod lock;
mod mask;
mod memory;
mod packet;
mod pointer;

pub(crate) use mask::Mask;
pub(crate) use pointer::MAX_VAR_OFF;
