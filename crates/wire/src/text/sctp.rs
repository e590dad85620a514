//! SCTP's part of a line: `tag 0x5 (DATA flags 3 20) (SACK 12)` (RFC 9260 §3).

use core::fmt;

use super::words::{LineError, Words};
use super::{Body, Checksum, Payload, Read};
use crate::Protocol;
use crate::bytes::{u16_at, u32_at};

/// SCTP's protocol number.
pub(super) const PROTOCOL: u8 = 132;
/// Ports, verification tag and checksum.
pub(super) const HEADER_LEN: usize = 12;
const CHECKSUM: usize = 8;

/// A chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// The type.
    pub kind: u8,
    /// The flags.
    pub flags: u8,
    /// What follows its header.
    pub value: Payload,
}

/// The types that have words (RFC 9260 §3.2).
const WORDS: [(&str, u8); 15] = [
    ("DATA", 0),
    ("INIT", 1),
    ("INIT_ACK", 2),
    ("SACK", 3),
    ("HEARTBEAT", 4),
    ("HEARTBEAT_ACK", 5),
    ("ABORT", 6),
    ("SHUTDOWN", 7),
    ("SHUTDOWN_ACK", 8),
    ("ERROR", 9),
    ("COOKIE_ECHO", 10),
    ("COOKIE_ACK", 11),
    ("ECNE", 12),
    ("CWR", 13),
    ("SHUTDOWN_COMPLETE", 14),
];

impl Chunk {
    /// INIT (1) or INIT_ACK (2) with the tag that answers shall bear.
    pub fn init(kind: u8, tag: u32, tsn: u32) -> Self {
        Self { kind, flags: 0, value: init_value(tag, 65_535, 10, 10, tsn) }
    }

    /// A chunk of this type with so many zeros.
    pub fn zeros(kind: u8, len: usize) -> Self {
        Self { kind, flags: 0, value: Payload::zeros(len) }
    }

    fn is_init(&self) -> bool {
        matches!(self.kind, 1 | 2) && self.value.len() >= 16
    }
}

fn init_value(tag: u32, window: u32, out: u16, inbound: u16, tsn: u32) -> Payload {
    let mut value = [tag.to_be_bytes(), window.to_be_bytes()].concat();
    value.extend([out.to_be_bytes(), inbound.to_be_bytes()].concat());
    value.extend(tsn.to_be_bytes());
    Payload(value)
}

/// Reads at least twelve bytes; chunks that do not parse are bytes of the packet.
pub(super) fn read(bytes: &[u8]) -> Read {
    let ports = (u16_at(bytes, 0), u16_at(bytes, 2));
    let mut chunks = Vec::new();
    let mut rest = &bytes[HEADER_LEN..];
    while rest.len() >= 4 {
        let len = usize::from(u16_at(rest, 2));
        let Some(value) = rest.get(4..len) else { break };
        chunks.push(Chunk { kind: rest[0], flags: rest[1], value: value.into() });
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    let body = Body::Sctp { tag: u32_at(bytes, 4), chunks };
    let exact = match &body {
        Body::Sctp { tag, chunks } => write(ports.0, ports.1, *tag, chunks).is_some_and(|written| written == bytes),
        _ => false,
    };
    if exact {
        (body, ports, Checksum::Right)
    } else {
        let body = Body::Other { protocol: Protocol::Other(PROTOCOL), payload: bytes.into() };
        (body, (0, 0), Checksum::Right)
    }
}

pub(super) fn write(src_port: u16, dst_port: u16, tag: u32, chunks: &[Chunk]) -> Option<Vec<u8>> {
    let mut bytes = [src_port.to_be_bytes(), dst_port.to_be_bytes()].concat();
    bytes.extend(tag.to_be_bytes());
    bytes.extend([0; 4]);
    for Chunk { kind, flags, value } in chunks {
        bytes.extend([*kind, *flags]);
        bytes.extend(u16::try_from(value.len() + 4).ok()?.to_be_bytes());
        bytes.extend_from_slice(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    // RFC 9260 §6.8: the checksum is sent least significant octet first.
    let checksum = crc32c(&bytes).to_le_bytes();
    bytes[CHECKSUM..HEADER_LEN].copy_from_slice(&checksum);
    Some(bytes)
}

/// CRC32c (RFC 9260 appendix A), bit by bit: nobody is in a hurry here.
pub(super) fn crc32c(bytes: &[u8]) -> u32 {
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    !bytes.iter().fold(!0, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| if crc & 1 == 0 { crc >> 1 } else { crc >> 1 ^ POLYNOMIAL })
    })
}

impl fmt::Display for Chunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match WORDS.iter().find(|(_, kind)| *kind == self.kind) {
            Some((word, _)) => f.write_str(word)?,
            None => write!(f, "chunk {}", self.kind)?,
        }
        if self.flags != 0 {
            write!(f, " flags {:#x}", self.flags)?;
        }
        if !self.is_init() {
            return write!(f, " {}", self.value);
        }
        let value = &self.value;
        let (tag, window, tsn) = (u32_at(value, 0), u32_at(value, 4), u32_at(value, 12));
        write!(f, " tag {tag:#x} rwnd {window} out {} in {} tsn {tsn}", u16_at(value, 8), u16_at(value, 10))?;
        let more = Payload::from(&value[16..]);
        if more.is_empty() { Ok(()) } else { write!(f, " {more}") }
    }
}

pub(super) fn parse(words: &mut Words<'_>) -> Result<Body, LineError> {
    let tag = words.field("tag", "a verification tag")?;
    let mut chunks = Vec::new();
    while words.take("(") {
        chunks.push(parse_chunk(words)?);
        words.literal(")")?;
    }
    Ok(Body::Sctp { tag, chunks })
}

fn parse_chunk(words: &mut Words<'_>) -> Result<Chunk, LineError> {
    let expected = "a chunk, as INIT or DATA";
    let word = words.expect(expected)?;
    let kind = match WORDS.iter().find(|(known, _)| *known == word) {
        Some((_, kind)) => *kind,
        None if word == "chunk" => words.number("a type of chunk")?,
        None => return Err(LineError::new(expected, word)),
    };
    let flags = if words.peek() == Some("flags") { words.field("flags", "a number")? } else { 0 };
    if words.peek() != Some("tag") {
        return Ok(Chunk { kind, flags, value: words.payload()? });
    }
    let (tag, window) = (words.field("tag", "a number")?, words.field("rwnd", "a number")?);
    let (out, inbound) = (words.field("out", "a number")?, words.field("in", "a number")?);
    let mut value = init_value(tag, window, out, inbound, words.field("tsn", "a number")?);
    if words.peek() != Some(")") {
        value.0.extend_from_slice(&words.payload()?);
    }
    Ok(Chunk { kind, flags, value })
}
