// SPDX-License-Identifier: GPL-2.0

//! The formats that programs print with: checked, and expanded.
//!
//! A format is text with conversions, as in C: `%[flags][width]kind`. Flags are any of `0`, `+`,
//! `-` and space, the width is a decimal number. Kinds:
//!
//! | kind | argument |
//! |---|---|
//! | `d` `i` `u` `x` `X`, `l` or `ll` before it | a number of 32, or 64 bits |
//! | `c` | a character |
//! | `s` `pks` `pus` | address of a string: anywhere, in the kernel, of the user |
//! | `p` `px` `pK` | a pointer: hashed, plain, as `kptr_restrict` says |
//! | `ps` `pS` `pB` | a text address, shown as symbol |
//! | `pI4` `pi4` `pI6` `pi6` | address of an IP address |
//! | `%` | none: a percent sign |
//!
//! Everything that the kernel's `bpf_trace_printk` takes is taken here, and expands to the same text.

mod parse;

use crate::sys::bytes::{Bytes, Room};
use kernel::prelude::*;
use parse::{Kind, Parser, Piece};

/// Bytes that the arguments of one call may take together, in the packed form of `vbin_printf`:
/// strings are cut to what is left of it.
pub const ARGS_SIZE: usize = 512;

/// Which memory a string conversion reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StrSpace {
    /// `%s`: the address says.
    Any,
    /// `%pks`
    Kernel,
    /// `%pus`
    User,
}

/// How a pointer is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PointerKind {
    /// `%p`: hashed.
    Hashed,
    /// `%px`: as it is.
    Plain,
    /// `%pK`: as `kptr_restrict` says.
    Restricted,
    /// `%ps`: the symbol.
    Symbol,
    /// `%pS`: the symbol and the offset in it.
    SymbolOffset,
    /// `%pB`: the same, for a return address.
    Backtrace,
}

/// Flags and width of a conversion.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spec {
    /// `-`: text at the left of the field.
    pub left: bool,
    /// `0`: zeroes before a number.
    pub zero: bool,
    /// `+`: a sign also before positive numbers.
    pub plus: bool,
    /// space: a space before positive numbers.
    pub space: bool,
    /// Characters of the field at least.
    pub width: usize,
}

/// Where the expander gets what arguments point to.
pub trait Source {
    /// Copies the string at `addr` to `out` with a NUL, cut to fit; bytes written or `None`.
    fn string(&mut self, space: StrSpace, addr: u64, out: &mut [u8]) -> Option<usize>;

    /// Fills `out` from `addr`, with zeroes when that fails.
    fn bytes(&mut self, addr: u64, out: &mut [u8]);

    /// Writes a pointer to `out`, cut to fit; returns how long it is uncut.
    fn pointer(&mut self, kind: PointerKind, spec: Spec, addr: u64, out: Room<'_>) -> usize;
}

/// Checks that `fmt`, which ends at its first NUL, can be expanded with `args` arguments, whatever
/// they are.
///
/// # Errors
///
/// `EINVAL`: `fmt` has no NUL, has control characters or an unknown conversion, or more conversions
/// than `args`.
pub fn check(fmt: &[u8], args: usize) -> Result {
    let mut parser = Parser::new(fmt.into(), args)?;
    while parser.next()?.is_some() {}
    Ok(())
}

/// Expands `fmt`, which ends at its first NUL, with `args` into `out`.
///
/// All that arguments point to is first read to `packed`, [`ARGS_SIZE`] bytes. So the text may be
/// written over it, and nothing is written if there is an error. Returns how long the text is,
/// which may be more than `out` has room for.
///
/// # Errors
///
/// As of [`check`]; `ENOSPC`: the arguments are too large together.
pub fn expand<S: Source>(
    fmt: Bytes<'_>,
    args: &[u64],
    source: &mut S,
    packed: &mut [u8],
    out: Room<'_>,
) -> Result<usize> {
    let mut packed = Packed {
        buf: packed,
        texts: 0,
        size: 0,
    };
    let mut parser = Parser::new(fmt, args.len())?;
    let mut next = args.iter();
    while let Some(piece) = parser.next()? {
        if let Piece::Conversion(_, kind) = piece {
            packed.argument(kind, *next.next().ok_or(EINVAL)?, source)?;
        }
    }
    // Another CPU may have changed the format, but these are all the texts that there are.
    let mut texts = packed.buf.get(..packed.texts).unwrap_or(&[]);
    let mut parser = Parser::new(fmt, args.len())?;
    let mut next = args.iter();
    let mut out = Out { room: out, len: 0 };
    while let Some(piece) = parser.next()? {
        match piece {
            Piece::Byte(b) => out.byte(b),
            Piece::Conversion(spec, kind) => {
                let arg = *next.next().ok_or(EINVAL)?;
                out.argument(spec, kind, arg, source, &mut texts);
            }
        }
    }
    Ok(out.len)
}

/// What arguments point to, as text, and how much room all arguments take as `vbin_printf` packs them.
struct Packed<'a> {
    buf: &'a mut [u8],
    /// Bytes of texts, each with its NUL, one after the other from the start of `buf`.
    texts: usize,
    /// Bytes of everything, numbers too.
    size: usize,
}

impl Packed<'_> {
    /// Reads one argument.
    fn argument<S: Source>(&mut self, kind: Kind, arg: u64, source: &mut S) -> Result {
        match kind {
            Kind::Number { long, .. } => self.number(if long { 8 } else { 4 }),
            Kind::Pointer(PointerKind::Backtrace) => {
                let room = self.room();
                let len = source.pointer(
                    PointerKind::Backtrace,
                    Spec::default(),
                    arg,
                    Room::from(&mut *room),
                );
                *room.get_mut(len).ok_or(ENOSPC)? = 0;
                self.text(len)
            }
            Kind::Pointer(_) => self.number(8),
            Kind::Char => {
                if self.room().is_empty() {
                    return Err(ENOSPC);
                }
                self.size = self.size.saturating_add(1);
                Ok(())
            }
            Kind::Str { space, .. } => {
                let room = self.room();
                if room.is_empty() {
                    return Err(ENOSPC);
                }
                let written = source.string(space, arg, room).unwrap_or(0);
                let len = written.min(room.len()).saturating_sub(1);
                *room.get_mut(len).ok_or(ENOSPC)? = 0;
                self.text(len)
            }
            Kind::Ip { v6, plain } => {
                let room = self.room();
                let mut address = [0u8; 16];
                let address = address
                    .get_mut(..if v6 { 16 } else { 4 })
                    .filter(|a| a.len() <= room.len())
                    .ok_or(ENOSPC)?;
                source.bytes(arg, address);
                let mut text = Out {
                    room: Room::from(&mut *room),
                    len: 0,
                };
                text.ip(address, plain);
                let len = text.len;
                *room.get_mut(len).ok_or(ENOSPC)? = 0;
                self.text(len)
            }
        }
    }

    /// Accounts for a number, aligned as words are.
    fn number(&mut self, size: usize) -> Result {
        let start = self.size.checked_next_multiple_of(4).ok_or(ENOSPC)?;
        let end = start.checked_add(size).ok_or(ENOSPC)?;
        if end > ARGS_SIZE {
            return Err(ENOSPC);
        }
        self.size = end;
        Ok(())
    }

    /// Where the next text goes, and as much as may be taken.
    fn room(&mut self) -> &mut [u8] {
        let left = ARGS_SIZE.saturating_sub(self.size);
        let end = self.texts.saturating_add(left).min(self.buf.len());
        self.buf.get_mut(self.texts..end).unwrap_or(&mut [])
    }

    /// Accounts for a text of `len` bytes and its NUL.
    fn text(&mut self, len: usize) -> Result {
        let size = len.checked_add(1).ok_or(ENOSPC)?;
        self.texts = self.texts.checked_add(size).ok_or(ENOSPC)?;
        self.size = self.size.checked_add(size).ok_or(ENOSPC)?;
        Ok(())
    }
}

/// Takes the first text of those, which each end in a NUL.
fn next_text<'a>(texts: &mut &'a [u8]) -> &'a [u8] {
    let mut parts = texts.splitn(2, |b| *b == 0);
    let first = parts.next().unwrap_or(&[]);
    *texts = parts.next().unwrap_or(&[]);
    first
}

/// Text that may be longer than its room.
struct Out<'a> {
    room: Room<'a>,
    len: usize,
}

impl Out<'_> {
    fn byte(&mut self, b: u8) {
        self.text(&[b]);
    }

    fn text(&mut self, text: &[u8]) {
        self.room.put_bytes(self.len, text);
        self.len = self.len.saturating_add(text.len());
    }

    /// `count` times `b`.
    fn fill(&mut self, b: u8, count: usize) {
        self.room.fill(self.len, b, count);
        self.len = self.len.saturating_add(count);
    }

    /// `text` in a field.
    fn field(&mut self, text: &[u8], spec: Spec) {
        let pad = spec.width.saturating_sub(text.len());
        if !spec.left {
            self.fill(b' ', pad);
        }
        self.text(text);
        if spec.left {
            self.fill(b' ', pad);
        }
    }

    /// One conversion; `texts` are those that were read for it and what follows.
    fn argument<S: Source>(
        &mut self,
        spec: Spec,
        kind: Kind,
        arg: u64,
        source: &mut S,
        texts: &mut &[u8],
    ) {
        match kind {
            Kind::Number { long, signed, hex } => {
                let value = match (long, signed) {
                    (true, _) => arg as i64,
                    (false, true) => i64::from(arg as i32),
                    (false, false) => i64::from(arg as u32),
                };
                self.number(spec, value, signed, hex);
            }
            Kind::Char => self.field(&[arg as u8], spec),
            Kind::Str { field: true, .. } => self.field(next_text(texts), spec),
            Kind::Str { field: false, .. }
            | Kind::Ip { .. }
            | Kind::Pointer(PointerKind::Backtrace) => self.text(next_text(texts)),
            Kind::Pointer(kind) => {
                let len = source.pointer(kind, spec, arg, self.room.rest(self.len));
                self.len = self.len.saturating_add(len);
            }
        }
    }

    /// `value` has a sign, or is a number of 64 bits without one.
    fn number(&mut self, spec: Spec, value: i64, signed: bool, hex: Option<u8>) {
        let sign = match signed {
            true if value < 0 => Some(b'-'),
            true if spec.plus => Some(b'+'),
            true if spec.space => Some(b' '),
            _ => None,
        };
        let value = match signed {
            true => value.unsigned_abs(),
            false => value as u64,
        };
        let mut digits = [0u8; 20];
        let digits = match hex {
            Some(ten) => to_digits(value, 16, ten, &mut digits),
            None => to_digits(value, 10, b'a', &mut digits),
        };
        let used = digits.len().saturating_add(usize::from(sign.is_some()));
        let pad = spec.width.saturating_sub(used);
        let zero = spec.zero && !spec.left;
        if !spec.left && !zero {
            self.fill(b' ', pad);
        }
        if let Some(sign) = sign {
            self.byte(sign);
        }
        if zero {
            self.fill(b'0', pad);
        }
        self.text(digits);
        if spec.left {
            self.fill(b' ', pad);
        }
    }

    /// An IP address of 4 or 16 bytes.
    fn ip(&mut self, address: &[u8], plain: bool) {
        let v6 = address.len() > 4;
        for (i, &b) in address.iter().enumerate() {
            let mut digits = [0u8; 20];
            if v6 {
                if i % 2 == 0 && i != 0 && !plain {
                    self.byte(b':');
                }
                let digits = to_digits(u64::from(b), 16, b'a', &mut digits);
                self.fill(b'0', 2usize.saturating_sub(digits.len()));
                self.text(digits);
            } else {
                if i != 0 {
                    self.byte(b'.');
                }
                let digits = to_digits(u64::from(b), 10, b'a', &mut digits);
                if plain {
                    self.fill(b'0', 3usize.saturating_sub(digits.len()));
                }
                self.text(digits);
            }
        }
    }
}

/// The digits of `value` to base 10 or 16; `ten` is the letter for 10.
fn to_digits(mut value: u64, base: u64, ten: u8, buf: &mut [u8; 20]) -> &[u8] {
    let mut start = buf.len();
    for slot in buf.iter_mut().rev() {
        // Below 16.
        let digit = value.checked_rem(base).unwrap_or(0) as u8;
        *slot = match digit {
            0..=9 => b'0'.wrapping_add(digit),
            _ => ten.wrapping_add(digit.wrapping_sub(10)),
        };
        start = start.saturating_sub(1);
        value = value.checked_div(base).unwrap_or(0);
        if value == 0 {
            break;
        }
    }
    buf.get(start..).unwrap_or(&[])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Addresses below 0x1000 are strings by index; others are bad.
    struct Fake;

    const STRINGS: [&str; 3] = ["hello", "", "a longer string than that"];

    impl Source for Fake {
        fn string(&mut self, space: StrSpace, addr: u64, out: &mut [u8]) -> Option<usize> {
            if space == StrSpace::User {
                return None;
            }
            let s = STRINGS.get(addr as usize)?.as_bytes();
            let len = s.len().min(out.len() - 1);
            out[..len].copy_from_slice(&s[..len]);
            out[len] = 0;
            Some(len + 1)
        }

        fn bytes(&mut self, addr: u64, out: &mut [u8]) {
            for (i, b) in out.iter_mut().enumerate() {
                *b = (addr as u8).wrapping_add(i as u8);
            }
        }

        fn pointer(&mut self, kind: PointerKind, _: Spec, addr: u64, mut out: Room<'_>) -> usize {
            let text = format!("<{kind:?} {addr:x}>");
            out.put_bytes(0, text.as_bytes());
            text.len()
        }
    }

    /// Expands to `out`, where nothing must be written if that fails or behind the text.
    fn run_to(fmt: &[u8], args: &[u64], out: &mut [u8]) -> Result<usize> {
        out.fill(0xaa);
        let mut packed = [0xaa; ARGS_SIZE];
        let room = Room::from(&mut *out);
        let len = expand(fmt.into(), args, &mut Fake, &mut packed, room);
        let written = len.unwrap_or(0).min(out.len());
        assert!(out[written..].iter().all(|b| *b == 0xaa));
        // The check before says the same, but knows nothing of sizes.
        if len != Err(ENOSPC) {
            assert_eq!(check(fmt, args.len()), len.map(|_| ()));
        }
        len
    }

    fn run(fmt: &str, args: &[u64]) -> Result<String> {
        let mut fmt = fmt.as_bytes().to_vec();
        fmt.push(0);
        let mut out = [0; 100];
        let len = run_to(&fmt, args, &mut out)?;
        Ok(String::from_utf8_lossy(&out[..len.min(100)]).into_owned())
    }

    #[test]
    fn numbers() {
        let ok = |fmt, args: &[u64]| run(fmt, args).unwrap();
        assert_eq!(ok("plain", &[]), "plain");
        assert_eq!(ok("%d %u %x", &[u64::MAX, 7, 0xabc]), "-1 7 abc");
        assert_eq!(
            ok("%ld %llu %lX", &[u64::MAX, u64::MAX, 0xabc]),
            "-1 18446744073709551615 ABC"
        );
        assert_eq!(ok("%u", &[0x1_0000_0002]), "2");
        assert_eq!(ok("%05d|%-5d|%5d", &[42, 42, 42]), "00042|42   |   42");
        assert_eq!(ok("%+d % d %+05d", &[1, 2, 3]), "+1  2 +0003");
        assert_eq!(ok("%05d", &[(-42i64) as u64]), "-0042");
        assert_eq!(ok("%-05d|", &[42]), "42   |");
        assert_eq!(ok("100%%, %i", &[i32::MIN as u64]), "100%, -2147483648");
        assert_eq!(ok("%lld", &[i64::MIN as u64]), "-9223372036854775808");
        assert_eq!(
            ok("%c%3c%-3c|", &[b'a'.into(), b'b'.into(), b'c'.into()]),
            "a  bc  |"
        );
    }

    #[test]
    fn strings_and_pointers() {
        let ok = |fmt, args: &[u64]| run(fmt, args).unwrap();
        assert_eq!(ok("%s,%s,%s", &[0, 1, 99]), "hello,,");
        assert_eq!(ok("%8s|%-8s|%pks", &[0, 0, 0]), "   hello|hello   |hello");
        assert_eq!(ok("%pus|", &[0]), "|");
        assert_eq!(
            ok("%p %px %pK", &[1, 2, 3]),
            "<Hashed 1> <Plain 2> <Restricted 3>"
        );
        assert_eq!(
            ok("%pS,%ps,%pB", &[1, 2, 3]),
            "<SymbolOffset 1>,<Symbol 2>,<Backtrace 3>"
        );
        assert_eq!(ok("%pI4 %pi4", &[1, 9]), "1.2.3.4 009.010.011.012");
        assert_eq!(
            ok("%pI6", &[0xf0]),
            "f0f1:f2f3:f4f5:f6f7:f8f9:fafb:fcfd:feff"
        );
        assert_eq!(
            ok("%pi6 %pI4h.", &[0, 0]),
            "000102030405060708090a0b0c0d0e0f 0.1.2.3."
        );
    }

    #[test]
    fn refused() {
        for fmt in [
            "%", "%5", "%f", "%ls", "%lls", "%hd", "%lc", "%pI5", "%py", "%sx", "%pksa", "\u{1}",
            "%\u{80}", "%.3d", "%#x", "%*d", "%llld", "%n",
        ] {
            assert_eq!(run(fmt, &[0, 0, 0]), Err(EINVAL), "{fmt:?}");
        }
        assert_eq!(run("%d%d", &[1]), Err(EINVAL));
        assert_eq!(run_to(b"no end", &[], &mut [0; 8]), Err(EINVAL));
    }

    #[test]
    fn long_text_is_counted() {
        let mut out = [0; 10];
        assert_eq!(run_to(b"%200d!\0", &[5], &mut out), Ok(201));
        assert_eq!(&out, b"          ");
        let widest = run_to(b"%99999999999999999999d\0", &[5], &mut out);
        assert_eq!(widest, Ok(parse::WIDTH_MAX));
        assert_eq!(run_to(b"%s%pI4\0", &[2, 1], &mut out), Ok(32));
        assert_eq!(&out, b"a longer s");
        assert_eq!(run_to(b"%s%px\0", &[0, 1], &mut []), Ok(14));
    }

    #[test]
    fn check_counts_conversions() {
        assert_eq!(check(b"%d %s%%\0", 2), Ok(()));
        assert_eq!(check(b"%d %s%%\0", usize::MAX), Ok(()));
        assert_eq!(check(b"%d %s%%\0", 1), Err(EINVAL));
        assert_eq!(check(b"\0%y", 0), Ok(()));
        assert_eq!(check(b"", 0), Err(EINVAL));
        // No argument is too large before it is there.
        assert_eq!(check(&[b"%lld".repeat(100), vec![0]].concat(), 100), Ok(()));
    }

    #[test]
    fn packed_size_is_limited() {
        let args = vec![0u64; 100];
        let ints = |n: usize| "%lld ".repeat(n);
        assert!(run(&ints(64), &args).is_ok());
        assert_eq!(run(&ints(65), &args), Err(ENOSPC));
        // A text is cut to what is left, but an address is not.
        let chars = |n: usize| "%c".repeat(n);
        assert!(run(&(chars(506) + "%s"), &vec![0; 507]).is_ok());
        assert!(run(&(chars(512) + "%s"), &vec![0; 513]) == Err(ENOSPC));
        assert!(run(&(chars(504) + "%pI4"), &vec![0; 505]).is_ok());
        assert!(run(&(chars(505) + "%pI4"), &vec![0; 506]) == Err(ENOSPC));
        assert!(run(&chars(512), &vec![0; 512]).is_ok());
        assert!(run(&chars(513), &vec![0; 513]) == Err(ENOSPC));
    }
}
