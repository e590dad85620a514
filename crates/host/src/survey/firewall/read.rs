//! Chains, rules and sets from the kernel.

use super::Chain;
use super::rule::{Expression, Field, IPV4, Member, Set, Verdict};
use crate::netlink::{Error, Message, Protocol, Reply, Socket, attributes, find};

/// `NFNL_SUBSYS_NFTABLES << 8` (include/uapi/linux/netfilter/nf_tables.h).
const SUBSYSTEM: u16 = 10 << 8;
const GET_CHAIN: u16 = SUBSYSTEM | 4;
const GET_RULE: u16 = SUBSYSTEM | 7;
const GET_SET_ELEMENTS: u16 = SUBSYSTEM | 13;
/// Bytes of `struct nfgenmsg`.
const FIXED: usize = 4;
/// `NFPROTO_INET`.
const INET: u8 = 1;
/// A set with more members than this is not looked into.
const MAX_MEMBERS: usize = 65_536;
/// `NFT_SET_ELEM_INTERVAL_END`.
const INTERVAL_END: u32 = 1;

/// All chains for IPv4 packets, with their rules.
pub(super) fn chains() -> Result<Vec<Chain>, Error> {
    let mut socket = Socket::open(Protocol::Netfilter)?;
    let dump = |socket: &mut Socket, kind| socket.dump(Message::new(kind, 0).fixed(&[0; FIXED]));
    let mut chains: Vec<Chain> = dump(&mut socket, GET_CHAIN)?.iter().filter_map(chain).collect();
    for reply in dump(&mut socket, GET_RULE)? {
        let Some((family, table, name)) = place(&reply) else { continue };
        let is_it = |chain: &&mut Chain| chain.family == family && chain.table == table && chain.name == name;
        let Some(chain) = chains.iter_mut().find(is_it) else { continue };
        let list = reply.payload.get(FIXED..).and_then(|attrs| find(attrs, 4)).unwrap_or_default();
        let rule =
            attributes(list).map(|(_, element)| expression(&mut socket, family, &chain.table, element)).collect();
        chain.rules.push(rule);
    }
    Ok(chains)
}

fn chain(reply: &Reply) -> Option<Chain> {
    let attrs = reply.payload.get(FIXED..)?;
    let family = *reply.payload.first()?;
    if !matches!(family, INET | IPV4) {
        return None;
    }
    let hook = find(attrs, 4).and_then(|hook| Some((be32(find(hook, 1)?)?, be32(find(hook, 2)?)?.cast_signed())));
    Some(Chain {
        family,
        table: text(find(attrs, 1)?),
        name: text(find(attrs, 3)?),
        hook,
        drops: find(attrs, 5).and_then(be32) == Some(0),
        kind: find(attrs, 7).map(text).unwrap_or_default(),
        rules: Vec::new(),
    })
}

fn place(reply: &Reply) -> Option<(u8, String, String)> {
    let attrs = reply.payload.get(FIXED..)?;
    Some((*reply.payload.first()?, text(find(attrs, 1)?), text(find(attrs, 2)?)))
}

fn expression(socket: &mut Socket, family: u8, table: &str, element: &[u8]) -> Expression {
    let Some(name) = find(element, 1).map(text) else { return Expression::Unknown };
    let data = find(element, 2).unwrap_or_default();
    let parsed = match name.as_str() {
        "lookup" => lookup(socket, family, table, data),
        name => parse(name, data),
    };
    parsed.unwrap_or(Expression::Unknown)
}

/// An expression that stands for itself.
pub(super) fn parse(name: &str, data: &[u8]) -> Option<Expression> {
    let number = |kind| find(data, kind).and_then(be32);
    let value = |kind| find(data, kind).and_then(|data| find(data, 1)).map(<[u8]>::to_vec);
    Some(match name {
        "meta" => match (number(1), number(2)?) {
            (Some(register), key) => Expression::Load { register, what: meta(key) },
            // Sets a mark or a priority.
            (None, _) => Expression::Nothing,
        },
        "payload" => match number(1) {
            Some(register) => Expression::Load { register, what: payload(number(2)?, number(3)?, number(4)?) },
            None => Expression::Nothing,
        },
        "ct" => match number(1) {
            Some(register) => {
                // `NFT_CT_STATE` is 0.
                let what = if number(2)? == 0 { Field::State } else { Field::Unknown };
                Expression::Load { register, what }
            }
            None => Expression::Nothing,
        },
        "fib" => Expression::Load { register: number(1)?, what: Field::Unknown },
        "cmp" => Expression::Compare { register: number(1)?, operation: number(2)?, value: value(3)? },
        "range" => Expression::Range { register: number(1)?, outside: number(2)? == 1, from: value(3)?, to: value(4)? },
        "bitwise" => Expression::Mask { from: number(1)?, to: number(2)?, mask: value(4)?, xor: value(5)? },
        "immediate" => match number(1)? {
            0 => Expression::Decide(verdict(find(find(data, 2)?, 2)?)?),
            register => Expression::Load { register, what: Field::Unknown },
        },
        "reject" => Expression::Decide(Verdict::Drop),
        "queue" | "tproxy" | "synproxy" => Expression::Decide(Verdict::Unknown),
        "counter" | "log" | "notrack" | "objref" | "flow_offload" | "last" => Expression::Nothing,
        "masq" | "nat" => Expression::Translate,
        "match" => extension(&text(find(data, 1)?), find(data, 3)?)?,
        "target" => target(&text(find(data, 1)?)),
        _ => Expression::Unknown,
    })
}

const fn meta(key: u32) -> Field {
    match key {
        4 => Field::Index,
        6 => Field::Interface,
        15 => Field::NetworkProtocol,
        16 => Field::TransportProtocol,
        19 => Field::Kind,
        _ => Field::Unknown,
    }
}

const fn payload(base: u32, offset: u32, length: u32) -> Field {
    match base {
        1 => Field::Network(offset, length),
        2 => Field::Transport(offset, length),
        _ => Field::Unknown,
    }
}

/// `nft_verdict`: the code and, of a jump, the chain.
fn verdict(data: &[u8]) -> Option<Verdict<String>> {
    let code = be32(find(data, 1)?)?.cast_signed();
    let chain = || find(data, 2).map(text);
    Some(match code {
        0 => Verdict::Drop,
        1 => Verdict::Accept,
        -1 => Verdict::Continue,
        -3 => Verdict::Jump(chain()?),
        -4 => Verdict::Goto(chain()?),
        -5 => Verdict::Return,
        _ => Verdict::Unknown,
    })
}

/// A match of xtables, as iptables-nft writes those that nf_tables has no expression for.
fn extension(name: &str, info: &[u8]) -> Option<Expression> {
    let short = |at: usize| info.get(at..at + 2).map(|bytes| u16::from_ne_bytes([bytes[0], bytes[1]]));
    Some(match name {
        "comment" => Expression::Nothing,
        "conntrack" | "state" => {
            // `struct xt_conntrack_mtinfo3`: flags at 146 and 148, states at 150. Only states are understood.
            let (flags, inverted, states) = match name {
                "state" => (1, 0, info.first_chunk::<4>().map(|bytes| u32::from_ne_bytes(*bytes))?),
                _ => (short(146)?, short(148)?, u32::from(short(150)?)),
            };
            if flags != 1 || inverted != 0 {
                return None;
            }
            let members = [super::rule::ESTABLISHED, super::rule::NEW].into_iter().filter(|state| states & state != 0);
            let members = members.map(|state| (state.to_ne_bytes().to_vec(), None)).collect();
            Expression::Lookup { register: STATE, inverted: false, to: None, set: Set { members: Some(members) } }
        }
        _ => Expression::Unknown,
    })
}

/// A register that no rule uses, in which the state of a packet always is for [`extension`]s.
pub(super) const STATE: u32 = u32::MAX;

fn target(name: &str) -> Expression {
    match name {
        "REJECT" => Expression::Decide(Verdict::Drop),
        "LOG" | "NFLOG" | "MARK" | "CONNMARK" | "CT" => Expression::Nothing,
        "MASQUERADE" | "SNAT" => Expression::Translate,
        _ => Expression::Decide(Verdict::Unknown),
    }
}

fn lookup(socket: &mut Socket, family: u8, table: &str, data: &[u8]) -> Option<Expression> {
    let number = |kind| find(data, kind).and_then(be32);
    let set = text(find(data, 1)?);
    let members = members(socket, family, table, &set);
    Some(Expression::Lookup {
        register: number(2)?,
        inverted: number(5).unwrap_or(0) & 1 != 0,
        to: number(3),
        set: Set { members },
    })
}

/// The members of a set; `None` if it has intervals or cannot be read.
fn members(socket: &mut Socket, family: u8, table: &str, set: &str) -> Option<Vec<Member>> {
    let request = Message::new(GET_SET_ELEMENTS, 0).fixed(&[family, 0, 0, 0]).attr_str(1, table).attr_str(2, set);
    let mut members = Vec::new();
    for reply in socket.dump(request).ok()? {
        let list = find(reply.payload.get(FIXED..)?, 3).unwrap_or_default();
        for (_, element) in attributes(list) {
            if find(element, 3).and_then(be32).is_some_and(|flags| flags & INTERVAL_END != 0) {
                return None;
            }
            let key = find(find(element, 1)?, 1)?.to_vec();
            let decides = find(element, 2).and_then(|data| find(data, 2)).and_then(verdict);
            members.push((key, decides));
            if members.len() > MAX_MEMBERS {
                return None;
            }
        }
    }
    Some(members)
}

fn be32(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}

fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value.strip_suffix(&[0]).unwrap_or(value)).into_owned()
}
