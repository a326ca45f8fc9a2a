// SPDX-License-Identifier: GPL-2.0

//! syscall(2) for this process: bpf(2) goes to [`crate::fake`], everything else to the kernel.
//!
//! The dynamic linker finds the executable's symbol before libc's, so libbpf calls this one. Which
//! is the same trick as a preload library, without the library.

use crate::fake;
use libc::{c_int, c_long};
use std::arch::asm;

/// The kernel's own system call.
///
/// # Safety
///
/// As the call with these arguments is.
unsafe fn kernel(nr: c_long, args: [c_long; 6]) -> c_long {
    let ret: c_long;
    let [a, b, c, d, e, f] = args;
    // SAFETY: the x86-64 convention; what the call does is the caller's responsibility.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") nr => ret,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e, in("r9") f,
            lateout("rcx") _, lateout("r11") _,
        );
    }
    ret
}

/// syscall(3). It is variadic in C; on x86-64 the callee sees no difference for integers.
///
/// # Safety
///
/// As syscall(3).
#[no_mangle]
unsafe extern "C" fn syscall(
    nr: c_long,
    a: c_long,
    b: c_long,
    c: c_long,
    d: c_long,
    e: c_long,
    f: c_long,
) -> c_long {
    let ret = match nr {
        // SAFETY: bpf(2)'s caller passes an attr of `c` bytes at `b`.
        libc::SYS_bpf => unsafe { fake::bpf(a as u32, b as *mut u8, c as usize) },
        // SAFETY: passed on as it came.
        _ => unsafe { kernel(nr, [a, b, c, d, e, f]) },
    };
    if (-4095..0).contains(&ret) {
        // SAFETY: the thread's own errno.
        unsafe { *libc::__errno_location() = -ret as c_int };
        return -1;
    }
    ret
}
