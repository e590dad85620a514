//! Sends a datagram that may live for a few hops only.

use std::io;
use std::mem;
use std::os::fd::AsRawFd;

use socket2::{SockAddr, Socket};

/// Room for one control message with an `int`.
const CONTROL: usize = 32;

/// A control buffer, aligned as cmsg(3) wants it.
#[repr(C, align(8))]
struct Control([u8; CONTROL]);

/// sendmsg(2), with this TTL or hop limit for this datagram alone; `None` for the socket's. Nothing of the socket changes, so
/// others may send through it at the same time.
///
/// # Errors
/// Those of sendmsg(2): no route, a local firewall, a full buffer.
pub(crate) fn send(socket: &Socket, to: &SockAddr, bytes: &[u8], ttl: Option<u8>) -> io::Result<()> {
    let mut part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let mut control = Control([0; CONTROL]);
    // SAFETY: an all-zero msghdr is valid.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_name = to.as_ptr().cast_mut().cast();
    message.msg_namelen = to.len();
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    if let Some(ttl) = ttl {
        let (level, kind) =
            if to.is_ipv4() { (libc::IPPROTO_IP, libc::IP_TTL) } else { (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT) };
        message.msg_control = control.0.as_mut_ptr().cast();
        // SAFETY: CMSG_SPACE only computes; the control buffer is aligned for a header and longer than one with an int, so
        // CMSG_FIRSTHDR points into it and CMSG_DATA has room for the value.
        unsafe {
            message.msg_controllen = libc::CMSG_SPACE(size_of::<libc::c_int>() as u32) as _;
            let header = libc::CMSG_FIRSTHDR(&raw const message);
            (*header).cmsg_level = level;
            (*header).cmsg_type = kind;
            (*header).cmsg_len = libc::CMSG_LEN(size_of::<libc::c_int>() as u32) as _;
            libc::CMSG_DATA(header).cast::<libc::c_int>().write_unaligned(ttl.into());
        }
    }
    loop {
        // SAFETY: name, vector and control message live here and are only read.
        let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, libc::MSG_DONTWAIT) };
        if sent >= 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}
