// SPDX-License-Identifier: GPL-2.0

//! Lifetime: nothing is leaked by malformed calls, and objects live as long as they are used.

use crate::both::Both;
use crate::insn::{add, call, exit, ld_map, mov, mov_reg, raw};
use crate::ktap::{volume, Suite};
use crate::objects::{open_fds, use_count};
use oxbpf::attr::{Attr, SIZE};
use oxbpf::{cmd, Bpf, Errno, MapSpec, MapType, ProgSpec, ProgType, TestRun};
use std::fs;
use std::os::fd::{AsFd, AsRawFd};

/// Malformed calls of the flood, at full volume.
const CALLS: u64 = 1_000_000;

/// Open files of the whole system, from /proc/sys/fs/file-nr.
fn open_files() -> i64 {
    let text = fs::read_to_string("/proc/sys/fs/file-nr").unwrap_or_default();
    text.split_whitespace()
        .next()
        .and_then(|n| n.parse().ok())
        .unwrap_or(0)
}

/// Malformed calls on real fds; each must fail, and no file may stay referenced.
fn flood(b: &Bpf) -> Result<(), String> {
    let (fds, files, count) = (open_fds(), open_files(), use_count());
    {
        let map = b.map_create(&MapSpec::new(MapType::HASH, 8, 8, 4)).unwrap();
        let insns = [mov(0, 0), exit()];
        let prog = b
            .prog_load(&ProgSpec::new(ProgType::SOCKET_FILTER, &insns))
            .unwrap();
        let fds = [
            map.as_fd().as_raw_fd() as u32,
            prog.as_fd().as_raw_fd() as u32,
        ];
        let commands = [
            cmd::MAP_CREATE,
            cmd::MAP_LOOKUP_ELEM,
            cmd::MAP_UPDATE_ELEM,
            cmd::MAP_DELETE_ELEM,
            cmd::MAP_GET_NEXT_KEY,
            cmd::PROG_LOAD,
            cmd::PROG_TEST_RUN,
            cmd::OBJ_GET_INFO_BY_FD,
            cmd::LINK_CREATE,
        ];
        let mut attr = Attr::new(SIZE);
        for i in 0..volume(CALLS) {
            let command = commands[i as usize % commands.len()];
            // the fd is right, for half of the calls, and everything behind it is not
            attr.u32(0, fds[(i / 9) as usize % 2]).u64(8, 1).u64(16, 1);
            if i % 3 == 0 {
                attr.put(SIZE - 1, &[1]);
            } else {
                attr.put(SIZE - 1, &[0]);
            }
            if let Ok(fd) = b.call(command, attr.bytes()) {
                return Err(format!("call {i}, command {command}, gave {fd}"));
            }
        }
    }
    // releases go through RCU and a work queue
    for _ in 0..1200 {
        if use_count() <= count && open_files() <= files + 64 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    if open_fds() != fds {
        return Err(format!("{fds} fds before, {} after", open_fds()));
    }
    if use_count() != count {
        return Err(format!(
            "module use count {count} before, {} after",
            use_count()
        ));
    }
    if open_files() > files + 256 {
        return Err(format!("{files} open files before, {} after", open_files()));
    }
    Ok(())
}

/// A program keeps its map when the map's fd is closed.
fn map_lives(b: &Bpf) -> Result<(), String> {
    let map = b
        .map_create(&MapSpec::new(MapType::ARRAY, 4, 8, 1))
        .unwrap();
    map.update(&[0; 4], &42u64.to_ne_bytes(), 0).unwrap();
    let mut insns = vec![raw(0x62, 10, 0, -4, 0), mov_reg(2, 10), add(2, -4)];
    insns.extend(ld_map(1, &map));
    insns.extend([
        call(1),
        raw(0x15, 0, 0, 1, 0),
        raw(0x79, 0, 0, 0, 0),
        exit(),
    ]);
    let prog = b
        .prog_load(&ProgSpec::new(ProgType::SOCKET_FILTER, &insns))
        .unwrap();
    drop(map);
    let run = TestRun {
        data_in: &[0; 64],
        ..TestRun::default()
    };
    for _ in 0..50 {
        match prog.test_run(&run) {
            Ok(r) if r.retval == 42 => {}
            other => return Err(format!("{other:?}")),
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    Ok(())
}

/// `delete_module` while an fd is open.
fn unload() -> Result<(), String> {
    // SAFETY: the name is NUL-terminated.
    let r = unsafe { libc::syscall(libc::SYS_delete_module, c"oxbpf".as_ptr(), libc::O_NONBLOCK) };
    let errno = Errno::last();
    match (r, errno.0) {
        (-1, libc::EWOULDBLOCK | libc::EBUSY) => Ok(()),
        _ => Err(format!("delete_module gave {r}, {errno}")),
    }
}

/// The suite.
pub fn suite(s: &mut Suite) {
    let both = Both::open();
    s.test("malformed calls leak nothing", || flood(&both.ours));
    s.test("a program keeps its map", || map_lives(&both.ours));
    s.test("rmmod is refused while the device is open", unload);
    s.test("rmmod is refused while a map is open", || {
        let map = both
            .ours
            .map_create(&MapSpec::new(MapType::ARRAY, 4, 8, 1))
            .unwrap();
        let r = unload();
        drop(map);
        r
    });
    s.test("fds name what they hold", || {
        both.same(|b| {
            let map = b
                .map_create(&MapSpec::new(MapType::ARRAY, 4, 8, 1))
                .unwrap();
            let insns = [mov(0, 0), exit()];
            let prog = b
                .prog_load(&ProgSpec::new(ProgType::SOCKET_FILTER, &insns))
                .unwrap();
            let name = |fd: i32| {
                fs::read_link(format!("/proc/self/fd/{fd}"))
                    .map(|p| p.to_string_lossy().into_owned())
                    .unwrap_or_default()
            };
            (
                name(map.as_fd().as_raw_fd()),
                name(prog.as_fd().as_raw_fd()),
            )
        })
        .map(|_| ())
    });
    s.test("fds close on exec", || {
        both.same(|b| {
            let map = b
                .map_create(&MapSpec::new(MapType::ARRAY, 4, 8, 1))
                .unwrap();
            // SAFETY: F_GETFD has no memory argument.
            unsafe { libc::fcntl(map.as_fd().as_raw_fd(), libc::F_GETFD) }
        })
        .map(|_| ())
    });
}
