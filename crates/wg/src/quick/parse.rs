//! Reading a configuration file, line by line.

use core::fmt;
use core::net::{IpAddr, SocketAddr};

use super::{Config, Endpoint, Interface, PeerConfig, Table};
use crate::{Key, KeyError};

/// What is wrong with a file, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuickError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong with it and what was expected. Never contains a private or preshared key.
    pub reason: String,
}

impl fmt::Display for QuickError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.reason)
    }
}

impl std::error::Error for QuickError {}

const INTERFACE_KEYS: &str =
    "PrivateKey, ListenPort, FwMark, Address, DNS, MTU, Table, PreUp, PostUp, PreDown, PostDown, SaveConfig";
const PEER_KEYS: &str = "PublicKey, PresharedKey, AllowedIPs, Endpoint, PersistentKeepalive";

/// Which section the lines belong to. A peer has no key before its `PublicKey` line, which need not be the first.
enum Section {
    None,
    Interface,
    Peer(PeerSection),
}

struct PeerSection {
    line: usize,
    key: Option<Key>,
    peer: PeerConfig,
}

pub(super) fn parse(text: &str) -> Result<Config, QuickError> {
    let mut config = Config::default();
    let mut section = Section::None;
    // A byte-order mark is what some editors begin a file with.
    for (line, text) in (1..).zip(text.trim_start_matches('\u{feff}').lines()) {
        let at = |reason| QuickError { line, reason };
        let text = text.split('#').next().unwrap_or_default().trim();
        if text.is_empty() {
            continue;
        }
        if let Some(next) = section_named(text, line) {
            finish(core::mem::replace(&mut section, next), &mut config)?;
            continue;
        }
        let (key, value) = text.split_once('=').ok_or_else(|| at(not_a_line(text)))?;
        let (key, value) = (key.trim(), value.trim());
        match &mut section {
            Section::None => Err(format!("{key} stands before any section; expected [Interface] or [Peer] first")),
            Section::Interface => interface_line(&mut config.interface, key, value),
            Section::Peer(section) => peer_line(section, key, value),
        }
        .map_err(at)?;
    }
    finish(section, &mut config)?;
    Ok(config)
}

fn section_named(text: &str, line: usize) -> Option<Section> {
    if text.eq_ignore_ascii_case("[interface]") {
        Some(Section::Interface)
    } else if text.eq_ignore_ascii_case("[peer]") {
        let peer = PeerConfig::new(Key::from_bytes([0; 32]));
        Some(Section::Peer(PeerSection { line, key: None, peer }))
    } else {
        None
    }
}

fn not_a_line(text: &str) -> String {
    if text.starts_with('[') {
        format!("unknown section {text}; expected [Interface] or [Peer]")
    } else {
        // Not shown: it may be a key that lost its name.
        "expected [Interface], [Peer] or Key = value".into()
    }
}

fn finish(section: Section, config: &mut Config) -> Result<(), QuickError> {
    match section {
        Section::None | Section::Interface => Ok(()),
        Section::Peer(PeerSection { key: Some(public_key), peer, .. }) => {
            config.peers.push(PeerConfig { public_key, ..peer });
            Ok(())
        }
        Section::Peer(PeerSection { key: None, line, .. }) => Err(QuickError {
            line,
            reason: "this [Peer] has no PublicKey; expected PublicKey = <44 characters>".into(),
        }),
    }
}

fn interface_line(interface: &mut Interface, key: &str, value: &str) -> Result<(), String> {
    match key.to_ascii_lowercase().as_str() {
        "privatekey" => interface.private_key = Some(value.parse().map_err(|why| secret("PrivateKey", why))?),
        "listenport" => {
            interface.listen_port = Some(number(value).ok_or(expected(key, value, "a port from 0 to 65535"))?)
        }
        "fwmark" => interface.fwmark = Some(mark(value).ok_or(expected(key, value, "a number, 0x… or off"))?),
        "address" => {
            for item in list(value) {
                let address =
                    address(item).ok_or(expected(key, item, "an address such as 10.0.0.2/24 or fd00::2/64"))?;
                interface.addresses.push(address);
            }
        }
        "dns" => {
            for item in list(value) {
                match item.parse::<IpAddr>() {
                    Ok(server) => interface.dns_servers.push(server),
                    Err(_) if is_host(item) => interface.dns_search.push(item.into()),
                    Err(_) => return Err(expected(key, item, "addresses of servers and search domains")),
                }
            }
        }
        "mtu" => {
            // RFC 791: every link carries 68 bytes.
            let mtu = number(value).filter(|mtu| *mtu >= 68);
            interface.mtu = Some(mtu.ok_or(expected(key, value, "bytes from 68 to 65535"))?);
        }
        "table" => interface.table = table(value).ok_or(expected(key, value, "auto, off or the number of a table"))?,
        "preup" => interface.pre_up.push(value.into()),
        "postup" => interface.post_up.push(value.into()),
        "predown" => interface.pre_down.push(value.into()),
        "postdown" => interface.post_down.push(value.into()),
        "saveconfig" => {
            interface.save_config = match value.to_ascii_lowercase().as_str() {
                "true" => true,
                "false" => false,
                _ => return Err(expected(key, value, "true or false")),
            }
        }
        _ => return Err(unknown(key, "[Interface]", INTERFACE_KEYS, "[Peer]", PEER_KEYS)),
    }
    Ok(())
}

fn peer_line(section: &mut PeerSection, key: &str, value: &str) -> Result<(), String> {
    let peer = &mut section.peer;
    match key.to_ascii_lowercase().as_str() {
        "publickey" => section.key = Some(value.parse().map_err(|why: KeyError| format!("{key} = {value}: {why}"))?),
        "presharedkey" => peer.preshared_key = Some(value.parse().map_err(|why| secret("PresharedKey", why))?),
        "allowedips" => {
            for item in list(value) {
                let prefix =
                    crate::prefix(item).ok_or(expected(key, item, "prefixes such as 10.0.0.2/32, fd00::/64"))?;
                peer.allowed_ips.push(prefix);
            }
        }
        "endpoint" => peer.endpoint = Some(endpoint(value).map_err(|what| expected(key, value, what))?),
        "persistentkeepalive" => {
            peer.keepalive = Some(seconds(value).ok_or(expected(key, value, "seconds from 0 to 65535, or off"))?);
        }
        _ => return Err(unknown(key, "[Peer]", PEER_KEYS, "[Interface]", INTERFACE_KEYS)),
    }
    Ok(())
}

fn expected(key: &str, value: &str, what: &str) -> String {
    format!("{key} = {value}: expected {what}")
}

fn secret(key: &str, why: KeyError) -> String {
    format!("{key}: {why}")
}

fn unknown(key: &str, here: &str, keys: &str, elsewhere: &str, other_keys: &str) -> String {
    if other_keys.split(", ").any(|other| other.eq_ignore_ascii_case(key)) {
        format!("{key} belongs under {elsewhere}, not under {here}")
    } else {
        format!("unknown key {key} under {here}; expected one of {keys}")
    }
}

/// The items of a comma list; an empty list has none.
fn list(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim).filter(|item| !item.is_empty())
}

fn number<T: core::str::FromStr>(text: &str) -> Option<T> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

fn mark(text: &str) -> Option<u32> {
    if text.eq_ignore_ascii_case("off") {
        return Some(0);
    }
    match text.strip_prefix("0x").or(text.strip_prefix("0X")) {
        Some(hex) if hex.bytes().all(|byte| byte.is_ascii_hexdigit()) => u32::from_str_radix(hex, 16).ok(),
        Some(_) => None,
        None => number(text),
    }
}

fn seconds(text: &str) -> Option<u16> {
    if text.eq_ignore_ascii_case("off") { Some(0) } else { number(text) }
}

/// The names are those of every Linux, linux/rtnetlink.h.
fn table(text: &str) -> Option<Table> {
    match text.to_ascii_lowercase().as_str() {
        "auto" => Some(Table::Auto),
        "off" => Some(Table::Off),
        "default" => Some(Table::Number(253)),
        "main" => Some(Table::Number(254)),
        "local" => Some(Table::Number(255)),
        text => mark(text).filter(|number| *number != 0).map(Table::Number),
    }
}

/// An address with its prefix length, or alone in its network; unlike an allowed-ip it keeps its host bits.
fn address(text: &str) -> Option<ipnet::IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(Into::into))
}

pub(super) fn endpoint(text: &str) -> Result<Endpoint, &'static str> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return if address.port() == 0 { Err("a port from 1 to 65535") } else { Ok(Endpoint::Address(address)) };
    }
    let (name, port) = text.rsplit_once(':').ok_or("a port at the end: HOST:PORT")?;
    let port = number(port).filter(|port| *port != 0).ok_or("a port from 1 to 65535 at the end")?;
    if name.contains(':') {
        return Err("an IPv6 address in brackets: [ADDRESS]:PORT");
    }
    if !is_host(name) {
        return Err("ADDRESS:PORT, [IPv6 ADDRESS]:PORT or HOST:PORT");
    }
    Ok(Endpoint::Host { name: name.into(), port })
}

/// Whether a text may be a name of a host (RFC 1123 section 2.1, and the underscore that people use).
fn is_host(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    let text = text.strip_suffix('.').unwrap_or(text);
    // What consists of numbers only is an address gone wrong.
    text.len() <= 253 && text.split('.').all(label) && !text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
}
