//! The kernel's connection tracking table, as a witness: what a NAT mapped to what, and how much went through
//! (include/uapi/linux/netfilter/nfnetlink_conntrack.h).
//!
//! Counters are there when `net.netfilter.nf_conntrack_acct` was on before the flow began. Reading and deleting only:
//! entries are made by packets.

use std::net::{IpAddr, SocketAddr};

use super::{Error, Message, Protocol, Reply, Socket, find};

/// `NFNL_SUBSYS_CTNETLINK << 8`.
const SUBSYSTEM: u16 = 1 << 8;
const NEW: u16 = SUBSYSTEM;
const GET: u16 = SUBSYSTEM | 1;
const DELETE: u16 = SUBSYSTEM | 2;
/// Bytes of `struct nfgenmsg`.
const FIXED: usize = 4;

const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const STATUS: u16 = 3;
const TIMEOUT: u16 = 7;
const COUNTERS_ORIGINAL: u16 = 9;
const COUNTERS_REPLY: u16 = 10;
const ID: u16 = 12;

const TUPLE_IP: u16 = 1;
const TUPLE_PROTO: u16 = 2;
const IP_V4_SOURCE: u16 = 1;
const IP_V4_DESTINATION: u16 = 2;
const IP_V6_SOURCE: u16 = 3;
const IP_V6_DESTINATION: u16 = 4;
const PROTO_NUMBER: u16 = 1;
const PROTO_SOURCE_PORT: u16 = 2;
const PROTO_DESTINATION_PORT: u16 = 3;
const COUNTER_PACKETS: u16 = 1;
const COUNTER_BYTES: u16 = 2;

/// Multicast groups of new, changed and ended entries, as a bit mask.
const GROUP_NEW: u32 = 1;
const GROUP_DESTROY: u32 = 4;

/// One direction of a flow. Ports are zero where the protocol has none (ICMP).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tuple {
    /// `IPPROTO_*`.
    pub protocol: u8,
    /// Who sends.
    pub source: SocketAddr,
    /// To whom.
    pub destination: SocketAddr,
}

/// What went through in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets.
    pub packets: u64,
    /// Bytes of IP packets.
    pub bytes: u64,
}

/// A tracked flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// As the first packet came: before address translation.
    pub original: Tuple,
    /// As answers are expected: its destination is the source address after translation.
    pub reply: Tuple,
    /// `IPS_*` bits.
    pub status: u32,
    /// Seconds until the entry ends if nothing comes; `None` for one that has ended.
    pub timeout_s: Option<u32>,
    /// What the initiator sent, if counted.
    pub sent: Option<Counters>,
    /// What came back, if counted.
    pub received: Option<Counters>,
    /// The kernel's number of the entry.
    pub id: u32,
}

impl Entry {
    /// Whether a packet has come back (`IPS_SEEN_REPLY`).
    pub fn is_answered(&self) -> bool {
        self.status & 2 != 0
    }

    /// The source address and port that the outside sees.
    pub fn mapped(&self) -> SocketAddr {
        self.reply.destination
    }

    /// Whether its source is translated.
    pub fn is_source_translated(&self) -> bool {
        self.original.source != self.reply.destination
    }

    fn parse(reply: &Reply) -> Option<Self> {
        let (mut original, mut back) = (None, None);
        let (mut sent, mut received) = (None, None);
        let (mut status, mut timeout_s, mut id) = (0, None, 0);
        for (kind, value) in reply.attributes(FIXED) {
            match kind {
                TUPLE_ORIGINAL => original = tuple(value),
                TUPLE_REPLY => back = tuple(value),
                STATUS => status = be32(value)?,
                TIMEOUT => timeout_s = be32(value),
                COUNTERS_ORIGINAL => sent = counters(value),
                COUNTERS_REPLY => received = counters(value),
                ID => id = be32(value)?,
                _ => {}
            }
        }
        Some(Self { original: original?, reply: back?, status, timeout_s, sent, received, id })
    }
}

/// Every entry of this network namespace, both families.
///
/// # Errors
/// The kernel's refusal; an operation that is not supported means that it has no ctnetlink.
pub fn list() -> Result<Vec<Entry>, Error> {
    let replies = Socket::open(Protocol::Netfilter)?.dump(message(GET, 0))?;
    Ok(replies.iter().filter_map(Entry::parse).collect())
}

/// Deletes every entry of this network namespace: each NAT in it forgets its mappings.
///
/// # Errors
/// The kernel's refusal.
pub fn flush() -> Result<(), Error> {
    Socket::open(Protocol::Netfilter)?.request(message(DELETE, 0)).map(drop)
}

/// Deletes the entry whose original direction is `original`.
///
/// # Errors
/// Not found ([`Error::is_not_found`]) when there is none.
pub fn delete(original: &Tuple) -> Result<(), Error> {
    let family = if original.source.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 } as u8;
    let message = message(DELETE, family).nest(TUPLE_ORIGINAL, |m| write_tuple(m, original));
    Socket::open(Protocol::Netfilter)?.request(message).map(drop)
}

/// A flow that began or ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The kernel confirmed its first packet.
    New(Entry),
    /// It is gone, with the final counters.
    Ended(Entry),
}

/// Flows as they begin and end, in the network namespace it was opened in.
#[derive(Debug)]
pub struct Events {
    socket: Socket,
}

impl Events {
    /// Starts listening.
    ///
    /// # Errors
    /// As [`Socket::open`].
    pub fn open() -> Result<Self, Error> {
        Ok(Self { socket: Socket::open_with_groups(Protocol::Netfilter, GROUP_NEW | GROUP_DESTROY)? })
    }

    /// Waits for the next events; poll the descriptor first where waiting is not wanted.
    ///
    /// # Errors
    /// [`Error::Overrun`] when some were lost.
    pub fn receive(&mut self) -> Result<Vec<Event>, Error> {
        let event = |reply: &Reply| match reply.kind {
            NEW => Entry::parse(reply).map(Event::New),
            DELETE => Entry::parse(reply).map(Event::Ended),
            _ => None,
        };
        Ok(self.socket.receive()?.iter().filter_map(event).collect())
    }
}

impl std::os::fd::AsFd for Events {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// `struct nfgenmsg`: family, version 0, resource 0.
fn message(kind: u16, family: u8) -> Message {
    Message::new(kind, 0).fixed(&[family, 0, 0, 0])
}

fn tuple(value: &[u8]) -> Option<Tuple> {
    let ips = find(value, TUPLE_IP)?;
    let proto = find(value, TUPLE_PROTO)?;
    let address = |v4: u16, v6: u16| {
        let v4 = find(ips, v4).and_then(|v| <[u8; 4]>::try_from(v).ok()).map(IpAddr::from);
        v4.or_else(|| find(ips, v6).and_then(|v| <[u8; 16]>::try_from(v).ok()).map(IpAddr::from))
    };
    let port = |kind: u16| find(proto, kind).and_then(|v| Some(u16::from_be_bytes(v.try_into().ok()?))).unwrap_or(0);
    let source = SocketAddr::new(address(IP_V4_SOURCE, IP_V6_SOURCE)?, port(PROTO_SOURCE_PORT));
    let destination = SocketAddr::new(address(IP_V4_DESTINATION, IP_V6_DESTINATION)?, port(PROTO_DESTINATION_PORT));
    Some(Tuple { protocol: *find(proto, PROTO_NUMBER)?.first()?, source, destination })
}

fn write_tuple(message: Message, tuple: &Tuple) -> Message {
    let addresses = |m: Message| match (tuple.source.ip(), tuple.destination.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            m.attr(IP_V4_SOURCE, &source.octets()).attr(IP_V4_DESTINATION, &destination.octets())
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            m.attr(IP_V6_SOURCE, &source.octets()).attr(IP_V6_DESTINATION, &destination.octets())
        }
        // Left without addresses: the kernel refuses a tuple of two families.
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => m,
    };
    message.nest(TUPLE_IP, addresses).nest(TUPLE_PROTO, |m| {
        m.attr_u8(PROTO_NUMBER, tuple.protocol)
            .attr(PROTO_SOURCE_PORT, &tuple.source.port().to_be_bytes())
            .attr(PROTO_DESTINATION_PORT, &tuple.destination.port().to_be_bytes())
    })
}

fn counters(value: &[u8]) -> Option<Counters> {
    let be64 = |kind| Some(u64::from_be_bytes(find(value, kind)?.try_into().ok()?));
    Some(Counters { packets: be64(COUNTER_PACKETS)?, bytes: be64(COUNTER_BYTES)? })
}

fn be32(value: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(value.try_into().ok()?))
}
