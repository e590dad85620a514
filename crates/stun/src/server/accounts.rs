//! Long-term credentials, the server's side (RFC 8489 §9.2.4).

use core::fmt;
use core::net::SocketAddr;

use pinhole_sansio::Instant;

use super::nonces::{self, Freshness, Nonces, Purpose};
use crate::credentials::{Key, PasswordAlgorithm, userhash};
use crate::nonce::{self, Features};
use crate::{AttributeType, ErrorCode, Integrity, Message};

/// Bytes of a realm at most: a challenge then fits a [small](super::SMALL) answer.
pub const MAX_REALM: usize = 20;

/// Bytes of the NONCE of a challenge: the features, then a nonce in hexadecimal.
const NONCE: usize = nonce::PREFIX + 2 * nonces::LEN;

/// PASSWORD-ALGORITHMS: SHA-256 first.
pub(super) const ALGORITHMS: [u8; 8] = [0, 2, 0, 0, 0, 1, 0, 0];

const FEATURES: Features = Features { password_algorithms: true, username_anonymity: true };

/// Who has a password here.
#[derive(Clone, Debug)]
pub struct Accounts {
    realm: String,
    accounts: Vec<Account>,
}

#[derive(Clone)]
struct Account {
    name: String,
    userhash: [u8; 32],
    md5: Key,
    sha256: Key,
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Accounts {
    /// Nobody's yet. `None` if the realm is longer than [`MAX_REALM`] bytes.
    pub fn new(realm: &str) -> Option<Self> {
        (realm.len() <= MAX_REALM).then(|| Self { realm: realm.to_owned(), accounts: Vec::new() })
    }

    /// Adds someone; names and passwords are taken as given (see [`credentials`](crate::credentials)).
    pub fn add(&mut self, name: &str, password: &str) {
        let key = |algorithm| Key::long_term(algorithm, name, &self.realm, password);
        self.accounts.push(Account {
            name: name.to_owned(),
            userhash: userhash(name, &self.realm),
            md5: key(PasswordAlgorithm::Md5),
            sha256: key(PasswordAlgorithm::Sha256),
        });
    }

    pub(super) fn realm(&self) -> &str {
        &self.realm
    }

    /// NONCE for who asks from `source`.
    pub(super) fn nonce(nonces: &Nonces, source: SocketAddr, now: Instant) -> [u8; NONCE] {
        let mut text = [0; NONCE];
        text[..nonce::PREFIX].copy_from_slice(&FEATURES.prefix());
        let bytes = nonces.make(Purpose::Credentials, source, now);
        for (pair, byte) in text[nonce::PREFIX..].chunks_exact_mut(2).zip(bytes) {
            pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 0xf)]);
        }
        text
    }

    /// Who asks, proven: with what to answer.
    ///
    /// # Errors
    /// The code to refuse with.
    pub(super) fn check(
        &self,
        nonces: &Nonces,
        source: SocketAddr,
        now: Instant,
        message: &Message<'_>,
    ) -> Result<Authentic, u16> {
        let value = |kind| message.value(kind);
        let sha256 = value(AttributeType::MESSAGE_INTEGRITY_SHA256).is_some();
        if !sha256 && value(AttributeType::MESSAGE_INTEGRITY).is_none() {
            return Err(ErrorCode::UNAUTHENTICATED);
        }
        let (Some(_), Some(nonce)) = (value(AttributeType::REALM), value(AttributeType::NONCE)) else {
            return Err(ErrorCode::BAD_REQUEST);
        };
        let account = match (value(AttributeType::USERHASH), value(AttributeType::USERNAME)) {
            (Some(hash), _) => self.accounts.iter().find(|account| account.userhash == hash),
            (None, Some(name)) => self.accounts.iter().find(|account| account.name.as_bytes() == name),
            (None, None) => return Err(ErrorCode::BAD_REQUEST),
        };
        let algorithm = match (value(AttributeType::PASSWORD_ALGORITHMS), value(AttributeType::PASSWORD_ALGORITHM)) {
            (None, None) => PasswordAlgorithm::Md5,
            (Some(offered), Some(chosen)) if offered == ALGORITHMS => {
                PasswordAlgorithm::read(chosen).ok_or(ErrorCode::BAD_REQUEST)?
            }
            (Some(_) | None, Some(_) | None) => return Err(ErrorCode::BAD_REQUEST),
        };
        let account = account.ok_or(ErrorCode::UNAUTHENTICATED)?;
        let key = match algorithm {
            PasswordAlgorithm::Md5 => &account.md5,
            PasswordAlgorithm::Sha256 => &account.sha256,
        };
        match message.integrity(key) {
            Integrity::Right => {}
            Integrity::Absent | Integrity::Wrong => return Err(ErrorCode::UNAUTHENTICATED),
        }
        let bytes = nonce.get(nonce::PREFIX..).and_then(bytes);
        let fresh =
            bytes.is_some_and(|bytes| nonces.check(Purpose::Credentials, source, now, &bytes) == Freshness::Fresh);
        if !fresh || nonce.get(..nonce::PREFIX) != Some(&FEATURES.prefix()) {
            return Err(ErrorCode::STALE_NONCE);
        }
        Ok(Authentic { key: key.clone(), sha256 })
    }
}

/// With what to authenticate an answer.
#[derive(Debug)]
pub(super) struct Authentic {
    pub(super) key: Key,
    /// By MESSAGE-INTEGRITY-SHA256, as the request was.
    pub(super) sha256: bool,
}

fn digit(value: u8) -> u8 {
    if value < 10 { b'0' + value } else { b'a' + value - 10 }
}

/// The nonce in its hexadecimal form.
fn bytes(text: &[u8]) -> Option<[u8; nonces::LEN]> {
    let text = <&[u8; 2 * nonces::LEN]>::try_from(text).ok()?;
    let mut bytes = [0; nonces::LEN];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        let digit = |digit: u8| char::from(digit).to_digit(16);
        *byte = (digit(pair[0])? << 4 | digit(pair[1])?) as u8;
    }
    Some(bytes)
}
