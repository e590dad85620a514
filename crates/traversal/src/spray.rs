//! One attempt to find a way to a peer whose NAT gives every destination another port.
//!
//! The [`Role::Prober`] is the side whose endpoint is known or can be predicted, the [`Role::Opener`] the other. The opener
//! opens sockets and sends something from each to the prober, so that its NAT has many ports that lead inside; the prober
//! tries ports of the opener's address, from the port that WireGuard owns, until it hits one. Then:
//!
//! ```text
//! prober (easy)                          opener (hard)
//!        │   ◄─ ─ ─ ─ ─ ─ ─ ─ ─ ─ Probe   from each socket; low TTL: passes its own NAT and dies
//!        │   Probe ─────────────────►     to one port after another
//!        │   ◄──────────────── Answer     from the socket that was hit
//!        │   Nominate ──────────────►     this pair, until it is accepted
//!        │   ◄──────────────── Accept     and Output::HandOver: the hole becomes WireGuard's
//!        │   ◄───────────────── Ready     from WireGuard's port, through the hole
//! Output::Direct
//!        │   Done ──────────────────►     Output::Direct
//! ```
//!
//! Before all that the opener sends a few probes of full TTL from WireGuard's port: a prober whose NAT filters by address, or
//! not at all, hears them as soon as it has sent anything, and nothing more is sprayed or handed over.
//!
//! **What protects others.** All packets of an attempt go to one address, [`Remote::endpoint`]'s: by construction, since a
//! packet is given a port only. That must be the address at which the registry itself sees the peer. Their number and rate are
//! bounded ([`Limits`]), how often there may be an attempt is too ([`Allowance`]), and they never go to ports below 1024.
//! Nothing unauthenticated is answered, and a word gets one of its size, once. docs/security.md says more.
//!
//! Not here: signalling, sockets, WireGuard, the rewrite that hands a hole over, and the derivation of the secret.

mod allowance;
mod desk;
mod opener;
mod openings;
mod prober;
mod word;

use core::fmt;
use core::net::{IpAddr, SocketAddr};

use pinhole_sansio::{Deadline, Duration, Instant, Machine};

pub use allowance::{Allowance, Denied};
pub use word::Refused;

use crate::ports::Guess;
use desk::Desk;
use opener::Opener;
use prober::Prober;

/// Which half is ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Tries ports of the peer's from WireGuard's own port. The side that is easy to find.
    Prober,
    /// Opens sockets to be found by. The side whose ports cannot be known.
    Opener,
}

impl Role {
    /// The peer's.
    pub const fn other(self) -> Self {
        match self {
            Self::Prober => Self::Opener,
            Self::Opener => Self::Prober,
        }
    }
}

/// What both sides have and nobody else: derived by the caller from the static keys of both WireGuards.
#[derive(Clone)]
pub struct Secret(pub [u8; 32]);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

/// The number of an attempt, which was never used before: what was said in another is worth nothing in this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Session(pub [u8; 8]);

/// What is known of the peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    /// Its WireGuard's public endpoint, as the registry sees it.
    pub endpoint: SocketAddr,
    /// How its NAT chooses ports, as it says itself.
    pub ports: Guess,
}

/// What an attempt may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Sockets of the opener, at most: each is a mapping of its NAT.
    pub sockets: u16,
    /// Probes per second; zero counts as one.
    pub rate: u32,
    /// Probes in all.
    pub probes: u32,
    /// The TTL of openers: enough to pass the own NATs, and not to reach the peer's.
    pub opener_ttl: u8,
    /// How long the attempt may take.
    pub deadline: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        // A thousand probes at this rate take two seconds; what is left is for the hand-over.
        Self { sockets: 256, rate: 500, probes: 1_000, opener_ttl: 4, deadline: Duration::from_secs(5) }
    }
}

/// What an attempt depends on.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Which half is ours.
    pub role: Role,
    /// The secret of the two.
    pub secret: Secret,
    /// The number of the attempt.
    pub session: Session,
    /// How our own NAT chooses ports, as the peer was told.
    pub local: Guess,
    /// The peer.
    pub remote: Remote,
    /// What it may cost.
    pub limits: Limits,
    /// Makes the order of ports and transaction ids.
    pub seed: u64,
}

/// By which of this host's sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Via {
    /// The port that WireGuard owns.
    Own,
    /// An extra socket, by its number from 0.
    Extra(u16),
}

/// What happens to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Time has passed.
    Timeout,
    /// The extra sockets are open.
    Opened {
        /// So many; fewer than were asked for will do.
        sockets: u16,
    },
    /// A datagram came that may be STUN.
    Received {
        /// By this socket.
        via: Via,
        /// From here.
        from: SocketAddr,
        /// With this in it.
        bytes: Vec<u8>,
    },
    /// The hole belongs to WireGuard now: the answer to [`Output::HandOver`].
    HandedOver,
}

/// What it wants done or known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Open extra sockets, then say [`Input::Opened`].
    Open {
        /// So many.
        sockets: u16,
    },
    /// Send a datagram.
    Transmit {
        /// By this socket.
        via: Via,
        /// To here.
        to: SocketAddr,
        /// With this TTL or hop limit; the system's own if `None`.
        ttl: Option<u8>,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// Let WireGuard's packets to `remote` leave by the hole of this socket, which is an extra one, then say
    /// [`Input::HandedOver`]. Undo it if [`Output::GaveUp`] comes later.
    HandOver {
        /// The socket.
        via: Via,
        /// The peer, as the socket sees it.
        remote: SocketAddr,
    },
    /// The way is proven in both directions, from WireGuard's port to WireGuard's port: WireGuard may be told this endpoint.
    /// The extra sockets may be closed. The machine still wants datagrams until its deadline: the peer's last word may
    /// have to be answered again.
    Direct {
        /// Which of our sockets led there; on the opener's side it has been handed over.
        via: Via,
        /// The peer, as WireGuard sees it.
        remote: SocketAddr,
    },
    /// The attempt is over, without a way. The extra sockets may be closed.
    GaveUp(Reason),
}

/// Why there is no way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// None of the probes was answered.
    NotFound {
        /// So many.
        probes: u32,
    },
    /// No probe came.
    NotHeard,
    /// The two have met, and then one did not hear the other any more.
    Interrupted,
    /// The hole was not handed over in time, on this side or the other.
    NotHandedOver,
    /// The peer's ports cannot be predicted, and ours cannot either.
    Unpredictable,
    /// The peer's address is none of a single host.
    NoTarget,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound { probes } => write!(f, "{probes} ports of the peer were tried and none answered"),
            Self::NotHeard => f.write_str("no probe of the peer's came through"),
            Self::Interrupted => f.write_str("the peer was heard and then not any more"),
            Self::NotHandedOver => f.write_str("the hole was not handed over to WireGuard in time"),
            Self::Unpredictable => f.write_str("neither side's ports can be predicted"),
            Self::NoTarget => f.write_str("the peer's address is not that of a single host"),
        }
    }
}

/// The names of its timers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The next probe is due.
    Probe,
    /// The next opener is due.
    Opener,
    /// Something that was said is due to be said again.
    Repeat,
    /// The attempt is over.
    Deadline,
}

/// What was sent and what did not count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Probes, by the prober.
    pub probes: u32,
    /// Openers, by the opener.
    pub openers: u32,
    /// Everything else that was said.
    pub words: u32,
    /// Datagrams from another address than the peer's.
    pub strangers: u32,
    /// Datagrams that are none of ours: WireGuard's, STUN servers' answers.
    pub foreign: u32,
    /// Words of another session.
    pub other_session: u32,
    /// Our own words.
    pub mirrored: u32,
    /// Words that the secret does not fit.
    pub forged: u32,
    /// Authentic words that came for the second time the same way, or after [`MOST_HEARD`].
    pub repeated: u32,
    /// Nominations by another socket than the one that they are about, and answers from another port.
    pub misplaced: u32,
}

/// Words of the peer that count, at most: all its probes, and as many again. Each gets at most one answer of its size for each
/// way that it comes, so this bounds what somebody can make of a host who sees the peer's words and carries them on.
pub const MOST_HEARD: usize = 2_048;

/// One attempt; see the module.
#[derive(Debug)]
pub struct Spray {
    desk: Desk,
    side: Side,
}

#[derive(Debug)]
enum Side {
    Prober(Prober),
    Opener(Opener),
    /// It never began.
    Refused,
}

impl Spray {
    /// Starts now. What is to be done first can be taken at once.
    pub fn new(now: Instant, settings: Settings) -> Self {
        let mut desk = Desk::new(now, &settings);
        let refused = if !is_one_host(settings.remote.endpoint.ip()) {
            Some(Reason::NoTarget)
        } else if !can_meet(&settings.local, &settings.remote.ports) {
            Some(Reason::Unpredictable)
        } else {
            None
        };
        let side = match (refused, settings.role) {
            (Some(reason), _) => {
                desk.give_up(reason);
                Side::Refused
            }
            (None, Role::Prober) => Side::Prober(Prober::start(now, &settings)),
            (None, Role::Opener) => Side::Opener(Opener::start(now, &settings, &mut desk)),
        };
        Self { desk, side }
    }

    /// What was sent and what did not count.
    pub const fn counters(&self) -> Counters {
        self.desk.counters
    }

    fn receive(&mut self, now: Instant, via: Via, from: SocketAddr, bytes: &[u8]) {
        let Some(said) = self.desk.read(via, from, bytes) else { return };
        match &mut self.side {
            Side::Prober(prober) => prober.on_word(now, via, from.port(), said, &mut self.desk),
            Side::Opener(opener) => opener.on_word(now, via, from.port(), said, &mut self.desk),
            Side::Refused => {}
        }
    }
}

impl Machine for Spray {
    type Input = Input;
    type Output = Output;
    type Why = Why;

    fn timeout() -> Input {
        Input::Timeout
    }

    fn handle_input(&mut self, now: Instant, input: Input) {
        match input {
            Input::Timeout => {}
            Input::Received { via, from, bytes } => self.receive(now, via, from, &bytes),
            Input::Opened { sockets } => match &mut self.side {
                Side::Opener(opener) => opener.on_opened(now, sockets),
                Side::Prober(_) | Side::Refused => {}
            },
            Input::HandedOver => match &mut self.side {
                Side::Opener(opener) => opener.on_handed_over(now, &mut self.desk),
                Side::Prober(_) | Side::Refused => {}
            },
        }
        match &mut self.side {
            Side::Prober(prober) => prober.on_time(now, &mut self.desk),
            Side::Opener(opener) => opener.on_time(now, &mut self.desk),
            Side::Refused => {}
        }
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.desk.outputs.pop_front()
    }

    fn poll_timeout(&self) -> Option<Deadline<Why>> {
        match &self.side {
            Side::Prober(prober) => prober.deadline(&self.desk),
            Side::Opener(opener) => opener.deadline(&self.desk),
            Side::Refused => None,
        }
    }
}

/// Whether what is known of both NATs lets the two meet: one keeps its port, or both count. Against a NAT that draws, a
/// NAT that counts is no help: each of its ports is good for one probe, towards one of the other's 64,512.
const fn can_meet(local: &Guess, remote: &Guess) -> bool {
    match (local, remote) {
        (Guess::Fixed, _) | (_, Guess::Fixed) | (Guess::Sequential(_), Guess::Sequential(_)) => true,
        (Guess::Sequential(_) | Guess::Block { .. } | Guess::Random { .. } | Guess::Unknown, _) => false,
    }
}

/// Whether packets to it reach one host, which is not this one.
fn is_one_host(ip: IpAddr) -> bool {
    let ip = ip.to_canonical();
    let is_broadcast = matches!(ip, IpAddr::V4(v4) if v4.is_broadcast() || v4.octets()[0] == 0);
    !(ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() || is_broadcast)
}

#[cfg(test)]
mod tests;
