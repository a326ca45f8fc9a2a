// SPDX-License-Identifier: GPL-2.0

//! Interpreting verified programs: the kernel's memory, as the interpreter uses it.

use super::context::RunGuard;
use super::nofault;
use crate::abi::{MAX_STACK, MAX_TAIL_CALLS};
use crate::helper::TAIL_CALL;
use crate::interp::{self, End, Fault, Memory};
use crate::isa::{AtomicOp, Imm64, Size};
use crate::map::Map;
use crate::verifier::VerifiedProg;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use kernel::prelude::*;

extern "C" {
    fn oxbpf_packet_load(skb: *const c_void, offset: c_int, size: c_uint, value: *mut u64) -> bool;
}

/// A function that programs call.
type Helper = extern "C" fn(u64, u64, u64, u64, u64) -> u64;

/// What the interpreter needs besides the code: the module has one such type.
pub(crate) trait Outside: Send + Sync + 'static {
    /// Address of a helper's body.
    fn helper(&self, id: i32) -> Option<usize>;
    /// The program's map of that index.
    fn map(&self, index: u32) -> Option<&Map>;
}

/// A program that is interpreted. It must not move once others have its [`Interpreted::word`].
pub(crate) struct Interpreted<O> {
    prog: VerifiedProg,
    outside: O,
}

impl<O: Outside> Interpreted<O> {
    /// A program and what it uses.
    pub(crate) fn new(prog: VerifiedProg, outside: O) -> Self {
        Interpreted { prog, outside }
    }

    /// What stands for it in the words of arrays of interpreted programs.
    pub(crate) fn word(&self) -> u64 {
        core::ptr::from_ref(self) as u64
    }

    /// Interprets the program on the context at `ctx`, and those that it goes on in.
    pub(crate) fn run(&self, guard: &RunGuard, ctx: usize) -> u64 {
        let mut memory = KernelMemory {
            stack: [0; MAX_STACK as usize / 8],
            current: self,
            tail_calls: 0,
            _guard: guard,
        };
        let mut ctx = ctx as u64;
        loop {
            match interp::run_part(memory.current.prog.code(), &mut memory, ctx, None) {
                Ok(End::Exit(value)) => return value,
                Ok(End::TailCall(next)) => ctx = next,
                Err(fault) => {
                    pr_err!("interpreter: {:?}\n", fault);
                    return 0;
                }
            }
        }
    }
}

/// The kernel's memory, as a verified program sees it.
struct KernelMemory<'a, O> {
    stack: [u64; MAX_STACK as usize / 8],
    /// The program that runs, or is going to.
    current: &'a Interpreted<O>,
    /// How many were made.
    tail_calls: u32,
    /// Programs that are found in arrays live as long as this.
    _guard: &'a RunGuard,
}

/// A value that may lie at any address.
#[repr(C, packed)]
#[derive(Clone, Copy)]
struct Unaligned<T>(T);

/// # Safety
///
/// A `T` can be read at `addr`.
#[inline(always)]
unsafe fn peek<T: Copy>(addr: u64) -> T {
    // SAFETY: the caller's promise; others may write there, so it is read once, as volatile.
    unsafe { (addr as *const Unaligned<T>).read_volatile() }.0
}

/// # Safety
///
/// A `T` can be written at `addr`.
#[inline(always)]
unsafe fn poke<T: Copy>(addr: u64, value: T) {
    // SAFETY: the caller's promise.
    unsafe { (addr as *mut Unaligned<T>).write_volatile(Unaligned(value)) }
}

macro_rules! atomic {
    ($atomic:ty, $int:ty, $op:expr, $addr:expr, $src:expr, $r0:expr) => {{
        const ORDER: Ordering = Ordering::SeqCst;
        let src = $src as $int;
        // SAFETY: only verified programs come here, and the verifier proved that the aligned
        // memory at the address can be read and written.
        let cell = unsafe { <$atomic>::from_ptr($addr as *mut $int) };
        let old = match $op {
            AtomicOp::Add => cell.fetch_add(src, ORDER),
            AtomicOp::Or => cell.fetch_or(src, ORDER),
            AtomicOp::And => cell.fetch_and(src, ORDER),
            AtomicOp::Xor => cell.fetch_xor(src, ORDER),
            AtomicOp::Xchg => cell.swap(src, ORDER),
            AtomicOp::Cmpxchg => match cell.compare_exchange($r0 as $int, src, ORDER, ORDER) {
                Ok(old) | Err(old) => old,
            },
        };
        u64::from(old)
    }};
}

impl<O: Outside> Memory for KernelMemory<'_, O> {
    #[inline]
    fn load(&mut self, addr: u64, size: Size, may_fault: bool) -> Result<u64, Fault> {
        if may_fault {
            return Ok(match size {
                Size::B => u8::from_ne_bytes(nofault::load(addr)).into(),
                Size::H => u16::from_ne_bytes(nofault::load(addr)).into(),
                Size::W => u32::from_ne_bytes(nofault::load(addr)).into(),
                Size::Dw => u64::from_ne_bytes(nofault::load(addr)),
            });
        }
        // SAFETY: only verified programs come here, and the verifier proved that this memory can be
        // read.
        Ok(unsafe {
            match size {
                Size::B => peek::<u8>(addr).into(),
                Size::H => peek::<u16>(addr).into(),
                Size::W => peek::<u32>(addr).into(),
                Size::Dw => peek::<u64>(addr),
            }
        })
    }

    #[inline]
    fn store(&mut self, addr: u64, size: Size, value: u64) -> Result<(), Fault> {
        // SAFETY: as in `load`, for writing.
        unsafe {
            match size {
                Size::B => poke(addr, value as u8),
                Size::H => poke(addr, value as u16),
                Size::W => poke(addr, value as u32),
                Size::Dw => poke(addr, value),
            }
        }
        Ok(())
    }

    #[inline]
    fn atomic(
        &mut self,
        op: AtomicOp,
        addr: u64,
        size: Size,
        src: u64,
        r0: u64,
    ) -> Result<u64, Fault> {
        match size {
            Size::W if addr % 4 == 0 => Ok(atomic!(AtomicU32, u32, op, addr, src, r0)),
            Size::Dw if addr % 8 == 0 => Ok(atomic!(AtomicU64, u64, op, addr, src, r0)),
            Size::B | Size::H | Size::W | Size::Dw => Err(Fault::Access(addr)),
        }
    }

    fn imm64(&mut self, imm: Imm64) -> Result<u64, Fault> {
        let missing = Fault::Access(0);
        match imm {
            Imm64::Value(value) => Ok(value),
            Imm64::Map(index) => {
                let map = self.current.outside.map(index).ok_or(missing)?;
                Ok(core::ptr::from_ref(map) as u64)
            }
            Imm64::MapValue { map, off } => {
                let map = self.current.outside.map(map).ok_or(missing)?;
                map.value_addr(off)
                    .map(|addr| addr as u64)
                    .map_err(|_| missing)
            }
            Imm64::MapFd(_)
            | Imm64::MapValueFd { .. }
            | Imm64::MapIdx(_)
            | Imm64::MapValueIdx { .. }
            | Imm64::Func(_)
            | Imm64::BtfId { .. } => Err(missing),
        }
    }

    fn stack_top(&mut self) -> u64 {
        self.stack.as_mut_ptr_range().end as u64
    }

    fn call(&mut self, id: i32, [a, b, c, d, e]: [u64; 5]) -> Result<u64, Fault> {
        let addr = self.current.outside.helper(id).ok_or(Fault::Helper(id))?;
        // SAFETY: helpers are such functions: what they do with fewer arguments is take no notice
        // of the rest.
        let helper: Helper = unsafe { core::mem::transmute(addr) };
        Ok(helper(a, b, c, d, e))
    }

    #[inline]
    fn barrier(&mut self) {
        // SAFETY: the instruction changes nothing; memory is not said to be left alone, so that the
        // compiler moves no access over it.
        unsafe { core::arch::asm!("lfence", options(nostack, preserves_flags)) }
    }

    fn tail_call(&mut self, map: u64, index: u32) -> Result<bool, Fault> {
        // SAFETY: only verified programs come here, and the verifier proved that this is the
        // address of one of the program's maps, which live while it runs.
        let map = unsafe { &*(map as *const Map) };
        let array = map.fd_array().ok_or(Fault::Helper(TAIL_CALL))?;
        if self.tail_calls >= MAX_TAIL_CALLS {
            return Ok(false);
        }
        let word = array.get(index);
        if word == 0 {
            return Ok(false);
        }
        // SAFETY: the verifier lets an array of programs only be the map of a tail call. As this
        // program, which uses the array, is interpreted, all in it are, so their words are those of
        // `Interpreted::word`, for the one type `O` that there is. They live until a grace period
        // after they were taken out, and the guard keeps that from ending.
        self.current = unsafe { &*(word as *const Interpreted<O>) };
        self.tail_calls = self.tail_calls.wrapping_add(1);
        Ok(true)
    }

    fn packet(&mut self, skb: u64, offset: i32, size: Size) -> Result<Option<u64>, Fault> {
        let mut value = 0;
        // SAFETY: the verifier proved that this is the context of a packet program, which is the
        // packet.
        let there =
            unsafe { oxbpf_packet_load(skb as *const c_void, offset, size.bytes(), &mut value) };
        Ok(there.then_some(value))
    }
}

/// What compiled programs call for `LD_ABS` and `LD_IND`: the `size` bytes at `offset` of the packet
/// in host order, or a negative number when they are not in it.
pub(crate) extern "C" fn load_packet(skb: *const c_void, offset: c_int, size: c_uint) -> i64 {
    let mut value = 0;
    // SAFETY: only compiled programs have this address, and the verifier proved that what they pass
    // is the context of a packet program, which is the packet.
    let there = unsafe { oxbpf_packet_load(skb, offset, size, &mut value) };
    match i64::try_from(value) {
        Ok(value) if there => value,
        _ => -1,
    }
}

/// What compiled programs call for a tail call through one of several maps: the word at `index` of
/// the array of programs at `map`, or 0.
pub(crate) extern "C" fn tail_word(map: *const Map, index: c_uint) -> u64 {
    // SAFETY: only compiled programs have this address, and the verifier proved that what they pass
    // is one of their maps, which live while they run.
    let map = unsafe { &*map };
    map.fd_array().map_or(0, |array| array.get(index))
}
