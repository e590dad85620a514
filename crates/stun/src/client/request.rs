//! What to ask whom, and how.

use core::fmt;
use core::net::SocketAddr;

use super::Schedule;
use crate::AttributeType;
use crate::behaviour::Change;

/// One of the driver's sockets, by a number that the driver chose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SocketId(pub u32);

/// A Binding request to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Whom to ask.
    pub server: SocketAddr,
    /// From which socket, where it is one for datagrams.
    pub socket: SocketId,
    /// How.
    pub transport: Transport,
    /// In whose language.
    pub dialect: Dialect,
    /// From where else the answer is to come (RFC 5780 §7.2).
    pub change: Change,
    /// From where an answer counts.
    pub expect: Expect,
    /// To which of our ports the answer is to go, if not to the one that asks (RFC 5780 §7.5).
    pub response_port: Option<u16>,
    /// Bytes of PADDING, to be answered with as many (RFC 5780 §7.6); none if zero.
    pub padding: u16,
    /// What else to put into the request.
    pub attributes: Vec<(AttributeType, Vec<u8>)>,
    /// Who asks. Long-term credentials are shown only to a server that wants them.
    pub credentials: Option<Credentials>,
    /// Append FINGERPRINT, for servers that share their port with something else.
    pub fingerprint: bool,
    /// When to ask again.
    pub schedule: Schedule,
}

impl Request {
    /// A plain request to `server` by UDP from `socket`.
    pub fn binding(server: SocketAddr, socket: SocketId) -> Self {
        Self {
            server,
            socket,
            transport: Transport::Datagram,
            dialect: Dialect::Rfc8489,
            change: Change::NONE,
            expect: Expect::Server,
            response_port: None,
            padding: 0,
            attributes: Vec::new(),
            credentials: None,
            fingerprint: false,
            schedule: Schedule::STANDARD,
        }
    }

    /// A request that wants its answer from elsewhere: from `expected` if OTHER-ADDRESS has said where that is.
    pub fn changed(server: SocketAddr, socket: SocketId, change: Change, expected: Option<SocketAddr>) -> Self {
        Self { change, expect: expected.map_or(Expect::Anywhere, Expect::Exactly), ..Self::binding(server, socket) }
    }

    /// The same by a stream.
    pub fn by_stream(self) -> Self {
        Self { transport: Transport::Stream, ..self }
    }

    /// The same with another schedule.
    pub fn with_schedule(self, schedule: Schedule) -> Self {
        Self { schedule, ..self }
    }
}

/// What carries a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// UDP: sent again until it is answered.
    Datagram,
    /// TCP or TLS, as the driver chooses: sent once.
    Stream,
}

/// In whose language a request is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// With the magic cookie; servers of RFC 5389 and RFC 5780 know it too.
    Rfc8489,
    /// Without: servers of RFC 3489 answer with CHANGED-ADDRESS and SOURCE-ADDRESS.
    Rfc3489,
}

/// From where an answer counts. One from elsewhere is [`Output::Stray`](super::Output::Stray), and the wait goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// From where it was asked for.
    Server,
    /// From here alone.
    Exactly(SocketAddr),
    /// From anywhere: only the transaction id speaks for it.
    Anywhere,
}

impl Expect {
    pub(super) fn counts(self, server: SocketAddr, from: SocketAddr) -> bool {
        match self {
            Self::Server => from == server,
            Self::Exactly(expected) => from == expected,
            Self::Anywhere => true,
        }
    }
}

/// Who asks (RFC 8489 §9).
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The name, prepared (RFC 8265).
    pub name: String,
    /// The password, prepared.
    pub password: String,
    /// Of which kind they are.
    pub kind: CredentialKind,
}

/// The two mechanisms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialKind {
    /// Good for one session; shown with the first request (RFC 8489 §9.1).
    ShortTerm,
    /// An account; shown when the server has given a realm and a nonce (RFC 8489 §9.2).
    LongTerm,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} credentials of {}", self.kind, self.name)
    }
}
