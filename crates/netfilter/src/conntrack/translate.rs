//! A flow's translation is decided once, and every packet of it is made to look so (`nf_nat_setup_info`, `nf_nat_packet`).

use pinhole_sansio::Instant;
use pinhole_wire::Protocol;

use super::{Conntrack, Seen};
use crate::headers::{Family, Headers};
use crate::nat::{self, ErrorRefused, Manip, Range, Search};
use crate::status::{CtInfo, Direction, Status};
use crate::tuple::Address;
use crate::watch::{Topic, Watch};

/// Why a packet is dropped that is to be translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Untranslated {
    /// It is an ICMP error, and cannot be.
    IcmpError(ErrorRefused),
    /// It ends within its transport header.
    TooShort,
}

impl<A: Family> Conntrack<A> {
    /// Whether a new flow's translation of this kind is decided.
    #[inline]
    pub(crate) fn is_decided(&self, at: u32, manip: Manip) -> bool {
        self.table.flow(at).status.contains(match manip {
            Manip::Source => Status::SRC_NAT_DONE,
            Manip::Destination => Status::DST_NAT_DONE,
        })
    }

    /// Decides how a new flow is translated, once.
    pub(crate) fn decide<W: Watch>(&mut self, now: Instant, at: u32, range: &Range<A>, manip: Manip, watch: &mut W) {
        let flow = self.table.flow(at);
        if flow.status.contains(Status::CONFIRMED) || self.is_decided(at, manip) {
            return;
        }
        let Some(current) = flow.tuple(Direction::Reply).inverse() else { return };
        let is_child = flow.status.contains(Status::EXPECTED);
        let source = (manip == Manip::Source).then(|| self.table.source_of(at));
        let mut search =
            Search { now, dice: &mut self.dice, personality: &self.settings.personality, is_child, watch: &mut *watch };
        let new = nat::unique(&mut self.table, &mut search, at, &current, range, source.as_ref());
        let (translated, done) = match manip {
            Manip::Source => (Status::SRC_NAT, Status::SRC_NAT_DONE),
            Manip::Destination => (Status::DST_NAT, Status::DST_NAT_DONE),
        };
        let flow = self.table.flow_mut(at);
        if new != current
            && let Some(reply) = new.inverse()
        {
            flow.set_reply(&reply);
            flow.status |= translated;
            watch.note(Topic::Nat, || format!("decided for the whole flow: {current} becomes {new}"));
        }
        flow.status |= done;
        if let Some(source) = source {
            self.table.link_source_as(at, &source);
        }
        self.bury(now);
    }

    /// Makes sure that a flow that no rule translates is not taken for another one: it may get another port for that
    /// (`nf_nat_alloc_null_binding`).
    pub(crate) fn bind_as_is<W: Watch>(&mut self, now: Instant, at: u32, manip: Manip, watch: &mut W) {
        let flow = self.table.flow_mut(at);
        let has_ports = matches!(Protocol::from(flow.protocol()), Protocol::Tcp | Protocol::Udp);
        if !W::LISTENS && manip == Manip::Destination && has_ports && !flow.status.contains(Status::CONFIRMED) {
            // Without a range of ports the destination stays, whoever has it: there is only a reason that could be told.
            flow.status |= Status::DST_NAT_DONE;
            return;
        }
        let reply = flow.tuple(Direction::Reply);
        let address = match manip {
            Manip::Source => reply.dst,
            Manip::Destination => reply.src,
        };
        watch.note(Topic::Nat, || {
            format!("no rule translates the {manip}: it stays, unless another flow has the tuple (null binding)")
        });
        self.decide(now, at, &Range::address(address), manip, watch);
    }

    /// Makes a packet look as its flow is translated, as a hook does that translates `manip`.
    ///
    /// # Errors
    /// Why it is to be dropped.
    #[inline]
    pub(crate) fn translate<W: Watch>(
        &mut self,
        packet: &mut [u8],
        headers: &mut Headers<A>,
        seen: Seen,
        manip: Manip,
        watch: &mut W,
    ) -> Result<(), Untranslated> {
        let Seen::Flow { at, info } = seen else { return Ok(()) };
        let (flow, personality) = (self.table.flow(at), &self.settings.personality);
        let direction = info.direction();
        if matches!(info, CtInfo::Related | CtInfo::RelatedReply) && is_icmp(headers) {
            let before = (headers.src, headers.dst);
            nat::translate_error(packet, headers, &flow.tuples(), flow.status, direction, manip, personality)
                .map_err(Untranslated::IcmpError)?;
            if before != (headers.src, headers.dst) {
                watch.note(Topic::Nat, || {
                    format!(
                        "the ICMP error goes from {} to {} now, and so does what it quotes",
                        headers.src, headers.dst
                    )
                });
            }
            return Ok(());
        }
        if nat::is_translated(flow.status, direction, manip)
            && let Some(target) = flow.tuple(!direction).inverse()
        {
            nat::rewrite(packet, headers, &target, manip, personality).map_err(|_| Untranslated::TooShort)?;
            // What comes in with this direction's tuple leaves as the inverse of the other one's.
            let from = flow.tuple(direction);
            watch.note(Topic::Nat, || match manip {
                Manip::Source => format!("rewritten: source {} becomes {}", from.src_end(), target.src_end()),
                Manip::Destination => format!("rewritten: destination {} becomes {}", from.dst_end(), target.dst_end()),
            });
        }
        Ok(())
    }
}

#[inline]
fn is_icmp<A: Address>(headers: &Headers<A>) -> bool {
    Protocol::from(headers.protocol) == A::ICMP
}
