// SPDX-License-Identifier: GPL-2.0

//! The two messages to rtnetlink that put a program at a device's ingress.

use std::ffi::CString;
use std::io::{Error, Result};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

const REQUEST_ACK: u16 = 1 | 4;
const CREATE: u16 = 0x400;
const EXCL: u16 = 0x200;
const NEWQDISC: u16 = 36;
const DELQDISC: u16 = 37;
const NEWTFILTER: u16 = 44;
/// `TC_H_CLSACT`, and its hook for what comes in.
const CLSACT: u32 = 0xffff_fff1;
const INGRESS: u32 = 0xffff_fff2;

/// A message about a device's queueing disciplines: `struct nlmsghdr`, `struct tcmsg`, attributes.
struct Message(Vec<u8>);

impl Message {
    fn new(ty: u16, flags: u16, device: u32, handle: u32, parent: u32, info: u32) -> Message {
        let mut m = vec![0; 20];
        m[4..6].copy_from_slice(&ty.to_ne_bytes());
        m[6..8].copy_from_slice(&(flags | REQUEST_ACK).to_ne_bytes());
        for n in [device, handle, parent, info] {
            m.extend(n.to_ne_bytes());
        }
        Message(m)
    }

    fn attr(mut self, ty: u16, data: &[u8]) -> Message {
        self.0.extend((data.len() as u16 + 4).to_ne_bytes());
        self.0.extend(ty.to_ne_bytes());
        self.0.extend(data);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    /// Sends it; the kernel's answer.
    fn send(mut self) -> Result<()> {
        let len = self.0.len() as u32;
        self.0[0..4].copy_from_slice(&len.to_ne_bytes());
        let mut answer = [0u8; 1024];
        // SAFETY: the socket is new and ours; both buffers have the lengths that are given.
        let got = unsafe {
            let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
            let fd = libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_ROUTE);
            if fd < 0 {
                return Err(Error::last_os_error());
            }
            let socket = OwnedFd::from_raw_fd(fd);
            let fd = socket.as_raw_fd();
            if libc::send(fd, self.0.as_ptr().cast(), self.0.len(), 0) < 0 {
                return Err(Error::last_os_error());
            }
            libc::recv(fd, answer.as_mut_ptr().cast(), answer.len(), 0)
        };
        if got < 20 {
            return Err(Error::last_os_error());
        }
        match i32::from_ne_bytes([answer[16], answer[17], answer[18], answer[19]]) {
            0 => Ok(()),
            errno => Err(Error::from_raw_os_error(-errno)),
        }
    }
}

/// A device that has clsact with one filter; dropping takes both off.
pub struct Filter {
    device: u32,
}

impl Filter {
    /// Gives the program to a filter of `kind`, as a direct action.
    ///
    /// # Errors
    ///
    /// No such device, and whatever the kernel says.
    pub fn attach(device: &str, kind: &str, program: BorrowedFd<'_>) -> Result<Filter> {
        let name = CString::new(device)?;
        // SAFETY: a string that ends in NUL.
        let device = unsafe { libc::if_nametoindex(name.as_ptr()) };
        if device == 0 {
            return Err(Error::last_os_error());
        }
        Message::new(NEWQDISC, CREATE | EXCL, device, 0xffff_0000, CLSACT, 0)
            .attr(1, b"clsact\0")
            .send()?;
        let filter = Filter { device };
        // TCA_BPF_FD, TCA_BPF_NAME, TCA_BPF_FLAGS with TCA_BPF_FLAG_ACT_DIRECT
        let options = Message(Vec::new())
            .attr(6, &program.as_raw_fd().to_ne_bytes())
            .attr(7, b"count_flows\0")
            .attr(8, &1u32.to_ne_bytes());
        // Priority 1, all protocols.
        let info = (1 << 16) | u32::from(3u16.to_be());
        let mut kind = kind.as_bytes().to_vec();
        kind.push(0);
        Message::new(NEWTFILTER, CREATE | EXCL, device, 1, INGRESS, info)
            .attr(1, &kind)
            .attr(2, &options.0)
            .send()?;
        Ok(filter)
    }
}

impl Drop for Filter {
    fn drop(&mut self) {
        let gone = Message::new(DELQDISC, 0, self.device, 0xffff_0000, CLSACT, 0).send();
        if let Err(e) = gone {
            eprintln!("flows-rs: taking the filter off: {e}");
        }
    }
}
