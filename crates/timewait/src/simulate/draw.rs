//! Random numbers of the distributions that arrivals have.

use pinhole_sansio::Rng;

#[derive(Clone, Debug)]
pub(super) struct Draw(Rng);

/// Fractions of a jiffy that are told apart.
const FRACTION_BITS: u32 = 20;
/// Below this mean multiplying uniforms is quicker than rejection, and rejection needs more.
const SMALL_MEAN: f64 = 10.0;

impl Draw {
    pub(super) fn from_seed(seed: u64) -> Self {
        Self(Rng::from_seed(seed))
    }

    /// The time to the next of arrivals that come `rate` times in a unit of it.
    pub(super) fn gap(&mut self, rate: f64) -> f64 {
        -(1.0 - self.0.unit()).ln() / rate
    }

    /// How many come where `mean` are expected.
    pub(super) fn poisson(&mut self, mean: f64) -> u64 {
        match mean {
            _ if mean <= 0.0 => 0,
            _ if mean < SMALL_MEAN => self.poisson_by_product(mean),
            _ => self.poisson_by_rejection(mean),
        }
    }

    /// How many of `count` fall into the first `share`.
    pub(super) fn binomial(&mut self, count: u64, share: f64) -> u64 {
        if share >= 1.0 {
            return count;
        }
        (0..count).map(|_| u64::from(self.0.unit() < share)).sum()
    }

    /// The least of `count` shares.
    pub(super) fn least(&mut self, count: u64) -> f64 {
        1.0 - (1.0 - self.0.unit()).powf(1.0 / count as f64)
    }

    /// The `rank`-th of `count` shares, from one.
    pub(super) fn ordered(&mut self, rank: u64, count: u64) -> f64 {
        // One after the other, from whichever end is nearer.
        if rank > count / 2 {
            return (rank + 1..=count).rev().fold(1.0, |share, left| share * (1.0 - self.least(left)))
                * (1.0 - self.least(rank));
        }
        let mut share = 0.0;
        for taken in 0..rank {
            share += (1.0 - share) * self.least(count - taken);
        }
        share
    }

    /// The jiffies of `count` that come at random from `from` until `until`.
    pub(super) fn each(&mut self, count: u64, from: f64, until: f64, born: &mut impl FnMut(u64)) {
        let scale = f64::from(1 << FRACTION_BITS);
        let start = (from * scale) as u64;
        let length = ((until - from) * scale) as u64;
        for _ in 0..count {
            let offset = (u128::from(self.0.next_u64()) * u128::from(length)) >> 64;
            born((start + offset as u64) >> FRACTION_BITS);
        }
    }

    /// Knuth's.
    fn poisson_by_product(&mut self, mean: f64) -> u64 {
        let least = (-mean).exp();
        let mut product = self.0.unit();
        let mut count = 0;
        while product > least {
            product *= self.0.unit();
            count += 1;
        }
        count
    }

    /// Hörmann's transformed rejection, PTRS.
    fn poisson_by_rejection(&mut self, mean: f64) -> u64 {
        let b = 0.931 + 2.53 * mean.sqrt();
        let a = -0.059 + 0.02483 * b;
        let inverse_alpha = 1.1239 + 1.1328 / (b - 3.4);
        let quick = 0.9277 - 3.6224 / (b - 2.0);
        loop {
            let u = self.0.unit() - 0.5;
            let v = self.0.unit();
            let us = 0.5 - u.abs();
            let k = ((2.0 * a / us + b) * u + mean + 0.43).floor();
            if us >= 0.07 && v <= quick {
                return k as u64;
            }
            if k < 0.0 || (us < 0.013 && v > us) {
                continue;
            }
            let tried = v.ln() + inverse_alpha.ln() - (a / (us * us) + b).ln();
            if tried <= k * mean.ln() - mean - ln_factorial(k) {
                return k as u64;
            }
        }
    }
}

/// ln k!, by Stirling's series where it is good.
fn ln_factorial(k: f64) -> f64 {
    const SMALL: f64 = 10.0;
    let mut x = k + 1.0;
    let mut below = 0.0;
    while x < SMALL {
        below += x.ln();
        x += 1.0;
    }
    let inverse = 1.0 / x;
    let series = inverse * (1.0 / 12.0 - inverse * inverse * (1.0 / 360.0 - inverse * inverse / 1260.0));
    (x - 0.5) * x.ln() - x + 0.5 * (2.0 * std::f64::consts::PI).ln() + series - below
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_arrivals_has_its_mean_and_its_variance() {
        for mean in [0.5, 5.0, 12.0, 400.0, 7.5e5] {
            let mut draw = Draw::from_seed(1);
            let drawn: Vec<f64> = (0..20_000).map(|_| draw.poisson(mean) as f64).collect();
            let average = drawn.iter().sum::<f64>() / 20_000.0;
            let variance = drawn.iter().map(|n| (n - average).powi(2)).sum::<f64>() / 20_000.0;
            assert!((average - mean).abs() < 5.0 * (mean / 20_000.0).sqrt(), "{mean}: {average}");
            assert!((variance / mean - 1.0).abs() < 0.06, "{mean}: {variance}");
        }
    }

    #[test]
    fn factorials_are_right() {
        let exact: f64 = (1..=20).map(|n| f64::from(n).ln()).sum();
        assert!((ln_factorial(20.0) - exact).abs() < 1e-9 && ln_factorial(0.0).abs() < 1e-6);
    }

    #[test]
    fn ranks_are_where_they_are_on_average() {
        let mut draw = Draw::from_seed(2);
        for rank in [1, 3, 7, 9] {
            let mean = (0..20_000).map(|_| draw.ordered(rank, 9)).sum::<f64>() / 20_000.0;
            assert!((mean - rank as f64 / 10.0).abs() < 0.01, "{rank}: {mean}");
        }
    }
}
