// SPDX-License-Identifier: GPL-2.0

//! Host twin of `rust/sys/ring.rs`.

use super::bytes::Bytes;
use core::sync::atomic::{AtomicU32, AtomicU64, AtomicU8, Ordering::Relaxed};
use kernel::alloc::{fail, AllocError};

/// Bytes of a page.
const PAGE: usize = 4096;
/// Bytes of a record's header.
pub const HEADER: usize = 8;

/// A record's header, which user space reads.
#[derive(Debug, Default)]
pub struct Header {
    /// Bytes of the record, and the two bits.
    pub len: AtomicU32,
}

/// The memory of a ring buffer: headers and bytes apart.
#[derive(Debug)]
pub struct Ring {
    positions: [AtomicU64; 4],
    headers: Vec<Header>,
    data: Vec<AtomicU8>,
    wakes: AtomicU32,
}

impl Ring {
    /// A ring of `size` bytes, a power of two and whole pages.
    ///
    /// # Errors
    ///
    /// `AllocError` for another size, or when a test wants it.
    pub fn new(size: usize, _node: Option<u32>) -> Result<Self, AllocError> {
        if !size.is_power_of_two() || size < PAGE || fail::now() {
            return Err(AllocError);
        }
        Ok(Ring {
            positions: Default::default(),
            headers: (0..size / 8).map(|_| Header::default()).collect(),
            data: (0..size).map(|_| AtomicU8::new(0)).collect(),
            wakes: AtomicU32::new(0),
        })
    }

    /// Bytes of data.
    pub fn size(&self) -> usize {
        self.data.len()
    }

    /// Bytes of all pages.
    pub fn bytes(&self) -> usize {
        self.size() + 3 * PAGE
    }

    /// How far the consumer read: user space writes what it likes.
    pub fn consumer(&self) -> &AtomicU64 {
        &self.positions[0]
    }

    /// Where the next record begins.
    pub fn producer(&self) -> &AtomicU64 {
        &self.positions[1]
    }

    /// Where the oldest record begins that is still being written.
    pub fn pending(&self) -> &AtomicU64 {
        &self.positions[2]
    }

    /// Where the oldest record begins that was not overwritten.
    pub fn overwritten(&self) -> &AtomicU64 {
        &self.positions[3]
    }

    fn at(&self, pos: u64) -> usize {
        pos as usize & (self.size() - 1)
    }

    /// The header at position `pos`.
    pub fn header(&self, pos: u64) -> &Header {
        &self.headers[self.at(pos) / 8]
    }

    /// The same ring.
    pub fn by_ref(&self) -> &Self {
        self
    }

    /// Makes the header at `pos` that of a record, with `len`; returns what stands for its address.
    pub fn begin(&self, pos: u64, len: u32) -> usize {
        self.header(pos).len.store(len, Relaxed);
        self.record(pos)
    }

    /// Something that stands for the address of the record whose header is at `pos`.
    pub fn record(&self, pos: u64) -> usize {
        self.at(pos) + HEADER
    }

    /// Writes the record at `pos`.
    pub fn fill(&self, pos: u64, from: Bytes<'_>) {
        for i in 0..from.len() {
            let at = self.at(pos + (HEADER + i) as u64);
            self.data[at].store(from.u8(i).unwrap_or(0), Relaxed);
        }
    }

    /// The record of `len` bytes at `pos`, for tests.
    pub fn read(&self, pos: u64, len: usize) -> Vec<u8> {
        let byte = |i| self.data[self.at(pos + (HEADER + i) as u64)].load(Relaxed);
        (0..len).map(byte).collect()
    }

    /// Wakes who polls: here it is counted.
    pub fn wake(&self) {
        self.wakes.fetch_add(1, Relaxed);
    }

    /// How often it was woken since the last question, for tests.
    pub fn wakes(&self) -> u32 {
        self.wakes.swap(0, Relaxed)
    }
}
