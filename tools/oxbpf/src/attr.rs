// SPDX-License-Identifier: GPL-2.0

//! `union bpf_attr` as bytes at the offsets of `<linux/bpf.h>`.

/// Size of `union bpf_attr` in Linux 7.2.
pub const SIZE: usize = 168;

/// An attr of chosen size; fields past its end are dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attr(Vec<u8>);

impl Attr {
    /// All zero.
    pub fn new(size: usize) -> Attr {
        Attr(vec![0; size])
    }

    /// Sets the four bytes at `off`.
    pub fn u32(&mut self, off: usize, v: u32) -> &mut Self {
        self.put(off, &v.to_ne_bytes())
    }

    /// Sets the eight bytes at `off`.
    pub fn u64(&mut self, off: usize, v: u64) -> &mut Self {
        self.put(off, &v.to_ne_bytes())
    }

    /// Sets the pointer at `off` to `buf`, NULL when it is empty.
    pub fn ptr<T>(&mut self, off: usize, buf: &[T]) -> &mut Self {
        self.u64(
            off,
            if buf.is_empty() {
                0
            } else {
                buf.as_ptr() as u64
            },
        )
    }

    /// Sets the bytes at `off`.
    pub fn put(&mut self, off: usize, v: &[u8]) -> &mut Self {
        for (to, from) in self.0.iter_mut().skip(off).zip(v) {
            *to = *from;
        }
        self
    }

    /// The four bytes at `off`, 0 past the end.
    pub fn get_u32(&self, off: usize) -> u32 {
        get_u32(&self.0, off)
    }

    /// The bytes, for the call.
    pub fn bytes(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

/// The four bytes at `off` of `b`, 0 past the end.
pub fn get_u32(b: &[u8], off: usize) -> u32 {
    b.get(off..off + 4)
        .and_then(|s| s.try_into().ok())
        .map_or(0, u32::from_ne_bytes)
}

/// The eight bytes at `off` of `b`, 0 past the end.
pub fn get_u64(b: &[u8], off: usize) -> u64 {
    b.get(off..off + 8)
        .and_then(|s| s.try_into().ok())
        .map_or(0, u64::from_ne_bytes)
}

/// A name field: 15 bytes and a NUL at most.
pub fn name(s: &str) -> [u8; 16] {
    let mut n = [0; 16];
    for (to, from) in n.iter_mut().take(15).zip(s.bytes()) {
        *to = from;
    }
    n
}

/// The text of a name field.
pub fn name_str(b: &[u8]) -> String {
    b.iter()
        .take_while(|c| **c != 0)
        .map(|c| *c as char)
        .collect()
}
