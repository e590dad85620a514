//! How large a packet gets to a server: what routers say of packets that are too large, and, as some routers drop them without a
//! word, what the server answers.
//!
//! The server is asked as whom it sees this host, by requests of many sizes at once that may not be fragmented. What makes them
//! long is an attribute that may be ignored (RFC 8489 §14), so that answers are short and the way back does not matter.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use pinhole_stun::{AttributeType, Class, Method, TransactionId, Writer};
use pinhole_traversal::diagnosis::facts::PathMtu;

use super::path::set;

/// Headers of IPv4 and UDP.
const HEADERS: u32 = 28;
/// A path has no more bottlenecks than this that say so.
const BOTTLENECKS: u32 = 4;
/// How long a router may take to say that a packet is too big.
const TOLD: Duration = Duration::from_millis(400);
/// Sizes of packets that are tried: Ethernet, PPPoE, tunnels over each, IPv6's least, and some in between.
const SIZES: [u32; 14] =
    [1_500, 1_492, 1_480, 1_472, 1_460, 1_452, 1_440, 1_430, 1_420, 1_400, 1_380, 1_340, 1_300, 1_280];
/// How often each is asked, as packets get lost: all of four are lost once in 400,000 times at 2 % each way.
const ATTEMPTS: u32 = 4;
/// Between two times, and how long answers are waited for after the last.
const BETWEEN: Duration = Duration::from_millis(150);
const AFTER: Duration = Duration::from_millis(400);
/// Ours, and ignored by who does not know it.
const FILL: AttributeType = AttributeType(0xe3cf);
/// Of an attribute, before its value.
const ATTRIBUTE: usize = 4;

/// The largest packet that gets to the STUN server at `target`.
///
/// # Errors
/// When no socket can be opened, or there is no route.
pub fn mtu(target: SocketAddr) -> io::Result<PathMtu> {
    let told = told(target)?;
    let smaller: Vec<u32> = SIZES.into_iter().filter(|size| *size < told).collect();
    let sizes: Vec<u32> = std::iter::once(told.min(SIZES[0])).chain(smaller).collect();
    Ok(match answered(target, &sizes)? {
        Some(bytes) if bytes < sizes[0] => PathMtu { bytes, is_told: false },
        // Nobody answers whatever the size: that says nothing about sizes.
        Some(_) | None => PathMtu { bytes: told, is_told: true },
    })
}

/// What routers say.
fn told(target: SocketAddr) -> io::Result<u32> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    set(&socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DO)?;
    socket.connect(target)?;
    let mut known = path_mtu(&socket)?;
    for _ in 0..BOTTLENECKS {
        let payload = vec![0; known.saturating_sub(HEADERS).min(65_507) as usize];
        // One that is known to be too big is refused here; the new figure is looked at all the same.
        let _ = socket.send(&payload);
        std::thread::sleep(TOLD);
        let now = path_mtu(&socket)?;
        if now == known {
            break;
        }
        known = now;
    }
    Ok(known)
}

/// The largest of `sizes`, which fall, that the server has answered.
fn answered(target: SocketAddr, sizes: &[u32]) -> io::Result<Option<u32>> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    // Not fragmented, whatever is known of the path.
    set(&socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_PROBE)?;
    socket.connect(target)?;
    let mut random = [0; 8];
    crate::embedded::fill_random(&mut random)?;
    let mut reached: Option<usize> = None;
    let mut end = Instant::now();
    for attempt in 1..=ATTEMPTS {
        for (at, size) in sizes.iter().enumerate().take(reached.unwrap_or(sizes.len())) {
            // What an interface refuses is too large; what is lost is asked again.
            let _ = socket.send(&request(*size, id(random, at)));
        }
        end += if attempt == ATTEMPTS { AFTER } else { BETWEEN };
        while let Some(at) = answer(&socket, end, random)? {
            reached = Some(reached.map_or(at, |best| best.min(at)));
            if at == 0 {
                return Ok(Some(sizes[0]));
            }
        }
    }
    Ok(reached.and_then(|at| sizes.get(at).copied()))
}

/// The next answer before `end`: to which size.
fn answer(socket: &UdpSocket, end: Instant, random: [u8; 8]) -> io::Result<Option<usize>> {
    let mut buffer = [0; 2_048];
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        socket.set_read_timeout(Some(left))?;
        let Ok(length) = socket.recv(&mut buffer) else { continue };
        let Ok(message) = pinhole_stun::Message::read(&buffer[..length]) else { continue };
        let is_answer = matches!(message.class(), Class::Success | Class::Error);
        let at = (0..SIZES.len() + 1).find(|at| message.transaction_id() == id(random, *at));
        if let Some(at) = at.filter(|_| is_answer) {
            return Ok(Some(at));
        }
    }
}

fn id(random: [u8; 8], at: usize) -> TransactionId {
    let mut id = [0; 12];
    id[..8].copy_from_slice(&random);
    id[11] = at as u8;
    TransactionId::new(id)
}

/// A request in a packet of so many bytes.
fn request(size: u32, id: TransactionId) -> Vec<u8> {
    let length = (size.saturating_sub(HEADERS) as usize).max(pinhole_stun::HEADER + ATTRIBUTE) / 4 * 4;
    let mut bytes = vec![0; length];
    let mut writer = Writer::new(&mut bytes, Class::Request, Method::BINDING, id);
    writer.attribute(FILL, &vec![0; length - pinhole_stun::HEADER - ATTRIBUTE]);
    let written = writer.finish();
    debug_assert!(written.is_ok(), "it is as long as what is in it");
    bytes
}

fn path_mtu(socket: &UdpSocket) -> io::Result<u32> {
    let mut value: libc::c_int = 0;
    let mut length = size_of_val(&value) as libc::socklen_t;
    // SAFETY: the option's value is a c_int that outlives the call.
    let result = unsafe {
        libc::getsockopt(socket.as_raw_fd(), libc::IPPROTO_IP, libc::IP_MTU, (&raw mut value).cast(), &raw mut length)
    };
    if result == 0 { Ok(value.max(0).cast_unsigned()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_fill_packets_of_the_size_that_is_tried() {
        for size in SIZES {
            let bytes = request(size, id([7; 8], 0));
            assert_eq!(bytes.len() as u32 + HEADERS, size / 4 * 4, "{size}");
            assert!(pinhole_stun::Message::read(&bytes).is_ok());
        }
        assert!(SIZES.is_sorted_by(|one, other| one > other));
    }
}
