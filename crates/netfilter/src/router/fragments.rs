//! Where fragments become packets on their way in, and packets become fragments on their way out.

use pinhole_sansio::Instant;
use pinhole_wire::answer::Trouble;
use pinhole_wire::{Protocol, icmp, tcp};

use super::path::{Passage, Walk};
use super::route::Way;
use super::stack::Stack;
use super::{Outbox, Packet, Reason, answer};
use crate::conntrack::Seen;
use crate::fragment::{self, Expired, Outcome, Place};
use crate::headers::{Family, Headers};
use crate::interface::{Interface, InterfaceId};
use crate::status::Status;
use crate::tuple::SCTP;
use crate::watch::{Topic, Watch};

/// IPv4's flag "don't fragment", in the byte where it is.
const DONT_FRAGMENT: u8 = 0x40;
/// The length of SCTP's common header, in bytes (RFC 9260 §3.1).
const SCTP_HEADER_LEN: usize = 12;

/// What has become of a packet that may be a fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gathered {
    /// It goes on, whole or as it is.
    GoesOn,
    /// It is kept until the others are here.
    Waits,
}

impl<A: Family> Stack<A> {
    /// Gives up packets whose fragments did not all come in time.
    pub(super) fn expire_fragments<W: Watch>(
        &mut self,
        now: Instant,
        interfaces: &[Interface],
        outbox: &mut Outbox,
        watch: &mut W,
    ) {
        Walk { stack: self, interfaces, outbox, watch }.expire_fragments(now);
    }
}

impl<A: Family, W: Watch> Walk<'_, A, W> {
    /// Before conntrack, packets are put together (`ipv4_conntrack_defrag`, `ipv6_defrag`); so are those that a rule will say
    /// are not to be tracked, because rules come later.
    #[inline]
    pub(super) fn gather(
        &mut self,
        place: Place,
        packet: &mut Packet,
        passage: &mut Passage<A>,
    ) -> Result<Gathered, Reason> {
        if passage.headers.fragment.is_none() {
            return Ok(Gathered::GoesOn);
        }
        self.expire_fragments(passage.now);
        let reassembly = &mut self.stack.reassembly;
        match reassembly.take(passage.now, place, &mut packet.bytes, &passage.headers, self.watch) {
            Outcome::AsIs => Ok(Gathered::GoesOn),
            Outcome::Kept => Ok(Gathered::Waits),
            Outcome::Refused(_) => Err(Reason::Fragment),
            Outcome::Whole(whole) => {
                packet.is_vouched_for = false;
                passage.headers = A::headers(&packet.bytes).map_err(Reason::Malformed)?;
                passage.whole = Some(Box::new(whole));
                Ok(Gathered::GoesOn)
            }
        }
    }

    /// A packet that was put together, or is too long for its way out, leaves in pieces (`ip_finish_output`,
    /// `ip6_finish_output`): the first takes its place, the others follow.
    #[inline]
    pub(super) fn cut(
        &mut self,
        output: InterfaceId,
        packet: &mut Packet,
        passage: &mut Passage<A>,
    ) -> Result<(), Reason> {
        let mtu = self.interfaces[output.place()].mtu;
        let is_too_long = packet.bytes.len() > usize::from(mtu);
        // IPv6 leaves whole what is no longer than one of the fragments was.
        let came_in_pieces = passage.whole.as_ref().is_some_and(|it| A::IS_V4 || packet.bytes.len() > it.longest);
        if !is_too_long && !came_in_pieces {
            return Ok(());
        }
        if let Some(whole) = &mut passage.whole
            && let Seen::Flow { at, .. } = passage.seen
            && is_translated(self.stack.conntrack.table.flow(at).status)
        {
            // To be translated the header is gathered into one piece, and then the pieces are no longer what they were.
            whole.gather(passage.headers.offset + written(packet, &passage.headers));
        }
        self.cut_to(mtu, output, packet, passage)
    }

    fn cut_to(
        &mut self,
        mtu: u16,
        output: InterfaceId,
        packet: &mut Packet,
        passage: &Passage<A>,
    ) -> Result<(), Reason> {
        // `__ipv6_select_ident`: any number but zero.
        let id = (self.stack.identifications.next_u64() as u32).max(1);
        let pieces = passage.may_be_cut(packet, mtu).then(|| {
            let mtu = usize::from(mtu);
            fragment::pieces::<A>(&packet.bytes, mtu, passage.whole.as_deref(), id)
        });
        let Some(pieces) = pieces.flatten() else {
            self.complain(packet, passage, Trouble::TooBig { mtu });
            return Err(Reason::TooBig);
        };
        self.note(Topic::Fragment, || match &pieces[..] {
            [_] => "the packet leaves whole".into(),
            several => format!("the packet leaves in {} pieces", several.len()),
        });
        let mut pieces = pieces.into_iter();
        if let Some(first) = pieces.next() {
            packet.bytes = first;
        }
        let mark = packet.mark;
        pieces.for_each(|bytes| self.outbox.packet(output, Packet { bytes, mark, is_vouched_for: true }));
        Ok(())
    }

    fn expire_fragments(&mut self, now: Instant) {
        while let Some(expired) = self.stack.reassembly.expire(now) {
            self.note(Topic::Fragment, || "a packet is given up whose fragments did not all come in time".into());
            self.complain_of_time(now, expired);
        }
    }

    /// Tells the sender of a packet that not all of it came in time, if the first fragment did. With IPv4 only its destination
    /// says so (`ip_expire`), with IPv6 every router that puts packets together (`nf_ct_frag6_expire`).
    fn complain_of_time(&mut self, now: Instant, expired: Expired) {
        let (Place::Arriving(input), Some(first)) = (expired.place, expired.first) else { return };
        let Ok(headers) = A::headers(&first) else { return };
        let router = match self.stack.routes.way(headers.dst) {
            Way::Local => Some(headers.dst),
            Way::Out(_) | Way::Many | Way::None if A::IS_V4 => None,
            Way::Out(_) | Way::Many | Way::None => self.address_of(Some(input)),
        };
        if let Some(error) = router.and_then(|router| answer::error(&first, Trouble::ReassemblyTimeExceeded, router)) {
            self.emit(now, error, Seen::Invalid);
        }
    }
}

const fn is_translated(status: Status) -> bool {
    status.contains(Status::SRC_NAT) || status.contains(Status::DST_NAT)
}

/// How many bytes of a transport header a translation makes writable (`l4proto_manip_pkt`): those of UDP and ICMP queries are
/// in any first fragment. Of an ICMP error it is also what that quotes, as far as it is translated.
fn written<A: Family>(packet: &Packet, headers: &Headers<A>) -> usize {
    let transport = |protocol: u8| match protocol {
        6 => tcp::HEADER_LEN,
        SCTP => SCTP_HEADER_LEN,
        _ => 0,
    };
    if Protocol::from(headers.protocol) != A::ICMP {
        return transport(headers.protocol);
    }
    let body = headers.body(&packet.bytes);
    let message = icmp::Packet::new_checked(body).ok();
    if message.is_none_or(|message| message.kind(A::ICMP) != icmp::Kind::Error) {
        return 0;
    }
    let Ok(quoted) = A::quoted_headers(&body[icmp::HEADER_LEN..]) else { return 0 };
    let quote = icmp::HEADER_LEN + quoted.offset;
    let whole = quote + transport(quoted.protocol);
    if body.len() >= whole { whole.max(quote + LEAST_QUOTED) } else { quote + LEAST_QUOTED }
}

/// As much of a transport header is in every ICMP error (RFC 792).
const LEAST_QUOTED: usize = 8;

impl<A: Family> Passage<A> {
    /// Whether a packet may leave in pieces of at most `mtu` bytes (`ip_exceeds_mtu`, `ip6_pkt_too_big`): one that was put
    /// together may if none of its fragments is longer; else one of IPv4 that does not say otherwise, and what this host
    /// itself sends over IPv6.
    pub(super) fn may_be_cut(&self, packet: &Packet, mtu: u16) -> bool {
        let is_allowed = A::IS_V4 && packet.bytes[6] & DONT_FRAGMENT == 0;
        match &self.whole {
            Some(whole) => is_allowed || whole.longest <= usize::from(mtu),
            None => is_allowed || !A::IS_V4 && self.input.is_none(),
        }
    }
}
