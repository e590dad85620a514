//! PCP on the wire (RFC 6887 §7, §11, §14).

use core::fmt;
use core::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::super::Protocol;
use super::super::reader::Reader;

/// The only version; NAT-PMP, on the same port, is 0.
const VERSION: u8 = 2;
/// A response has the request's opcode and this bit (§7.2).
const RESPONSE: u8 = 0x80;
const ANNOUNCE: u8 = 0;
const MAP: u8 = 1;
/// A message is no longer (§7).
const MAX_LENGTH: usize = 1_100;

/// What tells our mappings from those of others (§11.2): whoever knows it can end the mapping.
pub type Nonce = [u8; 12];

/// What can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Are you there, and since when (§14.1)?
    Announce,
    /// A port that leads inside (§11); with a lifetime of zero its end.
    Map {
        /// Of whom this mapping is.
        nonce: Nonce,
        /// Of this protocol.
        protocol: Protocol,
        /// To this port of ours.
        internal: u16,
        /// From this endpoint outside, if it can be had; unspecified address and port zero for any.
        suggested: SocketAddr,
        /// Seconds.
        lifetime: u32,
    },
}

/// What came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// It is there.
    Announced,
    /// A port that leads inside, or its end.
    Mapped {
        /// Our port.
        internal: u16,
        /// The endpoint outside.
        external: SocketAddr,
        /// Seconds that it will live.
        lifetime: u32,
    },
}

/// Why a server refuses (§7.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It does not speak this version: it may speak NAT-PMP.
    UnsupportedVersion,
    /// It could, but is told not to.
    NotAuthorized,
    /// It did not understand.
    MalformedRequest,
    /// It does not know this opcode.
    UnsupportedOpcode,
    /// It does not know an option that it should.
    UnsupportedOption,
    /// It did not understand an option.
    MalformedOption,
    /// It has no outside address now.
    NetworkFailure,
    /// It has no port left.
    NoResources,
    /// It does not map this protocol.
    UnsupportedProtocol,
    /// This host has as many mappings as it may.
    UserQuota,
    /// What was suggested with PREFER_FAILURE cannot be had.
    CannotProvideExternal,
    /// The request came from another address than it says: there is a NAT on the way to the server.
    AddressMismatch,
    /// Too many filters.
    ExcessiveRemotePeers,
    /// A code that the standard does not have.
    Other(u8),
}

/// A response as it stands in a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Response {
    /// Seconds since the server's table was made (§8.5).
    pub epoch: u32,
    /// What it says; a refusal comes with the seconds for which it will not change.
    pub result: Result<Reply, (Refusal, u32)>,
}

impl Request {
    /// The datagram of a client with this address on the way to the server.
    pub fn bytes(&self, client: IpAddr) -> Vec<u8> {
        let header = |opcode, lifetime: u32| {
            let mut bytes = vec![VERSION, opcode, 0, 0];
            bytes.extend(lifetime.to_be_bytes());
            bytes.extend(wide(client).octets());
            bytes
        };
        match *self {
            Self::Announce => header(ANNOUNCE, 0),
            Self::Map { nonce, protocol, internal, suggested, lifetime } => {
                let mut bytes = header(MAP, lifetime);
                bytes.extend(nonce);
                bytes.extend([protocol.number(), 0, 0, 0]);
                bytes.extend(internal.to_be_bytes());
                bytes.extend(suggested.port().to_be_bytes());
                bytes.extend(wide(suggested.ip()).octets());
                bytes
            }
        }
    }

    /// Reads a response to this request; `None` if `bytes` are none.
    pub fn response(&self, bytes: &[u8]) -> Option<Response> {
        if bytes.len() > MAX_LENGTH {
            return None;
        }
        let mut reader = Reader::new(bytes);
        let (version, opcode) = (reader.u8()?, reader.u8()?);
        if version != VERSION {
            // A gateway of NAT-PMP alone: 0, the bit, result 1 (§9).
            let refused = version == 0 && opcode & RESPONSE != 0 && reader.u16()? == 1;
            return refused.then_some(Response { epoch: 0, result: Err((Refusal::UnsupportedVersion, 0)) });
        }
        let ours = match self {
            Self::Announce => ANNOUNCE,
            Self::Map { .. } => MAP,
        };
        let ([_, result], lifetime, epoch) = (reader.take::<2>()?, reader.u32()?, reader.u32()?);
        reader.take::<12>()?;
        if opcode != RESPONSE | ours {
            return None;
        }
        if let Some(refusal) = Refusal::of(result) {
            if !self.is_about(reader.rest()) {
                return None;
            }
            return Some(Response { epoch, result: Err((refusal, lifetime)) });
        }
        let reply = match self {
            Self::Announce => Reply::Announced,
            Self::Map { internal, .. } => {
                if !self.is_about(reader.rest()) {
                    return None;
                }
                reader.take::<18>()?;
                let port = reader.u16()?;
                let external = SocketAddr::new(narrow(reader.take::<16>()?.into()), port);
                Reply::Mapped { internal: *internal, external, lifetime }
            }
        };
        Some(Response { epoch, result: Ok(reply) })
    }

    /// Whether the part of a response behind its header is about this mapping: nonce, protocol and port (§11.4).
    fn is_about(&self, payload: &[u8]) -> bool {
        let Self::Map { nonce, protocol, internal, .. } = self else { return true };
        let mut reader = Reader::new(payload);
        let read = |reader: &mut Reader<'_>| Some((reader.take::<12>()?, reader.take::<4>()?[0], reader.u16()?));
        read(&mut reader) == Some((*nonce, protocol.number(), *internal))
    }
}

/// The epoch, if `bytes` are an announcement that nobody asked for (§14.1.3).
pub fn announcement(bytes: &[u8]) -> Option<u32> {
    let response = Request::Announce.response(bytes)?;
    response.result.is_ok().then_some(response.epoch)
}

impl Refusal {
    /// The refusal with this code; `None` for success.
    pub const fn of(code: u8) -> Option<Self> {
        Some(match code {
            0 => return None,
            1 => Self::UnsupportedVersion,
            2 => Self::NotAuthorized,
            3 => Self::MalformedRequest,
            4 => Self::UnsupportedOpcode,
            5 => Self::UnsupportedOption,
            6 => Self::MalformedOption,
            7 => Self::NetworkFailure,
            8 => Self::NoResources,
            9 => Self::UnsupportedProtocol,
            10 => Self::UserQuota,
            11 => Self::CannotProvideExternal,
            12 => Self::AddressMismatch,
            13 => Self::ExcessiveRemotePeers,
            other => Self::Other(other),
        })
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnsupportedVersion => "unsupported version",
            Self::NotAuthorized => "not authorized",
            Self::MalformedRequest => "malformed request",
            Self::UnsupportedOpcode => "unsupported opcode",
            Self::UnsupportedOption => "unsupported option",
            Self::MalformedOption => "malformed option",
            Self::NetworkFailure => "network failure",
            Self::NoResources => "no resources",
            Self::UnsupportedProtocol => "unsupported protocol",
            Self::UserQuota => "user quota exceeded",
            Self::CannotProvideExternal => "cannot provide external address or port",
            Self::AddressMismatch => "address mismatch",
            Self::ExcessiveRemotePeers => "excessive remote peers",
            Self::Other(code) => return write!(f, "result code {code}"),
        })
    }
}

/// IPv4 addresses are v4-mapped (§5).
const fn wide(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    }
}

const fn narrow(ip: Ipv6Addr) -> IpAddr {
    match ip.to_ipv4_mapped() {
        Some(ip) => IpAddr::V4(ip),
        None => IpAddr::V6(ip),
    }
}
