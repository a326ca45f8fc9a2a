// SPDX-License-Identifier: GPL-2.0

//! Helper functions: one row each, read by verifier, JIT, disassembler and documentation.
//!
//! A row exists exactly for the helpers whose body the module has, and for the one that the engines
//! do themselves ([`TAIL_CALL`]), so what the verifier lets a program call is there. [`name`] knows all numbers, for messages.

mod names;

pub use crate::abi::ProgTypes;

use crate::abi::ProgType;
use names::NAMES;

/// What a helper takes in one argument register.
///
/// `MemRead` and `MemWrite` are followed by the argument that holds their size.
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
    /// Readable memory of the next argument's size.
    MemRead,
    /// As `MemRead`; NULL with size 0 is allowed.
    MemReadOrNull,
    /// Writable memory of the next argument's size, which need not be initialised.
    MemWrite,
    /// Size of the memory argument before, at least 1.
    Size,
    /// Size of the memory argument before, 0 allowed.
    SizeOrZero,
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
}

/// What a loader is allowed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps {
    /// It has CAP_BPF.
    pub bpf: bool,
    /// It has CAP_PERFMON.
    pub perfmon: bool,
}

impl Caps {
    /// Whether that includes `cap`.
    pub const fn has(self, cap: Cap) -> bool {
        match cap {
            Cap::None => true,
            Cap::Bpf => self.bpf,
            Cap::Perfmon => self.bpf && self.perfmon,
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
    /// Only programs with a GPL-compatible license may call it.
    pub gpl_only: bool,
    /// Its memory arguments may point into the packet.
    pub pkt_access: bool,
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

/// Makes the rows: `number name(arguments) -> result, flags, program types, capability;`.
macro_rules! helpers {
    ($(
        $id:literal $name:ident ( $($arg:ident),* ) -> $ret:ident,
        [$($flag:ident),*], $types:ident, $cap:ident;
    )*) => {
        /// All rows in ascending order of their numbers.
        pub static HELPERS: &[Helper] = &[$(Helper {
            id: $id,
            name: stringify!($name),
            args: args(&[$(Arg::$arg),*]),
            ret: Ret::$ret,
            gpl_only: flag(&[$(Flag::$flag),*], Flag::Gpl),
            pkt_access: flag(&[$(Flag::$flag),*], Flag::Pkt),
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

/// `bpf_tail_call`: the one helper that has no body. The engines do it themselves.
pub const TAIL_CALL: i32 = 12;

helpers! {
    1 map_lookup_elem(ConstMap, MapKey) -> MapValueOrNull, [Pkt], ALL, None;
    2 map_update_elem(ConstMap, MapKey, MapValue, Anything) -> Integer, [Pkt], ALL, None;
    3 map_delete_elem(ConstMap, MapKey) -> Integer, [Pkt], ALL, None;
    4 probe_read(MemWrite, SizeOrZero, Anything) -> Integer, [Gpl], TRACING, None;
    5 ktime_get_ns() -> Integer, [], ALL, None;
    6 trace_printk(MemRead, Size, Unchecked, Unchecked, Unchecked) -> Integer, [Gpl], ALL, Perfmon;
    7 get_prandom_u32() -> Integer, [], ALL, None;
    8 get_smp_processor_id() -> Integer, [], ALL, None;
    12 tail_call(Ctx, ConstMap, Anything) -> Void, [], ALL, None;
    14 get_current_pid_tgid() -> Integer, [], ALL, None;
    15 get_current_uid_gid() -> Integer, [], ALL, None;
    16 get_current_comm(MemWrite, Size) -> Integer, [], ALL, Perfmon;
    26 skb_load_bytes(Ctx, Anything, MemWrite, Size) -> Integer, [], SKB, None;
    35 get_current_task() -> Integer, [Gpl], ALL, Perfmon;
    42 get_numa_node_id() -> Integer, [], ALL, None;
    45 probe_read_str(MemWrite, SizeOrZero, Anything) -> Integer, [Gpl], TRACING, None;
    112 probe_read_user(MemWrite, SizeOrZero, Anything) -> Integer, [Gpl], ALL, Perfmon;
    113 probe_read_kernel(MemWrite, SizeOrZero, Anything) -> Integer, [Gpl], ALL, Perfmon;
    114 probe_read_user_str(MemWrite, SizeOrZero, Anything) -> Integer, [Gpl], ALL, Perfmon;
    115 probe_read_kernel_str(MemWrite, SizeOrZero, Anything) -> Integer, [Gpl], ALL, Perfmon;
    118 jiffies64() -> Integer, [], ALL, Bpf;
    125 ktime_get_boot_ns() -> Integer, [], ALL, None;
    160 ktime_get_coarse_ns() -> Integer, [], NET, None;
    208 ktime_get_tai_ns() -> Integer, [], ALL, None;
}

/// Rows are in ascending order, each under the name that its number has, and each size follows
/// the memory it belongs to.
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
        while let [arg, more @ ..] = args {
            let sized = matches!(more, [Arg::Size | Arg::SizeOrZero, ..]);
            match arg {
                Arg::MemRead | Arg::MemReadOrNull | Arg::MemWrite => assert!(sized),
                _ => assert!(!sized),
            }
            args = more;
        }
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
        .filter(|row| row.types.contains(prog) && caps.has(row.cap))
}

/// How many arguments helper number `id` takes: 5 at most, which is also the answer for a number
/// that has no row.
pub fn arg_count(id: i32) -> u8 {
    let row = HELPERS.binary_search_by_key(&id, |row| row.id);
    let row = row.ok().and_then(|row| HELPERS.get(row));
    let Some(helper) = row else { return 5 };
    let args = helper.args.iter().take_while(|arg| **arg != Arg::None);
    u8::try_from(args.count()).unwrap_or(5)
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
    };

    #[test]
    fn arg_counts() {
        assert_eq!(arg_count(1), 2);
        assert_eq!(arg_count(2), 4);
        assert_eq!(arg_count(5), 0);
        assert_eq!(arg_count(6), 5);
        assert_eq!(arg_count(-1), 5);
    }

    #[test]
    fn lookup_respects_type_and_capability() {
        let none = Caps {
            bpf: false,
            perfmon: true,
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
