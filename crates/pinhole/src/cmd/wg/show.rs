//! `pinhole wg show`: devices as `wg show` prints them, or as JSON.

use std::io::IsTerminal;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use pinhole_host::wireguard::{self, Control, Kind};
use pinhole_wg::{Device, Peer};
use serde_json::{Value, json};

/// Prints the device `name`, or all.
pub(super) fn show(name: Option<&str>, json: bool, secrets: bool) -> Result<()> {
    let names = match name {
        Some(name) => vec![name.to_owned()],
        None => wireguard::list()?.into_iter().map(|(name, _)| name).collect(),
    };
    let mut devices = Vec::new();
    for name in names {
        let mut control = Control::open(&name)?;
        devices.push((name, control.kind(), control.device()?));
    }
    let text = if json {
        let devices: Vec<Value> =
            devices.iter().map(|(name, kind, device)| as_json(name, *kind, device, secrets)).collect();
        serde_json::to_string_pretty(&devices).context("cannot write JSON")? + "\n"
    } else {
        let paint = Paint(std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none());
        let texts: Vec<String> =
            devices.iter().map(|(name, _, device)| as_text(name, device, secrets, paint)).collect();
        texts.join("\n")
    };
    crate::cmd::print(text.as_bytes())
}

#[derive(Clone, Copy)]
struct Paint(bool);

impl Paint {
    fn title(self, colour: u8, text: &str) -> String {
        if self.0 { format!("\x1b[1;{colour}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn label(self, text: &str) -> String {
        if self.0 { format!("\x1b[1m{text}\x1b[0m") } else { text.to_owned() }
    }
}

fn as_text(name: &str, device: &Device, secrets: bool, paint: Paint) -> String {
    let mut lines = vec![format!("{}: {}", paint.title(32, "interface"), paint.title(32, name))];
    let mut line = |label: &str, value: String| lines.push(format!("  {}: {value}", paint.label(label)));
    if let Some(key) = device.public_key {
        line("public key", key.to_string());
    }
    if let Some(key) = device.private_key {
        line("private key", if secrets { key.to_base64() } else { "(hidden)".into() });
    }
    if device.listen_port != 0 {
        line("listening port", device.listen_port.to_string());
    }
    if device.fwmark != 0 {
        line("fwmark", format!("{:#x}", device.fwmark));
    }
    let mut peers: Vec<&Peer> = device.peers.iter().collect();
    // As wg does: whom we heard from last comes first.
    peers.sort_by_key(|peer| core::cmp::Reverse(peer.last_handshake));
    for peer in peers {
        lines.push(String::new());
        lines.push(format!("{}: {}", paint.title(33, "peer"), paint.title(33, &peer.public_key.to_string())));
        peer_lines(peer, secrets, |label, value| lines.push(format!("  {}: {value}", paint.label(label))));
    }
    lines.join("\n") + "\n"
}

fn peer_lines(peer: &Peer, secrets: bool, mut line: impl FnMut(&str, String)) {
    if let Some(key) = peer.preshared_key {
        line("preshared key", if secrets { key.to_base64() } else { "(hidden)".into() });
    }
    if let Some(endpoint) = peer.endpoint {
        line("endpoint", endpoint.to_string());
    }
    let prefixes: Vec<String> = peer.allowed_ips.iter().map(ToString::to_string).collect();
    line("allowed ips", if prefixes.is_empty() { "(none)".into() } else { prefixes.join(", ") });
    if let Some(at) = peer.last_handshake {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        line("latest handshake", ago(now.saturating_sub(at)));
    }
    if peer.rx_bytes != 0 || peer.tx_bytes != 0 {
        line("transfer", format!("{} received, {} sent", bytes(peer.rx_bytes), bytes(peer.tx_bytes)));
    }
    if peer.keepalive != 0 {
        line("persistent keepalive", format!("every {}", span(Duration::from_secs(peer.keepalive.into()))));
    }
}

fn as_json(name: &str, kind: Kind, device: &Device, secrets: bool) -> Value {
    let peers = device.peers.iter().map(|peer| {
        let mut value = json!({
            "public_key": peer.public_key.to_string(),
            "endpoint": peer.endpoint.map(|endpoint| endpoint.to_string()),
            "allowed_ips": peer.allowed_ips.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "latest_handshake": peer.last_handshake.map(|at| at.as_secs_f64()),
            "rx_bytes": peer.rx_bytes,
            "tx_bytes": peer.tx_bytes,
            "persistent_keepalive": peer.keepalive,
        });
        if secrets {
            value["preshared_key"] = peer.preshared_key.map(|key| key.to_base64()).into();
        }
        value
    });
    let mut value = json!({
        "interface": name,
        "kind": match kind { Kind::Kernel => "kernel", Kind::Userspace => "userspace" },
        "public_key": device.public_key.map(|key| key.to_string()),
        "listen_port": device.listen_port,
        "fwmark": device.fwmark,
        "peers": peers.collect::<Vec<_>>(),
    });
    if secrets {
        value["private_key"] = device.private_key.map(|key| key.to_base64()).into();
    }
    value
}

/// "1 minute, 5 seconds ago", as wg says it.
fn ago(age: Duration) -> String {
    if age.as_secs() == 0 { "Now".into() } else { format!("{} ago", span(age)) }
}

fn span(duration: Duration) -> String {
    let units = [("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1)];
    let mut rest = duration.as_secs();
    let mut parts = Vec::new();
    for (unit, seconds) in units {
        let count = rest / seconds;
        rest %= seconds;
        if count != 0 {
            parts.push(format!("{count} {unit}{}", if count == 1 { "" } else { "s" }));
        }
    }
    if parts.is_empty() { "0 seconds".into() } else { parts.join(", ") }
}

/// "1.16 GiB", as wg says it.
fn bytes(count: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB"];
    if count < 1 << 10 {
        return format!("{count} B");
    }
    let power = (count.ilog2() as usize / 10).min(units.len());
    format!("{:.2} {}", count as f64 / (1u64 << (10 * power)) as f64, units[power - 1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_and_ages_read_as_wg_prints_them() {
        let amounts =
            [(0, "0 B"), (1023, "1023 B"), (1024, "1.00 KiB"), (1_245_184, "1.19 MiB"), (5 << 30, "5.00 GiB")];
        for (count, text) in amounts {
            assert_eq!(bytes(count), text);
        }
        let ages = [(0, "Now"), (1, "1 second ago"), (65, "1 minute, 5 seconds ago"), (90_000, "1 day, 1 hour ago")];
        for (seconds, text) in ages {
            assert_eq!(ago(Duration::from_secs(seconds)), text);
        }
    }
}
