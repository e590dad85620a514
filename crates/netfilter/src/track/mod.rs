//! What a packet does to its flow, protocol by protocol (`net/netfilter/nf_conntrack_proto_*.c`).
//!
//! A tracker is a pure state: [`State::begin`] says whether a packet may begin a flow, and [`State::next`] what every packet,
//! the first included, does to it. It answers with a [`Judgement`], and the table carries that out. Trackers know no tuple,
//! no address and no NAT.
//!
//! Checksums are not a tracker's business, because they need addresses: [`checksum_is_right`] is asked before, where and
//! when Linux does. Neither are ICMP errors, which are about another flow; [`untracked`] says what Linux does not track at all.

mod checksum;
mod dccp;
mod generic;
mod gre;
mod icmp;
mod sctp;
mod state;
mod tcp;
mod udp;

use core::time::Duration;

use pinhole_sansio::Instant;

use crate::seqadj::Seqadj;
use crate::status::{Direction, Status};

pub use checksum::checksum_is_right;
pub(crate) use checksum::sctp_checksum;
pub use dccp::{Dccp, DccpState, Role};
pub use gre::Gre;
pub use icmp::{Kind, kind, untracked};
pub use sctp::{Sctp, SctpState};
pub use state::State;
pub use tcp::{Side, SideFlags, Tcp, TcpState};
pub use udp::Udp;

/// The part of a packet that a tracker looks at: everything behind the IP headers, as far as IP says it goes.
#[derive(Clone, Copy, Debug)]
pub struct Upper<'a> {
    /// The IP protocol number.
    pub protocol: u8,
    /// The transport header and what it carries.
    pub body: &'a [u8],
}

/// What a tracker is told about a flow beside the packet.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// When the packet is here.
    pub now: Instant,
    /// The direction of the packet.
    pub direction: Direction,
    /// The status of its entry before the packet.
    pub status: Status,
    /// How much the entry's timeout still is; its whole timeout before it is confirmed.
    pub remaining: Duration,
    /// How the flow's sequence numbers are adjusted, if a helper has changed a text.
    pub seqadj: Option<&'a Seqadj>,
}

/// What is to be done with a packet and its entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// The packet goes on with its entry.
    Accept(Change),
    /// The packet goes on without an entry; the entry's timeout is cut to `timeout`, if there is one.
    Invalid {
        /// At most this from now on.
        timeout: Option<Duration>,
        /// Whether the flow becomes ASSURED nevertheless: SCTP, when only a later chunk is wrong.
        assured: bool,
    },
    /// The entry goes, and the packet is looked up anew (`-NF_REPEAT`).
    Restart,
    /// The entry goes, and the packet goes on with it for the last time.
    Kill,
    /// The packet is dropped.
    Drop,
}

impl Judgement {
    /// The packet goes on without an entry, and nothing else happens.
    pub const INVALID: Self = Self::Invalid { timeout: None, assured: false };

    /// The packet goes on with its entry, and nothing else happens.
    pub const PASS: Self = Self::Accept(Change { timeout: None, assured: false, protoinfo: false });
}

/// What an accepted packet changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// From now on the entry lives this long; as before, if absent.
    pub timeout: Option<Duration>,
    /// The entry becomes ASSURED.
    pub assured: bool,
    /// The protocol's state is another one (the PROTOINFO event).
    pub protoinfo: bool,
}

impl Change {
    /// The entry lives this long from now on.
    pub(crate) const fn refresh(timeout: Duration) -> Self {
        Self { timeout: Some(timeout), assured: false, protoinfo: false }
    }
}

/// The big-endian 16-bit number at `at`.
#[inline]
fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
}

/// The big-endian 32-bit number at `at`.
#[inline]
fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4).map(|bytes| u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

#[cfg(test)]
mod tests;
