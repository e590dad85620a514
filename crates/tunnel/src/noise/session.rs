//! A session: two symmetric keys, the counter of what is sent and the window of what was received (the protocol paper §5.4.6).
//!
//! Packets are sealed and opened in place, in the buffer that goes to or came from the socket.

use pinhole_sansio::{Duration, Instant};
use ring::aead::{Aad, LessSafeKey};

use super::crypto::{self, Secret, TAG_LEN};
use super::replay::Window;

/// Bytes before the encrypted packet: type, receiver's index, counter.
pub(crate) const HEADER_LEN: usize = 16;
/// Bytes that a transport message adds to the packet inside it.
pub const OVERHEAD: usize = HEADER_LEN + TAG_LEN;
/// A session that carried this many messages is renewed (`Rekey-After-Messages`, §6.1).
const REKEY_AFTER_MESSAGES: u64 = 1 << 60;
/// A session carries no more messages than this (`Reject-After-Messages`, §6.1), less a window's worth as in Linux.
const REJECT_AFTER_MESSAGES: u64 = u64::MAX - (1 << 13);
/// A session of this age is renewed by its initiator (`Rekey-After-Time`, §6.1).
const REKEY_AFTER: Duration = Duration::from_secs(120);
/// A session of this age carries nothing more (`Reject-After-Time`, §6.1).
pub(crate) const REJECT_AFTER: Duration = Duration::from_secs(180);

/// What a handshake ends in.
pub(crate) struct Keys {
    /// The index that we chose; what we receive carries it.
    pub(crate) local: u32,
    /// The index that the peer chose; what we send carries it.
    pub(crate) remote: u32,
    /// The key of what we send.
    pub(crate) send: Secret,
    /// The key of what we receive.
    pub(crate) receive: Secret,
}

/// Why a message was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OpenError {
    /// The session is too old.
    Expired,
    /// The counter was seen before, or is too far behind to know.
    Replayed,
    /// The tag is wrong.
    Forged,
}

/// A session.
pub(crate) struct Session {
    /// Our index.
    pub(crate) local: u32,
    /// When the handshake ended here.
    pub(crate) since: Instant,
    /// Whether we sent the initiation.
    pub(crate) initiator: bool,
    remote: u32,
    send: LessSafeKey,
    receive: LessSafeKey,
    counter: u64,
    window: Window,
}

impl Session {
    /// The session with these keys.
    pub(crate) fn new(keys: &Keys, initiator: bool, now: Instant) -> Self {
        Self {
            local: keys.local,
            since: now,
            initiator,
            remote: keys.remote,
            send: crypto::aead_key(&keys.send),
            receive: crypto::aead_key(&keys.receive),
            counter: 0,
            window: Window::default(),
        }
    }

    /// Whether it may still be used to send.
    pub(crate) fn is_fresh(&self, now: Instant) -> bool {
        now.since(self.since) < REJECT_AFTER && self.counter < REJECT_AFTER_MESSAGES
    }

    /// Whether its initiator should renew it now that it is used to send.
    pub(crate) fn wants_renewal(&self, now: Instant) -> bool {
        self.counter > REKEY_AFTER_MESSAGES || (self.initiator && now.since(self.since) >= REKEY_AFTER)
    }

    /// Seals the packet that lies between [`HEADER_LEN`] and [`TAG_LEN`] bytes of room in `message`, and fills those.
    pub(crate) fn seal(&mut self, message: &mut [u8]) {
        let counter = self.counter;
        self.counter += 1;
        message[..4].copy_from_slice(&4u32.to_le_bytes());
        message[4..8].copy_from_slice(&self.remote.to_le_bytes());
        message[8..16].copy_from_slice(&counter.to_le_bytes());
        let end = message.len() - TAG_LEN;
        let (text, room) = message[HEADER_LEN..].split_at_mut(end - HEADER_LEN);
        let tag = self
            .send
            .seal_in_place_separate_tag(crypto::nonce(counter), Aad::empty(), text)
            .expect("a datagram is far below the limit of the cipher");
        room.copy_from_slice(tag.as_ref());
    }

    /// Opens a transport message in place. The packet lies behind [`HEADER_LEN`]; its length, padding included, is returned.
    pub(crate) fn open(&mut self, now: Instant, message: &mut [u8]) -> Result<usize, OpenError> {
        let (header, sealed) = message.split_at_mut(HEADER_LEN);
        let counter = u64::from_le_bytes(*header.last_chunk().expect("the header ends with the counter"));
        if now.since(self.since) >= REJECT_AFTER || counter >= REJECT_AFTER_MESSAGES {
            return Err(OpenError::Expired);
        }
        // Checked before the cipher runs because it is cheap, marked after it because only then it is the peer's.
        if !self.window.accepts(counter) {
            return Err(OpenError::Replayed);
        }
        let plain = self.receive.open_in_place(crypto::nonce(counter), Aad::empty(), sealed);
        let len = plain.map_err(|_| OpenError::Forged)?.len();
        self.window.mark(counter);
        Ok(len)
    }
}
