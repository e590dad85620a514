//! Ports in runs, each for one subscriber: a carrier then logs a run instead of every connection (RFC 6888 REQ-14).

use std::collections::VecDeque;

use pinhole_sansio::{Duration, Instant, Rng};

use super::set::{Parity, PortSet, Range};

/// A run of ports of one external address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// Which run of its address, from zero.
    pub number: u16,
    /// Its ports.
    pub range: Range,
}

/// The runs of one external address.
#[derive(Clone, Debug)]
pub struct Blocks {
    range: Range,
    size: u16,
    free: PortSet,
    resting: VecDeque<(Instant, u16)>,
    hold_down: Duration,
}

impl Blocks {
    /// The ports of `range` in runs of `size` (at least one); what is left over at its end belongs to no run. A run that
    /// was given back rests for `hold_down`.
    pub fn new(range: Range, size: u16, hold_down: Duration) -> Self {
        Self { range, size: size.max(1), free: PortSet::full(), resting: VecDeque::new(), hold_down }
    }

    /// How many runs there are, free or not.
    pub fn count(&self) -> u32 {
        self.range.size() / u32::from(self.size)
    }

    /// The run with this number, if there is one; free or not.
    pub fn block(&self, number: u32) -> Option<Block> {
        if number >= self.count() {
            return None;
        }
        let min = self.range.at(number * u32::from(self.size));
        Some(Block { number: number as u16, range: Range::new(min, min + (self.size - 1)) })
    }

    /// A free run, any.
    pub fn allocate(&mut self, now: Instant, rng: &mut Rng) -> Option<Block> {
        while let Some(&(_, number)) = self.resting.front().filter(|(at, _)| *at <= now) {
            self.resting.pop_front();
            self.free.insert(number);
        }
        let highest = self.count().checked_sub(1)? as u16;
        let start = rng.below(self.count().into()) as u16;
        let number = self.free.next(start, Range::new(0, highest), Parity::Any)?;
        self.free.remove(number);
        self.block(number.into())
    }

    /// Gives a run back.
    pub fn release(&mut self, now: Instant, number: u16) {
        if self.hold_down.is_zero() {
            self.free.insert(number);
        } else {
            self.resting.push_back((now + self.hold_down, number));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_do_not_overlap_and_all_are_given_out() {
        let mut rng = Rng::from_seed(1);
        let mut blocks = Blocks::new(Range::new(1_024, 65_535), 500, Duration::ZERO);
        assert_eq!(blocks.count(), 129);
        let mut given: Vec<_> = std::iter::from_fn(|| blocks.allocate(Instant::EPOCH, &mut rng)).collect();
        given.sort_by_key(|block| block.range.min);
        assert_eq!(given.len(), 129);
        assert!(given.iter().all(|block| block.range.size() == 500));
        assert!(given.windows(2).all(|pair| pair[0].range.max < pair[1].range.min));
        blocks.release(Instant::EPOCH, 7);
        assert_eq!(blocks.allocate(Instant::EPOCH, &mut rng).map(|block| block.number), Some(7));
    }

    #[test]
    fn a_run_that_was_given_back_rests() {
        let mut rng = Rng::from_seed(1);
        let mut blocks = Blocks::new(Range::ALL, 32_768, Duration::from_secs(120));
        let number = blocks.allocate(Instant::EPOCH, &mut rng).map_or(9, |block| block.number);
        assert!(blocks.allocate(Instant::EPOCH, &mut rng).is_some());
        blocks.release(Instant::EPOCH, number);
        let after = |seconds| Instant::EPOCH + Duration::from_secs(seconds);
        assert_eq!(blocks.allocate(after(119), &mut rng), None);
        assert_eq!(blocks.allocate(after(120), &mut rng).map(|block| block.number), Some(number));
    }
}
