//! Entries of the kernel's table, by lookup: a listing goes through the tables of all namespaces, a lookup costs
//! microseconds (include/uapi/linux/netfilter/nfnetlink_conntrack.h).

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use pinhole_host::netlink::{Message, Protocol, Reply, Socket, find};
use pinhole_netfilter::script::{EntryView, ExpectationView, ProtocolView, TcpSide, TupleView, older};
use pinhole_netfilter::{Direction, Status};

use super::OracleError;

/// `NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET`.
const GET: u16 = 1 << 8 | 1;
const NEW: u16 = 1 << 8;
const DELETE: u16 = 1 << 8 | 2;
/// `IPCTNL_MSG_CT_GET_STATS`, and how many entries the namespace has.
const GET_STATS: u16 = 1 << 8 | 5;
const STATS_ENTRIES: u16 = 1;
/// `NFNL_SUBSYS_CTNETLINK_EXP << 8 | IPCTNL_MSG_EXP_GET`.
const GET_EXPECTATIONS: u16 = 2 << 8 | 1;
/// Bytes of `struct nfgenmsg`.
const FIXED: usize = 4;

const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const STATUS: u16 = 3;
const PROTOINFO: u16 = 4;
const HELP: u16 = 5;
const TIMEOUT: u16 = 7;
const MARK: u16 = 8;
const ZONE: u16 = 18;
const TUPLE_ZONE: u16 = 3;

const EXPECT_MASTER: u16 = 1;
const EXPECT_TUPLE: u16 = 2;
const EXPECT_MASK: u16 = 3;
const EXPECT_TIMEOUT: u16 = 4;
const EXPECT_HELPER: u16 = 6;
const EXPECT_FLAGS: u16 = 8;
const EXPECT_CLASS: u16 = 9;
const EXPECT_NAT: u16 = 10;
const EXPECT_NAT_DIRECTION: u16 = 1;
const EXPECT_NAT_TUPLE: u16 = 2;

const TUPLE_IP: u16 = 1;
const TUPLE_PROTO: u16 = 2;
const IP_V4: [u16; 2] = [1, 2];
const IP_V6: [u16; 2] = [3, 4];
const PROTO_NUMBER: u16 = 1;
const PROTO_PORTS: [u16; 2] = [2, 3];
/// Identifier, type and code, of ICMP and ICMPv6.
const PROTO_ICMP: [[u16; 3]; 2] = [[4, 5, 6], [7, 8, 9]];

const PROTOINFO_TCP: u16 = 1;
const PROTOINFO_SCTP: u16 = 3;
const STATE: u16 = 1;
const TCP_SCALES: [u16; 2] = [2, 3];
const TCP_FLAGS: [u16; 2] = [4, 5];
const SCTP_TAGS: [u16; 2] = [2, 3];
const HELP_NAME: u16 = 1;

/// Asks for entries.
#[derive(Debug)]
pub(super) struct Entries {
    socket: Socket,
    /// Every entry that was found, by its original tuple and the zone of that: a flush goes through the tables of all namespaces, which takes
    /// milliseconds, and deleting these few does not.
    found: BTreeSet<(TupleView, u16)>,
}

impl Entries {
    /// Of the calling thread's namespace.
    pub(super) fn open() -> Result<Self, OracleError> {
        let socket = Socket::open(Protocol::Netfilter).map_err(|error| OracleError::new("opening ctnetlink", error))?;
        Ok(Self { socket, found: BTreeSet::new() })
    }

    /// The entry that has `tuple` in either direction, in a zone.
    pub(super) fn find(&mut self, tuple: &TupleView, zone: u16) -> Result<Option<EntryView>, OracleError> {
        let message = message(GET, tuple).nest(TUPLE_ORIGINAL, |message| write_tuple(message, tuple));
        let message = message.attr(ZONE, &zone.to_be_bytes());
        match self.socket.request(message) {
            Ok(replies) => {
                let entry = replies.iter().find_map(read);
                self.found.extend(entry.iter().map(|entry| (entry.original, entry.zones[0])));
                Ok(entry)
            }
            Err(error) if error.is_not_found() => Ok(None),
            // The kernel does not know the type of this ICMP message.
            Err(error) if error.errno() == Some(libc::EINVAL) => Ok(None),
            Err(error) => Err(OracleError::new(format!("looking up {tuple}"), error)),
        }
    }

    /// All entries of the namespace, in order.
    pub(super) fn all(&mut self) -> Result<Vec<EntryView>, OracleError> {
        let failed = |error| OracleError::new("listing the table", error);
        let replies = self.socket.dump(Message::new(GET, 0).fixed(&[0; FIXED])).map_err(failed)?;
        let mut all: Vec<EntryView> = replies.iter().filter_map(read).collect();
        all.sort_by_key(EntryView::place);
        Ok(all)
    }

    /// Takes so many seconds from what each entry of the namespace has left; what had no more is deleted.
    pub(super) fn age(&mut self, seconds: u32) -> Result<(), OracleError> {
        for entry in self.all()? {
            let (tuple, left) = (entry.original, older(Duration::from_secs(entry.timeout_s.into()), seconds));
            let kind = if left.is_some() { NEW } else { DELETE };
            let message = message(kind, &tuple).nest(TUPLE_ORIGINAL, |message| write_tuple(message, &tuple));
            let message = message.attr(ZONE, &entry.zones[0].to_be_bytes());
            let message = left.map_or(message.clone(), |left| message.attr_be32(TIMEOUT, left.as_secs() as u32));
            match self.socket.request(message) {
                Ok(_) => {}
                // It has ended meanwhile, by itself or with its master.
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(OracleError::new(format!("aging {tuple}"), error)),
            }
        }
        Ok(())
    }

    /// All that is expected in the namespace, in order.
    pub(super) fn expectations(&mut self) -> Result<Vec<ExpectationView>, OracleError> {
        let failed = |error| OracleError::new("listing what is expected", error);
        let replies = self.socket.dump(Message::new(GET_EXPECTATIONS, 0).fixed(&[0; FIXED])).map_err(failed)?;
        let mut all: Vec<ExpectationView> = replies.iter().filter_map(read_expectation).collect();
        all.sort_unstable();
        Ok(all)
    }

    /// Deletes all.
    pub(super) fn flush(&mut self) -> Result<(), OracleError> {
        let failed = |error| OracleError::new("flushing the table", error);
        for (tuple, zone) in std::mem::take(&mut self.found) {
            let message = message(DELETE, &tuple).nest(TUPLE_ORIGINAL, |message| write_tuple(message, &tuple));
            let message = message.attr(ZONE, &zone.to_be_bytes());
            // One that has ended since is as good as deleted; whatever else is left is counted below.
            let _ = self.socket.request(message);
        }
        let replies = self.socket.request(Message::new(GET_STATS, 0).fixed(&[0; FIXED])).map_err(failed)?;
        let count = |reply: &Reply| {
            let count = find(reply.payload.get(FIXED..)?, STATS_ENTRIES)?;
            Some(u32::from_be_bytes(count.try_into().ok()?))
        };
        if replies.iter().find_map(count) == Some(0) {
            return Ok(());
        }
        self.socket.request(Message::new(DELETE, 0).fixed(&[0; FIXED])).map(drop).map_err(failed)
    }
}

/// `struct nfgenmsg`: the family of the tuple, version 0, resource 0.
fn message(kind: u16, tuple: &TupleView) -> Message {
    let family = if tuple.src.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 } as u8;
    Message::new(kind, 0).fixed(&[family, 0, 0, 0])
}

fn write_tuple(message: Message, tuple: &TupleView) -> Message {
    let addresses = |message: Message| match (tuple.src, tuple.dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => message.attr(IP_V4[0], &src.octets()).attr(IP_V4[1], &dst.octets()),
        (IpAddr::V6(src), IpAddr::V6(dst)) => message.attr(IP_V6[0], &src.octets()).attr(IP_V6[1], &dst.octets()),
        // Left without addresses: the kernel refuses a tuple of two families.
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => message,
    };
    let [src_id, dst_id] = [tuple.src_id, tuple.dst_id].map(u16::to_be_bytes);
    message.nest(TUPLE_IP, addresses).nest(TUPLE_PROTO, |message| {
        let message = message.attr_u8(PROTO_NUMBER, tuple.protocol);
        if tuple.is_icmp() {
            let [id, message_type, code] = PROTO_ICMP[usize::from(tuple.src.is_ipv6())];
            message.attr(id, &src_id).attr_u8(message_type, dst_id[0]).attr_u8(code, dst_id[1])
        } else {
            message.attr(PROTO_PORTS[0], &src_id).attr(PROTO_PORTS[1], &dst_id)
        }
    })
}

fn read(reply: &Reply) -> Option<EntryView> {
    let all = reply.payload.get(FIXED..)?;
    let be32 = |kind: u16| Some(u32::from_be_bytes(find(all, kind)?.try_into().ok()?));
    Some(EntryView {
        original: read_tuple(find(all, TUPLE_ORIGINAL)?)?,
        reply: read_tuple(find(all, TUPLE_REPLY)?)?,
        status: Status(be32(STATUS)? as u16),
        timeout_s: be32(TIMEOUT).unwrap_or(0),
        protocol: find(all, PROTOINFO).and_then(read_protocol),
        mark: be32(MARK).unwrap_or(0),
        helper: find(all, HELP).and_then(|help| find(help, HELP_NAME)).map(read_name),
        zones: [TUPLE_ORIGINAL, TUPLE_REPLY].map(|tuple| {
            let zone = find(all, ZONE).or_else(|| find(find(all, tuple)?, TUPLE_ZONE));
            zone.and_then(|zone| Some(u16::from_be_bytes(zone.try_into().ok()?))).unwrap_or(0)
        }),
    })
}

fn read_expectation(reply: &Reply) -> Option<ExpectationView> {
    let all = reply.payload.get(FIXED..)?;
    let be32 = |of: &[u8], kind: u16| Some(u32::from_be_bytes(find(of, kind)?.try_into().ok()?));
    let mask = read_tuple(find(all, EXPECT_MASK)?)?;
    let nat = find(all, EXPECT_NAT).and_then(|nat| {
        let direction = if be32(nat, EXPECT_NAT_DIRECTION)? == 0 { Direction::Original } else { Direction::Reply };
        let tuple = read_tuple(find(nat, EXPECT_NAT_TUPLE)?)?;
        Some((direction, tuple.src, tuple.src_id))
    });
    Some(ExpectationView {
        master: read_tuple(find(all, EXPECT_MASTER)?)?,
        tuple: read_tuple(find(all, EXPECT_TUPLE)?)?,
        mask: (mask.src, mask.src_id),
        timeout_s: be32(all, EXPECT_TIMEOUT)?,
        helper: find(all, EXPECT_HELPER).map(read_name),
        class: be32(all, EXPECT_CLASS)? as u8,
        flags: be32(all, EXPECT_FLAGS)? as u8,
        nat,
    })
}

fn read_name(name: &[u8]) -> String {
    String::from_utf8_lossy(name.strip_suffix(&[0]).unwrap_or(name)).into_owned()
}

fn read_tuple(value: &[u8]) -> Option<TupleView> {
    let (ips, proto) = (find(value, TUPLE_IP)?, find(value, TUPLE_PROTO)?);
    let address = |place: usize| {
        let v4 = find(ips, IP_V4[place]).and_then(|octets| <[u8; 4]>::try_from(octets).ok()).map(IpAddr::from);
        v4.or_else(|| find(ips, IP_V6[place]).and_then(|octets| <[u8; 16]>::try_from(octets).ok()).map(IpAddr::from))
    };
    let half = |kind: u16| find(proto, kind).and_then(|half| Some(u16::from_be_bytes(half.try_into().ok()?)));
    let octet = |kind: u16| find(proto, kind).and_then(|octet| octet.first().copied());
    let icmp = PROTO_ICMP.into_iter().find_map(|[id, message_type, code]| {
        Some((half(id)?, u16::from(octet(message_type)?) << 8 | u16::from(octet(code)?)))
    });
    let ports = || (half(PROTO_PORTS[0]).unwrap_or(0), half(PROTO_PORTS[1]).unwrap_or(0));
    let (src_id, dst_id) = icmp.unwrap_or_else(ports);
    Some(TupleView { src: address(0)?, dst: address(1)?, src_id, dst_id, protocol: octet(PROTO_NUMBER)? })
}

fn read_protocol(value: &[u8]) -> Option<ProtocolView> {
    let octet = |value: &[u8], kind: u16| find(value, kind).and_then(|octets| octets.first().copied());
    if let Some(tcp) = find(value, PROTOINFO_TCP) {
        let side = |place: usize| TcpSide {
            scale: octet(tcp, TCP_SCALES[place]).unwrap_or(0),
            flags: octet(tcp, TCP_FLAGS[place]).unwrap_or(0),
            window: None,
        };
        return Some(ProtocolView::Tcp { state: octet(tcp, STATE)?, sides: [side(0), side(1)] });
    }
    let sctp = find(value, PROTOINFO_SCTP)?;
    let tag = |kind: u16| find(sctp, kind).and_then(|tag| Some(u32::from_be_bytes(tag.try_into().ok()?))).unwrap_or(0);
    Some(ProtocolView::Sctp { state: octet(sctp, STATE)?, tags: SCTP_TAGS.map(tag) })
}
