// SPDX-License-Identifier: GPL-2.0

//! Cgroups in maps: the commands on them, and who programs find below one, against the kernel's own
//! bpf(2).

use crate::both::Both;
use crate::events::{load, run};
use crate::fd_array;
use crate::insn::{call, exit, ld_imm64, ld_map, mov_reg};
use crate::ktap::Suite;
use oxbpf::{Bpf, Map, MapSpec, MapType, Prog, ProgSpec, ProgType};
use std::fmt::Write;
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Where the default hierarchy is.
pub const ROOT: &str = "/sys/fs/cgroup";

/// A cgroup of ours below the root, removed when dropped.
pub struct Group {
    path: PathBuf,
    dir: File,
}

impl Group {
    /// Makes one by its path below the root.
    pub fn new(name: &str) -> Result<Group, String> {
        let path = PathBuf::from(format!("{ROOT}/{name}"));
        fs::create_dir(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        let dir = File::open(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(Group { path, dir })
    }

    fn fd(&self) -> i32 {
        self.dir.as_raw_fd()
    }

    /// What one of its files says.
    pub fn read(&self, file: &str) -> Result<String, String> {
        fs::read_to_string(self.path.join(file)).map_err(|e| format!("{file}: {e}"))
    }

    /// Writes one of its files.
    pub fn write(&self, file: &str, what: &str) -> Result<(), String> {
        fs::write(self.path.join(file), what).map_err(|e| format!("{file}: {e}"))
    }

    /// This process goes there, and back to the root when what comes back is dropped.
    pub fn enter(&self) -> Result<Inside, String> {
        self.write("cgroup.procs", "0")?;
        Ok(Inside)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // A process that ended a moment ago may still count.
        for _ in 0..500 {
            match fs::remove_dir(&self.path) {
                Err(e) if e.raw_os_error() == Some(libc::EBUSY) => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                _ => return,
            }
        }
    }
}

/// See [`Group::enter`].
pub struct Inside;

impl Drop for Inside {
    fn drop(&mut self) {
        let _ = fs::write(format!("{ROOT}/cgroup.procs"), "0");
    }
}

fn array(b: &Bpf, entries: u32) -> Result<Map, String> {
    let spec = MapSpec::new(MapType::CGROUP_ARRAY, 4, 4, entries);
    b.map_create(&spec).map_err(|e| format!("map: {e}"))
}

fn put(map: &Map, index: u32, fd: i32) -> Result<(), String> {
    map.update(&index.to_ne_bytes(), &fd.to_ne_bytes(), 0)
        .map_err(|e| format!("put: {e}"))
}

/// Commands on elements.
fn elements(b: &Bpf) -> Result<String, String> {
    let map = array(b, 4)?;
    let group = Group::new("oxbpf-elements")?;
    let gone = Group::new("oxbpf-gone")?;
    fs::remove_dir(&gone.path).map_err(|e| e.to_string())?;
    let root = File::open(ROOT).map_err(|e| e.to_string())?;
    let file = File::open(group.path.join("cgroup.procs")).map_err(|e| e.to_string())?;
    let other = File::open("/proc").map_err(|e| e.to_string())?;
    let fds = [
        ("group", group.fd()),
        ("root", root.as_raw_fd()),
        ("gone", gone.fd()),
        ("file", file.as_raw_fd()),
        ("directory", other.as_raw_fd()),
    ];
    Ok(fd_array::creation(b, MapType::CGROUP_ARRAY) + &fd_array::commands(b, &map, &fds)?)
}

/// `current_task_under_cgroup`
const TASK: i32 = 37;
/// `skb_under_cgroup`
const SKB: i32 = 33;

/// Returns what the helper says of that index.
fn asks(b: &Bpf, ty: ProgType, helper: i32, map: &Map, index: u64) -> Result<Prog, String> {
    // The packet's helper takes the packet first.
    let first = if helper == SKB { 2 } else { 1 };
    let mut insns = ld_map(first, map).to_vec();
    insns.extend(ld_imm64(first + 1, index));
    insns.extend([call(helper), exit()]);
    load(b, ty, &insns)
}

/// What programs say of a task and its packets in several places.
fn who(b: &Bpf) -> Result<String, String> {
    let mut out = String::new();
    // The last is removed first.
    let a = Group::new("oxbpf-a")?;
    let in_a = Group::new("oxbpf-a/b")?;
    let in_b = Group::new("oxbpf-a/b/c")?;
    let other = Group::new("oxbpf-d")?;
    let groups = [&a, &in_a, &in_b, &other];
    let root = File::open(ROOT).map_err(|e| e.to_string())?;
    let map = array(b, 6)?;
    put(&map, 0, root.as_raw_fd())?;
    for (i, group) in groups.iter().enumerate() {
        put(&map, i as u32 + 1, group.fd())?;
    }
    let mut progs = vec![];
    for index in [0, 1, 2, 3, 4, 5, 6, u64::from(u32::MAX), 1 << 32] {
        for helper in [TASK, SKB] {
            progs.push((
                index,
                helper,
                asks(b, ProgType::SCHED_CLS, helper, &map, index)?,
            ));
        }
    }
    let mut note = |place: &str| -> Result<(), String> {
        for (index, helper, prog) in &progs {
            let _ = writeln!(out, "{place} {helper} {index:x}: {}", run(prog)? as i32);
        }
        Ok(())
    };
    note("root")?;
    for (i, group) in groups.iter().enumerate() {
        let _inside = group.enter()?;
        note(&format!("group {i}"))?;
    }
    let _inside = groups[1].enter()?;
    put(&map, 2, groups[3].fd())?;
    note("another at 2")?;
    map.delete(&1u32.to_ne_bytes())
        .map_err(|e| format!("delete: {e}"))?;
    note("nothing at 1")?;
    // The map keeps what is not there any more.
    fs::remove_dir(&groups[2].path).map_err(|e| format!("remove: {e}"))?;
    note("3 removed")?;
    Ok(out)
}

/// Which programs may call them, and with which maps.
fn callers(b: &Bpf) -> Result<String, String> {
    let mut out = String::new();
    let cgroups = array(b, 1)?;
    let plain = b
        .map_create(&MapSpec::new(MapType::ARRAY, 4, 4, 1))
        .map_err(|e| format!("map: {e}"))?;
    for ty in [1, 2, 3, 4, 5, 6, 7, 8, 17] {
        for helper in [TASK, SKB, 1] {
            for map in [&cgroups, &plain] {
                // The packet's helper takes the packet first.
                let first = if helper == SKB { 2 } else { 1 };
                let mut insns = vec![mov_reg(6, 1)];
                insns.extend(ld_map(first, map));
                insns.extend(ld_imm64(first + 1, 0));
                insns.extend([call(helper), exit()]);
                let spec = ProgSpec {
                    log_level: 1,
                    ..ProgSpec::new(ProgType(ty), &insns)
                };
                let answer = match b.prog_load(&spec) {
                    Ok(_) => "loads".into(),
                    // The last line before the numbers says why.
                    Err(e) => {
                        let mut lines = e.log.lines().rev();
                        let why = lines.find(|l| !l.starts_with("processed"));
                        format!("{:?} {}", e.errno, why.unwrap_or_default())
                    }
                };
                let _ = writeln!(out, "{ty} {helper}: {answer}");
            }
        }
    }
    Ok(out)
}

/// Groups below that one that are removed and not gone.
fn dying(parent: &Group) -> Result<u32, String> {
    let stat = parent.read("cgroup.stat")?;
    let line = stat
        .lines()
        .find_map(|l| l.strip_prefix("nr_dying_descendants "));
    line.and_then(|n| n.trim().parse().ok())
        .ok_or_else(|| "no number of dying groups".into())
}

/// Waits until none is dying.
fn settle(parent: &Group) -> Result<(), String> {
    let end = Instant::now() + Duration::from_secs(60);
    while dying(parent)? > 0 {
        if Instant::now() > end {
            return Err(format!("{} groups are left", dying(parent)?));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// A map keeps its groups as long as it has them, and no longer.
fn lifetime(b: &Bpf) -> Result<(), String> {
    const N: u32 = 8;
    let parent = Group::new("oxbpf-life")?;
    for how in ["delete", "replace", "close", "program"] {
        let mut map = Some(array(b, N)?);
        let mut prog = None;
        if let Some(map) = &map {
            for i in 0..N {
                let group = Group::new(&format!("oxbpf-life/{i}"))?;
                put(map, i, group.fd())?;
            }
            if dying(&parent)? != N {
                return Err(format!("{how}: groups in the map are gone"));
            }
            let root = File::open(ROOT).map_err(|e| e.to_string())?;
            for i in 0..N {
                match how {
                    "delete" => map
                        .delete(&i.to_ne_bytes())
                        .map_err(|e| format!("delete: {e}"))?,
                    "replace" => put(map, i, root.as_raw_fd())?,
                    _ => {}
                }
            }
            if how == "program" {
                prog = Some(asks(b, ProgType::SCHED_CLS, TASK, map, 0)?);
            }
        }
        if matches!(how, "close" | "program") {
            drop(map.take());
        }
        if let Some(prog) = prog {
            if dying(&parent)? != N || run(&prog)? != 0 {
                return Err("groups went before the program".into());
            }
        }
        settle(&parent).map_err(|e| format!("{how}: {e}"))?;
    }
    Ok(())
}

/// The suite.
pub fn suite(s: &mut Suite) {
    let both = Both::open();
    let compare = |f: fn(&Bpf) -> Result<String, String>| {
        crate::inner::different(&f(&both.theirs)?, &f(&both.ours)?)
    };
    s.test("commands on cgroups", || compare(elements));
    s.test("tasks and packets", || compare(who));
    s.test("callers", || compare(callers));
    s.test("groups go with their map, in-tree", || {
        lifetime(&both.theirs)
    });
    s.test("groups go with their map", || lifetime(&both.ours));
}
