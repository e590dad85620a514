//! How a WireGuard peer is named in DNS-SD, as wgsd does it: the instance label is the RFC 4648 base32 of the public key.
//!
//! wgsd serves the label with its padding, 56 octets; without it, 52 octets, it is as unambiguous and is offered as an alias.
//! Both are read here in either case.

use data_encoding::{BASE32, BASE32_NOPAD};
use pinhole_wg::Key;

/// The service type of wgsd.
pub const SERVICE: [&str; 2] = ["_wireguard", "_udp"];

/// The canonical label: lower case, padded, 56 octets.
pub fn label(key: &Key) -> String {
    BASE32.encode(key.as_bytes()).to_ascii_lowercase()
}

/// The label without padding, 52 octets.
pub fn short_label(key: &Key) -> String {
    BASE32_NOPAD.encode(key.as_bytes()).to_ascii_lowercase()
}

/// The subtype label that a peer watches: `_` and the label without padding, 53 octets.
pub fn watch_label(key: &Key) -> String {
    format!("_{}", short_label(key))
}

/// The key that a label names, padded or not, in either case.
pub fn parse_label(label: &[u8]) -> Option<Key> {
    let upper = label.to_ascii_uppercase();
    let bytes = match upper.len() {
        56 => BASE32.decode(&upper).ok()?,
        52 => BASE32_NOPAD.decode(&upper).ok()?,
        _ => return None,
    };
    Some(Key::from_bytes(bytes.try_into().ok()?))
}

/// The key that a watch label names.
pub fn parse_watch_label(label: &[u8]) -> Option<Key> {
    label.strip_prefix(b"_").filter(|rest| rest.len() == 52).and_then(parse_label)
}

#[cfg(test)]
mod tests;
