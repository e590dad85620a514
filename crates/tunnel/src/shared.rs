//! What all peers of a device share: who we are, the indices in use, randomness and the wall clock.

use std::collections::HashMap;

use pinhole_sansio::{Duration, Instant};
use pinhole_wg::PrivateKey;

use crate::noise::cookie::Checker;
use crate::noise::handshake::{Identity, Timestamp};
use crate::timers::MAX_JITTER_MS;

/// Fills a buffer with random bytes that nobody can predict: keys are made of them.
pub type Entropy = Box<dyn FnMut(&mut [u8]) + Send>;

/// The number of a peer within its device.
pub(crate) type PeerId = usize;

/// The seconds of TAI64 at the Unix epoch, as WireGuard counts them (wireguard-go tai64n/).
const TAI64_EPOCH: u64 = (1 << 62) + 10;
/// Timestamps are cut to this many nanoseconds, so that they do not tell the load of a clock (wireguard-go tai64n/, Linux
/// noise.c): 16.8 ms.
const TIMESTAMP_GRAIN: u32 = 1 << 24;

/// What all peers of a device share.
pub(crate) struct Core {
    /// Our keys; without a private key nothing works.
    pub(crate) identity: Option<Identity>,
    /// Checks the MACs of what comes in.
    pub(crate) checker: Option<Checker>,
    /// Bytes of the largest packet at the TUN device; padding does not go beyond.
    pub(crate) mtu: usize,
    /// Wall clock time since the Unix epoch at the driver's [`Instant::EPOCH`].
    wall_at_epoch: Duration,
    entropy: Entropy,
    indices: HashMap<u32, PeerId>,
}

impl Core {
    pub(crate) fn new(entropy: Entropy, wall_at_epoch: Duration, mtu: usize) -> Self {
        Self { identity: None, checker: None, mtu, wall_at_epoch, entropy, indices: HashMap::new() }
    }

    /// Becomes the owner of a key. All zero bytes are no key.
    pub(crate) fn set_identity(&mut self, key: PrivateKey) {
        self.identity = (!key.is_zero()).then(|| Identity::new(*key.as_bytes()));
        self.checker = self.identity.as_ref().map(|identity| Checker::new(identity.public()));
    }

    /// 32 random bytes.
    pub(crate) fn random(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        (self.entropy)(&mut bytes);
        bytes
    }

    /// The reply that asks the sender of `message` to prove its address.
    pub(crate) fn cookie_reply(
        &mut self,
        now: Instant,
        from: core::net::SocketAddr,
        message: &[u8],
    ) -> Option<[u8; pinhole_wire::wireguard::COOKIE_REPLY_LEN]> {
        let checker = self.checker.as_mut()?;
        Some(checker.reply(now, from, message, &mut self.entropy))
    }

    /// A random delay that keeps two peers from acting at the same moment for ever.
    pub(crate) fn jitter(&mut self) -> Duration {
        let mut bytes = [0; 4];
        (self.entropy)(&mut bytes);
        Duration::from_millis(u64::from(u32::from_le_bytes(bytes)) % (MAX_JITTER_MS + 1))
    }

    /// A new index for a handshake or session of `peer`.
    pub(crate) fn reserve(&mut self, peer: PeerId) -> u32 {
        loop {
            let mut bytes = [0; 4];
            (self.entropy)(&mut bytes);
            let index = u32::from_le_bytes(bytes);
            if let std::collections::hash_map::Entry::Vacant(entry) = self.indices.entry(index) {
                entry.insert(peer);
                return index;
            }
        }
    }

    /// Gives an index back.
    pub(crate) fn release(&mut self, index: u32) {
        self.indices.remove(&index);
    }

    /// Whose index this is.
    pub(crate) fn owner(&self, index: u32) -> Option<PeerId> {
        self.indices.get(&index).copied()
    }

    /// Wall clock time since the Unix epoch.
    pub(crate) fn wall(&self, now: Instant) -> Duration {
        self.wall_at_epoch + now.since(Instant::EPOCH)
    }

    /// The timestamp of an initiation sent now.
    pub(crate) fn timestamp(&self, now: Instant) -> Timestamp {
        let wall = self.wall(now);
        let mut timestamp = [0; 12];
        timestamp[..8].copy_from_slice(&(TAI64_EPOCH + wall.as_secs()).to_be_bytes());
        timestamp[8..].copy_from_slice(&(wall.subsec_nanos() & !(TIMESTAMP_GRAIN - 1)).to_be_bytes());
        timestamp
    }
}
