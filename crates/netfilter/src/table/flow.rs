//! A flow as it lies in the table: two cache lines for IPv4, everything that most packets touch in the first.

use core::time::Duration;

use pinhole_sansio::Instant;

use crate::expect::MasterId;
use crate::helper;
use crate::interface::InterfaceId;
use crate::plain::Ends;
use crate::seqadj::Seqadj;
use crate::settings::Timeouts;
use crate::status::{Direction, Status};
use crate::track::State;
use crate::tuple::{Address, Tuple};

/// The place of no flow.
pub(super) const NOBODY: u32 = u32::MAX;

/// A tracked flow (`struct nf_conn`).
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub struct Flow<A> {
    /// When its time is over.
    pub expires: Instant,
    /// Both directions, without the protocol that they share.
    ends: [Ends<A>; 2],
    pub(super) generation: u32,
    /// The next older flow from the same source; [`NOBODY`] if there is none.
    pub(super) older: u32,
    /// The next newer one; of a free place, the next free one.
    pub(super) newer: u32,
    /// Set by rules, for rules.
    pub mark: u32,
    /// What is known of it.
    pub status: Status,
    /// Its zone.
    pub zone: Zone,
    /// By which interface it is masqueraded, if it is.
    pub masquerade: Option<InterfaceId>,
    /// By which interface packets of each direction leave that may go the short way: known once one has gone the long way,
    /// forgotten when routes or rules change.
    pub(crate) ways: [Option<InterfaceId>; 2],
    protocol: u8,
    pub(super) bits: Bits,
    /// What its tracker remembers.
    pub state: State,
}

/// What the table knows of a place, as bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bits(u8);

impl Bits {
    /// It is linked with others from the same source.
    pub(super) const HAS_SOURCE: Self = Self(1);
    /// Something is kept aside of it.
    pub(super) const HAS_EXTRA: Self = Self(2);
    /// There is no flow.
    pub(super) const IS_FREE: Self = Self(4);
    /// It is found by its reply tuple only.
    pub(super) const REPLY_ONLY: Self = Self(8);

    #[inline]
    pub(super) const fn contains(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    #[inline]
    pub(super) const fn put(&mut self, other: Self, set: bool) {
        if set {
            self.0 |= other.0;
        } else {
            self.0 &= !other.0;
        }
    }
}

/// The zone of a flow: a space of tuples of its own, in both directions or in one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Zone {
    /// Its number; 0 is the zone of all that have none.
    pub id: u16,
    /// The only direction that is in it; the other one is in zone 0.
    pub only: Option<Direction>,
}

impl Zone {
    /// The zone in which a direction's tuple is.
    #[inline]
    pub fn in_direction(self, direction: Direction) -> u16 {
        if self.only.is_none_or(|only| only == direction) { self.id } else { 0 }
    }
}

/// What names a flow for good: no other one of the same table gets the same name while the numbers last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowId {
    pub(super) at: u32,
    pub(super) generation: u32,
}

impl From<FlowId> for MasterId {
    fn from(id: FlowId) -> Self {
        Self(u64::from(id.generation) << 32 | u64::from(id.at))
    }
}

impl From<MasterId> for FlowId {
    fn from(MasterId(id): MasterId) -> Self {
        Self { at: id as u32, generation: (id >> 32) as u32 }
    }
}

/// What only few flows have.
#[derive(Clone, Debug)]
pub struct Extra<A: Address> {
    /// What its helper remembers.
    pub helper: Option<helper::State>,
    /// How its sequence numbers are adjusted.
    pub seqadj: Option<Seqadj>,
    /// The flow that announced it.
    pub master: Option<MasterId>,
    /// Both tuples of that flow, as they were then.
    pub master_tuples: Option<[Tuple<A>; 2]>,
    /// The name of the helper of that flow.
    pub master_helper: Option<&'static str>,
    /// Its own timeouts, instead of those of the settings.
    pub timeouts: Option<Box<Timeouts>>,
    /// Packets and bytes of both directions, if they are counted.
    pub counters: Option<[Counters; 2]>,
    /// When it began, if that is kept.
    pub begun: Option<Instant>,
}

impl<A: Address> Default for Extra<A> {
    fn default() -> Self {
        Self {
            helper: None,
            seqadj: None,
            master: None,
            master_tuples: None,
            master_helper: None,
            timeouts: None,
            counters: None,
            begun: None,
        }
    }
}

/// What went through in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets.
    pub packets: u64,
    /// Bytes, IP headers included.
    pub bytes: u64,
}

impl<A: Address> Flow<A> {
    /// A flow that begins with a packet of tuple `original`, and that is not in a table yet.
    #[inline(always)]
    pub fn new(now: Instant, original: &Tuple<A>, reply: &Tuple<A>, zone: Zone, state: State) -> Self {
        Self {
            expires: now,
            ends: [Ends::of(original), Ends::of(reply)],
            generation: 0,
            older: NOBODY,
            newer: NOBODY,
            mark: 0,
            status: Status::default(),
            zone,
            masquerade: None,
            ways: [None, None],
            protocol: original.protocol,
            bits: Bits(0),
            state,
        }
    }

    /// The tuple of a direction.
    #[inline]
    pub const fn tuple(&self, direction: Direction) -> Tuple<A> {
        self.ends[direction.index()].tuple(self.protocol)
    }

    /// The same without the protocol, as packets have it.
    #[inline]
    pub(crate) const fn ends(&self, direction: Direction) -> Ends<A> {
        self.ends[direction.index()]
    }

    /// Both tuples, original and reply.
    pub const fn tuples(&self) -> [Tuple<A>; 2] {
        [self.tuple(Direction::Original), self.tuple(Direction::Reply)]
    }

    /// Changes what answers look like; only before the flow is inserted.
    pub(crate) fn set_reply(&mut self, reply: &Tuple<A>) {
        debug_assert!(!self.status.contains(Status::CONFIRMED), "a flow is not renamed while it is found");
        self.ends[Direction::Reply.index()] = Ends::of(reply);
    }

    /// How long it will live if nothing comes.
    pub fn remaining(&self, now: Instant) -> Duration {
        self.expires.since(now)
    }

    /// Whether something is kept aside of it.
    #[inline]
    pub(crate) const fn has_extra(&self) -> bool {
        self.bits.contains(Bits::HAS_EXTRA)
    }

    /// The IP protocol number.
    #[inline]
    pub const fn protocol(&self) -> u8 {
        self.protocol
    }

    /// Whether this is the flow of a tuple in a zone, in a direction.
    #[inline]
    pub(super) fn is(&self, ends: &Ends<A>, protocol: u8, zone: u16, direction: Direction) -> bool {
        self.ends[direction.index()] == *ends && self.protocol == protocol && self.zone.in_direction(direction) == zone
    }

    /// Whether this is the flow of a tuple outside all zones, in a direction; false for some that are in a zone in the other
    /// direction only.
    #[inline]
    pub(super) fn is_unzoned(&self, ends: &Ends<A>, protocol: u8, direction: Direction) -> bool {
        (self.ends[direction.index()] == *ends) & (self.protocol == protocol) & (self.zone.id == 0)
    }

    /// Whether both come from the same endpoint.
    pub(super) fn has_same_source(&self, other: &Self) -> bool {
        let (a, b) = (self.ends[0], other.ends[0]);
        let ([a0, a1, ..], [b0, b1, ..]) = (a.ids, b.ids);
        (a.src, [a0, a1], self.protocol) == (b.src, [b0, b1], other.protocol)
            && self.zone.in_direction(Direction::Original) == other.zone.in_direction(Direction::Original)
    }
}

/// A direction of the flow at a place, as an index has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) at: u32,
    pub(crate) direction: Direction,
}

impl Place {
    #[inline]
    pub(super) const fn bits(self) -> u32 {
        self.at << 1 | self.direction as u32
    }

    #[inline]
    pub(super) const fn from_bits(bits: u32) -> Self {
        let direction = if bits & 1 == 0 { Direction::Original } else { Direction::Reply };
        Self { at: bits >> 1, direction }
    }
}

#[cfg(test)]
mod tests {
    use core::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    #[test]
    fn a_flow_is_two_cache_lines_and_three_over_ipv6() {
        assert_eq!(size_of::<Flow<Ipv4Addr>>(), 128);
        assert_eq!(size_of::<Flow<Ipv6Addr>>(), 192);
    }
}
