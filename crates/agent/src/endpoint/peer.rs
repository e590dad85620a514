//! One peer of the agent: is its path up, and if not, what is being done about it.
//!
//! A peer goes round in a circle: `Resting` while its path works or a pause runs, `Seeking` while the registry is being asked,
//! `Hunting` while a hole is looked for that the registry cannot know, `Punching` while packets go out to where the peer is. It
//! leaves the circle for `Resting` the moment the arbiter says that the path works.
//! It decides and remembers; the agent around it asks the registry and touches the device.

use pinhole_sansio::{Deadline, Duration, Instant};
use pinhole_traversal::punch::{Action, Punch, Role, Settings};
use pinhole_wg::arbiter::{Advice, Arbiter, Path};
use pinhole_wg::{Key, Peer};

use core::net::SocketAddr;

/// How long to rest after the n-th failed attempt. The first retries are quick, since a lost packet is the likeliest cause.
/// From the fifth on the pause is longer than a NAT remembers an unanswered packet (30 s, `nf_conntrack_udp_timeout`), so
/// that a poisoned mapping has time to go away.
const PAUSES: [Duration; 7] = [
    Duration::from_millis(100),
    Duration::from_millis(400),
    Duration::from_secs(2),
    Duration::from_secs(5),
    Duration::from_secs(35),
    Duration::from_secs(35),
    Duration::from_secs(60),
];

/// How long to rest after the n-th time that nobody knew where the peer is: it may come any moment, and asking costs one
/// packet. Peers that stay away are asked for less and less.
const ABSENCES: [(u32, Duration); 4] = [
    (2, Duration::from_millis(400)),
    (30, Duration::from_secs(2)),
    (100, Duration::from_secs(10)),
    (u32::MAX, Duration::from_secs(30)),
];

/// How long a relayed path is left alone before the n-th attempt to find a direct one. The relay works, so there is no hurry,
/// and an attempt costs a thousand packets.
const OFF_THE_RELAY: [Duration; 4] =
    [Duration::from_secs(1), Duration::from_secs(10), Duration::from_secs(60), Duration::from_secs(300)];

/// After a punch has worked, the side that knocked sends so many echoes, so far apart, until one is answered: the other side
/// may not send before it has received, and a keepalive can get lost.
const CONFIRMATIONS: u32 = 5;
const CONFIRMATION_GAP: Duration = Duration::from_millis(100);

/// The gap after the first knock: more than the round trip between any two homes of a continent.
const FIRST_GAP: Duration = Duration::from_millis(200);

/// Why a peer wants to be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Its pause is over.
    Pause,
    /// The punch has something to do.
    Punch,
    /// The peer is to be shown that the path is up.
    Confirm,
}

/// What the agent has to do for a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    /// Ask the registry where it is.
    Seek,
    /// Send an opener to its endpoint.
    Open { to: SocketAddr, ttl: u8 },
    /// Give the device this endpoint, then send something through the session.
    Probe { endpoint: Option<SocketAddr> },
    /// Give the device this endpoint and start a handshake.
    Handshake { endpoint: SocketAddr },
    /// Tell that the path is up, directly or through the relay; `after` is the time since it was found missing.
    Up { after: Option<Duration>, relayed: bool },
    /// Tell that the path is down.
    Down,
    /// Tell that an attempt failed and when the next one comes.
    Failed { pause: Duration },
}

#[derive(Debug)]
enum State {
    /// Nothing to do; if `until` is set, seek then.
    Resting { until: Option<Instant> },
    /// The registry has been asked.
    Seeking,
    /// The agent looks for a hole through a NAT that maps anew towards everybody.
    Hunting,
    /// Packets are going out to `endpoint`.
    Punching { punch: Punch, endpoint: SocketAddr, role: Role, knocks: u32 },
    /// The path is up and the peer is to learn it too.
    Confirming { left: u32, next: Instant, rx_bytes: u64 },
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Link {
    arbiter: Arbiter,
    state: State,
    /// Did the path work when last looked at? `None` before the first look.
    up: Option<bool>,
    down_since: Option<Instant>,
    /// Where the registry's relay takes packets for the peer, if it does.
    relay: Option<SocketAddr>,
    /// The path that works leads through the relay.
    relayed: bool,
    /// Attempts that have failed in a row; while the path is relayed, those to get off the relay.
    failed: u32,
    /// Seeks in a row that found nobody.
    absences: u32,
    tasks: Vec<Task>,
}

impl Link {
    pub(crate) fn new() -> Self {
        Self {
            arbiter: Arbiter::new(),
            state: State::Resting { until: None },
            up: None,
            down_since: None,
            relay: None,
            relayed: false,
            failed: 0,
            absences: 0,
            tasks: Vec::new(),
        }
    }

    /// Takes what the device says of the peer.
    pub(crate) fn sample(&mut self, now: Instant, wall: Duration, peer: &Peer) {
        if self.arbiter.sample(now, wall, peer) == Advice::Probe {
            self.tasks.push(Task::Probe { endpoint: None });
        }
        let up = self.arbiter.path() == Path::Working;
        let relayed = up && peer.endpoint.is_some() && peer.endpoint == self.relay;
        let gets_off = core::mem::replace(&mut self.relayed, relayed) && up && !relayed;
        match (self.up.replace(up), up) {
            (Some(true), true) if gets_off => self.came_up(now, peer.rx_bytes),
            (Some(true), true) | (Some(false), false) => {}
            (_, true) => self.came_up(now, peer.rx_bytes),
            (was, false) => self.went_down(now, was.is_some()),
        }
        if up && !relayed && self.proves_itself(peer.rx_bytes) {
            self.state = State::Resting { until: None };
        }
    }

    /// Takes where the relay can be reached, and says whether it is to be used now: only without a path.
    pub(crate) fn offer_relay(&mut self, relay: SocketAddr) -> bool {
        self.relay = Some(relay);
        !self.is_up()
    }

    /// Was an attempt in vain, and none not since?
    pub(crate) fn has_failed(&self) -> bool {
        self.failed > 0
    }

    /// Does the path lead through the relay?
    pub(crate) fn is_relayed(&self) -> bool {
        self.relayed
    }

    /// The registry says where the peer is; false if that is no news.
    pub(crate) fn found(&mut self, now: Instant, endpoint: SocketAddr, role: Role, can_open: bool) -> bool {
        if matches!(self.state, State::Punching { endpoint: at, role: as_, .. } if (at, as_) == (endpoint, role)) {
            return false;
        }
        self.doubt_a_working_path(now);
        self.punch(now, endpoint, role, can_open);
        true
    }

    /// The registry has brought us together with the peer, and one of the two has to be looked for.
    pub(crate) fn hunt(&mut self, now: Instant) {
        if !self.relayed {
            self.doubt_a_working_path(now);
        }
        self.state = State::Hunting;
    }

    /// There is a hole: both NATs are open, so nothing has to be opened.
    pub(crate) fn hunted(&mut self, now: Instant, endpoint: SocketAddr, role: Role) {
        if matches!(self.state, State::Hunting) {
            self.punch(now, endpoint, role, false);
        }
    }

    /// There is none.
    pub(crate) fn hunted_in_vain(&mut self, now: Instant) {
        if matches!(self.state, State::Hunting) {
            self.fail(now);
        }
    }

    /// The registry does not know where the peer is, or did not answer.
    pub(crate) fn not_found(&mut self, now: Instant) {
        if !matches!(self.state, State::Seeking) {
            return;
        }
        if self.relayed {
            return self.fail(now);
        }
        self.absences += 1;
        let pause =
            ABSENCES.iter().find(|(times, _)| self.absences <= *times).map_or(Duration::ZERO, |(_, pause)| *pause);
        self.rest(now, pause);
    }

    /// The registry can be asked again: end a pause.
    pub(crate) fn retry(&mut self, now: Instant) {
        if let State::Resting { until: Some(until) } = &mut self.state {
            *until = now;
            self.run(now);
        }
    }

    /// Peers have to look for us, and the registry was not told when it was asked: what is under way leads nowhere, and it is
    /// to be asked again. True if that is so.
    pub(crate) fn start_anew(&mut self) -> bool {
        let leads_nowhere = matches!(self.state, State::Seeking | State::Punching { .. }) && !self.is_up();
        if leads_nowhere {
            self.seek();
        }
        leads_nowhere
    }

    /// The network has changed: whatever is known of the path is worth nothing, so the registry is asked at once.
    pub(crate) fn hurry(&mut self, now: Instant) {
        (self.failed, self.absences) = (0, 0);
        self.arbiter.doubt(now);
        if !matches!(self.state, State::Seeking) {
            self.seek();
        }
    }

    /// Time has passed.
    pub(crate) fn run(&mut self, now: Instant) {
        if matches!(self.state, State::Resting { until: Some(until) } if until <= now) {
            self.seek();
        }
        if let State::Confirming { left, next, .. } = &mut self.state
            && *next <= now
        {
            *next = now + CONFIRMATION_GAP;
            *left -= 1;
            if *left == 0 {
                self.state = State::Resting { until: None };
            }
            self.tasks.push(Task::Probe { endpoint: None });
        }
        while let State::Punching { punch, endpoint, knocks, .. } = &mut self.state {
            let endpoint = *endpoint;
            let Some(action) = punch.poll_action(now) else { return };
            match action {
                Action::Open { ttl } => self.tasks.push(Task::Open { to: endpoint, ttl }),
                Action::Knock => {
                    *knocks += 1;
                    let first = *knocks == 1;
                    self.knock(endpoint, first);
                }
                Action::GiveUp => self.fail(now),
            }
        }
    }

    /// The next thing to do.
    pub(crate) fn poll_task(&mut self) -> Option<Task> {
        (!self.tasks.is_empty()).then(|| self.tasks.remove(0))
    }

    pub(crate) fn poll_timeout(&self) -> Option<Deadline<Why>> {
        match &self.state {
            State::Resting { until } => until.map(|at| Deadline::new(at, Why::Pause)),
            State::Seeking | State::Hunting => None,
            State::Confirming { next, .. } => Some(Deadline::new(*next, Why::Confirm)),
            State::Punching { punch, .. } => punch.poll_timeout().map(|d| d.map(|_| Why::Punch)),
        }
    }

    /// Should the device be looked at often?
    pub(crate) fn is_busy(&self) -> bool {
        matches!(self.state, State::Punching { .. } | State::Confirming { .. })
    }

    /// Should it be looked at now and then?
    pub(crate) fn is_live(&self) -> bool {
        self.arbiter.is_suspicious() || self.arbiter.is_live()
    }

    pub(crate) fn is_up(&self) -> bool {
        self.up == Some(true)
    }

    /// A path that works needs nothing more, unless it has been called into doubt and there was no answer yet.
    fn proves_itself(&self, rx_bytes: u64) -> bool {
        match &self.state {
            State::Resting { .. } => false,
            State::Seeking | State::Hunting | State::Punching { .. } => !self.arbiter.is_suspicious(),
            State::Confirming { rx_bytes: before, .. } => rx_bytes > *before,
        }
    }

    fn came_up(&mut self, now: Instant, rx_bytes: u64) {
        (self.failed, self.absences) = (0, 0);
        self.state = match self.state {
            State::Punching { knocks: 1.., .. } => State::Confirming { left: CONFIRMATIONS, next: now, rx_bytes },
            State::Punching { .. }
            | State::Resting { .. }
            | State::Seeking
            | State::Hunting
            | State::Confirming { .. } => State::Resting { until: None },
        };
        let after = self.down_since.take().map(|since| now.since(since));
        self.tasks.push(Task::Up { after, relayed: self.relayed });
        if self.relayed {
            self.state = State::Resting { until: Some(now + OFF_THE_RELAY[0]) };
        }
        self.run(now);
    }

    fn went_down(&mut self, now: Instant, was_up: bool) {
        self.down_since = Some(now);
        if was_up {
            self.tasks.push(Task::Down);
        }
        if matches!(self.state, State::Resting { .. } | State::Confirming { .. }) {
            self.seek();
        }
    }

    /// The peer has lost its side of a path that looks whole from here: make it prove itself.
    fn doubt_a_working_path(&mut self, now: Instant) {
        if self.arbiter.path() == Path::Working {
            self.arbiter.doubt(now);
        }
    }

    fn punch(&mut self, now: Instant, endpoint: SocketAddr, role: Role, can_open: bool) {
        let settings = Settings { role, attempt: self.failed, can_open, first_gap: FIRST_GAP };
        self.state = State::Punching { punch: Punch::new(now, settings), endpoint, role, knocks: 0 };
        self.run(now);
    }

    fn seek(&mut self) {
        self.state = State::Seeking;
        self.tasks.push(Task::Seek);
    }

    /// Without a session a handshake is all there is to try. A session, even one that seems dead, is first asked for a sign
    /// of life at the new endpoint: after a rebind that is all it takes, and nothing is thrown away.
    fn knock(&mut self, endpoint: SocketAddr, first: bool) {
        self.tasks.push(match (self.arbiter.path(), first) {
            (Path::Absent, _) | (_, false) => Task::Handshake { endpoint },
            (Path::Working, true) if self.relayed => Task::Probe { endpoint: Some(endpoint) },
            (Path::Working, true) => Task::Probe { endpoint: None },
            (Path::Dead, true) => Task::Probe { endpoint: Some(endpoint) },
        });
    }

    fn fail(&mut self, now: Instant) {
        // The first pause of a relayed path ran before the first attempt.
        let (pauses, nth): (&[Duration], _) =
            if self.relayed { (&OFF_THE_RELAY, self.failed + 1) } else { (&PAUSES, self.failed) };
        let pause = pauses[(nth as usize).min(pauses.len() - 1)];
        self.failed += 1;
        self.rest(now, pause);
    }

    fn rest(&mut self, now: Instant, pause: Duration) {
        self.state = State::Resting { until: Some(now + pause) };
        self.tasks.push(Task::Failed { pause });
    }
}

/// Who knocks when no registry has said so: the side with the smaller key, which both sides can tell.
pub(crate) fn role_by_key(mine: &Key, theirs: &Key) -> Role {
    if mine < theirs { Role::Initiator } else { Role::Opener }
}

#[cfg(test)]
mod tests;
