//! Captures, read as a stream: classic pcap (draft-ietf-opsawg-pcap) and pcapng (draft-ietf-opsawg-pcapng), of any link that
//! [`Link`] knows.

use core::time::Duration;
use std::io::{self, Read};

use super::link::{KNOWN, Link};
use super::{MICROS, NANOS};

/// pcapng's section header, the same in either byte order.
const SECTION: u32 = 0x0a0d_0d0a;
/// How pcapng says its byte order.
const ORDER: u32 = 0x1a2b_3c4d;
const INTERFACE: u32 = 1;
const SIMPLE_PACKET: u32 = 3;
const ENHANCED_PACKET: u32 = 6;
/// The option of an interface that says the unit of its time stamps.
const RESOLUTION: u16 = 9;
/// No frame is longer; what says so is damaged.
const LONGEST: u32 = 1 << 20;
/// More interfaces in one file are a mistake.
const MOST_INTERFACES: usize = 4_096;

/// A capture: its IP packets, one after another, whatever they were sent over.
#[derive(Debug)]
pub struct Capture<R> {
    bytes: Counted<R>,
    length: Option<u64>,
    format: Format,
    big_endian: bool,
    interfaces: Vec<Interface>,
    first: Option<Duration>,
    frames: u64,
    skipped: u64,
    cut: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Classic,
    Blocks,
}

/// Where packets were captured; a classic capture has one.
#[derive(Clone, Copy, Debug)]
struct Interface {
    link: Option<Link>,
    number: u32,
    ticks_per_s: u64,
}

/// A frame as it is in the file.
struct Frame {
    at: Option<Duration>,
    interface: usize,
    bytes: Vec<u8>,
    /// How many bytes it had.
    original: usize,
}

impl<R: Read> Capture<R> {
    /// Reads what a capture begins with. `length` is how many bytes it has, if that is known, for [`progress`](Self::progress).
    ///
    /// # Errors
    /// If it is none, or of a link that is not known.
    pub fn new(reader: R, length: Option<u64>) -> io::Result<Self> {
        let mut capture = Self {
            bytes: Counted { reader, count: 0 },
            length,
            format: Format::Classic,
            big_endian: false,
            interfaces: Vec::new(),
            first: None,
            frames: 0,
            skipped: 0,
            cut: false,
        };
        let Some(magic) = capture.bytes.array()? else {
            return Err(damaged("it is empty: expected a capture, pcap or pcapng"));
        };
        let (little, big) = (u32::from_le_bytes(magic), u32::from_be_bytes(magic));
        let (big_endian, ticks_per_s) = match (little, big) {
            (SECTION, _) => {
                capture.format = Format::Blocks;
                capture.section()?;
                return Ok(capture);
            }
            (MICROS, _) => (false, 1_000_000),
            (NANOS, _) => (false, 1_000_000_000),
            (_, MICROS) => (true, 1_000_000),
            (_, NANOS) => (true, 1_000_000_000),
            _ => {
                return Err(damaged("it is no capture: its first bytes are neither those of pcap nor those of pcapng"));
            }
        };
        capture.big_endian = big_endian;
        let Some(header) = capture.bytes.array::<20>()? else {
            return Err(damaged("it ends inside its header"));
        };
        // The upper bits say whether frames end with a checksum.
        let number = capture.u32_at(&header, 16) & 0x0fff_ffff;
        let Some(link) = Link::of(number) else {
            return Err(damaged(format!("its link type, {number}, is not known; known are {KNOWN}")));
        };
        capture.interfaces.push(Interface { link: Some(link), number, ticks_per_s });
        Ok(capture)
    }

    /// The next IP packet, and when it was seen since the first one.
    ///
    /// # Errors
    /// If the capture ends in the middle of a packet, or is damaged.
    pub fn next_packet(&mut self) -> io::Result<Option<(Duration, Vec<u8>)>> {
        loop {
            let frame = match self.format {
                Format::Classic => self.record(),
                Format::Blocks => self.block(),
            };
            let where_it_is =
                |error: io::Error| io::Error::new(error.kind(), format!("behind frame {}: {error}", self.frames));
            let Some(frame) = frame.map_err(where_it_is)? else { return Ok(None) };
            self.frames += 1;
            let Some(interface) = self.interfaces.get(frame.interface) else {
                return Err(damaged(format!(
                    "frame {} is of an interface that the capture does not describe",
                    self.frames
                )));
            };
            let Some(link) = interface.link else {
                return Err(damaged(format!(
                    "frame {} is of link type {}, which is not known; known are {KNOWN}",
                    self.frames, interface.number
                )));
            };
            let Some(packet) = link.packet(&frame.bytes) else {
                self.skipped += 1;
                continue;
            };
            let mut packet = packet.to_vec();
            if frame.original > frame.bytes.len() {
                self.cut = true;
                let missing = frame.original - frame.bytes.len();
                packet.resize((packet.len() + missing).min(LONGEST as usize), 0);
                packet = Link::Raw.packet(&packet).unwrap_or(&packet).to_vec();
            }
            let at = frame.at.unwrap_or(self.first.unwrap_or_default());
            let first = *self.first.get_or_insert(at);
            return Ok(Some((at.saturating_sub(first), packet)));
        }
    }

    /// Whether some packet is not there as a whole.
    pub const fn is_cut(&self) -> bool {
        self.cut
    }

    /// How many frames had no IP packet in them.
    pub const fn skipped(&self) -> u64 {
        self.skipped
    }

    /// How much is read, in parts of one; none if nobody knows how long it is.
    pub fn progress(&self) -> Option<f64> {
        self.length.filter(|&length| length > 0).map(|length| self.bytes.count as f64 / length as f64)
    }

    fn record(&mut self) -> io::Result<Option<Frame>> {
        let Some(header) = self.bytes.array::<16>()? else { return Ok(None) };
        let [seconds, ticks, kept, original] = [0, 4, 8, 12].map(|at| self.u32_at(&header, at));
        let at = Duration::from_secs(seconds.into()) + of_ticks(ticks.into(), self.interfaces[0].ticks_per_s);
        let bytes = self.bytes.body(kept)?;
        Ok(Some(Frame { at: Some(at), interface: 0, bytes, original: original as usize }))
    }

    /// Goes on to the next block with a packet.
    fn block(&mut self) -> io::Result<Option<Frame>> {
        loop {
            let Some(head) = self.bytes.array::<4>()? else { return Ok(None) };
            let kind = self.u32_at(&head, 0);
            if kind == SECTION {
                self.section()?;
                continue;
            }
            let body = self.body()?;
            match kind {
                INTERFACE => self.interface(&body)?,
                ENHANCED_PACKET if body.len() >= 20 => {
                    let [interface, high, low, kept, original] = [0, 4, 8, 12, 16].map(|at| self.u32_at(&body, at));
                    let ticks_per_s = self.interfaces.get(interface as usize).map_or(1_000_000, |at| at.ticks_per_s);
                    let at = of_ticks(u64::from(high) << 32 | u64::from(low), ticks_per_s);
                    let Some(bytes) = body.get(20..).and_then(|rest| rest.get(..kept as usize)) else {
                        return Err(damaged("a packet is longer than its block: the capture is damaged"));
                    };
                    let frame = Frame {
                        at: Some(at),
                        interface: interface as usize,
                        bytes: bytes.to_vec(),
                        original: original as usize,
                    };
                    return Ok(Some(frame));
                }
                SIMPLE_PACKET if body.len() >= 4 => {
                    let original = self.u32_at(&body, 0) as usize;
                    let kept = original.min(body.len() - 4);
                    return Ok(Some(Frame { at: None, interface: 0, bytes: body[4..4 + kept].to_vec(), original }));
                }
                _ => {}
            }
        }
    }

    /// A section header behind its type: numbers may have another byte order from here on, and interfaces begin anew.
    fn section(&mut self) -> io::Result<()> {
        let Some(head) = self.bytes.array::<8>()? else {
            return Err(damaged("it ends inside a section header"));
        };
        let order = [head[4], head[5], head[6], head[7]];
        self.big_endian = match (u32::from_le_bytes(order), u32::from_be_bytes(order)) {
            (ORDER, _) => false,
            (_, ORDER) => true,
            _ => return Err(damaged("its section header is damaged")),
        };
        let length = self.u32_at(&head, 0);
        let rest = length.checked_sub(12).filter(|rest| *rest >= 16 && *rest <= LONGEST);
        let Some(rest) = rest else { return Err(damaged(format!("its section header says a length of {length}"))) };
        self.bytes.body(rest)?;
        self.interfaces.clear();
        Ok(())
    }

    /// What a block has between its two lengths.
    fn body(&mut self) -> io::Result<Vec<u8>> {
        let Some(length) = self.bytes.array::<4>()? else { return Err(damaged("it ends inside a block")) };
        let length = self.u32_at(&length, 0);
        let Some(inside) = length.checked_sub(8).filter(|inside| *inside >= 4 && inside % 4 == 0) else {
            return Err(damaged(format!("a block says a length of {length}: the capture is damaged")));
        };
        let mut body = self.bytes.body(inside)?;
        body.truncate(inside as usize - 4);
        Ok(body)
    }

    fn interface(&mut self, body: &[u8]) -> io::Result<()> {
        let (Some(&[a, b]), true) = (body.first_chunk(), self.interfaces.len() < MOST_INTERFACES) else {
            return Err(damaged("an interface is not described: the capture is damaged"));
        };
        let number = u32::from(self.u16_of([a, b]));
        let mut ticks_per_s = 1_000_000;
        let mut options = body.get(8..).unwrap_or_default();
        while let Some((&[a, b, c, d], rest)) = options.split_first_chunk() {
            let (code, length) = (self.u16_of([a, b]), usize::from(self.u16_of([c, d])));
            if let (RESOLUTION, Some(&unit)) = (code, rest.first()) {
                let power = u32::from(unit & 0x7f);
                let base: u64 = if unit & 0x80 == 0 { 10 } else { 2 };
                ticks_per_s = base.checked_pow(power).unwrap_or(ticks_per_s);
            }
            let Some(next) = rest.get(length.next_multiple_of(4)..).filter(|_| code != 0) else { break };
            options = next;
        }
        self.interfaces.push(Interface { link: Link::of(number), number, ticks_per_s });
        Ok(())
    }

    fn u32_at(&self, bytes: &[u8], at: usize) -> u32 {
        let bytes = [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
        if self.big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
    }

    const fn u16_of(&self, bytes: [u8; 2]) -> u16 {
        if self.big_endian { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) }
    }
}

fn of_ticks(ticks: u64, per_s: u64) -> Duration {
    let within = u128::from(ticks % per_s) * 1_000_000_000 / u128::from(per_s);
    Duration::from_secs(ticks / per_s) + Duration::from_nanos(within as u64)
}

fn damaged(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

/// A reader that counts.
#[derive(Debug)]
struct Counted<R> {
    reader: R,
    count: u64,
}

impl<R: Read> Counted<R> {
    /// The next bytes; none at the end.
    fn array<const N: usize>(&mut self) -> io::Result<Option<[u8; N]>> {
        let mut bytes = [0; N];
        let mut filled = 0;
        while filled < N {
            match self.reader.read(&mut bytes[filled..]) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return Err(damaged("it ends inside a packet's header")),
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.count += N as u64;
        Ok(Some(bytes))
    }

    /// So many bytes.
    fn body(&mut self, length: u32) -> io::Result<Vec<u8>> {
        if length > LONGEST {
            return Err(damaged(format!(
                "a length of {length} bytes is more than any packet has: the capture is damaged"
            )));
        }
        let mut bytes = Vec::new();
        self.reader.by_ref().take(length.into()).read_to_end(&mut bytes)?;
        if bytes.len() < length as usize {
            return Err(damaged("it ends inside a packet"));
        }
        self.count += u64::from(length);
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests;
