// SPDX-License-Identifier: GPL-2.0

//! Routes, neighbours and lengths: what tc and XDP programs are told about a network namespace of our
//! own.

use crate::both::Both;
use crate::insn::{add, call, exit, mov, mov_reg, raw};
use crate::ktap::{volume, Suite};
use oxbpf::{Bpf, Prog, ProgSpec, ProgType, Slot, TestRun};
use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

/// Bytes of `struct bpf_fib_lookup`.
const PARAMS: usize = 64;
/// Where a run has its number or structure in the packet.
const AT: i32 = 14;

/// The devices, by name.
const DEVICES: [&str; 3] = ["fa", "fb", "fc"];

/// Devices, addresses and routes; each line is one for ip. Those with a `?` need not work: a small
/// kernel has one table.
const NETWORK: &str = "link set lo up
link add fa type dummy
link add fb type veth peer name fc
link set fa address 02:00:00:00:00:0a mtu 1400
link set fb address 02:00:00:00:00:0b
link set fc address 02:00:00:00:00:0c
addr add 10.1.0.1/24 dev fa
addr add 10.2.0.1/24 dev fb
addr add fd01::1/64 dev fa nodad
addr add fd02::1/64 dev fb nodad
link set fa up
link set fc up
link set fb up
neigh add 10.1.0.2 lladdr 02:00:00:00:01:02 dev fa
neigh add 10.2.0.2 lladdr 02:00:00:00:02:02 dev fb
neigh add fd01::2 lladdr 02:00:00:00:01:62 dev fa
neigh add fd02::2 lladdr 02:00:00:00:02:62 dev fb
route add 10.3.0.0/24 via 10.1.0.2 dev fa metric 77
route add 10.4.0.0/24 via 10.2.0.9 dev fb
route add 10.5.0.0/24 via 10.2.0.2 dev fb mtu 600 src 10.1.0.1
route add blackhole 10.6.0.0/24
route add unreachable 10.7.0.0/24
route add prohibit 10.8.0.0/24
route add throw 10.9.0.0/24
? route add 10.10.0.0/24 via inet6 fd02::2 dev fb
? route add 10.11.0.0/24 encap ip id 5 dst 10.2.0.2 via 10.2.0.2 dev fb
? route add 10.12.0.0/24 nexthop via 10.1.0.2 dev fa weight 1 nexthop via 10.2.0.2 dev fb weight 3
? route add 10.13.0.0/24 via 10.1.0.2 dev fa table 100
? route add 10.13.0.0/24 via 10.2.0.2 dev fb table 200
? rule add fwmark 7 table 200
-6 route add fd03::/64 via fd01::2 dev fa metric 77
-6 route add fd04::/64 via fd02::9 dev fb
-6 route add fd05::/64 via fd02::2 dev fb mtu 1300 src fd01::1
-6 route add blackhole fd06::/64
-6 route add unreachable fd07::/64
-6 route add prohibit fd08::/64
-6 route add throw fd09::/64
? -6 route add fd11::/64 encap ip6 id 5 dst fd02::2 via fd02::2 dev fb
? -6 route add fd12::/64 nexthop via fd01::2 dev fa nexthop via fd02::2 dev fb
? -6 route add fd13::/64 via fd01::2 dev fa table 100
? -6 route add fd13::/64 via fd02::2 dev fb table 200
? -6 rule add fwmark 7 table 200
";

/// Makes them in a new network namespace, which the process stays in.
fn network() -> Result<(), String> {
    let _ = Command::new("modprobe")
        .args(["-a", "dummy", "veth"])
        .output();
    // SAFETY: the process has one thread, and no memory is passed.
    if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
        return Err("no network namespace".to_string());
    }
    for line in NETWORK.lines() {
        let (may_fail, line) = match line.strip_prefix("? ") {
            Some(rest) => (true, rest),
            None => (false, line),
        };
        let out = Command::new("ip")
            .args(line.split(' '))
            .output()
            .map_err(|e| format!("ip: {e}"))?;
        if !out.status.success() {
            let said = String::from_utf8_lossy(&out.stderr).into_owned();
            match may_fail {
                true => println!("# without ip {line}: {}", said.trim()),
                false => return Err(format!("ip {line}: {said}")),
            }
        }
    }
    // Not lo: what comes from there is not forwarded.
    for dev in DEVICES {
        for version in ["ipv4", "ipv6"] {
            let on = dev != "fc";
            let path = format!("/proc/sys/net/{version}/conf/{dev}/forwarding");
            fs::write(&path, if on { "1" } else { "0" }).map_err(|e| format!("{path}: {e}"))?;
        }
    }
    Ok(())
}

fn index(dev: &str) -> u32 {
    let name = std::ffi::CString::new(dev).unwrap_or_default();
    // SAFETY: a string that ends in NUL.
    unsafe { libc::if_nametoindex(name.as_ptr()) }
}

/// `helper(ctx, memory, 64, cb[0])` on memory that comes from the packet and goes back there; the result
/// is what the program returns.
fn fib_program(ty: ProgType) -> Vec<Slot> {
    let mut insns = load_area(ty, PARAMS as i32);
    insns.extend([
        mov_reg(1, 6),
        mov_reg(2, 10),
        add(2, -(PARAMS as i32)),
        mov(3, PARAMS as i32),
        number(ty, 4, 0),
        call(69),
    ]);
    insns.extend(store_area(ty, PARAMS as i32));
    insns
}

/// `check_mtu(ctx, cb[0], word, cb[1], cb[2])`, likewise.
fn mtu_program(ty: ProgType) -> Vec<Slot> {
    let mut insns = load_area(ty, 8);
    insns.extend([
        mov_reg(1, 6),
        number(ty, 2, 0),
        mov_reg(3, 10),
        add(3, -8),
        number(ty, 4, 1),
        number(ty, 5, 2),
        call(163),
    ]);
    insns.extend(store_area(ty, 8));
    insns
}

/// Where XDP programs, whose context has no `cb`, have its numbers in the packet and on the stack.
const NUMBERS: usize = AT as usize + PARAMS;
const NUMBERS_ON_STACK: i16 = -96;

/// A number of those to a register.
fn number(ty: ProgType, reg: u8, index: i16) -> Slot {
    match ty {
        ProgType::XDP => raw(0x61, reg, 10, NUMBERS_ON_STACK + 4 * index, 0),
        _ => raw(0x61, reg, 6, 48 + 4 * index, 0),
    }
}

/// `len` bytes at `at` of the packet to the stack at `to`, or back, by that helper.
fn copy(helper: i32, at: i32, to: i32, len: i32) -> [Slot; 7] {
    [
        mov_reg(1, 6),
        mov(2, at),
        mov_reg(3, 10),
        add(3, to),
        mov(4, len),
        mov(5, 0),
        call(helper),
    ]
}

/// R6 is the context; the packet's bytes are on the stack.
fn load_area(ty: ProgType, len: i32) -> Vec<Slot> {
    let mut insns = vec![mov_reg(6, 1)];
    let xdp = ty == ProgType::XDP;
    insns.extend(copy(if xdp { 189 } else { 26 }, AT, -len, len));
    if xdp {
        insns.extend(copy(189, NUMBERS as i32, NUMBERS_ON_STACK.into(), 12));
    }
    insns
}

/// Back to the packet, with R0 as the result.
fn store_area(ty: ProgType, len: i32) -> Vec<Slot> {
    let mut insns = vec![mov_reg(7, 0)];
    let store = if ty == ProgType::XDP { 190 } else { 9 };
    insns.extend(copy(store, AT, -len, len));
    insns.extend([mov_reg(0, 7), exit()]);
    insns
}

/// The programs, in each.
struct Programs {
    ty: ProgType,
    theirs: Prog,
    ours: Prog,
}

impl Programs {
    fn load(both: &Both, ty: ProgType, insns: &[Slot]) -> Result<Programs, String> {
        let load = |b: &Bpf| {
            let spec = ProgSpec {
                log_level: 1,
                ..ProgSpec::new(ty, insns)
            };
            b.prog_load(&spec).map_err(|e| format!("{}: {e}", b.name()))
        };
        Ok(Programs {
            ty,
            theirs: load(&both.theirs)?,
            ours: load(&both.ours)?,
        })
    }

    /// Result and packet, which are the same.
    fn run(&self, packet: &[u8], ctx: &[(usize, u32)]) -> Result<(i32, Vec<u8>), String> {
        let mut packet = packet.to_vec();
        let mut bytes = vec![0; if self.ty == ProgType::XDP { 24 } else { 192 }];
        if self.ty == ProgType::XDP {
            // data_end; what else is in the context here is ingress_ifindex, and in cb the packet's
            let len = packet.len() as u32;
            bytes[4..8].copy_from_slice(&len.to_ne_bytes());
            for &(at, n) in ctx {
                match at {
                    40 => bytes[12..16].copy_from_slice(&n.to_ne_bytes()),
                    _ => {
                        let at = NUMBERS + at - 48;
                        packet[at..at + 4].copy_from_slice(&n.to_ne_bytes());
                    }
                }
            }
        } else {
            for &(at, n) in ctx {
                bytes[at..at + 4].copy_from_slice(&n.to_ne_bytes());
            }
        }
        let run = |prog: &Prog| {
            prog.test_run(&TestRun {
                data_in: &packet,
                data_out: Some(4096),
                ctx_in: &bytes,
                ctx_out: None,
                repeat: 1,
            })
            .map(|r| (r.retval as i32, r.data_out))
            .map_err(|e| e.to_string())
        };
        let (theirs, ours) = (run(&self.theirs), run(&self.ours));
        if theirs != ours {
            return Err(format!(
                "ctx {ctx:?}, packet {packet:02x?}\nin-tree: {theirs:02x?}\noxbpf:   {ours:02x?}"
            ));
        }
        ours
    }
}

/// One lookup's structure.
fn params(family: u8, dev: u32, src: &[u8], dst: &[u8]) -> [u8; PARAMS] {
    let mut p = [0; PARAMS];
    p[0] = family;
    p[8..12].copy_from_slice(&dev.to_ne_bytes());
    p[16..16 + src.len()].copy_from_slice(src);
    p[32..32 + dst.len()].copy_from_slice(dst);
    p
}

/// A packet of that many bytes, with the structure behind its link-layer header.
fn packet(area: &[u8], len: usize) -> Vec<u8> {
    let mut p = vec![2; 12];
    p.extend([0x12, 0x34]);
    p.extend(area);
    p.resize(len.max(p.len()), 0);
    p
}

/// Every destination from every device with every flag; the results that there were.
fn lookups(programs: &Programs, family: u8) -> Result<BTreeSet<i32>, String> {
    let v4 = family == libc::AF_INET as u8;
    let dsts: Vec<Vec<u8>> = match v4 {
        true => (1..15u8)
            .flat_map(|net| [2, 3].map(|host| vec![10, net, 0, host]))
            .chain([vec![127, 0, 0, 1], vec![224, 0, 0, 1], vec![255; 4]])
            .collect(),
        false => [
            [0xfd, 1, 2],
            [0xfd, 1, 3],
            [0xfd, 2, 2],
            [0xfd, 3, 2],
            [0xfd, 4, 2],
            [0xfd, 5, 2],
            [0xfd, 6, 2],
            [0xfd, 7, 2],
            [0xfd, 8, 2],
            [0xfd, 9, 2],
            [0xfd, 0x11, 2],
            [0xfd, 0x12, 2],
            [0xfd, 0x13, 2],
            [0xfd, 0x99, 2],
            [0xfe, 0x80, 2],
            [0xff, 2, 1],
        ]
        .map(|[a, b, z]| {
            let mut addr = vec![0; 16];
            (addr[0], addr[1], addr[15]) = (a, b, z);
            addr
        })
        .to_vec(),
    };
    let srcs: [Vec<u8>; 2] = match v4 {
        true => [vec![10, 2, 0, 2], vec![0; 4]],
        false => {
            let mut addr = vec![0; 16];
            (addr[0], addr[1], addr[15]) = (0xfd, 2, 2);
            [addr, vec![0; 16]]
        }
    };
    let mut results = BTreeSet::new();
    for dst in &dsts {
        for dev in DEVICES.map(index).into_iter().chain([1, 4444]) {
            // all combinations of the six flags, and one that is none; or, where that takes too long,
            // each alone and the first two
            for flags in 0..=64u32 {
                if volume(100) < 100 && flags != 3 && flags.count_ones() > 1 {
                    continue;
                }
                // the longer ones do not fit what some routes say
                let src = &srcs[(flags as usize / 3) % 2];
                let mut p = params(family, dev, src, dst);
                let tot = [0u16, 500, 1350, 9000][(flags as usize + dst.len()) % 4];
                p[6..8].copy_from_slice(&tot.to_ne_bytes());
                if flags & 8 != 0 {
                    let table = [100u32, 200, 254, 0, 999][flags as usize % 5];
                    p[48..52].copy_from_slice(&table.to_ne_bytes());
                }
                if flags & 32 != 0 {
                    p[52..56].copy_from_slice(&7u32.to_ne_bytes());
                }
                // For MTUs without a length the packet's own counts.
                let len = if flags % 2 == 0 { 100 } else { 3000 };
                let ctx = [(40, index("fb")), (48, flags)];
                let (result, _) = programs.run(&packet(&p, len), &ctx)?;
                results.insert(result);
            }
        }
    }
    Ok(results)
}

fn mtus(programs: &Programs) -> Result<BTreeSet<i32>, String> {
    let mut results = BTreeSet::new();
    // primes, which no loop's length divides
    let every = match (volume(100) < 100, programs.ty == ProgType::XDP) {
        (true, _) => 23,
        (_, true) => 11,
        _ => 1,
    };
    let mut seen = 0;
    for dev in DEVICES.map(index).into_iter().chain([0, 1, 4444]) {
        for given in [
            0u32,
            1,
            1400,
            1401,
            1500,
            1501,
            70000,
            0x7fff_fff0,
            u32::MAX,
        ] {
            for diff in [0i32, 1, -1, 100, -2000, i32::MAX, i32::MIN] {
                for flags in [0u32, 1, 2] {
                    for (len, gso) in [(100, 0u32), (1514, 0), (1515, 0), (3000, 0), (3000, 500)] {
                        seen += 1;
                        if seen % every != 0 {
                            continue;
                        }
                        let mut ctx =
                            vec![(40, index("fb")), (48, dev), (52, diff as u32), (56, flags)];
                        if gso != 0 && programs.ty == ProgType::XDP {
                            continue;
                        }
                        if gso != 0 {
                            ctx.extend([(164, 6), (176, gso)]);
                        }
                        let (result, _) = programs.run(&packet(&given.to_ne_bytes(), len), &ctx)?;
                        results.insert(result);
                    }
                }
            }
        }
    }
    Ok(results)
}

/// The suite.
pub fn suite(s: &mut Suite) {
    let both = Both::open();
    let mut there = false;
    s.test("a network namespace with routes", || {
        network()?;
        there = true;
        Ok(())
    });
    if !there {
        return;
    }
    for (kind, ty) in [("tc", ProgType::SCHED_CLS), ("XDP", ProgType::XDP)] {
        of_type(s, &both, kind, ty);
    }
}

fn of_type(s: &mut Suite, both: &Both, kind: &str, ty: ProgType) {
    for (name, family) in [("IPv4", libc::AF_INET), ("IPv6", libc::AF_INET6)] {
        s.test(&format!("{kind}: fib_lookup {name}"), || {
            let programs = Programs::load(both, ty, &fib_program(ty))?;
            let results = lookups(&programs, family as u8)?;
            println!("# results: {results:?}");
            // Success, blackhole, unreachable, prohibit, not forwarded, forwarding off, no neighbour,
            // too long; no device, a wrong flag.
            for want in [0, 1, 2, 3, 4, 5, 7, 8, -libc::ENODEV, -libc::EINVAL] {
                if !results.contains(&want) {
                    return Err(format!("no lookup gave {want}"));
                }
            }
            Ok(())
        });
    }
    let name = format!("{kind}: fib_lookup of another family, or in too little");
    s.test(&name, || {
        let programs = Programs::load(both, ty, &fib_program(ty))?;
        let p = params(99, index("fa"), &[], &[]);
        let (result, _) = programs.run(&packet(&p, 100), &[])?;
        if result != -libc::EAFNOSUPPORT {
            return Err(format!("{result}"));
        }
        let mut short = fib_program(ty);
        for insn in &mut short {
            if insn[..] == mov(3, PARAMS as i32)[..] {
                *insn = mov(3, PARAMS as i32 - 1);
            }
        }
        let programs = Programs::load(both, ty, &short)?;
        let p = params(2, index("fa"), &[], &[10, 1, 0, 2]);
        match programs.run(&packet(&p, 100), &[])?.0 {
            r if r == -libc::EINVAL => Ok(()),
            other => Err(format!("{other}")),
        }
    });
    s.test(&format!("{kind}: check_mtu"), || {
        let programs = Programs::load(both, ty, &mtu_program(ty))?;
        let results = mtus(&programs)?;
        println!("# results: {results:?}");
        for want in [0, 1, -libc::ENODEV, -libc::EINVAL] {
            if !results.contains(&want) {
                return Err(format!("no call gave {want}"));
            }
        }
        Ok(())
    });
}
