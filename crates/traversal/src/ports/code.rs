//! A guess as bytes, for whoever tells it to the peer: a kind, then numbers in network order, 18 bytes at most.

use core::fmt;
use core::ops::RangeInclusive;

use super::{Guess, MOST_RUNS, Sequence};

const FIXED: u8 = 0;
const SEQUENTIAL: u8 = 1;
const BLOCK: u8 = 2;
const RANDOM: u8 = 3;
const UNKNOWN: u8 = 4;

/// Bytes are no guess.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreadable;

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("this says nothing of how a NAT chooses ports")
    }
}

impl std::error::Error for Unreadable {}

impl Guess {
    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Fixed => vec![FIXED],
            Self::Sequential(Sequence { next, step, others, age_ms }) => {
                let numbers = [next.to_be_bytes(), step.to_be_bytes(), others.to_be_bytes(), age_ms.to_be_bytes()];
                [&[SEQUENTIAL], numbers.as_flattened()].concat()
            }
            Self::Block { runs } => {
                let ends = |run: &RangeInclusive<u16>| [run.start().to_be_bytes(), run.end().to_be_bytes()];
                let runs: Vec<u8> = runs.iter().take(MOST_RUNS).flat_map(ends).flatten().collect();
                [&[BLOCK], &runs[..]].concat()
            }
            Self::Random { seen, samples } => {
                let ends = [seen.start().to_be_bytes(), seen.end().to_be_bytes()];
                [&[RANDOM], ends.as_flattened(), &[*samples]].concat()
            }
            Self::Unknown => vec![UNKNOWN],
        }
    }

    /// Reads a guess that fills `bytes` exactly.
    ///
    /// # Errors
    /// If they are none.
    pub fn decode(bytes: &[u8]) -> Result<Self, Unreadable> {
        let (&kind, rest) = bytes.split_first().ok_or(Unreadable)?;
        match (kind, rest) {
            (FIXED, []) => Ok(Self::Fixed),
            (SEQUENTIAL, &[a, b, c, d, e, f, g, h]) => {
                let (next, step) = (u16::from_be_bytes([a, b]), i16::from_be_bytes([c, d]));
                let (others, age_ms) = (u16::from_be_bytes([e, f]), u16::from_be_bytes([g, h]));
                if step == 0 { Err(Unreadable) } else { Ok(Self::Sequential(Sequence { next, step, others, age_ms })) }
            }
            (BLOCK, runs) => {
                let (runs, rest) = runs.as_chunks::<4>();
                let runs: Vec<_> = runs.iter().map(|&run| range(run)).collect();
                let fits = rest.is_empty() && (1..=MOST_RUNS).contains(&runs.len());
                if fits && runs.iter().all(|run| !run.is_empty()) { Ok(Self::Block { runs }) } else { Err(Unreadable) }
            }
            (RANDOM, &[a, b, c, d, samples]) => {
                let seen = range([a, b, c, d]);
                if seen.is_empty() { Err(Unreadable) } else { Ok(Self::Random { seen, samples }) }
            }
            (UNKNOWN, []) => Ok(Self::Unknown),
            (_, _) => Err(Unreadable),
        }
    }
}

fn range([a, b, c, d]: [u8; 4]) -> RangeInclusive<u16> {
    u16::from_be_bytes([a, b])..=u16::from_be_bytes([c, d])
}
