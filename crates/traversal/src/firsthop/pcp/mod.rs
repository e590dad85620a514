//! A client of PCP (RFC 6887): ports that lead inside, and whether the server still knows them.

mod message;

use core::net::{IpAddr, SocketAddr};
use std::collections::VecDeque;

use pinhole_sansio::{Deadline, Duration, Instant, Machine, Rng};

pub use message::{Nonce, Refusal, Reply, Request, Response, announcement};

/// Servers listen here (RFC 6887 §19.2), as gateways of NAT-PMP do.
pub const PORT: u16 = 5351;

/// `IRT`: the first wait before a request is sent again (§8.1.1).
const FIRST_WAIT: Duration = Duration::from_secs(3);
/// `MRT`: no wait is longer.
const LONGEST_WAIT: Duration = Duration::from_secs(1_024);
/// `RAND`: waits differ from their mean by this part of it at most.
const JITTER: f64 = 0.1;

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

/// What the client wants done or known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send this to the server.
    Transmit {
        /// To here.
        to: SocketAddr,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// The request has ended.
    Done(Result<Reply, Failure>),
    /// The server has lost its table: what was mapped must be mapped again (§8.5).
    Restarted,
}

/// Why a request came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Nobody answered in time, or nobody listens.
    NoAnswer,
    /// The server refuses.
    Refused {
        /// Why.
        refusal: Refusal,
        /// It will refuse for so many seconds.
        lifetime: u32,
    },
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
    server: SocketAddr,
    own: IpAddr,
    rng: Rng,
    asked: Option<Asked>,
    epoch: Option<Epoch>,
    outputs: VecDeque<Output>,
}

#[derive(Clone, Copy, Debug)]
struct Asked {
    request: Request,
    wait: Duration,
    next: Instant,
    until: Instant,
}

/// The server's clock when it was last heard.
#[derive(Clone, Copy, Debug)]
struct Epoch {
    server: u32,
    ours: Instant,
}

impl Client {
    /// A client of the server at this address, usually of port [`PORT`]; `own` is the address from which requests leave.
    /// Waits are drawn from `seed`.
    pub fn new(server: SocketAddr, own: IpAddr, seed: u64) -> Self {
        let rng = Rng::from_seed(seed);
        Self { server, own, rng, asked: None, epoch: None, outputs: VecDeque::new() }
    }

    fn pass(&mut self, now: Instant) {
        let Some(asked) = &mut self.asked else { return };
        if now >= asked.until {
            return self.end(Err(Failure::NoAnswer));
        }
        if now >= asked.next {
            let bytes = asked.request.bytes(self.own);
            let jitter = (self.rng.unit() * 2.0 - 1.0) * JITTER;
            asked.wait = if asked.wait.is_zero() {
                FIRST_WAIT.mul_f64(1.0 + jitter)
            } else {
                asked.wait.mul_f64(2.0 + jitter).min(LONGEST_WAIT)
            };
            asked.next = now + asked.wait;
            self.outputs.push_back(Output::Transmit { to: self.server, bytes });
        }
    }

    fn receive(&mut self, now: Instant, from: SocketAddr, bytes: &[u8]) {
        if from != self.server {
            return;
        }
        let response = self.asked.and_then(|asked| asked.request.response(bytes));
        let Some(response) = response else {
            if let Some(epoch) = announcement(bytes) {
                self.note(now, epoch);
            }
            return;
        };
        match response.result {
            Ok(reply) => {
                self.note(now, response.epoch);
                self.end(Ok(reply));
            }
            Err((refusal, lifetime)) => self.end(Err(Failure::Refused { refusal, lifetime })),
        }
    }

    fn note(&mut self, now: Instant, server: u32) {
        let before = self.epoch.replace(Epoch { server, ours: now });
        if before.is_some_and(|before| before.is_lost(now, server)) {
            self.outputs.push_back(Output::Restarted);
        }
    }

    fn end(&mut self, result: Result<Reply, Failure>) {
        self.asked = None;
        self.outputs.push_back(Output::Done(result));
    }
}

impl Epoch {
    /// §8.5: a clock that went back, or that went by 1/16 and two seconds faster or slower than ours, was set anew.
    fn is_lost(self, now: Instant, server: u32) -> bool {
        if server.saturating_add(1) < self.server {
            return true;
        }
        let ours = now.since(self.ours).as_secs();
        let theirs = u64::from(server.saturating_sub(self.server));
        ours + 2 < theirs - theirs / 16 || theirs + 2 < ours - ours / 16
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
                self.asked = Some(Asked { request, wait: Duration::ZERO, next: now, until: now + patience });
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
