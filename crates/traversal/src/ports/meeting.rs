//! Which port to try next when both NATs count, and give every destination the next number.
//!
//! Both sides send from one port each, to one port of the other after another, and each packet makes a mapping. The opener's
//! m-th goes to the m-th port that the prober is predicted to have; it has itself the number m + e, where e is what others
//! behind its NAT have opened that nobody has told of. The prober's n-th has the number n + d in the same way. It meets the
//! opener's mapping that was made for it if it goes to the port with the number n + s, where s = d + e: the prober then goes
//! to the opener's mapping number n + s, which is its (n + d)-th, which went to the prober's port number n + d.
//!
//! So one number is looked for, s. It is zero if nobody else is there, and grows by one with every flow that others open. The
//! prober keeps a belief over it: spread at the beginning by how old the guesses are and how much others open, moved on by
//! time, and lowered where a try was in vain. Each probe goes where the belief is strongest, and to no port twice, since the second
//! packet to a port makes no mapping.
//!
//! NATs with one mapping for all ports of an address take part without knowing: the opener's one mapping and the prober's one
//! are both among the ports that the other goes to. For that the prober ends with the low numbers that it has left out.

use pinhole_sansio::{Duration, Instant};

use super::{LOWEST, Sequence};

/// Mappings of the prober by belief.
const BY_BELIEF: i32 = 176;
/// Low numbers that are left to the end.
const LOW: i32 = 48;
/// Mappings of the opener: ahead of all of the prober's, and no more than a NAT has to bear.
pub const OPENED: u32 = 256;
/// The largest sum that is looked for.
const SPAN: usize = 192;
/// How long, in seconds, the guesses may have been on their way when the prober begins, beyond what they say themselves.
const WAYS: [f64; 4] = [0.15, 0.2, 0.3, 0.5];
/// What others open was seen for some tenths of a second only: it may be as much less or more.
const OFF: [f64; 3] = [0.6, 1.0, 1.5];
/// Somebody always opens something, per second and side.
const LEAST_OTHERS: f64 = 3.0;
/// What of the belief is spread evenly: guesses may be wrong in other ways.
const DOUBT: f64 = 0.05;
/// What remains of the belief in a sum that was tried in vain: the probe may have been lost, or the sum been another just
/// then.
const MISSED: f64 = 0.25;

/// Ports to try, one after another.
#[derive(Clone, Debug)]
pub struct Meeting {
    remote: Sequence,
    /// Flows that others open on both sides, per second.
    others: f64,
    belief: Vec<f64>,
    then: Instant,
    /// Probes so far: the number of the next mapping, but for others'.
    count: i32,
    /// Numbers of the peer's ports that were tried.
    tried: Vec<bool>,
}

impl Meeting {
    /// From now on, where we and the peer have these counters.
    pub fn new(now: Instant, local: Sequence, remote: Sequence) -> Self {
        let others = f64::from(local.others) + f64::from(remote.others) + 2.0 * LEAST_OTHERS;
        let seen = |way: f64| -> f64 {
            let side =
                |side: Sequence| (f64::from(side.others) + LEAST_OTHERS) * (f64::from(side.age_ms) / 1_000.0 + way);
            side(local) + side(remote)
        };
        let means = WAYS.into_iter().flat_map(|way| OFF.into_iter().map(move |off| (way, off)));
        let spreads: Vec<Vec<f64>> = means.map(|(way, off)| poisson(seen(way) * off)).collect();
        let mean = |sum: usize| spreads.iter().map(|spread| spread[sum]).sum::<f64>() / spreads.len() as f64;
        let belief = (0..SPAN).map(|sum| (1.0 - DOUBT) * mean(sum) + DOUBT / SPAN as f64).collect();
        Self { remote, others, belief, then: now, count: 0, tried: vec![false; SPAN + BY_BELIEF as usize] }
    }

    /// The next port; `None` when enough were tried.
    pub fn next(&mut self, now: Instant) -> Option<u16> {
        loop {
            let number = if self.count < BY_BELIEF { self.likeliest(now) } else { self.left_out() }?;
            self.count += 1;
            self.tried[number] = true;
            let port = self.remote.after(number as i32);
            if port >= LOWEST {
                return Some(port);
            }
        }
    }

    /// The number of the port where the belief is strongest.
    fn likeliest(&mut self, now: Instant) -> Option<usize> {
        self.pass(now.since(self.then));
        self.then = now;
        let first = self.count as usize;
        let open = (0..SPAN).filter(|sum| !self.tried[first + sum]);
        let sum = open.max_by(|&a, &b| self.belief[a].total_cmp(&self.belief[b]).then(b.cmp(&a)))?;
        self.belief[sum] *= MISSED;
        Some(first + sum)
    }

    /// The lowest number that was left out.
    fn left_out(&self) -> Option<usize> {
        (0..LOW as usize).find(|&number| !self.tried[number])
    }

    /// Others open flows while time passes: at most one at once, however fast they are.
    fn pass(&mut self, time: Duration) {
        let mut left = self.others * time.as_secs_f64();
        while left > 0.0 {
            let moved = left.min(0.5);
            for sum in (1..SPAN).rev() {
                self.belief[sum] += moved * (self.belief[sum - 1] - self.belief[sum]);
            }
            self.belief[0] *= 1.0 - moved;
            left -= moved;
        }
        let all: f64 = self.belief.iter().sum();
        if all > 0.0 {
            self.belief.iter_mut().for_each(|belief| *belief /= all);
        }
    }
}

/// The Poisson distribution.
fn poisson(mean: f64) -> Vec<f64> {
    let next = |(sum, last): &(usize, f64)| Some((sum + 1, last * mean / (sum + 1) as f64));
    std::iter::successors(Some((0, (-mean).exp())), next).map(|(_, probability)| probability).take(SPAN).collect()
}
