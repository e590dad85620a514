//! PCP (RFC 6887) for the [client]: ports that lead inside, and whether the server still knows them.
//!
//! Over IPv6 the same messages open pinholes in a firewall: the port outside is the port inside.

mod message;

use core::net::{IpAddr, SocketAddr};

use pinhole_sansio::{Duration, Rng};

use super::client::{self, Answer};
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
pub type Input = client::Input<Request>;
/// What it wants done or known.
pub type Output = client::Output<Reply, Refused>;
/// Why a request came to nothing.
pub type Failure = client::Failure<Refused>;
/// The machine.
pub type Client = client::Client<Dialect>;

/// A server refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Why.
    pub refusal: Refusal,
    /// It will refuse for so many seconds.
    pub lifetime: u32,
}

/// How PCP says it.
#[derive(Clone, Debug)]
pub struct Dialect {
    /// The address from which requests leave.
    own: IpAddr,
    rng: Rng,
    wait: Duration,
}

impl Client {
    /// A client of the server at this address, usually of port [`PORT`]; `own` is the address from which requests leave.
    /// Waits are drawn from `seed`.
    pub fn new(server: SocketAddr, own: IpAddr, seed: u64) -> Self {
        Self::with(server, Dialect { own, rng: Rng::from_seed(seed), wait: Duration::ZERO })
    }
}

impl client::Dialect for Dialect {
    type Request = Request;
    type Reply = Reply;
    type Refusal = Refused;

    fn bytes(&self, request: &Request) -> Vec<u8> {
        request.bytes(self.own)
    }

    fn answer(&self, request: &Request, bytes: &[u8]) -> Option<Answer<Reply, Refused>> {
        let Response { epoch, result } = request.response(bytes)?;
        Some(match result {
            Ok(reply) => Answer::Reply { reply, epoch },
            Err((refusal, lifetime)) => Answer::Refusal(Refused { refusal, lifetime }),
        })
    }

    fn announcement(&self, bytes: &[u8]) -> Option<u32> {
        announcement(bytes)
    }

    fn wait(&mut self, sent: u32) -> Option<Duration> {
        let jitter = (self.rng.unit() * 2.0 - 1.0) * JITTER;
        self.wait = match sent {
            1 => FIRST_WAIT.mul_f64(1.0 + jitter),
            _ => self.wait.mul_f64(2.0 + jitter).min(LONGEST_WAIT),
        };
        Some(self.wait)
    }

    /// §8.5: a clock that went back, or that went by 1/16 and two seconds faster or slower than ours, was set anew.
    fn is_lost(&self, before: u32, passed: Duration, epoch: u32) -> bool {
        if epoch.saturating_add(1) < before {
            return true;
        }
        let ours = passed.as_secs();
        let theirs = u64::from(epoch.saturating_sub(before));
        ours + 2 < theirs - theirs / 16 || theirs + 2 < ours - ours / 16
    }
}

#[cfg(test)]
mod tests;
