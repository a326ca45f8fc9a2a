// SPDX-License-Identifier: GPL-2.0

//! Source lines of loaded programs.

use crate::attr::{self, Attr};
use crate::{cmd, Bpf, Prog, Result};
use std::os::fd::{AsFd, AsRawFd};

/// A source line of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceLine {
    /// First of its instructions.
    pub slot: u32,
    /// Its text, without the space before it.
    pub text: String,
    /// The file's name.
    pub file: String,
    /// Its number.
    pub number: u32,
}

impl Bpf {
    /// Type information by its number, as it was loaded.
    ///
    /// # Errors
    ///
    /// The commands'.
    pub fn btf_by_id(&self, id: u32) -> Result<Vec<u8>> {
        let mut a = Attr::new(12);
        a.u32(0, id);
        let fd = self.call_fd(cmd::BTF_GET_FD_BY_ID, a.bytes())?;
        let mut info = Attr::new(16);
        self.info(fd.as_raw_fd(), info.bytes())?;
        let mut data = vec![0u8; info.get_u32(8) as usize];
        info.u64(0, data.as_mut_ptr() as u64);
        self.info(fd.as_raw_fd(), info.bytes())?;
        // The kernel wrote there.
        Ok(std::hint::black_box(data))
    }
}

/// The string at `offset` of a blob's strings.
fn string(blob: &[u8], offset: u32) -> String {
    let word = |at| attr::get_u32(blob, at) as usize;
    let at = word(4) + word(16) + offset as usize;
    let text = blob.get(at..).unwrap_or(&[]);
    let end = text.iter().position(|&c| c == 0).unwrap_or(text.len());
    String::from_utf8_lossy(&text[..end]).into_owned()
}

impl Prog {
    /// Its source lines, if its load said which they are.
    ///
    /// # Errors
    ///
    /// The commands'.
    pub fn source_lines(&self) -> Result<Vec<SourceLine>> {
        const SIZE: u32 = 16;
        let fd = self.as_fd().as_raw_fd();
        let mut ask = Attr::new(232);
        self.bpf().info(fd, ask.bytes())?;
        let (btf, count) = (ask.get_u32(128), ask.get_u32(148));
        if btf == 0 || count == 0 {
            return Ok(Vec::new());
        }
        let mut lines = vec![0u8; (count * SIZE) as usize];
        let mut ask = Attr::new(232);
        ask.u32(148, count)
            .u64(152, lines.as_mut_ptr() as u64)
            .u32(172, SIZE);
        self.bpf().info(fd, ask.bytes())?;
        let lines = std::hint::black_box(lines);
        let blob = self.bpf().btf_by_id(btf)?;
        let line = |line: &[u8]| {
            let [slot, file, text, col] = [0, 4, 8, 12].map(|at| attr::get_u32(line, at));
            SourceLine {
                slot,
                text: string(&blob, text).trim_start().to_string(),
                file: string(&blob, file),
                number: col >> 10,
            }
        };
        Ok(lines.chunks_exact(SIZE as usize).map(line).collect())
    }
}
