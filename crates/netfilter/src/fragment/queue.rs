//! The fragments of one packet.

use pinhole_sansio::Instant;

use super::refused::Misfit;
use super::{Expired, FRAGMENT_COST, Fragmented, Part, Place, QUEUE_COST, Refused, Whole};

/// Not-ECT, among the ECN codepoints that fragments of a packet have.
const NOT_ECT: u8 = 1;
/// Congestion experienced.
const CE: u8 = 1 << 3;
/// No packet is longer (IPv6: no payload is).
const MAX_LEN: usize = 65_535;

/// The fragments of one packet.
#[derive(Debug)]
pub(super) struct Queue {
    /// By offset; none overlaps another.
    pieces: Vec<Kept>,
    /// What of the packet is here, by offset, as stretches of fragments each of which came right after the one before it.
    runs: Vec<(usize, usize)>,
    place: Option<Place>,
    /// Bytes of data that are here.
    here: usize,
    /// Where the packet ends as far as is known, in bytes of data.
    end: usize,
    has_last: bool,
    ecn: u8,
    longest: usize,
    longest_unfragmentable: usize,
    /// What all this counts against the bound, in bytes.
    cost: usize,
    due: (Instant, u64),
    /// How many fragments its source had sent when the last one of this packet came.
    seen: u32,
}

#[derive(Debug)]
struct Kept {
    start: usize,
    end: usize,
    part: Part,
    /// The whole fragment.
    bytes: Box<[u8]>,
}

impl Kept {
    fn data(&self) -> &[u8] {
        &self.bytes[self.part.body..][..self.end - self.start]
    }
}

impl Queue {
    pub(super) const fn new(due: (Instant, u64)) -> Self {
        Self {
            pieces: Vec::new(),
            runs: Vec::new(),
            place: None,
            here: 0,
            end: 0,
            has_last: false,
            ecn: 0,
            longest: 0,
            longest_unfragmentable: 0,
            cost: QUEUE_COST,
            due,
            seen: 0,
        }
    }

    /// Adds a fragment (`ip_frag_queue`, `nf_ct_frag6_queue`).
    pub(super) fn add<A: Fragmented>(&mut self, place: Place, packet: &[u8], part: &Part) -> Result<(), Misfit> {
        let start = part.offset;
        let mut end = start + packet.len() - part.body;
        if !A::IS_V4 && end > MAX_LEN {
            return Err(Misfit::Refused(Refused::Oversize));
        }
        if part.more {
            if !end.is_multiple_of(8) {
                if !A::CUTS_UNALIGNED {
                    return Err(Misfit::Unaligned);
                }
                end -= end % 8;
            }
            if end > self.end {
                if self.has_last {
                    return Err(Misfit::Refused(Refused::End));
                }
                self.end = end;
            }
        } else {
            if end < self.end || self.has_last && end != self.end {
                return Err(Misfit::Refused(Refused::End));
            }
            self.has_last = true;
            self.end = end;
        }
        if end == start {
            return Err(Misfit::Refused(Refused::Empty));
        }
        self.insert(Kept { start, end, part: *part, bytes: packet.into() }).map_err(Misfit::Refused)?;
        self.place = Some(place);
        self.here += end - start;
        self.cost += FRAGMENT_COST + packet.len();
        self.ecn |= part.ecn;
        // IPv4 counts what is left after cutting, IPv6 all that came.
        let length = if A::IS_V4 { part.body + end - start } else { packet.len() };
        self.longest = self.longest.max(length);
        if part.dont_fragment {
            self.longest_unfragmentable = self.longest_unfragmentable.max(length);
        }
        Ok(())
    }

    /// Puts a fragment where it belongs (`inet_frag_queue_insert`).
    fn insert(&mut self, kept: Kept) -> Result<(), Refused> {
        let (start, end) = (kept.start, kept.end);
        match self.pieces.last() {
            Some(last) if last.end >= end => {
                let place = self.runs.partition_point(|run| run.1 <= start);
                if let Some(run) = self.runs.get(place).filter(|run| run.0 < end) {
                    let is_known = run.0 <= start && end <= run.1;
                    return Err(if is_known { Refused::Duplicate } else { Refused::Overlap });
                }
                self.runs.insert(place, (start, end));
                let place = self.pieces.partition_point(|piece| piece.start < start);
                self.pieces.insert(place, kept);
            }
            Some(last) if start < last.end => return Err(Refused::Overlap),
            last => {
                match self.runs.last_mut() {
                    Some(run) if last.is_some_and(|last| last.end == start) => run.1 = end,
                    Some(_) | None => self.runs.push((start, end)),
                }
                self.pieces.push(kept);
            }
        }
        Ok(())
    }

    /// Whether it is known where the packet ends and all of it is here.
    pub(super) fn is_whole(&self) -> bool {
        self.has_last && self.here == self.end && self.pieces.first().is_some_and(|first| first.start == 0)
    }

    /// Puts the packet together (`ip_frag_reasm`, `nf_ct_frag6_reasm`). It is whole.
    pub(super) fn join<A: Fragmented>(&self, packet: &mut Vec<u8>) -> Result<Whole, Refused> {
        // RFC 3168 §5.3: not-ECT goes with nothing else, and congestion that one fragment met is the packet's.
        if self.ecn & NOT_ECT != 0 && self.ecn != NOT_ECT {
            return Err(Refused::Congestion);
        }
        let Some(first) = self.pieces.first() else { return Err(Refused::Empty) };
        let head = first.part.head;
        let mut whole = Vec::with_capacity(head + self.end);
        whole.extend_from_slice(&first.bytes[..head]);
        self.pieces.iter().for_each(|piece| whole.extend_from_slice(piece.data()));
        let dont_fragment = self.longest_unfragmentable == self.longest;
        if !A::join(&mut whole, &first.bytes, head, self.ecn & CE != 0, dont_fragment) {
            return Err(Refused::Oversize);
        }
        *packet = whole;
        let mut lengths: Vec<usize> = self.pieces.iter().map(|piece| piece.end - piece.start).collect();
        lengths[0] += head;
        Ok(Whole { longest: self.longest, dont_fragment, lengths })
    }

    /// What is left of it when its time is over.
    pub(super) fn expired(mut self) -> Expired {
        let place = self.place.unwrap_or(Place::Leaving);
        let has_first = self.pieces.first().is_some_and(|first| first.start == 0);
        Expired { place, first: has_first.then(|| self.pieces.swap_remove(0).bytes) }
    }

    /// Forgets all fragments. How long the longest was is not forgotten, as `ip_frag_reinit` does not.
    pub(super) fn restart(&mut self, due: (Instant, u64)) {
        let Self { longest, longest_unfragmentable, seen, .. } = *self;
        *self = Self { longest, longest_unfragmentable, seen, ..Self::new(due) };
    }

    /// Whether the source's `count`-th fragment is no more than `distance` behind the last of this packet; remembers it as
    /// the last.
    pub(super) fn is_followed_by(&mut self, count: u32, distance: u32) -> bool {
        let between = count.wrapping_sub(core::mem::replace(&mut self.seen, count));
        self.pieces.is_empty() || between <= distance
    }

    /// What it counts against the bound, in bytes.
    pub(super) const fn cost(&self) -> usize {
        self.cost
    }

    /// When its time is over, and its number.
    pub(super) const fn due(&self) -> (Instant, u64) {
        self.due
    }
}
