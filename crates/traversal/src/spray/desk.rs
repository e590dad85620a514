//! What both roles share: the one address that is talked to, the language, the counters, the outputs.

use std::collections::VecDeque;

use core::net::{IpAddr, SocketAddr};

use pinhole_sansio::{Duration, Instant, Rng};

use super::word::{Language, Word};
use super::{Counters, MOST_ANSWERS, Output, Reason, Refused, Settings, Via};

/// How much longer each silence is than the one before, when something is said again.
const GROWTH: f64 = 1.5;
/// The longest of them.
const LONGEST: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub(super) struct Desk {
    /// The only address that anything is sent to or taken from.
    target: IpAddr,
    language: Language,
    pub(super) rng: Rng,
    pub(super) outputs: VecDeque<Output>,
    pub(super) counters: Counters,
    answers: u32,
    /// When the attempt is over.
    pub(super) ends: Instant,
}

impl Desk {
    pub(super) fn new(now: Instant, settings: &Settings) -> Self {
        Self {
            target: settings.remote.endpoint.ip().to_canonical(),
            language: Language::new(&settings.secret, settings.session, settings.role),
            rng: Rng::from_seed(settings.seed),
            outputs: VecDeque::new(),
            counters: Counters::default(),
            answers: 0,
            ends: now + settings.limits.deadline,
        }
    }

    pub(super) fn address(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.target, port)
    }

    pub(super) fn send(&mut self, via: Via, port: u16, ttl: Option<u8>, word: Word) {
        let bytes = self.language.write(word, &mut self.rng);
        self.outputs.push_back(Output::Transmit { via, to: self.address(port), ttl, bytes });
    }

    /// Says something of its own accord.
    pub(super) fn say(&mut self, via: Via, port: u16, word: Word) {
        self.counters.words += 1;
        self.send(via, port, None, word);
    }

    /// Says something because the peer did: not for ever.
    pub(super) fn answer(&mut self, via: Via, port: u16, word: Word) {
        if self.answers == MOST_ANSWERS {
            self.counters.unanswered += 1;
            return;
        }
        self.answers += 1;
        self.say(via, port, word);
    }

    /// What the peer says, if it is the peer.
    pub(super) fn read(&mut self, from: SocketAddr, bytes: &[u8]) -> Option<Word> {
        if from.ip().to_canonical() != self.target {
            self.counters.strangers += 1;
            return None;
        }
        match self.language.read(bytes) {
            Ok(word) => return Some(word),
            Err(Refused::Foreign) => self.counters.foreign += 1,
            Err(Refused::OtherSession) => self.counters.other_session += 1,
            Err(Refused::Mirrored) => self.counters.mirrored += 1,
            Err(Refused::Forged) => self.counters.forged += 1,
        }
        None
    }

    pub(super) fn give_up(&mut self, reason: Reason) {
        self.outputs.push_back(Output::GaveUp(reason));
    }
}

/// When something is said again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Repeat {
    pub(super) at: Instant,
    gap: Duration,
}

impl Repeat {
    /// For the first time after `gap`.
    pub(super) fn after(now: Instant, gap: Duration) -> Self {
        Self { at: now + gap, gap }
    }

    /// After a longer silence.
    pub(super) fn again(self, now: Instant) -> Self {
        Self::after(now, self.gap.mul_f64(GROWTH).min(LONGEST))
    }
}
