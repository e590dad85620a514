//! Asks a DNS server as fast as it answers, for `cargo xtask bench dns`.
//!
//! `dns_bench_load --server ADDRESS --questions FILE --seconds S [--edns SIZE] [--window N]`: keeps N questions outstanding on
//! each of a few sockets, sent and received in batches, so that one core asks faster than any server on another core
//! answers (dnsperf needs the core for 70,000 per second). Prints one line of JSON.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::ptr;
use std::time::{Duration, Instant};

use pinhole_dns::message::{Edns, Header, Message, Question};
use pinhole_dns::{Name, Type};

type Failure = Box<dyn std::error::Error>;

/// Messages per system call.
const BATCH: usize = 64;
/// Sockets: a handful of clients.
const SOCKETS: usize = 4;
/// With no answer for so long, what is outstanding is lost and asked anew.
const LOST: Duration = Duration::from_millis(50);

fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let option = |name: &str| args.iter().position(|arg| arg == name).and_then(|at| args.get(at + 1));
    let server: SocketAddr = option("--server").ok_or("--server ADDRESS")?.parse()?;
    let seconds: f64 = option("--seconds").ok_or("--seconds S")?.parse()?;
    let edns = option("--edns").map(|size| size.parse()).transpose()?;
    let window: usize = option("--window").map_or(Ok(64), |window| window.parse())?;
    let file = std::fs::read_to_string(option("--questions").ok_or("--questions FILE")?)?;
    let queries: Vec<Vec<u8>> = file.lines().map(|line| query(line, edns)).collect::<Result<_, _>>()?;

    let mut clients: Vec<Client> = (0..SOCKETS).map(|_| Client::new(server)).collect::<Result<_, _>>()?;
    let mut tally = Tally::default();
    let mut next = 0;
    let start = Instant::now();
    let end = start + Duration::from_secs_f64(seconds);
    let mut waited = Instant::now();
    while Instant::now() < end {
        let mut idle = true;
        for client in &mut clients {
            client.ask(&queries, &mut next, window)?;
            idle &= client.take(&mut tally)? == 0;
        }
        if !idle {
            waited = Instant::now();
        } else if waited.elapsed() > LOST {
            for client in &mut clients {
                tally.lost += std::mem::take(&mut client.outstanding);
            }
            waited = Instant::now();
        }
    }
    let elapsed = start.elapsed().as_secs_f64();
    println!(
        "{{\"answers\":{},\"seconds\":{elapsed:.3},\"bytes\":{},\"errors\":{},\"truncated\":{},\"lost\":{}}}",
        tally.answers, tally.bytes, tally.errors, tally.truncated, tally.lost
    );
    Ok(())
}

/// What came back.
#[derive(Default)]
struct Tally {
    answers: u64,
    bytes: u64,
    /// Other codes than NOERROR and NXDOMAIN.
    errors: u64,
    truncated: u64,
    lost: usize,
}

/// A question in dnsperf's form, as a query.
fn query(line: &str, edns: Option<u16>) -> Result<Vec<u8>, Failure> {
    let (name, qtype) = line.split_once(' ').ok_or("NAME TYPE")?;
    let qtype = match qtype {
        "A" => Type::A,
        "AAAA" => Type::AAAA,
        "SRV" => Type::SRV,
        "TXT" => Type::TXT,
        "PTR" => Type::PTR,
        other => return Err(format!("no type {other}").into()),
    };
    let edns = edns.map(|udp_size| Edns { udp_size, ..Edns::default() });
    let questions = vec![Question { name: Name::parse(name)?, qtype, qclass: 1 }];
    Ok(Message { header: Header::default(), questions, edns, ..Message::default() }.encode())
}

/// A connected socket with buffers.
struct Client {
    socket: UdpSocket,
    outstanding: usize,
    answers: Box<[[u8; 1_344]; BATCH]>,
}

impl Client {
    fn new(server: SocketAddr) -> io::Result<Self> {
        let socket = UdpSocket::bind(if server.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" })?;
        socket.connect(server)?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, outstanding: 0, answers: Box::new([[0; 1_344]; BATCH]) })
    }

    /// Sends questions until `window` are outstanding, at most one batch.
    fn ask(&mut self, queries: &[Vec<u8>], next: &mut usize, window: usize) -> io::Result<()> {
        let count = window.saturating_sub(self.outstanding).min(BATCH);
        // Half a batch at least: small calls would make the generator the slower side.
        if count < BATCH.min(window) / 2 {
            return Ok(());
        }
        let mut vectors = [libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; BATCH];
        for vector in &mut vectors[..count] {
            let query = &queries[*next % queries.len()];
            *next += 1;
            *vector = libc::iovec { iov_base: query.as_ptr().cast_mut().cast(), iov_len: query.len() };
        }
        let mut headers = headers(&mut vectors);
        // SAFETY: `count` headers point at vectors that point at queries; sendmmsg only reads them.
        let sent = unsafe {
            libc::sendmmsg(self.socket.as_raw_fd(), headers.as_mut_ptr(), count as libc::c_uint, libc::MSG_DONTWAIT)
        };
        match usize::try_from(sent) {
            Ok(sent) => self.outstanding += sent,
            Err(_) if io::Error::last_os_error().kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return Err(io::Error::last_os_error()),
        }
        Ok(())
    }

    /// Takes what has been answered.
    fn take(&mut self, tally: &mut Tally) -> io::Result<usize> {
        let mut vectors = [libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; BATCH];
        for (vector, answer) in vectors.iter_mut().zip(self.answers.iter_mut()) {
            *vector = libc::iovec { iov_base: answer.as_mut_ptr().cast(), iov_len: answer.len() };
        }
        let mut headers = headers(&mut vectors);
        // SAFETY: all headers point at vectors that point at our buffers.
        let received = unsafe {
            libc::recvmmsg(
                self.socket.as_raw_fd(),
                headers.as_mut_ptr(),
                BATCH as libc::c_uint,
                libc::MSG_DONTWAIT,
                ptr::null_mut(),
            )
        };
        let Ok(received) = usize::try_from(received) else {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::WouldBlock { Ok(0) } else { Err(error) };
        };
        self.outstanding = self.outstanding.saturating_sub(received);
        for (header, answer) in headers.iter().zip(self.answers.iter()).take(received) {
            tally.answers += 1;
            tally.bytes += u64::from(header.msg_len);
            tally.truncated += u64::from(answer[2] >> 1 & 1);
            tally.errors += u64::from(!matches!(answer[3] & 0xf, 0 | 3));
        }
        Ok(received)
    }
}

/// A header for each vector.
fn headers(vectors: &mut [libc::iovec; BATCH]) -> [libc::mmsghdr; BATCH] {
    // SAFETY: zero is a value of these structs of integers and pointers.
    let mut headers: [libc::mmsghdr; BATCH] = unsafe { std::mem::zeroed() };
    for (header, vector) in headers.iter_mut().zip(vectors) {
        header.msg_hdr.msg_iov = vector;
        header.msg_hdr.msg_iovlen = 1;
    }
    headers
}
