// SPDX-License-Identifier: GPL-2.0

//! File descriptors that stand for our objects: anonymous inodes, and the way back from a
//! descriptor to the object.

use core::any::TypeId;
use core::ops::Deref;
use core::ptr::NonNull;
use kernel::bindings;
use kernel::prelude::*;

// bindgen gives some of the structs behind these pointers no fields.
#[allow(improper_ctypes)]
extern "C" {
    fn oxbpf_show_addresses(file: *const bindings::file) -> bool;
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

    /// Text for `/proc/PID/fdinfo/FD`.
    fn fdinfo(&self, _out: &mut dyn core::fmt::Write) {}
}

/// The part of a file's private data that does not depend on the type.
#[repr(C)]
struct Head {
    type_id: TypeId,
    free: unsafe fn(NonNull<Head>),
    fdinfo: unsafe fn(NonNull<Head>, &mut dyn core::fmt::Write),
}

#[repr(C)]
struct Holder<T> {
    head: Head,
    value: T,
}

/// The one set of file operations that all of our descriptors have; what differs is in [`Head`].
struct Fops(bindings::file_operations);

// SAFETY: never written; what it points at is never written either.
unsafe impl Sync for Fops {}

static FOPS: Fops = {
    let mut fops: bindings::file_operations = pin_init::zeroed();
    fops.owner = super::module::this();
    fops.release = Some(release);
    fops.show_fdinfo = Some(show_fdinfo);
    fops.llseek = Some(bindings::noop_llseek);
    Fops(fops)
};

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
            },
            value,
        },
        GFP_KERNEL_ACCOUNT,
    )?;
    let fd = kernel::fs::file::FileDescriptorReservation::get_unused_fd_flags(bindings::O_CLOEXEC)?;
    let data = KBox::into_raw(holder);
    // SAFETY: the name is NUL-terminated, the operations live as long as the module, which the
    // file keeps.
    let file = unsafe {
        kernel::error::from_err_ptr(anon_inode_getfile(
            T::NAME.as_char_ptr(),
            &FOPS.0,
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
        if !core::ptr::eq(unsafe { (*file).f_op }, &FOPS.0) {
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
