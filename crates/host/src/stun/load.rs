//! Asks a STUN server as fast as it answers, and tells how fast that is.
//!
//! Each socket keeps a window of requests outstanding, sent and received in batches, so that one core asks faster than any
//! server on another core answers; or requests are sent when they are due, at a rate, and an answer's wait begins when its request
//! was due, whether it could be sent then or not. Every answer is looked at: its request must be outstanding, and the address in
//! it our own.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::ptr;
use std::time::{Duration, Instant};

use pinhole_stun::{AttributeType, Class, Message, Method, TransactionId, Writer, address};

/// Messages per system call.
const BATCH: usize = 64;
/// With no answer for so long, what is outstanding is lost and asked anew.
const LOST: Duration = Duration::from_millis(50);
/// Requests of a socket whose time is remembered: more than any window.
const REMEMBERED: usize = 8_192;
/// Room for an answer, in bytes.
const ANSWER: usize = 256;

/// What to ask.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Whom.
    pub server: SocketAddr,
    /// From how many sockets.
    pub sockets: usize,
    /// Requests outstanding per socket, at most 4,096.
    pub window: usize,
    /// Requests a second, whether they are answered or not; `None`: as fast as the windows allow.
    pub rate: Option<f64>,
    /// For how long.
    pub duration: Duration,
    /// Take the address in each answer for ours only if it is the socket's own: false behind a NAT.
    pub own_address: bool,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// Right answers.
    pub answers: u64,
    /// Answers to nothing, errors, and those with another address.
    pub wrong: u64,
    /// Requests without an answer.
    pub lost: u64,
    /// How long it took.
    pub elapsed: Duration,
    latency: Histogram,
}

impl Measured {
    /// Right answers per second.
    pub fn per_second(&self) -> f64 {
        self.answers as f64 / self.elapsed.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// The wait that this part (0 to 1) of all answers took at most, to an eighth.
    pub fn latency(&self, part: f64) -> Duration {
        self.latency.at(part)
    }
}

/// Asks.
///
/// # Errors
/// The kernel's, where a socket cannot be opened or the server's host refuses.
pub fn run(load: &Load) -> io::Result<Measured> {
    let mut clients: Vec<Client> =
        (0..load.sockets.max(1)).map(|index| Client::new(load, index)).collect::<Result<_, _>>()?;
    let mut measured = Measured::default();
    let start = Instant::now();
    let mut waited = start;
    let mut schedule = load.rate.map(|rate| Schedule { start, rate, next: 0 });
    loop {
        let now = Instant::now();
        if now.duration_since(start) >= load.duration {
            break;
        }
        let mut idle = true;
        for client in &mut clients {
            measured.lost += match &mut schedule {
                Some(schedule) => client.ask_on_time(schedule, now)?,
                None => client.ask(load.window.clamp(1, REMEMBERED / 2))?,
            };
            idle &= client.take(&mut measured)? == 0;
        }
        if !idle {
            waited = now;
        } else if now.duration_since(waited) > LOST {
            for client in &mut clients {
                measured.lost += client.forget();
            }
            waited = now;
        }
    }
    measured.elapsed = start.elapsed();
    if schedule.is_some() {
        // What is still under way is awaited: it was asked for within the time.
        let mut waited = Instant::now();
        while clients.iter().any(|client| client.outstanding > 0) && waited.elapsed() < LOST {
            for client in &mut clients {
                if client.take(&mut measured)? > 0 {
                    waited = Instant::now();
                }
            }
        }
        measured.lost += clients.iter_mut().map(Client::forget).sum::<u64>();
    }
    Ok(measured)
}

/// When requests are due.
struct Schedule {
    start: Instant,
    /// Per second.
    rate: f64,
    /// The number of the next one.
    next: u64,
}

impl Schedule {
    /// How many are due now.
    fn due(&self, now: Instant) -> usize {
        ((now.duration_since(self.start).as_secs_f64() * self.rate) as u64).saturating_sub(self.next) as usize
    }

    /// When this one of the next ones is due.
    fn at(&self, index: usize) -> Instant {
        self.start + Duration::from_secs_f64((self.next + index as u64) as f64 / self.rate)
    }
}

/// A request without an answer.
#[derive(Clone, Copy, Debug)]
struct Sent {
    number: u32,
    at: Instant,
    /// It has been given up; an answer is late and not wrong.
    lost: bool,
}

/// A connected socket with buffers.
struct Client {
    socket: UdpSocket,
    own: Option<SocketAddr>,
    /// The first bytes of its transaction ids.
    mark: [u8; 8],
    next: u32,
    outstanding: usize,
    /// The requests without an answer, by their number.
    sent: Vec<Option<Sent>>,
    requests: Box<[[u8; 20]; BATCH]>,
    answers: Box<[[u8; ANSWER]; BATCH]>,
}

impl Client {
    fn new(load: &Load, index: usize) -> io::Result<Self> {
        let any = if load.server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(any)?;
        socket.connect(load.server)?;
        socket.set_nonblocking(true)?;
        let mut mark = *b"pinhole\0";
        mark[7] = index as u8;
        let mut request = [0; 20];
        let mut id = [0; 12];
        id[..8].copy_from_slice(&mark);
        Writer::new(&mut request, Class::Request, Method::BINDING, TransactionId::new(id))
            .finish()
            .map_err(io::Error::other)?;
        Ok(Self {
            own: load.own_address.then(|| socket.local_addr()).transpose()?,
            socket,
            mark,
            next: 0,
            outstanding: 0,
            sent: vec![None; REMEMBERED],
            requests: Box::new([request; BATCH]),
            answers: Box::new([[0; ANSWER]; BATCH]),
        })
    }

    /// Sends requests until `window` are outstanding, at most one batch; how many that nobody answered were forgotten for it.
    fn ask(&mut self, window: usize) -> io::Result<u64> {
        let count = window.saturating_sub(self.outstanding).min(BATCH);
        // Half a batch at least: small calls would make the generator the slower side.
        if count < (BATCH.min(window) / 2).max(1) {
            return Ok(0);
        }
        let now = Instant::now();
        self.send(count, |_| now).map(|(_, lost)| lost)
    }

    /// Sends what is due, at most one batch; how many that nobody answered were forgotten for it.
    fn ask_on_time(&mut self, schedule: &mut Schedule, now: Instant) -> io::Result<u64> {
        let count = schedule.due(now).min(BATCH);
        if count == 0 {
            return Ok(0);
        }
        let (sent, lost) = self.send(count, |index| schedule.at(index))?;
        schedule.next += sent as u64;
        Ok(lost)
    }

    /// Sends some requests, whose waits begin `at` these moments: how many were sent, and how many were forgotten for it.
    fn send(&mut self, count: usize, at: impl Fn(usize) -> Instant) -> io::Result<(usize, u64)> {
        let mut vectors = [libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; BATCH];
        for (index, (vector, request)) in vectors.iter_mut().zip(self.requests.iter_mut()).enumerate().take(count) {
            request[16..].copy_from_slice(&self.next.wrapping_add(index as u32).to_be_bytes());
            *vector = libc::iovec { iov_base: request.as_mut_ptr().cast(), iov_len: request.len() };
        }
        let mut headers = headers(&mut vectors);
        // SAFETY: `count` headers point at vectors that point at requests; sendmmsg only reads them.
        let sent = unsafe {
            libc::sendmmsg(self.socket.as_raw_fd(), headers.as_mut_ptr(), count as libc::c_uint, libc::MSG_DONTWAIT)
        };
        let sent = match usize::try_from(sent) {
            Ok(sent) => sent,
            Err(_) if io::Error::last_os_error().kind() == io::ErrorKind::WouldBlock => 0,
            Err(_) => return Err(io::Error::last_os_error()),
        };
        let mut lost = 0;
        for index in 0..sent {
            let place = &mut self.sent[self.next as usize % REMEMBERED];
            let before = place.replace(Sent { number: self.next, at: at(index), lost: false });
            lost += u64::from(before.is_some_and(|before| !before.lost));
            self.next = self.next.wrapping_add(1);
        }
        self.outstanding = (self.outstanding + sent).saturating_sub(lost as usize);
        Ok((sent, lost))
    }

    /// Takes what has been answered.
    fn take(&mut self, measured: &mut Measured) -> io::Result<usize> {
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
        let now = Instant::now();
        for (header, answer) in headers.iter().zip(self.answers.iter()).take(received) {
            let bytes = &answer[..(header.msg_len as usize).min(ANSWER)];
            let number = number(bytes, &self.mark, self.own);
            let asked =
                number.and_then(|number| self.sent[number as usize % REMEMBERED].take_if(|sent| sent.number == number));
            match asked {
                Some(Sent { lost: true, .. }) => {}
                Some(Sent { at, lost: false, .. }) => {
                    measured.latency.add(now.duration_since(at));
                    measured.answers += 1;
                    self.outstanding = self.outstanding.saturating_sub(1);
                }
                None => measured.wrong += 1,
            }
        }
        Ok(received)
    }

    /// Gives up what is outstanding; how much that is.
    fn forget(&mut self) -> u64 {
        self.sent.iter_mut().flatten().for_each(|sent| sent.lost = true);
        std::mem::take(&mut self.outstanding) as u64
    }
}

/// The number of the request that this answers, if it is an answer with our address.
fn number(bytes: &[u8], mark: &[u8; 8], own: Option<SocketAddr>) -> Option<u32> {
    let message = Message::read(bytes).ok().filter(|message| message.class() == Class::Success)?;
    let id = message.transaction_id();
    let mapped = address::read_xor(message.value(AttributeType::XOR_MAPPED_ADDRESS)?, &id)?;
    let is_right = own.is_none_or(|own| own == mapped) && id.0[4..12] == *mark;
    is_right.then(|| u32::from_be_bytes([id.0[12], id.0[13], id.0[14], id.0[15]]))
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

/// Durations counted by their magnitude and the three bits below it.
#[derive(Clone, Debug)]
struct Histogram(Vec<u64>);

/// Counts per doubling.
const STEPS: u32 = 8;

impl Default for Histogram {
    fn default() -> Self {
        Self(vec![0; (64 * STEPS) as usize])
    }
}

impl Histogram {
    fn add(&mut self, duration: Duration) {
        let nanos = (duration.as_nanos() as u64).max(u64::from(STEPS));
        let magnitude = nanos.ilog2();
        let below = (nanos >> (magnitude - STEPS.ilog2())) as u32 - STEPS;
        self.0[(magnitude * STEPS + below) as usize] += 1;
    }

    fn at(&self, part: f64) -> Duration {
        let all: u64 = self.0.iter().sum();
        let mut left = (all as f64 * part).ceil() as u64;
        for (index, count) in (0_u32..).zip(&self.0) {
            left = left.saturating_sub(*count);
            if left == 0 && *count > 0 {
                let (magnitude, below) = (index / STEPS, index % STEPS);
                return Duration::from_nanos(u64::from(STEPS + below + 1) << (magnitude - STEPS.ilog2()));
            }
        }
        Duration::ZERO
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_histogram_is_right_to_an_eighth() {
        let mut histogram = Histogram::default();
        (1..=1_000).for_each(|micros| histogram.add(Duration::from_micros(micros)));
        for (part, micros) in [(0.01, 10.0), (0.5, 500.0), (0.99, 990.0), (1.0, 1_000.0)] {
            let found = histogram.at(part).as_secs_f64() * 1e6;
            assert!(found >= micros && found <= micros * 1.13, "{part}: {found}");
        }
        assert_eq!(Histogram::default().at(0.5), Duration::ZERO);
    }
}
