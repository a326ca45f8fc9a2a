// SPDX-License-Identifier: GPL-2.0

//! Reads the text that dump.c writes.

use oxbpf_core::isa::RawInsn;

/// What a test expects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Expect {
    /// Nothing said.
    #[default]
    Undefined,
    /// The program loads.
    Accept,
    /// It is refused.
    Reject,
    /// It loads, and the log shows something.
    VerboseAccept,
}

impl Expect {
    fn from_number(n: u32) -> Expect {
        match n {
            1 => Expect::Accept,
            2 => Expect::Reject,
            3 => Expect::VerboseAccept,
            _ => Expect::Undefined,
        }
    }

    /// The program loads.
    pub fn accepts(self) -> bool {
        matches!(self, Expect::Accept | Expect::VerboseAccept)
    }
}

/// One run of an accepted program.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// What it returns.
    pub value: u32,
    /// What it returns when an unprivileged loader loaded it.
    pub value_unpriv: u32,
    /// The packet.
    pub packet: Vec<u8>,
}

/// One test.
#[derive(Clone, Debug, Default)]
pub struct Test {
    /// Description.
    pub name: String,
    /// File it is in.
    pub file: String,
    /// Program type.
    pub prog_type: u32,
    /// `F_*` of test_verifier.c.
    pub flags: u32,
    /// Expected attach type.
    pub attach_type: u32,
    /// For root.
    pub result: Expect,
    /// For others.
    pub result_unpriv: Expect,
    /// It loads BTF.
    pub needs_btf: bool,
    /// Log text for root.
    pub err: Option<String>,
    /// Log text for others.
    pub err_unpriv: Option<String>,
    /// Runs.
    pub runs: Vec<Run>,
    /// Map references: slot and kind.
    pub maps: Vec<(usize, String)>,
    /// The program.
    pub insns: Vec<RawInsn>,
}

fn unescape(s: &str) -> String {
    s.replace("\\n", "\n")
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    let digit = |c: u8| (c as char).to_digit(16).map(|d| d as u8);
    let mut bytes = Vec::with_capacity(hex.len() / 2);
    for pair in hex.as_bytes().chunks(2) {
        let &[h, l] = pair else { return None };
        bytes.push((digit(h)? << 4) | digit(l)?);
    }
    Some(bytes)
}

/// `VALUE VALUE DATA`; 0 for the second means the same as the first.
fn run(text: &str) -> Option<Run> {
    let mut words = text.split(' ');
    let value = words.next()?.parse().ok()?;
    let value_unpriv = match words.next()?.parse().ok()? {
        0 => value,
        other => other,
    };
    Some(Run {
        value,
        value_unpriv,
        packet: bytes(words.next()?)?,
    })
}

fn insns(hex: &str) -> Option<Vec<RawInsn>> {
    Some(
        bytes(hex)?
            .chunks_exact(8)
            .map(|b| RawInsn {
                code: b[0],
                regs: b[1],
                off: i16::from_le_bytes([b[2], b[3]]),
                imm: i32::from_le_bytes([b[4], b[5], b[6], b[7]]),
            })
            .collect(),
    )
}

/// All tests in `text`.
pub fn tests(text: &str) -> Result<Vec<Test>, String> {
    let mut all = Vec::new();
    let mut t = Test::default();
    for (n, line) in text.lines().enumerate() {
        let bad = || format!("line {}: cannot read {:.60?}", n + 1, line);
        let (key, rest) = line.split_once(' ').unwrap_or((line, ""));
        match key {
            "" => all.push(std::mem::take(&mut t)),
            "test" => t.name = unescape(rest),
            "file" => t.file = rest.to_owned(),
            "prog" => {
                let v: Vec<u32> = rest
                    .split(' ')
                    .map(|w| w.parse().map_err(|_| bad()))
                    .collect::<Result<_, _>>()?;
                let &[ty, flags, attach, result, unpriv, btf] = v.as_slice() else {
                    return Err(bad());
                };
                t.prog_type = ty;
                t.flags = flags;
                t.attach_type = attach;
                t.result = Expect::from_number(result);
                t.result_unpriv = Expect::from_number(unpriv);
                t.needs_btf = btf != 0;
            }
            "err" => t.err = Some(unescape(rest)),
            "err_unpriv" => t.err_unpriv = Some(unescape(rest)),
            "run" => t.runs.push(run(rest).ok_or_else(bad)?),
            "map" => {
                let (slot, kind) = rest.split_once(' ').ok_or_else(bad)?;
                t.maps
                    .push((slot.parse().map_err(|_| bad())?, kind.to_owned()));
            }
            "insns" => t.insns = insns(rest).ok_or_else(bad)?,
            _ => return Err(bad()),
        }
    }
    Ok(all)
}
