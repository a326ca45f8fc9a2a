// SPDX-License-Identifier: GPL-2.0

//! Programs at kernel functions: entries, returns, and places inside.
//!
//! What user space asks for is `kprobe_multi`'s part of LINK_CREATE. A symbol may have an offset,
//! `name+0x1f`, which bpf(2) does not have.

use super::Runner;
use crate::prog::Prog;
use crate::sys::context;
use crate::sys::kprobe::{Builder, Probes, Target};
use crate::sys::printk::PointerFormat;
use crate::sys::shared::Shared;
use crate::sys::user::User;
use kernel::prelude::*;

/// `BPF_F_KPROBE_MULTI_RETURN`: when the function returns.
const RETURN: u32 = 1;
/// Places of one link at most (`MAX_KPROBE_MULTI_CNT`).
const COUNT_MAX: u32 = 1 << 20;
/// A symbol with its NUL at most (`KSYM_NAME_LEN`).
const SYMBOL_MAX: usize = 512;

/// Where to attach, as user space says it.
pub(crate) struct Request {
    /// `kprobe_multi.flags`
    pub(crate) flags: u32,
    /// How many places.
    pub(crate) count: u32,
    /// An array of pointers to symbols, or NULL.
    pub(crate) symbols: User,
    /// An array of addresses, or NULL.
    pub(crate) addrs: User,
    /// An array of numbers for the program, or NULL.
    pub(crate) cookies: User,
}

/// A program that runs at kernel functions. Dropping detaches it, and waits until it runs no more.
pub(crate) struct Kprobe {
    probes: Probes<Runner>,
    count: u32,
    flags: u32,
}

impl Kprobe {
    /// Attaches `prog`, which is of type KPROBE.
    ///
    /// # Errors
    ///
    /// `EINVAL`: unknown flags, both or none of symbols and addresses, no place at all, or one where
    /// no probe may be. `E2BIG`: too many places, or too long a symbol.
    /// `EFAULT`. `ESRCH`: a symbol that is not there, or is given twice. `ENOENT`: an address where
    /// there is no function. `EILSEQ`: a place inside an instruction. `ENOMEM`.
    pub(crate) fn attach(request: &Request, prog: Shared<Prog>) -> Result<Self> {
        if request.flags & !RETURN != 0 {
            return Err(EINVAL);
        }
        if request.symbols.is_null() == request.addrs.is_null() || request.count == 0 {
            return Err(EINVAL);
        }
        if request.count > COUNT_MAX {
            return Err(E2BIG);
        }
        let cookies = match request.cookies.is_null() {
            true => KVVec::new(),
            // At most 8 MiB.
            false => request
                .cookies
                .read_vec((request.count as usize).saturating_mul(8))?,
        };
        let is_return = request.flags & RETURN != 0;
        let runner = KBox::new(Runner { prog }, GFP_KERNEL_ACCOUNT)?;
        let mut builder = Builder::new(request.count, is_return, !cookies.is_empty(), runner)?;
        // Without cookies each is 0.
        let mut cookies = cookies.chunks_exact(8);
        let by_symbol = !request.symbols.is_null();
        for index in 0..request.count {
            let cookie = cookies.next().and_then(|word| word.first_chunk());
            let cookie = cookie.map_or(0, |word| u64::from_ne_bytes(*word));
            if by_symbol {
                let symbol = read_word(request.symbols, index)?;
                add_symbol(&mut builder, symbol, cookie)?;
            } else {
                // User space's numbers are 64 bits wide, as addresses are.
                let addr = read_word(request.addrs, index)? as usize;
                builder.add(Target::Addr(addr), cookie)?;
            }
            if index & 0xff == 0xff && context::breathe() {
                return Err(EINTR);
            }
        }
        let probes = builder.register().map_err(|e| match by_symbol {
            true if e == ENOENT => ESRCH,
            _ => e,
        })?;
        Ok(Kprobe {
            probes,
            count: request.count,
            flags: request.flags,
        })
    }

    /// At how many places.
    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// As in the request.
    pub(crate) fn flags(&self) -> u32 {
        self.flags
    }

    /// It runs when the functions return.
    pub(crate) fn is_return(&self) -> bool {
        self.flags & RETURN != 0
    }

    /// Address of place number `index`, for who may see kernel addresses.
    pub(crate) fn addr(&self, index: u32) -> usize {
        self.probes.addr(index)
    }

    /// What its program gets there as the cookie.
    pub(crate) fn cookie(&self, index: u32) -> u64 {
        self.probes.cookie(index)
    }

    /// Writes place number `index` as its symbol and the offset from that.
    pub(crate) fn place<'a>(&self, index: u32, buf: &'a mut [u8]) -> &'a [u8] {
        let symbol = PointerFormat::new([None; 4], 0, Some(b'S'));
        let len = symbol.write(self.addr(index) as u64, buf.into());
        let end = len.min(buf.len().saturating_sub(1));
        buf.get(..end).unwrap_or(&[])
    }

    /// How many hits did not run the program, because one of ours ran on that CPU already or the
    /// kernel was in the middle of another probe.
    pub(crate) fn missed(&self) -> u64 {
        self.probes.missed()
    }
}

/// Number `index` of an array of 64-bit numbers.
fn read_word(array: User, index: u32) -> Result<u64> {
    let mut word = [0; 8];
    array
        .add(u64::from(index).wrapping_mul(8))
        .read(&mut word)?;
    Ok(u64::from_ne_bytes(word))
}

/// Adds the place that the string at `addr` names.
fn add_symbol(builder: &mut Builder<Runner>, addr: u64, cookie: u64) -> Result {
    let mut buf = [0; SYMBOL_MAX + 1];
    let text = User::new(addr).read_str(&mut buf)?.to_bytes();
    if text.len() >= SYMBOL_MAX {
        return Err(E2BIG);
    }
    let mut name = [0; SYMBOL_MAX];
    let (symbol, offset) = split_offset(text);
    name.get_mut(..symbol.len())
        .ok_or(E2BIG)?
        .copy_from_slice(symbol);
    let symbol = CStr::from_bytes_until_nul(&name).map_err(|_| E2BIG)?;
    builder.add(Target::Symbol(symbol, offset), cookie)
}

/// `name+0x1f` and `name+31` in two; what does not look so is a symbol as a whole.
fn split_offset(text: &[u8]) -> (&[u8], u32) {
    let split = || {
        let plus = text.iter().rposition(|&b| b == b'+')?;
        let (symbol, tail) = text.split_at_checked(plus)?;
        let digits = core::str::from_utf8(tail.get(1..)?).ok()?;
        // The parser would take a second sign.
        if digits.starts_with('+') {
            return None;
        }
        let offset = match digits.strip_prefix("0x") {
            Some(hex) if !hex.starts_with('+') => u32::from_str_radix(hex, 16),
            Some(_) => return None,
            None => digits.parse(),
        };
        Some((symbol, offset.ok()?))
    };
    split().unwrap_or((text, 0))
}
