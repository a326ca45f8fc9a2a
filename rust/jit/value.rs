// SPDX-License-Identifier: GPL-2.0

//! Values that are known but not computed yet.
//!
//! While a straight line of code is emitted, a register need not hold its value: it may be known as
//! an address expression over other registers ([`Expr`]), which also covers constants and copies.
//! It is computed when something needs it in a register, or never.

use super::flow::RegSet;
use super::frame::home;
use super::x64::reg::{Gpr, Index, Mem, Scale};
use crate::isa::{AluOp, Reg, Size, Width};

/// `base + index * scale + disp`, with arithmetic modulo 2^64.
///
/// # Invariants
///
/// `disp` fits in 32 bits signed unless the expression is a constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Expr {
    base: Option<Gpr>,
    index: Option<(Index, Scale)>,
    disp: i64,
}

impl Expr {
    /// The number `value`.
    pub(crate) fn constant(value: u64) -> Expr {
        Expr {
            base: None,
            index: None,
            disp: i64::from_ne_bytes(value.to_ne_bytes()),
        }
    }

    /// What `reg` holds, plus `disp`.
    pub(crate) fn plus(reg: Gpr, disp: i32) -> Expr {
        Expr {
            base: Some(reg),
            index: None,
            disp: i64::from(disp),
        }
    }

    /// What `reg` holds.
    pub(crate) fn reg(reg: Gpr) -> Expr {
        Expr::plus(reg, 0)
    }

    /// The number, if it is one.
    pub(crate) fn as_const(&self) -> Option<u64> {
        match (self.base, self.index) {
            (None, None) => Some(u64::from_ne_bytes(self.disp.to_ne_bytes())),
            _ => None,
        }
    }

    /// The register, if it is nothing else.
    pub(crate) fn as_reg(&self) -> Option<Gpr> {
        match (self.base, self.index, self.disp) {
            (Some(reg), None, 0) => Some(reg),
            _ => None,
        }
    }

    /// Computed from `reg`.
    pub(crate) fn uses(&self, reg: Gpr) -> bool {
        self.base == Some(reg) || self.index.is_some_and(|(i, _)| i.gpr() == reg)
    }

    /// The sum, if it is an expression again.
    pub(crate) fn add(&self, o: &Expr) -> Option<Expr> {
        let (base, index) = match ((self.base, self.index), (o.base, o.index)) {
            (terms, (None, None)) | ((None, None), terms) => terms,
            ((Some(a), None), (Some(b), None)) => match (Index::new(b), Index::new(a)) {
                (Some(b), _) => (Some(a), Some((b, Scale::X1))),
                (None, Some(a)) => (Some(b), Some((a, Scale::X1))),
                (None, None) => return None,
            },
            ((base @ Some(_), None), (None, index)) | ((None, index), (base @ Some(_), None)) => {
                (base, index)
            }
            _ => return None,
        };
        let sum = Expr {
            base,
            index,
            disp: self.disp.wrapping_add(o.disp),
        };
        sum.valid()
    }

    /// The value shifted left by 1, 2 or 3, if it is an expression again.
    pub(crate) fn shl(&self, count: u32) -> Option<Expr> {
        let reg = Index::new(self.as_reg()?)?;
        let scale = Scale::from_log2(count)?;
        Some(Expr {
            base: None,
            index: Some((reg, scale)),
            disp: 0,
        })
    }

    /// The register times 3, 5 or 9, if it is a register.
    pub(crate) fn times(&self, factor: u64) -> Option<Expr> {
        let reg = self.as_reg()?;
        let scale = match factor {
            3 => Scale::X2,
            5 => Scale::X4,
            9 => Scale::X8,
            _ => return None,
        };
        Some(Expr {
            base: Some(reg),
            index: Some((Index::new(reg)?, scale)),
            disp: 0,
        })
    }

    fn valid(self) -> Option<Expr> {
        let constant = self.base.is_none() && self.index.is_none();
        (constant || i32::try_from(self.disp).is_ok()).then_some(self)
    }

    /// As a memory operand; none for a number that does not fit in 32 bits signed.
    pub(crate) fn mem(&self) -> Option<Mem> {
        Some(Mem {
            base: self.base,
            index: self.index,
            disp: i32::try_from(self.disp).ok()?,
            gs: false,
        })
    }

    /// The low 32 bits of the value as a memory operand for a 32-bit `lea`.
    pub(crate) fn mem32(&self) -> Mem {
        let [a, b, c, d, ..] = self.disp.to_le_bytes();
        Mem {
            base: self.base,
            index: self.index,
            disp: i32::from_le_bytes([a, b, c, d]),
            gs: false,
        }
    }
}

/// Where a register's value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Val {
    /// In its own machine register.
    Home,
    /// Nowhere; it would be this. The machine register holds nothing of use to it, except that the
    /// expression itself may use it.
    Lazy(Expr),
}

/// What is known at one place of the code.
///
/// # Invariants
///
/// If a register's expression uses the home of another register, that other is `Home`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct State {
    /// The registers that are `Lazy`.
    lazy: RegSet,
    /// What these would be.
    exprs: [Expr; 10],
    /// Bits above this many are zero in the home.
    bits: [u8; 10],
    /// `r9` holds this number.
    pub(crate) base: Option<u64>,
    /// The zero and sign flags are those of this register's value.
    pub(crate) flags: Option<(Gpr, Width)>,
    /// This place on the stack holds the low bytes of this register, which is at home.
    pub(crate) stored: Option<(Mem, Size, Reg)>,
    /// The last store put this number into this place on the stack.
    pub(crate) stored_number: Option<(Mem, Size, u64)>,
}

impl State {
    /// All values at home and nothing known of them.
    pub(crate) const fn new() -> State {
        State {
            lazy: RegSet::NONE,
            exprs: [Expr {
                base: None,
                index: None,
                disp: 0,
            }; 10],
            bits: [64; 10],
            base: None,
            flags: None,
            stored: None,
            stored_number: None,
        }
    }

    /// As [`State::new`], in place.
    pub(crate) fn forget(&mut self) {
        self.lazy = RegSet::NONE;
        self.bits = [64; 10];
        self.base = None;
        self.flags = None;
        self.stored = None;
        self.stored_number = None;
    }

    /// Where the value of `reg` is; `R10` is nowhere.
    pub(crate) fn val(&self, reg: Reg) -> Val {
        match self.exprs.get(reg.index()) {
            Some(e) if self.lazy.has(reg) => Val::Lazy(*e),
            _ => Val::Home,
        }
    }

    /// Notes where the value of `reg` is.
    pub(crate) fn set(&mut self, reg: Reg, val: Val) {
        let one = RegSet::one(reg);
        match (val, self.exprs.get_mut(reg.index())) {
            (Val::Lazy(e), Some(slot)) => {
                *slot = e;
                self.lazy = self.lazy.or(one);
            }
            _ => self.lazy = self.lazy.without(one),
        }
    }

    /// Adds `n` to the value of `reg`, if that only changes the number of its expression, or makes it
    /// one while there is no other. By the invariant no other expression uses the home of a register
    /// that is `Lazy`.
    #[inline(always)]
    pub(crate) fn add(&mut self, reg: Reg, n: i32) -> bool {
        let lazy = self.lazy.has(reg);
        let Some(e) = self.exprs.get_mut(reg.index()) else {
            return false;
        };
        if !lazy {
            let stored = matches!(self.stored, Some((_, _, r)) if r == reg);
            if n == 0 || stored || !self.lazy.is_empty() {
                return false;
            }
            *e = Expr::plus(home(reg), n);
            self.lazy = RegSet::one(reg);
            return true;
        }
        let sum = Expr {
            disp: e.disp.wrapping_add(i64::from(n)),
            ..*e
        };
        // Without a number it might be the register itself.
        let fits = sum.disp != 0 && i32::try_from(sum.disp).is_ok();
        if fits {
            *e = sum;
        }
        fits
    }

    /// The registers whose value is not at home.
    pub(crate) fn lazy(&self) -> RegSet {
        self.lazy
    }

    /// The value of `reg`, `R10` being the sum of `top`.
    pub(crate) fn expr(&self, reg: Reg, top: (Gpr, i32)) -> Expr {
        match (reg, self.val(reg)) {
            (Reg::R10, _) => Expr::plus(top.0, top.1),
            (_, Val::Home) => Expr::reg(home(reg)),
            (_, Val::Lazy(e)) => e,
        }
    }

    /// How many bits of the value of `reg` may be set.
    pub(crate) fn bits(&self, reg: Reg) -> u32 {
        let of = |r: Reg| u32::from(self.bits.get(r.index()).copied().unwrap_or(64));
        match self.val(reg) {
            Val::Home => of(reg),
            Val::Lazy(e) => match (e.as_const(), e.as_reg()) {
                (Some(c), _) => bit_len(c),
                (None, Some(g)) => Reg::ALL
                    .iter()
                    .find(|r| home(**r) == g)
                    .map_or(64, |r| of(*r)),
                (None, None) => 64,
            },
        }
    }

    /// Notes how many bits of the home of `reg` may be set.
    pub(crate) fn set_bits(&mut self, reg: Reg, bits: u32) {
        if let (Some(slot), Ok(bits)) = (self.bits.get_mut(reg.index()), u8::try_from(bits)) {
            *slot = bits;
        }
    }

    /// Notes that nobody needs the values of `set`.
    pub(crate) fn drop_values(&mut self, set: RegSet) {
        self.lazy = self.lazy.without(set);
        for reg in set.iter() {
            self.set_bits(reg, 64);
        }
    }

    /// Notes that a function was called: its result is at home, and nothing is known of it.
    pub(crate) fn called(&mut self) {
        self.lazy = self.lazy.without(RegSet::CALLER_SAVED);
        if let Some(bits) = self.bits.first_chunk_mut::<6>() {
            *bits = [64; 6];
        }
        self.flags = None;
        self.stored = None;
        self.stored_number = None;
    }

    /// Registers other than `of` whose expression uses `gpr`.
    pub(crate) fn users(&self, gpr: Gpr, of: Option<Reg>) -> RegSet {
        let mut set = RegSet::NONE;
        for reg in self
            .lazy
            .without(of.map_or(RegSet::NONE, RegSet::one))
            .iter()
        {
            if matches!(self.val(reg), Val::Lazy(e) if e.uses(gpr)) {
                set = set.or(RegSet::one(reg));
            }
        }
        set
    }
}

/// Number of bits up to the highest set one.
pub(crate) fn bit_len(value: u64) -> u32 {
    64u32.wrapping_sub(value.leading_zeros())
}

fn signed(v: u64) -> i64 {
    i64::from_ne_bytes(v.to_ne_bytes())
}

fn unsigned(v: i64) -> u64 {
    u64::from_ne_bytes(v.to_ne_bytes())
}

/// The low 32 bits.
pub(crate) fn low32(v: u64) -> u32 {
    let [a, b, c, d, ..] = v.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

fn sext32(v: u64) -> i64 {
    i64::from(i32::from_ne_bytes(low32(v).to_ne_bytes()))
}

/// The result of an operation on numbers.
pub(crate) fn fold(op: AluOp, width: Width, a: u64, b: u64) -> u64 {
    let (a, b, sa, sb, mask) = match width {
        Width::W64 => (a, b, signed(a), signed(b), 63),
        Width::W32 => (
            u64::from(low32(a)),
            u64::from(low32(b)),
            sext32(a),
            sext32(b),
            31,
        ),
    };
    let count = low32(b) & mask;
    let result = match op {
        AluOp::Add => a.wrapping_add(b),
        AluOp::Sub => a.wrapping_sub(b),
        AluOp::Mul => a.wrapping_mul(b),
        AluOp::Div => a.checked_div(b).unwrap_or(0),
        AluOp::Mod => a.checked_rem(b).unwrap_or(a),
        AluOp::Sdiv if sb == 0 => 0,
        AluOp::Sdiv => unsigned(sa.wrapping_div(sb)),
        AluOp::Smod if sb == 0 => a,
        AluOp::Smod => unsigned(sa.wrapping_rem(sb)),
        AluOp::Or => a | b,
        AluOp::And => a & b,
        AluOp::Xor => a ^ b,
        AluOp::Lsh => a.wrapping_shl(count),
        AluOp::Rsh => a.wrapping_shr(count),
        AluOp::Arsh => unsigned(sa.wrapping_shr(count)),
    };
    match width {
        Width::W64 => result,
        Width::W32 => u64::from(low32(result)),
    }
}
