//! Policy routing rules: which table decides about which packet (include/uapi/linux/fib_rules.h).

use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use super::link::text;
use super::u32_in;
use crate::netlink::{Error, Message, Reply, Socket};

/// Bytes of `struct fib_rule_hdr`.
const FIXED: usize = 12;
const CREATE: u16 = (libc::NLM_F_CREATE | libc::NLM_F_EXCL) as u16;
/// `FR_ACT_TO_TBL`: ask a table.
const TO_TABLE: u8 = 1;
/// `FIB_RULE_INVERT`: the rule is for packets that do not match.
const INVERT: u32 = 2;
/// `FRA_*`.
const DESTINATION: u16 = 1;
const INPUT: u16 = 3;
const PRIORITY: u16 = 6;
const FWMARK: u16 = 10;
const SUPPRESS_PREFIX_LENGTH: u16 = 14;
const TABLE: u16 = 15;
const ORIGIN: u16 = 21;
const PROTOCOL: u16 = 22;
const DESTINATION_PORTS: u16 = 24;

/// "Such packets ask that table."
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Rule {
    /// For IPv6 rather than IPv4.
    pub ipv6: bool,
    /// Only packets with this mark; all if `None`.
    pub mark: Option<u32>,
    /// Only packets that do *not* match.
    pub not: bool,
    /// Only packets that came in by the interface of this name; `lo` for what this host sends.
    pub input: Option<String>,
    /// Only packets to this address.
    pub to: Option<Ipv4Addr>,
    /// Only packets of this IP protocol.
    pub protocol: Option<u8>,
    /// Only packets to these ports, of a protocol that has ports. Since Linux 4.17; fragments have no ports.
    pub to_ports: Option<RangeInclusive<u16>>,
    /// Who made it (`RTPROT_*`), if that is known; 2 is the kernel itself, which made the rules that every namespace begins with.
    pub origin: Option<u8>,
    /// The table to ask.
    pub table: u32,
    /// Take no answer whose prefix is this long or shorter: 0 ignores the table's default route.
    pub suppress_prefix_length: Option<u32>,
    /// The smaller, the earlier; `None` puts it before those that are there.
    pub priority: Option<u32>,
}

impl Rule {
    /// The table `table` decides about all packets.
    pub fn table(table: u32) -> Self {
        Self {
            ipv6: false,
            mark: None,
            not: false,
            input: None,
            to: None,
            protocol: None,
            to_ports: None,
            origin: None,
            table,
            suppress_prefix_length: None,
            priority: None,
        }
    }

    fn parse(reply: &Reply) -> Option<Self> {
        let fixed = reply.fixed::<FIXED>()?;
        let not = u32_in(&fixed[8..12])? & INVERT != 0;
        let ipv6 = i32::from(fixed[0]) == libc::AF_INET6;
        let mut rule = Self { ipv6, not, priority: Some(0), ..Self::table(u32::from(fixed[4])) };
        for (kind, value) in reply.attributes(FIXED) {
            match kind {
                TABLE => rule.table = u32_in(value)?,
                INPUT => rule.input = Some(text(value)),
                DESTINATION if fixed[1] == 32 => rule.to = <[u8; 4]>::try_from(value).ok().map(Ipv4Addr::from),
                PROTOCOL => rule.protocol = value.first().copied(),
                ORIGIN => rule.origin = value.first().copied().filter(|&origin| origin != 0),
                DESTINATION_PORTS => {
                    if let &[a, b, c, d] = value {
                        rule.to_ports = Some(u16::from_ne_bytes([a, b])..=u16::from_ne_bytes([c, d]));
                    }
                }
                FWMARK => rule.mark = u32_in(value),
                PRIORITY => rule.priority = u32_in(value),
                SUPPRESS_PREFIX_LENGTH => {
                    rule.suppress_prefix_length = u32_in(value).filter(|&length| length != u32::MAX);
                }
                _ => {}
            }
        }
        Some(rule)
    }
}

/// Every rule of both families.
///
/// # Errors
/// `EOPNOTSUPP` when the kernel has no policy routing.
pub fn list(socket: &mut Socket) -> Result<Vec<Rule>, Error> {
    let replies = socket.dump(Message::new(libc::RTM_GETRULE, 0).fixed(&[0; FIXED]))?;
    Ok(replies.iter().filter_map(Rule::parse).collect())
}

/// Adds a rule.
///
/// # Errors
/// [`Error::is_exists`] when it is there; `EOPNOTSUPP` when the kernel has no policy routing.
pub fn add(socket: &mut Socket, rule: &Rule) -> Result<(), Error> {
    socket.request(message(libc::RTM_NEWRULE, CREATE, rule)).map(drop)
}

/// Removes a rule.
///
/// # Errors
/// Not found ([`Error::is_not_found`]) when it is not there.
pub fn delete(socket: &mut Socket, rule: &Rule) -> Result<(), Error> {
    socket.request(message(libc::RTM_DELRULE, 0, rule)).map(drop)
}

fn message(kind: u16, request: u16, rule: &Rule) -> Message {
    let mut fixed = [0; FIXED];
    fixed[0] = if rule.ipv6 { libc::AF_INET6 as u8 } else { libc::AF_INET as u8 };
    fixed[1] = if rule.to.is_some() { 32 } else { 0 };
    fixed[4] = u8::try_from(rule.table).unwrap_or(0);
    fixed[7] = TO_TABLE;
    fixed[8..12].copy_from_slice(&if rule.not { INVERT } else { 0 }.to_ne_bytes());
    let mut message = Message::new(kind, request).fixed(&fixed).attr_u32(TABLE, rule.table);
    if let Some(mark) = rule.mark {
        message = message.attr_u32(FWMARK, mark);
    }
    if let Some(name) = &rule.input {
        message = message.attr_str(INPUT, name);
    }
    if let Some(to) = rule.to {
        message = message.attr(DESTINATION, &to.octets());
    }
    if let Some(protocol) = rule.protocol {
        message = message.attr(PROTOCOL, &[protocol]);
    }
    if let Some(ports) = &rule.to_ports {
        let [a, b] = ports.start().to_ne_bytes();
        let [c, d] = ports.end().to_ne_bytes();
        message = message.attr(DESTINATION_PORTS, &[a, b, c, d]);
    }
    if let Some(origin) = rule.origin {
        message = message.attr(ORIGIN, &[origin]);
    }
    if let Some(length) = rule.suppress_prefix_length {
        message = message.attr_u32(SUPPRESS_PREFIX_LENGTH, length);
    }
    if let Some(priority) = rule.priority {
        message = message.attr_u32(PRIORITY, priority);
    }
    message
}
