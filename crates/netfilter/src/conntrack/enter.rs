//! A packet meets connection tracking: its flow is found or made, and its tracker says what it does to it
//! (`nf_conntrack_in`).

use pinhole_sansio::{Duration, Instant};
use pinhole_wire::{Protocol, icmp};

use super::{Conntrack, Happened, Seen};
use crate::expect::Expectation;
use crate::headers::{Family, Fragment, Headers};
use crate::helper::{self, Helper};
use crate::nat::Manip;
use crate::rules::{Template, ZoneId};
use crate::settings::Timeouts;
use crate::status::{CtInfo, Direction, Status};
use crate::table::{Counters, Flow, Zone};
use crate::track::{self, Change, Context, Judgement, Kind, State, Upper, checksum_is_right};
use crate::tuple::{GRE, Tuple};
use crate::watch::{Topic, Watch};

/// Why a packet goes no further than conntrack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// There is no room for its flow.
    TableFull,
    /// Its tracker says so.
    Tracker,
}

/// What is asked of conntrack about a packet, beside the packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask<'a> {
    pub(crate) now: Instant,
    /// What a rule in the raw table has said.
    pub(crate) template: Option<&'a Template>,
    /// The packet's mark, for zones that are taken from it.
    pub(crate) mark: u32,
    /// Whether its checksum is to be looked at: it comes from a device that does not vouch for it.
    pub(crate) checks: bool,
}

/// How many times a packet may remove the flow that it meets and be looked up anew. Linux goes on for ever; a flow that is
/// made anew does not ask for it a second time.
const MOST_RESTARTS: usize = 4;

impl<A: Family> Conntrack<A> {
    /// Finds or makes the flow of a packet.
    ///
    /// # Errors
    /// Why the packet must be dropped.
    #[inline]
    pub(crate) fn enter<W: Watch>(
        &mut self,
        ask: &Ask<'_>,
        packet: &[u8],
        headers: &Headers<A>,
        watch: &mut W,
    ) -> Result<Seen, Stopped> {
        let upper = Upper { protocol: headers.protocol, body: headers.body(packet) };
        if headers.fragment == Some(Fragment::Later) {
            watch.note(Topic::Track, || "INVALID: a fragment without its transport header");
            return Ok(self.invalid());
        }
        if Protocol::from(headers.protocol) == A::ICMP {
            match track::kind::<A>(upper) {
                Kind::Query => {}
                Kind::Untracked => return Ok(Seen::Untracked),
                Kind::Error => return Ok(self.error(ask, packet, headers, watch)),
                Kind::Redirect | Kind::Invalid => {
                    watch.note(Topic::Track, || "INVALID: an ICMP message that is neither query nor error");
                    return Ok(self.invalid());
                }
            }
            if ask.checks && !self.intact(upper, headers) {
                watch.note(Topic::Track, || "INVALID: the checksum is wrong");
                return Ok(self.invalid());
            }
        }
        let Some(tuple) = self.tuple(packet, headers) else {
            watch.note(Topic::Table, || "INVALID: the packet ends before the fields that name its flow");
            return Ok(self.invalid());
        };
        let zone = zone_of(ask);
        for _ in 0..MOST_RESTARTS {
            let known = self.find(ask.now, &tuple, zone);
            let (at, direction) = match known {
                Some((at, direction)) => {
                    watch.note(Topic::Table, || self.found(ask.now, &tuple, at, direction));
                    (at, direction)
                }
                None => match self.make(ask, &tuple, zone, upper, watch)? {
                    Some(at) => (at, Direction::Original),
                    None => return Ok(self.invalid()),
                },
            };
            let info = CtInfo::of(direction, self.table.flow(at).status);
            match self.judge(ask, at, direction, upper, headers, watch) {
                Judgement::Accept(change) => {
                    self.accept(ask.now, at, info, change, headers.end);
                    return Ok(Seen::Flow { at, info });
                }
                Judgement::Kill => {
                    self.accept(ask.now, at, info, Change::default(), headers.end);
                    self.table.flow_mut(at).status |= Status::DYING;
                    watch.note(Topic::Table, || "the flow goes when this packet is done with");
                    return Ok(Seen::Flow { at, info });
                }
                Judgement::Invalid { timeout, assured } => {
                    if assured && self.table.flow_mut(at).status.set(Status::ASSURED) {
                        self.happened |= Happened::ASSURED;
                    }
                    self.reject(ask.now, at, timeout);
                    return Ok(self.invalid());
                }
                Judgement::Drop => {
                    self.reject(ask.now, at, None);
                    self.statistics.drop += 1;
                    return Err(Stopped::Tracker);
                }
                Judgement::Restart => {
                    watch.note(Topic::Table, || "the old flow goes, and the packet begins a new one");
                    if self.table.flow(at).status.contains(Status::CONFIRMED) {
                        self.table.expire(at);
                    } else {
                        self.discard(at);
                    }
                    self.bury(ask.now);
                }
            }
        }
        Ok(self.invalid())
    }

    /// The flow of a tuple in the zone of its packet, of which either direction may be in another one.
    #[inline]
    pub(super) fn find(&mut self, now: Instant, tuple: &Tuple<A>, zone: Zone) -> Option<(u32, Direction)> {
        let found = self.table.find_in(now, tuple, zone, Direction::Original);
        found.or_else(|| zone.only.and_then(|_| self.table.find_in(now, tuple, zone, Direction::Reply)))
    }

    /// Which flow a tuple belongs to, in words.
    #[cold]
    fn found(&self, now: Instant, tuple: &Tuple<A>, at: u32, direction: Direction) -> String {
        let flow = self.table.flow(at);
        let state = flow.state.name().map_or_else(String::new, |state| format!(", {state}"));
        let left = flow.remaining(now).as_secs_f64();
        match direction {
            Direction::Original => format!("{tuple} is a flow's original direction{state}, {left:.1} s left"),
            Direction::Reply => {
                let original = flow.tuple(Direction::Original);
                format!("{tuple} is the reply direction of {original}{state}, {left:.1} s left")
            }
        }
    }

    /// The tuple of a packet; a PPTP tunnel's source key is what its control connection said.
    #[inline]
    fn tuple(&self, packet: &[u8], headers: &Headers<A>) -> Option<Tuple<A>> {
        let mut tuple = headers.tuple(packet)?;
        if tuple.has_ports() && !self.settings.personality.has_ports(tuple.protocol) {
            (tuple.src_id, tuple.dst_id) = (0, 0);
        }
        if tuple.protocol == GRE {
            tuple.src_id = self.expectations.keymap().source_key(tuple.src, tuple.dst, tuple.dst_id);
        }
        Some(tuple)
    }

    /// Makes the flow that a packet begins, if it may begin one (`init_conntrack`).
    #[cold]
    fn make<W: Watch>(
        &mut self,
        ask: &Ask<'_>,
        tuple: &Tuple<A>,
        zone: Zone,
        upper: Upper<'_>,
        watch: &mut W,
    ) -> Result<Option<u32>, Stopped> {
        let Some(reply) = tuple.inverse() else {
            watch.note(Topic::Track, || format!("INVALID: {tuple} is nothing that could be answered"));
            return Ok(None);
        };
        self.make_room(ask.now, tuple, zone, watch)?;
        let alive = |master: crate::expect::MasterId| {
            let place = self.table.place(master.into());
            place.is_some_and(|at| {
                let flow = self.table.flow(at);
                flow.status.contains(Status::CONFIRMED)
                    && !flow.status.contains(Status::DYING)
                    && flow.expires > ask.now
            })
        };
        let expected = self.expectations.find(ask.now, zone.id, tuple, alive);
        let Some(state) = State::begin::<A>(upper, &self.settings, watch) else { return Ok(None) };
        let at = self.table.add(Flow::new(ask.now, tuple, &reply, zone, state));
        watch.note(Topic::Table, || format!("{tuple} is in no flow: it begins one"));
        if self.settings.acct || self.settings.timestamp {
            let (acct, timestamp) = (self.settings.acct, self.settings.timestamp);
            let extra = self.table.make_extra(at);
            extra.counters = acct.then(Default::default);
            extra.begun = timestamp.then_some(ask.now);
        }
        let mut helper = None;
        if let Some(template) = ask.template {
            helper = self.apply(at, tuple, template);
        }
        self.happened = Happened::NEW;
        match expected {
            Some(expected) => {
                let master = self.table.place(expected.master.into()).map(|at| self.table.flow(at));
                watch.note(Topic::Helper, || match master {
                    Some(master) => {
                        format!("{tuple} was expected, by the flow {}: RELATED", master.tuple(Direction::Original))
                    }
                    None => format!("{tuple} was expected: RELATED"),
                });
                self.happened = Happened::RELATED;
                helper = expected.attach.or(helper);
                self.adopt(ask.now, at, &expected, watch);
            }
            None if helper.is_none() && self.settings.personality.automatic_helpers => helper = Helper::by_port(tuple),
            None => {}
        }
        if let Some(helper) = helper {
            watch.note(Topic::Helper, || format!("the flow gets the helper {helper}"));
            self.table.make_extra(at).helper = Some(helper::State::new(helper));
            self.happened |= Happened::HELPER;
        }
        Ok(Some(at))
    }

    /// There is room for one more flow, or an old one makes way.
    fn make_room<W: Watch>(
        &mut self,
        now: Instant,
        tuple: &Tuple<A>,
        zone: Zone,
        watch: &mut W,
    ) -> Result<(), Stopped> {
        let max = self.settings.max as usize;
        if max == 0 && !self.settings.personality.zero_max_refuses || self.table.len() + self.others < max {
            return Ok(());
        }
        let buckets = match self.settings.personality.early_drop {
            crate::settings::EarlyDrop::SameBucket => 1,
            crate::settings::EarlyDrop::EightBuckets => 8,
        };
        let dropped = self.table.drop_early(tuple, zone.in_direction(Direction::Original), buckets);
        self.bury(now);
        if dropped == 0 {
            watch.note(Topic::Table, || {
                format!("the table is full: nf_conntrack_max is {max}, and in {buckets} buckets nearby all are ASSURED")
            });
            self.statistics.drop += 1;
            return Err(Stopped::TableFull);
        }
        watch.note(Topic::Table, || {
            format!(
                "the table is full: nf_conntrack_max is {max}; {dropped} not ASSURED, in a bucket nearby, dropped early"
            )
        });
        self.statistics.early_drop += dropped as u64;
        Ok(())
    }

    /// A new flow gets what a rule's template says; the helper is given back, to be attached last.
    fn apply(&mut self, at: u32, tuple: &Tuple<A>, template: &Template) -> Option<Helper> {
        if let Some(timeouts) = template.timeout.as_ref().and_then(|name| self.policies.get(name)) {
            let timeouts = Box::new(timeouts.clone());
            self.table.make_extra(at).timeouts = Some(timeouts);
        }
        let helper = template.helper.as_deref().and_then(Helper::named)?;
        if !helper.protocols().contains(&tuple.protocol) {
            return None;
        }
        self.table.flow_mut(at).status |= Status::HELPER;
        Some(helper)
    }

    /// A new flow that another one has announced.
    fn adopt<W: Watch>(&mut self, now: Instant, at: u32, expected: &Expectation<A>, watch: &mut W) {
        let Some(master) = self.table.place(expected.master.into()) else { return };
        let (tuples, mark) = (self.table.flow(master).tuples(), self.table.flow(master).mark);
        let master_helper = self.table.extra(master).and_then(|extra| extra.helper.as_ref());
        let master_helper = master_helper.map(|state| state.helper().name());
        let flow = self.table.flow_mut(at);
        flow.mark = mark;
        flow.status |= Status::EXPECTED;
        let child = flow.tuple(Direction::Original);
        // Since 5.0 the tracker sets its own over those of the helper, for a flow's first packet is judged after it was adopted
        // (measured on 6.18).
        let timeouts = expected.child_timeouts().filter(|_| self.settings.personality.automatic_helpers).map(
            |(unreplied, replied)| {
                let settings = self.settings.timeouts.clone();
                Box::new(Timeouts { gre: unreplied, gre_stream: replied, ..settings })
            },
        );
        let extra = self.table.make_extra(at);
        extra.master = Some(expected.master);
        extra.master_tuples = Some(tuples);
        extra.master_helper = master_helper;
        extra.timeouts = timeouts.or(extra.timeouts.take());
        let translation = self.expectations.translation(expected, &child, &tuples);
        let mut order = [(translation.source, Manip::Source), (translation.destination, Manip::Destination)];
        if translation.destination_first {
            order.reverse();
        }
        for (range, manip) in order {
            if let Some(range) = range {
                self.decide(now, at, &range, manip, watch);
            }
        }
    }

    /// What the flow's tracker says.
    #[inline]
    fn judge<W: Watch>(
        &mut self,
        ask: &Ask<'_>,
        at: u32,
        direction: Direction,
        upper: Upper<'_>,
        headers: &Headers<A>,
        watch: &mut W,
    ) -> Judgement {
        let is_icmp = Protocol::from(headers.protocol) == A::ICMP;
        if ask.checks && !is_icmp && !self.intact(upper, headers) {
            let protocol = Protocol::from(headers.protocol);
            watch.note(Topic::Track, || format!("INVALID: the {protocol} checksum is wrong"));
            return Judgement::INVALID;
        }
        let settings = &self.settings;
        let (flow, extra) = self.table.parts(at);
        let (seqadj, policy) = match &extra {
            Some(extra) => (extra.seqadj.as_ref(), extra.timeouts.as_deref()),
            None => (None, None),
        };
        let context =
            Context { now: ask.now, direction, status: flow.status, remaining: flow.remaining(ask.now), seqadj };
        flow.state.next(upper, &context, settings, policy.unwrap_or(&settings.timeouts), watch)
    }

    /// Whether the transport checksum is right.
    #[inline]
    fn intact(&self, upper: Upper<'_>, headers: &Headers<A>) -> bool {
        checksum_is_right(upper, headers.src, headers.dst, &self.settings)
    }

    /// Carries out what an accepted packet changes.
    #[inline]
    fn accept(&mut self, now: Instant, at: u32, info: CtInfo, change: Change, bytes: usize) {
        let flow = self.table.flow_mut(at);
        if let Some(timeout) = change.timeout
            && !flow.status.contains(Status::FIXED_TIMEOUT)
        {
            flow.expires = now + timeout;
        }
        if change.assured && flow.status.set(Status::ASSURED) {
            self.happened |= Happened::ASSURED;
        }
        if change.protoinfo {
            self.happened |= Happened::PROTOINFO;
        }
        if info == CtInfo::EstablishedReply && flow.status.set(Status::SEEN_REPLY) {
            self.happened |= Happened::REPLY;
        }
        if let Some(counters) = self.table.extra_mut(at).and_then(|extra| extra.counters.as_mut()) {
            let Counters { packets, bytes: total } = &mut counters[info.direction().index()];
            *packets += 1;
            *total += bytes as u64;
        }
    }

    /// Leaves a flow to which a packet does not belong after all.
    fn reject(&mut self, now: Instant, at: u32, timeout: Option<Duration>) {
        let flow = self.table.flow_mut(at);
        if !flow.status.contains(Status::CONFIRMED) {
            self.discard(at);
            self.happened = Happened::default();
        } else if let Some(timeout) = timeout {
            flow.expires = flow.expires.min(now + timeout);
        }
    }

    fn invalid(&mut self) -> Seen {
        self.statistics.invalid += 1;
        Seen::Invalid
    }

    /// An ICMP error belongs to the flow of the packet that it quotes (`nf_conntrack_inet_error`).
    fn error<W: Watch>(&mut self, ask: &Ask<'_>, packet: &[u8], headers: &Headers<A>, watch: &mut W) -> Seen {
        let upper = Upper { protocol: headers.protocol, body: headers.body(packet) };
        if ask.checks && !self.intact(upper, headers) {
            watch.note(Topic::Track, || "INVALID: the checksum of an ICMP error is wrong");
            return self.invalid_error();
        }
        let quote = &upper.body[icmp::HEADER_LEN..];
        let quoted = A::quoted_headers(quote).ok().filter(|quoted| quoted.fragment != Some(Fragment::Later));
        let Some(tuple) = quoted.and_then(|quoted| self.tuple(quote, &quoted)) else {
            watch.note(Topic::Track, || "INVALID: what the ICMP error quotes cannot be read");
            return self.invalid_error();
        };
        let zone = zone_of(ask);
        let Some((at, direction)) = tuple.inverse().and_then(|back| self.find(ask.now, &back, zone)) else {
            watch.note(Topic::Track, || format!("INVALID: the ICMP error quotes {tuple}, and there is no such flow"));
            return self.invalid_error();
        };
        if self.table.flow(at).tuple(direction).dst != headers.dst {
            watch.note(Topic::Track, || {
                format!("INVALID: the ICMP error goes to {}, not to who sent {tuple}", headers.dst)
            });
            return self.invalid_error();
        }
        let info = match direction {
            Direction::Original => CtInfo::Related,
            Direction::Reply => CtInfo::RelatedReply,
        };
        watch.note(Topic::Track, || format!("RELATED: an ICMP error about {tuple}"));
        Seen::Flow { at, info }
    }

    fn invalid_error(&mut self) -> Seen {
        self.statistics.error += 1;
        self.invalid()
    }
}

/// The zone that a rule puts a packet in.
#[inline]
fn zone_of(ask: &Ask<'_>) -> Zone {
    let Some(zone) = ask.template.and_then(|template| template.zone) else { return Zone::default() };
    let id = match zone.id {
        ZoneId::Number(id) => id,
        ZoneId::Mark => ask.mark as u16,
    };
    Zone { id, only: zone.only }
}
