// SPDX-License-Identifier: GPL-2.0

//! Helpers of tc programs: the same calls on the same packets through both, with equal results,
//! packets and contexts afterwards.

use crate::both::Both;
use crate::insn::{add, call, exit, ld_imm64, mov, mov_reg, raw};
use crate::ktap::{volume, Suite};
use oxbpf::{Bpf, ProgSpec, ProgType, Slot, TestRun};

/// One argument behind the context.
#[derive(Clone, Copy)]
enum Arg {
    /// A number.
    Num(u64),
    /// Memory of that many bytes, and its size: two arguments.
    Mem(i32),
    /// NULL and 0.
    Null,
}

use Arg::{Mem, Null, Num};

/// One call of a helper.
#[derive(Clone)]
struct Call {
    helper: i32,
    /// Its first argument is the context.
    ctx: bool,
    args: Vec<Arg>,
}

fn on(helper: i32, args: &[Arg]) -> Call {
    Call {
        helper,
        ctx: true,
        args: args.to_vec(),
    }
}

fn plain(helper: i32, args: &[Arg]) -> Call {
    Call {
        ctx: false,
        ..on(helper, args)
    }
}

/// Where on the stack memory for calls is.
const AREA: i32 = -256;

/// A program that makes the calls and leaves in the context what came of them.
fn program(calls: &[Call]) -> Vec<Slot> {
    let mut insns = vec![mov_reg(6, 1), mov(7, 0)];
    for i in 0..32 {
        let pattern = (i as u64 + 1).wrapping_mul(0x0123_4567_89ab_cdef);
        insns.extend(ld_imm64(1, pattern));
        insns.push(raw(0x7b, 10, 1, (AREA + i * 8) as i16, 0));
    }
    for c in calls {
        let mut reg = 1;
        if c.ctx {
            insns.push(mov_reg(1, 6));
            reg = 2;
        }
        for (i, a) in c.args.iter().enumerate() {
            match *a {
                Num(n) => insns.extend(ld_imm64(reg, n)),
                Mem(len) => {
                    // Each argument's memory somewhere else.
                    insns.extend([mov_reg(reg, 10), add(reg, AREA + 64 * (i as i32 % 4))]);
                    reg += 1;
                    insns.push(mov(reg, len));
                }
                Null => {
                    insns.push(mov(reg, 0));
                    reg += 1;
                    insns.push(mov(reg, 0));
                }
            }
            reg += 1;
        }
        // r7 = r7 * 31 + r0
        insns.extend([
            call(c.helper),
            raw(0x27, 7, 0, 0, 31),
            raw(0x0f, 7, 0, 0, 0),
        ]);
    }
    // What the helpers may have written on the stack goes into the sum too.
    for i in 0..32 {
        insns.push(raw(0x79, 0, 10, (AREA + i * 8) as i16, 0));
        insns.extend([raw(0x27, 7, 0, 0, 31), raw(0x0f, 7, 0, 0, 0)]);
    }
    // cb[0..2] = r7; cb[2] = len; cb[3] = protocol; cb[4] = vlan; mark = hash;
    // priority = data_end - data
    insns.extend([
        raw(0x63, 6, 7, 48, 0),
        raw(0x77, 7, 0, 0, 32),
        raw(0x63, 6, 7, 52, 0),
    ]);
    insns.extend([raw(0x61, 1, 6, 0, 0), raw(0x63, 6, 1, 56, 0)]);
    insns.extend([raw(0x61, 1, 6, 16, 0), raw(0x63, 6, 1, 60, 0)]);
    insns.extend([raw(0x61, 1, 6, 24, 0), raw(0x61, 2, 6, 4, 0)]);
    insns.extend([
        raw(0x67, 2, 0, 0, 16),
        raw(0x4f, 1, 2, 0, 0),
        raw(0x63, 6, 1, 64, 0),
    ]);
    insns.extend([raw(0x61, 1, 6, 68, 0), raw(0x63, 6, 1, 8, 0)]);
    insns.extend([
        raw(0x61, 1, 6, 76, 0),
        raw(0x61, 2, 6, 80, 0),
        raw(0x1f, 2, 1, 0, 0),
    ]);
    insns.extend([raw(0x63, 6, 2, 32, 0), mov(0, 0), exit()]);
    insns
}

/// Folded one's complement sum.
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = bytes
        .chunks(2)
        .map(|c| (u32::from(c[0]) << 8) | u32::from(*c.get(1).unwrap_or(&0)))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

fn ethernet(proto: u16, rest: &[u8]) -> Vec<u8> {
    let mut p = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    p.extend(proto.to_be_bytes());
    p.extend(rest);
    p
}

fn ipv4(proto: u8, tos: u8, l4: &[u8]) -> Vec<u8> {
    let mut h = vec![0x45, tos, 0, 0, 0x12, 0x34, 0x40, 0, 64, proto, 0, 0];
    h.extend([10, 0, 0, 1, 10, 0, 0, 2]);
    h[2..4].copy_from_slice(&(20 + l4.len() as u16).to_be_bytes());
    let sum = checksum(&h);
    h[10..12].copy_from_slice(&sum.to_be_bytes());
    h.extend(l4);
    h
}

fn ipv6(proto: u8, l4: &[u8]) -> Vec<u8> {
    let mut h = vec![0x60, 0x20, 0, 0, 0, 0, proto, 64];
    h[4..6].copy_from_slice(&(l4.len() as u16).to_be_bytes());
    h.extend([0xfd; 16]);
    h.extend([0xfe; 16]);
    h.extend(l4);
    h
}

fn l4(header: usize, len: usize) -> Vec<u8> {
    let mut p: Vec<u8> = (0..header + len).map(|i| i as u8 ^ 0x5a).collect();
    p[..4].copy_from_slice(&[0x1f, 0x90, 0x23, 0x28]);
    if header == 20 {
        p[12] = 0x50;
    } else {
        p[4..6].copy_from_slice(&((header + len) as u16).to_be_bytes());
    }
    p
}

/// Name, packet, how much of it is in one piece (0: as it comes).
fn packets() -> Vec<(&'static str, Vec<u8>, u32)> {
    let tcp = ipv4(6, 2, &l4(20, 40));
    let mut tagged = vec![0x20, 0x05, 0x08, 0x00];
    tagged.extend(&tcp);
    let mut no_sum = ipv4(17, 1, &l4(8, 30));
    no_sum[26..28].fill(0);
    vec![
        ("tcp", ethernet(0x800, &tcp), 0),
        ("udp without a sum", ethernet(0x800, &no_sum), 0),
        (
            "udp in pieces",
            ethernet(0x800, &ipv4(17, 0, &l4(8, 300))),
            64,
        ),
        ("long", ethernet(0x800, &ipv4(17, 3, &l4(8, 5000))), 0),
        ("tcp over ipv6", ethernet(0x86dd, &ipv6(6, &l4(20, 60))), 0),
        ("vlan", ethernet(0x8100, &tagged), 0),
        ("arp", ethernet(0x806, &[7; 28]), 0),
        ("header only", ethernet(0x9999, &[]), 0),
    ]
}

/// Result, packet and the context's fields afterwards.
type Outcome = Result<(u32, Vec<u8>, Vec<u8>), String>;

/// What the calls make of each packet.
fn outcomes(bpf: &Bpf, ty: ProgType, insns: &[Slot]) -> Result<Vec<Outcome>, String> {
    let spec = ProgSpec {
        log_level: 1,
        ..ProgSpec::new(ty, insns)
    };
    let prog = bpf
        .prog_load(&spec)
        .map_err(|e| format!("{}: {e}", bpf.name()))?;
    Ok(packets()
        .iter()
        .map(|(_, data, linear)| {
            let mut ctx = [0u8; 192];
            ctx[80..84].copy_from_slice(&linear.to_ne_bytes());
            prog.test_run(&TestRun {
                data_in: data,
                data_out: Some(8192),
                ctx_in: &ctx,
                ctx_out: Some(192),
                repeat: 1,
            })
            .map(|r| (r.retval, r.data_out, r.ctx_out))
            .map_err(|e| e.to_string())
        })
        .collect())
}

/// Both load the program as each of the types, and it does the same to every packet. Counts the packets that it changed
/// or that an error kept it from changing, so that a helper that never does a thing is noticed.
fn same(both: &Both, types: &[ProgType], calls: &[Call]) -> Result<usize, String> {
    let insns = program(calls);
    let mut done = 0;
    for &ty in types {
        let theirs = outcomes(&both.theirs, ty, &insns)?;
        let ours = outcomes(&both.ours, ty, &insns)?;
        for (((name, data, _), t), o) in packets().iter().zip(&theirs).zip(&ours) {
            if t != o {
                return Err(format!("{name}: in-tree: {t:02x?}\noxbpf: {o:02x?}"));
            }
            done += usize::from(t.as_ref().is_ok_and(|(_, after, _)| after != data));
        }
    }
    Ok(done)
}

/// All calls of one helper, as one test, or some of them with less volume; `changes`: some packet
/// must have become another.
fn helper(s: &mut Suite, both: &Both, name: &str, changes: bool, calls: Vec<Vec<Call>>) {
    s.test(&format!("{name}, {} programs", calls.len()), || {
        let mut changed = 0;
        let every = (30 / volume(100)).max(1) as usize;
        for (i, c) in calls.iter().enumerate().step_by(every) {
            // The two types share the helpers: once is enough for the second.
            let types = [ProgType::SCHED_CLS, ProgType::SCHED_ACT];
            let types = &types[..if i == 0 { 2 } else { 1 }];
            changed += same(both, types, c).map_err(|e| {
                let args: Vec<String> = c
                    .iter()
                    .map(|c| {
                        let args: Vec<String> = c
                            .args
                            .iter()
                            .map(|a| match a {
                                Num(n) => format!("{n:#x}"),
                                Mem(len) => format!("mem {len}"),
                                Null => "NULL".to_string(),
                            })
                            .collect();
                        format!("{}({})", c.helper, args.join(", "))
                    })
                    .collect();
                format!("{}: {e}", args.join("; "))
            })?;
        }
        if changes && changed == 0 && every == 1 {
            return Err("no packet was changed".to_string());
        }
        Ok(())
    });
}

/// Every combination.
fn product(helper: i32, lists: &[&[Arg]]) -> Vec<Vec<Call>> {
    let mut all: Vec<Vec<Arg>> = vec![vec![]];
    for list in lists {
        all = all
            .iter()
            .flat_map(|head| {
                list.iter().map(move |a| {
                    let mut args = head.clone();
                    args.push(*a);
                    args
                })
            })
            .collect();
    }
    all.iter().map(|args| vec![on(helper, args)]).collect()
}

fn bytes(s: &mut Suite, both: &Both) {
    let at = [0, 14, 33, 60, 0x1000, 0x7fff_ffff, 0xffff_fff0].map(Num);
    let len = [1, 6, 40].map(Mem);
    helper(
        s,
        both,
        "skb_store_bytes",
        true,
        product(9, &[&at, &len, &[0, 1, 2, 3, 4].map(Num)]),
    );
    helper(s, both, "skb_load_bytes", false, product(26, &[&at, &len]));
    helper(
        s,
        both,
        "skb_load_bytes_relative",
        false,
        product(
            68,
            &[&[0, 9, 60, 0x10000].map(Num), &len, &[0, 1, 2].map(Num)],
        ),
    );
    helper(
        s,
        both,
        "skb_pull_data",
        false,
        product(39, &[&[0, 1, 64, 200, 4000, 9000, 0xffff_ffff].map(Num)]),
    );
}

fn sums(s: &mut Suite, both: &Both) {
    let at = [24, 50, 25, 0x10000, 9000].map(Num);
    let flags = [0, 2, 4, 3, 0x10, 0x22].map(Num);
    let pair = [[0, 0x1234_5678], [0x0a00_0001, 0x0a00_0002], [0x23, 0x99]];
    for (name, id) in [("l3_csum_replace", 10), ("l4_csum_replace", 11)] {
        let mut all = vec![];
        for [from, to] in pair {
            all.extend(product(id, &[&at, &[Num(from)], &[Num(to)], &flags]));
        }
        if id == 11 {
            let flags = [0x20, 0x22, 0x60, 0x12, 0x14, 0x80, 0x90, 0x100].map(Num);
            all.extend(product(id, &[&at, &[Num(0)], &[Num(77)], &flags]));
        }
        helper(s, both, name, true, all);
    }
    let sizes = [Null, Mem(4), Mem(12), Mem(64)];
    let mut all = vec![];
    for from in sizes {
        for to in sizes {
            for seed in [0, 1, 0xffff, 0xffff_ffff, 0x1234_5678] {
                all.push(vec![plain(28, &[from, to, Num(seed)])]);
            }
        }
    }
    helper(s, both, "csum_diff", false, all);
    helper(
        s,
        both,
        "csum_update",
        false,
        product(40, &[&[0, 5].map(Num)]),
    );
    helper(
        s,
        both,
        "csum_level",
        false,
        product(135, &[&[0, 1, 2, 3, 4].map(Num)]),
    );
}

fn shape(s: &mut Suite, both: &Both) {
    let proto = [0x0081, 0xa888, 0x0008].map(Num);
    let tci = [0, 5, 0x2fff, 0xffff].map(Num);
    helper(
        s,
        both,
        "skb_vlan_push",
        false,
        product(18, &[&proto, &tci]),
    );
    let mut twice: Vec<Vec<Call>> = product(18, &[&proto, &tci]);
    for t in &mut twice {
        t.push(on(18, &[Num(0x0081), Num(9)]));
    }
    helper(s, both, "skb_vlan_push twice", true, twice.clone());
    for t in &mut twice {
        t.push(on(19, &[]));
    }
    helper(s, both, "skb_vlan_push and pop", false, twice);
    helper(
        s,
        both,
        "skb_vlan_pop",
        true,
        vec![vec![on(19, &[])], vec![on(19, &[]), on(19, &[])]],
    );
    helper(
        s,
        both,
        "skb_change_proto",
        true,
        product(31, &[&[0x0008, 0xdd86, 0x1234].map(Num), &[0, 1].map(Num)]),
    );
    helper(
        s,
        both,
        "skb_change_type",
        false,
        product(32, &[&[0, 1, 3, 4, 7, 9].map(Num)]),
    );
    let len = [0, 14, 33, 34, 60, 1000, 4000, 9000, 70000, 0xffff_ffff].map(Num);
    helper(
        s,
        both,
        "skb_change_tail",
        true,
        product(38, &[&len, &[0, 1].map(Num)]),
    );
    let room = [0, 1, 14, 200, 3000, 70000, 0x8000_0000].map(Num);
    helper(
        s,
        both,
        "skb_change_head",
        true,
        product(43, &[&room, &[0, 1].map(Num)]),
    );
}

fn room(s: &mut Suite, both: &Both) {
    let diff = [
        8,
        20,
        40,
        0xfff,
        0x1000,
        -8i64 as u64,
        -20i64 as u64,
        -40i64 as u64,
        -200i64 as u64,
    ];
    let flags = [
        0,
        1,
        2,
        4,
        6,
        0x0a,
        0x12,
        0x14,
        0x1a,
        0x20,
        0x42,
        0x52 | (14 << 56),
        0x12 | (14 << 56),
        0x02 | (60 << 56),
        0x80,
        0x100,
        0x180,
        0x121,
        0x200,
        0x400,
    ];
    let modes = [0, 1, 2].map(Num);
    let mut all = product(50, &[&diff.map(Num), &modes, &[0, 1, 0x20].map(Num)]);
    let some = [20, 40, -20i64 as u64].map(Num);
    all.extend(product(50, &[&some, &[Num(1)], &flags.map(Num)]));
    helper(s, both, "skb_adjust_room", true, all);
    // Outer headers come, and go again.
    let mut both_ways = vec![];
    for flags in [0u64, 2, 4, 0x0a, 0x12] {
        both_ways.push(vec![
            on(50, &[Num(20), Num(1), Num(flags)]),
            on(9, &[Num(14), Mem(20), Num(0)]),
            on(50, &[Num(-20i64 as u64), Num(1), Num(0)]),
        ]);
    }
    helper(s, both, "skb_adjust_room and back", false, both_ways);
}

/// In-tree loads a program that calls the helper with its context.
fn in_tree_has(both: &Both, helper: i32) -> bool {
    let insns = program(&[on(helper, &[])]);
    let spec = ProgSpec::new(ProgType::SCHED_CLS, &insns);
    both.theirs.prog_load(&spec).is_ok()
}

/// A key in each of the lengths that it had, set and got back with flags; and options.
fn tunnels(s: &mut Suite, both: &Both) {
    let sizes = [1, 8, 22, 24, 28, 40, 44, 48];
    let mut all = vec![];
    for size in sizes {
        for flags in [0u64, 1, 2, 4, 8, 16, 32, 0x1f] {
            // get with nothing set; what was set, got in full and by another family
            all.push(vec![on(20, &[Mem(size), Num(flags)])]);
            let set = on(21, &[Mem(size), Num(flags)]);
            all.push(vec![set.clone(), on(20, &[Mem(44), Num(flags & 1)])]);
            all.push(vec![set.clone(), on(20, &[Mem(44), Num((flags & 1) | 16)])]);
            all.push(vec![set, on(20, &[Mem(44), Num(!flags & 1)])]);
        }
        let set = on(21, &[Mem(22), Num(1)]);
        all.push(vec![set, on(20, &[Mem(size), Num(1)])]);
        let set = on(21, &[Mem(22), Num(0)]);
        all.push(vec![set, on(20, &[Mem(size), Num(0)])]);
    }
    helper(s, both, "tunnel keys", false, all);
    let mut all = vec![vec![on(30, &[Mem(8)])], vec![on(29, &[Mem(8)])]];
    for size in [3, 4, 8, 64, 252] {
        let key = on(21, &[Mem(22), Num(0)]);
        let set = on(30, &[Mem(size)]);
        all.push(vec![key.clone(), on(29, &[Mem(size)])]);
        for room in [4, 8, 64] {
            all.push(vec![key.clone(), set.clone(), on(29, &[Mem(room)])]);
        }
        // Another key has no options yet.
        all.push(vec![key.clone(), set, key, on(29, &[Mem(64)])]);
    }
    helper(s, both, "tunnel options", false, all);
}

fn facts(s: &mut Suite, both: &Both) {
    for (name, id) in [
        ("get_cgroup_classid", 17),
        ("get_route_realm", 24),
        ("get_hash_recalc", 34),
        ("set_hash_invalid", 41),
        ("get_socket_uid", 47),
        ("skb_ecn_set_ce", 97),
        ("skb_cgroup_classid", 151),
        ("skb_cgroup_id", 79),
        ("get_netns_cookie", 122),
    ] {
        // In-tree has it with CGROUP_NET_CLASSID only.
        if id == 151 && !in_tree_has(both, id) {
            s.skip(name, "the kernel was built without it");
            continue;
        }
        let changes = id == 97;
        helper(s, both, name, changes, vec![vec![on(id, &[])]]);
    }
    helper(
        s,
        both,
        "set_hash",
        false,
        vec![
            vec![on(48, &[Num(0x1_2345_6789)])],
            vec![on(48, &[Num(5)]), on(34, &[])],
            vec![
                on(34, &[]),
                on(41, &[]),
                on(48, &[Num(7)]),
                on(41, &[]),
                on(34, &[]),
            ],
        ],
    );
    let level = [0, 1, 2, 100, -1i64 as u64].map(Num);
    let all = product(83, &[&level]);
    helper(s, both, "skb_ancestor_cgroup_id", false, all);
    tunnels(s, both);
    let stamp = [0, 1, 1 << 40].map(Num);
    helper(
        s,
        both,
        "skb_set_tstamp",
        false,
        product(192, &[&stamp, &[0, 1, 2, 3].map(Num)]),
    );
    let to = [0u64, 1, 0xffff_ffff];
    let mut all = vec![];
    for n in to {
        for flags in [0, 1, 2, 0x10000] {
            all.push(vec![plain(23, &[Num(n), Num(flags)])]);
            all.push(vec![plain(155, &[Num(n), Num(flags)])]);
            all.push(vec![plain(152, &[Num(n), Null, Num(flags)])]);
            all.push(vec![plain(152, &[Num(n), Mem(4), Num(flags)])]);
            all.push(vec![plain(152, &[Num(n), Mem(64), Num(flags)])]);
        }
    }
    helper(
        s,
        both,
        "redirect, redirect_peer, redirect_neigh",
        false,
        all,
    );
    // Index 1 is the loopback device: the copies are received there, and thrown away.
    let mut all = vec![];
    for n in [0u64, 1, 77] {
        for flags in [0, 1, 2] {
            all.push(vec![
                on(13, &[Num(n), Num(flags)]),
                on(9, &[Num(20), Mem(6), Num(0)]),
            ]);
        }
    }
    helper(s, both, "clone_redirect", true, all);
}

/// The suite.
pub fn suite(s: &mut Suite) {
    let both = Both::open();
    bytes(s, &both);
    sums(s, &both);
    shape(s, &both);
    room(s, &both);
    facts(s, &both);
}
