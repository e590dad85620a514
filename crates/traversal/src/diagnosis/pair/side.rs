//! One of two hosts, as the other meets it.

use core::net::{IpAddr, Ipv4Addr};

use super::super::Protocol;
use super::super::facts::Dependence::{AddressAndPortDependent, EndpointIndependent};
use super::super::facts::{Allocation, Dependence, Facts, Fate, Firewall, Outside, is_public};
use super::super::layers::Layer;

/// One of two hosts. Without a NAT its mapping is endpoint-independent and port-preserving.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Side {
    /// Whether UDP does not get out at all; `None` if nobody asked.
    pub is_blocked: Option<bool>,
    /// On what mappings depend.
    pub mapping: Option<Dependence>,
    /// On what the filters depend, that of the host itself included.
    pub filtering: Option<Dependence>,
    /// How ports are chosen.
    pub allocation: Option<Allocation>,
    /// Whether packets to the own mapping come back.
    pub hairpin: Option<bool>,
    /// Whether one flow may have another outside address than the next.
    pub has_pool: bool,
    /// The address outside.
    pub public: Option<IpAddr>,
    /// The address inside, with the length of its network's prefix, and the router.
    pub network: Option<(Ipv4Addr, u8, Option<IpAddr>)>,
    /// Whether the first hop maps ports that lead here from everywhere.
    pub mapped_port: bool,
    /// Whether it reaches the Internet over IPv6.
    pub ipv6: bool,
    /// How many NATs are on the way.
    pub layers: usize,
}

impl Side {
    /// With a public address and an open port.
    pub const OPEN: Self = Self {
        is_blocked: Some(false),
        mapping: Some(EndpointIndependent),
        filtering: Some(EndpointIndependent),
        allocation: Some(Allocation::Preserving),
        hairpin: None,
        has_pool: false,
        public: None,
        network: None,
        mapped_port: false,
        ipv6: false,
        layers: 0,
    };

    /// Where UDP does not get through.
    pub const BLOCKED: Self =
        Self { is_blocked: Some(true), mapping: None, filtering: None, allocation: None, ..Self::OPEN };

    /// Of which nothing is known.
    pub const UNKNOWN: Self = Self { is_blocked: None, ..Self::BLOCKED };

    /// Behind one NAT.
    pub const fn behind(mapping: Dependence, filtering: Dependence, allocation: Allocation) -> Self {
        Self {
            mapping: Some(mapping),
            filtering: Some(filtering),
            allocation: Some(allocation),
            layers: 1,
            ..Self::OPEN
        }
    }

    /// What `facts` say of this host.
    pub fn of(facts: &Facts, layers: &[Layer]) -> Self {
        let network = facts.default_v4.as_ref().and_then(|route| {
            let interface = facts.interfaces.iter().find(|interface| interface.name == route.interface)?;
            interface.addresses.iter().find_map(|&(ip, prefix)| match ip {
                IpAddr::V4(v4) if route.source.is_none_or(|source| source == ip) => Some((v4, prefix, route.router)),
                IpAddr::V4(_) | IpAddr::V6(_) => None,
            })
        });
        let has_v6 = facts.interfaces.iter().flat_map(|interface| &interface.addresses);
        let has_v6 = has_v6.into_iter().any(|&(ip, _)| matches!(ip, IpAddr::V6(_)) && is_public(ip));
        // A route without an answer is not enough where somebody has asked.
        let ipv6 = has_v6 && facts.default_v6.is_some() && facts.v6_answers != Some(false);
        let maps = |protocol: Protocol| facts.first_hop.service(protocol).maps() && facts.first_hop.is_public(protocol);
        let mapped_port = layers.len() < 2 && Protocol::ALL.into_iter().any(maps);
        let unknown = Self { network, ipv6, layers: layers.len(), ..Self::UNKNOWN };
        let nat = match &facts.udp {
            Outside::NotAsked => return Self { mapped_port, ..unknown },
            Outside::Blocked { .. } => return Self { is_blocked: Some(true), ..unknown },
            Outside::Answers(nat) => nat,
        };
        let is_free = nat.translated == Some(false);
        let mapping = if is_free { Some(EndpointIndependent) } else { nat.mapping };
        let allocation = if is_free { Some(Allocation::Preserving) } else { nat.allocation };
        Self {
            is_blocked: Some(false),
            mapping,
            filtering: stricter(nat.filtering, host_filter(&facts.firewall)),
            allocation,
            hairpin: nat.hairpin,
            has_pool: nat.public.len() > 1,
            public: nat.public.first().copied(),
            mapped_port,
            ..unknown
        }
    }

    /// Both have the same outside address and there is a NAT.
    pub(super) fn is_behind_same_nat_as(&self, other: &Self) -> bool {
        self.layers > 0 && other.layers > 0 && self.public.is_some() && self.public == other.public
    }

    /// Both have the same outside address, the same router, and addresses of one network: the same numbers in two homes
    /// alone are a coincidence.
    pub(super) fn is_in_network_of(&self, other: &Self) -> bool {
        let (Some(ours), Some(theirs)) = (self.network, other.network) else { return false };
        let network = |(ip, prefix, _): (Ipv4Addr, u8, _)| {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0);
            (u32::from(ip) & mask, prefix)
        };
        self.public.is_some()
            && self.public == other.public
            && network(ours) == network(theirs)
            && ours.2 == theirs.2
            && ours.0 != theirs.0
    }
}

/// What the host's own filter does to strangers: one that keeps state lets in what was sent to.
fn host_filter(firewall: &Firewall) -> Option<Dependence> {
    match firewall {
        Firewall::NotAsked | Firewall::Hidden | Firewall::Unsupported => None,
        Firewall::Seen { stranger, .. } => match stranger {
            Fate::Accepted => Some(EndpointIndependent),
            Fate::Dropped { .. } => Some(AddressAndPortDependent),
            Fate::Unclear { .. } => None,
        },
    }
}

/// What is known of two filters in a row. One that nobody has seen is not there: discovery's packets went through it, too.
fn stricter(nat: Option<Dependence>, host: Option<Dependence>) -> Option<Dependence> {
    match (nat, host) {
        (Some(nat), Some(host)) => Some(nat.max(host)),
        (Some(nat), None) => Some(nat),
        (None, Some(AddressAndPortDependent)) => host,
        (None, _) => None,
    }
}
