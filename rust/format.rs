// SPDX-License-Identifier: GPL-2.0

//! The formats that programs print with: checked and expanded in one pass.
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

use crate::sys::bytes::Bytes;
use kernel::prelude::*;

/// Bytes that the arguments of one call may take together, in the packed form of `vbin_printf`:
/// strings are cut to what is left of it.
pub const ARGS_SIZE: usize = 512;

/// Widest field that the kernel pads to.
const WIDTH_MAX: usize = (1 << 23) - 1;

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
    fn pointer(&mut self, kind: PointerKind, spec: Spec, addr: u64, out: &mut [u8]) -> usize;
}

/// Expands `fmt`, which ends at its first NUL, with `args` into `out`.
///
/// `scratch` is for one string at a time, [`ARGS_SIZE`] bytes. Returns how long the text is, which
/// may be more than `out` has room for.
///
/// # Errors
///
/// `EINVAL`: `fmt` has no NUL, has control characters or an unknown conversion, or more conversions
/// than `args`. `ENOSPC`: the arguments are too large together.
pub fn expand<S: Source>(
    fmt: &[u8],
    args: &[u64],
    source: &mut S,
    scratch: &mut [u8],
    out: &mut [u8],
) -> Result<usize> {
    expand_bytes(fmt.into(), args, source, scratch, out)
}

/// The same for a format that another CPU may change meanwhile.
pub(crate) fn expand_bytes<S: Source>(
    fmt: Bytes<'_>,
    args: &[u64],
    source: &mut S,
    scratch: &mut [u8],
    out: &mut [u8],
) -> Result<usize> {
    let end = (0..fmt.len())
        .find(|&at| fmt.u8(at) == Some(0))
        .ok_or(EINVAL)?;
    let mut expander = Expander {
        fmt,
        end,
        at: 0,
        args,
        packed: 0,
        source,
        scratch,
        out: Out { buf: out, len: 0 },
    };
    while expander.at < end {
        expander.step()?;
    }
    Ok(expander.out.len)
}

/// Text that may be longer than its buffer.
struct Out<'a> {
    buf: &'a mut [u8],
    len: usize,
}

impl Out<'_> {
    fn byte(&mut self, b: u8) {
        if let Some(to) = self.buf.get_mut(self.len) {
            *to = b;
        }
        self.len = self.len.saturating_add(1);
    }

    fn text(&mut self, text: &[u8]) {
        for &b in text {
            self.byte(b);
        }
    }

    /// `count` times `b`.
    fn fill(&mut self, b: u8, count: usize) {
        let end = self.len.saturating_add(count);
        let stop = end.min(self.buf.len());
        if let Some(field) = self.buf.get_mut(self.len..stop) {
            field.fill(b);
        }
        self.len = end;
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

    /// What is left of the buffer.
    fn rest(&mut self) -> &mut [u8] {
        self.buf.get_mut(self.len..).unwrap_or(&mut [])
    }
}

/// State of one expansion.
struct Expander<'a, S> {
    fmt: Bytes<'a>,
    end: usize,
    at: usize,
    args: &'a [u64],
    /// Bytes that the arguments so far would take packed.
    packed: usize,
    source: &'a mut S,
    scratch: &'a mut [u8],
    out: Out<'a>,
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

impl<S: Source> Expander<'_, S> {
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

    /// The next argument.
    fn arg(&mut self) -> Result<u64> {
        let (&first, rest) = self.args.split_first().ok_or(EINVAL)?;
        self.args = rest;
        Ok(first)
    }

    /// Accounts `size` bytes of packed arguments, aligned as words are.
    fn pack(&mut self, size: usize) -> Result {
        let start = self.packed.checked_next_multiple_of(4).ok_or(ENOSPC)?;
        let end = start.checked_add(size).ok_or(ENOSPC)?;
        if end > ARGS_SIZE {
            return Err(ENOSPC);
        }
        self.packed = end;
        Ok(())
    }

    /// Room for one more string among the packed arguments.
    fn room(&self) -> Result<usize> {
        match ARGS_SIZE.checked_sub(self.packed) {
            None | Some(0) => Err(ENOSPC),
            Some(room) => Ok(room),
        }
    }

    /// One character, or one conversion.
    fn step(&mut self) -> Result {
        let c = self.peek(0);
        if c.is_ascii() && !matches!(c, b'\t'..=b'\r' | b' '..=b'~') {
            return Err(EINVAL);
        }
        self.skip(1);
        if c != b'%' {
            self.out.byte(c);
            return Ok(());
        }
        if self.peek(0) == b'%' {
            self.skip(1);
            self.out.byte(b'%');
            return Ok(());
        }
        let arg = self.arg()?;
        let spec = self.spec();
        match self.peek(0) {
            b'p' => {
                self.skip(1);
                self.pointer(spec, arg)
            }
            b's' => {
                self.skip(1);
                let len = self.string(StrSpace::Any, arg)?;
                let text = self.scratch.get(..len).unwrap_or(&[]);
                self.out.field(text, spec);
                Ok(())
            }
            b'c' => {
                self.skip(1);
                self.room()?;
                self.packed = self.packed.saturating_add(1);
                self.out.field(&[arg as u8], spec);
                Ok(())
            }
            _ => self.number(spec, arg),
        }
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

    /// Reads the string at `addr` to `scratch`; returns its length without the NUL.
    fn string(&mut self, space: StrSpace, addr: u64) -> Result<usize> {
        if !ends_kind(self.peek(0)) {
            return Err(EINVAL);
        }
        let room = self.room()?.min(self.scratch.len());
        let to = self.scratch.get_mut(..room).ok_or(ENOSPC)?;
        let written = match self.source.string(space, addr, to) {
            Some(written) => written.min(room),
            None => {
                if let Some(first) = to.first_mut() {
                    *first = 0;
                }
                1
            }
        };
        self.packed = self.packed.saturating_add(written);
        Ok(written.saturating_sub(1))
    }

    fn number(&mut self, spec: Spec, arg: u64) -> Result {
        let mut long = false;
        for _ in 0..2 {
            if self.peek(0) == b'l' {
                long = true;
                self.skip(1);
            }
        }
        let kind = self.peek(0);
        self.skip(1);
        let (negative, value) = match (kind, long) {
            (b'd' | b'i', true) => ((arg as i64) < 0, (arg as i64).unsigned_abs()),
            (b'd' | b'i', false) => {
                let value = arg as i32;
                (value < 0, u64::from(value.unsigned_abs()))
            }
            (b'u' | b'x' | b'X', true) => (false, arg),
            (b'u' | b'x' | b'X', false) => (false, u64::from(arg as u32)),
            _ => return Err(EINVAL),
        };
        self.pack(if long { 8 } else { 4 })?;
        let sign = match kind {
            b'd' | b'i' if negative => Some(b'-'),
            b'd' | b'i' if spec.plus => Some(b'+'),
            b'd' | b'i' if spec.space => Some(b' '),
            _ => None,
        };
        let mut digits = [0u8; 20];
        let digits = match kind {
            b'x' => to_digits(value, 16, b'a', &mut digits),
            b'X' => to_digits(value, 16, b'A', &mut digits),
            _ => to_digits(value, 10, b'a', &mut digits),
        };
        let used = digits.len().saturating_add(usize::from(sign.is_some()));
        let pad = spec.width.saturating_sub(used);
        let zero = spec.zero && !spec.left;
        if !spec.left && !zero {
            self.out.fill(b' ', pad);
        }
        if let Some(sign) = sign {
            self.out.byte(sign);
        }
        if zero {
            self.out.fill(b'0', pad);
        }
        self.out.text(digits);
        if spec.left {
            self.out.fill(b' ', pad);
        }
        Ok(())
    }

    /// What follows a `p`.
    fn pointer(&mut self, spec: Spec, arg: u64) -> Result {
        let kind = match (self.peek(0), self.peek(1)) {
            (b'k' | b'u', b's') => {
                let space = match self.peek(0) {
                    b'k' => StrSpace::Kernel,
                    _ => StrSpace::User,
                };
                self.skip(2);
                let len = self.string(space, arg)?;
                self.out.text(self.scratch.get(..len).unwrap_or(&[]));
                return Ok(());
            }
            (c, _) if ends_kind(c) => PointerKind::Hashed,
            (b'x', _) => PointerKind::Plain,
            (b'K', _) => PointerKind::Restricted,
            (b's', _) => PointerKind::Symbol,
            (b'S', _) => PointerKind::SymbolOffset,
            (b'B', _) => PointerKind::Backtrace,
            (b'i' | b'I', b'4' | b'6') => {
                self.ip_address(arg)?;
                self.skip_alnum();
                return Ok(());
            }
            _ => return Err(EINVAL),
        };
        let spec = match kind {
            PointerKind::Backtrace => Spec::default(),
            _ => spec,
        };
        let rest = self.out.rest();
        let len = self.source.pointer(kind, spec, arg, rest);
        self.out.len = self.out.len.saturating_add(len);
        match kind {
            PointerKind::Backtrace => {
                self.packed = self.packed.saturating_add(len).saturating_add(1);
            }
            _ => self.pack(8)?,
        }
        if kind != PointerKind::Hashed {
            self.skip_alnum();
        }
        Ok(())
    }

    /// The kernel takes letters and digits behind a pointer as part of the conversion.
    fn skip_alnum(&mut self) {
        while is_alnum(self.peek(0)) {
            self.skip(1);
        }
    }

    /// `i4`, `I4`, `i6`, `I6`; the lower-case forms have leading zeroes (v4) or no colons (v6).
    fn ip_address(&mut self, addr: u64) -> Result {
        let plain = self.peek(0) == b'i';
        let v6 = self.peek(1) == b'6';
        let size = if v6 { 16 } else { 4 };
        if ARGS_SIZE.saturating_sub(self.packed) < size {
            return Err(ENOSPC);
        }
        let mut bytes = [0u8; 16];
        let bytes = bytes.get_mut(..size).ok_or(EINVAL)?;
        self.source.bytes(addr, bytes);
        let start = self.out.len;
        for (i, &b) in bytes.iter().enumerate() {
            let mut digits = [0u8; 20];
            if v6 {
                if i % 2 == 0 && i != 0 && !plain {
                    self.out.byte(b':');
                }
                let digits = to_digits(u64::from(b), 16, b'a', &mut digits);
                self.out.fill(b'0', 2usize.saturating_sub(digits.len()));
                self.out.text(digits);
            } else {
                if i != 0 {
                    self.out.byte(b'.');
                }
                let digits = to_digits(u64::from(b), 10, b'a', &mut digits);
                if plain {
                    self.out.fill(b'0', 3usize.saturating_sub(digits.len()));
                }
                self.out.text(digits);
            }
        }
        let text = self.out.len.saturating_sub(start);
        self.packed = self.packed.saturating_add(text).saturating_add(1);
        Ok(())
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

        fn pointer(&mut self, kind: PointerKind, _: Spec, addr: u64, out: &mut [u8]) -> usize {
            let text = format!("<{kind:?} {addr:x}>");
            for (to, &from) in out.iter_mut().zip(text.as_bytes()) {
                *to = from;
            }
            text.len()
        }
    }

    fn run(fmt: &str, args: &[u64]) -> Result<String> {
        let mut fmt = fmt.as_bytes().to_vec();
        fmt.push(0);
        let mut scratch = [0xaa; ARGS_SIZE];
        let mut out = [0xaa; 100];
        let len = expand(&fmt, args, &mut Fake, &mut scratch, &mut out)?;
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
        let mut out = [0; 8];
        let got = expand(b"no end", &[], &mut Fake, &mut [0; ARGS_SIZE], &mut out);
        assert_eq!(got, Err(EINVAL));
    }

    #[test]
    fn long_text_is_counted() {
        let mut scratch = [0; ARGS_SIZE];
        let mut out = [0xaa; 10];
        let len = expand(b"%200d!\0", &[5], &mut Fake, &mut scratch, &mut out).unwrap();
        assert_eq!((len, &out), (201, b"          "));
        let len = expand(
            b"%99999999999999999999d\0",
            &[5],
            &mut Fake,
            &mut scratch,
            &mut out,
        );
        assert_eq!(len, Ok(WIDTH_MAX));
    }

    #[test]
    fn packed_size_is_limited() {
        let args = vec![0u64; 100];
        let ints = |n: usize| "%lld ".repeat(n);
        assert!(run(&ints(64), &args).is_ok());
        assert_eq!(run(&ints(65), &args), Err(ENOSPC));
    }
}
