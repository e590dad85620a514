//! A TCP segment as the tracker reads it: straight from the bytes, options only when somebody asks.

use pinhole_wire::tcp::{Flags, HEADER_LEN};

use super::table::Event;
use crate::watch::{Topic, Watch};

/// What a segment says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment<'a> {
    pub seq: u32,
    pub ack: u32,
    /// The sequence number after it; SYN and FIN count.
    pub end: u32,
    pub window: u16,
    pub flags: Flags,
    pub event: Event,
    pub options: &'a [u8],
}

/// Flags that say nothing to the state: PSH, ECE, CWR.
const SILENT: u8 = Flags::PSH.0 | Flags::ECE.0 | Flags::CWR.0;

/// The combinations of the other flags that a sender may choose (`tcp_valid_flags`), one bit each.
const VALID: u64 = {
    let (syn, fin, rst, ack, urg) = (Flags::SYN.0, Flags::FIN.0, Flags::RST.0, Flags::ACK.0, Flags::URG.0);
    1 << syn
        | 1 << (syn | urg)
        | 1 << (syn | ack)
        | 1 << rst
        | 1 << (rst | ack)
        | 1 << (fin | ack)
        | 1 << (fin | ack | urg)
        | 1 << ack
        | 1 << (ack | urg)
};

impl<'a> Segment<'a> {
    /// Reads a segment, if the header is whole and the flags make sense.
    #[inline]
    pub fn of(body: &'a [u8], watch: &mut impl Watch) -> Option<Self> {
        let Some((header, rest)) = body.split_first_chunk::<HEADER_LEN>() else {
            watch.note(Topic::Track, || format!("INVALID: a TCP header has 20 bytes, and there are {}", body.len()));
            return None;
        };
        let options_len = (usize::from(header[12] >> 4) * 4).checked_sub(HEADER_LEN);
        let Some((options, payload)) = options_len.and_then(|len| rest.split_at_checked(len)) else {
            watch.note(Topic::Track, || format!("INVALID: a data offset of {} words", header[12] >> 4));
            return None;
        };
        let flags = Flags(header[13]);
        if VALID >> (flags.0 & !SILENT) & 1 == 0 {
            watch.note(Topic::Track, || format!("INVALID: nobody sends the flags {flags}"));
            return None;
        }
        let u32_at = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let seq = u32_at(4);
        let counted = u32::from(flags.0 & Flags::SYN.0 != 0) + u32::from(flags.0 & Flags::FIN.0 != 0);
        Some(Self {
            seq,
            ack: u32_at(8),
            end: seq.wrapping_add(payload.len() as u32).wrapping_add(counted),
            window: u16::from_be_bytes([header[14], header[15]]),
            flags,
            event: Event::of(flags),
            options,
        })
    }

    pub const fn has(&self, flags: Flags) -> bool {
        self.flags.contains(flags)
    }
}

/// Option kinds (IANA "TCP Parameters").
const END: u8 = 0;
const NO_OPERATION: u8 = 1;
pub(super) const WINDOW_SCALE: u8 = 3;
pub(super) const SACK_PERMITTED: u8 = 4;
const SACK: u8 = 5;

/// Two NOPs and a timestamp, which is what nearly every segment carries and where no SACK can be.
const ONLY_TIMESTAMP: [u8; 4] = [1, 1, 8, 10];

/// The options one after another: kind and value. A torn one ends it.
pub(super) fn options(mut bytes: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    core::iter::from_fn(move || {
        loop {
            let &kind = bytes.first()?;
            match kind {
                END => return None,
                NO_OPERATION => bytes = &bytes[1..],
                _ => {
                    let len = usize::from(*bytes.get(1)?);
                    let value = bytes.get(2..len)?;
                    bytes = &bytes[len..];
                    return Some((kind, value));
                }
            }
        }
    })
}

/// The highest edge that the segment acknowledges selectively, or `ack` if none is higher.
#[inline]
pub(super) fn highest_sack(bytes: &[u8], ack: u32) -> u32 {
    if bytes.is_empty() || (bytes.len() == 12 && bytes.starts_with(&ONLY_TIMESTAMP)) {
        return ack;
    }
    let blocks = options(bytes).find(|(kind, value)| *kind == SACK && !value.is_empty() && value.len() % 8 == 0);
    let (blocks, _) = blocks.map_or(Default::default(), |(_, value)| value.as_chunks::<8>());
    blocks.iter().fold(ack, |highest, &[.., a, b, c, d]| {
        let edge = u32::from_be_bytes([a, b, c, d]);
        if is_before(highest, edge) { edge } else { highest }
    })
}

/// Whether `a` comes before `b` on the circle of sequence numbers.
#[inline]
pub(super) const fn is_before(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}
