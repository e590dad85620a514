//! Allowed-ips as people write them.

use core::net::IpAddr;

use ipnet::IpNet;

/// Reads a prefix, or a bare address as the prefix of that address alone; what lies beyond the prefix length is cleared, as
/// the kernel does with allowed-ips.
///
/// ```
/// assert_eq!(pinhole_wg::prefix("10.0.0.7/24").map(|prefix| prefix.to_string()).as_deref(), Some("10.0.0.0/24"));
/// assert_eq!(pinhole_wg::prefix("fd00::1").map(|prefix| prefix.to_string()).as_deref(), Some("fd00::1/128"));
/// assert_eq!(pinhole_wg::prefix("10.0.0.7/33"), None);
/// ```
pub fn prefix(text: &str) -> Option<IpNet> {
    match text.parse::<IpAddr>() {
        Ok(address) => Some(address.into()),
        Err(_) => text.parse::<IpNet>().ok().map(|prefix| prefix.trunc()),
    }
}
