// SPDX-License-Identifier: GPL-2.0

//! Who may do what: commands by callers without root's capabilities.

use crate::both::{no_fd, Both};
use crate::insn::{exit, mov, raw};
use crate::ktap::Suite;
use oxbpf::caps::OnlyBpf;
use oxbpf::{Bpf, Errno, MapSpec, MapType, ProgSpec, ProgType};
use std::fs;

/// Who may use bpf(2) without capabilities: 0 all, 2 nobody.
pub const SYSCTL: &str = "/proc/sys/kernel/unprivileged_bpf_disabled";
const CAP_NET_ADMIN: u32 = 12;
const CAP_SYS_ADMIN: u32 = 21;
const CAP_PERFMON: u32 = 38;
const CAP_BPF: u32 = 39;

/// Runs `f` in a child whose user is nobody and whose capabilities are `caps` only; returns what
/// it returned (0 to 255).
pub fn as_nobody(caps: &[u32], f: impl Fn() -> u8) -> Result<u8, String> {
    let mask = caps.iter().fold(0u64, |m, c| m | (1 << c));
    // SAFETY: the child makes system calls, calls `f` and leaves by _exit; the parent waits.
    unsafe {
        let pid = libc::fork();
        if pid < 0 {
            return Err("fork failed".to_string());
        }
        if pid == 0 {
            let header: [u32; 2] = [0x2008_0522, 0]; // _LINUX_CAPABILITY_VERSION_3, this task
            let (low, high) = (mask as u32, (mask >> 32) as u32);
            let data: [u32; 6] = [low, low, 0, high, high, 0];
            let ok = libc::prctl(libc::PR_SET_KEEPCAPS, 1, 0, 0, 0) == 0
                && libc::setgroups(0, std::ptr::null()) == 0
                && libc::setresgid(65534, 65534, 65534) == 0
                && libc::setresuid(65534, 65534, 65534) == 0
                && libc::syscall(libc::SYS_capset, header.as_ptr(), data.as_ptr()) == 0;
            libc::_exit(if ok { i32::from(f()) } else { 255 });
        }
        let mut status = 0;
        libc::waitpid(pid, &mut status, 0);
        if libc::WIFEXITED(status) && libc::WEXITSTATUS(status) != 255 {
            Ok(libc::WEXITSTATUS(status) as u8)
        } else {
            Err(format!("child ended with status {status:#x}"))
        }
    }
}

fn code(r: Result<i32, Errno>) -> u8 {
    match no_fd(r) {
        Ok(_) => 0,
        Err(Errno(e)) => e.clamp(1, 250) as u8,
    }
}

fn create(b: &Bpf, ty: MapType) -> u8 {
    let key = if ty == MapType::HASH { 8 } else { 4 };
    code(b.map_create(&MapSpec::new(ty, key, 8, 1)).map(|_| 0))
}

fn load(b: &Bpf, ty: ProgType) -> u8 {
    let insns = [mov(0, 0), exit()];
    code(
        b.prog_load(&ProgSpec::new(ty, &insns))
            .map(|_| 0)
            .map_err(|e| e.errno),
    )
}

/// The suite. Each call is made by a fresh child, with the sysctl at each of its values.
pub fn suite(s: &mut Suite) {
    let both = Both::open();
    let before = fs::read_to_string(SYSCTL).unwrap_or_else(|_| "2".to_string());
    let sets: [(&str, &[u32]); 6] = [
        ("none", &[]),
        ("CAP_BPF", &[CAP_BPF]),
        ("CAP_PERFMON", &[CAP_PERFMON]),
        ("CAP_BPF and CAP_PERFMON", &[CAP_BPF, CAP_PERFMON]),
        ("CAP_BPF and CAP_NET_ADMIN", &[CAP_BPF, CAP_NET_ADMIN]),
        ("CAP_SYS_ADMIN", &[CAP_SYS_ADMIN]),
    ];
    // 1 cannot be changed back, so it is not tried
    for sysctl in ["0", "2"] {
        if fs::write(SYSCTL, sysctl).is_err() {
            s.skip(
                &format!("unprivileged_bpf_disabled={sysctl}"),
                "cannot be set",
            );
            continue;
        }
        for (name, caps) in sets {
            for (what, ty) in [("array", MapType::ARRAY), ("hash", MapType::HASH)] {
                s.test(&format!("sysctl {sysctl}, {name}: create {what}"), || {
                    both.same(|b| as_nobody(caps, || create(b, ty))).map(|_| ())
                });
            }
            for ty in [
                ProgType::SOCKET_FILTER,
                ProgType::KPROBE,
                ProgType::SCHED_CLS,
            ] {
                s.test(
                    &format!("sysctl {sysctl}, {name}: load type {}", ty.0),
                    || both.same(|b| as_nobody(caps, || load(b, ty))).map(|_| ()),
                );
            }
            s.test(&format!("sysctl {sysctl}, {name}: use an open map"), || {
                both.same(|b| {
                    let map = b
                        .map_create(&MapSpec::new(MapType::ARRAY, 4, 8, 1))
                        .unwrap();
                    as_nobody(caps, || code(map.update(&[0; 4], &[1; 8], 0).map(|()| 0)))
                })
                .map(|_| ())
            });
        }
    }
    let _ = fs::write(SYSCTL, before.trim());
    s.test("barriers for who has no CAP_PERFMON", || {
        both.same(|b| load_jump(b, false).map(|_| ()))??;
        match (load_jump(&both.ours, false)?, load_jump(&both.ours, true)?) {
            // On both sides of the jump.
            (2, 0) => Ok(()),
            other => Err(format!("barriers without and with it: {other:?}")),
        }
    });
}

/// Loads a program with a jump, with or without CAP_PERFMON; the number of its barriers.
fn load_jump(b: &Bpf, perfmon: bool) -> Result<usize, String> {
    /// `ST|NOSPEC`
    const NOSPEC: u8 = 0xc2;

    let insns = [
        // r2 = *(u32 *)(r1 + 0); r0 = 0; if r2 == 0 goto +1
        raw(0x61, 2, 1, 0, 0),
        mov(0, 0),
        raw(0x15, 2, 0, 1, 0),
        mov(0, 1),
        exit(),
    ];
    let prog = {
        let _reduced = match perfmon {
            true => None,
            false => Some(OnlyBpf::new().ok_or("capabilities cannot be laid down")?),
        };
        let spec = ProgSpec::new(ProgType::SOCKET_FILTER, &insns);
        b.prog_load(&spec).map_err(|e| e.to_string())?
    };
    let info = prog.info().map_err(|e| e.to_string())?;
    Ok(info.xlated.chunks(8).filter(|i| i[0] == NOSPEC).count())
}
