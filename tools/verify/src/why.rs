// SPDX-License-Identifier: GPL-2.0

//! A refusal in plain words: where it is, what the verifier knew there, what it missed.

use crate::lines::Source;

/// Texts of refusals and what they mean; the first that matches counts, so the narrower comes first.
const MEANINGS: &[(&[&str], &str)] = &[
    (
        &["invalid access to packet"],
        "The program has not compared this packet pointer with data_end on the way here, or not far enough: \
         after `if (p + N > data_end) return`, N bytes from p on can be read. A helper that changes the packet \
         makes all earlier comparisons void.",
    ),
    (
        &["invalid mem access 'map_value_or_null'", "pointer arithmetic on map_value_or_null"],
        "A map lookup can fail: test its result against NULL before it is used.",
    ),
    (
        &["_or_null"],
        "This pointer can be NULL: test it before it is used.",
    ),
    (
        &["invalid mem access 'scalar'"],
        "What is used as a pointer here is a number to the verifier. Either it was computed from one, or it \
         was a pointer and went through memory or arithmetic that the verifier does not follow. Kernel addresses are \
         read by bpf_probe_read_kernel().",
    ),
    (
        &["min value is negative"],
        "As a signed number this offset or size can be below 0: test it for that, mask it (`x &= 0xff`), or use \
         an unsigned type.",
    ),
    (
        &["unbounded memory access", "max value is outside of the allowed memory range"],
        "The verifier has found no upper limit for this offset or size that fits: compare it with a constant, on \
         the same variable that is used afterwards, or mask it.",
    ),
    (
        &["invalid access to map value", "invalid access to memory", "invalid access to map key"],
        "The access ends behind the end of the object: compare offset and size with the limits shown.",
    ),
    (
        &["!read_ok"],
        "The register has no value on some way to this place: a variable without an initial value, or a register \
         that a call has destroyed (R1 to R5 after every call).",
    ),
    (
        &["invalid indirect read from stack", "invalid read from stack"],
        "These bytes of the stack were never written. Often it is padding of a struct: clear it with \
         __builtin_memset() first.",
    ),
    (
        &["back-edge from insn", "infinite loop detected"],
        "Nothing shows that this loop ends: the state is the same as in an earlier round. Count with a variable that \
         the condition compares with a constant, or use bpf_loop().",
    ),
    (
        &["BPF program is too large. Processed"],
        "The ways through the program are more than the verifier follows. Loops whose rounds differ are simulated \
         round by round: make them shorter, use bpf_loop(), or put parts into subprograms.",
    ),
    (
        &["combined stack size of"],
        "The stack frames of nested calls are limited together: put large variables into a map (a per-CPU array \
         with one entry).",
    ),
    (
        &["cannot call GPL-restricted function"],
        "The helper is for programs with a license that is compatible with the GPL: char _license[] SEC(\"license\") = \"GPL\".",
    ),
    (
        &["program of this type cannot use helper", "unknown func", "invalid func"],
        "The helper is not for programs of this type, or oxbpf has not got it (Documentation/parity.rst), or the loader \
         lacks a capability for it.",
    ),
    (
        &["invalid bpf_context access"],
        "The context has no field there that a program of this type may read (or write) with that size.",
    ),
    (
        &["dereference of modified ctx ptr"],
        "The context may be accessed at constant offsets from its start only.",
    ),
    (
        &["misaligned"],
        "The access is not aligned to its size.",
    ),
    (
        &["Unreleased reference"],
        "What was acquired (a record of a ring buffer, a socket) is not released on this way: submit, discard or \
         release it before every exit.",
    ),
    (
        &["At program exit the register R0", "R0 not"],
        "The program's result can be outside of what this program type may return.",
    ),
    (
        &["leaks addr", "leak pointer", "pointer comparison prohibited", "pointer arithmetic prohibited"],
        "Without CAP_PERFMON an address must not become visible as a number.",
    ),
    (
        &["unreachable insn"],
        "No way leads to this instruction.",
    ),
    (
        &[" type=", "expected="],
        "The helper wants another kind of argument here: `type` is what the register has, `expected` what the helper takes.",
    ),
];

/// What a log says of its refusal.
#[derive(Debug, PartialEq, Eq)]
pub struct Why<'a> {
    /// Slot of the instruction, and its text as the log shows it.
    pub insn: Option<(u32, &'a str)>,
    /// The verifier's own words, line by line.
    pub words: Vec<&'a str>,
    /// What they mean, if they are known.
    pub meaning: Option<&'static str>,
}

/// The instruction of a line `12: (79) r1 = ... ; state`.
fn insn(line: &str) -> Option<(u32, &str)> {
    let (number, rest) = line.split_once(": (")?;
    let text = rest.split_once(") ")?.1;
    let text = text.split("  ;").next().unwrap_or(text).trim();
    Some((
        number.parse().ok()?,
        text.split(" ; ").next().unwrap_or(text).trim(),
    ))
}

/// Reads the end of a log at level 1: the last instruction, and what is said behind it.
pub fn why(log: &str) -> Option<Why<'_>> {
    let own = |l: &&str| {
        !l.is_empty() && !l.starts_with("processed ") && !l.starts_with("verification time")
    };
    let mut words: Vec<&str> = log
        .lines()
        .rev()
        .take_while(|l| insn(l).is_none())
        .filter(own)
        .collect();
    words.reverse();
    let insn = log.lines().rev().find_map(insn);
    let hit =
        |(texts, _): &&(&[&str], &str)| texts.iter().any(|t| words.iter().any(|w| w.contains(t)));
    let meaning = MEANINGS.iter().find(hit).map(|(_, m)| *m);
    (insn.is_some() || !words.is_empty()).then_some(Why {
        insn,
        words,
        meaning,
    })
}

/// The refusal as text, each line indented.
pub fn explain(log: &str, source: Option<&Source>) -> String {
    let Some(why) = why(log) else {
        return String::new();
    };
    let mut out = String::new();
    for line in &why.words {
        out += &format!("  {line}\n");
    }
    if let Some((at, text)) = why.insn {
        out += &format!("  at instruction {at}: {text}\n");
        if let Some(line) = source.and_then(|s| s.line(at)) {
            out += &format!("  {}:{}: {}\n", line.file, line.number, line.text);
        }
    }
    if let Some(meaning) = why.meaning {
        out += &fold(meaning, 100);
    }
    out
}

/// Lines of at most `width` characters behind an indentation.
fn fold(text: &str, width: usize) -> String {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(last) if last.is_empty() => *last = word.to_string(),
            Some(last) if last.len() + word.len() < width => *last = format!("{last} {word}"),
            _ => lines.push(word.to_string()),
        }
    }
    lines
        .iter()
        .fold(String::new(), |out, l| out + "    " + l + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_log_is_read() {
        let log = "0: R1=ctx() R10=fp0\n0: (61) r0 = *(u32 *)(r1 +76)         ; R0=pkt(r=0) R1=ctx()\n\
                   1: (71) r0 = *(u8 *)(r0 +0)\ninvalid access to packet, off=0 size=1, R0(id=0,off=0,r=0)\n\
                   R0 offset is outside of the packet\n\
                   processed 2 insns (limit 1000000) max_states_per_insn 0\n";
        let w = why(log).unwrap();
        assert_eq!(w.insn, Some((1, "r0 = *(u8 *)(r0 +0)")));
        assert_eq!(w.words.len(), 2);
        assert!(w.meaning.unwrap().contains("data_end"));
        assert_eq!(why(""), None);
    }

    #[test]
    fn text_is_folded() {
        assert_eq!(fold("aa bb cc", 5), "    aa bb\n    cc\n");
    }
}
