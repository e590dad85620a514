//! From `-m NAME` and its options to what a rule asks.

use super::values::Given;
use crate::rules::matches::{
    Addrtype, Conntrack, CtTest, Kinds, Limit, Match, Multiport, Ports, Side, States, Tcp, TcpFlags, TtlTest, Which,
};
use crate::rules::set::Lookup;
use crate::rules::{AddressKind, Delivery, End, Not, Problem, Span, names};
use crate::status::{Direction, Status};
use crate::tuple::Address;

/// What the match `name` asks with these options, none of which is there twice.
pub(super) fn finish<A: Address>(name: &str, given: &[Given]) -> Result<Match<A>, Problem> {
    Ok(match name {
        "tcp" => Match::Tcp(tcp(given)?),
        "udp" => Match::Udp(ports(given)?),
        "sctp" => Match::Sctp(ports(given)?),
        "dccp" => Match::Dccp(ports(given)?),
        "multiport" => multiport(only(name, given)?)?,
        "icmp" | "icmp6" => icmp(only(name, given)?)?,
        "conntrack" => Match::Conntrack(Conntrack::new(given.iter().map(conntrack).collect::<Result<Vec<_>, _>>()?)),
        "state" => {
            let given = only(name, given)?;
            let is = states(given, false)?;
            Match::State(Not { is, not: given.not })
        }
        "mark" | "connmark" => {
            let given = only(name, given)?;
            let mark = Not { is: given.mark()?, not: given.not };
            if name == "mark" { Match::Mark(mark) } else { Match::Connmark(mark) }
        }
        "limit" => Match::Limit(limit(given)?),
        "comment" => Match::Comment(only(name, given)?.value().to_owned()),
        "addrtype" => Match::Addrtype(addrtype(given)?),
        "length" => {
            let given = only(name, given)?;
            let Span { min, max } = given.span(u32::from(u16::MAX))?;
            Match::Length(Not { is: Span { min: min as u16, max: max as u16 }, not: given.not })
        }
        "ttl" | "hl" => Match::Ttl(ttl(only(name, given)?)?),
        "helper" => {
            let given = only(name, given)?;
            Match::Helper(Not { is: given.value().to_owned(), not: given.not })
        }
        "pkttype" => pkttype(only(name, given)?)?,
        "set" => set(only(name, given)?)?,
        other => return Err(Problem::Match(other.to_owned())),
    })
}

/// The one option of a match that needs exactly one.
fn only<'a>(name: &str, given: &'a [Given]) -> Result<&'a Given, Problem> {
    match given {
        [one] => Ok(one),
        [] => Err(Problem::Sense(format!("-m {name} needs an option"))),
        [first, second, ..] => {
            Err(Problem::Sense(format!("-m {name} takes one option, not both {} and {}", first.option, second.option)))
        }
    }
}

fn ports(given: &[Given]) -> Result<Ports, Problem> {
    let mut ports = Ports::default();
    for given in given {
        let span = Some(Not { is: given.ports(given.value())?, not: given.not });
        if given.option == "--sport" { ports.source = span } else { ports.destination = span }
    }
    Ok(ports)
}

fn tcp(given: &[Given]) -> Result<Tcp, Problem> {
    let mut tcp = Tcp::default();
    for given in given {
        match given.option {
            "--tcp-flags" | "--syn" if tcp.flags.is_some() => {
                return Err(Problem::Sense("--syn and --tcp-flags are the same thing: give one of them".into()));
            }
            "--tcp-flags" => {
                let [mask, set] = &given.values[..] else { return Err(given.wants("two lists of flags")) };
                let is = TcpFlags { mask: flags(given, mask)?, set: flags(given, set)? };
                tcp.flags = Some(Not { is, not: given.not });
            }
            "--syn" => tcp.flags = Some(Not { is: TcpFlags::SYN, not: given.not }),
            "--tcp-option" => {
                let number: u8 = given.number("the number of a TCP option, 1 to 255")?;
                if number == 0 {
                    return Err(given.wants("the number of a TCP option, 1 to 255"));
                }
                tcp.option = Some(Not { is: number, not: given.not });
            }
            _ => tcp.ports = merge(tcp.ports, ports(core::slice::from_ref(given))?),
        }
    }
    Ok(tcp)
}

fn merge(old: Ports, new: Ports) -> Ports {
    Ports { source: new.source.or(old.source), destination: new.destination.or(old.destination) }
}

fn flags(given: &Given, list: &str) -> Result<u8, Problem> {
    let flag = |name: &str| match name.to_ascii_uppercase().as_str() {
        "ALL" => Some(0x3f),
        "NONE" => Some(0),
        name => TcpFlags::NAMES.iter().find(|(_, known)| *known == name).map(|&(bit, _)| bit),
    };
    list.split(',').try_fold(0, |bits, name| {
        let bit =
            flag(name).ok_or_else(|| given.refuses(name, "flags of FIN, SYN, RST, PSH, ACK, URG, or ALL or NONE"))?;
        Ok(bits | bit)
    })
}

fn multiport<A>(given: &Given) -> Result<Match<A>, Problem> {
    let which = match given.option {
        "--sports" => Which::Source,
        "--dports" => Which::Destination,
        _ => Which::Either,
    };
    let ports = given.value().split(',').map(|port| match port.starts_with(':') || port.ends_with(':') {
        true => Err(given.refuses(port, "ranges with both ends, LOW:HIGH")),
        false => given.ports(port),
    });
    let ports = ports.collect::<Result<_, _>>()?;
    Ok(Match::Multiport(Not { is: Multiport { which, ports }, not: given.not }))
}

fn icmp<A: Address>(given: &Given) -> Result<Match<A>, Problem> {
    let is = names::icmp::<A>(given.value())
        .ok_or_else(|| given.wants("a type by name or number, or TYPE/CODE, such as echo-request or 3/4"))?;
    Ok(Match::Icmp(Not { is, not: given.not }))
}

fn conntrack<A: Address>(given: &Given) -> Result<CtTest<A>, Problem> {
    let not = given.not;
    let network = || given.network(given.value()).map(|is| Not { is, not });
    let ports = || given.ports(given.value()).map(|is| Not { is, not });
    Ok(match given.option {
        "--ctstate" => CtTest::State(Not { is: states(given, true)?, not }),
        "--ctproto" => {
            let is = names::protocol(given.value()).ok_or_else(|| given.wants("a protocol by name or number"))?;
            CtTest::Protocol(Not { is, not })
        }
        "--ctorigsrc" => CtTest::OriginalSource(network()?),
        "--ctorigdst" => CtTest::OriginalDestination(network()?),
        "--ctreplsrc" => CtTest::ReplySource(network()?),
        "--ctrepldst" => CtTest::ReplyDestination(network()?),
        "--ctorigsrcport" => CtTest::OriginalSourcePort(ports()?),
        "--ctorigdstport" => CtTest::OriginalDestinationPort(ports()?),
        "--ctreplsrcport" => CtTest::ReplySourcePort(ports()?),
        "--ctrepldstport" => CtTest::ReplyDestinationPort(ports()?),
        "--ctstatus" => CtTest::Status(Not { is: status(given)?, not }),
        "--ctexpire" => CtTest::Expire(Not { is: given.span(u32::MAX)?, not }),
        _ => match given.value().to_ascii_uppercase().as_str() {
            "ORIGINAL" => CtTest::Direction(Direction::Original),
            "REPLY" => CtTest::Direction(Direction::Reply),
            _ => return Err(given.wants("ORIGINAL or REPLY")),
        },
    })
}

fn states(given: &Given, with_nat: bool) -> Result<States, Problem> {
    let nat = States::SNAT.and(States::DNAT);
    given.value().split(',').try_fold(States::NONE, |states, name| {
        let found = States::NAMES
            .iter()
            .find(|(state, known)| known.eq_ignore_ascii_case(name) && (with_nat || !state.intersects(nat)));
        let wanted = if with_nat {
            "states of INVALID, NEW, RELATED, ESTABLISHED, UNTRACKED, SNAT, DNAT"
        } else {
            "states of INVALID, NEW, RELATED, ESTABLISHED, UNTRACKED"
        };
        found.map(|(state, _)| states.and(*state)).ok_or_else(|| given.refuses(name, wanted))
    })
}

fn status(given: &Given) -> Result<Status, Problem> {
    given.value().split(',').try_fold(Status::default(), |status, name| {
        let bit = match name.to_ascii_uppercase().as_str() {
            "NONE" => Status::default(),
            "EXPECTED" => Status::EXPECTED,
            "SEEN_REPLY" => Status::SEEN_REPLY,
            "ASSURED" => Status::ASSURED,
            "CONFIRMED" => Status::CONFIRMED,
            _ => return Err(given.refuses(name, "status bits of NONE, EXPECTED, SEEN_REPLY, ASSURED, CONFIRMED")),
        };
        Ok(status | bit)
    })
}

fn limit(given: &[Given]) -> Result<Limit, Problem> {
    let find = |name: &str| given.iter().find(|given| given.option == name);
    let rate = match find("--limit") {
        Some(given) => given.value(),
        None => Limit::RATE,
    };
    let burst = find("--limit-burst").map_or(Ok(Limit::BURST), |given| given.number("a number from 1 to 10000"))?;
    let wanted = "a rate such as 3/min or 100/second, up to 10000/second, whose burst lasts less than a day or two";
    let refused = || Problem::Value { option: "--limit".into(), value: rate.to_owned(), wanted: wanted.to_owned() };
    Limit::new(rate, burst).ok_or_else(refused)
}

fn addrtype(given: &[Given]) -> Result<Addrtype, Problem> {
    let mut addrtype = Addrtype { source: None, destination: None, limit: None };
    for given in given {
        match given.option {
            "--src-type" => addrtype.source = Some(Not { is: kinds(given)?, not: given.not }),
            "--dst-type" => addrtype.destination = Some(Not { is: kinds(given)?, not: given.not }),
            _ if addrtype.limit.is_some() => {
                return Err(Problem::Sense("--limit-iface-in and --limit-iface-out exclude each other".into()));
            }
            "--limit-iface-in" => addrtype.limit = Some(Side::In),
            _ => addrtype.limit = Some(Side::Out),
        }
    }
    Ok(addrtype)
}

fn kinds(given: &Given) -> Result<Kinds, Problem> {
    let kinds = given.value().split(',').map(|name| {
        let found = Kinds::NAMES.iter().find(|(_, known)| known.eq_ignore_ascii_case(name)).map(|&(kind, _)| kind);
        found.ok_or_else(|| {
            let wanted =
                "kinds of UNSPEC, UNICAST, LOCAL, BROADCAST, ANYCAST, MULTICAST, BLACKHOLE, UNREACHABLE, PROHIBIT";
            given.refuses(name, wanted)
        })
    });
    kinds.collect::<Result<Vec<AddressKind>, _>>().map(Kinds::of)
}

fn ttl(given: &Given) -> Result<TtlTest, Problem> {
    let number = given.number("a number from 0 to 255")?;
    Ok(if given.option.ends_with("-lt") {
        TtlTest::Below(number)
    } else if given.option.ends_with("-gt") {
        TtlTest::Above(number)
    } else {
        TtlTest::Is(Not { is: number, not: given.not })
    })
}

fn pkttype<A>(given: &Given) -> Result<Match<A>, Problem> {
    let is = match given.value() {
        "unicast" | "host" => Delivery::Unicast,
        "broadcast" => Delivery::Broadcast,
        "multicast" => Delivery::Multicast,
        _ => return Err(given.wants("unicast, broadcast or multicast")),
    };
    Ok(Match::Pkttype(Not { is, not: given.not }))
}

fn set<A>(given: &Given) -> Result<Match<A>, Problem> {
    let [name, ends] = &given.values[..] else { return Err(given.wants("the name of a set, and src or dst")) };
    let ends = ends.split(',').map(|end| match end {
        "src" => Ok(End::Source),
        "dst" => Ok(End::Destination),
        other => Err(given.refuses(other, "src or dst for each part of an element")),
    });
    let ends = ends.collect::<Result<Vec<_>, _>>()?;
    if ends.len() > Lookup::MOST_ENDS {
        return Err(given.refuses(name, "at most six of src and dst"));
    }
    Ok(Match::Set(Not { is: Lookup::new(name, ends), not: given.not }))
}
