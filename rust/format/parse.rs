// SPDX-License-Identifier: GPL-2.0

//! What a format is made of: characters and conversions.

use super::{PointerKind, Spec, StrSpace};
use crate::sys::bytes::Bytes;
use kernel::prelude::*;

/// Widest field that the kernel pads to.
pub(super) const WIDTH_MAX: usize = (1 << 23) - 1;

/// How an argument is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `d` `i` `u` `x` `X`
    Number {
        /// Of 64 bits: behind `l` or `ll`.
        long: bool,
        signed: bool,
        /// The letter for the digit 10, if the base is 16 and not 10.
        hex: Option<u8>,
    },
    /// `c`
    Char,
    /// `s`, or `pks` and `pus`, which have no field.
    Str { space: StrSpace, field: bool },
    /// `p` and some letter.
    Pointer(PointerKind),
    /// `pI4` `pi4` `pI6` `pi6`; the lower-case forms have leading zeroes (v4) or no colons (v6).
    Ip { v6: bool, plain: bool },
}

/// A part of a format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// A character that stands for itself.
    Byte(u8),
    /// Something for the next argument.
    Conversion(Spec, Kind),
}

/// Takes a format apart, from its start to its first NUL.
pub(super) struct Parser<'a> {
    fmt: Bytes<'a>,
    end: usize,
    at: usize,
    /// Arguments that no conversion took yet.
    args: usize,
}

/// The kernel's `isspace() || ispunct()`, which go by Latin-1, or the end of the format.
fn ends_kind(b: u8) -> bool {
    b == 0
        || b.is_ascii_punctuation()
        || matches!(b, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r' | 0xa0..=0xbf)
}

/// The kernel's `isalnum()`, which goes by Latin-1.
fn is_alnum(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, 0xc0..=0xd6 | 0xd8..=0xf6 | 0xf8..=0xff)
}

impl<'a> Parser<'a> {
    /// A format that is to have no more conversions than `args`.
    ///
    /// # Errors
    ///
    /// `EINVAL`: there is no NUL.
    pub(super) fn new(fmt: Bytes<'a>, args: usize) -> Result<Self> {
        let end = (0..fmt.len())
            .find(|&at| fmt.u8(at) == Some(0))
            .ok_or(EINVAL)?;
        Ok(Parser {
            fmt,
            end,
            at: 0,
            args,
        })
    }

    /// The next part; `None` at the end.
    ///
    /// # Errors
    ///
    /// `EINVAL`: a control character, a conversion that there is not, or one more than arguments.
    pub(super) fn next(&mut self) -> Result<Option<Piece>> {
        if self.at >= self.end {
            return Ok(None);
        }
        let c = self.peek(0);
        if c.is_ascii() && !matches!(c, b'\t'..=b'\r' | b' '..=b'~') {
            return Err(EINVAL);
        }
        self.skip(1);
        if c != b'%' {
            return Ok(Some(Piece::Byte(c)));
        }
        if self.peek(0) == b'%' {
            self.skip(1);
            return Ok(Some(Piece::Byte(b'%')));
        }
        self.args = self.args.checked_sub(1).ok_or(EINVAL)?;
        let spec = self.spec();
        let kind = match self.peek(0) {
            b'p' => {
                self.skip(1);
                self.pointer()?
            }
            b's' => {
                self.skip(1);
                self.string(StrSpace::Any, true)?
            }
            b'c' => {
                self.skip(1);
                Kind::Char
            }
            _ => self.number()?,
        };
        Ok(Some(Piece::Conversion(spec, kind)))
    }

    /// The format's byte `ahead` of the current one; 0 behind its end.
    fn peek(&self, ahead: usize) -> u8 {
        let at = self.at.saturating_add(ahead);
        if at >= self.end {
            return 0;
        }
        self.fmt.u8(at).unwrap_or(0)
    }

    fn skip(&mut self, count: usize) {
        self.at = self.at.saturating_add(count);
    }

    /// Flags and width.
    fn spec(&mut self) -> Spec {
        let mut spec = Spec::default();
        loop {
            match self.peek(0) {
                b'-' => spec.left = true,
                b'0' => spec.zero = true,
                b'+' => spec.plus = true,
                b' ' => spec.space = true,
                _ => break,
            }
            self.skip(1);
        }
        while let digit @ b'0'..=b'9' = self.peek(0) {
            let digit = usize::from(digit & 0xf);
            spec.width = spec.width.saturating_mul(10).saturating_add(digit);
            self.skip(1);
        }
        spec.width = spec.width.min(WIDTH_MAX);
        spec
    }

    fn number(&mut self) -> Result<Kind> {
        let mut long = false;
        for _ in 0..2 {
            if self.peek(0) == b'l' {
                long = true;
                self.skip(1);
            }
        }
        let (signed, hex) = match self.peek(0) {
            b'd' | b'i' => (true, None),
            b'u' => (false, None),
            b'x' => (false, Some(b'a')),
            b'X' => (false, Some(b'A')),
            _ => return Err(EINVAL),
        };
        self.skip(1);
        Ok(Kind::Number { long, signed, hex })
    }

    /// Nothing may follow that could be another letter of the conversion.
    fn string(&mut self, space: StrSpace, field: bool) -> Result<Kind> {
        if !ends_kind(self.peek(0)) {
            return Err(EINVAL);
        }
        Ok(Kind::Str { space, field })
    }

    /// What follows a `p`.
    fn pointer(&mut self) -> Result<Kind> {
        let kind = match (self.peek(0), self.peek(1)) {
            (b'k', b's') => {
                self.skip(2);
                return self.string(StrSpace::Kernel, false);
            }
            (b'u', b's') => {
                self.skip(2);
                return self.string(StrSpace::User, false);
            }
            (c, _) if ends_kind(c) => return Ok(Kind::Pointer(PointerKind::Hashed)),
            (b'x', _) => Kind::Pointer(PointerKind::Plain),
            (b'K', _) => Kind::Pointer(PointerKind::Restricted),
            (b's', _) => Kind::Pointer(PointerKind::Symbol),
            (b'S', _) => Kind::Pointer(PointerKind::SymbolOffset),
            (b'B', _) => Kind::Pointer(PointerKind::Backtrace),
            (i @ (b'i' | b'I'), version @ (b'4' | b'6')) => Kind::Ip {
                v6: version == b'6',
                plain: i == b'i',
            },
            _ => return Err(EINVAL),
        };
        // The kernel takes letters and digits behind a pointer as part of the conversion.
        while is_alnum(self.peek(0)) {
            self.skip(1);
        }
        Ok(kind)
    }
}
