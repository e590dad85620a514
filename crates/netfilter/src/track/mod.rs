//! What a packet does to its flow, protocol by protocol (`net/netfilter/nf_conntrack_proto_*.c`).
//!
//! A tracker is a pure state: it is asked with `first` whether a packet may begin a flow, and with `next` what a further
//! packet does. It answers with a [`Judgement`], and the table carries that out. Trackers know no tuple, no address and no
//! NAT.

use core::time::Duration;

use crate::status::{Direction, Status};

/// What a tracker is told about a flow beside the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    /// The direction of the packet.
    pub direction: Direction,
    /// The status of its entry before the packet.
    pub status: Status,
    /// How much the entry's timeout still is; zero before it is confirmed.
    pub remaining: Duration,
}

/// What is to be done with a packet and its entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// The packet goes on with its entry.
    Accept(Change),
    /// The packet goes on without an entry.
    Invalid,
    /// The entry goes, and the packet is looked up anew (`-NF_REPEAT`).
    Restart,
    /// The entry goes, and the packet goes on with it for the last time.
    Kill,
    /// The packet is dropped.
    Drop,
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

/// What a tracker found, for whoever wants to know why.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Note {}
