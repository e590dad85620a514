//! A set of free ports that finds the next one in a few steps, however full it is.

use core::fmt;

/// Ports of a word, and words of a summary word.
const WORD: usize = 64;
/// Words of all ports.
const WORDS: usize = 65_536 / WORD;
/// Bits of the even ports in a word.
const EVEN: u64 = 0x5555_5555_5555_5555;

/// Which ports will do by their lowest bit (RFC 4787 §4.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Parity {
    /// All.
    Any,
    /// Those that are even.
    Even,
    /// Those that are odd.
    Odd,
}

impl Parity {
    /// That of `port`.
    pub const fn of(port: u16) -> Self {
        if port & 1 == 0 { Self::Even } else { Self::Odd }
    }

    const fn mask(self) -> u64 {
        match self {
            Self::Any => u64::MAX,
            Self::Even => EVEN,
            Self::Odd => !EVEN,
        }
    }
}

/// Ports from `min` to `max`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Range {
    /// The lowest.
    pub min: u16,
    /// The highest.
    pub max: u16,
}

impl Range {
    /// Every number there is.
    pub const ALL: Self = Self::new(0, 65_535);

    /// From `min` to `max`; the other way round if they are.
    pub const fn new(min: u16, max: u16) -> Self {
        if min <= max { Self { min, max } } else { Self { min: max, max: min } }
    }

    /// How many ports these are: 1 to 65,536.
    pub const fn size(self) -> u32 {
        self.max as u32 - self.min as u32 + 1
    }

    /// Whether `port` is one of them.
    pub const fn contains(self, port: u16) -> bool {
        self.min <= port && port <= self.max
    }

    /// The port that is `offset` after the lowest, counted on from the lowest again behind the highest.
    pub const fn at(self, offset: u32) -> u16 {
        self.min + (offset % self.size()) as u16
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.min, self.max)
    }
}

/// A set of ports, at first all of them: 8 KiB of bits, and for each parity a bit per word that says whether it has any.
#[derive(Clone)]
pub struct PortSet {
    words: Box<[u64; WORDS]>,
    even: [u64; WORDS / WORD],
    odd: [u64; WORDS / WORD],
    len: u32,
}

impl PortSet {
    /// All ports.
    pub fn full() -> Self {
        let words = vec![u64::MAX; WORDS].into_boxed_slice().try_into().expect("as many words as were asked for");
        Self { words, even: [u64::MAX; WORDS / WORD], odd: [u64::MAX; WORDS / WORD], len: 65_536 }
    }

    /// Takes `port` out; says whether it was in.
    pub fn remove(&mut self, port: u16) -> bool {
        let (word, bit) = place(port);
        let was = self.words[word] & bit != 0;
        self.words[word] &= !bit;
        self.summarise(word);
        self.len -= u32::from(was);
        was
    }

    /// Puts `port` in; says whether it was out.
    pub fn insert(&mut self, port: u16) -> bool {
        let (word, bit) = place(port);
        let was = self.words[word] & bit == 0;
        self.words[word] |= bit;
        self.summarise(word);
        self.len += u32::from(was);
        was
    }

    /// Whether `port` is in.
    pub fn contains(&self, port: u16) -> bool {
        let (word, bit) = place(port);
        self.words[word] & bit != 0
    }

    /// How many are in.
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Whether none is in.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The first port from `start` upwards that is in, of `range` and of `parity`; behind the highest the search goes on
    /// from the lowest. A `start` outside of the range is the lowest.
    pub fn next(&self, start: u16, range: Range, parity: Parity) -> Option<u16> {
        let start = if range.contains(start) { start } else { range.min };
        self.first(Range { min: start, max: range.max }, parity).or_else(|| {
            let below = start.checked_sub(1).filter(|&below| below >= range.min)?;
            self.first(Range { min: range.min, max: below }, parity)
        })
    }

    /// The lowest port of `range` and `parity` that is in.
    fn first(&self, range: Range, parity: Parity) -> Option<u16> {
        let word = usize::from(range.min) / WORD;
        let from = u64::MAX << (range.min as usize % WORD);
        let found = match self.words[word] & from & parity.mask() {
            0 => {
                let word = self.next_word(word + 1, parity)?;
                lowest(word, self.words[word] & parity.mask())
            }
            bits => lowest(word, bits),
        };
        (found <= range.max).then_some(found)
    }

    /// The first word from `start` on that has a port of `parity`.
    fn next_word(&self, start: usize, parity: Parity) -> Option<usize> {
        let mut mask = u64::MAX << (start % WORD);
        for at in start / WORD..WORDS / WORD {
            let bits = match parity {
                Parity::Any => self.even[at] | self.odd[at],
                Parity::Even => self.even[at],
                Parity::Odd => self.odd[at],
            };
            if bits & mask != 0 {
                return Some(at * WORD + (bits & mask).trailing_zeros() as usize);
            }
            mask = u64::MAX;
        }
        None
    }

    fn summarise(&mut self, word: usize) {
        let (at, bit) = (word / WORD, 1 << (word % WORD));
        let set = |summary: &mut u64, any: bool| if any { *summary |= bit } else { *summary &= !bit };
        set(&mut self.even[at], self.words[word] & EVEN != 0);
        set(&mut self.odd[at], self.words[word] & !EVEN != 0);
    }
}

impl fmt::Debug for PortSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PortSet({} ports)", self.len)
    }
}

/// The word of a port, and its bit there.
const fn place(port: u16) -> (usize, u64) {
    (port as usize / WORD, 1 << (port as usize % WORD))
}

/// The lowest port whose bit is set in `bits`, which is not zero, of word `word`.
const fn lowest(word: usize, bits: u64) -> u16 {
    (word * WORD) as u16 + bits.trailing_zeros() as u16
}

#[cfg(test)]
mod tests {
    use pinhole_sansio::Rng;

    use super::*;

    #[test]
    fn the_next_free_port_is_what_a_search_one_by_one_finds() {
        let mut rng = Rng::from_seed(1);
        let mut set = PortSet::full();
        // Nearly full, so that searches go far; the two ends and a few others stay free.
        for port in 0..=65_535 {
            if rng.below(1_000) != 0 {
                set.remove(port);
            }
        }
        for _ in 0..2_000 {
            let range = Range::new(rng.next_u64() as u16, rng.next_u64() as u16);
            let start = rng.next_u64() as u16;
            let parity = [Parity::Any, Parity::Even, Parity::Odd][rng.below(3) as usize];
            let from = if range.contains(start) { start - range.min } else { 0 };
            let one_by_one = (0..range.size())
                .map(|offset| range.at(u32::from(from) + offset))
                .find(|&port| set.contains(port) && (parity == Parity::Any || parity == Parity::of(port)));
            assert_eq!(set.next(start, range, parity), one_by_one, "{start} {range} {parity:?}");
        }
    }

    #[test]
    fn the_count_is_that_of_the_ports_which_are_in() {
        let mut set = PortSet::full();
        assert!(set.remove(0) && set.remove(65_535) && !set.remove(0), "each once");
        assert_eq!(set.len(), 65_534);
        assert!(set.insert(0) && !set.insert(0), "and back once");
        assert_eq!(set.len(), 65_535);
    }

    #[test]
    fn an_empty_set_has_no_next_port_and_the_last_one_is_found_from_anywhere() {
        let mut set = PortSet::full();
        (0..=65_535).for_each(|port| assert!(set.remove(port), "{port} was in"));
        assert!(set.is_empty());
        assert_eq!(set.next(7, Range::ALL, Parity::Any), None);
        for last in [0, 1, 63, 64, 4_095, 4_096, 65_535] {
            set.insert(last);
            assert_eq!(set.next(40_000, Range::ALL, Parity::of(last)), Some(last));
            assert_eq!(set.next(40_000, Range::ALL, Parity::of(last ^ 1)), None, "of the other parity there is none");
            set.remove(last);
        }
    }
}
