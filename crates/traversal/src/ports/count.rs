//! The order in which ports are tried of a NAT that counts, by somebody whose own port does not change.
//!
//! The peer's mappings have the numbers that follow the guess, behind those that others have opened in the meantime. How many
//! that are is not known, only about how many a second. So the ports are tried from the guess on, in passes that reach
//! farther the later they come: what was lost, and what the peer opened late, is found by the next.

use pinhole_sansio::{Duration, Instant};

use super::{LOWEST, Sequence};

/// When a pass begins, after the start.
const PASSES: [Duration; 4] =
    [Duration::ZERO, Duration::from_millis(300), Duration::from_millis(850), Duration::from_millis(1_600)];
/// Ports of a pass if nobody else opens anything.
const LEAST: u32 = 24;
/// Ports of a pass, at most.
const MOST: u32 = 320;
/// How long the guess may have been on its way, beyond what it says itself.
const WAY: Duration = Duration::from_millis(300);

/// Ports to try, one after another.
#[derive(Clone, Debug)]
pub struct Count {
    sequence: Sequence,
    started: Instant,
    pass: usize,
    at: u32,
}

impl Count {
    /// From now on.
    pub const fn new(now: Instant, sequence: Sequence) -> Self {
        Self { sequence, started: now, pass: 0, at: 0 }
    }

    /// How far a pass reaches: as many as others may have opened, and half as many again.
    fn reach(&self, after: Duration) -> u32 {
        let age = Duration::from_millis(self.sequence.age_ms.into()) + WAY + after;
        let others = u128::from(self.sequence.others) * age.as_millis() * 3 / 2_000;
        (LEAST + others.min(u128::from(MOST)) as u32).min(MOST)
    }
}

impl Iterator for Count {
    /// A port, and when it is due.
    type Item = (Instant, u16);

    /// `None` when all passes are over.
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let &after = PASSES.get(self.pass)?;
            let count = self.at;
            if count >= self.reach(after) {
                (self.pass, self.at) = (self.pass + 1, 0);
                continue;
            }
            self.at += 1;
            let port = self.sequence.after(count as i32);
            if port >= LOWEST {
                return Some((self.started + after, port));
            }
        }
    }
}
