// SPDX-License-Identifier: GPL-2.0

//! Who does what in the stress suite.

use super::{traffic, Arena};
use crate::insn::{add, call, exit, ld_map, mov, mov_reg, raw};
use crate::maps::Random;
use oxbpf::link::TRACE_KPROBE_MULTI;
use oxbpf::{Errno, Map, MapSpec, MapType, ProgSpec, ProgType, Slot, TestRun};
use std::fs;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

/// One thing to do again and again.
pub struct Role {
    /// For the report.
    pub name: &'static str,
    /// How many do it at once.
    pub threads: u32,
    /// Does it once; whether something came of it.
    pub turn: fn(&Arena, &mut Random) -> bool,
}

/// All of them.
pub const ALL: &[Role] = &[
    role("use of maps", 3, use_map),
    role("new maps, old ones closed", 1, new_map),
    role("iteration", 1, iterate),
    role("new programs", 1, new_prog),
    role("test runs", 2, test_run),
    role("probes attached and detached", 1, attach),
    role("probes hit", 1, open_files),
    role("calls ended by a signal", 1, kill_caller),
    role("calls ended by exec", 1, exec_caller),
    role("network namespaces gone", 1, namespace),
    role("veth pairs and their namespaces gone", 1, traffic::replace),
    role("tc filters replaced and deleted", 2, traffic::filters),
    role("packets through them", 1, traffic::send),
    role("unloading refused", 1, unload),
    role("CPUs off and on", 1, cpu),
];

const fn role(name: &'static str, threads: u32, turn: fn(&Arena, &mut Random) -> bool) -> Role {
    Role {
        name,
        threads,
        turn,
    }
}

/// Makes the machine what it was.
pub fn restore() {
    let _ = fs::write(CPU1, "1");
    traffic::restore();
}

fn spec(r: &mut Random) -> MapSpec {
    let types = [
        (MapType::ARRAY, 4, 0),
        (MapType::HASH, 8, 0),
        (MapType::HASH, 8, 1),
        (MapType::PERCPU_ARRAY, 4, 0),
        (MapType::PERCPU_HASH, 8, 0),
        (MapType::LRU_HASH, 8, 0),
        (MapType::LRU_PERCPU_HASH, 8, 0),
        (MapType::LPM_TRIE, 8, 1),
        (MapType::QUEUE, 0, 0),
        (MapType::STACK, 0, 0),
        (MapType::BLOOM_FILTER, 0, 0),
    ];
    let (ty, key, flags) = types[r.below(types.len() as u64) as usize];
    let value = [8, 24, 200][r.below(3) as usize];
    MapSpec {
        flags,
        ..MapSpec::new(ty, key, value, 1 + r.below(64) as u32)
    }
}

fn key(r: &mut Random, map: &Map) -> Vec<u8> {
    let size = map.info().map_or(0, |i| i.key_size as usize);
    let mut key = (r.below(96) as u32).to_ne_bytes().repeat(2);
    key.truncate(size);
    key
}

/// One command on a shared map, which others may close or fill meanwhile.
fn use_map(a: &Arena, r: &mut Random) -> bool {
    let Some(map) = a.map(r) else { return false };
    let key = key(r, &map);
    let value = vec![r.next() as u8; map.value_bytes()];
    let answer = match r.below(5) {
        0 => map.lookup(&key).map(|_| ()),
        1 => map.update(&key, &value, r.below(3)),
        2 => map.delete(&key),
        3 => map.take(&key).map(|_| ()),
        _ => map.next_key(None).map(|_| ()),
    };
    match answer {
        Ok(()) => return true,
        // absent, there already, full, of another type, busy, no memory, a prefix too long
        Err(Errno(
            libc::ENOENT
            | libc::EEXIST
            | libc::E2BIG
            | libc::EINVAL
            | libc::EOPNOTSUPP
            | 524
            | libc::EBUSY
            | libc::ENOMEM
            | libc::EAGAIN
            | libc::ENOSPC
            | libc::EPERM,
        )) => {}
        Err(e) => a.wrong(format!("use of a map: {e}")),
    }
    false
}

fn new_map(a: &Arena, r: &mut Random) -> bool {
    match a.bpf.map_create(&spec(r)) {
        Ok(map) => {
            a.put_map(r, Some(map));
            true
        }
        Err(Errno(libc::ENOMEM)) => false,
        Err(e) => {
            a.wrong(format!("MAP_CREATE: {e}"));
            false
        }
    }
}

/// From the first key to wherever it ends, while others change the map; it must end.
fn iterate(a: &Arena, r: &mut Random) -> bool {
    let Some(map) = a.map(r) else { return false };
    let Ok(mut key) = map.next_key(None) else {
        return false;
    };
    for _ in 0..10_000 {
        match map.next_key(Some(&key)) {
            Ok(next) => key = next,
            Err(_) => return true,
        }
    }
    // Restarts at deleted keys make it long, in-tree too: no error.
    true
}

/// Looks `map` up, and updates and deletes in it.
pub fn instructions(r: &mut Random, map: Option<&Map>) -> Vec<Slot> {
    let mut insns = Vec::new();
    let info = map.and_then(|m| m.info().ok());
    if let (Some(map), Some(info)) = (map, info) {
        let keyed = matches!(info.ty, 1 | 2 | 5 | 6 | 9 | 10 | 11);
        if keyed {
            let at = -8;
            insns.extend([
                raw(0x7a, 10, 0, at, r.below(64) as i32),
                mov_reg(2, 10),
                add(2, i32::from(at)),
            ]);
            insns.extend(ld_map(1, map));
            insns.extend([call(1), raw(0x15, 0, 0, 2, 0), mov(1, 1)]);
            // an atomic addition, if the value is there
            insns.push(raw(0xdb, 0, 1, 0, 0));
            if info.ty != 2 && info.ty != 6 {
                insns.extend([mov_reg(2, 10), add(2, i32::from(at))]);
                insns.extend(ld_map(1, map));
                insns.push(call(3));
            }
        }
    }
    for _ in 0..r.below(200) {
        insns.push(mov(3, r.next() as i32));
    }
    insns.extend([mov(0, 0), exit()]);
    insns
}

fn new_prog(a: &Arena, r: &mut Random) -> bool {
    let map = a.map(r);
    let insns = instructions(r, map.as_deref());
    let types = [
        ProgType::SOCKET_FILTER,
        ProgType::SCHED_CLS,
        ProgType::SCHED_ACT,
    ];
    let ty = types[r.below(3) as usize];
    match a.bpf.prog_load(&ProgSpec::new(ty, &insns)) {
        Ok(prog) => {
            a.put_prog(r, Some(prog));
            true
        }
        Err(e) if e.errno == Errno(libc::ENOMEM) => false,
        Err(e) => {
            a.wrong(format!("PROG_LOAD: {e}"));
            false
        }
    }
}

fn test_run(a: &Arena, r: &mut Random) -> bool {
    let Some(prog) = a.prog(r) else { return false };
    let run = TestRun {
        data_in: &[0; 64],
        data_out: Some(64),
        repeat: 1 + r.below(100) as u32,
        ..TestRun::default()
    };
    match prog.test_run(&run) {
        Ok(_) => true,
        Err(Errno(libc::ENOMEM | libc::EINTR)) => false,
        Err(e) => {
            a.wrong(format!("PROG_TEST_RUN: {e}"));
            false
        }
    }
}

/// Attaches to what this very suite makes the kernel call, lets it be hit, and detaches, in either
/// order of closing.
fn attach(a: &Arena, r: &mut Random) -> bool {
    let map = a.map(r);
    let insns = instructions(r, map.as_deref());
    let spec = ProgSpec {
        expected_attach_type: TRACE_KPROBE_MULTI,
        ..ProgSpec::new(ProgType::KPROBE, &insns)
    };
    let prog = match a.bpf.prog_load(&spec) {
        Ok(prog) => prog,
        Err(e) if e.errno == Errno(libc::ENOMEM) => return false,
        Err(e) => {
            a.wrong(format!("PROG_LOAD of a probe: {e}"));
            return false;
        }
    };
    let symbols = ["vfs_open", "do_sys_openat2", "kfree", "_raw_spin_lock"];
    let n = 1 + r.below(2) as usize;
    let at = r.below(3) as usize;
    let link = match prog.attach_kprobes(&symbols[at..(at + n).min(3)], r.below(2) as u32) {
        Ok(link) => link,
        Err(Errno(libc::ENOMEM)) => return false,
        Err(e) => {
            a.wrong(format!("LINK_CREATE on {:?}: {e}", &symbols[at..]));
            return false;
        }
    };
    if r.below(2) == 0 {
        drop(prog);
    }
    std::thread::sleep(Duration::from_millis(r.below(30)));
    drop(link);
    true
}

fn open_files(_: &Arena, _: &mut Random) -> bool {
    (0..50).all(|_| fs::File::open("/dev/null").is_ok())
}

/// Runs `f` in a child that `end` then ends; it is waited for.
fn in_child(f: impl Fn(), end: impl Fn(i32)) -> bool {
    // SAFETY: the child makes system calls only, and is ended by a signal, exec or _exit.
    unsafe {
        let pid = libc::fork();
        if pid == 0 {
            f();
            libc::_exit(0);
        }
        if pid < 0 {
            return false;
        }
        end(pid);
        let mut status = 0;
        libc::waitpid(pid, &mut status, 0) == pid
    }
}

/// A child is killed while it makes calls, some of them long.
fn kill_caller(a: &Arena, r: &mut Random) -> bool {
    let (prog, map) = (a.prog(r), a.map(r));
    let wait = r.below(20_000);
    in_child(
        || {
            // nothing of the parent's heap: another thread may have held its lock
            let mut load = oxbpf::attr::Attr::new(0);
            loop {
                if let Some(prog) = &prog {
                    run_long(a, prog.as_fd().as_raw_fd());
                }
                if let Some(map) = &map {
                    let _ = a.bpf.info(map.as_fd().as_raw_fd(), &mut [0; 104]);
                }
                let _ = a.bpf.call(5, load.bytes());
            }
        },
        |pid| {
            std::thread::sleep(Duration::from_micros(wait));
            // SAFETY: the child of this thread, not yet waited for.
            unsafe { libc::kill(pid, libc::SIGKILL) };
        },
    )
}

/// A test run of a million rounds, without memory of the heap.
fn run_long(a: &Arena, fd: i32) {
    let packet = [0u8; 64];
    let mut attr = [0u8; 80];
    attr[0..4].copy_from_slice(&fd.to_ne_bytes());
    attr[8..12].copy_from_slice(&64u32.to_ne_bytes());
    attr[16..24].copy_from_slice(&(packet.as_ptr() as u64).to_ne_bytes());
    attr[32..36].copy_from_slice(&1_000_000u32.to_ne_bytes());
    let _ = a.bpf.call(oxbpf::cmd::PROG_TEST_RUN, &mut attr);
}

extern "C" fn long_call(of: *mut libc::c_void) -> *mut libc::c_void {
    // SAFETY: `exec_caller` passes a pair that lives until the process is replaced.
    let (a, fd) = unsafe { *of.cast::<(&Arena, i32)>() };
    loop {
        run_long(a, fd);
    }
}

/// A child's main thread calls exec while another of its threads is in a call.
fn exec_caller(a: &Arena, r: &mut Random) -> bool {
    let Some(prog) = a.prog(r) else { return false };
    let wait = r.below(5_000) as u32;
    in_child(
        || {
            let mut pair = (a, prog.as_fd().as_raw_fd());
            let mut thread = 0;
            let argv = [c"true".as_ptr(), std::ptr::null()];
            // SAFETY: `pair` lives as long as this process; the arguments of exec end in NULL.
            unsafe {
                libc::pthread_create(
                    &mut thread,
                    std::ptr::null(),
                    long_call,
                    (&raw mut pair).cast(),
                );
                libc::usleep(wait);
                libc::execv(c"/bin/true".as_ptr(), argv.as_ptr());
            }
        },
        |_| {},
    )
}

/// A child in a network namespace of its own runs programs there and goes, and the namespace with it.
fn namespace(a: &Arena, r: &mut Random) -> bool {
    let Some(prog) = a.prog(r) else { return false };
    in_child(
        || {
            // SAFETY: no memory argument.
            if unsafe { libc::unshare(libc::CLONE_NEWNET) } == 0 {
                let packet = [0u8; 64];
                let mut attr = [0u8; 80];
                attr[0..4].copy_from_slice(&prog.as_fd().as_raw_fd().to_ne_bytes());
                attr[8..12].copy_from_slice(&64u32.to_ne_bytes());
                attr[16..24].copy_from_slice(&(packet.as_ptr() as u64).to_ne_bytes());
                let _ = a.bpf.call(oxbpf::cmd::PROG_TEST_RUN, &mut attr);
            }
        },
        |_| {},
    )
}

/// The module is in use: unloading must be refused.
fn unload(a: &Arena, r: &mut Random) -> bool {
    // SAFETY: the name is NUL-terminated.
    let done =
        unsafe { libc::syscall(libc::SYS_delete_module, c"oxbpf".as_ptr(), libc::O_NONBLOCK) };
    let errno = Errno::last();
    std::thread::sleep(Duration::from_millis(r.below(10)));
    match (done, errno.0) {
        (-1, libc::EWOULDBLOCK | libc::EBUSY) => true,
        _ => {
            a.wrong(format!("delete_module gave {done}, {errno}"));
            false
        }
    }
}

const CPU1: &str = "/sys/devices/system/cpu/cpu1/online";

/// Takes the second CPU away and brings it back.
fn cpu(a: &Arena, r: &mut Random) -> bool {
    if !fs::exists(CPU1).unwrap_or(false) {
        a.wrong("only one CPU, or none that goes off".to_string());
        return false;
    }
    let off = fs::write(CPU1, "0").is_ok();
    std::thread::sleep(Duration::from_millis(r.below(100)));
    let on = fs::write(CPU1, "1").is_ok();
    std::thread::sleep(Duration::from_millis(200 + r.below(500)));
    off && on
}
