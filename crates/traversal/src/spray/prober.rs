//! The side that tries ports.

use pinhole_sansio::{Deadline, Duration, Instant};

use super::desk::{Desk, Repeat};
use super::word::Word;
use super::{Output, Reason, Settings, Via, Why};
use crate::ports::Search;

/// The first silence after a nomination.
const NOMINATE_AGAIN: Duration = Duration::from_millis(60);
/// A pair that does not answer so many nominations leads one way only: other ports are tried again.
const NOMINATIONS: u32 = 5;
/// How long answers to the last probe may take.
const GRACE: Duration = Duration::from_secs(1);
/// Probes that leave together when the driver comes late. Later ones are put off, so that the rate holds.
const MOST_AT_ONCE: u32 = 8;

#[derive(Debug)]
pub(super) struct Prober {
    search: Search,
    /// Between two probes.
    interval: Duration,
    next: Instant,
    /// Probes that may still be sent.
    left: u32,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Tries ports, or waits for answers to the last.
    Probing,
    /// Has heard the peer by this port of it.
    Nominating { via: Via, port: u16, left: u32, repeat: Repeat },
    /// The peer hands the hole over.
    Accepted,
    /// The way is proven.
    Through,
    /// It has given up.
    Over,
}

impl Prober {
    pub(super) fn start(now: Instant, settings: &Settings) -> Self {
        let limits = settings.limits;
        let sockets = settings.remote.ports.sockets().min(limits.sockets);
        Self {
            search: Search::new(&settings.remote.ports, sockets),
            interval: Duration::from_secs(1) / limits.rate.max(1),
            next: now,
            left: limits.probes,
            state: State::Probing,
        }
    }

    pub(super) fn deadline(&self, desk: &Desk) -> Option<Deadline<Why>> {
        let next = match &self.state {
            State::Probing => Some(Deadline::new(self.next, Why::Probe)),
            State::Nominating { repeat, .. } => Some(Deadline::new(repeat.at, Why::Repeat)),
            State::Accepted => None,
            State::Through | State::Over => return None,
        };
        Deadline::earlier(next, Some(Deadline::new(desk.ends, Why::Deadline)))
    }

    pub(super) fn on_time(&mut self, now: Instant, desk: &mut Desk) {
        if now >= desk.ends {
            return self.end(desk);
        }
        match self.state {
            State::Probing => self.probe(now, desk),
            State::Nominating { via, port, left, repeat } if repeat.at <= now => match left.checked_sub(1) {
                Some(left) => {
                    desk.say(via, port, Word::Nominate);
                    self.state = State::Nominating { via, port, left, repeat: repeat.again(now) };
                }
                None => {
                    self.next = self.next.max(now);
                    self.state = State::Probing;
                }
            },
            State::Nominating { .. } | State::Accepted | State::Through | State::Over => {}
        }
    }

    pub(super) fn on_word(&mut self, now: Instant, via: Via, port: u16, word: Word, desk: &mut Desk) {
        match (word, &self.state) {
            (Word::Ready, State::Through) => desk.answer(via, port, Word::Done),
            (Word::Ready, State::Probing | State::Nominating { .. } | State::Accepted) => {
                desk.answer(via, port, Word::Done);
                desk.outputs.push_back(Output::Direct { via, remote: desk.address(port) });
                self.state = State::Through;
            }
            (Word::Probe | Word::Answer, State::Probing) => {
                self.search.strike(port);
                desk.say(via, port, Word::Nominate);
                let repeat = Repeat::after(now, NOMINATE_AGAIN);
                self.state = State::Nominating { via, port, left: NOMINATIONS - 1, repeat };
            }
            (Word::Accept, State::Probing | State::Nominating { .. }) => self.state = State::Accepted,
            // What comes twice, late, or is the prober's own to say.
            (Word::Probe | Word::Answer | Word::Accept, _) | (Word::Ready, State::Over) => {}
            (Word::Nominate | Word::Done, _) => {}
        }
    }

    fn probe(&mut self, now: Instant, desk: &mut Desk) {
        for _ in 0..MOST_AT_ONCE {
            if self.next > now {
                return;
            }
            let port = if self.left > 0 { self.search.next(&mut desk.rng) } else { None };
            let Some(port) = port else { return self.end(desk) };
            self.left -= 1;
            desk.counters.probes += 1;
            desk.send(Via::Own, port, None, Word::Probe);
            self.next += if self.left > 0 { self.interval } else { GRACE };
        }
        self.next = self.next.max(now + self.interval);
    }

    fn end(&mut self, desk: &mut Desk) {
        let reason = match self.state {
            State::Probing => Reason::NotFound { probes: desk.counters.probes },
            State::Nominating { .. } => Reason::Interrupted,
            State::Accepted => Reason::NotHandedOver,
            State::Through | State::Over => return,
        };
        desk.give_up(reason);
        self.state = State::Over;
    }
}
