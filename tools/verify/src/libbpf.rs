// SPDX-License-Identifier: GPL-2.0

//! What this tool needs of libbpf: it opens objects, relocates them (CO-RE too), and loads them.

use libc::{c_char, c_int, c_void, size_t};
use std::ffi::{CStr, CString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;

#[repr(C)]
struct RawObject([u8; 0]);

#[repr(C)]
struct RawProgram([u8; 0]);

extern "C" {
    fn bpf_object__open_file(path: *const c_char, opts: *const c_void) -> *mut RawObject;
    fn bpf_object__load(obj: *mut RawObject) -> c_int;
    fn bpf_object__close(obj: *mut RawObject);
    fn bpf_object__next_program(obj: *const RawObject, prev: *mut RawProgram) -> *mut RawProgram;
    fn bpf_program__name(prog: *const RawProgram) -> *const c_char;
    fn bpf_program__section_name(prog: *const RawProgram) -> *const c_char;
    fn bpf_program__type(prog: *const RawProgram) -> u32;
    fn bpf_program__set_type(prog: *mut RawProgram, ty: u32) -> c_int;
    fn bpf_program__set_autoload(prog: *mut RawProgram, on: bool) -> c_int;
    fn bpf_program__set_log_level(prog: *mut RawProgram, level: u32) -> c_int;
    fn bpf_program__set_log_buf(prog: *mut RawProgram, buf: *mut c_char, size: size_t) -> c_int;
    // The third argument is a va_list, which is passed on and not looked at.
    fn libbpf_set_print(f: Option<PrintFn>) -> Option<PrintFn>;
    fn vsnprintf(to: *mut c_char, size: size_t, format: *const c_char, args: *mut c_void) -> c_int;
}

type PrintFn =
    unsafe extern "C" fn(level: c_int, format: *const c_char, args: *mut c_void) -> c_int;

/// Messages of libbpf's, of level warning.
static MESSAGES: std::sync::Mutex<String> = std::sync::Mutex::new(String::new());

/// # Safety
///
/// As vprintf(3).
unsafe extern "C" fn keep(level: c_int, format: *const c_char, args: *mut c_void) -> c_int {
    if level != 0 {
        return 0;
    }
    let mut line = [0u8; 512];
    // SAFETY: the caller's promise, and the size is the buffer's.
    unsafe { vsnprintf(line.as_mut_ptr().cast(), line.len(), format, args) };
    let text = CStr::from_bytes_until_nul(&line).unwrap_or_default();
    if let Ok(mut all) = MESSAGES.lock() {
        all.push_str(&text.to_string_lossy());
    }
    0
}

/// What libbpf warned of since it was last asked.
pub fn messages() -> String {
    MESSAGES
        .lock()
        .map(|mut m| std::mem::take(&mut *m))
        .unwrap_or_default()
}

/// An open object.
///
/// # Invariants
///
/// The pointer is libbpf's, and closed with this.
pub struct Object(*mut RawObject);

/// A program of an object.
#[derive(Clone, Copy)]
pub struct Program<'a>(*mut RawProgram, std::marker::PhantomData<&'a Object>);

impl Object {
    /// Reads an object file.
    ///
    /// # Errors
    ///
    /// What libbpf says.
    pub fn open(path: &Path) -> Result<Object, String> {
        let name = CString::new(path.as_os_str().as_bytes()).map_err(|e| e.to_string())?;
        // SAFETY: the function is of the right type; the name ends with NUL; no options.
        let obj = unsafe {
            libbpf_set_print(Some(keep));
            bpf_object__open_file(name.as_ptr(), ptr::null())
        };
        match obj.is_null() {
            true => Err(messages()),
            // INVARIANT: opened just now.
            false => Ok(Object(obj)),
        }
    }

    /// Its programs.
    pub fn programs(&self) -> Vec<Program<'_>> {
        let mut all = vec![];
        let mut last = ptr::null_mut();
        loop {
            // SAFETY: the object is open, and `last` its program or null.
            last = unsafe { bpf_object__next_program(self.0, last) };
            if last.is_null() {
                return all;
            }
            all.push(Program(last, std::marker::PhantomData));
        }
    }

    /// Makes maps, relocates and loads.
    ///
    /// # Errors
    ///
    /// What libbpf says.
    pub fn load(&self) -> Result<(), String> {
        // SAFETY: the object is open.
        match unsafe { bpf_object__load(self.0) } {
            0 => Ok(()),
            _ => Err(messages()),
        }
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        // SAFETY: by the invariant.
        unsafe { bpf_object__close(self.0) };
    }
}

impl Program<'_> {
    /// Its function's name.
    pub fn name(self) -> String {
        // SAFETY: the object, which is open, keeps the text.
        let name = unsafe { CStr::from_ptr(bpf_program__name(self.0)) };
        name.to_string_lossy().into_owned()
    }

    /// The section that it is in.
    pub fn section(self) -> String {
        // SAFETY: as above.
        let name = unsafe { CStr::from_ptr(bpf_program__section_name(self.0)) };
        name.to_string_lossy().into_owned()
    }

    /// `enum bpf_prog_type`; 0 when the section's name does not say it.
    pub fn ty(self) -> u32 {
        // SAFETY: the object is open.
        unsafe { bpf_program__type(self.0) }
    }

    /// Loads it as this type.
    pub fn set_type(self, ty: u32) {
        // SAFETY: as above.
        unsafe { bpf_program__set_type(self.0, ty) };
    }

    /// Whether it is loaded with the object.
    pub fn set_autoload(self, on: bool) {
        // SAFETY: as above.
        unsafe { bpf_program__set_autoload(self.0, on) };
    }

    /// Asks for a log in `buf`, which the load then names.
    pub fn log_to(self, buf: &'static mut [u8]) {
        // SAFETY: as above; the buffer lives for ever.
        unsafe {
            bpf_program__set_log_buf(self.0, buf.as_mut_ptr().cast(), buf.len());
            bpf_program__set_log_level(self.0, 1);
        }
    }
}
