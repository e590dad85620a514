//! The answer to `get=1`: a device and its peers, line by line.

use core::fmt::Write;
use core::net::SocketAddr;
use core::time::Duration;

use super::{ReplyError, decimal, errno};
use crate::{Device, Key, Peer, PresharedKey, PrivateKey};

/// Writes the whole answer: the device, then `errno` (positive here, 0 for success) and an empty line. What a device does not
/// have (key, port, mark, endpoint) gets no line, as in wireguard-go.
pub fn format_get_reply(device: &Device, errno: i32) -> String {
    let mut text = String::new();
    // Writing to a `String` cannot fail.
    let _ = write_device(&mut text, device);
    text + &super::format_reply(errno)
}

fn write_device(text: &mut String, device: &Device) -> core::fmt::Result {
    if let Some(key) = &device.private_key {
        writeln!(text, "private_key={}", key.to_hex())?;
    }
    if device.listen_port != 0 {
        writeln!(text, "listen_port={}", device.listen_port)?;
    }
    if device.fwmark != 0 {
        writeln!(text, "fwmark={}", device.fwmark)?;
    }
    device.peers.iter().try_for_each(|peer| write_peer(text, peer))
}

fn write_peer(text: &mut String, peer: &Peer) -> core::fmt::Result {
    writeln!(text, "public_key={}", peer.public_key.to_hex())?;
    let preshared_key = peer.preshared_key.unwrap_or(PresharedKey::from_bytes([0; 32]));
    writeln!(text, "preshared_key={}", preshared_key.to_hex())?;
    writeln!(text, "protocol_version=1")?;
    if let Some(endpoint) = peer.endpoint {
        writeln!(text, "endpoint={endpoint}")?;
    }
    let handshake = peer.last_handshake.unwrap_or_default();
    writeln!(text, "last_handshake_time_sec={}", handshake.as_secs())?;
    writeln!(text, "last_handshake_time_nsec={}", handshake.subsec_nanos())?;
    writeln!(text, "tx_bytes={}", peer.tx_bytes)?;
    writeln!(text, "rx_bytes={}", peer.rx_bytes)?;
    writeln!(text, "persistent_keepalive_interval={}", peer.keepalive)?;
    peer.allowed_ips.iter().try_for_each(|prefix| writeln!(text, "allowed_ip={prefix}"))
}

/// Reads the whole answer. The public key, which the text does not carry, is computed from the private one.
///
/// A link-local endpoint whose zone is an interface name (`[fe80::1%eth0]:51820`) is read without its zone: the number behind
/// the name is known to the device's host only.
pub fn parse_get_reply(text: &str) -> Result<Device, ReplyError> {
    let mut device = Device::default();
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        let malformed = |expected| ReplyError::Malformed { line: number, expected };
        let (key, value) = line.split_once('=').ok_or(malformed("key=value"))?;
        match key {
            "errno" => return errno(value, number).map(|()| device),
            "public_key" => {
                let key = Key::from_hex(value).map_err(|_| malformed("a key of 64 hexadecimal digits"))?;
                device.peers.push(Peer::new(key));
            }
            _ => match device.peers.last_mut() {
                None => device_line(&mut device, key, value).map_err(malformed)?,
                Some(peer) => peer_line(peer, key, value).map_err(malformed)?,
            },
        }
    }
    Err(ReplyError::Truncated)
}

fn device_line(device: &mut Device, key: &str, value: &str) -> Result<(), &'static str> {
    match key {
        "private_key" => {
            let key = PrivateKey::from_hex(value).map_err(|_| "a key of 64 hexadecimal digits")?;
            if !key.is_zero() {
                device.private_key = Some(key);
                device.public_key = Some(key.public());
            }
        }
        "listen_port" => device.listen_port = decimal(value).ok_or("a port")?,
        "fwmark" => device.fwmark = decimal(value).ok_or("a mark of 32 bits")?,
        _ => {}
    }
    Ok(())
}

fn peer_line(peer: &mut Peer, key: &str, value: &str) -> Result<(), &'static str> {
    match key {
        "preshared_key" => {
            let key = PresharedKey::from_hex(value).map_err(|_| "a key of 64 hexadecimal digits")?;
            peer.preshared_key = (!key.is_zero()).then_some(key);
        }
        "endpoint" => peer.endpoint = Some(endpoint(value).ok_or("an address and port")?),
        "last_handshake_time_sec" => {
            let seconds: u64 = decimal(value).ok_or("a number of seconds")?;
            handshake_time(peer, |time| Duration::new(seconds, time.subsec_nanos()));
        }
        "last_handshake_time_nsec" => {
            let nanos: u32 =
                decimal(value).filter(|nanos| *nanos < 1_000_000_000).ok_or("nanoseconds below one second")?;
            handshake_time(peer, |time| Duration::new(time.as_secs(), nanos));
        }
        "tx_bytes" => peer.tx_bytes = decimal(value).ok_or("a number of bytes")?,
        "rx_bytes" => peer.rx_bytes = decimal(value).ok_or("a number of bytes")?,
        "persistent_keepalive_interval" => peer.keepalive = decimal(value).ok_or("seconds, at most 65535")?,
        "allowed_ip" => peer.allowed_ips.push(value.parse().map_err(|_| "a prefix such as 10.0.0.1/32")?),
        _ => {}
    }
    Ok(())
}

/// Changes one of the two halves of a time; both zero is "never".
fn handshake_time(peer: &mut Peer, change: impl FnOnce(Duration) -> Duration) {
    peer.last_handshake = Some(change(peer.last_handshake.unwrap_or_default())).filter(|time| !time.is_zero());
}

fn endpoint(text: &str) -> Option<SocketAddr> {
    text.parse().ok().or_else(|| {
        let (address, rest) = text.split_once('%')?;
        let (_zone, port) = rest.split_once(']')?;
        format!("{address}]{port}").parse().ok()
    })
}
