// SPDX-License-Identifier: GPL-2.0

//! Everything at once, for a while: threads on all CPUs use and close maps and programs of each other,
//! attach and detach, are killed in the middle of a call, while CPUs go and come back and somebody
//! tries to unload the module.
//!
//! Passed when each of them got something done, for which it goes on longer on a slow machine, and no
//! answer that it should not get, and when at the end nothing is left. What goes wrong inside is the
//! kernel's to see: the debug kernel.

mod roles;
mod traffic;

use crate::ktap::Suite;
use crate::maps::Random;
use crate::objects::Objects;
use oxbpf::{Bpf, Map, Prog};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Objects that all threads share: each may take one away while others use it.
const SLOTS: usize = 8;

/// What the roles share.
pub struct Arena {
    /// Under test.
    pub bpf: Bpf,
    maps: [Mutex<Option<Arc<Map>>>; SLOTS],
    progs: [Mutex<Option<Arc<Prog>>>; SLOTS],
    stop: AtomicBool,
    wrong: Mutex<Vec<String>>,
}

impl Arena {
    fn new(bpf: &Bpf) -> Arena {
        Arena {
            bpf: bpf.clone(),
            maps: Default::default(),
            progs: Default::default(),
            stop: AtomicBool::new(false),
            wrong: Mutex::default(),
        }
    }

    /// Whether time is up.
    pub fn over(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// A map of the shared ones.
    pub fn map(&self, r: &mut Random) -> Option<Arc<Map>> {
        get(&self.maps, r)
    }

    /// A program of the shared ones.
    pub fn prog(&self, r: &mut Random) -> Option<Arc<Prog>> {
        get(&self.progs, r)
    }

    /// Replaces a shared map; the old one is closed by its last user.
    pub fn put_map(&self, r: &mut Random, map: Option<Map>) {
        put(&self.maps, r, map);
    }

    /// Replaces a shared program.
    pub fn put_prog(&self, r: &mut Random, prog: Option<Prog>) {
        put(&self.progs, r, prog);
    }

    /// An answer that must not be.
    pub fn wrong(&self, what: String) {
        let mut all = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() < 20 {
            all.push(what);
        }
    }
}

type Slots<T> = [Mutex<Option<Arc<T>>>; SLOTS];

fn slot<'a, T>(of: &'a Slots<T>, r: &mut Random) -> &'a Mutex<Option<Arc<T>>> {
    &of[r.below(SLOTS as u64) as usize]
}

fn get<T>(of: &Slots<T>, r: &mut Random) -> Option<Arc<T>> {
    let slot = slot(of, r).lock().unwrap_or_else(PoisonError::into_inner);
    slot.clone()
}

fn put<T>(of: &Slots<T>, r: &mut Random, new: Option<T>) {
    let mut slot = slot(of, r).lock().unwrap_or_else(PoisonError::into_inner);
    let old = std::mem::replace(&mut *slot, new.map(Arc::new));
    drop(slot);
    drop(old);
}

/// How much longer than it should it may take until each did something: on a slow machine much.
const PATIENCE: u32 = 15;

/// How long: `OXBPF_MINUTES`, or what fits a run among others.
fn duration() -> Duration {
    let minutes = std::env::var("OXBPF_MINUTES").ok();
    match minutes.and_then(|m| m.parse::<f64>().ok()) {
        Some(minutes) => Duration::from_secs_f64(minutes * 60.0),
        None => Duration::from_secs(20),
    }
}

fn seed() -> u64 {
    let seed = std::env::var("OXBPF_SEED").ok();
    seed.and_then(|s| s.parse().ok()).unwrap_or(1)
}

/// All roles together; returns how often each did what it does.
fn run(bpf: &Bpf, time: Duration) -> Result<Vec<(&'static str, u64)>, String> {
    traffic::prepare();
    let before = Objects::now(bpf);
    let arena = Arena::new(bpf);
    let counts: Vec<AtomicU64> = roles::ALL.iter().map(|_| AtomicU64::new(0)).collect();
    std::thread::scope(|scope| {
        let mut number = seed();
        for (role, count) in roles::ALL.iter().zip(&counts) {
            for _ in 0..role.threads {
                number += 1;
                let (arena, mut random) = (&arena, Random(number));
                scope.spawn(move || {
                    while !arena.over() {
                        if (role.turn)(arena, &mut random) {
                            count.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
        }
        let start = Instant::now();
        let mut said = start;
        let idle = || counts.iter().any(|n| n.load(Ordering::Relaxed) == 0);
        while start.elapsed() < time || (idle() && start.elapsed() < time * PATIENCE) {
            std::thread::sleep(Duration::from_millis(100));
            if said.elapsed() > Duration::from_secs(60) {
                said = Instant::now();
                println!("# {} of {} s", start.elapsed().as_secs(), time.as_secs());
            }
        }
        arena.stop.store(true, Ordering::Relaxed);
    });
    roles::restore();
    let wrong = std::mem::take(&mut *arena.wrong.lock().unwrap_or_else(PoisonError::into_inner));
    drop(arena);
    let counts = roles::ALL.iter().zip(&counts);
    let counts: Vec<_> = counts
        .map(|(role, n)| (role.name, n.load(Ordering::Relaxed)))
        .collect();
    if !wrong.is_empty() {
        return Err(wrong.join("\n"));
    }
    before.again(bpf).map_err(|e| format!("left behind\n{e}"))?;
    Ok(counts)
}

/// The suite.
pub fn suite(s: &mut Suite) {
    let bpf = Bpf::oxbpf().unwrap_or_else(|e| panic!("{}: {e}", oxbpf::DEVICE));
    let time = duration();
    let mut counts = Vec::new();
    s.test(&format!("{} s, seed {}", time.as_secs(), seed()), || {
        counts = run(&bpf, time)?;
        Ok(())
    });
    for (name, n) in counts {
        println!("# {name}: {n}");
        s.test(&format!("{name}: got something done"), || match n {
            0 => Err("nothing".to_string()),
            _ => Ok(()),
        });
    }
}
