//! Which port to try next when both NATs count, and give every destination the next number.
//!
//! Both sides send from one port each, to one port of the other after another, and each packet makes a mapping. The opener's
//! m-th goes to the m-th port that the prober is predicted to have; it has itself the number m + e, where e is what others
//! behind its NAT have opened that nobody has told of. The prober's n-th has the number n + d in the same way. It meets the
//! opener's mapping that was made for it if it goes to the port with the number n + s, where s = d + e: the prober then goes
//! to the opener's mapping number n + s, which is its (n + d)-th, which went to the prober's port number n + d.
//!
//! So one number is looked for, s. It is zero if nobody else is there, grows by one with every flow that others open, and is
//! known about as well as the age of the guesses and the others' rate are. Each probe tries one value of it. But no port may
//! be tried twice, since a second packet to a port makes no mapping, and then a high value that was tried early has taken the
//! port that a low one would need later. So numbers are gone through in blocks, each backwards: in a block of l around c, s
//! goes from c + l - 1 down to c - l + 1 in steps of two, and no block takes another's ports. The next block is one
//! farther up, for the values between; and since others keep opening flows, s crosses the path of every block.
//!
//! NATs with one mapping for all ports of an address take part without knowing: the opener's one mapping and the prober's one
//! are among the ports that the other goes to. The prober's first block goes through all likely numbers from zero on, for
//! their sake.

use pinhole_sansio::Instant;

use super::{LOWEST, Sequence};

/// Mappings of the prober: the opener has made [`OPENED`], and must be ahead by what others have taken of the prober's.
const TRIED: i32 = 200;
/// Mappings of the opener: no more than a NAT has to bear.
pub const OPENED: u32 = 256;
/// How long, in seconds, a guess may have been on its way when the prober begins, beyond what it says itself.
const WAY: f64 = 0.2;
/// By how much of itself what others open may be wrong: it was seen for a short time only.
const OFF: f64 = 0.3;
/// Somebody always opens something, per second and side.
const LEAST_OTHERS: f64 = 2.0;
/// How many standard deviations the blocks reach, in turn: two for what is likely, odd and even, then two for what is not.
const REACH: [f64; 4] = [1.0, 1.0, 2.0, 2.0];
/// The shortest block.
const SHORTEST: f64 = 4.0;

/// Ports to try, one after another.
#[derive(Clone, Debug)]
pub struct Meeting {
    remote: Sequence,
    started: Instant,
    /// Flows that others open on both sides, per second.
    others: f64,
    /// How many they will have opened at the start.
    opened: f64,
    /// Probes so far: the number of the next mapping, but for others'.
    count: i32,
    blocks: usize,
    block: Block,
}

/// Probes that go through as many ports backwards.
#[derive(Clone, Copy, Debug)]
struct Block {
    first: i32,
    length: i32,
    /// The mean of the values that it tries.
    around: i32,
}

impl Meeting {
    /// From now on, where we and the peer have these counters.
    pub fn new(now: Instant, local: Sequence, remote: Sequence) -> Self {
        let rate = |side: Sequence| f64::from(side.others) + LEAST_OTHERS;
        let opened = |side: Sequence| rate(side) * (f64::from(side.age_ms) / 1_000.0 + WAY);
        let (others, opened) = (rate(local) + rate(remote), opened(local) + opened(remote));
        let all = opened + 2.0 * deviation(opened);
        let block = Block { first: 0, length: all.clamp(SHORTEST, f64::from(TRIED) / 4.0) as i32, around: 0 };
        Self { remote, started: now, others, opened, count: 0, blocks: 0, block }
    }

    /// The next port; `None` when enough were tried.
    pub fn next(&mut self, now: Instant) -> Option<u16> {
        while self.count < TRIED {
            let mut at = self.count - self.block.first;
            if at == self.block.length {
                self.block = self.following(now);
                at = 0;
            }
            let Block { first, length, around } = self.block;
            self.count += 1;
            let port = self.remote.after(first + around + length - 1 - at);
            if port >= LOWEST {
                return Some(port);
            }
        }
        None
    }

    /// The next block: around what others will have opened in the middle of it.
    fn following(&mut self, now: Instant) -> Block {
        let mean = self.opened + self.others * now.since(self.started).as_secs_f64();
        let reach = REACH[self.blocks % REACH.len()];
        self.blocks += 1;
        let length = (reach * deviation(mean)).max(SHORTEST).min(f64::from(TRIED)) as i32;
        // No lower than what none can be, nor than the block before, whose ports begin there.
        let around = (mean as i32).max(length - 1).max(self.block.around);
        // The values between those of the block before.
        let is_between = (around + length) % 2 != (self.block.around + self.block.length) % 2;
        Block { first: self.count, length, around: if is_between { around } else { around + 1 } }
    }
}

/// Of how many flows others have opened, where so many are expected.
fn deviation(mean: f64) -> f64 {
    (mean + (OFF * mean).powi(2)).sqrt()
}
