// SPDX-License-Identifier: GPL-2.0

//! Calls made with fewer capabilities.

/// CAP_NET_ADMIN
const NET_ADMIN: u32 = 12;
/// CAP_BPF
const BPF: u32 = 39;

/// `_LINUX_CAPABILITY_VERSION_3`, this thread.
const HEADER: [u32; 2] = [0x2008_0522, 0];

/// This thread has CAP_BPF and CAP_NET_ADMIN only, until this is dropped.
#[derive(Debug)]
pub struct OnlyBpf {
    /// Effective, permitted and inheritable ones; then the upper half of each.
    before: [u32; 6],
}

impl OnlyBpf {
    /// Lays the others down; `None` when it cannot, or has not these two.
    pub fn new() -> Option<OnlyBpf> {
        let mut before = [0u32; 6];
        // SAFETY: writes six words for this version.
        let got = unsafe { libc::syscall(libc::SYS_capget, &HEADER, &mut before) };
        let (low, high) = (1 << NET_ADMIN, 1 << (BPF - 32));
        if got != 0 || before[0] & low == 0 || before[3] & high == 0 {
            return None;
        }
        let mut reduced = before;
        (reduced[0], reduced[3]) = (low, high);
        set(&reduced).then_some(OnlyBpf { before })
    }
}

impl Drop for OnlyBpf {
    fn drop(&mut self) {
        set(&self.before);
    }
}

fn set(caps: &[u32; 6]) -> bool {
    // SAFETY: reads six words for this version.
    unsafe { libc::syscall(libc::SYS_capset, &HEADER, caps) == 0 }
}
