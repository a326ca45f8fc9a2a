// SPDX-License-Identifier: GPL-2.0

//! The verifier's log: text that user space asked for, in the in-tree format.
//!
//! The text behaves as bpf(2)'s: by default the buffer shows the tail of the text when it is
//! smaller than that; with [`FIXED`] it shows the start. Either way a NUL ends it, and text that
//! did not fit is `ENOSPC`. Positions count from the start of all text, and the log can be reset
//! to an earlier one (what was said of a path that turned out safe is dropped at level 1).

use core::fmt;
use kernel::prelude::*;

/// `BPF_LOG_LEVEL1`: what is wrong, and the path that leads there.
pub const LEVEL1: u32 = 1;
/// `BPF_LOG_LEVEL2`: every path.
pub const LEVEL2: u32 = 2;
/// `BPF_LOG_STATS`: figures at the end.
pub const STATS: u32 = 4;
/// `BPF_LOG_FIXED`: keep the start of the text, not its tail.
pub const FIXED: u32 = 8;
/// All bits that a level can have.
pub const MASK: u32 = LEVEL1 | LEVEL2 | STATS | FIXED;

/// A log of limited size.
#[derive(Debug, Default)]
pub struct Log {
    /// [`LEVEL1`], [`LEVEL2`], [`STATS`], [`FIXED`]; 0 for no log.
    pub level: u32,
    /// Bytes of the reader's buffer, the final NUL included.
    size: u64,
    /// Byte at position `p` is at `p % size`.
    ring: KVVec<u8>,
    start: u64,
    end: u64,
    len_max: u64,
    no_memory: bool,
}

impl Log {
    /// A log of that level for a buffer of `size` bytes.
    pub fn new(level: u32, size: u32) -> Log {
        Log {
            level,
            size: u64::from(size),
            ..Log::default()
        }
    }

    /// A log that throws everything away.
    pub fn none() -> Log {
        Log::default()
    }

    /// Somebody asked for text.
    pub fn on(&self) -> bool {
        self.level != 0
    }

    /// Instructions and states are logged.
    pub fn level1(&self) -> bool {
        self.level & (LEVEL1 | LEVEL2) != 0
    }

    /// Safe paths are logged too.
    pub fn level2(&self) -> bool {
        self.level & LEVEL2 != 0
    }

    /// Writes text.
    pub fn put(&mut self, text: fmt::Arguments<'_>) {
        if self.level != 0 {
            // `write_str` below never fails.
            let _ = fmt::Write::write_fmt(self, text);
        }
    }

    /// Bytes of a name or a source line that are shown at most, as bpf(2) cuts them.
    pub const MAX_PIECE: usize = 1023;

    /// Writes bytes that need not be text, as many as [`Log::MAX_PIECE`].
    pub fn put_bytes(&mut self, bytes: &[u8]) {
        if self.level != 0 {
            self.append(bytes.get(..Self::MAX_PIECE).unwrap_or(bytes));
        }
    }

    /// Writes text and ends the line.
    pub fn line(&mut self, text: fmt::Arguments<'_>) {
        self.put(text);
        self.put(format_args!("\n"));
    }

    /// The position behind the last byte.
    pub fn pos(&self) -> u64 {
        self.end
    }

    /// Forgets what was written behind `pos`.
    pub fn reset(&mut self, pos: u64) {
        if pos <= self.end {
            self.end = pos;
            self.start = self.start.min(pos);
        }
    }

    /// Bytes that a buffer for all of the text would need, its NUL included (`log_true_size`).
    pub fn true_size(&self) -> u32 {
        u32::try_from(self.len_max).unwrap_or(u32::MAX)
    }

    /// Whether the text could be kept.
    ///
    /// # Errors
    ///
    /// `ENOSPC` when there is a buffer and text did not fit in it, `ENOMEM` when memory ended.
    pub fn status(&self) -> Result {
        if self.no_memory {
            return Err(ENOMEM);
        }
        if self.size > 0 && self.len_max > self.size {
            return Err(ENOSPC);
        }
        Ok(())
    }

    /// What belongs in the reader's buffer, in two pieces and without the NUL.
    pub fn text(&self) -> (&[u8], &[u8]) {
        if self.size == 0 || self.no_memory {
            return (&[], &[]);
        }
        let end = if self.level & FIXED != 0 {
            self.end.min(self.size.saturating_sub(1))
        } else {
            self.end
        };
        let from = (self.start % self.size) as usize;
        let len = end.saturating_sub(self.start) as usize;
        let upto = from.saturating_add(len);
        match self.ring.get(from..upto) {
            Some(all) => (all, &[]),
            None => {
                let rest = upto.saturating_sub(self.ring.len());
                (
                    self.ring.get(from..).unwrap_or(&[]),
                    self.ring.get(..rest).unwrap_or(&[]),
                )
            }
        }
    }

    /// Adds `bytes` at the end.
    fn append(&mut self, bytes: &[u8]) {
        // A reset may have left `end` before the ring's filled part, never behind it, except when
        // a fixed log is full; then nothing is stored.
        self.store(bytes);
        self.end = self.end.saturating_add(bytes.len() as u64);
        let with_nul = self.end.saturating_add(1);
        self.len_max = self.len_max.max(with_nul);
        if self.level & FIXED == 0 {
            self.start = self.start.max(with_nul.saturating_sub(self.size));
        }
    }

    /// Stores `bytes` in the ring at position `end`.
    fn store(&mut self, mut bytes: &[u8]) {
        if self.size == 0 || self.no_memory {
            return;
        }
        let mut pos = self.end;
        if self.level & FIXED != 0 {
            let room = self.size.saturating_sub(pos) as usize;
            bytes = bytes.get(..room.min(bytes.len())).unwrap_or(&[]);
        }
        while !bytes.is_empty() {
            let at = pos.checked_rem(self.size).unwrap_or(0) as usize;
            let n = bytes.len().min((self.size as usize).saturating_sub(at));
            let (now, later) = bytes.split_at(n);
            let have = self.ring.len().saturating_sub(at).min(n);
            let (over, new) = now.split_at(have);
            if let Some(d) = self.ring.get_mut(at..at.saturating_add(have)) {
                for (to, &from) in d.iter_mut().zip(over) {
                    *to = from;
                }
            }
            if self.ring.extend_from_slice(new, GFP_KERNEL).is_err() {
                self.no_memory = true;
                return;
            }
            bytes = later;
            pos = pos.saturating_add(n as u64);
        }
    }
}

impl fmt::Write for Log {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        if self.level != 0 {
            self.append(s.as_bytes());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(l: &Log) -> std::string::String {
        let (a, b) = l.text();
        let mut s = std::string::String::from_utf8_lossy(a).into_owned();
        s.push_str(&std::string::String::from_utf8_lossy(b));
        s
    }

    #[test]
    fn rolls_and_fixes() {
        let mut l = Log::new(LEVEL1, 8);
        l.put(format_args!("abc{}", 12));
        assert_eq!(all(&l), "abc12");
        assert!(l.status().is_ok());
        assert_eq!(l.true_size(), 6);
        l.put(format_args!("defghij"));
        assert_eq!(all(&l), "defghij");
        assert_eq!(l.status(), Err(ENOSPC));
        assert_eq!(l.true_size(), 13);

        let mut l = Log::new(LEVEL1 | FIXED, 8);
        l.put(format_args!("abc12"));
        l.put(format_args!("defghij"));
        assert_eq!(all(&l), "abc12de");
        assert_eq!(l.status(), Err(ENOSPC));
    }

    #[test]
    fn resets() {
        let mut l = Log::new(LEVEL1, 100);
        l.put(format_args!("one "));
        let p = l.pos();
        l.put(format_args!("two "));
        l.reset(p);
        l.put(format_args!("three"));
        assert_eq!(all(&l), "one three");
        assert_eq!(l.true_size(), 10);
    }

    #[test]
    fn counts_without_a_buffer() {
        let mut l = Log::new(LEVEL2, 0);
        l.line(format_args!("x"));
        assert_eq!(l.true_size(), 3);
        assert!(l.status().is_ok());
        assert_eq!(all(&l), "");
    }
}
