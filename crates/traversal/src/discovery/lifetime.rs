//! How long a silent mapping lives: many sockets fall silent at once, each for another time, and are looked for once.
//!
//! The waits of the first row double every few steps; as soon as two neighbours have died and the one below them lives, a
//! second row divides what is left between them. So a lifetime is known after little more than twice itself.
//!
//! A look must not be a packet of the silent socket, which would make a new mapping: another socket asks the server to send
//! to the silent one's port (RESPONSE-PORT). Where the server cannot, the silent one asks itself, and only another mapping
//! than before shows that the old one had died; NATs that keep ports then cannot be measured.
//!
//! By TCP the silent connection asks itself: if it gets no answer, the NAT has forgotten it. A NAT that takes connections up in
//! the middle looks as if it had kept them, and a server that closes silent connections ends the search.

use core::net::SocketAddr;

use pinhole_sansio::{Duration, Instant};
use pinhole_stun::client::{Expect, Request, SocketId, Transport};

use super::desk::{Desk, Settled};
use super::evidence::{Observation, Outcome, Question};
use super::terms::{Allocation, Lifetime};
use super::verdict::{Confidence, Note, Verdict};

/// The first wait, which every mapping survives: it shows whether the server sends where it is asked to.
const CONTROL: Duration = Duration::from_secs(1);
/// The second. Shorter lifetimes are a fault of the NAT.
const SHORTEST: Duration = Duration::from_secs(5);
/// Each wait is so much longer than the one before.
const GROWTH: f64 = 1.25;
/// By TCP more, as servers have few connections for one host.
const GROWTH_OF_CONNECTIONS: f64 = 1.5;
/// Sockets of the second row.
const SECOND_ROW: u32 = 8;
/// No second row for less.
const FINE: Duration = Duration::from_secs(1);
/// A mapping that has carried packets both ways for longer than two seconds is a stream (`nf_conntrack_proto_udp.c`), and
/// lives longer in many NATs.
const STREAM: Duration = Duration::from_millis(2_500);
/// Dead neighbours that end the first row.
const DEAD: usize = 2;

/// A search for the lifetime of mappings of one kind.
#[derive(Debug)]
pub(super) struct Track {
    server: SocketAddr,
    /// Of mappings that have carried packets for some time.
    stream: bool,
    rungs: Vec<Rung>,
    /// Asks on behalf of the silent.
    asker: SocketId,
    look: Look,
    refined: bool,
    over: bool,
}

/// How silent sockets are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    /// Not known yet.
    Unknown,
    /// The server sends to another port.
    ResponsePort,
    /// The silent socket asks.
    Itself,
}

#[derive(Debug)]
struct Rung {
    silence: Duration,
    socket: SocketId,
    mapped: Option<SocketAddr>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Opening,
    /// Opened; once more at this moment, to be a stream.
    Warming(Instant),
    /// Silent until then.
    Silent(Instant),
    Looking,
    Lived,
    Died,
    /// It never had a mapping.
    Failed,
}

impl Track {
    /// Starts a search for lifetimes up to `longest`.
    pub(super) fn start(desk: &mut Desk, server: SocketAddr, stream: bool, longest: Duration) -> Self {
        let (look, growth) = match desk.transport {
            Transport::Datagram => (Look::Unknown, GROWTH),
            Transport::Stream => (Look::Itself, GROWTH_OF_CONNECTIONS),
        };
        let mut waits = vec![CONTROL];
        let mut wait = SHORTEST;
        while wait < longest {
            waits.push(wait);
            wait = wait.mul_f64(growth);
        }
        waits.push(longest);
        let rungs = waits.into_iter().map(|silence| Rung::open(desk, server, silence)).collect();
        let asker = desk.open(None, server);
        Self { server, stream, rungs, asker, look, refined: false, over: false }
    }

    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    pub(super) fn on_bound(&mut self, now: Instant, desk: &mut Desk, socket: SocketId) {
        if let Some(rung) = self.rungs.iter().find(|rung| rung.socket == socket) {
            let question = rung.question(self.stream, Duration::ZERO);
            desk.ask(now, question, Request::binding(self.server, socket));
        }
    }

    pub(super) fn on_unbound(&mut self, desk: &mut Desk, socket: SocketId) {
        match self.rungs.iter_mut().find(|rung| rung.socket == socket) {
            Some(rung) => rung.state = State::Failed,
            None if socket == self.asker => self.look = Look::Itself,
            None => return,
        }
        self.advance(desk);
    }

    /// The connection of a socket has ended. In the silence that says who has ended it as little as when the NAT would have.
    pub(super) fn on_closed(&mut self, desk: &mut Desk, socket: SocketId) {
        let is_silent = |rung: &&mut Rung| rung.socket == socket && matches!(rung.state, State::Silent(_));
        if let Some(rung) = self.rungs.iter_mut().find(is_silent) {
            rung.state = State::Failed;
            self.advance(desk);
        }
    }

    pub(super) fn on_settled(&mut self, now: Instant, desk: &mut Desk, settled: &Settled) {
        let Question::Lifetime { silence_ms, stream } = settled.question else { return };
        if stream != self.stream {
            return;
        }
        let by_asker = settled.socket == self.asker;
        let is = |rung: &&mut Rung| match by_asker {
            true => rung.state == State::Looking && millis(rung.silence) == silence_ms,
            false => rung.socket == settled.socket,
        };
        let Some(rung) = self.rungs.iter_mut().find(is) else { return };
        match (&settled.answer, rung.state) {
            (Ok(answer), State::Opening | State::Warming(_)) => {
                let warm = !self.stream || rung.state != State::Opening;
                rung.mapped = Some(answer.mapped);
                rung.state = if warm { State::Silent(now + rung.silence) } else { State::Warming(now + STREAM) };
            }
            (Err(_), State::Opening | State::Warming(_)) => rung.state = State::Failed,
            (Ok(answer), State::Looking) if by_asker => {
                // An answer to the asker itself comes from a server that ignores what it is asked.
                let obeyed = answer.socket == rung.socket;
                rung.state = if obeyed { State::Lived } else { State::Failed };
            }
            (Ok(answer), State::Looking) => {
                rung.state = if Some(answer.mapped) == rung.mapped { State::Lived } else { State::Died };
            }
            (Err(_), State::Looking) => rung.state = State::Died,
            (_, State::Silent(_) | State::Lived | State::Died | State::Failed) => return,
        }
        if matches!(rung.state, State::Lived | State::Died) {
            desk.close(rung.socket);
        }
        if self.look == Look::Unknown && by_asker {
            let works = self.rungs[0].state == State::Lived;
            self.look = if works { Look::ResponsePort } else { Look::Itself };
            if !works {
                self.rungs[0].state = State::Failed;
            }
        }
        self.advance(desk);
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let due = self.rungs.iter().filter_map(|rung| match rung.state {
            State::Warming(at) | State::Silent(at) => Some(at),
            State::Opening | State::Looking | State::Lived | State::Died | State::Failed => None,
        });
        if self.over { None } else { due.min() }
    }

    pub(super) fn on_timeout(&mut self, now: Instant, desk: &mut Desk) {
        if self.over {
            return;
        }
        let (server, stream, asker, look) = (self.server, self.stream, self.asker, self.look);
        for rung in &mut self.rungs {
            match rung.state {
                State::Warming(at) if at <= now => {
                    // Answered or not, it comes back here once: a lost answer only means a later beginning of the silence.
                    rung.state = State::Warming(now + STREAM * 4);
                    desk.ask(now, rung.question(stream, Duration::ZERO), Request::binding(server, rung.socket));
                }
                State::Silent(at) if at <= now => {
                    rung.state = State::Looking;
                    let itself = Request::binding(server, rung.socket);
                    let request = match (look, rung.mapped) {
                        (Look::Unknown | Look::ResponsePort, Some(mapped)) => Request {
                            response_port: Some(mapped.port()),
                            expect: Expect::Server,
                            ..Request::binding(server, asker)
                        },
                        (Look::Itself, _) | (_, None) => itself,
                    };
                    desk.ask(now, rung.question(stream, rung.silence), request);
                }
                State::Warming(_)
                | State::Silent(_)
                | State::Opening
                | State::Looking
                | State::Lived
                | State::Died
                | State::Failed => {}
            }
        }
    }

    /// Ends the row when it is decided, and starts the next.
    fn advance(&mut self, desk: &mut Desk) {
        let open = |rung: &Rung| !matches!(rung.state, State::Lived | State::Died | State::Failed);
        let dead = self.rungs.iter().filter(|rung| rung.state == State::Died).map(|rung| rung.silence);
        let first_dead = dead.clone().min();
        let decided = first_dead.is_some_and(|first| !self.rungs.iter().any(|rung| open(rung) && rung.silence < first));
        let all = self.rungs.iter().all(|rung| !open(rung));
        if !(all || decided && (self.refined || dead.count() >= DEAD)) {
            return;
        }
        for rung in self.rungs.iter_mut().filter(|rung| open(rung)) {
            rung.state = State::Failed;
            desk.close(rung.socket);
        }
        let lived = self.rungs.iter().filter(|rung| rung.state == State::Lived).map(|rung| rung.silence).max();
        match (lived, first_dead) {
            (Some(lived), Some(dead)) if !self.refined && dead > lived + FINE => {
                self.refined = true;
                for part in 1..=SECOND_ROW {
                    let silence = lived + (dead - lived) * part / (SECOND_ROW + 1);
                    self.rungs.push(Rung::open(desk, self.server, silence));
                }
            }
            _ => self.over = true,
        }
    }
}

impl Rung {
    fn open(desk: &mut Desk, server: SocketAddr, silence: Duration) -> Self {
        let silence = Duration::from_millis(u64::from(millis(silence)));
        Self { silence, socket: desk.open(None, server), mapped: None, state: State::Opening }
    }

    fn question(&self, stream: bool, silence: Duration) -> Question {
        Question::Lifetime { silence_ms: millis(silence), stream }
    }
}

fn millis(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}

/// The lifetime of mappings of one kind. What the looks at it have in common is their question with a silence.
pub(super) fn judge(
    observations: &[Observation],
    transport: Transport,
    stream: bool,
    allocation: &Verdict<Allocation>,
) -> Verdict<Lifetime> {
    let mut first: Vec<(SocketId, SocketAddr)> = Vec::new();
    let (mut survived, mut died, mut evidence) = (None::<Duration>, None::<Duration>, Vec::new());
    let mut by_itself = false;
    for (place, observation) in observations.iter().enumerate() {
        let Question::Lifetime { silence_ms, stream: kind } = observation.question else { continue };
        if kind != stream {
            continue;
        }
        let silence = Duration::from_millis(silence_ms.into());
        let known = first.iter().find(|(socket, _)| *socket == observation.socket).map(|(_, mapped)| *mapped);
        if silence.is_zero() {
            first.extend(observation.mapped().map(|mapped| (observation.socket, mapped)));
            continue;
        }
        let lives = match (&observation.outcome, known) {
            // It asked itself.
            (Outcome::Mapped { mapped, .. }, Some(before)) => {
                by_itself = true;
                *mapped == before
            }
            // The silent socket was sent to.
            (Outcome::Arrived { .. }, _) => true,
            (Outcome::Silence, _) => false,
            // The server answered the asker.
            (Outcome::Mapped { .. }, None) | (Outcome::Elsewhere { .. } | Outcome::Refused, _) => continue,
        };
        evidence.push(place);
        if lives {
            survived = survived.max(Some(silence));
        } else if silence > CONTROL {
            died = Some(died.map_or(silence, |died| died.min(silence)));
        }
    }
    let is_datagrams = transport == Transport::Datagram;
    if by_itself && is_datagrams && allocation.value() == Some(&Allocation::Preserving) {
        return Verdict::unknown_since(Note::NeedsResponsePort);
    }
    let Some(survived) = survived else { return Verdict::unknown() };
    if died.is_some_and(|died| died <= survived) {
        return Verdict::left(Vec::new(), Confidence::Contradictory, evidence);
    }
    let confidence = if by_itself { Confidence::Likely } else { Confidence::Certain };
    let verdict = Verdict::of(Lifetime { survived, died }, confidence, evidence);
    let verdict = if is_datagrams { verdict } else { verdict.with(Note::ByConnection) };
    if died.is_some() { verdict } else { verdict.with(Note::AtLeast) }
}
