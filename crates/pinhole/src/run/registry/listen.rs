//! Where the registry listens.
//!
//! Private by default: on the tunnel addresses of its devices and through the tunnel only (`SO_BINDTODEVICE`), so that whoever
//! asks has been proven to be a peer. Addresses that the configuration lists come in place of that; those of them that are
//! tunnel addresses are treated as such, and the tunnel is served beside a wildcard too, since agents ask there.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use anyhow::{Result, bail};
use pinhole_dns::answers::Answers;
use pinhole_dns::policy::{Access, AccessList, RateLimit};
use pinhole_host::dns::{Config, Listen, Server, SlowQuery};
use pinhole_host::embedded::fill_random;
use pinhole_host::netlink::route::{self, Interface};
use tokio::sync::mpsc;

use crate::config::{self, Itself};
use crate::run::clock;

const DNS_PORT: u16 = 53;

/// One address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) address: SocketAddr,
    /// The WireGuard device that it is the tunnel address of.
    device: Option<String>,
    /// The wildcard is listened at too, with the same port.
    beside_wildcard: bool,
}

impl Place {
    /// Does the way in prove who asks?
    pub(super) fn is_tunnel(&self) -> bool {
        self.device.is_some()
    }
}

/// The addresses of the configuration, else the tunnel addresses of the devices.
pub(super) fn places(settings: &config::Registry) -> Result<Vec<Place>> {
    let interfaces = route::interfaces(&mut route::open()?)?;
    let devices: Vec<&str> = settings.zone.iter().map(|zone| zone.device.as_str()).collect();
    let tunnel = |port: u16| -> Vec<Place> {
        let own = interfaces.iter().filter(|interface| devices.contains(&interface.link.name.as_str()));
        own.flat_map(|interface| addresses(interface, port, Some(interface.link.name.clone()))).collect()
    };
    let mut places = Vec::new();
    if settings.listen.is_empty() {
        places = tunnel(DNS_PORT);
        if let Some(bare) =
            devices.iter().find(|name| !places.iter().any(|place| place.device.as_deref() == Some(**name)))
        {
            bail!(
                "{bare} has no address to listen on: give it one (ip address add 10.0.0.254/24 dev {bare}), or say where to \
                 listen (--listen, or `listen` in [registry])"
            );
        }
    }
    for listen in &settings.listen {
        let address = listen.0;
        if !address.ip().is_unspecified() {
            let device = tunnel(address.port()).into_iter().find(|place| place.address == address);
            places.push(device.unwrap_or(Place { address, device: None, beside_wildcard: false }));
            continue;
        }
        places.extend(tunnel(address.port()).into_iter().filter(|place| place.address.is_ipv4() == address.is_ipv4()));
        if serves_itself_where_asked(settings) {
            // Each address gives another answer.
            let all = interfaces.iter().flat_map(|interface| addresses(interface, address.port(), None));
            places.extend(all.filter(|place| place.address.is_ipv4() == address.is_ipv4()));
        } else {
            places.push(Place { address, device: None, beside_wildcard: false });
        }
    }
    if !settings.allow.is_empty() && places.iter().all(Place::is_tunnel) {
        bail!(
            "`allow` says who may ask from outside the tunnel, but nobody outside can: all that is listened on is in the \
             tunnel; add an address outside it (--listen, or `listen` in [registry]), or leave `allow` out"
        );
    }
    let mut seen: Vec<SocketAddr> = Vec::new();
    places.retain(|place| {
        let new = !seen.contains(&place.address);
        seen.push(place.address);
        new
    });
    // The wildcard goes first: it shows whether the port is free, and the others then share it.
    places.sort_by_key(|place| !place.address.ip().is_unspecified());
    let wildcards: Vec<SocketAddr> = seen.into_iter().filter(|address| address.ip().is_unspecified()).collect();
    for place in places.iter_mut().filter(|place| !place.address.ip().is_unspecified()) {
        let (v4, port) = (place.address.is_ipv4(), place.address.port());
        place.beside_wildcard = wildcards.iter().any(|wildcard| wildcard.is_ipv4() == v4 && wildcard.port() == port);
    }
    Ok(places)
}

/// The addresses of the name servers that lie in a zone: those that the configuration names outside the tunnel, for a resolver
/// that is sent elsewhere by the zone's own records finds nobody there; else those in the tunnel. A wildcard names none.
pub(super) fn name_server_addresses(settings: &config::Registry, places: &[Place]) -> Vec<IpAddr> {
    let is_named =
        |place: &&Place| settings.listen.is_empty() || settings.listen.iter().any(|listen| listen.0 == place.address);
    let named: Vec<&Place> = places.iter().filter(is_named).collect();
    let is_outside = |place: &&Place| !place.is_tunnel() && !place.address.ip().is_loopback();
    let addresses = match named.iter().any(is_outside) {
        true => named.into_iter().filter(is_outside).collect(),
        false => named,
    };
    addresses.iter().map(|place| place.address.ip()).filter(|ip| !ip.is_unspecified()).collect()
}

/// Listens at `place` and answers from `answers`.
pub(super) fn bind(
    settings: &config::Registry,
    place: &Place,
    answers: Arc<Answers>,
) -> Result<(Server, mpsc::Receiver<SlowQuery>)> {
    let mut secret = [0; 16];
    fill_random(&mut secret)?;
    let rules = settings.allow.iter().map(|&prefix| (prefix, Access::Allow)).collect();
    let access = match (place.is_tunnel(), settings.allow.is_empty()) {
        (true, _) | (_, true) => AccessList::default(),
        (false, false) => AccessList { rules, otherwise: Access::Refuse },
    };
    let rate = RateLimit {
        per_second: settings.rate_limit,
        burst: settings.rate_limit.saturating_mul(2),
        ..RateLimit::default()
    };
    let config = Config {
        listen: vec![Listen {
            address: place.address,
            device: place.device.clone(),
            verified: place.is_tunnel(),
            beside_wildcard: place.beside_wildcard,
        }],
        access,
        rate: (settings.rate_limit > 0).then_some(rate),
        cookies: Some(secret),
        slow_on_miss: true,
        seed: clock::seed(),
        ..Config::default()
    };
    Ok(Server::bind(config, answers)?)
}

fn addresses(interface: &Interface, port: u16, device: Option<String>) -> impl Iterator<Item = Place> {
    // Link-local addresses need a scope that no DNS client of ours has.
    let usable = interface.addresses.iter().map(|address| address.net.addr()).filter(|ip| match ip {
        IpAddr::V4(_) => true,
        IpAddr::V6(v6) => !v6.is_unicast_link_local(),
    });
    usable.map(move |ip| Place { address: SocketAddr::new(ip, port), device: device.clone(), beside_wildcard: false })
}

fn serves_itself_where_asked(settings: &config::Registry) -> bool {
    settings.zone.iter().any(|zone| matches!(zone.itself, Itself::Flag(true) | Itself::Given { endpoint: None, .. }))
}
