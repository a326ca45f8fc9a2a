// SPDX-License-Identifier: GPL-2.0

//! Programs that are loaded.

use crate::code;
use oxbpf::{Bpf, ProgInfo, SourceLine};
use oxbpf_core::isa::disasm::Line;
use oxbpf_core::isa::{decode, Insn, RawInsn};

/// The kernel's symbols in the order of their addresses.
struct Symbols(Vec<(u64, String)>);

impl Symbols {
    fn read() -> Symbols {
        let text = std::fs::read_to_string("/proc/kallsyms").unwrap_or_default();
        let line = |line: &str| {
            let mut words = line.split_whitespace();
            let addr = u64::from_str_radix(words.next()?, 16).ok()?;
            (addr != 0).then_some((addr, words.nth(1)?.to_string()))
        };
        let mut symbols: Vec<_> = text.lines().filter_map(line).collect();
        symbols.sort();
        Symbols(symbols)
    }

    /// The symbol at or before `addr`.
    fn name(&self, addr: u64) -> Option<String> {
        let after = self.0.partition_point(|(a, _)| *a <= addr);
        let (start, name) = self.0.get(after.checked_sub(1)?)?;
        Some(match addr - start {
            0 => name.clone(),
            off => format!("{name}+{off:#x}"),
        })
    }
}

fn raw(bytes: &[u8]) -> Vec<RawInsn> {
    let insn = |b: &[u8]| RawInsn {
        code: b[0],
        regs: b[1],
        off: i16::from_le_bytes([b[2], b[3]]),
        imm: i32::from_le_bytes([b[4], b[5], b[6], b[7]]),
    };
    bytes.chunks_exact(8).map(insn).collect()
}

/// Prints the source line that begins at instruction `at`, if one does.
fn print_line(lines: &[SourceLine], at: u32) {
    if let Some(line) = lines.iter().find(|line| line.slot == at) {
        let file = line.file.rsplit('/').next().unwrap_or_default();
        println!("; {} @ {file}:{}", line.text, line.number);
    }
}

/// Prints the instructions; those that this tool does not know, as bytes.
fn print_insns(about: &ProgInfo, lines: &[SourceLine]) {
    let raw = raw(&about.xlated);
    match decode::decode(&raw) {
        Ok(insns) => {
            for (at, insn) in (0u32..).zip(insns.iter()) {
                print_line(lines, at);
                if !matches!(insn, Insn::Hole) {
                    println!("  {at:4}: {}", Line::new(at, insn));
                }
            }
        }
        // The in-tree verifier leaves instructions of its own behind.
        Err(_) => {
            for (at, insn) in (0u32..).zip(raw.iter()) {
                print_line(lines, at);
                println!("  {at:4}: {insn:?}");
            }
        }
    }
}

/// Prints loaded program `id`.
pub fn dump(id: u32, in_tree: bool) -> Result<(), String> {
    let bpf = match in_tree {
        true => Bpf::in_tree(),
        false => Bpf::oxbpf().map_err(|e| format!("{}: {e}", oxbpf::DEVICE))?,
    };
    let prog = bpf
        .prog_by_id(id)
        .map_err(|e| format!("program {id}: {e}"))?;
    let about = prog.info().map_err(|e| format!("program {id}: {e}"))?;
    let tag = code::hex(&about.tag);
    println!(
        "program {id} {}: type {}, tag {tag}, {} bytes of instructions, {} of machine code",
        about.name,
        about.ty,
        about.xlated.len(),
        about.jited.len()
    );
    let lines = prog
        .source_lines()
        .map_err(|e| format!("program {id}: {e}"))?;
    print_insns(&about, &lines);
    let symbols = Symbols::read();
    let mut rest = &about.jited[..];
    for (addr, len) in about.ksyms.iter().zip(&about.func_lens) {
        let (function, more) = rest.split_at((*len as usize).min(rest.len()));
        rest = more;
        let name = symbols.name(*addr).unwrap_or_default();
        println!("{name}, {len} bytes:");
        code::print(function, *addr, "  ", |target| symbols.name(target));
    }
    Ok(())
}
