//! Datagrams on their way to the sockets, laid out so that the kernel can cut them apart.
//!
//! Messages lie one behind the other in one buffer. Consecutive ones to the same place with the same length, of which only
//! the last may be shorter, form one [`Transmit`]: that is what `UDP_SEGMENT` (Linux 4.18, udp(7)) takes in one system call.

use core::net::SocketAddr;

/// Messages in one transmit: `UDP_MAX_SEGMENTS` of include/linux/udp.h before Linux 6.9.
pub const MAX_SEGMENTS: usize = 64;
/// Bytes in one transmit: the UDP payload that fits the length field of IPv4.
pub const MAX_BYTES: usize = 65_507;

/// One system call's worth of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transmit<'a> {
    /// Where they go.
    pub to: SocketAddr,
    /// The messages.
    pub bytes: &'a [u8],
    /// The length of each but the last, which may be shorter.
    pub segment: usize,
}

impl<'a> Transmit<'a> {
    /// The messages one by one.
    pub fn messages(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.bytes.chunks(self.segment)
    }
}

#[derive(Clone, Copy, Debug)]
struct Run {
    to: SocketAddr,
    start: usize,
    end: usize,
    segment: usize,
    /// Whether one more message of the same length may follow.
    open: bool,
}

/// Datagrams on their way to the sockets.
#[derive(Debug, Default)]
pub struct Outbox {
    buffer: Vec<u8>,
    used: usize,
    runs: Vec<Run>,
}

impl Outbox {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a message of `len` bytes to `to`. `fill` gets its bytes, which hold anything, and writes every one.
    pub(crate) fn message(&mut self, to: SocketAddr, len: usize, fill: impl FnOnce(&mut [u8])) {
        let (start, end) = (self.used, self.used + len);
        if self.buffer.len() < end {
            self.buffer.resize(end.next_power_of_two(), 0);
        }
        fill(&mut self.buffer[start..end]);
        self.used = end;
        match self.runs.last_mut() {
            Some(run)
                if run.open
                    && run.to == to
                    && len <= run.segment
                    && end - run.start <= MAX_BYTES
                    && (start - run.start) / run.segment < MAX_SEGMENTS =>
            {
                run.end = end;
                run.open = len == run.segment;
            }
            Some(_) | None => self.runs.push(Run { to, start, end, segment: len, open: true }),
        }
    }

    /// Bytes in it.
    pub fn len(&self) -> usize {
        self.used
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// What is in it, in order.
    pub fn transmits(&self) -> impl Iterator<Item = Transmit<'_>> {
        self.runs.iter().map(|run| Transmit {
            to: run.to,
            bytes: &self.buffer[run.start..run.end],
            segment: run.segment,
        })
    }

    /// Empties it; the buffer stays.
    pub fn clear(&mut self) {
        self.used = 0;
        self.runs.clear();
    }
}

#[cfg(test)]
mod tests;
