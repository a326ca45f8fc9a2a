// SPDX-License-Identifier: GPL-2.0

//! Runs a test through oxbpf's verifier in this process.

use crate::read::Test;
use kernel::prelude::*;
use oxbpf_core::abi::{MapType, ProgType};
use oxbpf_core::ctx::KernelLayout;
use oxbpf_core::verifier::{log::Log, verify, Env, MapFacts, Options};
use std::time::{Duration, Instant};

/// Flag of test_verifier.c.
pub const F_LOAD_WITH_STRICT_ALIGNMENT: u32 = 1 << 1;

/// Who loads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loader {
    /// All capabilities.
    Root,
    /// None.
    Unprivileged,
}

/// What came out.
pub struct Outcome {
    /// Verdict.
    pub verdict: std::result::Result<(), i32>,
    /// Log.
    pub log: String,
    /// How long it took.
    pub time: Duration,
}

/// Facts of a kind of map, if oxbpf has such maps.
pub fn facts(kind: &str) -> Option<MapFacts> {
    let hash = |value_size| MapFacts {
        ty: MapType::Hash,
        key_size: 8,
        value_size,
        max_entries: 1,
        rdonly_prog: false,
        wronly_prog: false,
        frozen: false,
        direct_value: false,
        any_size: false,
        lock: None,
    };
    let array = |value_size| MapFacts {
        ty: MapType::Array,
        key_size: 4,
        direct_value: true,
        ..hash(value_size)
    };
    Some(match kind {
        "hash_8b" => hash(8),
        "hash_48b" => hash(48),
        "hash_16b" => hash(16),
        "array_48b" => array(48),
        "array_small" => array(1),
        "array_ro" => MapFacts {
            rdonly_prog: true,
            ..array(48)
        },
        "array_wo" => MapFacts {
            wronly_prog: true,
            ..array(48)
        },
        "ringbuf" => MapFacts {
            ty: MapType::Ringbuf,
            key_size: 0,
            max_entries: 4096,
            ..hash(0)
        },
        "event_output" => MapFacts {
            ty: MapType::PerfEventArray,
            direct_value: false,
            ..array(4)
        },
        "stacktrace" => MapFacts {
            ty: MapType::StackTrace,
            direct_value: false,
            ..array(8)
        },
        "prog1" => MapFacts {
            ty: MapType::ProgArray,
            max_entries: 4,
            direct_value: false,
            ..array(4)
        },
        "prog2" => MapFacts {
            ty: MapType::ProgArray,
            max_entries: 8,
            direct_value: false,
            ..array(4)
        },
        _ => return None,
    })
}

/// The program type, if oxbpf knows it.
pub fn prog_type(n: u32) -> Option<ProgType> {
    use ProgType::*;
    [
        SocketFilter,
        Kprobe,
        SchedCls,
        SchedAct,
        Tracepoint,
        Xdp,
        PerfEvent,
        CgroupSkb,
        RawTracepoint,
    ]
    .into_iter()
    .find(|t| *t as u32 == n)
}

/// Fds are positions in `kinds` plus this, so that no small number is one by accident.
const FD: i32 = 1000;

struct World<'a> {
    kinds: Vec<&'a str>,
    used: Vec<MapFacts>,
    fds: Vec<i32>,
}

impl Env for World<'_> {
    fn use_map_fd(&mut self, fd: i32) -> Result<u32> {
        if let Some(at) = self.fds.iter().position(|f| *f == fd) {
            return Ok(at as u32);
        }
        let kind = fd
            .checked_sub(FD)
            .and_then(|n| usize::try_from(n).ok())
            .and_then(|n| self.kinds.get(n))
            .ok_or(EBADF)?;
        self.used.push(facts(kind).ok_or(EBADF)?);
        self.fds.push(fd);
        Ok(self.fds.len() as u32 - 1)
    }

    fn use_map_idx(&mut self, _idx: i32) -> Result<u32> {
        Err(EBADF)
    }

    fn map(&self, index: u32) -> Option<MapFacts> {
        self.used.get(index as usize).copied()
    }

    fn read_frozen(&self, _index: u32, _off: u32, _buf: &mut [u8]) -> bool {
        false
    }

    fn cpus(&self) -> u32 {
        // As many as the test that asks expects at most.
        8
    }

    fn interrupted(&mut self) -> bool {
        false
    }
}

/// Verifies the test's program.
pub fn run(t: &Test, ty: ProgType, loader: Loader, level: u32) -> Outcome {
    let root = loader == Loader::Root;
    let mut insns = t.insns.clone();
    let mut kinds: Vec<&str> = Vec::new();
    for (slot, kind) in &t.maps {
        let at = kinds.iter().position(|k| k == kind).unwrap_or_else(|| {
            kinds.push(kind);
            kinds.len() - 1
        });
        if let Some(i) = insns.get_mut(*slot) {
            i.imm = FD + at as i32;
        }
    }
    let mut world = World {
        kinds,
        used: Vec::new(),
        fds: Vec::new(),
    };
    let options = Options {
        prog_type: ty,
        attach_type: t.attach_type,
        gpl: true,
        allow_ptr_leaks: root,
        bpf_capable: root,
        strict_alignment: t.flags & F_LOAD_WITH_STRICT_ALIGNMENT != 0,
        test_state_freq: false,
        layout: KernelLayout::default(),
    };
    let mut log = Log::new(level, 1 << 26);
    let start = Instant::now();
    let verdict = verify(&insns, &options, &mut world, &mut log);
    let time = start.elapsed();
    let (a, b) = log.text();
    let mut text = String::from_utf8_lossy(a).into_owned();
    text.push_str(&String::from_utf8_lossy(b));
    Outcome {
        verdict: verdict.map(|_| ()).map_err(|e| -e.to_errno()),
        log: text,
        time,
    }
}
