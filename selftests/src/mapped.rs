// SPDX-License-Identifier: GPL-2.0

//! mmap(2) and poll(2) of map fds, against the kernel's own.

use crate::both::Both;
use crate::insn::{exit, mov};
use crate::ktap::Suite;
use oxbpf::attr::Attr;
use oxbpf::{cmd, Bpf, Errno, Map, MapSpec, MapType, ProgSpec, ProgType};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::ptr;

const PAGE: usize = 4096;
const MMAPABLE: u32 = 1 << 10;
const READ: i32 = libc::PROT_READ;
const WRITE: i32 = libc::PROT_READ | libc::PROT_WRITE;

/// A mapping; unmapped when dropped.
pub struct Mapping {
    pub base: *mut u8,
    len: usize,
}

impl Mapping {
    /// Maps `len` bytes from `off` on.
    pub fn new(fd: RawFd, len: usize, prot: i32, flags: i32, off: usize) -> Result<Mapping, Errno> {
        // SAFETY: a new mapping at an address of the kernel's choice.
        let base = unsafe { libc::mmap(ptr::null_mut(), len, prot, flags, fd, off as i64) };
        if base == libc::MAP_FAILED {
            return Err(Errno::last());
        }
        Ok(Mapping {
            base: base.cast(),
            len,
        })
    }

    fn protect(&self, prot: i32) -> Result<(), Errno> {
        // SAFETY: our own mapping.
        match unsafe { libc::mprotect(self.base.cast(), self.len, prot) } {
            0 => Ok(()),
            _ => Err(Errno::last()),
        }
    }

    pub fn byte(&self, i: usize) -> u8 {
        assert!(i < self.len);
        // SAFETY: within the mapping.
        unsafe { self.base.add(i).read_volatile() }
    }

    pub fn set(&self, i: usize, v: u8) {
        assert!(i < self.len);
        // SAFETY: within the mapping, which the tests made writable.
        unsafe { self.base.add(i).write_volatile(v) };
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `new`.
        unsafe { libc::munmap(self.base.cast(), self.len) };
    }
}

fn create(b: &Bpf, ty: MapType, key: u32, value: u32, n: u32, flags: u32) -> Result<Map, Errno> {
    b.map_create(&MapSpec {
        flags,
        ..MapSpec::new(ty, key, value, n)
    })
}

fn fd(map: &Map) -> RawFd {
    map.as_fd().as_raw_fd()
}

/// What mmap answers for lengths, offsets, protections and kinds.
fn answers(b: &Bpf, value: u32, n: u32, flags: u32) -> Vec<String> {
    let map = match create(b, MapType::ARRAY, 4, value, n, flags) {
        Ok(map) => map,
        Err(e) => return vec![format!("{e}")],
    };
    let mut out = Vec::new();
    for len in [1, PAGE, PAGE + 1, 2 * PAGE, 5 * PAGE] {
        for off in [0, PAGE, 2 * PAGE, 1 << 30, 1 << 43] {
            for prot in [libc::PROT_NONE, READ, WRITE, READ | libc::PROT_EXEC] {
                for kind in [libc::MAP_SHARED, libc::MAP_PRIVATE] {
                    let r = Mapping::new(fd(&map), len, prot, kind, off).map(drop);
                    out.push(format!("{len} at {off}, {prot} {kind}: {r:?}"));
                }
            }
        }
    }
    out
}

/// Types and flags: which can be mapped at all.
fn kinds(b: &Bpf) -> Vec<String> {
    let mut out = Vec::new();
    for (ty, key, value, n, flags) in [
        (MapType::HASH, 4, 8, 4, 0),
        (MapType::HASH, 4, 8, 4, MMAPABLE),
        (MapType::ARRAY, 4, 8, 4, 0),
        (MapType::PERCPU_ARRAY, 4, 8, 4, 0),
        (MapType::PERCPU_ARRAY, 4, 8, 4, MMAPABLE),
        (MapType::PROG_ARRAY, 4, 4, 4, 0),
        (MapType::PROG_ARRAY, 4, 4, 4, MMAPABLE),
        (MapType::LPM_TRIE, 8, 8, 4, 1),
        (MapType::QUEUE, 0, 8, 4, 0),
        (MapType::QUEUE, 0, 8, 4, MMAPABLE),
        (MapType::BLOOM_FILTER, 0, 8, 4, 0),
        (MapType::ARRAY, 4, 8, 4, MMAPABLE | (1 << 12)),
        (MapType::ARRAY, 4, 8, 4, 1 << 12),
        (MapType::ARRAY, 4, 8, 4, MMAPABLE | (1 << 11)),
    ] {
        for kind in [libc::MAP_SHARED, libc::MAP_PRIVATE] {
            let r = create(b, ty, key, value, n, flags)
                .and_then(|m| Mapping::new(fd(&m), PAGE, READ, kind, 0).map(drop));
            out.push(format!("{ty:?} {flags:#x} {kind}: {r:?}"));
        }
    }
    out
}

/// Reading and writing on both ways, and what is behind the values.
fn contents(b: &Bpf) -> Result<(), String> {
    let map = create(b, MapType::ARRAY, 4, 12, 300, MMAPABLE).map_err(|e| format!("{e}"))?;
    let all = Mapping::new(fd(&map), 2 * PAGE, WRITE, libc::MAP_SHARED, 0)
        .map_err(|e| format!("mmap: {e}"))?;
    if (0..2 * PAGE).any(|i| all.byte(i) != 0) {
        return Err("a new map is not zero".to_string());
    }
    for i in 0..300u32 {
        let value: Vec<u8> = (0..12).map(|j| (i + j) as u8).collect();
        map.update(&i.to_ne_bytes(), &value, 0)
            .map_err(|e| format!("{e}"))?;
        for (j, v) in value.iter().enumerate() {
            if all.byte(i as usize * 16 + j) != *v {
                return Err(format!("value {i}, byte {j}"));
            }
        }
        all.set(i as usize * 16, 0x77);
        let got = map.lookup(&i.to_ne_bytes()).map_err(|e| format!("{e}"))?;
        if got[0] != 0x77 || got[1..] != value[1..] {
            return Err(format!("value {i}: {got:02x?}"));
        }
    }
    // The mapping keeps the map.
    drop(map);
    (all.byte(16 * 299) == 0x77)
        .then_some(())
        .ok_or("gone with the fd".to_string())
}

fn freeze(b: &Bpf, map: &Map) -> Result<i32, Errno> {
    b.call(cmd::MAP_FREEZE, Attr::new(4).u32(0, fd(map) as u32).bytes())
}

/// Who may write, and when a map can be frozen.
fn freezing(b: &Bpf) -> Result<Vec<String>, Errno> {
    let mut out = Vec::new();
    let mut say = |what: &str, r: Result<(), Errno>| out.push(format!("{what}: {r:?}"));
    let map_it = |m: &Map, prot| Mapping::new(fd(m), PAGE, prot, libc::MAP_SHARED, 0);
    let array = |flags| create(b, MapType::ARRAY, 4, 8, 4, MMAPABLE | flags);

    let m = array(0)?;
    let w = map_it(&m, WRITE)?;
    say("writable, freeze", freeze(b, &m).map(drop));
    say("still writable", w.protect(WRITE));
    say("to read-only", w.protect(READ));
    // It may become writable again, so it counts.
    say("read-only again, freeze", freeze(b, &m).map(drop));
    say("and writable again", w.protect(WRITE));
    let second = map_it(&m, WRITE)?;
    drop(w);
    say("one of two unmapped, freeze", freeze(b, &m).map(drop));
    drop(second);
    let r = map_it(&m, READ)?;
    say("make it writable", r.protect(WRITE));
    say("make it executable", r.protect(READ | libc::PROT_EXEC));
    say("read-only, freeze", freeze(b, &m).map(drop));
    say("frozen, writable", map_it(&m, WRITE).map(drop));
    say("frozen, read-only", map_it(&m, READ).map(drop));
    say(
        "frozen, private",
        Mapping::new(fd(&m), PAGE, WRITE, libc::MAP_PRIVATE, 0).map(drop),
    );
    say("frozen, update", m.update(&[0; 4], &[1; 8], 0));

    let m = array(0)?;
    let w = Mapping::new(fd(&m), PAGE, WRITE, libc::MAP_SHARED, 0)?;
    // SAFETY: a child that does nothing but end.
    unsafe {
        let child = libc::fork();
        if child == 0 {
            libc::_exit(0);
        }
        libc::waitpid(child, ptr::null_mut(), 0);
    }
    say("after a child, freeze", freeze(b, &m).map(drop));
    drop(w);
    say("after a child, unmapped, freeze", freeze(b, &m).map(drop));

    let m = array(1 << 7)?;
    say("RDONLY_PROG, writable", map_it(&m, WRITE).map(drop));
    say("RDONLY_PROG, read-only", map_it(&m, READ).map(drop));
    say("RDONLY_PROG, freeze", freeze(b, &m).map(drop));
    say("RDONLY_PROG frozen, writable", map_it(&m, WRITE).map(drop));
    let m = array(1 << 8)?;
    say("WRONLY_PROG, writable", map_it(&m, WRITE).map(drop));
    let m = array(1 << 3)?;
    say("RDONLY, writable", map_it(&m, WRITE).map(drop));
    say("RDONLY, read-only", map_it(&m, READ).map(drop));
    let m = array(1 << 4)?;
    say("WRONLY, writable", map_it(&m, WRITE).map(drop));
    say("WRONLY, write-only", map_it(&m, libc::PROT_WRITE).map(drop));
    say("WRONLY, read-only", map_it(&m, READ).map(drop));
    // A part unmapped splits the rest in two.
    let m = create(b, MapType::ARRAY, 4, 4096, 8, MMAPABLE)?;
    let w = Mapping::new(fd(&m), 8 * PAGE, WRITE, libc::MAP_SHARED, 0)?;
    // SAFETY: a page of our own mapping that nobody uses.
    unsafe { libc::munmap(w.base.add(3 * PAGE).cast(), PAGE) };
    say("split, freeze", freeze(b, &m).map(drop));
    drop(w);
    say("both halves unmapped, freeze", freeze(b, &m).map(drop));
    Ok(out)
}

/// mremap must not make a mapping longer.
fn remap(b: &Bpf) -> Result<Vec<String>, Errno> {
    let m = create(b, MapType::ARRAY, 4, 4096, 2, MMAPABLE)?;
    let w = Mapping::new(fd(&m), PAGE, WRITE, libc::MAP_SHARED, 0)?;
    // SAFETY: our own mapping; the answer is an error or the same mapping.
    let longer = unsafe {
        libc::mremap(w.base.cast(), PAGE, 3 * PAGE, libc::MREMAP_MAYMOVE) == libc::MAP_FAILED
    };
    Ok(vec![format!("{longer} {:?}", Errno::last())])
}

/// poll(2) of fds where it makes no sense, and epoll.
fn polls(b: &Bpf) -> Result<Vec<String>, String> {
    let insns = [mov(0, 0), exit()];
    let prog = b
        .prog_load(&ProgSpec::new(ProgType::SOCKET_FILTER, &insns))
        .map_err(|e| e.to_string())?;
    let maps = [
        create(b, MapType::HASH, 4, 8, 4, 0),
        create(b, MapType::ARRAY, 4, 8, 4, MMAPABLE),
        create(b, MapType::QUEUE, 0, 8, 4, 0),
    ];
    let mut fds = vec![prog.as_fd().as_raw_fd()];
    for m in &maps {
        fds.push(fd(m.as_ref().map_err(|e| format!("{e}"))?));
    }
    let mut out = Vec::new();
    for fd in fds {
        let mut p = libc::pollfd {
            fd,
            events: libc::POLLIN | libc::POLLOUT,
            revents: 0,
        };
        // SAFETY: one structure, ours; and an epoll instance that is closed at once.
        unsafe {
            let n = libc::poll(&mut p, 1, 0);
            let e = libc::epoll_create1(0);
            let mut event = libc::epoll_event { events: 1, u64: 0 };
            let added = libc::epoll_ctl(e, libc::EPOLL_CTL_ADD, fd, &mut event);
            let error = if added < 0 { Some(Errno::last()) } else { None };
            libc::close(e);
            let mut byte = 0u8;
            let read = libc::read(fd, (&raw mut byte).cast(), 1);
            let read_error = if read < 0 { Some(Errno::last()) } else { None };
            let write = libc::write(fd, (&raw const byte).cast(), 1);
            let write_error = if write < 0 { Some(Errno::last()) } else { None };
            out.push(format!(
                "poll {n} {:#x}, epoll {error:?}, read {read_error:?}, write {write_error:?}",
                p.revents
            ));
        }
    }
    Ok(out)
}

/// The suite.
pub fn suite(s: &mut Suite) {
    let both = Both::open();
    for (value, n) in [(8, 1), (8, 512), (8, 513), (4096, 2), (20000, 1)] {
        s.test(&format!("mmap of {n} values of {value}"), || {
            both.same(|b| answers(b, value, n, MMAPABLE)).map(drop)
        });
    }
    s.test("mmap of an array that is not for it", || {
        both.same(|b| answers(b, 8, 1000, 0)).map(drop)
    });
    s.test("mmap of other maps", || both.same(kinds).map(drop));
    s.test("mmap: contents", || both.same(contents)?);
    s.test("mmap and freeze", || {
        both.same(freezing)?.map(drop).map_err(|e| e.to_string())
    });
    s.test("mremap", || {
        both.same(remap)?.map(drop).map_err(|e| e.to_string())
    });
    s.test("poll, read, write", || both.same(polls)?.map(drop));
}
