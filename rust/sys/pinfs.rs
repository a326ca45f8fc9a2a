// SPDX-License-Identifier: GPL-2.0

//! The filesystem whose files keep objects.

use super::user::User;
use core::any::TypeId;
use core::ptr::NonNull;
use kernel::prelude::*;

extern "C" {
    fn oxbpf_pinfs_register(put: unsafe extern "C" fn(*mut c_void)) -> c_int;
    fn oxbpf_pinfs_unregister();
    fn oxbpf_pinfs_pin(dfd: c_int, name: *const c_char, object: *mut c_void) -> c_int;
    fn oxbpf_pinfs_find(
        dfd: c_int,
        name: *const c_char,
        mask: c_int,
        found: unsafe extern "C" fn(*mut c_void, *mut c_void) -> c_int,
        arg: *mut c_void,
    ) -> c_int;
}

/// What all objects that a file keeps begin with.
#[repr(C)]
struct Head {
    type_id: TypeId,
    free: unsafe fn(NonNull<Head>),
}

#[repr(C)]
struct Holder<T> {
    head: Head,
    value: T,
}

/// # Safety
///
/// `head` begins a boxed `Holder<T>` that nobody else refers to.
unsafe fn free<T>(head: NonNull<Head>) {
    // SAFETY: the caller's promise.
    drop(unsafe { KBox::from_raw(head.as_ptr().cast::<Holder<T>>()) });
}

/// # Safety
///
/// `object` is what `pin` gave to a file that goes.
unsafe extern "C" fn put(object: *mut c_void) {
    if let Some(head) = NonNull::new(object.cast::<Head>()) {
        // SAFETY: the holder is of the type that its own head names, and its file was its only owner.
        unsafe { (head.as_ref().free)(head) };
    }
}

/// The registered filesystem; it goes when this is dropped.
///
/// # Invariants
///
/// It is registered.
pub(crate) struct Registration(());

impl Registration {
    /// Makes the filesystem known; the module calls it once.
    ///
    /// # Errors
    ///
    /// `EBUSY` when there is one of that name.
    pub(crate) fn new() -> Result<Self> {
        // SAFETY: called once, by the contract of the module's initialisation; the function lives as
        // long as the module, which mounts keep.
        kernel::error::to_result(unsafe { oxbpf_pinfs_register(put) })?;
        // INVARIANT: done just now.
        Ok(Registration(()))
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        // SAFETY: by the invariant; the module goes, so nothing is mounted.
        unsafe { oxbpf_pinfs_unregister() };
    }
}

/// Makes a file that keeps `value`. `dir` is a descriptor that a relative path starts from, or
/// `AT_FDCWD`.
///
/// # Errors
///
/// `EPERM` on another filesystem, `EEXIST`, and whatever the path comes to; `ENOMEM`.
pub(crate) fn pin<T: Send + Sync + 'static>(dir: i32, path: User, value: T) -> Result {
    let holder = KBox::new(
        Holder {
            head: Head {
                type_id: TypeId::of::<T>(),
                free: free::<T>,
            },
            value,
        },
        GFP_KERNEL_ACCOUNT,
    )?;
    let object = KBox::into_raw(holder);
    // SAFETY: the path may be any address; on success the file owns the holder.
    let done = unsafe { oxbpf_pinfs_pin(dir, path.as_ptr(), object.cast()) };
    let done = kernel::error::to_result(done);
    if done.is_err() {
        // SAFETY: no file took it.
        drop(unsafe { KBox::from_raw(object) });
    }
    done
}

/// What the caller wants of the object, and what came of it.
struct Search<F, R> {
    what: Option<F>,
    result: Option<R>,
}

/// # Safety
///
/// `object` is what `pin` gave to a file that is there during the call, `arg` a `Search<F, R>`.
unsafe extern "C" fn found<T: 'static, R, F: FnOnce(&T) -> R>(
    object: *mut c_void,
    arg: *mut c_void,
) -> c_int {
    // SAFETY: the caller's promise.
    let search = unsafe { &mut *arg.cast::<Search<F, R>>() };
    // SAFETY: the caller's promise.
    if unsafe { (*object.cast::<Head>()).type_id } != TypeId::of::<T>() {
        return EACCES.to_errno();
    }
    // SAFETY: as its head says.
    let value = unsafe { &(*object.cast::<Holder<T>>()).value };
    if let Some(what) = search.what.take() {
        search.result = Some(what(value));
    }
    0
}

/// Calls `what` with the object of a file, which the caller must be allowed to read and write as
/// asked.
///
/// # Errors
///
/// `EACCES` for a file of another filesystem or without permission; whatever the path comes to.
pub(crate) fn find<T: Send + Sync + 'static, R, F: FnOnce(&T) -> R>(
    dir: i32,
    path: User,
    read: bool,
    write: bool,
    what: F,
) -> Result<R> {
    let mut search = Search {
        what: Some(what),
        result: None,
    };
    let mask = i32::from(write) | i32::from(read) << 1;
    // SAFETY: the path may be any address; the search lives during the call and is of that type.
    kernel::error::to_result(unsafe {
        oxbpf_pinfs_find(
            dir,
            path.as_ptr(),
            mask,
            found::<T, R, F>,
            (&raw mut search).cast(),
        )
    })?;
    search.result.ok_or(EACCES)
}
