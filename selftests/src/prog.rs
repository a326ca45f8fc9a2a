// SPDX-License-Identifier: GPL-2.0

//! Programs as objects: memory that cannot be written, and what is counted of their runs.

use crate::both::{no_fd, Both};
use crate::insn::{exit, mov};
use crate::ktap::Suite;
use oxbpf::{cmd, Bpf, Prog, ProgSpec, ProgType, TestRun};
use std::os::fd::{AsFd, AsRawFd};

/// `OXBPF_DEBUG_WRITE_PROG`
const WRITE_PROG: u64 = 0xbe01;
/// Its answer: only the other memory could be written.
const OTHER: i32 = 2;
const DEBUG: &str = "/sys/module/oxbpf/parameters/debug";

fn load(bpf: &Bpf) -> Result<Prog, String> {
    let insns = [mov(0, 1), exit()];
    let spec = ProgSpec::new(ProgType::SCHED_CLS, &insns);
    bpf.prog_load(&spec).map_err(|e| format!("load: {e}"))
}

fn run(prog: &Prog, repeat: u32) -> Result<(), String> {
    let input = TestRun {
        data_in: &[0; 64],
        repeat,
        ..TestRun::default()
    };
    prog.test_run(&input)
        .map(|_| ())
        .map_err(|e| format!("run: {e}"))
}

/// Runs, and whether they took time.
fn counted(prog: &Prog) -> Result<(u64, bool), String> {
    let mut info = [0u8; 232];
    let fd = prog.as_fd().as_raw_fd();
    prog.bpf()
        .info(fd, &mut info)
        .map_err(|e| format!("info: {e}"))?;
    let word = |at: usize| {
        let mut word = [0; 8];
        word.copy_from_slice(&info[at..at + 8]);
        u64::from_ne_bytes(word)
    };
    Ok((word(200), word(192) != 0))
}

/// A descriptor that is closed with this.
struct Fd(i32);

impl Drop for Fd {
    fn drop(&mut self) {
        // SAFETY: made for this test, and nobody else has it.
        unsafe { libc::close(self.0) };
    }
}

fn enable(bpf: &Bpf) -> Result<Fd, String> {
    let fd = bpf.call(cmd::ENABLE_STATS, &mut 0u32.to_ne_bytes());
    fd.map(Fd).map_err(|e| format!("enable: {e}"))
}

/// What is counted before, while and after somebody wants to know.
fn stats(bpf: &Bpf) -> Result<Vec<(u64, bool)>, String> {
    let prog = load(bpf)?;
    let mut seen = Vec::new();
    let mut step = |repeat| -> Result<(), String> {
        run(&prog, repeat)?;
        seen.push(counted(&prog)?);
        Ok(())
    };
    step(3)?;
    let (one, two) = (enable(bpf)?, enable(bpf)?);
    step(1000)?;
    drop(one);
    step(1)?;
    drop(two);
    step(7)?;
    Ok(seen)
}

/// Tries to write to the program: the bits of what could be written, or an error number.
fn write_prog(prog: &Prog) -> i32 {
    let path = std::ffi::CString::new(oxbpf::DEVICE).expect("no NUL");
    // SAFETY: a NUL-terminated string; the descriptor is closed below.
    let dev = Fd(unsafe { libc::open(path.as_ptr(), libc::O_RDWR | libc::O_CLOEXEC) });
    let fd = prog.as_fd().as_raw_fd() as u64;
    // SAFETY: the command takes a number.
    match unsafe { libc::ioctl(dev.0, WRITE_PROG, fd) } {
        -1 => -std::io::Error::last_os_error().raw_os_error().unwrap_or(0),
        bits => bits,
    }
}

fn read_only(both: &Both) -> Result<(), String> {
    let prog = load(&both.ours)?;
    let off = write_prog(&prog);
    std::fs::write(DEBUG, "Y").map_err(|e| format!("{DEBUG}: {e}"))?;
    let on = write_prog(&prog);
    std::fs::write(DEBUG, "N").map_err(|e| format!("{DEBUG}: {e}"))?;
    if (off, on) != (-libc::ENOTTY, OTHER) {
        return Err(format!("off {off}, on {on}"));
    }
    // And it still runs.
    run(&prog, 1)
}

/// The suite.
pub fn suite(s: &mut Suite) {
    let both = Both::open();
    s.test("cannot be written", || read_only(&both));
    s.test("statistics", || match both.same(stats)?? {
        seen if seen == [(0, false), (1000, true), (1001, true), (1001, true)] => Ok(()),
        seen => Err(format!("{seen:?}")),
    });
    s.test("statistics: wrong commands", || {
        both.same(|b| {
            let kinds = [1u32, 2, u32::MAX].map(|ty| {
                let mut attr = ty.to_ne_bytes();
                no_fd(b.call(cmd::ENABLE_STATS, &mut attr))
            });
            let mut long = [0u8; 8];
            long[4] = 1;
            let closed = b.call(cmd::PROG_GET_FD_BY_ID, &mut [0; 4]).is_err();
            (kinds, no_fd(b.call(cmd::ENABLE_STATS, &mut long)), closed)
        })
        .map(|_| ())
    });
}
