//! What Linux draws at random: from a seed here, so that the same seed gives the same ports; or as it is told.

use pinhole_sansio::Rng;

/// Where random numbers come from.
#[derive(Clone, Debug)]
pub struct Dice {
    rng: Rng,
    told: Option<u16>,
}

impl Dice {
    /// Dice of a seed.
    pub fn from_seed(seed: u64) -> Self {
        Self { rng: Rng::from_seed(seed), told: None }
    }

    /// The next search for a port begins at this one, if it is in the search's range. So an engine that is held to a
    /// kernel can be asked whether what the kernel chose was one of what it may choose.
    pub fn tell(&mut self, port: Option<u16>) {
        self.told = port;
    }

    /// Where a search among `size` ports from `min` on begins, counted from `min`.
    pub(super) fn start(&mut self, min: u16, size: u32) -> u16 {
        if let Some(told) = self.told.take() {
            let offset = told.wrapping_sub(min);
            if u32::from(offset) < size {
                return offset;
            }
        }
        self.rng.next_u64() as u16
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.rng.below(bound)
    }
}
