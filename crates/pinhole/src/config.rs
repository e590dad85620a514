//! `pinhole.toml`: any number of roles in one file.
//!
//! Every key has a default that is safe, an unknown key is an error that names its line, and the commented sample in the
//! repository's root is parsed by a test.

pub mod stun;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use ipnet::IpNet;
use pinhole_dns::Name;
use pinhole_netfilter::behaviour::Behaviour;
use serde::{Deserialize, Deserializer};

/// Where the file is looked for when `-c` is not given.
pub const DEFAULT_PATH: &str = "/etc/pinhole/pinhole.toml";

/// The whole file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// WireGuard devices that pinhole brings up.
    #[serde(default)]
    pub wireguard: Vec<WireGuard>,
    /// The DNS-SD registry.
    pub registry: Option<Registry>,
    /// The STUN server.
    pub stun: Option<stun::Stun>,
    /// Endpoint agents, one per device.
    #[serde(default)]
    pub agent: Vec<Agent>,
    /// The NAT between two interfaces of this host.
    pub gateway: Option<Gateway>,
}

/// A device to bring up from a wg-quick file.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WireGuard {
    /// The wg-quick file; the device is named after it.
    pub config: PathBuf,
    /// Use the embedded device even if the kernel has WireGuard.
    #[serde(default)]
    pub userspace: bool,
}

/// The registry's settings.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registry {
    /// Addresses to listen on. Empty: the tunnel addresses of the zones' devices.
    #[serde(default)]
    pub listen: Vec<Listen>,
    /// Who may ask, by address, besides those who ask through the tunnel. Empty: no one if it listens on tunnel addresses
    /// only, everyone if other addresses are listed.
    #[serde(default, deserialize_with = "prefixes")]
    pub allow: Vec<IpNet>,
    /// Answers a second to one unverified network (/24, /56); 0: unlimited.
    #[serde(default = "default_rate_limit")]
    pub rate_limit: u32,
    /// Serve STUN too, at every address, so that agents find out how their NATs map. Where there is a `[stun]`, that does.
    #[serde(default = "yes")]
    pub stun: bool,
    /// The UDP ports that pairs without a direct path are relayed by, two for each pair; `"off"`: none are.
    #[serde(default)]
    pub relay: RelayPorts,
    /// Megabits a second of one relayed pair; 0: unlimited.
    #[serde(default = "default_relay_mbits")]
    pub relay_mbits: u32,
    /// The zones.
    pub zone: Vec<Zone>,
}

fn yes() -> bool {
    true
}

impl Registry {
    /// What can be told without the devices.
    ///
    /// # Errors
    /// One that says what to change.
    pub fn check(&self) -> Result<()> {
        if self.zone.is_empty() {
            bail!("[registry] has no zone: add [[registry.zone]] with name and device");
        }
        for (at, Zone { name: Domain(name), .. }) in self.zone.iter().enumerate() {
            if self.zone[..at].iter().any(|zone| zone.name.0 == *name) {
                bail!("the zone {name} is there twice: give each device a zone of its own");
            }
        }
        Ok(())
    }
}

/// The default of [`Registry::relay_mbits`].
pub fn default_relay_mbits() -> u32 {
    50
}

/// The ports of a relay: `51900-52099`, or `off`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct RelayPorts(pub Option<RangeInclusive<u16>>);

impl RelayPorts {
    /// For a hundred pairs; below the ports that the kernel draws for others (32768-60999) there are services, so it is a few
    /// of those, next to WireGuard's usual one.
    pub const DEFAULT: RangeInclusive<u16> = 51_900..=52_099;
}

impl Default for RelayPorts {
    fn default() -> Self {
        Self(Some(Self::DEFAULT))
    }
}

impl TryFrom<String> for RelayPorts {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl std::str::FromStr for RelayPorts {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self(None));
        }
        let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0);
        let ends = text.split_once('-').and_then(|(first, last)| Some((port(first)?, port(last)?)));
        match ends {
            Some((first, last)) if first < last => Ok(Self(Some(first..=last))),
            Some(_) | None => Err(format!("`{text}` are no ports for a relay: expected 51900-52099 or off")),
        }
    }
}

impl std::fmt::Display for RelayPorts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Some(ports) => write!(f, "{}-{}", ports.start(), ports.end()),
            None => f.write_str("off"),
        }
    }
}

/// The default of [`Registry::rate_limit`].
pub fn default_rate_limit() -> u32 {
    pinhole_dns::policy::RateLimit::default().per_second
}

/// An address with or without a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Listen(pub SocketAddr);

impl TryFrom<String> for Listen {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        parse_dns_address(&text).map(Self)
    }
}

impl std::str::FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        parse_dns_address(text).map(Self)
    }
}

/// Reads `ADDRESS` or `ADDRESS:PORT`, with port 53 where none is given.
pub fn parse_dns_address(text: &str) -> Result<SocketAddr, String> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let with_port = text.parse().ok();
    let address = with_port.or_else(|| bare.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, 53)));
    address.ok_or_else(|| format!("`{text}` is not an address: expected 10.0.0.254, 10.0.0.254:53 or [fd00::1]:53"))
}

/// Reads a prefix, or a bare address as the prefix of that address alone.
pub fn parse_prefix(text: &str) -> Result<IpNet, String> {
    pinhole_wg::prefix(text)
        .ok_or_else(|| format!("`{text}` is not a prefix: expected 10.0.0.0/24, fd00::/64 or a bare address"))
}

fn prefixes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    texts.iter().map(|text| parse_prefix(text)).collect::<Result<_, _>>().map_err(serde::de::Error::custom)
}

/// A domain name, with or without the final dot.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Domain(pub Name);

impl TryFrom<String> for Domain {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl std::str::FromStr for Domain {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let name = text.parse::<Name>().map_err(|error| format!("`{text}` is not a domain name: {error}"))?;
        Ok(Self(name))
    }
}

/// One zone and the device whose peers are in it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Zone {
    /// Its name, such as `example.com.`
    pub name: Domain,
    /// The WireGuard device.
    pub device: String,
    /// Serve the registry itself as a peer too.
    #[serde(default, rename = "self")]
    pub itself: Itself,
    /// Names of the zone's name servers, for delegation. Empty: `ns1.<zone>`.
    #[serde(default)]
    pub ns: Vec<Domain>,
}

/// The registry's own record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(
    untagged,
    deny_unknown_fields,
    expecting = "`self` is true, false or { endpoint = \"192.0.2.1:51820\", allowed_ips = [\"10.0.0.254/32\"] }, of which \
                 each may be left out"
)]
pub enum Itself {
    /// Not served, or served with the address that the question came to and the device's port.
    Flag(bool),
    /// Served with what is given here.
    Given {
        /// Where the registry's WireGuard is reached; without it as above.
        endpoint: Option<SocketAddr>,
        /// Its allowed-ips.
        #[serde(default, deserialize_with = "prefixes")]
        allowed_ips: Vec<IpNet>,
    },
    /// Not served.
    #[default]
    #[serde(skip)]
    Absent,
}

/// An agent's settings.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Agent {
    /// The WireGuard device whose peers it keeps connected.
    pub device: String,
    /// The zone that holds them.
    pub zone: String,
    /// The DNS server: the registry's tunnel address, a wgsd or a resolver.
    pub server: Listen,
    /// Prefixes within which peers that the zone announces are added. Empty: none are.
    #[serde(default)]
    pub accept: Vec<IpNet>,
    /// Keepalive for peers that have none, in seconds; 0: leave them.
    #[serde(default = "default_keepalive")]
    pub keepalive: u16,
    /// STUN servers that tell how the NAT maps the WireGuard port. Empty: the registry's host.
    #[serde(default)]
    pub stun: Vec<stun::StunAddress>,
}

/// The default of [`Agent::keepalive`].
pub fn default_keepalive() -> u16 {
    pinhole_agent::endpoint::KEEPALIVE
}

/// A gateway's settings.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gateway {
    /// The interface that the hosts behind the NAT are at.
    pub inside: String,
    /// The interface that everybody else is at.
    pub outside: String,
    /// The address that the outside sees. Absent: the first one of `outside`, whatever becomes of it.
    pub external: Option<Ipv4Addr>,
    /// The ports of it that are the gateway's. Absent: all, unless the address is this host's own; then those above the ports
    /// that the host itself draws from.
    pub ports: Option<Ports>,
    /// The name of a behaviour to begin with.
    pub preset: Option<String>,
    /// What is different from that, in words.
    pub behaviour: Option<String>,
    /// A file as iptables-save writes it, instead of a behaviour.
    pub rules: Option<PathBuf>,
}

/// What a gateway is if nothing is said.
const DEFAULT_PRESET: &str = "openwrt";

impl Gateway {
    /// What can be told without the interfaces.
    ///
    /// # Errors
    /// One that says what to change.
    pub fn check(&self) -> Result<()> {
        if self.inside == self.outside {
            bail!("the inside and the outside of the gateway are both {}: name two interfaces", self.inside);
        }
        if self.rules.is_some() && (self.behaviour.is_some() || self.preset.is_some()) {
            bail!("rules say what the gateway does, and so does a behaviour: give one of them");
        }
        self.parse_behaviour().map(drop)
    }

    /// The behaviour, without the ports.
    ///
    /// # Errors
    /// The word that is wrong.
    pub fn parse_behaviour(&self) -> Result<Behaviour> {
        let words = self.behaviour.as_deref().unwrap_or_default();
        let has_preset = words.split_ascii_whitespace().next().is_some_and(|word| !word.contains('='));
        let text = match &self.preset {
            Some(preset) => format!("{preset} {words}"),
            None if has_preset => words.to_owned(),
            None => format!("{DEFAULT_PRESET} {words}"),
        };
        text.parse().map_err(|error| anyhow::anyhow!("the behaviour has {error}"))
    }

    /// What it does, in words.
    pub fn describe(&self) -> String {
        match (&self.rules, &self.preset, &self.behaviour) {
            (Some(rules), _, _) => format!("rules of {}", rules.display()),
            (None, None, None) => DEFAULT_PRESET.to_owned(),
            (None, preset, words) => {
                let parts = preset.iter().chain(words).map(String::as_str);
                parts.collect::<Vec<_>>().join(" ")
            }
        }
    }
}

/// A run of ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Ports {
    /// The lowest.
    pub first: u16,
    /// The highest.
    pub last: u16,
}

impl std::str::FromStr for Ports {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let ends = text.split_once('-').and_then(|(first, last)| Some((first.parse().ok()?, last.parse().ok()?)));
        match ends {
            Some((first, last)) if 0 < first && first <= last => Ok(Self { first, last }),
            Some(_) | None => Err(format!("`{text}` is not a range of ports: expected 61000-65535")),
        }
    }
}

impl TryFrom<String> for Ports {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl std::fmt::Display for Ports {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// One that names the file, the line and what was expected.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the configuration {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("{} is not a valid configuration", path.display()))
    }

    /// Reads a text.
    ///
    /// # Errors
    /// One that names the line and what was expected.
    pub fn parse(text: &str) -> Result<Self> {
        let config: Self = toml::from_str(text)?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<()> {
        let is_empty = self.registry.is_none() && self.stun.is_none() && self.gateway.is_none();
        if is_empty && self.wireguard.is_empty() && self.agent.is_empty() {
            bail!(
                "it names no role: add [[wireguard]], [registry], [stun], [[agent]] or [gateway] (see pinhole.sample.toml)"
            );
        }
        if let Some(gateway) = &self.gateway {
            gateway.check()?;
        }
        if let Some(registry) = &self.registry {
            registry.check()?;
        }
        if let Some(stun) = &self.stun {
            stun.sites().context("[stun]")?;
        }
        if let Some(twice) = twice(self.agent.iter().map(|agent| &agent.device)) {
            bail!("two [[agent]] entries name the device {twice}: one agent minds one device");
        }
        if let Some(twice) = twice(self.wireguard.iter().filter_map(|wireguard| wireguard.config.file_name())) {
            bail!("two [[wireguard]] entries have a file {}: the device is named after it", twice.display());
        }
        for zone in self.agent.iter().map(|agent| &agent.zone) {
            if let Err(error) = zone.parse::<Name>() {
                bail!("the zone `{zone}`: {error}");
            }
        }
        Ok(())
    }
}

/// Something that comes twice, if anything does.
fn twice<T: Ord>(items: impl Iterator<Item = T>) -> Option<T> {
    let mut seen = BTreeSet::new();
    items.into_iter().find_map(|item| seen.replace(item))
}

#[cfg(test)]
mod tests;
