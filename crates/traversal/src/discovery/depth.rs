//! How far away the outermost filter is, and what filters beyond the first hop: packets that die on the way open the near
//! filters and no others.
//!
//! A socket asks one endpoint of the server, and so has a mapping. To another endpoint it sends *openers* that live for a few
//! hops only: routers up to there have sent to that endpoint now, those behind have not. Then it asks for an answer from it.
//! What comes in went through filters that were opened, or that let in everybody. One socket for each number of hops: the
//! first number at which the answer comes in says where the outermost filter is, and with two hops, which open the first
//! router and end at the next, what is let in is the filter of all that is beyond the first.
//!
//! A router drops what has no hop left before it translates, so an opener makes no mapping where it ends. Where mappings
//! depend on the remote endpoint an opener may open another mapping than the one that is answered to; then only what comes in
//! says something.

use core::net::SocketAddr;

use pinhole_sansio::Instant;
use pinhole_stun::behaviour::Change;
use pinhole_stun::client::{Request, SocketId};

use super::desk::{Desk, Settled};
use super::evidence::{Observation, Outcome, Question};
use super::filtering;
use super::hairpin::knock;
use super::server::Known;
use super::terms::Dependence;
use super::verdict::{Confidence, Note, Verdict};

/// Openers live for so many hops: one ends at the first router and opens this host's own filter only. NATs of carriers are among
/// the first routers; what is farther is left unknown.
const HOPS: core::ops::RangeInclusive<u8> = 1..=6;
/// So many hops open the first router and nothing beyond.
const BEYOND_FIRST: u8 = 2;
/// Openers to an endpoint: at 2 % loss all of three are lost once in 125,000 times.
const OPENERS: usize = 3;

#[derive(Debug)]
pub(super) struct Track {
    known: Known,
    probes: Vec<Probe>,
}

#[derive(Debug)]
struct Probe {
    hops: u8,
    socket: SocketId,
    /// Answers that have not come yet; `None` before there is a mapping.
    asked: Option<usize>,
    is_over: bool,
}

impl Track {
    pub(super) fn start(desk: &mut Desk, known: Known) -> Self {
        let probe = |hops| Probe { hops, socket: desk.open(None, known.first()), asked: None, is_over: false };
        let probes = HOPS.map(probe).collect();
        Self { known, probes }
    }

    pub(super) fn is_over(&self) -> bool {
        self.probes.iter().all(|probe| probe.is_over)
    }

    pub(super) fn on_bound(&mut self, now: Instant, desk: &mut Desk, socket: SocketId) {
        if let Some(probe) = self.probes.iter().find(|probe| probe.socket == socket) {
            let question = Question::Depth { hops: probe.hops, change: Change::NONE };
            desk.ask(now, question, Request::binding(self.known.first(), socket));
        }
    }

    pub(super) fn on_unbound(&mut self, socket: SocketId) {
        self.probes.iter_mut().filter(|probe| probe.socket == socket).for_each(|probe| probe.is_over = true);
    }

    pub(super) fn on_settled(&mut self, now: Instant, desk: &mut Desk, settled: &Settled) {
        let Some(probe) = self.probes.iter_mut().find(|probe| probe.socket == settled.socket) else { return };
        match &mut probe.asked {
            Some(left) => {
                *left -= 1;
                probe.is_over = *left == 0;
            }
            None if settled.answer.is_ok() => probe.look(now, desk, &self.known),
            None => probe.is_over = true,
        }
    }
}

impl Probe {
    /// Opens what is near, and asks for answers from there.
    fn look(&mut self, now: Instant, desk: &mut Desk, known: &Known) {
        let changes: &[Change] =
            if self.hops == BEYOND_FIRST { &[Change::BOTH, Change::PORT] } else { &[Change::BOTH] };
        let places: Vec<(Change, SocketAddr)> =
            changes.iter().filter_map(|change| Some((*change, known.changed_to(*change)?))).collect();
        for (_, place) in places.iter().cycle().take(places.len() * OPENERS) {
            knock(desk, self.socket, *place, &[0; 12], Some(self.hops));
        }
        for (change, _) in &places {
            let question = Question::Depth { hops: self.hops, change: *change };
            desk.ask(now, question, known.changed(self.socket, *change));
        }
        self.asked = Some(places.len());
        self.is_over = places.is_empty();
    }
}

/// The filter of what is beyond the first hop. Where mappings depend on the endpoint, silence says nothing.
pub(super) fn beyond(
    observations: &[Observation],
    mapping: &Verdict<Dependence>,
    reachable: impl Fn(Change) -> bool,
) -> Verdict<Dependence> {
    let is_one_mapping = mapping.value() == Some(&Dependence::EndpointIndependent);
    let asked = |observation: &Observation| {
        let Question::Depth { hops: BEYOND_FIRST, change } = observation.question else { return None };
        let says_something = is_one_mapping || observation.arrived();
        (change != Change::NONE && says_something).then_some(change)
    };
    let verdict = filtering::judge_those(observations, reachable, asked);
    match verdict.confidence {
        // One socket has looked, so one lost hole would be a filter.
        Confidence::Certain => Verdict { confidence: Confidence::Likely, ..verdict },
        Confidence::Likely | Confidence::Unsure | Confidence::Contradictory => verdict,
        Confidence::Unknown if mapping.value().is_some() && !is_one_mapping => verdict.with(Note::MappingInTheWay),
        Confidence::Unknown => verdict,
    }
}

/// How many hops away the outermost filter is that keeps strangers out; 0 is this host itself.
pub(super) fn outermost(
    observations: &[Observation],
    mapping: &Verdict<Dependence>,
    filter: &Verdict<Dependence>,
) -> Verdict<u8> {
    match filter.value() {
        None => return Verdict::unknown(),
        Some(Dependence::EndpointIndependent) => return Verdict::unknown_since(Note::NoFilter),
        Some(Dependence::AddressDependent | Dependence::AddressAndPortDependent) => {}
    }
    if !filtering::is_heard(observations) {
        return Verdict::unknown_since(Note::ManyUnanswered);
    }
    let is_shut = |outcome: &Outcome| matches!(outcome, Outcome::Silence);
    let mut probes: Vec<(u8, usize, &Observation)> = Vec::new();
    for (place, observation) in observations.iter().enumerate() {
        if let Question::Depth { hops, change: Change::BOTH } = observation.question
            && (observation.arrived() || is_shut(&observation.outcome))
        {
            probes.push((hops, place, observation));
        }
    }
    probes.sort_by_key(|(hops, ..)| *hops);
    let evidence: Vec<usize> = probes.iter().map(|(_, place, _)| *place).collect();
    let Some(first) = probes.iter().position(|(_, _, observation)| observation.arrived()) else {
        let is_one_mapping = mapping.value() == Some(&Dependence::EndpointIndependent);
        let note = if is_one_mapping { Note::FartherAway } else { Note::MappingInTheWay };
        return Verdict { evidence, ..Verdict::unknown_since(note) };
    };
    // Whoever lives longer opens more.
    let is_monotonic = probes[first..].iter().all(|(_, _, observation)| observation.arrived());
    let is_whole = probes.iter().map(|(hops, ..)| *hops).eq(HOPS);
    match (is_monotonic, is_whole) {
        (false, _) => Verdict::left(Vec::new(), Confidence::Contradictory, evidence),
        (true, true) => Verdict::of(probes[first].0 - 1, Confidence::Certain, evidence),
        (true, false) => Verdict::unknown_since(Note::ManyUnanswered),
    }
}
