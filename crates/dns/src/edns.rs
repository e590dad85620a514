//! EDNS(0), RFC 6891: the OPT pseudo record and its options.

pub mod cookie;

use crate::record::Type;

/// The UDP payload size that we announce and never exceed, in bytes: it fits every path that carries IPv6 without
/// fragments (DNS flag day 2020; 1280 - 48).
pub const MAX_UDP: u16 = 1232;
/// The UDP payload size of a client without EDNS (RFC 1035 §4.2.1), and the least that counts with it (RFC 6891 §6.2.3).
pub const PLAIN_UDP: u16 = 512;
/// The OPT record without options: root owner, type, class, TTL, length.
pub const OPT_LEN: usize = 11;
/// The DO bit in the OPT record's TTL field (RFC 3225).
pub const DO: u32 = 0x8000;
/// The option code of DNS cookies (RFC 7873).
pub const COOKIE: u16 = 10;

/// An OPT record as it was received, options unread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opt<'a> {
    /// The sender's largest UDP payload, in bytes, as it stands in the record.
    pub udp_size: u16,
    /// Extended response code, version and flags: the record's TTL field.
    pub ttl: u32,
    /// The options, [checked](options_are_whole) to be whole.
    pub options: &'a [u8],
}

impl<'a> Opt<'a> {
    /// The EDNS version.
    pub fn version(&self) -> u8 {
        self.ttl.to_be_bytes()[1]
    }

    /// The upper eight bits of the response code.
    pub fn extended_rcode(&self) -> u8 {
        self.ttl.to_be_bytes()[0]
    }

    /// True if the sender wants DNSSEC records.
    pub fn dnssec_ok(&self) -> bool {
        self.ttl & DO != 0
    }

    /// The options as (code, data).
    pub fn options(&self) -> Options<'a> {
        Options { rest: self.options }
    }

    /// The data of the first option `code`.
    pub fn option(&self, code: u16) -> Option<&'a [u8]> {
        self.options().find(|(found, _)| *found == code).map(|(_, data)| data)
    }
}

/// Iterates over EDNS options as (code, data); ends early where the bytes do.
#[derive(Clone, Debug)]
pub struct Options<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Options<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (head, rest) = self.rest.split_first_chunk::<4>()?;
        let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
        let data = rest.get(..length)?;
        self.rest = &rest[length..];
        Some((u16::from_be_bytes([head[0], head[1]]), data))
    }
}

/// True if `bytes` are zero or more options and nothing else.
pub fn options_are_whole(bytes: &[u8]) -> bool {
    let mut options = Options { rest: bytes };
    while options.next().is_some() {}
    options.rest.is_empty()
}

/// Appends an option to the data of an OPT record.
pub fn push_option(options: &mut Vec<u8>, code: u16, data: &[u8]) {
    let length = u16::try_from(data.len()).unwrap_or(u16::MAX);
    options.extend_from_slice(&code.to_be_bytes());
    options.extend_from_slice(&length.to_be_bytes());
    options.extend_from_slice(&data[..usize::from(length)]);
}

/// Writes the fixed part of an OPT record with `options_len` bytes of options to follow.
pub fn opt_head(udp_size: u16, ttl: u32, options_len: u16) -> [u8; OPT_LEN] {
    let [t0, t1] = Type::OPT.0.to_be_bytes();
    let [u0, u1] = udp_size.to_be_bytes();
    let [a, b, c, d] = ttl.to_be_bytes();
    let [l0, l1] = options_len.to_be_bytes();
    [0, t0, t1, u0, u1, a, b, c, d, l0, l1]
}

#[cfg(test)]
mod tests;
