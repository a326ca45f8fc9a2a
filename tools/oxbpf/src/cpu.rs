// SPDX-License-Identifier: GPL-2.0

//! The CPUs of the machine, for what differs between them.

/// This thread stays on a CPU while this lives.
pub struct Stay {
    before: libc::cpu_set_t,
}

/// Keeps the calling thread, and those that it starts, on the first CPU.
///
/// # Errors
///
/// What failed.
pub fn stay() -> Result<Stay, String> {
    on(0)
}

/// The same on the CPU where it is now.
///
/// # Errors
///
/// What failed.
pub fn here() -> Result<Stay, String> {
    // SAFETY: no requirements.
    let cpu = unsafe { libc::sched_getcpu() };
    on(usize::try_from(cpu).map_err(|_| "on no CPU")?)
}

/// The same on CPU number `cpu`.
///
/// # Errors
///
/// What failed: there may be no such CPU.
pub fn on(cpu: usize) -> Result<Stay, String> {
    // SAFETY: the sets are plain arrays of bits.
    unsafe {
        let (mut before, mut set): (libc::cpu_set_t, libc::cpu_set_t) = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        if libc::sched_getaffinity(0, size_of_val(&before), &mut before) == 0
            && libc::sched_setaffinity(0, size_of_val(&set), &set) == 0
        {
            return Ok(Stay { before });
        }
    }
    Err("cannot stay on a CPU".into())
}

impl Drop for Stay {
    fn drop(&mut self) {
        // SAFETY: a set of the kernel's.
        unsafe { libc::sched_setaffinity(0, size_of_val(&self.before), &self.before) };
    }
}
