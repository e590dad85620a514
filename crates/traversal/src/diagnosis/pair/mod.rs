//! Whether two hosts reach each other directly by UDP, and how.
//!
//! A side is described by what strangers meet there: its mapping, its filter, how its ports are chosen. A filter of the host
//! itself counts as one of the NAT. The verdict is a table with reasons rather than a formula; its columns:
//!
//! - *easy*: the port that servers see is the one that the peer meets (endpoint-independent mapping, or no NAT);
//! - *hard*: the peer meets another port (dependent mapping);
//! - *open*, *half open*, *closed*: the filter lets in everyone, everyone at an address that was sent to, only an endpoint
//!   that was sent to.
//!
//! | | easy | hard |
//! |---|---|---|
//! | easy | open: call it; otherwise punch | open: call the easy one; half open: open it for the address, let the hard one call; closed: guess the port, or spray |
//! | hard | | open: call it at the port that servers see; half open and predictable: call; both predictable: guess; half open: spray; closed and random: relay |
//!
//! A packet from an easy side opens its filter for a peer; one from a hard side comes from a port that nobody knew before.
//! "Spray" is the birthday punch: one side opens some hundred sockets, the other tries ports until it hits one of them.

mod side;

pub use side::Side;

use super::facts::Allocation;
use super::facts::Dependence::{AddressDependent, EndpointIndependent};

/// One of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// This host.
    Us,
    /// The other.
    Them,
}

/// What becomes of a direct path, and what would help.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What becomes of it.
    pub outcome: Outcome,
    /// What would make it better, the most useful first; empty where nothing is wanting.
    pub fixes: Vec<Fix>,
}

/// What becomes of a direct path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// There is one.
    Direct {
        /// By this technique.
        way: Way,
        /// Whether it works every time; otherwise as a rule.
        is_sure: bool,
    },
    /// Too little is known of one of them.
    Unclear,
    /// There is none: somebody has to relay.
    Relay(Obstacle),
}

/// A technique.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Way {
    /// Both have IPv6, where there is no NAT and each opens its own filter.
    Ipv6,
    /// Both are in the same network.
    SameNetwork,
    /// Both are behind the same NAT, which turns their packets around.
    Hairpin,
    /// One of them is called: it lets strangers in.
    Call(Callee),
    /// One of them is called at a port that its first hop maps.
    MappedPort(Callee),
    /// Each opens its own NAT for the other.
    Punch,
    /// One opens its filter for the other's address, and is called.
    OpenAddress(Callee),
    /// The port of the hard side is guessed: it keeps or counts ports.
    Guess,
    /// Many ports are tried until one fits (birthday punch).
    Spray,
}

/// Who is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Callee {
    /// This host.
    Us,
    /// The other.
    Them,
}

/// Why there is no direct path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// UDP does not get through there.
    UdpBlocked(Who),
    /// UDP gets through on neither side.
    UdpBlockedOnBoth,
    /// Each gets a new random port for the other, and lets in only a port that it knows.
    BothRandom,
    /// Both are behind the same NAT, and that does not turn packets around.
    NoHairpin,
}

/// What would make a direct path, or a better one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fix {
    /// Let UDP out there.
    AllowUdp(Who),
    /// Have the first hop map a port there.
    MapPort(Who),
    /// Let the router there keep one port per inside port (no `random`, "full cone" or "cone" mode).
    EasyMapping(Who),
    /// Get IPv6 there; the other has it.
    Ipv6(Who),
    /// Get IPv6 on both sides.
    Ipv6OnBoth,
    /// Ask the provider there for a public address.
    PublicAddress(Who),
    /// Use the addresses in the common network.
    LocalAddresses,
    /// A host with a public address that relays.
    Relay,
}

impl Way {
    /// Whether `pinhole agent` does this today, or WireGuard by itself.
    pub const fn is_automatic(self) -> bool {
        match self {
            Self::Call(_) | Self::Punch | Self::OpenAddress(_) | Self::Hairpin => true,
            Self::Ipv6 | Self::SameNetwork | Self::MappedPort(_) | Self::Guess | Self::Spray => false,
        }
    }
}

/// The verdict for this host and another one.
pub fn judge(us: &Side, them: &Side) -> Verdict {
    let outcome = outcome(us, them);
    let fixes = match &outcome {
        Outcome::Direct { is_sure: true, way } if way.is_automatic() => Vec::new(),
        Outcome::Direct { .. } => fixes(us, them, false),
        Outcome::Unclear => Vec::new(),
        Outcome::Relay(obstacle) => fixes_of(us, them, *obstacle),
    };
    Verdict { outcome, fixes }
}

fn outcome(us: &Side, them: &Side) -> Outcome {
    let sure = |way| Outcome::Direct { way, is_sure: true };
    if us.is_in_network_of(them) {
        return sure(Way::SameNetwork);
    }
    let through_nats = through_nats(us, them);
    match through_nats {
        // What works by itself is better than what somebody has to set up.
        Outcome::Direct { way, is_sure: true } if way.is_automatic() => return through_nats,
        Outcome::Direct { .. } | Outcome::Unclear | Outcome::Relay(_) => {}
    }
    if us.ipv6 && them.ipv6 {
        return sure(Way::Ipv6);
    }
    let is_asked = us.is_blocked == Some(false) && them.is_blocked == Some(false);
    if is_asked && !us.is_behind_same_nat_as(them) {
        for (side, callee) in [(them, Callee::Them), (us, Callee::Us)] {
            if side.mapped_port {
                return sure(Way::MappedPort(callee));
            }
        }
    }
    through_nats
}

/// What becomes of IPv4, as the NATs are.
fn through_nats(us: &Side, them: &Side) -> Outcome {
    let sure = |way| Outcome::Direct { way, is_sure: true };
    let likely = |way| Outcome::Direct { way, is_sure: false };
    match (us.is_blocked, them.is_blocked) {
        (Some(true), Some(true)) => return Outcome::Relay(Obstacle::UdpBlockedOnBoth),
        (Some(true), _) => return Outcome::Relay(Obstacle::UdpBlocked(Who::Us)),
        (_, Some(true)) => return Outcome::Relay(Obstacle::UdpBlocked(Who::Them)),
        (None, _) | (_, None) => return Outcome::Unclear,
        (Some(false), Some(false)) => {}
    }
    if us.is_behind_same_nat_as(them) {
        return match us.hairpin.or(them.hairpin) {
            Some(true) => sure(Way::Hairpin),
            Some(false) => Outcome::Relay(Obstacle::NoHairpin),
            None => Outcome::Unclear,
        };
    }
    for (side, callee) in [(them, Callee::Them), (us, Callee::Us)] {
        if side.mapping == Some(EndpointIndependent) && side.filtering == Some(EndpointIndependent) {
            return sure(Way::Call(callee));
        }
    }
    let (Some(ours), Some(theirs)) = (Kind::of(us), Kind::of(them)) else { return Outcome::Unclear };
    match (ours, theirs) {
        (Kind::Easy, Kind::Easy) => sure(Way::Punch),
        (Kind::Easy, Kind::Hard(hard)) => easy_and_hard(us, Callee::Us, them, hard),
        (Kind::Hard(hard), Kind::Easy) => easy_and_hard(them, Callee::Them, us, hard),
        (Kind::Hard(ours), Kind::Hard(theirs)) => {
            let sides = [(us, ours, them, Callee::Us), (them, theirs, us, Callee::Them)];
            both_hard(&sides).map_or(Outcome::Relay(Obstacle::BothRandom), |(way, is_sure)| {
                if is_sure { sure(way) } else { likely(way) }
            })
        }
    }
}

/// An easy side that is not open to everyone, and a hard one.
fn easy_and_hard(easy: &Side, callee: Callee, hard: &Side, allocation: Allocation) -> Outcome {
    let hard_is_called = match callee {
        Callee::Us => Callee::Them,
        Callee::Them => Callee::Us,
    };
    let (way, is_sure) = match easy.filtering {
        Some(EndpointIndependent) => (Way::Call(callee), true),
        // Which address it has for the peer is certain only if it has one address.
        Some(AddressDependent) => (Way::OpenAddress(callee), !hard.has_pool),
        Some(_) | None if hard.has_pool => (Way::Spray, false),
        Some(_) | None => match allocation {
            Allocation::Preserving | Allocation::Sequential => (Way::Guess, false),
            Allocation::Block | Allocation::Random if hard.filtering == Some(EndpointIndependent) => {
                (Way::Call(hard_is_called), false)
            }
            Allocation::Block | Allocation::Random => (Way::Spray, true),
        },
    };
    Outcome::Direct { way, is_sure }
}

/// A hard side, its ports, the other one, and who it is.
type Hard<'a> = (&'a Side, Allocation, &'a Side, Callee);

/// Two hard sides, each with its allocation, the other one, and who it is.
fn both_hard(sides: &[Hard<'_>; 2]) -> Option<(Way, bool)> {
    let first = |take: &dyn Fn(&Hard<'_>) -> bool| sides.iter().find(|side| take(side));
    // It is called at the port that servers see. The answer may come from another one, which only a filter that knows ports
    // minds.
    let is_open = |(side, ..): &Hard<'_>| side.filtering == Some(EndpointIndependent);
    if let Some((_, _, other, callee)) = first(&is_open) {
        let other_minds = other.filtering != Some(EndpointIndependent) && other.filtering != Some(AddressDependent);
        return Some((Way::Call(*callee), !other_minds));
    }
    let is_half_open = |side: &Side| side.filtering == Some(AddressDependent);
    if first(&|(side, allocation, ..)| is_predictable(*allocation) && is_half_open(side)).is_some() {
        return Some((Way::Guess, false));
    }
    if sides.iter().all(|(_, allocation, ..)| is_predictable(*allocation)) {
        return Some((Way::Guess, false));
    }
    // Its port is the same for all ports of the peer, so it can try many of them from one port that is guessed.
    let can_spray = |(side, allocation, ..): &Hard<'_>| {
        *allocation == Allocation::Preserving || is_predictable(*allocation) && side.mapping == Some(AddressDependent)
    };
    if first(&can_spray).is_some() || first(&|(side, ..)| is_half_open(side)).is_some() {
        return Some((Way::Spray, false));
    }
    None
}

const fn is_predictable(allocation: Allocation) -> bool {
    match allocation {
        Allocation::Preserving | Allocation::Sequential => true,
        Allocation::Block | Allocation::Random => false,
    }
}

enum Kind {
    Easy,
    Hard(Allocation),
}

impl Kind {
    /// `None` if too little is known. Ports of which nothing is known are taken for random.
    fn of(side: &Side) -> Option<Self> {
        Some(match side.mapping? {
            EndpointIndependent => Self::Easy,
            _ => Self::Hard(side.allocation.unwrap_or(Allocation::Random)),
        })
    }
}

fn fixes_of(us: &Side, them: &Side, obstacle: Obstacle) -> Vec<Fix> {
    match obstacle {
        Obstacle::UdpBlocked(who) => vec![Fix::AllowUdp(who), Fix::Relay],
        Obstacle::UdpBlockedOnBoth => vec![Fix::AllowUdp(Who::Us), Fix::AllowUdp(Who::Them), Fix::Relay],
        Obstacle::NoHairpin => vec![Fix::LocalAddresses, Fix::Relay],
        Obstacle::BothRandom => fixes(us, them, true),
    }
}

/// What makes a path easier. One change on either side is enough.
fn fixes(us: &Side, them: &Side, needs_relay: bool) -> Vec<Fix> {
    let mut fixes = Vec::new();
    let sides = [(us, Who::Us), (them, Who::Them)];
    // A port that is mapped at a first hop behind which there is another NAT does not lead inside.
    let may_map = |side: &Side| !side.mapped_port && side.layers < 2 && side.is_blocked == Some(false);
    fixes.extend(sides.iter().filter(|(side, _)| may_map(side)).map(|&(_, who)| Fix::MapPort(who)));
    let is_hard = |side: &Side| side.mapping.is_some_and(|mapping| mapping != EndpointIndependent);
    let own_router = |side: &Side| is_hard(side) && side.layers < 2;
    fixes.extend(sides.iter().filter(|(side, _)| own_router(side)).map(|&(_, who)| Fix::EasyMapping(who)));
    match (us.ipv6, them.ipv6) {
        (true, true) => {}
        (true, false) => fixes.push(Fix::Ipv6(Who::Them)),
        (false, true) => fixes.push(Fix::Ipv6(Who::Us)),
        (false, false) => fixes.push(Fix::Ipv6OnBoth),
    }
    let by_carrier = |side: &Side| side.layers >= 2;
    fixes.extend(sides.iter().filter(|(side, _)| by_carrier(side)).map(|&(_, who)| Fix::PublicAddress(who)));
    if needs_relay {
        fixes.push(Fix::Relay);
    }
    fixes
}

#[cfg(test)]
mod tests;
