// SPDX-License-Identifier: GPL-2.0

//! Source lines of instructions, from an object's BTF (Documentation/bpf/btf.rst in the kernel tree).

use std::collections::BTreeMap;

/// Where in the source an instruction comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// File, as the compiler was told.
    pub file: String,
    /// Number, from 1.
    pub number: u32,
    /// The text, without its indentation.
    pub text: String,
}

/// The source lines of one program.
#[derive(Debug)]
pub struct Source(BTreeMap<u32, Line>);

fn u32_at(bytes: &[u8], off: usize) -> Option<u32> {
    let b = bytes.get(off..off.checked_add(4)?)?;
    Some(u32::from_ne_bytes(b.try_into().ok()?))
}

/// The string at `off` of a BTF blob's string section.
fn string(btf: &[u8], off: u32) -> Option<String> {
    let start = u32_at(btf, 4)?.checked_add(u32_at(btf, 16)?)?;
    let end = start.checked_add(u32_at(btf, 20)?)? as usize;
    let rest = btf.get(start.checked_add(off)? as usize..end)?;
    let len = rest.iter().position(|b| *b == 0)?;
    Some(String::from_utf8_lossy(&rest[..len]).into_owned())
}

impl Source {
    /// From a BTF blob and records (`struct bpf_line_info`) of `size` bytes each; `None` when there is no
    /// record that makes sense.
    pub fn new(btf: &[u8], records: &[u8], size: usize) -> Option<Source> {
        let record = |r: &[u8]| {
            let line = Line {
                file: string(btf, u32_at(r, 4)?)?,
                number: u32_at(r, 12)? >> 10,
                text: string(btf, u32_at(r, 8)?)?.trim().to_string(),
            };
            Some((u32_at(r, 0)?, line))
        };
        let lines: BTreeMap<u32, Line> = records
            .chunks_exact(size.max(16))
            .filter_map(record)
            .collect();
        (!lines.is_empty()).then_some(Source(lines))
    }

    /// Where the instruction in slot `at` comes from.
    pub fn line(&self, at: u32) -> Option<&Line> {
        self.0.range(..=at).next_back().map(|(_, line)| line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_record_before_an_instruction_is_its_line() {
        let mut btf = vec![0u8; 24];
        btf[4..8].copy_from_slice(&24u32.to_ne_bytes());
        let strings = b"\0a.c\0  x = 1;\0";
        btf[20..24].copy_from_slice(&(strings.len() as u32).to_ne_bytes());
        btf.extend_from_slice(strings);
        let records: Vec<u8> = [
            [0u32, 1, 5, (7 << 10) | 3],
            [4, 1, 99, 8 << 10],
            [6, 1, 0, 9 << 10],
        ]
        .concat()
        .iter()
        .flat_map(|n| n.to_ne_bytes())
        .collect();
        let source = Source::new(&btf, &records, 16).unwrap();
        let first = source.line(5).unwrap();
        assert_eq!(
            (first.number, &*first.text, &*first.file),
            (7, "x = 1;", "a.c")
        );
        assert_eq!(source.line(6).unwrap().number, 9);
        assert!(Source::new(&btf, &[], 16).is_none());
        // A string section that says to be larger than the blob.
        btf[20] = 200;
        assert!(Source::new(&btf, &records, 16).is_none());
    }
}
