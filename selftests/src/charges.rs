// SPDX-License-Identifier: GPL-2.0

//! Whose memory maps take: they count in the cgroup of who makes them, which may have too little.

use crate::both::Both;
use crate::cgroups::{Group, ROOT};
use crate::ktap::{volume, Suite};
use oxbpf::{possible_cpus, Bpf, Map, MapSpec, MapType};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::{AsFd, FromRawFd};
use std::time::{Duration, Instant};

const MIB: u64 = 1 << 20;
/// What a map of these tests has for its values.
const SIZE: u64 = 8 * MIB;
/// The kernel keeps some of what it counts for each CPU, and counts pages, of which some are large.
const SLACK: u64 = 3 * MIB;

/// Maps of [`SIZE`], and whether in-tree's takes all its memory at once and no less than oxbpf's.
fn maps() -> Vec<(&'static str, MapSpec, bool)> {
    let cpus = possible_cpus() as u64;
    let n = |each: u64| (SIZE / each) as u32;
    let trie = MapSpec {
        flags: 1,
        ..MapSpec::new(MapType::LPM_TRIE, 8, 64, n(64))
    };
    vec![
        (
            "array",
            MapSpec::new(MapType::ARRAY, 4, 4096, n(4096)),
            true,
        ),
        ("hash", MapSpec::new(MapType::HASH, 8, 64, n(64)), true),
        // In-tree's values of CPUs are charged to nobody.
        (
            "percpu array",
            MapSpec::new(MapType::PERCPU_ARRAY, 4, 1024, n(1024 * cpus)),
            false,
        ),
        (
            "percpu hash",
            MapSpec::new(MapType::PERCPU_HASH, 8, 1024, n(1024 * cpus)),
            false,
        ),
        (
            "LRU hash",
            MapSpec::new(MapType::LRU_HASH, 8, 64, n(64)),
            true,
        ),
        ("trie", trie, false),
        ("queue", MapSpec::new(MapType::QUEUE, 0, 64, n(64)), true),
        (
            "ring buffer",
            MapSpec::new(MapType::RINGBUF, 0, 0, n(1)),
            true,
        ),
        (
            "call chains",
            MapSpec::new(MapType::STACK_TRACE, 4, 512, n(512)),
            true,
        ),
        // Here oxbpf has a second table.
        (
            "programs",
            MapSpec::new(MapType::PROG_ARRAY, 4, 4, n(8)),
            false,
        ),
        (
            "cgroups",
            MapSpec::new(MapType::CGROUP_ARRAY, 4, 4, n(8)),
            false,
        ),
    ]
}

/// What a child process in the group says.
fn inside(group: &Group, f: impl FnOnce() -> Result<String, String>) -> Result<String, String> {
    let mut ends = [0; 2];
    // SAFETY: this process has one thread now; each end of the pipe gets one owner in each process,
    // and the child ends here.
    unsafe {
        if libc::pipe(ends.as_mut_ptr()) != 0 {
            return Err("no pipe".into());
        }
        let [from, to] = ends;
        let pid = libc::fork();
        if pid == 0 {
            drop(File::from_raw_fd(from));
            // Not back to the root: it ends in the group.
            let said = group.enter().and_then(|inside| {
                std::mem::forget(inside);
                f()
            });
            let text = match said {
                Ok(text) => format!("+{text}"),
                Err(text) => format!("-{text}"),
            };
            let sent = File::from_raw_fd(to).write_all(text.as_bytes());
            libc::_exit(i32::from(sent.is_err()));
        }
        drop(File::from_raw_fd(to));
        let mut text = String::new();
        let read = File::from_raw_fd(from).read_to_string(&mut text);
        let mut status = 0;
        if pid < 0 || libc::waitpid(pid, &mut status, 0) != pid || read.is_err() {
            return Err("no child".into());
        }
        if status != 0 {
            return Err(format!("the child ended with status {status:#x}"));
        }
        match text.strip_prefix('+') {
            Some(text) => Ok(text.into()),
            None => Err(text),
        }
    }
}

fn number(text: &str) -> Result<u64, String> {
    let word = text.split_whitespace().next().unwrap_or_default();
    word.parse().map_err(|_| format!("no number: {text}"))
}

fn current(group: &Group) -> Result<u64, String> {
    number(&group.read("memory.current")?)
}

fn make(b: &Bpf, spec: &MapSpec) -> Result<Map, String> {
    b.map_create(spec).map_err(|e| format!("map: {e}"))
}

/// What a map adds to its maker's group; it must be gone when the map is.
fn charge(b: &Bpf, spec: &MapSpec) -> Result<u64, String> {
    let group = Group::new("oxbpf-charge")?;
    let added = inside(&group, || {
        drop(make(b, &MapSpec::new(MapType::ARRAY, 4, 8, 1))?);
        let before = current(&group)?;
        let map = make(b, spec)?;
        let with = current(&group)?;
        // Descriptors are passed on, and others may close them.
        let copy = map
            .as_fd()
            .try_clone_to_owned()
            .map_err(|e| e.to_string())?;
        drop(map);
        let kept = current(&group)?;
        if kept + SLACK < with {
            return Err(format!("{with} with the map, {kept} with its copy"));
        }
        drop(copy);
        let end = Instant::now() + Duration::from_secs(60);
        while current(&group)? > before + SLACK {
            if Instant::now() > end {
                let left = current(&group)?;
                return Err(format!("{before} before, {left} after the map"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(with.saturating_sub(before).to_string())
    })?;
    number(&added)
}

/// Errnos of making the map with a limit of so many bytes above what the group has; a small map can
/// be made after it, and nobody was killed.
fn limited(b: &Bpf, spec: &MapSpec, more: u64) -> Result<Option<i32>, String> {
    let group = Group::new("oxbpf-limit")?;
    let errno = inside(&group, || {
        drop(make(b, &MapSpec::new(MapType::ARRAY, 4, 8, 1))?);
        let limit = current(&group)? + more;
        group.write("memory.max", &limit.to_string())?;
        let errno = b.map_create(spec).err().map_or(0, |e| e.0);
        // A map that was made goes later.
        let end = Instant::now() + Duration::from_secs(60);
        while let Err(e) = make(b, &MapSpec::new(MapType::ARRAY, 4, 8, 1)) {
            if Instant::now() > end {
                return Err(format!("a small one after {errno}: {e}"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(errno.to_string())
    })?;
    let events = group.read("memory.events")?;
    if !events.lines().any(|line| line == "oom_kill 0") {
        return Err(events);
    }
    Ok(Some(number(&errno)? as i32).filter(|e| *e != 0))
}

/// The memory controller for groups below the root, while this lives.
struct Controller;

impl Controller {
    fn on() -> Option<Controller> {
        let file = format!("{ROOT}/cgroup.subtree_control");
        fs::write(file, "+memory").ok().map(|()| Controller)
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        let _ = fs::write(format!("{ROOT}/cgroup.subtree_control"), "-memory");
    }
}

/// The suite.
pub fn suite(s: &mut Suite) {
    let both = Both::open();
    let Some(_controller) = Controller::on() else {
        s.skip("memory of maps", "no memory controller");
        return;
    };
    for (name, spec, at_once) in maps() {
        // These have several parts; others are left out where time is short.
        let parts = matches!(name, "hash" | "percpu hash" | "programs");
        if !parts && volume(100) < 100 {
            continue;
        }
        s.test(&format!("{name}: charged to its maker"), || {
            let (theirs, ours) = (charge(&both.theirs, &spec)?, charge(&both.ours, &spec)?);
            match ours + SLACK >= SIZE && (!at_once || ours <= theirs + SLACK) {
                true => Ok(()),
                false => Err(format!("in-tree: {theirs}\noxbpf:   {ours}")),
            }
        });
        s.test(&format!("{name}: over the limit"), || {
            let ours = limited(&both.ours, &spec, SIZE / 2)?;
            let theirs = match at_once {
                true => limited(&both.theirs, &spec, SIZE / 2)?,
                false => Some(libc::ENOMEM),
            };
            match ours == theirs && ours == Some(libc::ENOMEM) {
                true => Ok(()),
                false => Err(format!("in-tree: {theirs:?}\noxbpf:   {ours:?}")),
            }
        });
        if !parts {
            continue;
        }
        s.test(&format!("{name}: limits on the way"), || {
            for more in (1..10).map(|n| n * SIZE / 4) {
                let errno = limited(&both.ours, &spec, more)?;
                if !matches!(errno, None | Some(libc::ENOMEM)) {
                    return Err(format!("{more}: {errno:?}"));
                }
            }
            Ok(())
        });
    }
}
