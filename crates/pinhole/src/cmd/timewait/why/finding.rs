//! What was seen, and what follows from it.

use std::net::SocketAddr;

use pinhole_host::netlink::sock_diag::TcpSocket;
use pinhole_timewait::claim::{self, Answer, Claim, Held, Options, Port, Rules};
use pinhole_timewait::segment::State;

use super::super::machine::Machine;
use super::super::sample::{Dead, Kind};

/// A death that comes earlier than predicted by less is the clock's grain.
const ON_TIME_NS: u64 = 50_000_000;

/// What was seen of a dead socket while somebody looked on.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    pub(super) first: Option<Dead>,
    /// `None` once it is gone.
    pub(super) last: Option<Dead>,
    pub(super) at_ns: u64,
    /// How often its time began anew.
    pub(super) restarts: u32,
    /// Somebody listens on its port.
    pub(super) listens: bool,
    /// There is a socket whose own end is the other one.
    pub(super) reversed: bool,
    /// How far counters of the namespace went meanwhile.
    pub(super) paws: u64,
    /// The counter that says so.
    pub(super) paws_counter: PawsCounter,
    pub(super) recycled: u64,
}

/// Which counter tells of segments that are too old by their timestamps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum PawsCounter {
    /// PAWSTimewait, of dead sockets only.
    #[default]
    OfDead,
    /// PAWSEstab, which before 6.14 counts them together with those of live connections.
    OfAll,
}

/// What connection tracking says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tracked {
    Entry { state: Option<&'static str>, left_s: u32 },
    Nothing,
    NotAllowed,
}

/// Why it is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// Its minute is not over.
    Waits,
    /// Its minute is over, and the wheel has not come to it yet.
    Overdue,
    /// Segments start its minute anew.
    Restarted,
    /// Segments that are too old by their timestamps start its minute anew: a second host behind a NAT, or a clock set back.
    PawsLoop,
    /// The other side has not closed.
    FinWait2,
    /// The same, still in the first part of a `tcp_fin_timeout` above a minute.
    FinWait2Whole,
    /// It went while somebody looked on, at its time.
    Died,
    /// It went before its time, and no connection of ours took it: an RST, a SYN that was let in, or somebody's hand.
    Killed,
    /// A new connection of ours has taken its place.
    Reused,
    /// It is not dead.
    Alive,
    /// Only connection tracking remembers it.
    TrackedOnly,
    /// There is nothing of it.
    Nothing,
}

/// All that can be said.
#[derive(Clone, Debug)]
pub(super) struct Finding {
    pub(super) ends: (SocketAddr, SocketAddr),
    pub(super) cause: Cause,
    pub(super) seen: Seen,
    pub(super) living: Option<TcpSocket>,
    pub(super) tracked: Tracked,
    /// With SO_REUSEADDR on both sockets, and with no option on either.
    pub(super) answers: Option<[Answer; 2]>,
}

impl Seen {
    /// The socket is seen again.
    pub(super) fn again(&mut self, dead: &Dead) {
        let (dead, is_anew) = self.last.map_or((*dead, false), |last| last.later(*dead));
        self.restarts += u32::from(is_anew);
        self.last = Some(dead);
    }

    fn cause(&self, first: &Dead) -> Cause {
        let Some(last) = self.last else {
            let is_late_enough = self.at_ns + ON_TIME_NS >= first.death_ns;
            return match (is_late_enough, self.recycled > 0) {
                (true, _) => Cause::Died,
                (false, true) => Cause::Reused,
                (false, false) => Cause::Killed,
            };
        };
        match last.kind {
            _ if self.restarts > 0 && self.paws > 0 => Cause::PawsLoop,
            _ if self.restarts > 0 => Cause::Restarted,
            Kind::FinWait2 => Cause::FinWait2,
            Kind::FinWait2Whole => Cause::FinWait2Whole,
            Kind::TimeWait if last.is_overdue() => Cause::Overdue,
            Kind::TimeWait => Cause::Waits,
        }
    }
}

impl Finding {
    pub(super) fn of(
        machine: &Machine,
        ends: (SocketAddr, SocketAddr),
        seen: Seen,
        living: Option<TcpSocket>,
        tracked: Tracked,
    ) -> Self {
        let cause = match (&seen.first, living, tracked) {
            (Some(first), _, _) => seen.cause(first),
            (None, Some(_), _) => Cause::Alive,
            (None, None, Tracked::Entry { .. }) => Cause::TrackedOnly,
            (None, None, Tracked::Nothing | Tracked::NotAllowed) => Cause::Nothing,
        };
        let answers = seen.last.map(|dead| answers(machine, &dead, seen.at_ns));
        Self { ends, cause, seen, living, tracked, answers }
    }
}

fn answers(machine: &Machine, dead: &Dead, now_ns: u64) -> [Answer; 2] {
    let settings = &machine.settings;
    let defaults = Rules::defaults(machine.version);
    let rules = Rules {
        tw_reuse: settings.tw_reuse.unwrap_or(defaults.tw_reuse),
        tw_reuse_delay_ms: settings.tw_reuse_delay_ms.unwrap_or(defaults.tw_reuse_delay_ms),
        autobind_reuse: settings.autobind_reuse == Some(1),
        ..defaults
    };
    let both = Options { reuse_addr: true, reuse_port: true };
    [both, Options::default()].map(|options| {
        let held = Held {
            state: match dead.kind {
                Kind::TimeWait => State::TimeWait,
                Kind::FinWait2 | Kind::FinWait2Whole => State::FinWait2,
            },
            options,
            timestamps: settings.timestamps != Some(0),
            age_ms: now_ns.saturating_sub(dead.since_ns) / 1_000_000,
            left_ms: dead.death_ns.saturating_sub(now_ns) / 1_000_000,
            loopback: dead.socket.remote.ip().to_canonical().is_loopback(),
        };
        claim::ask(Some(&held), &Claim { options, port: Port::Explicit, same_peer: true }, &rules)
    })
}
