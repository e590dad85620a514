//! Which message counters were received: the sliding window of RFC 6479, as long as Linux's.

/// Bits per word.
const WORD: u64 = u64::BITS as u64;
/// Words; one of them is always being cleared, so the window is shorter by one (drivers/net/wireguard/messages.h).
const WORDS: u64 = 128;
/// How far behind the greatest counter a message may come.
const WINDOW: u64 = (WORDS - 1) * WORD;

/// Which message counters were received.
pub(crate) struct Window {
    /// One more than the greatest counter; 0 before the first.
    next: u64,
    bits: [u64; WORDS as usize],
}

impl Default for Window {
    fn default() -> Self {
        Self { next: 0, bits: [0; WORDS as usize] }
    }
}

impl Window {
    /// Whether `counter` is new and not too old.
    pub(crate) fn accepts(&self, counter: u64) -> bool {
        if counter >= self.next {
            return true;
        }
        counter.saturating_add(WINDOW) >= self.next && self.bits[Self::word(counter)] & Self::bit(counter) == 0
    }

    /// Marks `counter`, which the window accepts, as received.
    pub(crate) fn mark(&mut self, counter: u64) {
        if counter >= self.next {
            // The words between the last greatest counter and this one are from the window's previous turn.
            let last = self.next.checked_sub(1).map_or(0, |last| last / WORD);
            let steps = (counter / WORD - last).min(WORDS);
            for step in 1..=steps {
                self.bits[((last + step) % WORDS) as usize] = 0;
            }
            self.next = counter.saturating_add(1);
        }
        self.bits[Self::word(counter)] |= Self::bit(counter);
    }

    const fn word(counter: u64) -> usize {
        (counter / WORD % WORDS) as usize
    }

    const fn bit(counter: u64) -> u64 {
        1 << (counter % WORD)
    }
}

#[cfg(test)]
mod tests;
