//! Sockets that share a list: how many came, and between when and when.

use super::draw::Draw;

/// Some sockets. Times are jiffies since the beginning, and may be between two.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Cohort {
    pub(super) count: u64,
    pub(super) from: f64,
    pub(super) until: f64,
    /// One after the other at the same distance, rather than at random.
    pub(super) even: bool,
}

impl Cohort {
    /// The first `count` of them, and the rest.
    pub(super) fn split_after(self, count: u64, draw: &mut Draw) -> (Self, Self) {
        let nobody = Self { count: 0, ..self };
        if count >= self.count {
            return (self, nobody);
        }
        if count == 0 {
            // The first that is refused tells when.
            let share = if self.even { 0.0 } else { draw.least(self.count) };
            return (nobody, Self { from: self.at(share), ..self });
        }
        let share = if self.even { count as f64 / self.count as f64 } else { draw.ordered(count, self.count) };
        let middle = self.at(share);
        (Self { count, until: middle, ..self }, Self { count: self.count - count, from: middle, ..self })
    }

    /// Takes the newest `count` (at most all) out, and tells of the jiffy in which each came.
    pub(super) fn take_newest(&mut self, count: u64, draw: &mut Draw, mut born: impl FnMut(u64)) {
        if count >= self.count {
            draw.each(self.count, self.from, self.until, &mut born);
            self.count = 0;
            return;
        }
        for _ in 0..count {
            // The newest of n is at the n-th root of a uniform share.
            let share = 1.0 - draw.least(self.count);
            self.until = self.at(share);
            self.count -= 1;
            born(self.until as u64);
        }
    }

    fn at(&self, share: f64) -> f64 {
        self.from + (self.until - self.from) * share
    }
}
