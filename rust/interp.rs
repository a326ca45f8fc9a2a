// SPDX-License-Identifier: GPL-2.0

//! The interpreter: runs a program's instructions over a [`Memory`].

use crate::isa::{AtomicOp, Imm64, Size};

/// What stopped a program that a checked memory did not allow to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The access at this address is not allowed.
    Access(u64),
    /// The helper of that number cannot be called.
    Helper(i32),
    /// The instruction at this slot is not one that can run.
    Insn(u32),
    /// The instruction budget is used up.
    Budget,
}

/// The memory, and the helpers, that a program sees.
///
/// In the kernel an access goes straight to the address; on the host every access is checked.
pub trait Memory {
    /// Loads `size` bytes at `addr`, zero-extended. `may_fault`: through the fault-safe copy.
    ///
    /// # Errors
    ///
    /// [`Fault::Access`]
    fn load(&mut self, addr: u64, size: Size, may_fault: bool) -> Result<u64, Fault>;

    /// Stores the low `size` bytes of `value` at `addr`.
    ///
    /// # Errors
    ///
    /// [`Fault::Access`]
    fn store(&mut self, addr: u64, size: Size, value: u64) -> Result<(), Fault>;

    /// Atomic operation at `addr`; returns the old value, zero-extended. `r0` is what `Cmpxchg`
    /// compares with.
    ///
    /// # Errors
    ///
    /// [`Fault::Access`]
    fn atomic(
        &mut self,
        op: AtomicOp,
        addr: u64,
        size: Size,
        src: u64,
        r0: u64,
    ) -> Result<u64, Fault>;

    /// The address (or number) that a resolved `ld_imm64` loads.
    ///
    /// # Errors
    ///
    /// [`Fault::Access`] when there is no such map.
    fn imm64(&mut self, imm: Imm64) -> Result<u64, Fault>;

    /// Address one past the top of the program's stack, which has `Code::stack_depth` bytes below.
    fn stack_top(&mut self) -> u64;

    /// Calls helper `id`.
    ///
    /// # Errors
    ///
    /// [`Fault::Helper`]
    fn call(&mut self, id: i32, args: [u64; 5]) -> Result<u64, Fault>;
}
