//! An access link: what happens to a packet between a site and the Internet's router.

use pinhole_sansio::{Duration, Instant, Rng};

/// The largest delay that waiting for a slow link may add; what would wait longer is dropped, as by a full buffer.
const LONGEST_QUEUE: Duration = Duration::from_millis(200);

/// What a link does to packets, the same in both directions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Link {
    /// How long a bit takes from end to end.
    pub delay: Duration,
    /// Up to how much is added to the delay, evenly distributed. Packets stay in order.
    pub jitter: Duration,
    /// The probability that a packet takes a detour: up to twice the delay, while later ones overtake it.
    pub reorder: f64,
    /// The probability that a packet is lost.
    pub loss: f64,
    /// Bits per second; `None` is infinitely fast.
    pub rate_bps: Option<u64>,
    /// Bytes of the largest IP packet.
    pub mtu: u16,
    /// Whether it is connected at all.
    pub connected: bool,
}

impl Link {
    /// A perfect link with the given delay.
    pub const fn with_delay(delay: Duration) -> Self {
        Self { delay, jitter: Duration::ZERO, reorder: 0.0, loss: 0.0, rate_bps: None, mtu: 1500, connected: true }
    }
}

impl Default for Link {
    fn default() -> Self {
        Self::with_delay(Duration::ZERO)
    }
}

/// Why a link did not carry a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Loss {
    /// By chance.
    Chance,
    /// The link is slower than what was sent over it.
    QueueFull,
    /// It is not connected.
    Disconnected,
}

/// One direction of a link, with what it remembers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Direction {
    /// When the last bit that was sent will have left.
    busy_until: Instant,
    /// When the last packet arrives; the next may not overtake it.
    last_arrival: Instant,
}

impl Direction {
    /// When a packet of `length` bytes that is sent at `now` arrives.
    pub(crate) fn carry(&mut self, now: Instant, length: usize, link: &Link, rng: &mut Rng) -> Result<Instant, Loss> {
        if !link.connected {
            return Err(Loss::Disconnected);
        }
        if link.loss > 0.0 && rng.chance(link.loss) {
            return Err(Loss::Chance);
        }
        let sent = match link.rate_bps {
            None => now,
            Some(rate) => {
                let begin = self.busy_until.max(now);
                if begin.since(now) > LONGEST_QUEUE {
                    return Err(Loss::QueueFull);
                }
                let nanos = length as u64 * 8 * 1_000_000_000 / rate.max(1);
                self.busy_until = begin + Duration::from_nanos(nanos);
                self.busy_until
            }
        };
        let arrival = sent + link.delay + up_to(link.jitter, rng);
        if link.reorder > 0.0 && rng.chance(link.reorder) {
            return Ok(arrival.max(self.last_arrival) + up_to(link.delay, rng));
        }
        self.last_arrival = self.last_arrival.max(arrival);
        Ok(self.last_arrival)
    }
}

/// An evenly distributed time.
fn up_to(most: Duration, rng: &mut Rng) -> Duration {
    match u64::try_from(most.as_nanos()).unwrap_or(u64::MAX) {
        0 => Duration::ZERO,
        nanos => Duration::from_nanos(rng.below(nanos)),
    }
}
