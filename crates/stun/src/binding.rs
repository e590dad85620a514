//! The plainest exchange, done fast: twenty bytes ask, a few more answer.
//!
//! Nearly all requests a public server gets are a header with the magic cookie and nothing else. Such a one is told by
//! comparing eight bytes, and its answer differs from others of the same socket only in the transaction and the asker's
//! address; the rest is copied.

use core::net::{IpAddr, SocketAddr};

use crate::message::{HEADER, MAGIC_COOKIE};
use crate::{AttributeType, address};

/// Room that any answer fits, in bytes: a header and four addresses of IPv6.
pub const MAX_ANSWER: usize = HEADER + 2 * (4 + address::MAX) + TAIL;

/// Room for RESPONSE-ORIGIN and OTHER-ADDRESS.
const TAIL: usize = 2 * (4 + address::MAX);

/// Type, length and cookie of a Binding request without attributes, as one number.
const PLAIN_REQUEST: u64 = u64::from_be_bytes(PLAIN_HEAD);

/// What a Binding request without attributes begins with; its transaction id follows and ends it.
pub const PLAIN_HEAD: [u8; 8] =
    [0x00, 0x01, 0x00, 0x00, MAGIC_COOKIE[0], MAGIC_COOKIE[1], MAGIC_COOKIE[2], MAGIC_COOKIE[3]];

/// The answers of one socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlainAnswers {
    /// MAPPED-ADDRESS is sent too: RFC 5780 §6.1 wants it, so that a client sees whether a NAT rewrites addresses.
    mapped: bool,
    /// The attributes that are the same in all.
    tail: [u8; TAIL],
    tail_len: usize,
}

impl PlainAnswers {
    /// Answers with XOR-MAPPED-ADDRESS alone.
    pub const fn new() -> Self {
        Self { mapped: false, tail: [0; TAIL], tail_len: 0 }
    }

    /// Answers of a server for behaviour discovery: MAPPED-ADDRESS too, where they come from and where they would come from
    /// if both were changed (RFC 5780 §6.1).
    pub fn with_behaviour(origin: SocketAddr, other: SocketAddr) -> Self {
        let mut answers = Self { mapped: true, ..Self::new() };
        answers.append(AttributeType::RESPONSE_ORIGIN, origin);
        answers.append(AttributeType::OTHER_ADDRESS, other);
        answers
    }

    /// True if MAPPED-ADDRESS follows XOR-MAPPED-ADDRESS.
    pub const fn has_mapped(&self) -> bool {
        self.mapped
    }

    /// The attributes behind the asker's address, the same in all answers.
    pub fn tail(&self) -> &[u8] {
        &self.tail[..self.tail_len]
    }

    fn append(&mut self, kind: AttributeType, address: SocketAddr) {
        let mut value = [0; address::MAX];
        let len = address::write(address, &mut value);
        let tail = &mut self.tail[self.tail_len..];
        tail[..2].copy_from_slice(&kind.0.to_be_bytes());
        tail[2..4].copy_from_slice(&(len as u16).to_be_bytes());
        tail[4..4 + len].copy_from_slice(&value[..len]);
        self.tail_len += 4 + len;
    }

    /// Writes the answer to a Binding request without attributes that came from `source`; its length in bytes. `None` if
    /// `request` is anything else.
    #[inline]
    pub fn answer(&self, request: &[u8], source: SocketAddr, out: &mut [u8; MAX_ANSWER]) -> Option<usize> {
        let request = <&[u8; HEADER]>::try_from(request).ok()?;
        let (head, id) = request.split_first_chunk::<8>()?;
        if u64::from_be_bytes(*head) != PLAIN_REQUEST {
            return None;
        }
        out[..2].copy_from_slice(&[0x01, 0x01]);
        out[4..8].copy_from_slice(&MAGIC_COOKIE);
        out[8..HEADER].copy_from_slice(id);
        let port = source.port();
        let cookie = u32::from_be_bytes(MAGIC_COOKIE);
        let xored_port = port ^ (cookie >> 16) as u16;
        let mut at = HEADER;
        match source.ip().to_canonical() {
            IpAddr::V4(ip) => {
                out[at..at + 12].copy_from_slice(&v4(
                    AttributeType::XOR_MAPPED_ADDRESS,
                    xored_port,
                    ip.to_bits() ^ cookie,
                ));
                at += 12;
                if self.mapped {
                    out[at..at + 12].copy_from_slice(&v4(AttributeType::MAPPED_ADDRESS, port, ip.to_bits()));
                    at += 12;
                }
            }
            IpAddr::V6(ip) => {
                let mut key = [0; 16];
                key.copy_from_slice(&request[4..]);
                let xored = ip.to_bits() ^ u128::from_be_bytes(key);
                out[at..at + 24].copy_from_slice(&v6(AttributeType::XOR_MAPPED_ADDRESS, xored_port, xored));
                at += 24;
                if self.mapped {
                    out[at..at + 24].copy_from_slice(&v6(AttributeType::MAPPED_ADDRESS, port, ip.to_bits()));
                    at += 24;
                }
            }
        }
        // All of it, whatever its length: a copy of known size is a few moves.
        out[at..at + TAIL].copy_from_slice(&self.tail);
        at += self.tail_len;
        out[2..4].copy_from_slice(&((at - HEADER) as u16).to_be_bytes());
        Some(at)
    }
}

impl Default for PlainAnswers {
    fn default() -> Self {
        Self::new()
    }
}

#[inline]
fn v4(kind: AttributeType, port: u16, ip: u32) -> [u8; 12] {
    let head = u64::from(kind.0) << 48 | 8 << 32 | 1 << 16 | u64::from(port);
    let mut attribute = [0; 12];
    attribute[..8].copy_from_slice(&head.to_be_bytes());
    attribute[8..].copy_from_slice(&ip.to_be_bytes());
    attribute
}

#[inline]
fn v6(kind: AttributeType, port: u16, ip: u128) -> [u8; 24] {
    let head = u64::from(kind.0) << 48 | 20 << 32 | 2 << 16 | u64::from(port);
    let mut attribute = [0; 24];
    attribute[..8].copy_from_slice(&head.to_be_bytes());
    attribute[8..].copy_from_slice(&ip.to_be_bytes());
    attribute
}

#[cfg(test)]
mod tests;
