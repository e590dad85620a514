//! The side that opens holes and is found by one of them.

use pinhole_sansio::{Deadline, Duration, Instant};

use super::desk::{Desk, Repeat};
use super::word::Word;
use super::{Output, Reason, Settings, Via, Why};

/// Between two openers. They die a few hops away; a home's uplink takes 256 of them in 128 ms.
const BETWEEN: Duration = Duration::from_micros(500);
/// Openers that leave together when the driver comes late.
const MOST_AT_ONCE: u32 = 16;
/// Every socket opens twice, this long after the first time: one opener in so many is lost, and its hole with it.
const ROUNDS: [Duration; 2] = [Duration::ZERO, Duration::from_millis(400)];
/// When WireGuard's port sends probes of full TTL, after its opener has. The first reaches the prober's NAT after the
/// prober's first probe has left it, if the two start together.
const SCOUTS: [Duration; 4] =
    [Duration::from_millis(20), Duration::from_millis(120), Duration::from_millis(350), Duration::from_millis(900)];
/// The first silence after an answer, and after the word that WireGuard's port is ready.
const SAY_AGAIN: Duration = Duration::from_millis(60);
/// So often is an answer said of its own accord.
const ANSWERS: u32 = 6;

#[derive(Debug)]
pub(super) struct Opener {
    started: Instant,
    /// The prober's port.
    aim: u16,
    ttl: u8,
    /// Extra sockets that are open.
    sockets: u16,
    wanted: u16,
    /// The round and the socket that are next, and when.
    opening: Option<(usize, u16, Instant)>,
    own_opened: bool,
    /// Scouts that were sent.
    scouts: usize,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Waits to be hit.
    Waiting,
    /// A probe has come by this socket.
    Heard { via: Via, port: u16, left: u32, repeat: Repeat },
    /// The pair is nominated, and the hole on its way to WireGuard.
    HandingOver { via: Via, port: u16 },
    /// WireGuard's port speaks through it.
    Ready { via: Via, port: u16, repeat: Repeat },
    /// The way is proven, or it has given up.
    Over,
}

impl Opener {
    pub(super) fn start(now: Instant, settings: &Settings, desk: &mut Desk) -> Self {
        let wanted = settings.local.sockets().min(settings.limits.sockets);
        if wanted > 0 {
            desk.outputs.push_back(Output::Open { sockets: wanted });
        }
        Self {
            started: now,
            aim: settings.remote.endpoint.port(),
            ttl: settings.limits.opener_ttl,
            sockets: 0,
            wanted,
            opening: None,
            own_opened: false,
            scouts: 0,
            state: State::Waiting,
        }
    }

    pub(super) fn on_opened(&mut self, now: Instant, sockets: u16) {
        if self.sockets == 0 && sockets > 0 {
            self.sockets = sockets.min(self.wanted);
            self.opening = Some((0, 0, now));
        }
    }

    pub(super) fn on_handed_over(&mut self, now: Instant, desk: &mut Desk) {
        if let State::HandingOver { via, port } = self.state {
            self.state = ready(now, via, port, desk);
        }
    }

    pub(super) fn deadline(&self, desk: &Desk) -> Option<Deadline<Why>> {
        let openers = Deadline::earlier(
            self.next_own().map(|at| Deadline::new(at, Why::Opener)),
            self.opening.map(|(_, _, at)| Deadline::new(at, Why::Opener)),
        );
        let next = match &self.state {
            State::Waiting => openers,
            State::Heard { repeat, .. } => Deadline::earlier(openers, Some(Deadline::new(repeat.at, Why::Repeat))),
            State::HandingOver { .. } => None,
            State::Ready { repeat, .. } => Some(Deadline::new(repeat.at, Why::Repeat)),
            State::Over => return None,
        };
        Deadline::earlier(next, Some(Deadline::new(desk.ends, Why::Deadline)))
    }

    pub(super) fn on_time(&mut self, now: Instant, desk: &mut Desk) {
        if now >= desk.ends {
            return self.end(desk);
        }
        match self.state {
            State::Waiting => self.open(now, desk),
            State::Heard { via, port, left, repeat } => {
                self.open(now, desk);
                if repeat.at <= now {
                    self.state = match left.checked_sub(1) {
                        Some(left) => {
                            desk.say(via, port, Word::Answer);
                            State::Heard { via, port, left, repeat: repeat.again(now) }
                        }
                        None => State::Waiting,
                    };
                }
            }
            State::Ready { via, port, repeat } if repeat.at <= now => {
                desk.say(Via::Own, port, Word::Ready);
                self.state = State::Ready { via, port, repeat: repeat.again(now) };
            }
            State::Ready { .. } | State::HandingOver { .. } | State::Over => {}
        }
    }

    pub(super) fn on_word(&mut self, now: Instant, via: Via, port: u16, word: Word, desk: &mut Desk) {
        match (word, &self.state) {
            (Word::Probe, State::Waiting | State::Heard { .. }) => {
                desk.answer(via, port, Word::Answer);
                let repeat = Repeat::after(now, SAY_AGAIN);
                self.state = State::Heard { via, port, left: ANSWERS - 1, repeat };
            }
            (Word::Nominate, State::Waiting | State::Heard { .. }) => {
                self.state = match via {
                    // WireGuard's port speaks already.
                    Via::Own => ready(now, via, port, desk),
                    Via::Extra(_) => {
                        desk.answer(via, port, Word::Accept);
                        desk.outputs.push_back(Output::HandOver { via, remote: desk.address(port) });
                        State::HandingOver { via, port }
                    }
                };
            }
            (Word::Nominate, State::HandingOver { via: ours, .. }) if *ours == via => {
                desk.answer(via, port, Word::Accept)
            }
            (Word::Done, &State::Ready { via, port, .. }) => {
                desk.outputs.push_back(Output::Direct { via, remote: desk.address(port) });
                self.state = State::Over;
            }
            // What comes twice, late, by another hole, or is the opener's own to say.
            (Word::Probe | Word::Nominate | Word::Done, _) => {}
            (Word::Answer | Word::Accept | Word::Ready, _) => {}
        }
    }

    /// Sends the openers that are due.
    fn open(&mut self, now: Instant, desk: &mut Desk) {
        while self.next_own().is_some_and(|at| at <= now) {
            desk.counters.openers += 1;
            if self.own_opened {
                self.scouts += 1;
                desk.send(Via::Own, self.aim, None, Word::Probe);
            } else {
                self.own_opened = true;
                desk.send(Via::Own, self.aim, Some(self.ttl), Word::Probe);
            }
        }
        for _ in 0..MOST_AT_ONCE {
            let Some((round, socket, at)) = self.opening.filter(|(_, _, at)| *at <= now) else { return };
            desk.counters.openers += 1;
            desk.send(Via::Extra(socket), self.aim, Some(self.ttl), Word::Probe);
            self.opening = match (socket + 1 < self.sockets, ROUNDS.get(round + 1)) {
                (true, _) => Some((round, socket + 1, at + BETWEEN)),
                (false, Some(&after)) => Some((round + 1, 0, (self.started + after).max(at + BETWEEN))),
                (false, None) => None,
            };
        }
        if let Some((_, _, at)) = &mut self.opening {
            *at = (*at).max(now + BETWEEN);
        }
    }

    /// When WireGuard's port sends next.
    fn next_own(&self) -> Option<Instant> {
        if !self.own_opened {
            return Some(self.started);
        }
        SCOUTS.get(self.scouts).map(|&after| self.started + after)
    }

    fn end(&mut self, desk: &mut Desk) {
        let reason = match self.state {
            State::Waiting => Reason::NotHeard,
            State::Heard { .. } | State::Ready { .. } => Reason::Interrupted,
            State::HandingOver { .. } => Reason::NotHandedOver,
            State::Over => return,
        };
        desk.give_up(reason);
        self.state = State::Over;
    }
}

/// WireGuard's port says that it has the hole.
fn ready(now: Instant, via: Via, port: u16, desk: &mut Desk) -> State {
    desk.say(Via::Own, port, Word::Ready);
    State::Ready { via, port, repeat: Repeat::after(now, SAY_AGAIN) }
}
