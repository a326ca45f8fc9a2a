// SPDX-License-Identifier: GPL-2.0

//! For each rule the nearest program that is accepted and the nearest that is refused.

use super::Want::{Fine, OnlyHere, Refused};
use super::{global, local, sub, Case, Func, Maps, Ty, Want};
use crate::insn::{add, call, exit, ld_map, mov, mov_reg, raw};
use oxbpf::Slot;

const SOCKET_FILTER: u32 = 1;
const SCHED_CLS: u32 = 3;
const XDP: u32 = 6;
const CGROUP_SKB: u32 = 8;
/// Helpers.
const LOOKUP: i32 = 1;
const TAIL_CALL: i32 = 12;
const PULL_DATA: i32 = 39;
const LOCK: i32 = 93;
const UNLOCK: i32 = 94;
const RESERVE: i32 = 131;
const DISCARD: i32 = 133;
const LOOP: i32 = 181;

/// `*(u64 *)(r10 + off) = imm`
fn put(off: i16, imm: i32) -> Slot {
    raw(0x7a, 10, 0, off, imm)
}

/// `*(u64 *)(r10 + off) = src`
fn spill(off: i16, src: u8) -> Slot {
    raw(0x7b, 10, src, off, 0)
}

/// `dst = *(u64 *)(src + off)`
fn ld(dst: u8, src: u8, off: i16) -> Slot {
    raw(0x79, dst, src, off, 0)
}

/// `if dst == imm goto +off`
fn jeq(dst: u8, imm: i32, off: i16) -> Slot {
    raw(0x15, dst, 0, off, imm)
}

/// `if dst != imm goto +off`
fn jne(dst: u8, imm: i32, off: i16) -> Slot {
    raw(0x55, dst, 0, off, imm)
}

/// `r = r10 + off`
fn fp(r: u8, off: i32) -> [Slot; 2] {
    [mov_reg(r, 10), add(r, off)]
}

fn join(parts: &[&[Slot]]) -> Vec<Slot> {
    parts.concat()
}

/// Returns 3.
fn three() -> Vec<Slot> {
    vec![mov(0, 3), exit()]
}

/// Adds one to the first word of its argument, if there is one, and returns what was there.
fn bump() -> Vec<Slot> {
    vec![
        mov(0, 0),
        jeq(1, 0, 4),
        ld(0, 1, 0),
        mov_reg(2, 0),
        add(2, 1),
        raw(0x7b, 1, 2, 0, 0),
        exit(),
    ]
}

fn end() -> [Slot; 2] {
    [mov(0, 0), exit()]
}

/// Whatever comes before a call is in `before`, what it returns is the result.
fn main(before: &[Slot]) -> Func {
    main_of(&join(&[before, &[sub(1), exit()]]))
}

fn main_of(insns: &[Slot]) -> Func {
    global(&[Ty::Any], insns)
}

/// A value of the array in `r0`, not NULL behind `null` more instructions.
fn look_up(map: &oxbpf::Map) -> Vec<Slot> {
    join(&[&[put(-8, 0)], &ld_map(1, map), &fp(2, -8), &[call(LOOKUP)]])
}

/// Puts the packet into r6, of which eight bytes are there, and the context into r7; else it ends.
fn packet() -> Vec<Slot> {
    vec![
        mov_reg(7, 1),
        raw(0x61, 6, 7, 76, 0),
        raw(0x61, 8, 7, 80, 0),
        mov_reg(1, 6),
        add(1, 8),
        raw(0xbd, 1, 8, 2, 0), // if r1 <= r8 goto +2
        mov(0, 0),
        exit(),
    ]
}

struct List(Vec<Case>);

impl List {
    fn maps(
        &mut self,
        want: Want,
        prog_type: u32,
        name: &'static str,
        funcs: impl Fn(&Maps) -> Vec<Func> + 'static,
    ) -> &mut Case {
        self.0.push(Case {
            name,
            prog_type,
            want,
            kernel_btf: false,
            funcs: Box::new(funcs),
        });
        self.0.last_mut().unwrap()
    }

    fn add(&mut self, want: Want, name: &'static str, funcs: &[Func]) -> &mut Case {
        let funcs = funcs.to_vec();
        self.maps(want, SOCKET_FILTER, name, move |_| funcs.clone())
    }

    fn typed(&mut self, want: Want, ty: u32, name: &'static str, funcs: &[Func]) -> &mut Case {
        let funcs = funcs.to_vec();
        self.maps(want, ty, name, move |_| funcs.clone())
    }
}

fn numbers(l: &mut List) {
    let same = global(&[Ty::Long], &[mov_reg(0, 1), exit()]);
    l.add(Fine, "a number", &[main(&[mov(1, 5)]), same.clone()]);
    l.add(Refused, "no number", &[main(&[]), same.clone()]);
    let two = global(&[Ty::Int, Ty::Long], &three());
    l.add(Fine, "two", &[main(&[mov(1, 5), mov(2, 5)]), two.clone()]);
    l.add(
        Refused,
        "two, and one is nothing",
        &[main(&[mov(1, 5)]), two],
    );
    let one = |linkage, r: i32| Func {
        linkage,
        ..global(
            &[Ty::Long],
            &[mov(0, 0), jeq(1, 1, 1), ld(0, 1, 0), mov(0, r), exit()],
        )
    };
    let (before, fine) = ([mov(1, 1)], one(0, 1));
    l.add(Fine, "static: what callers know", &[main(&before), fine]);
    l.add(Refused, "what callers know", &[main(&before), one(1, 1)]);
    let not = [
        mov(6, 0),
        jeq(6, 0, 2),
        mov(1, 1),
        sub(1),
        mov(0, 0),
        exit(),
    ];
    l.add(Fine, "never called", &[main_of(&not), one(1, 1)]);
    let more = global(&[Ty::Long], &[mov_reg(0, 2), exit()]);
    l.add(
        Refused,
        "no more than it says",
        &[main(&[mov(1, 1), mov(2, 2)]), more],
    );
    let index = |mask: &[Slot]| {
        main_of(&join(&[
            &[put(-8, 0), mov(1, 0), sub(1)],
            mask,
            &fp(1, -8),
            &[raw(0x0f, 1, 0, 0, 0), raw(0x72, 1, 0, 0, 0)],
            &end(),
        ]))
    };
    let zero = global(&[Ty::Long], &end());
    l.add(
        Fine,
        "result in bounds",
        &[index(&[raw(0x57, 0, 0, 0, 7)]), zero.clone()],
    );
    l.add(Refused, "result is any number", &[index(&[]), zero.clone()]);
    let after = |r: u8| main_of(&[mov(6, 1), mov(1, 1), sub(1), mov_reg(0, r), exit()]);
    l.add(Fine, "r6 behind a call", &[after(6), zero.clone()]);
    l.add(Refused, "r1 behind a call", &[after(1), zero]);
    let nothing = global(&[Ty::Long], &[exit()]);
    let void = nothing.clone().returning(Ty::Void);
    l.add(Refused, "no result", &[main(&[mov(1, 1)]), nothing]);
    let no_use = main_of(&[mov(1, 1), sub(1), mov(0, 4), exit()]);
    l.add(Fine, "void", &[no_use, void.clone()]);
    l.add(Refused, "void has no result", &[main(&[mov(1, 1)]), void]);
    let five = global(&[Ty::Int; 5], &three());
    let set: Vec<_> = (1..=5).map(|r| mov(r, 1)).collect();
    l.add(Fine, "five arguments", &[main(&set), five]);
    let six = global(&[Ty::Int; 6], &three());
    l.add(Refused, "six arguments", &[main(&set), six]);
}

fn memory(l: &mut List) {
    let word = global(&[Ty::Mem(8)], &bump());
    let stack = |off: i32| main(&join(&[&[put(-8, 41)], &fp(1, off)]));
    l.add(Fine, "memory", &[stack(-8), word.clone()]);
    l.add(Refused, "memory too small", &[stack(-4), word.clone()]);
    l.add(Fine, "NULL for memory", &[main(&[mov(1, 0)]), word.clone()]);
    l.add(Refused, "1 for memory", &[main(&[mov(1, 1)]), word.clone()]);
    l.add(
        Refused,
        "the context for memory",
        &[main(&[]), word.clone()],
    );
    l.add(
        Refused,
        "nothing for memory",
        &[
            main_of(&[mov(1, 1), sub(2), sub(1), exit()]),
            word.clone(),
            global(&[Ty::Long], &three()),
        ],
    );
    let clear = [mov(0, 0), jeq(1, 0, 1), raw(0x7a, 1, 0, 0, 0), exit()];
    l.add(
        Fine,
        "stack that holds nothing",
        &[main(&fp(1, -8)), global(&[Ty::Mem(8)], &clear)],
    );
    let at = |insns: &[Slot]| {
        let body = join(&[&[mov(0, 0), jne(1, 0, 1), exit()], insns, &end()]);
        [stack(-8), global(&[Ty::Mem(8)], &body)]
    };
    l.add(
        Refused,
        "memory may be NULL",
        &[stack(-8), global(&[Ty::Mem(8)], &[ld(0, 1, 0), exit()])],
    );
    l.add(Fine, "the last byte", &at(&[raw(0x71, 0, 1, 7, 0)]));
    l.add(
        Refused,
        "behind the last byte",
        &at(&[raw(0x71, 0, 1, 8, 0)]),
    );
    l.add(
        Refused,
        "before the first byte",
        &at(&[raw(0x72, 1, 0, -1, 0)]),
    );
    l.add(Refused, "across the end", &at(&[ld(0, 1, 1)]));
    let within = |k: i32| {
        let insns = [
            raw(0x61, 2, 1, 0, 0),
            raw(0x57, 2, 0, 0, k),
            raw(0x0f, 1, 2, 0, 0),
        ];
        at(&join(&[&insns, &[raw(0x71, 0, 1, 0, 0)]]))
    };
    l.add(Fine, "offset within", &within(7));
    l.add(Refused, "offset beyond", &within(15));
    l.add(
        Refused,
        "sum before the look",
        &[
            stack(-8),
            global(&[Ty::Mem(8)], &[add(1, 1), mov(0, 0), exit()]),
        ],
    );
    l.add(
        Refused,
        "memory as result",
        &[stack(-8), global(&[Ty::Mem(8)], &[mov_reg(0, 1), exit()])],
    );
    // What is known of the frame afterwards.
    let known = |slot: i16| {
        let before = join(&[&[put(-8, 0), put(-16, 0)], &fp(1, -8), &[sub(1)]]);
        let offset = [ld(1, 10, slot), mov_reg(2, 10), raw(0x0f, 2, 1, 0, 0)];
        main_of(&join(&[
            &before,
            &offset,
            &[raw(0x72, 2, 0, -24, 0)],
            &end(),
        ]))
    };
    l.add(
        Fine,
        "another slot is as it was",
        &[known(-16), word.clone()],
    );
    l.add(Refused, "memory holds anything", &[known(-8), word.clone()]);
    let kept = |slot: i16| {
        let before = join(&[&[spill(-8, 1), spill(-16, 1)], &fp(1, -8), &[sub(1)]]);
        main_of(&join(&[
            &before,
            &[ld(1, 10, slot), raw(0x61, 0, 1, 0, 0), exit()],
        ]))
    };
    l.add(
        Fine,
        "another pointer is as it was",
        &[kept(-16), word.clone()],
    );
    l.add(
        Refused,
        "a pointer in memory is none",
        &[kept(-8), word.clone()],
    );
    let pass = global(&[Ty::Mem(16)], &[sub(2), exit()]);
    let big = main(&join(&[&[put(-8, 1), put(-16, 1)], &fp(1, -16)]));
    l.add(Fine, "memory handed on", &[big, pass, word.clone()]);
    let pass = global(&[Ty::Mem(8)], &[sub(2), exit()]);
    let wide = global(&[Ty::Mem(16)], &bump());
    l.add(Refused, "less memory handed on", &[stack(-8), pass, wide]);
    let value = |m: &oxbpf::Map, rest: &[Slot]| main(&join(&[&look_up(m), rest, &[mov_reg(1, 0)]]));
    let f = word.clone();
    l.maps(Fine, SOCKET_FILTER, "a value or NULL", move |m| {
        vec![value(&m.array, &[]), f.clone()]
    });
    for (want, name, by) in [
        (Fine, "within a value", 8),
        (Refused, "not within a value", 9),
    ] {
        let f = word.clone();
        l.maps(want, SOCKET_FILTER, name, move |m| {
            vec![
                value(&m.array, &[jne(0, 0, 1), exit(), add(0, by)]),
                f.clone(),
            ]
        });
    }
    let f = word.clone();
    l.maps(
        Refused,
        SOCKET_FILTER,
        "a value that cannot be written",
        move |m| vec![value(&m.rdonly, &[]), f.clone()],
    );
    for (want, name, by) in [(Fine, "beside a lock", 8), (Refused, "a lock", 0)] {
        let f = word.clone();
        l.maps(want, SCHED_CLS, name, move |m| {
            vec![
                value(&m.lock, &[jne(0, 0, 1), exit(), add(0, by)]),
                f.clone(),
            ]
        });
    }
    let f = word;
    l.maps(Refused, SOCKET_FILTER, "a map", move |m| {
        vec![main(&ld_map(1, &m.array)), f.clone()]
    });
}

fn prototypes(l: &mut List) {
    const LONG: Ty = Ty::Long;
    const WORD: Ty = Ty::Mem(8);
    const ANY: Ty = Ty::Any;
    const CTX: Ty = Ty::To("__sk_buff");
    const OTHER: Ty = Ty::To("other");
    let one = |ty: Ty| [main(&[]), global(&[ty], &three())];
    let zero = |ty: Ty| [main(&[mov(1, 0)]), global(&[ty], &three())];
    l.add(Refused, "void *", &zero(ANY));
    l.add(
        Refused,
        "pointer to what is only declared",
        &zero(Ty::Declared("what")),
    );
    l.add(Refused, "a struct", &zero(Ty::Struct)).kernel_btf = true;
    l.add(Refused, "a float", &zero(Ty::Float));
    l.add(
        Refused,
        "a pointer as result",
        &[
            main(&[mov(1, 0)]),
            global(&[Ty::Int], &three()).returning(WORD),
        ],
    );
    let len = global(&[CTX], &[raw(0x61, 0, 1, 0, 0), exit()]);
    let add_ctx = [main(&[add(1, 4)]), len.clone()];
    for (want, name, funcs) in [
        (Fine, "the context", &[main(&[]), len.clone()][..]),
        (
            Refused,
            "a number for the context",
            &[main(&[mov(1, 0)]), len.clone()],
        ),
        (Refused, "a modified context", &add_ctx),
        (
            Refused,
            "memory for the context",
            &[main(&fp(1, -8)), len.clone()],
        ),
        (
            Fine,
            "the context by its other name",
            &one(Ty::To("sk_buff")),
        ),
        (Refused, "a struct of another name", &one(OTHER)),
        (Refused, "another type's context", &one(Ty::To("xdp_md"))),
    ] {
        l.add(want, name, funcs).kernel_btf = true;
    }
    let len = global(&[Ty::To("xdp_md")], &[raw(0x61, 0, 1, 12, 0), exit()]);
    l.typed(Fine, XDP, "XDP's context", &[main(&[]), len])
        .kernel_btf = true;
    for (want, name, ty) in [
        (Fine, "tag: context", Ty::Tagged(&ANY, "arg:ctx")),
        (Fine, "tag: context, by name", Ty::Tagged(&CTX, "arg:ctx")),
        (
            Refused,
            "tag: context, but another",
            Ty::Tagged(&OTHER, "arg:ctx"),
        ),
        (
            Refused,
            "tag: context, but a number",
            Ty::Tagged(&LONG, "arg:ctx"),
        ),
        (
            Refused,
            "tags: context and more",
            Ty::Tagged2(&ANY, "arg:ctx", "arg:nonnull"),
        ),
        (Refused, "tag: unknown", Ty::Tagged(&ANY, "arg:what")),
        (
            Fine,
            "tag: of others",
            Ty::Tagged2(&ANY, "arg:ctx", "argument"),
        ),
        (Refused, "tag: nullable", Ty::Tagged(&WORD, "arg:nullable")),
    ] {
        l.add(want, name, &one(ty)).kernel_btf = true;
    }
    let there = || global(&[Ty::Tagged(&WORD, "arg:nonnull")], &[ld(0, 1, 0), exit()]);
    let stack = main(&join(&[&[put(-8, 9)], &fp(1, -8)]));
    l.add(Fine, "tag: not NULL", &[stack, there()]);
    l.add(
        Refused,
        "tag: not NULL, but NULL",
        &[main(&[mov(1, 0)]), there()],
    );
    for (want, name, look) in [
        (Fine, "tag: not NULL, a value", vec![jne(0, 0, 1), exit()]),
        (Refused, "tag: not NULL, perhaps", vec![]),
    ] {
        l.maps(want, SOCKET_FILTER, name, move |m| {
            vec![
                main(&join(&[&look_up(&m.array), &look, &[mov_reg(1, 0)]])),
                there(),
            ]
        });
    }
}

fn held(l: &mut List) {
    for (want, name, linkage, early) in [
        (Fine, "static while a lock is held", 0, false),
        (Refused, "while a lock is held", 1, false),
        (Fine, "when a lock was given back", 1, true),
    ] {
        l.maps(want, SCHED_CLS, name, move |m| {
            let give = [mov_reg(1, 6), call(UNLOCK)];
            let calls = [mov(1, 1), sub(1)];
            let (a, b): (&[Slot], &[Slot]) = match early {
                true => (&give, &calls),
                false => (&calls, &give),
            };
            let take = [
                jne(0, 0, 1),
                exit(),
                mov_reg(6, 0),
                add(6, 4),
                mov_reg(1, 6),
                call(LOCK),
            ];
            let main = main_of(&join(&[&look_up(&m.lock), &take, a, b, &end()]));
            vec![
                main,
                Func {
                    linkage,
                    ..global(&[Ty::Long], &three())
                },
            ]
        });
    }
    let reserve = |m: &Maps| join(&[&ld_map(1, &m.ring), &[mov(2, 16), mov(3, 0), call(RESERVE)]]);
    let give = [mov_reg(1, 6), mov(2, 0), call(DISCARD)];
    for (want, name, back) in [(Fine, "gives back", true), (Refused, "keeps", false)] {
        l.maps(want, SOCKET_FILTER, name, move |m| {
            let give = if back { &give[..] } else { &[] };
            let body = join(&[
                &reserve(m),
                &[jne(0, 0, 1), exit(), mov_reg(6, 0)],
                give,
                &end(),
            ]);
            vec![main(&[mov(1, 1)]), global(&[Ty::Long], &body)]
        });
    }
    for (want, name, body) in [
        (Fine, "called with what is to be given back", bump()),
        (
            Refused,
            "gives back what is the caller's",
            join(&[&[mov_reg(6, 1), jne(1, 0, 2)], &end(), &give, &end()]),
        ),
    ] {
        l.maps(want, SOCKET_FILTER, name, move |m| {
            let pass = [jne(0, 0, 1), exit(), mov_reg(6, 0), mov_reg(1, 6), sub(1)];
            let main = main_of(&join(&[&reserve(m), &pass, &give, &end()]));
            vec![main, global(&[Ty::Mem(16)], &body)]
        });
    }
}

fn packets(l: &mut List) {
    const CTX: Ty = Ty::Tagged(&Ty::Any, "arg:ctx");
    let pull = [mov(2, 0), call(PULL_DATA), mov(0, 0), exit()];
    let after = |n: i32| {
        let rest = [mov_reg(1, 7), sub(n), ld(0, 6, 0), mov(0, 1), exit()];
        main_of(&join(&[&packet(), &rest]))
    };
    let stays = global(&[CTX], &three());
    let moves = global(&[CTX], &pull);
    l.typed(Fine, SCHED_CLS, "packet stays", &[after(1), stays.clone()])
        .kernel_btf = true;
    l.typed(
        Refused,
        SCHED_CLS,
        "packet moves",
        &[after(1), moves.clone()],
    )
    .kernel_btf = true;
    let deep = [
        after(1),
        global(&[CTX], &[sub(2), exit()]),
        local(&[CTX], &pull),
    ];
    l.typed(Refused, SCHED_CLS, "packet moves below", &deep)
        .kernel_btf = true;
    let deep = [after(1), global(&[CTX], &[sub(2), exit()]), moves.clone()];
    l.typed(Refused, SCHED_CLS, "packet moves below, global", &deep)
        .kernel_btf = true;
    for (want, name, below) in [
        (Fine, "tail call", false),
        (Refused, "packet moves by a tail call", true),
    ] {
        l.maps(want, SCHED_CLS, name, move |m| {
            let jump = join(&[&ld_map(2, &m.progs), &[mov(3, 0), call(TAIL_CALL)], &end()]);
            let first = match below {
                true => after(1),
                false => main(&[]),
            };
            vec![first, global(&[CTX], &jump)]
        })
        .kernel_btf = true;
    }
    let pass = |n: i32, by: i32| {
        let rest = [
            mov_reg(1, 6),
            add(1, by),
            mov_reg(2, 7),
            sub(n),
            ld(0, 6, 0),
            exit(),
        ];
        main_of(&join(&[&packet(), &rest]))
    };
    let reads = global(&[Ty::Mem(8), CTX], &bump());
    let moving = join(&[&[mov_reg(1, 2)], &pull]);
    let moves = global(&[Ty::Mem(8), CTX], &moving);
    for (want, name, funcs) in [
        (Fine, "packet as memory", [pass(1, 0), reads.clone()]),
        (
            Refused,
            "packet that is too short",
            [pass(1, 1), reads.clone()],
        ),
        (
            Refused,
            "packet that may move as memory",
            [pass(1, 0), moves],
        ),
    ] {
        l.typed(want, SCHED_CLS, name, &funcs).kernel_btf = true;
    }
    let only = OnlyHere("R1 is a packet pointer, but func#1 may write to it");
    // A result that such programs may have.
    let rest = [mov_reg(1, 6), mov_reg(2, 7), sub(1), mov(0, 1), exit()];
    let main = main_of(&join(&[&packet(), &rest]));
    l.typed(
        only,
        CGROUP_SKB,
        "packet that is not to be written",
        &[main, reads],
    )
    .kernel_btf = true;
}

fn depths(l: &mut List) {
    let uses = |bytes: i16| vec![put(-bytes, 1), mov(0, 0), exit()];
    for (want, name, bytes) in [(Fine, "stack of 512", 256), (Refused, "stack of 528", 272)] {
        let main = main_of(&[put(-256, 0), mov(1, 1), sub(1), exit()]);
        l.add(want, name, &[main, global(&[Ty::Long], &uses(bytes))]);
    }
    for (want, name, bytes) in [
        (Fine, "tail call below 240 bytes", 240),
        (Refused, "tail call below 256 bytes", 256),
    ] {
        l.maps(want, SOCKET_FILTER, name, move |m| {
            let jump = join(&[&ld_map(2, &m.progs), &[mov(3, 0), call(TAIL_CALL)], &end()]);
            let main = main(&[put(-bytes, 1)]);
            vec![main, global(&[Ty::Tagged(&Ty::Any, "arg:ctx")], &jump)]
        })
        .kernel_btf = true;
    }
    // Function `n` calls the next one.
    let chain = |len: usize| -> Vec<Func> {
        let link = |n: usize| match n + 1 == len {
            true => global(&[Ty::Long], &three()),
            false => global(&[Ty::Long], &[mov(1, 1), sub(n as i32 + 1), exit()]),
        };
        (0..len).map(link).collect()
    };
    l.add(Fine, "16 frames", &chain(16));
    l.add(OnlyHere("frames is too deep"), "17 frames", &chain(17));
    let both_ways = [
        main_of(&[mov(1, 1), sub(2), mov(1, 1), sub(3), exit()]),
        global(&[Ty::Long], &three()),
        global(&[Ty::Long], &[mov(1, 1), sub(1), exit()]),
        local(&[Ty::Long], &[mov(1, 1), sub(1), mov(1, 1), sub(4), exit()]),
        global(&[Ty::Long], &[mov(1, 1), sub(1), exit()]),
    ];
    l.add(Fine, "before and behind", &both_ways);
    let start = [spill(-8, 1), mov(1, 2), raw(0x18, 2, 4, 0, 1), [0; 8]];
    let first = join(&[&start, &fp(3, -8), &[mov(4, 0), call(LOOP), exit()]]);
    for (want, name, round) in [
        (
            Fine,
            "a static callback",
            local(&[Ty::Long, Ty::Any], &end()),
        ),
        (
            Refused,
            "a global callback",
            global(&[Ty::Long, Ty::Any], &end()),
        ),
    ] {
        l.add(want, name, &[main_of(&first), round]);
    }
    for (want, name, body) in [
        (Fine, "in a callback", three()),
        (
            Refused,
            "loads from the packet in a callback",
            vec![mov_reg(6, 1), raw(0x20, 0, 0, 0, 0), mov(0, 0), exit()],
        ),
    ] {
        let back = [ld(1, 2, 0), sub(2), mov(0, 0), exit()];
        let funcs = [
            main_of(&first),
            local(&[Ty::Long, Ty::Any], &back),
            global(&[Ty::Tagged(&Ty::Any, "arg:ctx")], &body),
        ];
        l.add(want, name, &funcs).kernel_btf = true;
    }
}

fn atomics(l: &mut List) {
    // if arg is there: atomic add of 1
    let body = |size: u8| {
        vec![
            mov(0, 0),
            jne(1, 0, 1),
            exit(),
            mov(2, 1),
            raw(0xc3 | size, 1, 2, 0, 0),
            exit(),
        ]
    };
    let stack = |off: i32| main(&join(&[&[put(-8, 1), put(-16, 1)], &fp(1, off)]));
    let (wide, narrow) = (body(0x18), body(0));
    let only = OnlyHere("is not aligned");
    for (want, name, off, body) in [
        (Fine, "atomic, aligned", -16, &wide),
        (only, "atomic, not aligned", -12, &wide),
        (Fine, "atomic word, aligned", -12, &narrow),
        (only, "atomic word, not aligned", -13, &narrow),
    ] {
        l.add(want, name, &[stack(off), global(&[Ty::Mem(8)], body)]);
    }
    let below = [
        stack(-12),
        global(&[Ty::Mem(8)], &[sub(2), exit()]),
        local(&[Ty::Any], &wide),
    ];
    l.add(only, "atomic below, not aligned", &below);
}

/// All of them.
pub(super) fn all() -> Vec<Case> {
    let mut l = List(Vec::new());
    numbers(&mut l);
    memory(&mut l);
    prototypes(&mut l);
    held(&mut l);
    packets(&mut l);
    depths(&mut l);
    atomics(&mut l);
    l.0
}
