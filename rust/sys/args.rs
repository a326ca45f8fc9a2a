// SPDX-License-Identifier: GPL-2.0

//! Arguments of helper functions: what the verifier proved about them, as types.
//!
//! A helper body is an `extern "C" fn` that only verified programs call, and it takes its arguments
//! as these types. The machine passes each in the registers in which the program left them: one
//! register for a pointer, two for a memory area with its size. Nothing else makes a value of them,
//! they cannot be copied, and none can outlive its call by way of a static (they are not `Send`).
//! `helper_impl` checks that the types of a body are those of its row in `helper.rs`, which is what
//! the verifier went by.

use super::bytes::{Bytes, Room};
use super::maplock;
use super::ring::{Header, Ring, RingRef};
use core::marker::PhantomData;
use core::ops::Deref;
use kernel::prelude::*;
use kernel::types::NotThreadSafe;

/// What the sizes of a map's keys and values are, for the areas that a program passes.
///
/// The answers are those that the verifier had when it checked the program (`MapFacts`); they never
/// change.
pub(crate) trait Shape {
    /// Bytes of a key.
    fn key_size(&self) -> usize;
    /// Bytes of a value.
    fn value_size(&self) -> usize;
}

/// A map that the program uses, or that it found in one.
///
/// # Invariants
///
/// The address of an `M` that lives at least until the program ends.
#[repr(transparent)]
pub(crate) struct MapArg<M> {
    addr: usize,
    _map: PhantomData<*const M>,
}

impl<M> Deref for MapArg<M> {
    type Target = M;

    #[inline]
    fn deref(&self) -> &M {
        // SAFETY: by the invariant an `M` lives there during the call, and `self` ends before.
        unsafe { &*(self.addr as *const M) }
    }
}

/// A key of the map argument.
///
/// # Invariants
///
/// At the address are, during the call, as many initialised bytes as the map argument of the same
/// call has in a key.
#[repr(transparent)]
pub(crate) struct KeyArg(usize, NotThreadSafe);

impl KeyArg {
    /// The key's bytes. `map` is the map of the same call: there is no other.
    #[inline(always)]
    pub(crate) fn bytes<M: Shape>(&self, map: &MapArg<M>) -> Bytes<'_> {
        // SAFETY: by the invariant that many bytes can be read during the call.
        unsafe { Bytes::new(self.0 as *const u8, map.key_size()) }
    }
}

/// A value for the map argument.
///
/// # Invariants
///
/// At the address are, during the call, as many initialised bytes as the map argument of the same
/// call has in a value.
#[repr(transparent)]
pub(crate) struct ValueArg(usize, NotThreadSafe);

impl ValueArg {
    /// The value's bytes. `map` is the map of the same call.
    #[inline(always)]
    pub(crate) fn bytes<M: Shape>(&self, map: &MapArg<M>) -> Bytes<'_> {
        // SAFETY: by the invariant that many bytes can be read during the call.
        unsafe { Bytes::new(self.0 as *const u8, map.value_size()) }
    }
}

/// Room for a value of the map argument.
///
/// # Invariants
///
/// At the address can, during the call, as many bytes be read and written as the map argument of the
/// same call has in a value.
#[repr(transparent)]
pub(crate) struct RoomArg(usize, NotThreadSafe);

impl RoomArg {
    /// The room. `map` is the map of the same call.
    #[inline(always)]
    pub(crate) fn room<M: Shape>(&mut self, map: &MapArg<M>) -> Room<'_> {
        // SAFETY: by the invariant that many bytes can be accessed during the call.
        unsafe { Room::new(self.0 as *mut u8, map.value_size()) }
    }
}

/// A record of a ring buffer, which the program reserved and gives back with this call.
///
/// # Invariants
///
/// The address is one of [`Ring::record`] for a record that the caller reserved and nobody ended; its
/// ring lives at least until the program ends, as all maps do that the program uses or finds.
#[repr(transparent)]
pub(crate) struct RecordArg(usize, NotThreadSafe);

impl RecordArg {
    /// The ring, the record's header, and its position.
    #[inline]
    pub(crate) fn place(&self) -> (RingRef<'_>, &Header, u64) {
        // SAFETY: by the invariant.
        unsafe { Ring::of_record(self.0) }
    }
}

/// A walk over the map argument, in the stack of the program: nothing else there has these bytes.
///
/// # Invariants
///
/// The address of a `W` that can be read and written during the call, and that nobody else writes or
/// reads meanwhile; any bytes are a `W`.
#[repr(transparent)]
pub(crate) struct WalkArg<W> {
    addr: usize,
    _walk: PhantomData<*mut W>,
}

impl<W> WalkArg<W> {
    /// The walk.
    #[inline]
    pub(crate) fn get(&mut self) -> &mut W {
        // SAFETY: by the invariant, as long as `self` is borrowed.
        unsafe { &mut *(self.addr as *mut W) }
    }
}

/// Memory to read, with its size: two arguments, `MemRead` and `Size` or `SizeOrZero`.
///
/// # Invariants
///
/// At `addr` are, during the call, `len` initialised bytes. With `len` 0 the address may be any.
#[repr(C)]
pub(crate) struct ReadArg {
    addr: usize,
    len: usize,
    _thread: NotThreadSafe,
}

impl ReadArg {
    /// The bytes.
    #[inline]
    pub(crate) fn bytes(&self) -> Bytes<'_> {
        // SAFETY: by the invariant that many bytes can be read during the call.
        unsafe { Bytes::new(self.addr as *const u8, self.len) }
    }

    /// Where they are and how many: they can be read during the call.
    #[inline]
    pub(super) fn raw(&self) -> (*const u8, usize) {
        (self.addr as *const u8, self.len)
    }
}

/// Memory to write, with its size: two arguments, `MemWrite` and `Size` or `SizeOrZero`.
///
/// # Invariants
///
/// At `addr` can, during the call, `len` bytes be written, which need not be initialised before and
/// must be after. With `len` 0 the address may be any.
#[repr(C)]
pub(crate) struct WriteArg {
    addr: usize,
    len: usize,
    _thread: NotThreadSafe,
}

impl WriteArg {
    /// Where the bytes go: writes to the first [`Self::len`] of them are allowed during the call.
    #[inline]
    pub(crate) fn as_mut_ptr(&mut self) -> *mut u8 {
        self.addr as *mut u8
    }

    /// How many bytes.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Writes `bytes` to the first of them; those that do not fit are left out.
    #[inline]
    pub(crate) fn put(&mut self, bytes: &[u8]) {
        let len = bytes.len().min(self.len);
        // SAFETY: by the invariant that many bytes can be written during the call, and a slice of the
        // module's own is not among them.
        unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), self.as_mut_ptr(), len) };
    }

    /// Copies `from` to the first of them; what does not fit is left out, as is a last word that is
    /// not whole.
    pub(crate) fn copy(&mut self, from: Bytes<'_>) {
        let to = self.as_mut_ptr().cast::<u64>();
        for (i, word) in (0..self.len / 8).zip(from.words()) {
            // SAFETY: by the invariant a word can be written there during the call.
            unsafe { to.add(i).write_unaligned(word) };
        }
    }

    /// Zeroes them.
    #[inline]
    pub(crate) fn clear(&mut self) {
        if self.len != 0 {
            // SAFETY: by the invariant that many bytes can be written during the call.
            unsafe { core::ptr::write_bytes(self.as_mut_ptr(), 0, self.len) };
        }
    }
}

/// Memory to read and write, with its size: two arguments, `MemUpdate` or `MemWriteOrNull` and
/// `Size` or `SizeOrZero`.
///
/// # Invariants
///
/// At `addr` can, during the call, `len` bytes be read and written, which are initialised. With `len` 0
/// the address may be any.
#[repr(C)]
pub(crate) struct UpdateArg {
    addr: usize,
    len: usize,
    _thread: NotThreadSafe,
}

impl UpdateArg {
    /// The memory.
    #[inline]
    pub(crate) fn room(&mut self) -> Room<'_> {
        // SAFETY: by the invariant that many bytes can be accessed during the call.
        unsafe { Room::new(self.addr as *mut u8, self.len) }
    }

    /// How many bytes.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len
    }
}

/// A number of 32 bits to read and write.
///
/// # Invariants
///
/// At the address, a multiple of four, can four initialised bytes be read and written during the call.
#[repr(transparent)]
pub(crate) struct WordArg {
    _addr: usize,
    _thread: NotThreadSafe,
}

/// The program's context.
///
/// # Invariants
///
/// The address of the kernel's structure `T` that the program was started on.
#[repr(transparent)]
pub(crate) struct CtxArg<T> {
    addr: usize,
    _ctx: PhantomData<*mut T>,
}

impl<T> CtxArg<T> {
    /// Where the context is.
    #[inline]
    pub(crate) fn as_ptr(&self) -> *const T {
        self.addr as *const T
    }
}

/// A string that never changes, with its NUL, in a read-only map value.
///
/// # Invariants
///
/// At the address is a string that ends in a NUL, all of it readable during the call.
#[repr(transparent)]
pub(crate) struct StrArg(usize, NotThreadSafe);

impl StrArg {
    /// The string.
    #[inline]
    pub(crate) fn to_cstr(&self) -> &CStr {
        // SAFETY: by the invariant.
        unsafe { CStr::from_char_ptr(self.0 as *const c_char) }
    }
}

/// The spin lock in a value of a map.
///
/// # Invariants
///
/// The address of a value's lock, in a map that lives at least until the program ends. A program that
/// takes one has none, and until it gives it back it calls nothing else; one that gives one back has it.
#[repr(transparent)]
pub(crate) struct LockArg(usize, NotThreadSafe);

impl LockArg {
    /// Takes it.
    #[inline]
    pub(crate) fn lock(&self) {
        // SAFETY: by the invariant.
        unsafe { maplock::take_value(self.0 as *mut u32) };
    }

    /// Gives it back.
    #[inline]
    pub(crate) fn unlock(&self) {
        // SAFETY: by the invariant.
        unsafe { maplock::give_value(self.0 as *mut u32) };
    }
}

/// A socket, a request, or what is left of a socket.
///
/// # Invariants
///
/// The address of a `struct sock_common` that is there until the program ends, or until the program gives
/// it back.
#[repr(transparent)]
pub(crate) struct SockArg {
    _addr: usize,
    _thread: NotThreadSafe,
}

/// One that a look-up gave to the program, which has not given it back.
///
/// # Invariants
///
/// As of [`SockArg`]; and if look-ups take references to such a one, the program has one to it. After the call
/// it uses none of its pointers to it.
#[repr(transparent)]
pub(crate) struct HeldSockArg {
    _addr: usize,
    _thread: NotThreadSafe,
}

/// What a parameter of a helper body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nothing: the body takes fewer.
    None,
    /// A number, of which nothing is known.
    Number,
    /// [`MapArg`]
    Map,
    /// [`KeyArg`]
    Key,
    /// [`ValueArg`]
    Value,
    /// [`RoomArg`]
    Room,
    /// [`RecordArg`]
    Record,
    /// [`ReadArg`], two arguments.
    Read,
    /// [`WriteArg`], two arguments.
    Write,
    /// [`UpdateArg`], two arguments.
    Update,
    /// [`WordArg`]
    Word,
    /// [`CtxArg`]
    Ctx,
    /// [`StrArg`]
    Str,
    /// [`WalkArg`]
    Walk,
    /// [`LockArg`]
    Lock,
    /// [`SockArg`]
    Sock,
    /// [`HeldSockArg`]
    HeldSock,
}

/// A type that a helper body may take.
pub(crate) trait Param {
    /// What it is.
    const KIND: Kind;
}

macro_rules! params {
    ($($ty:ty [$($generic:ident)?] = $kind:ident;)*) => {
        $(impl $(<$generic>)? Param for $ty {
            const KIND: Kind = Kind::$kind;
        })*
    };
}

params! {
    u64 [] = Number;
    MapArg<M> [M] = Map;
    KeyArg [] = Key;
    ValueArg [] = Value;
    RoomArg [] = Room;
    RecordArg [] = Record;
    ReadArg [] = Read;
    WriteArg [] = Write;
    UpdateArg [] = Update;
    WordArg [] = Word;
    CtxArg<T> [T] = Ctx;
    StrArg [] = Str;
    WalkArg<W> [W] = Walk;
    LockArg [] = Lock;
    SockArg [] = Sock;
    HeldSockArg [] = HeldSock;
}

/// A helper body: its address, and what it takes.
#[derive(Clone, Copy)]
pub(crate) struct Body {
    entry: *const (),
    kinds: [Kind; 5],
}

// SAFETY: the address of a function, which any thread may call.
unsafe impl Sync for Body {}

impl Body {
    /// The address that programs call, by the C calling convention.
    pub(crate) fn address(&self) -> usize {
        self.entry as usize
    }

    /// The parameters.
    pub(crate) const fn kinds(&self) -> &[Kind; 5] {
        &self.kinds
    }

    /// A body without parameters.
    pub(crate) const fn new0(f: extern "C" fn() -> u64) -> Self {
        Body {
            entry: f as *const (),
            kinds: [Kind::None; 5],
        }
    }
}

macro_rules! body_constructors {
    ($($doc:literal $new:ident [$($p:ident),*] [$($none:ident),*];)*) => {
        impl Body {
            $(
                #[doc = $doc]
                pub(crate) const fn $new<$($p: Param),*>(f: extern "C" fn($($p),*) -> u64) -> Self {
                    Body {
                        entry: f as *const (),
                        kinds: [$($p::KIND,)* $(Kind::$none),*],
                    }
                }
            )*
        }
    };
}

body_constructors! {
    "A body with one parameter." new1 [A] [None, None, None, None];
    "A body with two parameters." new2 [A, B] [None, None, None];
    "A body with three parameters." new3 [A, B, C] [None, None];
    "A body with four parameters." new4 [A, B, C, D] [None];
    "A body with five parameters." new5 [A, B, C, D, E] [];
}
