//! Lifetimes, counted.

use crate::Hz;

/// How many sockets lasted how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Distribution {
    hz: Hz,
    /// A bin is two to this power jiffies wide.
    shift: u32,
    bins: Vec<u64>,
    count: u64,
    sum_j: u128,
    least_j: u64,
    most_j: u64,
}

impl Distribution {
    pub(super) fn new(hz: Hz) -> Self {
        /// Bins of about ten milliseconds.
        const BINS_PER_S: u64 = 100;
        let shift = (hz.get() / BINS_PER_S).max(1).ilog2();
        Self { hz, shift, bins: Vec::new(), count: 0, sum_j: 0, least_j: u64::MAX, most_j: 0 }
    }

    pub(super) fn add(&mut self, life_j: u64, count: u64) {
        let bin = (life_j >> self.shift) as usize;
        if bin >= self.bins.len() {
            self.bins.resize(bin + 1, 0);
        }
        self.bins[bin] += count;
        self.count += count;
        self.sum_j += u128::from(life_j) * u128::from(count);
        self.least_j = self.least_j.min(life_j);
        self.most_j = self.most_j.max(life_j);
    }

    /// How many sockets.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The shortest life, seconds; 0 of nobody.
    pub fn least_s(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.hz.to_s(self.least_j) }
    }

    /// The longest life, seconds.
    pub fn most_s(&self) -> f64 {
        self.hz.to_s(self.most_j)
    }

    /// The mean, seconds; 0 of nobody.
    pub fn mean_s(&self) -> f64 {
        self.sum_j as f64 / self.count.max(1) as f64 / self.hz.get() as f64
    }

    /// The life that `share` (0 to 1) of the sockets do not outlive, seconds, to a bin's width (about 10 ms).
    pub fn quantile_s(&self, share: f64) -> f64 {
        let wanted = (self.count as f64 * share.clamp(0.0, 1.0)).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (bin, count) in self.bins.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                let end_j = (bin as u64 + 1) << self.shift;
                return self.hz.to_s(end_j.clamp(self.least_j, self.most_j));
            }
        }
        self.most_s()
    }

    /// The share of sockets that lasted at most `life_s` seconds, to a bin's width.
    pub fn share_below(&self, life_s: f64) -> f64 {
        let bin = ((life_s * self.hz.get() as f64) as u64 >> self.shift) as usize;
        let below: u64 = self.bins.iter().take(bin).sum();
        below as f64 / self.count.max(1) as f64
    }

    /// The counts between `from_s` and `until_s`, in `columns` columns of the same width; each has its middle, seconds.
    pub fn columns(&self, from_s: f64, until_s: f64, columns: usize) -> Vec<(f64, u64)> {
        let width_s = (until_s - from_s) / columns as f64;
        let mut counted: Vec<_> = (0..columns).map(|n| (from_s + (n as f64 + 0.5) * width_s, 0)).collect();
        for (bin, &count) in self.bins.iter().enumerate().filter(|(_, count)| **count > 0) {
            let middle_j = (bin as f64 + 0.5) * f64::from(1u32 << self.shift);
            let at = (middle_j / self.hz.get() as f64 - from_s) / width_s;
            // A bin of the edge may have its middle beyond it.
            if at > -1.0 && !counted.is_empty() {
                let last = counted.len() - 1;
                counted[(at.max(0.0) as usize).min(last)].1 += count;
            }
        }
        counted
    }
}
