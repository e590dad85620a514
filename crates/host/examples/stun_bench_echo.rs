//! The least that can answer a Binding request from an ordinary socket, as the ceiling in `cargo xtask bench stun`.
//!
//! `stun_bench_echo ADDRESS`: one thread, one socket, batches of 64 by recvmmsg and sendmmsg; each request becomes its answer in
//! the buffer it came in. Nothing is checked, limited or counted.

use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::ptr;

/// Messages per system call.
const BATCH: usize = 64;
/// A header and XOR-MAPPED-ADDRESS of IPv4.
const ANSWER: usize = 32;

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).ok_or_else(|| io::Error::other("stun_bench_echo ADDRESS"))?;
    let socket = UdpSocket::bind(address)?;
    let mut buffers = [[0u8; 64]; BATCH];
    // SAFETY: zero is a value of these structs of integers and pointers.
    let mut names: [libc::sockaddr_in; BATCH] = unsafe { std::mem::zeroed() };
    let mut vectors = [libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; BATCH];
    // SAFETY: as above.
    let mut headers: [libc::mmsghdr; BATCH] = unsafe { std::mem::zeroed() };
    loop {
        for (at, header) in headers.iter_mut().enumerate() {
            vectors[at] = libc::iovec { iov_base: buffers[at].as_mut_ptr().cast(), iov_len: 64 };
            header.msg_hdr.msg_name = ptr::from_mut(&mut names[at]).cast();
            header.msg_hdr.msg_namelen = size_of::<libc::sockaddr_in>() as libc::socklen_t;
            header.msg_hdr.msg_iov = &mut vectors[at];
            header.msg_hdr.msg_iovlen = 1;
        }
        // SAFETY: the headers point at live buffers of the lengths they state.
        let received = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                BATCH as libc::c_uint,
                libc::MSG_WAITFORONE,
                ptr::null_mut(),
            )
        };
        let Ok(received) = usize::try_from(received) else { return Err(io::Error::last_os_error()) };
        for at in 0..received {
            let buffer = &mut buffers[at];
            buffer[..4].copy_from_slice(&[1, 1, 0, 12]);
            buffer[20..26].copy_from_slice(&[0, 0x20, 0, 8, 0, 1]);
            buffer[26..28].copy_from_slice(&(names[at].sin_port ^ 0x2112_u16.to_be()).to_ne_bytes());
            buffer[28..32].copy_from_slice(&(names[at].sin_addr.s_addr ^ 0x2112_a442_u32.to_be()).to_ne_bytes());
            vectors[at].iov_len = ANSWER;
        }
        let mut sent = 0;
        while sent < received {
            let rest = &mut headers[sent..received];
            // SAFETY: as above.
            let count = unsafe { libc::sendmmsg(socket.as_raw_fd(), rest.as_mut_ptr(), rest.len() as libc::c_uint, 0) };
            sent += usize::try_from(count).unwrap_or(1).max(1);
        }
    }
}
