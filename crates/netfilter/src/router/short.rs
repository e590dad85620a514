//! The short way: a TCP segment or UDP datagram of a confirmed flow, where no rule has anything to say and no helper listens,
//! which is nearly every packet of a NAT. It does what the [long way](super::path) does with such a packet, at once and
//! without a detour, and leaves every other packet to it, untouched.

use core::time::Duration;

use pinhole_sansio::Instant;

use super::Packet;
use super::stack::Stack;
use crate::conntrack::Seen;
use crate::headers::{Family, correct, difference};
use crate::interface::{Interface, InterfaceId};
use crate::rules::TableName;
use crate::status::{CtInfo, Direction, Status};
use crate::track::{Context, Upper, checksum_is_right};
use crate::tuple::Tuple;

/// A packet that may go the short way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plain<A: Family> {
    tuple: Tuple<A>,
    hash: u64,
}

/// The flow is found by both tuples, and its translation is decided.
const SETTLED: Status = Status(Status::CONFIRMED.0 | Status::NAT_DONE.0);
/// Something is special about the flow.
const SPECIAL: Status = Status(Status::DYING.0 | Status::FIXED_TIMEOUT.0 | Status::SEQ_ADJUST.0);

impl<A: Family> Stack<A> {
    /// Whether packets may go the short way at all: no rule may want to see them.
    pub(super) fn may_hurry(&self) -> bool {
        let tables = [TableName::Raw, TableName::Mangle, TableName::Filter];
        tables.into_iter().all(|table| self.busy[table as usize] == 0)
    }

    /// Reads a packet that may go the short way: IP without options, fragments and anything wrong, TCP or UDP.
    #[inline]
    pub(super) fn plain(&self, packet: &[u8]) -> Option<Plain<A>> {
        let (src, dst, protocol) = A::plain(packet)?;
        let &[a, b, c, d] = packet.get(A::PLAIN_HEADER..)?.first_chunk()?;
        let (src_id, dst_id) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        let tuple = Tuple { src, dst, src_id, dst_id, protocol };
        Some(Plain { tuple, hash: self.conntrack.table.hash(&tuple, 0) })
    }

    /// Asks for the memory of the flow that a packet seems to belong to: the index first.
    #[inline]
    pub(super) fn peek(&self, plain: &Plain<A>) -> Option<u32> {
        self.conntrack.table.peek(plain.hash)
    }

    /// Takes a packet the short way, if its flow is one that may. Otherwise nothing has happened.
    #[inline]
    pub(super) fn hurry(
        &mut self,
        now: Instant,
        plain: &Plain<A>,
        interfaces: &[Interface],
        packet: &mut Packet,
    ) -> Option<InterfaceId> {
        let Plain { tuple, hash } = plain;
        let bytes = &mut packet.bytes[..];
        let settings = &self.conntrack.settings;
        let upper = Upper { protocol: tuple.protocol, body: bytes.get(A::PLAIN_HEADER..)? };
        let (at, direction) = self.conntrack.table.find_hashed(now, *hash, tuple, 0)?;
        let flow = self.conntrack.table.flow_mut(at);
        let output = flow.ways[direction.index()]?;
        let moved = direction == Direction::Original && flow.masquerade.is_some_and(|behind| behind != output);
        let is_settled = flow.status.contains(if self.translates { SETTLED } else { Status::CONFIRMED });
        let is_first_answer = direction == Direction::Reply && !flow.status.contains(Status::SEEN_REPLY);
        if !is_settled
            || flow.status.intersects(SPECIAL)
            || flow.has_extra()
            || moved
            || is_first_answer
            || bytes.len() > usize::from(interfaces[output.place()].mtu)
            || settings.checksum && !checksum_is_right(upper, tuple.src, tuple.dst, settings)
        {
            return None;
        }
        let context = Context { now, direction, status: flow.status, remaining: Duration::ZERO, seqadj: None };
        let timeout = flow.state.hurry(upper, &context, settings)?;
        flow.expires = now + timeout;
        if self.translates && flow.status.intersects(Status::NAT) {
            // No translation is without an inverse.
            let target = flow.tuple(!direction).inverse()?;
            rewrite(bytes, tuple, &target);
        } else {
            A::decrement_ttl(bytes);
        }
        let info = match direction {
            Direction::Reply => CtInfo::EstablishedReply,
            Direction::Original if flow.status.contains(Status::SEEN_REPLY) => CtInfo::Established,
            Direction::Original if flow.status.contains(Status::EXPECTED) => CtInfo::Related,
            Direction::Original => CtInfo::New,
        };
        self.said = Some(Seen::Flow { at, info });
        Some(output)
    }
}

/// Gives a packet both ends of `target` at once, and takes one from its time to live.
#[inline]
fn rewrite<A: Family>(bytes: &mut [u8], old: &Tuple<A>, target: &Tuple<A>) {
    let addresses = old.src.difference(target.src) + old.dst.difference(target.dst);
    let ports = difference(old.src_id, target.src_id) + difference(old.dst_id, target.dst_id);
    A::readdress(bytes, target.src, target.dst, addresses);
    let body = &mut bytes[A::PLAIN_HEADER..];
    let [a, b, c, d] = &mut body[..4] else { return };
    ([*a, *b], [*c, *d]) = (target.src_id.to_be_bytes(), target.dst_id.to_be_bytes());
    let is_udp = old.protocol == 17;
    let at = if is_udp { 6 } else { 16 };
    let Some([a, b]) = body.get_mut(at..at + 2) else { return };
    let sum = u16::from_be_bytes([*a, *b]);
    if is_udp && sum == 0 {
        return;
    }
    let mut corrected = correct(sum, addresses + ports);
    if is_udp && corrected == 0 {
        corrected = 0xffff;
    }
    [*a, *b] = corrected.to_be_bytes();
}
