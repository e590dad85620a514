//! Calling an asker back, to see whether his port can be reached from outside.
//!
//! A Binding request with CALL-BACK asks for it: this port of my address, by TCP or UDP, from where I asked or from elsewhere.
//! By UDP the first such request gets a nonce in CALL-BACK-NONCE, and only a request that brings it back is obeyed; so nobody
//! has anyone else called. A UDP call is one Binding indication that carries the request's CALL-BACK; a TCP call is a
//! connection with the same indication, closed at once. How a TCP call ended is told in an indication with CALL-BACK-RESULT, to
//! where the request came from.
//!
//! [`Calls`] is the machine that makes the calls of one host; which are made decides [`Server`](super::Server).

use std::collections::VecDeque;

use core::net::SocketAddr;

use pinhole_sansio::{Deadline, Duration, Instant, Machine};

use super::Local;
use crate::behaviour::Change;
use crate::{AttributeType, Class, Method, TransactionId, Writer};

/// TCP calls under way; one more is answered [`CallResult::Busy`]. A call takes a socket for up to [`PATIENCE`].
pub const MAX_CALLS: usize = 256;
/// How long a TCP call may take: two retransmissions of its SYN.
pub const PATIENCE: Duration = Duration::from_secs(4);

/// What a call is made by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// A connection.
    Tcp,
    /// A datagram.
    Udp,
}

impl Protocol {
    /// Its number in an IP header.
    const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }
}

/// What CALL-BACK asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallRequest {
    /// By what.
    pub protocol: Protocol,
    /// From where, as CHANGE-REQUEST has it. A TCP call comes from any port of the address.
    pub change: Change,
    /// To this port.
    pub port: u16,
    /// Comes with the call, so that the asker knows it.
    pub token: [u8; 8],
}

impl CallRequest {
    /// Bytes of the value.
    pub const LEN: usize = 12;

    /// Reads the value of CALL-BACK. `None` if it has another length, an unknown protocol or port 0.
    pub fn read(value: &[u8]) -> Option<Self> {
        let (&[protocol, flags, high, low], token) =
            <&[u8; Self::LEN]>::try_from(value).ok()?.split_first_chunk::<4>()?;
        let protocol = [Protocol::Tcp, Protocol::Udp].into_iter().find(|known| known.number() == protocol)?;
        let change = Change::read(&[0, 0, 0, flags])?;
        let port = Some(u16::from_be_bytes([high, low])).filter(|port| *port != 0)?;
        Some(Self { protocol, change, port, token: token.try_into().ok()? })
    }

    /// The value of CALL-BACK.
    pub fn value(&self) -> [u8; Self::LEN] {
        let mut value = [0; Self::LEN];
        value[0] = self.protocol.number();
        value[1] = self.change.value()[3];
        value[2..4].copy_from_slice(&self.port.to_be_bytes());
        value[4..].copy_from_slice(&self.token);
        value
    }
}

/// What became of a request for a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallResult {
    /// It is being made.
    Calling,
    /// Ask again with the nonce in CALL-BACK-NONCE.
    NonceWanted,
    /// This server calls nobody.
    NotOffered,
    /// You have been called too often lately.
    TooOften,
    /// The server makes too many calls at the moment.
    Busy,
    /// The TCP connection was made.
    Connected,
    /// It was answered with a reset.
    Refused,
    /// It was not answered.
    TimedOut,
    /// It was answered by an ICMP error.
    Unreachable,
}

impl CallResult {
    const ALL: [Self; 9] = [
        Self::Calling,
        Self::NonceWanted,
        Self::NotOffered,
        Self::TooOften,
        Self::Busy,
        Self::Connected,
        Self::Refused,
        Self::TimedOut,
        Self::Unreachable,
    ];

    const fn number(self) -> u8 {
        match self {
            Self::Calling => 0,
            Self::NonceWanted => 1,
            Self::NotOffered => 2,
            Self::TooOften => 3,
            Self::Busy => 4,
            Self::Connected => 16,
            Self::Refused => 17,
            Self::TimedOut => 18,
            Self::Unreachable => 19,
        }
    }

    /// The value of CALL-BACK-RESULT: the result, then the request as it was granted, without its protocol.
    pub fn value(self, request: &CallRequest) -> [u8; CallRequest::LEN] {
        let mut value = request.value();
        value[0] = self.number();
        value
    }

    /// Reads the value of CALL-BACK-RESULT: the result, from where the call comes, the token.
    pub fn read(value: &[u8]) -> Option<(Self, Change, [u8; 8])> {
        let value = <&[u8; CallRequest::LEN]>::try_from(value).ok()?;
        let result = Self::ALL.into_iter().find(|result| result.number() == value[0])?;
        Some((result, Change::read(&[0, 0, 0, value[1]])?, value[4..].try_into().ok()?))
    }
}

/// A call to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// Who asked, and where he hears how it went.
    pub asker: SocketAddr,
    /// The socket that he asked at.
    pub local: Local,
    /// The socket that calls; by TCP, the address.
    pub from: Local,
    /// What he asked, as it is granted.
    pub request: CallRequest,
}

impl Call {
    /// Whom to call.
    fn to(&self) -> SocketAddr {
        SocketAddr::new(self.asker.ip(), self.request.port)
    }

    /// An indication with one attribute. Its id is that of the token: nobody waits for a response to it.
    fn indication(&self, kind: AttributeType, value: &[u8]) -> Vec<u8> {
        let mut random = [0; 12];
        random[..8].copy_from_slice(&self.request.token);
        let mut out = vec![0; 64];
        let mut writer = Writer::new(&mut out, Class::Indication, Method::BINDING, TransactionId::new(random));
        let len = writer.attribute(kind, value).fingerprint().finish().expect("an attribute of twelve bytes fits");
        out.truncate(len);
        out
    }
}

/// Which TCP call something belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(u64);

/// What happens to the machine.
#[derive(Clone, Copy, Debug)]
pub enum Input {
    /// Time has passed.
    Timeout,
    /// The server has granted a call.
    Grant(Call),
    /// A TCP call ended so.
    Ended(CallId, CallResult),
}

/// What it wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send a datagram.
    Transmit {
        /// From this socket.
        from: Local,
        /// To here.
        to: SocketAddr,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// Connect, send, close; say how it went.
    Connect {
        /// For this call.
        call: CallId,
        /// From this address; any port.
        from: Local,
        /// To here.
        to: SocketAddr,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// Stop trying: it has taken too long.
    Abandon {
        /// This call.
        call: CallId,
    },
}

/// Its timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// A TCP call has taken too long.
    Patience,
}

/// The machine. See the [module](self).
#[derive(Debug, Default)]
pub struct Calls {
    next: u64,
    under_way: Vec<(CallId, Call, Instant)>,
    outputs: VecDeque<Output>,
}

impl Calls {
    /// With no calls to make.
    pub fn new() -> Self {
        Self::default()
    }

    fn grant(&mut self, now: Instant, call: Call) {
        let bytes = call.indication(AttributeType::CALL_BACK, &call.request.value());
        match call.request.protocol {
            Protocol::Udp => self.outputs.push_back(Output::Transmit { from: call.from, to: call.to(), bytes }),
            Protocol::Tcp if self.under_way.len() >= MAX_CALLS => self.tell(&call, CallResult::Busy),
            Protocol::Tcp => {
                let id = CallId(self.next);
                self.next += 1;
                self.under_way.push((id, call, now + PATIENCE));
                self.outputs.push_back(Output::Connect { call: id, from: call.from, to: call.to(), bytes });
            }
        }
    }

    fn tell(&mut self, call: &Call, result: CallResult) {
        let bytes = call.indication(AttributeType::CALL_BACK_RESULT, &result.value(&call.request));
        self.outputs.push_back(Output::Transmit { from: call.local, to: call.asker, bytes });
    }

    fn ended(&mut self, id: CallId, result: CallResult) {
        if let Some(at) = self.under_way.iter().position(|(known, ..)| *known == id) {
            let (_, call, _) = self.under_way.swap_remove(at);
            self.tell(&call, result);
        }
    }

    fn on_timeout(&mut self, now: Instant) {
        while let Some(&(id, ..)) = self.under_way.iter().find(|(_, _, deadline)| *deadline <= now) {
            self.outputs.push_back(Output::Abandon { call: id });
            self.ended(id, CallResult::TimedOut);
        }
    }
}

impl Machine for Calls {
    type Input = Input;
    type Output = Output;
    type Why = Why;

    fn timeout() -> Input {
        Input::Timeout
    }

    fn handle_input(&mut self, now: Instant, input: Input) {
        match input {
            Input::Timeout => self.on_timeout(now),
            Input::Grant(call) => self.grant(now, call),
            Input::Ended(id, result) => self.ended(id, result),
        }
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn poll_timeout(&self) -> Option<Deadline<Why>> {
        let first = self.under_way.iter().map(|(_, _, deadline)| *deadline).min()?;
        Some(Deadline::new(first, Why::Patience))
    }
}

#[cfg(test)]
mod tests;
