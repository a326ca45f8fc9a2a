// SPDX-License-Identifier: GPL-2.0

//! Ring buffers and the helpers of maps without keys, against the kernel's own.

use crate::both::Both;
use crate::insn::{add, call, exit, ld_map, mov, mov_reg, raw};
use crate::ktap::Suite;
use crate::mapped::Mapping;
use oxbpf::attr::Attr;
use oxbpf::{Bpf, Map, MapSpec, MapType, Prog, ProgSpec, ProgType, Slot, TestRun};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const PAGE: usize = 4096;
const BUSY: u32 = 1 << 31;
const DISCARD: u32 = 1 << 30;
const OVERWRITE: u32 = 1 << 19;

/// A ring with its memory mapped.
struct Ring {
    map: Map,
    consumer: Mapping,
    rest: Mapping,
    size: usize,
}

impl Ring {
    fn new(b: &Bpf, size: usize, flags: u32) -> Result<Ring, String> {
        let map = b
            .map_create(&MapSpec {
                flags,
                ..MapSpec::new(MapType::RINGBUF, 0, 0, size as u32)
            })
            .map_err(|e| format!("create: {e}"))?;
        let fd = map.as_fd().as_raw_fd();
        let (r, w) = (libc::PROT_READ, libc::PROT_READ | libc::PROT_WRITE);
        let consumer =
            Mapping::new(fd, PAGE, w, libc::MAP_SHARED, 0).map_err(|e| format!("{e}"))?;
        let rest = Mapping::new(fd, PAGE + 2 * size, r, libc::MAP_SHARED, PAGE)
            .map_err(|e| format!("{e}"))?;
        Ok(Ring {
            map,
            consumer,
            rest,
            size,
        })
    }

    fn word(m: &Mapping, off: usize) -> &AtomicU64 {
        // SAFETY: within the mapping, aligned, and only accessed so.
        unsafe { &*m.base.add(off).cast() }
    }

    fn consumed(&self) -> &AtomicU64 {
        Self::word(&self.consumer, 0)
    }

    fn produced(&self) -> u64 {
        Self::word(&self.rest, 0).load(Ordering::Acquire)
    }

    /// The header at a position.
    fn header(&self, at: u64) -> [u32; 2] {
        let off = PAGE + (at as usize & (self.size - 1));
        // SAFETY: within the mapping, aligned, and only accessed so.
        let len = unsafe { &*self.rest.base.add(off).cast::<AtomicU32>() };
        let page = Self::word(&self.rest, off).load(Ordering::Relaxed) >> 32;
        [len.load(Ordering::Acquire), page as u32]
    }

    fn bytes(&self, at: u64, len: usize) -> Vec<u8> {
        let off = PAGE + (at as usize & (self.size - 1)) + 8;
        (off..off + len).map(|i| self.rest.byte(i)).collect()
    }

    /// The next record's header and data, if it is there.
    fn next(&self) -> Option<([u32; 2], Vec<u8>)> {
        let at = self.consumed().load(Ordering::Relaxed);
        if at == self.produced() {
            return None;
        }
        let header = self.header(at);
        if header[0] & BUSY != 0 {
            return None;
        }
        let len = (header[0] & !DISCARD) as usize;
        let data = self.bytes(at, len);
        self.consumed()
            .store(at + (len as u64 + 8).next_multiple_of(8), Ordering::SeqCst);
        Some((header, data))
    }

    fn poll(&self, wait: i32) -> (i32, i16) {
        poll(self.map.as_fd().as_raw_fd(), wait)
    }
}

/// What poll(2) says at once, or after `wait` milliseconds.
fn poll(fd: RawFd, wait: i32) -> (i32, i16) {
    let mut p = libc::pollfd {
        fd,
        events: libc::POLLIN | libc::POLLOUT | libc::POLLRDNORM,
        revents: 0,
    };
    // SAFETY: one structure, ours.
    let n = unsafe { libc::poll(&mut p, 1, wait) };
    (n, p.revents)
}

fn load(b: &Bpf, insns: &[Slot]) -> Result<Prog, String> {
    let spec = ProgSpec {
        log_level: 1,
        ..ProgSpec::new(ProgType::SOCKET_FILTER, insns)
    };
    b.prog_load(&spec).map_err(|e| e.to_string())
}

fn run(p: &Prog, repeat: u32) -> Result<u32, String> {
    let t = TestRun {
        data_in: &[0; 64],
        repeat,
        ..TestRun::default()
    };
    p.test_run(&t).map(|r| r.retval).map_err(|e| format!("{e}"))
}

/// Outputs `len` bytes of the stack.
fn output(ring: &Map, len: i32, flags: i32) -> Vec<Slot> {
    let mut insns = Vec::new();
    for i in 0..8i16 {
        insns.push(raw(0x7a, 10, 0, -64 + i * 8, 0x0101_0101 * i32::from(i)));
    }
    insns.extend(ld_map(1, ring));
    insns.extend([mov_reg(2, 10), add(2, -64), mov(3, len), mov(4, flags)]);
    insns.extend([call(130), exit()]);
    insns
}

/// Reserves a record, fills its first word, and ends it by `helper`.
fn reserve(ring: &Map, len: i32, value: i32, helper: i32, flags: i32) -> Vec<Slot> {
    let mut insns = ld_map(1, ring).to_vec();
    insns.extend([mov(2, len), mov(3, 0), call(131)]);
    insns.extend([raw(0x55, 0, 0, 2, 0), mov(0, 99), exit()]);
    if len >= 8 {
        insns.push(raw(0x7a, 0, 0, 0, value));
    }
    insns.extend([
        mov_reg(1, 0),
        mov(2, flags),
        call(helper),
        mov(0, 0),
        exit(),
    ]);
    insns
}

fn query(ring: &Map, what: i32) -> Vec<Slot> {
    let mut insns = ld_map(1, ring).to_vec();
    insns.extend([mov(2, what), call(134), exit()]);
    insns
}

/// Records of many sizes, ended in all ways, with what each step shows.
fn records(b: &Bpf, size: usize, flags: u32) -> Result<Vec<String>, String> {
    let ring = Ring::new(b, size, flags)?;
    let asks: Vec<Prog> = (0..6)
        .map(|what| load(b, &query(&ring.map, what)))
        .collect::<Result<_, _>>()?;
    let mut programs = Vec::new();
    for len in [0, 1, 7, 8, 9, 64] {
        for flags in [0, 1, 2, 3] {
            programs.push(output(&ring.map, len, flags));
        }
    }
    for len in [
        0,
        8,
        9,
        100,
        1000,
        4000,
        4080,
        4081,
        4088,
        4089,
        9000,
        1 << 30,
    ] {
        for (helper, flags) in [(132, 0), (133, 0), (132, 1), (133, 2)] {
            programs.push(reserve(&ring.map, len, 77, helper, flags));
        }
    }
    programs.push(output(&ring.map, 8, 4));
    programs.push(output(&ring.map, 8, -1));
    let mut out = Vec::new();
    for (i, insns) in programs.iter().enumerate() {
        let p = load(b, insns)?;
        // Twice, so that some do not fit, and every third time without reading.
        let results = [run(&p, 1)?, run(&p, 1)?];
        let states: Vec<u32> = asks.iter().map(|p| run(p, 1)).collect::<Result<_, _>>()?;
        let poll = ring.poll(0);
        let mut seen = Vec::new();
        if i % 3 != 1 && flags & OVERWRITE == 0 {
            while let Some((header, data)) = ring.next() {
                // What a program does not write is what was there before.
                let shown = if header[0] & DISCARD != 0 {
                    0
                } else {
                    8.min(data.len())
                };
                seen.push((header, data[..shown].to_vec()));
            }
        }
        out.push(format!(
            "{i}: {results:?} {states:?} {poll:?} {seen:02x?} {:?} {}",
            ring.poll(0),
            ring.produced()
        ));
    }
    Ok(out)
}

/// What user space may do with the map, and with which memory.
fn from_user_space(b: &Bpf) -> Result<Vec<String>, String> {
    let mut out = Vec::new();
    let map = b
        .map_create(&MapSpec::new(MapType::RINGBUF, 0, 0, 4096))
        .map_err(|e| format!("{e}"))?;
    out.push(format!(
        "{:?} {:?} {:?} {:?} {:?}",
        map.lookup(&[]),
        map.update(&[], &[], 0),
        map.delete(&[]),
        map.next_key(None),
        map.take(&[]),
    ));
    let fd = map.as_fd().as_raw_fd();
    let (r, w) = (libc::PROT_READ, libc::PROT_READ | libc::PROT_WRITE);
    for pages in [1, 2, 3, 4, 5] {
        for off in [0, 1, 2, 3, 4, 1 << 20] {
            for prot in [r, w] {
                for kind in [libc::MAP_SHARED, libc::MAP_PRIVATE] {
                    let m = Mapping::new(fd, pages * PAGE, prot, kind, off * PAGE).map(drop);
                    out.push(format!("{pages} at {off}, {prot} {kind}: {m:?}"));
                }
            }
        }
    }
    for (key, value, n, flags) in [
        (0, 0, 0, 0),
        (0, 0, 2048, 0),
        (0, 0, 12288, 0),
        (0, 0, 8192, 0),
        (4, 0, 4096, 0),
        (0, 8, 4096, 0),
        (0, 0, 4096, 1 << 2),
        (0, 0, 4096, 1 << 3),
        (0, 0, 4096, 1 << 4),
        (0, 0, 4096, 1 << 7),
        (0, 0, 4096, 1 << 10),
        (0, 0, 4096, OVERWRITE),
        (0, 0, 4096, 1 << 20),
    ] {
        let m = b.map_create(&MapSpec {
            flags,
            ..MapSpec::new(MapType::RINGBUF, key, value, n)
        });
        out.push(format!("{key} {value} {n} {flags:#x}: {:?}", m.map(drop)));
    }
    let mut a = Attr::new(4);
    let freeze = b.call(oxbpf::cmd::MAP_FREEZE, a.u32(0, fd as u32).bytes());
    out.push(format!("freeze {freeze:?}"));
    let m = Mapping::new(fd, PAGE, w, libc::MAP_SHARED, 0).map(drop);
    out.push(format!("frozen, consumer's page: {m:?}"));
    Ok(out)
}

/// A poll that waits is woken by the first record, and by one that says so.
fn wakeups(b: &Bpf) -> Result<Vec<String>, String> {
    let ring = Ring::new(b, 4096, 0)?;
    let mut out = Vec::new();
    for (what, flags) in [("plain", 0), ("forced", 2), ("none", 1)] {
        let p = load(b, &output(&ring.map, 16, flags))?;
        let wait = if flags == 1 { 3000 } else { 20_000 };
        let start = Instant::now();
        let fd = ring.map.as_fd().as_raw_fd();
        let got = std::thread::scope(|s| {
            let waiter = s.spawn(move || poll(fd, wait));
            std::thread::sleep(Duration::from_millis(150));
            run(&p, 1).and(waiter.join().map_err(|_| "panic".to_string()))
        })?;
        // Without a wakeup poll looks again at its end only.
        let slow = start.elapsed() > Duration::from_millis(10_000);
        out.push(format!(
            "{what}: {got:?} slow {slow} {}",
            ring.next().is_some()
        ));
    }
    // The second of two records wakes nobody, who has not read the first.
    Ok(out)
}

/// The consumer's position may be any number: producers must stay within the ring.
fn lies(b: &Bpf) -> Result<Vec<String>, String> {
    let ring = Ring::new(b, 4096, 0)?;
    let p = load(b, &reserve(&ring.map, 1000, 5, 132, 0))?;
    let ask = load(b, &query(&ring.map, 0))?;
    let mut out = Vec::new();
    for lie in [
        0,
        1,
        4095,
        4096,
        1 << 20,
        u64::MAX,
        u64::MAX - 4096,
        1 << 63,
        8,
        2000,
    ] {
        ring.consumed().store(lie, Ordering::SeqCst);
        let r = [run(&p, 1)?, run(&p, 1)?];
        out.push(format!(
            "{lie:#x}: {r:?} {} {:?}",
            run(&ask, 1)?,
            ring.poll(0)
        ));
    }
    Ok(out)
}

/// Outputs its number and a count that grows with each record that had room.
fn producer(ring: &Map, counts: &Map, me: i32, reserves: bool) -> Vec<Slot> {
    let mut i = vec![raw(0x62, 10, 0, -4, me), mov_reg(2, 10), add(2, -4)];
    i.extend(ld_map(1, counts));
    i.push(call(1));
    let tail = if reserves { 18 } else { 16 };
    i.extend([raw(0x15, 0, 0, tail, 0), mov_reg(6, 0)]);
    if reserves {
        i.extend(ld_map(1, ring));
        i.extend([mov(2, 16), mov(3, 0), call(131)]);
        i.extend([
            raw(0x15, 0, 0, 11, 0),
            raw(0x7a, 0, 0, 0, me),
            raw(0x79, 1, 6, 0, 0),
            raw(0x7b, 0, 1, 8, 0),
            mov_reg(1, 0),
            mov(2, 0),
            call(132),
            mov(0, 0),
        ]);
    } else {
        i.extend([
            raw(0x79, 1, 6, 0, 0),
            raw(0x7b, 10, 1, -16, 0),
            raw(0x7a, 10, 0, -24, me),
        ]);
        i.extend(ld_map(1, ring));
        i.extend([
            mov_reg(2, 10),
            add(2, -24),
            mov(3, 16),
            mov(4, 0),
            call(130),
        ]);
        i.push(raw(0x55, 0, 0, 3, 0));
    }
    i.extend([
        raw(0x79, 1, 6, 0, 0),
        add(1, 1),
        raw(0x7b, 6, 1, 0, 0),
        mov(0, 0),
        exit(),
    ]);
    i
}

/// Producers on all CPUs and one consumer: each record once, and each producer's in order.
fn stress(b: &Bpf, producers: u32, seconds: u64) -> Result<String, String> {
    let ring = Ring::new(b, 8192, 0)?;
    let counts = b
        .map_create(&MapSpec::new(MapType::ARRAY, 4, 8, producers))
        .map_err(|e| format!("{e}"))?;
    let programs: Vec<Prog> = (0..producers)
        .map(|i| load(b, &producer(&ring.map, &counts, i as i32, i % 2 == 1)))
        .collect::<Result<_, _>>()?;
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut next = vec![0u64; producers as usize];
    let take = |next: &mut Vec<u64>| -> Result<bool, String> {
        let Some((header, data)) = ring.next() else {
            return Ok(false);
        };
        if header[0] != 16 {
            return Err(format!("header {header:?}"));
        }
        let word = |i: usize| u64::from_ne_bytes(data[i..i + 8].try_into().unwrap_or_default());
        let want = &mut next[word(0) as usize];
        if word(8) != *want {
            return Err(format!("producer {}: {} for {want}", word(0), word(8)));
        }
        *want += 1;
        Ok(true)
    };
    std::thread::scope(|s| {
        let workers: Vec<_> = programs
            .iter()
            .map(|p| {
                s.spawn(move || {
                    while Instant::now() < end {
                        run(p, 500)?;
                    }
                    Ok::<(), String>(())
                })
            })
            .collect();
        loop {
            let done = workers.iter().all(|w| w.is_finished());
            if !take(&mut next)? {
                if done {
                    break;
                }
                ring.poll(10);
            }
        }
        for w in workers {
            w.join().map_err(|_| "panic".to_string())??;
        }
        Ok::<(), String>(())
    })?;
    while take(&mut next)? {}
    for (i, n) in next.iter().enumerate() {
        let value = counts
            .lookup(&(i as u32).to_ne_bytes())
            .map_err(|e| format!("{e}"))?;
        let sent = u64::from_ne_bytes(value.try_into().unwrap_or_default());
        if sent != *n || sent == 0 {
            return Err(format!("producer {i}: {sent} sent, {n} came"));
        }
    }
    Ok(format!("{next:?}"))
}

/// `helper(map, stack - 8)`, returning its result plus 1000 times what it left on the stack.
fn on_stack(map: &Map, helper: i32, before: i32, flags: i32) -> Vec<Slot> {
    let mut i = vec![raw(0x7a, 10, 0, -8, before)];
    i.extend(ld_map(1, map));
    i.extend([mov_reg(2, 10), add(2, -8), mov(3, flags), call(helper)]);
    i.extend([raw(0x79, 1, 10, -8, 0), raw(0x27, 1, 0, 0, 1000)]);
    i.extend([raw(0x0f, 0, 1, 0, 0), exit()]);
    i
}

/// Push, pop and peek by programs, in between user space's.
fn queues(b: &Bpf, ty: MapType) -> Result<Vec<String>, String> {
    let map = b
        .map_create(&MapSpec::new(ty, 0, 8, 3))
        .map_err(|e| format!("{e}"))?;
    let mut out = Vec::new();
    let bloom = ty == MapType::BLOOM_FILTER;
    for step in 0..40i32 {
        let (helper, flags) = match step % 10 {
            0..=3 => (87, 0),
            4 => (87, 2),
            5 => (87, [1, 3, 4, -1][step as usize / 10]),
            6 | 7 => (89, 0),
            _ if bloom => (89, 0),
            _ => (88, 0),
        };
        // What the filter says of values that it has not is its own business.
        let value = if bloom { 7 } else { step + 1 };
        let p = load(b, &on_stack(&map, helper, value, flags))?;
        out.push(format!("{step}: {}", run(&p, 1)? as i32));
        if step % 7 == 0 && !bloom {
            out.push(format!("user: {:?} {:?}", map.lookup(&[]), map.take(&[])));
        }
    }
    Ok(out)
}

/// `map_lookup_percpu_elem` of each CPU, and of some that there are not.
fn percpu(b: &Bpf, ty: MapType) -> Result<Vec<String>, String> {
    let map = b
        .map_create(&MapSpec::new(ty, 4, 8, 4))
        .map_err(|e| format!("{e}"))?;
    let value: Vec<u8> = (0..map.value_bytes() / 8)
        .flat_map(|cpu| (cpu as u64 + 10).to_ne_bytes())
        .collect();
    map.update(&[1, 0, 0, 0], &value, 0)
        .map_err(|e| format!("{e}"))?;
    let mut out = Vec::new();
    for key in [1, 2, 100] {
        for cpu in [0, 1, 2, 1000, -1] {
            let mut i = vec![raw(0x62, 10, 0, -4, key), mov_reg(2, 10), add(2, -4)];
            i.extend(ld_map(1, &map));
            i.extend([mov(3, cpu), call(195)]);
            i.extend([raw(0x55, 0, 0, 2, 0), mov(0, -1), exit()]);
            i.extend([raw(0x79, 0, 0, 0, 0), exit()]);
            out.push(format!("{key} {cpu}: {}", run(&load(b, &i)?, 1)? as i32));
        }
    }
    Ok(out)
}

/// The suite.
pub fn suite(s: &mut Suite) {
    let both = Both::open();
    for (size, flags) in [(4096, 0), (65536, 0), (4096, OVERWRITE)] {
        s.test(
            &format!("records in {size} bytes, flags {flags:#x}"),
            || both.same(|b| records(b, size, flags))?.map(drop),
        );
    }
    s.test("from user space", || both.same(from_user_space)?.map(drop));
    s.test("wakeups", || both.same(wakeups)?.map(drop));
    s.test("a consumer that lies", || both.same(lies)?.map(drop));
    for producers in [1, 4] {
        s.test(&format!("{producers} producers and a consumer"), || {
            stress(&both.ours, producers, 4).map(drop)
        });
    }
    for (name, ty) in [
        ("queue", MapType::QUEUE),
        ("stack", MapType::STACK),
        ("Bloom filter", MapType::BLOOM_FILTER),
    ] {
        s.test(&format!("{name}: push, pop, peek by programs"), || {
            both.same(|b| queues(b, ty))?.map(drop)
        });
    }
    for (name, ty) in [
        ("percpu array", MapType::PERCPU_ARRAY),
        ("percpu hash", MapType::PERCPU_HASH),
        ("LRU percpu hash", MapType::LRU_PERCPU_HASH),
    ] {
        s.test(&format!("{name}: another CPU's value"), || {
            both.same(|b| percpu(b, ty))?.map(drop)
        });
    }
}
