//! The short way: a TCP segment or UDP datagram of a confirmed flow, where no helper listens and no rule has anything to say but
//! one that accepts all of an answered flow, which is nearly every packet of a NAT. It does what the [long way](super::path) does with such a packet, at once and
//! without a detour, and leaves every other packet to it, untouched.
//!
//! A flow that may go it has a [way](crate::table::Flow::ways), which the long way writes down. Of a batch, the memory of all
//! flows is asked for first ([`Asked`]), so that the processor waits for it once.

use core::time::Duration;

use pinhole_sansio::Instant;

use super::stack::Stack;
use super::{BATCH, Packet};
use crate::conntrack::Seen;
use crate::headers::Family;
use crate::interface::{Interface, InterfaceId};
use crate::plain::{Ends, is_intact, translate};
use crate::rules::{Hook, Passes, TableName};
use crate::status::{CtInfo, Direction, Status};
use crate::table::{Likely, Place};
use crate::track::{Context, Upper};

/// Where the flows of a batch most likely are.
pub(super) struct Asked {
    places: [Likely; BATCH],
}

impl Asked {
    pub(super) const NOTHING: Self = Self { places: [Likely::NOWHERE; BATCH] };
}

impl<A: Family> Stack<A> {
    /// Whether packets may go the short way at all: no rule may want to see them on their way through, but one of filter that
    /// accepts them.
    pub(super) fn may_hurry(&self) -> bool {
        let through = [
            (TableName::Raw, Hook::PreRouting),
            (TableName::Mangle, Hook::PreRouting),
            (TableName::Mangle, Hook::Forward),
            (TableName::Mangle, Hook::PostRouting),
        ];
        self.filter != Passes::Some && through.into_iter().all(|(table, hook)| !self.is_busy(table, hook))
    }

    /// Finds out where the flows of packets are that may go the short way, and reads the memory that they need: first that of
    /// the index for all, then that of the flows for all.
    #[inline]
    pub(super) fn ask(&self, packets: &[Packet]) -> Asked {
        let table = &self.conntrack.table;
        // Zero is no hash: a packet that has it goes the long way.
        let (mut hashes, mut asked) = ([0; BATCH], Asked::NOTHING);
        let mut tcp = 0_u32;
        for (n, (packet, hash)) in packets.iter().zip(&mut hashes).enumerate() {
            if A::is_plain(&packet.bytes)
                && let Some((ends, protocol)) = A::ends(&packet.bytes)
            {
                *hash = table.hash(&ends, protocol, 0);
                tcp |= u32::from(protocol == 6) << n;
            }
        }
        core::hint::black_box(hashes.iter().fold(0, |sum, &hash| sum ^ table.touch_index(hash)));
        let mut all_known = true;
        for (&hash, place) in hashes.iter().zip(&mut asked.places) {
            if hash != 0 {
                *place = table.likely(hash);
                all_known &= !place.is_nowhere();
            }
        }
        let mut touched = 0;
        for (n, &place) in asked.places.iter().enumerate() {
            touched ^= table.touch(place, tcp >> n & 1 == 1);
        }
        if !all_known {
            touched ^= self.touch_new(packets, &hashes, &asked);
        }
        core::hint::black_box(touched);
        asked
    }

    /// Reads the memory that packets need that most likely begin a flow: where their source is listed, and where their answer
    /// will be found if the flow is translated as the last one was.
    #[inline(never)]
    fn touch_new(&self, packets: &[Packet], hashes: &[u64; BATCH], asked: &Asked) -> u32 {
        let (table, mapped) = (&self.conntrack.table, self.conntrack.mapped);
        let mut touched = 0;
        for ((packet, &hash), place) in packets.iter().zip(hashes).zip(&asked.places) {
            if hash != 0
                && place.is_nowhere()
                && let Some((ends, protocol)) = A::ends(&packet.bytes)
            {
                let answer = Ends { dst: mapped, ..ends.swapped() };
                touched ^= table.touch_index(table.hash(&answer, protocol, 0)) ^ table.touch_source(&ends, protocol);
            }
        }
        touched
    }

    /// Takes the `n`th packet of a batch the short way, if it may go that. Otherwise nothing has happened.
    #[inline]
    pub(super) fn hurry_asked(
        &mut self,
        now: Instant,
        asked: &Asked,
        n: usize,
        interfaces: &[Interface],
        packet: &mut Packet,
    ) -> Option<InterfaceId> {
        let (ends, protocol) = A::ends(&packet.bytes)?;
        let place = self.conntrack.table.confirm(*asked.places.get(n)?, &ends, protocol)?;
        self.pass(now, place, &ends, protocol, interfaces, packet)
    }

    /// Takes a packet the short way, if it may go that. Otherwise nothing has happened.
    #[inline]
    pub(super) fn hurry(&mut self, now: Instant, interfaces: &[Interface], packet: &mut Packet) -> Option<InterfaceId> {
        if !A::is_plain(&packet.bytes) {
            return None;
        }
        let (ends, protocol) = A::ends(&packet.bytes)?;
        let table = &self.conntrack.table;
        let place = table.lookup(table.hash(&ends, protocol, 0), &ends, protocol)?;
        self.pass(now, place, &ends, protocol, interfaces, packet)
    }

    /// The short way of a plain packet of the flow at a place.
    #[inline(always)]
    fn pass(
        &mut self,
        now: Instant,
        Place { at, direction }: Place,
        ends: &Ends<A>,
        protocol: u8,
        interfaces: &[Interface],
        packet: &mut Packet,
    ) -> Option<InterfaceId> {
        let bytes = &mut packet.bytes[..];
        let settings = &self.conntrack.settings;
        let flow = self.conntrack.table.flow_mut(at);
        let output = flow.ways[direction.index()]?;
        let status = flow.status;
        let answered = self.filter == Passes::Established || direction == Direction::Reply;
        let answered = if answered { Status::SEEN_REPLY } else { Status(0) };
        let decided = if self.translates { Status::NAT_DONE } else { Status(0) };
        let wanted = Status::CONFIRMED | answered | decided;
        if Status(status.0 & (wanted | SPECIAL).0) != wanted
            || flow.expires <= now
            || bytes.len() > usize::from(self.shortest_mtu) && bytes.len() > usize::from(interfaces[output.place()].mtu)
            || settings.checksum && !is_intact::<A>(bytes, protocol)
        {
            return None;
        }
        let upper = Upper { protocol, body: bytes.get(A::BODY..)? };
        let context = Context { now, direction, status, remaining: Duration::ZERO, seqadj: None };
        let timeout = flow.state.hurry(upper, &context, settings)?;
        flow.expires = now + timeout;
        if self.translates && status.intersects(Status::NAT) {
            let target = flow.ends(!direction).swapped();
            translate(bytes, ends, &target, protocol);
        } else {
            A::decrement_ttl(bytes);
        }
        if self.filter != Passes::Unasked {
            self.rules.count_passed(TableName::Filter, Hook::Forward, bytes.len() as u32);
        }
        let info = match direction {
            Direction::Reply => CtInfo::EstablishedReply,
            Direction::Original if status.contains(Status::SEEN_REPLY) => CtInfo::Established,
            Direction::Original if status.contains(Status::EXPECTED) => CtInfo::Related,
            Direction::Original => CtInfo::New,
        };
        self.said = Some(Seen::Flow { at, info });
        Some(output)
    }
}

/// Something is special about the flow.
const SPECIAL: Status = Status(Status::DYING.0 | Status::FIXED_TIMEOUT.0 | Status::SEQ_ADJUST.0);
