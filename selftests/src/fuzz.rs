// SPDX-License-Identifier: GPL-2.0

//! Random commands at the device: each of the module's table, its fields filled by what they hold.
//!
//! Attrs start from calls that work, or from nothing, and get a few wrong fields. Where the kernel has
//! kcov and the module is built for it, what reached new code is kept and changed further. Any answer
//! is right; at the end the device must still do its work, and nothing may be left. A seed is all that
//! a run depends on, but for threads: there are none.

mod kcov;

use crate::faults::cases;
use crate::insn::{exit, mov};
use crate::ktap::Suite;
use crate::maps::Random;
use crate::objects::Objects;
use crate::shape::{self, Kind};
use crate::table::{self, Row};
use kcov::Kcov;
use oxbpf::attr::{Attr, SIZE};
use oxbpf::{cmd, Bpf, MapSpec, MapType, ProgSpec, ProgType};
use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

/// Descriptors that are open at a time.
const POOL: usize = 24;
/// Bytes that the kernel may read and write at random.
const ARENA: usize = 1 << 16;
/// Attrs that reached something new.
const KEEP: usize = 2000;

/// Commands whose answer is a new descriptor.
const MAKERS: [u32; 12] = [
    cmd::MAP_CREATE,
    cmd::PROG_LOAD,
    cmd::OBJ_GET,
    cmd::PROG_GET_FD_BY_ID,
    cmd::MAP_GET_FD_BY_ID,
    17,
    18,
    19,
    cmd::LINK_CREATE,
    cmd::LINK_GET_FD_BY_ID,
    32,
    33,
];

/// Memory with a page behind it that nobody may touch.
struct Arena {
    base: *mut u8,
}

impl Arena {
    fn new() -> Arena {
        // SAFETY: a mapping at an address of the kernel's choice, and a change of its last page.
        unsafe {
            let base = libc::mmap(
                std::ptr::null_mut(),
                ARENA + 4096,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            );
            assert_ne!(base, libc::MAP_FAILED, "no memory");
            assert_eq!(libc::mprotect(base.add(ARENA), 4096, libc::PROT_NONE), 0);
            Arena { base: base.cast() }
        }
    }

    /// Writes `bytes` at `at`.
    fn put(&self, at: usize, bytes: &[u8]) {
        let at = at % ARENA;
        let n = bytes.len().min(ARENA - at);
        // SAFETY: inside of the mapping, to which there are no references.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.base.add(at), n) };
    }
}

/// One run.
struct Fuzzer {
    bpf: Bpf,
    r: Random,
    arena: Arena,
    pool: Vec<OwnedFd>,
    strangers: Vec<OwnedFd>,
    /// Calls that work, by command; and later those that reached new code.
    seeds: Vec<(u32, Attr)>,
    rows: Vec<Row>,
    calls: u64,
    successes: u64,
    kept: usize,
}

impl Fuzzer {
    fn new(bpf: &Bpf, seed: u64, seeds: Vec<(u32, Attr)>) -> Fuzzer {
        let strangers = ["/dev/null", "/proc/self/maps", oxbpf::DEVICE];
        Fuzzer {
            bpf: bpf.clone(),
            r: Random(seed),
            arena: Arena::new(),
            pool: Vec::new(),
            strangers: strangers
                .iter()
                .filter_map(|p| Some(OwnedFd::from(File::open(p).ok()?)))
                .collect(),
            seeds,
            rows: table::rows(),
            calls: 0,
            successes: 0,
            kept: 0,
        }
    }

    fn one_of<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.r.below(of.len() as u64) as usize]
    }

    fn fd(&mut self) -> u32 {
        match self.r.below(16) {
            0 => self.one_of(&[u32::MAX, 0, 1000, 0x7fff_ffff]),
            1 => {
                let i = self.r.below(self.strangers.len() as u64) as usize;
                self.strangers[i].as_raw_fd() as u32
            }
            _ if self.pool.is_empty() => u32::MAX,
            _ => {
                let i = self.r.below(self.pool.len() as u64) as usize;
                self.pool[i].as_raw_fd() as u32
            }
        }
    }

    fn address(&mut self) -> u64 {
        let base = self.arena.base as u64;
        match self.r.below(12) {
            0 => 0,
            1 => self.one_of(&[
                1,
                0xffff_8880_0000_0000,
                0x8000_0000_0000_0000,
                u64::MAX,
                u64::MAX - 7,
            ]),
            2 => base + ARENA as u64 - self.r.below(64),
            3 => base + ARENA as u64,
            _ => base + self.r.below(ARENA as u64) / 8 * 8,
        }
    }

    /// Bytes that mean something to some command, or nothing, somewhere in the arena.
    fn scribble(&mut self) {
        let at = self.r.below(ARENA as u64) as usize;
        let bytes: Vec<u8> = match self.r.below(6) {
            0 => b"vfs_open\0".to_vec(),
            1 => b"GPL\0".to_vec(),
            2 => (self.arena.base as u64 + self.r.below(ARENA as u64))
                .to_ne_bytes()
                .to_vec(),
            3 => vec![0; self.r.below(256) as usize],
            4 => self.fd().to_ne_bytes().repeat(8),
            _ => {
                let (op, regs) = (self.r.next() as u8, self.r.next() as u8);
                let mut insns = vec![op, regs & 0xbb, 0, 0];
                insns.extend((self.r.below(300) as u32).to_ne_bytes());
                insns.extend(mov(0, 0));
                insns.extend(exit());
                insns
            }
        };
        self.arena.put(at / 8 * 8, &bytes);
    }

    /// Gives one field another value.
    fn mutate(&mut self, command: u32, a: &mut Attr) {
        let fields = shape::fields(command);
        if fields.is_empty() {
            let at = self.r.below(SIZE as u64 / 4) as usize * 4;
            let value = self.r.next() as u32;
            a.u32(at, value);
            return;
        }
        let (at, kind) = fields[self.r.below(fields.len() as u64) as usize];
        match kind {
            Kind::Fd => _ = a.u32(at, self.fd()),
            Kind::Id => _ = a.u32(at, self.r.below(40) as u32),
            Kind::Size => {
                let mut size = self.one_of(&[
                    0,
                    1,
                    2,
                    4,
                    5,
                    8,
                    16,
                    24,
                    64,
                    100,
                    128,
                    512,
                    4096,
                    1 << 31,
                    u32::MAX,
                ]);
                // a run of four billion rounds finds nothing more
                if command == cmd::PROG_TEST_RUN && at == 32 {
                    size &= 0xff;
                }
                a.u32(at, size);
            }
            Kind::Word => {
                let word = match self.r.below(4) {
                    0 => self.r.next() as u32,
                    1 => 1 << self.r.below(32),
                    _ => self.r.below(60) as u32,
                };
                a.u32(at, word);
            }
            Kind::Long => {
                let long = match self.r.below(3) {
                    0 => self.r.next(),
                    1 => 1 << self.r.below(64),
                    _ => self.r.below(16),
                };
                a.u64(at, long);
            }
            Kind::In | Kind::Out => _ = a.u64(at, self.address()),
            Kind::Name => {
                let mut name = self.r.next().to_ne_bytes().repeat(2);
                if self.r.below(2) == 0 {
                    name[15] = 0;
                }
                a.put(at, &name);
            }
        }
    }

    /// One call; true when it reached code that none did before.
    fn step(&mut self, kcov: &mut Option<Kcov>) {
        self.scribble();
        let (command, mut a) = match self.r.below(8) {
            0 => {
                let i = self.r.below(self.rows.len() as u64) as usize;
                (self.rows[i].number, Attr::new(SIZE))
            }
            _ => {
                let i = self.r.below(self.seeds.len() as u64) as usize;
                self.seeds[i].clone()
            }
        };
        for _ in 0..self.r.below(4) {
            self.mutate(command, &mut a);
        }
        // What is written goes to the arena, wherever the attr came from.
        for &(at, kind) in shape::fields(command) {
            let address = oxbpf::attr::get_u64(a.bytes(), at);
            let ours = self.arena.base as u64..self.arena.base as u64 + ARENA as u64 + 4096;
            let mapped = (1 << 32..1 << 47).contains(&address);
            if kind == Kind::Out && mapped && !ours.contains(&address) {
                a.u64(at, self.address());
            }
        }
        let mut size = a.bytes().len();
        if self.r.below(8) == 0 {
            size = self.r.below(SIZE as u64 + 1) as usize;
        }
        let mut call = a.clone();
        let bytes = &mut call.bytes()[..size.min(a.bytes().len())];
        if let Some(kcov) = kcov {
            kcov.start();
        }
        let answer = self.bpf.call(command, bytes);
        let new = kcov.as_mut().is_some_and(Kcov::new_code);
        self.calls += 1;
        if let Ok(value) = answer {
            self.successes += 1;
            if MAKERS.contains(&command) {
                // SAFETY: the command made it for us.
                let fd = unsafe { OwnedFd::from_raw_fd(value) };
                if self.pool.len() < POOL {
                    self.pool.push(fd);
                } else {
                    let i = self.r.below(POOL as u64) as usize;
                    self.pool[i] = fd;
                }
            }
        }
        if new && self.kept < KEEP {
            self.kept += 1;
            self.seeds.push((command, a));
        }
    }
}

/// The device still works.
fn healthy(b: &Bpf) -> Result<(), String> {
    let map = b
        .map_create(&MapSpec::new(MapType::HASH, 8, 8, 4))
        .map_err(|e| format!("a map afterwards: {e}"))?;
    map.update(&[1; 8], &[2; 8], 0)
        .map_err(|e| format!("an update afterwards: {e}"))?;
    b.prog_load(&ProgSpec::new(
        ProgType::SOCKET_FILTER,
        &[mov(0, 0), exit()],
    ))
    .map(|_| ())
    .map_err(|e| format!("a program afterwards: {e}"))
}

fn number(name: &str) -> Option<f64> {
    std::env::var(name).ok()?.parse().ok()
}

/// The suite.
pub fn suite(s: &mut Suite) {
    let b = Bpf::oxbpf().unwrap_or_else(|e| panic!("{}: {e}", oxbpf::DEVICE));
    let time = number("OXBPF_MINUTES").map_or(15.0, |m| m * 60.0);
    let time = Duration::from_secs_f64(time);
    let seed = number("OXBPF_SEED").map_or(1, |n| n as u64);
    let rows = table::rows();
    s.test(&format!("{} s, seed {seed}", time.as_secs()), || {
        let mut kcov = Kcov::open();
        let before = Objects::now(&b);
        let cases = cases::all(&b);
        let seeds: Vec<_> = cases.iter().filter_map(cases::Case::seed).collect();
        let mut f = Fuzzer::new(&b, seed, seeds);
        let (start, mut said) = (Instant::now(), Instant::now());
        while start.elapsed() < time {
            for _ in 0..100 {
                f.step(&mut kcov);
            }
            if said.elapsed() > Duration::from_secs(60) {
                said = Instant::now();
                println!(
                    "# {} of {} s, {} calls",
                    start.elapsed().as_secs(),
                    time.as_secs(),
                    f.calls
                );
            }
        }
        let code = match &kcov {
            Some(kcov) => format!("{} places of code, {} calls kept", kcov.seen(), f.kept),
            None => "no kcov".to_string(),
        };
        println!(
            "# {} calls of {} commands, {} did something; {code}",
            f.calls,
            rows.len(),
            f.successes
        );
        let successes = f.successes;
        drop((f, cases));
        before.again(&b).map_err(|e| format!("left behind\n{e}"))?;
        healthy(&b)?;
        match successes {
            0 => Err("no call did anything".to_string()),
            _ => Ok(()),
        }
    });
}
