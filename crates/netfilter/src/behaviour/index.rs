//! From the hash of a key to the numbers of the things that may have it: open addressing with linear probing.
//!
//! A slot is the upper half of a hash and a number, so that a search reads a thing only if it very likely is the one, and
//! growing reads none. Keys stay in the things.

use super::slab::NONE;

/// The hash of nothing's slot: slots are empty if their number is [`NONE`].
const EMPTY: u64 = NONE as u64;
/// Slots at first.
const SMALLEST: usize = 16;

#[derive(Clone, Debug)]
pub(super) struct Index {
    slots: Vec<u64>,
    len: usize,
}

impl Index {
    pub(super) const fn new() -> Self {
        Self { slots: Vec::new(), len: 0 }
    }

    /// The first number with this hash that `is_it`.
    #[inline]
    pub(super) fn find(&self, hash: u64, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        if self.slots.is_empty() {
            return None;
        }
        let mask = self.slots.len() - 1;
        let mut at = self.home(hash);
        loop {
            let slot = self.slots[at & mask];
            if slot as u32 == NONE {
                return None;
            }
            if (slot ^ hash) >> 32 == 0 && is_it(slot as u32) {
                return Some(slot as u32);
            }
            at += 1;
        }
    }

    /// Adds `id`, which is not there.
    pub(super) fn insert(&mut self, hash: u64, id: u32) {
        // At most 5/8 are used: of what is not there a search then reads four slots, which are in one cache line or two.
        if (self.len + 1) * 8 > self.slots.len() * 5 {
            self.grow();
        }
        self.len += 1;
        self.put(hash & !u64::from(u32::MAX) | u64::from(id));
    }

    /// Takes `id` away, which is there. Those behind it that it had pushed on move up.
    pub(super) fn remove(&mut self, hash: u64, id: u32) {
        let mask = self.slots.len().wrapping_sub(1);
        let mut hole = self.home(hash) & mask;
        while self.slots[hole] as u32 != id {
            if self.slots[hole] as u32 == NONE {
                debug_assert!(false, "what is removed is there");
                return;
            }
            hole = (hole + 1) & mask;
        }
        self.len -= 1;
        let mut at = hole;
        loop {
            at = (at + 1) & mask;
            let slot = self.slots[at];
            if slot as u32 == NONE {
                break;
            }
            // It may move to the hole if its home is not between hole and place.
            let from_home = at.wrapping_sub(self.home(slot)) & mask;
            if from_home >= (at.wrapping_sub(hole) & mask) {
                self.slots[hole] = slot;
                hole = at;
            }
        }
        self.slots[hole] = EMPTY;
    }

    /// All numbers, in no order that means anything.
    pub(super) fn ids(&self) -> impl Iterator<Item = u32> + '_ {
        self.slots.iter().map(|&slot| slot as u32).filter(|&id| id != NONE)
    }

    /// Bytes that are held.
    pub(super) fn memory(&self) -> usize {
        self.slots.capacity() * size_of::<u64>()
    }

    #[inline]
    fn home(&self, hash: u64) -> usize {
        // The upper bits of the hash, scaled to the number of slots.
        (((hash >> 32) * self.slots.len() as u64) >> 32) as usize
    }

    fn put(&mut self, slot: u64) {
        let mask = self.slots.len() - 1;
        let mut at = self.home(slot) & mask;
        while self.slots[at] as u32 != NONE {
            at = (at + 1) & mask;
        }
        self.slots[at] = slot;
    }

    fn grow(&mut self) {
        let size = (self.slots.len() * 2).max(SMALLEST);
        let old = std::mem::replace(&mut self.slots, vec![EMPTY; size]);
        old.into_iter().filter(|&slot| slot as u32 != NONE).for_each(|slot| self.put(slot));
    }
}

/// Two numbers to one, by a product of 128 bits folded in half (the step of wyhash). Each is mixed with a secret first, so
/// that nobody outside can make them meet.
#[inline]
pub(super) const fn fold(a: u64, b: u64) -> u64 {
    let product = a as u128 * b as u128;
    product as u64 ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use pinhole_sansio::Rng;

    use super::*;

    #[test]
    fn it_finds_what_a_map_finds_under_random_insertions_and_removals() {
        let mut rng = Rng::from_seed(1);
        let (mut index, mut map) = (Index::new(), BTreeMap::new());
        // Few different hashes, so that things meet; some at the very end, so that runs wrap around.
        let hash =
            |id: u32| fold(u64::from(id % 50) ^ 0x9e37_79b9_7f4a_7c15, 0xd6e8_feb8_6659_fd93) | u64::from(id & 1) << 63;
        for _ in 0..20_000 {
            let id = rng.below(200) as u32;
            if map.remove(&id).is_some() {
                index.remove(hash(id), id);
            } else {
                map.insert(id, ());
                index.insert(hash(id), id);
            }
            let looked_up = rng.below(200) as u32;
            let found = index.find(hash(looked_up), |id| id == looked_up);
            assert_eq!(found.is_some(), map.contains_key(&looked_up), "{looked_up}");
        }
    }
}
