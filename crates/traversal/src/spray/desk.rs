//! What both roles share: the one address that is talked to, the language, the counters, the outputs.

use std::collections::{HashSet, VecDeque};

use core::net::{IpAddr, SocketAddr};

use pinhole_sansio::{Duration, Instant, Rng};
use pinhole_stun::TransactionId;

use super::word::{About, Language, Said, Word};
use super::{Counters, MOST_HEARD, Output, Reason, Refused, Settings, Via};

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
    /// What was heard by which socket from which port: each word counts once.
    heard: HashSet<(TransactionId, Via, u16)>,
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
            heard: HashSet::new(),
            ends: now + settings.limits.deadline,
        }
    }

    pub(super) fn address(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.target, port)
    }

    /// Sends a word about a way.
    pub(super) fn send(&mut self, via: Via, port: u16, ttl: Option<u8>, word: Word, about: About) {
        let bytes = self.language.write(word, about, &mut self.rng);
        self.outputs.push_back(Output::Transmit { via, to: self.address(port), ttl, bytes });
    }

    /// Says something that goes all the way.
    pub(super) fn say(&mut self, via: Via, port: u16, word: Word, about: About) {
        self.counters.words += 1;
        self.send(via, port, None, word, about);
    }

    /// What the peer says, if it is the peer.
    pub(super) fn read(&mut self, via: Via, from: SocketAddr, bytes: &[u8]) -> Option<Said> {
        if from.ip().to_canonical() != self.target {
            self.counters.strangers += 1;
            return None;
        }
        match self.language.read(bytes) {
            Ok(said) if self.heard.len() < MOST_HEARD && self.heard.insert((said.id, via, from.port())) => {
                return Some(said);
            }
            Ok(_) => self.counters.repeated += 1,
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
