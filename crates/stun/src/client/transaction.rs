//! One request on its way: its bytes, its waits, and what a response means for it.

use core::net::SocketAddr;

use pinhole_sansio::{Instant, Rng};

use super::answer::Addresses;
use super::request::{CredentialKind, Credentials, Dialect, Request, Transport};
use super::{Answer, Failure, RequestId, SocketId};
use crate::behaviour::{self, Change};
use crate::credentials::{Key, PasswordAlgorithm, userhash};
use crate::error::read_unknown;
use crate::nonce::Features;
use crate::{AttributeType, Class, ErrorCode, Fingerprint, Integrity, Message, Method, TransactionId, Writer, address};

/// Servers that may name another, one after the other; more is a circle that grows.
const MAX_ALTERNATES: usize = 4;
/// Times that a server may ask for credentials anew: once for the realm, and for nonces that expire while they travel.
const MAX_CHALLENGES: u32 = 3;
/// Bytes of a request at most: what fits a datagram.
const MAX_REQUEST: usize = 65_507;
/// Room for a request without padding and attributes of the caller, in bytes: names and nonces are 763 bytes at most, and
/// the server's algorithms are few.
const ROOM: usize = 4_096;

/// The attributes that a response may have and that must be understood.
const KNOWN: &[AttributeType] = &[
    AttributeType::MAPPED_ADDRESS,
    AttributeType::SOURCE_ADDRESS,
    AttributeType::CHANGED_ADDRESS,
    AttributeType::REFLECTED_FROM,
    AttributeType::USERNAME,
    AttributeType::MESSAGE_INTEGRITY,
    AttributeType::MESSAGE_INTEGRITY_SHA256,
    AttributeType::ERROR_CODE,
    AttributeType::UNKNOWN_ATTRIBUTES,
    AttributeType::REALM,
    AttributeType::NONCE,
    AttributeType::PASSWORD_ALGORITHM,
    AttributeType::USERHASH,
    AttributeType::XOR_MAPPED_ADDRESS,
    AttributeType::PADDING,
    AttributeType::RESPONSE_PORT,
];

/// A request under way.
#[derive(Debug)]
pub(super) struct Transaction {
    pub(super) id: RequestId,
    pub(super) request: Request,
    /// Of the bytes that are being sent.
    pub(super) wire_id: TransactionId,
    /// Who is asked now.
    pub(super) server: SocketAddr,
    pub(super) bytes: Vec<u8>,
    /// Requests sent with these bytes.
    pub(super) sent: u32,
    /// Requests sent altogether.
    pub(super) attempts: u32,
    pub(super) sent_at: Instant,
    pub(super) deadline: Instant,
    /// Who answered from where no answer is expected.
    pub(super) stray: Option<SocketAddr>,
    /// Strays so far.
    pub(super) strays: u32,
    unauthentic: bool,
    /// Servers that sent elsewhere.
    left: Vec<SocketAddr>,
    challenge: Option<Challenge>,
    challenges: u32,
    /// What the bytes are authenticated with.
    key: Option<Key>,
}

/// What a server with long-term credentials wants to see (RFC 8489 §9.2.4).
#[derive(Debug)]
struct Challenge {
    realm: String,
    nonce: Vec<u8>,
    features: Features,
    /// PASSWORD-ALGORITHMS, to be sent back, and the one chosen.
    algorithms: Option<(Vec<u8>, PasswordAlgorithm)>,
}

/// What a response means.
#[derive(Debug)]
pub(super) enum Judgement {
    Answer(Box<Answer>),
    Fail(Failure),
    /// Ask again, with new bytes and perhaps another server.
    Retry,
    Ignore(Ignored),
}

/// Why a response does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ignored {
    Damaged,
    Unauthentic,
}

/// Where and when a response came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    pub(super) now: Instant,
    pub(super) from: SocketAddr,
    pub(super) socket: SocketId,
}

impl Transaction {
    pub(super) fn new(id: RequestId, request: Request, now: Instant) -> Self {
        Self {
            id,
            wire_id: TransactionId([0; 16]),
            server: request.server,
            request,
            bytes: Vec::new(),
            sent: 0,
            attempts: 0,
            sent_at: now,
            deadline: now,
            stray: None,
            strays: 0,
            unauthentic: false,
            left: Vec::new(),
            challenge: None,
            challenges: 0,
            key: None,
        }
    }

    /// Writes the request anew, with an id of its own.
    pub(super) fn renew(&mut self, rng: &mut Rng) -> Result<(), Failure> {
        let mut random = [0; 16];
        random[..8].copy_from_slice(&rng.next_u64().to_be_bytes());
        random[8..].copy_from_slice(&rng.next_u64().to_be_bytes());
        self.wire_id = match self.request.dialect {
            Dialect::Rfc8489 => {
                let mut id = [0; 12];
                id.copy_from_slice(&random[..12]);
                TransactionId::new(id)
            }
            Dialect::Rfc3489 => TransactionId::legacy(random),
        };
        self.sent = 0;
        let extra: usize = self.request.attributes.iter().map(|(_, value)| 8 + value.len()).sum();
        let mut out = vec![0; (ROOM + usize::from(self.request.padding) + extra).min(MAX_REQUEST)];
        let len = self.write(&mut out).ok_or(Failure::TooLong)?;
        out.truncate(len);
        self.bytes = out;
        Ok(())
    }

    fn write(&mut self, out: &mut [u8]) -> Option<usize> {
        let request = &self.request;
        let mut writer = Writer::new(out, Class::Request, Method::BINDING, self.wire_id);
        if request.change != Change::NONE {
            writer.attribute(AttributeType::CHANGE_REQUEST, &request.change.value());
        }
        if let Some(port) = request.response_port {
            writer.attribute(AttributeType::RESPONSE_PORT, &behaviour::response_port(port));
        }
        for (kind, value) in &request.attributes {
            writer.attribute(*kind, value);
        }
        if request.padding > 0 {
            writer.zeros(AttributeType::PADDING, request.padding);
        }
        self.key = match (&request.credentials, &self.challenge) {
            (Some(credentials), Some(challenge)) => Some(answer_challenge(&mut writer, credentials, challenge)),
            (Some(credentials), None) if credentials.kind == CredentialKind::ShortTerm => {
                // Both, since nobody has said which one the server knows (RFC 8489 §9.1.2).
                let key = Key::short_term(&credentials.password);
                writer.attribute(AttributeType::USERNAME, credentials.name.as_bytes());
                writer.integrity(&key).integrity_sha256(&key);
                Some(key)
            }
            (Some(_) | None, _) => None,
        };
        if request.fingerprint {
            writer.fingerprint();
        }
        writer.finish().ok()
    }

    /// Notes that the bytes are sent once more, and until when to wait.
    pub(super) fn on_sent(&mut self, now: Instant) {
        self.sent += 1;
        self.attempts += 1;
        self.sent_at = now;
        self.deadline = now
            + match self.request.transport {
                Transport::Datagram => self.request.schedule.wait(self.sent),
                Transport::Stream => self.request.schedule.stream,
            };
    }

    /// True if no request is left to be sent.
    pub(super) fn is_over(&self) -> bool {
        match self.request.transport {
            Transport::Datagram => self.request.schedule.is_over(self.sent),
            Transport::Stream => true,
        }
    }

    pub(super) fn timed_out(&self) -> Failure {
        Failure::TimedOut { attempts: self.attempts, stray: self.stray, unauthentic: self.unauthentic }
    }

    /// Judges a response with this transaction's id from where one is expected.
    pub(super) fn judge(&mut self, arrival: Arrival, message: &Message<'_>) -> Judgement {
        if message.fingerprint() == Fingerprint::Wrong {
            return Judgement::Ignore(Ignored::Damaged);
        }
        let error = match message.class() {
            Class::Success => None,
            Class::Error => match message.value(AttributeType::ERROR_CODE).and_then(ErrorCode::read) {
                Some(error) => Some(error),
                None => return Judgement::Ignore(Ignored::Damaged),
            },
            Class::Request | Class::Indication => return Judgement::Ignore(Ignored::Damaged),
        };
        // These three come from a server that cannot, or does not want to, make a key (RFC 8489 §9.1.3, §9.2.4).
        let may_be_bare = error.is_some_and(|error| {
            matches!(error.code, ErrorCode::BAD_REQUEST | ErrorCode::UNAUTHENTICATED | ErrorCode::STALE_NONCE)
        });
        let integrity = self.key.as_ref().map(|key| message.integrity(key));
        match integrity {
            None | Some(Integrity::Right) => {}
            Some(Integrity::Absent) if may_be_bare => {}
            Some(Integrity::Absent | Integrity::Wrong) => {
                self.unauthentic = true;
                return Judgement::Ignore(Ignored::Unauthentic);
            }
        }
        let unknown: Vec<AttributeType> = message.unknown_required(KNOWN).collect();
        if !unknown.is_empty() {
            return Judgement::Fail(Failure::Incomprehensible(unknown));
        }
        match error {
            None => self.succeed(arrival, message, integrity == Some(Integrity::Right)),
            Some(error) => self.refused(error, message),
        }
    }

    fn succeed(&self, arrival: Arrival, message: &Message<'_>, is_authentic: bool) -> Judgement {
        let Some(addresses) = Addresses::read(message) else { return Judgement::Fail(Failure::NoAddress) };
        let software = message.value(AttributeType::SOFTWARE).map(|text| String::from_utf8_lossy(text).into_owned());
        Judgement::Answer(Box::new(Answer {
            mapped: addresses.mapped,
            plain: addresses.plain,
            is_xored: addresses.is_xored,
            origin: addresses.origin,
            other: addresses.other,
            software,
            server: self.server,
            from: arrival.from,
            socket: arrival.socket,
            is_authentic,
            at: arrival.now,
            attempts: self.attempts,
            round_trip: arrival.now.since(self.sent_at),
            bytes: message.as_bytes().to_vec(),
        }))
    }

    fn refused(&mut self, error: ErrorCode<'_>, message: &Message<'_>) -> Judgement {
        let refused = Failure::Refused { code: error.code, reason: error.reason.to_owned() };
        match error.code {
            ErrorCode::TRY_ALTERNATE => self.alternate(message),
            ErrorCode::UNAUTHENTICATED if self.challenge.is_none() => self.challenged(message, refused),
            ErrorCode::STALE_NONCE if self.challenge.is_some() => self.challenged(message, refused),
            ErrorCode::UNKNOWN_ATTRIBUTE => {
                let unknown = message.value(AttributeType::UNKNOWN_ATTRIBUTES).unwrap_or_default();
                let mut unknown: Vec<AttributeType> = read_unknown(unknown).collect();
                unknown.dedup();
                Judgement::Fail(Failure::NotUnderstood(unknown))
            }
            _ => Judgement::Fail(refused),
        }
    }

    /// Goes to the server that this one names (RFC 8489 §10).
    fn alternate(&mut self, message: &Message<'_>) -> Judgement {
        let named = message.value(AttributeType::ALTERNATE_SERVER).and_then(address::read);
        let Some(server) = named.filter(|server| server.is_ipv4() == self.server.is_ipv4() && server.port() != 0)
        else {
            return Judgement::Fail(Failure::BadAlternate);
        };
        self.left.push(self.server);
        if self.left.contains(&server) || self.left.len() > MAX_ALTERNATES {
            return Judgement::Fail(Failure::BadAlternate);
        }
        self.server = server;
        Judgement::Retry
    }

    /// Takes realm and nonce of a server that wants credentials, or has a new nonce (RFC 8489 §9.2.5).
    fn challenged(&mut self, message: &Message<'_>, refused: Failure) -> Judgement {
        let is_long_term =
            self.request.credentials.as_ref().is_some_and(|credentials| credentials.kind == CredentialKind::LongTerm);
        let realm = message.value(AttributeType::REALM).and_then(|realm| core::str::from_utf8(realm).ok());
        let nonce = message.value(AttributeType::NONCE);
        let (true, Some(realm), Some(nonce)) = (is_long_term && self.challenges < MAX_CHALLENGES, realm, nonce) else {
            return Judgement::Fail(refused);
        };
        let features = Features::read(nonce).unwrap_or_default();
        let algorithms = match message.value(AttributeType::PASSWORD_ALGORITHMS) {
            Some(offered) if features.password_algorithms => {
                match PasswordAlgorithm::read_list(offered).and_then(|mut list| list.next()) {
                    Some(chosen) => Some((offered.to_vec(), chosen)),
                    None => return Judgement::Fail(refused),
                }
            }
            None if features.password_algorithms => return Judgement::Fail(Failure::BidDown),
            Some(_) | None => None,
        };
        self.challenges += 1;
        self.challenge = Some(Challenge { realm: realm.to_owned(), nonce: nonce.to_vec(), features, algorithms });
        Judgement::Retry
    }
}

/// Appends who asks, in answer to a challenge; with what key.
fn answer_challenge(writer: &mut Writer<'_>, credentials: &Credentials, challenge: &Challenge) -> Key {
    let Challenge { realm, nonce, features, algorithms } = challenge;
    match features.username_anonymity {
        true => writer.attribute(AttributeType::USERHASH, &userhash(&credentials.name, realm)),
        false => writer.attribute(AttributeType::USERNAME, credentials.name.as_bytes()),
    };
    writer.attribute(AttributeType::NONCE, nonce).attribute(AttributeType::REALM, realm.as_bytes());
    let chosen = algorithms.as_ref().map_or(PasswordAlgorithm::Md5, |(_, chosen)| *chosen);
    let key = Key::long_term(chosen, &credentials.name, realm, &credentials.password);
    match algorithms {
        Some((offered, chosen)) => writer
            .attribute(AttributeType::PASSWORD_ALGORITHMS, offered)
            .attribute(AttributeType::PASSWORD_ALGORITHM, &chosen.value())
            .integrity_sha256(&key),
        None => writer.integrity(&key),
    };
    key
}
