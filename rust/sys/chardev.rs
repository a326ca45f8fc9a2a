// SPDX-License-Identifier: GPL-2.0

//! A character device that anyone may open and that knows ioctls.

use core::marker::PhantomData;
use kernel::bindings;
use kernel::prelude::*;
use kernel::types::Opaque;

/// The device's behaviour.
pub(crate) trait Device: 'static {
    /// File name below `/dev`.
    const NAME: &'static CStr;
    /// Permissions of the file.
    const MODE: u16;

    /// Answers an ioctl; `arg` is what user space passed.
    ///
    /// # Errors
    ///
    /// Whatever user space shall see.
    fn ioctl(cmd: u32, arg: u64) -> Result<i32>;
}

struct Table<T>(PhantomData<T>);

impl<T: Device> Table<T> {
    const FOPS: bindings::file_operations = {
        let mut fops: bindings::file_operations = pin_init::zeroed();
        fops.owner = super::module::this();
        fops.unlocked_ioctl = Some(Self::ioctl);
        fops.compat_ioctl = Some(Self::ioctl);
        fops.llseek = Some(bindings::noop_llseek);
        fops
    };

    /// # Safety
    ///
    /// Called by the kernel for a file of this device.
    unsafe extern "C" fn ioctl(_file: *mut bindings::file, cmd: c_uint, arg: c_ulong) -> c_long {
        #[cfg(oxbpf_race)]
        race();
        match T::ioctl(cmd, arg as u64) {
            Ok(value) => value as c_long,
            Err(e) => e.to_errno() as c_long,
        }
    }
}

/// A data race, for the test that such a module must fail.
#[cfg(oxbpf_race)]
#[inline(never)]
fn race() {
    static mut CALLS: u64 = 0;
    // SAFETY: nothing depends on the number. That it is raced for is the purpose.
    unsafe { CALLS = CALLS.wrapping_add(1) };
}

/// The registered device; it goes when this is dropped.
///
/// # Invariants
///
/// `inner` is registered.
#[pin_data(PinnedDrop)]
pub(crate) struct Registration<T> {
    #[pin]
    inner: Opaque<bindings::miscdevice>,
    _device: PhantomData<T>,
}

// SAFETY: it may be unregistered by another thread than the one that registered it.
unsafe impl<T> Send for Registration<T> {}
// SAFETY: a shared reference allows nothing.
unsafe impl<T> Sync for Registration<T> {}

impl<T: Device> Registration<T> {
    /// Makes the device appear.
    pub(crate) fn new() -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            inner <- Opaque::try_ffi_init(|slot: *mut bindings::miscdevice| {
                let mut device: bindings::miscdevice = pin_init::zeroed();
                device.minor = bindings::MISC_DYNAMIC_MINOR as c_int;
                device.name = T::NAME.as_char_ptr();
                device.fops = &Table::<T>::FOPS;
                device.mode = T::MODE;
                // SAFETY: the slot is valid for writing.
                unsafe { slot.write(device) };
                // SAFETY: filled just now; pinned, and unregistered before its memory goes.
                // INVARIANT: on success it is registered.
                kernel::error::to_result(unsafe { bindings::misc_register(slot) })
            }),
            _device: PhantomData,
        })
    }
}

#[pinned_drop]
impl<T> PinnedDrop for Registration<T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: registered, by the invariant.
        unsafe { bindings::misc_deregister(self.inner.get()) };
    }
}
