//! How ports are chosen, from the mappings of many sockets that were made one after another.

use core::net::{IpAddr, SocketAddr};

use super::evidence::{Observation, Question};
use super::hairpin;
use super::terms::{Allocation, Pooling};
use super::verdict::{Confidence, Note, Verdict};

/// Fewer samples than this say nothing about chance: parity would come right by itself once in 256 times.
const FEW: usize = 12;
/// A run of ports this wide or narrower is a block: 24 random ports of 64,512 fall into so few never (below 10⁻²⁰).
const BLOCK: u16 = 8_192;
/// Several runs that are each this narrow are as many blocks.
const SMALL_BLOCK: u16 = 2_048;
/// Four runs at most: of 24 random ports 20 and more fall into so little never (below 10⁻¹²).
const MOST_CUTS: usize = 3;
/// Of fewer samples for each, some runs are chance.
const SAMPLES_PER_CUT: usize = 8;
/// Other subscribers' mappings between two of ours, at most, for a counter to be recognised.
const MOST_BETWEEN: i32 = 64;

/// A new mapping.
#[derive(Clone, Copy, Debug)]
struct Sample {
    place: usize,
    number: u8,
    inside: u16,
    external: SocketAddr,
}

fn samples(observations: &[Observation]) -> Vec<Sample> {
    let sample = |(place, observation): (usize, &Observation)| {
        let Question::Port { number } = observation.question else { return None };
        if number >= hairpin::FIRST_NUMBER {
            return None;
        }
        Some(Sample { place, number, inside: observation.local?.port(), external: observation.mapped()? })
    };
    let mut samples: Vec<Sample> = observations.iter().enumerate().filter_map(sample).collect();
    // In the order in which the sockets asked first.
    samples.sort_by_key(|sample| sample.number);
    samples
}

/// How ports are chosen.
pub(super) fn judge(observations: &[Observation]) -> Verdict<Allocation> {
    let samples = samples(observations);
    let evidence: Vec<usize> = samples.iter().map(|sample| sample.place).collect();
    if samples.len() < FEW / 2 {
        return Verdict::unknown_since(Note::FewSamples);
    }
    let confidence = if samples.len() < FEW { Confidence::Likely } else { Confidence::Certain };
    let kept = samples.iter().filter(|sample| sample.inside == sample.external.port()).count();
    if kept * 4 >= samples.len() * 3 {
        let verdict = Verdict::of(Allocation::Preserving, confidence, evidence);
        return if kept == samples.len() { verdict } else { verdict.with(Note::SomeTaken) };
    }
    // Each external address has ports of its own.
    let mut addresses: Vec<IpAddr> = samples.iter().map(|sample| sample.external.ip()).collect();
    addresses.sort_unstable();
    addresses.dedup();
    let ports_of = |address: &IpAddr| -> Vec<u16> {
        let of = samples.iter().filter(|sample| sample.external.ip() == *address);
        of.map(|sample| sample.external.port()).collect()
    };
    let ports: Vec<Vec<u16>> = addresses.iter().map(ports_of).collect();
    let allocation = match step(&ports) {
        Some(step) => Allocation::Sequential { step },
        None => spread(&ports.concat()),
    };
    // What looks random in few samples may be a counter that many share.
    let confidence = match allocation {
        Allocation::Random { .. } | Allocation::Sequential { .. } | Allocation::Preserving => confidence,
        Allocation::Block { .. } => confidence.min(Confidence::Likely),
    };
    Verdict::of(allocation, confidence, evidence)
}

/// Whether even ports are mapped to even ones and odd ones to odd ones (RFC 4787 §4.2.2).
pub(super) fn parity(observations: &[Observation]) -> Verdict<bool> {
    let samples = samples(observations);
    if samples.len() < FEW {
        return Verdict::unknown_since(Note::FewSamples);
    }
    let evidence = samples.iter().map(|sample| sample.place).collect();
    let kept = samples.iter().filter(|sample| sample.inside % 2 == sample.external.port() % 2).count();
    // A NAT that keeps parity gives it up where it has no such port, which is rare.
    let keeps = kept + 1 >= samples.len();
    Verdict::of(keeps, Confidence::Certain, evidence)
}

/// Whether all mappings have the same external address.
pub(super) fn pooling(observations: &[Observation]) -> Verdict<Pooling> {
    let seen = |(place, observation): (usize, &Observation)| Some((place, observation.mapped()?.ip()));
    let seen: Vec<(usize, IpAddr)> = observations.iter().enumerate().filter_map(seen).collect();
    let Some(&(_, first)) = seen.first() else { return Verdict::unknown() };
    let others = seen.iter().find(|(_, ip)| *ip != first);
    let confidence = if seen.len() < FEW { Confidence::Likely } else { Confidence::Certain };
    match others {
        Some(&(place, _)) => Verdict::of(Pooling::Arbitrary, Confidence::Certain, vec![seen[0].0, place]),
        None => Verdict::of(Pooling::Paired, confidence, seen.iter().map(|(place, _)| *place).collect()),
    }
}

/// The step of a counter, if most ports follow one: each is the one before and a few steps. A lost packet changes the
/// order of two, and a counter starts again at its end.
pub(crate) fn step(ports: &[Vec<u16>]) -> Option<i32> {
    let apart = |ports: &Vec<u16>| -> Vec<i32> {
        ports.windows(2).map(|pair| i32::from(pair[1]) - i32::from(pair[0])).collect()
    };
    let apart: Vec<i32> = ports.iter().flat_map(apart).collect();
    let step = most_frequent(&apart)?;
    let few_steps = |apart: &&i32| **apart % step == 0 && (1..=MOST_BETWEEN).contains(&(**apart / step));
    let follows = apart.iter().filter(few_steps).count();
    let exactly = apart.iter().filter(|apart| **apart == step).count();
    (follows * 10 >= apart.len() * 7 && exactly * 3 >= apart.len()).then_some(step)
}

fn most_frequent(values: &[i32]) -> Option<i32> {
    let count = |value: &i32| values.iter().filter(|other| *other == value).count();
    values.iter().filter(|value| **value != 0).max_by_key(|value| count(value)).copied()
}

/// Random ports, of which there are some: of all, or of a few runs, as many as so many samples can tell from chance.
pub(crate) fn spread(ports: &[u16]) -> Allocation {
    let mut ports = ports.to_vec();
    ports.sort_unstable();
    let (first, last) = (ports[0], ports[ports.len() - 1]);
    if last - first <= BLOCK {
        return Allocation::Block { runs: vec![first..=last] };
    }
    let mut gaps: Vec<usize> = (1..ports.len()).collect();
    gaps.sort_by_key(|&at| core::cmp::Reverse(ports[at] - ports[at - 1]));
    let most = MOST_CUTS.min((ports.len() / SAMPLES_PER_CUT).max(1));
    for cuts in 1..=most.min(gaps.len()) {
        let mut starts = gaps[..cuts].to_vec();
        starts.push(0);
        starts.sort_unstable();
        let ends = starts[1..].iter().copied().chain([ports.len()]);
        let runs: Vec<_> = starts.iter().zip(ends).map(|(&start, end)| ports[start]..=ports[end - 1]).collect();
        if runs.iter().all(|run| run.end() - run.start() <= SMALL_BLOCK) {
            return Allocation::Block { runs };
        }
    }
    Allocation::Random { seen: first..=last }
}

#[cfg(test)]
mod tests;
