//! A rule as the kernel keeps it, and what a packet of which not all is known meets in it
//! (include/uapi/linux/netfilter/nf_tables.h).

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// Bits of `ct state` (`NF_CT_STATE_BIT`).
pub(super) const ESTABLISHED: u32 = 2;
pub(super) const NEW: u32 = 8;

/// `IPPROTO_UDP`.
const UDP: u8 = 17;
/// `NFPROTO_*`.
const INET: u8 = 1;
pub(super) const IPV4: u8 = 2;

/// The packet, as far as it is known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packet<'a> {
    pub(super) interface: &'a str,
    /// Its number; 0, which none has, if there is no such interface.
    pub(super) index: u32,
    pub(super) own: Option<Ipv4Addr>,
    pub(super) port: u16,
    /// Its bit of `ct state`.
    pub(super) state: u32,
}

/// A part of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Expression {
    /// Loads a field, if that is one that is known, into a register.
    Load { register: u32, what: Field },
    /// Compares a register.
    Compare { register: u32, operation: u32, value: Vec<u8> },
    /// Whether a register is in a range.
    Range { register: u32, outside: bool, from: Vec<u8>, to: Vec<u8> },
    /// Masks a register into another one.
    Mask { from: u32, to: u32, mask: Vec<u8>, xor: Vec<u8> },
    /// Whether a register is in a set; what a map makes of it.
    Lookup { register: u32, inverted: bool, to: Option<u32>, set: Set },
    /// Says what becomes of the packet.
    Decide(Verdict<String>),
    /// Translates, on the way out.
    Translate,
    /// Counts, logs, marks: nothing that matters here.
    Nothing,
    /// May match or not.
    Unknown,
}

/// A field of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Interface,
    /// The number of the interface.
    Index,
    NetworkProtocol,
    TransportProtocol,
    /// A part of the network header: from here, so long.
    Network(u32, u32),
    /// A part of the transport header.
    Transport(u32, u32),
    State,
    /// `pkttype`.
    Kind,
    Unknown,
}

/// A member of a set, and what a verdict map says of it.
pub(super) type Member = (Vec<u8>, Option<Verdict<String>>);

/// The members of a set, as far as they could be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Set {
    /// `None` if they could not be, or are intervals.
    pub(super) members: Option<Vec<Member>>,
}

/// What a rule says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict<Name> {
    Continue,
    Accept,
    Drop,
    Return,
    Jump(Name),
    Goto(Name),
    Unknown,
}

/// Whether a rule matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Match {
    Yes,
    Maybe,
    No,
}

impl Expression {
    pub(super) fn translates(&self) -> bool {
        *self == Self::Translate
    }
}

/// The name of a family as nft writes it.
pub(super) const fn family(number: u8) -> &'static str {
    match number {
        INET => "inet",
        IPV4 => "ip",
        _ => "?",
    }
}

/// Whether `rule` matches, and what it says then.
pub(super) fn evaluate<'a>(rule: &'a [Expression], packet: &Packet<'_>) -> (Match, Verdict<&'a String>) {
    let state = packet.state.to_ne_bytes().to_vec();
    let mut registers: BTreeMap<u32, Vec<u8>> = BTreeMap::from([(super::read::STATE, state)]);
    let mut matches = Match::Yes;
    for expression in rule {
        let fits = match expression {
            Expression::Load { register, what } => {
                match packet.field(*what) {
                    Some(value) => registers.insert(*register, value),
                    None => registers.remove(register),
                };
                Some(true)
            }
            Expression::Compare { register, operation, value } => {
                registers.get(register).and_then(|found| compare(found, *operation, value))
            }
            Expression::Range { register, outside, from, to } => registers.get(register).and_then(|found| {
                let found = found.get(..from.len())?;
                Some((from.as_slice() <= found && found <= to.as_slice()) != *outside)
            }),
            Expression::Mask { from, to, mask, xor } => {
                let masked = registers.get(from).map(|found| masked(found, mask, xor));
                match masked {
                    Some(value) => registers.insert(*to, value),
                    None => registers.remove(to),
                };
                Some(true)
            }
            Expression::Lookup { register, inverted, to, set } => {
                let found = registers.get(register).zip(set.members.as_ref());
                let member = found.map(|(found, members)| {
                    members.iter().find(|(key, _)| found.get(..key.len()) == Some(key.as_slice()))
                });
                match (member, to) {
                    // A verdict map decides.
                    (Some(Some((_, Some(verdict)))), Some(0)) => return (matches, verdict.by_name()),
                    (None, Some(0)) => return (Match::Maybe, Verdict::Unknown),
                    (Some(None), Some(_)) => Some(false),
                    (Some(Some(_)), Some(to)) => {
                        registers.remove(to);
                        Some(true)
                    }
                    (Some(member), None) => Some(member.is_some() != *inverted),
                    (None, _) => None,
                }
            }
            Expression::Decide(verdict) => return (matches, verdict.by_name()),
            Expression::Translate | Expression::Nothing => Some(true),
            Expression::Unknown => None,
        };
        match fits {
            Some(true) => {}
            Some(false) => return (Match::No, Verdict::Continue),
            None => matches = Match::Maybe,
        }
    }
    (matches, Verdict::Continue)
}

impl Verdict<String> {
    fn by_name(&self) -> Verdict<&String> {
        match self {
            Self::Continue => Verdict::Continue,
            Self::Accept => Verdict::Accept,
            Self::Drop => Verdict::Drop,
            Self::Return => Verdict::Return,
            Self::Jump(name) => Verdict::Jump(name),
            Self::Goto(name) => Verdict::Goto(name),
            Self::Unknown => Verdict::Unknown,
        }
    }
}

impl Packet<'_> {
    /// A field as it stands in a register; `None` if it is not known.
    fn field(&self, field: Field) -> Option<Vec<u8>> {
        /// `IFNAMSIZ`.
        const NAME: usize = 16;
        Some(match field {
            Field::Interface => {
                let mut name = self.interface.as_bytes().to_vec();
                name.resize(NAME, 0);
                name
            }
            Field::Index => self.index.to_ne_bytes().to_vec(),
            Field::NetworkProtocol => vec![IPV4],
            Field::TransportProtocol => vec![UDP],
            // The protocol of an IPv4 header is its tenth byte, the destination its last four.
            Field::Network(9, 1) => vec![UDP],
            Field::Network(16, 4) => self.own?.octets().to_vec(),
            Field::Transport(2, 2) => self.port.to_be_bytes().to_vec(),
            Field::State => self.state.to_ne_bytes().to_vec(),
            // `PACKET_HOST`.
            Field::Kind => vec![0],
            Field::Network(..) | Field::Transport(..) | Field::Unknown => return None,
        })
    }
}

/// `None` if the operation is not known.
fn compare(found: &[u8], operation: u32, value: &[u8]) -> Option<bool> {
    // Shorter values are prefixes: `iifname "eth*"`.
    let found = found.get(..value.len().min(found.len()))?;
    let order = found.cmp(value);
    Some(match operation {
        0 => order.is_eq(),
        1 => order.is_ne(),
        2 => order.is_lt(),
        3 => order.is_le(),
        4 => order.is_gt(),
        5 => order.is_ge(),
        _ => return None,
    })
}

fn masked(found: &[u8], mask: &[u8], xor: &[u8]) -> Vec<u8> {
    let byte = |bytes: &[u8], at: usize, default| bytes.get(at).copied().unwrap_or(default);
    let each = found.iter().enumerate();
    each.map(|(at, value)| value & byte(mask, at, 0xff) ^ byte(xor, at, 0)).collect()
}
