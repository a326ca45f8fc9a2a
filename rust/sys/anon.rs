// SPDX-License-Identifier: GPL-2.0

//! File descriptors that stand for our objects: anonymous inodes, and the way back from a
//! descriptor to the object.

use super::vma::{NewVma, Poller};
use core::any::TypeId;
use core::ops::Deref;
use core::ptr::NonNull;
use kernel::bindings;
use kernel::prelude::*;

// bindgen gives some of the structs behind these pointers no fields.
#[allow(improper_ctypes)]
extern "C" {
    fn oxbpf_show_addresses(file: *const bindings::file) -> bool;
    fn oxbpf_vma_may_write(vma: *const bindings::vm_area_struct) -> bool;
    fn oxbpf_vma_file(vma: *const bindings::vm_area_struct) -> *const bindings::file;
    fn anon_inode_getfile(
        name: *const c_char,
        fops: *const bindings::file_operations,
        data: *mut c_void,
        flags: c_int,
    ) -> *mut bindings::file;
}

/// What a descriptor can hold.
pub(crate) trait FileObject: Send + Sync + Sized + 'static {
    /// What `readlink` of the descriptor shows after `anon_inode:`.
    const NAME: &'static CStr;

    /// Its files can be mapped and polled; the operations below are not asked otherwise.
    const MEMORY: bool = false;

    /// Text for `/proc/PID/fdinfo/FD`.
    fn fdinfo(&self, _out: &mut dyn core::fmt::Write) {}

    /// Makes a mapping, for which [`FileObject::map_opened`] counts as called if it is writable.
    ///
    /// # Errors
    ///
    /// What mmap(2) shall say.
    fn mmap(&self, _vma: &NewVma<'_>) -> Result {
        Err(ENODEV)
    }

    /// One more writable mapping, as fork makes it; or one was split.
    fn map_opened(&self) {}

    /// One writable mapping less.
    fn map_closed(&self) {}

    /// What poll(2) shall say, and who wakes it.
    fn poll(&self, _poller: &Poller<'_>) -> u32 {
        Poller::ERROR
    }
}

/// The part of a file's private data that does not depend on the type.
#[repr(C)]
struct Head {
    type_id: TypeId,
    free: unsafe fn(NonNull<Head>),
    fdinfo: unsafe fn(NonNull<Head>, &mut dyn core::fmt::Write),
    mmap: unsafe fn(NonNull<Head>, &NewVma<'_>) -> Result,
    /// A writable mapping more, or less.
    mapped: unsafe fn(NonNull<Head>, bool),
    poll: unsafe fn(NonNull<Head>, &Poller<'_>) -> u32,
}

#[repr(C)]
struct Holder<T> {
    head: Head,
    value: T,
}

/// The file operations that our descriptors have; what differs between objects is in [`Head`].
struct Fops(bindings::file_operations);

// SAFETY: never written; what it points at is never written either.
unsafe impl Sync for Fops {}

const fn fops() -> bindings::file_operations {
    let mut fops: bindings::file_operations = pin_init::zeroed();
    fops.owner = super::module::this();
    fops.release = Some(release);
    fops.show_fdinfo = Some(show_fdinfo);
    fops.llseek = Some(bindings::noop_llseek);
    fops
}

static FOPS: Fops = Fops(fops());

/// Those of files with memory. That others have no `poll` tells epoll something.
static MEMORY_FOPS: Fops = {
    let mut fops = fops();
    fops.mmap = Some(mmap);
    fops.poll = Some(poll);
    Fops(fops)
};

struct VmOps(bindings::vm_operations_struct);

// SAFETY: never written; what it points at is never written either.
unsafe impl Sync for VmOps {}

static VM_OPS: VmOps = {
    let mut ops: bindings::vm_operations_struct = pin_init::zeroed();
    ops.open = Some(vma_open);
    ops.close = Some(vma_close);
    VmOps(ops)
};

/// The object of a file.
///
/// # Safety
///
/// `file` is one of ours.
unsafe fn head_of(file: *const bindings::file) -> Option<NonNull<Head>> {
    // SAFETY: `install` put a holder there.
    NonNull::new(unsafe { (*file).private_data }.cast::<Head>())
}

/// # Safety
///
/// Called by the kernel for one of our files.
unsafe extern "C" fn mmap(file: *mut bindings::file, vma: *mut bindings::vm_area_struct) -> c_int {
    // SAFETY: the caller's promise.
    let (Some(head), Some(vma)) = (unsafe { head_of(file) }, NonNull::new(vma)) else {
        return ENODEV.to_errno();
    };
    // SAFETY: what the kernel gave for this call.
    let new = unsafe { NewVma::new(vma, &VM_OPS.0) };
    // SAFETY: the holder is of the type that its own head names.
    match unsafe { (head.as_ref().mmap)(head, &new) } {
        Ok(()) => 0,
        Err(e) => e.to_errno(),
    }
}

/// # Safety
///
/// Called by the kernel for a mapping of one of our files.
unsafe fn vma_changed(vma: *mut bindings::vm_area_struct, more: bool) {
    // SAFETY: the mapping is valid, and keeps its file.
    if !unsafe { oxbpf_vma_may_write(vma) } {
        return;
    }
    // SAFETY: as above.
    if let Some(head) = unsafe { head_of(oxbpf_vma_file(vma)) } {
        // SAFETY: the holder is of the type that its own head names.
        unsafe { (head.as_ref().mapped)(head, more) };
    }
}

/// # Safety
///
/// Called by the kernel for a mapping of one of our files.
unsafe extern "C" fn vma_open(vma: *mut bindings::vm_area_struct) {
    // SAFETY: the caller's promise.
    unsafe { vma_changed(vma, true) };
}

/// # Safety
///
/// Called by the kernel for a mapping of one of our files.
unsafe extern "C" fn vma_close(vma: *mut bindings::vm_area_struct) {
    // SAFETY: the caller's promise.
    unsafe { vma_changed(vma, false) };
}

/// # Safety
///
/// Called by the kernel for one of our files.
unsafe extern "C" fn poll(
    file: *mut bindings::file,
    table: *mut bindings::poll_table_struct,
) -> bindings::__poll_t {
    // SAFETY: the caller's promise.
    let (Some(head), Some(file)) = (unsafe { head_of(file) }, NonNull::new(file)) else {
        return Poller::ERROR;
    };
    // SAFETY: what the kernel gave for this call.
    let poller = unsafe { Poller::new(file, table) };
    // SAFETY: the holder is of the type that its own head names.
    unsafe { (head.as_ref().poll)(head, &poller) }
}

/// # Safety
///
/// `file` is one of ours, and goes.
unsafe extern "C" fn release(_inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
    // SAFETY: `install` put a holder there.
    if let Some(head) = NonNull::new(unsafe { (*file).private_data }.cast::<Head>()) {
        // SAFETY: the holder is of the type that its own head names, and nobody uses the file.
        unsafe { (head.as_ref().free)(head) };
    }
    0
}

/// # Safety
///
/// `file` is one of ours, `seq` is valid.
unsafe extern "C" fn show_fdinfo(seq: *mut bindings::seq_file, file: *mut bindings::file) {
    struct Seq(*mut bindings::seq_file);
    impl core::fmt::Write for Seq {
        fn write_str(&mut self, s: &str) -> core::fmt::Result {
            // SAFETY: valid by the contract of the function around.
            unsafe { bindings::seq_write(self.0, s.as_ptr().cast(), s.len()) };
            Ok(())
        }
    }
    // SAFETY: `install` put a holder there.
    if let Some(head) = NonNull::new(unsafe { (*file).private_data }.cast::<Head>()) {
        // SAFETY: the holder is of the type that its own head names.
        unsafe { (head.as_ref().fdinfo)(head, &mut Seq(seq)) };
    }
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
/// `head` begins a live `Holder<T>`.
unsafe fn fdinfo<T: FileObject>(head: NonNull<Head>, out: &mut dyn core::fmt::Write) {
    // SAFETY: the caller's promise.
    unsafe { head.cast::<Holder<T>>().as_ref() }
        .value
        .fdinfo(out);
}

/// # Safety
///
/// `head` begins a live `Holder<T>`.
unsafe fn mmap_of<T: FileObject>(head: NonNull<Head>, vma: &NewVma<'_>) -> Result {
    // SAFETY: the caller's promise.
    unsafe { head.cast::<Holder<T>>().as_ref() }.value.mmap(vma)
}

/// # Safety
///
/// `head` begins a live `Holder<T>`.
unsafe fn mapped<T: FileObject>(head: NonNull<Head>, more: bool) {
    // SAFETY: the caller's promise.
    let value = unsafe { &head.cast::<Holder<T>>().as_ref().value };
    match more {
        true => value.map_opened(),
        false => value.map_closed(),
    }
}

/// # Safety
///
/// `head` begins a live `Holder<T>`.
unsafe fn poll_of<T: FileObject>(head: NonNull<Head>, poller: &Poller<'_>) -> u32 {
    // SAFETY: the caller's promise.
    unsafe { head.cast::<Holder<T>>().as_ref() }
        .value
        .poll(poller)
}

/// How a descriptor is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Commands may read and write.
    ReadWrite,
    /// Commands may only read.
    ReadOnly,
    /// Commands may only write.
    WriteOnly,
}

/// Puts `value` behind a new descriptor, close-on-exec. Nothing can fail after the descriptor is
/// there, and on failure `value` is dropped.
///
/// # Errors
///
/// `EMFILE`, `ENFILE`, `ENOMEM`
pub(crate) fn install<T: FileObject>(value: T, mode: Mode) -> Result<i32> {
    let flags = match mode {
        Mode::ReadWrite => bindings::O_RDWR,
        Mode::ReadOnly => bindings::O_RDONLY,
        Mode::WriteOnly => bindings::O_WRONLY,
    };
    let holder = KBox::new(
        Holder {
            head: Head {
                type_id: TypeId::of::<T>(),
                free: free::<T>,
                fdinfo: fdinfo::<T>,
                mmap: mmap_of::<T>,
                mapped: mapped::<T>,
                poll: poll_of::<T>,
            },
            value,
        },
        GFP_KERNEL_ACCOUNT,
    )?;
    let fd = kernel::fs::file::FileDescriptorReservation::get_unused_fd_flags(bindings::O_CLOEXEC)?;
    let data = KBox::into_raw(holder);
    let fops = if T::MEMORY { &MEMORY_FOPS } else { &FOPS };
    // SAFETY: the name is NUL-terminated, the operations live as long as the module, which the
    // file keeps.
    let file = unsafe {
        kernel::error::from_err_ptr(anon_inode_getfile(
            T::NAME.as_char_ptr(),
            &fops.0,
            data.cast(),
            flags as c_int,
        ))
    };
    let file = match file {
        Ok(file) => file,
        Err(e) => {
            // SAFETY: no file took it.
            drop(unsafe { KBox::from_raw(data) });
            return Err(e);
        }
    };
    let number = fd.reserved_fd();
    let Some(file) = NonNull::new(file) else {
        return Err(ENOMEM);
    };
    // SAFETY: a new file has one reference, which is ours; nobody uses its position.
    let file = unsafe { kernel::sync::aref::ARef::<kernel::fs::File>::from_raw(file.cast()) };
    fd.fd_install(file);
    Ok(number as i32)
}

/// Why a descriptor does not lead to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FdError {
    /// It is not open.
    Closed,
    /// It is open, but holds something else.
    Other,
}

impl From<FdError> for Error {
    fn from(e: FdError) -> Error {
        match e {
            FdError::Closed => EBADF,
            FdError::Other => EINVAL,
        }
    }
}

/// An open file of ours, whatever it holds; it stays open while this lives.
///
/// # Invariants
///
/// From `fdget`: a file with our operations, whose private data is a `Holder`, and whether the
/// reference is ours or the descriptor table's. That table stays as it is while the call of user
/// space that this lives in goes on: nobody shares it, and nothing of ours closes descriptors.
pub(crate) struct AnyFile {
    file: NonNull<bindings::file>,
    fd: bindings::fd,
}

/// Bits of `struct fd` that are not the file's address; the first says that the reference is ours.
const FD_OWNED: c_ulong = 1;
const FD_BITS: c_ulong = 3;

impl AnyFile {
    /// The file behind descriptor `fd` of the current process.
    pub(crate) fn get(fd: u32) -> Result<Self, FdError> {
        // SAFETY: no requirements.
        let fd = unsafe { bindings::fdget(fd) };
        let file = (fd.word & !FD_BITS) as *mut bindings::file;
        // From here on dropping it gives back what is ours.
        let found = AnyFile {
            file: NonNull::new(file).ok_or(FdError::Closed)?,
            fd,
        };
        // SAFETY: the file lives; a file's operations do not change.
        let ops = unsafe { (*file).f_op };
        if !core::ptr::eq(ops, &FOPS.0) && !core::ptr::eq(ops, &MEMORY_FOPS.0) {
            return Err(FdError::Other);
        }
        // INVARIANT: only `install` makes files with our operations.
        Ok(found)
    }

    fn head(&self) -> NonNull<Head> {
        // SAFETY: by the invariant the file lives, and its private data is a holder.
        unsafe { NonNull::new_unchecked((*self.file.as_ptr()).private_data.cast()) }
    }

    /// It holds a `T`.
    pub(crate) fn holds<T: FileObject>(&self) -> bool {
        // SAFETY: by the invariant the holder lives.
        unsafe { self.head().as_ref() }.type_id == TypeId::of::<T>()
    }

    /// The object, if it is a `T`.
    pub(crate) fn cast<T: FileObject>(self) -> Option<FileRef<T>> {
        if !self.holds::<T>() {
            return None;
        }
        // INVARIANT: checked just now.
        Some(FileRef(self, core::marker::PhantomData))
    }

    /// The object for as long as the file is held, if it is a `T`.
    pub(crate) fn as_ref<T: FileObject>(&self) -> Option<&T> {
        if !self.holds::<T>() {
            return None;
        }
        // SAFETY: the holder is of that type, as just checked, and lives while the file does.
        Some(&unsafe { self.head().cast::<Holder<T>>().as_ref() }.value)
    }

    fn mode(&self) -> u32 {
        // SAFETY: by the invariant the file lives.
        unsafe { (*self.file.as_ptr()).f_mode }
    }

    /// Commands through it may read.
    pub(crate) fn can_read(&self) -> bool {
        self.mode() & 1 != 0
    }

    /// Commands through it may write.
    pub(crate) fn can_write(&self) -> bool {
        self.mode() & 2 != 0
    }

    /// Who opened it may see kernel addresses.
    pub(crate) fn shows_addresses(&self) -> bool {
        // SAFETY: by the invariant the file lives.
        unsafe { oxbpf_show_addresses(self.file.as_ptr()) }
    }
}

impl Drop for AnyFile {
    fn drop(&mut self) {
        if self.fd.word & FD_OWNED != 0 {
            // SAFETY: the bit says that the reference is ours.
            unsafe { bindings::fput(self.file.as_ptr()) };
        }
    }
}

/// An open file that holds a `T`.
///
/// # Invariants
///
/// The file's holder is a `Holder<T>`.
pub(crate) struct FileRef<T>(AnyFile, core::marker::PhantomData<T>);

impl<T: FileObject> FileRef<T> {
    /// The object behind descriptor `fd` of the current process.
    pub(crate) fn get(fd: u32) -> Result<Self, FdError> {
        AnyFile::get(fd)?.cast().ok_or(FdError::Other)
    }

    /// The file.
    pub(crate) fn file(&self) -> &AnyFile {
        &self.0
    }
}

impl<T: FileObject> Deref for FileRef<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: by the invariant the holder is of that type, and lives while the file does.
        &unsafe { self.0.head().cast::<Holder<T>>().as_ref() }.value
    }
}
