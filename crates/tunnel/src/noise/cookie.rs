//! The two MACs that end a handshake message and the cookies behind the second (the protocol paper §5.3, §5.4.4, §5.4.7).
//!
//! The first MAC says "I know your public key": without it a message is not looked at. Under load a responder also asks for
//! the second, whose key is a cookie that it sends to the source address of a message: whoever has it can receive there, so
//! that a rate limit by address means something.

use chacha20poly1305::aead::{AeadInPlace, KeyInit};
use chacha20poly1305::{Tag, XChaCha20Poly1305, XNonce};
use core::net::SocketAddr;
use pinhole_sansio::{Duration, Instant};

use super::crypto::{self, Secret};
use pinhole_wire::wireguard::COOKIE_REPLY_LEN;

const LABEL_MAC1: &[u8] = b"mac1----";
const LABEL_COOKIE: &[u8] = b"cookie--";
/// Bytes of a MAC or a cookie.
const MAC_LEN: usize = 16;
/// How long a cookie is good, on both sides (§5.3).
pub(crate) const COOKIE_LIFETIME: Duration = Duration::from_secs(120);

/// A cookie, or a MAC.
pub(crate) type Mac = [u8; MAC_LEN];

/// The key of the first MAC of messages to the owner of `public`.
pub(crate) fn mac1_key(public: &[u8; 32]) -> Secret {
    crypto::hash(LABEL_MAC1, public)
}

/// The key with which the owner of `public` seals its cookies.
pub(crate) fn cookie_key(public: &[u8; 32]) -> Secret {
    crypto::hash(LABEL_COOKIE, public)
}

/// Fills in both MACs at the end of `message`; the second stays zero without a cookie. Returns the first, which a cookie
/// reply will be bound to.
pub(crate) fn sign(message: &mut [u8], mac1_key: &Secret, cookie: Option<&Mac>) -> Mac {
    let (body, macs) = message.split_at_mut(message.len() - 2 * MAC_LEN);
    let mac1 = crypto::mac(mac1_key, &[body]);
    let mac2 = cookie.map_or([0; MAC_LEN], |cookie| crypto::mac(cookie, &[body, &mac1]));
    macs[..MAC_LEN].copy_from_slice(&mac1);
    macs[MAC_LEN..].copy_from_slice(&mac2);
    mac1
}

/// What the MACs of a message prove.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    /// Nothing.
    None,
    /// The sender knows our public key.
    KnowsKey,
    /// And it receives what is sent to the address the message came from.
    OwnsAddress,
}

/// The responder's side: checks MACs, makes cookies.
pub(crate) struct Checker {
    mac1_key: Secret,
    cookie_key: Secret,
    secret: Secret,
    secret_since: Option<Instant>,
}

impl Checker {
    /// The checker for messages to the owner of `public`.
    pub(crate) fn new(public: &[u8; 32]) -> Self {
        Self { mac1_key: mac1_key(public), cookie_key: cookie_key(public), secret: [0; 32], secret_since: None }
    }

    /// What the MACs at the end of `message`, a handshake message from `from`, prove.
    pub(crate) fn check(&self, now: Instant, from: SocketAddr, message: &[u8]) -> Proof {
        let (body, macs) = message.split_at(message.len() - 2 * MAC_LEN);
        let mac1 = crypto::mac(&self.mac1_key, &[body]);
        let [first, second] = [0, MAC_LEN].map(|at| macs[at..].first_chunk().expect("both MACs were split off"));
        if !crypto::same(&mac1, first) {
            return Proof::None;
        }
        if self.secret_since.is_none_or(|since| now.since(since) >= COOKIE_LIFETIME) {
            return Proof::KnowsKey;
        }
        let mac2 = crypto::mac(&self.cookie_for(from), &[body, &mac1]);
        if crypto::same(&mac2, second) { Proof::OwnsAddress } else { Proof::KnowsKey }
    }

    /// A cookie reply to `message` from `from`. `random` fills a buffer with random bytes.
    pub(crate) fn reply(
        &mut self,
        now: Instant,
        from: SocketAddr,
        message: &[u8],
        random: &mut dyn FnMut(&mut [u8]),
    ) -> [u8; COOKIE_REPLY_LEN] {
        if self.secret_since.is_none_or(|since| now.since(since) >= COOKIE_LIFETIME) {
            random(&mut self.secret);
            self.secret_since = Some(now);
        }
        let mut reply = [0; COOKIE_REPLY_LEN];
        reply[..4].copy_from_slice(&3u32.to_le_bytes());
        reply[4..8].copy_from_slice(&message[4..8]);
        random(&mut reply[8..32]);
        reply[32..48].copy_from_slice(&self.cookie_for(from));
        let mac1 = &message[message.len() - 2 * MAC_LEN..message.len() - MAC_LEN];
        let (head, sealed) = reply.split_at_mut(32);
        let (text, tag) = sealed.split_at_mut(MAC_LEN);
        let made = XChaCha20Poly1305::new(&self.cookie_key.into())
            .encrypt_in_place_detached(XNonce::from_slice(&head[8..]), mac1, text)
            .expect("sixteen bytes are below the limit of the cipher");
        tag.copy_from_slice(&made);
        reply
    }

    /// The cookie of an address and port, for as long as the secret lasts.
    fn cookie_for(&self, from: SocketAddr) -> Mac {
        let port = from.port().to_be_bytes();
        match from {
            SocketAddr::V4(from) => crypto::mac(&self.secret, &[&from.ip().octets(), &port]),
            SocketAddr::V6(from) => crypto::mac(&self.secret, &[&from.ip().octets(), &port]),
        }
    }
}

/// The initiator's side: opens a cookie reply to a message whose first MAC was `mac1`.
pub(crate) fn open_reply(cookie_key: &Secret, mac1: &Mac, message: &[u8; COOKIE_REPLY_LEN]) -> Option<Mac> {
    let mut cookie = *message[32..].first_chunk::<MAC_LEN>()?;
    XChaCha20Poly1305::new(&(*cookie_key).into())
        .decrypt_in_place_detached(
            XNonce::from_slice(&message[8..32]),
            mac1,
            &mut cookie,
            Tag::from_slice(&message[48..]),
        )
        .ok()?;
    Some(cookie)
}
