// SPDX-License-Identifier: GPL-2.0

//! Helpers of ring buffers.

use crate::map::ringbuf::{end, End};
use crate::map::Map;
use crate::sys::args::{MapArg, ReadArg, RecordArg};
use kernel::prelude::*;

/// `ringbuf_output(map, data, size, flags)`
pub(super) extern "C" fn ringbuf_output(map: MapArg<Map>, data: ReadArg, flags: u64) -> u64 {
    let done = match map.ringbuf() {
        Some(ring) => ring.output(data.bytes(), flags),
        None => Err(EINVAL),
    };
    super::errno(done.map(|()| 0))
}

/// `ringbuf_reserve(map, size, flags)`
pub(super) extern "C" fn ringbuf_reserve(map: MapArg<Map>, size: u64, flags: u64) -> u64 {
    map.ringbuf().map_or(0, |ring| ring.reserve(size, flags)) as u64
}

/// `ringbuf_submit(record, flags)`
pub(super) extern "C" fn ringbuf_submit(record: RecordArg, flags: u64) -> u64 {
    let (ring, header, at) = record.place();
    end(&ring, header, at, flags, End::Submit);
    0
}

/// `ringbuf_discard(record, flags)`
pub(super) extern "C" fn ringbuf_discard(record: RecordArg, flags: u64) -> u64 {
    let (ring, header, at) = record.place();
    end(&ring, header, at, flags, End::Discard);
    0
}

/// `ringbuf_query(map, flags)`
pub(super) extern "C" fn ringbuf_query(map: MapArg<Map>, what: u64) -> u64 {
    map.ringbuf().map_or(0, |ring| ring.query(what))
}
