//! The handshake of WireGuard, Noise_IKpsk2 (the protocol paper §5.4.2 and §5.4.3), as four functions: one makes each of the
//! two messages, one reads each.
//!
//! ```text
//! initiator                         responder
//! initiate() ── initiation ──────▶  Opened::read(), who is it?, Opened::authenticate(), respond()
//! finish()   ◀───── response ─────  has the session; may send once the initiator's first packet proves that it has it too
//! ```
//!
//! Messages are made and read without their two MACs; those are the business of [`super::cookie`]. Nothing here keeps state
//! or time: what has to outlive a message is returned.

use x25519_dalek::{PublicKey, SharedSecret, StaticSecret};

use super::cookie;
use super::crypto::{self, KEY_LEN, Secret, TAG_LEN};
use super::session::Keys;
use pinhole_wire::wireguard::{INITIATION_LEN, RESPONSE_LEN};

/// `Construction` (§5.4).
const CONSTRUCTION: &[u8] = b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s";
/// `Identifier` (§5.4).
const IDENTIFIER: &[u8] = b"WireGuard v1 zx2c4 Jason@zx2c4.com";
/// Bytes of a TAI64N timestamp.
const TIMESTAMP_LEN: usize = 12;

/// A TAI64N timestamp: seconds and nanoseconds, big-endian, so that later ones compare greater.
pub(crate) type Timestamp = [u8; TIMESTAMP_LEN];

/// Who we are.
pub(crate) struct Identity {
    private: StaticSecret,
    public: PublicKey,
}

impl Identity {
    /// The identity that has this private key.
    pub(crate) fn new(private: [u8; KEY_LEN]) -> Self {
        let private = StaticSecret::from(private);
        Self { public: PublicKey::from(&private), private }
    }

    /// Our public key.
    pub(crate) fn public(&self) -> &[u8; KEY_LEN] {
        self.public.as_bytes()
    }

    /// Our private key.
    pub(crate) fn private(&self) -> &[u8; KEY_LEN] {
        self.private.as_bytes()
    }
}

/// Who the other side is, with what can be computed once for all handshakes with it.
pub(crate) struct Remote {
    public: PublicKey,
    /// `DH(our static, their static)`; `None` if their key is one of the few points that give no secret.
    shared: Option<SharedSecret>,
    preshared: Secret,
    /// The key of the first MAC of what we send to it.
    pub(crate) mac1_key: Secret,
    /// The key that its cookie replies are sealed with.
    pub(crate) cookie_key: Secret,
}

impl Remote {
    /// The peer with this public key, as seen by `identity`.
    pub(crate) fn new(identity: Option<&Identity>, public: [u8; KEY_LEN], preshared: Secret) -> Self {
        let public = PublicKey::from(public);
        Self {
            shared: identity.and_then(|identity| dh(&identity.private, &public)),
            preshared,
            mac1_key: cookie::mac1_key(public.as_bytes()),
            cookie_key: cookie::cookie_key(public.as_bytes()),
            public,
        }
    }

    /// The preshared key; all zero for none.
    pub(crate) fn preshared(&self) -> &Secret {
        &self.preshared
    }

    /// Changes the preshared key; handshakes that are under way fail.
    pub(crate) fn set_preshared(&mut self, preshared: Secret) {
        self.preshared = preshared;
    }
}

/// A Diffie-Hellman result, unless the other side contributed nothing to it (RFC 7748 §6.1).
fn dh(private: &StaticSecret, public: &PublicKey) -> Option<SharedSecret> {
    Some(private.diffie_hellman(public)).filter(SharedSecret::was_contributory)
}

/// The chaining key and hash with which every handshake towards `responder` begins.
fn begin(responder: &[u8; KEY_LEN]) -> (Secret, Secret) {
    let chain = crypto::hash(CONSTRUCTION, &[]);
    let hash = crypto::hash(&chain, IDENTIFIER);
    (chain, crypto::hash(&hash, responder))
}

/// What an initiator keeps until the response comes.
pub(crate) struct Initiated {
    ephemeral: StaticSecret,
    chain: Secret,
    hash: Secret,
}

/// Makes an initiation from `identity` to `remote` in `message`. `index` is ours, `ephemeral` random. `None` if the peer's
/// key gives no secret.
pub(crate) fn initiate(
    identity: &Identity,
    remote: &Remote,
    index: u32,
    timestamp: &Timestamp,
    ephemeral: [u8; KEY_LEN],
    message: &mut [u8; INITIATION_LEN],
) -> Option<Initiated> {
    let ephemeral = StaticSecret::from(ephemeral);
    let ephemeral_public = PublicKey::from(&ephemeral);
    let (chain, hash) = begin(remote.public.as_bytes());

    message[..4].copy_from_slice(&1u32.to_le_bytes());
    message[4..8].copy_from_slice(&index.to_le_bytes());
    message[8..40].copy_from_slice(ephemeral_public.as_bytes());
    let chain = crypto::kdf1(&chain, ephemeral_public.as_bytes());
    let hash = crypto::hash(&hash, ephemeral_public.as_bytes());

    let (chain, key) = crypto::kdf2(&chain, dh(&ephemeral, &remote.public)?.as_bytes());
    crypto::seal(&key, identity.public(), &hash, &mut message[40..88]);
    let hash = crypto::hash(&hash, &message[40..88]);

    let (chain, key) = crypto::kdf2(&chain, remote.shared.as_ref()?.as_bytes());
    crypto::seal(&key, timestamp, &hash, &mut message[88..116]);
    let hash = crypto::hash(&hash, &message[88..116]);
    Some(Initiated { ephemeral, chain, hash })
}

/// An initiation that was encrypted to us by someone who says who he is, and has not proven it yet.
pub(crate) struct Opened<'a> {
    /// Who he says he is.
    pub(crate) public: [u8; KEY_LEN],
    /// The index he chose.
    pub(crate) sender: u32,
    ephemeral: PublicKey,
    sealed_timestamp: &'a [u8],
    chain: Secret,
    hash: Secret,
}

impl<'a> Opened<'a> {
    /// Opens the first half of an initiation to `identity`. `None` if it was not made for us.
    pub(crate) fn read(identity: &Identity, message: &'a [u8; INITIATION_LEN]) -> Option<Self> {
        let ephemeral = PublicKey::from(*array(message, 8));
        let (chain, hash) = begin(identity.public());
        let chain = crypto::kdf1(&chain, ephemeral.as_bytes());
        let hash = crypto::hash(&hash, ephemeral.as_bytes());
        let (chain, key) = crypto::kdf2(&chain, dh(&identity.private, &ephemeral)?.as_bytes());
        let public = crypto::open(&key, &message[40..88], &hash)?;
        let hash = crypto::hash(&hash, &message[40..88]);
        let sender = u32::from_le_bytes(*array(message, 4));
        Some(Self { public, sender, ephemeral, sealed_timestamp: &message[88..116], chain, hash })
    }

    /// Opens the second half, which only `remote` can have made. The caller must refuse a timestamp that is not later than
    /// all before it: the message may be a replay.
    pub(crate) fn authenticate(self, remote: &Remote) -> Option<(Timestamp, Authentic)> {
        let (chain, key) = crypto::kdf2(&self.chain, remote.shared.as_ref()?.as_bytes());
        let timestamp = crypto::open(&key, self.sealed_timestamp, &self.hash)?;
        let hash = crypto::hash(&self.hash, self.sealed_timestamp);
        Some((timestamp, Authentic { ephemeral: self.ephemeral, sender: self.sender, chain, hash }))
    }
}

/// An initiation whose sender is proven.
pub(crate) struct Authentic {
    ephemeral: PublicKey,
    sender: u32,
    chain: Secret,
    hash: Secret,
}

/// Makes the response to an initiation in `message`, and the keys of the session. `index` is ours, `ephemeral` random.
/// `None` if the peer's keys give no secret.
pub(crate) fn respond(
    authentic: Authentic,
    remote: &Remote,
    index: u32,
    ephemeral: [u8; KEY_LEN],
    message: &mut [u8; RESPONSE_LEN],
) -> Option<Keys> {
    let ephemeral = StaticSecret::from(ephemeral);
    let ephemeral_public = PublicKey::from(&ephemeral);
    message[..4].copy_from_slice(&2u32.to_le_bytes());
    message[4..8].copy_from_slice(&index.to_le_bytes());
    message[8..12].copy_from_slice(&authentic.sender.to_le_bytes());
    message[12..44].copy_from_slice(ephemeral_public.as_bytes());

    let chain = crypto::kdf1(&authentic.chain, ephemeral_public.as_bytes());
    let hash = crypto::hash(&authentic.hash, ephemeral_public.as_bytes());
    let chain = crypto::kdf1(&chain, dh(&ephemeral, &authentic.ephemeral)?.as_bytes());
    let chain = crypto::kdf1(&chain, dh(&ephemeral, &remote.public)?.as_bytes());
    let (chain, temporary, key) = crypto::kdf3(&chain, &remote.preshared);
    let hash = crypto::hash(&hash, &temporary);
    crypto::seal(&key, &[], &hash, &mut message[44..44 + TAG_LEN]);

    let (receive, send) = crypto::kdf2(&chain, &[]);
    Some(Keys { local: index, remote: authentic.sender, send, receive })
}

/// Reads the response to an initiation of ours whose index was `index`. `None` if it is none.
pub(crate) fn finish(
    initiated: &Initiated,
    identity: &Identity,
    remote: &Remote,
    index: u32,
    message: &[u8; RESPONSE_LEN],
) -> Option<Keys> {
    let ephemeral = PublicKey::from(*array(message, 12));
    let chain = crypto::kdf1(&initiated.chain, ephemeral.as_bytes());
    let hash = crypto::hash(&initiated.hash, ephemeral.as_bytes());
    let chain = crypto::kdf1(&chain, dh(&initiated.ephemeral, &ephemeral)?.as_bytes());
    let chain = crypto::kdf1(&chain, dh(&identity.private, &ephemeral)?.as_bytes());
    let (chain, temporary, key) = crypto::kdf3(&chain, &remote.preshared);
    let hash = crypto::hash(&hash, &temporary);
    crypto::open::<0>(&key, &message[44..44 + TAG_LEN], &hash)?;

    let (send, receive) = crypto::kdf2(&chain, &[]);
    Some(Keys { local: index, remote: u32::from_le_bytes(*array(message, 4)), send, receive })
}

/// The `N` bytes of a message that begin at `at`.
fn array<const N: usize>(message: &[u8], at: usize) -> &[u8; N] {
    message[at..].first_chunk().expect("every field lies inside a message of the right length")
}
