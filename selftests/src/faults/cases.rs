// SPDX-License-Identifier: GPL-2.0

//! The commands with arguments that make them do all they can: allocate, copy, look up, release.

use crate::insn::{add, call, exit, ld_map, mov, mov_reg, raw};
use crate::pin::Mount;
use oxbpf::attr::{self, Attr, SIZE};
use oxbpf::link::TRACE_KPROBE_MULTI;
use oxbpf::{cmd, Bpf, Errno, Map, MapSpec, MapType, Prog, ProgSpec, ProgType, Slot};
use std::cell::RefCell;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::rc::Rc;

/// The kernel's own "not supported" (`<linux/errno.h>`).
const ENOTSUPP: i32 = 524;

type Prepare = Box<dyn FnMut(&mut Attr) -> Result<(), String>>;
type Check = Box<dyn Fn() -> Result<(), String>>;

/// One command, ready to be given again and again.
pub struct Case {
    /// For the table.
    pub name: String,
    /// The command; `None`: opening the device.
    pub command: Option<u32>,
    /// The implementation does it at all.
    pub supported: bool,
    template: Attr,
    attr: Attr,
    makes_fd: bool,
    /// How the command says that it has done all there was to do, if not by success.
    end: Option<Errno>,
    prepare: Prepare,
    check: Check,
}

impl Case {
    fn new(name: &str, command: u32, template: Attr) -> Case {
        Case {
            name: name.to_string(),
            command: Some(command),
            supported: true,
            attr: template.clone(),
            template,
            makes_fd: false,
            end: None,
            prepare: Box::new(|_| Ok(())),
            check: Box::new(|| Ok(())),
        }
    }

    fn fd(mut self) -> Case {
        self.makes_fd = true;
        self
    }

    fn before(mut self, f: impl FnMut(&mut Attr) -> Result<(), String> + 'static) -> Case {
        self.prepare = Box::new(f);
        self
    }

    fn after(mut self, f: impl Fn() -> Result<(), String> + 'static) -> Case {
        self.check = Box::new(f);
        self
    }

    /// Makes what the next call needs. Nothing that can fail may be left for the call itself.
    pub fn prepare(&mut self) -> Result<(), String> {
        self.attr = self.template.clone();
        (self.prepare)(&mut self.attr)
    }

    /// Gives the command: one system call, and no memory of this process.
    pub fn call(&mut self, b: &Bpf) -> Result<i32, Errno> {
        match self.command {
            Some(command) => match b.call(command, self.attr.bytes()) {
                Err(e) if Some(e) == self.end => Ok(0),
                answer => answer,
            },
            None => {
                // SAFETY: the path is NUL-terminated.
                let fd =
                    unsafe { libc::open(c"/dev/oxbpf".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC) };
                match fd {
                    0.. => Ok(fd),
                    _ => Err(Errno::last()),
                }
            }
        }
    }

    /// Closes what the call made.
    pub fn release(&self, answer: &Result<i32, Errno>) {
        if let (true, Ok(fd)) = (self.makes_fd, answer) {
            // SAFETY: the command made `fd` for us.
            unsafe { libc::close(*fd) };
        }
    }

    /// All of one call.
    pub fn once(&mut self, b: &Bpf) -> Result<(), String> {
        self.prepare()?;
        let answer = self.call(b);
        self.release(&answer);
        answer.map(|_| ()).map_err(|e| e.to_string())
    }

    /// One call with an attr that `change` has changed.
    pub fn changed(&mut self, b: &Bpf, change: impl FnOnce(&mut Attr)) -> Result<i32, Errno> {
        if let Err(e) = self.prepare() {
            panic!("{}: {e}", self.name);
        }
        change(&mut self.attr);
        let answer = self.call(b);
        self.release(&answer);
        // which fd it was is nobody's business
        answer.map(|n| if self.makes_fd { 0 } else { n })
    }

    /// The command and its attr, to be changed at random.
    pub fn seed(&self) -> Option<(u32, Attr)> {
        Some((self.command?, self.template.clone()))
    }

    /// The errno of one call, if it gives one.
    fn refusal(&mut self, b: &Bpf) -> Option<Errno> {
        self.prepare().ok()?;
        let answer = self.call(b);
        self.release(&answer);
        answer.err()
    }

    /// What must hold when all points have failed.
    pub fn check(&self) -> Result<(), String> {
        (self.check)()
    }
}

/// Memory that stays for the life of the process, for the kernel to read and write.
/// A copy that stays, and that ends (but for its alignment) where mapped memory does: who reads or
/// writes more of it than there is gets `EFAULT`, wherever the heap may lie.
fn kept<T: Copy>(of: &[T]) -> &'static mut [T] {
    const PAGE: usize = 4096;
    let size = std::mem::size_of_val(of).next_multiple_of(8);
    let whole = size.next_multiple_of(PAGE);
    // SAFETY: new memory, at no certain place.
    let start = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            whole + PAGE,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    assert_ne!(start, libc::MAP_FAILED, "no memory");
    // SAFETY: the last page of it, and then as much as `size` in front of that; it is written here
    // before anyone has it, and stays mapped. What is needed is a multiple of eight bytes.
    unsafe {
        libc::mprotect(start.byte_add(whole), PAGE, libc::PROT_NONE);
        let to = start.byte_add(whole - size).cast::<T>();
        to.copy_from_nonoverlapping(of.as_ptr(), of.len());
        std::slice::from_raw_parts_mut(to, of.len())
    }
}

fn address<T>(of: &[T]) -> u64 {
    of.as_ptr() as u64
}

/// A map of each type that is there, with what it can be made of.
fn specs() -> Vec<(&'static str, MapSpec)> {
    let spec = |ty, key, value, flags| MapSpec {
        flags,
        name: "faults".to_string(),
        ..MapSpec::new(ty, key, value, 8)
    };
    vec![
        ("array", spec(MapType::ARRAY, 4, 24, 0)),
        ("hash", spec(MapType::HASH, 8, 24, 0)),
        ("hash, not preallocated", spec(MapType::HASH, 8, 24, 1)),
        ("percpu array", spec(MapType::PERCPU_ARRAY, 4, 24, 0)),
        ("percpu hash", spec(MapType::PERCPU_HASH, 8, 24, 0)),
        (
            "percpu hash, not preallocated",
            spec(MapType::PERCPU_HASH, 8, 24, 1),
        ),
        ("LRU hash", spec(MapType::LRU_HASH, 8, 24, 0)),
        ("LRU percpu hash", spec(MapType::LRU_PERCPU_HASH, 8, 24, 0)),
        ("LPM trie", spec(MapType::LPM_TRIE, 8, 24, 1)),
        ("queue", spec(MapType::QUEUE, 0, 24, 0)),
        ("stack", spec(MapType::STACK, 0, 24, 0)),
        ("bloom filter", spec(MapType::BLOOM_FILTER, 0, 24, 0)),
        ("program array", spec(MapType::PROG_ARRAY, 4, 4, 0)),
        ("ring buffer", MapSpec::new(MapType::RINGBUF, 0, 0, 4096)),
        ("array of maps", spec(MapType(12), 4, 4, 0)),
        ("hash of maps", spec(MapType(13), 4, 4, 0)),
    ]
}

fn create_attr(s: &MapSpec, inner: &Map) -> Attr {
    let mut a = Attr::new(SIZE);
    a.u32(0, s.ty.0).u32(4, s.key_size).u32(8, s.value_size);
    a.u32(12, s.max_entries).u32(16, s.flags);
    if matches!(s.ty.0, 12 | 13) {
        a.u32(20, fd_of(inner));
    }
    a.put(28, &attr::name(&s.name));
    a
}

fn fd_of(of: &impl AsFd) -> u32 {
    of.as_fd().as_raw_fd() as u32
}

fn key(i: u32, s: &MapSpec) -> Vec<u8> {
    let mut key = i.to_ne_bytes().repeat(4);
    if s.ty == MapType::LPM_TRIE {
        key[..4].copy_from_slice(&32u32.to_ne_bytes());
    }
    key.truncate(s.key_size as usize);
    key
}

/// After all the failures the map takes as many elements as it was made for.
fn full(map: &Map, s: &MapSpec) -> Result<(), String> {
    let value = vec![0x5a; map.value_bytes()];
    if s.key_size == 0 {
        while map.take(&[]).is_ok() {}
    }
    for i in 0..s.max_entries {
        map.update(&key(i, s), &value, 0)
            .map_err(|e| format!("element {i} of {} is lost: {e}", s.max_entries))?;
    }
    Ok(())
}

/// Commands on elements, of each type of map.
fn elements(b: &Bpf, to: &mut Vec<Case>) {
    for (name, s) in specs() {
        let keyless = s.key_size == 0;
        // What holds fds, and what only programs write to, have no such values.
        if s.value_size != 24 {
            continue;
        }
        let Ok(map) = b.map_create(&s) else { continue };
        let map = Rc::new(map);
        let k: &'static [u8] = kept(&key(3, &s));
        let value: &'static mut [u8] = kept(&vec![7u8; map.value_bytes()]);
        let next: &'static mut [u8] = kept(&[0u8; 16]);
        let v = address(value);
        let elem = |value: u64| {
            let mut a = Attr::new(32);
            a.u32(0, fd_of(&*map))
                .u64(8, if keyless { 0 } else { address(k) })
                .u64(16, value);
            a
        };
        let bloom = s.ty == MapType::BLOOM_FILTER;
        let put = {
            let map = map.clone();
            move |_: &mut Attr| {
                while keyless && !bloom && map.take(&[]).is_ok() {}
                let r = map.update(k, &vec![7; map.value_bytes()], 0);
                r.map_err(|e| format!("cannot put the element: {e}"))
            }
        };
        let array = matches!(s.ty, MapType::ARRAY | MapType::PERCPU_ARRAY);
        let checked = {
            let (map, s) = (map.clone(), s.clone());
            move || if bloom { Ok(()) } else { full(&map, &s) }
        };
        to.push(
            Case::new(
                &format!("MAP_LOOKUP_ELEM {name}"),
                cmd::MAP_LOOKUP_ELEM,
                elem(v),
            )
            .before(put.clone())
            .after(checked.clone()),
        );
        let gone = map.clone();
        to.push(
            Case::new(
                &format!("MAP_UPDATE_ELEM {name}"),
                cmd::MAP_UPDATE_ELEM,
                elem(v),
            )
            .before(move |_| {
                if keyless && !bloom {
                    while gone.take(&[]).is_ok() {}
                } else if !bloom && !array {
                    let _ = gone.delete(k);
                }
                Ok(())
            })
            .after(checked.clone()),
        );
        if bloom {
            continue;
        }
        if !keyless {
            to.push(
                Case::new(
                    &format!("MAP_GET_NEXT_KEY {name}"),
                    cmd::MAP_GET_NEXT_KEY,
                    elem(address(next)),
                )
                .before(move |a| {
                    a.u64(8, 0);
                    Ok(())
                })
                .after(checked.clone()),
            );
        }
        if array {
            continue;
        }
        if !keyless {
            let mut a = elem(0);
            a = Attr::new(16).put(0, &a.bytes()[..16]).clone();
            to.push(
                Case::new(&format!("MAP_DELETE_ELEM {name}"), cmd::MAP_DELETE_ELEM, a)
                    .before(put.clone())
                    .after(checked.clone()),
            );
        }
        if map.update(k, &vec![7; map.value_bytes()], 0).is_ok() && map.take(k).is_ok() {
            to.push(
                Case::new(
                    &format!("MAP_LOOKUP_AND_DELETE_ELEM {name}"),
                    cmd::MAP_LOOKUP_AND_DELETE_ELEM,
                    elem(v),
                )
                .before(put.clone())
                .after(checked.clone()),
            );
        }
        batches(name, &s, &map, to);
    }
}

/// Commands on many elements at once, where the type has them.
fn batches(name: &str, s: &MapSpec, map: &Rc<Map>, to: &mut Vec<Case>) {
    let n = 4u32;
    let keys: Vec<u8> = (0..n).flat_map(|i| key(i, s)).collect();
    let keys: &'static mut [u8] = kept(&keys);
    let values: &'static mut [u8] = kept(&vec![9u8; map.value_bytes() * 64]);
    let out: &'static mut [u8] = kept(&[0u8; 64]);
    // What a lookup writes must not be the keys that an update reads.
    let keys_out: &'static mut [u8] = kept(&vec![0u8; 16 * 64]);
    let batch = |keys: u64, count: u32| {
        let mut a = Attr::new(56);
        a.u64(8, address(out))
            .u64(16, keys)
            .u64(24, address(values));
        a.u32(32, count).u32(36, fd_of(&**map));
        a
    };
    for (what, number, reads) in [
        ("MAP_LOOKUP_BATCH", 24, true),
        ("MAP_LOOKUP_AND_DELETE_BATCH", 25, true),
        ("MAP_UPDATE_BATCH", 26, false),
        ("MAP_DELETE_BATCH", 27, false),
    ] {
        let a = match reads {
            true => batch(address(keys_out), 64),
            false => {
                let mut a = batch(address(keys), n);
                a.u64(8, 0);
                if number == 27 {
                    a.u64(24, 0);
                }
                a
            }
        };
        let (map, spec) = (map.clone(), s.clone());
        let fill = move |_: &mut Attr| {
            // What has no keys grows with each element.
            while spec.key_size == 0 && map.take(&[]).is_ok() {}
            for i in 0..n {
                let value = vec![9; map.value_bytes()];
                map.update(&key(i, &spec), &value, 0)
                    .map_err(|e| e.to_string())?;
            }
            Ok(())
        };
        let mut case = Case::new(&format!("{what} {name}"), number, a).before(fill);
        case.end = Some(Errno(libc::ENOENT));
        to.push(case);
    }
}

/// A program that has everything a load handles: a map, a branch, a loop, a call, a helper.
fn program(map: &Map) -> Vec<Slot> {
    let mut insns = vec![raw(0x7a, 10, 0, -8, 0), mov_reg(2, 10), add(2, -8)];
    insns.extend(ld_map(1, map));
    insns.extend([
        call(1),               // map_lookup_elem
        raw(0x15, 0, 0, 3, 0), // if r0 == 0 goto the loop
        raw(0x79, 1, 0, 0, 0), // r1 = *(u64 *)r0
        raw(0x57, 1, 0, 0, 7), // r1 &= 7
        raw(0x7b, 0, 1, 0, 0), // *(u64 *)r0 = r1
        mov(6, 4),             // the loop
        mov_reg(1, 6),
        raw(0x85, 0, 1, 0, 3), // call the function
        add(6, -1),
        raw(0x55, 6, 0, -4, 0), // if r6 != 0 goto the loop's start
        exit(),
        mov_reg(0, 1), // the function
        add(0, 2),
        exit(),
    ]);
    insns
}

/// Loads, runs, links, and what asks about them.
fn programs(b: &Bpf, to: &mut Vec<Case>) -> Option<()> {
    let hash = MapSpec::new(MapType::HASH, 8, 8, 8);
    let map = Rc::new(b.map_create(&hash).ok()?);
    let insns: &'static mut [Slot] = kept(&program(&map));
    let license: &'static mut [u8] = kept(b"GPL\0");
    let log: &'static mut [u8] = kept(&vec![0u8; 1 << 16]);
    let load = |ty: ProgType, level: u32| {
        let mut a = Attr::new(SIZE);
        a.u32(0, ty.0).u32(4, insns.len() as u32);
        a.ptr(8, insns).ptr(16, license);
        if level != 0 {
            a.u32(24, level).u32(28, log.len() as u32).ptr(32, log);
        }
        a.put(48, &attr::name("faults"));
        a
    };
    let held = map.clone();
    to.push(
        Case::new(
            "PROG_LOAD socket filter",
            cmd::PROG_LOAD,
            load(ProgType::SOCKET_FILTER, 0),
        )
        .fd()
        // keeps the map as long as the case
        .before(move |_| held.info().map(|_| ()).map_err(|e| e.to_string())),
    );
    for (name, ty) in [("kprobe", ProgType::KPROBE), ("XDP", ProgType::XDP)] {
        let a = load(ty, 0);
        to.push(Case::new(&format!("PROG_LOAD {name}"), cmd::PROG_LOAD, a).fd());
    }
    let a = load(ProgType::SCHED_CLS, 2);
    to.push(Case::new("PROG_LOAD with its log", cmd::PROG_LOAD, a).fd());

    let prog = |ty| b.prog_load(&ProgSpec::new(ty, insns)).ok();
    let packet: &'static mut [u8] = kept(&[0u8; 128]);
    let packet_out: &'static mut [u8] = kept(&[0u8; 256]);
    let run = |p: &Prog| {
        let mut a = Attr::new(80);
        a.u32(0, fd_of(p))
            .u32(8, packet.len() as u32)
            .u32(12, packet_out.len() as u32);
        a.ptr(16, packet).ptr(24, packet_out).u32(32, 2);
        a
    };
    let filter = Rc::new(prog(ProgType::SOCKET_FILTER)?);
    for (name, ty) in [
        ("socket filter", ProgType::SOCKET_FILTER),
        ("classifier", ProgType::SCHED_CLS),
        ("XDP", ProgType::XDP),
    ] {
        let Some(p) = prog(ty) else { continue };
        let a = run(&p);
        let case = Case::new(&format!("PROG_TEST_RUN {name}"), cmd::PROG_TEST_RUN, a);
        to.push(case.before(move |_| p.info().map(|_| ()).map_err(|e| e.to_string())));
    }
    // a program that allocates
    let loose = MapSpec {
        flags: 1,
        ..MapSpec::new(MapType::HASH, 8, 8, 8)
    };
    if let Ok(loose) = b.map_create(&loose) {
        let mut insns = vec![raw(0x7a, 10, 0, -8, 5), mov_reg(2, 10), add(2, -8)];
        insns.extend([
            raw(0x7a, 10, 0, -16, 5),
            mov_reg(3, 10),
            add(3, -16),
            mov(4, 0),
        ]);
        insns.extend(ld_map(1, &loose));
        insns.extend([call(2), mov(0, 0), exit()]);
        if let Ok(p) = b.prog_load(&ProgSpec::new(ProgType::SOCKET_FILTER, &insns)) {
            let a = run(&p);
            let case = Case::new("PROG_TEST_RUN that updates a hash", cmd::PROG_TEST_RUN, a);
            to.push(case.before(move |_| {
                let _ = loose.delete(&5u64.to_ne_bytes());
                p.info().map(|_| ()).map_err(|e| e.to_string())
            }));
        }
    }
    let info: &'static mut [u8] = kept(&[0u8; 256]);
    let details: &'static mut [u8] = kept(&[0u8; 8192]);
    let at = info.as_mut_ptr();
    let ask = |fd: u32, len: u32| {
        let mut a = Attr::new(16);
        a.u32(0, fd).u32(4, len).u64(8, at as u64);
        a
    };
    let of = filter.clone();
    let room = details.as_mut_ptr() as u64;
    to.push(
        Case::new(
            "OBJ_GET_INFO_BY_FD program",
            cmd::OBJ_GET_INFO_BY_FD,
            ask(fd_of(&*filter), 232),
        )
        .before(move |_| {
            let mut wanted = Attr::new(256);
            wanted
                .u32(16, 4096)
                .u32(20, 2048)
                .u64(24, room)
                .u64(32, room + 4096);
            wanted.u32(52, 8).u64(56, room + 8000);
            // SAFETY: `at` has 256 bytes, and nothing else refers to them now.
            unsafe { std::ptr::copy_nonoverlapping(wanted.bytes().as_ptr(), at, 256) };
            of.bpf();
            Ok(())
        }),
    );
    let of = map.clone();
    to.push(
        Case::new(
            "OBJ_GET_INFO_BY_FD map",
            cmd::OBJ_GET_INFO_BY_FD,
            ask(fd_of(&*map), 80),
        )
        .before(move |_| of.info().map(|_| ()).map_err(|e| e.to_string())),
    );
    links(b, to);
    ids(b, &map, &filter, to);
    let mut a = Attr::new(12);
    a.u32(0, fd_of(&*filter)).u32(4, fd_of(&*map));
    to.push(Case::new("PROG_BIND_MAP", 35, a));
    Some(())
}

/// A kprobe link, and the commands on links.
fn links(b: &Bpf, to: &mut Vec<Case>) -> Option<()> {
    let insns = [mov(0, 0), exit()];
    let spec = ProgSpec {
        expected_attach_type: TRACE_KPROBE_MULTI,
        ..ProgSpec::new(ProgType::KPROBE, &insns)
    };
    let prog = Rc::new(b.prog_load(&spec).ok()?);
    let names: &'static mut [u8] = kept(b"vfs_open\0vfs_statx\0");
    let symbols: &'static mut [u64] = kept(&[address(names), address(&names[9..])]);
    let cookies: &'static mut [u64] = kept(&[1, 2]);
    for (name, flags, cookies) in [
        ("kprobes", 0, 0),
        ("kretprobes", 1, 0),
        ("kprobes with cookies", 0, address(cookies)),
    ] {
        let mut a = Attr::new(SIZE);
        a.u32(0, fd_of(&*prog)).u32(8, TRACE_KPROBE_MULTI);
        a.u32(16, flags)
            .u32(20, 2)
            .ptr(24, symbols)
            .u64(40, cookies);
        let held = prog.clone();
        to.push(
            Case::new(&format!("LINK_CREATE {name}"), cmd::LINK_CREATE, a)
                .fd()
                .before(move |_| held.info().map(|_| ()).map_err(|e| e.to_string())),
        );
    }
    let spec = ProgSpec::new(ProgType::RAW_TRACEPOINT, &insns);
    let traced = Rc::new(b.prog_load(&spec).ok()?);
    let name: &'static mut [u8] = kept(b"sys_enter\0");
    let mut a = Attr::new(24);
    a.u64(0, address(name)).u32(8, fd_of(&*traced));
    to.push(
        Case::new("RAW_TRACEPOINT_OPEN", cmd::RAW_TRACEPOINT_OPEN, a)
            .fd()
            .before(move |_| traced.info().map(|_| ()).map_err(|e| e.to_string())),
    );
    let link = Rc::new(prog.attach_kprobes(&["vfs_open", "vfs_statx"], 0).ok()?);
    let info: &'static mut [u8] = kept(&[0u8; 128]);
    let mut a = Attr::new(16);
    a.u32(0, fd_of(&*link)).u32(4, 64).ptr(8, info);
    let (held, zeroed) = (link.clone(), info.as_mut_ptr());
    to.push(
        Case::new("OBJ_GET_INFO_BY_FD link", cmd::OBJ_GET_INFO_BY_FD, a).before(move |_| {
            held.as_fd();
            // SAFETY: `zeroed` has 128 bytes, and nothing else refers to them now.
            unsafe { zeroed.write_bytes(0, 128) };
            Ok(())
        }),
    );
    let mut a = Attr::new(16);
    b.call(cmd::LINK_GET_NEXT_ID, a.bytes()).ok()?;
    let id = a.get_u32(4);
    let held = link.clone();
    let mut a = Attr::new(4);
    a.u32(0, id);
    to.push(
        Case::new("LINK_GET_FD_BY_ID", cmd::LINK_GET_FD_BY_ID, a)
            .fd()
            .before(move |_| {
                held.as_fd();
                Ok(())
            }),
    );
    let mut a = Attr::new(16);
    a.u32(0, fd_of(&*link)).u32(4, fd_of(&*prog));
    to.push(Case::new("LINK_UPDATE", 29, a));
    let mut a = Attr::new(4);
    a.u32(0, fd_of(&*link));
    to.push(Case::new("LINK_DETACH", 34, a));
    to.push(Case::new(
        "LINK_GET_NEXT_ID",
        cmd::LINK_GET_NEXT_ID,
        Attr::new(8),
    ));
    Some(())
}

/// Ids and what they lead to.
fn ids(b: &Bpf, map: &Rc<Map>, prog: &Rc<Prog>, to: &mut Vec<Case>) {
    to.push(Case::new(
        "MAP_GET_NEXT_ID",
        cmd::MAP_GET_NEXT_ID,
        Attr::new(8),
    ));
    to.push(Case::new(
        "PROG_GET_NEXT_ID",
        cmd::PROG_GET_NEXT_ID,
        Attr::new(8),
    ));
    if let Ok(info) = map.info() {
        let mut a = Attr::new(12);
        a.u32(0, info.id);
        to.push(Case::new("MAP_GET_FD_BY_ID", cmd::MAP_GET_FD_BY_ID, a).fd());
    }
    if let Ok(info) = prog.info() {
        let mut a = Attr::new(4);
        a.u32(0, info.id);
        to.push(Case::new("PROG_GET_FD_BY_ID", cmd::PROG_GET_FD_BY_ID, a).fd());
    }
    let frozen: Rc<RefCell<Option<Map>>> = Rc::default();
    let bpf = b.clone();
    to.push(
        Case::new("MAP_FREEZE", cmd::MAP_FREEZE, Attr::new(4)).before(move |a| {
            let spec = MapSpec::new(MapType::ARRAY, 4, 8, 1);
            let map = bpf.map_create(&spec).map_err(|e| e.to_string())?;
            a.u32(0, fd_of(&map));
            frozen.replace(Some(map));
            Ok(())
        }),
    );
}

/// A type section with one integer, and its number.
fn btf(b: &Bpf, to: &mut Vec<Case>) -> Option<()> {
    let mut blob = Vec::new();
    blob.extend(0xeb9fu16.to_ne_bytes());
    blob.extend([1, 0]); // version, flags
    for word in [24u32, 0, 16, 16, 5] {
        blob.extend(word.to_ne_bytes());
    }
    // name, kind INT, four bytes, signed with 32 bits
    for word in [1u32, 1 << 24, 4, (1 << 24) | 32] {
        blob.extend(word.to_ne_bytes());
    }
    blob.extend(b"\0int\0");
    let blob: &'static mut [u8] = kept(&blob);
    let mut a = Attr::new(28);
    a.ptr(0, blob).u32(16, blob.len() as u32);
    let fd = b.call(cmd::BTF_LOAD, a.bytes()).ok()?;
    // SAFETY: the command made it for us.
    let one = unsafe { OwnedFd::from_raw_fd(fd) };
    to.push(Case::new("BTF_LOAD", cmd::BTF_LOAD, a).fd());
    to.push(Case::new(
        "BTF_GET_NEXT_ID",
        cmd::BTF_GET_NEXT_ID,
        Attr::new(8),
    ));
    let mut next = Attr::new(16);
    b.call(cmd::BTF_GET_NEXT_ID, next.bytes()).ok()?;
    let mut a = Attr::new(4);
    a.u32(0, next.get_u32(4));
    let open = Case::new("BTF_GET_FD_BY_ID", cmd::BTF_GET_FD_BY_ID, a).fd();
    to.push(open.before(move |_| {
        // What the number leads to is there for as long as this case.
        let _kept = &one;
        Ok(())
    }));
    Some(())
}

/// Pinning, on a filesystem that goes with the cases.
fn pins(b: &Bpf, map: &Rc<Map>, to: &mut Vec<Case>) -> Option<()> {
    let mount = Rc::new(Mount::new(b).ok()?);
    let path = |name: &str| -> &'static [u8] {
        let mut bytes = mount.at(name).into_os_string().into_encoded_bytes();
        bytes.push(0);
        kept(&bytes)
    };
    let mut a = Attr::new(20);
    a.ptr(0, path("new")).u32(8, fd_of(&**map));
    let (held, mounted) = (map.clone(), mount.clone());
    to.push(Case::new("OBJ_PIN", cmd::OBJ_PIN, a).before(move |_| {
        let _ = std::fs::remove_file(mounted.at("new"));
        held.info().map(|_| ()).map_err(|e| e.to_string())
    }));
    let mut a = Attr::new(20);
    a.ptr(0, path("old")).u32(8, fd_of(&**map));
    b.call(cmd::OBJ_PIN, a.bytes()).ok()?;
    a.u32(8, 0);
    to.push(Case::new("OBJ_GET", cmd::OBJ_GET, a).fd().before(move |_| {
        match mount.at("old").exists() {
            true => Ok(()),
            false => Err("the pin is gone".to_string()),
        }
    }));
    Some(())
}

/// All of them. What a command does not know yet answers `EINVAL` before it does anything, and has no
/// case; that each command of the module has one is a test.
pub fn all(b: &Bpf) -> Vec<Case> {
    let mut open = Case::new("open /dev/oxbpf", 0, Attr::new(0)).fd();
    open.command = None;
    let mut all = vec![open];
    let Ok(inner) = b.map_create(&MapSpec::new(MapType::ARRAY, 4, 8, 1)) else {
        return all;
    };
    let inner = Rc::new(inner);
    for (name, s) in specs() {
        let held = inner.clone();
        let mut case = Case::new(
            &format!("MAP_CREATE {name}"),
            cmd::MAP_CREATE,
            create_attr(&s, &inner),
        )
        .fd()
        .before(move |_| held.info().map(|_| ()).map_err(|e| e.to_string()));
        if case.once(b).is_ok() {
            all.push(case);
        }
    }
    elements(b, &mut all);
    if programs(b, &mut all).is_none() {
        println!("# no cases of programs: their maps or the programs themselves cannot be made");
    }
    btf(b, &mut all);
    let _ = pins(b, &inner, &mut all);
    all.push(Case::new("ENABLE_STATS", cmd::ENABLE_STATS, Attr::new(4)).fd());
    let known: Vec<u32> = crate::table::rows().iter().map(|row| row.number).collect();
    all.retain(|case| case.command.is_none_or(|c| known.contains(&c)));
    // What is not supported says so; any other refusal is a failure where the case is used.
    for case in &mut all {
        case.supported = !matches!(
            case.refusal(b),
            Some(Errno(libc::EINVAL | libc::EOPNOTSUPP | ENOTSUPP))
        );
    }
    all
}

/// Whether maps of a type can be made.
pub fn has_type(b: &Bpf, ty: MapType) -> bool {
    let inner = b.map_create(&MapSpec::new(MapType::ARRAY, 4, 8, 1));
    let spec = specs().into_iter().find(|(_, s)| s.ty == ty);
    match (inner, spec) {
        (Ok(inner), Some((_, s))) => {
            let mut a = create_attr(&s, &inner);
            let made = b.call(cmd::MAP_CREATE, a.bytes());
            if let Ok(fd) = made {
                // SAFETY: the command made `fd` for us.
                unsafe { libc::close(fd) };
            }
            made.is_ok()
        }
        _ => false,
    }
}
