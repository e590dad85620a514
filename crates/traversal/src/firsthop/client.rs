//! The client that PCP and NAT-PMP have in common: one request at a time to one server, repeated until it is answered or given
//! up, and an eye on the server's clock, which goes back when its table is lost.
//!
//! What the two protocols do not share is their [`Dialect`]: the bytes, how long to wait, and when a clock has gone back.

use core::net::SocketAddr;
use std::collections::VecDeque;

use pinhole_sansio::{Deadline, Duration, Instant, Machine};

/// How a protocol says it.
pub trait Dialect {
    /// What can be asked.
    type Request: Copy;
    /// What comes back.
    type Reply;
    /// Why a server refuses.
    type Refusal;

    /// The datagram of a request.
    fn bytes(&self, request: &Self::Request) -> Vec<u8>;

    /// What an answer to this request says; `None` if `bytes` are none.
    fn answer(&self, request: &Self::Request, bytes: &[u8]) -> Option<Answer<Self::Reply, Self::Refusal>>;

    /// The server's clock, if `bytes` are an announcement that nobody asked for.
    fn announcement(&self, bytes: &[u8]) -> Option<u32>;

    /// How long to wait after a request that was sent so often; `None` for until it is given up.
    fn wait(&mut self, sent: u32) -> Option<Duration>;

    /// Whether a server whose clock says `epoch` has lost its table since it said `before`, by our clock `passed` ago.
    fn is_lost(&self, before: u32, passed: Duration, epoch: u32) -> bool;
}

/// What a server says to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer<A, R> {
    /// This, and its clock: seconds since its table was made.
    Reply {
        /// What was asked for.
        reply: A,
        /// The clock.
        epoch: u32,
    },
    /// No.
    Refusal(R),
}

/// What happens to a client.
#[derive(Clone, Debug)]
pub enum Input<Q> {
    /// Time has passed.
    Timeout,
    /// Ask this, for so long.
    Ask {
        /// What.
        request: Q,
        /// How long to wait for an answer, all repetitions together.
        patience: Duration,
    },
    /// A datagram came: an answer, or an announcement to all hosts.
    Datagram {
        /// From here.
        from: SocketAddr,
        /// With this in it.
        bytes: Vec<u8>,
    },
    /// The kernel says that nobody listens at the server.
    Unreachable,
}

/// What a client wants done or known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output<A, R> {
    /// Send this to the server.
    Transmit {
        /// To here.
        to: SocketAddr,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// The request has ended.
    Done(Result<A, Failure<R>>),
    /// The server has lost its table: what was mapped must be mapped again.
    Restarted,
}

/// Why a request came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure<R> {
    /// Nobody answered in time, or nobody listens.
    NoAnswer,
    /// The server refuses.
    Refused(R),
}

/// A client's timers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The request is due to be sent again, or given up.
    Retransmission,
}

/// The machine. See the [module](self).
#[derive(Clone, Debug)]
pub struct Client<D: Dialect> {
    server: SocketAddr,
    dialect: D,
    asked: Option<Asked<D::Request>>,
    /// What the server's clock said, and when.
    epoch: Option<(u32, Instant)>,
    outputs: VecDeque<Output<D::Reply, D::Refusal>>,
}

#[derive(Clone, Copy, Debug)]
struct Asked<Q> {
    request: Q,
    sent: u32,
    next: Instant,
    until: Instant,
}

impl<D: Dialect> Client<D> {
    pub(super) const fn with(server: SocketAddr, dialect: D) -> Self {
        Self { server, dialect, asked: None, epoch: None, outputs: VecDeque::new() }
    }

    fn pass(&mut self, now: Instant) {
        let Some(asked) = &mut self.asked else { return };
        if now >= asked.until {
            return self.end(Err(Failure::NoAnswer));
        }
        if now >= asked.next {
            let bytes = self.dialect.bytes(&asked.request);
            asked.sent += 1;
            asked.next = self.dialect.wait(asked.sent).map_or(asked.until, |wait| now + wait);
            self.outputs.push_back(Output::Transmit { to: self.server, bytes });
        }
    }

    fn receive(&mut self, now: Instant, from: SocketAddr, bytes: &[u8]) {
        if !is_same(from, self.server) {
            return;
        }
        let answer = self.asked.as_ref().and_then(|asked| self.dialect.answer(&asked.request, bytes));
        match answer {
            Some(Answer::Reply { reply, epoch }) => {
                self.note(now, epoch);
                self.end(Ok(reply));
            }
            Some(Answer::Refusal(refusal)) => self.end(Err(Failure::Refused(refusal))),
            None => {
                if let Some(epoch) = self.dialect.announcement(bytes) {
                    self.note(now, epoch);
                }
            }
        }
    }

    fn note(&mut self, now: Instant, epoch: u32) {
        if let Some((before, at)) = self.epoch.replace((epoch, now))
            && self.dialect.is_lost(before, now.since(at), epoch)
        {
            self.outputs.push_back(Output::Restarted);
        }
    }

    fn end(&mut self, result: Result<D::Reply, Failure<D::Refusal>>) {
        self.asked = None;
        self.outputs.push_back(Output::Done(result));
    }
}

/// Whether two endpoints are the same; flow labels do not count.
fn is_same(one: SocketAddr, other: SocketAddr) -> bool {
    let scope = |address: SocketAddr| match address {
        SocketAddr::V4(_) => 0,
        SocketAddr::V6(v6) => v6.scope_id(),
    };
    (one.ip(), one.port(), scope(one)) == (other.ip(), other.port(), scope(other))
}

impl<D: Dialect> Machine for Client<D> {
    type Input = Input<D::Request>;
    type Output = Output<D::Reply, D::Refusal>;
    type Why = Why;

    fn timeout() -> Self::Input {
        Input::Timeout
    }

    fn handle_input(&mut self, now: Instant, input: Self::Input) {
        match input {
            Input::Timeout => self.pass(now),
            Input::Ask { request, patience } => {
                if self.asked.is_some() {
                    self.end(Err(Failure::NoAnswer));
                }
                self.asked = Some(Asked { request, sent: 0, next: now, until: now + patience });
                self.pass(now);
            }
            Input::Datagram { from, bytes } => self.receive(now, from, &bytes),
            Input::Unreachable if self.asked.is_some() => self.end(Err(Failure::NoAnswer)),
            Input::Unreachable => {}
        }
    }

    fn poll_output(&mut self) -> Option<Self::Output> {
        self.outputs.pop_front()
    }

    fn poll_timeout(&self) -> Option<Deadline<Why>> {
        let asked = self.asked.as_ref()?;
        Some(Deadline::new(asked.next.min(asked.until), Why::Retransmission))
    }
}
