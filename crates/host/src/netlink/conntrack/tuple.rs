//! A tuple: what names one direction of a flow (`enum ctattr_tuple`).

use std::net::{IpAddr, SocketAddr};

use super::be16;
use crate::netlink::{Message, attributes, find};

const IP: u16 = 1;
const PROTO: u16 = 2;
const ZONE: u16 = 3;

const IP_V4_SOURCE: u16 = 1;
const IP_V4_DESTINATION: u16 = 2;
const IP_V6_SOURCE: u16 = 3;
const IP_V6_DESTINATION: u16 = 4;

const PROTO_NUMBER: u16 = 1;
const PROTO_SOURCE_PORT: u16 = 2;
const PROTO_DESTINATION_PORT: u16 = 3;
/// Of ICMP; those of ICMPv6 are three further.
const PROTO_ICMP_ID: u16 = 4;
const PROTO_ICMP_TYPE: u16 = 5;
const PROTO_ICMP_CODE: u16 = 6;
const PROTO_ICMPV6_ID: u16 = 7;
const PROTO_ICMPV6_TYPE: u16 = 8;
const PROTO_ICMPV6_CODE: u16 = 9;

/// One direction of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tuple {
    /// `IPPROTO_*`.
    pub protocol: u8,
    /// Who sends. The port is zero where the protocol has none, and the key with GRE.
    pub source: SocketAddr,
    /// To whom.
    pub destination: SocketAddr,
    /// What ICMP and ICMPv6 have instead of ports.
    pub icmp: Option<Icmp>,
    /// The zone, where it is that of this direction alone; see [`Entry::zone`](super::Entry::zone).
    pub zone: Option<u16>,
}

/// What names an ICMP query.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Icmp {
    /// The message's type.
    pub kind: u8,
    /// Its code.
    pub code: u8,
    /// Its identifier.
    pub id: u16,
}

impl Tuple {
    /// A direction of a flow with ports, in the default zone.
    pub fn new(protocol: u8, source: SocketAddr, destination: SocketAddr) -> Self {
        Self { protocol, source, destination, icmp: None, zone: None }
    }

    /// Whether the protocol has ports: TCP, UDP, DCCP, SCTP, UDP-Lite.
    pub fn has_ports(&self) -> bool {
        [6, 17, 33, 132, 136].contains(&self.protocol)
    }

    /// `AF_INET` or `AF_INET6`.
    pub fn family(&self) -> u8 {
        (if self.source.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 }) as u8
    }

    pub(super) fn parse(value: &[u8]) -> Option<Self> {
        let ips = find(value, IP)?;
        let address = |v4: u16, v6: u16| {
            let v4 = find(ips, v4).and_then(|v| <[u8; 4]>::try_from(v).ok()).map(IpAddr::from);
            v4.or_else(|| find(ips, v6).and_then(|v| <[u8; 16]>::try_from(v).ok()).map(IpAddr::from))
        };
        let (source, destination) =
            (address(IP_V4_SOURCE, IP_V6_SOURCE)?, address(IP_V4_DESTINATION, IP_V6_DESTINATION)?);
        let (mut number, mut ports, mut icmp) = (None, [0; 2], None::<Icmp>);
        let mut query = Icmp { kind: 0, code: 0, id: 0 };
        for (kind, value) in attributes(find(value, PROTO)?) {
            match kind {
                PROTO_NUMBER => number = value.first().copied(),
                PROTO_SOURCE_PORT => ports[0] = be16(value)?,
                PROTO_DESTINATION_PORT => ports[1] = be16(value)?,
                PROTO_ICMP_ID | PROTO_ICMPV6_ID => query.id = be16(value)?,
                PROTO_ICMP_TYPE | PROTO_ICMPV6_TYPE => query.kind = *value.first()?,
                PROTO_ICMP_CODE | PROTO_ICMPV6_CODE => query.code = *value.first()?,
                _ => continue,
            }
            if (PROTO_ICMP_ID..=PROTO_ICMPV6_CODE).contains(&kind) {
                icmp = Some(query);
            }
        }
        Some(Self {
            protocol: number?,
            source: SocketAddr::new(source, ports[0]),
            destination: SocketAddr::new(destination, ports[1]),
            icmp,
            zone: find(value, ZONE).and_then(be16),
        })
    }

    /// Appends what [`parse`](Self::parse) reads.
    pub(super) fn write(&self, message: Message) -> Message {
        let addresses = |m: Message| match (self.source.ip(), self.destination.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                m.attr(IP_V4_SOURCE, &source.octets()).attr(IP_V4_DESTINATION, &destination.octets())
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                m.attr(IP_V6_SOURCE, &source.octets()).attr(IP_V6_DESTINATION, &destination.octets())
            }
            // Left without addresses: the kernel refuses a tuple of two families.
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => m,
        };
        let ends = |m: Message| match self.icmp {
            Some(icmp) => {
                let [id, kind, code] = if self.source.is_ipv4() {
                    [PROTO_ICMP_ID, PROTO_ICMP_TYPE, PROTO_ICMP_CODE]
                } else {
                    [PROTO_ICMPV6_ID, PROTO_ICMPV6_TYPE, PROTO_ICMPV6_CODE]
                };
                m.attr(id, &icmp.id.to_be_bytes()).attr_u8(kind, icmp.kind).attr_u8(code, icmp.code)
            }
            None => m
                .attr(PROTO_SOURCE_PORT, &self.source.port().to_be_bytes())
                .attr(PROTO_DESTINATION_PORT, &self.destination.port().to_be_bytes()),
        };
        let message = message.nest(IP, addresses).nest(PROTO, |m| ends(m.attr_u8(PROTO_NUMBER, self.protocol)));
        match self.zone {
            Some(zone) => message.attr(ZONE, &zone.to_be_bytes()),
            None => message,
        }
    }
}
