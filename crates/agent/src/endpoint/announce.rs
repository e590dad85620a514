//! May a peer that the zone announces be added to this device?
//!
//! Opt-in, since whoever can write the zone would otherwise decide where this host's traffic goes. A prefix is taken only if
//! the policy covers it and no configured peer has any part of it: WireGuard gives a prefix to whoever claimed it last.

use ipnet::IpNet;
use pinhole_wg::{Device, Key};

/// Why an announced peer is not added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It announces no prefix.
    NoPrefix,
    /// This prefix is not covered by the policy.
    NotAccepted(IpNet),
    /// This prefix overlaps one that another peer has.
    Taken { prefix: IpNet, by: Key },
}

impl core::fmt::Display for Refusal {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::NoPrefix => f.write_str("it announces no allowed-ips"),
            Self::NotAccepted(prefix) => write!(f, "{prefix} is not within the accepted prefixes"),
            Self::Taken { prefix, by } => write!(f, "{prefix} overlaps the allowed-ips of {by}"),
        }
    }
}

/// Holds what a peer announces against the policy and the device.
pub(crate) fn check(accept: &[IpNet], device: &Device, key: &Key, announced: &[IpNet]) -> Result<(), Refusal> {
    if announced.is_empty() {
        return Err(Refusal::NoPrefix);
    }
    for &prefix in announced {
        if !accept.iter().any(|wide| wide.contains(&prefix)) {
            return Err(Refusal::NotAccepted(prefix));
        }
        let overlaps = |other: &IpNet| other.contains(&prefix) || prefix.contains(other);
        let others = device.peers.iter().filter(|peer| peer.public_key != *key);
        if let Some(other) = others.into_iter().find(|peer| peer.allowed_ips.iter().any(overlaps)) {
            return Err(Refusal::Taken { prefix, by: other.public_key });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use pinhole_wg::Peer;

    fn nets(text: &str) -> Vec<IpNet> {
        text.split_whitespace().map(|net| net.parse().expect("a prefix")).collect()
    }

    #[test]
    fn only_prefixes_that_the_policy_covers_and_nobody_has_are_accepted() {
        let other = Key::from_bytes([9; 32]);
        let peer = Peer { allowed_ips: nets("10.0.0.2/32 10.9.0.0/16"), ..Peer::new(other) };
        let device = Device { peers: vec![peer], ..Device::default() };
        let taken = |prefix: &str| Err(Refusal::Taken { prefix: nets(prefix)[0], by: other });
        let not_accepted = |prefix: &str| Err(Refusal::NotAccepted(nets(prefix)[0]));
        for (announced, expected) in [
            ("10.0.0.3/32", Ok(())),
            ("10.0.0.3/32 fd00::3/128", Ok(())),
            ("", Err(Refusal::NoPrefix)),
            ("0.0.0.0/0", not_accepted("0.0.0.0/0")),
            ("10.0.0.3/32 192.0.2.0/24", not_accepted("192.0.2.0/24")),
            ("10.0.0.2/32", taken("10.0.0.2/32")),
            ("10.0.0.0/24", taken("10.0.0.0/24")),
            ("10.9.1.1/32", taken("10.9.1.1/32")),
        ] {
            let got = check(&nets("10.0.0.0/8 fd00::/64"), &device, &Key::from_bytes([1; 32]), &nets(announced));
            assert_eq!(got, expected, "{announced}");
        }
    }
}
