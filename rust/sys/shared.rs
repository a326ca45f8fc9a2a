// SPDX-License-Identifier: GPL-2.0

//! Counted references to maps, programs and links, their ids, and their release after a grace
//! period.

use core::any::TypeId;
use core::ops::Deref;
use core::ptr::NonNull;
use kernel::bindings;
use kernel::prelude::*;
use kernel::sync::atomic::{Atomic, Relaxed};
use kernel::sync::Refcount;
use kernel::types::Opaque;

extern "C" {
    fn oxbpf_id_alloc(kind: c_uint, object: *mut c_void) -> c_int;
    fn oxbpf_id_free(kind: c_uint, id: u32);
    fn oxbpf_id_get(kind: c_uint, id: u32) -> *mut c_void;
    fn oxbpf_id_next(kind: c_uint, id: *mut u32) -> bool;
    fn oxbpf_release_init() -> c_int;
    fn oxbpf_release_exit();
    fn oxbpf_release_flush();
    fn oxbpf_release_queue(
        work: *mut bindings::work_struct,
        func: unsafe extern "C" fn(*mut bindings::work_struct),
    );
}

/// Families of objects, each with ids of its own.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Maps.
    Map = 0,
    /// Programs.
    Prog = 1,
    /// Links.
    Link = 2,
    /// Type information.
    Btf = 3,
}

/// What happens when the last reference goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Release {
    /// Dropped at once; the last reference goes where sleeping is allowed.
    Now,
    /// Dropped by a worker.
    Worker,
    /// Dropped by a worker after an RCU grace period.
    Grace,
}

/// A thing that [`Shared`] can hold.
pub(crate) trait Object: Send + Sync + Sized + 'static {
    /// Its family.
    const KIND: Kind;
    /// How it goes.
    const RELEASE: Release;

    /// How this one goes, which may be later than others of its type.
    fn release(&self) -> Release {
        Self::RELEASE
    }
}

/// Objects whose memory is not yet free.
static LIVE: Atomic<isize> = Atomic::new(0);

/// The part that does not depend on the type; the C shim knows that `refs` comes first.
#[repr(C)]
struct Head {
    refs: Refcount,
    /// 0 until it is published.
    id: Atomic<u32>,
    /// `TypeId::of` of the value, which takes less room than its result.
    type_of: fn() -> TypeId,
    last: Opaque<Last>,
}

/// What the last reference needs to hand the object over: first to RCU, and when that is done, to a
/// worker.
#[repr(C)]
union Last {
    work: core::mem::ManuallyDrop<bindings::work_struct>,
    rcu: core::mem::ManuallyDrop<bindings::callback_head>,
}

impl Head {
    fn work(&self) -> *mut bindings::work_struct {
        self.last.get().cast()
    }

    #[cfg_attr(oxbpf_no_grace, allow(dead_code))]
    fn rcu(&self) -> *mut bindings::callback_head {
        self.last.get().cast()
    }
}

/// Bytes that an object takes with its count and all else.
// Called in a constant, which the lint does not see.
#[allow(dead_code)]
pub(crate) const fn footprint<T: Object>() -> usize {
    size_of::<Inner<T>>()
}

#[repr(C)]
struct Inner<T> {
    head: Head,
    value: T,
}

/// A counted reference to an object that never moves.
///
/// # Invariants
///
/// Points at a live `Inner<T>` made by [`Shared::new`], of whose count one belongs to this
/// reference.
pub(crate) struct Shared<T: Object>(NonNull<Inner<T>>);

// SAFETY: `T` is Send and Sync (`Object` says so), and the count is atomic.
unsafe impl<T: Object> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: Object> Sync for Shared<T> {}

impl<T: Object> Shared<T> {
    /// Moves `value` to where it stays.
    ///
    /// # Errors
    ///
    /// `ENOMEM`
    pub(crate) fn new(value: T) -> Result<Self> {
        let inner = KBox::new(
            Inner {
                head: Head {
                    refs: Refcount::new(1),
                    id: Atomic::new(0),
                    type_of: TypeId::of::<T>,
                    last: Opaque::uninit(),
                },
                value,
            },
            GFP_KERNEL_ACCOUNT,
        )?;
        LIVE.fetch_add(1, Relaxed);
        // INVARIANT: the one count is ours.
        Ok(Shared(NonNull::from(KBox::leak(inner))))
    }

    fn head(&self) -> &Head {
        // SAFETY: by the invariant the object lives.
        unsafe { &(*self.0.as_ptr()).head }
    }

    /// Gives the object its number, by which others find it from now on.
    ///
    /// # Errors
    ///
    /// `ENOSPC` when all numbers are taken, `ENOMEM`.
    pub(crate) fn publish(&self) -> Result<u32> {
        // SAFETY: the object's first field is its count; `drop` takes it out of the table before
        // its memory goes.
        let id = unsafe { oxbpf_id_alloc(T::KIND as c_uint, self.0.as_ptr().cast()) };
        kernel::error::to_result(id)?;
        self.head().id.store(id as u32, Relaxed);
        Ok(id as u32)
    }

    /// The number; 0 before [`Shared::publish`].
    pub(crate) fn id(&self) -> u32 {
        self.head().id.load(Relaxed)
    }

    /// The object with that number.
    pub(crate) fn by_id(id: u32) -> Option<Self> {
        // SAFETY: no requirements; everything in the tables starts with its count.
        let object = unsafe { oxbpf_id_get(T::KIND as c_uint, id) };
        let head = NonNull::new(object.cast::<Head>())?;
        // SAFETY: only `publish` fills the tables, with objects that start with a `Head`, and the
        // call above took a count of this one.
        if (unsafe { head.as_ref() }.type_of)() != TypeId::of::<T>() {
            // Two types of one family: a mistake, but not one that may be made worse. The count
            // stays taken.
            return None;
        }
        // INVARIANT: the type is right, and the count taken above goes into the reference.
        Some(Shared(head.cast()))
    }

    /// The smallest number in use that is at least `id`.
    pub(crate) fn next_id(id: u32) -> Option<u32> {
        let mut next = id;
        // SAFETY: `next` is valid for writing.
        unsafe { oxbpf_id_next(T::KIND as c_uint, &mut next) }.then_some(next)
    }

    /// Gives the reference up as a pointer, for the C side to keep.
    pub(crate) fn into_raw(self) -> *const c_void {
        core::mem::ManuallyDrop::new(self)
            .0
            .as_ptr()
            .cast_const()
            .cast()
    }

    /// The reference again that became `raw`.
    ///
    /// # Safety
    ///
    /// `raw` is from [`Shared::into_raw`] of the same type, and this is the only time it is taken
    /// back.
    pub(crate) unsafe fn from_raw(raw: *const c_void) -> Self {
        // SAFETY: `into_raw` gave the address of an object.
        let inner = unsafe { NonNull::new_unchecked(raw.cast_mut().cast()) };
        // INVARIANT: the count that the reference had is still taken.
        Shared(inner)
    }

    /// The reference that became `raw`, for use while the object certainly lives.
    ///
    /// # Safety
    ///
    /// `raw` is from [`Shared::into_raw`] of the same type, and the object lives as long as the
    /// result: it was not taken back, or that was not a grace period ago yet and the object waits
    /// for one.
    #[inline]
    pub(crate) unsafe fn borrow_raw(raw: *const c_void) -> core::mem::ManuallyDrop<Self> {
        // SAFETY: as in `from_raw`; the result is never dropped.
        core::mem::ManuallyDrop::new(unsafe { Self::from_raw(raw) })
    }

    /// Do both refer to the same object?
    pub(crate) fn same(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<T: Object> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: by the invariant the object lives.
        unsafe { &(*self.0.as_ptr()).value }
    }
}

impl<T: Object> Clone for Shared<T> {
    fn clone(&self) -> Self {
        self.head().refs.inc();
        // INVARIANT: counted just now.
        Shared(self.0)
    }
}

impl<T: Object> Drop for Shared<T> {
    fn drop(&mut self) {
        if !self.head().refs.dec_and_test() {
            return;
        }
        let id = self.head().id.load(Relaxed);
        if id != 0 {
            // SAFETY: `publish` put it there; nobody can have taken it out but us.
            unsafe { oxbpf_id_free(T::KIND as c_uint, id) };
        }
        match self.release() {
            // SAFETY: nobody else has a reference, and nobody finds it by number any more.
            Release::Now => unsafe { free(self.0) },
            // SAFETY: as above; `work` belongs to the object, which lives until it ran.
            Release::Worker => unsafe { oxbpf_release_queue(self.head().work(), work_free::<T>) },
            // Only for the test that must fail without the grace period.
            #[cfg(oxbpf_no_grace)]
            // SAFETY: as above.
            Release::Grace => unsafe { oxbpf_release_queue(self.head().work(), work_free::<T>) },
            #[cfg(not(oxbpf_no_grace))]
            // SAFETY: as above, with `rcu`.
            Release::Grace => unsafe { bindings::call_rcu(self.head().rcu(), Some(rcu_free::<T>)) },
        }
    }
}

/// # Safety
///
/// `inner` was made by [`Shared::new`] and nobody refers to it any more.
unsafe fn free<T: Object>(inner: NonNull<Inner<T>>) {
    // SAFETY: it was leaked from a box, and the caller says that it is ours.
    drop(unsafe { KBox::from_raw(inner.as_ptr()) });
    LIVE.fetch_sub(1, Relaxed);
}

/// # Safety
///
/// `work` is that of an `Inner<T>` that nobody refers to any more.
unsafe extern "C" fn work_free<T: Object>(work: *mut bindings::work_struct) {
    let offset = core::mem::offset_of!(Head, last);
    let inner = work.cast::<u8>().wrapping_sub(offset).cast::<Inner<T>>();
    if let Some(inner) = NonNull::new(inner) {
        // SAFETY: the caller's promise; `head` is the first field.
        unsafe { free(inner) };
    }
}

/// # Safety
///
/// `rcu` is that of an `Inner<T>` that nobody refers to any more, except readers that began before
/// the grace period.
#[cfg_attr(oxbpf_no_grace, allow(dead_code))]
unsafe extern "C" fn rcu_free<T: Object>(rcu: *mut bindings::callback_head) {
    let offset = core::mem::offset_of!(Head, last);
    let head = rcu.cast::<u8>().wrapping_sub(offset).cast::<Head>();
    // SAFETY: the caller's promise; freeing may sleep, which a callback may not. RCU is done with
    // the memory that the work takes over.
    unsafe { oxbpf_release_queue((*head).work(), work_free::<T>) };
}

/// What releases run on.
///
/// # Invariants
///
/// The workqueue exists while it lives.
pub(crate) struct Releases(());

impl Releases {
    /// Sets the machinery up; the module calls it once, before any object exists.
    ///
    /// # Errors
    ///
    /// `ENOMEM`
    pub(crate) fn start() -> Result<Self> {
        // SAFETY: called once, by the contract of the module's initialisation.
        kernel::error::to_result(unsafe { oxbpf_release_init() })?;
        // INVARIANT: made just now.
        Ok(Releases(()))
    }
}

impl Drop for Releases {
    /// Waits for every object that is on its way out: one release can start others.
    fn drop(&mut self) {
        while LIVE.load(Relaxed) > 0 {
            // SAFETY: the module is going; sleeping is allowed.
            unsafe {
                bindings::rcu_barrier();
                oxbpf_release_flush();
            }
        }
        // SAFETY: what the last drops handed to RCU runs before the module's text goes; then
        // nothing uses the workqueue and the tables any more.
        unsafe {
            bindings::rcu_barrier();
            oxbpf_release_exit();
        }
    }
}
