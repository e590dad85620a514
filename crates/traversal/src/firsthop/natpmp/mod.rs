//! A client of NAT-PMP (RFC 6886): the gateway's outside address, and ports that lead inside.

mod message;

use core::net::SocketAddr;
use std::collections::VecDeque;

use pinhole_sansio::{Deadline, Duration, Instant, Machine};

pub use message::{Refusal, Reply, Request, Response};

/// The gateway listens here (RFC 6886 §3.1), as does a server of PCP.
pub const PORT: u16 = 5351;

/// The wait before a request is sent again; each further one is twice as long (§3.1).
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// A request is sent so often at most (§3.1).
const ATTEMPTS: u32 = 9;

/// What happens to the client.
#[derive(Clone, Debug)]
pub enum Input {
    /// Time has passed.
    Timeout,
    /// Ask this, for so long.
    Ask {
        /// What.
        request: Request,
        /// How long to wait for an answer, all repetitions together.
        patience: Duration,
    },
    /// A datagram came.
    Datagram {
        /// From here.
        from: SocketAddr,
        /// With this in it.
        bytes: Vec<u8>,
    },
    /// The kernel says that nobody listens at the gateway.
    Unreachable,
}

/// What the client wants done or known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send this to the gateway.
    Transmit {
        /// To here.
        to: SocketAddr,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// The request has ended.
    Done(Result<Reply, Failure>),
    /// The gateway has lost its table: what was mapped must be mapped again (§3.6).
    Restarted,
}

/// Why a request came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Nobody answered in time, or nobody listens.
    NoAnswer,
    /// The gateway refuses.
    Refused(Refusal),
}

/// The client's timers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The request is due to be sent again, or given up.
    Retransmission,
}

/// The machine. See the [module](self).
#[derive(Clone, Debug)]
pub struct Client {
    gateway: SocketAddr,
    asked: Option<Asked>,
    epoch: Option<(u32, Instant)>,
    outputs: VecDeque<Output>,
}

#[derive(Clone, Copy, Debug)]
struct Asked {
    request: Request,
    sent: u32,
    next: Instant,
    until: Instant,
}

impl Client {
    /// A client of the gateway at this address, usually of port [`PORT`].
    pub const fn new(gateway: SocketAddr) -> Self {
        Self { gateway, asked: None, epoch: None, outputs: VecDeque::new() }
    }

    fn pass(&mut self, now: Instant) {
        let Some(asked) = &mut self.asked else { return };
        if now >= asked.until {
            return self.end(Err(Failure::NoAnswer));
        }
        if now >= asked.next {
            let bytes = asked.request.bytes();
            let wait = FIRST_WAIT * 2u32.saturating_pow(asked.sent);
            asked.sent += 1;
            asked.next = if asked.sent < ATTEMPTS { now + wait } else { asked.until };
            self.outputs.push_back(Output::Transmit { to: self.gateway, bytes });
        }
    }

    fn receive(&mut self, now: Instant, from: SocketAddr, bytes: &[u8]) {
        let Some(asked) = self.asked.filter(|_| from == self.gateway) else { return };
        let Some(response) = asked.request.response(bytes) else { return };
        match response.result {
            Ok(reply) => {
                self.note(now, response.epoch);
                self.end(Ok(reply));
            }
            Err(refusal) => self.end(Err(Failure::Refused(refusal))),
        }
    }

    /// §3.6: a clock of the gateway that is behind 7/8 of ours by more than two seconds has begun anew.
    fn note(&mut self, now: Instant, epoch: u32) {
        if let Some((before, at)) = self.epoch.replace((epoch, now)) {
            let least = u64::from(before) + now.since(at).as_secs() * 7 / 8;
            if u64::from(epoch) + 2 < least {
                self.outputs.push_back(Output::Restarted);
            }
        }
    }

    fn end(&mut self, result: Result<Reply, Failure>) {
        self.asked = None;
        self.outputs.push_back(Output::Done(result));
    }
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

    fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn poll_timeout(&self) -> Option<Deadline<Why>> {
        self.asked.map(|asked| Deadline::new(asked.next.min(asked.until), Why::Retransmission))
    }
}

#[cfg(test)]
mod tests;
