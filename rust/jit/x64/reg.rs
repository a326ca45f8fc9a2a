// SPDX-License-Identifier: GPL-2.0

//! Operands: registers, memory references and condition codes.

/// A 64-bit general purpose register, by its number in encodings.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Gpr {
    Rax = 0,
    Rcx,
    Rdx,
    Rbx,
    Rsp,
    Rbp,
    Rsi,
    Rdi,
    R8,
    R9,
    R10,
    R11,
    R12,
    R13,
    R14,
    R15,
}

impl Gpr {
    /// Every register in order.
    pub const ALL: [Gpr; 16] = [
        Gpr::Rax,
        Gpr::Rcx,
        Gpr::Rdx,
        Gpr::Rbx,
        Gpr::Rsp,
        Gpr::Rbp,
        Gpr::Rsi,
        Gpr::Rdi,
        Gpr::R8,
        Gpr::R9,
        Gpr::R10,
        Gpr::R11,
        Gpr::R12,
        Gpr::R13,
        Gpr::R14,
        Gpr::R15,
    ];

    /// The low three bits of the number, as ModRM, SIB and opcodes hold them.
    pub const fn low(self) -> u8 {
        self as u8 & 7
    }

    /// The fourth bit of the number, as REX holds it.
    pub const fn high(self) -> bool {
        self as u8 >= 8
    }

    /// Its low byte can only be named with a REX prefix (`spl`, `bpl`, `sil`, `dil`).
    pub const fn byte_needs_rex(self) -> bool {
        let n = self as u8;
        n >= 4 && n < 8
    }
}

/// A register that can be an index: any but `rsp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Index(Gpr);

impl Index {
    /// The register as an index, if it can be one.
    pub fn new(reg: Gpr) -> Option<Index> {
        match reg {
            Gpr::Rsp => None,
            _ => Some(Index(reg)),
        }
    }

    /// The register.
    pub const fn gpr(self) -> Gpr {
        self.0
    }
}

/// What an index is multiplied with.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Scale {
    X1 = 0,
    X2,
    X4,
    X8,
}

impl Scale {
    /// The scale that shifts left by `log2`.
    pub fn from_log2(log2: u32) -> Option<Scale> {
        match log2 {
            0 => Some(Scale::X1),
            1 => Some(Scale::X2),
            2 => Some(Scale::X4),
            3 => Some(Scale::X8),
            _ => None,
        }
    }

    /// How far the index is shifted left.
    pub const fn log2(self) -> u8 {
        self as u8
    }
}

/// A memory reference `[base + index * scale + disp]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mem {
    /// Base register.
    pub base: Option<Gpr>,
    /// Scaled index register.
    pub index: Option<(Index, Scale)>,
    /// Displacement; sign-extended.
    pub disp: i32,
    /// Relative to the `gs` segment's base (per-CPU data).
    pub gs: bool,
}

impl Mem {
    /// `[base + disp]`
    pub const fn at(base: Gpr, disp: i32) -> Mem {
        Mem {
            base: Some(base),
            index: None,
            disp,
            gs: false,
        }
    }

    /// The address is computed from `reg`.
    pub fn uses(&self, reg: Gpr) -> bool {
        self.base == Some(reg) || self.index.is_some_and(|(i, _)| i.gpr() == reg)
    }
}

/// A register or memory operand (`r/m`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rm {
    /// A register.
    Reg(Gpr),
    /// Memory.
    Mem(Mem),
}

/// A condition code, by its number in encodings.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cc {
    /// Overflow.
    O = 0,
    /// No overflow.
    No,
    /// Below (carry).
    B,
    /// Above or equal (no carry).
    Ae,
    /// Equal (zero).
    E,
    /// Not equal (not zero).
    Ne,
    /// Below or equal.
    Be,
    /// Above.
    A,
    /// Sign.
    S,
    /// No sign.
    Ns,
    /// Parity even.
    P,
    /// Parity odd.
    Np,
    /// Less.
    L,
    /// Greater or equal.
    Ge,
    /// Less or equal.
    Le,
    /// Greater.
    G,
}

impl Cc {
    /// Every condition in order.
    pub const ALL: [Cc; 16] = [
        Cc::O,
        Cc::No,
        Cc::B,
        Cc::Ae,
        Cc::E,
        Cc::Ne,
        Cc::Be,
        Cc::A,
        Cc::S,
        Cc::Ns,
        Cc::P,
        Cc::Np,
        Cc::L,
        Cc::Ge,
        Cc::Le,
        Cc::G,
    ];

    /// The opposite condition.
    pub const fn not(self) -> Cc {
        match self {
            Cc::O => Cc::No,
            Cc::No => Cc::O,
            Cc::B => Cc::Ae,
            Cc::Ae => Cc::B,
            Cc::E => Cc::Ne,
            Cc::Ne => Cc::E,
            Cc::Be => Cc::A,
            Cc::A => Cc::Be,
            Cc::S => Cc::Ns,
            Cc::Ns => Cc::S,
            Cc::P => Cc::Np,
            Cc::Np => Cc::P,
            Cc::L => Cc::Ge,
            Cc::Ge => Cc::L,
            Cc::Le => Cc::G,
            Cc::G => Cc::Le,
        }
    }
}
