// SPDX-License-Identifier: GPL-2.0

//! As much of rtnetlink and of packet sockets as the measurements need.

use oxbpf::Errno;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// A request under construction.
pub struct Message(Vec<u8>);

impl Message {
    /// A request of that type, to be acknowledged.
    pub fn new(ty: u16, flags: u16) -> Self {
        const REQUEST_ACK: u16 = 5;
        let mut m = Message(vec![0; 16]);
        m.0[4..6].copy_from_slice(&ty.to_ne_bytes());
        m.0[6..8].copy_from_slice(&(flags | REQUEST_ACK).to_ne_bytes());
        m
    }

    /// `struct tcmsg`
    pub fn tcmsg(&mut self, interface: i32, handle: u32, parent: u32, info: u32) {
        self.0.extend([0; 4]);
        self.0.extend(interface.to_ne_bytes());
        for word in [handle, parent, info] {
            self.0.extend(word.to_ne_bytes());
        }
    }

    /// An attribute.
    pub fn attr(&mut self, ty: u16, data: &[u8]) {
        let at = self.nest(ty);
        self.0.extend(data);
        self.end(at);
    }

    /// Begins an attribute that has attributes.
    pub fn nest(&mut self, ty: u16) -> usize {
        let at = self.0.len();
        self.0.extend([0; 2]);
        self.0.extend(ty.to_ne_bytes());
        at
    }

    /// Ends the attribute that began there.
    pub fn end(&mut self, at: usize) {
        let len = (self.0.len() - at) as u16;
        self.0[at..at + 2].copy_from_slice(&len.to_ne_bytes());
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }
}

fn socket(family: i32, ty: i32, protocol: i32) -> Result<OwnedFd, Errno> {
    // SAFETY: the call takes numbers.
    let fd = unsafe { libc::socket(family, ty | libc::SOCK_CLOEXEC, protocol) };
    if fd < 0 {
        return Err(Errno::last());
    }
    // SAFETY: the fd was just made for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A socket for requests.
pub struct Netlink(OwnedFd);

impl Netlink {
    /// Opens it.
    ///
    /// # Errors
    ///
    /// Those of the socket.
    pub fn new() -> Result<Self, Errno> {
        Ok(Netlink(socket(
            libc::AF_NETLINK,
            libc::SOCK_RAW,
            libc::NETLINK_ROUTE,
        )?))
    }

    /// Sends the request and waits for its answer.
    ///
    /// # Errors
    ///
    /// The answer's.
    pub fn ask(&self, m: Message) -> Result<(), Errno> {
        let mut bytes = m.0;
        let len = bytes.len() as u32;
        bytes[..4].copy_from_slice(&len.to_ne_bytes());
        let fd = self.0.as_raw_fd();
        // SAFETY: the buffer has as many bytes.
        if unsafe { libc::send(fd, bytes.as_ptr().cast(), bytes.len(), 0) } < 0 {
            return Err(Errno::last());
        }
        let mut answer = [0u8; 4096];
        // SAFETY: as above.
        let n = unsafe { libc::recv(fd, answer.as_mut_ptr().cast(), answer.len(), 0) };
        if n < 20 {
            return Err(Errno::last());
        }
        match i32::from_ne_bytes([answer[16], answer[17], answer[18], answer[19]]) {
            0 => Ok(()),
            e => Err(Errno(-e)),
        }
    }
}

/// A source of packets.
pub struct Packets {
    fd: OwnedFd,
    to: libc::sockaddr_ll,
    frame: [u8; 64],
}

impl Packets {
    /// For frames that go out through an interface, of an experimental protocol.
    ///
    /// # Errors
    ///
    /// Those of the socket.
    pub fn new(interface: i32) -> Result<Self, Errno> {
        const PROTOCOL: u16 = 0x88b5;
        // SAFETY: all zeroes are an address.
        let mut to: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        to.sll_family = libc::AF_PACKET as u16;
        to.sll_ifindex = interface;
        to.sll_protocol = PROTOCOL.to_be();
        to.sll_halen = 6;
        let mut frame = [0; 64];
        frame[12..14].copy_from_slice(&PROTOCOL.to_be_bytes());
        Ok(Packets {
            // Protocol 0: it gets no packets.
            fd: socket(libc::AF_PACKET, libc::SOCK_RAW, 0)?,
            to,
            frame,
        })
    }

    /// Sends one.
    ///
    /// # Errors
    ///
    /// The call's.
    #[inline]
    pub fn send(&self) -> Result<(), Errno> {
        // SAFETY: frame and address are as long as is said.
        let n = unsafe {
            libc::sendto(
                self.fd.as_raw_fd(),
                self.frame.as_ptr().cast(),
                self.frame.len(),
                0,
                (&raw const self.to).cast(),
                size_of::<libc::sockaddr_ll>() as u32,
            )
        };
        match n < 0 {
            true => Err(Errno::last()),
            false => Ok(()),
        }
    }
}
