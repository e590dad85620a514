//! Rules as sequences of expressions, the kernel's register machine (include/uapi/linux/netfilter/nf_tables.h).
//!
//! A match loads something into a register and compares; the rule ends at the first comparison that fails. A verdict is an
//! immediate value for the verdict register.

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
/// `IFNAMSIZ`: interface names are compared with their padding.
const NAME_SIZE: usize = 16;

/// A rule: matches, then what to do. Read it as the line that `nft list ruleset` prints.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    expressions: Vec<Expression>,
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

#[derive(Clone, Debug, PartialEq, Eq)]
enum Expression {
    Meta(u32),
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

    pub(super) fn write(&self, message: Message) -> Message {
        let element = |m: Message, expression: &Expression| m.nest(LIST_ELEMENT, |m| expression.write(m));
        self.expressions.iter().fold(message, element)
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

/// Packets and bytes, if `element` (the inside of a list element) is a counter.
pub(super) fn parse_counter(element: &[u8]) -> Option<(u64, u64)> {
    let name = find(element, EXPRESSION_NAME)?;
    let data = find(element, EXPRESSION_DATA).filter(|_| name == b"counter\0")?;
    let number = |kind| Some(u64::from_be_bytes(find(data, kind)?.try_into().ok()?));
    Some((number(COUNTER_PACKETS)?, number(COUNTER_BYTES)?))
}

/// An interface name as the kernel keeps it; one that is too long matches nothing.
fn padded(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.truncate(NAME_SIZE);
    bytes.resize(NAME_SIZE, 0);
    bytes
}
