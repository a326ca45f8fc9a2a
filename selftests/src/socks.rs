// SPDX-License-Identifier: GPL-2.0

//! Sockets: what programs find in a network namespace of our own, and what they see of it.

use crate::both::Both;
use crate::insn::{add, call, exit, ld_map, mov, mov_reg, raw};
use crate::ktap::Suite;
use oxbpf::{Bpf, Map, MapSpec, MapType, Prog, ProgSpec, ProgType, Slot, TestRun};
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};

/// Bytes of the map's only value: the four numbers, what else a look-up is asked, and what was seen.
const VALUE: usize = 1024;
const NETNS: usize = 40;
const FLAGS: usize = 48;
const BITS: usize = 56;
const SEEN: i16 = 64;

/// What a run says of the socket: there is one; a full one; TCP's; a listener, or one of a listener's.
const FOUND: u64 = 1;
const FULL: u64 = 2;
const TCP: u64 = 4;
const LISTENER: u64 = 8;

/// How a program comes to its socket.
#[derive(Clone, Copy, PartialEq)]
enum By {
    /// This helper.
    Helper(i32),
    /// It is the packet's.
    Packet,
}

const LOOKUP_TCP: By = By::Helper(84);
const LOOKUP_UDP: By = By::Helper(85);
const LOOKUP_ANY: By = By::Helper(99);

/// This network namespace, by a number that is negative.
const HERE: u64 = u64::MAX;

const B: u8 = 0x71;
const H: u8 = 0x69;
const W: u8 = 0x61;
const DW: u8 = 0x79;
/// A byte with its sign.
const SB: u8 = 0x91;

/// What any socket shows.
const OF_ANY: &[(u8, i16)] = &[
    (W, 0),
    (W, 4),
    (H, 4),
    (B, 4),
    (W, 24),
    (B, 25),
    (H, 26),
    (SB, 24),
    (W, 28),
    (W, 32),
    (W, 36),
    (W, 40),
    (B, 43),
    (W, 44),
    (H, 44),
    (B, 44),
    (W, 48),
    (H, 48),
    (B, 48),
    (B, 49),
    (W, 52),
    (H, 54),
    (W, 56),
    (W, 60),
    (W, 64),
    (W, 68),
    (SB, 71),
    (W, 72),
    (H, 72),
    (B, 72),
    (W, 76),
    (H, 76),
    (B, 76),
];
/// What only full ones show.
const OF_FULL: &[(u8, i16)] = &[(W, 8), (H, 8), (W, 12), (B, 12), (W, 16), (W, 20)];

/// All of `struct bpf_tcp_sock`.
fn of_tcp() -> Vec<(u8, i16)> {
    let first = (0..80).step_by(4).map(|at| (W, at));
    let rest = (96..112).step_by(4).map(|at| (W, at));
    first.chain([(DW, 80), (DW, 88)]).chain(rest).collect()
}

/// A program under construction.
struct Code {
    insns: Vec<Slot>,
    /// Where the next field goes.
    next: i16,
}

impl Code {
    /// The socket in `reg` shows this.
    fn see(&mut self, reg: u8, fields: &[(u8, i16)]) {
        for &(how, off) in fields {
            self.insns.push(raw(how, 1, reg, off, 0));
            self.insns.push(raw(0x7b, 9, 1, self.next, 0));
            self.next += 8;
        }
    }

    /// `R0 = helper(R8)`; if that is something, it is noted, and shows this.
    fn as_another(&mut self, helper: i32, bit: u64, fields: &[(u8, i16)]) {
        self.insns.extend([mov_reg(1, 8), call(helper)]);
        let jump = self.insns.len();
        self.insns.push(exit());
        self.insns.push(raw(0x47, 7, 0, 0, bit as i32));
        self.see(0, fields);
        let by = self.insns.len() - jump - 1;
        self.insns[jump] = raw(0x15, 0, 0, by as i16, 0);
    }
}

/// Asks by what is in the map, and writes to it what it sees.
fn program(ty: ProgType, by: By, tuple: i32, map: &Map) -> Vec<Slot> {
    let or_end = [raw(0x55, 0, 0, 2, 0), mov(0, 0), exit()];
    let mut c = Code {
        insns: vec![mov_reg(6, 1), raw(0x62, 10, 0, -4, 0), mov_reg(2, 10)],
        next: SEEN,
    };
    c.insns.push(add(2, -4));
    c.insns.extend(ld_map(1, map));
    c.insns.push(call(1));
    c.insns.extend(or_end);
    c.insns.push(mov_reg(9, 0));
    match by {
        By::Packet => c.insns.push(raw(DW, 0, 6, 168, 0)),
        By::Helper(helper) => c.insns.extend([
            mov_reg(1, 6),
            mov_reg(2, 9),
            mov(3, tuple),
            raw(DW, 4, 9, NETNS as i16, 0),
            raw(DW, 5, 9, FLAGS as i16, 0),
            call(helper),
        ]),
    }
    c.insns.extend(or_end);
    c.insns.extend([mov_reg(8, 0), mov(7, FOUND as i32)]);
    c.see(8, OF_ANY);
    if by == LOOKUP_TCP || by == LOOKUP_UDP {
        c.see(8, OF_FULL);
    }
    if ty != ProgType::XDP && ty != ProgType::SOCKET_FILTER {
        c.as_another(95, FULL, OF_FULL);
        c.as_another(96, TCP, &of_tcp());
        c.as_another(98, LISTENER, &[(W, 72), (W, 8)]);
    }
    c.insns.push(raw(0x7b, 9, 7, BITS as i16, 0));
    if by != By::Packet {
        c.insns.extend([mov_reg(1, 8), call(86)]);
    }
    c.insns.extend([mov(0, 1), exit()]);
    c.insns
}

/// A program with its map.
struct Loaded {
    ty: ProgType,
    map: Map,
    prog: Prog,
}

impl Loaded {
    fn new(b: &Bpf, ty: ProgType, by: By, tuple: usize) -> Result<Loaded, String> {
        let spec = MapSpec::new(MapType::ARRAY, 4, VALUE as u32, 1);
        let map = b.map_create(&spec).map_err(|e| format!("map: {e}"))?;
        let insns = program(ty, by, tuple as i32, &map);
        let spec = ProgSpec {
            log_level: 1,
            ..ProgSpec::new(ty, &insns)
        };
        let prog = b
            .prog_load(&spec)
            .map_err(|e| format!("{}: {e}", b.name()))?;
        Ok(Loaded { ty, map, prog })
    }

    /// What is in the map after so many runs.
    fn run(&self, ask: &Ask, times: u32) -> Result<Vec<u8>, String> {
        let mut value = vec![0; VALUE];
        value[..ask.tuple.len()].copy_from_slice(&ask.tuple);
        value[NETNS..NETNS + 8].copy_from_slice(&ask.netns.to_ne_bytes());
        value[FLAGS..FLAGS + 8].copy_from_slice(&ask.flags.to_ne_bytes());
        let failed = |e: oxbpf::Errno| e.to_string();
        self.map.update(&[0; 4], &value, 0).map_err(failed)?;
        // IPv4, 10.1.2.3 to 10.4.5.6
        let mut packet = vec![0; 64];
        packet[12] = 8;
        packet[14] = 0x45;
        packet[26..34].copy_from_slice(&[10, 1, 2, 3, 10, 4, 5, 6]);
        let run = TestRun {
            data_in: &packet,
            data_out: None,
            ctx_in: &[],
            ctx_out: None,
            repeat: times,
        };
        self.prog
            .test_run(&run)
            .map_err(|e| format!("run of type {}: {e}", self.ty.0))?;
        self.map.lookup(&[0; 4]).map_err(failed)
    }
}

fn bits(value: &[u8]) -> u64 {
    u64::from_ne_bytes(value[BITS..BITS + 8].try_into().unwrap_or_default())
}

/// What a look-up is asked.
#[derive(Clone)]
struct Ask {
    tuple: Vec<u8>,
    netns: u64,
    flags: u64,
}

impl Ask {
    fn new(from: SocketAddr, to: SocketAddr) -> Ask {
        let mut tuple = Vec::new();
        for addr in [from, to] {
            match addr {
                SocketAddr::V4(a) => tuple.extend(a.ip().octets()),
                SocketAddr::V6(a) => tuple.extend(a.ip().octets()),
            }
        }
        tuple.extend(from.port().to_be_bytes());
        tuple.extend(to.port().to_be_bytes());
        Ask {
            tuple,
            netns: HERE,
            flags: 0,
        }
    }
}

/// The programs of one kind, in each.
struct Programs {
    theirs: Loaded,
    ours: Loaded,
}

impl Programs {
    fn load(both: &Both, ty: ProgType, by: By, tuple: usize) -> Result<Programs, String> {
        Ok(Programs {
            theirs: Loaded::new(&both.theirs, ty, by, tuple)?,
            ours: Loaded::new(&both.ours, ty, by, tuple)?,
        })
    }

    /// Both see the same of the same socket, and it is of that kind.
    ///
    /// What the kernel has still to do for it, as acknowledging, may fall between the two looks, so they are
    /// repeated.
    fn same(&self, ask: &Ask, want: u64) -> Result<(), String> {
        let mut left = 20;
        loop {
            let theirs = self.theirs.run(ask, 1)?;
            let ours = self.ours.run(ask, 1)?;
            if theirs == ours && bits(&ours) == want {
                return Ok(());
            }
            left -= 1;
            if left == 0 {
                return Err(format!(
                    "wanted {want}\nin-tree: {theirs:02x?}\noxbpf:   {ours:02x?}"
                ));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// Program types that find sockets, and what they see of kinds.
const TYPES: [(&str, ProgType, u64); 4] = [
    ("classifier", ProgType::SCHED_CLS, u64::MAX),
    ("action", ProgType::SCHED_ACT, u64::MAX),
    ("cgroup", ProgType::CGROUP_SKB, u64::MAX),
    ("XDP", ProgType::XDP, FOUND),
];

/// A connection from here to here: the client's side, the server's.
fn connection(listener: &TcpListener) -> Result<(TcpStream, TcpStream), String> {
    let failed = |e: std::io::Error| e.to_string();
    let mut client = TcpStream::connect(listener.local_addr().map_err(failed)?).map_err(failed)?;
    let (mut server, _) = listener.accept().map_err(failed)?;
    client.write_all(b"1").map_err(failed)?;
    let mut byte = [0];
    server.read_exact(&mut byte).map_err(failed)?;
    server.write_all(&byte).map_err(failed)?;
    client.read_exact(&mut byte).map_err(failed)?;
    Ok((client, server))
}

/// The references to TCP's IPv4 socket with these ports, as the kernel shows them.
fn references(local: u16, remote: u16) -> Result<i64, String> {
    let table = fs::read_to_string("/proc/self/net/tcp").map_err(|e| e.to_string())?;
    let (local, remote) = (format!(":{local:04X}"), format!(":{remote:04X}"));
    for line in table.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let ends = |i: usize, port: &str| words.get(i).is_some_and(|w| w.ends_with(port));
        if ends(1, &local) && ends(2, &remote) {
            let count = words.get(10).and_then(|w| w.parse().ok());
            return count.ok_or_else(|| format!("no references in {line:?}"));
        }
    }
    Err(format!("no socket {local} {remote} in {table}"))
}

/// Many runs leave about as many references as there were: timers have some, too.
fn keeps_none(ours: &Loaded, ask: &Ask, local: u16, remote: u16) -> Result<(), String> {
    const TIMES: u32 = 200;
    let before = references(local, remote)?;
    ours.run(ask, TIMES)?;
    let after = references(local, remote)?;
    match (after - before).abs() < i64::from(TIMES) / 4 {
        true => Ok(()),
        false => Err(format!("{before} references before, {after} after")),
    }
}

/// A namespace of our own, in which this machine can be reached.
fn network() -> Result<(), String> {
    // SAFETY: the process has one thread, and no memory is passed.
    if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
        return Err("no network namespace".to_string());
    }
    let out = Command::new("ip")
        .args(["link", "set", "lo", "up"])
        .output()
        .map_err(|e| format!("ip: {e}"))?;
    match out.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&out.stderr).into_owned()),
    }
}

/// The suite.
pub fn suite(s: &mut Suite) {
    let both = Both::open();
    let mut there = false;
    s.test("a network namespace", || {
        network()?;
        there = true;
        Ok(())
    });
    if !there {
        return;
    }
    let types = [
        ("filter", ProgType::SOCKET_FILTER, FOUND),
        ("classifier", ProgType::SCHED_CLS, FOUND | FULL),
        ("cgroup", ProgType::CGROUP_SKB, FOUND | FULL),
    ];
    for (name, ty, want) in types {
        s.test(&format!("{name}: the packet's socket"), || {
            let none: SocketAddr = ([0, 0, 0, 0], 0).into();
            Programs::load(&both, ty, By::Packet, 0)?.same(&Ask::new(none, none), want)
        });
    }
    for (version, host, tuple) in [("IPv4", "127.0.0.1:0", 12), ("IPv6", "[::1]:0", 36)] {
        for (kind, ty, mask) in TYPES {
            s.test(&format!("{kind}: {version}"), || {
                look_up(&both, ty, mask, host, tuple)
            });
        }
    }
    s.test("references are given back", || {
        let failed = |e: std::io::Error| e.to_string();
        let listener = TcpListener::bind("127.0.0.1:0").map_err(failed)?;
        let (client, server) = connection(&listener)?;
        let here = listener.local_addr().map_err(failed)?;
        let there = client.local_addr().map_err(failed)?;
        for by in [LOOKUP_TCP, LOOKUP_ANY] {
            for (_, ty, _) in TYPES {
                let ours = Loaded::new(&both.ours, ty, by, 12)?;
                keeps_none(&ours, &Ask::new(there, here), here.port(), there.port())?;
            }
        }
        let ask = Ask::new(here, there);
        time_wait(&both, &ask, client, server)?;
        for by in [LOOKUP_TCP, LOOKUP_ANY] {
            let ours = Loaded::new(&both.ours, ProgType::SCHED_CLS, by, 12)?;
            keeps_none(&ours, &ask, there.port(), here.port())?;
        }
        Ok(())
    });
}

/// The client closes first, and what is left of its socket is what `ask` finds.
fn time_wait(both: &Both, ask: &Ask, client: TcpStream, server: TcpStream) -> Result<(), String> {
    drop(client);
    drop(server);
    let theirs = Loaded::new(
        &both.theirs,
        ProgType::SCHED_CLS,
        LOOKUP_ANY,
        ask.tuple.len(),
    )?;
    let start = Instant::now();
    while bits(&theirs.run(ask, 1)?) != FOUND {
        if start.elapsed() > Duration::from_secs(30) {
            return Err("the connection does not end".to_string());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn look_up(both: &Both, ty: ProgType, mask: u64, host: &str, tuple: usize) -> Result<(), String> {
    let failed = |e: std::io::Error| e.to_string();
    let tcp = Programs::load(both, ty, LOOKUP_TCP, tuple)?;
    let any = Programs::load(both, ty, LOOKUP_ANY, tuple)?;
    let udp = Programs::load(both, ty, LOOKUP_UDP, tuple)?;

    let listener = TcpListener::bind(host).map_err(failed)?;
    let here = listener.local_addr().map_err(failed)?;
    let mut stranger = here;
    stranger.set_port(1);
    let ask = Ask::new(stranger, here);
    for p in [&tcp, &any] {
        p.same(&ask, (FOUND | FULL | TCP | LISTENER) & mask)?;
    }
    udp.same(&ask, 0)?;
    // Nobody listens, another namespace, a flag.
    tcp.same(&Ask::new(here, stranger), 0)?;
    for (netns, flags, want) in [
        (0, 0, 0),
        (1 << 32, 0, 0),
        (0x7fff_ffff, 0, 0),
        (HERE, 1, 0),
        (0xffff_ffff, 0, FOUND | FULL | TCP | LISTENER),
        (0x8000_0000, 0, FOUND | FULL | TCP | LISTENER),
    ] {
        let other = Ask {
            netns,
            flags,
            ..ask.clone()
        };
        tcp.same(&other, want & mask)?;
    }

    let (client, server) = connection(&listener)?;
    let there = client.local_addr().map_err(failed)?;
    for p in [&tcp, &any] {
        p.same(&Ask::new(there, here), (FOUND | FULL | TCP) & mask)?;
        p.same(&Ask::new(here, there), (FOUND | FULL | TCP) & mask)?;
    }

    let ask = Ask::new(here, there);
    time_wait(both, &ask, client, server)?;
    any.same(&ask, FOUND)?;
    tcp.same(&ask, 0)?;

    let socket = UdpSocket::bind(host).map_err(failed)?;
    let here = socket.local_addr().map_err(failed)?;
    udp.same(&Ask::new(stranger, here), (FOUND | FULL) & mask)?;
    tcp.same(&Ask::new(stranger, here), 0)?;

    // Four numbers of another length.
    let wrong = Programs::load(both, ty, LOOKUP_TCP, tuple + 1)?;
    wrong.same(&Ask::new(stranger, here), 0)
}
