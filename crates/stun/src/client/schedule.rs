//! When a request that has had no answer is sent again (RFC 8489 §6.2.1, §6.2.2).

use pinhole_sansio::Duration;

/// The waits of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// The wait after the first request, RTO; it doubles after each.
    pub first: Duration,
    /// The longest wait between two requests.
    pub longest: Duration,
    /// Requests, Rc. Zero counts as one.
    pub attempts: u32,
    /// The wait after the last request, Rm times RTO.
    pub last: Duration,
    /// How long an answer by TCP or TLS may take, Ti; there nothing is sent again.
    pub stream: Duration,
}

impl Schedule {
    /// The RFC's: RTO 500 ms, seven requests at 0, 0.5, 1.5, 3.5, 7.5, 15.5 and 31.5 s, given up at 39.5 s.
    pub const STANDARD: Self = Self {
        first: Duration::from_millis(500),
        longest: Duration::from_secs(64),
        attempts: 7,
        last: Duration::from_secs(8),
        stream: Duration::from_millis(39_500),
    };

    /// For someone who waits: requests at 0, 0.15, 0.45, 0.95, 1.45 and 1.95 s, given up at 2.95 s. With 5 % loss each way
    /// one in a million transactions fails.
    pub const IMPATIENT: Self = Self {
        first: Duration::from_millis(150),
        longest: Duration::from_millis(500),
        attempts: 6,
        last: Duration::from_secs(1),
        stream: Duration::from_secs(5),
    };

    /// How long to wait after the request of this number, the first being 1.
    pub(super) fn wait(&self, sent: u32) -> Duration {
        if self.is_over(sent) {
            return self.last;
        }
        let doubled = self.first.saturating_mul(1 << (sent.saturating_sub(1)).min(16));
        doubled.min(self.longest)
    }

    /// True if there is no request after this one.
    pub(super) fn is_over(&self, sent: u32) -> bool {
        sent >= self.attempts.max(1)
    }
}

impl Default for Schedule {
    fn default() -> Self {
        Self::STANDARD
    }
}
