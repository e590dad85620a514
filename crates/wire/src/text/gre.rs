//! GRE's part of a line: the flags and version, the protocol inside, and what follows: `0x3081 0x880b 12`. PPTP's GRE (RFC
//! 2637 §4.1) reads `pptp call 7 seq 1 ack 2 PAYLOAD`.

use core::fmt;

use super::Payload;
use super::words::{LineError, Words};

/// GRE's protocol number.
pub(super) const PROTOCOL: u8 = 47;
/// Flags, version and protocol.
pub(super) const HEADER_LEN: usize = 4;
/// The protocol inside PPTP's GRE.
const PPP: u16 = 0x880b;
/// A key is there (RFC 2890), a sequence number, an acknowledgment number (RFC 2637), and version 1.
const KEY: u16 = 0x2000;
const SEQUENCE: u16 = 0x1000;
const ACKNOWLEDGMENT: u16 = 0x0080;
const VERSION_1: u16 = 0x0001;

/// A GRE header and what follows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gre {
    /// Version 1, which carries PPTP's calls.
    Pptp {
        /// The call identifier of the receiver.
        call: u16,
        /// The sequence number.
        sequence: Option<u32>,
        /// The acknowledgment number.
        acknowledgment: Option<u32>,
        /// What it carries.
        payload: Payload,
    },
    /// Anything else, key and other optional fields being part of the payload.
    Other {
        /// Flags and version.
        flags: u16,
        /// The protocol inside, as an Ethernet type.
        protocol: u16,
        /// What follows.
        payload: Payload,
    },
}

impl Gre {
    /// Reads at least four bytes.
    pub(super) fn read(bytes: &[u8]) -> Self {
        let half = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        let other = Self::Other { flags: half(0), protocol: half(2), payload: bytes[HEADER_LEN..].into() };
        Self::read_pptp(bytes).filter(|gre| gre.bytes() == bytes).unwrap_or(other)
    }

    fn read_pptp(bytes: &[u8]) -> Option<Self> {
        let half = |at: usize| Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]));
        let flags = half(0)?;
        let mut at = 8;
        let mut optional = |flag: u16| {
            if flags & flag == 0 {
                return Some(None);
            }
            let word = u32::from(half(at)?) << 16 | u32::from(half(at + 2)?);
            at += 4;
            Some(Some(word))
        };
        let (sequence, acknowledgment) = (optional(SEQUENCE)?, optional(ACKNOWLEDGMENT)?);
        Some(Self::Pptp { call: half(6)?, sequence, acknowledgment, payload: bytes.get(at..)?.into() })
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Other { flags, protocol, payload } => {
                let mut bytes = [flags.to_be_bytes(), protocol.to_be_bytes()].concat();
                bytes.extend_from_slice(payload);
                bytes
            }
            Self::Pptp { call, sequence, acknowledgment, payload } => {
                let bit = |field: &Option<u32>, flag: u16| if field.is_some() { flag } else { 0 };
                let flags = KEY | VERSION_1 | bit(sequence, SEQUENCE) | bit(acknowledgment, ACKNOWLEDGMENT);
                let halves = [flags, PPP, payload.len() as u16, *call];
                let mut bytes: Vec<u8> = halves.into_iter().flat_map(u16::to_be_bytes).collect();
                bytes.extend([sequence, acknowledgment].into_iter().flatten().flat_map(|word| word.to_be_bytes()));
                bytes.extend_from_slice(payload);
                bytes
            }
        }
    }

    pub(super) fn parse(words: &mut Words<'_>) -> Result<Self, LineError> {
        if !words.take("pptp") {
            let (flags, protocol) = (words.number("pptp, or flags")?, words.number("a protocol")?);
            return Ok(Self::Other { flags, protocol, payload: words.payload()? });
        }
        let call = words.field("call", "a call")?;
        let mut optional =
            |word| if words.peek() == Some(word) { words.field(word, "a number").map(Some) } else { Ok(None) };
        let (sequence, acknowledgment) = (optional("seq")?, optional("ack")?);
        Ok(Self::Pptp { call, sequence, acknowledgment, payload: words.payload()? })
    }
}

impl fmt::Display for Gre {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Other { flags, protocol, payload } => write!(f, "{flags:#x} {protocol:#x} {payload}"),
            Self::Pptp { call, sequence, acknowledgment, payload } => {
                write!(f, "pptp call {call}")?;
                sequence.map_or(Ok(()), |seq| write!(f, " seq {seq}"))?;
                acknowledgment.map_or(Ok(()), |ack| write!(f, " ack {ack}"))?;
                write!(f, " {payload}")
            }
        }
    }
}
