//! A zone made of a device's peers, with the names, order and texts of wgsd, and what wgsd leaves out.
//!
//! Per peer with an endpoint, in the device's order and the registry itself last: `PTR` at the service, and at the instance
//! `SRV`, `A` or `AAAA` and `TXT`, all with TTL 0. Beside them what a delegated zone needs: name servers with addresses and
//! the list of service types (RFC 6763 §9).

use core::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use pinhole_dns::zone::Zone;
use pinhole_dns::{Name, RData, Soa, Srv};
use pinhole_wg::{Device, Key, Peer};

use crate::naming;

/// TTL of what may change with the next packet: none, as wgsd has it.
const LIVE_TTL: u32 = 0;

/// TTL in seconds of what changes with the configuration only.
const STATIC_TTL: u32 = 60;

/// A character-string of a TXT record holds 255 octets (RFC 1035 §3.3); one that is full reads as if the next continued it.
const MAX_STRING: usize = 254;

/// A TXT record tells at most so much of a peer's prefixes, in octets: the data of a record ends at 65,535 (RFC 1035 §3.2.1),
/// and a message that carries it has a question and other records too. That is some 3,000 prefixes; the rest is left out.
const MAX_TEXT: usize = 60_000;

/// The registry's own record, as configured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Itself {
    /// Where its WireGuard is reached; without it, the address that a question came to and the device's port.
    pub endpoint: Option<SocketAddr>,
    /// Its allowed-ips.
    pub allowed_ips: Vec<IpNet>,
}

/// One zone of a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneConfig {
    /// The name of the zone.
    pub origin: Name,
    /// The device whose peers are in it.
    pub device: String,
    /// Whether the registry itself is in it.
    pub itself: Option<Itself>,
    /// Names of the zone's name servers; empty: `ns1` below the origin.
    pub name_servers: Vec<Name>,
    /// Addresses of those name servers that lie in the zone.
    pub addresses: Vec<IpAddr>,
}

/// Builds the zone of `device`. `local` is the address that the question came to, for a registry whose own endpoint is not
/// configured; without it the registry's own address records are left out.
pub fn build(config: &ZoneConfig, device: &Device, serial: u32, local: Option<IpAddr>) -> Zone {
    let mut zone = Zone::new(config.origin.clone(), soa(config, serial), STATIC_TTL);
    let mut builder = Builder { zone: &mut zone, origin: &config.origin };
    builder.name_servers(config);
    builder.service();
    for peer in &device.peers {
        if let Some(endpoint) = peer.endpoint {
            builder.peer(&peer.public_key, Some(endpoint), &peer.allowed_ips);
        }
    }
    if let (Some(itself), Some(key)) = (&config.itself, &device.public_key) {
        let seen_here = local.map(|ip| SocketAddr::new(ip, device.listen_port));
        builder.peer(key, itself.endpoint.or(seen_here), &itself.allowed_ips);
    }
    zone
}

/// Must a question for the registry itself be answered by where it came to?
pub(crate) fn depends_on_local_address(config: &ZoneConfig) -> bool {
    config.itself.as_ref().is_some_and(|itself| itself.endpoint.is_none())
}

/// The name of a peer's instance.
pub fn instance(origin: &Name, label: &str) -> Option<Name> {
    let [service, protocol] = naming::SERVICE;
    origin.child(protocol).ok()?.child(service).ok()?.child(label).ok()
}

/// Which of a device's peers may send from `source`: the one with the longest prefix.
pub(crate) fn peer_of(device: &Device, source: IpAddr) -> Option<&Peer> {
    let prefixes = device.peers.iter().flat_map(|peer| peer.allowed_ips.iter().map(move |net| (net, peer)));
    let covering = prefixes.filter(|(net, _)| net.contains(&source));
    covering.max_by_key(|(net, _)| net.prefix_len()).map(|(_, peer)| peer)
}

fn soa(config: &ZoneConfig, serial: u32) -> Soa {
    let mut soa = Zone::soa_for(&config.origin, serial);
    if let Some(first) = config.name_servers.first() {
        soa.mname = first.clone();
    }
    soa
}

struct Builder<'a> {
    zone: &'a mut Zone,
    origin: &'a Name,
}

impl Builder<'_> {
    /// A record whose name is too long for DNS, or outside the zone, has no place in it: an origin of 200 octets leaves no
    /// room for instances, which the configuration's reader has checked.
    fn add(&mut self, owner: Option<Name>, ttl: u32, data: RData) {
        if let Some(owner) = owner {
            let _ = self.zone.add(owner, ttl, data);
        }
    }

    fn name_servers(&mut self, config: &ZoneConfig) {
        let default = self.origin.child("ns1").ok();
        let names =
            if config.name_servers.is_empty() { default.into_iter().collect() } else { config.name_servers.clone() };
        for name in names {
            self.add(Some(self.origin.clone()), STATIC_TTL, RData::Ns(name.clone()));
            for &address in &config.addresses {
                // An address of a name server elsewhere is not ours to give.
                self.add(Some(name.clone()), STATIC_TTL, address_data(address));
            }
        }
    }

    /// `_services._dns-sd._udp`, and the service's own name, which exists even while it has no instance.
    fn service(&mut self) {
        let [service, protocol] = naming::SERVICE;
        let udp = self.origin.child(protocol).ok();
        let types = udp.clone().and_then(|udp| udp.child("_dns-sd").ok()).and_then(|sd| sd.child("_services").ok());
        if let Some(service) = udp.and_then(|udp| udp.child(service).ok()) {
            self.add(types, STATIC_TTL, RData::Ptr(service.clone()));
            let _ = self.zone.add_empty(service);
        }
    }

    fn peer(&mut self, key: &Key, endpoint: Option<SocketAddr>, allowed_ips: &[IpNet]) {
        let [service, protocol] = naming::SERVICE;
        let service = self.origin.child(protocol).ok().and_then(|udp| udp.child(service).ok());
        let Some(name) = instance(self.origin, &naming::label(key)) else { return };
        self.add(service, LIVE_TTL, RData::Ptr(name.clone()));
        for data in endpoint.into_iter().flat_map(|endpoint| service_records(&name, endpoint)) {
            self.add(Some(name.clone()), LIVE_TTL, data);
        }
        self.add(Some(name.clone()), LIVE_TTL, RData::txt(texts(key, allowed_ips)));
        if let Some(alias) = instance(self.origin, &naming::short_label(key)) {
            let _ = self.zone.alias(alias, name);
        }
    }
}

/// What says where an instance is: SRV, whose target is the instance itself, and the address.
pub(crate) fn service_records(name: &Name, endpoint: SocketAddr) -> impl Iterator<Item = RData> {
    let srv = Srv { priority: 0, weight: 0, port: endpoint.port(), target: name.clone() };
    [RData::Srv(srv), address_data(endpoint.ip())].into_iter()
}

/// A v4-mapped address is served as the IPv4 address that it is, as wgsd does.
fn address_data(address: IpAddr) -> RData {
    match address.to_canonical() {
        IpAddr::V4(v4) => RData::A(v4),
        IpAddr::V6(v6) => RData::Aaaa(v6),
    }
}

/// The strings of a peer's TXT record. wgsd has one `allowed` however long it is, and cannot send it if that exceeds 255
/// octets; here the list goes on in `allowed2`, `allowed3` …, since of equal keys a reader must take only the first (RFC
/// 6763 §6.4).
fn texts(key: &Key, allowed_ips: &[IpNet]) -> Vec<String> {
    let mut texts = vec!["txtvers=1".to_owned(), format!("pub={key}"), "allowed=".to_owned()];
    let (mut empty, mut lists, mut told) = (true, 1, 0);
    for net in allowed_ips {
        let net = net.to_string();
        told += net.len() + 1;
        if told > MAX_TEXT {
            break;
        }
        let Some(list) = texts.last_mut() else { break };
        if list.len() + 1 + net.len() > MAX_STRING {
            lists += 1;
            texts.push(format!("allowed{lists}={net}"));
            continue;
        }
        if !core::mem::take(&mut empty) {
            list.push(',');
        }
        list.push_str(&net);
    }
    texts
}

/// The allowed-ips that the strings of a TXT record list, ours or wgsd's. What is no prefix is passed over.
pub fn allowed_ips(strings: &[Vec<u8>]) -> Vec<IpNet> {
    let lists = strings.iter().filter_map(|string| {
        let text = core::str::from_utf8(string).ok()?;
        let (key, list) = text.split_once('=')?;
        let number = key.strip_prefix("allowed")?;
        number.bytes().all(|digit| digit.is_ascii_digit()).then_some(list)
    });
    lists.flat_map(|list| list.split(',')).filter_map(|net| net.parse().ok()).collect()
}

#[cfg(test)]
pub(crate) mod tests;
