//! Rules as sequences of expressions, the kernel's register machine (include/uapi/linux/netfilter/nf_tables.h).
//!
//! A match loads something into a register and compares; the rule ends at the first comparison that fails. A verdict is an
//! immediate value for the verdict register.

use std::net::IpAddr;

use crate::netlink::{Message, find};

const LIST_ELEMENT: u16 = 1;
const EXPRESSION_NAME: u16 = 1;
const EXPRESSION_DATA: u16 = 2;
const DATA_VALUE: u16 = 1;
const DATA_VERDICT: u16 = 2;
const VERDICT_CODE: u16 = 1;
const META_DESTINATION: u16 = 1;
const META_KEY: u16 = 2;
const META_INPUT_NAME: u32 = 6;
const META_OUTPUT_NAME: u32 = 7;
const META_PROTOCOL: u32 = 16;
const CT_DESTINATION: u16 = 1;
const CT_KEY: u16 = 2;
const CT_STATE: u32 = 0;
const CMP_SOURCE: u16 = 1;
const CMP_OPERATION: u16 = 2;
const CMP_DATA: u16 = 3;
const EQUAL: u32 = 0;
const NOT_EQUAL: u32 = 1;
const BITWISE_SOURCE: u16 = 1;
const BITWISE_DESTINATION: u16 = 2;
const BITWISE_LENGTH: u16 = 3;
const BITWISE_MASK: u16 = 4;
const BITWISE_XOR: u16 = 5;
const PAYLOAD_DESTINATION: u16 = 1;
const PAYLOAD_BASE: u16 = 2;
const PAYLOAD_OFFSET: u16 = 3;
const PAYLOAD_LENGTH: u16 = 4;
const PAYLOAD_SOURCE: u16 = 5;
const PAYLOAD_SUM_KIND: u16 = 6;
const PAYLOAD_SUM_OFFSET: u16 = 7;
/// `NFT_PAYLOAD_CSUM_INET`: the sum of the Internet protocols, kept right as the bytes change.
const INTERNET_SUM: u32 = 1;
const IMMEDIATE_DESTINATION: u16 = 1;
const IMMEDIATE_DATA: u16 = 2;
const MASQUERADE_FLAGS: u16 = 1;
const MASQUERADE_FIRST: u16 = 2;
const MASQUERADE_LAST: u16 = 3;
/// `NF_NAT_RANGE_PROTO_SPECIFIED` and `NF_NAT_RANGE_PROTO_RANDOM_FULLY` (include/uapi/linux/netfilter/nf_nat.h).
const SPECIFIED: u32 = 2;
const RANDOM_FULLY: u32 = 16;
const COUNTER_BYTES: u16 = 1;
const COUNTER_PACKETS: u16 = 2;
const REGISTER_VERDICT: u32 = 0;
const REGISTER_1: u32 = 1;
const REGISTER_2: u32 = 2;
/// `NFTNL_UDATA_RULE_COMMENT` and `NFTNL_UDATA_TABLE_COMMENT`: the kind of user data that `nft` shows as a comment.
const COMMENT: u8 = 0;
/// With its closing NUL, `nft` takes no longer one.
const COMMENT_BYTES: usize = 128;
/// `IFNAMSIZ`: interface names are compared with their padding.
const NAME_SIZE: usize = 16;

/// A rule: matches, then what to do. Read it as the line that `nft list ruleset` prints.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    expressions: Vec<Expression>,
    comment: Option<String>,
}

/// How a masquerade picks the outside port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ports {
    /// The inside port if it is free: endpoint-independent in practice.
    Kept,
    /// Random for every flow (`fully-random`): endpoint-dependent.
    Random,
    /// One from a range: the same as long as the inside socket has another flow, so endpoint-independent, but another than
    /// inside.
    Range {
        /// The lowest.
        first: u16,
        /// The highest.
        last: u16,
    },
}

/// Connection tracking states, as bits (`NF_CT_STATE_BIT`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Part of a flow seen in both directions.
    Established = 2,
    /// Begins a flow that another one announced, or is an ICMP error about one.
    Related = 4,
    /// Begins a flow.
    New = 8,
}

/// A field of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Field {
    /// `NFT_PAYLOAD_NETWORK_HEADER` or `NFT_PAYLOAD_TRANSPORT_HEADER`.
    base: u32,
    offset: u32,
    length: u32,
}

impl Field {
    const UDP_SOURCE: Self = Self { base: 2, offset: 0, length: 2 };
    const UDP_DESTINATION: Self = Self { base: 2, offset: 2, length: 2 };
    const UDP_SUM: Self = Self { base: 2, offset: 6, length: 2 };

    const fn source(address: &IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self { base: 1, offset: 12, length: 4 },
            IpAddr::V6(_) => Self { base: 1, offset: 8, length: 16 },
        }
    }

    const fn destination(address: &IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self { base: 1, offset: 16, length: 4 },
            IpAddr::V6(_) => Self { base: 1, offset: 24, length: 16 },
        }
    }
}

/// What becomes of the UDP checksum when a port is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sum {
    Corrected,
    /// It is zero, "none", and stays so.
    Absent,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Expression {
    Meta(u32),
    Payload(Field),
    WritePort(Field, Sum),
    ConntrackState,
    Mask(u32),
    Compare(u32, Vec<u8>),
    Counter,
    Load(u32, u16),
    Masquerade(Ports),
    Verdict(u32),
}

impl Rule {
    /// A rule that matches everything and does nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Only packets that came in through the interface called `name`.
    #[must_use]
    pub fn input_interface(self, name: &str) -> Self {
        self.with(Expression::Meta(META_INPUT_NAME)).with(Expression::Compare(EQUAL, padded(name)))
    }

    /// Only packets that leave through the interface called `name`.
    #[must_use]
    pub fn output_interface(self, name: &str) -> Self {
        self.with(Expression::Meta(META_OUTPUT_NAME)).with(Expression::Compare(EQUAL, padded(name)))
    }

    /// Only packets of flows in one of `states`.
    #[must_use]
    pub fn state(self, states: &[State]) -> Self {
        let mask = states.iter().fold(0, |mask, &state| mask | state as u32);
        let zero = 0u32.to_ne_bytes().to_vec();
        self.with(Expression::ConntrackState).with(Expression::Mask(mask)).with(Expression::Compare(NOT_EQUAL, zero))
    }

    /// Only UDP.
    #[must_use]
    pub fn udp(self) -> Self {
        const UDP: u8 = 17;
        self.with(Expression::Meta(META_PROTOCOL)).with(Expression::Compare(EQUAL, vec![UDP]))
    }

    /// Only packets from `address`, which is of the table's family.
    #[must_use]
    pub fn from_address(self, address: IpAddr) -> Self {
        self.field(Field::source(&address), octets(address))
    }

    /// Only packets to `address`, which is of the table's family.
    #[must_use]
    pub fn to_address(self, address: IpAddr) -> Self {
        self.field(Field::destination(&address), octets(address))
    }

    /// Only packets from `port`; after [`udp`](Self::udp).
    #[must_use]
    pub fn from_port(self, port: u16) -> Self {
        self.field(Field::UDP_SOURCE, port.to_be_bytes().to_vec())
    }

    /// Only packets to `port`; after [`udp`](Self::udp).
    #[must_use]
    pub fn to_port(self, port: u16) -> Self {
        self.field(Field::UDP_DESTINATION, port.to_be_bytes().to_vec())
    }

    /// Count the packets that get here.
    #[must_use]
    pub fn counter(self) -> Self {
        self.with(Expression::Counter)
    }

    /// Let the packet pass.
    #[must_use]
    pub fn accept(self) -> Self {
        self.with(Expression::Verdict(1))
    }

    /// Drop the packet silently.
    #[must_use]
    pub fn drop(self) -> Self {
        self.with(Expression::Verdict(0))
    }

    /// Translate the source to the address of the interface it leaves through.
    #[must_use]
    pub fn masquerade(self, ports: Ports) -> Self {
        match ports {
            Ports::Kept | Ports::Random => self,
            Ports::Range { first, last } => {
                self.with(Expression::Load(REGISTER_1, first)).with(Expression::Load(REGISTER_2, last))
            }
        }
        .with(Expression::Masquerade(ports))
    }

    /// Write another source port into the packet; after [`udp`](Self::udp). Nothing is tracked.
    #[must_use]
    pub fn set_source_port(self, port: u16) -> Self {
        self.write_port(Field::UDP_SOURCE, port, Sum::Corrected)
    }

    /// Write another destination port into the packet; after [`udp`](Self::udp). Nothing is tracked.
    #[must_use]
    pub fn set_destination_port(self, port: u16) -> Self {
        self.write_port(Field::UDP_DESTINATION, port, Sum::Corrected)
    }

    /// A comment, for whoever lists the rule; at most 127 bytes.
    #[must_use]
    pub fn comment(self, text: impl Into<String>) -> Self {
        Self { comment: Some(text.into()), ..self }
    }

    /// The same rule for those of its packets that have no UDP checksum, which must not get half of one.
    #[must_use]
    pub fn without_sum(mut self) -> Self {
        let acts =
            |one: &Expression| matches!(one, Expression::Counter | Expression::Load(..) | Expression::WritePort(..));
        let at = self.expressions.iter().position(acts).unwrap_or(self.expressions.len());
        let is_absent = [Expression::Payload(Field::UDP_SUM), Expression::Compare(EQUAL, vec![0, 0])];
        self.expressions.splice(at..at, is_absent);
        for expression in &mut self.expressions {
            if let Expression::WritePort(_, sum) = expression {
                *sum = Sum::Absent;
            }
        }
        self
    }

    pub(super) fn said(&self) -> Option<&str> {
        self.comment.as_deref()
    }

    pub(super) fn write(&self, message: Message) -> Message {
        let element = |m: Message, expression: &Expression| m.nest(LIST_ELEMENT, |m| expression.write(m));
        self.expressions.iter().fold(message, element)
    }

    fn field(self, field: Field, value: Vec<u8>) -> Self {
        self.with(Expression::Payload(field)).with(Expression::Compare(EQUAL, value))
    }

    fn write_port(self, field: Field, port: u16, sum: Sum) -> Self {
        self.with(Expression::Load(REGISTER_1, port)).with(Expression::WritePort(field, sum))
    }

    fn with(mut self, expression: Expression) -> Self {
        self.expressions.push(expression);
        self
    }
}

impl Expression {
    fn write(&self, message: Message) -> Message {
        let named = |name: &str| message.attr_str(EXPRESSION_NAME, name);
        match self {
            Self::Meta(key) => named("meta")
                .nest(EXPRESSION_DATA, |m| m.attr_be32(META_KEY, *key).attr_be32(META_DESTINATION, REGISTER_1)),
            Self::Payload(field) => {
                named("payload").nest(EXPRESSION_DATA, |m| field.write(m.attr_be32(PAYLOAD_DESTINATION, REGISTER_1)))
            }
            Self::WritePort(field, sum) => named("payload").nest(EXPRESSION_DATA, |m| {
                let m = field.write(m.attr_be32(PAYLOAD_SOURCE, REGISTER_1));
                match sum {
                    Sum::Corrected => {
                        m.attr_be32(PAYLOAD_SUM_KIND, INTERNET_SUM).attr_be32(PAYLOAD_SUM_OFFSET, Field::UDP_SUM.offset)
                    }
                    Sum::Absent => m,
                }
            }),
            Self::ConntrackState => named("ct")
                .nest(EXPRESSION_DATA, |m| m.attr_be32(CT_KEY, CT_STATE).attr_be32(CT_DESTINATION, REGISTER_1)),
            Self::Mask(mask) => named("bitwise").nest(EXPRESSION_DATA, |m| {
                m.attr_be32(BITWISE_SOURCE, REGISTER_1)
                    .attr_be32(BITWISE_DESTINATION, REGISTER_1)
                    .attr_be32(BITWISE_LENGTH, 4)
                    .nest(BITWISE_MASK, |m| m.attr_u32(DATA_VALUE, *mask))
                    .nest(BITWISE_XOR, |m| m.attr_u32(DATA_VALUE, 0))
            }),
            Self::Compare(operation, value) => named("cmp").nest(EXPRESSION_DATA, |m| {
                m.attr_be32(CMP_SOURCE, REGISTER_1)
                    .attr_be32(CMP_OPERATION, *operation)
                    .nest(CMP_DATA, |m| m.attr(DATA_VALUE, value))
            }),
            Self::Counter => named("counter").nest(EXPRESSION_DATA, |m| m),
            Self::Load(register, port) => named("immediate").nest(EXPRESSION_DATA, |m| {
                m.attr_be32(IMMEDIATE_DESTINATION, *register)
                    .nest(IMMEDIATE_DATA, |m| m.attr(DATA_VALUE, &port.to_be_bytes()))
            }),
            Self::Masquerade(ports) => named("masq").nest(EXPRESSION_DATA, |m| match ports {
                Ports::Kept => m,
                Ports::Random => m.attr_be32(MASQUERADE_FLAGS, RANDOM_FULLY),
                Ports::Range { .. } => m
                    .attr_be32(MASQUERADE_FLAGS, SPECIFIED)
                    .attr_be32(MASQUERADE_FIRST, REGISTER_1)
                    .attr_be32(MASQUERADE_LAST, REGISTER_2),
            }),
            Self::Verdict(code) => named("immediate").nest(EXPRESSION_DATA, |m| {
                m.attr_be32(IMMEDIATE_DESTINATION, REGISTER_VERDICT)
                    .nest(IMMEDIATE_DATA, |m| m.nest(DATA_VERDICT, |m| m.attr_be32(VERDICT_CODE, *code)))
            }),
        }
    }
}

impl Field {
    fn write(self, message: Message) -> Message {
        message
            .attr_be32(PAYLOAD_BASE, self.base)
            .attr_be32(PAYLOAD_OFFSET, self.offset)
            .attr_be32(PAYLOAD_LENGTH, self.length)
    }
}

/// A comment as `nft` keeps it in user data: kind, length, text with NUL.
pub(super) fn comment(text: &str) -> Vec<u8> {
    let mut end = text.len().min(COMMENT_BYTES - 1);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let mut data = vec![COMMENT, (end + 1) as u8];
    data.extend(&text.as_bytes()[..end]);
    data.push(0);
    data
}

/// The comment in user data.
pub(super) fn parse_comment(mut data: &[u8]) -> Option<String> {
    while let [kind, length, rest @ ..] = data {
        let (value, next) = rest.split_at_checked((*length).into())?;
        if *kind == COMMENT {
            return Some(super::listed::text(value));
        }
        data = next;
    }
    None
}

/// Packets and bytes, if `element` (the inside of a list element) is a counter.
pub(super) fn parse_counter(element: &[u8]) -> Option<(u64, u64)> {
    let name = find(element, EXPRESSION_NAME)?;
    let data = find(element, EXPRESSION_DATA).filter(|_| name == b"counter\0")?;
    let number = |kind| Some(u64::from_be_bytes(find(data, kind)?.try_into().ok()?));
    Some((number(COUNTER_PACKETS)?, number(COUNTER_BYTES)?))
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// An interface name as the kernel keeps it; one that is too long matches nothing.
fn padded(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.truncate(NAME_SIZE);
    bytes.resize(NAME_SIZE, 0);
    bytes
}
