//! An entry of the flow table as anyone may see it, whatever table it came from: plain data, of either address family.

use core::fmt;
use core::net::{IpAddr, SocketAddr};
use core::str::FromStr;

use pinhole_wire::Protocol;

use crate::status::Status;
use crate::tuple::{Address, DCCP, GRE, SCTP, Tuple, UDP_LITE};

/// One direction of a flow; the fields are those of [`Tuple`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TupleView {
    /// Who sends.
    pub src: IpAddr,
    /// To whom.
    pub dst: IpAddr,
    /// The source port, ICMP identifier or source key.
    pub src_id: u16,
    /// The destination port, ICMP type and code, or destination key.
    pub dst_id: u16,
    /// The IP protocol number.
    pub protocol: u8,
}

impl<A: Address> From<Tuple<A>> for TupleView {
    fn from(tuple: Tuple<A>) -> Self {
        let Tuple { src, dst, src_id, dst_id, protocol } = tuple;
        Self { src: src.into(), dst: dst.into(), src_id, dst_id, protocol }
    }
}

impl TupleView {
    /// Whether the two fields are ports.
    pub const fn has_ports(&self) -> bool {
        matches!(self.protocol, 6 | 17 | DCCP | SCTP | UDP_LITE)
    }

    /// Whether this is ICMP or ICMPv6.
    pub const fn is_icmp(&self) -> bool {
        matches!(self.protocol, 1 | 58)
    }
}

impl fmt::Display for TupleView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let &Self { src, dst, src_id, dst_id, protocol } = self;
        if self.has_ports() {
            let [src, dst] = [(src, src_id), (dst, dst_id)].map(SocketAddr::from);
            write!(f, "{src} > {dst} {}", Protocol::from(protocol))
        } else if self.is_icmp() {
            let name = Protocol::from(protocol);
            write!(f, "{src} > {dst} {name} type {} code {} id {src_id}", dst_id >> 8, dst_id & 0xff)
        } else if protocol == GRE {
            write!(f, "{src} > {dst} gre {src_id:#x} {dst_id:#x}")
        } else {
            write!(f, "{src} > {dst} {}", Protocol::from(protocol))
        }
    }
}

impl FromStr for TupleView {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        let [src, ">", dst, rest @ ..] = words.as_slice() else { return Err(()) };
        let end = |word: &str| {
            let bare = || word.parse().map(|address: IpAddr| SocketAddr::new(address, 0));
            word.parse::<SocketAddr>().or_else(|_| bare()).map_err(|_| ())
        };
        let (src, dst) = (end(src)?, end(dst)?);
        let (protocol, src_id, dst_id) = match *rest {
            ["tcp"] => (6, src.port(), dst.port()),
            ["udp"] => (17, src.port(), dst.port()),
            [name @ ("icmp" | "icmp6"), "type", message, "code", code, "id", id] => {
                let protocol = if name == "icmp" { 1 } else { 58 };
                let (message, code): (u8, u8) = (number(message)?, number(code)?);
                (protocol, number(id)?, u16::from(message) << 8 | u16::from(code))
            }
            ["gre", src_key, dst_key] => (GRE, number(src_key)?, number(dst_key)?),
            ["proto", protocol] => (number(protocol)?, src.port(), dst.port()),
            _ => return Err(()),
        };
        Ok(Self { src: src.ip(), dst: dst.ip(), src_id, dst_id, protocol })
    }
}

/// A number, decimal or with `0x`.
pub(super) fn number<N: TryFrom<u64>>(word: &str) -> Result<N, ()> {
    let value = match word.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => word.parse(),
    };
    value.ok().and_then(|value| N::try_from(value).ok()).ok_or(())
}

/// What a table knows of a flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryView {
    /// As the first packet came.
    pub original: TupleView,
    /// As answers are expected.
    pub reply: TupleView,
    /// What is known of it.
    pub status: Status,
    /// Seconds until it ends if nothing comes, rounded down.
    pub timeout_s: u32,
    /// What the protocol's tracker knows, if it has a state.
    pub protocol: Option<ProtocolView>,
    /// The mark.
    pub mark: u32,
    /// The helper, if it has one.
    pub helper: Option<String>,
    /// The zones of the original and the reply tuple.
    pub zones: [u16; 2],
}

impl EntryView {
    /// Its place in a listing that is in order.
    pub fn place(&self) -> (TupleView, [u16; 2]) {
        (self.original, self.zones)
    }
}

/// The state of a protocol's tracker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtocolView {
    /// TCP.
    Tcp {
        /// The place in [`TCP_STATES`](Self::TCP_STATES).
        state: u8,
        /// The original side, and the reply side.
        sides: [TcpSide; 2],
    },
    /// SCTP.
    Sctp {
        /// The place in [`SCTP_STATES`](Self::SCTP_STATES).
        state: u8,
        /// The verification tags of both directions.
        tags: [u32; 2],
    },
}

impl ProtocolView {
    /// The states of TCP, by number (`enum tcp_conntrack`).
    pub const TCP_STATES: [&'static str; 10] = [
        "NONE",
        "SYN_SENT",
        "SYN_RECV",
        "ESTABLISHED",
        "FIN_WAIT",
        "CLOSE_WAIT",
        "LAST_ACK",
        "TIME_WAIT",
        "CLOSE",
        "SYN_SENT2",
    ];
    /// The states of SCTP, by number (`enum sctp_conntrack`).
    pub const SCTP_STATES: [&'static str; 9] = [
        "NONE",
        "CLOSED",
        "COOKIE_WAIT",
        "COOKIE_ECHOED",
        "ESTABLISHED",
        "SHUTDOWN_SENT",
        "SHUTDOWN_RECD",
        "SHUTDOWN_ACK_SENT",
        "HEARTBEAT_SENT",
    ];

    /// The protocol's name and the state's number.
    pub const fn state(&self) -> (&'static str, u8) {
        match *self {
            Self::Tcp { state, .. } => ("tcp", state),
            Self::Sctp { state, .. } => ("sctp", state),
        }
    }

    /// The name of a state.
    pub fn state_name((protocol, state): (&'static str, u8)) -> &'static str {
        let names: &[&str] = if protocol == "tcp" { &Self::TCP_STATES } else { &Self::SCTP_STATES };
        names.get(usize::from(state)).copied().unwrap_or("UNKNOWN")
    }

    /// The state that these words name.
    pub fn state_named(protocol: &str, name: &str) -> Option<(&'static str, u8)> {
        let (protocol, names): (_, &[&str]) = match protocol {
            "tcp" => ("tcp", &Self::TCP_STATES),
            "sctp" => ("sctp", &Self::SCTP_STATES),
            _ => return None,
        };
        Some((protocol, u8::try_from(names.iter().position(|known| *known == name)?).ok()?))
    }
}

/// What TCP's tracker knows of one side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpSide {
    /// The window scale.
    pub scale: u8,
    /// `IP_CT_TCP_FLAG_*` (`include/uapi/linux/netfilter/nf_conntrack_tcp.h`).
    pub flags: u8,
    /// The window, if the table shows it: end, highest allowed end, largest window, highest acknowledgment.
    pub window: Option<[u32; 4]>,
}
