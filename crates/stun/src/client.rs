//! A client as a sans-IO machine: any number of Binding requests at once, to any number of servers.
//!
//! A request by UDP is sent again on the schedule of RFC 8489 §6.2.1 until it is answered; by TCP or TLS it is sent once. A
//! response counts if it has the request's random id, comes from where one is expected, is undamaged and, where there are
//! credentials, authentic. One with the right id from another place is told of, because in behaviour discovery that is a
//! finding, and does not end the wait. 300, 401 and 438 are followed, 420 says what the server does not know; whatever else
//! comes is counted and ignored.
//!
//! The driver owns the sockets. It names them by [`SocketId`]s of its own and hands in every datagram that one of them
//! receives; for a request by [`Transport::Stream`] it connects to the server that [`Output::Stream`] names.

mod answer;
mod request;
mod schedule;
mod transaction;

use std::collections::VecDeque;

use core::net::SocketAddr;

use pinhole_sansio::{Deadline, Instant, Machine, Rng};

pub use answer::{Answer, Failure};
pub use request::{CredentialKind, Credentials, Dialect, Expect, Request, SocketId, Transport};
pub use schedule::Schedule;

use crate::{Class, Message, TransactionId};
use transaction::{Arrival, Ignored, Judgement, Transaction};

/// Requests under way; one more fails at once. A search for a port pool asks from some hundred sockets.
pub const MAX_TRANSACTIONS: usize = 4_096;
/// Strays that are told of, per request; more are only counted.
const MAX_STRAYS: u32 = 4;
/// Ids of requests that are over, remembered to tell a late response from a forged one.
const REMEMBERED: usize = 256;

/// Which request something belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(u64);

/// What happens to the client.
#[derive(Clone, Debug)]
pub enum Input {
    /// Time has passed.
    Timeout,
    /// A datagram came.
    Datagram {
        /// To this socket.
        socket: SocketId,
        /// From here.
        from: SocketAddr,
        /// With this in it; other protocols' datagrams are ignored.
        bytes: Vec<u8>,
    },
    /// A message came by the connection of a request.
    Message {
        /// Of this request.
        request: RequestId,
        /// The message, as [`stream::next`](crate::stream::next) cuts it.
        bytes: Vec<u8>,
    },
    /// The connection of a request could not be made, was closed, or is no STUN.
    Closed {
        /// Of this request.
        request: RequestId,
    },
}

/// What the client wants done or known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send a datagram.
    Transmit {
        /// For this request.
        request: RequestId,
        /// From this socket.
        socket: SocketId,
        /// To here.
        server: SocketAddr,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// Send by a connection to this server; connect if there is none yet for this request and this server.
    Stream {
        /// For this request.
        request: RequestId,
        /// To here.
        server: SocketAddr,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// A response to this request came from where none is expected. The wait goes on.
    Stray {
        /// To this request.
        request: RequestId,
        /// From here.
        from: SocketAddr,
        /// The socket that it came in on.
        socket: SocketId,
    },
    /// The request is answered or given up.
    Done {
        /// Which request.
        request: RequestId,
        /// What came of it.
        answer: Result<Box<Answer>, Failure>,
    },
}

/// The client's timers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// A request is due to be sent again, or given up.
    Retransmission,
}

/// What did not count, and why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Datagrams that are no STUN messages, or no responses.
    pub foreign: u64,
    /// Responses to no request of ours: forged, or replayed.
    pub unknown: u64,
    /// Responses to a request that is over: copies, or an answer to an earlier attempt.
    pub late: u64,
    /// Responses from where none is expected.
    pub stray: u64,
    /// Responses with a wrong FINGERPRINT, or an error without a code.
    pub damaged: u64,
    /// Responses whose MESSAGE-INTEGRITY is missing or wrong.
    pub unauthentic: u64,
}

/// The machine. See the [module](self).
#[derive(Debug)]
pub struct Client {
    rng: Rng,
    next: u64,
    transactions: Vec<Transaction>,
    outputs: VecDeque<Output>,
    over: VecDeque<TransactionId>,
    counters: Counters,
}

impl Client {
    /// A client with nothing to ask. Answers are as hard to forge as `seed` is to guess: take it from the system's
    /// generator.
    pub fn new(seed: u64) -> Self {
        Self {
            rng: Rng::from_seed(seed),
            next: 0,
            transactions: Vec::new(),
            outputs: VecDeque::new(),
            over: VecDeque::new(),
            counters: Counters::default(),
        }
    }

    /// Asks. What comes of it is [`Output::Done`] with this id.
    pub fn ask(&mut self, now: Instant, request: Request) -> RequestId {
        let id = RequestId(self.next);
        self.next += 1;
        if self.transactions.len() >= MAX_TRANSACTIONS {
            self.outputs.push_back(Output::Done { request: id, answer: Err(Failure::TooMany) });
            return id;
        }
        self.begin(now, Transaction::new(id, request, now));
        id
    }

    /// Forgets a request; there will be no [`Output::Done`].
    pub fn cancel(&mut self, request: RequestId) {
        if let Some(at) = self.transactions.iter().position(|transaction| transaction.id == request) {
            let transaction = self.transactions.swap_remove(at);
            self.remember(transaction.wire_id);
        }
        self.outputs.retain(|output| match output {
            Output::Transmit { request: id, .. }
            | Output::Stream { request: id, .. }
            | Output::Stray { request: id, .. }
            | Output::Done { request: id, .. } => *id != request,
        });
    }

    /// What has been ignored so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Writes the request and sends it for the first time.
    fn begin(&mut self, now: Instant, mut transaction: Transaction) {
        match transaction.renew(&mut self.rng) {
            Ok(()) => {
                self.transmit(now, &mut transaction);
                self.transactions.push(transaction);
            }
            Err(failure) => self.outputs.push_back(Output::Done { request: transaction.id, answer: Err(failure) }),
        }
    }

    fn transmit(&mut self, now: Instant, transaction: &mut Transaction) {
        transaction.on_sent(now);
        let (request, server, bytes) = (transaction.id, transaction.server, transaction.bytes.clone());
        self.outputs.push_back(match transaction.request.transport {
            Transport::Datagram => Output::Transmit { request, socket: transaction.request.socket, server, bytes },
            Transport::Stream => Output::Stream { request, server, bytes },
        });
    }

    fn on_datagram(&mut self, now: Instant, socket: SocketId, from: SocketAddr, bytes: &[u8]) {
        let Some(message) = response(bytes) else { return self.counters.foreign += 1 };
        let id = message.transaction_id();
        let asked = |transaction: &Transaction| {
            transaction.wire_id == id && transaction.request.transport == Transport::Datagram
        };
        let Some(at) = self.transactions.iter().position(asked) else {
            let count = if self.over.contains(&id) { &mut self.counters.late } else { &mut self.counters.unknown };
            return *count += 1;
        };
        let transaction = &mut self.transactions[at];
        if !transaction.request.expect.counts(transaction.server, from) {
            self.counters.stray += 1;
            transaction.stray.get_or_insert(from);
            transaction.strays += 1;
            if transaction.strays <= MAX_STRAYS {
                self.outputs.push_back(Output::Stray { request: transaction.id, from, socket });
            }
            return;
        }
        self.on_response(at, Arrival { now, from, socket }, &message);
    }

    fn on_message(&mut self, now: Instant, request: RequestId, bytes: &[u8]) {
        let Some(message) = response(bytes) else { return self.counters.foreign += 1 };
        let asked =
            |transaction: &Transaction| transaction.id == request && transaction.request.transport == Transport::Stream;
        let Some(at) = self.transactions.iter().position(asked) else { return self.counters.late += 1 };
        let transaction = &self.transactions[at];
        if transaction.wire_id != message.transaction_id() {
            return self.counters.unknown += 1;
        }
        let (from, socket) = (transaction.server, transaction.request.socket);
        self.on_response(at, Arrival { now, from, socket }, &message);
    }

    fn on_response(&mut self, at: usize, arrival: Arrival, message: &Message<'_>) {
        match self.transactions[at].judge(arrival, message) {
            Judgement::Answer(answer) => self.finish(at, Ok(answer)),
            Judgement::Fail(failure) => self.finish(at, Err(failure)),
            Judgement::Retry => {
                let transaction = self.transactions.swap_remove(at);
                self.remember(transaction.wire_id);
                self.begin(arrival.now, transaction);
            }
            Judgement::Ignore(Ignored::Damaged) => self.counters.damaged += 1,
            Judgement::Ignore(Ignored::Unauthentic) => self.counters.unauthentic += 1,
        }
    }

    fn on_closed(&mut self, request: RequestId) {
        let asked =
            |transaction: &Transaction| transaction.id == request && transaction.request.transport == Transport::Stream;
        if let Some(at) = self.transactions.iter().position(asked) {
            self.finish(at, Err(Failure::Closed));
        }
    }

    fn on_timeout(&mut self, now: Instant) {
        while let Some(at) = self.transactions.iter().position(|transaction| transaction.deadline <= now) {
            if self.transactions[at].is_over() {
                let failure = self.transactions[at].timed_out();
                self.finish(at, Err(failure));
            } else {
                let mut transaction = self.transactions.swap_remove(at);
                self.transmit(now, &mut transaction);
                self.transactions.push(transaction);
            }
        }
    }

    fn finish(&mut self, at: usize, answer: Result<Box<Answer>, Failure>) {
        let transaction = self.transactions.swap_remove(at);
        self.remember(transaction.wire_id);
        self.outputs.push_back(Output::Done { request: transaction.id, answer });
    }

    fn remember(&mut self, id: TransactionId) {
        if self.over.len() == REMEMBERED {
            self.over.pop_front();
        }
        self.over.push_back(id);
    }
}

/// The message, if it is a response to a Binding request.
fn response(bytes: &[u8]) -> Option<Message<'_>> {
    let message = Message::read(bytes).ok()?;
    let is_response = match message.class() {
        Class::Success | Class::Error => message.method() == crate::Method::BINDING,
        Class::Request | Class::Indication => false,
    };
    is_response.then_some(message)
}

impl Machine for Client {
    type Input = Input;
    type Output = Output;
    type Why = Why;

    fn timeout() -> Input {
        Input::Timeout
    }

    fn handle_input(&mut self, now: Instant, input: Input) {
        match input {
            Input::Timeout => self.on_timeout(now),
            Input::Datagram { socket, from, bytes } => self.on_datagram(now, socket, from, &bytes),
            Input::Message { request, bytes } => self.on_message(now, request, &bytes),
            Input::Closed { request } => self.on_closed(request),
        }
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn poll_timeout(&self) -> Option<Deadline<Why>> {
        let first = self.transactions.iter().map(|transaction| transaction.deadline).min()?;
        Some(Deadline::new(first, Why::Retransmission))
    }
}

#[cfg(test)]
mod tests;
