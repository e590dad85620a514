//! Chunks of an SCTP packet (RFC 9260 §3.2).

use crate::track::{u16_at, u32_at};

/// The length of the common header, in bytes: ports, verification tag, checksum.
const HEADER_LEN: usize = 12;

/// Chunk types (RFC 9260 §3.2).
pub(super) mod kind {
    pub const DATA: u8 = 0;
    pub const INIT: u8 = 1;
    pub const INIT_ACK: u8 = 2;
    pub const HEARTBEAT: u8 = 4;
    pub const HEARTBEAT_ACK: u8 = 5;
    pub const ABORT: u8 = 6;
    pub const SHUTDOWN: u8 = 7;
    pub const SHUTDOWN_ACK: u8 = 8;
    pub const ERROR: u8 = 9;
    pub const COOKIE_ECHO: u8 = 10;
    pub const COOKIE_ACK: u8 = 11;
    pub const SHUTDOWN_COMPLETE: u8 = 14;

    /// With one of these in it, a packet's tag is judged chunk by chunk.
    pub const WITH_TAGS_OF_THEIR_OWN: [u8; 7] =
        [INIT, SHUTDOWN_COMPLETE, COOKIE_ECHO, ABORT, SHUTDOWN_ACK, HEARTBEAT, HEARTBEAT_ACK];
}

/// One chunk.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chunk<'a> {
    pub kind: u8,
    pub flags: u8,
    /// As the chunk says, its header included; may be a lie.
    pub length: u16,
    /// Everything behind its header, to the end of the packet.
    rest: &'a [u8],
}

impl Chunk<'_> {
    /// Whether the tag is reflected: the sender had none of its own to use (RFC 9260 §3.3.7).
    pub const fn has_t_flag(&self) -> bool {
        self.flags & 1 != 0
    }

    /// The initiate tag of an INIT or INIT ACK, if its 16 fixed bytes are there.
    pub fn init_tag(&self) -> Option<u32> {
        u32_at(self.rest.get(..16)?, 0)
    }
}

/// The chunks of a packet, one after another, until one's header is not there.
pub(super) struct Chunks<'a> {
    rest: &'a [u8],
}

impl<'a> Chunks<'a> {
    pub fn of(body: &'a [u8]) -> Self {
        Self { rest: body.get(HEADER_LEN..).unwrap_or_default() }
    }
}

impl<'a> Iterator for Chunks<'a> {
    type Item = Chunk<'a>;

    fn next(&mut self) -> Option<Chunk<'a>> {
        let (&[kind, flags, ..], rest) = self.rest.split_first_chunk::<4>()?;
        let length = u16_at(self.rest, 2)?;
        let padded = usize::from(length).next_multiple_of(4);
        // A chunk of length zero would come again for ever. It is INVALID, and nobody asks for the next.
        self.rest = if length == 0 { &[] } else { self.rest.get(padded..).unwrap_or_default() };
        Some(Chunk { kind, flags, length, rest })
    }
}

/// A set of chunk types.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Kinds([u64; 4]);

impl Kinds {
    pub const fn insert(&mut self, kind: u8) {
        self.0[kind as usize / 64] |= 1 << (kind % 64);
    }

    pub fn has_any(&self, kinds: &[u8]) -> bool {
        kinds.iter().any(|&kind| self.0[usize::from(kind / 64)] >> (kind % 64) & 1 == 1)
    }
}
