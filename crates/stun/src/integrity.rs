//! MESSAGE-INTEGRITY and MESSAGE-INTEGRITY-SHA256 (RFC 8489 §14.5, §14.6).

use hmac::{Hmac, Mac};
use sha1::Sha1;
use sha2::Sha256;

use crate::credentials::Key;
use crate::message::HEADER;
use crate::{Attribute, AttributeType, Message};

/// Bytes of MESSAGE-INTEGRITY.
pub(crate) const SHA1: usize = 20;
/// Bytes of MESSAGE-INTEGRITY-SHA256 that is not truncated.
pub(crate) const SHA256: usize = 32;
/// Bytes of it that must be left at least (RFC 8489 §14.6).
const SHA256_LEAST: usize = 16;

/// What a key says of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Integrity {
    /// The message does not claim any.
    Absent,
    /// It was written by someone who has the key, and nothing before the attribute has changed.
    Right,
    /// It was not.
    Wrong,
}

impl Message<'_> {
    /// Checks MESSAGE-INTEGRITY-SHA256 or, if there is none, MESSAGE-INTEGRITY.
    ///
    /// As RFC 5389 has it; the HMAC of RFC 3489, over a message padded to 64 bytes, is not known here.
    pub fn integrity(&self, key: &Key) -> Integrity {
        let right = if let Some(attribute) = self.attribute(AttributeType::MESSAGE_INTEGRITY_SHA256) {
            let truncated = attribute.value.len();
            let length = (SHA256_LEAST..=SHA256).contains(&truncated) && truncated.is_multiple_of(4);
            length && self.mac::<Hmac<Sha256>>(key, &attribute).verify_truncated_left(attribute.value).is_ok()
        } else if let Some(attribute) = self.attribute(AttributeType::MESSAGE_INTEGRITY) {
            self.mac::<Hmac<Sha1>>(key, &attribute).verify_slice(attribute.value).is_ok()
        } else {
            return Integrity::Absent;
        };
        if right { Integrity::Right } else { Integrity::Wrong }
    }

    /// The HMAC over what stands before `attribute`, with a length that ends after it.
    fn mac<M: Mac + hmac::digest::KeyInit>(&self, key: &Key, attribute: &Attribute<'_>) -> M {
        let end = attribute.at + 4 + attribute.value.len();
        mac(key, &self.as_bytes()[..attribute.at], (end - HEADER) as u16)
    }
}

/// MESSAGE-INTEGRITY of a message that `before` begins.
pub(crate) fn sha1(key: &Key, before: &[u8]) -> [u8; SHA1] {
    mac::<Hmac<Sha1>>(key, before, (before.len() + 4 + SHA1 - HEADER) as u16).finalize().into_bytes().into()
}

/// MESSAGE-INTEGRITY-SHA256 of a message that `before` begins, not truncated.
pub(crate) fn sha256(key: &Key, before: &[u8]) -> [u8; SHA256] {
    mac::<Hmac<Sha256>>(key, before, (before.len() + 4 + SHA256 - HEADER) as u16).finalize().into_bytes().into()
}

/// The HMAC over `before`, whose header says `length`.
fn mac<M: Mac + hmac::digest::KeyInit>(key: &Key, before: &[u8], length: u16) -> M {
    let mut mac = <M as Mac>::new_from_slice(key.bytes()).expect("HMAC takes keys of any length");
    mac.update(&before[..2]);
    mac.update(&length.to_be_bytes());
    mac.update(&before[4..]);
    mac
}
