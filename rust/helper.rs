// SPDX-License-Identifier: GPL-2.0

//! Helper functions: one row each, read by verifier, JIT, disassembler and documentation.
//!
//! A row that says `NoBody` is known to the verifier but not to [`lookup`]: the module has no body
//! for it yet, and programs that call it are refused. All others have a body, but for the one that
//! the engines do themselves ([`TAIL_CALL`]) and those that say `Rewritten`, which are made of other
//! instructions before the program runs. So what the verifier lets a program call is there.
//! [`name`] knows all numbers, for messages.

mod names;
mod walk;

pub use crate::abi::ProgTypes;

use crate::abi::ProgType;
use names::NAMES;
pub use walk::{Walk, MAP_NEXT};

/// What a helper takes in one argument register.
///
/// The kinds `Mem..` are followed by the argument that holds their size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arg {
    /// Not an argument: the helper takes fewer.
    None,
    /// Any initialised value.
    Anything,
    /// Whatever the register holds, be it initialised or not: the helper may print it.
    Unchecked,
    /// The program's context.
    Ctx,
    /// A map, constant (`ld_imm64`).
    ConstMap,
    /// Readable memory of the map's key size.
    MapKey,
    /// Readable memory of the map's value size.
    MapValue,
    /// Writable memory of the map's value size, which need not be initialised; a bloom filter
    /// reads it.
    MapValueOut,
    /// Readable memory of the next argument's size.
    MemRead,
    /// As `MemRead`; NULL with size 0 is allowed.
    MemReadOrNull,
    /// Writable memory of the next argument's size, which need not be initialised.
    MemWrite,
    /// Writable and initialised memory of the next argument's size; NULL with size 0 is allowed.
    MemWriteOrNull,
    /// Writable and initialised memory of the next argument's size.
    MemUpdate,
    /// Four writable and initialised bytes at an address that is a multiple of four.
    WordUpdate,
    /// Size of the memory argument before, at least 1.
    Size,
    /// Size of the memory argument before, 0 allowed.
    SizeOrZero,
    /// A number.
    Scalar,
    /// The constant size of the memory that the helper returns.
    AllocSize,
    /// A string that ends with a zero in a map that never changes any more.
    ConstStr,
    /// Memory that the program got from `ringbuf_reserve` and gives back.
    ReleaseRingMem,
    /// The address of a subprogram.
    Func,
    /// A pointer into the stack, or NULL.
    StackOrNull,
    /// The spin lock in a value of a map.
    SpinLock,
    /// A socket.
    Sock,
    /// A socket that the program got from a look-up and gives back.
    ReleaseSock,
}

/// What a helper returns in `R0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ret {
    /// A number.
    Integer,
    /// Nothing of use.
    Void,
    /// A pointer to a value of the map argument, or NULL.
    MapValueOrNull,
    /// The number of a CPU.
    Cpu,
    /// A length up to the size argument, or a negative errno.
    LengthOrErrno,
    /// Memory in a ring buffer of the `AllocSize` argument's size, to be given back, or NULL.
    RingMemOrNull,
    /// A socket, or NULL.
    SockOrNull,
    /// A socket, a request, or what is left of a socket; or NULL.
    SockCommonOrNull,
    /// A socket of TCP, or NULL.
    TcpSockOrNull,
}

/// A set of map types, by their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapTypes(u64);

impl MapTypes {
    /// None.
    pub const NONE: Self = Self(0);
    /// Types with keys and values that programs look up: all kinds of hash tables and arrays.
    pub const KEYED: Self = Self::of(&[1, 2, 5, 6, 9, 10, 11]);
    /// Types that programs look up in: those, and maps of maps.
    pub const LOOKED_UP: Self = Self::of(&[1, 2, 5, 6, 9, 10, 11, 12, 13]);
    /// Types with a value for each CPU.
    pub const PERCPU: Self = Self::of(&[5, 6, 10]);
    /// Types that are walked over.
    pub const WALKED: Self = Self::of(&[1, 2, 5, 6, 9, 10]);
    /// Arrays of programs.
    pub const PROGS: Self = Self::of(&[3]);
    /// Arrays of perf events.
    pub const EVENTS: Self = Self::of(&[4]);
    /// Tables of stack traces.
    pub const STACKS: Self = Self::of(&[7]);
    /// Arrays of cgroups.
    pub const CGROUPS: Self = Self::of(&[8]);
    /// Queues and stacks.
    pub const QUEUES: Self = Self::of(&[22, 23]);
    /// Queues, stacks and bloom filters.
    pub const PUSHED: Self = Self::of(&[22, 23, 30]);
    /// Ring buffers.
    pub const RINGS: Self = Self::of(&[27]);

    /// The set of these numbers.
    const fn of(numbers: &[u32]) -> Self {
        let mut bits = 0;
        let mut rest = numbers;
        while let [first, tail @ ..] = rest {
            bits |= 1 << (*first & 63);
            rest = tail;
        }
        Self(bits)
    }

    /// Whether the type of that number is in the set.
    pub const fn contains(self, number: u32) -> bool {
        number < 64 && self.0 & (1 << (number & 63)) != 0
    }
}

/// What the loader must be allowed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cap {
    /// Nothing: unprivileged programs may call the helper.
    None,
    /// CAP_BPF
    Bpf,
    /// CAP_PERFMON (and CAP_BPF, which is asked first)
    Perfmon,
    /// CAP_SYS_ADMIN
    SysAdmin,
}

/// What a loader is allowed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps {
    /// It has CAP_BPF.
    pub bpf: bool,
    /// It has CAP_PERFMON.
    pub perfmon: bool,
    /// It has CAP_SYS_ADMIN.
    pub sys_admin: bool,
}

impl Caps {
    /// Whether that includes `cap`.
    pub const fn has(self, cap: Cap) -> bool {
        match cap {
            Cap::None => true,
            Cap::Bpf => self.bpf,
            Cap::Perfmon => self.bpf && self.perfmon,
            Cap::SysAdmin => self.sys_admin,
        }
    }
}

/// One helper function.
#[derive(Clone, Copy, Debug)]
pub struct Helper {
    /// Number (`enum bpf_func_id`).
    pub id: i32,
    /// Name without `bpf_`.
    pub name: &'static str,
    /// Arguments `R1` to `R5`.
    pub args: [Arg; 5],
    /// Result.
    pub ret: Ret,
    /// Only programs with a GPL-compatible license may call it, but for [`Helper::gpl_only_in`].
    gpl_only: bool,
    /// Its memory arguments may point into the packet.
    pub pkt_access: bool,
    /// It may move or change the packet, so that what was known of it no longer holds.
    pub moves_packet: bool,
    /// It changes what is in its map, so the map must be one that programs may write.
    pub writes_map: bool,
    /// The socket that it returns is to be given back.
    pub acquires: bool,
    /// The socket that it returns is its argument.
    pub casts: bool,
    /// It calls a subprogram of the program.
    pub callback: bool,
    /// It is made of other instructions before the program runs.
    pub rewritten: bool,
    /// The module can run it.
    pub body: bool,
    /// Types of maps that it takes.
    pub maps: MapTypes,
    /// Program types that may call it.
    pub types: ProgTypes,
    /// What the loader must be allowed to.
    pub cap: Cap,
}

/// The argument list, filled up with `Arg::None`.
const fn args(given: &[Arg]) -> [Arg; 5] {
    match *given {
        [] => [Arg::None; 5],
        [a] => [a, Arg::None, Arg::None, Arg::None, Arg::None],
        [a, b] => [a, b, Arg::None, Arg::None, Arg::None],
        [a, b, c] => [a, b, c, Arg::None, Arg::None],
        [a, b, c, d] => [a, b, c, d, Arg::None],
        [a, b, c, d, e, ..] => [a, b, c, d, e],
    }
}

/// Makes the rows: `number name(arguments) -> result, flags, program types, capability;`, with the
/// types of maps behind it if there is a map argument.
macro_rules! helpers {
    ($(
        $id:literal $name:ident ( $($arg:ident),* ) -> $ret:ident,
        [$($flag:ident),*], $types:ident, $cap:ident $(, $maps:ident)?;
    )*) => {
        /// All rows in ascending order of their numbers.
        pub static HELPERS: &[Helper] = &[$(Helper {
            id: $id,
            name: stringify!($name),
            args: args(&[$(Arg::$arg),*]),
            ret: Ret::$ret,
            gpl_only: flag(&[$(Flag::$flag),*], Flag::Gpl),
            pkt_access: flag(&[$(Flag::$flag),*], Flag::Pkt),
            moves_packet: flag(&[$(Flag::$flag),*], Flag::Moves),
            writes_map: flag(&[$(Flag::$flag),*], Flag::Writes),
            acquires: flag(&[$(Flag::$flag),*], Flag::Acquires),
            casts: flag(&[$(Flag::$flag),*], Flag::Casts),
            callback: has_func(&[$(Arg::$arg),*]),
            rewritten: flag(&[$(Flag::$flag),*], Flag::Rewritten),
            body: !flag(&[$(Flag::$flag),*], Flag::NoBody),
            maps: maps(&[$(MapTypes::$maps)?]),
            types: ProgTypes::$types,
            cap: Cap::$cap,
        }),*];
    };
}

/// Flags of a row.
#[derive(Clone, Copy)]
enum Flag {
    /// `gpl_only`
    Gpl,
    /// `pkt_access`
    Pkt,
    /// `moves_packet`
    Moves,
    /// `writes_map`
    Writes,
    /// `acquires`
    Acquires,
    /// `casts`
    Casts,
    /// `rewritten`
    Rewritten,
    /// Not `body`
    NoBody,
}

/// The one set that is given, or none.
const fn maps(given: &[MapTypes]) -> MapTypes {
    match *given {
        [maps, ..] => maps,
        [] => MapTypes::NONE,
    }
}

const fn has_func(args: &[Arg]) -> bool {
    let mut rest = args;
    while let [first, tail @ ..] = rest {
        if matches!(first, Arg::Func) {
            return true;
        }
        rest = tail;
    }
    false
}

const fn flag(given: &[Flag], wanted: Flag) -> bool {
    let mut rest = given;
    while let [first, tail @ ..] = rest {
        if *first as u8 == wanted as u8 {
            return true;
        }
        rest = tail;
    }
    false
}

/// `BPF_FUNC_get_stackid`
const GET_STACKID: i32 = 27;
/// `BPF_FUNC_get_func_ip`
pub const GET_FUNC_IP: i32 = 173;
/// `BPF_TRACE_KPROBE_MULTI`
const KPROBE_MULTI: u32 = 42;
/// `BPF_TRACE_KPROBE_SESSION`
pub const KPROBE_SESSION: u32 = 56;
/// `bpf_tail_call`: the one helper that has no body. The engines do it themselves.
pub const TAIL_CALL: i32 = 12;

/// `bpf_spin_lock`
pub const SPIN_LOCK: i32 = 93;

/// `bpf_spin_unlock`
pub const SPIN_UNLOCK: i32 = 94;

/// `bpf_loop`
pub const LOOP: i32 = 181;

/// `bpf_for_each_map_elem`
pub const FOR_EACH: i32 = 164;

/// `bpf_snprintf`
pub const SNPRINTF: i32 = 165;

helpers! {
    1 map_lookup_elem(ConstMap, MapKey) -> MapValueOrNull, [Pkt], ALL, None, LOOKED_UP;
    2 map_update_elem(ConstMap, MapKey, MapValue, Anything) -> Integer,
        [Pkt, Writes], ALL, None, KEYED;
    3 map_delete_elem(ConstMap, MapKey) -> Integer, [Pkt, Writes], ALL, None, KEYED;
    4 probe_read(MemWrite, SizeOrZero, Anything) -> Integer, [Gpl], TRACING, None;
    5 ktime_get_ns() -> Integer, [], ALL, None;
    6 trace_printk(MemRead, Size, Unchecked, Unchecked, Unchecked) -> Integer, [Gpl], ALL, Perfmon;
    7 get_prandom_u32() -> Integer, [], ALL, None;
    8 get_smp_processor_id() -> Cpu, [], ALL, None;
    9 skb_store_bytes(Ctx, Anything, MemRead, Size, Anything) -> Integer, [Moves], TC, None;
    10 l3_csum_replace(Ctx, Anything, Anything, Anything, Anything) -> Integer, [Moves], TC, None;
    11 l4_csum_replace(Ctx, Anything, Anything, Anything, Anything) -> Integer, [Moves], TC, None;
    12 tail_call(Ctx, ConstMap, Anything) -> Void, [], ALL, None, PROGS;
    13 clone_redirect(Ctx, Anything, Anything) -> Integer, [Moves], TC, None;
    14 get_current_pid_tgid() -> Integer, [], ALL, None;
    15 get_current_uid_gid() -> Integer, [], ALL, None;
    16 get_current_comm(MemWrite, Size) -> Integer, [], ALL, Perfmon;
    17 get_cgroup_classid(Ctx) -> Integer, [], TC, None;
    18 skb_vlan_push(Ctx, Anything, Anything) -> Integer, [Moves], TC, None;
    19 skb_vlan_pop(Ctx) -> Integer, [Moves], TC, None;
    20 skb_get_tunnel_key(Ctx, MemWrite, Size, Anything) -> Integer, [], TC, None;
    21 skb_set_tunnel_key(Ctx, MemRead, Size, Anything) -> Integer, [], TC, None;
    22 perf_event_read(ConstMap, Anything) -> Integer, [Gpl], ALL, Perfmon, EVENTS;
    23 redirect(Anything, Anything) -> Integer, [], PACKET, None;
    24 get_route_realm(Ctx) -> Integer, [], TC, None;
    25 perf_event_output(Ctx, ConstMap, Anything, MemRead, SizeOrZero) -> Integer,
        [Gpl], OUTPUT, None, EVENTS;
    26 skb_load_bytes(Ctx, Anything, MemWrite, Size) -> Integer, [], SKB, None;
    27 get_stackid(Ctx, ConstMap, Anything) -> Integer, [Gpl], TRACING, None, STACKS;
    28 csum_diff(MemReadOrNull, SizeOrZero, MemReadOrNull, SizeOrZero, Anything) -> Integer,
        [Pkt], PACKET, None;
    29 skb_get_tunnel_opt(Ctx, MemWrite, Size) -> Integer, [], TC, None;
    30 skb_set_tunnel_opt(Ctx, MemRead, Size) -> Integer, [], TC, None;
    31 skb_change_proto(Ctx, Anything, Anything) -> Integer, [Moves], TC, None;
    32 skb_change_type(Ctx, Anything) -> Integer, [], TC, None;
    33 skb_under_cgroup(Ctx, ConstMap, Anything) -> Integer, [], TC, None, CGROUPS;
    34 get_hash_recalc(Ctx) -> Integer, [], TC, None;
    35 get_current_task() -> Integer, [Gpl], ALL, Perfmon;
    36 probe_write_user(Anything, MemRead, Size) -> Integer, [Gpl], TRACING, SysAdmin;
    37 current_task_under_cgroup(ConstMap, Anything) -> Integer, [], ALL, Bpf, CGROUPS;
    38 skb_change_tail(Ctx, Anything, Anything) -> Integer, [Moves], TC, None;
    39 skb_pull_data(Ctx, Anything) -> Integer, [Moves], TC, None;
    40 csum_update(Ctx, Anything) -> Integer, [], TC, None;
    41 set_hash_invalid(Ctx) -> Integer, [], TC, None;
    42 get_numa_node_id() -> Integer, [], ALL, None;
    43 skb_change_head(Ctx, Anything, Anything) -> Integer, [Moves], TC, None;
    44 xdp_adjust_head(Ctx, Anything) -> Integer, [Moves], XDP, None;
    45 probe_read_str(MemWrite, SizeOrZero, Anything) -> LengthOrErrno, [Gpl], TRACING, None;
    46 get_socket_cookie(Ctx) -> Integer, [], SKB, None;
    47 get_socket_uid(Ctx) -> Integer, [], SKB, None;
    48 set_hash(Ctx, Anything) -> Integer, [], TC, None;
    50 skb_adjust_room(Ctx, Anything, Anything, Anything) -> Integer, [Moves], TC, None;
    54 xdp_adjust_meta(Ctx, Anything) -> Integer, [Moves], XDP, None;
    55 perf_event_read_value(ConstMap, Anything, MemWrite, Size) -> Integer,
        [Gpl], ALL, Perfmon, EVENTS;
    56 perf_prog_read_value(Ctx, MemWrite, Size) -> Integer, [Gpl], PERF_EVENT, None;
    65 xdp_adjust_tail(Ctx, Anything) -> Integer, [Moves], XDP, None;
    67 get_stack(Ctx, MemWrite, SizeOrZero, Anything) -> LengthOrErrno, [Gpl], TRACING, None;
    68 skb_load_bytes_relative(Ctx, Anything, MemWrite, Size, Anything) -> Integer, [], SKB, None;
    69 fib_lookup(Ctx, MemUpdate, Size, Anything) -> Integer, [Gpl], PACKET, None;
    79 skb_cgroup_id(Ctx) -> Integer, [], TC_CGROUP, None;
    80 get_current_cgroup_id() -> Integer, [], ALL, Bpf;
    83 skb_ancestor_cgroup_id(Ctx, Anything) -> Integer, [], TC_CGROUP, None;
    84 sk_lookup_tcp(Ctx, MemRead, SizeOrZero, Anything, Anything) -> SockOrNull,
        [Pkt, Acquires], LOOKS_UP, None;
    85 sk_lookup_udp(Ctx, MemRead, SizeOrZero, Anything, Anything) -> SockOrNull,
        [Pkt, Acquires], LOOKS_UP, None;
    86 sk_release(ReleaseSock) -> Integer, [], LOOKS_UP, None;
    87 map_push_elem(ConstMap, MapValue, Anything) -> Integer,
        [Pkt, Writes], ALL, None, PUSHED;
    88 map_pop_elem(ConstMap, MapValueOut) -> Integer, [Writes], ALL, None, QUEUES;
    89 map_peek_elem(ConstMap, MapValueOut) -> Integer, [], ALL, None, PUSHED;
    93 spin_lock(SpinLock) -> Void, [], ALL, Bpf;
    94 spin_unlock(SpinLock) -> Void, [], ALL, Bpf;
    95 sk_fullsock(Sock) -> SockOrNull, [Casts], TC_CGROUP, None;
    96 tcp_sock(Sock) -> TcpSockOrNull, [Casts], TC_CGROUP, None;
    97 skb_ecn_set_ce(Ctx) -> Integer, [], TC_CGROUP, None;
    98 get_listener_sock(Sock) -> SockOrNull, [], TC_CGROUP, None;
    99 skc_lookup_tcp(Ctx, MemRead, SizeOrZero, Anything, Anything) -> SockCommonOrNull,
        [Pkt, Acquires], LOOKS_UP, None;
    109 send_signal(Anything) -> Integer, [], ALL, Perfmon;
    112 probe_read_user(MemWrite, SizeOrZero, Anything) -> Integer, [Gpl], ALL, Perfmon;
    113 probe_read_kernel(MemWrite, SizeOrZero, Anything) -> Integer, [Gpl], ALL, Perfmon;
    114 probe_read_user_str(MemWrite, SizeOrZero, Anything) -> LengthOrErrno, [Gpl], ALL, Perfmon;
    115 probe_read_kernel_str(MemWrite, SizeOrZero, Anything) -> LengthOrErrno,
        [Gpl], ALL, Perfmon;
    117 send_signal_thread(Anything) -> Integer, [], ALL, Perfmon;
    118 jiffies64() -> Integer, [], ALL, Bpf;
    120 get_ns_current_pid_tgid(Anything, Anything, MemWrite, Size) -> Integer, [], ALL, None;
    122 get_netns_cookie(Ctx) -> Integer, [], TC, None;
    123 get_current_ancestor_cgroup_id(Anything) -> Integer, [], ALL, Bpf;
    125 ktime_get_boot_ns() -> Integer, [], ALL, None;
    130 ringbuf_output(ConstMap, MemRead, SizeOrZero, Anything) -> Integer,
        [], ALL, None, RINGS;
    131 ringbuf_reserve(ConstMap, AllocSize, Anything) -> RingMemOrNull,
        [], ALL, None, RINGS;
    132 ringbuf_submit(ReleaseRingMem, Anything) -> Void, [], ALL, None;
    133 ringbuf_discard(ReleaseRingMem, Anything) -> Void, [], ALL, None;
    134 ringbuf_query(ConstMap, Anything) -> Integer, [], ALL, None, RINGS;
    135 csum_level(Ctx, Anything) -> Integer, [], TC, None;
    151 skb_cgroup_classid(Ctx) -> Integer, [], TC, None;
    152 redirect_neigh(Anything, MemReadOrNull, SizeOrZero, Anything) -> Integer, [], TC, None;
    155 redirect_peer(Anything, Anything) -> Integer, [], TC, None;
    160 ktime_get_coarse_ns() -> Integer, [], NET, None;
    163 check_mtu(Ctx, Anything, WordUpdate, Anything, Anything) -> Integer, [Gpl], PACKET, None;
    164 for_each_map_elem(ConstMap, Func, StackOrNull, Anything) -> Integer,
        [Rewritten], ALL, Bpf, WALKED;
    165 snprintf(MemWriteOrNull, SizeOrZero, ConstStr, MemReadOrNull, SizeOrZero) -> Integer,
        [Gpl], ALL, Perfmon;
    173 get_func_ip(Ctx) -> Integer, [Gpl], KPROBE, None;
    174 get_attach_cookie(Ctx) -> Integer, [], TRACING, None;
    181 loop(Scalar, Func, StackOrNull, Anything) -> Integer, [Rewritten], ALL, Bpf;
    182 strncmp(MemRead, Size, ConstStr) -> Integer, [], ALL, None;
    188 xdp_get_buff_len(Ctx) -> Integer, [], XDP, None;
    189 xdp_load_bytes(Ctx, Anything, MemWrite, Size) -> Integer, [], XDP, None;
    190 xdp_store_bytes(Ctx, Anything, MemRead, Size) -> Integer, [], XDP, None;
    192 skb_set_tstamp(Ctx, Anything, Anything) -> Integer, [], TC, None;
    195 map_lookup_percpu_elem(ConstMap, MapKey, Anything) -> MapValueOrNull,
        [Pkt], ALL, None, PERCPU;
    208 ktime_get_tai_ns() -> Integer, [], ALL, None;
}

/// Rows are in ascending order, each under the name that its number has, each size follows
/// the memory it belongs to, and who takes a map says which.
const _: () = {
    /// `a == b`
    const fn same(a: &str, b: &str) -> bool {
        let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
        loop {
            match (a, b) {
                ([], []) => return true,
                ([x, rest_a @ ..], [y, rest_b @ ..]) if *x == *y => {
                    a = rest_a;
                    b = rest_b;
                }
                _ => return false,
            }
        }
    }

    let mut before = 0;
    let mut rest = HELPERS;
    while let [row, tail @ ..] = rest {
        assert!(row.id > before && (row.id as usize) < NAMES.len());
        assert!(same(row.name, NAMES[row.id as usize]));
        let mut args: &[Arg] = &row.args;
        let mut takes_map = false;
        while let [arg, more @ ..] = args {
            takes_map |= matches!(arg, Arg::ConstMap);
            let sized = matches!(more, [Arg::Size | Arg::SizeOrZero, ..]);
            match arg {
                Arg::MemRead
                | Arg::MemReadOrNull
                | Arg::MemWrite
                | Arg::MemWriteOrNull
                | Arg::MemUpdate => assert!(sized),
                _ => assert!(!sized),
            }
            args = more;
        }
        assert!(takes_map == (row.maps.0 != 0));
        before = row.id;
        rest = tail;
    }
};

/// The helper of that number that programs of type `prog` from a loader with `caps` may call.
///
/// `None` for a number that has a [`name`] is the verifier's "program of this type cannot use
/// helper"; for one that has none, "invalid func".
pub fn lookup(id: i32, prog: ProgType, caps: Caps) -> Option<&'static Helper> {
    let row = HELPERS.binary_search_by_key(&id, |row| row.id).ok()?;
    HELPERS
        .get(row)
        // Unit tests ask about the others, too.
        .filter(|row| (row.body || cfg!(test)) && row.types.contains(prog) && caps.has(row.cap))
}

impl Helper {
    /// Whether only programs with a GPL-compatible license may call it, of those of type `prog` and
    /// for that attach type. Programs on many kprobes may ask for the function's address whatever their
    /// license, and those of counters for a stack's number.
    pub fn gpl_only_in(&self, prog: ProgType, attach_type: u32) -> bool {
        self.gpl_only
            && match prog {
                ProgType::Kprobe => {
                    self.id != GET_FUNC_IP || !matches!(attach_type, KPROBE_MULTI | KPROBE_SESSION)
                }
                ProgType::PerfEvent => self.id != GET_STACKID,
                _ => true,
            }
    }
}

/// How many numbers helpers have: from 0 on, but for [`MAP_NEXT`].
pub const NUMBERS: usize = NAMES.len();

/// Arguments of each helper, by number.
static ARG_COUNTS: [u8; NUMBERS] = {
    let mut counts = [5; NUMBERS];
    let mut row = 0;
    while row < HELPERS.len() {
        let Helper { id, ref args, .. } = HELPERS[row];
        let mut n = 0;
        while n < args.len() && !matches!(args[n], Arg::None) {
            n += 1;
        }
        // `MAP_NEXT` has no name.
        if id >= 0 && (id as usize) < counts.len() {
            counts[id as usize] = n as u8;
        }
        row += 1;
    }
    counts
};

/// How many arguments helper number `id` takes: 5 at most, which is also the answer for a number
/// that has no row.
pub fn arg_count(id: i32) -> u8 {
    if id == MAP_NEXT {
        return 2;
    }
    let id = usize::try_from(id).ok();
    id.and_then(|id| ARG_COUNTS.get(id).copied()).unwrap_or(5)
}

/// Whether helper number `id` calls subprograms of the program.
pub fn calls_back(id: i32) -> bool {
    let row = HELPERS.binary_search_by_key(&id, |row| row.id);
    row.ok()
        .and_then(|row| HELPERS.get(row))
        .is_some_and(|row| row.callback)
}

/// The name of helper number `id` without `bpf_`, if there is such a number.
pub fn name(id: i32) -> Option<&'static str> {
    NAMES.get(usize::try_from(id).ok()?).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: Caps = Caps {
        bpf: true,
        perfmon: true,
        sys_admin: true,
    };

    #[test]
    fn arg_counts() {
        assert_eq!(arg_count(1), 2);
        assert_eq!(arg_count(2), 4);
        assert_eq!(arg_count(5), 0);
        assert_eq!(arg_count(6), 5);
        assert_eq!(arg_count(MAP_NEXT), 2);
        assert_eq!(arg_count(-2), 5);
    }

    #[test]
    fn lookup_respects_type_and_capability() {
        let none = Caps {
            bpf: false,
            perfmon: true,
            sys_admin: false,
        };
        assert_eq!(lookup(1, ProgType::Xdp, none).map(|h| h.id), Some(1));
        assert!(lookup(4, ProgType::SocketFilter, ROOT).is_none());
        assert!(lookup(4, ProgType::Kprobe, ROOT).is_some());
        assert!(lookup(6, ProgType::SchedCls, ROOT).is_some());
        assert!(lookup(6, ProgType::SchedCls, none).is_none());
        assert!(lookup(160, ProgType::Kprobe, ROOT).is_none());
        assert!(lookup(26, ProgType::Xdp, ROOT).is_none());
        assert!(lookup(i32::MIN, ProgType::Xdp, ROOT).is_none());
    }

    #[test]
    fn names() {
        assert_eq!(name(0), Some("unspec"));
        assert_eq!(name(211), Some("cgrp_storage_delete"));
        assert_eq!(name(212), None);
        assert_eq!(name(-1), None);
    }
}
