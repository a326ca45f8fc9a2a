// SPDX-License-Identifier: GPL-2.0

//! What must be given back, sized memory, and the maps that go with both.

use super::*;

const RESERVE: i32 = 131;
const SUBMIT: i32 = 132;
const DISCARD: i32 = 133;

/// `r0 = ringbuf_reserve(ring, size, 0)` in five slots.
const fn reserve(size: i32) -> [RawInsn; 5] {
    [map(1, RING), HOLE, mov(2, size), mov(3, 0), call(RESERVE)]
}

/// `submit(r1, 0)` in two slots.
const fn give(helper: i32) -> [RawInsn; 2] {
    [mov(2, 0), call(helper)]
}

const END: [RawInsn; 2] = [mov(0, 0), EXIT];

/// Memory of 16 bytes that is not NULL in `r6`, then `rest`; NULL ends the program.
fn held(rest: &[RawInsn]) -> Vec<RawInsn> {
    join(&[
        &reserve(16),
        &[jne(0, 0, 2)],
        &END,
        &[movx(6, 0)],
        rest,
        &END,
    ])
}

#[test]
fn given_back_once() {
    for helper in [SUBMIT, DISCARD] {
        accepted(&held(&join(&[&[movx(1, 6)], &give(helper)])));
    }
    refused(
        &held(&[]),
        EINVAL,
        "Unreleased reference id=1 alloc_insn=4\nBPF_EXIT instruction in main prog would lead to \
         reference leak",
    );
    refused(
        &held(&join(&[
            &[movx(7, 6), movx(1, 6)],
            &give(SUBMIT),
            &[movx(1, 7)],
            &give(SUBMIT),
        ])),
        EACCES,
        "R1 type=scalar expected=ringbuf_mem",
    );
}

#[test]
fn copies_end_with_it() {
    // In a register, and spilled.
    let copy = |after: &[RawInsn]| {
        held(&join(&[
            &[stx(10, 6, -8), movx(7, 6), movx(1, 6)],
            &give(SUBMIT),
            after,
        ]))
    };
    refused(
        &copy(&[st(7, 0, 1)]),
        EACCES,
        "R7 invalid mem access 'scalar'",
    );
    refused(
        &copy(&[ldx(7, 10, -8), st(7, 0, 1)]),
        EACCES,
        "R7 invalid mem access 'scalar'",
    );
    // A spilled copy is as good as any to give it back.
    accepted(&held(&join(&[
        &[stx(10, 6, -8), ldx(1, 10, -8)],
        &give(DISCARD),
    ])));
}

#[test]
fn what_was_a_pointer_is_not_read_as_data() {
    let prog = held(&join(&[
        &[stx(10, 6, -8), movx(1, 6)],
        &give(SUBMIT),
        &[ldx(0, 10, -8)],
    ]));
    let mut o = options(ProgType::SocketFilter);
    assert!(run(&prog, 1, &o).0.is_ok());
    o.allow_ptr_leaks = false;
    let (v, log) = run(&prog, 1, &o);
    assert_eq!(v.err(), Some(EACCES), "{log}");
    assert!(
        log.contains("invalid read from stack off -8+0 size 8"),
        "{log}"
    );
}

#[test]
fn null_need_not_be_given_back() {
    let ring = reserve(8);
    // Through a copy that is compared later.
    accepted(&join(&[
        &ring,
        &[movx(6, 0), jne(6, 0, 2)],
        &END,
        &[movx(1, 0)],
        &give(SUBMIT),
        &END,
    ]));
    refused(
        &join(&[&ring, &[movx(1, 0)], &give(SUBMIT), &END]),
        EACCES,
        "R1 type=ringbuf_mem_or_null expected=ringbuf_mem",
    );
    refused(
        &join(&[&ring, &[st(0, 0, 0)], &END]),
        EACCES,
        "R0 invalid mem access 'ringbuf_mem_or_null'",
    );
    // A branch that gives it back on one side only.
    refused(
        &join(&[
            &ring,
            &[jne(0, 0, 2)],
            &END,
            &[movx(6, 0), call(PRANDOM), jeq(0, 0, 3), movx(1, 6)],
            &give(SUBMIT),
            &END,
        ]),
        EINVAL,
        "reference leak",
    );
}

#[test]
fn only_what_was_got() {
    refused(
        &held(&join(&[&[movx(1, 6), add(1, 8)], &give(SUBMIT)])),
        EINVAL,
        "R1 must have zero offset when passed to release func or trusted arg to kfunc",
    );
    refused(
        &join(&[&[movx(1, 10), add(1, -8)], &give(SUBMIT), &END]),
        EACCES,
        "R1 type=fp expected=ringbuf_mem",
    );
    refused(
        &join(&[
            &[call(PRANDOM), movx(2, 0), map(1, RING), HOLE, mov(3, 0)],
            &[call(RESERVE)],
            &END,
        ]),
        EACCES,
        "R2 is not a known constant'",
    );
}

#[test]
fn within_its_size() {
    accepted(&held(&join(&[
        &[st(6, 8, 1), ldx(7, 6, 0), movx(1, 6)],
        &give(SUBMIT),
    ])));
    refused(
        &held(&join(&[&[st(6, 9, 1), movx(1, 6)], &give(SUBMIT)])),
        EACCES,
        "invalid access to memory, mem_size=16 off=9 size=8",
    );
}

#[test]
fn a_subprogram_may_keep_or_take_it() {
    // The subprogram gives it back.
    accepted(&held(&[
        movx(1, 6),
        sub(2),
        mov(0, 0),
        EXIT,
        mov(2, 0),
        call(SUBMIT),
    ]));
    // It returns with it, and nobody gives it back.
    refused(
        &join(&[&[sub(2)], &END, &reserve(8), &END]),
        EINVAL,
        "Unreleased reference id=1 alloc_insn=7",
    );
}

#[test]
fn states_with_and_without_are_not_the_same() {
    // Where the paths meet, one holds memory and the other does not.
    refused(
        &join(&[
            &[call(PRANDOM), mov(6, 0), jeq(0, 0, 8)],
            &reserve(8),
            &[jeq(0, 0, 2), mov(6, 0), mov(7, 0)],
            &[call(PRANDOM), jeq(0, 5, 0)],
            &END,
        ]),
        EINVAL,
        "reference leak",
    );
}

#[test]
fn maps_and_their_helpers() {
    refused(
        &join(&[
            &[map(1, QUEUE), HOLE, mov(2, 8), mov(3, 0), call(RESERVE)],
            &END,
        ]),
        EINVAL,
        "cannot pass map_type 22 into func bpf_ringbuf_reserve#131",
    );
    refused(
        &join(&[
            &[map(1, RING), HOLE, movx(2, 10), st(10, -8, 0), add(2, -8)],
            &[call(LOOKUP)],
            &END,
        ]),
        EACCES,
        "invalid zero-sized read",
    );
}

#[test]
fn popped_values_are_initialised() {
    let pop = |rest: &[RawInsn]| {
        join(&[
            &[map(1, QUEUE), HOLE, movx(2, 10), add(2, -16), call(88)],
            rest,
            &END,
        ])
    };
    accepted(&pop(&[ldx(0, 10, -16)]));
    let mut o = options(ProgType::SocketFilter);
    o.allow_ptr_leaks = false;
    assert!(run(&pop(&[ldx(0, 10, -8)]), 1, &o).0.is_ok());
    assert!(run(&pop(&[ldx(0, 10, -24)]), 1, &o).0.is_err());
}

#[test]
fn read_only_maps_are_not_written_by_helpers() {
    refused(
        &[
            st(10, -8, 0),
            movx(2, 10),
            add(2, -8),
            movx(3, 10),
            add(3, -56),
            map(1, ARRAY_RDONLY),
            HOLE,
            mov(4, 0),
            call(2),
            mov(0, 0),
            EXIT,
        ],
        EACCES,
        "write into map forbidden",
    );
}

#[test]
fn who_runs_where() {
    // One of at most as many CPUs as there are; here no limit is known.
    let (_, log) = run(&[call(8), EXIT], 2, &options(ProgType::SocketFilter));
    assert!(log.contains("umax32=0xfffffffe"), "{log}");
    let mut o = options(ProgType::CgroupSkb);
    assert!(run(&[mov(0, 3), EXIT], 1, &o).0.is_err());
    o.attach_type = 1;
    assert!(run(&[mov(0, 3), EXIT], 1, &o).0.is_ok());
    assert!(run(&[mov(0, 4), EXIT], 1, &o).0.is_err());
}
