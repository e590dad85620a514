//! Why packets and messages were dropped, counted.

/// Why a packet or a message was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dropped {
    /// No peer's allowed-ips hold its destination.
    NoPeer,
    /// The peer has no endpoint.
    NoEndpoint,
    /// The device has no private key.
    NoKey,
    /// It is no WireGuard message.
    NotWireGuard,
    /// No handshake or session has its index.
    UnknownIndex,
    /// Its sender is no peer of ours.
    UnknownPeer,
    /// A MAC or a tag is wrong.
    Forged,
    /// It was received before (copies of handshake messages are), is older than what was, or comes too soon after it.
    Replayed,
    /// Its session is too old.
    Expired,
    /// Its sender was asked to prove its address, or asks too much.
    UnderLoad,
    /// What was in it is no IP packet.
    NotIp,
    /// The peer's allowed-ips do not hold its source.
    NotAllowed,
}

const ALL: [Dropped; 12] = [
    Dropped::NoPeer,
    Dropped::NoEndpoint,
    Dropped::NoKey,
    Dropped::NotWireGuard,
    Dropped::UnknownIndex,
    Dropped::UnknownPeer,
    Dropped::Forged,
    Dropped::Replayed,
    Dropped::Expired,
    Dropped::UnderLoad,
    Dropped::NotIp,
    Dropped::NotAllowed,
];

/// How often each [`Dropped`] happened.
#[derive(Clone, Debug, Default)]
pub struct Counters([u64; ALL.len()]);

impl Counters {
    pub(crate) fn count(&mut self, dropped: Dropped) {
        self.0[dropped as usize] += 1;
    }

    /// How often this one happened.
    pub fn of(&self, dropped: Dropped) -> u64 {
        self.0[dropped as usize]
    }

    /// Those that happened.
    pub fn iter(&self) -> impl Iterator<Item = (Dropped, u64)> {
        ALL.into_iter().map(|dropped| (dropped, self.of(dropped))).filter(|(_, count)| *count != 0)
    }
}
