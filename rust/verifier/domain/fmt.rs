// SPDX-License-Identifier: GPL-2.0

//! Numbers in the text form of the in-tree verifier's log.

use super::scalar::Scalar;
use super::tnum::Tnum;
use core::fmt;

/// A signed number: decimal when it fits 16 bits, else hexadecimal.
#[derive(Clone, Copy, Debug)]
pub struct Snum(pub i64);

/// An unsigned number: decimal when it fits 16 bits, else hexadecimal.
#[derive(Clone, Copy, Debug)]
pub struct Unum(pub u64);

impl fmt::Display for Snum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if i16::try_from(self.0).is_ok() {
            write!(f, "{}", self.0)
        } else {
            write!(f, "{:#x}", self.0)
        }
    }
}

impl fmt::Display for Unum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if u16::try_from(self.0).is_ok() {
            write!(f, "{}", self.0)
        } else {
            write!(f, "{:#x}", self.0)
        }
    }
}

impl fmt::Display for Tnum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.as_const() {
            Some(x) if u16::try_from(x).is_ok() => write!(f, "{x}"),
            Some(x) => write!(f, "{}", Snum(x as i64)),
            None => write!(f, "({:#x}; {:#x})", self.value, self.mask),
        }
    }
}

/// One bound as the log names it.
#[derive(Clone, Copy)]
struct Item {
    name: &'static str,
    value: u64,
    signed: bool,
    omit: bool,
}

impl Item {
    const fn signed(name: &'static str, value: i64, least: i64) -> Self {
        Self {
            name,
            value: value as u64,
            signed: true,
            omit: value == least,
        }
    }

    const fn unsigned(name: &'static str, value: u64, least: u64) -> Self {
        Self {
            name,
            value,
            signed: false,
            omit: value == least,
        }
    }

    /// 32-bit signed bounds are sign-extended where they print in decimal only.
    fn signed32(name: &'static str, value: i32, least: i32) -> Self {
        let value64 = if i16::try_from(value).is_ok() {
            i64::from(value)
        } else {
            i64::from(value as u32)
        };
        Self {
            omit: value == least,
            ..Self::signed(name, value64, 0)
        }
    }

    fn negative(&self) -> bool {
        self.signed && (self.value as i64) < 0
    }
}

impl Scalar {
    /// Writes the bounds that say something and the bits, `smin=..,umax=..,var_off=(..; ..)`, with
    /// a comma before each unless `first`. Bounds with equal values share one number.
    ///
    /// # Errors
    ///
    /// Those of `out`.
    pub fn write_ranges(&self, out: &mut dyn fmt::Write, mut first: bool) -> fmt::Result {
        let mut items = [
            Item::signed("smin", self.smin(), i64::MIN),
            Item::signed("smax", self.smax(), i64::MAX),
            Item::unsigned("umin", self.umin(), 0),
            Item::unsigned("umax", self.umax(), u64::MAX),
            Item::signed32("smin32", self.smin32(), i32::MIN),
            Item::signed32("smax32", self.smax32(), i32::MAX),
            Item::unsigned("umin32", self.umin32().into(), 0),
            Item::unsigned("umax32", self.umax32().into(), u32::MAX.into()),
        ];
        let mut rest = &mut items[..];
        while let Some((item, after)) = rest.split_first_mut() {
            if !item.omit {
                write!(out, "{}{}=", if first { "" } else { "," }, item.name)?;
                first = false;
                // Minima stand before maxima, alternating.
                for other in after.iter_mut().skip(1).step_by(2) {
                    if !other.omit
                        && other.value == item.value
                        && other.negative() == item.negative()
                    {
                        other.omit = true;
                        write!(out, "{}=", other.name)?;
                    }
                }
                if item.signed {
                    write!(out, "{}", Snum(item.value as i64))?;
                } else {
                    write!(out, "{}", Unum(item.value))?;
                }
            }
            rest = after;
        }
        if !self.tnum().is_unknown() {
            write!(
                out,
                "{}var_off={}",
                if first { "" } else { "," },
                self.tnum()
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.is_const() {
            Some(x) => write!(f, "{}", Snum(x as i64)),
            None => {
                f.write_str("scalar(")?;
                self.write_ranges(f, true)?;
                f.write_str(")")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::Size;

    #[test]
    fn prints_as_the_in_tree_log() {
        let text = |s: Scalar| s.to_string();
        assert_eq!(text(Scalar::constant(7)), "7");
        assert_eq!(text(Scalar::constant(u64::MAX)), "-1");
        assert_eq!(text(Scalar::constant(0x12345)), "0x12345");
        assert_eq!(text(Scalar::unknown()), "scalar()");
        assert_eq!(
            text(Scalar::load(Size::B, false)),
            "scalar(smin=smin32=0,smax=umax=smax32=umax32=255,var_off=(0x0; 0xff))"
        );
        assert_eq!(
            text(Scalar::load(Size::W, false)),
            "scalar(smin=0,smax=umax=0xffffffff,var_off=(0x0; 0xffffffff))"
        );
        assert_eq!(
            text(Scalar::signed_range(-10, 10)),
            "scalar(smin=smin32=-10,smax=smax32=10)"
        );
        assert_eq!(
            text(Scalar::unsigned_range(1, 0x7fff_ffff_ffff_ffff)),
            "scalar(smin=umin=1,umax=0x7fffffffffffffff,var_off=(0x0; 0x7fffffffffffffff))"
        );
        assert_eq!(Tnum::new(4, 3).to_string(), "(0x4; 0x3)");
        assert_eq!(Tnum::constant(u64::MAX).to_string(), "-1");
    }
}
