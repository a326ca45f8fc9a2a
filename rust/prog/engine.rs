// SPDX-License-Identifier: GPL-2.0

//! What runs a program: machine code when it can be made, else the interpreter.

use crate::abi::{MapType, ProgType};
use crate::helper_impl;
use crate::jit::{
    self, ArrayTarget, Failure, Features, HashTarget, Image, Jumps, MapTarget, Mitigations,
    TailCalls, Target, Variables,
};
use crate::map::{ArrayLayout, Map};
use crate::object::MapObject;
use crate::prog::{Aux, TAG_SIZE};
use crate::sys::context::RunGuard;
use crate::sys::cred::Cap;
use crate::sys::ksym::Ksym;
use crate::sys::params::{self, Harden, Jit};
use crate::sys::random::unguessable;
use crate::sys::run::{self, Interpreted, Outside};
use crate::sys::shared::Shared;
use crate::sys::text::{BaseSpec, Fixed, Patch, Text};
use crate::sys::{cpu, exec};
use crate::verifier::VerifiedProg;
use core::fmt;
use kernel::prelude::*;
use kernel::sync::atomic::{Atomic, Relaxed};

/// One function of a program in its machine code.
pub(crate) struct Function {
    /// The subprogram that it is. Those that all callers contain have none.
    pub(crate) subprog: usize,
    /// Byte in the image.
    pub(crate) start: u32,
    /// Bytes.
    pub(crate) len: u32,
}

/// A compiled program.
pub(crate) struct Compiled {
    /// The functions' names, which go before the code.
    names: KVec<Ksym>,
    text: Text,
    /// Its tail calls that are jumps, until they are handed to their arrays.
    patches: KVec<Patch>,
    /// Its functions in order.
    pub(crate) functions: KVec<Function>,
    /// Where the code of each source line begins.
    pub(crate) lines: KVVec<u32>,
}

impl Compiled {
    /// All of the machine code.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.text.bytes()
    }

    /// Address of byte `off`.
    pub(crate) fn address(&self, off: u32) -> usize {
        self.text.address(off)
    }

    /// Puts the functions' names into the kernel's symbol table: `bpf_prog_`, the tag of each, and
    /// the program's name or `F` for subprograms.
    fn publish(&mut self, name: &[u8; 16], tags: &[[u8; TAG_SIZE]]) -> Result {
        for function in &self.functions {
            let name = match function.subprog {
                0 => name.split(|c| *c == 0).next().unwrap_or(&[]),
                _ => b"F",
            };
            let tag = tags.get(function.subprog).ok_or(EINVAL)?;
            let text = symbol_name(tag, name)?;
            let text = CStr::from_bytes_with_nul(&text).map_err(|_| EINVAL)?;
            let start = self.text.address(function.start);
            if let Some(symbol) = Ksym::new(start, function.len as usize, text) {
                self.names.push(symbol, GFP_KERNEL_ACCOUNT)?;
            }
        }
        Ok(())
    }
}

/// The name of a function, with a NUL behind it.
fn symbol_name(tag: &[u8; TAG_SIZE], name: &[u8]) -> Result<KVec<u8>> {
    const DIGITS: [u8; 16] = *b"0123456789abcdef";

    let mut text = KVec::new();
    text.extend_from_slice(b"bpf_prog_", GFP_KERNEL)?;
    for byte in tag {
        for digit in [byte >> 4, byte & 15] {
            let digit = DIGITS.get(usize::from(digit)).copied().unwrap_or(b'?');
            text.push(digit, GFP_KERNEL)?;
        }
    }
    if !name.is_empty() {
        text.push(b'_', GFP_KERNEL)?;
        text.extend_from_slice(name, GFP_KERNEL)?;
    }
    text.push(0, GFP_KERNEL)?;
    Ok(text)
}

/// What runs a program.
pub(super) enum Engine {
    /// Machine code. It names the program's maps by address.
    Compiled(Compiled),
    /// The interpreter, on the verified instructions.
    Interpreter(Interpreted<Uses>),
}

/// What an interpreted program uses: it keeps its maps itself.
pub(super) struct Uses {
    maps: KVec<Shared<MapObject>>,
    ty: ProgType,
}

impl Outside for Uses {
    fn helper(&self, id: i32) -> Option<usize> {
        helper_impl::address(id, self.ty)
    }

    fn map(&self, index: u32) -> Option<&Map> {
        self.maps.get(index as usize).map(|object| object.map())
    }
}

/// Why a program is not compiled.
enum Reason {
    /// The compiler says it.
    Failure(Failure),
    /// No executable memory can be had.
    NoMemory(Error),
}

impl From<Failure> for Reason {
    fn from(failure: Failure) -> Self {
        Reason::Failure(failure)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Failure(failure) => failure.fmt(f),
            Reason::NoMemory(_) if !exec::available() => {
                write!(
                    f,
                    "the kernel's functions for executable memory were not found"
                )
            }
            Reason::NoMemory(e) => write!(f, "no executable memory: error {}", e.to_errno()),
        }
    }
}

impl Engine {
    /// Compiles the program, or prepares to interpret it, as parameter `jit` wants.
    ///
    /// # Errors
    ///
    /// `ENOTSUPP` when it must be compiled and cannot; `EINVAL` when it makes tail calls in
    /// subprograms and is not compiled.
    pub(super) fn new(verified: VerifiedProg, aux: &Aux) -> Result<Self> {
        let jit = params::jit();
        if jit == Jit::Off {
            return Self::interpreter(verified, aux);
        }
        match compile(&verified, aux) {
            Ok(compiled) => Ok(Engine::Compiled(compiled)),
            Err(reason) if jit == Jit::Required => {
                report(&reason, "refused");
                Err(ENOTSUPP)
            }
            Err(reason) => {
                report(&reason, "interpreted");
                Self::interpreter(verified, aux)
            }
        }
    }

    /// Prepares to interpret the program.
    fn interpreter(verified: VerifiedProg, aux: &Aux) -> Result<Self> {
        let code = verified.code();
        if code.subprogs.len() > 1 && code.subprogs.iter().any(|s| s.tail_call) {
            // As in-tree: the callers' frames would have to stay.
            return Err(EINVAL);
        }
        let mut kept = KVec::with_capacity(aux.maps.len(), GFP_KERNEL_ACCOUNT)?;
        for map in &aux.maps {
            kept.push(map.clone(), GFP_KERNEL_ACCOUNT)?;
        }
        Ok(Engine::Interpreter(Interpreted::new(
            verified,
            Uses {
                maps: kept,
                ty: aux.ty,
            },
        )))
    }

    /// Interprets the program on the context at `ctx`, if there is no machine code.
    pub(super) fn interpret(&self, guard: &RunGuard, ctx: usize) -> u64 {
        match self {
            Engine::Compiled(_) => 0,
            Engine::Interpreter(interpreted) => interpreted.run(guard, ctx),
        }
    }

    /// Places the program's immutable part; the engine must not move from then on.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, `EIO`
    pub(super) fn base(&self, spec: &BaseSpec) -> Result<Fixed> {
        match self {
            Engine::Compiled(compiled) => Fixed::new(Some(&compiled.text), spec),
            Engine::Interpreter(interpreted) => {
                let word = interpreted.word();
                Fixed::new(None, &BaseSpec { word, ..*spec })
            }
        }
    }

    /// Takes the tail calls that are jumps out of it: they belong to their arrays.
    pub(super) fn take_patches(&mut self) -> KVec<Patch> {
        match self {
            Engine::Compiled(compiled) => core::mem::take(&mut compiled.patches),
            Engine::Interpreter(_) => KVec::new(),
        }
    }

    /// Tells the kernel what the functions are called, unless programs are hardened: then nobody is
    /// to know where they are. `tags` has one for each subprogram.
    ///
    /// # Errors
    ///
    /// `ENOMEM`
    pub(super) fn publish(&mut self, name: &[u8; 16], tags: &[[u8; TAG_SIZE]]) -> Result {
        match self {
            Engine::Compiled(compiled) if params::harden() == Harden::Off => {
                compiled.publish(name, tags)
            }
            Engine::Compiled(_) | Engine::Interpreter(_) => Ok(()),
        }
    }

    /// The machine code, if there is some.
    pub(super) fn compiled(&self) -> Option<&Compiled> {
        match self {
            Engine::Compiled(compiled) => Some(compiled),
            Engine::Interpreter(_) => None,
        }
    }
}

/// Says why a program is not compiled; not for ever, for whoever loads programs could fill the log.
fn report(reason: &Reason, what: &str) {
    static LEFT: Atomic<i32> = Atomic::new(20);

    if LEFT.load(Relaxed) > 0 {
        LEFT.fetch_sub(1, Relaxed);
        pr_info!("a program is {}: {}\n", what, format_args!("{reason}"));
    }
}

/// What the compiler may use, and must do, on this machine.
fn machine() -> (Features, Mitigations, Variables) {
    let cpu = cpu::facts();
    let features = Features {
        bmi2: cpu.bmi2,
        movbe: cpu.movbe,
    };
    let returns = match (cpu.rethunk, cpu::return_thunk()) {
        (false, _) => jit::Thunk::NotNeeded,
        (true, Some(addr)) => jit::Thunk::At(addr as u64),
        (true, None) => jit::Thunk::Missing,
    };
    let thunked = cpu.its_thunk || cpu.retpoline;
    let jumps = match cpu.indirect_thunk_rax {
        _ if cpu.retpoline_lfence && !cpu.its_thunk => Jumps::Lfence,
        _ if !thunked => Jumps::Plain,
        0 => Jumps::Missing,
        thunk => Jumps::Thunk(thunk as u64),
    };
    let mitigations = Mitigations {
        ibt: cpu.ibt,
        returns,
        jumps,
        sls: cpu.sls,
        call_depth: cpu.call_depth,
    };
    let variables = Variables {
        cpu_number: Some(cpu.cpu_number as u64),
        current_task: Some(cpu.current_task as u64),
        jiffies: Some(cpu.jiffies_64 as u64),
    };
    (features, mitigations, variables)
}

/// The maps as the compiler sees them.
fn map_targets(maps: &[Shared<MapObject>]) -> Result<KVec<MapTarget>> {
    let mut targets = KVec::with_capacity(maps.len(), GFP_KERNEL)?;
    for object in maps {
        let map = object.map();
        let target = |layout: ArrayLayout| ArrayTarget {
            base: layout.base as u64,
            stride: layout.stride,
            max_entries: layout.entries,
        };
        // Of an array of programs, which no helper looks anything up in, the words.
        let words = map
            .fd_array()
            .filter(|_| map.spec().ty == MapType::ProgArray);
        let words = words.map(|array| ArrayTarget {
            base: array.base() as u64,
            stride: 8,
            max_entries: array.entries(),
        });
        let target = MapTarget {
            addr: core::ptr::from_ref(map) as u64,
            value: map.value_addr(0).ok().map(|addr| addr as u64),
            array: map.array_layout().map(target).or(words),
            per_cpu: map.per_cpu_layout().map(target),
            hash: map.hash_layout().map(|layout| HashTarget {
                constants: layout.constants as u64,
                bucket_mask: layout.bucket_mask,
                key_size: layout.key_size,
                stride: layout.stride,
                value_at: layout.value_at,
                mark: layout.mark,
                per_cpu: layout.per_cpu.map(target),
            }),
        };
        targets.push(target, GFP_KERNEL)?;
    }
    Ok(targets)
}

/// Are the constants of a program that the current task loads blinded?
fn blinds() -> bool {
    match params::harden() {
        Harden::Off => false,
        Harden::Unprivileged => !Cap::Bpf.held(),
        Harden::All => true,
    }
}

fn compile(verified: &VerifiedProg, aux: &Aux) -> Result<Compiled, Reason> {
    let maps = map_targets(&aux.maps).map_err(Failure::System)?;
    let (features, mitigations, variables) = machine();
    let target = Target {
        features,
        mitigations,
        align_stack: false,
        packet: Some(run::load_packet as usize as u64),
        blind: blinds().then_some(&unguessable),
        variables,
        helper: &|id| helper_impl::address(id, aux.ty).map(|addr| addr as u64),
        maps: &maps,
        tail: TailCalls {
            patch: exec::can_patch(),
            lookup: Some(run::tail_word as usize as u64),
        },
    };
    let mut image = jit::compile(verified, &target)?;
    let functions = functions(&image).map_err(Failure::System)?;
    let lines = lines(&image, &functions, verified, aux).map_err(Failure::System)?;
    let (text, patches) = Text::place(&mut image).map_err(Reason::NoMemory)?;
    Ok(Compiled {
        names: KVec::new(),
        text,
        patches,
        functions,
        lines,
    })
}

/// Where the code of each source line begins. The first line of a function begins with the function.
fn lines(
    image: &Image,
    functions: &[Function],
    verified: &VerifiedProg,
    aux: &Aux,
) -> Result<KVVec<u32>> {
    let subprogs = &verified.code().subprogs;
    let mut lines = KVVec::with_capacity(aux.source.lines.len(), GFP_KERNEL_ACCOUNT)?;
    for line in &aux.source.lines {
        let own = image.slot(line.slot);
        let first = subprogs
            .binary_search_by_key(&line.slot, |sub| sub.start)
            .ok();
        let function = first.and_then(|i| functions.iter().find(|f| f.subprog == i));
        let place = function.map(|f| f.start).or(own).ok_or(EFAULT)?;
        lines.push(place, GFP_KERNEL_ACCOUNT)?;
    }
    Ok(lines)
}

/// Where each function is; one ends where the next begins.
fn functions(image: &Image) -> Result<KVec<Function>> {
    let starts = image.subprogs();
    let end = u32::try_from(image.bytes().len()).map_err(|_| E2BIG)?;
    let mut functions = KVec::with_capacity(starts.len(), GFP_KERNEL)?;
    for (subprog, &start) in starts.iter().enumerate() {
        let next = starts.get(subprog.wrapping_add(1)).copied().unwrap_or(end);
        // What is before the program's own code belongs to it.
        let start = if subprog == 0 { 0 } else { start };
        let len = next.saturating_sub(start);
        if len != 0 {
            let function = Function {
                subprog,
                start,
                len,
            };
            functions.push(function, GFP_KERNEL)?;
        }
    }
    Ok(functions)
}
