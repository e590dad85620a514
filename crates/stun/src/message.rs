//! A message: twenty bytes of header, then attributes. Read in place, checked once.

use core::fmt;

use crate::attribute::{Attribute, AttributeType, Attributes};

/// Bytes of a header (RFC 8489 §5).
pub const HEADER: usize = 20;

/// The first four bytes of every transaction id since RFC 5389 (RFC 8489 §5).
pub const MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];

/// What a message is in its exchange (RFC 8489 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Asks, and wants an answer.
    Request,
    /// Says something, and wants none.
    Indication,
    /// Answers as wished.
    Success,
    /// Answers with an ERROR-CODE.
    Error,
}

/// What a message is about, 12 bits (RFC 8489 §18.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Method(pub u16);

impl Method {
    /// Which address do you see me at?
    pub const BINDING: Self = Self(0x001);
    /// RFC 3489 §9: no longer used.
    pub const SHARED_SECRET: Self = Self(0x002);
}

/// What ties a response to its request: the 16 bytes after the length.
///
/// Since RFC 5389 the first four are the magic cookie and 96 bits are random; in RFC 3489 all 128 are.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TransactionId(pub [u8; 16]);

impl TransactionId {
    /// The id of a message with the magic cookie.
    pub fn new(random: [u8; 12]) -> Self {
        let mut id = [0; 16];
        id[..4].copy_from_slice(&MAGIC_COOKIE);
        id[4..].copy_from_slice(&random);
        Self(id)
    }

    /// The id of a message as RFC 3489 has it. Should chance have put the cookie there, a bit of it is turned.
    pub fn legacy(mut random: [u8; 16]) -> Self {
        if random[..4] == MAGIC_COOKIE {
            random[0] ^= 0x80;
        }
        Self(random)
    }

    /// True without the magic cookie: the message is one of RFC 3489.
    pub fn is_legacy(&self) -> bool {
        self.0[..4] != MAGIC_COOKIE
    }
}

impl fmt::Debug for TransactionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Why bytes are no STUN message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// Fewer bytes than a header.
    Short,
    /// The two topmost bits are not zero: something else that shares the port.
    NotStun,
    /// The length in the header is not a multiple of four or not that of the bytes.
    Length,
    /// An attribute reaches beyond the message.
    Attribute,
    /// Something follows FINGERPRINT (RFC 8489 §14.7), or it is not four bytes long.
    Fingerprint,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Short => "shorter than a STUN header",
            Self::NotStun => "not STUN: its first two bits are set",
            Self::Length => "its length field does not fit its length",
            Self::Attribute => "an attribute reaches beyond its end",
            Self::Fingerprint => "FINGERPRINT is not the last attribute or not four bytes long",
        })
    }
}

impl std::error::Error for Malformed {}

/// A well-formed message in the bytes that hold it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    bytes: &'a [u8],
}

impl<'a> Message<'a> {
    /// Reads a message that fills `bytes` exactly, as a datagram's does.
    ///
    /// What attributes mean is not looked at; only that they are there, whole.
    ///
    /// # Errors
    /// If it is none.
    pub fn read(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let header = bytes.first_chunk::<HEADER>().ok_or(Malformed::Short)?;
        if header[0] & 0xc0 != 0 {
            return Err(Malformed::NotStun);
        }
        let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
        if !length.is_multiple_of(4) || HEADER + length != bytes.len() {
            return Err(Malformed::Length);
        }
        let mut at = HEADER;
        while at < bytes.len() {
            let Some(&[kind_high, kind_low, high, low]) = bytes[at..].first_chunk::<4>() else {
                return Err(Malformed::Attribute);
            };
            let value = usize::from(u16::from_be_bytes([high, low]));
            at += 4 + value.next_multiple_of(4);
            if at > bytes.len() {
                return Err(Malformed::Attribute);
            }
            let is_fingerprint = AttributeType(u16::from_be_bytes([kind_high, kind_low])) == AttributeType::FINGERPRINT;
            if is_fingerprint && (value != 4 || at != bytes.len()) {
                return Err(Malformed::Fingerprint);
            }
        }
        Ok(Self { bytes })
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// What it is in its exchange.
    pub fn class(&self) -> Class {
        match (self.bytes[0] & 0x01, self.bytes[1] & 0x10) {
            (0, 0) => Class::Request,
            (0, _) => Class::Indication,
            (_, 0) => Class::Success,
            (_, _) => Class::Error,
        }
    }

    /// What it is about.
    pub fn method(&self) -> Method {
        let kind = u16::from_be_bytes([self.bytes[0], self.bytes[1]]);
        Method(kind & 0x000f | (kind & 0x00e0) >> 1 | (kind & 0x3e00) >> 2)
    }

    /// Its transaction.
    pub fn transaction_id(&self) -> TransactionId {
        let mut id = [0; 16];
        id.copy_from_slice(&self.bytes[4..HEADER]);
        TransactionId(id)
    }

    /// The attributes that count, in order: after MESSAGE-INTEGRITY only MESSAGE-INTEGRITY-SHA256 and FINGERPRINT do, after
    /// that only FINGERPRINT (RFC 8489 §14.5, §14.6).
    pub fn attributes(&self) -> Attributes<'a> {
        Attributes::new(self.bytes)
    }

    /// The first attribute of a type that counts; later ones are ignored (RFC 8489 §14).
    pub fn attribute(&self, kind: AttributeType) -> Option<Attribute<'a>> {
        self.attributes().find(|attribute| attribute.kind == kind)
    }

    /// Its value.
    pub fn value(&self, kind: AttributeType) -> Option<&'a [u8]> {
        self.attribute(kind).map(|attribute| attribute.value)
    }

    /// The types of the attributes that a receiver must understand and that `known` does not name (RFC 8489 §6.3).
    pub fn unknown_required(&self, known: &'a [AttributeType]) -> impl Iterator<Item = AttributeType> + 'a {
        let kinds = self.attributes().map(|attribute| attribute.kind);
        kinds.filter(move |kind| kind.is_required() && !known.contains(kind))
    }
}

impl fmt::Debug for Message<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?} {:?} ", self.method(), self.class(), self.transaction_id())?;
        f.debug_list().entries(self.attributes()).finish()
    }
}

/// The first two bytes of a message.
pub(crate) fn message_type(class: Class, method: Method) -> [u8; 2] {
    let class = match class {
        Class::Request => 0x0000,
        Class::Indication => 0x0010,
        Class::Success => 0x0100,
        Class::Error => 0x0110,
    };
    let method = method.0 & 0x000f | (method.0 & 0x0070) << 1 | (method.0 & 0x0f80) << 2;
    (class | method).to_be_bytes()
}

#[cfg(test)]
mod tests;
