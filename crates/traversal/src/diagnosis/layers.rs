//! Which translations are on the way, from here outwards.
//!
//! Servers outside see all of them together. That there is more than one is seen in four ways: the first hop says that its own
//! outside address is not the one that servers see; an address on the way belongs to carriers' NATs (100.64.0.0/10); or, which is
//! weaker, routers beyond the first hop have private addresses, since a provider may use those without translating, or strangers
//! are kept out somewhere beyond the first hop, which a firewall does too. Which NAT each is: [kinds].

use core::net::IpAddr;

use super::Protocol;
use super::facts::{Facts, Nat, Outside, is_private, is_shared};
use super::kinds::{self, Kind};

/// A translation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Whose it is.
    pub owner: Owner,
    /// The address that it has towards us.
    pub inside: Option<IpAddr>,
    /// The address that it gives to our packets.
    pub outside: Option<IpAddr>,
    /// Whether it must be there; otherwise it is likely.
    pub is_certain: bool,
    /// By what.
    pub evidence: Vec<Evidence>,
    /// Which NAT it is.
    pub kind: Kind,
}

/// Whose a NAT is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The first hop: a home router, a telephone, a host of containers.
    FirstHop,
    /// Another router behind the first, with a private address: a second home router, or the provider's modem.
    SecondRouter,
    /// The provider.
    Carrier,
}

/// Why a layer is believed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// Servers see another address than this host has.
    SeenAs {
        /// What it has.
        own: IpAddr,
        /// What they see.
        public: IpAddr,
    },
    /// The first hop says what its outside address is.
    Told {
        /// By this protocol.
        by: Protocol,
        /// The address.
        external: IpAddr,
    },
    /// An address of carriers' NATs.
    Shared {
        /// The address.
        ip: IpAddr,
    },
    /// A router with a private address beyond the first hop.
    PrivateHop {
        /// How far away.
        ttl: u8,
        /// Its address.
        ip: IpAddr,
    },
    /// What keeps strangers out is beyond the first hop.
    FilterBeyond {
        /// How far away.
        hops: u8,
    },
}

/// The layers that `facts` show.
pub fn of(facts: &Facts) -> Vec<Layer> {
    let Outside::Answers(nat) = &facts.udp else { return without_servers(facts) };
    let mut layers = seen(facts, nat);
    let kinds = kinds::of(nat, layers.len());
    layers.iter_mut().zip(kinds).for_each(|(layer, kind)| layer.kind = kind);
    layers
}

/// Those that servers see, and what else shows that they are several.
fn seen(facts: &Facts, nat: &Nat) -> Vec<Layer> {
    let own = facts.default_v4.as_ref().and_then(|route| route.source);
    let public = nat.public.first().copied();
    let (Some(true), Some(own), Some(public)) = (nat.translated, own, public) else { return Vec::new() };
    let gateway = facts.default_v4.as_ref().and_then(|route| route.router);
    let seen = Evidence::SeenAs { own, public };
    // A telephone has the carrier's address itself.
    if is_shared(own) {
        let evidence = vec![seen, Evidence::Shared { ip: own }];
        return vec![Layer {
            owner: Owner::Carrier,
            inside: gateway,
            outside: Some(public),
            is_certain: true,
            evidence,
            kind: Kind::default(),
        }];
    }
    let first = Layer {
        owner: Owner::FirstHop,
        inside: gateway,
        outside: Some(public),
        is_certain: true,
        evidence: vec![seen],
        kind: Kind::default(),
    };
    let Some((by, external)) = facts.first_hop.external() else {
        return match beyond(facts) {
            Some(second) => vec![Layer { outside: None, ..first }, Layer { outside: Some(public), ..second }],
            None => filtered_beyond(nat, first),
        };
    };
    let told = Evidence::Told { by, external };
    let mut first = first;
    first.outside = Some(external);
    first.evidence.push(told);
    // A pool may give one flow another address than the gateway's.
    if nat.public.contains(&external) {
        return vec![first];
    }
    let owner = if is_private(external) && beyond(facts).is_none_or(|layer| layer.owner == Owner::SecondRouter) {
        Owner::SecondRouter
    } else {
        Owner::Carrier
    };
    let mut evidence = vec![told, Evidence::SeenAs { own: external, public }];
    if is_shared(external) {
        evidence.push(Evidence::Shared { ip: external });
    }
    let inside = beyond(facts).and_then(|layer| layer.inside);
    vec![first, Layer { owner, inside, outside: Some(public), is_certain: true, evidence, kind: Kind::default() }]
}

/// The first hop alone, or with another NAT where the filter is that keeps strangers out.
fn filtered_beyond(nat: &Nat, first: Layer) -> Vec<Layer> {
    let Some(hops) = nat.outermost_filter.filter(|hops| *hops > 1) else { return vec![first] };
    let beyond = Layer {
        owner: Owner::Carrier,
        inside: None,
        outside: first.outside,
        is_certain: false,
        evidence: vec![Evidence::FilterBeyond { hops }],
        kind: Kind::default(),
    };
    // A first hop that only routes, with the one NAT behind it, looks the same.
    vec![Layer { outside: None, is_certain: false, ..first }, beyond]
}

/// A second layer by the routers on the way.
fn beyond(facts: &Facts) -> Option<Layer> {
    let hops = facts.hops.iter().filter(|hop| hop.ttl >= 2);
    let hops: Vec<(u8, IpAddr)> = hops.filter_map(|hop| Some((hop.ttl, hop.address?.into()))).collect();
    let layer = |owner, ip, evidence| Layer {
        owner,
        inside: Some(ip),
        outside: None,
        is_certain: owner == Owner::Carrier,
        evidence: vec![evidence],
        kind: Kind::default(),
    };
    if let Some(&(_, ip)) = hops.iter().find(|(_, ip)| is_shared(*ip)) {
        return Some(layer(Owner::Carrier, ip, Evidence::Shared { ip }));
    }
    // Only what comes before the first public address can be an inside.
    let mut before_public = hops.iter().take_while(|(_, ip)| is_private(*ip));
    let &(ttl, ip) = before_public.next()?;
    Some(layer(Owner::SecondRouter, ip, Evidence::PrivateHop { ttl, ip }))
}

/// Without servers only the first hop's own words and the addresses on the way are left.
fn without_servers(facts: &Facts) -> Vec<Layer> {
    let own = facts.default_v4.as_ref().and_then(|route| route.source);
    let gateway = facts.default_v4.as_ref().and_then(|route| route.router);
    let kind = Kind::default();
    let layer = |owner, inside, outside, evidence| Layer { owner, inside, outside, is_certain: true, evidence, kind };
    if let Some(own) = own.filter(|&own| is_shared(own)) {
        return vec![layer(Owner::Carrier, gateway, None, vec![Evidence::Shared { ip: own }])];
    }
    let Some((by, external)) = facts.first_hop.external().filter(|(_, external)| Some(*external) != own) else {
        return Vec::new();
    };
    let told = Evidence::Told { by, external };
    let mut layers = vec![layer(Owner::FirstHop, gateway, Some(external), vec![told])];
    if is_shared(external) {
        layers.push(layer(Owner::Carrier, None, None, vec![told, Evidence::Shared { ip: external }]));
    } else if is_private(external) {
        layers.push(layer(Owner::SecondRouter, None, None, vec![told]));
    }
    layers
}
