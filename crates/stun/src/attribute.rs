//! Attributes: types, names, and the walk over those of a message.

use core::fmt;

use crate::message::HEADER;

/// The type of an attribute (RFC 8489 §18.3, RFC 5780 §7, RFC 3489 §11.2).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AttributeType(pub u16);

macro_rules! types {
    ($($(#[$doc:meta])* $name:ident = $value:literal, $text:literal;)*) => {
        impl AttributeType {
            $($(#[$doc])* pub const $name: Self = Self($value);)*

            /// The name that the RFCs give it.
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($value => Some($text),)*
                    _ => None,
                }
            }
        }
    };
}

types! {
    /// The asker's address (RFC 8489 §14.1).
    MAPPED_ADDRESS = 0x0001, "MAPPED-ADDRESS";
    /// Where to send the answer (RFC 3489 §11.2.2): never obeyed, since it would let anyone send to anyone.
    RESPONSE_ADDRESS = 0x0002, "RESPONSE-ADDRESS";
    /// Answer from another address, another port or both (RFC 5780 §7.2).
    CHANGE_REQUEST = 0x0003, "CHANGE-REQUEST";
    /// Where the answer comes from (RFC 3489 §11.2.5); [`RESPONSE_ORIGIN`](Self::RESPONSE_ORIGIN) today.
    SOURCE_ADDRESS = 0x0004, "SOURCE-ADDRESS";
    /// Where an answer would come from if both were changed (RFC 3489 §11.2.3); [`OTHER_ADDRESS`](Self::OTHER_ADDRESS)
    /// today.
    CHANGED_ADDRESS = 0x0005, "CHANGED-ADDRESS";
    /// Whose credentials are used (RFC 8489 §14.3).
    USERNAME = 0x0006, "USERNAME";
    /// Of a shared secret (RFC 3489 §11.2.7); no longer used.
    PASSWORD = 0x0007, "PASSWORD";
    /// HMAC-SHA1 over what stands before it (RFC 8489 §14.5).
    MESSAGE_INTEGRITY = 0x0008, "MESSAGE-INTEGRITY";
    /// Why a request failed (RFC 8489 §14.8).
    ERROR_CODE = 0x0009, "ERROR-CODE";
    /// What was not understood (RFC 8489 §14.13).
    UNKNOWN_ATTRIBUTES = 0x000a, "UNKNOWN-ATTRIBUTES";
    /// Who asked, when the answer went elsewhere (RFC 3489 §11.2.11).
    REFLECTED_FROM = 0x000b, "REFLECTED-FROM";
    /// Where long-term credentials are valid (RFC 8489 §14.9).
    REALM = 0x0014, "REALM";
    /// Against replay, and the server's features (RFC 8489 §14.10).
    NONCE = 0x0015, "NONCE";
    /// HMAC-SHA256, whole or truncated (RFC 8489 §14.6).
    MESSAGE_INTEGRITY_SHA256 = 0x001c, "MESSAGE-INTEGRITY-SHA256";
    /// How the key was made of the password (RFC 8489 §14.12).
    PASSWORD_ALGORITHM = 0x001d, "PASSWORD-ALGORITHM";
    /// USERNAME that does not say who (RFC 8489 §14.4).
    USERHASH = 0x001e, "USERHASH";
    /// The asker's address, hidden from NATs that rewrite what looks like one (RFC 8489 §14.2).
    XOR_MAPPED_ADDRESS = 0x0020, "XOR-MAPPED-ADDRESS";
    /// Makes a message long (RFC 5780 §7.6).
    PADDING = 0x0026, "PADDING";
    /// Send the answer to this port of the asker's (RFC 5780 §7.5).
    RESPONSE_PORT = 0x0027, "RESPONSE-PORT";
    /// How the server can make keys (RFC 8489 §14.11).
    PASSWORD_ALGORITHMS = 0x8002, "PASSWORD-ALGORITHMS";
    /// The name of the server to ask instead (RFC 8489 §14.16).
    ALTERNATE_DOMAIN = 0x8003, "ALTERNATE-DOMAIN";
    /// XOR-MAPPED-ADDRESS as servers between RFC 3489 and RFC 5389 wrote it.
    XOR_MAPPED_ADDRESS_OLD = 0x8020, "XOR-MAPPED-ADDRESS (0x8020)";
    /// Which program (RFC 8489 §14.14).
    SOFTWARE = 0x8022, "SOFTWARE";
    /// The server to ask instead (RFC 8489 §14.15).
    ALTERNATE_SERVER = 0x8023, "ALTERNATE-SERVER";
    /// How long a transaction id is remembered for an answer from elsewhere, in seconds (RFC 5780 §7.1 of its draft, reserved
    /// by §9.1).
    CACHE_TIMEOUT = 0x8027, "CACHE-TIMEOUT";
    /// CRC-32 of the message, xored (RFC 8489 §14.7).
    FINGERPRINT = 0x8028, "FINGERPRINT";
    /// Where the answer comes from (RFC 5780 §7.3).
    RESPONSE_ORIGIN = 0x802b, "RESPONSE-ORIGIN";
    /// Where an answer would come from if address and port were changed (RFC 5780 §7.4).
    OTHER_ADDRESS = 0x802c, "OTHER-ADDRESS";
    /// Ours, first come first served range: call me back at this port.
    CALL_BACK = 0xe3c0, "CALL-BACK";
    /// Ours: proof that the asker receives what is sent to its address.
    CALL_BACK_NONCE = 0xe3c1, "CALL-BACK-NONCE";
    /// Ours: what became of a call.
    CALL_BACK_RESULT = 0xe3c2, "CALL-BACK-RESULT";
    /// Ours: what two hosts say to each other while they look for a way through their NATs.
    SPRAY = 0xe3c3, "SPRAY";
}

impl AttributeType {
    /// True if a receiver that does not know it must not act on the message (RFC 8489 §14).
    pub const fn is_required(self) -> bool {
        self.0 < 0x8000
    }
}

impl fmt::Debug for AttributeType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for AttributeType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "0x{:04x}", self.0),
        }
    }
}

/// An attribute in a message.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// Its type.
    pub kind: AttributeType,
    /// Its value, without the padding.
    pub value: &'a [u8],
    /// Where its header begins in the message, in bytes.
    pub at: usize,
}

impl fmt::Debug for Attribute<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.kind)?;
        self.value.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The attributes of a message that count. See [`Message::attributes`](crate::Message::attributes).
#[derive(Clone, Debug)]
pub struct Attributes<'a> {
    bytes: &'a [u8],
    at: usize,
    /// What MESSAGE-INTEGRITY and MESSAGE-INTEGRITY-SHA256 let follow.
    sealed: Sealed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sealed {
    Open,
    Sha1,
    Sha256,
}

impl<'a> Attributes<'a> {
    /// Of a message that has been checked.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: HEADER, sealed: Sealed::Open }
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Attribute<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let at = self.at;
            let &[kind_high, kind_low, high, low] = self.bytes.get(at..)?.first_chunk::<4>()?;
            let kind = AttributeType(u16::from_be_bytes([kind_high, kind_low]));
            let length = usize::from(u16::from_be_bytes([high, low]));
            let value = self.bytes.get(at + 4..at + 4 + length)?;
            self.at = at + 4 + length.next_multiple_of(4);
            let counts = match self.sealed {
                Sealed::Open => true,
                Sealed::Sha1 => kind == AttributeType::MESSAGE_INTEGRITY_SHA256 || kind == AttributeType::FINGERPRINT,
                Sealed::Sha256 => kind == AttributeType::FINGERPRINT,
            };
            match kind {
                AttributeType::MESSAGE_INTEGRITY if self.sealed == Sealed::Open => self.sealed = Sealed::Sha1,
                AttributeType::MESSAGE_INTEGRITY_SHA256 => self.sealed = Sealed::Sha256,
                _ => {}
            }
            if counts {
                return Some(Attribute { kind, value, at });
            }
        }
    }
}
