// SPDX-License-Identifier: GPL-2.0

//! What is measured: by group, in the order of the report.

mod exec;
mod jit;
mod load;
mod maps;
mod memory;
mod probe;
mod tc;
mod user;

use crate::subject::Subject;
pub(crate) use load::time_of;
use oxbpf::link::TRACE_KPROBE_MULTI;
use oxbpf::{Bpf, Errno, LoadError, Map, MapSpec, Prog, ProgSpec, ProgType, Slot};

/// What one implementation needs for a case.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figure {
    /// Ticks of one operation.
    pub ticks: f64,
    /// Bytes of machine code, where the case is about a program and the kernel tells.
    pub bytes: Option<usize>,
}

/// Why there is no figure.
#[derive(Debug)]
pub enum Missing {
    /// The implementation does not have what the case needs.
    Unsupported(String),
    /// Something that should work did not.
    Failed(String),
}

/// A case's outcome.
pub type Outcome = Result<Figure, Missing>;

impl From<String> for Missing {
    fn from(why: String) -> Self {
        Missing::Failed(why)
    }
}

impl From<LoadError> for Missing {
    fn from(e: LoadError) -> Self {
        unless_supported(e.errno, format!("load: {e}"))
    }
}

/// A refusal that stands for "not supported", or a failure.
fn unless_supported(e: Errno, why: String) -> Missing {
    match e.0 {
        libc::EINVAL | libc::EOPNOTSUPP | libc::E2BIG | libc::EACCES | 524 => {
            Missing::Unsupported(why)
        }
        _ => Missing::Failed(why),
    }
}

/// Measures somebody.
pub type Run = Box<dyn Fn(&dyn Subject) -> Outcome>;

/// One row of the report.
pub struct Case {
    /// Group that the row belongs to.
    pub group: &'static str,
    /// Name, unique in its group.
    pub name: String,
    /// What is counted.
    pub unit: &'static str,
    /// In-tree's figure in the notes that the method comes from, where the same case is there.
    pub noted: Option<f64>,
    /// Takes minutes: only measured when a pattern asks for it.
    pub slow: bool,
    /// Measures.
    pub run: Run,
}

impl Case {
    fn slow(self) -> Self {
        Case { slow: true, ..self }
    }

    /// A case of programs and maps, whoever runs them.
    fn new(
        group: &'static str,
        name: impl Into<String>,
        unit: &'static str,
        noted: impl Into<Option<f64>>,
        run: impl Fn(&dyn Subject) -> Outcome + 'static,
    ) -> Self {
        Case {
            group,
            name: name.into(),
            unit,
            noted: noted.into(),
            slow: false,
            run: Box::new(run),
        }
    }

    /// A case of a kernel: its system calls, its hooks, its account of memory.
    fn of_kernel(
        group: &'static str,
        name: impl Into<String>,
        unit: &'static str,
        noted: impl Into<Option<f64>>,
        run: impl Fn(&Bpf) -> Outcome + 'static,
    ) -> Self {
        Case::new(group, name, unit, noted, move |s| run(s.bpf()?))
    }
}

/// Those of programs and maps, which need no kernel to run in.
pub fn programs() -> Vec<Case> {
    let mut cases = exec::cases();
    cases.extend(maps::cases());
    cases.extend(load::cases());
    cases
}

/// All of them.
pub fn all() -> Vec<Case> {
    let mut cases = exec::cases();
    cases.extend(maps::cases());
    cases.extend(user::cases());
    cases.extend(probe::cases());
    cases.extend(tc::cases());
    cases.extend(load::cases());
    cases.extend(jit::cases());
    cases.extend(memory::cases());
    cases
}

pub(crate) fn create(bpf: &Bpf, spec: &MapSpec) -> Result<Map, Missing> {
    bpf.map_create(spec)
        .map_err(|e| unless_supported(e, format!("map of type {}: {e}", spec.ty.0)))
}

/// Loads; the error has the end of the log.
pub(crate) fn load(bpf: &Bpf, ty: ProgType, insns: &[Slot]) -> Result<Prog, Missing> {
    let spec = ProgSpec::new(ty, insns);
    bpf.prog_load(&spec).map_err(|_| {
        let again = ProgSpec {
            log_level: 1,
            ..spec
        };
        match bpf.prog_load(&again) {
            Ok(_) => Missing::Failed("refused without a log, accepted with one".to_owned()),
            Err(mut e) => {
                let from = e.log.len().saturating_sub(300);
                e.log = e.log.get(from..).unwrap_or_default().to_owned();
                e.into()
            }
        }
    })
}

/// Bytes of machine code.
pub(crate) fn image_bytes(prog: &Prog) -> Option<usize> {
    let info = prog.info().ok()?;
    Some(info.jited.len()).filter(|n| *n > 0)
}

/// Loads a program for kprobes, for links or for perf events.
fn load_probe(bpf: &Bpf, insns: &[Slot], multi: bool) -> Result<Prog, Missing> {
    let multi = if multi { TRACE_KPROBE_MULTI } else { 0 };
    let spec = ProgSpec {
        expected_attach_type: multi,
        ..ProgSpec::new(ProgType::KPROBE, insns)
    };
    bpf.prog_load(&spec).map_err(Missing::from)
}
