//! The hunts that are under way: for each peer that has to be looked for, or that has to look for us, a
//! [`Spray`](pinhole_traversal::spray) and what it wants of the world.
//!
//! A hunt ends when it has proven a way, from WireGuard's port to WireGuard's port, or has given up. Its machine lives a little
//! longer, since the peer's last word may have to be answered again.

use core::net::SocketAddr;
use std::collections::{BTreeMap, VecDeque};

use pinhole_sansio::{Instant, Machine};
use pinhole_traversal::ports::Guess;
use pinhole_traversal::punch;
use pinhole_traversal::spray::{self, Allowance, Denied, Limits, Remote, Role, Secret, Session, Settings, Spray, Via};
use pinhole_wg::{Key, PrivateKey};

use crate::rendezvous::Party;

/// Names the secret of two peers that their probes are authenticated with; see [`PrivateKey::agree`].
const PURPOSE: &str = "pinhole spray 1";

/// What a hunt wants done, or has found.
#[derive(Debug)]
pub(super) enum Task {
    /// Open so many extra sockets, toward this peer's endpoint.
    Open { sockets: u16, toward: SocketAddr },
    /// Send this, by this socket.
    Send { via: Via, to: SocketAddr, ttl: Option<u8>, bytes: Vec<u8> },
    /// Let WireGuard have the hole of this socket.
    HandOver { socket: u16, remote: SocketAddr },
    /// Close the extra sockets.
    Close,
    /// There is a way to this endpoint, and this is the part to play now.
    Found { endpoint: SocketAddr, role: punch::Role },
    /// There is none.
    Failed(spray::Reason),
    /// There may be no hunt now.
    Denied(Denied),
}

#[derive(Debug)]
struct Hunt {
    spray: Spray,
    role: Role,
    /// Where the registry sees the peer.
    toward: SocketAddr,
    is_over: bool,
}

/// What a hunt depends on.
#[derive(Debug)]
pub(super) struct Prey {
    /// Whom it is for.
    pub(super) peer: Key,
    /// Where the registry sees it.
    pub(super) endpoint: SocketAddr,
    /// Our part.
    pub(super) role: Role,
    /// What the registry has told both.
    pub(super) party: Party,
    /// What the two share.
    pub(super) secret: Secret,
    /// Makes the order of ports.
    pub(super) seed: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Hunts {
    running: BTreeMap<Key, Hunt>,
    /// What this host may send in an hour, whoever asks for it.
    allowance: Allowance,
    /// The last session with each peer: none is hunted in twice.
    sessions: BTreeMap<Key, [u8; 8]>,
    tasks: VecDeque<(Key, Task)>,
}

/// Whether both have to be looked for, so that neither can look.
pub(super) fn is_hopeless(party: &Party) -> bool {
    [&party.ours, &party.theirs].into_iter().all(|guess| guess.as_ref().is_some_and(Guess::is_hard))
}

/// Which part each plays: the one whose NAT maps anew towards everybody opens, the other looks for it. `None` where the endpoint
/// that the registry sees is as good as any.
pub(super) fn role(party: &Party) -> Option<Role> {
    let is_hard = |guess: &Option<Guess>| guess.as_ref().is_some_and(Guess::is_hard);
    match (is_hard(&party.ours), is_hard(&party.theirs)) {
        (false, false) => None,
        (true, _) => Some(Role::Opener),
        (false, true) => Some(Role::Prober),
    }
}

/// What two peers share that nobody else can know; `None` for a key that gives no secret.
pub(super) fn secret(ours: &PrivateKey, theirs: &Key) -> Option<Secret> {
    ours.agree(theirs, PURPOSE).map(Secret)
}

impl Hunts {
    /// Was this session never hunted in?
    pub(super) fn is_news(&self, peer: &Key, session: [u8; 8]) -> bool {
        self.sessions.get(peer) != Some(&session)
    }

    /// Starts one, in the place of the one that this peer has.
    pub(super) fn start(&mut self, now: Instant, prey: Prey) {
        let Prey { peer, endpoint, role, party, secret, seed } = prey;
        self.stop(now, peer);
        self.sessions.insert(peer, party.session);
        let mut limits = Limits::default();
        if role == Role::Prober {
            match self.allowance.ask(now, *peer.as_bytes(), endpoint.ip(), limits.probes) {
                Ok(granted) => limits.probes = granted,
                Err(denied) => return self.tasks.push_back((peer, Task::Denied(denied))),
            }
        }
        let settings = Settings {
            role,
            secret,
            session: Session(party.session),
            local: party.ours.unwrap_or(Guess::Fixed),
            remote: Remote { endpoint, ports: party.theirs.unwrap_or(Guess::Fixed) },
            limits,
            seed,
        };
        self.running.insert(peer, Hunt { spray: Spray::new(now, settings), role, toward: endpoint, is_over: false });
        self.drain(now);
    }

    /// Ends the one of this peer, if it has one.
    pub(super) fn stop(&mut self, now: Instant, peer: Key) {
        if let Some(hunt) = self.running.remove(&peer).filter(|hunt| !hunt.is_over) {
            hunt.settle(now, &mut self.allowance, false);
            self.tasks.push_back((peer, Task::Close));
        }
    }

    /// Gives up those of whom `keep` says no.
    pub(super) fn retain(&mut self, now: Instant, keep: impl Fn(&Key) -> bool) {
        let gone: Vec<Key> = self.running.keys().copied().filter(|key| !keep(key)).collect();
        gone.into_iter().for_each(|key| self.stop(now, key));
        self.sessions.retain(|key, _| keep(key));
    }

    /// Gives the hunt of one peer what happened to it.
    pub(super) fn handle_input(&mut self, now: Instant, peer: Key, input: spray::Input) {
        if let Some(hunt) = self.running.get_mut(&peer) {
            hunt.spray.handle_input(now, input);
            self.drain(now);
        }
    }

    /// A datagram came to WireGuard's port: to whom it belongs, its authentication tells.
    pub(super) fn received(&mut self, now: Instant, from: SocketAddr, bytes: &[u8]) {
        for hunt in self.running.values_mut() {
            let bytes = bytes.to_vec();
            hunt.spray.handle_input(now, spray::Input::Received { via: Via::Own, from, bytes });
        }
        self.drain(now);
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        for hunt in self.running.values_mut() {
            hunt.spray.handle_input(now, spray::Input::Timeout);
        }
        self.drain(now);
        self.running.retain(|_, hunt| !hunt.is_over || hunt.spray.poll_timeout().is_some());
    }

    pub(super) fn poll_task(&mut self) -> Option<(Key, Task)> {
        self.tasks.pop_front()
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.running.values().filter_map(|hunt| hunt.spray.poll_timeout()).map(|deadline| deadline.at).min()
    }

    fn drain(&mut self, now: Instant) {
        for (&peer, hunt) in &mut self.running {
            while let Some(output) = hunt.spray.poll_output() {
                let tasks = tasks(output, hunt);
                if let [_, Some(ended)] = &tasks {
                    hunt.settle(now, &mut self.allowance, matches!(ended, Task::Found { .. }));
                }
                self.tasks.extend(tasks.into_iter().flatten().map(|task| (peer, task)));
            }
        }
    }
}

impl Hunt {
    /// Accounts for what it has sent. Only the side that looks sends what has to be counted.
    fn settle(&self, now: Instant, allowance: &mut Allowance, direct: bool) {
        if self.role == Role::Prober {
            allowance.ended(now, self.spray.counters().probes, direct);
        }
    }
}

fn tasks(output: spray::Output, hunt: &mut Hunt) -> [Option<Task>; 2] {
    match output {
        spray::Output::Open { sockets } => [Some(Task::Open { sockets, toward: hunt.toward }), None],
        spray::Output::Transmit { via, to, ttl, bytes } => [Some(Task::Send { via, to, ttl, bytes }), None],
        spray::Output::HandOver { via: Via::Extra(socket), remote } => [Some(Task::HandOver { socket, remote }), None],
        // It is WireGuard's already.
        spray::Output::HandOver { via: Via::Own, .. } => [None, None],
        spray::Output::Direct { remote, .. } => {
            hunt.is_over = true;
            // One side starts the handshake: two that cross destroy each other.
            let role = match hunt.role {
                Role::Prober => punch::Role::Initiator,
                Role::Opener => punch::Role::Opener,
            };
            [Some(Task::Close), Some(Task::Found { endpoint: remote, role })]
        }
        spray::Output::GaveUp(reason) => {
            hunt.is_over = true;
            [Some(Task::Close), Some(Task::Failed(reason))]
        }
    }
}
