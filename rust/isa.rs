// SPDX-License-Identifier: GPL-2.0

//! The instruction set: one typed [`Insn`] per instruction slot.
//!
//! A program arrives as [`RawInsn`] slots, is decoded once by [`decode::decode`], and nobody
//! behind the decoder looks at an opcode byte again. Slot numbers are kept: `insns[i]` is what
//! slot `i` of the wire program holds, and the second slot of a 16-byte `ld_imm64` is
//! [`Insn::Hole`], so jump targets and log lines name the numbers the author sees.
//!
//! Names are those of RFC 9669.

pub mod code;
pub mod decode;
pub mod disasm;
pub mod encode;
pub mod opcode;

/// One 8-byte instruction slot as user space passes it (RFC 9669, section 3.1).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RawInsn {
    /// Operation code.
    pub code: u8,
    /// Destination register in the low four bits, source register in the high four.
    pub regs: u8,
    /// Signed offset: of a memory access, or of a jump in slots.
    pub off: i16,
    /// Signed immediate.
    pub imm: i32,
}

impl RawInsn {
    /// Builds a slot from its five fields.
    pub const fn new(code: u8, dst: u8, src: u8, off: i16, imm: i32) -> Self {
        Self {
            code,
            regs: (dst & 0xf) | (src << 4),
            off,
            imm,
        }
    }

    /// The destination register's number, 0 to 15.
    pub const fn dst(self) -> u8 {
        self.regs & 0xf
    }

    /// The source register's number, 0 to 15.
    pub const fn src(self) -> u8 {
        self.regs >> 4
    }
}

/// A register of the machine, `R0` to `R10` (RFC 9669, section 2.3).
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reg {
    /// Return value.
    R0 = 0,
    /// First argument.
    R1,
    /// Second argument.
    R2,
    /// Third argument.
    R3,
    /// Fourth argument.
    R4,
    /// Fifth argument.
    R5,
    /// Callee saved.
    R6,
    /// Callee saved.
    R7,
    /// Callee saved.
    R8,
    /// Callee saved.
    R9,
    /// Frame pointer, read only.
    R10,
}

impl Reg {
    /// Every register in order.
    pub const ALL: [Reg; 11] = [
        Reg::R0,
        Reg::R1,
        Reg::R2,
        Reg::R3,
        Reg::R4,
        Reg::R5,
        Reg::R6,
        Reg::R7,
        Reg::R8,
        Reg::R9,
        Reg::R10,
    ];

    /// The register of that number, if there is one.
    pub fn from_index(index: u8) -> Option<Reg> {
        Self::ALL.get(usize::from(index)).copied()
    }

    /// The register's number, 0 to 10.
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// Operand width of arithmetic and comparisons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// The low 32 bits; the upper half of the result is zero (`ALU`, `JMP32`).
    W32,
    /// All 64 bits (`ALU64`, `JMP`).
    W64,
}

/// Size of a memory access or of a byte swap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Size {
    /// One byte.
    B,
    /// Two bytes.
    H,
    /// Four bytes.
    W,
    /// Eight bytes.
    Dw,
}

impl Size {
    /// The size in bytes: 1, 2, 4 or 8.
    pub const fn bytes(self) -> u32 {
        match self {
            Size::B => 1,
            Size::H => 2,
            Size::W => 4,
            Size::Dw => 8,
        }
    }

    /// The size in bits: 8, 16, 32 or 64.
    pub const fn bits(self) -> u32 {
        match self {
            Size::B => 8,
            Size::H => 16,
            Size::W => 32,
            Size::Dw => 64,
        }
    }
}

/// Second operand: a register, or an immediate that is sign-extended to the operation's width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Src {
    /// A register (`X`).
    Reg(Reg),
    /// An immediate (`K`).
    Imm(i32),
}

/// Two-operand arithmetic (RFC 9669, section 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AluOp {
    /// `dst += src`
    Add,
    /// `dst -= src`
    Sub,
    /// `dst *= src`
    Mul,
    /// Unsigned division; by zero gives 0.
    Div,
    /// Signed division; by zero gives 0, `MIN / -1` gives `MIN`.
    Sdiv,
    /// `dst |= src`
    Or,
    /// `dst &= src`
    And,
    /// Logical left shift, the count taken modulo the width.
    Lsh,
    /// Logical right shift, the count taken modulo the width.
    Rsh,
    /// Unsigned remainder; by zero leaves `dst` (its low half when 32 bits wide).
    Mod,
    /// Signed remainder; by zero leaves `dst`, `MIN % -1` gives 0.
    Smod,
    /// `dst ^= src`
    Xor,
    /// Arithmetic right shift, the count taken modulo the width.
    Arsh,
}

/// Byte order operations (RFC 9669, section 4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SwapKind {
    /// Host to little endian: truncates on a little-endian machine.
    ToLe,
    /// Host to big endian: swaps on a little-endian machine.
    ToBe,
    /// Unconditional swap.
    Bswap,
}

/// Conditions of jumps (RFC 9669, section 4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cond {
    /// `==`
    Eq,
    /// `!=`
    Ne,
    /// `(dst & src) != 0`
    Set,
    /// unsigned `>`
    Gt,
    /// unsigned `>=`
    Ge,
    /// unsigned `<`
    Lt,
    /// unsigned `<=`
    Le,
    /// signed `>`
    Sgt,
    /// signed `>=`
    Sge,
    /// signed `<`
    Slt,
    /// signed `<=`
    Sle,
}

/// Read-modify-write operations on memory (RFC 9669, section 5.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtomicOp {
    /// `*dst += src`; with `fetch`, `src` gets the old value.
    Add,
    /// `*dst |= src`
    Or,
    /// `*dst &= src`
    And,
    /// `*dst ^= src`
    Xor,
    /// `src` and `*dst` change places (always fetches).
    Xchg,
    /// `*dst = src` if `*dst == R0`; `R0` gets the old value (always fetches).
    Cmpxchg,
}

/// What a 16-byte `ld_imm64` loads.
///
/// The decoder makes `Value` and the `*Fd`, `*Idx` and `Func` forms; the verifier replaces the fd
/// and index forms by `Map` and `MapValue`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Imm64 {
    /// A plain 64-bit number.
    Value(u64),
    /// `BPF_PSEUDO_MAP_FD`: the map behind a file descriptor.
    MapFd(i32),
    /// `BPF_PSEUDO_MAP_VALUE`: an address inside the map's one value.
    MapValueFd {
        /// File descriptor of the map.
        fd: i32,
        /// Byte offset in the value.
        off: u32,
    },
    /// `BPF_PSEUDO_MAP_IDX`: like `MapFd`, by index in `fd_array`.
    MapIdx(i32),
    /// `BPF_PSEUDO_MAP_IDX_VALUE`: like `MapValueFd`, by index in `fd_array`.
    MapValueIdx {
        /// Index in `fd_array`.
        idx: i32,
        /// Byte offset in the value.
        off: u32,
    },
    /// `BPF_PSEUDO_FUNC`: the address of a subprogram; the slot it starts at.
    Func(u32),
    /// `BPF_PSEUDO_BTF_ID`: a kernel variable by BTF id, with the BTF object's fd.
    BtfId {
        /// Type id.
        id: i32,
        /// BTF object fd, 0 for vmlinux.
        fd: i32,
    },
    /// Verified: entry `0` of the program's used maps.
    Map(u32),
    /// Verified: address of byte `off` of the value of used map `map`.
    MapValue {
        /// Index in the program's used maps.
        map: u32,
        /// Byte offset in the value.
        off: u32,
    },
}

/// One decoded instruction slot.
///
/// Jump and call targets are absolute slot numbers inside the same program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Insn {
    /// `dst = dst op src`
    Alu {
        /// The operation.
        op: AluOp,
        /// 32 or 64 bits.
        width: Width,
        /// First operand and result.
        dst: Reg,
        /// Second operand.
        src: Src,
    },
    /// `dst = -dst`
    Neg {
        /// 32 or 64 bits.
        width: Width,
        /// Operand and result.
        dst: Reg,
    },
    /// `dst = src`
    Mov {
        /// 32 bits (zero-extending) or 64 bits.
        width: Width,
        /// Result.
        dst: Reg,
        /// Operand.
        src: Src,
    },
    /// `dst = sign_extend(src as from)`, to `width`, zero-extended beyond.
    MovSx {
        /// Width that is extended to.
        width: Width,
        /// Size that is extended from: `B`, `H`, or (`W64` only) `W`.
        from: Size,
        /// Result.
        dst: Reg,
        /// Operand.
        src: Reg,
    },
    /// Byte swap or truncation of the low `size` bits; the bits above become zero.
    Swap {
        /// What is done.
        kind: SwapKind,
        /// `H`, `W` or `Dw`.
        size: Size,
        /// Operand and result.
        dst: Reg,
    },
    /// `dst = imm` (two slots; the next is [`Insn::Hole`]).
    LdImm64 {
        /// Result.
        dst: Reg,
        /// What is loaded.
        imm: Imm64,
    },
    /// Second slot of an [`Insn::LdImm64`].
    Hole,
    /// `dst = *(size *)(src + off)`, zero- or sign-extended to 64 bits.
    Load {
        /// Access size.
        size: Size,
        /// Sign-extends (`MEMSX`; never with `Dw`).
        sx: bool,
        /// Result.
        dst: Reg,
        /// Base address.
        src: Reg,
        /// Byte offset.
        off: i16,
    },
    /// `*(size *)(dst + off) = src`
    Store {
        /// Access size.
        size: Size,
        /// Base address.
        dst: Reg,
        /// Byte offset.
        off: i16,
        /// What is stored; an immediate is sign-extended to 64 bits first.
        src: Src,
    },
    /// Atomic read-modify-write of `*(size *)(dst + off)`.
    Atomic {
        /// The operation.
        op: AtomicOp,
        /// The old value goes to `src` (`R0` for `Cmpxchg`), zero-extended.
        fetch: bool,
        /// `W` or `Dw`.
        size: Size,
        /// Base address.
        dst: Reg,
        /// Byte offset.
        off: i16,
        /// Operand.
        src: Reg,
    },
    /// `dst = load_acquire((size *)(src + off))`
    LoadAcquire {
        /// Access size.
        size: Size,
        /// Result.
        dst: Reg,
        /// Base address.
        src: Reg,
        /// Byte offset.
        off: i16,
    },
    /// `store_release((size *)(dst + off), src)`
    StoreRelease {
        /// Access size.
        size: Size,
        /// Base address.
        dst: Reg,
        /// Byte offset.
        off: i16,
        /// What is stored.
        src: Reg,
    },
    /// `R0 = ntoh(*(size *)(packet + imm))`; ends the program with 0 when out of the packet.
    LdAbs {
        /// `B`, `H` or `W`.
        size: Size,
        /// Offset in the packet.
        imm: i32,
    },
    /// Like `LdAbs` at `src + imm`.
    LdInd {
        /// `B`, `H` or `W`.
        size: Size,
        /// Register part of the offset.
        src: Reg,
        /// Constant part of the offset.
        imm: i32,
    },
    /// Goes to `target`.
    Ja {
        /// Slot number.
        target: u32,
        /// Encoded as `gotol` (`JMP32|JA`, 32-bit offset).
        long: bool,
    },
    /// Goes to `target` when the loop budget is used up (`JCOND`, source 0).
    MayGoto {
        /// Slot number.
        target: u32,
    },
    /// Goes to `target` if `dst cond src`.
    Jmp {
        /// The condition.
        cond: Cond,
        /// Width of the comparison.
        width: Width,
        /// First operand.
        dst: Reg,
        /// Second operand.
        src: Src,
        /// Slot number.
        target: u32,
    },
    /// Calls the helper function of that number.
    Call {
        /// Helper number (`enum bpf_func_id`).
        helper: i32,
    },
    /// Calls the subprogram that starts at `target`.
    CallSub {
        /// Slot number.
        target: u32,
    },
    /// Calls a kernel function by BTF id.
    CallKfunc {
        /// BTF id of the function.
        id: i32,
        /// Index in `fd_array` of the module's BTF, 0 for vmlinux.
        off: i16,
    },
    /// Returns from the subprogram or ends the program.
    Exit,
    /// Nothing behind it begins before all that is ahead of it is done (`ST|NOSPEC`): put in by the
    /// verifier against speculative execution, never decoded.
    Nospec,
}
