//! What all parts of a discovery share: sockets, questions under way, and the book of what came of them.

use std::collections::{BTreeMap, VecDeque};

use core::net::SocketAddr;

use pinhole_sansio::{Duration, Instant, Machine, Rng};
use pinhole_stun::client::{self, Answer, Client, Failure, Request, RequestId, Schedule, SocketId, Transport};

use super::evidence::{Observation, Outcome, Question};
use super::{Output, Progress};

/// The shortest wait before a question is asked again.
const SHORTEST: Duration = Duration::from_millis(100);
/// The longest between two.
const LONGEST: Duration = Duration::from_millis(300);
/// How often it is asked: of six, at 2 % loss each way, all are lost once in 250 million times.
const ATTEMPTS: u32 = 6;
/// How long a connection may take.
const STREAM: Duration = Duration::from_secs(3);
/// A round trip whose first request was lost may have been longer than it seems.
const CAUTIOUS: Duration = Duration::from_millis(200);

/// A question under way.
#[derive(Clone, Copy, Debug)]
struct Asked {
    question: Question,
    server: SocketAddr,
    socket: SocketId,
}

/// An answered or given up question.
#[derive(Clone, Debug)]
pub(super) struct Settled {
    pub(super) question: Question,
    /// Who was asked.
    pub(super) server: SocketAddr,
    /// The socket that asked.
    pub(super) socket: SocketId,
    pub(super) answer: Result<Box<Answer>, Failure>,
}

#[derive(Debug)]
pub(super) struct Desk {
    pub(super) transport: Transport,
    pub(super) client: Client,
    pub(super) rng: Rng,
    pub(super) outputs: VecDeque<Output>,
    pub(super) observations: Vec<Observation>,
    /// The longest round trip so far.
    pub(super) round_trip: Duration,
    started: Instant,
    next_socket: u32,
    locals: BTreeMap<SocketId, Option<SocketAddr>>,
    pending: BTreeMap<RequestId, Asked>,
}

impl Desk {
    pub(super) fn new(transport: Transport, seed: u64, now: Instant) -> Self {
        let mut rng = Rng::from_seed(seed);
        Self {
            transport,
            client: Client::new(rng.next_u64()),
            rng,
            outputs: VecDeque::new(),
            observations: Vec::new(),
            round_trip: Duration::ZERO,
            started: now,
            next_socket: 0,
            locals: BTreeMap::new(),
            pending: BTreeMap::new(),
        }
    }

    /// Wants a socket, at a port if that matters, that can reach `toward`.
    pub(super) fn open(&mut self, port: Option<u16>, toward: SocketAddr) -> SocketId {
        let socket = SocketId(self.next_socket);
        self.next_socket += 1;
        self.locals.insert(socket, None);
        self.outputs.push_back(Output::Bind { socket, port, toward });
        socket
    }

    pub(super) fn on_bound(&mut self, socket: SocketId, local: SocketAddr) {
        if let Some(known) = self.locals.get_mut(&socket) {
            *known = Some(local);
        }
    }

    /// Gives a socket back; what it has asked is no longer waited for.
    pub(super) fn close(&mut self, socket: SocketId) {
        if self.locals.remove(&socket).is_some() {
            let client = &mut self.client;
            self.pending.retain(|request, asked| {
                let stays = asked.socket != socket;
                if !stays {
                    client.cancel(*request);
                }
                stays
            });
            self.outputs.push_back(Output::Close { socket });
        }
    }

    /// Gives all sockets back.
    pub(super) fn close_all(&mut self) {
        let sockets: Vec<SocketId> = self.locals.keys().copied().collect();
        sockets.into_iter().for_each(|socket| self.close(socket));
    }

    pub(super) fn local(&self, socket: SocketId) -> Option<SocketAddr> {
        self.locals.get(&socket).copied().flatten()
    }

    /// Asks, with the schedule that the round trips so far allow.
    pub(super) fn ask(&mut self, now: Instant, question: Question, request: Request) {
        self.ask_patiently(now, question, request.with_schedule(self.schedule()));
    }

    /// Asks with the request's own schedule.
    pub(super) fn ask_patiently(&mut self, now: Instant, question: Question, request: Request) {
        let request = match self.transport {
            Transport::Datagram => request,
            Transport::Stream => request.by_stream(),
        };
        let asked = Asked { question, server: request.server, socket: request.socket };
        let id = self.client.ask(now, request);
        self.pending.insert(id, asked);
    }

    /// When to ask again: as soon as an answer is overdue.
    fn schedule(&self) -> Schedule {
        let first = SHORTEST.max(self.round_trip * 3 / 2);
        Schedule {
            first,
            longest: LONGEST.max(first),
            attempts: ATTEMPTS,
            last: LONGEST.max(self.round_trip * 4),
            stream: STREAM.max(self.round_trip * 8),
        }
    }

    /// Notes an observation that no request made.
    pub(super) fn observe(
        &mut self,
        now: Instant,
        socket: SocketId,
        question: Question,
        asked: SocketAddr,
        outcome: Outcome,
    ) {
        self.write(now, Asked { question, server: asked, socket }, 0, outcome);
    }

    fn write(&mut self, now: Instant, asked: Asked, attempts: u32, outcome: Outcome) {
        let Asked { question, server: asked, socket } = asked;
        let (at, local) = (now.since(self.started), self.local(socket));
        self.observations.push(Observation { at, socket, local, question, asked, attempts, outcome });
        let place = self.observations.len() - 1;
        self.outputs.push_back(Output::Progress(Progress { place, observation: self.observations[place].clone() }));
    }

    /// Takes what the client has to say: what it wants sent goes out, what is settled comes back.
    pub(super) fn settle(&mut self, now: Instant) -> Vec<Settled> {
        let mut settled = Vec::new();
        while let Some(output) = self.client.poll_output() {
            match output {
                client::Output::Transmit { request: _, socket, server, bytes } => {
                    self.outputs.push_back(Output::Send { socket, to: server, bytes });
                }
                client::Output::Stream { request, server, bytes } => {
                    let Some(asked) = self.pending.get(&request) else { continue };
                    self.outputs.push_back(Output::Stream { socket: asked.socket, to: server, bytes });
                }
                client::Output::Stray { .. } => {}
                client::Output::Done { request, answer } => {
                    let Some(asked) = self.pending.remove(&request) else { continue };
                    settled.push(self.note(now, asked, answer));
                }
            }
        }
        settled
    }

    fn note(&mut self, now: Instant, asked: Asked, answer: Result<Box<Answer>, Failure>) -> Settled {
        let Asked { question, server, socket } = asked;
        let outcome = match &answer {
            Ok(answer) => {
                let least = if answer.attempts > 1 { CAUTIOUS } else { Duration::ZERO };
                self.round_trip = self.round_trip.max(answer.round_trip.max(least));
                match answer.socket == socket {
                    true => Outcome::Mapped { mapped: answer.mapped, from: answer.from },
                    // The server was asked to send to another socket of ours.
                    false => Outcome::Arrived { from: answer.from },
                }
            }
            Err(Failure::TimedOut { stray: Some(from), .. }) => Outcome::Elsewhere { from: *from },
            Err(Failure::TimedOut { .. } | Failure::Closed | Failure::TooMany | Failure::TooLong) => Outcome::Silence,
            Err(
                Failure::Refused { .. }
                | Failure::NotUnderstood(_)
                | Failure::Incomprehensible(_)
                | Failure::NoAddress
                | Failure::BadAlternate
                | Failure::BidDown,
            ) => Outcome::Refused,
        };
        let attempts = match &answer {
            Ok(answer) => answer.attempts,
            Err(Failure::TimedOut { attempts, .. }) => *attempts,
            Err(_) => 1,
        };
        self.write(now, asked, attempts, outcome);
        Settled { question, server, socket, answer }
    }

    /// A message or the end of a connection from `socket` to `server`: whose it is shows the transaction id.
    pub(super) fn on_stream(&mut self, now: Instant, socket: SocketId, server: SocketAddr, bytes: Option<&[u8]>) {
        let is = |asked: &&Asked| asked.socket == socket && asked.server == server;
        let waiting: Vec<RequestId> =
            self.pending.iter().filter(|(_, asked)| is(asked)).map(|(request, _)| *request).collect();
        for request in waiting {
            let input = match bytes {
                Some(bytes) => client::Input::Message { request, bytes: bytes.to_vec() },
                None => client::Input::Closed { request },
            };
            self.client.handle_input(now, input);
        }
    }

    pub(super) fn elapsed(&self, now: Instant) -> Duration {
        now.since(self.started)
    }
}
