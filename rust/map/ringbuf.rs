// SPDX-License-Identifier: GPL-2.0

//! RINGBUF: records of any size, written by programs on all CPUs, read by one consumer in user space.
//!
//! A record is a header of eight bytes and its data, padded to eight. Positions count bytes and never
//! wrap; data is at a position modulo the size. A producer reserves under the lock, which moves the
//! producer's position over a record that its header says is busy; it writes without the lock, and
//! submits by clearing that bit. The consumer reads up to the first busy record, so it gets records in
//! the order in which they were reserved, each once.
//!
//! The consumer's position is user space's word, and may be any number. The space that a new record
//! takes must therefore be free of busy records by the kernel's own count (`pending`), whatever the
//! consumer says; a wrong position spoils what the consumer itself reads, and nothing else.

use super::spec::{MapSpec, RB_OVERWRITE};
use crate::sys::bytes::Bytes;
use crate::sys::maplock::MapLock;
use crate::sys::ring::{Header, Ring, HEADER};
use core::sync::atomic::Ordering::*;
use kernel::prelude::*;

/// Header bit: the record is being written (`BPF_RINGBUF_BUSY_BIT`).
const BUSY: u32 = 1 << 31;
/// Header bit: the record is to be passed over (`BPF_RINGBUF_DISCARD_BIT`).
const DISCARD: u32 = 1 << 30;
/// Bytes of a record at most.
const RECORD_MAX: u64 = (u32::MAX / 4) as u64;

/// Flag of what ends a record: wake nobody (`BPF_RB_NO_WAKEUP`).
pub const NO_WAKEUP: u64 = 1;
/// Flag of what ends a record: wake in any case (`BPF_RB_FORCE_WAKEUP`).
pub const FORCE_WAKEUP: u64 = 2;

/// How a record ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The consumer gets it.
    Submit,
    /// The consumer passes over it.
    Discard,
}

/// A ring buffer.
pub struct Ringbuf {
    ring: Ring,
    lock: MapLock,
    /// A full ring drops its oldest records.
    overwrite: bool,
}

/// Bytes that a record takes whose header says `len`.
fn taken(len: u32) -> u64 {
    let len = u64::from(len & !(BUSY | DISCARD));
    len.wrapping_add(HEADER as u64).next_multiple_of(8)
}

impl Ringbuf {
    /// An empty one.
    ///
    /// # Errors
    ///
    /// `ENOMEM`
    pub(super) fn new(spec: &MapSpec) -> Result<Self> {
        Ok(Ringbuf {
            ring: Ring::new(spec.max_entries as usize, spec.node())?,
            lock: MapLock::default(),
            overwrite: spec.has(RB_OVERWRITE),
        })
    }

    /// Its memory.
    pub fn ring(&self) -> &Ring {
        &self.ring
    }

    /// Space for a record of `size` bytes: its position and address. It has to be ended.
    ///
    /// `None` when there is not so much, and inside another map operation on this CPU.
    #[inline(always)]
    fn reserve_at(&self, size: u64) -> Option<(u64, usize)> {
        match self.overwrite {
            false => self.reserve_in::<false>(size),
            true => self.reserve_over(size),
        }
    }

    /// [`Ringbuf::reserve_at`] of a ring that drops its oldest records, apart so that the other's stays
    /// short.
    #[inline(never)]
    fn reserve_over(&self, size: u64) -> Option<(u64, usize)> {
        self.reserve_in::<true>(size)
    }

    #[inline(always)]
    fn reserve_in<const OVERWRITE: bool>(&self, size: u64) -> Option<(u64, usize)> {
        if size > RECORD_MAX {
            return None;
        }
        // What is looked up before the lock would have to be kept across a call.
        let _guard = self.lock.lock().ok()?;
        let ring = self.ring.by_ref();
        let all = ring.size() as u64;
        let len = taken(size as u32);
        if len > all {
            return None;
        }
        let consumer = ring.consumer().load(Acquire);
        let at = ring.producer().load(Relaxed);
        let next = at.wrapping_add(len);
        let mut pending = ring.pending().load(Relaxed);
        while pending != at {
            let len = ring.header(pending).len.load(Acquire);
            if len & BUSY != 0 {
                break;
            }
            pending = pending.wrapping_add(taken(len));
        }
        ring.pending().store(pending, Relaxed);
        // Not one byte of a busy record may be in the way, and of others only when they may go.
        if next.wrapping_sub(pending) >= all {
            return None;
        }
        if OVERWRITE {
            self.drop_oldest(next, all);
        } else if next.wrapping_sub(consumer) >= all {
            return None;
        }
        let record = ring.begin(at, size as u32 | BUSY);
        // Who sees the new position sees a busy record.
        ring.producer().store(next, Release);
        Some((at, record))
    }

    /// Drops the oldest records until `next` is less than the size away.
    fn drop_oldest(&self, next: u64, all: u64) {
        let mut oldest = self.ring.overwritten().load(Relaxed);
        while next.wrapping_sub(oldest) >= all {
            let len = self.ring.header(oldest).len.load(Relaxed);
            oldest = oldest.wrapping_add(taken(len));
        }
        self.ring.overwritten().store(oldest, Relaxed);
    }

    /// Space for a record of `size` bytes, which belongs to the caller until it ends: its address; 0
    /// when there is not so much, for unknown flags, and inside another map operation on this CPU.
    #[inline(always)]
    pub fn reserve(&self, size: u64, flags: u64) -> usize {
        if flags != 0 {
            return 0;
        }
        self.reserve_at(size).map_or(0, |(_, record)| record)
    }

    /// Adds a record.
    ///
    /// # Errors
    ///
    /// `EINVAL` for unknown flags; `EAGAIN` when there is no room, and inside another map operation on
    /// this CPU.
    pub fn output(&self, data: Bytes<'_>, flags: u64) -> Result {
        if flags & !(NO_WAKEUP | FORCE_WAKEUP) != 0 {
            return Err(EINVAL);
        }
        let (at, _) = self.reserve_at(data.len() as u64).ok_or(EAGAIN)?;
        self.ring.fill(at, data);
        end(&self.ring, self.ring.header(at), at, flags, End::Submit);
        Ok(())
    }

    /// Bytes that the consumer has not read, as far as its position can be believed.
    pub fn available(&self) -> u64 {
        let mut from = self.ring.consumer().load(Acquire);
        if self.overwrite {
            from = from.max(self.ring.overwritten().load(Acquire));
        }
        self.ring.producer().load(Acquire).wrapping_sub(from)
    }

    /// What `what` (`BPF_RB_AVAIL_DATA` and so on) asks for; 0 for what is not known.
    pub fn query(&self, what: u64) -> u64 {
        match what {
            0 => self.available(),
            1 => self.ring.size() as u64,
            2 => self.ring.consumer().load(Acquire),
            3 => self.ring.producer().load(Acquire),
            4 => self.ring.overwritten().load(Acquire),
            _ => 0,
        }
    }
}

/// Ends the record at `pos` of `ring`, with that header, which the caller reserved, and wakes the
/// consumer if it waits for just this one.
pub(crate) fn end(ring: &Ring, header: &Header, pos: u64, flags: u64, how: End) {
    let mut len = header.len.load(Relaxed) & !BUSY;
    if how == End::Discard {
        len |= DISCARD;
    }
    // The record's data come before it; the consumer's position after, as it is when the consumer
    // does not see this record any more as busy.
    header.len.swap(len, SeqCst);
    let mask = (ring.size() as u64).wrapping_sub(1);
    let consumer = ring.consumer().load(SeqCst) & mask;
    let waits = consumer == pos & mask;
    if flags & FORCE_WAKEUP != 0 || (waits && flags & NO_WAKEUP == 0) {
        ring.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::MapType;
    use crate::map::model::{spec, Rng};
    use std::collections::VecDeque;

    fn ring(size: u32, flags: u32) -> Ringbuf {
        let mut s = spec(MapType::Ringbuf, 0, 0, size);
        s.flags = flags;
        Ringbuf::new(&s).unwrap()
    }

    /// What the consumer gets next, and how many bytes it goes on.
    fn read(r: &Ringbuf) -> Option<(Option<Vec<u8>>, u64)> {
        let at = r.ring.consumer().load(Relaxed);
        if at == r.ring.producer().load(Acquire) {
            return None;
        }
        let len = r.ring.header(at).len.load(Acquire);
        if len & BUSY != 0 {
            return None;
        }
        let data = (len & DISCARD == 0).then(|| r.ring.read(at, len as usize));
        Some((data, taken(len)))
    }

    /// Position, bytes taken, and what it ended as: nothing yet, discarded, or its data.
    type Reserved = (u64, u64, Option<Option<Vec<u8>>>);

    /// Random producers and a consumer: records come once and in the order of reservation, and a
    /// reservation fails exactly when there is no room.
    #[test]
    fn is_a_queue_of_records() {
        for seed in 0..20 {
            let mut rng = Rng::new(seed);
            let r = ring(4096, 0);
            // Position and data.
            let mut open: Vec<(u64, Vec<u8>)> = Vec::new();
            let mut queue: VecDeque<Reserved> = VecDeque::new();
            for _ in 0..20_000 {
                match rng.below(6) {
                    0 | 1 => {
                        let size = match rng.below(8) {
                            0 => rng.below(5000),
                            _ => rng.below(200),
                        };
                        let used: u64 = queue.iter().map(|(_, n, _)| n).sum();
                        let need = (size + 8).next_multiple_of(8);
                        let got = r.reserve_at(size).map(|(at, _)| at);
                        assert_eq!(got.is_some(), used + need < 4096, "{used} + {need}");
                        if let Some(at) = got {
                            let data = rng.bytes(size as usize);
                            open.push((at, data));
                            queue.push_back((at, need, None));
                        }
                    }
                    2 | 3 if !open.is_empty() => {
                        let (at, data) = open.swap_remove(rng.below(open.len() as u64) as usize);
                        r.ring.fill(at, data[..].into());
                        let slot = queue.iter_mut().find(|(a, _, _)| *a == at).unwrap();
                        let discard = rng.below(4) == 0;
                        let flags = rng.below(4);
                        let waits = r.ring.consumer().load(Relaxed) == at;
                        r.ring.wakes();
                        match discard {
                            true => end(&r.ring, r.ring.header(at), at, flags, End::Discard),
                            false => end(&r.ring, r.ring.header(at), at, flags, End::Submit),
                        }
                        slot.2 = Some((!discard).then_some(data));
                        let woken = flags & FORCE_WAKEUP != 0 || (waits && flags & NO_WAKEUP == 0);
                        assert_eq!(r.ring.wakes(), u32::from(woken));
                    }
                    _ => {
                        let got = read(&r);
                        match queue.front() {
                            Some((_, need, Some(data))) => {
                                assert_eq!(got, Some((data.clone(), *need)));
                                r.ring.consumer().fetch_add(*need, Release);
                                queue.pop_front();
                            }
                            _ => assert_eq!(got, None),
                        }
                    }
                }
                let used: u64 = queue.iter().map(|(_, n, _)| n).sum();
                assert_eq!(r.query(0), used);
            }
        }
    }

    /// Whatever the consumer claims, no record that is being written is given to another producer.
    #[test]
    fn a_lying_consumer_gets_no_busy_record_overwritten() {
        for overwrite in [0, RB_OVERWRITE] {
            let mut rng = Rng::new(7);
            let r = ring(4096, overwrite);
            let mut open: Vec<(u64, u64)> = Vec::new();
            for _ in 0..50_000 {
                let producer = r.ring.producer().load(Relaxed);
                let lie = match rng.below(4) {
                    0 => producer,
                    1 => producer.wrapping_add(rng.below(10_000)),
                    2 => producer.wrapping_sub(rng.below(10_000)),
                    _ => rng.below(u64::MAX),
                };
                r.ring.consumer().store(lie, Relaxed);
                if rng.below(2) == 0 {
                    if let Some((at, _)) = r.reserve_at(rng.below(600)) {
                        let end = r.ring.producer().load(Relaxed);
                        for (a, e) in &open {
                            assert!(at >= *e && end - a <= 4096, "{at}..{end} over {a}..{e}");
                        }
                        open.push((at, end));
                    }
                } else if !open.is_empty() {
                    let (at, _) = open.swap_remove(rng.below(open.len() as u64) as usize);
                    end(&r.ring, r.ring.header(at), at, 0, End::Submit);
                }
            }
        }
    }

    #[test]
    fn a_ring_that_overwrites_keeps_the_newest() {
        let r = ring(4096, RB_OVERWRITE);
        for i in 0..1000u32 {
            let data = i.to_ne_bytes().repeat(3);
            r.output(data[..].into(), 0).unwrap();
        }
        let mut at = r.query(4);
        let mut seen = Vec::new();
        while at != r.query(3) {
            let len = r.ring.header(at).len.load(Relaxed);
            seen.push(u32::from_ne_bytes(
                r.ring.read(at, len as usize)[..4].try_into().unwrap(),
            ));
            at += taken(len);
        }
        assert_eq!(seen.last(), Some(&999));
        assert!(seen.windows(2).all(|w| w[0] + 1 == w[1]));
        // All but the room that a record of 24 bytes leaves.
        assert!(seen.len() >= 4096 / 24 - 1);
    }

    #[test]
    fn sizes_and_flags() {
        let r = ring(4096, 0);
        assert_eq!(r.reserve(8, 1), 0);
        assert_eq!(r.reserve(4096 - 8, 0), 0);
        assert_eq!(r.reserve(u64::MAX, 0), 0);
        assert_eq!(r.reserve(RECORD_MAX + 1, 0), 0);
        assert_ne!(r.reserve(4096 - 16, 0), 0);
        assert_eq!(r.output((&[][..]).into(), 4), Err(EINVAL));
        assert_eq!(r.output((&[0; 8][..]).into(), 0), Err(EAGAIN));
        assert_eq!(r.query(1), 4096);
        assert_eq!(r.query(5), 0);
    }

    #[test]
    fn producers_on_all_cpus_and_a_consumer() {
        const EACH: u64 = 20_000;
        let r = ring(4096, 0);
        std::thread::scope(|s| {
            for cpu in 0..3u64 {
                let r = &r;
                s.spawn(move || {
                    for i in 0..EACH {
                        let data = [cpu, i].map(u64::to_ne_bytes).concat();
                        while r.output(data[..].into(), 0).is_err() {
                            std::thread::yield_now();
                        }
                    }
                });
            }
            let mut next = [0; 3];
            while next.iter().sum::<u64>() < 3 * EACH {
                let Some((data, len)) = read(&r) else {
                    std::thread::yield_now();
                    continue;
                };
                let data = data.unwrap();
                let cpu = u64::from_ne_bytes(data[..8].try_into().unwrap()) as usize;
                let i = u64::from_ne_bytes(data[8..].try_into().unwrap());
                assert_eq!(next[cpu], i);
                next[cpu] += 1;
                r.ring.consumer().fetch_add(len, Release);
            }
        });
    }
}
