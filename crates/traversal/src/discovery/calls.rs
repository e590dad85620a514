//! Who may connect to a mapping: by TCP a server cannot answer from elsewhere, but ours calls back if it is asked to.
//!
//! A socket connects to one endpoint of the server and asks for a call from the same address, which comes from another port,
//! and for one from the other address. There is no control: by which port a call comes is not known before.

use core::net::SocketAddr;

use pinhole_sansio::{Duration, Instant};
use pinhole_stun::AttributeType;
use pinhole_stun::behaviour::Change;
use pinhole_stun::client::{Answer, Request, SocketId};
use pinhole_stun::server::call::{CallRequest, CallResult, PATIENCE, Protocol};

use super::desk::{Desk, Settled};
use super::evidence::{Outcome, Question};
use super::server::Known;

/// Independent sockets. With two calls each they stay below what a source may have at once.
const ROUNDS: u8 = 2;
/// How much longer than the server tries a call is waited for.
const SLACK: Duration = Duration::from_millis(500);
/// The calls that are asked for: from the address that was connected to, and from the other one.
const CALLS: [Change; 2] = [Change::PORT, Change::BOTH];

#[derive(Debug)]
pub(super) struct Track {
    known: Known,
    rounds: Vec<Round>,
}

#[derive(Debug)]
struct Round {
    number: u8,
    socket: SocketId,
    /// Answers that have not come yet; `None` before there is a mapping to call.
    asked: Option<usize>,
    /// Calls that were granted and have not come.
    awaited: Vec<Change>,
    /// Calls that have come.
    came: Vec<Change>,
    until: Option<Instant>,
    over: bool,
}

impl Track {
    pub(super) fn start(desk: &mut Desk, known: Known) -> Self {
        let round = |number| {
            let socket = desk.open(None, known.first());
            let (awaited, came) = (Vec::new(), Vec::new());
            Round { number, socket, asked: None, awaited, came, until: None, over: false }
        };
        let rounds = (0..ROUNDS).map(round).collect();
        Self { known, rounds }
    }

    pub(super) fn is_over(&self) -> bool {
        self.rounds.iter().all(|round| round.over)
    }

    pub(super) fn on_bound(&mut self, now: Instant, desk: &mut Desk, socket: SocketId) {
        if let Some(round) = self.rounds.iter().find(|round| round.socket == socket) {
            let question = Question::Call { round: round.number, change: Change::NONE };
            desk.ask(now, question, Request::binding(self.known.first(), socket));
        }
    }

    pub(super) fn on_unbound(&mut self, socket: SocketId) {
        self.rounds.iter_mut().filter(|round| round.socket == socket).for_each(|round| round.over = true);
    }

    pub(super) fn on_settled(&mut self, now: Instant, desk: &mut Desk, settled: &Settled) {
        let Question::Call { change, .. } = settled.question else { return };
        let Some(round) = self.rounds.iter_mut().find(|round| round.socket == settled.socket) else { return };
        let Some(left) = &mut round.asked else {
            return match &settled.answer {
                Ok(answer) => round.ask(now, desk, self.known.first(), answer.mapped.port()),
                Err(_) => round.over = true,
            };
        };
        *left -= 1;
        let granted = settled.answer.as_ref().is_ok_and(|answer| is_granted(answer, change));
        if granted && !round.came.contains(&change) {
            round.awaited.push(change);
            round.until = Some(now + PATIENCE + SLACK);
        }
        round.over = *left == 0 && round.awaited.is_empty();
    }

    /// Somebody connected to a socket.
    pub(super) fn on_accepted(&mut self, now: Instant, desk: &mut Desk, socket: SocketId, from: SocketAddr) {
        let Some(round) = self.rounds.iter_mut().find(|round| round.socket == socket && !round.over) else { return };
        let is = |change: &Change| self.known.changed_to(*change).is_some_and(|at| at.ip() == from.ip());
        let Some(change) = CALLS.into_iter().find(is) else { return };
        if round.came.contains(&change) {
            return;
        }
        round.came.push(change);
        round.awaited.retain(|awaited| *awaited != change);
        let question = Question::Filter { round: round.number, change };
        desk.observe(now, socket, question, self.known.first(), Outcome::Arrived { from });
        round.over = round.asked == Some(0) && round.awaited.is_empty();
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.rounds.iter().filter(|round| !round.over).filter_map(|round| round.until).min()
    }

    pub(super) fn on_timeout(&mut self, now: Instant, desk: &mut Desk) {
        for round in self.rounds.iter_mut().filter(|round| !round.over) {
            if round.until.is_some_and(|until| until <= now) {
                for change in round.awaited.drain(..) {
                    let question = Question::Filter { round: round.number, change };
                    desk.observe(now, round.socket, question, self.known.first(), Outcome::Silence);
                }
                round.over = true;
            }
        }
    }
}

impl Round {
    fn ask(&mut self, now: Instant, desk: &mut Desk, server: SocketAddr, port: u16) {
        self.asked = Some(CALLS.len());
        for change in CALLS {
            let token = desk.rng.next_u64().to_be_bytes();
            let call = CallRequest { protocol: Protocol::Tcp, change: granted(change), port, token };
            let attributes = vec![(AttributeType::CALL_BACK, call.value().to_vec())];
            let request = Request { attributes, ..Request::binding(server, self.socket) };
            desk.ask(now, Question::Call { round: self.number, change }, request);
        }
    }
}

/// What a call's request says: that it comes from another port goes without saying.
const fn granted(change: Change) -> Change {
    Change { ip: change.ip, port: false }
}

fn is_granted(answer: &Answer, change: Change) -> bool {
    let result = answer.message().and_then(|message| CallResult::read(message.value(AttributeType::CALL_BACK_RESULT)?));
    result.is_some_and(|(result, from, _)| result == CallResult::Calling && from == granted(change))
}
