//! TCP's part of a line: `S. seq 1 ack 2 win 64240 urg 5 (mss 1460, wscale 7)`.

use core::fmt;
use core::net::IpAddr;

use super::words::{LineError, Words};
use super::{Body, Payload, Read, read_checksum};
use crate::build::Segment;
use crate::bytes::{put_u16, u16_at, u32_at};
use crate::{Malformed, Protocol, tcp};

const DATA_OFFSET: usize = 12;
const URGENT: usize = 18;
/// The longest header there is: the data offset has four bits.
const MAX_HEADER: usize = 60;

/// The window of a segment whose line names none: what Linux sends first.
const USUAL_WINDOW: u16 = 64_240;

/// A TCP option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TcpOption {
    /// The end of the list, where it is not mere padding.
    End,
    /// Nothing.
    Nop,
    /// The largest segment, in bytes (RFC 9293 §3.7.1).
    MaximumSegmentSize(u16),
    /// The window scale (RFC 7323 §2).
    WindowScale(u8),
    /// Selective acknowledgments are welcome (RFC 2018 §2).
    SackPermitted,
    /// What was received, first and behind the last (RFC 2018 §3).
    Sack(Vec<(u32, u32)>),
    /// Value and echo (RFC 7323 §3).
    Timestamps(u32, u32),
    /// Another kind, with its data.
    Other(u8, Payload),
    /// Bytes that are no option.
    Malformed(Payload),
}

pub(super) fn read(bytes: &[u8], src: IpAddr, dst: IpAddr) -> Result<Read, Malformed> {
    let view = tcp::Packet::new_checked(bytes)?;
    let segment = Segment { flags: view.flags(), seq: view.seq(), ack: view.ack(), window: view.window() };
    let body = Body::Tcp {
        segment,
        urgent: u16_at(bytes, URGENT),
        options: read_options(view.options()),
        payload: view.payload().into(),
    };
    let checksum = read_checksum(bytes, tcp::CHECKSUM, src, dst, Protocol::Tcp);
    Ok((body, (view.src_port(), view.dst_port()), checksum))
}

fn read_options(mut bytes: &[u8]) -> Vec<TcpOption> {
    let mut options = Vec::new();
    while let &[kind, ref rest @ ..] = bytes {
        if kind < 2 {
            options.push(if kind == 0 { TcpOption::End } else { TcpOption::Nop });
            bytes = rest;
            continue;
        }
        let len = rest.first().map_or(0, |&len| usize::from(len));
        let Some(data) = bytes.get(2..len) else {
            options.push(TcpOption::Malformed(bytes.into()));
            break;
        };
        options.push(read_option(kind, data));
        bytes = &bytes[len..];
    }
    // Up to three zeros at the end are what fills the header up.
    let unpadded = options.iter().rposition(|option| *option != TcpOption::End).map_or(0, |last| last + 1);
    let padding = (options.len() - unpadded).min(3);
    options.truncate(options.len() - padding);
    options
}

fn read_option(kind: u8, data: &[u8]) -> TcpOption {
    match (kind, data) {
        (2, &[a, b]) => TcpOption::MaximumSegmentSize(u16::from_be_bytes([a, b])),
        (3, &[scale]) => TcpOption::WindowScale(scale),
        (4, []) => TcpOption::SackPermitted,
        (5, edges) if !edges.is_empty() && edges.len() % 8 == 0 => {
            TcpOption::Sack(edges.chunks_exact(8).map(|edge| (u32_at(edge, 0), u32_at(edge, 4))).collect())
        }
        (8, data) if data.len() == 8 => TcpOption::Timestamps(u32_at(data, 0), u32_at(data, 4)),
        (kind, data) => TcpOption::Other(kind, data.into()),
    }
}

pub(super) fn write(
    src_port: u16,
    dst_port: u16,
    segment: &Segment,
    urgent: u16,
    options: &[TcpOption],
    payload: &[u8],
) -> Option<Vec<u8>> {
    let mut bytes = vec![0; tcp::HEADER_LEN];
    options.iter().for_each(|option| option.write(&mut bytes));
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    if bytes.len() > MAX_HEADER {
        return None;
    }
    let header_len = bytes.len();
    let mut header = tcp::Packet::init(bytes.as_mut_slice(), src_port, dst_port, segment.flags).ok()?;
    header.set_seq(segment.seq);
    header.set_ack(segment.ack);
    header.set_window(segment.window);
    put_u16(&mut bytes, URGENT, urgent);
    bytes[DATA_OFFSET] = (header_len as u8 / 4) << 4;
    bytes.extend_from_slice(payload);
    Some(bytes)
}

impl TcpOption {
    fn write(&self, bytes: &mut Vec<u8>) {
        let mut put = |kind: u8, data: &[u8]| {
            bytes.extend([kind, (data.len() + 2).min(255) as u8]);
            bytes.extend_from_slice(data);
        };
        match self {
            Self::End => bytes.push(0),
            Self::Nop => bytes.push(1),
            Self::MaximumSegmentSize(size) => put(2, &size.to_be_bytes()),
            Self::WindowScale(scale) => put(3, &[*scale]),
            Self::SackPermitted => put(4, &[]),
            Self::Sack(edges) => {
                let edges = edges.iter().flat_map(|(left, right)| [left.to_be_bytes(), right.to_be_bytes()].concat());
                put(5, &edges.collect::<Vec<u8>>());
            }
            Self::Timestamps(value, echo) => put(8, &[value.to_be_bytes(), echo.to_be_bytes()].concat()),
            Self::Other(kind, data) => put(*kind, data),
            Self::Malformed(raw) => bytes.extend_from_slice(raw),
        }
    }
}

impl fmt::Display for TcpOption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::End => f.write_str("end"),
            Self::Nop => f.write_str("nop"),
            Self::MaximumSegmentSize(size) => write!(f, "mss {size}"),
            Self::WindowScale(scale) => write!(f, "wscale {scale}"),
            Self::SackPermitted => f.write_str("sackok"),
            Self::Sack(edges) => {
                f.write_str("sack")?;
                edges.iter().try_for_each(|(left, right)| write!(f, " {left}-{right}"))
            }
            Self::Timestamps(value, echo) => write!(f, "ts {value} {echo}"),
            Self::Other(kind, data) => write!(f, "opt {kind} {data}"),
            Self::Malformed(raw) => write!(f, "bytes {raw}"),
        }
    }
}

pub(super) fn show(
    f: &mut fmt::Formatter<'_>,
    &Segment { flags, seq, ack, window }: &Segment,
    urgent: u16,
    options: &[TcpOption],
) -> fmt::Result {
    write!(f, "{flags} seq {seq} ack {ack} win {window}")?;
    if urgent != 0 {
        write!(f, " urg {urgent}")?;
    }
    for (at, option) in options.iter().enumerate() {
        write!(f, "{}{option}", if at == 0 { " (" } else { ", " })?;
    }
    if options.is_empty() { Ok(()) } else { f.write_str(")") }
}

pub(super) fn parse(words: &mut Words<'_>) -> Result<Body, LineError> {
    let expected = "TCP flags, as SFRP.UEW or -";
    let word = words.expect(expected)?;
    let flags = tcp::Flags::from_letters(word).ok_or_else(|| LineError::new(expected, word))?;
    let seq = words.field_or("seq", 0)?;
    let ack = words.field_or("ack", 0)?;
    let window = words.field_or("win", USUAL_WINDOW)?;
    let urgent = words.field_or("urg", 0)?;
    let mut options = Vec::new();
    if words.take("(") {
        loop {
            options.push(parse_option(words)?);
            if words.take(")") {
                break;
            }
            words.literal(",")?;
        }
    }
    let segment = Segment { flags, seq, ack, window };
    let payload = if words.peek().is_none() { Payload::default() } else { words.payload()? };
    Ok(Body::Tcp { segment, urgent, options, payload })
}

fn parse_option(words: &mut Words<'_>) -> Result<TcpOption, LineError> {
    let expected = "mss, wscale, sackok, sack, ts, nop, end, opt or bytes";
    Ok(match words.expect(expected)? {
        "end" => TcpOption::End,
        "nop" => TcpOption::Nop,
        "mss" => TcpOption::MaximumSegmentSize(words.number("a number")?),
        "wscale" => TcpOption::WindowScale(words.number("a number")?),
        "sackok" => TcpOption::SackPermitted,
        "sack" => {
            let mut edges = vec![parse_edge(words)?];
            while words.peek().is_some_and(|word| word != "," && word != ")") {
                edges.push(parse_edge(words)?);
            }
            TcpOption::Sack(edges)
        }
        "ts" => TcpOption::Timestamps(words.number("a number")?, words.number("a number")?),
        "opt" => TcpOption::Other(words.number("a kind of option")?, words.payload()?),
        "bytes" => TcpOption::Malformed(words.payload()?),
        other => return Err(LineError::new(expected, other)),
    })
}

fn parse_edge(words: &mut Words<'_>) -> Result<(u32, u32), LineError> {
    let expected = "two sequence numbers, as 1-2";
    let word = words.expect(expected)?;
    let edge = word.split_once('-').and_then(|(left, right)| Some((left.parse().ok()?, right.parse().ok()?)));
    edge.ok_or_else(|| LineError::new(expected, word))
}
