//! Keys, and what they are made of: short-term and long-term credentials (RFC 8489 §9).
//!
//! Names, realms and passwords are taken as they are; who has to accept what people type prepares it first (the
//! OpaqueString profile of RFC 8265).

use core::fmt;

use md5::Md5;
use sha2::{Digest, Sha256};

/// How a long-term key is made of a password (RFC 8489 §18.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PasswordAlgorithm {
    /// MD5 over name, realm and password: what every server before RFC 8489 expects.
    Md5,
    /// SHA-256 over the same.
    Sha256,
}

impl PasswordAlgorithm {
    /// Its number.
    pub const fn number(self) -> u16 {
        match self {
            Self::Md5 => 0x0001,
            Self::Sha256 => 0x0002,
        }
    }

    /// The algorithm of a number, if it is one of ours.
    pub const fn from_number(number: u16) -> Option<Self> {
        match number {
            0x0001 => Some(Self::Md5),
            0x0002 => Some(Self::Sha256),
            _ => None,
        }
    }

    /// Reads PASSWORD-ALGORITHM. `None` if it is unknown or has parameters, which neither of ours takes.
    pub fn read(value: &[u8]) -> Option<Self> {
        match *value {
            [high, low, 0, 0] => Self::from_number(u16::from_be_bytes([high, low])),
            _ => None,
        }
    }

    /// The value of PASSWORD-ALGORITHM.
    pub const fn value(self) -> [u8; 4] {
        let number = self.number().to_be_bytes();
        [number[0], number[1], 0, 0]
    }

    /// The algorithms of PASSWORD-ALGORITHMS that are known here, the server's favourite first. `None` if the value is cut.
    pub fn read_list(mut value: &[u8]) -> Option<impl Iterator<Item = Self> + '_> {
        let whole = value;
        while let Some((&[_, _, high, low], rest)) = value.split_first_chunk::<4>() {
            value = rest.get(usize::from(u16::from_be_bytes([high, low])).next_multiple_of(4)..)?;
        }
        value.is_empty().then(|| {
            List(whole).filter_map(|(number, parameters)| match parameters {
                [] => Self::from_number(number),
                _ => None,
            })
        })
    }
}

/// A walk over a checked PASSWORD-ALGORITHMS.
struct List<'a>(&'a [u8]);

impl<'a> Iterator for List<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (&[number_high, number_low, high, low], rest) = self.0.split_first_chunk::<4>()?;
        let length = usize::from(u16::from_be_bytes([high, low]));
        self.0 = rest.get(length.next_multiple_of(4)..)?;
        Some((u16::from_be_bytes([number_high, number_low]), &rest[..length]))
    }
}

/// What messages are authenticated with.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    bytes: Box<[u8]>,
}

impl Key {
    /// The key of a short-term password (RFC 8489 §9.1.1).
    pub fn short_term(password: &str) -> Self {
        Self { bytes: password.as_bytes().into() }
    }

    /// A key that both sides have without a password.
    pub fn shared(bytes: &[u8]) -> Self {
        Self { bytes: bytes.into() }
    }

    /// The key of a long-term password (RFC 8489 §9.2.2).
    pub fn long_term(algorithm: PasswordAlgorithm, name: &str, realm: &str, password: &str) -> Self {
        let parts = [name, ":", realm, ":", password].map(str::as_bytes);
        let bytes = match algorithm {
            PasswordAlgorithm::Md5 => digest::<Md5>(&parts),
            PasswordAlgorithm::Sha256 => digest::<Sha256>(&parts),
        };
        Self { bytes }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(hidden)")
    }
}

/// The value of USERHASH (RFC 8489 §14.4).
pub fn userhash(name: &str, realm: &str) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in [name, ":", realm] {
        hash.update(part.as_bytes());
    }
    hash.finalize().into()
}

fn digest<D: Digest>(parts: &[&[u8]]) -> Box<[u8]> {
    let mut hash = D::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().to_vec().into()
}
