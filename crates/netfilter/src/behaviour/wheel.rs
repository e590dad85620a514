//! When sessions end: a hierarchical timing wheel (Varghese and Lauck 1987) whose lists run through the sessions.
//!
//! Refreshing a session only changes its stamp. The wheel looks at the stamp when the place comes up where the session was
//! put, and puts it elsewhere if it lives on. So a packet of an established flow does not touch the wheel.

use super::slab::{NONE, Slab};

/// Places of a level.
const PLACES: u32 = 64;
/// Levels: 64^4 ticks of a tenth of a second are 19 days.
const LEVELS: u32 = 4;
/// Set in a back link that leads to the head of a list instead of a session.
const HEAD: u32 = 1 << 31;

/// What runs through a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Link {
    next: u32,
    prev: u32,
}

impl Link {
    pub(super) const UNLINKED: Self = Self { next: NONE, prev: NONE };
}

/// What can be put in a wheel.
pub(super) trait Linked {
    fn link(&mut self) -> &mut Link;
    /// The tick at which it ends.
    fn ends(&self) -> u32;
}

#[derive(Clone, Debug)]
pub(super) struct Wheel {
    /// All ticks before this one have been served.
    now: u32,
    heads: [u32; (PLACES * LEVELS) as usize],
    /// Which places of a level have a list.
    used: [u64; LEVELS as usize],
}

impl Wheel {
    pub(super) const fn new() -> Self {
        Self { now: 0, heads: [NONE; (PLACES * LEVELS) as usize], used: [0; LEVELS as usize] }
    }

    /// Puts a session where its stamp says.
    pub(super) fn put<T: Copy + Linked>(&mut self, slab: &mut Slab<T>, id: u32) {
        let place = self.place(slab.get(id).ends());
        let head = std::mem::replace(&mut self.heads[place as usize], id);
        *slab.get_mut(id).link() = Link { next: head, prev: HEAD | place };
        if head != NONE {
            slab.get_mut(head).link().prev = id;
        }
        self.used[(place / PLACES) as usize] |= 1 << (place % PLACES);
    }

    /// Takes a session out.
    pub(super) fn take<T: Copy + Linked>(&mut self, slab: &mut Slab<T>, id: u32) {
        let Link { next, prev } = std::mem::replace(slab.get_mut(id).link(), Link::UNLINKED);
        if next != NONE {
            slab.get_mut(next).link().prev = prev;
        }
        if prev & HEAD == 0 {
            slab.get_mut(prev).link().next = next;
        } else if prev != NONE {
            let place = prev & !HEAD;
            self.heads[place as usize] = next;
            if next == NONE {
                self.used[(place / PLACES) as usize] &= !(1 << (place % PLACES));
            }
        }
    }

    /// A session that ends at `tick` or before, taken out; none if no more does.
    pub(super) fn due<T: Copy + Linked>(&mut self, slab: &mut Slab<T>, tick: u32) -> Option<u32> {
        loop {
            let Some((at, place)) = self.first().filter(|(at, _)| *at <= tick) else {
                self.now = self.now.max(tick);
                return None;
            };
            self.now = self.now.max(at);
            let id = self.heads[place as usize];
            self.take(slab, id);
            if slab.get(id).ends() <= at {
                return Some(id);
            }
            self.put(slab, id);
        }
    }

    /// The earliest tick at which a session may end.
    pub(super) fn next(&self) -> Option<u32> {
        self.first().map(|(at, _)| at)
    }

    /// The first place that has a list, and the tick at which it comes up.
    fn first(&self) -> Option<(u32, u32)> {
        let of_level = |level: u32| {
            let used = self.used[level as usize];
            let shift = level * PLACES.trailing_zeros();
            let current = self.now >> shift;
            let ahead = used.rotate_right(current % PLACES).trailing_zeros();
            (used != 0).then(|| {
                let at = u64::from(current + ahead) << shift;
                let at = u32::try_from(at).unwrap_or(u32::MAX).max(self.now);
                (at, level * PLACES + (current + ahead) % PLACES)
            })
        };
        (0..LEVELS).filter_map(of_level).min_by_key(|(at, _)| *at)
    }

    /// Where what ends at `tick` belongs: on the lowest level whose places reach so far.
    fn place(&self, tick: u32) -> u32 {
        let tick = tick.max(self.now);
        for level in 0..LEVELS {
            let shift = level * PLACES.trailing_zeros();
            if (tick >> shift) - (self.now >> shift) < PLACES {
                return level * PLACES + (tick >> shift) % PLACES;
            }
        }
        // Beyond the last level: as far as it goes, and then again.
        let shift = (LEVELS - 1) * PLACES.trailing_zeros();
        (LEVELS - 1) * PLACES + ((self.now >> shift) + PLACES - 1) % PLACES
    }
}

#[cfg(test)]
mod tests {
    use pinhole_sansio::Rng;

    use super::*;

    #[derive(Clone, Copy)]
    struct Thing {
        link: Link,
        ends: u32,
    }

    impl Linked for Thing {
        fn link(&mut self) -> &mut Link {
            &mut self.link
        }

        fn ends(&self) -> u32 {
            self.ends
        }
    }

    #[test]
    fn everything_ends_exactly_at_its_tick_however_often_it_is_refreshed_or_taken_out() {
        let mut rng = Rng::from_seed(1);
        let (mut wheel, mut slab) = (Wheel::new(), Slab::new());
        let mut alive: Vec<u32> = Vec::new();
        let mut now = 0;
        for _ in 0..30_000 {
            let far = 1 << rng.below(26);
            match rng.below(4) {
                0 | 1 => {
                    let ends = now + 1 + rng.below(far) as u32;
                    let id = slab.insert(Thing { link: Link::UNLINKED, ends });
                    wheel.put(&mut slab, id);
                    alive.push(id);
                }
                2 if !alive.is_empty() => {
                    let id = alive[rng.below(alive.len() as u64) as usize];
                    slab.get_mut(id).ends += rng.below(1_000) as u32;
                }
                _ if !alive.is_empty() => {
                    let id = alive.swap_remove(rng.below(alive.len() as u64) as usize);
                    wheel.take(&mut slab, id);
                    slab.remove(id);
                }
                _ => {}
            }
            let step = 1 << rng.below(12);
            let next = now + rng.below(step) as u32;
            while let Some(id) = wheel.due(&mut slab, next) {
                let ends = slab.get(id).ends;
                assert!(now < ends && ends <= next, "{ends} in {now}..={next}");
                alive.retain(|&other| other != id);
                slab.remove(id);
            }
            now = next;
            assert!(alive.iter().all(|&id| slab.get(id).ends > now), "nothing outlives its tick");
            assert!(wheel.next().is_none_or(|at| at >= now));
        }
    }
}
