//! The side that opens holes and is found by one of them.

use pinhole_sansio::{Deadline, Duration, Instant};

use super::desk::{Desk, Repeat};
use super::openings::Openings;
use super::word::{About, Said, Word};
use super::{Output, Reason, Settings, Via, Why};

/// The first silence after an answer, and after the word that WireGuard's port is ready.
const SAY_AGAIN: Duration = Duration::from_millis(60);
/// So often is an answer said of its own accord.
const ANSWERS: u32 = 6;

#[derive(Debug)]
pub(super) struct Opener {
    openings: Openings,
    /// Extra sockets that were asked for.
    wanted: u16,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Waits to be hit.
    Waiting,
    /// A probe has come by this socket.
    Heard { via: Via, port: u16, about: About, left: u32, repeat: Repeat },
    /// The pair is nominated, and the hole on its way to WireGuard.
    HandingOver { via: Via, port: u16 },
    /// WireGuard's port speaks through it.
    Ready { via: Via, port: u16, repeat: Repeat },
    /// The way is proven, or it has given up.
    Over,
}

impl Opener {
    pub(super) fn start(now: Instant, settings: &Settings, desk: &mut Desk) -> Self {
        let openings = Openings::start(now, settings);
        let wanted = openings.sockets(settings);
        if wanted > 0 {
            desk.outputs.push_back(Output::Open { sockets: wanted });
        }
        Self { openings, wanted, state: State::Waiting }
    }

    pub(super) fn on_opened(&mut self, now: Instant, sockets: u16) {
        self.openings.on_opened(now, sockets.min(self.wanted));
    }

    pub(super) fn on_handed_over(&mut self, now: Instant, desk: &mut Desk) {
        if let State::HandingOver { via, port } = self.state {
            self.state = ready(now, via, port, desk);
        }
    }

    pub(super) fn deadline(&self, desk: &Desk) -> Option<Deadline<Why>> {
        let openers = self.openings.next().map(|at| Deadline::new(at, Why::Opener));
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
            State::Heard { via, port, about, left, repeat } => {
                self.open(now, desk);
                if repeat.at <= now {
                    self.state = match left.checked_sub(1) {
                        Some(left) => {
                            desk.say(via, port, Word::Answer, about);
                            State::Heard { via, port, about, left, repeat: repeat.again(now) }
                        }
                        None => State::Waiting,
                    };
                }
            }
            State::Ready { via, port, repeat } if repeat.at <= now => {
                desk.say(Via::Own, port, Word::Ready, About { socket: number(via), port: 0 });
                self.state = State::Ready { via, port, repeat: repeat.again(now) };
            }
            State::Ready { .. } | State::HandingOver { .. } | State::Over => {}
        }
    }

    pub(super) fn on_word(&mut self, now: Instant, via: Via, port: u16, said: Said, desk: &mut Desk) {
        match (said.word, &self.state) {
            (Word::Nominate, State::Waiting | State::Heard { .. }) if said.about.socket != number(via) => {
                desk.counters.misplaced += 1;
            }
            (Word::Probe, State::Waiting | State::Heard { .. }) => {
                let about = About { socket: number(via), port: said.about.port };
                desk.say(via, port, Word::Answer, about);
                let repeat = Repeat::after(now, SAY_AGAIN);
                self.state = State::Heard { via, port, about, left: ANSWERS - 1, repeat };
            }
            (Word::Nominate, State::Waiting | State::Heard { .. }) => {
                self.state = match via {
                    // WireGuard's port speaks already.
                    Via::Own => ready(now, via, port, desk),
                    Via::Extra(_) => {
                        desk.say(via, port, Word::Accept, said.about);
                        desk.outputs.push_back(Output::HandOver { via, remote: desk.address(port) });
                        State::HandingOver { via, port }
                    }
                };
            }
            (Word::Nominate, State::HandingOver { via: ours, .. }) if *ours == via => {
                desk.say(via, port, Word::Accept, said.about)
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
        while let Some(opening) = self.openings.take(now) {
            desk.counters.openers += 1;
            desk.send(
                opening.via,
                opening.port,
                opening.ttl,
                Word::Probe,
                About { socket: number(opening.via), port: 0 },
            );
        }
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
    desk.say(Via::Own, port, Word::Ready, About { socket: number(via), port: 0 });
    State::Ready { via, port, repeat: Repeat::after(now, SAY_AGAIN) }
}

/// A socket's number in a word.
const fn number(via: Via) -> u16 {
    match via {
        Via::Own => 0,
        Via::Extra(number) => number.saturating_add(1),
    }
}
