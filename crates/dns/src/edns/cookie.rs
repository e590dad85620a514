//! DNS cookies: the server's half, stateless and interoperable (RFC 7873, RFC 9018).
//!
//! A client that returns the cookie it was given has shown that it receives what is sent to its address, so it is no
//! victim of a spoofed source.

use core::net::IpAddr;

/// How old a cookie may be, in seconds (RFC 9018 §4.3).
const MAX_AGE: u32 = 3_600;
/// How far in the future its time may lie, in seconds: clocks of a server cluster differ (RFC 9018 §4.3).
const MAX_AHEAD: u32 = 300;
/// The age in seconds from which a valid cookie is replaced by a fresh one (RFC 9018 §4.3).
const RENEW_AGE: u32 = 1_800;

/// The length of a client cookie and of the server cookies made here, in bytes.
pub const CLIENT_LEN: usize = 8;
/// The length of a server cookie made here, in bytes.
pub const SERVER_LEN: usize = 16;
/// The data of a COOKIE option with both halves, in bytes.
pub const FULL_LEN: usize = CLIENT_LEN + SERVER_LEN;

/// The secret that server cookies are made with.
#[derive(Clone)]
pub struct Cookies {
    secret: [u8; 16],
}

impl core::fmt::Debug for Cookies {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Cookies { secret: (hidden) }")
    }
}

impl Cookies {
    /// Cookies of this secret. All servers behind one address must share it.
    pub const fn new(secret: [u8; 16]) -> Self {
        Self { secret }
    }

    /// True if `data`, a received COOKIE option, ends in a server cookie that was made here for `client` not long before
    /// `unix_seconds`.
    pub fn proves(&self, data: &[u8], client: IpAddr, unix_seconds: u32) -> bool {
        let Ok(full) = <&[u8; FULL_LEN]>::try_from(data) else { return false };
        let time = u32::from_be_bytes([full[12], full[13], full[14], full[15]]);
        // RFC 9018 §4.3 compares in serial number arithmetic: the clock wraps in 2106.
        let age = unix_seconds.wrapping_sub(time).cast_signed();
        if full[8] != 1 || age > MAX_AGE.cast_signed() || age < -MAX_AHEAD.cast_signed() {
            return false;
        }
        let hash = self.hash([&full[..8], &full[8..16]], client).to_le_bytes();
        let difference = hash.iter().zip(&full[16..]).fold(0, |sum, (a, b)| sum | (a ^ b));
        difference == 0
    }

    /// The option data to answer `data` with: the client's cookie and a server cookie, the old one while it is young and
    /// proven. `None` if `data` is no COOKIE option (RFC 7873 §5.2.2).
    pub fn answer(&self, data: &[u8], client: IpAddr, unix_seconds: u32) -> Option<[u8; FULL_LEN]> {
        let client_cookie = data.first_chunk::<CLIENT_LEN>()?;
        if let Ok(full) = <[u8; FULL_LEN]>::try_from(data) {
            let time = u32::from_be_bytes([full[12], full[13], full[14], full[15]]);
            let young = unix_seconds.wrapping_sub(time).cast_signed() < RENEW_AGE.cast_signed();
            if young && self.proves(data, client, unix_seconds) {
                return Some(full);
            }
        }
        let mut full = [0; FULL_LEN];
        full[..8].copy_from_slice(client_cookie);
        full[8] = 1;
        full[12..16].copy_from_slice(&unix_seconds.to_be_bytes());
        let hash = self.hash([client_cookie, &full[8..16]], client);
        full[16..].copy_from_slice(&hash.to_le_bytes());
        Some(full)
    }

    /// RFC 9018 §4.4: SipHash-2-4 over client cookie, version, reserved, time and address.
    fn hash(&self, [client_cookie, head]: [&[u8]; 2], client: IpAddr) -> u64 {
        let mut input = [0; 32];
        input[..8].copy_from_slice(client_cookie);
        input[8..16].copy_from_slice(head);
        let length = match client.to_canonical() {
            IpAddr::V4(address) => {
                input[16..20].copy_from_slice(&address.octets());
                20
            }
            IpAddr::V6(address) => {
                input[16..32].copy_from_slice(&address.octets());
                32
            }
        };
        sip_hash_2_4(&self.secret, &input[..length])
    }
}

/// True if `data` may stand in a COOKIE option of a query: a client cookie, alone or with a server cookie
/// (RFC 7873 §5.2.2).
pub fn is_well_formed(data: &[u8]) -> bool {
    matches!(data.len(), 8 | 16..=40)
}

/// SipHash-2-4 of Aumasson and Bernstein, 64 bits.
fn sip_hash_2_4(key: &[u8; 16], input: &[u8]) -> u64 {
    let half = |at: usize| key[at..at + 8].iter().rev().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
    let (k0, k1) = (half(0), half(8));
    let mut v = [
        k0 ^ 0x736f_6d65_7073_6575,
        k1 ^ 0x646f_7261_6e64_6f6d,
        k0 ^ 0x6c79_6765_6e65_7261,
        k1 ^ 0x7465_6462_7974_6573,
    ];
    let mut absorb = |word: u64| {
        v[3] ^= word;
        sip_round(&mut v);
        sip_round(&mut v);
        v[0] ^= word;
    };
    let mut chunks = input.chunks_exact(8);
    for chunk in &mut chunks {
        absorb(chunk.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte)));
    }
    let tail = chunks.remainder().iter().rev().fold(0, |sum: u64, byte| sum << 8 | u64::from(*byte));
    absorb((input.len() as u64) << 56 | tail);
    v[2] ^= 0xff;
    for _ in 0..4 {
        sip_round(&mut v);
    }
    v[0] ^ v[1] ^ v[2] ^ v[3]
}

fn sip_round(v: &mut [u64; 4]) {
    v[0] = v[0].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(13) ^ v[0];
    v[0] = v[0].rotate_left(32);
    v[2] = v[2].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(16) ^ v[2];
    v[0] = v[0].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(21) ^ v[0];
    v[2] = v[2].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(17) ^ v[2];
    v[2] = v[2].rotate_left(32);
}

#[cfg(test)]
mod tests;
