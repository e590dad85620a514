//! What Linux draws at random: from a seed here, so that the same seed gives the same ports; or as it is told.

use core::net::IpAddr;
use core::ops::Range;

use pinhole_sansio::Rng;

use super::Manip;

/// Where random numbers come from.
#[derive(Clone, Debug)]
pub struct Dice {
    rng: Rng,
    told: Told,
}

/// What a kernel has drawn for a packet.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// What source and destination of its flow have become.
    pub ends: Option<[(IpAddr, u16); 2]>,
    /// The ports of what has come to be expected.
    pub expected: Vec<u16>,
}

impl Dice {
    /// Dice of a seed.
    pub fn from_seed(seed: u64) -> Self {
        Self { rng: Rng::from_seed(seed), told: Told::default() }
    }

    /// What is drawn for the next packet is this, where it may be drawn: a search for a port begins at the one told if that
    /// is in its range, and so on. So an engine that is held to a kernel can be asked whether what the kernel chose was one
    /// of what it may choose.
    pub fn tell(&mut self, told: Told) {
        self.told = told;
    }

    /// Where a search among `size` ports from `min` on begins, counted from `min`.
    pub(super) fn start(&mut self, manip: Manip, min: u16, size: u32) -> u16 {
        if let Some((_, told)) = self.told_of(manip) {
            let offset = told.wrapping_sub(min);
            if u32::from(offset) < size {
                return offset;
            }
        }
        self.rng.next_u64() as u16
    }

    /// A port of the range, which is not empty, for what is to be expected.
    pub(crate) fn expected(&mut self, range: Range<u16>) -> u16 {
        if let Some(at) = self.told.expected.iter().position(|told| range.contains(told)) {
            return self.told.expected.remove(at);
        }
        let size = u64::from(range.end.saturating_sub(range.start)).max(1);
        range.start + self.rng.below(size) as u16
    }

    fn told_of(&self, manip: Manip) -> Option<(IpAddr, u16)> {
        let [source, destination] = self.told.ends?;
        Some(match manip {
            Manip::Source => source,
            Manip::Destination => destination,
        })
    }
}
