//! Configuration files of `wg` (wg(8), "CONFIGURATION FILE FORMAT") and of `wg-quick` (wg-quick(8)), which adds to them what
//! an interface needs besides its keys.
//!
//! Whatever those two accept is accepted here: keys and section names in any case, comments from `#` to the end of a line,
//! lists over several lines, the last value where a key may have only one. What they would only find when it is too late is
//! refused with its line: an unknown key, a port that is none, a peer without a key. Names in `Endpoint` are kept as names and
//! the hooks (`PostUp` …) as text with their `%i`; resolving the ones and running the others is the caller's business.

use core::fmt;
use core::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use crate::{Device, DeviceUpdate, Key, PeerUpdate, PresharedKey, PrivateKey};

mod format;
mod parse;

pub use parse::QuickError;

/// A configuration file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// All that stands under `[Interface]`.
    pub interface: Interface,
    /// One for each `[Peer]`, in order.
    pub peers: Vec<PeerConfig>,
}

/// What stands under `[Interface]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// `PrivateKey`.
    pub private_key: Option<PrivateKey>,
    /// `ListenPort`; without one the device chooses.
    pub listen_port: Option<u16>,
    /// `FwMark`; 0 and `off` are the same.
    pub fwmark: Option<u32>,
    /// `Address`: the interface's own addresses with the prefix length of their network.
    pub addresses: Vec<IpNet>,
    /// The addresses under `DNS`.
    pub dns_servers: Vec<IpAddr>,
    /// The search domains under `DNS`.
    pub dns_search: Vec<String>,
    /// `MTU`, in bytes.
    pub mtu: Option<u16>,
    /// `Table`.
    pub table: Table,
    /// `PreUp`, in order; `%i` stands for the interface's name.
    pub pre_up: Vec<String>,
    /// `PostUp`.
    pub post_up: Vec<String>,
    /// `PreDown`.
    pub pre_down: Vec<String>,
    /// `PostDown`.
    pub post_down: Vec<String>,
    /// `SaveConfig`: whether the device's state is to be written back when it goes down.
    pub save_config: bool,
}

/// Where the routes to the peers' allowed-ips go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Table {
    /// To the main table, and default routes to a table of their own with the rules that avoid a loop.
    #[default]
    Auto,
    /// Nowhere: no routes are made.
    Off,
    /// All to this table.
    Number(u32),
}

/// What stands under one `[Peer]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerConfig {
    /// `PublicKey`.
    pub public_key: Key,
    /// `PresharedKey`.
    pub preshared_key: Option<PresharedKey>,
    /// `AllowedIPs`, with host bits cleared.
    pub allowed_ips: Vec<IpNet>,
    /// `Endpoint`.
    pub endpoint: Option<Endpoint>,
    /// `PersistentKeepalive` in seconds; 0 and `off` are the same.
    pub keepalive: Option<u16>,
}

/// Where a peer is, as its configuration says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// At an address.
    Address(SocketAddr),
    /// At whatever address a name has.
    Host {
        /// The name.
        name: String,
        /// The UDP port.
        port: u16,
    },
}

impl Config {
    /// Reads a file.
    pub fn parse(text: &str) -> Result<Self, QuickError> {
        parse::parse(text)
    }

    /// What `wg showconf` prints of a device: its keys and peers, and nothing that only wg-quick knows of.
    pub fn of_device(device: &Device) -> Self {
        let interface = Interface {
            private_key: device.private_key,
            listen_port: (device.listen_port != 0).then_some(device.listen_port),
            fwmark: (device.fwmark != 0).then_some(device.fwmark),
            ..Interface::default()
        };
        let peers = device.peers.iter().map(|peer| PeerConfig {
            public_key: peer.public_key,
            preshared_key: peer.preshared_key,
            allowed_ips: peer.allowed_ips.clone(),
            endpoint: peer.endpoint.map(Endpoint::Address),
            keepalive: (peer.keepalive != 0).then_some(peer.keepalive),
        });
        Self { interface, peers: peers.collect() }
    }

    /// The change that makes a device what this file says, as `wg setconf` would: peers it does not name are removed, a port
    /// or mark it does not name is taken back. `resolve` is asked for each endpoint, and where it gives `None` the peer gets
    /// none.
    pub fn update(&self, resolve: impl FnMut(&Endpoint) -> Option<SocketAddr>) -> DeviceUpdate {
        let mut resolve = resolve;
        let peers = self.peers.iter().map(|peer| PeerUpdate {
            preshared_key: Some(peer.preshared_key.unwrap_or(PresharedKey::from_bytes([0; 32]))),
            endpoint: peer.endpoint.as_ref().and_then(&mut resolve),
            keepalive: Some(peer.keepalive.unwrap_or(0)),
            replace_allowed_ips: true,
            allowed_ips: peer.allowed_ips.clone(),
            ..PeerUpdate::new(peer.public_key)
        });
        DeviceUpdate {
            private_key: self.interface.private_key,
            listen_port: Some(self.interface.listen_port.unwrap_or(0)),
            fwmark: Some(self.interface.fwmark.unwrap_or(0)),
            replace_peers: true,
            peers: peers.collect(),
        }
    }

    /// The file as text, in wg-quick's order. Contains the secrets; for the file or the terminal, not for a log.
    pub fn to_text(&self) -> String {
        format::format(self)
    }
}

impl PeerConfig {
    /// A peer that nothing but its key is known of.
    pub const fn new(public_key: Key) -> Self {
        Self { public_key, preshared_key: None, allowed_ips: Vec::new(), endpoint: None, keepalive: None }
    }
}

impl Endpoint {
    /// The address, where no name has to be resolved.
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Address(address) => Some(*address),
            Self::Host { .. } => None,
        }
    }
}

impl core::str::FromStr for Endpoint {
    type Err = &'static str;

    /// Reads `HOST:PORT`, `ADDRESS:PORT` or `[IPv6 ADDRESS]:PORT`; the error says what was expected.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse::endpoint(text)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Host { name, port } => write!(f, "{name}:{port}"),
        }
    }
}

/// The interface that wg-quick makes of a file with this name: the name without `.conf`, if it can be one.
///
/// ```
/// assert_eq!(pinhole_wg::quick::interface_name("wg0.conf"), Some("wg0"));
/// assert_eq!(pinhole_wg::quick::interface_name("a-name-of-sixteen.conf"), None);
/// ```
pub fn interface_name(file_name: &str) -> Option<&str> {
    // IFNAMSIZ is 16 with the closing zero; the characters are wg-quick's.
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_=+.-".contains(&byte);
    let name = file_name.strip_suffix(".conf")?;
    ((1..=15).contains(&name.len()) && name.bytes().all(allowed)).then_some(name)
}

#[cfg(test)]
mod tests;
