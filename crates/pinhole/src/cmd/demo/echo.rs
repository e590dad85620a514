//! Echoes through the tunnel, with the means every host has: UDP.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use pinhole_netns::Host;

/// Bytes of an echo: large enough that no keepalive, question or answer is mistaken for one, small enough for any tunnel.
pub(super) const SIZE: usize = 1_000;

/// Answers echoes on a host for as long as this process lives.
#[derive(Debug)]
pub(super) struct Server {
    address: SocketAddr,
}

impl Server {
    /// Starts to answer on `address` of `host`.
    pub(super) fn start(host: &Host, address: Ipv4Addr) -> Result<Self> {
        let socket = host.run(|| UdpSocket::bind((address, 0)))?;
        let socket = socket.with_context(|| format!("{} has no tunnel address {address}", host.name()))?;
        let address = socket.local_addr()?;
        let answer = move || {
            let mut buffer = [0; 2 * SIZE];
            loop {
                // A refusal of an earlier answer is an error here and no reason to stop.
                let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
                let _ = socket.send_to(&buffer[..length], from);
            }
        };
        std::thread::Builder::new().name("echo".into()).spawn(answer).context("cannot start a thread")?;
        Ok(Self { address })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

/// What came of some echoes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Echoes {
    /// How many were sent.
    pub(super) sent: u16,
    /// The round trips of those that came back, shortest first.
    pub(super) round_trips: Vec<Duration>,
}

/// Sends `count` echoes from `host`, each after the answer to the last or after `patience`. Asks after each whether to
/// `go_on`; none when not.
pub(super) fn measure(
    host: &Host,
    server: SocketAddr,
    count: u16,
    patience: Duration,
    go_on: &mut dyn FnMut() -> Result<bool>,
) -> Result<Option<Echoes>> {
    let socket = host.run(|| UdpSocket::bind("0.0.0.0:0"))??;
    let mut round_trips = Vec::new();
    for number in 0..count {
        let start = Instant::now();
        // A tunnel that has just lost its peer refuses: a lost echo.
        let _ = socket.send_to(&message(number), server);
        round_trips.extend(answer(&socket, number, start + patience)?.map(|at| at.duration_since(start)));
        if !go_on()? {
            return Ok(None);
        }
    }
    round_trips.sort_unstable();
    Ok(Some(Echoes { sent: count, round_trips }))
}

/// When the answer with this number came, if before `deadline`.
fn answer(socket: &UdpSocket, number: u16, deadline: Instant) -> Result<Option<Instant>> {
    let mut buffer = [0; 2 * SIZE];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        socket.set_read_timeout(Some(left))?;
        // A late answer to an earlier echo is not this one's.
        if socket.recv(&mut buffer).is_ok_and(|length| buffer[..length] == message(number)) {
            return Ok(Some(Instant::now()));
        }
    }
}

fn message(number: u16) -> [u8; SIZE] {
    let mut message = [0; SIZE];
    message[..2].copy_from_slice(&number.to_be_bytes());
    message
}
