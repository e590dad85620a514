//! Who has which key and tunnel address. The registry's device knows everyone's key and nobody's endpoint; a peer's device
//! knows the registry's endpoint and not the other peer's.

use std::net::{Ipv4Addr, SocketAddr};

use ipnet::{IpNet, Ipv4Net};
use pinhole_wg::quick::{Config, Endpoint, Interface, PeerConfig};
use pinhole_wg::{Key, PrivateKey};

/// The zone that the registry serves.
pub const ZONE: &str = "example.com.";
/// The name of every device, each on its own host.
pub const DEVICE: &str = "wg0";
/// WireGuard's port on every host.
pub const PORT: u16 = 51_820;
/// Keeps the mappings towards the registry open.
const KEEPALIVE: u16 = 5;

/// The public addresses, as `Topology::two_homes` gives them.
pub const HUB: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
/// Alice's home.
pub const ALICE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
/// Bob's home.
pub const BOB: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// The hosts.
pub const NAMES: [&str; 3] = ["hub", "alice", "bob"];

/// The host's tunnel address.
pub fn tunnel(name: &str) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, [254, 1, 2][number(name)])
}

/// The host's key.
pub fn key(name: &str) -> Key {
    private_key(name).public()
}

/// The host's private key.
pub fn private_key(name: &str) -> PrivateKey {
    PrivateKey::generate([number(name) as u8 + 1; 32])
}

/// What the host's device is to be.
pub fn config(name: &str) -> Config {
    let interface = Interface {
        private_key: Some(private_key(name)),
        listen_port: Some(PORT),
        addresses: vec![IpNet::V4(Ipv4Net::new_assert(tunnel(name), 24))],
        ..Interface::default()
    };
    let others = NAMES.into_iter().filter(|&other| other != name);
    let peers = others.map(|other| PeerConfig {
        allowed_ips: vec![IpNet::V4(tunnel(other).into())],
        endpoint: (other == "hub").then(|| Endpoint::Address(SocketAddr::new(HUB.into(), PORT))),
        keepalive: (other == "hub").then_some(KEEPALIVE),
        ..PeerConfig::new(key(other))
    });
    Config { interface, peers: peers.collect() }
}

fn number(name: &str) -> usize {
    NAMES.iter().position(|known| *known == name).unwrap_or_else(|| panic!("there is no host {name}"))
}
