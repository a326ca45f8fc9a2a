// SPDX-License-Identifier: GPL-2.0

//! The time stamp counter: executed instructions where the virtual CPU counts them.

use oxbpf::{cmd, Bpf, Prog};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// How often a window is measured; the least counts, since a timer tick only adds.
const TRIES: u32 = 7;
/// Ticks that a window should take at most: a fraction of the 4M between two timer ticks.
const WINDOW: u64 = 700_000;

/// The counter.
#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: the instruction reads a counter.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// Ticks that `f` takes.
#[inline(always)]
pub fn ticks(f: impl FnOnce()) -> u64 {
    let start = now();
    f();
    now() - start
}

/// Ticks of one round where `rounds(n)` does `n` of them, without what comes once.
pub fn per_round(mut rounds: impl FnMut(u32)) -> f64 {
    if STEPS.load(Ordering::Relaxed) {
        step(rounds);
        return 0.0;
    }
    rounds(1);
    let one = ticks(|| rounds(1)).max(1);
    let n = (WINDOW / 2 / one).clamp(1, 2000) as u32;
    per_round_of(n, rounds)
}

/// Only one round is wanted, between two marks that a debugger knows: a call of getsid.
static STEPS: AtomicBool = AtomicBool::new(false);

/// From now on [`per_round`] makes a few rounds, a mark, one round, and a mark.
pub fn only_steps() {
    STEPS.store(true, Ordering::Relaxed);
}

fn step(mut rounds: impl FnMut(u32)) {
    rounds(10);
    // SAFETY: the call takes nothing and changes nothing.
    let mark = || unsafe { libc::syscall(libc::SYS_getsid, 0) };
    mark();
    rounds(1);
    mark();
}

/// The same with windows of `n` and `2 n` rounds.
pub fn per_round_of(n: u32, mut rounds: impl FnMut(u32)) -> f64 {
    rounds(2 * n);
    let (mut short, mut long) = (u64::MAX, u64::MAX);
    for _ in 0..TRIES {
        short = short.min(ticks(|| rounds(n)));
        long = long.min(ticks(|| rounds(2 * n)));
    }
    (long as f64 - short as f64) / f64::from(n)
}

/// A packet for test runs: Ethernet, IP, TCP to port 80.
pub fn packet() -> Vec<u8> {
    let mut p = vec![0u8; 64];
    p[12..14].copy_from_slice(&[8, 0]);
    p[14] = 0x45;
    p[17] = 50;
    p[22..24].copy_from_slice(&[64, 6]);
    p[34..38].copy_from_slice(&[0x30, 0x39, 0, 80]);
    p[46] = 0x50;
    p
}

/// Test runs of a program without anything but the call itself.
pub struct Runner {
    bpf: Bpf,
    attr: [u8; 80],
    _packet: Vec<u8>,
}

impl Runner {
    /// For `prog`, with [`packet`].
    pub fn new(prog: &Prog) -> Self {
        let packet = packet();
        let mut attr = [0; 80];
        attr[..4].copy_from_slice(&(prog.as_fd().as_raw_fd() as u32).to_ne_bytes());
        attr[8..12].copy_from_slice(&(packet.len() as u32).to_ne_bytes());
        attr[16..24].copy_from_slice(&(packet.as_ptr() as u64).to_ne_bytes());
        Runner {
            bpf: prog.bpf().clone(),
            attr,
            _packet: packet,
        }
    }

    /// Runs the program `repeat` times; its last result.
    ///
    /// # Errors
    ///
    /// The command's.
    #[inline]
    pub fn run(&mut self, repeat: u32) -> Result<u32, String> {
        self.attr[32..36].copy_from_slice(&repeat.to_ne_bytes());
        self.bpf
            .call(cmd::PROG_TEST_RUN, &mut self.attr)
            .map_err(|e| format!("test run: {e}"))?;
        Ok(u32::from_ne_bytes([
            self.attr[4],
            self.attr[5],
            self.attr[6],
            self.attr[7],
        ]))
    }
}
