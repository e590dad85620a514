//! One socket, as `struct inet_diag_msg` has it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::ID;
use crate::netlink::find;

/// Bytes of `struct inet_diag_msg`.
const FIXED: usize = 72;
/// `INET_DIAG_MARK`.
const MARK: u16 = 15;

/// The states of TCP, by the kernel's numbers (include/net/tcp_states.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum TcpState {
    /// ESTABLISHED.
    Established = 1,
    /// SYN_SENT.
    SynSent = 2,
    /// SYN_RECV.
    SynReceived = 3,
    /// FIN_WAIT_1.
    FinWait1 = 4,
    /// FIN_WAIT_2, with or without a process.
    FinWait2 = 5,
    /// TIME_WAIT.
    TimeWait = 6,
    /// CLOSE.
    Close = 7,
    /// CLOSE_WAIT.
    CloseWait = 8,
    /// LAST_ACK.
    LastAck = 9,
    /// LISTEN.
    Listen = 10,
    /// CLOSING.
    Closing = 11,
    /// NEW_SYN_RECV: a handshake that has no socket yet.
    NewSynReceived = 12,
}

/// A set of states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct States(u32);

/// What a socket's timer waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Timer {
    /// Nothing.
    Off,
    /// An acknowledgement.
    Retransmission,
    /// The next keepalive, or the end of a FIN_WAIT_2 that is still a whole socket.
    Keepalive,
    /// The end of TIME_WAIT, or of a FIN_WAIT_2 without a socket.
    TimeWait,
    /// The next probe of a window of zero.
    Probe,
    /// Something newer than this.
    Other(u8),
}

/// One TCP socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpSocket {
    /// Its own end.
    pub local: SocketAddr,
    /// The other end; unspecified of a listener.
    pub remote: SocketAddr,
    /// Its state.
    pub state: TcpState,
    /// What its timer waits for.
    pub timer: Timer,
    /// The timer's time, milliseconds from [`read_ns`](Self::read_ns) on. It may stay 0 for a while: the timer is over, and the
    /// wheel has not come to it yet.
    pub expires_ms: u32,
    /// When the kernel told, [`clock::now_ns`](crate::clock::now_ns).
    pub read_ns: u64,
    /// The interface that it is bound to; 0 for any.
    pub interface: u32,
    /// The kernel's name for it, never given twice.
    pub cookie: u64,
    /// The user that owns it; 0 once nobody does.
    pub uid: u32,
    /// Its inode; 0 once it has none, as in TIME_WAIT.
    pub inode: u32,
    /// `SO_MARK`; only with privilege.
    pub mark: Option<u32>,
}

impl TcpState {
    /// As RFC 9293 spells it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Established => "ESTABLISHED",
            Self::SynSent => "SYN_SENT",
            Self::SynReceived => "SYN_RECV",
            Self::FinWait1 => "FIN_WAIT_1",
            Self::FinWait2 => "FIN_WAIT_2",
            Self::TimeWait => "TIME_WAIT",
            Self::Close => "CLOSE",
            Self::CloseWait => "CLOSE_WAIT",
            Self::LastAck => "LAST_ACK",
            Self::Listen => "LISTEN",
            Self::Closing => "CLOSING",
            Self::NewSynReceived => "NEW_SYN_RECV",
        }
    }

    const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Established,
            2 => Self::SynSent,
            3 => Self::SynReceived,
            4 => Self::FinWait1,
            5 => Self::FinWait2,
            6 => Self::TimeWait,
            7 => Self::Close,
            8 => Self::CloseWait,
            9 => Self::LastAck,
            10 => Self::Listen,
            11 => Self::Closing,
            12 => Self::NewSynReceived,
            _ => return None,
        })
    }
}

impl States {
    /// All of them.
    pub const ALL: Self = Self(0x1fff);
    /// TIME_WAIT and FIN_WAIT_2: what may have no process any more.
    pub const DEAD: Self = Self(1 << TcpState::TimeWait as u32 | 1 << TcpState::FinWait2 as u32);

    pub(super) const fn bits(self) -> u32 {
        self.0
    }
}

impl TcpSocket {
    /// Reads what follows the header of a netlink message that came at `read_ns`; `None` for what is none.
    pub(super) fn parse(payload: &[u8], read_ns: u64) -> Option<Self> {
        let fixed = payload.first_chunk::<FIXED>()?;
        let word = |at: usize| u32::from_ne_bytes([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]]);
        let end = |port: usize, address: usize| {
            let port = u16::from_be_bytes([fixed[port], fixed[port + 1]]);
            let bytes = fixed[address..].first_chunk::<16>()?;
            let address: IpAddr = match i32::from(fixed[0]) {
                libc::AF_INET => Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]).into(),
                libc::AF_INET6 => Ipv6Addr::from(*bytes).into(),
                _ => return None,
            };
            Some(SocketAddr::new(address, port))
        };
        let mark = find(payload.get(FIXED..).unwrap_or_default(), MARK);
        Some(Self {
            local: end(4, 8)?,
            remote: end(6, 24)?,
            state: TcpState::from_number(fixed[1])?,
            timer: Timer::from_number(fixed[2]),
            expires_ms: word(52),
            read_ns,
            interface: word(40),
            cookie: u64::from(word(44)) | u64::from(word(48)) << 32,
            uid: word(64),
            inode: word(68),
            mark: mark.and_then(|value| value.try_into().ok()).map(u32::from_ne_bytes),
        })
    }

    /// `struct inet_diag_sockid`.
    pub(super) fn id(&self) -> [u8; ID] {
        let mut id = [0; ID];
        id[0..2].copy_from_slice(&self.local.port().to_be_bytes());
        id[2..4].copy_from_slice(&self.remote.port().to_be_bytes());
        for (at, address) in [(4, self.local.ip()), (20, self.remote.ip())] {
            match address {
                IpAddr::V4(v4) => id[at..at + 4].copy_from_slice(&v4.octets()),
                IpAddr::V6(v6) => id[at..at + 16].copy_from_slice(&v6.octets()),
            }
        }
        id[36..40].copy_from_slice(&self.interface.to_ne_bytes());
        let halves = [self.cookie as u32, (self.cookie >> 32) as u32];
        id[40..44].copy_from_slice(&halves[0].to_ne_bytes());
        id[44..48].copy_from_slice(&halves[1].to_ne_bytes());
        id
    }
}

impl Timer {
    const fn from_number(number: u8) -> Self {
        match number {
            0 => Self::Off,
            1 => Self::Retransmission,
            2 => Self::Keepalive,
            3 => Self::TimeWait,
            4 => Self::Probe,
            other => Self::Other(other),
        }
    }
}
