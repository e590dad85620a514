//! Captures: files of packets.
//!
//! [`Writer`] writes classic pcap (draft-ietf-opsawg-pcap) as tcpdump and Wireshark read it: raw IP packets, nanosecond
//! stamps, little-endian. [`Capture`] reads what anybody has captured: a stream of any length, classic or pcapng, in either
//! byte order, of every usual link.

mod capture;
mod link;

use core::time::Duration;
use std::io;

pub use capture::Capture;

/// How classic pcap begins if its stamps are in nanoseconds.
const NANOS: u32 = 0xa1b2_3c4d;
/// The same for microseconds.
const MICROS: u32 = 0xa1b2_c3d4;
const FILE_HEADER_LEN: usize = 24;
const RECORD_HEADER_LEN: usize = 16;

/// Packets begin with an IP header.
const LINKTYPE_RAW: u32 = 101;
/// The longest packet that is written, in bytes: more than an IP packet can have, and tcpdump's own limit is not below it.
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
        header[..4].copy_from_slice(&NANOS.to_le_bytes());
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

#[cfg(test)]
mod tests;
