//! An index from hashes to flows: open addressing in cache lines of twelve.
//!
//! A bucket is one cache line: twelve 8-bit tags, which are compared at once, twelve 32-bit values, and how many values went
//! past it to a later bucket because it was full. A lookup that finds that number zero need look no further, so a miss costs
//! one line (the layout of F14, by N. Bronson and X. Shi). The number of buckets need not be a power of two: memory is as
//! much as the load asks for.

use core::ops::Range;

/// Values under their hashes. What a value stands for, and whether it is the one that is looked for, the caller knows.
#[derive(Clone, Debug)]
pub(super) struct Index {
    buckets: Vec<Bucket>,
    len: usize,
}

/// Values of a bucket.
const WIDTH: usize = 12;
/// How many of them an index has on average before it grows: then three in a hundred are in a later bucket than the first.
const LOAD: usize = 9;
/// The slots of a bucket in the order in which a search looks at them ([`Matches`]).
const SEARCHED: [usize; WIDTH] = [0, 8, 1, 9, 2, 10, 3, 11, 4, 5, 6, 7];

#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(64))]
struct Bucket {
    /// Zero where there is no value.
    tags: [u8; WIDTH],
    /// Values whose hash leads here and that are in a later bucket.
    overflow: u32,
    values: [u32; WIDTH],
}

impl Index {
    /// An index that takes `capacity` values before it grows.
    pub(super) fn with_capacity(capacity: usize) -> Self {
        let buckets = capacity.div_ceil(LOAD).max(1);
        Self { buckets: vec![Bucket::default(); buckets], len: 0 }
    }

    /// The value under `hash` that `is_it` takes.
    #[inline]
    pub(super) fn find(&self, hash: u64, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let tag = tag(hash);
        let mut at = self.home(hash);
        // Of a few buckets, values may have passed every one.
        for _ in 0..self.buckets.len() {
            let bucket = &self.buckets[at];
            for slot in bucket.matches(tag) {
                let value = bucket.values[slot];
                if is_it(value) {
                    return Some(value);
                }
            }
            if bucket.overflow == 0 {
                return None;
            }
            at = self.after(at);
        }
        None
    }

    /// Reads the bucket where a search for `hash` begins, so that it is at hand when the search comes.
    #[inline]
    pub(super) fn touch(&self, hash: u64) -> u32 {
        self.buckets[self.home(hash)].overflow
    }

    /// The first value whose tag fits: mostly the one that is looked for.
    #[inline(always)]
    pub(super) fn likely(&self, hash: u64) -> Option<u32> {
        let bucket = &self.buckets[self.home(hash)];
        match bucket.matches(tag(hash)).next() {
            Some(slot) => Some(bucket.values[slot]),
            None if bucket.overflow == 0 => None,
            None => self.likely_beyond(hash),
        }
    }

    #[cold]
    #[inline(never)]
    fn likely_beyond(&self, hash: u64) -> Option<u32> {
        self.find(hash, |_| true)
    }

    /// Adds a value. `hash_of` gives the hash of each value that is there, should the index have to grow.
    pub(super) fn insert(&mut self, hash: u64, value: u32, hash_of: impl Fn(u32) -> u64) {
        if self.len >= self.buckets.len() * LOAD {
            self.grow(hash_of);
        }
        self.place(hash, value);
    }

    /// Takes a value away that is there.
    pub(super) fn remove(&mut self, hash: u64, value: u32) {
        let tag = tag(hash);
        let mut at = self.home(hash);
        for _ in 0..self.buckets.len() {
            let bucket = &mut self.buckets[at];
            if let Some(slot) = (0..WIDTH).find(|&slot| bucket.tags[slot] == tag && bucket.values[slot] == value) {
                bucket.tags[slot] = EMPTY;
                self.len -= 1;
                let mut before = self.home(hash);
                while before != at {
                    self.buckets[before].overflow -= 1;
                    before = self.after(before);
                }
                return;
            }
            at = self.after(at);
        }
        debug_assert!(false, "only what is there is taken away");
    }

    /// Puts `new` in the place of `old`, which is there.
    pub(super) fn replace(&mut self, hash: u64, old: u32, new: u32) {
        let tag = tag(hash);
        let mut at = self.home(hash);
        for _ in 0..self.buckets.len() {
            let bucket = &mut self.buckets[at];
            if let Some(slot) = (0..WIDTH).find(|&slot| bucket.tags[slot] == tag && bucket.values[slot] == old) {
                bucket.values[slot] = new;
                return;
            }
            at = self.after(at);
        }
        debug_assert!(false, "only what is there is replaced");
    }

    /// Lets two values under the same hash, which are there, be found the other way round.
    pub(super) fn swap(&mut self, hash: u64, one: u32, other: u32) {
        const NEITHER: u32 = u32::MAX;
        if one != other {
            self.replace(hash, one, NEITHER);
            self.replace(hash, other, one);
            self.replace(hash, NEITHER, other);
        }
    }

    /// The values of the `count` buckets from where a search for `hash` begins, a bucket at a time.
    pub(super) fn neighbours(&self, hash: u64, count: usize) -> impl Iterator<Item = impl Iterator<Item = u32>> {
        let first = self.home(hash);
        (0..count.min(self.buckets.len())).map(move |n| {
            let bucket = &self.buckets[(first + n) % self.buckets.len()];
            (0..WIDTH).filter(|&slot| bucket.tags[slot] != EMPTY).map(|slot| bucket.values[slot])
        })
    }

    /// How many bytes of memory it has.
    pub(super) fn bytes(&self) -> usize {
        self.buckets.capacity() * size_of::<Bucket>()
    }

    /// Where that memory is.
    pub(super) const fn memory(&self) -> Range<*const u8> {
        let Range { start, end } = self.buckets.as_slice().as_ptr_range();
        start.cast()..end.cast()
    }

    /// For tests: how many values there are, after a look at whether each lies where its hash leads.
    ///
    /// # Errors
    /// What does not agree.
    pub(super) fn audit(&self, hash_of: impl Fn(u32) -> u64) -> Result<usize, String> {
        let mut passed = vec![0; self.buckets.len()];
        let mut len = 0;
        for (at, bucket) in self.buckets.iter().enumerate() {
            for slot in (0..WIDTH).filter(|&slot| bucket.tags[slot] != EMPTY) {
                let hash = hash_of(bucket.values[slot]);
                if bucket.tags[slot] != tag(hash) {
                    return Err(format!("value {} has the tag of another one", bucket.values[slot]));
                }
                len += 1;
                let mut before = self.home(hash);
                while before != at {
                    passed[before] += 1;
                    before = self.after(before);
                }
            }
        }
        let wrong = self.buckets.iter().zip(&passed).position(|(bucket, &passed)| bucket.overflow != passed);
        match wrong {
            Some(at) => {
                Err(format!("{} values have passed bucket {at}, counted as {}", passed[at], self.buckets[at].overflow))
            }
            None if len != self.len => Err(format!("{len} values, counted as {}", self.len)),
            None => Ok(len),
        }
    }

    fn place(&mut self, hash: u64, value: u32) {
        let mut at = self.home(hash);
        loop {
            let bucket = &mut self.buckets[at];
            if let Some(slot) = bucket.matches(EMPTY).next() {
                bucket.tags[slot] = tag(hash);
                bucket.values[slot] = value;
                self.len += 1;
                return;
            }
            bucket.overflow += 1;
            at = self.after(at);
        }
    }

    #[cold]
    fn grow(&mut self, hash_of: impl Fn(u32) -> u64) {
        let buckets = self.buckets.len() + self.buckets.len() / 2 + 1;
        let old = core::mem::replace(&mut self.buckets, vec![Bucket::default(); buckets]);
        self.len = 0;
        // In the order in which a search meets them, so that of two under the same hash the same one is found first: from behind
        // a bucket that none has passed.
        let start = old.iter().position(|bucket| bucket.overflow == 0).map_or(0, |at| at + 1);
        for bucket in old[start..].iter().chain(&old[..start]) {
            for slot in SEARCHED.into_iter().filter(|&slot| bucket.tags[slot] != EMPTY) {
                self.place(hash_of(bucket.values[slot]), bucket.values[slot]);
            }
        }
    }

    /// The bucket where a search for `hash` begins: its high bits, scaled to the number of buckets.
    #[inline]
    fn home(&self, hash: u64) -> usize {
        ((u128::from(hash) * self.buckets.len() as u128) >> 64) as usize
    }

    #[inline]
    fn after(&self, at: usize) -> usize {
        if at + 1 == self.buckets.len() { 0 } else { at + 1 }
    }
}

impl Bucket {
    /// The slots whose tag is this one.
    #[inline]
    fn matches(&self, tag: u8) -> Matches {
        const LANES: u64 = 0x0101_0101_0101_0101;
        let [a, b, c, d, e, f, g, h, i, j, k, l] = self.tags;
        let wanted = u64::from(tag) * LANES;
        let first = equal_lanes(u64::from_le_bytes([a, b, c, d, e, f, g, h]) ^ wanted);
        let second = equal_lanes(u64::from(u32::from_le_bytes([i, j, k, l])) ^ wanted & 0xffff_ffff) & 0xffff_ffff;
        Matches(first >> 1 | second)
    }
}

/// The highest bit of every octet that is zero.
#[inline]
const fn equal_lanes(lanes: u64) -> u64 {
    const REST: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    !(((lanes & REST) + REST) | lanes | REST)
}

/// Slots of a bucket: bit 6 of each octet is one of the first eight, bit 7 one of the others.
struct Matches(u64);

impl Iterator for Matches {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        let lowest = self.0.trailing_zeros() as usize;
        let found = self.0 != 0;
        self.0 &= self.0.wrapping_sub(1);
        found.then_some(lowest / 8 + (lowest & 1) * 8)
    }
}

/// The tag of an empty slot.
const EMPTY: u8 = 0;

/// The low bits of a hash, which the choice of a bucket has not used; never that of an empty slot.
#[inline]
fn tag(hash: u64) -> u8 {
    (hash as u8).max(1)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use pinhole_sansio::Rng;

    use super::*;

    #[test]
    fn a_bucket_is_a_cache_line() {
        assert_eq!(size_of::<Bucket>(), 64);
    }

    #[test]
    fn a_search_ends_though_values_have_passed_every_bucket() {
        let mut index = Index::with_capacity(18);
        // Values below 100 belong in the first of the two buckets, all others in the second one.
        let hash_of = |value: u32| if value < 100 { u64::from(value) } else { 1 << 63 | u64::from(value) };
        let insert = |index: &mut Index, value: u32| index.insert(hash_of(value), value, hash_of);
        (1..=13).chain(101..=105).for_each(|value| insert(&mut index, value));
        (1..=10).for_each(|value| index.remove(hash_of(value), value));
        (106..=114).for_each(|value| insert(&mut index, value));
        assert!(index.buckets.len() == 2 && index.buckets.iter().all(|bucket| bucket.overflow > 0));
        assert_eq!(index.find(hash_of(50), |value| value == 50), None);
        assert_eq!(index.find(hash_of(114), |value| value == 114), Some(114));
    }

    #[test]
    fn of_two_values_under_one_hash_the_same_is_found_first_when_the_index_has_grown() {
        let mut index = Index::with_capacity(0);
        let hash_of = |value: u32| u64::from(value % 50).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let first = |index: &Index, value: u32| index.find(hash_of(value), |other| other % 50 == value);
        for value in 0..50 {
            index.insert(hash_of(value), value, hash_of);
            index.insert(hash_of(value), value + 50, hash_of);
            if first(&index, value) == Some(value) {
                index.swap(hash_of(value), value, value + 50);
            }
            for known in 0..=value {
                assert_eq!(first(&index, known), Some(known + 50), "with {value}");
            }
        }
    }

    #[test]
    fn it_agrees_with_a_map_whatever_is_done() {
        let mut rng = Rng::from_seed(5);
        let (mut index, mut model) = (Index::with_capacity(0), HashMap::new());
        // Few homes and many equal hashes, so that buckets overflow and values are told apart by the caller.
        let hash_of = |value: u32| u64::from(value % 37).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for _ in 0..20_000 {
            let value = rng.below(400) as u32;
            if model.remove(&value).is_some() {
                index.remove(hash_of(value), value);
            } else if rng.chance(0.6) {
                index.insert(hash_of(value), value, hash_of);
                model.insert(value, ());
            }
            let asked = rng.below(400) as u32;
            let found = index.find(hash_of(asked), |value| value == asked);
            assert_eq!(found.is_some(), model.contains_key(&asked));
        }
        let overflow: u32 = index.buckets.iter().map(|bucket| bucket.overflow).sum();
        for value in model.into_keys() {
            index.remove(hash_of(value), value);
        }
        assert!(overflow > 0, "the test meant to make buckets overflow");
        assert!(index.len == 0 && index.buckets.iter().all(|bucket| bucket.overflow == 0));
    }
}
