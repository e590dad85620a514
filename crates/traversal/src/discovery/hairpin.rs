//! Two sockets of one host that try to reach each other by their mappings.
//!
//! The receiver does a little more at each stage for the sender to be let in: nothing, a packet to the address with another
//! port, a packet to the sender itself. So the first stage at which something comes in says something about the filter too,
//! where no server can.

use core::net::SocketAddr;

use pinhole_sansio::{Duration, Instant};
use pinhole_stun::client::{Request, SocketId};
use pinhole_stun::{Class, Message, Method, TransactionId, Writer};

use super::Output;
use super::desk::{Desk, Settled};
use super::evidence::{Observation, Outcome, Question};
use super::terms::{Dependence, Hairpin};
use super::verdict::{Confidence, Note, Verdict};

/// Packets of a stage: at 2 % loss each way, all of four are lost once in 400,000 times.
const PACKETS: u32 = 4;
/// Between two of them.
const BETWEEN: Duration = Duration::from_millis(40);
/// How long to wait after the last one, and a round trip: the way to the NAT and back is shorter than that to a server.
const AFTER: Duration = Duration::from_millis(100);

const STAGES: [Question; 3] = [Question::HairpinUnasked, Question::HairpinAddress, Question::HairpinBoth];
/// Receiver, sender, and who stands at another port of the same address.
const SOCKETS: usize = 3;

/// Numbers of the questions with which the sockets learn their mappings, after those of the samples.
pub(super) const FIRST_NUMBER: u8 = 200;

#[derive(Debug)]
pub(super) struct Track {
    sockets: [SocketId; SOCKETS],
    server: SocketAddr,
    mapped: [Option<SocketAddr>; SOCKETS],
    state: State,
}

#[derive(Debug)]
enum State {
    /// Mappings are being learnt.
    Opening,
    /// Packets are under way.
    Trying {
        stage: usize,
        sent: u32,
        next: Instant,
        token: [u8; 12],
    },
    Over,
}

impl Track {
    pub(super) fn start(desk: &mut Desk, server: SocketAddr) -> Self {
        let sockets = [(); SOCKETS].map(|()| desk.open(None, server));
        Self { sockets, server, mapped: [None; SOCKETS], state: State::Opening }
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(self.state, State::Over)
    }

    pub(super) fn on_bound(&mut self, now: Instant, desk: &mut Desk, socket: SocketId) {
        if let Some(at) = self.sockets.iter().position(|own| *own == socket) {
            let number = FIRST_NUMBER + at as u8;
            desk.ask(now, Question::Port { number }, Request::binding(self.server, socket));
        }
    }

    pub(super) fn on_unbound(&mut self, socket: SocketId) {
        if self.sockets.contains(&socket) {
            self.state = State::Over;
        }
    }

    pub(super) fn on_settled(&mut self, now: Instant, desk: &mut Desk, settled: &Settled) {
        let Some(at) = self.sockets.iter().position(|own| *own == settled.socket) else { return };
        let Ok(answer) = &settled.answer else { return self.state = State::Over };
        self.mapped[at] = Some(answer.mapped);
        let is_own = self.mapped.iter().flatten().zip(self.sockets).any(|(at, own)| desk.local(own) == Some(*at));
        if is_own {
            // Without a NAT the packets would never leave the host.
            self.state = State::Over;
        } else if matches!(self.state, State::Opening) && self.mapped.iter().all(Option::is_some) {
            self.state = State::Trying { stage: 0, sent: 0, next: now, token: token(desk) };
        }
    }

    /// Something came to a socket: true if it was ours.
    pub(super) fn on_datagram(
        &mut self,
        now: Instant,
        desk: &mut Desk,
        to: SocketId,
        from: SocketAddr,
        bytes: &[u8],
    ) -> bool {
        let State::Trying { token, .. } = &self.state else { return false };
        let is_own = Message::read(bytes).is_ok_and(|message| {
            message.class() == Class::Indication && message.transaction_id() == TransactionId::new(*token)
        });
        if is_own && to == self.sockets[0] {
            self.arrived(now, desk, from);
        }
        is_own
    }

    /// A connection came to a socket.
    pub(super) fn on_accepted(&mut self, now: Instant, desk: &mut Desk, to: SocketId, from: SocketAddr) {
        if to == self.sockets[0] {
            self.arrived(now, desk, from);
        }
    }

    fn arrived(&mut self, now: Instant, desk: &mut Desk, from: SocketAddr) {
        if let (State::Trying { stage, .. }, Some(to)) = (&self.state, self.mapped[0]) {
            desk.observe(now, self.sockets[0], STAGES[*stage], to, Outcome::Arrived { from });
            self.state = State::Over;
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Trying { next, .. } => Some(next),
            State::Opening | State::Over => None,
        }
    }

    pub(super) fn on_timeout(&mut self, now: Instant, desk: &mut Desk) {
        let State::Trying { stage, sent, next, token: mark } = &mut self.state else { return };
        let [Some(receiver), Some(sender), Some(third)] = self.mapped else { return };
        if now < *next {
            return;
        }
        if *sent < PACKETS {
            let opens = [None, Some(third), Some(sender)][*stage];
            if let Some(opens) = opens {
                knock(desk, self.sockets[0], opens, &[0; 12], None);
            }
            knock(desk, self.sockets[1], receiver, mark, None);
            *sent += 1;
            *next = now + if *sent < PACKETS { BETWEEN } else { AFTER + desk.round_trip };
            return;
        }
        desk.observe(now, self.sockets[0], STAGES[*stage], receiver, Outcome::Silence);
        self.state = match *stage + 1 {
            stage if stage < STAGES.len() => State::Trying { stage, sent: 0, next: now, token: token(desk) },
            _ => State::Over,
        };
    }
}

/// Sends something harmless: an indication that means nothing to whoever else may get it (RFC 8489 §3).
pub(super) fn knock(desk: &mut Desk, socket: SocketId, to: SocketAddr, token: &[u8; 12], hops: Option<u8>) {
    let mut bytes = vec![0; pinhole_stun::HEADER];
    let id = TransactionId::new(*token);
    let written = Writer::new(&mut bytes, Class::Indication, Method::BINDING, id).finish();
    debug_assert!(written.is_ok(), "a header fits a header");
    desk.outputs.push_back(Output::Knock { socket, to, bytes, hops });
}

fn token(desk: &mut Desk) -> [u8; 12] {
    let mut token = [0; 12];
    token[..8].copy_from_slice(&desk.rng.next_u64().to_be_bytes());
    token[8..].copy_from_slice(&(desk.rng.next_u64() as u32).to_be_bytes());
    token
}

/// What the NAT does with such packets.
pub(super) fn judge(
    observations: &[Observation],
    mapping: &Verdict<Dependence>,
    filtering: &Verdict<Dependence>,
) -> Verdict<Hairpin> {
    let stage = |(_, observation): &(usize, &Observation)| STAGES.contains(&observation.question);
    let stages: Vec<(usize, &Observation)> = observations.iter().enumerate().filter(stage).collect();
    let evidence: Vec<usize> = stages.iter().map(|(place, _)| *place).collect();
    let came = stages.iter().find_map(|(_, observation)| match observation.outcome {
        Outcome::Arrived { from } => Some((from, observation.local)),
        Outcome::Mapped { .. } | Outcome::Silence | Outcome::Elsewhere { .. } | Outcome::Refused => None,
    });
    let open = Some(&Dependence::EndpointIndependent);
    match came {
        Some((from, local)) if local.is_some_and(|local| local.ip() == from.ip()) => {
            Verdict::of(Hairpin::InternalSource, Confidence::Certain, evidence)
        }
        Some(_) => Verdict::of(Hairpin::ExternalSource, Confidence::Certain, evidence),
        None if stages.len() < STAGES.len() => Verdict::unknown(),
        None => {
            let verdict = Verdict::of(Hairpin::None, Confidence::Likely, evidence).with(Note::InsideSourceUnseen);
            let in_the_way = mapping.value() != open && filtering.value() != open;
            if in_the_way { verdict.with(Note::FilterInTheWay) } else { verdict }
        }
    }
}
