// SPDX-License-Identifier: GPL-2.0

//! Runs what the verifier accepts, and checks what it said.

use crate::inputs::{machine, Input, CTX, PACKET};
use crate::rng::Rng;
use oxbpf_core::abi::ProgType;
use oxbpf_core::helper::TAIL_CALL;
use oxbpf_core::interp::{self, Fault};
use oxbpf_core::isa::{Insn, Reg};
use oxbpf_core::verifier::domain::scalar::Scalar;
use oxbpf_core::verifier::log::Log;
use oxbpf_core::verifier::watch::{verify_watched, Place, Seen, Watcher};
use oxbpf_core::verifier::{verify, Options, VerifiedProg};
use oxbpf_fixtures::host::{log_text, options, HostEnv};
use oxbpf_fixtures::machine::{Machine, KEYS_BELOW};
use oxbpf_fixtures::{native, Fixture};
use std::cell::RefCell;

/// Instructions that a run may take.
const BUDGET: u64 = 4_000_000;
/// States of one instruction that are kept; of one with more nothing is checked.
const MOST_STATES: usize = 400;

/// What became of a program.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Refused: positive errno, log.
    Refused(i32, String),
    /// Accepted, and all checks passed; per input what the program returned. `None`: the result
    /// depends on addresses or on the stack's earlier contents.
    Fine(Vec<Option<u64>>),
    /// A check failed.
    Wrong(String),
}

/// One state of an instruction.
struct State {
    depth: usize,
    regs: [Seen; 11],
}

/// What exploration saw.
#[derive(Default)]
struct Record {
    /// Per slot of the program as given.
    states: Vec<Vec<State>>,
    /// Per slot of the verified program, the one it was made from, if it is the first.
    origin: Vec<Option<u32>>,
}

impl Watcher for Record {
    fn visited(&mut self, at: u32, depth: usize, regs: &[Seen; 11]) {
        let at = at as usize;
        if self.states.len() <= at {
            self.states.resize_with(at + 1, Vec::new);
        }
        let states = &mut self.states[at];
        if states.len() <= MOST_STATES {
            states.push(State { depth, regs: *regs });
        }
    }

    fn moved(&mut self, moved: &[u32]) {
        for (old, new) in moved.iter().enumerate() {
            let new = *new as usize;
            if self.origin.len() <= new {
                self.origin.resize(new + 1, None);
            }
            // Of slots that became nothing, and the next, the last is what is there.
            self.origin[new] = Some(old as u32);
        }
    }
}

/// Where things are in a run.
struct Places<'a> {
    ty: ProgType,
    slide: u64,
    packet_len: u64,
    machine: &'a Machine<'a>,
    /// Tops of the stacks of the frames.
    tops: &'a [u64],
}

fn holds(seen: &Seen, value: u64, places: &Places<'_>) -> bool {
    let (place, offset) = match seen {
        Seen::NotInit => return true,
        Seen::Number(set) => return set.contains(value),
        Seen::Pointer { place, offset } => (place, offset),
    };
    let from = |base: u64| offset.contains(value.wrapping_sub(base));
    match *place {
        Place::Ctx => from(CTX + places.slide),
        Place::Stack { frame } => places.tops.get(frame).is_some_and(|top| from(*top)),
        Place::Map => true,
        Place::MapValue { or_null: true, .. } if value == 0 => true,
        Place::MapValue { map, inner, .. } => match inner {
            true => places
                .machine
                .held_by(map)
                .any(|map| in_value(places.machine, map, value, offset)),
            false => in_value(places.machine, map, value, offset),
        },
        // The machine has neither ring buffers nor sockets.
        Place::RingMem { or_null, .. } | Place::Sock { or_null } => or_null && value == 0,
        // Whatever a caller passes; nothing is NULL that may not be.
        Place::Mem { or_null } => or_null || value != 0,
        // In the frame of who walks over an array, else below the value.
        Place::MapKey { map } => match places.machine.is_array(map) {
            true => {
                let slots = |top: &u64| (1..=64).any(|i| from(top.wrapping_sub(8 * i)));
                places.tops.iter().any(slots)
            }
            false => in_value(places.machine, map, value.wrapping_add(KEYS_BELOW), offset),
        },
        // What stands for the address.
        Place::Func => value == 1,
        Place::Packet | Place::PacketMeta => from(PACKET + places.slide),
        Place::PacketEnd => value == PACKET + places.slide + places.packet_len,
    }
}

/// Whether some value of the map is an offset that is allowed before `value`.
fn in_value(machine: &Machine<'_>, map: usize, value: u64, offset: &Scalar) -> bool {
    let (step, rest) = machine.value_offset(map, value);
    let (step, rest) = (step as i128, rest as i128);
    let (least, most) = (i128::from(offset.smin()), i128::from(offset.smax()));
    // Offsets that differ by a step point into another value.
    let mut at = rest + (least - rest).div_euclid(step) * step;
    if at < least {
        at += step;
    }
    let mut tries = 0;
    while at <= most && tries < 64 {
        if offset.contains(at as u64) {
            return true;
        }
        at += step;
        tries += 1;
    }
    tries == 64
}

/// Verifies, and runs on `inputs` inputs.
pub fn check(fixture: &Fixture, rng: &mut Rng, inputs: usize) -> Outcome {
    check_with(fixture, &options(fixture), rng, inputs)
}

/// The same with these options.
pub fn check_with(fixture: &Fixture, options: &Options, rng: &mut Rng, inputs: usize) -> Outcome {
    let insns = fixture.with_fds(|map| map as i32);
    let mut env = HostEnv::new(&fixture.maps);
    let mut log = Log::new(1, 1 << 20);
    let prog = match verify(&insns, options, &mut env, &mut log) {
        Ok(prog) => prog,
        Err(e) => return Outcome::Refused(-e.to_errno(), log_text(&log)),
    };
    let mut watched_env = HostEnv::new(&fixture.maps);
    let mut record = Record::default();
    let mut none = Log::none();
    // Without the shortcut of imprecise numbers it may be too large; then only faults are found.
    let watched = verify_watched(&insns, options, &mut watched_env, &mut none, &mut record).ok();

    let mut all = vec![Input::plain()];
    all.extend((0..inputs).map(|_| Input::random(rng)));
    let mut results = Vec::new();
    for input in &all {
        let result = match run(fixture, &prog, &env, input) {
            Ok(result) => result,
            Err(fault) if is_missing(&prog, fault) => return Outcome::Fine(Vec::new()),
            Err(fault) => return wrong(fixture, &prog, input, &format!("{fault:?}")),
        };
        if let Some(watched) = &watched {
            if let Err(text) = run_watched(fixture, watched, &watched_env, &record, input) {
                return wrong(fixture, watched, input, &text);
            }
        }
        let moved = match run(fixture, &prog, &env, &input.elsewhere()) {
            Ok(moved) => moved,
            Err(fault) if is_missing(&prog, fault) => return Outcome::Fine(Vec::new()),
            Err(fault) => return wrong(fixture, &prog, input, &format!("elsewhere: {fault:?}")),
        };
        let same = result == moved;
        if !same && !options.allow_ptr_leaks {
            let text = format!("leaks: {result:#x} here, {moved:#x} elsewhere");
            return wrong(fixture, &prog, input, &text);
        }
        results.push(same.then_some(result));
    }
    Outcome::Fine(results)
}

/// The run ended at what the machine, and not the program, lacks: a helper, or a tail call in a
/// subprogram, which only compiled programs make.
fn is_missing(prog: &VerifiedProg, fault: Fault) -> bool {
    match fault {
        Fault::Helper(_) => true,
        Fault::Insn(at) => matches!(
            prog.code().insns.get(at as usize),
            Some(Insn::Call { helper: TAIL_CALL })
        ),
        Fault::Access(_) | Fault::Budget | Fault::NoPacket => false,
    }
}

/// Runs an accepted program's machine code on the plain input; text when that gives another result
/// than `expected`. True: it was run.
///
/// # Errors
///
/// What was different.
pub fn check_native(fixture: &Fixture, expected: u64) -> Result<bool, String> {
    if !matches!(
        fixture.prog_type,
        ProgType::SocketFilter | ProgType::SchedCls | ProgType::CgroupSkb
    ) {
        return Ok(false);
    }
    let packet = Input::plain().packet;
    for features in native::FEATURES {
        match native::run(fixture, &packet, features)? {
            None => return Ok(false),
            Some(result) if result == expected => {}
            Some(result) => {
                return Err(format!(
                    "{}: interpreter {expected:#x}, JIT with {features:?} {result:#x}\n{}",
                    fixture.name,
                    listing(fixture)
                ));
            }
        }
    }
    Ok(true)
}

/// What the verifier sees of a program that it accepts, on all paths; none when it is too large for that.
fn explored(fixture: &Fixture) -> Option<Record> {
    let insns = fixture.with_fds(|map| map as i32);
    let mut record = Record::default();
    let mut env = HostEnv::new(&fixture.maps);
    let options = options(fixture);
    verify_watched(&insns, &options, &mut env, &mut Log::none(), &mut record).ok()?;
    Some(record)
}

/// Whether the verifier has been at the instruction in slot `at` on any path, of a program that it accepts.
pub fn reaches(fixture: &Fixture, at: usize) -> bool {
    explored(fixture).is_none_or(|r| r.states.get(at).is_some_and(|s| !s.is_empty()))
}

/// Whether such a program looks for sockets, or at its packet's. Of those the machine has none.
pub fn has_sockets(fixture: &Fixture) -> bool {
    let sock = |seen: &Seen| {
        matches!(
            seen,
            Seen::Pointer {
                place: Place::Sock { .. },
                ..
            }
        )
    };
    explored(fixture).is_none_or(|r| r.states.iter().flatten().any(|s| s.regs.iter().any(sock)))
}

/// What the verifier says of all paths.
pub fn verifier_log(fixture: &Fixture) -> String {
    let insns = fixture.with_fds(|map| map as i32);
    let mut log = Log::new(2, 1 << 22);
    // The log is wanted either way.
    let _ = verify(
        &insns,
        &options(fixture),
        &mut HostEnv::new(&fixture.maps),
        &mut log,
    );
    log_text(&log)
}

fn wrong(fixture: &Fixture, prog: &VerifiedProg, input: &Input, text: &str) -> Outcome {
    Outcome::Wrong(format!(
        "{}: {text}\ninput: {input:x?}\nmaps: {:x?}\nprogram:\n{}verified:\n{}",
        fixture.name,
        fixture.maps,
        listing(fixture),
        code_listing(prog)
    ))
}

/// The program in the verifier's notation.
pub fn listing(fixture: &Fixture) -> String {
    let insns = fixture.with_fds(|map| map as i32);
    match oxbpf_core::isa::decode::decode(&insns) {
        Ok(insns) => number(&insns),
        Err(e) => format!("{e}\n{insns:?}\n"),
    }
}

fn code_listing(prog: &VerifiedProg) -> String {
    number(&prog.code().insns)
}

fn number(insns: &[Insn]) -> String {
    let mut text = String::new();
    for (at, insn) in insns.iter().enumerate() {
        text.push_str(&format!("{at}: {insn:?}\n"));
    }
    text
}

fn run(fixture: &Fixture, prog: &VerifiedProg, env: &HostEnv, input: &Input) -> Result<u64, Fault> {
    let code = prog.code();
    let mut machine = machine(env, fixture.prog_type, code.stack_depth, input);
    interp::run(code, &mut machine, CTX + input.slide, Some(BUDGET))
}

/// Runs, and looks at every step whether the registers are what the record allows.
fn run_watched(
    fixture: &Fixture,
    prog: &VerifiedProg,
    env: &HostEnv,
    record: &Record,
    input: &Input,
) -> Result<(), String> {
    let code = prog.code();
    let ty = fixture.prog_type;
    // Addresses do not change, so another one serves for asking.
    let still = machine(env, ty, code.stack_depth, input);
    let trouble = RefCell::new(None);
    let mut machine = machine(env, ty, code.stack_depth, input);
    let mut before: Option<u32> = None;
    let mut tops: Vec<u64> = Vec::new();
    let packet_len = input.data(ty).len() as u64;
    let result = {
        let trouble = &trouble;
        let still = &still;
        let step = move |slot: u32, regs: &[u64; 11]| {
            if trouble.borrow().is_some() {
                return;
            }
            let top = regs[Reg::R10.index()];
            match before.and_then(|at| code.insns.get(at as usize)) {
                None | Some(Insn::CallSub { .. }) => tops.push(top),
                Some(Insn::Exit) => {
                    tops.pop();
                }
                _ => {}
            }
            before = Some(slot);
            let Some(Some(at)) = record.origin.get(slot as usize) else {
                return;
            };
            let Some(states) = record.states.get(*at as usize) else {
                return;
            };
            if states.len() > MOST_STATES {
                return;
            }
            let places = Places {
                ty,
                slide: input.slide,
                packet_len,
                machine: still,
                tops: &tops,
            };
            let depth = tops.len().wrapping_sub(1);
            let fits = |s: &State| {
                s.depth == depth
                    && s.regs
                        .iter()
                        .zip(regs)
                        .all(|(seen, value)| holds(seen, *value, &places))
            };
            if !states.iter().any(fits) {
                let mut text = format!(
                    "at {slot} (was {at}), depth {depth}, {:?}: registers {regs:x?} are in none \
                     of {} states",
                    places.ty,
                    states.len()
                );
                for s in states.iter().take(8) {
                    text.push_str(&format!("\n  depth {}:", s.depth));
                    for (r, (seen, value)) in s.regs.iter().zip(regs).enumerate() {
                        if !holds(seen, *value, &places) {
                            text.push_str(&format!(" R{r}={seen} is not {value:#x};"));
                        }
                    }
                }
                *trouble.borrow_mut() = Some(text);
            }
        };
        machine.on_step = Some(Box::new(step));
        interp::run(code, &mut machine, CTX + input.slide, Some(BUDGET))
    };
    drop(machine);
    if let Some(text) = trouble.into_inner() {
        return Err(text);
    }
    result.map(|_| ()).map_err(|fault| format!("{fault:?}"))
}
