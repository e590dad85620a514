//! A server as a function: what came, to which of its sockets, from whom; what to send, from which socket, to where.
//!
//! It answers Binding requests (RFC 8489), behaviour requests (RFC 5780: CHANGE-REQUEST, RESPONSE-PORT, PADDING,
//! OTHER-ADDRESS, RESPONSE-ORIGIN), and those of RFC 3489 in their own language. The other address may be on this host or on a
//! [`partner`]'s. A source that asks too often, whatever is no request, and garbage get nothing at all.
//!
//! Nobody gets more than he sent, or [`SMALL`] bytes, whichever is more; and only at the address that he asked from. A server
//! thus is no help to who forges sources. A [`call`] back, which is the one thing it does unasked, needs a nonce that only
//! the owner of the address can have.
//!
//! The state is bounded: tables of limits and the partner's last messages. A server may be run once per thread, each with a
//! share of the limits.

pub mod accounts;
mod answer;
pub mod call;
mod layout;
pub mod limit;
mod nonces;
pub mod partner;
mod request;

use core::net::SocketAddr;

use pinhole_sansio::{Instant, Rng};

use crate::binding::{MAX_ANSWER, PlainAnswers};
use crate::{Class, Fingerprint, Message, Method};
use accounts::Accounts;
use answer::Answering;
use call::Call;
pub use layout::{Layout, Local, Second};
use limit::{RateLimit, RateLimiter};
use nonces::Nonces;
use partner::{Partner, PartnerKey};
use request::Asked;
pub use request::Transport;

/// An answer of so many bytes is small: one to whatever request. Four IPv6 addresses and a header are 116.
pub const SMALL: usize = 128;

/// What a server does, and for whom.
#[derive(Clone, Debug)]
pub struct Config {
    /// Its addresses and ports.
    pub layout: Layout,
    /// What is shared with the host that has the other address, where [`Layout::second`] says that another host has it.
    pub partner: Option<PartnerKey>,
    /// Requests that a source may make.
    pub limit: RateLimit,
    /// Calls that a source may have.
    pub calls: CallPolicy,
    /// Who has a password. If there is anyone, nobody else gets an answer.
    pub accounts: Option<Accounts>,
    /// Answer clients of RFC 3489.
    pub legacy: bool,
}

impl Config {
    /// A server for everyone that calls nobody.
    pub fn new(layout: Layout) -> Self {
        Self {
            layout,
            partner: None,
            limit: RateLimit::REQUESTS,
            calls: CallPolicy::Never,
            accounts: None,
            legacy: true,
        }
    }
}

/// Whether askers are called back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallPolicy {
    /// No.
    Never,
    /// Whoever has shown that the address is his; where there are accounts, only their owners.
    Proven(RateLimit),
}

/// The wall clock, for what two hosts have to agree on.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// At this moment
    pub at: Instant,
    /// so many milliseconds had passed since 1970.
    pub unix_ms: u64,
}

impl Clock {
    fn unix_ms(&self, now: Instant) -> u64 {
        self.unix_ms + now.since(self.at).as_millis() as u64
    }
}

/// What to do about a datagram or a message of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reaction {
    /// Send the first `len` bytes of the buffer.
    Send {
        /// From this socket.
        from: Local,
        /// To here: the asker, or the partner who sends on.
        to: SocketAddr,
        /// So many.
        len: usize,
        /// And call the asker.
        call: Option<Call>,
    },
    /// Nothing.
    Silence(Silence),
}

/// Why nothing is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    /// No STUN message.
    Malformed,
    /// A response or an indication, which nobody here waits for.
    NotRequest,
    /// Another method than Binding.
    Method,
    /// FINGERPRINT is wrong.
    Damaged,
    /// A request of RFC 3489, which are not answered here.
    Legacy,
    /// The source asks too often.
    Limited,
    /// The source cannot be answered: port 0.
    Source,
    /// The answer is larger than the source may have.
    TooLarge,
    /// A partner's message that is forged, replayed or late.
    Partner,
}

/// The server. See the [module](self).
#[derive(Debug)]
pub struct Server {
    config: Config,
    /// What is the same in all answers of a socket.
    plain: [PlainAnswers; 4],
    limiter: RateLimiter,
    call_limiter: Option<RateLimiter>,
    nonces: Nonces,
    partner: Option<Partner>,
}

impl Server {
    /// A server that nobody has asked yet. `secret` makes nonces: all servers of an address must share it. `seed` hides which
    /// sources share a place in the tables.
    pub fn new(config: Config, secret: [u8; 32], seed: u64, clock: Clock) -> Self {
        let mut rng = Rng::from_seed(seed);
        let plain = Local::ALL.map(|local| config.layout.plain_answers(local));
        let call_limiter = match config.calls {
            CallPolicy::Never => None,
            CallPolicy::Proven(limit) => Some(RateLimiter::new(limit, rng.next_u64())),
        };
        let partner = config.partner.clone().and_then(|key| Partner::new(key, &config.layout, clock, rng.next_u64()));
        Self {
            plain,
            limiter: RateLimiter::new(config.limit, rng.next_u64()),
            call_limiter,
            nonces: Nonces::new(secret),
            partner,
            config,
        }
    }

    /// What came as a datagram to `local` from `source`.
    #[inline]
    pub fn datagram(
        &mut self,
        now: Instant,
        local: Local,
        source: SocketAddr,
        bytes: &[u8],
        out: &mut [u8],
    ) -> Reaction {
        if self.config.accounts.is_none()
            && let Some(room) = out.first_chunk_mut::<MAX_ANSWER>()
            && let Some(len) = self.plain[local.index()].answer(bytes, source, room)
        {
            return match self.may_have(now, source) {
                Ok(()) => Reaction::Send { from: local, to: source, len, call: None },
                Err(silence) => Reaction::Silence(silence),
            };
        }
        self.slowly(now, local, source, bytes, out)
    }

    /// What came by a connection from `source` to `local`. The answer goes back the same way.
    pub fn message(
        &mut self,
        now: Instant,
        local: Local,
        source: SocketAddr,
        bytes: &[u8],
        out: &mut [u8],
    ) -> Reaction {
        let asked = match self.request(local, source, bytes, Transport::Stream) {
            Ok(asked) => asked,
            Err(silence) => return Reaction::Silence(silence),
        };
        match self.may_have(now, source) {
            Ok(()) => self.answer(now, &asked, out),
            Err(silence) => Reaction::Silence(silence),
        }
    }

    #[inline(never)]
    fn slowly(&mut self, now: Instant, local: Local, source: SocketAddr, bytes: &[u8], out: &mut [u8]) -> Reaction {
        if let Some(partner) = &mut self.partner
            && partner.is_from(source)
            && partner::is_order(bytes)
        {
            let Some(order) = partner.accept(now, bytes) else { return Reaction::Silence(Silence::Partner) };
            let Some(room) = out.get_mut(..order.bytes.len()) else { return Reaction::Silence(Silence::TooLarge) };
            room.copy_from_slice(order.bytes);
            return match self.may_have(now, order.to) {
                Ok(()) => Reaction::Send { from: order.from, to: order.to, len: order.bytes.len(), call: None },
                Err(silence) => Reaction::Silence(silence),
            };
        }
        let asked = match self.request(local, source, bytes, Transport::Datagram) {
            Ok(asked) => asked,
            Err(silence) => return Reaction::Silence(silence),
        };
        match self.may_have(now, source) {
            Ok(()) => self.answer(now, &asked, out),
            Err(silence) => Reaction::Silence(silence),
        }
    }

    /// The request, if it is one that may be answered.
    fn request<'a>(
        &self,
        local: Local,
        source: SocketAddr,
        bytes: &'a [u8],
        transport: Transport,
    ) -> Result<Asked<'a>, Silence> {
        let message = Message::read(bytes).map_err(|_| Silence::Malformed)?;
        match message.class() {
            Class::Request => {}
            Class::Indication | Class::Success | Class::Error => return Err(Silence::NotRequest),
        }
        if message.method() != Method::BINDING {
            return Err(Silence::Method);
        }
        if message.fingerprint() == Fingerprint::Wrong {
            return Err(Silence::Damaged);
        }
        if message.transaction_id().is_legacy() && !self.config.legacy {
            return Err(Silence::Legacy);
        }
        Ok(Asked { message, local, source, transport })
    }

    /// Takes what an answer costs `source`.
    #[inline]
    fn may_have(&mut self, now: Instant, source: SocketAddr) -> Result<(), Silence> {
        match source.port() {
            0 => Err(Silence::Source),
            _ if self.limiter.take(now, source.ip()) => Ok(()),
            _ => Err(Silence::Limited),
        }
    }

    fn answer(&mut self, now: Instant, asked: &Asked<'_>, out: &mut [u8]) -> Reaction {
        let mut answering = Answering {
            config: &self.config,
            nonces: &self.nonces,
            call_limiter: self.call_limiter.as_mut(),
            now,
            asked,
        };
        let room = match asked.transport {
            Transport::Datagram => asked.message.as_bytes().len().max(SMALL).min(out.len()),
            Transport::Stream => out.len(),
        };
        let Some(answer) = answering.write(&mut out[..room]) else { return Reaction::Silence(Silence::TooLarge) };
        let (from, to) = (answer.from, answer.to);
        if asked.transport == Transport::Datagram
            && from.is_elsewhere(asked.local)
            && let Second::Partner(_) = self.config.layout.second
        {
            let Some(partner) = &mut self.partner else { return Reaction::Silence(Silence::Partner) };
            return match partner.order(now, from, to, answer.len, out) {
                Some((to, len)) => Reaction::Send { from: asked.local, to, len, call: answer.call },
                None => Reaction::Silence(Silence::TooLarge),
            };
        }
        Reaction::Send { from, to, len: answer.len, call: answer.call }
    }
}

#[cfg(test)]
mod tests;
