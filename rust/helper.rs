// SPDX-License-Identifier: GPL-2.0

//! Helper functions: one row each, read by verifier, JIT, disassembler and documentation.

use crate::abi::ProgType;

/// What a helper takes in one argument register.
///
/// `MemRead` and `MemWrite` are followed by the argument that holds their size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arg {
    /// Not an argument: the helper takes fewer.
    None,
    /// Any initialised value.
    Anything,
    /// The program's context.
    Ctx,
    /// A map, constant (`ld_imm64`).
    ConstMap,
    /// Readable memory of the map's key size.
    MapKey,
    /// Readable memory of the map's value size.
    MapValue,
    /// Readable memory of the next argument's size.
    MemRead,
    /// As `MemRead`; NULL with size 0 is allowed.
    MemReadOrNull,
    /// Writable memory of the next argument's size, which need not be initialised.
    MemWrite,
    /// Size of the memory argument before, at least 1.
    Size,
    /// Size of the memory argument before, 0 allowed.
    SizeOrZero,
}

/// What a helper returns in `R0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ret {
    /// A number.
    Integer,
    /// Nothing of use.
    Void,
    /// A pointer to a value of the map argument, or NULL.
    MapValueOrNull,
}

/// Which program types may call a helper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Every type.
    Any,
    /// kprobe, tracepoint, raw tracepoint, perf event.
    Tracing,
    /// tc classifier and action.
    Tc,
}

/// One helper function.
#[derive(Clone, Copy, Debug)]
pub struct Helper {
    /// Number (`enum bpf_func_id`).
    pub id: i32,
    /// Name without `bpf_`.
    pub name: &'static str,
    /// Arguments `R1` to `R5`.
    pub args: [Arg; 5],
    /// Result.
    pub ret: Ret,
    /// Only programs with a GPL-compatible license may call it.
    pub gpl_only: bool,
    /// Program types that may call it.
    pub scope: Scope,
}

/// The helper of that number that programs of type `prog` may call.
pub fn lookup(_id: i32, _prog: ProgType) -> Option<&'static Helper> {
    None
}
