//! The order in which ports are tried that a NAT draws at random.
//!
//! A peer with `n` sockets has `n` ports, drawn independently. Which ports were likeliest depends on the allocator, and that
//! is not known; some are common, and the peer's samples make some of them likelier. So each [`Model`] has a weight, and the
//! next port is one of those where, over all models, a hit is likeliest *now*: every miss makes the models doubtful that
//! expected a hit there. (The theory of optimal search, Koopman 1946.)
//!
//! The model that counts most is Linux. Its `random` and `fully-random` draw 16 bits and take them modulo the size of the
//! range (`net/netfilter/nf_nat_core.c`), which is 64,512: the 1,024 lowest ports, 1024 to 2047, are drawn twice as often as
//! the others. Tried first, they hold one of 256 sockets with a probability of 1 - (1 - 1/32)^256 = 99.97 %, where 1,000 ports
//! anywhere would with 98.2 %. For an allocator that prefers no port they are as good as any other.

use core::ops::RangeInclusive;

use pinhole_sansio::Rng;

use super::{Guess, LOWEST};

/// The ports that Linux prefers.
const LINUX_TWICE: RangeInclusive<u16> = LOWEST..=2_047;

/// Allocators that are known, and how often they are met among those that draw at random.
const KNOWN: [(f64, RangeInclusive<u16>); 5] = [
    // All that are not well-known (RFC 4787 REQ-3 and RFC 6056 §3.2 want as many as possible).
    (0.30, LOWEST..=u16::MAX),
    // The ephemeral ports of Linux (`ip_local_port_range`), where a NAT is a program with sockets.
    (0.05, 32_768..=60_999),
    (0.05, 32_768..=u16::MAX),
    // The dynamic ports of RFC 6335 §6.
    (0.05, 49_152..=u16::MAX),
    // pf of OpenBSD and FreeBSD (`PF_NAT_PROXY_PORT_LOW`).
    (0.05, 50_001..=u16::MAX),
];
/// How often Linux is met.
const LINUX: f64 = 0.45;
/// That it is another range, around the ports that were seen: little, since a range that is fitted to the samples fits
/// them best. Where it is much smaller than the others, two dozen samples make it the likeliest by far.
const OTHER: f64 = 0.001;

/// An allocator that the peer's NAT may have.
#[derive(Clone, Debug)]
struct Model {
    /// The logarithm of how likely it is, but for what has been tried.
    weight: f64,
    /// How likely a socket has a certain port, in each segment.
    density: Vec<f64>,
    /// How likely a socket had one of the ports that were tried.
    tried: f64,
}

/// Ports between which no model makes a difference.
#[derive(Clone, Debug)]
struct Segment {
    ports: RangeInclusive<u16>,
    left: u32,
}

/// Ports to try, one after another, none twice.
#[derive(Clone, Debug)]
pub struct Search {
    sockets: f64,
    models: Vec<Model>,
    segments: Vec<Segment>,
    /// One bit for each port.
    tried: Vec<u64>,
}

impl Search {
    /// For the ports of so many sockets behind a NAT of which `guess` is known.
    pub fn new(guess: &Guess, sockets: u16) -> Self {
        let candidates = candidates(guess);
        let mut starts: Vec<u32> = candidates.iter().flat_map(Candidate::edges).collect();
        starts.sort_unstable();
        starts.dedup();
        let segment = |pair: &[u32]| Segment { ports: pair[0] as u16..=(pair[1] - 1) as u16, left: pair[1] - pair[0] };
        let segments: Vec<Segment> = starts.windows(2).map(segment).collect();
        let model = |candidate: &Candidate| Model {
            weight: candidate.weight(guess),
            density: segments.iter().map(|segment| candidate.density(*segment.ports.start())).collect(),
            tried: 0.0,
        };
        let models = candidates.iter().map(model).collect();
        Self { sockets: f64::from(sockets.max(1)), models, segments, tried: vec![0; 1_024] }
    }

    /// The next port; `None` when all have been tried that there may be.
    pub fn next(&mut self, rng: &mut Rng) -> Option<u16> {
        let at = self.best()?;
        let port = self.untried(&self.segments[at].ports, rng)?;
        self.strike(port);
        Some(port)
    }

    /// Takes a port as tried.
    pub fn strike(&mut self, port: u16) {
        let word = &mut self.tried[usize::from(port >> 6)];
        let bit = 1 << (port & 63);
        let is_new = *word & bit == 0;
        *word |= bit;
        let Some(at) = self.segments.iter().position(|segment| is_new && segment.ports.contains(&port)) else { return };
        self.segments[at].left -= 1;
        for model in &mut self.models {
            model.tried += model.density[at];
        }
    }

    /// The segment where a port is likeliest.
    fn best(&self) -> Option<usize> {
        let now = |model: &Model| model.weight - self.sockets * model.tried;
        let most = self.models.iter().map(now).fold(f64::NEG_INFINITY, f64::max);
        // Only the ratios count: the likeliest model weighs one, whatever has been ruled out.
        let weights: Vec<f64> = self.models.iter().map(|model| (now(model) - most).exp()).collect();
        let value = |at: usize| -> f64 {
            self.models.iter().zip(&weights).map(|(model, weight)| weight * model.density[at]).sum()
        };
        let open = (0..self.segments.len()).filter(|&at| self.segments[at].left > 0);
        open.max_by(|&a, &b| value(a).total_cmp(&value(b)))
    }

    /// A random port of `ports` that has not been tried: the first from a random one on.
    fn untried(&self, ports: &RangeInclusive<u16>, rng: &mut Rng) -> Option<u16> {
        let size = u64::from(ports.end() - ports.start()) + 1;
        let start = ports.start() + rng.below(size) as u16;
        let is_untried = |port: &u16| self.tried[usize::from(port >> 6)] & 1 << (port & 63) == 0;
        (start..=*ports.end()).find(is_untried).or_else(|| (*ports.start()..start).find(is_untried))
    }
}

/// An allocator, before it is known where the others make a difference.
struct Candidate {
    prior: f64,
    runs: Vec<RangeInclusive<u16>>,
    prefers_low: bool,
}

impl Candidate {
    /// Where its density changes.
    fn edges(&self) -> impl Iterator<Item = u32> + '_ {
        let twice = self.prefers_low.then_some(LINUX_TWICE);
        self.runs.iter().cloned().chain(twice).flat_map(|run| [u32::from(*run.start()), u32::from(*run.end()) + 1])
    }

    /// How likely a socket has this port.
    fn density(&self, port: u16) -> f64 {
        if !self.runs.iter().any(|run| run.contains(&port)) {
            return 0.0;
        }
        if self.prefers_low {
            return if LINUX_TWICE.contains(&port) { 2.0 } else { 1.0 } / 65_536.0;
        }
        let size: u32 = self.runs.iter().map(|run| u32::from(run.end() - run.start()) + 1).sum();
        1.0 / f64::from(size)
    }

    /// The logarithm of how likely it is after what was seen.
    fn weight(&self, guess: &Guess) -> f64 {
        let Guess::Random { seen, samples } = guess else { return self.prior.ln() };
        let (low, high) = (self.density(LOWEST.max(*seen.start())), self.density(LOWEST.max(*seen.end())));
        // The others were between the two, where all models of one run are even.
        self.prior.ln() + low.ln() + high.ln() + f64::from(samples.saturating_sub(2)) * high.ln()
    }
}

fn candidates(guess: &Guess) -> Vec<Candidate> {
    let linux = Candidate { prior: LINUX, runs: vec![LOWEST..=u16::MAX], prefers_low: true };
    let even = |prior: f64, runs: Vec<RangeInclusive<u16>>| Candidate { prior, runs, prefers_low: false };
    match guess {
        Guess::Fixed | Guess::Unknown | Guess::Sequential(_) => {
            let known = KNOWN.into_iter().map(|(prior, run)| even(prior, vec![run]));
            [linux].into_iter().chain(known).collect()
        }
        Guess::Random { seen, samples } => {
            let known = KNOWN.into_iter().map(|(prior, run)| even(prior, vec![run]));
            let around = even(OTHER, vec![widened(seen, u16::from(*samples))]);
            [linux].into_iter().chain(known).chain([around]).collect()
        }
        // Nearly always one of them; a run that is used up is followed by another, anywhere.
        Guess::Block { runs } => {
            let runs = apart(runs.iter().map(|run| widened(run, 8)).collect());
            vec![even(0.98, runs), even(0.02, vec![LOWEST..=u16::MAX])]
        }
    }
}

/// A run of which so many samples were seen reaches about so much farther.
fn widened(seen: &RangeInclusive<u16>, samples: u16) -> RangeInclusive<u16> {
    let margin = (seen.end() - seen.start()) / samples.max(1) + 8;
    seen.start().saturating_sub(margin).max(LOWEST)..=seen.end().saturating_add(margin).max(LOWEST)
}

/// The same ports in runs that do not overlap.
fn apart(mut runs: Vec<RangeInclusive<u16>>) -> Vec<RangeInclusive<u16>> {
    runs.sort_by_key(|run| *run.start());
    let mut done: Vec<RangeInclusive<u16>> = Vec::with_capacity(runs.len());
    for run in runs {
        match done.last_mut() {
            Some(last) if run.start() <= last.end() => *last = *last.start()..=*last.end().max(run.end()),
            Some(_) | None => done.push(run),
        }
    }
    done
}
