//! What came of a request.

use core::fmt;
use core::net::SocketAddr;

use pinhole_sansio::{Duration, Instant};

use super::SocketId;
use crate::{AttributeType, Message, address};

/// A server's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The address that the server saw.
    pub mapped: SocketAddr,
    /// MAPPED-ADDRESS as it arrived: another address than `mapped` shows a NAT that rewrites what looks like an address.
    pub plain: Option<SocketAddr>,
    /// The answer has an xored address; without one a NAT may have rewritten `mapped`.
    pub is_xored: bool,
    /// Where the server says it answers from: RESPONSE-ORIGIN, or SOURCE-ADDRESS of RFC 3489.
    pub origin: Option<SocketAddr>,
    /// Where it would answer from if both were changed: OTHER-ADDRESS, or CHANGED-ADDRESS of RFC 3489.
    pub other: Option<SocketAddr>,
    /// SOFTWARE.
    pub software: Option<String>,
    /// Whom was asked in the end: another than in the request after a redirection.
    pub server: SocketAddr,
    /// Where the answer came from.
    pub from: SocketAddr,
    /// The socket that it came in on.
    pub socket: SocketId,
    /// MESSAGE-INTEGRITY was checked and is right.
    pub is_authentic: bool,
    /// When it came.
    pub at: Instant,
    /// Requests sent before it came.
    pub attempts: u32,
    /// Since the last request was sent. Of more than one attempt it may have been an earlier one that was answered.
    pub round_trip: Duration,
    /// The message, for what else is in it.
    pub bytes: Vec<u8>,
}

impl Answer {
    /// True if it came from another address or port than was asked.
    pub fn is_from_elsewhere(&self) -> bool {
        self.from != self.server
    }

    /// The message again.
    pub fn message(&self) -> Option<Message<'_>> {
        Message::read(&self.bytes).ok()
    }
}

/// The addresses of a success response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Addresses {
    pub(super) mapped: SocketAddr,
    pub(super) plain: Option<SocketAddr>,
    pub(super) is_xored: bool,
    pub(super) origin: Option<SocketAddr>,
    pub(super) other: Option<SocketAddr>,
}

impl Addresses {
    /// `None` if there is no address of the asker.
    pub(super) fn read(message: &Message<'_>) -> Option<Self> {
        let id = message.transaction_id();
        let plainly = |kind| message.value(kind).and_then(address::read);
        let xored = [AttributeType::XOR_MAPPED_ADDRESS, AttributeType::XOR_MAPPED_ADDRESS_OLD]
            .into_iter()
            .find_map(|kind| address::read_xor(message.value(kind)?, &id));
        let plain = plainly(AttributeType::MAPPED_ADDRESS);
        Some(Self {
            mapped: xored.or(plain)?,
            plain,
            is_xored: xored.is_some(),
            origin: plainly(AttributeType::RESPONSE_ORIGIN).or_else(|| plainly(AttributeType::SOURCE_ADDRESS)),
            other: plainly(AttributeType::OTHER_ADDRESS).or_else(|| plainly(AttributeType::CHANGED_ADDRESS)),
        })
    }
}

/// Why a request got no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Nothing that counts came in time.
    TimedOut {
        /// Requests sent.
        attempts: u32,
        /// Who answered from an unexpected address, if someone did.
        stray: Option<SocketAddr>,
        /// Answers came, and all were forged or of another password (RFC 8489 §9.1.4: an integrity violation).
        unauthentic: bool,
    },
    /// The server said no.
    Refused {
        /// ERROR-CODE.
        code: u16,
        /// Its text.
        reason: String,
    },
    /// The server does not know these attributes of the request (420): RFC 5780 is not its.
    NotUnderstood(Vec<AttributeType>),
    /// The answer has attributes that must be understood and are not (RFC 8489 §6.3.3).
    Incomprehensible(Vec<AttributeType>),
    /// A success without an address.
    NoAddress,
    /// The server sends elsewhere, and that cannot be followed: no address, another family, in a circle, too far.
    BadAlternate,
    /// The server's nonce promises password algorithms and none came: someone takes them out (RFC 8489 §9.2.5).
    BidDown,
    /// The connection could not be made or was closed.
    Closed,
    /// The request does not fit a message.
    TooLong,
    /// [`MAX_TRANSACTIONS`](super::MAX_TRANSACTIONS) are under way.
    TooMany,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |kinds: &[AttributeType]| {
            let names: Vec<String> = kinds.iter().map(ToString::to_string).collect();
            names.join(", ")
        };
        match self {
            Self::TimedOut { unauthentic: true, .. } => f.write_str("the answers were not authentic"),
            Self::TimedOut { stray: Some(stray), .. } => write!(f, "no answer, but one from {stray}"),
            Self::TimedOut { attempts: 1, .. } => f.write_str("no answer to one request"),
            Self::TimedOut { attempts, .. } => write!(f, "no answer to {attempts} requests"),
            Self::Refused { code, reason } if reason.is_empty() => write!(f, "refused: {code}"),
            Self::Refused { code, reason } => write!(f, "refused: {code} {reason}"),
            Self::NotUnderstood(kinds) if kinds.is_empty() => f.write_str("the server does not understand the request"),
            Self::NotUnderstood(kinds) => write!(f, "the server does not understand {}", list(kinds)),
            Self::Incomprehensible(kinds) => write!(f, "the answer has what must be understood: {}", list(kinds)),
            Self::NoAddress => f.write_str("the answer has no address in it"),
            Self::BadAlternate => f.write_str("the server names another that cannot be asked"),
            Self::BidDown => f.write_str("the server's password algorithms were taken out on the way"),
            Self::Closed => f.write_str("the connection could not be made or was closed"),
            Self::TooLong => f.write_str("the request is too long"),
            Self::TooMany => f.write_str("too many STUN requests at once"),
        }
    }
}

impl std::error::Error for Failure {}
