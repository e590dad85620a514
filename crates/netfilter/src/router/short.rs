//! The short way: a TCP segment or UDP datagram of a confirmed flow, where no helper listens and no rule has anything to say
//! but one that accepts all of an answered flow, which is nearly every packet of a NAT. It does what the
//! [long way](super::path) does with such a packet, at once and without a detour, and leaves every other packet to it,
//! untouched.
//!
//! A flow that may go it has a [way](crate::table::Flow::ways), which the long way writes down. What else a flow must be
//! depends on nothing but the rules: the [`Terms`].

use pinhole_sansio::Instant;
use pinhole_wire::{tcp, udp};

use super::Packet;
use super::stack::Stack;
use crate::conntrack::Seen;
use crate::headers::Family;
use crate::interface::{Interface, InterfaceId};
use crate::plain::{Ends, TCP, UDP, is_intact, translate};
use crate::rules::{Hook, Passes, TableName};
use crate::status::{CtInfo, Direction, Status};
use crate::table::Place;
use crate::track::Upper;

/// What the rules ask of a flow whose packets go the short way, and what they do to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Terms {
    /// Of each direction, the bits of the status that matter, and those of them that are set.
    status: [(Status, Status); 2],
    /// One of these is set if packets are translated.
    translated: Status,
    /// Whether a rule or a policy of filter counts them.
    counted: bool,
}

/// Something is special about a flow.
const SPECIAL: Status = Status(Status::DYING.0 | Status::FIXED_TIMEOUT.0 | Status::SEQ_ADJUST.0);

impl Terms {
    /// Where packets are translated, if they are, and pass filter as it is said.
    pub(super) fn new(translates: bool, filter: Passes) -> Self {
        let decided = if translates { Status::NAT_DONE } else { Status(0) };
        let known = Status::CONFIRMED | decided;
        let answered = known | Status::SEEN_REPLY;
        let original = if filter == Passes::Established { answered } else { known };
        Self {
            status: [original, answered].map(|wanted| (wanted | SPECIAL, wanted)),
            translated: if translates { Status::NAT } else { Status(0) },
            counted: filter != Passes::Unasked,
        }
    }

    #[inline(always)]
    fn are_met(&self, status: Status, direction: Direction) -> bool {
        let (matter, wanted) = self.status[direction.index()];
        Status(status.0 & matter.0) == wanted
    }
}

impl<A: Family> Stack<A> {
    /// What a flow must be to go the short way, if any may: no rule may want to see packets on their way through, but one of
    /// filter that accepts them.
    pub(super) fn terms(&self) -> Option<Terms> {
        let through = [
            (TableName::Raw, Hook::PreRouting),
            (TableName::Mangle, Hook::PreRouting),
            (TableName::Mangle, Hook::Forward),
            (TableName::Mangle, Hook::PostRouting),
        ];
        let filter = self.rules.passes(TableName::Filter, Hook::Forward);
        let hurries = filter != Passes::Some && through.into_iter().all(|(table, hook)| !self.is_busy(table, hook));
        hurries.then(|| Terms::new(self.translates, filter))
    }

    /// Takes a packet the short way, if it may go that. Otherwise nothing has happened.
    #[inline]
    pub(super) fn hurry(&mut self, now: Instant, interfaces: &[Interface], packet: &mut Packet) -> Option<InterfaceId> {
        let terms = self.terms?;
        if !A::is_plain(&packet.bytes) {
            return None;
        }
        let (ends, protocol) = A::ends(&packet.bytes)?;
        let table = &self.conntrack.table;
        let place = table.lookup(table.hash(&ends, protocol, 0), &ends, protocol)?;
        let output = self.pass(now, &terms, place, &ends, protocol, interfaces, packet)?;
        self.has_passed(place);
        Some(output)
    }

    /// The short way of a plain packet of the flow at a place, as far as the packet is concerned.
    #[inline(always)]
    #[expect(clippy::too_many_arguments, reason = "all that is known of the packet by now")]
    pub(super) fn pass(
        &mut self,
        now: Instant,
        terms: &Terms,
        place: Place,
        ends: &Ends<A>,
        protocol: u8,
        interfaces: &[Interface],
        packet: &mut Packet,
    ) -> Option<InterfaceId> {
        match protocol {
            UDP => self.pass_as::<UDP>(now, terms, place, ends, interfaces, packet),
            _ => self.pass_as::<TCP>(now, terms, place, ends, interfaces, packet),
        }
    }

    #[inline(always)]
    fn pass_as<const PROTOCOL: u8>(
        &mut self,
        now: Instant,
        terms: &Terms,
        Place { at, direction }: Place,
        ends: &Ends<A>,
        interfaces: &[Interface],
        packet: &mut Packet,
    ) -> Option<InterfaceId> {
        let Packet { bytes, is_vouched_for, .. } = packet;
        let bytes = &mut bytes[..];
        let least = A::BODY + if PROTOCOL == UDP { udp::HEADER_LEN } else { tcp::HEADER_LEN };
        let settings = &self.conntrack.settings;
        let flow = self.conntrack.table.flow_mut(at);
        let output = flow.ways[direction.index()]?;
        let status = flow.status;
        if bytes.len() < least
            || !terms.are_met(status, direction)
            || flow.expires <= now
            || bytes.len() > usize::from(self.shortest_mtu) && bytes.len() > usize::from(interfaces[output.place()].mtu)
            || settings.checksum && !*is_vouched_for && !is_intact::<A>(bytes, PROTOCOL)
        {
            return None;
        }
        let upper = Upper { protocol: PROTOCOL, body: &bytes[A::BODY..] };
        let timeout = flow.state.hurry(upper, now, direction, status, settings)?;
        flow.expires = now + timeout;
        if status.intersects(terms.translated) {
            let target = flow.ends(!direction).swapped();
            translate(bytes, ends, &target, PROTOCOL);
        } else {
            A::decrement_ttl(bytes);
        }
        if terms.counted {
            self.rules.count_passed(TableName::Filter, Hook::Forward, bytes.len() as u32);
        }
        Some(output)
    }

    /// The last packet that has gone the short way is of the flow at a place, and did not change its status.
    #[inline]
    pub(super) fn has_passed(&mut self, Place { at, direction }: Place) {
        let info = CtInfo::of(direction, self.conntrack.table.flow(at).status);
        self.said = Some(Seen::Flow { at, info });
    }
}
