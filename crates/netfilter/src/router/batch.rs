//! A batch of packets: the memory of all their flows is asked for before the first one is worked on, so that the processor
//! waits for it once and not for every packet anew.
//!
//! There are three passes: what names a packet's flow is read, and the place in the index that it leads to is touched; the
//! index says where the flow most likely is, and that is touched; then the packets go [their way](super::short), one after
//! another. Whether a guess was right, the third pass sees: what happens to a packet does not depend on it, nor on the
//! packets around it.

use core::hint::black_box;

use pinhole_sansio::Instant;

use super::stack::Stack;
use super::{BATCH, Packet, Verdict};
use crate::headers::Family;
use crate::interface::Interface;
use crate::plain::{Ends, TCP};
use crate::table::{Likely, Place};

/// Where the flows of a batch most likely are.
pub(super) struct Asked {
    places: [Likely; BATCH],
    /// Of their tuples; zero of a packet that goes the long way.
    hashes: [u64; BATCH],
}

impl<A: Family> Stack<A> {
    /// Finds out where the flows of packets are that may go the short way, and reads the memory that they need.
    #[inline(never)]
    pub(super) fn ask(&self, packets: &[Packet]) -> Asked {
        let table = &self.conntrack.table;
        let mut asked = Asked { places: [Likely::NOWHERE; BATCH], hashes: [0; BATCH] };
        let mut tcp = 0_u32;
        for (n, (packet, hash)) in packets.iter().zip(&mut asked.hashes).enumerate() {
            if A::is_plain(&packet.bytes)
                && let Some((ends, protocol)) = A::ends(&packet.bytes)
            {
                *hash = table.hash(&ends, protocol, 0);
                tcp |= u32::from(protocol == TCP) << n;
            }
        }
        black_box(asked.hashes.iter().fold(0, |sum, &hash| sum ^ table.touch_index(hash)));
        let mut all_known = true;
        for (&hash, place) in asked.hashes.iter().zip(&mut asked.places) {
            if hash != 0 {
                *place = table.likely(hash);
                all_known &= !place.is_nowhere();
            }
        }
        let mut touched = 0;
        for (n, &place) in asked.places.iter().enumerate() {
            touched ^= table.touch(place, tcp >> n & 1 == 1);
        }
        if !all_known {
            touched ^= self.touch_new(packets, &asked);
        }
        black_box(touched);
        asked
    }

    /// Reads the memory that packets need that most likely begin a flow: where their source is listed, and where their answer
    /// will be found if the flow is translated as the last one was.
    #[inline(never)]
    fn touch_new(&self, packets: &[Packet], asked: &Asked) -> u32 {
        let (table, mapped) = (&self.conntrack.table, self.conntrack.mapped);
        let mut touched = 0;
        for ((packet, &hash), place) in packets.iter().zip(&asked.hashes).zip(&asked.places) {
            if hash != 0
                && place.is_nowhere()
                && let Some((ends, protocol)) = A::ends(&packet.bytes)
            {
                let answer = Ends { dst: mapped, ..ends.swapped() };
                touched ^= table.touch_index(table.hash(&answer, protocol, 0)) ^ table.touch_source(&ends, protocol);
            }
        }
        touched
    }

    /// Takes packets of a batch the short way, from the `first` on, up to one that may not go it: the place of that one is the
    /// answer, and nothing has happened to it.
    #[inline(never)]
    pub(super) fn hurry_from(
        &mut self,
        now: Instant,
        asked: &Asked,
        first: usize,
        interfaces: &[Interface],
        packets: &mut [Packet],
        verdicts: &mut [Verdict],
    ) -> usize {
        let Some(terms) = self.terms else { return first };
        let (mut n, mut last) = (first, None);
        while let (Some(packet), Some(verdict), Some(&place)) =
            (packets.get_mut(n), verdicts.get_mut(n), asked.places.get(n))
            && let Some((ends, protocol)) = A::ends(&packet.bytes)
            && let Some(place) = self.find_asked(asked, n, place, &ends, protocol)
            && let Some(output) = self.pass(now, &terms, place, &ends, protocol, interfaces, packet)
        {
            *verdict = Verdict::Forward(output);
            last = Some(place);
            n += 1;
        }
        if let Some(place) = last {
            self.has_passed(place);
        }
        n
    }

    /// The flow of a packet, if it had one when it was asked for.
    #[inline(always)]
    fn find_asked(&self, asked: &Asked, n: usize, place: Likely, ends: &Ends<A>, protocol: u8) -> Option<Place> {
        let known = self.conntrack.table.confirm(place, ends, protocol);
        if known.is_none() && !place.is_nowhere() { self.find_anew(asked.hashes[n], ends, protocol) } else { known }
    }

    /// The same where the guess was wrong.
    #[cold]
    #[inline(never)]
    fn find_anew(&self, hash: u64, ends: &Ends<A>, protocol: u8) -> Option<Place> {
        self.conntrack.table.lookup(hash, ends, protocol)
    }
}
