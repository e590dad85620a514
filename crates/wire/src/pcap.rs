//! Classic pcap files of raw IP packets (draft-ietf-opsawg-pcap), as tcpdump and Wireshark read them.
//!
//! Written with nanosecond stamps, little-endian, `LINKTYPE_RAW`. [`Reader`] reads such files in memory, in either byte order
//! and with micro- or nanosecond stamps. [`Capture`] reads what others have captured: a stream of any length, pcapng as
//! well, of whatever [`Link`] is known.

mod capture;
mod link;

use core::fmt;
use core::time::Duration;
use std::io;

pub use capture::Capture;
pub use link::Link;

const MAGIC_NANOS: u32 = 0xa1b2_3c4d;
const MAGIC_MICROS: u32 = 0xa1b2_c3d4;
const FILE_HEADER_LEN: usize = 24;
const RECORD_HEADER_LEN: usize = 16;

/// Packets begin with an IP header.
pub const LINKTYPE_RAW: u32 = 101;
/// The longest record that is read or written, in bytes: the longest IP packet, and tcpdump's own limit is not below it.
pub const MAX_PACKET: usize = 262_144;

/// Writes packets to a file.
#[derive(Debug)]
pub struct Writer<W: io::Write> {
    out: W,
}

impl<W: io::Write> Writer<W> {
    /// Begins a file: its header is written at once.
    ///
    /// # Errors
    /// What `out` says.
    pub fn new(mut out: W) -> io::Result<Self> {
        let mut header = [0; FILE_HEADER_LEN];
        header[..4].copy_from_slice(&MAGIC_NANOS.to_le_bytes());
        header[4..6].copy_from_slice(&2u16.to_le_bytes());
        header[6..8].copy_from_slice(&4u16.to_le_bytes());
        header[16..20].copy_from_slice(&(MAX_PACKET as u32).to_le_bytes());
        header[20..].copy_from_slice(&LINKTYPE_RAW.to_le_bytes());
        out.write_all(&header)?;
        Ok(Self { out })
    }

    /// Adds a packet seen at `at`, counted from the Unix epoch or from the start of a simulation.
    ///
    /// # Errors
    /// What the output says; `InvalidInput` if the packet is longer than [`MAX_PACKET`].
    pub fn write(&mut self, at: Duration, packet: &[u8]) -> io::Result<()> {
        if packet.len() > MAX_PACKET {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the packet is longer than a pcap record may be"));
        }
        let len = (packet.len() as u32).to_le_bytes();
        let mut header = [0; RECORD_HEADER_LEN];
        header[..4].copy_from_slice(&(at.as_secs() as u32).to_le_bytes());
        header[4..8].copy_from_slice(&at.subsec_nanos().to_le_bytes());
        header[8..12].copy_from_slice(&len);
        header[12..].copy_from_slice(&len);
        self.out.write_all(&header)?;
        self.out.write_all(packet)
    }

    /// Gives the output back, flushed.
    ///
    /// # Errors
    /// What the output says.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.flush()?;
        Ok(self.out)
    }
}

/// Why bytes are not a pcap file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PcapError {
    /// The first four bytes are those of no classic pcap file.
    Magic,
    /// The packets do not begin with an IP header; the link type is given.
    LinkType(u32),
    /// The file ends inside a header or a packet.
    Truncated,
    /// A packet is longer than [`MAX_PACKET`]; the length is given.
    TooLong(u32),
}

impl fmt::Display for PcapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Magic => f.write_str("not a classic pcap file (pcapng must be converted: editcap -F pcap)"),
            Self::LinkType(link) => write!(f, "link type {link} is not raw IP ({LINKTYPE_RAW})"),
            Self::Truncated => f.write_str("the file ends inside a packet"),
            Self::TooLong(len) => write!(f, "a packet of {len} bytes is longer than any"),
        }
    }
}

impl core::error::Error for PcapError {}

/// One packet of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// When it was seen.
    pub at: Duration,
    /// How long it was, in bytes.
    pub original_len: usize,
    /// As much of it as was kept.
    pub packet: &'a [u8],
}

/// The packets of a file in memory. Ends after the first error.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    big_endian: bool,
    nanos_per_tick: u32,
}

impl<'a> Reader<'a> {
    /// Reads the file header.
    ///
    /// # Errors
    /// If it is not that of a classic pcap file of raw IP packets.
    pub fn new(file: &'a [u8]) -> Result<Self, PcapError> {
        let (header, rest) = file.split_first_chunk::<FILE_HEADER_LEN>().ok_or(PcapError::Truncated)?;
        let magic = u32_at(header, 0, false);
        let (big_endian, nanos_per_tick) = match (magic, magic.swap_bytes()) {
            (MAGIC_NANOS, _) => (false, 1),
            (MAGIC_MICROS, _) => (false, 1_000),
            (_, MAGIC_NANOS) => (true, 1),
            (_, MAGIC_MICROS) => (true, 1_000),
            _ => return Err(PcapError::Magic),
        };
        match u32_at(header, 20, big_endian) {
            LINKTYPE_RAW => Ok(Self { rest, big_endian, nanos_per_tick }),
            link => Err(PcapError::LinkType(link)),
        }
    }

    fn record(&mut self) -> Result<Record<'a>, PcapError> {
        let (header, rest) = self.rest.split_first_chunk::<RECORD_HEADER_LEN>().ok_or(PcapError::Truncated)?;
        let [seconds, ticks, kept, original] = [0, 4, 8, 12].map(|at| u32_at(header, at, self.big_endian));
        if kept as usize > MAX_PACKET {
            return Err(PcapError::TooLong(kept));
        }
        let (packet, rest) = rest.split_at_checked(kept as usize).ok_or(PcapError::Truncated)?;
        self.rest = rest;
        let within = Duration::from_nanos(u64::from(ticks) * u64::from(self.nanos_per_tick));
        Ok(Record { at: Duration::from_secs(seconds.into()) + within, original_len: original as usize, packet })
    }
}

impl<'a> Iterator for Reader<'a> {
    type Item = Result<Record<'a>, PcapError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let record = self.record();
        if record.is_err() {
            self.rest = &[];
        }
        Some(record)
    }
}

fn u32_at(bytes: &[u8], at: usize, big_endian: bool) -> u32 {
    let value = crate::bytes::u32_at(bytes, at);
    if big_endian { value } else { value.swap_bytes() }
}

#[cfg(test)]
mod tests;
