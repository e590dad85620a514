//! What to answer a request, once it is known to be one.

use core::net::SocketAddr;

use pinhole_sansio::Instant;

use super::accounts::{self, Accounts, Authentic};
use super::call::{Call, CallRequest, CallResult};
use super::limit::RateLimiter;
use super::nonces::{Freshness, Nonces, Purpose};
use super::partner::MAX_ANSWER;
use super::request::{Asked, Transport};
use super::{Config, Local, Second};
use crate::behaviour::{self, Change};
use crate::{AttributeType, Class, ErrorCode, Method, Writer, address};

/// Types that UNKNOWN-ATTRIBUTES names at most: the answer is to stay small.
const MAX_UNKNOWN: usize = 8;

/// What a request may have that must be understood.
const KNOWN: &[AttributeType] = &[
    AttributeType::MAPPED_ADDRESS,
    AttributeType::RESPONSE_ADDRESS,
    AttributeType::CHANGE_REQUEST,
    AttributeType::USERNAME,
    AttributeType::MESSAGE_INTEGRITY,
    AttributeType::REALM,
    AttributeType::NONCE,
    AttributeType::MESSAGE_INTEGRITY_SHA256,
    AttributeType::PASSWORD_ALGORITHM,
    AttributeType::USERHASH,
    AttributeType::PADDING,
    AttributeType::RESPONSE_PORT,
];

/// An answer in the buffer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) from: Local,
    pub(super) to: SocketAddr,
    pub(super) len: usize,
    pub(super) call: Option<Call>,
}

/// All that an answer depends on.
pub(super) struct Answering<'s> {
    pub(super) config: &'s Config,
    pub(super) nonces: &'s Nonces,
    pub(super) call_limiter: Option<&'s mut RateLimiter>,
    pub(super) now: Instant,
    pub(super) asked: &'s Asked<'s>,
}

/// Why a request is refused.
enum Refusal {
    Code(u16),
    Unknown([Option<AttributeType>; MAX_UNKNOWN]),
}

/// What a request is granted.
struct Granted {
    from: Local,
    to: SocketAddr,
    padded: bool,
    authentic: Option<Authentic>,
}

impl Answering<'_> {
    /// Writes the answer. `None` if it does not fit.
    pub(super) fn write(&mut self, out: &mut [u8]) -> Option<Answer> {
        match self.granted() {
            Ok(granted) => self.succeed(&granted, out),
            Err(refusal) => {
                let len = self.refuse(&refusal, out)?;
                Some(Answer { from: self.asked.local, to: self.asked.source, len, call: None })
            }
        }
    }

    /// Credentials first, then whether all is understood (RFC 8489 §6.3), then what is asked.
    fn granted(&self) -> Result<Granted, Refusal> {
        let Asked { message, local, source, transport } = self.asked;
        let authentic = match &self.config.accounts {
            Some(accounts) => Some(accounts.check(self.nonces, *source, self.now, message).map_err(Refusal::Code)?),
            None => None,
        };
        let mut unknown = [None; MAX_UNKNOWN];
        unknown.iter_mut().zip(message.unknown_required(KNOWN)).for_each(|(room, kind)| *room = Some(kind));
        if unknown[0].is_some() {
            return Err(Refusal::Unknown(unknown));
        }
        let change = self.change()?;
        let from = self.config.layout.change(*local, change).ok_or(only(AttributeType::CHANGE_REQUEST))?;
        let port = self.response_port()?;
        let padded = message.attribute(AttributeType::PADDING).is_some();
        let elsewhere = change != Change::NONE || port.is_some();
        // A connection has one way back (RFC 5780 §7.2, §7.5); RFC 5780 §6.1 forbids the other two together.
        if *transport == Transport::Stream && elsewhere || padded && port.is_some() {
            return Err(Refusal::Code(ErrorCode::BAD_REQUEST));
        }
        Ok(Granted { from, to: SocketAddr::new(source.ip(), port.unwrap_or(source.port())), padded, authentic })
    }

    fn change(&self) -> Result<Change, Refusal> {
        match self.asked.message.value(AttributeType::CHANGE_REQUEST) {
            Some(value) => Change::read(value).ok_or(Refusal::Code(ErrorCode::BAD_REQUEST)),
            None => Ok(Change::NONE),
        }
    }

    /// The port of the asker's that the answer is to go to, if it is another one. RESPONSE-ADDRESS of RFC 3489 is obeyed
    /// where it asks no more than that.
    fn response_port(&self) -> Result<Option<u16>, Refusal> {
        let Asked { message, source, .. } = self.asked;
        let port = match message.value(AttributeType::RESPONSE_PORT) {
            Some(value) => behaviour::read_response_port(value).ok_or(Refusal::Code(ErrorCode::BAD_REQUEST))?,
            None => match message.value(AttributeType::RESPONSE_ADDRESS) {
                Some(value) => match address::read(value) {
                    Some(to) if to.ip() == source.ip().to_canonical() => to.port(),
                    Some(_) | None => return Err(only(AttributeType::RESPONSE_ADDRESS)),
                },
                None => return Ok(None),
            },
        };
        if port == 0 { Err(Refusal::Code(ErrorCode::BAD_REQUEST)) } else { Ok(Some(port)) }
    }

    fn succeed(&mut self, granted: &Granted, out: &mut [u8]) -> Option<Answer> {
        let Asked { message, local, source, .. } = *self.asked;
        let layout = &self.config.layout;
        let id = message.transaction_id();
        let by_partner = granted.from.is_elsewhere(local) && matches!(layout.second, Second::Partner(_));
        let room = if by_partner { out.len().min(MAX_ANSWER) } else { out.len() };
        let mut writer = Writer::new(out, Class::Success, Method::BINDING, id);
        let signed = message.attribute(AttributeType::FINGERPRINT).is_some();
        let signature = if signed { 8 } else { 0 };
        let other = layout.other(local);
        if id.is_legacy() {
            writer.address(AttributeType::MAPPED_ADDRESS, source);
            writer.address(AttributeType::SOURCE_ADDRESS, layout.address(granted.from));
            if let Some(other) = other {
                writer.address(AttributeType::CHANGED_ADDRESS, other);
            }
        } else {
            writer.xor_address(AttributeType::XOR_MAPPED_ADDRESS, source);
            if other.is_some() || granted.from != local || granted.to != source {
                writer.address(AttributeType::MAPPED_ADDRESS, source);
                writer.address(AttributeType::RESPONSE_ORIGIN, layout.address(granted.from));
            }
            if let Some(other) = other {
                writer.address(AttributeType::OTHER_ADDRESS, other);
            }
        }
        let call = self.call(&mut writer);
        if granted.padded {
            let integrity = match &granted.authentic {
                Some(Authentic { sha256: true, .. }) => 4 + crate::integrity::SHA256,
                Some(Authentic { sha256: false, .. }) => 4 + crate::integrity::SHA1,
                None => 0,
            };
            // As much as came, or as there is room for; FINGERPRINT may follow.
            let most = message.as_bytes().len().min(room).saturating_sub(writer.len() + integrity + signature + 4);
            if let Some(length) = u16::try_from(most & !3).ok().filter(|length| *length > 0) {
                writer.zeros(AttributeType::PADDING, length);
            }
        }
        if let Some(authentic) = &granted.authentic {
            match authentic.sha256 {
                true => writer.integrity_sha256(&authentic.key),
                false => writer.integrity(&authentic.key),
            };
        }
        if signed {
            writer.fingerprint();
        }
        let len = writer.finish().ok()?;
        Some(Answer { from: granted.from, to: granted.to, len, call })
    }

    /// Says what becomes of the call that is asked for, if one is.
    fn call(&mut self, writer: &mut Writer<'_>) -> Option<Call> {
        let Asked { message, local, source, transport } = *self.asked;
        let request = CallRequest::read(message.value(AttributeType::CALL_BACK)?)?;
        let result = match &mut self.call_limiter {
            None => CallResult::NotOffered,
            Some(limiter) => {
                let nonce = message.value(AttributeType::CALL_BACK_NONCE).unwrap_or_default();
                let proven = match transport {
                    Transport::Stream => true,
                    Transport::Datagram => {
                        self.nonces.check(Purpose::Call, source, self.now, nonce) == Freshness::Fresh
                    }
                };
                match () {
                    () if !proven => CallResult::NonceWanted,
                    () if limiter.take(self.now, source.ip()) => CallResult::Calling,
                    () => CallResult::TooOften,
                }
            }
        };
        // A partner is not asked to call: the other port then is all the change there can be.
        let layout = &self.config.layout;
        let ip = request.change.ip && matches!(layout.second, Second::Here(_));
        let port = request.change.port && layout.second_port.is_some();
        let request = CallRequest { change: Change { ip, port }, ..request };
        writer.attribute(AttributeType::CALL_BACK_RESULT, &result.value(&request));
        match result {
            CallResult::Calling => Some(Call { asker: source, local, from: local.changed(request.change), request }),
            CallResult::NonceWanted => {
                let nonce = self.nonces.make(Purpose::Call, source, self.now);
                writer.attribute(AttributeType::CALL_BACK_NONCE, &nonce);
                None
            }
            CallResult::NotOffered
            | CallResult::TooOften
            | CallResult::Busy
            | CallResult::Connected
            | CallResult::Refused
            | CallResult::TimedOut
            | CallResult::Unreachable => None,
        }
    }

    fn refuse(&self, refusal: &Refusal, out: &mut [u8]) -> Option<usize> {
        let Asked { message, source, .. } = self.asked;
        let mut writer = Writer::new(out, Class::Error, Method::BINDING, message.transaction_id());
        match refusal {
            Refusal::Code(code) => {
                writer.error(ErrorCode::standard(*code));
                if let Some(accounts) = &self.config.accounts
                    && matches!(*code, ErrorCode::UNAUTHENTICATED | ErrorCode::STALE_NONCE)
                {
                    let nonce = Accounts::nonce(self.nonces, *source, self.now);
                    writer
                        .attribute(AttributeType::REALM, accounts.realm().as_bytes())
                        .attribute(AttributeType::NONCE, &nonce)
                        .attribute(AttributeType::PASSWORD_ALGORITHMS, &accounts::ALGORITHMS);
                }
            }
            Refusal::Unknown(unknown) => {
                let error = ErrorCode::standard(ErrorCode::UNKNOWN_ATTRIBUTE);
                writer.error(error).unknown(unknown.iter().flatten().copied());
            }
        }
        writer.finish().ok()
    }
}

fn only(kind: AttributeType) -> Refusal {
    let mut unknown = [None; MAX_UNKNOWN];
    unknown[0] = Some(kind);
    Refusal::Unknown(unknown)
}
