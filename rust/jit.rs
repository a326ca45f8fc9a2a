// SPDX-License-Identifier: GPL-2.0

//! The just-in-time compiler: verified code to x86-64 machine code.
//!
//! [`compile`] makes an [`Image`] that does not depend on where it will lie, except for the fields
//! that [`Image::relocate`] patches once the place is known. The compiler never touches executable
//! memory itself.
//!
//! The image's entry is a C function: `rdi` holds the context, `rax` the result.

mod flow;
mod frame;
mod lower;
mod value;
pub mod x64;

use crate::isa::code::Code;
use crate::isa::Insn;
use crate::verifier::VerifiedProg;
use core::fmt;
use kernel::prelude::*;
use x64::buffer::{Buffer, Layout, Pos, Reloc};

/// Instruction set extensions that code may use.
#[derive(Clone, Copy, Debug, Default)]
pub struct Features {
    /// BMI2: shifts by any register.
    pub bmi2: bool,
    /// MOVBE: loads and stores that swap bytes.
    pub movbe: bool,
}

/// A thunk that the running kernel may want code to go through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Thunk {
    /// The plain instruction will do.
    #[default]
    NotNeeded,
    /// It is at this address.
    At(u64),
    /// It is needed, but its address is not known.
    Missing,
}

/// How an indirect jump to the address in `rax` is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Jumps {
    /// As the processor does.
    #[default]
    Plain,
    /// Behind an `lfence`.
    Lfence,
    /// By a jump to the thunk at this address.
    Thunk(u64),
    /// By a thunk whose address is not known.
    Missing,
}

/// What the running kernel does against attacks on speculation and control flow.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mitigations {
    /// Indirect branch tracking: entries start with ENDBR64.
    pub ibt: bool,
    /// Returns (`__x86_return_thunk`).
    pub returns: Thunk,
    /// What indirect jumps go through.
    pub jumps: Jumps,
    /// Straight-line speculation: a trap follows every return and unconditional indirect jump.
    pub sls: bool,
    /// Calls must be counted (call depth tracking); not supported, so such a kernel interprets.
    pub call_depth: bool,
}

/// The values of a map with one flat array of values (`ARRAY`).
#[derive(Clone, Copy, Debug)]
pub struct ArrayTarget {
    /// Address of element 0.
    pub base: u64,
    /// Bytes from one element to the next.
    pub stride: u32,
    /// Number of elements.
    pub max_entries: u32,
}

/// A hash table with keys of one word, in which code looks keys up by itself.
///
/// `constants` are seven words: the three factors of the hash, eight bytes of 1, eight bytes of 0x80,
/// the address of the first bucket, and that of the first element. With both halves of the product
/// of (key xor first factor) and the second factor, xored, the hash is the low half of the product of
/// that and the third. Its bits from 24 on, of which `bucket_mask` leaves the distance from the first
/// bucket, choose a bucket; its high byte with the top bit set is the key's tag. A bucket has eight
/// bytes of tags, 0 for a free slot, eight element numbers of 32 bits, and 32 bits that are not 0 if it
/// has entries beyond these. An element begins with its key, of four bytes with four of zero.
///
/// Whatever the memory holds at any time, element numbers are below the number of elements. A slot
/// whose tag and key are right has the entry; if no tag is, and there are no entries beyond, there is
/// none; all else the function that the program called finds out.
#[derive(Clone, Copy, Debug)]
pub struct HashTarget {
    /// Address of the constants.
    pub constants: u64,
    /// See above.
    pub bucket_mask: u32,
    /// Bytes of a key: 4 or 8.
    pub key_size: u32,
    /// Bytes from one element to the next, below 2^31.
    pub stride: u32,
    /// Bytes from an element to its value, below 2^31.
    pub value_at: u32,
    /// Where in an element is a word that a look-up sets to the second number if it is the first.
    pub mark: Option<(u32, i8, i8)>,
    /// The values, if each CPU has its own: `base` is the address of a table of the addresses of
    /// element 0's, by CPU number.
    pub per_cpu: Option<ArrayTarget>,
}

/// One of the program's used maps.
#[derive(Clone, Copy, Debug, Default)]
pub struct MapTarget {
    /// What a program passes to helpers as the map.
    pub addr: u64,
    /// Address of the one value of a map whose value a program may name.
    pub value: Option<u64>,
    /// Element addresses, when they are fixed.
    pub array: Option<ArrayTarget>,
    /// The same for a map with an array for each CPU (`PERCPU_ARRAY`): `base` is the address of a
    /// table of the addresses of element 0, by CPU number.
    pub per_cpu: Option<ArrayTarget>,
    /// A hash table.
    pub hash: Option<HashTarget>,
}

/// Variables of the kernel that code may read in place of a helper's call.
#[derive(Clone, Copy, Debug, Default)]
pub struct Variables {
    /// This CPU's number, 32 bits wide: a place relative to `gs`.
    pub cpu_number: Option<u64>,
    /// The current task: a place relative to `gs`.
    pub current_task: Option<u64>,
    /// The 64-bit count of ticks: an address.
    pub jiffies: Option<u64>,
}

/// How tail calls find the other program. The words of an array of programs are given as a map's
/// [`ArrayTarget`]: addresses of entries ([`Image::tail_entry`]), or 0.
#[derive(Clone, Copy, Debug, Default)]
pub struct TailCalls {
    /// Somebody patches the [`TailSite`]s when an array changes.
    pub patch: bool,
    /// Address of a C function of the map's address and the index that gives the word there, 0 for
    /// none; for calls through one of several maps.
    pub lookup: Option<u64>,
}

/// A tail call through a known index of a known map, as a jump that is to be patched: while `check`
/// jumps to `out` it is not made; when the array has a program, first `jump` must go there, then
/// `check` must become an instruction that does nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TailSite {
    /// The used map.
    pub map: u16,
    /// Index in its array.
    pub index: u32,
    /// Offset of the first five-byte instruction.
    pub check: u32,
    /// Offset of the second.
    pub jump: u32,
    /// Offset where the program goes on itself.
    pub out: u32,
}

/// Where the code is going to run.
pub struct Target<'a> {
    /// Instruction set extensions.
    pub features: Features,
    /// Mitigations.
    pub mitigations: Mitigations,
    /// Called functions expect the stack aligned to 16 bytes (host tests; the kernel does not).
    pub align_stack: bool,
    /// Address of a helper function.
    pub helper: &'a dyn Fn(i32) -> Option<u64>,
    /// Address of what `LD_ABS` and `LD_IND` call: a C function of the context, the offset (`int`)
    /// and the size, that gives the bytes in host order or a negative number.
    pub packet: Option<u64>,
    /// Blinds the numbers that the program's author chose, with random ones of this source.
    pub blind: Option<&'a dyn Fn() -> u64>,
    /// Variables to read instead of calling a helper.
    pub variables: Variables,
    /// The program's used maps, by index.
    pub maps: &'a [MapTarget],
    /// Tail calls.
    pub tail: TailCalls,
}

/// Why code cannot be compiled. The interpreter may still run it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The instruction has no translation: what it is.
    Unsupported(&'static str),
    /// The address of helper function `0` is not known.
    NoHelper(i32),
    /// Used map `0` is not known, or its value has no address.
    NoMap(u32),
    /// The running kernel needs code of a kind that cannot be emitted.
    Mitigation(&'static str),
    /// The code does not hold together: a jump, slot or subprogram is out of place.
    Malformed,
    /// It is too large.
    TooLarge,
}

/// A failed compilation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The code is not compiled.
    Refused {
        /// The slot at which that was found.
        slot: Option<u32>,
        /// The reason.
        why: Why,
    },
    /// An error of the system (`ENOMEM`).
    System(Error),
}

impl From<Error> for Failure {
    fn from(e: Error) -> Failure {
        Failure::System(e)
    }
}

impl From<kernel::alloc::AllocError> for Failure {
    fn from(_: kernel::alloc::AllocError) -> Failure {
        Failure::System(ENOMEM)
    }
}

impl From<Failure> for Error {
    fn from(f: Failure) -> Error {
        match f {
            // ENOTSUPP, which has no name outside the kernel.
            Failure::Refused { .. } => Error::from_errno(-524),
            Failure::System(e) => e,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Failure::Refused { slot, why } => {
                match why {
                    Why::Unsupported(what) => write!(f, "JIT: {what} is not supported")?,
                    Why::NoHelper(id) => write!(f, "JIT: no address of helper {id}")?,
                    Why::NoMap(map) => write!(f, "JIT: no address of used map {map}")?,
                    Why::Mitigation(what) => write!(f, "JIT: the kernel needs {what}")?,
                    Why::Malformed => write!(f, "JIT: malformed code")?,
                    Why::TooLarge => write!(f, "JIT: code too large")?,
                }
                match slot {
                    Some(slot) => write!(f, " (insn {slot})"),
                    None => Ok(()),
                }
            }
            Failure::System(e) => write!(f, "JIT: error {}", e.to_errno()),
        }
    }
}

/// Nothing, or why not.
type Done = Result<(), Failure>;

fn refuse(slot: Option<u32>, why: Why) -> Failure {
    Failure::Refused { slot, why }
}

/// Machine code, ready to be placed.
#[derive(Debug)]
pub struct Image {
    layout: Layout,
    entry: u32,
    tail_entry: u32,
    sites: KVec<TailSite>,
    subprogs: KVec<u32>,
    stack: u32,
}

impl Image {
    /// The machine code.
    pub fn bytes(&self) -> &[u8] {
        self.layout.bytes()
    }

    /// Fields that hold the distance to an absolute address.
    pub fn relocs(&self) -> &[Reloc] {
        &self.layout.relocs
    }

    /// Offset of the function that runs the program.
    pub fn entry(&self) -> u32 {
        self.entry
    }

    /// Offset where other programs go on in this one by a tail call, with the context in `rdi`.
    pub fn tail_entry(&self) -> u32 {
        self.tail_entry
    }

    /// Tail calls that are to be patched.
    pub fn sites(&self) -> &[TailSite] {
        &self.sites
    }

    /// Offset of a slot's code, if there is such a slot. Slots without code have the offset of what
    /// follows.
    pub fn slot(&self, slot: u32) -> Option<u32> {
        self.layout.slot(slot)
    }

    /// Offset of each subprogram's entry.
    pub fn subprogs(&self) -> &[u32] {
        &self.subprogs
    }

    /// Bytes of stack that the deepest frame takes, return address and saved registers included.
    pub fn frame_bytes(&self) -> u32 {
        self.stack
    }

    /// Patches the code for running at address `base`.
    ///
    /// # Errors
    ///
    /// `ERANGE` when a target is more than 2 GiB from its use.
    pub fn relocate(&mut self, base: u64) -> Result {
        self.layout.relocate(base)
    }
}

/// Compiles a verified program.
///
/// # Errors
///
/// [`Failure::Refused`] with the reason when the program cannot be compiled, `ENOMEM`.
pub fn compile(prog: &VerifiedProg, target: &Target<'_>) -> Result<Image, Failure> {
    emit(prog.code(), target)
}

/// Compiles code that somebody vouches for: tests make it by hand.
///
/// # Errors
///
/// As [`compile`].
pub fn emit(code: &Code, target: &Target<'_>) -> Result<Image, Failure> {
    if target.mitigations.call_depth {
        return Err(refuse(None, Why::Mitigation("call depth tracking")));
    }
    if target.mitigations.returns == Thunk::Missing {
        return Err(refuse(None, Why::Mitigation("an unknown return thunk")));
    }
    // An instruction takes less than 128 bytes, so offsets stay far below 2 GiB.
    if code.insns.len() > 1 << 24 || code.subprogs.is_empty() {
        return Err(refuse(None, Why::TooLarge));
    }
    let flow = flow::Flow::new(code)?;
    let mut out = Parts {
        buf: Buffer::new(code.insns.len(), code.subprogs.len())?,
        sites: KVec::new(),
        looks: lower::Looks::default(),
    };
    let mut entries = KVec::with_capacity(code.subprogs.len(), GFP_KERNEL)?;
    let mut stack = 0;
    let wrapped = code.subprogs.iter().any(|sub| sub.tail_call);
    let mut tail_entry = out.buf.here();
    for (i, sub) in code.subprogs.iter().enumerate() {
        entries.push(out.buf.here(), GFP_KERNEL)?;
        if i == 0 && wrapped {
            lower::wrapper(target, &mut out)?;
            tail_entry = out.buf.here();
        }
        let frame = lower::subprogram(code, target, &flow, i, sub, &mut out)?;
        stack = stack.max(frame.depth());
    }
    let Parts { buf, sites, .. } = out;
    let layout = buf.finish()?;
    let mut image = Image {
        entry: 0,
        tail_entry: layout.offset(tail_entry),
        sites: KVec::with_capacity(sites.len(), GFP_KERNEL)?,
        subprogs: KVec::with_capacity(entries.len(), GFP_KERNEL)?,
        layout,
        stack,
    };
    for site in sites {
        let site = lower::site(site, &image.layout);
        image.sites.push(site, GFP_KERNEL)?;
    }
    for (i, (sub, pos)) in code.subprogs.iter().zip(&entries).enumerate() {
        let entry = image.layout.offset(*pos);
        image.subprogs.push(entry, GFP_KERNEL)?;
        // The first slot's code includes the prologue.
        let first = if i == 0 { tail_entry } else { *pos };
        image.layout.set_slot(sub.start, first);
    }
    Ok(image)
}

/// What the subprograms are emitted into.
struct Parts {
    buf: Buffer,
    /// Map, index, and the three places of a [`TailSite`].
    sites: KVec<(u16, u32, [Pos; 3])>,
    /// Code of lookups that is the same at other places.
    looks: lower::Looks,
}

/// The instruction at a slot.
fn insn_at(code: &Code, slot: u32) -> Option<&Insn> {
    code.insns.get(usize::try_from(slot).ok()?)
}
