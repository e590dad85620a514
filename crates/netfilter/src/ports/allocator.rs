//! Which port a new mapping gets, and when a port that was given back is given out again.

use std::collections::VecDeque;

use pinhole_sansio::{Duration, Instant, Rng};

use super::set::{Parity, PortSet, Range};

/// The order in which ports are given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Order {
    /// The wished one; if it is taken, the next above.
    Nearest,
    /// The wished one; if it is taken, any.
    SameOrRandom,
    /// Any, whatever was wished.
    Random,
    /// One after another, this far apart. A step of zero gives the lowest free one.
    Sequential {
        /// How far.
        step: u16,
    },
}

/// How long a port rests after use (RFC 6888 REQ-8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HoldDown {
    /// How long.
    pub time: Duration,
    /// At most so many ports of an address and protocol rest; beyond that the one that rested longest is free at once.
    pub ports: u32,
}

impl HoldDown {
    /// A port is free as soon as it is given back.
    pub const NONE: Self = Self { time: Duration::ZERO, ports: 0 };
}

/// What is asked of an allocator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    /// The port that would be best.
    pub port: u16,
    /// The ports that will do.
    pub range: Range,
    /// The lowest bit that is asked for.
    pub parity: Parity,
}

/// The ports of one external address and protocol.
#[derive(Clone, Debug)]
pub struct Allocator {
    free: PortSet,
    resting: VecDeque<(Instant, u16)>,
    hold_down: HoldDown,
    /// Where a sequential order goes on.
    next: u16,
}

impl Allocator {
    /// All ports are free.
    pub fn new(hold_down: HoldDown) -> Self {
        Self { free: PortSet::full(), resting: VecDeque::new(), hold_down, next: 0 }
    }

    /// A port as `wish` has it, chosen in `order`. There is none only if every such port is taken or rests.
    pub fn allocate(&mut self, now: Instant, wish: Wish, order: Order, rng: &mut Rng) -> Option<u16> {
        self.wake(now);
        let Wish { port, range, parity } = wish;
        let random = |rng: &mut Rng| range.at(rng.below(range.size().into()) as u32);
        let start = match order {
            Order::Nearest => port,
            Order::SameOrRandom if self.is_free(port) && range.contains(port) => port,
            Order::SameOrRandom | Order::Random => random(rng),
            Order::Sequential { step: 0 } => range.min,
            Order::Sequential { .. } => self.next,
        };
        let found = self.free.next(start, range, parity)?;
        if let Order::Sequential { step } = order {
            let offset = u32::from(found - range.min) + u32::from(step);
            self.next = range.at(offset);
        }
        self.free.remove(found);
        Some(found)
    }

    /// Takes exactly `port`, if it is free.
    pub fn take(&mut self, now: Instant, port: u16) -> bool {
        self.wake(now);
        self.free.remove(port)
    }

    /// Gives `port` back; it rests first, unless it `may_be_reused` at once.
    pub fn release(&mut self, now: Instant, port: u16, may_be_reused: bool) {
        if may_be_reused || self.hold_down.time.is_zero() || self.hold_down.ports == 0 {
            self.free.insert(port);
            return;
        }
        self.wake(now);
        if self.resting.len() >= self.hold_down.ports as usize {
            let longest = self.resting.pop_front();
            longest.into_iter().for_each(|(_, port)| {
                self.free.insert(port);
            });
        }
        self.resting.push_back((now + self.hold_down.time, port));
    }

    /// Whether `port` is neither taken nor resting; as of the last call that was told the time.
    pub fn is_free(&self, port: u16) -> bool {
        self.free.contains(port)
    }

    /// How many ports are free.
    pub fn free(&self) -> u32 {
        self.free.len()
    }

    /// How many ports rest after use.
    pub fn resting(&self) -> usize {
        self.resting.len()
    }

    /// Frees what has rested long enough. The queue is in order of time, since all rest equally long.
    fn wake(&mut self, now: Instant) {
        while let Some(&(at, port)) = self.resting.front().filter(|(at, _)| *at <= now) {
            debug_assert!(at <= now);
            self.resting.pop_front();
            self.free.insert(port);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDE: Range = Range::new(1_024, 65_535);

    fn wish(port: u16) -> Wish {
        Wish { port, range: WIDE, parity: Parity::Any }
    }

    #[test]
    fn every_order_gives_every_port_once_before_it_gives_none() {
        let orders = [Order::Nearest, Order::SameOrRandom, Order::Random, Order::Sequential { step: 7 }];
        for order in orders {
            let mut rng = Rng::from_seed(3);
            let mut ports = Allocator::new(HoldDown::NONE);
            let mut seen = vec![false; 65_536];
            for n in 0..WIDE.size() {
                let wished = (n.wrapping_mul(40_503) % 65_536) as u16;
                let port = ports.allocate(Instant::EPOCH, wish(wished), order, &mut rng);
                let port = port.unwrap_or_else(|| panic!("{order:?}: {} of {} are free", WIDE.size() - n, WIDE.size()));
                assert!(
                    WIDE.contains(port) && !std::mem::replace(&mut seen[usize::from(port)], true),
                    "{order:?} {port}"
                );
            }
            assert_eq!(ports.allocate(Instant::EPOCH, wish(5_000), order, &mut rng), None, "{order:?}");
        }
    }

    #[test]
    fn each_order_chooses_as_its_name_says() {
        let mut rng = Rng::from_seed(3);
        let mut next = |ports: &mut Allocator, order| ports.allocate(Instant::EPOCH, wish(5_000), order, &mut rng);
        let mut ports = Allocator::new(HoldDown::NONE);
        assert_eq!(next(&mut ports, Order::Nearest), Some(5_000));
        assert_eq!(next(&mut ports, Order::Nearest), Some(5_001));
        let random = next(&mut ports, Order::SameOrRandom).expect("most are free");
        assert!(random.abs_diff(5_000) > 1, "{random}: any, not the next");
        let mut ports = Allocator::new(HoldDown::NONE);
        assert_eq!(next(&mut ports, Order::SameOrRandom), Some(5_000));
        assert_ne!(next(&mut ports, Order::Random), Some(5_001));
        let mut ports = Allocator::new(HoldDown::NONE);
        let steps: Vec<_> = (0..3).filter_map(|_| next(&mut ports, Order::Sequential { step: 2 })).collect();
        assert_eq!(steps, [1_024, 1_026, 1_028]);
    }

    #[test]
    fn the_same_seed_gives_the_same_ports() {
        let run = |seed| {
            let (mut rng, mut ports) = (Rng::from_seed(seed), Allocator::new(HoldDown::NONE));
            let next = |_| ports.allocate(Instant::EPOCH, wish(0), Order::Random, &mut rng);
            (0..50).map(next).collect::<Vec<_>>()
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
    }

    #[test]
    fn a_port_that_was_given_back_rests_before_it_is_given_out_again() {
        let hold_down = HoldDown { time: Duration::from_secs(120), ports: 2 };
        let mut ports = Allocator::new(hold_down);
        let (start, second) = (Instant::EPOCH, Duration::from_secs(1));
        assert!(ports.take(start, 80));
        ports.release(start, 80, false);
        assert!(!ports.take(start + 119 * second, 80), "it rests");
        assert!(ports.take(start + 120 * second, 80), "it has rested");
        // At most two rest.
        for port in [80, 81, 82] {
            ports.take(start, port);
            ports.release(start + 120 * second, port, false);
        }
        assert_eq!(ports.resting(), 2);
        assert!(ports.take(start + 120 * second, 80), "the one that rested longest is free");
        assert!(!ports.take(start + 120 * second, 82));
        // And a connection whose end was seen may be reused at once.
        ports.release(start + 120 * second, 80, true);
        assert!(ports.take(start + 120 * second, 80));
    }
}
