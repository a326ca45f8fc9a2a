// SPDX-License-Identifier: GPL-2.0

//! Each allocation and each user copy of each command fails once.
//!
//! The kernel's `fail-nth` makes the n-th point of the next system call at which something can fail
//! do so: a slab or page allocation, or a copy from or to user space. Each case is done with n = 1,
//! 2, ... until nothing failed any more. The answer must be success (there was another way), `ENOMEM`
//! or `EFAULT` as fits what failed; afterwards there are as many fds and objects as before, and a map
//! still takes all the elements it was made for. What slips through that, kmemleak sees after rmmod.

pub mod cases;

use crate::ktap::Suite;
use crate::objects::Objects;
use crate::table;
use cases::Case;
use oxbpf::{cmd, Bpf, Errno};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;

const DEBUGFS: &str = "/sys/kernel/debug";
/// What can fail: the directory of its knobs, its word in the table, the errno that it leads to.
const KINDS: [(&str, &str, i32); 3] = [
    ("failslab", "slab", libc::ENOMEM),
    ("fail_page_alloc", "page", libc::ENOMEM),
    ("fail_usercopy", "copy", libc::EFAULT),
];
/// More points than any command has.
const END: u32 = 20_000;
/// Counted down by the kernel at each failure, for each kind: it tells which kind it was.
const TIMES: i64 = 1_000_000_000;

/// The calling thread's faults.
struct Injector {
    nth: File,
}

/// Where a kernel function's code begins and ends.
fn code_of(function: &str) -> Option<(u64, u64)> {
    let all = fs::read_to_string("/proc/kallsyms").ok()?;
    let mut texts: Vec<u64> = Vec::new();
    let mut start = None;
    for line in all.lines() {
        let mut words = line.split_whitespace();
        let at = u64::from_str_radix(words.next()?, 16).ok()?;
        if matches!(words.next(), Some("t" | "T")) {
            texts.push(at);
            if words.next() == Some(function) {
                start = Some(at);
            }
        }
    }
    let start = start?;
    Some((start, texts.into_iter().filter(|at| *at > start).min()?))
}

impl Injector {
    /// Sets the knobs: nothing fails but what `fail-nth` says, and then of each kind.
    fn new() -> Result<Injector, String> {
        // ftrace warns when its own allocations fail, and does not undo what it had done: no fault
        // below the function by which kprobes and kretprobes come to it, in-tree too.
        let (from, to) = code_of("register_fprobe_ips").unwrap_or((0, 0));
        for (dir, _, _) in KINDS {
            for (knob, value) in [
                ("stacktrace-depth", "32"),
                ("reject-start", &format!("{from:#x}")),
                ("reject-end", &format!("{to:#x}")),
                ("probability", "0"),
                ("verbose", "0"),
                ("ignore-gfp-wait", "N"),
                ("ignore-gfp-highmem", "N"),
                ("min-order", "0"),
                ("times", &TIMES.to_string()),
            ] {
                let path = format!("{DEBUGFS}/{dir}/{knob}");
                if fs::exists(&path).unwrap_or(false) {
                    fs::write(&path, value).map_err(|e| format!("{path}: {e}"))?;
                }
            }
        }
        let path = "/proc/thread-self/fail-nth";
        let nth = File::options().read(true).write(true).open(path);
        Ok(Injector {
            nth: nth.map_err(|e| format!("{path}: {e}"))?,
        })
    }

    fn arm(&self, n: u32) -> Result<(), String> {
        let text = n.to_string();
        self.nth
            .write_all_at(text.as_bytes(), 0)
            .map_err(|e| format!("fail-nth: {e}"))
    }

    /// Whether the fault happened since `arm`.
    fn disarm(&self) -> bool {
        // Asking is a user copy too, and may itself get what is left over.
        let mut text = [0; 16];
        let fired = matches!(self.nth.read_at(&mut text, 0), Ok(n) if text[..n] == *b"0\n");
        while self.nth.write_all_at(b"0", 0).is_err() {}
        fired
    }

    /// What failed since the counts were set to [`TIMES`]: an index of `KINDS`. Sets them again.
    fn kind(&self) -> Option<usize> {
        let mut which = None;
        for (i, (dir, _, _)) in KINDS.iter().enumerate() {
            let path = format!("{DEBUGFS}/{dir}/times");
            let left = fs::read_to_string(&path).unwrap_or_default();
            if left.trim().parse() != Ok(TIMES) {
                which = Some(i);
                let _ = fs::write(&path, TIMES.to_string());
            }
        }
        which
    }
}

/// One line of the table.
#[derive(Default)]
struct Row {
    /// Points that failed, by kind.
    points: [u32; 3],
    /// The command went another way and succeeded.
    survived: u32,
    /// How often each errno.
    errors: BTreeMap<i32, u32>,
}

/// Does a case with each point failing once.
fn inject(injector: &Injector, b: &Bpf, case: &mut Case) -> Result<Row, String> {
    let mut row = Row::default();
    // Once without a fault: what is set up at the first use of a command stays for good.
    case.once(b).map_err(|e| format!("without a fault: {e}"))?;
    let before = Objects::now(b);
    for n in 1.. {
        if n == END {
            return Err(format!("still failing at point {END}"));
        }
        case.prepare()?;
        injector.arm(n)?;
        let answer = case.call(b);
        let fired = injector.disarm();
        case.release(&answer);
        if !fired {
            match answer {
                Ok(_) => break,
                Err(e) => return Err(format!("no fault at point {n}, yet {e}")),
            }
        }
        let kind = injector
            .kind()
            .ok_or_else(|| format!("point {n}: nothing says what failed"))?;
        row.points[kind] += 1;
        match answer {
            Ok(_) => row.survived += 1,
            // A filesystem without memory for an inode has no space, in-tree's too.
            Err(Errno(e))
                if e == KINDS[kind].2
                    || (case.command == Some(cmd::OBJ_PIN) && e == libc::ENOSPC) =>
            {
                *row.errors.entry(e).or_default() += 1
            }
            Err(e) => {
                return Err(format!("point {n}, {} failing, gave {e}", KINDS[kind].1));
            }
        }
    }
    before.again(b).map_err(|e| format!("left behind\n{e}"))?;
    case.check()?;
    Ok(row)
}

/// The suite.
pub fn suite(s: &mut Suite) {
    let injector = match Injector::new() {
        Ok(injector) => injector,
        Err(why) => return s.skip("faults", &format!("not the debug kernel ({why})")),
    };
    let b = Bpf::oxbpf().unwrap_or_else(|e| panic!("{}: {e}", oxbpf::DEVICE));
    let mut seen = Vec::new();
    println!(
        "# {:<44} {:>5} {:>5} {:>5} {:>8}  errors",
        "case", "slab", "page", "copy", "survived"
    );
    // None is dropped before the end: what that releases would be missing in the next one's counts.
    let mut cases = cases::all(&b);
    for case in &mut cases {
        seen.push(case.command);
        let name = case.name.clone();
        if !case.supported {
            s.skip(&name, "not supported");
            continue;
        }
        s.test(&name, || {
            let row = inject(&injector, &b, case)?;
            let errors: Vec<String> = row
                .errors
                .iter()
                .map(|(e, n)| format!("{} {n}", Errno(*e)))
                .collect();
            let [slab, page, copy] = row.points;
            println!(
                "# {name:<44} {slab:>5} {page:>5} {copy:>5} {:>8}  {}, nothing left behind",
                row.survived,
                errors.join(", ")
            );
            if case.command.is_some() && slab + page + copy == 0 {
                return Err("no point at all: no fault reaches the command".to_string());
            }
            Ok(())
        });
    }
    s.test("every command has a case", || {
        let without: Vec<&str> = table::rows()
            .iter()
            .filter(|row| !seen.contains(&Some(row.number)))
            .map(|row| row.name)
            .collect();
        match without.is_empty() {
            true => Ok(()),
            false => Err(format!("none for {without:?}: add it in faults/cases.rs")),
        }
    });
}
