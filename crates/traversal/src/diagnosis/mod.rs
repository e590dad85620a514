//! What stands between a host and the Internet, what it means, and what to do about it: facts in, findings out.
//!
//! | file | what it is |
//! |---|---|
//! | [`facts`] | what was seen on this host, at its first hop and beyond; everything may be unknown |
//! | [`layers`] | which translations are on the way, by what evidence |
//! | [`kinds`] | which NAT each of them is |
//! | [`problem`] | what stands in the way, each with its evidence, severity and remedy |
//! | [`pair`] | whether two hosts reach each other directly, and by which technique |
//! | [`text`] | all of it in words, in every language |
//!
//! The diagnosis is pure: it asks nobody, and the same facts give the same findings. What is unknown is never taken for good
//! or bad; it is told as unknown.

pub mod facts;
pub mod kinds;
pub mod layers;
pub mod pair;
pub mod problem;
pub mod text;

use core::net::IpAddr;

use facts::{Dependence, Facts, Outside, Service};
use layers::Layer;
use pair::{Outcome, Side, Verdict};
use problem::Finding;

/// All that can be said.
#[derive(Clone, Debug, PartialEq)]
pub struct Diagnosis {
    /// The translations on the way, from here outwards.
    pub layers: Vec<Layer>,
    /// This host as one side of a pair.
    pub side: Side,
    /// What becomes of a direct path to each kind of peer.
    pub peers: Vec<(Peer, Verdict)>,
    /// How this host can have a public UDP port.
    pub port: PublicPort,
    /// And a public TCP port.
    pub tcp_port: PublicPort,
    /// And one over IPv6, if it has that.
    pub v6_port: Option<PublicPort>,
    /// What stands in the way, most useful first.
    pub findings: Vec<Finding>,
}

/// A kind of peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// With a public address and an open port.
    Open,
    /// Behind a full cone (NAT1).
    FullCone,
    /// Behind a restricted cone (NAT2).
    RestrictedCone,
    /// Behind a port-restricted cone (NAT3), the usual home router.
    PortRestrictedCone,
    /// Behind a symmetric NAT (NAT4) that counts its ports up.
    SymmetricSequential,
    /// Behind a symmetric NAT (NAT4) with random ports.
    SymmetricRandom,
    /// Where UDP does not get through.
    UdpBlocked,
}

/// How this host can have a port that strangers reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublicPort {
    /// Every port that listens is public.
    Already,
    /// There is no NAT, but a filter: open the port there.
    OpenFilter,
    /// The first hop gives one.
    Mapping(Protocol),
    /// One that is held open from inside stays open for everyone.
    Punch,
    /// The first hop gives one, and the NAT behind it lets strangers in: map there, then hold that port open.
    MappingAndPunch(Protocol),
    /// The same, where it is not known whether the NAT behind it lets strangers in.
    MappingThenPunch(Protocol),
    /// If somebody sets it up at the router.
    ByHand,
    /// Only somebody else's.
    Relay,
    /// Too little is known.
    Unknown,
}

/// A protocol by which the first hop maps ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// RFC 6887.
    Pcp,
    /// RFC 6886.
    NatPmp,
    /// UPnP-IGD.
    Upnp,
}

impl Diagnosis {
    /// What `facts` mean.
    pub fn of(facts: &Facts) -> Self {
        let layers = layers::of(facts);
        let side = Side::of(facts, &layers);
        let peers = Peer::ALL.map(|peer| (peer, pair::judge(&side, &peer.side()))).to_vec();
        let port = PublicPort::of(facts, &facts.udp, side.filtering, &layers);
        let tcp_filtering = match &facts.tcp {
            Outside::Answers(nat) => nat.filtering,
            Outside::NotAsked | Outside::Blocked { .. } => None,
        };
        let tcp_port = PublicPort::of(facts, &facts.tcp, tcp_filtering, &layers);
        let findings = problem::find(facts, &layers);
        let v6_port = side.ipv6.then(|| PublicPort::over_v6(facts));
        Self { layers, side, peers, port, tcp_port, v6_port, findings }
    }

    /// Whether a direct path to at least one kind of peer is to be expected.
    pub fn is_reachable(&self) -> bool {
        self.peers.iter().any(|(_, verdict)| match verdict.outcome {
            Outcome::Direct { .. } => true,
            Outcome::Unclear | Outcome::Relay(_) => false,
        })
    }
}

impl Peer {
    /// All kinds, the easiest first.
    pub const ALL: [Self; 7] = [
        Self::Open,
        Self::FullCone,
        Self::RestrictedCone,
        Self::PortRestrictedCone,
        Self::SymmetricSequential,
        Self::SymmetricRandom,
        Self::UdpBlocked,
    ];

    /// Such a peer somewhere else.
    pub fn side(self) -> Side {
        use facts::Allocation::{Preserving, Random, Sequential};
        use facts::Dependence::{AddressAndPortDependent as Apd, AddressDependent as Ad, EndpointIndependent as Ei};
        match self {
            Self::Open => Side::OPEN,
            Self::FullCone => Side::behind(Ei, Ei, Preserving),
            Self::RestrictedCone => Side::behind(Ei, Ad, Preserving),
            Self::PortRestrictedCone => Side::behind(Ei, Apd, Preserving),
            Self::SymmetricSequential => Side::behind(Apd, Apd, Sequential),
            Self::SymmetricRandom => Side::behind(Apd, Apd, Random),
            Self::UdpBlocked => Side::BLOCKED,
        }
    }
}

impl PublicPort {
    /// By one transport: as `outside` sees it, with this filter, that of the host included.
    fn of(facts: &Facts, outside: &Outside, filtering: Option<Dependence>, layers: &[Layer]) -> Self {
        use Dependence::EndpointIndependent;
        let nat = match outside {
            Outside::NotAsked => return Self::Unknown,
            Outside::Blocked { .. } => return Self::Relay,
            Outside::Answers(nat) => nat,
        };
        let mapped = if nat.translated == Some(false) { Some(EndpointIndependent) } else { nat.mapping };
        let is_open = filtering == Some(EndpointIndependent);
        let mapping = Protocol::ALL.into_iter().find(|&protocol| facts.first_hop.service(protocol).maps());
        // The filter of the outermost NAT, if its mapping is one for all: then a port that is held open is open for them, too.
        let outermost = layers.last().filter(|layer| layer.kind.mapping.exactly() == Some(EndpointIndependent));
        let beyond = outermost.filter(|_| layers.len() > 1).and_then(|layer| layer.kind.filtering.exactly());
        match (nat.translated, mapping) {
            (Some(false), _) if is_open => Self::Already,
            (Some(false), _) => Self::OpenFilter,
            (Some(true) | None, Some(protocol)) if layers.len() < 2 && facts.first_hop.is_public(protocol) => {
                Self::Mapping(protocol)
            }
            (Some(true), _) if is_open && mapped == Some(EndpointIndependent) => Self::Punch,
            (Some(true), Some(protocol)) => match beyond {
                Some(EndpointIndependent) => Self::MappingAndPunch(protocol),
                Some(Dependence::AddressDependent | Dependence::AddressAndPortDependent) => Self::Relay,
                None => Self::MappingThenPunch(protocol),
            },
            (Some(true), None) if filtering.is_none() || mapped.is_none() => Self::Unknown,
            (Some(true), None) if layers.len() < 2 || beyond == Some(EndpointIndependent) => Self::ByHand,
            (Some(true), None) => Self::Relay,
            (None, _) => Self::Unknown,
        }
    }
}

impl PublicPort {
    /// Over IPv6 there is no NAT: a firewall lets strangers in, or opens for them.
    fn over_v6(facts: &Facts) -> Self {
        let opens = Protocol::ALL.into_iter().find(|&protocol| facts.first_hop.service_v6(protocol).maps());
        opens.map_or(Self::OpenFilter, Self::Mapping)
    }
}

impl Protocol {
    /// All of them, the best first: PCP says most, UPnP least.
    pub const ALL: [Self; 3] = [Self::Pcp, Self::NatPmp, Self::Upnp];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pcp => "PCP",
            Self::NatPmp => "NAT-PMP",
            Self::Upnp => "UPnP",
        }
    }
}

impl Service {
    /// Whether it gave a port when it was asked for one.
    pub fn maps(&self) -> bool {
        match self {
            Self::Works { mapped, .. } => mapped.is_some(),
            Self::NotAsked | Self::Silent | Self::Refuses { .. } => false,
        }
    }

    /// The first hop's outside address, if it told.
    pub fn external(&self) -> Option<IpAddr> {
        match self {
            Self::Works { external, .. } | Self::Refuses { external, .. } => *external,
            Self::NotAsked | Self::Silent => None,
        }
    }
}

#[cfg(test)]
mod tests;
