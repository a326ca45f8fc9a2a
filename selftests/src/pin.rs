// SPDX-License-Identifier: GPL-2.0

//! OBJ_PIN and OBJ_GET: a filesystem of the type "oxbpf" beside one of the type "bpf".

use crate::both::Both;
use crate::insn::{exit, mov};
use crate::ktap::Suite;
use oxbpf::attr::Attr;
use oxbpf::{cmd, Bpf, Errno, Link, Map, MapSpec, MapType, Prog, ProgSpec, ProgType};
use std::ffi::CString;
use std::fs;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::ptr;

/// A mounted filesystem of the kind that the implementation pins to.
pub struct Mount(PathBuf);

impl Mount {
    /// Mounts one, below /tmp.
    pub fn new(b: &Bpf) -> Result<Mount, String> {
        let kind = if b.name() == "oxbpf" { "oxbpf" } else { "bpf" };
        let dir = PathBuf::from(format!("/tmp/pin-{kind}-{}", std::process::id()));
        fs::create_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
        let path = CString::new(dir.to_str().unwrap()).unwrap();
        let kind = CString::new(kind).unwrap();
        // SAFETY: strings that end with a NUL.
        let r = unsafe { libc::mount(kind.as_ptr(), path.as_ptr(), kind.as_ptr(), 0, ptr::null()) };
        match r {
            0 => Ok(Mount(dir)),
            _ => Err(format!("mount: {}", Errno::last())),
        }
    }

    /// The path of `name` there.
    pub fn at(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn unmount(&self) -> Result<(), Errno> {
        let path = CString::new(self.0.to_str().unwrap()).unwrap();
        // SAFETY: a string that ends with a NUL.
        match unsafe { libc::umount(path.as_ptr()) } {
            0 => Ok(()),
            _ => Err(Errno::last()),
        }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = self.unmount();
        let _ = fs::remove_dir(&self.0);
    }
}

fn pin(b: &Bpf, fd: i32, path: &Path) -> Result<i32, Errno> {
    let path = CString::new(path.to_str().unwrap()).unwrap();
    let mut a = Attr::new(168);
    a.u64(0, path.as_ptr() as u64).u32(8, fd as u32);
    b.call(cmd::OBJ_PIN, a.bytes())
}

fn get(b: &Bpf, path: &Path, flags: u32) -> Result<OwnedFd, Errno> {
    let path = CString::new(path.to_str().unwrap()).unwrap();
    let mut a = Attr::new(168);
    a.u64(0, path.as_ptr() as u64).u32(12, flags);
    let fd = b.call(cmd::OBJ_GET, a.bytes())?;
    // SAFETY: the command made `fd` for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn id(b: &Bpf, fd: i32) -> Result<u32, Errno> {
    let mut info = [0; 64];
    b.info(fd, &mut info)?;
    Ok(oxbpf::attr::get_u32(&info, 4))
}

struct Objects {
    map: Map,
    prog: Prog,
    link: Link,
}

fn objects(b: &Bpf) -> Result<Objects, String> {
    let insns = [mov(0, 0), exit()];
    let spec = ProgSpec {
        expected_attach_type: oxbpf::link::TRACE_KPROBE_MULTI,
        ..ProgSpec::new(ProgType::KPROBE, &insns)
    };
    let prog = b.prog_load(&spec).map_err(|e| e.to_string())?;
    Ok(Objects {
        map: b
            .map_create(&MapSpec::new(MapType::HASH, 8, 8, 4))
            .map_err(|e| format!("{e}"))?,
        link: prog
            .attach_kprobes(&["vfs_open"], 0)
            .map_err(|e| format!("{e}"))?,
        prog,
    })
}

/// Objects of each kind, pinned, opened, and kept by their files.
fn life(b: &Bpf) -> Result<Vec<String>, String> {
    let mount = Mount::new(b)?;
    let o = objects(b)?;
    let fds = [
        o.map.as_fd().as_raw_fd(),
        o.prog.as_fd().as_raw_fd(),
        o.link.as_fd().as_raw_fd(),
    ];
    let mut out = Vec::new();
    let mut ids = Vec::new();
    for (fd, name) in fds.into_iter().zip(["map", "prog", "link"]) {
        ids.push(id(b, fd).map_err(|e| format!("{e}"))?);
        out.push(format!("pin {name}: {:?}", pin(b, fd, &mount.at(name))));
        out.push(format!("again: {:?}", pin(b, fd, &mount.at(name))));
        let mode = fs::metadata(mount.at(name)).map(|m| m.permissions().mode());
        out.push(format!("mode: {mode:?}"));
        out.push(format!(
            "open: {:?}",
            fs::File::open(mount.at(name))
                .map(drop)
                .map_err(|e| e.raw_os_error())
        ));
    }
    o.map
        .update(&[1; 8], &[2; 8], 0)
        .map_err(|e| format!("{e}"))?;
    // The files alone keep them.
    drop(o);
    for (name, was) in ["map", "prog", "link"].into_iter().zip(&ids) {
        for flags in [0, 1 << 3, 1 << 4, 3 << 3] {
            let fd = get(b, &mount.at(name), flags);
            let same = fd.as_ref().map(|fd| id(b, fd.as_raw_fd()) == Ok(*was));
            out.push(format!("get {name} {flags:#x}: {same:?}"));
        }
    }
    let map = get(b, &mount.at("map"), 0).map_err(|e| format!("{e}"))?;
    let (key, mut value) = ([1u8; 8], [0u8; 8]);
    let mut a = Attr::new(32);
    a.u32(0, map.as_raw_fd() as u32)
        .ptr(8, &key)
        .u64(16, value.as_mut_ptr() as u64);
    let found = b.call(cmd::MAP_LOOKUP_ELEM, a.bytes());
    out.push(format!("lookup: {found:?} {value:?}"));
    // A mount with files in use elsewhere goes away all the same; a renamed file is the same object.
    out.push(format!(
        "rename: {:?}",
        fs::rename(mount.at("map"), mount.at("other")).map_err(|e| e.raw_os_error())
    ));
    out.push(format!(
        "renamed: {:?}",
        get(b, &mount.at("other"), 0).map(drop)
    ));
    out.push(format!(
        "old name: {:?}",
        get(b, &mount.at("map"), 0).map(drop)
    ));
    out.push(format!(
        "link(2): {:?}",
        fs::hard_link(mount.at("other"), mount.at("second")).map_err(|e| e.raw_os_error())
    ));
    for name in ["other", "second", "prog", "link"] {
        out.push(format!(
            "unlink: {:?}",
            fs::remove_file(mount.at(name)).map_err(|e| e.raw_os_error())
        ));
        out.push(format!("gone: {:?}", get(b, &mount.at(name), 0).map(drop)));
    }
    // The fd still has the map.
    out.push(format!("fd: {}", id(b, map.as_raw_fd()) == Ok(ids[0])));
    drop(map);
    Ok(out)
}

/// Malformed calls and odd paths.
fn malformed(b: &Bpf) -> Result<Vec<String>, String> {
    let mount = Mount::new(b)?;
    let o = objects(b)?;
    let fd = o.map.as_fd().as_raw_fd();
    let mut out = Vec::new();
    let mut say = |what: &str, r: Result<i32, Errno>| {
        let r = r.map(|fd| {
            if fd > 2 {
                // SAFETY: the command just made `fd` and nobody else has it.
                unsafe { libc::close(fd) };
            }
            0
        });
        out.push(format!("{what}: {r:?}"));
    };
    fs::create_dir(mount.at("dir")).map_err(|e| format!("mkdir: {e}"))?;
    for name in ["dir/x", "no/x", "dir", "a.b", "dir/a.b", "", "dir/"] {
        say(name, pin(b, fd, &mount.at(name)));
    }
    say("relative", pin(b, fd, Path::new("nowhere/x")));
    say("other filesystem", pin(b, fd, Path::new("/tmp/not-pinned")));
    say("bad fd", pin(b, 4000, &mount.at("y")));
    say("not an object", pin(b, 0, &mount.at("y")));
    let path = CString::new(mount.at("dir/x").to_str().unwrap()).unwrap();
    let short = CString::new("x").unwrap();
    let dir = fs::File::open(mount.at("dir")).map_err(|e| format!("{e}"))?;
    for number in [cmd::OBJ_PIN, cmd::OBJ_GET] {
        let pinned = if number == cmd::OBJ_PIN { fd as u32 } else { 0 };
        let mut call = |what: &str, change: &dyn Fn(&mut Attr)| {
            let mut a = Attr::new(168);
            a.u64(0, path.as_ptr() as u64).u32(8, pinned);
            change(&mut a);
            let r = b.call(number, a.bytes());
            say(&format!("{number} {what}"), r);
        };
        call("as it is", &|_| ());
        for bit in 0..32 {
            call(&format!("flag {bit}"), &|a| _ = a.u32(12, 1 << bit));
        }
        call("path fd without flag", &|a| _ = a.u32(16, 3));
        call("NULL", &|a| _ = a.u64(0, 0));
        call("bad address", &|a| _ = a.u64(0, crate::memory::KERNEL));
        call("other fd", &|a| _ = a.u32(8, 1));
        call("tail", &|a| _ = a.put(20, &[1]));
        call("from a directory", &|a| {
            _ = a
                .u64(0, short.as_ptr() as u64)
                .u32(12, 1 << 14)
                .u32(16, dir.as_raw_fd() as u32);
        });
        call("from no directory", &|a| {
            _ = a
                .u64(0, short.as_ptr() as u64)
                .u32(12, 1 << 14)
                .u32(16, 4000);
        });
    }
    say("get a directory", get(b, &mount.at("dir"), 0).map(|_| 0));
    say(
        "get a plain file",
        get(b, Path::new("/proc/version"), 0).map(|_| 0),
    );
    drop(dir);
    say(
        "rmdir, not empty",
        fs::remove_dir(mount.at("dir"))
            .map(|()| 0)
            .map_err(|e| Errno(e.raw_os_error().unwrap_or(0))),
    );
    Ok(out)
}

/// Permissions of the file count, for who is not root.
fn permissions(b: &Bpf) -> Result<Vec<String>, String> {
    let mount = Mount::new(b)?;
    let map = b
        .map_create(&MapSpec::new(MapType::ARRAY, 4, 8, 4))
        .map_err(|e| format!("{e}"))?;
    let path = mount.at("map");
    pin(b, map.as_fd().as_raw_fd(), &path).map_err(|e| format!("{e}"))?;
    let mut out = Vec::new();
    for mode in [0o600, 0o604, 0o602, 0o606, 0o000] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).map_err(|e| format!("{e}"))?;
        for flags in [0, 1 << 3, 1 << 4] {
            // SAFETY: only this thread's credentials change, and back again.
            let r = unsafe {
                libc::syscall(libc::SYS_setresuid, -1, 65534, -1);
                let r = get(b, &path, flags).map(drop);
                libc::syscall(libc::SYS_setresuid, -1, 0, -1);
                r
            };
            out.push(format!("{mode:o} {flags:#x}: {r:?}"));
        }
    }
    Ok(out)
}

/// The module stays as long as something is mounted, even if no process has anything of it.
fn keeps_the_module(b: &Bpf) -> Result<(), String> {
    let mount = Mount::new(b)?;
    let map = b
        .map_create(&MapSpec::new(MapType::ARRAY, 4, 8, 4))
        .map_err(|e| format!("{e}"))?;
    pin(b, map.as_fd().as_raw_fd(), &mount.at("map")).map_err(|e| format!("{e}"))?;
    drop(map);
    let name = CString::new("oxbpf").unwrap();
    // SAFETY: a string that ends with a NUL. The module has an open device, too: what counts is the
    // number of users below.
    let r = unsafe { libc::syscall(libc::SYS_delete_module, name.as_ptr(), libc::O_NONBLOCK) };
    if r == 0 {
        return Err("it went".to_string());
    }
    let users = || -> u32 {
        let text = fs::read_to_string("/proc/modules").unwrap_or_default();
        let line = text.lines().find(|l| l.starts_with("oxbpf ")).unwrap_or("");
        line.split(' ')
            .nth(2)
            .and_then(|n| n.parse().ok())
            .unwrap_or(0)
    };
    let before = users();
    mount.unmount().map_err(|e| format!("umount: {e}"))?;
    match users() < before {
        true => Ok(()),
        false => Err(format!("{before} users, then {}", users())),
    }
}

/// The suite.
pub fn suite(s: &mut Suite) {
    let both = Both::open();
    s.test("pin, get, unlink", || both.same(life)?.map(drop));
    s.test("malformed", || both.same(malformed)?.map(drop));
    s.test("permissions", || both.same(permissions)?.map(drop));
    s.test("a mount keeps the module", || keeps_the_module(&both.ours));
}
