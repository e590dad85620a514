//! NAT-PMP on the wire (RFC 6886 §3).

use core::fmt;
use core::net::Ipv4Addr;

use super::super::Protocol;
use super::super::reader::Reader;

/// The only version (§3.1); PCP, on the same port, is 2.
const VERSION: u8 = 0;
/// A response has the request's opcode and this bit (§3.1).
const RESPONSE: u8 = 128;

/// What can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// The gateway's outside address (§3.2).
    ExternalAddress,
    /// A port that leads inside (§3.3); with a lifetime of zero its end (§3.4).
    Map {
        /// Of this protocol.
        protocol: Protocol,
        /// To this port of ours.
        internal: u16,
        /// From this one outside, if it can be had; zero for any.
        suggested: u16,
        /// Seconds.
        lifetime: u32,
    },
}

/// What came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The gateway's outside address.
    ExternalAddress(Ipv4Addr),
    /// A port that leads inside, or its end.
    Mapped {
        /// Our port.
        internal: u16,
        /// The port outside; zero when the mapping has ended.
        external: u16,
        /// Seconds that it will live.
        lifetime: u32,
    },
}

/// Why a gateway refuses (§3.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It does not speak this version: it may speak PCP.
    UnsupportedVersion,
    /// It could, but is told not to.
    NotAuthorized,
    /// It has no outside address now.
    NetworkFailure,
    /// It has no port left.
    OutOfResources,
    /// It does not know this request.
    UnsupportedOpcode,
    /// A code that the standard does not have.
    Other(u16),
}

/// A response as it stands in a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Response {
    /// Seconds since the gateway's table was made (§3.6).
    pub epoch: u32,
    /// What it says.
    pub result: Result<Reply, Refusal>,
}

impl Request {
    /// The datagram.
    pub fn bytes(&self) -> Vec<u8> {
        match *self {
            Self::ExternalAddress => vec![VERSION, 0],
            Self::Map { protocol, internal, suggested, lifetime } => {
                let mut bytes = vec![VERSION, opcode(protocol), 0, 0];
                bytes.extend(internal.to_be_bytes());
                bytes.extend(suggested.to_be_bytes());
                bytes.extend(lifetime.to_be_bytes());
                bytes
            }
        }
    }

    /// Reads a response to this request; `None` if `bytes` are none.
    pub fn response(&self, bytes: &[u8]) -> Option<Response> {
        let mut reader = Reader::new(bytes);
        let (version, opcode) = (reader.u8()?, reader.u8()?);
        let (result, epoch) = (reader.u16()?, reader.u32()?);
        // A server of PCP alone answers in its own version (RFC 6887 §9).
        if version != VERSION {
            let refused = version == 2 && opcode & RESPONSE != 0;
            return refused.then_some(Response { epoch: 0, result: Err(Refusal::UnsupportedVersion) });
        }
        if let Some(refusal) = Refusal::of(result) {
            // To some refusals belongs the opcode of the request, to others only the bit.
            return (opcode & RESPONSE != 0).then_some(Response { epoch, result: Err(refusal) });
        }
        let reply = match *self {
            Self::ExternalAddress if opcode == RESPONSE => Reply::ExternalAddress(reader.take::<4>()?.into()),
            Self::Map { protocol, internal, .. } if opcode == RESPONSE | self::opcode(protocol) => {
                let (port, external, lifetime) = (reader.u16()?, reader.u16()?, reader.u32()?);
                if port != internal {
                    return None;
                }
                Reply::Mapped { internal, external, lifetime }
            }
            Self::ExternalAddress | Self::Map { .. } => return None,
        };
        Some(Response { epoch, result: Ok(reply) })
    }
}

impl Refusal {
    /// The refusal with this code; `None` for success.
    pub const fn of(code: u16) -> Option<Self> {
        Some(match code {
            0 => return None,
            1 => Self::UnsupportedVersion,
            2 => Self::NotAuthorized,
            3 => Self::NetworkFailure,
            4 => Self::OutOfResources,
            5 => Self::UnsupportedOpcode,
            other => Self::Other(other),
        })
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnsupportedVersion => f.write_str("unsupported version"),
            Self::NotAuthorized => f.write_str("not authorized"),
            Self::NetworkFailure => f.write_str("network failure"),
            Self::OutOfResources => f.write_str("out of resources"),
            Self::UnsupportedOpcode => f.write_str("unsupported opcode"),
            Self::Other(code) => write!(f, "result code {code}"),
        }
    }
}

const fn opcode(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Udp => 1,
        Protocol::Tcp => 2,
    }
}
