//! Nonces without state: a time and a code over it and the asker's address, which only this server can make.

use core::net::SocketAddr;

use hmac::{Hmac, Mac};
use pinhole_sansio::Instant;
use sha2::Sha256;

/// Bytes of a nonce: four of time, twelve of code.
pub(super) const LEN: usize = 16;

/// What a nonce is for: one of one kind is none of the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// NONCE of long-term credentials: ten minutes, as long as coturn's.
    Credentials,
    /// A call: long enough for a slow round trip with a loss.
    Call,
}

impl Purpose {
    fn byte(self) -> u8 {
        match self {
            Self::Credentials => 1,
            Self::Call => 2,
        }
    }

    fn lifetime_seconds(self) -> u32 {
        match self {
            Self::Credentials => 600,
            Self::Call => 30,
        }
    }
}

/// How good a nonce is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Freshness {
    Fresh,
    /// It was good once, or was never made here.
    Stale,
}

/// The secret that nonces are made with.
#[derive(Clone)]
pub(super) struct Nonces {
    secret: [u8; 32],
}

impl core::fmt::Debug for Nonces {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Nonces { secret: (hidden) }")
    }
}

impl Nonces {
    pub(super) fn new(secret: [u8; 32]) -> Self {
        Self { secret }
    }

    /// A nonce for who asks from `source` now.
    pub(super) fn make(&self, purpose: Purpose, source: SocketAddr, now: Instant) -> [u8; LEN] {
        let time = seconds(now).to_be_bytes();
        let mut nonce = [0; LEN];
        nonce[..4].copy_from_slice(&time);
        nonce[4..].copy_from_slice(&self.code(purpose, source, time).finalize().into_bytes()[..LEN - 4]);
        nonce
    }

    /// Checks one that came back from `source`.
    pub(super) fn check(&self, purpose: Purpose, source: SocketAddr, now: Instant, nonce: &[u8]) -> Freshness {
        let Ok(nonce) = <&[u8; LEN]>::try_from(nonce) else { return Freshness::Stale };
        let Some((time, code)) = nonce.split_first_chunk::<4>() else { return Freshness::Stale };
        let age = seconds(now).wrapping_sub(u32::from_be_bytes(*time));
        let is_ours = self.code(purpose, source, *time).verify_truncated_left(code).is_ok();
        if is_ours && age <= purpose.lifetime_seconds() { Freshness::Fresh } else { Freshness::Stale }
    }

    fn code(&self, purpose: Purpose, source: SocketAddr, time: [u8; 4]) -> Hmac<Sha256> {
        let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(&self.secret).expect("HMAC takes keys of any length");
        mac.update(&[purpose.byte()]);
        mac.update(&time);
        match source.ip().to_canonical() {
            core::net::IpAddr::V4(ip) => mac.update(&ip.octets()),
            core::net::IpAddr::V6(ip) => mac.update(&ip.octets()),
        }
        mac.update(&source.port().to_be_bytes());
        mac
    }
}

fn seconds(now: Instant) -> u32 {
    (now.as_nanos() / 1_000_000_000) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_good_for_its_purpose_its_source_and_its_time() {
        let nonces = Nonces::new([7; 32]);
        let source: SocketAddr = "192.0.2.1:5".parse().unwrap();
        let at = Instant::from_millis(5_000);
        let nonce = nonces.make(Purpose::Call, source, at);
        let check = |purpose, source: &str, at, nonce: &[u8]| {
            nonces.check(purpose, source.parse().unwrap(), Instant::from_millis(at), nonce) == Freshness::Fresh
        };
        assert!(check(Purpose::Call, "192.0.2.1:5", 35_000, &nonce));
        assert!(check(Purpose::Call, "[::ffff:192.0.2.1]:5", 35_000, &nonce));
        assert!(!check(Purpose::Call, "192.0.2.1:5", 36_000, &nonce), "too old");
        assert!(!check(Purpose::Call, "192.0.2.1:5", 4_000, &nonce), "from the future");
        assert!(!check(Purpose::Credentials, "192.0.2.1:5", 5_000, &nonce));
        assert!(!check(Purpose::Call, "192.0.2.1:6", 5_000, &nonce));
        assert!(!check(Purpose::Call, "192.0.2.2:5", 5_000, &nonce));
        for at in 0..LEN {
            let mut other = nonce;
            other[at] ^= 1;
            assert!(!check(Purpose::Call, "192.0.2.1:5", 5_000, &other), "byte {at}");
        }
        let other = Nonces::new([8; 32]);
        assert_eq!(other.check(Purpose::Call, source, at, &nonce), Freshness::Stale);
    }
}
