// SPDX-License-Identifier: GPL-2.0

//! What programs see at a hook, and what their helpers do there: as with the kernel's own bpf(2).

use crate::both::Both;
use crate::insn::{add, call, exit, ld_imm64, ld_map, mov, mov_reg, raw};
use crate::ktap::Suite;
use oxbpf::attr::{get_u32, get_u64};
use oxbpf::link::{KPROBE_MULTI_RETURN, TRACE_KPROBE_MULTI};
use oxbpf::{Bpf, Link, Map, MapSpec, MapType, Prog, ProgSpec, ProgType, Slot, TestRun};
use std::fs;
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

/// Stores `bytes`, padded with zeroes to words, at R10 + `off`.
fn store(off: i16, bytes: &[u8]) -> Vec<Slot> {
    let mut insns = Vec::new();
    for (i, word) in bytes.chunks(8).enumerate() {
        let mut full = [0; 8];
        full[..word.len()].copy_from_slice(word);
        insns.extend(ld_imm64(1, u64::from_ne_bytes(full)));
        insns.push(raw(0x7b, 10, 1, off + i as i16 * 8, 0));
    }
    insns
}

fn load(b: &Bpf, ty: ProgType, attach: u32, insns: &[Slot]) -> Result<Prog, String> {
    let spec = ProgSpec {
        expected_attach_type: attach,
        log_level: 1,
        ..ProgSpec::new(ty, insns)
    };
    b.prog_load(&spec).map_err(|e| e.to_string())
}

/// An argument of a print.
#[derive(Clone, Copy, Debug)]
enum Arg {
    Number(u64),
    /// Address of a string on the program's stack.
    Text,
}

/// What trace_printk returns for a format, as a signed number.
fn print(b: &Bpf, fmt: &str, args: &[Arg]) -> Result<i32, String> {
    let mut bytes = fmt.as_bytes().to_vec();
    bytes.push(0);
    let room = (bytes.len().div_ceil(8) * 8) as i16;
    let mut insns = store(-room, &bytes);
    insns.extend(store(-room - 16, b"some text\0"));
    for (reg, arg) in (3u8..).zip(args) {
        match arg {
            Arg::Number(n) => insns.extend(ld_imm64(reg, *n)),
            Arg::Text => insns.extend([mov_reg(reg, 10), add(reg, i32::from(-room - 16))]),
        }
    }
    insns.extend([
        mov_reg(1, 10),
        add(1, i32::from(-room)),
        mov(2, bytes.len() as i32),
        call(6),
        exit(),
    ]);
    let prog = load(b, ProgType::SCHED_CLS, 0, &insns)?;
    let run = TestRun {
        data_in: &[0; 64],
        ..TestRun::default()
    };
    let run = prog.test_run(&run).map_err(|e| format!("run: {e}"))?;
    Ok(run.retval as i32)
}

const TRACE: &str = "/sys/kernel/tracing/trace";

/// The texts in the trace buffer, without what stands before them.
fn traced() -> Vec<String> {
    let text = fs::read(TRACE).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines = text.lines().filter(|l| !l.starts_with('#'));
    let mut out: Vec<String> = Vec::new();
    for line in lines {
        match line.split_once(": bpf_trace_printk: ") {
            Some((_, text)) => out.push(text.to_string()),
            None => out.push(format!("(other) {line}")),
        }
    }
    out
}

fn printing(s: &mut Suite, both: &Both) {
    // SAFETY: NUL-terminated strings, and no data.
    unsafe {
        libc::mount(
            c"trace".as_ptr(),
            c"/sys/kernel/tracing".as_ptr(),
            c"tracefs".as_ptr(),
            0,
            std::ptr::null(),
        )
    };
    let n = |n: u64| Arg::Number(n);
    let cases: Vec<(&str, Vec<Arg>)> = vec![
        ("plain", vec![]),
        ("", vec![]),
        ("ends in a newline\n", vec![]),
        ("%d %u %x", vec![n(u64::MAX), n(7), n(0xabc)]),
        ("%ld %llu %lX", vec![n(u64::MAX), n(u64::MAX), n(0xabc)]),
        ("%i %li %lli", vec![n(1 << 31), n(1 << 63), n(1 << 62)]),
        ("%05d|%-5d|%5d", vec![n(42), n(42), n(42)]),
        ("%+d|% d|%+05d", vec![n(1), n(2), n(3)]),
        ("%+u|% x|%+05x", vec![n(1), n(2), n(3)]),
        ("%-05d|%0 5d|%-+5d|", vec![n(42), n(42), n(42)]),
        ("%08llx %20llu %-20lld|", vec![n(0xbeef), n(1), n(2)]),
        ("%c%3c%-3c|", vec![n(65), n(66), n(67)]),
        ("%s|%20s|%-20s|", vec![Arg::Text, Arg::Text, Arg::Text]),
        ("%pks|%05s|%2s|", vec![Arg::Text, Arg::Text, Arg::Text]),
        ("%pus|%s|%pks", vec![n(8), n(8), n(8)]),
        ("%px %16px %-16px|", vec![n(0xabc), n(0xabc), n(0xabc)]),
        ("%px,%pxyz.", vec![n(0xabc), n(0xabc)]),
        ("%pS %ps %pB", vec![n(0), n(0x10), n(0x1000)]),
        ("%pI4|%pi4|%pI4h|", vec![Arg::Text, Arg::Text, Arg::Text]),
        ("%pI6|%pi6|%pI6c.", vec![Arg::Text, Arg::Text, Arg::Text]),
        ("%pI4 %pI6", vec![n(8), n(8)]),
        ("100%% %d", vec![n(1)]),
        ("\u{e9}\u{20ac} %d\u{e9}", vec![n(1)]),
        ("tab\tand\x0bmore", vec![]),
        ("%500d", vec![n(1)]),
        ("%2000d", vec![n(1)]),
        ("%", vec![]),
        ("%5", vec![n(1)]),
        ("%f", vec![n(1)]),
        ("%ls", vec![Arg::Text]),
        ("%hd", vec![n(1)]),
        ("%lc", vec![n(1)]),
        ("%llld", vec![n(1)]),
        ("%.3d", vec![n(1)]),
        ("%#x", vec![n(1)]),
        ("%*d", vec![n(1), n(2)]),
        ("%n", vec![n(1)]),
        ("%sx", vec![Arg::Text]),
        ("%pksa", vec![Arg::Text]),
        ("%py", vec![n(1)]),
        ("%pI5", vec![Arg::Text]),
        ("%p\u{c4}", vec![n(1)]),
        ("bell\x07", vec![]),
        ("%\u{e9}", vec![n(1)]),
        ("%d%d%d%d", vec![n(1), n(1), n(1)]),
    ];
    for (fmt, args) in &cases {
        s.test(&format!("trace_printk {fmt:?}"), || {
            let answer = both.same(|b| {
                let _ = fs::write(TRACE, "");
                let answer = print(b, fmt, args);
                // The kernel turns its event on later, from a worker.
                let printed = answer.as_ref().is_ok_and(|n| *n >= 0);
                for _ in 0..100 {
                    if !printed || !traced().is_empty() {
                        break;
                    }
                    std::thread::sleep(Duration::from_millis(200));
                    let _ = fs::write(TRACE, "");
                    let _ = print(b, fmt, args);
                }
                (answer, traced())
            })?;
            answer.0.map(|_| ())
        });
    }
}

/// Loads and runs a packet program with a context; everything that the run answers.
fn run_ctx(
    b: &Bpf,
    ty: ProgType,
    insns: &[Slot],
    run: &TestRun<'_>,
) -> Result<(u32, Vec<u8>, Vec<u8>), String> {
    let prog = load(b, ty, 0, insns)?;
    let r = prog.test_run(run).map_err(|e| format!("run: {e}"))?;
    Ok((r.retval, r.data_out, r.ctx_out))
}

/// A context with some numbers set, by byte offset.
fn ctx(fields: &[(usize, u32)]) -> Vec<u8> {
    let mut bytes = vec![0; 192];
    for &(off, value) in fields {
        bytes[off..off + 4].copy_from_slice(&value.to_ne_bytes());
    }
    bytes
}

fn packets(s: &mut Suite, both: &Both) {
    let pass = [mov(0, 3), exit()];
    let tc = [
        // mark += 1; priority = cb[1]; cb[0] = len
        raw(0x61, 2, 1, 8, 0),
        add(2, 1),
        raw(0x63, 1, 2, 8, 0),
        raw(0x61, 2, 1, 52, 0),
        raw(0x63, 1, 2, 32, 0),
        raw(0x61, 2, 1, 0, 0),
        raw(0x63, 1, 2, 48, 0),
        raw(0x61, 0, 1, 160, 0), // wire_len
        exit(),
    ];
    let fields: &[(&str, Vec<(usize, u32)>)] = &[
        ("nothing", vec![]),
        ("mark", vec![(8, 7)]),
        ("priority", vec![(32, 7)]),
        ("ingress_ifindex", vec![(36, 7)]),
        ("ifindex 1", vec![(40, 1)]),
        ("ifindex of no device", vec![(40, 12345)]),
        ("cb", vec![(48, 1), (52, 2), (64, 3)]),
        ("data_end", vec![(80, 40)]),
        ("data_end 1", vec![(80, 1)]),
        ("data_end beyond", vec![(80, 101)]),
        ("tstamp", vec![(152, 5), (156, 6)]),
        ("wire_len", vec![(160, 200)]),
        ("wire_len too short", vec![(160, 50)]),
        ("wire_len too long", vec![(160, 70000)]),
        ("gso_segs", vec![(164, 3)]),
        ("gso_segs too many", vec![(164, 70000)]),
        ("gso_size", vec![(176, 3)]),
        ("tstamp_type", vec![(180, 1)]),
        ("hwtstamp", vec![(184, 3)]),
        ("len", vec![(0, 1)]),
        ("pkt_type", vec![(4, 1)]),
        ("protocol", vec![(16, 1)]),
        ("vlan_tci", vec![(24, 1)]),
        ("tc_index", vec![(44, 1)]),
        ("hash", vec![(68, 1)]),
        ("tc_classid", vec![(72, 1)]),
        ("data", vec![(76, 1)]),
        ("napi_id", vec![(84, 1)]),
        ("family", vec![(88, 1)]),
        ("data_meta", vec![(140, 1)]),
        ("flow_keys", vec![(144, 1)]),
        ("sk", vec![(168, 1)]),
    ];
    for (name, fields) in fields {
        for (ty, insns) in [
            (ProgType::SCHED_CLS, &tc[..]),
            (ProgType::SOCKET_FILTER, &pass[..]),
        ] {
            s.test(&format!("test run with ctx {name}, type {}", ty.0), || {
                let run = TestRun {
                    data_in: &[0x11; 100],
                    data_out: Some(200),
                    ctx_in: &ctx(fields),
                    ctx_out: Some(192),
                    ..TestRun::default()
                };
                both.same(|b| run_ctx(b, ty, insns, &run)).map(|_| ())
            });
        }
    }
    for size in [
        14usize, 15, 33, 34, 54, 1500, 3712, 3713, 4096, 9000, 65536, 73000, 74000,
    ] {
        for (name, proto) in [
            ("ip", [8u8, 0]),
            ("ipv6", [0x86, 0xdd]),
            ("other", [0x12, 0x34]),
        ] {
            s.test(&format!("test run of {size} bytes, {name}"), || {
                let mut data: Vec<u8> = (0..size).map(|i| (i * 7) as u8).collect();
                data[12..14].copy_from_slice(&proto);
                let run = TestRun {
                    data_in: &data,
                    data_out: Some(size + 10),
                    ..TestRun::default()
                };
                both.same(|b| {
                    let tc = run_ctx(b, ProgType::SCHED_CLS, &pass, &run);
                    (tc, run_ctx(b, ProgType::SOCKET_FILTER, &pass, &run))
                })
                .map(|_| ())
            });
        }
    }
    s.test("a signal ends a test run that goes on for hours", || {
        extern "C" fn nothing(_: i32) {}
        // SAFETY: the handler does nothing, and the structure is zero but for it.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = nothing as extern "C" fn(i32) as usize;
            libc::sigaction(libc::SIGALRM, &action, std::ptr::null_mut());
        }
        let run = TestRun {
            data_in: &[7; 64],
            repeat: u32::MAX,
            ..TestRun::default()
        };
        let began = Instant::now();
        let answer = both.same(|b| {
            let prog = load(b, ProgType::SCHED_CLS, 0, &pass)?;
            // SAFETY: no requirements.
            unsafe { libc::alarm(1) };
            let answer = prog.test_run(&run).map(|r| r.retval);
            Ok::<_, String>(answer)
        })?;
        match answer? {
            Err(e) if e.0 == libc::EINTR && began.elapsed() < Duration::from_secs(30) => Ok(()),
            other => Err(format!("{other:?} after {:?}", began.elapsed())),
        }
    });
    for room in [1usize, 13, 63, 64, 65] {
        s.test(&format!("output of 64 bytes into {room}"), || {
            let run = TestRun {
                data_in: &[7; 64],
                data_out: Some(room),
                ..TestRun::default()
            };
            both.same(|b| run_ctx(b, ProgType::SCHED_CLS, &pass, &run))
                .map(|_| ())
        });
        s.test(&format!("context output into {room}"), || {
            let run = TestRun {
                data_in: &[7; 64],
                ctx_out: Some(room),
                ..TestRun::default()
            };
            both.same(|b| run_ctx(b, ProgType::SCHED_CLS, &pass, &run))
                .map(|_| ())
        });
    }
    for (off, len) in [
        (0, 14),
        (0, 64),
        (0, 65),
        (60, 4),
        (61, 4),
        (-1, 1),
        (1 << 30, 1),
        (3000, 40),
    ] {
        s.test(&format!("skb_load_bytes {len} at {off}"), || {
            let mut insns = store(-64, &[0x55; 64]);
            insns.splice(0..0, [mov_reg(6, 1)]);
            insns.extend([
                mov_reg(1, 6),
                mov(2, off),
                mov_reg(3, 10),
                add(3, -80),
                mov(4, len),
                call(26),
                raw(0x71, 1, 10, -80, 0),
                raw(0x67, 0, 0, 0, 8),
                raw(0x4f, 0, 1, 0, 0),
                exit(),
            ]);
            let data: Vec<u8> = (0..4000u32).map(|i| (i % 251) as u8 + 1).collect();
            both.same(|b| {
                [64usize, 4000].map(|n| {
                    let run = TestRun {
                        data_in: &data[..n],
                        ..TestRun::default()
                    };
                    run_ctx(b, ProgType::SCHED_CLS, &insns, &run)
                })
            })
            .map(|_| ())
        });
    }
}

/// A program that stores `words` registers of its context, from byte offsets, in a map when the
/// process is this one.
fn recorder(b: &Bpf, regs: &[i16]) -> Result<(Map, Prog), String> {
    let size = regs.len() as u32 * 8;
    let map = b
        .map_create(&MapSpec::new(MapType::ARRAY, 4, size, 1))
        .map_err(|e| format!("map: {e}"))?;
    let mut insns = vec![mov_reg(6, 1), call(14), raw(0x77, 0, 0, 0, 32)];
    let check = insns.len();
    insns.push(exit());
    for (i, off) in (0i16..).zip(regs) {
        insns.push(raw(0x79, 1, 6, *off, 0));
        insns.push(raw(0x7b, 10, 1, -(size as i16) - 8 + i * 8, 0));
    }
    insns.extend([raw(0x62, 10, 0, -4, 0), mov_reg(2, 10), add(2, -4)]);
    insns.extend([mov_reg(3, 10), add(3, -(size as i32) - 8), mov(4, 0)]);
    insns.extend(ld_map(1, &map));
    insns.push(call(2));
    let end = insns.len();
    insns[check] = raw(
        0x56,
        0,
        0,
        (end - check - 1) as i16,
        std::process::id() as i32,
    );
    insns.extend([mov(0, 0), exit()]);
    let prog = load(b, ProgType::KPROBE, TRACE_KPROBE_MULTI, &insns)?;
    Ok((map, prog))
}

/// The numbers of `struct bpf_link_info` for kprobe_multi: type, count, flags, addresses.
fn link_info(b: &Bpf, symbols: &[&str], flags: u32) -> Result<(u32, u32, u32, Vec<u64>), String> {
    let prog = load(
        b,
        ProgType::KPROBE,
        TRACE_KPROBE_MULTI,
        &[mov(0, 0), exit()],
    )?;
    let link = prog
        .attach_kprobes(symbols, flags)
        .map_err(|e| format!("attach: {e}"))?;
    let mut addrs = vec![0u64; symbols.len()];
    let mut info = [0; 64];
    info[16..24].copy_from_slice(&(addrs.as_mut_ptr() as u64).to_ne_bytes());
    info[24..28].copy_from_slice(&(symbols.len() as u32).to_ne_bytes());
    b.info(link.as_fd().as_raw_fd(), &mut info)
        .map_err(|e| format!("info: {e}"))?;
    if get_u64(&info, 16) != addrs.as_ptr() as u64 {
        return Err("the pointer changed".to_string());
    }
    Ok((
        get_u32(&info, 0),
        get_u32(&info, 24),
        get_u32(&info, 28),
        addrs,
    ))
}

/// The link's fdinfo without ids and tag.
fn link_fdinfo(b: &Bpf, symbols: &[&str], flags: u32) -> Result<String, String> {
    let prog = load(
        b,
        ProgType::KPROBE,
        TRACE_KPROBE_MULTI,
        &[mov(0, 0), exit()],
    )?;
    let link = prog
        .attach_kprobes(symbols, flags)
        .map_err(|e| format!("attach: {e}"))?;
    fdinfo_of(&link)
}

/// A link's fdinfo without what differs between two runs.
pub fn fdinfo_of(link: &Link) -> Result<String, String> {
    let path = format!("/proc/self/fdinfo/{}", link.as_fd().as_raw_fd());
    let text = fs::read_to_string(path).map_err(|e| e.to_string())?;
    let keep = |l: &&str| {
        !["ino", "link_id", "prog_id", "mnt_id"]
            .iter()
            .any(|w| l.starts_with(w))
    };
    Ok(text.lines().filter(keep).collect::<Vec<_>>().join("\n"))
}

fn probes(s: &mut Suite, both: &Both) {
    // `struct pt_regs` by byte: ax 80, dx 96, si 104, di 112, orig_ax 120
    s.test("a function's result at its return", || {
        both.same(|b| {
            let (map, prog) = recorder(b, &[80])?;
            let link = prog
                .attach_kprobes(&["vfs_write"], KPROBE_MULTI_RETURN)
                .map_err(|e| format!("attach: {e}"))?;
            let _ = fs::write("/dev/null", [0; 77]);
            drop(link);
            map.lookup(&[0; 4]).map_err(|e| format!("lookup: {e}"))
        })
        .and_then(|v| match v {
            Ok(v) if get_u64(&v, 0) == 77 => Ok(()),
            other => Err(format!("{other:?}")),
        })
    });
    for symbols in [&["vfs_write"][..], &["vfs_write", "vfs_fsync_range"]] {
        s.test(&format!("arguments, {} functions", symbols.len()), || {
            static BYTES: [u8; 77] = [0; 77];
            both.same(|b| {
                let (map, prog) = recorder(b, &[104, 96])?;
                let link = prog
                    .attach_kprobes(symbols, 0)
                    .map_err(|e| format!("attach: {e}"))?;
                let _ = fs::write("/dev/null", BYTES);
                drop(link);
                map.lookup(&[0; 4]).map_err(|e| format!("lookup: {e}"))
            })
            .and_then(|v| match v {
                Ok(v) if get_u64(&v, 8) == 77 => Ok(()),
                other => Err(format!("{other:?}")),
            })
        });
    }
    for (flags, name) in [(0, "entry"), (KPROBE_MULTI_RETURN, "return")] {
        for symbols in [&["vfs_open"][..], &["vfs_open", "vfs_read", "vfs_write"]] {
            let n = symbols.len();
            s.test(&format!("link information, {name}, {n} functions"), || {
                both.same(|b| link_info(b, symbols, flags))?.map(|_| ())
            });
            s.test(&format!("link fdinfo, {name}, {n} functions"), || {
                both.same(|b| link_fdinfo(b, symbols, flags))?.map(|_| ())
            });
        }
    }
    s.test("a place inside a function", || {
        let (map, prog) = recorder(&both.ours, &[128])?;
        // Behind ENDBR and ftrace's call stands an instruction.
        let link = prog
            .attach_kprobes(&["vfs_open+0x9"], 0)
            .map_err(|e| format!("attach: {e}"))?;
        let _ = fs::File::open("/dev/null");
        drop(link);
        let v = map.lookup(&[0; 4]).map_err(|e| format!("lookup: {e}"))?;
        if get_u64(&v, 0) == 0 {
            return Err("not hit".to_string());
        }
        Ok(())
    });
    s.test("the middle of an instruction", || {
        let insns = [mov(0, 0), exit()];
        let prog = load(&both.ours, ProgType::KPROBE, TRACE_KPROBE_MULTI, &insns)?;
        match prog.attach_kprobes(&["vfs_open+0x6"], 0) {
            Err(e) if e.0 == libc::EILSEQ => Ok(()),
            Err(e) => Err(e.to_string()),
            Ok(_) => Err("attached".to_string()),
        }
    });
    // Functions that maps, helpers and hits themselves go through.
    for symbol in [
        "copy_from_kernel_nofault",
        "__rcu_read_lock",
        "ktime_get_mono_fast_ns",
        "rust_helper_rcu_read_lock",
        "_raw_spin_lock_irqsave",
        "oxbpf_current_comm",
        "oxbpf_map_lock",
        "kfree",
    ] {
        s.test(&format!("a probe on {symbol}, which probes use"), || {
            let map = both
                .ours
                .map_create(&MapSpec::new(MapType::HASH, 8, 16, 64))
                .map_err(|e| format!("map: {e}"))?;
            // hash[pid_tgid] = comm; read kernel memory; take the time
            let mut insns = vec![
                mov_reg(6, 1),
                call(14),
                raw(0x7b, 10, 0, -8, 0),
                mov_reg(1, 10),
                add(1, -24),
                mov(2, 16),
                call(16),
                mov_reg(1, 10),
                add(1, -40),
                mov(2, 16),
                raw(0x79, 3, 6, 152, 0),
                call(113),
                call(5),
                mov_reg(2, 10),
                add(2, -8),
                mov_reg(3, 10),
                add(3, -24),
                mov(4, 0),
            ];
            insns.extend(ld_map(1, &map));
            insns.extend([call(2), mov(0, 0), exit()]);
            let prog = load(&both.ours, ProgType::KPROBE, TRACE_KPROBE_MULTI, &insns)?;
            let mut attached = 0;
            for flags in [0, KPROBE_MULTI_RETURN] {
                let Ok(link) = prog.attach_kprobes(&[symbol], flags) else {
                    continue;
                };
                attached += 1;
                for i in 0..200u64 {
                    let _ = fs::metadata("/dev/null");
                    let _ = map.update(&i.to_ne_bytes(), &[0; 16], 0);
                    let _ = map.delete(&i.to_ne_bytes());
                }
                drop(link);
            }
            println!("# {symbol}: {attached} of 2 attached");
            Ok(())
        });
    }
}

/// The suite.
pub fn suite(s: &mut Suite) {
    let both = Both::open();
    packets(s, &both);
    probes(s, &both);
    printing(s, &both);
}
