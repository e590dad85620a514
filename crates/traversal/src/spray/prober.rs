//! The side that tries ports.

use pinhole_sansio::{Deadline, Duration, Instant};

use super::desk::{Desk, Repeat};
use super::word::{About, Said, Word};
use super::{Output, Reason, Settings, Via, Why};
use crate::ports::{Count, Guess, Meeting, Search};

/// The head start of the opener: two hundred and fifty-six sockets open in that time.
const SOCKETS_OPEN: Duration = Duration::from_millis(50);
/// The head start of an opener that counts: the prober must not overtake it, however many ports others have taken from it.
const COUNTER_OPENS: Duration = Duration::from_millis(150);
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
    aim: Aim,
    /// Between two probes.
    interval: Duration,
    next: Instant,
    /// Probes that may still be sent.
    left: u32,
    /// A port that is not due yet.
    pending: Option<u16>,
    /// When the last answer must have come.
    waits: Option<Instant>,
    state: State,
}

/// Which port is next.
#[derive(Debug)]
enum Aim {
    Search(Search),
    Count(Count),
    Meeting(Meeting),
}

#[derive(Debug)]
enum State {
    /// Tries ports, or waits for answers to the last.
    Probing,
    /// Has heard the peer by this port of it.
    Nominating { via: Via, port: u16, about: About, left: u32, repeat: Repeat },
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
        let remote = &settings.remote.ports;
        let (aim, head_start) = match (&settings.local, remote) {
            (Guess::Sequential(local), Guess::Sequential(remote)) => {
                let start = now + COUNTER_OPENS;
                (Aim::Meeting(Meeting::new(start, *local, *remote)), COUNTER_OPENS)
            }
            (_, Guess::Sequential(remote)) => (Aim::Count(Count::new(now + SOCKETS_OPEN, *remote)), SOCKETS_OPEN),
            (_, Guess::Fixed | Guess::Block { .. } | Guess::Random { .. } | Guess::Unknown) => {
                (Aim::Search(Search::new(remote, remote.sockets().min(limits.sockets))), SOCKETS_OPEN)
            }
        };
        Self {
            aim,
            interval: Duration::from_secs(1) / limits.rate.max(1),
            next: now + head_start,
            left: limits.probes,
            pending: None,
            waits: None,
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
            State::Nominating { via, port, about, left, repeat } if repeat.at <= now => match left.checked_sub(1) {
                Some(left) => {
                    desk.say(via, port, Word::Nominate, about);
                    self.state = State::Nominating { via, port, about, left, repeat: repeat.again(now) };
                }
                None => {
                    self.next = self.next.max(now);
                    self.state = State::Probing;
                }
            },
            State::Nominating { .. } | State::Accepted | State::Through | State::Over => {}
        }
    }

    pub(super) fn on_word(&mut self, now: Instant, via: Via, port: u16, said: Said, desk: &mut Desk) {
        let about = said.about;
        match (said.word, &self.state) {
            (Word::Answer, _) if about.port != port => desk.counters.misplaced += 1,
            (Word::Ready, State::Through) => desk.say(via, port, Word::Done, about),
            (Word::Ready, State::Probing | State::Nominating { .. } | State::Accepted) => {
                desk.say(via, port, Word::Done, about);
                desk.outputs.push_back(Output::Direct { via, remote: desk.address(port) });
                self.state = State::Through;
            }
            (Word::Probe | Word::Answer, State::Probing) => {
                desk.say(via, port, Word::Nominate, about);
                let repeat = Repeat::after(now, NOMINATE_AGAIN);
                self.state = State::Nominating { via, port, about, left: NOMINATIONS - 1, repeat };
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
            let Some(port) = self.pending.take().or_else(|| self.draw(now, desk)) else {
                return self.exhaust(now, desk);
            };
            if self.next > now {
                self.pending = Some(port);
                return;
            }
            self.left -= 1;
            desk.counters.probes += 1;
            desk.send(Via::Own, port, None, Word::Probe, About { socket: 0, port });
            self.next += self.interval;
        }
        self.next = self.next.max(now + self.interval);
    }

    /// The next port; it may be due later.
    fn draw(&mut self, now: Instant, desk: &mut Desk) -> Option<u16> {
        if self.left == 0 {
            return None;
        }
        match &mut self.aim {
            Aim::Search(search) => search.next(&mut desk.rng),
            Aim::Meeting(meeting) => meeting.next(now),
            Aim::Count(count) => {
                let (due, port) = count.next()?;
                self.next = self.next.max(due);
                Some(port)
            }
        }
    }

    /// There is nothing more to try: answers may still be on their way.
    fn exhaust(&mut self, now: Instant, desk: &mut Desk) {
        match self.waits {
            None => {
                self.next = now + GRACE;
                self.waits = Some(self.next);
            }
            Some(until) if until <= now => self.end(desk),
            Some(until) => self.next = until,
        }
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
