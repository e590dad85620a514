//! The questions of RFC 5780, asked by two pairs of sockets at once: one socket of a pair asks all of a server's endpoints
//! who it is, the other asks one endpoint for answers from the rest.
//!
//! The two must not be one: a socket that has sent to an endpoint can no longer find out whether that one is let in unasked.
//! When the first knows its mappings it makes the controls: it asks for the same answers, where they are let in.

use core::net::SocketAddr;

use pinhole_sansio::Instant;
use pinhole_stun::behaviour::Change;
use pinhole_stun::client::{Request, SocketId, Transport};

use super::desk::{Desk, Settled};
use super::evidence::{Outcome, Question};
use super::filtering::CHANGES;
use super::server::Known;

/// Pairs of sockets: what two independent ones say is certain.
const ROUNDS: usize = 2;

#[derive(Debug)]
pub(super) struct Track {
    known: Known,
    rounds: Vec<Round>,
}

#[derive(Debug)]
struct Round {
    number: u8,
    /// Asks everybody.
    asks: SocketId,
    /// Is answered by others than it has asked.
    hears: Option<SocketId>,
    /// As whom it is seen by whom.
    seen: Vec<(SocketAddr, SocketAddr)>,
    mapping: Step,
    control: Step,
    filter: Step,
    poison: Step,
}

/// Where a round is with one of its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Waiting,
    /// So many answers are awaited.
    Asked(usize),
    Over,
}

impl Step {
    fn settle(&mut self) -> bool {
        match self {
            Self::Asked(1) => *self = Self::Over,
            Self::Asked(left) => *left -= 1,
            Self::Waiting | Self::Over => {}
        }
        *self == Self::Over
    }

    /// So many questions were asked.
    const fn asked(count: usize) -> Self {
        if count == 0 { Self::Over } else { Self::Asked(count) }
    }
}

impl Track {
    /// `port` is the first asking socket's.
    pub(super) fn start(desk: &mut Desk, known: Known, port: Option<u16>) -> Self {
        let filters = desk.transport == Transport::Datagram && known.behaviour().is_some();
        let server = known.first();
        let round = |number: usize| {
            let asks = desk.open(port.filter(|_| number == 0), server);
            let hears = filters.then(|| desk.open(None, server));
            let filter = if filters { Step::Waiting } else { Step::Over };
            let (mapping, control, poison) = (Step::Waiting, filter, filter);
            Round { number: number as u8, asks, hears, seen: Vec::new(), mapping, control, filter, poison }
        };
        let rounds = (0..ROUNDS).map(round).collect();
        Self { known, rounds }
    }

    pub(super) fn is_over(&self) -> bool {
        self.rounds.iter().all(Round::is_over)
    }

    pub(super) fn on_bound(&mut self, now: Instant, desk: &mut Desk, socket: SocketId) {
        let known = &self.known;
        for round in &mut self.rounds {
            if round.asks == socket {
                round.mapping = Step::asked(known.endpoints().len());
                for server in known.endpoints() {
                    let question = Question::Mapping { round: round.number };
                    desk.ask(now, question, Request::binding(*server, socket));
                }
            } else if round.hears == Some(socket) {
                round.filter = Step::asked(CHANGES.len());
                for change in CHANGES {
                    let question = Question::Filter { round: round.number, change };
                    desk.ask(now, question, known.changed(socket, change));
                }
            }
        }
    }

    pub(super) fn on_unbound(&mut self, socket: SocketId) {
        for round in &mut self.rounds {
            if round.asks == socket || round.hears == Some(socket) {
                for step in [&mut round.mapping, &mut round.control, &mut round.filter, &mut round.poison] {
                    *step = Step::Over;
                }
            }
        }
    }

    pub(super) fn on_settled(&mut self, now: Instant, desk: &mut Desk, settled: &Settled) {
        let known = &self.known;
        let of = |round: &&mut Round| round.asks == settled.socket || round.hears == Some(settled.socket);
        let Some(round) = self.rounds.iter_mut().find(of) else { return };
        match settled.question {
            Question::Mapping { .. } => {
                if let Ok(answer) = &settled.answer {
                    round.seen.push((settled.server, answer.mapped));
                }
                if round.mapping.settle() && round.control == Step::Waiting {
                    round.control = round.make_controls(now, desk, known);
                }
            }
            Question::Filter { .. } => {
                if round.filter.settle() && round.poison == Step::Waiting {
                    round.poison = round.look_for_poison(now, desk, known);
                }
            }
            Question::Control { .. } => {
                round.control.settle();
            }
            Question::Poison { .. } => {
                round.poison.settle();
            }
            Question::Reach
            | Question::Call { .. }
            | Question::Port { .. }
            | Question::HairpinUnasked
            | Question::HairpinAddress
            | Question::HairpinBoth
            | Question::Depth { .. }
            | Question::Lifetime { .. } => {}
        }
    }
}

impl Round {
    fn is_over(&self) -> bool {
        [self.mapping, self.control, self.filter, self.poison].iter().all(|step| *step == Step::Over)
    }

    fn seen_by(&self, server: SocketAddr) -> Option<SocketAddr> {
        self.seen.iter().find(|(by, _)| *by == server).map(|(_, mapped)| *mapped)
    }

    /// Asks for answers to holes that are open for them: the one mapping, or, where every endpoint has its own, the one that
    /// was made towards where the answer comes from (RESPONSE-PORT).
    fn make_controls(&self, now: Instant, desk: &mut Desk, known: &Known) -> Step {
        let mut asked = 0;
        let Some(own) = self.seen_by(known.first()) else { return Step::Over };
        for change in CHANGES {
            let Some(hole) = known.changed_to(change).and_then(|there| self.seen_by(there)) else { continue };
            // The server sends to the address that asks.
            if hole.ip() != own.ip() {
                continue;
            }
            let mut request = known.changed(self.asks, change);
            request.response_port = (hole != own).then(|| hole.port());
            desk.ask(now, Question::Control { round: self.number, change }, request);
            asked += 1;
        }
        Step::asked(asked)
    }

    /// If someone was not let in: asks that one, who must see the same as the other does.
    fn look_for_poison(&self, now: Instant, desk: &mut Desk, known: &Known) -> Step {
        let (Some(socket), Some(other)) = (self.hears, known.changed_to(Change::BOTH)) else { return Step::Over };
        let was_shut = desk.observations.iter().any(|observation| {
            observation.socket == socket
                && observation.outcome == Outcome::Silence
                && matches!(observation.question, Question::Filter { .. })
        });
        if !was_shut {
            return Step::Over;
        }
        for server in [known.first(), other] {
            desk.ask(now, Question::Poison { round: self.number }, Request::binding(server, socket));
        }
        Step::Asked(2)
    }
}
