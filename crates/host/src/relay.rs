//! The relay of a registry: for each pair that has no direct path two ports, and what one of the two sends to its port leaves by
//! the other's.
//!
//! WireGuard is relayed as it is, encrypted from end to end, by nothing but its endpoint. A lane lets in the two addresses that
//! the registry sees its peers at, and nobody else; it learns their ports from what they send, a port anew only from a
//! handshake. It forwards nothing but WireGuard's messages, one for one, so nothing is amplified, and has a quota.
//!
//! Not here: who may have a lane.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Mutex;
use std::time::Duration;

use pinhole_wire::wireguard::{Kind, Packet};
use tokio::net::UdpSocket;
use tokio::time::Instant;

use crate::raw::OPENER_PAYLOAD;

/// A lane that carried nothing for so long is closed. WireGuard's keepalives, 25 s apart, keep it.
pub const IDLE: Duration = Duration::from_secs(180);
/// Bytes of the longest datagram: a WireGuard message over an Ethernet of jumbo frames.
const LONGEST: usize = 9_216;
/// How many bytes may come in a burst: this many seconds of the rate.
const BURST_SECONDS: u64 = 2;

/// A lane that is open.
#[derive(Debug)]
pub struct Lane {
    sockets: [UdpSocket; 2],
    idle: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    ips: [IpAddr; 2],
    /// Where each of the two was last heard.
    ends: [Option<SocketAddr>; 2],
    quota: Quota,
    used: Instant,
    counts: Counts,
}

/// What a lane has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Packets forwarded.
    pub forwarded: u64,
    /// Bytes forwarded.
    pub bytes: u64,
    /// Packets from strangers, or that are not WireGuard's.
    pub refused: u64,
    /// Packets over the quota.
    pub over_quota: u64,
}

/// Bytes that may be forwarded.
#[derive(Debug)]
struct Quota {
    bytes_per_second: u64,
    left: u64,
    filled: Instant,
}

impl Lane {
    /// Opens one at two ports of every address of this host, for two that come from these addresses, with this quota in bytes a
    /// second; 0 is unlimited.
    ///
    /// # Errors
    /// `AddrInUse` if somebody has one of the ports; no descriptors.
    ///
    /// # Panics
    /// Outside of a runtime.
    pub fn open(ports: [u16; 2], ips: [IpAddr; 2], bytes_per_second: u64) -> io::Result<Self> {
        // The one with port `n` is talked to by the peer `n`.
        let sockets = [bind(ports[0], ips[0])?, bind(ports[1], ips[1])?];
        let now = Instant::now();
        let quota = Quota { bytes_per_second, left: bytes_per_second * BURST_SECONDS, filled: now };
        let state = State { ips, ends: [None; 2], quota, used: now, counts: Counts::default() };
        Ok(Self { sockets, idle: IDLE, state: Mutex::new(state) })
    }

    /// Lets the two in from these addresses from now on.
    pub fn admit(&self, ips: [IpAddr; 2]) {
        let mut state = self.state();
        for (end, _) in state.ends.iter_mut().zip(ips).filter(|(end, ip)| end.is_some_and(|end| end.ip() != *ip)) {
            *end = None;
        }
        state.ips = ips;
    }

    /// What it has done so far.
    pub fn counts(&self) -> Counts {
        self.state().counts
    }

    /// Forwards until nobody has used it for [`IDLE`]. Can be dropped.
    pub async fn run(&self) {
        let mut buffers = [[0; LONGEST]; 2];
        let [ref mut first, ref mut second] = buffers;
        tokio::select! {
            () = self.forward(0, first) => {}
            () = self.forward(1, second) => {}
            () = self.is_idle() => {}
        }
    }

    async fn is_idle(&self) {
        loop {
            let end = self.state().used + self.idle;
            if end <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(end).await;
        }
    }

    /// Carries what comes from one of the two to the other.
    async fn forward(&self, from: usize, buffer: &mut [u8]) {
        loop {
            // What an earlier packet met on its way (an ICMP error) ends nothing.
            let Ok((length, source)) = self.sockets[from].recv_from(buffer).await else { continue };
            let to = self.state().take(from, canonical(source), &buffer[..length]);
            if let Some(to) = to {
                // A full queue loses packets, as any link does.
                let _ = self.sockets[1 - from].try_send_to(&buffer[..length], to);
            }
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl State {
    /// Where this datagram goes, if anywhere.
    fn take(&mut self, from: usize, source: SocketAddr, bytes: &[u8]) -> Option<SocketAddr> {
        let kind = Packet::new_checked(bytes).ok().map(|message| message.kind());
        if source.ip() != self.ips[from] || kind.is_none() && bytes != OPENER_PAYLOAD {
            self.counts.refused += 1;
            return None;
        }
        // Whoever moves begins with a handshake, and nobody takes an end over with anything less.
        let begins = matches!(kind, Some(Kind::HandshakeInitiation | Kind::HandshakeResponse) | None);
        if self.ends[from].is_none() || begins {
            self.ends[from] = Some(source);
        }
        if self.ends[from] != Some(source) {
            self.counts.refused += 1;
            return None;
        }
        let now = Instant::now();
        let to = kind.and(self.ends[1 - from])?;
        if !self.quota.take(now, bytes.len()) {
            self.counts.over_quota += 1;
            return None;
        }
        self.used = now;
        self.counts.forwarded += 1;
        self.counts.bytes += bytes.len() as u64;
        Some(to)
    }
}

impl Quota {
    fn take(&mut self, now: Instant, bytes: usize) -> bool {
        if self.bytes_per_second == 0 {
            return true;
        }
        let elapsed = now.duration_since(self.filled);
        let new =
            (elapsed.as_micros() * u128::from(self.bytes_per_second) / 1_000_000).min(u128::from(u64::MAX)) as u64;
        if new > 0 {
            self.left = self.left.saturating_add(new).min(self.bytes_per_second.saturating_mul(BURST_SECONDS));
            self.filled = now;
        }
        let enough = self.left >= bytes as u64;
        if enough {
            self.left -= bytes as u64;
        }
        enough
    }
}

fn bind(port: u16, toward: IpAddr) -> io::Result<UdpSocket> {
    let any: IpAddr = match toward {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = std::net::UdpSocket::bind(SocketAddr::new(any, port))?;
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket)
}

fn canonical(source: SocketAddr) -> SocketAddr {
    SocketAddr::new(source.ip().to_canonical(), source.port())
}

#[cfg(test)]
mod tests;
