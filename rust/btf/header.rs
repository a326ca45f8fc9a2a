// SPDX-License-Identifier: GPL-2.0

//! The header of a BTF blob, and where its sections are.

use super::{word, MAX_NAME_OFFSET};
use crate::verifier::log::Log;
use core::ops::Range;
use kernel::prelude::*;

const MAGIC: u32 = 0xeb9f;
const VERSION: u8 = 1;
/// Bytes of the header that are known; the last two words are the layout section's.
const SIZE: usize = 32;
/// Bytes of one entry of the layout section.
const LAYOUT: u32 = 4;

/// The header, with sections as ranges of the blob.
pub(super) struct Header {
    /// The types.
    pub(super) types: Range<usize>,
    /// The types' section begins so far behind the header.
    pub(super) type_off: u32,
    /// The strings.
    pub(super) strings: Range<usize>,
}

/// A section: where behind the header, and how long.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Section {
    off: u32,
    len: u32,
}

fn refuse<T>(log: &mut Log, why: &str) -> Result<T> {
    log.put(format_args!("{why}"));
    Err(EINVAL)
}

impl Header {
    /// Checks header, order of sections, strings and layout.
    ///
    /// # Errors
    ///
    /// `EINVAL`; `ENOTSUPP` for version and flags; `E2BIG` for a longer header with something in it.
    pub(super) fn parse(data: &[u8], log: &mut Log) -> Result<Header> {
        let size = data.len();
        if size < 8 {
            return refuse(log, "hdr_len not found");
        }
        let hdr_len = word(data, 4) as usize;
        if size < hdr_len {
            return refuse(log, "btf_header not found");
        }
        let unknown = data.get(SIZE..hdr_len).unwrap_or(&[]);
        if unknown.iter().any(|&byte| byte != 0) {
            log.put(format_args!("Unsupported btf_header"));
            return Err(E2BIG);
        }
        // What the header is too short for is zero.
        let mut known = [0u8; SIZE];
        for (to, &from) in known.iter_mut().zip(data.iter().take(hdr_len)) {
            *to = from;
        }
        let [types, strings, layout] = [8, 16, 24].map(|at: usize| Section {
            off: word(&known, at),
            len: word(&known, at.wrapping_add(4)),
        });
        let magic = word(&known, 0) & 0xffff;
        let (version, flags) = (known[2], known[3]);
        // The length of a header that does not hold its own length.
        let said_len = word(&known, 4);

        log.put(format_args!(
            "magic: {magic:#x}\nversion: {version}\nflags: {flags:#x}\nhdr_len: {said_len}\n\
             type_off: {}\ntype_len: {}\nstr_off: {}\nstr_len: {}\n",
            types.off, types.len, strings.off, strings.len
        ));
        if said_len as usize >= SIZE {
            log.put(format_args!(
                "layout_off: {}\nlayout_len: {}\n",
                layout.off, layout.len
            ));
        }
        log.put(format_args!("btf_total_size: {size}\n"));
        if magic != MAGIC {
            return refuse(log, "Invalid magic");
        }
        if version != VERSION {
            log.put(format_args!("Unsupported version"));
            return Err(ENOTSUPP);
        }
        if flags != 0 {
            log.put(format_args!("Unsupported flags"));
            return Err(ENOTSUPP);
        }
        let has_layout = said_len as usize >= SIZE && layout.len != 0;
        if size == said_len as usize {
            return refuse(log, "No data");
        }
        // In a header too short for it the length is zero, and the sections begin with the blob.
        let base = said_len as usize;
        let room = size.wrapping_sub(base) as u32;
        check_sections(&[types, strings, layout], has_layout, room, log)?;
        let range = |section: Section| {
            let from = base.saturating_add(section.off as usize);
            from..from.saturating_add(section.len as usize)
        };
        let header = Header {
            types: range(types),
            type_off: types.off,
            strings: range(strings),
        };
        check_strings(data, &header.strings, (said_len as usize) < SIZE, log)?;
        if has_layout {
            check_layout(layout, log)?;
        }
        Ok(header)
    }
}

/// The sections lie side by side, without gaps, and nothing else is there.
fn check_sections(all: &[Section; 3], layout: bool, room: u32, log: &mut Log) -> Result {
    let mut sorted = *all;
    let used = if layout { 3 } else { 2 };
    let Some(sections) = sorted.get_mut(..used) else {
        return Err(EINVAL);
    };
    // Three at most. The order is bpf(2)'s, by the difference as a signed number; far out ones need not have
    // one, and are refused below in whatever order.
    let after = |x: Section, y: Section| {
        let by_off = x.off.wrapping_sub(y.off) as i32;
        by_off > 0 || by_off == 0 && x.len.wrapping_sub(y.len) as i32 > 0
    };
    for _ in 1..used {
        for pair in 1..used {
            let at = pair.wrapping_sub(1);
            if let Some(&[x, y]) = sections.get(at..=pair) {
                if after(x, y) {
                    sections.swap(at, pair);
                }
            }
        }
    }
    let mut total = 0u32;
    for section in sections {
        if room < section.off {
            return refuse(log, "Invalid section offset");
        }
        if total < section.off {
            return refuse(log, "Unsupported section found");
        }
        if total > section.off {
            return refuse(log, "Section overlap found");
        }
        if room.wrapping_sub(total) < section.len {
            return refuse(log, "Total section length too long");
        }
        total = total.wrapping_add(section.len);
    }
    if room != total {
        return refuse(log, "Unsupported section found");
    }
    Ok(())
}

/// The strings begin with the empty one, and the last has an end.
fn check_strings(data: &[u8], strings: &Range<usize>, last: bool, log: &mut Log) -> Result {
    if last && strings.end != data.len() {
        return refuse(log, "String section is not at the end");
    }
    let Some(text) = data.get(strings.clone()) else {
        return refuse(log, "Invalid string section");
    };
    let long = text.len() > MAX_NAME_OFFSET as usize + 1;
    if long || text.first() != Some(&0) || text.last() != Some(&0) {
        return refuse(log, "Invalid string section");
    }
    Ok(())
}

/// The layout of kinds is kept for user space only.
fn check_layout(layout: Section, log: &mut Log) -> Result {
    if layout.off % 4 != 0 {
        return refuse(log, "Unaligned layout_off");
    }
    if layout.len < LAYOUT {
        return refuse(log, "Layout section is too small");
    }
    if layout.len % LAYOUT != 0 {
        log.put(format_args!("layout_len is not multiple of {LAYOUT}"));
        return Err(EINVAL);
    }
    Ok(())
}
