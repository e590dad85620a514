//! NAT-PMP (RFC 6886) for the [client]: the gateway's outside address, and ports that lead inside.

mod message;

use core::net::SocketAddr;

use pinhole_sansio::Duration;

use super::client::{self, Answer};
pub use message::{Refusal, Reply, Request, Response};

/// The gateway listens here (RFC 6886 §3.1), as does a server of PCP.
pub const PORT: u16 = 5351;

/// The wait before a request is sent again; each further one is twice as long (§3.1).
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// A request is sent so often at most (§3.1).
const ATTEMPTS: u32 = 9;

/// What happens to the client.
pub type Input = client::Input<Request>;
/// What it wants done or known.
pub type Output = client::Output<Reply, Refusal>;
/// Why a request came to nothing.
pub type Failure = client::Failure<Refusal>;
/// The machine.
pub type Client = client::Client<Dialect>;

/// How NAT-PMP says it.
#[derive(Clone, Copy, Debug)]
pub struct Dialect;

impl Client {
    /// A client of the gateway at this address, usually of port [`PORT`].
    pub const fn new(gateway: SocketAddr) -> Self {
        Self::with(gateway, Dialect)
    }
}

impl client::Dialect for Dialect {
    type Request = Request;
    type Reply = Reply;
    type Refusal = Refusal;

    fn bytes(&self, request: &Request) -> Vec<u8> {
        request.bytes()
    }

    fn answer(&self, request: &Request, bytes: &[u8]) -> Option<Answer<Reply, Refusal>> {
        let Response { epoch, result } = request.response(bytes)?;
        Some(match result {
            Ok(reply) => Answer::Reply { reply, epoch },
            Err(refusal) => Answer::Refusal(refusal),
        })
    }

    /// §3.2.1: a gateway tells all hosts its address when that changes, in the form of an answer.
    fn announcement(&self, bytes: &[u8]) -> Option<u32> {
        let response = Request::ExternalAddress.response(bytes)?;
        response.result.is_ok().then_some(response.epoch)
    }

    fn wait(&mut self, sent: u32) -> Option<Duration> {
        (sent < ATTEMPTS).then(|| FIRST_WAIT * 2u32.saturating_pow(sent - 1))
    }

    /// §3.6: a clock of the gateway that is behind 7/8 of ours by more than two seconds has begun anew.
    fn is_lost(&self, before: u32, passed: Duration, epoch: u32) -> bool {
        u64::from(epoch) + 2 < u64::from(before) + passed.as_secs() * 7 / 8
    }
}

#[cfg(test)]
mod tests;
