//! `set=1`: a change to a device, as text.

use core::fmt::Write;

use ipnet::IpNet;

use super::{EINVAL, EPROTO, HANDSHAKE_KEY, Refusal, decimal};
use crate::{DeviceUpdate, Key, PeerUpdate, PresharedKey, PrivateKey};

/// Writes the whole request, from `set=1` to the empty line.
pub fn format_set(update: &DeviceUpdate) -> String {
    let mut text = String::from("set=1\n");
    // Writing to a `String` cannot fail.
    let _ = write_update(&mut text, update);
    text.push('\n');
    text
}

fn write_update(text: &mut String, update: &DeviceUpdate) -> core::fmt::Result {
    if let Some(key) = &update.private_key {
        writeln!(text, "private_key={}", key.to_hex())?;
    }
    if let Some(port) = update.listen_port {
        writeln!(text, "listen_port={port}")?;
    }
    if let Some(mark) = update.fwmark {
        writeln!(text, "fwmark={mark}")?;
    }
    if update.replace_peers {
        writeln!(text, "replace_peers=true")?;
    }
    update.peers.iter().try_for_each(|peer| write_peer(text, peer))
}

fn write_peer(text: &mut String, peer: &PeerUpdate) -> core::fmt::Result {
    writeln!(text, "public_key={}", peer.public_key.to_hex())?;
    // `update_only` must come before all that it is to keep from creating a peer; what follows a `remove` has no effect.
    if peer.update_only {
        writeln!(text, "update_only=true")?;
    }
    if peer.remove {
        return writeln!(text, "remove=true");
    }
    if let Some(key) = &peer.preshared_key {
        writeln!(text, "preshared_key={}", key.to_hex())?;
    }
    if let Some(endpoint) = peer.endpoint {
        writeln!(text, "endpoint={endpoint}")?;
    }
    if let Some(seconds) = peer.keepalive {
        writeln!(text, "persistent_keepalive_interval={seconds}")?;
    }
    if peer.replace_allowed_ips {
        writeln!(text, "replace_allowed_ips=true")?;
    }
    for prefix in &peer.allowed_ips {
        writeln!(text, "allowed_ip={prefix}")?;
    }
    if peer.handshake {
        writeln!(text, "{HANDSHAKE_KEY}=true")?;
    }
    Ok(())
}

/// Reads a whole `set=1` request, up to the first empty line or the end.
///
/// A key that stands twice for one peer takes its last value, prefixes add up, and two groups of one peer stay two changes in
/// order. The form `allowed_ip=-PREFIX`, which takes one prefix away, is refused: the model has no word for it.
pub fn parse_set(text: &str) -> Result<DeviceUpdate, Refusal> {
    let mut lines = text.lines();
    if lines.next() != Some("set=1") {
        return Err(Refusal { errno: EPROTO, reason: "line 1: expected set=1".into() });
    }
    let mut update = DeviceUpdate::default();
    for (number, line) in (2..).zip(lines.take_while(|line| !line.is_empty())) {
        let Some((key, value)) = line.split_once('=') else {
            return Err(Refusal { errno: EPROTO, reason: format!("line {number}: expected key=value") });
        };
        let done = match (key, update.peers.last_mut()) {
            ("public_key", _) => peer_key(value).map(|peer| update.peers.push(peer)),
            (_, None) => device_line(&mut update, key, value),
            (_, Some(peer)) => peer_line(peer, key, value),
        };
        // The value stays out of the reason: it may be a key.
        done.map_err(|why| Refusal { errno: EINVAL, reason: format!("line {number}: {}: {why}", key.escape_debug()) })?;
    }
    Ok(update)
}

const NOT_A_KEY: &str = "expected 64 hexadecimal digits";

fn peer_key(value: &str) -> Result<PeerUpdate, &'static str> {
    Key::from_hex(value).map(PeerUpdate::new).map_err(|_| NOT_A_KEY)
}

fn device_line(update: &mut DeviceUpdate, key: &str, value: &str) -> Result<(), &'static str> {
    match key {
        "private_key" => update.private_key = Some(PrivateKey::from_hex(value).map_err(|_| NOT_A_KEY)?),
        "listen_port" => update.listen_port = Some(decimal(value).ok_or("expected a port from 0 to 65535")?),
        "fwmark" => update.fwmark = Some(decimal(value).ok_or("expected a mark of 32 bits in decimal")?),
        "replace_peers" => update.replace_peers = only_true(value)?,
        _ => return Err("no such key of a device"),
    }
    Ok(())
}

fn peer_line(peer: &mut PeerUpdate, key: &str, value: &str) -> Result<(), &'static str> {
    match key {
        "update_only" => peer.update_only = only_true(value)?,
        "remove" => peer.remove = only_true(value)?,
        "preshared_key" => peer.preshared_key = Some(PresharedKey::from_hex(value).map_err(|_| NOT_A_KEY)?),
        "endpoint" => {
            peer.endpoint = Some(value.parse().map_err(|_| "expected ADDRESS:PORT or [IPv6 ADDRESS]:PORT")?);
        }
        "persistent_keepalive_interval" => {
            peer.keepalive = Some(decimal(value).ok_or("expected seconds from 0 to 65535")?);
        }
        // What was added before counts as added to the old prefixes, and goes with them.
        "replace_allowed_ips" => {
            peer.replace_allowed_ips = only_true(value)?;
            peer.allowed_ips.clear();
        }
        "allowed_ip" => {
            let prefix: IpNet = value.parse().map_err(|_| "expected a prefix such as 10.0.0.1/32")?;
            peer.allowed_ips.push(prefix.trunc());
        }
        "protocol_version" if value == "1" => {}
        "protocol_version" => return Err("expected 1, the only version there is"),
        HANDSHAKE_KEY => peer.handshake = only_true(value)?,
        _ => return Err("no such key of a peer"),
    }
    Ok(())
}

/// Flags are set by being there; the only value they have is `true`.
fn only_true(value: &str) -> Result<bool, &'static str> {
    if value == "true" { Ok(true) } else { Err("the only value is true") }
}
