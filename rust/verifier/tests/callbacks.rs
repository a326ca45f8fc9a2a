// SPDX-License-Identifier: GPL-2.0

//! Helpers that call subprograms of the program.

use super::*;

const LOOP: i32 = 181;
const FOR_EACH: i32 = 164;

/// `dst = subprogram`, `off` slots behind this instruction's first.
const fn func(dst: u8, off: i32) -> RawInsn {
    i(0x18, dst, 4, 0, off - 1)
}

/// A program that calls `bpf_loop(rounds, callback, fp-8, 0)` with `*(fp-8) = first`, then does
/// `after`; the callback is `body`.
fn with_loop(rounds: i32, first: i32, after: &[RawInsn], body: &[RawInsn]) -> Vec<RawInsn> {
    join(&[
        &[
            st(10, -8, first),
            mov(1, rounds),
            func(2, 7 + after.len() as i32),
            HOLE,
            movx(3, 10),
            add(3, -8),
            mov(4, 0),
            call(LOOP),
        ],
        after,
        &[EXIT],
        body,
    ])
}

/// `*(r2) += 1; return 0`
const COUNT: [RawInsn; 5] = [ldx(1, 2, 0), add(1, 1), stx(2, 1, 0), mov(0, 0), EXIT];

/// `*(map value + r1) = 0`, with `r3`.
const fn write_at_r1() -> [RawInsn; 4] {
    [
        i(0x18, 3, 2, 0, ARRAY_48),
        HOLE,
        addx(3, 1),
        i(0x72, 3, 0, 0, 0),
    ]
}

#[test]
fn a_loop_converges() {
    accepted(&with_loop(10, 0, &[mov(0, 0)], &COUNT));
    accepted(&with_loop(1 << 23, 0, &[mov(0, 0)], &COUNT));
    // No round at all.
    accepted(&with_loop(0, 0, &[mov(0, 0)], &COUNT));
}

#[test]
fn what_a_round_left_is_seen_by_the_next() {
    let bounded = join(&[
        &[ldx(1, 2, 0), jgt(1, 47, 7)],
        &write_at_r1(),
        &[ldx(1, 2, 0), add(1, 1), stx(2, 1, 0), mov(0, 0), EXIT],
    ]);
    accepted(&with_loop(100, 0, &[mov(0, 0)], &bounded));
    let unbounded = join(&[
        &[ldx(1, 2, 0)],
        &write_at_r1(),
        &[ldx(1, 2, 0), add(1, 1), stx(2, 1, 0), mov(0, 0), EXIT],
    ]);
    refused(
        &with_loop(100, 0, &[mov(0, 0)], &unbounded),
        EACCES,
        "is outside of the allowed memory range",
    );
    // As many rounds as there is room for.
    accepted(&with_loop(48, 0, &[mov(0, 0)], &unbounded));
}

/// A number that decides something is followed round by round, but not for ever: then it may be any.
#[test]
fn after_many_rounds_a_number_may_be_any() {
    let body = join(&[
        &[ldx(1, 2, 0), jgt(1, 3999, 4), add(1, 1), stx(2, 1, 0)],
        &[mov(0, 0), EXIT],
        &write_at_r1(),
        &[mov(0, 0), EXIT],
    ]);
    accepted(&with_loop(1000, 0, &[mov(0, 0)], &body));
    refused(
        &with_loop(3000, 0, &[mov(0, 0)], &body),
        EINVAL,
        "math between map_value pointer and register with unbounded min value is not allowed",
    );
}

#[test]
fn what_the_rounds_left_is_seen_behind() {
    let after = join(&[&[ldx(1, 10, -8)], &write_at_r1(), &[mov(0, 0)]]);
    let body = |value: i32| vec![st(2, 0, value), mov(0, 0), EXIT];
    accepted(&with_loop(5, 0, &after, &body(47)));
    refused(
        &with_loop(5, 0, &after, &body(48)),
        EACCES,
        "is outside of the allowed memory range",
    );
}

#[test]
fn only_0_and_1_come_back() {
    accepted(&with_loop(5, 0, &[mov(0, 0)], &[mov(0, 1), EXIT]));
    refused(
        &with_loop(5, 0, &[mov(0, 0)], &[mov(0, 2), EXIT]),
        EINVAL,
        "At callback return the register R0 has smin=2 smax=2 should have been in [0, 1]",
    );
    refused(
        &with_loop(5, 0, &[mov(0, 0)], &[movx(0, 2), EXIT]),
        EINVAL,
        "cannot return stack pointer to the caller",
    );
    refused(
        &with_loop(5, 0, &[mov(0, 0)], &[map(0, HASH_8_48), HOLE, EXIT]),
        EACCES,
        "R0 not a scalar value",
    );
}

#[test]
fn a_callback_knows_its_arguments_only() {
    refused(
        &with_loop(5, 0, &[mov(0, 0)], &[movx(0, 3), EXIT]),
        EACCES,
        "R3 !read_ok",
    );
    refused(
        &with_loop(5, 0, &[mov(0, 0)], &[movx(0, 6), EXIT]),
        EACCES,
        "R6 !read_ok",
    );
    refused(
        &with_loop(5, 0, &[ldx(0, 3, 0)], &COUNT),
        EACCES,
        "R3 !read_ok",
    );
}

#[test]
fn arguments_of_the_helper() {
    let mut prog = with_loop(5, 0, &[mov(0, 0)], &COUNT);
    prog[2] = mov(2, 0);
    prog[3] = mov(5, 0);
    // The subprogram is not reachable any more.
    prog.truncate(10);
    refused(&prog, EACCES, "R2 type=scalar expected=func");
    let mut prog = with_loop(5, 0, &[mov(0, 0)], &COUNT);
    prog[4] = movx(3, 2);
    prog[5] = mov(5, 0);
    refused(&prog, EACCES, "R3 type=func expected=fp");
}

#[test]
fn memory_got_in_a_round_is_given_back() {
    let got = join(&[
        &[map(1, RING), HOLE, mov(2, 8), mov(3, 0), call(131)],
        &[mov(0, 0), EXIT],
    ]);
    refused(
        &with_loop(5, 0, &[mov(0, 0)], &got),
        EINVAL,
        "reference leak",
    );
    let given = join(&[
        &[map(1, RING), HOLE, mov(2, 8), mov(3, 0), call(131)],
        &[jeq(0, 0, 3), movx(1, 0), mov(2, 0), call(132)],
        &[mov(0, 0), EXIT],
    ]);
    accepted(&with_loop(5, 0, &[mov(0, 0)], &given));
}

#[test]
fn a_loop_around_a_loop_ends() {
    // Again: *(fp-8) counts in the callback.
    refused(
        &with_loop(
            3,
            0,
            &[call(PRANDOM), jeq(0, 5, 1), ja(-11), mov(0, 0)],
            &COUNT,
        ),
        EINVAL,
        "infinite loop detected",
    );
}

/// The callback goes from 0 to 1 or 2, from 1 to 0, and stays at 2; the program loops again with 1
/// when it finds 2. So it may run for ever, though the state at the call is one of three.
#[test]
fn a_run_does_not_end_at_another_run_that_has_not_ended() {
    let body = [
        ldx(6, 2, 0),
        jeq(6, 2, 11),
        jeq(6, 1, 8),
        stx(10, 2, -8),
        call(PRANDOM),
        ldx(2, 10, -8),
        jeq(0, 0, 2),
        st(2, 0, 1),
        ja(4),
        st(2, 0, 2),
        ja(2),
        st(2, 0, 0),
        ja(0),
        mov(0, 0),
        EXIT,
    ];
    let after = [
        ldx(1, 10, -8),
        jne(1, 2, 2),
        st(10, -8, 1),
        ja(-11),
        mov(0, 0),
    ];
    let prog = with_loop(100, 0, &after, &body);
    let (v, log) = run(&prog, 1, &options(ProgType::SocketFilter));
    assert!(v.is_err(), "{log}");
    // Without going back it is fine.
    let after = [
        ldx(1, 10, -8),
        jne(1, 2, 2),
        st(10, -8, 1),
        ja(0),
        mov(0, 0),
    ];
    accepted(&with_loop(100, 0, &after, &body));
}

#[test]
fn no_callback_in_itself_for_ever() {
    // The callback loops with itself.
    let body = [
        mov(1, 5),
        func(2, -1),
        HOLE,
        mov(3, 0),
        mov(4, 0),
        call(LOOP),
        mov(0, 0),
        EXIT,
    ];
    let (v, log) = run(
        &with_loop(5, 0, &[mov(0, 0)], &body),
        1,
        &options(ProgType::SocketFilter),
    );
    assert!(v.is_err(), "{log}");
}

#[test]
fn a_loop_in_a_loop() {
    // The outer callback counts with an inner loop.
    let body = join(&[
        &[movx(6, 2)],
        &[mov(1, 4), func(2, 7), HOLE, movx(3, 6), mov(4, 0)],
        &[call(LOOP), mov(0, 0), EXIT],
        &COUNT,
    ]);
    accepted(&with_loop(5, 0, &[mov(0, 0)], &body));
}

#[test]
fn packet_loads_stay_out_of_callbacks() {
    refused(
        &with_loop(5, 0, &[mov(0, 0)], &[i(0x20, 0, 0, 0, 0), mov(0, 0), EXIT]),
        EINVAL,
        "cannot use BPF_LD_[ABS|IND] within callback",
    );
}

#[test]
fn elements_of_a_map() {
    let each = |fd: i32, body: &[RawInsn]| {
        join(&[
            &[map(1, fd), HOLE, func(2, 7), HOLE, mov(3, 0), mov(4, 0)],
            &[call(FOR_EACH), mov(0, 0), EXIT],
            body,
            &[mov(0, 0), EXIT],
        ])
    };
    // The key is read and the value written.
    accepted(&each(HASH_8_48, &[ldx(0, 2, 0), st(3, 40, 1)]));
    refused(
        &each(HASH_8_48, &[st(2, 0, 1)]),
        EACCES,
        "R2 cannot write into map_key",
    );
    refused(
        &each(HASH_8_48, &[ldx(0, 2, 1)]),
        EACCES,
        "invalid access to memory, mem_size=8 off=1 size=8",
    );
    refused(
        &each(HASH_8_48, &[st(3, 41, 1)]),
        EACCES,
        "invalid access to map value, value_size=48 off=41 size=8",
    );
    // The context was none.
    refused(
        &each(HASH_8_48, &[ldx(0, 4, 0)]),
        EACCES,
        "R4 invalid mem access 'scalar'",
    );
    refused(
        &each(QUEUE, &[]),
        EINVAL,
        "cannot pass map_type 22 into func bpf_for_each_map_elem#164",
    );
}
