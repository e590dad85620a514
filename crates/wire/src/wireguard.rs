//! WireGuard messages (the protocol paper §5.4), so far as they are readable without a key: the type and the indices.
//!
//! Enough to tell WireGuard from anything else on a shared socket, and to see at a NAT which message crossed it.

use crate::Malformed;

/// The length of a handshake initiation, in bytes.
pub const INITIATION_LEN: usize = 148;
/// The length of a handshake response, in bytes.
pub const RESPONSE_LEN: usize = 92;
/// The length of a cookie reply, in bytes.
pub const COOKIE_REPLY_LEN: usize = 64;
/// The length of the shortest transport message: a keepalive, in bytes.
pub const KEEPALIVE_LEN: usize = 32;

/// The four messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Type 1.
    HandshakeInitiation,
    /// Type 2.
    HandshakeResponse,
    /// Type 3.
    CookieReply,
    /// Type 4; of [`KEEPALIVE_LEN`] it carries nothing.
    Transport,
}

/// A WireGuard message. The message is the whole buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<T: AsRef<[u8]>> {
    buffer: T,
    kind: Kind,
}

impl<T: AsRef<[u8]>> Packet<T> {
    /// A view of `buffer`, if its type and length are those of a message. Nothing is authenticated.
    ///
    /// # Errors
    /// [`Malformed::Version`] if the type is none of the four or the reserved bytes are not zero, [`Malformed::Length`] if
    /// the length is not one that a message of this type has.
    pub fn new_checked(buffer: T) -> Result<Self, Malformed> {
        let bytes = buffer.as_ref();
        // The type is one byte and three reserved zeros; implementations compare all four as a little-endian word.
        let kind = match bytes.first_chunk::<4>().ok_or(Malformed::Truncated)? {
            [1, 0, 0, 0] => Kind::HandshakeInitiation,
            [2, 0, 0, 0] => Kind::HandshakeResponse,
            [3, 0, 0, 0] => Kind::CookieReply,
            [4, 0, 0, 0] => Kind::Transport,
            _ => return Err(Malformed::Version),
        };
        let fits = match kind {
            Kind::HandshakeInitiation => bytes.len() == INITIATION_LEN,
            Kind::HandshakeResponse => bytes.len() == RESPONSE_LEN,
            Kind::CookieReply => bytes.len() == COOKIE_REPLY_LEN,
            Kind::Transport => bytes.len() >= KEEPALIVE_LEN,
        };
        if fits { Ok(Self { buffer, kind }) } else { Err(Malformed::Length) }
    }

    /// Which message it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether it is a transport message without content.
    pub fn is_keepalive(&self) -> bool {
        self.kind == Kind::Transport && self.buffer.as_ref().len() == KEEPALIVE_LEN
    }

    /// The index that the sender chose for itself, in a handshake message.
    pub fn sender(&self) -> Option<u32> {
        match self.kind {
            Kind::HandshakeInitiation | Kind::HandshakeResponse => Some(self.index_at(4)),
            Kind::CookieReply | Kind::Transport => None,
        }
    }

    /// The index that the receiver chose for itself, in all but an initiation.
    pub fn receiver(&self) -> Option<u32> {
        match self.kind {
            Kind::HandshakeInitiation => None,
            Kind::HandshakeResponse => Some(self.index_at(8)),
            Kind::CookieReply | Kind::Transport => Some(self.index_at(4)),
        }
    }

    /// The counter of a transport message.
    pub fn counter(&self) -> Option<u64> {
        let low = u64::from(self.index_at(8));
        (self.kind == Kind::Transport).then(|| u64::from(self.index_at(12)) << 32 | low)
    }

    fn index_at(&self, at: usize) -> u32 {
        crate::bytes::u32_at(self.buffer.as_ref(), at).swap_bytes()
    }
}

#[cfg(test)]
mod tests;
