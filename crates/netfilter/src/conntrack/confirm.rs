//! The last thing that happens to a packet: its helper reads it, its sequence numbers are adjusted, and a new flow is put in
//! the table (`nf_confirm`, `__nf_conntrack_confirm`).

use core::time::Duration;

use pinhole_sansio::Instant;

use super::{Conntrack, Seen};
use crate::headers::{Family, Headers};
use crate::helper::{self, Call, Verdict};
use crate::nat;
use crate::seqadj::Seqadj;
use crate::settings::Clash;
use crate::status::{CtInfo, Direction, Status};
use crate::text;
use crate::watch::{Topic, Watch};

/// Why a packet does not get past confirm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unconfirmed {
    /// Another flow has its tuple.
    Clash,
    /// Its helper says so: the text cannot be translated, or is cut where it matters.
    Helper,
}

/// How long a flow lives that was put in the table in one direction only (`nf_ct_resolve_clash_harder`).
const CLASH_TIMEOUT: Duration = Duration::from_secs(1);

impl<A: Family> Conntrack<A> {
    /// Confirms a packet. It may become longer or shorter, if its helper has to change its text, and it may belong to another
    /// flow afterwards, if the same one was put in the table before.
    ///
    /// # Errors
    /// Why the packet must be dropped.
    #[inline]
    pub(crate) fn confirm<W: Watch>(
        &mut self,
        now: Instant,
        packet: &mut Vec<u8>,
        headers: &mut Headers<A>,
        seen: Seen,
        watch: &mut W,
    ) -> Result<Seen, Unconfirmed> {
        let Seen::Flow { at, info } = seen else { return Ok(seen) };
        if info != CtInfo::RelatedReply && self.table.extra(at).is_some() {
            self.assist(now, packet, headers, at, info, watch)?;
        }
        if self.table.flow(at).status.contains(Status::CONFIRMED) {
            return Ok(seen);
        }
        self.insert(now, at, info, watch)
    }

    /// Puts a new flow in the table.
    #[cold]
    fn insert<W: Watch>(&mut self, now: Instant, at: u32, info: CtInfo, watch: &mut W) -> Result<Seen, Unconfirmed> {
        let flow = self.table.flow(at);
        if info.direction() == Direction::Reply {
            return Ok(Seen::Flow { at, info });
        }
        if flow.status.contains(Status::DYING) {
            return Err(Unconfirmed::Clash);
        }
        if let Err(other) = self.table.insert_if_free(now, at) {
            return self.clash(now, at, other, info, watch);
        }
        self.mapped = self.table.flow(at).ends(Direction::Reply).dst;
        self.statistics.insert += 1;
        watch.note(Topic::Table, || {
            let flow = self.table.flow(at);
            let ([original, reply], left) = (flow.tuples(), flow.remaining(now).as_secs_f64());
            format!("confirmed, {left:.0} s to live: {original}; answers will be {reply}")
        });
        Ok(Seen::Flow { at, info })
    }

    /// Another flow has one of the new flow's tuples (`nf_ct_resolve_clash`).
    fn clash<W: Watch>(
        &mut self,
        now: Instant,
        at: u32,
        other: u32,
        info: CtInfo,
        watch: &mut W,
    ) -> Result<Seen, Unconfirmed> {
        let (new, old) = (self.table.flow(at), self.table.flow(other));
        let ([original, reply], zone) = (new.tuples(), new.zone);
        let allowed =
            self.settings.personality.clash != Clash::Never && nat::allows_clash(new, &self.settings.personality);
        let same = new.tuples() == old.tuples();
        let swapped = original == old.tuple(Direction::Reply) && reply == old.tuple(Direction::Original);
        let matches = (same || swapped) && new.zone == old.zone;
        let untranslated = !old.status.intersects(Status::NAT_DONE);
        if allowed && (matches || untranslated && self.settings.personality.joins_untranslated) {
            self.discard(at);
            self.statistics.clash_resolve += 1;
            watch.note(Topic::Table, || format!("clash: the packet joins the flow that has {original} already"));
            let info = if same || !swapped { info } else { CtInfo::EstablishedReply };
            return Ok(Seen::Flow { at: other, info });
        }
        let free = self.table.find_in(now, &reply, zone, Direction::Reply).is_none();
        if allowed && free {
            let flow = self.table.flow_mut(at);
            flow.status |= Status::NAT_CLASH | Status::FIXED_TIMEOUT;
            flow.expires = now + CLASH_TIMEOUT;
            self.table.insert(at, Some(Direction::Reply));
            self.statistics.clash_resolve += 1;
            watch.note(Topic::Table, || format!("clash: only answers to {reply} find the flow, for a second"));
            return Ok(Seen::Flow { at, info });
        }
        watch.note(Topic::Table, || {
            let [other, answer] = self.table.flow(other).tuples();
            format!("clash: {original}, answers {reply}, would be taken for {other}, answers {answer}")
        });
        self.statistics.drop += 1;
        self.statistics.insert_failed += 1;
        Err(Unconfirmed::Clash)
    }

    /// The flow's helper reads the packet, and its sequence numbers are adjusted.
    #[cold]
    fn assist<W: Watch>(
        &mut self,
        now: Instant,
        packet: &mut Vec<u8>,
        headers: &mut Headers<A>,
        at: u32,
        info: CtInfo,
        watch: &mut W,
    ) -> Result<(), Unconfirmed> {
        let adjusted = self.table.flow(at).status.contains(Status::SEQ_ADJUST);
        self.inspect(now, packet, headers, at, info, watch)?;
        let seqadj = self.table.extra(at).and_then(|extra| extra.seqadj);
        if let Some(seqadj) = seqadj.filter(|_| adjusted) {
            watch.note(Topic::Helper, || {
                let (direction, seq) = (info.direction(), text::seq(packet, headers).unwrap_or(0));
                let (own, other) = (seqadj.offset(direction, seq), seqadj.offset(!direction, u32::MAX >> 1));
                match (own, other) {
                    (0, _) => "the text of the other side was changed: acknowledgments are shifted back".to_owned(),
                    (own, _) => format!("the text of this side was changed before: sequence numbers shift by {own:+}"),
                }
            });
            if !text::adjust(packet, headers, &seqadj, info.direction()) {
                self.statistics.drop += 1;
                return Err(Unconfirmed::Helper);
            }
        }
        Ok(())
    }

    fn inspect<W: Watch>(
        &mut self,
        now: Instant,
        packet: &mut Vec<u8>,
        headers: &mut Headers<A>,
        at: u32,
        info: CtInfo,
        watch: &mut W,
    ) -> Result<(), Unconfirmed> {
        let master = self.table.id(at).into();
        let flow = self.table.flow(at);
        let (tuples, status, zone) = (flow.tuples(), flow.status, flow.zone);
        let Some(mut state) = self.table.extra_mut(at).and_then(|extra| extra.helper.take()) else { return Ok(()) };
        let call = Call {
            now,
            transport: headers.body(packet),
            tuples: &tuples,
            info,
            status,
            master,
            zone: zone.id,
            settings: &self.helpers,
        };
        let dice = &mut self.dice;
        let mut draw = |range: core::ops::Range<u16>| dice.expected(range);
        let outcome = helper::inspect(&call, &mut state, &mut self.expectations, &mut draw, watch);
        self.table.make_extra(at).helper = Some(state);
        self.gathered = outcome.gathers || !outcome.edits.is_empty();
        if let Some(timeout) = outcome.timeout {
            self.table.flow_mut(at).expires = now + timeout;
        }
        if outcome.verdict == Verdict::Drop {
            return Err(Unconfirmed::Helper);
        }
        for tuple in outcome.ends.iter().flatten() {
            match self.find(now, tuple, zone) {
                Some((end, _)) => self.table.expire(end),
                None => _ = self.expectations.remove_met_by(zone.id, tuple),
            }
        }
        if let Some(port) = outcome.dst_port {
            text::set_destination_port(packet, headers, port);
        }
        if !outcome.edits.is_empty() {
            let seq = text::seq(packet, headers);
            let growth = text::replace(packet, headers, &outcome).ok_or(Unconfirmed::Helper)?;
            watch.note(Topic::Helper, || format!("the text is rewritten to name the outside, {growth:+} bytes"));
            if let Some(seq) = seq.filter(|_| growth != 0) {
                let extra = self.table.make_extra(at);
                extra.seqadj.get_or_insert_with(Seqadj::default).change(info.direction(), seq, growth);
                self.table.flow_mut(at).status |= Status::SEQ_ADJUST;
                self.happened |= super::Happened::SEQADJ;
            }
        }
        Ok(())
    }
}
