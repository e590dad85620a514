//! The agent: keeps a host's WireGuard peers directly connected.
//!
//! It reads the device, asks the registry (or wgsd, or any resolver) for the peers whose path does not work, and makes the
//! device call them at the right moment. It never touches a peer whose path works, and remembers what it changed so that it
//! can be undone.
//!
//! Its parts: an [`Uplink`] to the registry, a [`Link`] per peer, and a
//! [`Directory`] that speaks DNS. This file translates between them and the world.

mod announce;
mod directory;
mod hunt;
mod outlook;
mod owned;
mod peer;
mod uplink;

use core::net::{IpAddr, SocketAddr};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use ipnet::IpNet;
use pinhole_dns::Name;
use pinhole_dns::client::{self, QuestionId};
use pinhole_sansio::{Deadline, Duration, Instant, Machine, Rng};
use pinhole_traversal::punch::Role;
use pinhole_traversal::spray::{self, Via};
use pinhole_traversal::vantage;
use pinhole_wg::{Device, DeviceUpdate, Key, Peer, PeerUpdate};

use crate::event::Event;
use crate::rendezvous::Party;
use directory::{Directory, Heard};
use hunt::{Hunts, Prey};
use outlook::Outlook;
pub use outlook::VANTAGE_PORTS;
pub use owned::Owned;
use peer::{Link, Task};
use uplink::Uplink;

/// Persistent keepalive for peers that have none: below the 30 s after which Linux forgets an unanswered UDP flow, and what
/// the WireGuard documentation recommends behind NAT.
pub const KEEPALIVE: u16 = 25;

/// How often the device is read: while a punch is under way, while there is traffic or something is unanswered, and
/// otherwise.
const SAMPLE_BUSY: Duration = Duration::from_millis(20);
const SAMPLE_LIVE: Duration = Duration::from_millis(250);
const SAMPLE_IDLE: Duration = Duration::from_millis(1_000);

/// A large device is read less often: this much more between samples per peer.
const SAMPLE_PER_PEER: Duration = Duration::from_micros(200);

/// A device that cannot be read is tried again after this.
const SAMPLE_FAILED: Duration = Duration::from_secs(1);

/// How long peers are not asked for because the registry is to be told of the NAT first: a STUN server's answer from near, also
/// after one loss. From afar the handshake with the registry takes longer than that answer.
const NAT_PATIENCE: Duration = Duration::from_millis(100);

/// An opener for the relay is to arrive.
const RELAY_TTL: u8 = 64;

/// What an agent needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// The name of the device, for messages.
    pub device: String,
    /// The zone that holds the peers.
    pub zone: Name,
    /// The DNS server: the registry's tunnel address, a wgsd, or a resolver.
    pub server: SocketAddr,
    /// Prefixes within which announced peers are added; empty: none are.
    pub accept: Vec<IpNet>,
    /// Keepalive for peers that have none, in seconds; 0 leaves them without.
    pub keepalive: u16,
    /// Can packets be sent from the WireGuard port, and received at it (a raw socket)?
    pub can_open: bool,
    /// STUN servers that are asked how they see the WireGuard port; empty: the registry's.
    pub stun: Vec<SocketAddr>,
    /// What an agent that did not stop cleanly had changed.
    pub owned: Vec<Owned>,
    /// Seeds transaction ids and pauses.
    pub seed: u64,
}

/// What happens to an agent.
#[derive(Clone, Debug)]
pub enum Input {
    /// Time has passed.
    Timeout,
    /// The state of the device, asked for by [`Output::ReadDevice`]; `wall` is the time since the Unix epoch.
    Device {
        /// What the device says.
        device: Device,
        /// When, on the clock that handshakes are dated with.
        wall: Duration,
    },
    /// The device could not be read or changed, and why.
    DeviceFailed(String),
    /// What came of a question: a datagram, or the end of an exchange over TCP.
    Dns(client::Input),
    /// A STUN message came to the WireGuard port.
    Received {
        /// From where.
        from: SocketAddr,
        /// The message.
        bytes: Vec<u8>,
    },
    /// Extra sockets are open.
    SocketsOpened {
        /// Whose.
        peer: Key,
        /// So many; none if that failed.
        sockets: u16,
    },
    /// A datagram came to one of them.
    ReceivedBy {
        /// Whose.
        peer: Key,
        /// Which one.
        socket: u16,
        /// From where.
        from: SocketAddr,
        /// The datagram.
        bytes: Vec<u8>,
    },
    /// WireGuard has a hole that an earlier agent handed over.
    HoleFound {
        /// To whom it leads.
        peer: Key,
    },
    /// WireGuard has the hole.
    HandedOver {
        /// To whom it leads.
        peer: Key,
    },
    /// A link, an address or a route has changed.
    NetworkChanged,
    /// Undo what was changed.
    Stop,
}

/// What an agent wants done or known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Read the device and tell.
    ReadDevice,
    /// Change the device.
    Apply(DeviceUpdate),
    /// Send a DNS message over UDP, from the question's own socket.
    Ask {
        /// For which question.
        question: QuestionId,
        /// To which server.
        to: SocketAddr,
        /// The message.
        bytes: Vec<u8>,
    },
    /// Exchange a DNS message over TCP and tell.
    AskByTcp {
        /// For which question.
        question: QuestionId,
        /// With which server.
        to: SocketAddr,
        /// The message, without its length prefix.
        bytes: Vec<u8>,
    },
    /// The question is answered or of no interest any more: its socket can be closed.
    Asked(QuestionId),
    /// Send a packet that need not arrive from the WireGuard port.
    Open {
        /// The WireGuard port.
        from_port: u16,
        /// To where.
        to: SocketAddr,
        /// Its TTL.
        ttl: u8,
        /// The mark of the device's packets; 0 for none.
        fwmark: u32,
    },
    /// Send a datagram from the WireGuard port.
    Send {
        /// The WireGuard port.
        from_port: u16,
        /// The mark of the device's packets; 0 for none.
        fwmark: u32,
        /// To where.
        to: SocketAddr,
        /// Its TTL or hop limit; the host's own if `None`.
        ttl: Option<u8>,
        /// What it carries.
        bytes: Vec<u8>,
    },
    /// Open extra sockets for a peer, in the place of those it has, then say [`Input::SocketsOpened`].
    OpenSockets {
        /// For whom.
        peer: Key,
        /// So many; fewer will do.
        sockets: u16,
        /// What they are to reach.
        toward: SocketAddr,
        /// The mark of the device's packets; 0 for none.
        fwmark: u32,
    },
    /// Send a datagram by one of them.
    SendBy {
        /// Whose sockets.
        peer: Key,
        /// Which one, from 0.
        socket: u16,
        /// To where.
        to: SocketAddr,
        /// Its TTL or hop limit; the host's own if `None`.
        ttl: Option<u8>,
        /// What it carries.
        bytes: Vec<u8>,
    },
    /// Let WireGuard's packets to an endpoint leave by the port of one of them, then say [`Input::HandedOver`].
    HandOver {
        /// Whose sockets.
        peer: Key,
        /// Which one.
        socket: u16,
        /// The WireGuard port.
        own: u16,
        /// The peer's endpoint.
        remote: SocketAddr,
    },
    /// Undo that.
    TakeBack {
        /// For whom it was done.
        peer: Key,
    },
    /// Close a peer's extra sockets, if it has any.
    CloseSockets {
        /// Whose.
        peer: Key,
    },
    /// Send an ICMP echo request through the tunnel.
    Probe {
        /// To which tunnel address.
        to: IpAddr,
    },
    /// Keep this where a later agent finds it.
    Remember(Vec<Owned>),
    /// Something happened.
    Event(Event),
    /// All has been undone.
    Stopped,
}

/// Why an agent wants to be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The device is to be read.
    Sample,
    /// A peer has something to do.
    Peer(peer::Why),
    /// A question is to be repeated or given up.
    Dns,
    /// A STUN server is to be asked.
    Outlook,
    /// A hunt has something to do.
    Hunt,
}

/// Where a peer is, and what the registry has told of it.
#[derive(Debug)]
struct Found {
    peer: Key,
    endpoint: SocketAddr,
    role: Role,
    simultaneous: bool,
    party: Option<Party>,
}

/// See the module.
#[derive(Debug)]
pub struct Agent {
    config: Config,
    device: Option<Device>,
    device_failed: bool,
    /// The registry's peer, if the server is reached through one.
    registry: Option<Key>,
    uplink: Uplink,
    links: BTreeMap<Key, Link>,
    directory: Directory,
    outlook: Outlook,
    hunts: Hunts,
    /// Peers that WireGuard reaches by a hole that was handed over to it.
    handed_over: BTreeSet<Key>,
    rng: Rng,
    owned: BTreeMap<Key, Owned>,
    next_sample: Option<Instant>,
    outputs: VecDeque<Output>,
    stopped: bool,
}

impl Agent {
    /// An agent that reads the device at once.
    pub fn new(now: Instant, config: Config) -> Self {
        let mut rng = Rng::from_seed(config.seed);
        let directory = Directory::new(now, config.zone.clone(), config.server, !config.accept.is_empty(), rng.fork());
        let owned = config.owned.iter().map(|owned| (owned.peer, owned.clone())).collect();
        Self {
            uplink: Uplink::new(now),
            directory,
            outlook: Outlook::new(config.stun.clone(), rng.next_u64()),
            hunts: Hunts::default(),
            handed_over: BTreeSet::new(),
            rng,
            owned,
            config,
            device: None,
            device_failed: false,
            registry: None,
            links: BTreeMap::new(),
            next_sample: Some(now),
            outputs: VecDeque::new(),
            stopped: false,
        }
    }

    /// The state of every peer, for `status`: is its path up, and where does the device send to?
    pub fn peers(&self) -> impl Iterator<Item = (&Peer, bool)> {
        let peers = self.device.iter().flat_map(|device| &device.peers);
        peers.map(|peer| (peer, self.links.get(&peer.public_key).is_some_and(Link::is_up)))
    }

    fn on_device(&mut self, now: Instant, device: Device, wall: Duration) {
        if core::mem::take(&mut self.device_failed) {
            self.event(Event::DeviceBack { device: self.config.device.clone() });
        }
        self.registry = registry_peer(&device, self.config.server.ip());
        if self.config.can_open && device.listen_port != 0 {
            let registry = device.peers.iter().find(|peer| Some(peer.public_key) == self.registry);
            if self.outlook.set_registry(now, registry.and_then(|peer| peer.endpoint)) {
                self.directory.wait_for_nat(now + NAT_PATIENCE);
            }
        }
        self.directory.set_me(now, device.public_key, self.registry.is_some());
        let is_peer = |key: &Key| device.peers.iter().any(|peer| peer.public_key == *key);
        self.links.retain(|key, _| is_peer(key));
        self.hunts.retain(now, is_peer);
        let gone: Vec<Key> = self.handed_over.iter().copied().filter(|key| !is_peer(key)).collect();
        gone.into_iter().for_each(|key| self.take_back(key));
        self.device = Some(device.clone());
        for peer in &device.peers {
            self.mind_keepalive(peer);
            if Some(peer.public_key) == self.registry {
                self.on_uplink(now, wall, peer);
            } else {
                self.links.entry(peer.public_key).or_insert_with(Link::new).sample(now, wall, peer);
                self.do_tasks(now, peer.public_key);
            }
        }
        self.next_sample = Some(now + self.sample_interval(device.peers.len()));
    }

    fn on_uplink(&mut self, now: Instant, wall: Duration, peer: &Peer) {
        for task in self.uplink.sample(now, wall, peer) {
            match task {
                uplink::Task::Handshake => {
                    let Some(endpoint) = peer.endpoint else { continue };
                    self.handshake(peer.public_key, endpoint);
                }
                uplink::Task::Probe => self.outputs.push_back(Output::Probe { to: self.config.server.ip() }),
                uplink::Task::Up => {
                    self.event(Event::RegistryUp);
                    self.directory.hurry(now);
                    self.links.values_mut().for_each(|link| link.retry(now));
                    self.do_all_tasks(now);
                }
                uplink::Task::Down => self.event(Event::RegistryDown),
            }
        }
    }

    fn on_heard(&mut self, now: Instant, heard: Heard) {
        match heard {
            Heard::Observed(endpoint) => {
                self.outlook.observed(now, endpoint);
                self.event(Event::Observed { endpoint });
            }
            Heard::Found { peer, endpoint, told } => {
                let role = match &told {
                    Some(told) if told.simultaneous && !told.initiate => Role::Opener,
                    Some(_) => Role::Initiator,
                    None => self.role_by_key(&peer),
                };
                let simultaneous = told.as_ref().is_some_and(|told| told.simultaneous);
                let party = told.and_then(|told| told.parties.into_iter().next());
                self.approach(now, Found { peer, endpoint, role, simultaneous, party });
            }
            Heard::Sought { by, told } => {
                let role = if told.initiate { Role::Initiator } else { Role::Opener };
                for (peer, endpoint, party) in by {
                    self.approach(now, Found { peer, endpoint, role, simultaneous: true, party });
                }
            }
            Heard::Absent { peer } => {
                self.event(Event::Absent { peer });
                self.with_link(now, peer, |link| link.not_found(now));
            }
            Heard::Silent { peer } => self.with_link(now, peer, |link| link.not_found(now)),
            Heard::Announced { peer, allowed_ips } => self.on_announced(peer, &allowed_ips),
        }
    }

    /// Calls a peer where it is, or looks for it where the registry cannot know.
    fn approach(&mut self, now: Instant, found: Found) {
        let Found { peer, endpoint, role, simultaneous, .. } = found;
        if self.takes_the_relay(now, &found) {
            return;
        }
        let prey = self.prey(found);
        let can_open = self.config.can_open;
        let Some(link) = self.links.get_mut(&peer) else { return };
        match prey {
            Some(prey) if self.hunts.is_news(&peer, prey.party.session) => {
                link.hunt(now);
                let looks = prey.role == spray::Role::Prober;
                self.take_back(peer);
                self.hunts.start(now, prey);
                self.event(Event::Hunting { peer, endpoint, looks });
                self.drain_hunts(now);
            }
            // Nobody else is told of us now.
            None if link.is_relayed() => self.with_link(now, peer, |link| link.not_found(now)),
            None if link.found(now, endpoint, role, can_open) => {
                self.hunts.stop(now, peer);
                self.take_back(peer);
                let initiate = role == Role::Initiator;
                self.event(Event::Answered { peer, endpoint, simultaneous, initiate });
                self.do_tasks(now, peer);
                self.sample_soon(now);
            }
            Some(_) | None => {}
        }
    }

    /// Takes the way through the relay that the registry offers, if there is no other; the search for a better one begins when it
    /// works. True if so.
    fn takes_the_relay(&mut self, now: Instant, found: &Found) -> bool {
        let Found { peer, role, party, .. } = found;
        let (peer, role) = (*peer, *role);
        let port = party.as_ref().and_then(|party| party.relay);
        let registry = self.registry.and_then(|key| self.device_peer(&key)?.endpoint);
        let (Some(port), Some(registry)) = (port, registry) else { return false };
        let relay = SocketAddr::new(registry.ip(), port.get());
        // The first attempt is for the direct path, unless there can be none.
        let is_hopeless = party.as_ref().is_some_and(hunt::is_hopeless);
        let Some(link) = self.links.get_mut(&peer) else { return false };
        if !link.offer_relay(relay) || !(is_hopeless || link.has_failed()) || !link.found(now, relay, role, false) {
            return false;
        }
        self.hunts.stop(now, peer);
        self.take_back(peer);
        self.event(Event::Relaying { peer, relay });
        if self.config.can_open {
            // So that the relay knows where to send what the other side says first.
            self.open(peer, relay, RELAY_TTL);
        }
        self.do_tasks(now, peer);
        self.sample_soon(now);
        true
    }

    /// What a hunt needs, if one of the two has to be looked for and both know of it.
    fn prey(&mut self, found: Found) -> Option<Prey> {
        let Found { peer, endpoint, role, simultaneous, party } = found;
        let party = party.filter(|_| simultaneous && self.config.can_open)?;
        // A path through the relay is left only for one that is proven.
        let relayed = self.links.get(&peer).is_some_and(Link::is_relayed);
        let role = hunt::role(&party).or(relayed.then_some(match role {
            Role::Initiator => spray::Role::Prober,
            Role::Opener => spray::Role::Opener,
        }))?;
        let secret = hunt::secret(&self.device.as_ref()?.private_key?, &peer)?;
        Some(Prey { peer, endpoint, role, party, secret, seed: self.rng.next_u64() })
    }

    /// Carries out what the hunts want, and goes on where they have ended.
    fn drain_hunts(&mut self, now: Instant) {
        while let Some((peer, task)) = self.hunts.poll_task() {
            match task {
                hunt::Task::Open { sockets, toward } => {
                    let fwmark = self.device.as_ref().map_or(0, |device| device.fwmark);
                    self.outputs.push_back(Output::OpenSockets { peer, sockets, toward, fwmark });
                }
                hunt::Task::Send { via: Via::Own, to, ttl, bytes } => self.send(to, ttl, bytes),
                hunt::Task::Send { via: Via::Extra(socket), to, ttl, bytes } => {
                    self.outputs.push_back(Output::SendBy { peer, socket, to, ttl, bytes });
                }
                hunt::Task::HandOver { socket, remote } => {
                    let own = self.device.as_ref().map_or(0, |device| device.listen_port);
                    self.handed_over.insert(peer);
                    self.outputs.push_back(Output::HandOver { peer, socket, own, remote });
                }
                hunt::Task::Close => self.outputs.push_back(Output::CloseSockets { peer }),
                hunt::Task::Found { endpoint, role } => {
                    self.event(Event::Hole { peer, endpoint });
                    self.with_link(now, peer, |link| link.hunted(now, endpoint, role));
                    self.sample_soon(now);
                }
                hunt::Task::Failed(reason) => self.hunted_in_vain(now, peer, reason.to_string()),
                hunt::Task::Denied(denied) => self.hunted_in_vain(now, peer, denied.to_string()),
            }
        }
    }

    fn hunted_in_vain(&mut self, now: Instant, peer: Key, reason: String) {
        self.take_back(peer);
        self.event(Event::NoHole { peer, reason });
        self.with_link(now, peer, |link| link.hunted_in_vain(now));
    }

    /// A hole that was handed over for an earlier path leads nowhere on a new one.
    fn take_back(&mut self, peer: Key) {
        if self.handed_over.remove(&peer) {
            self.outputs.push_back(Output::TakeBack { peer });
        }
    }

    fn on_announced(&mut self, peer: Key, allowed_ips: &[IpNet]) {
        let Some(device) = &self.device else { return };
        if device.public_key == Some(peer) || device.peers.iter().any(|known| known.public_key == peer) {
            return;
        }
        if let Err(refusal) = announce::check(&self.config.accept, device, &peer, allowed_ips) {
            self.event(Event::Refused { peer, reason: refusal.to_string() });
            return;
        }
        self.own(Owned { peer, added: true, keepalive: None });
        self.apply(PeerUpdate {
            update_only: false,
            keepalive: Some(self.config.keepalive),
            replace_allowed_ips: true,
            allowed_ips: allowed_ips.to_vec(),
            ..update(peer)
        });
        let allowed_ips = allowed_ips.iter().map(ToString::to_string).collect();
        self.event(Event::Added { peer, allowed_ips });
    }

    fn with_link(&mut self, now: Instant, peer: Key, act: impl FnOnce(&mut Link)) {
        if let Some(link) = self.links.get_mut(&peer) {
            act(link);
            self.do_tasks(now, peer);
        }
    }

    fn do_all_tasks(&mut self, now: Instant) {
        let keys: Vec<Key> = self.links.keys().copied().collect();
        keys.into_iter().for_each(|key| self.do_tasks(now, key));
    }

    /// Carries out what a link has decided.
    fn do_tasks(&mut self, now: Instant, peer: Key) {
        while let Some(task) = self.links.get_mut(&peer).and_then(Link::poll_task) {
            match task {
                Task::Seek => {
                    self.event(Event::Asked { peer });
                    self.directory.seek(now, peer);
                }
                Task::Open { to, ttl } => self.open(peer, to, ttl),
                Task::Probe { endpoint } => self.probe(peer, endpoint),
                Task::Handshake { endpoint } => self.handshake(peer, endpoint),
                Task::Up { after, relayed } => {
                    self.directory.forget(peer);
                    self.hunts.stop(now, peer);
                    let endpoint = self.device_peer(&peer).and_then(|peer| peer.endpoint);
                    let after_ms = after.map(|after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX));
                    self.event(Event::Up { peer, endpoint, after_ms, relayed });
                }
                Task::Down => self.event(Event::Down { peer }),
                Task::Failed { .. } if self.links.get(&peer).is_some_and(Link::is_relayed) => {}
                Task::Failed { pause } => {
                    let pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
                    self.event(Event::Failed { peer, pause_ms });
                }
            }
        }
    }

    fn open(&mut self, peer: Key, to: SocketAddr, ttl: u8) {
        let Some(device) = &self.device else { return };
        let (from_port, fwmark) = (device.listen_port, device.fwmark);
        if from_port != 0 {
            self.event(Event::Opener { peer, to, ttl });
            self.outputs.push_back(Output::Open { from_port, to, ttl, fwmark });
        }
    }

    fn probe(&mut self, peer: Key, endpoint: Option<SocketAddr>) {
        if endpoint.is_some() {
            self.apply(PeerUpdate { endpoint, ..update(peer) });
        }
        if let Some(to) = self.device_peer(&peer).and_then(tunnel_address) {
            self.event(Event::Probe { peer });
            self.outputs.push_back(Output::Probe { to });
        }
    }

    /// A mapping that is not kept open closes. What the peer had before is remembered, to be restored.
    fn mind_keepalive(&mut self, peer: &Peer) {
        if peer.keepalive == 0 && peer.last_handshake.is_some() && self.own_keepalive(peer.public_key).is_some() {
            let keepalive = Some(self.config.keepalive);
            self.apply(PeerUpdate { keepalive, ..update(peer.public_key) });
        }
    }

    /// Takes over the keepalive of a peer that has none, if the configuration wants one.
    fn own_keepalive(&mut self, peer: Key) -> Option<u16> {
        let had = self.device_peer(&peer)?.keepalive;
        if had != 0 || self.config.keepalive == 0 {
            return None;
        }
        if !self.owned.contains_key(&peer) {
            self.own(Owned { peer, added: false, keepalive: Some(had) });
        }
        Some(self.config.keepalive)
    }

    fn handshake(&mut self, peer: Key, endpoint: SocketAddr) {
        self.event(Event::Handshake { peer, endpoint });
        let keepalive = self.own_keepalive(peer);
        self.apply(PeerUpdate { endpoint: Some(endpoint), keepalive, handshake: true, ..update(peer) });
    }

    fn own(&mut self, owned: Owned) {
        self.owned.insert(owned.peer, owned);
        self.outputs.push_back(Output::Remember(self.owned.values().cloned().collect()));
    }

    fn on_network_changed(&mut self, now: Instant) {
        self.uplink.doubt(now);
        self.directory.hurry(now);
        self.outlook.look_again(now);
        self.hunts.retain(now, |_| false);
        self.links.values_mut().for_each(|link| link.hurry(now));
        self.do_all_tasks(now);
        self.sample_soon(now);
    }

    /// Restores keepalives and removes the peers that were added. Endpoints stay: the paths they lead to work.
    fn stop(&mut self, now: Instant) {
        let restore = core::mem::take(&mut self.owned).into_values().map(Owned::undo);
        let peers: Vec<PeerUpdate> = restore.collect();
        if !peers.is_empty() {
            self.outputs.push_back(Output::Apply(DeviceUpdate { peers, ..DeviceUpdate::default() }));
        }
        self.hunts.retain(now, |_| false);
        for peer in core::mem::take(&mut self.handed_over) {
            self.outputs.push_back(Output::TakeBack { peer });
        }
        self.outputs.push_back(Output::Remember(Vec::new()));
        self.outputs.push_back(Output::Stopped);
        self.stopped = true;
    }

    fn sample_soon(&mut self, now: Instant) {
        if let Some(at) = &mut self.next_sample {
            *at = (*at).min(now + SAMPLE_BUSY);
        }
    }

    fn sample_interval(&self, peers: usize) -> Duration {
        let busy = self.links.values().any(Link::is_busy) || self.registry.is_some() && !self.uplink.is_up();
        let live = self.links.values().any(Link::is_live) || self.uplink.is_live();
        let base = match (busy, live) {
            (true, _) => SAMPLE_BUSY,
            (false, true) => SAMPLE_LIVE,
            (false, false) => SAMPLE_IDLE,
        };
        base + SAMPLE_PER_PEER * u32::try_from(peers).unwrap_or(u32::MAX)
    }

    fn role_by_key(&self, theirs: &Key) -> Role {
        match self.device.as_ref().and_then(|device| device.public_key) {
            Some(mine) => peer::role_by_key(&mine, theirs),
            None => Role::Initiator,
        }
    }

    fn device_peer(&self, key: &Key) -> Option<&Peer> {
        self.device.as_ref()?.peers.iter().find(|peer| peer.public_key == *key)
    }

    fn apply(&mut self, peer: PeerUpdate) {
        self.outputs.push_back(Output::Apply(DeviceUpdate { peers: vec![peer], ..DeviceUpdate::default() }));
    }

    fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    /// Takes what is to be sent to find out how the NAT maps, and tells the registry of it.
    fn drain_outlook(&mut self, now: Instant) {
        while let Some(output) = self.outlook.poll_output() {
            match output {
                vantage::Output::Transmit { to, bytes } => self.send(to, None, bytes),
                vantage::Output::Changed(mapping) => {
                    self.event(Event::Mapping { mapping });
                    let Some(guess) = self.outlook.guess() else { continue };
                    let is_hard = guess.is_hard();
                    self.directory.set_nat(now, guess);
                    if is_hard {
                        for (peer, link) in &mut self.links {
                            if link.start_anew() {
                                self.directory.forget(*peer);
                            }
                        }
                        self.do_all_tasks(now);
                    }
                }
            }
        }
    }

    fn send(&mut self, to: SocketAddr, ttl: Option<u8>, bytes: Vec<u8>) {
        let Some(device) = &self.device else { return };
        let (from_port, fwmark) = (device.listen_port, device.fwmark);
        if from_port != 0 {
            self.outputs.push_back(Output::Send { from_port, fwmark, to, ttl, bytes });
        }
    }

    /// Takes what the directory has to send and has heard.
    fn drain_directory(&mut self, now: Instant) {
        while let Some(heard) = self.directory.poll_heard() {
            self.on_heard(now, heard);
        }
        while let Some(output) = self.directory.poll_output() {
            self.outputs.push_back(output);
        }
    }
}

impl Machine for Agent {
    type Input = Input;
    type Output = Output;
    type Why = Why;

    fn timeout() -> Input {
        Input::Timeout
    }

    fn handle_input(&mut self, now: Instant, input: Input) {
        if self.stopped {
            return;
        }
        match input {
            Input::Timeout => {
                if self.next_sample.is_some_and(|at| at <= now) {
                    self.next_sample = None;
                    self.outputs.push_back(Output::ReadDevice);
                }
                self.links.values_mut().for_each(|link| link.run(now));
                self.do_all_tasks(now);
                self.directory.handle_timeout(now);
                self.outlook.handle_timeout(now);
                self.hunts.handle_timeout(now);
            }
            Input::Device { device, wall } => self.on_device(now, device, wall),
            Input::DeviceFailed(reason) => {
                if !core::mem::replace(&mut self.device_failed, true) {
                    self.event(Event::DeviceFailed { device: self.config.device.clone(), reason });
                }
                self.next_sample.get_or_insert(now + SAMPLE_FAILED);
            }
            Input::Dns(input) => self.directory.handle_input(now, input),
            Input::Received { from, bytes } => {
                self.hunts.received(now, from, &bytes);
                self.outlook.received(now, from, bytes);
            }
            Input::SocketsOpened { peer, sockets } => {
                self.hunts.handle_input(now, peer, spray::Input::Opened { sockets });
            }
            Input::ReceivedBy { peer, socket, from, bytes } => {
                let via = Via::Extra(socket);
                self.hunts.handle_input(now, peer, spray::Input::Received { via, from, bytes });
            }
            Input::HoleFound { peer } => drop(self.handed_over.insert(peer)),
            Input::HandedOver { peer } => self.hunts.handle_input(now, peer, spray::Input::HandedOver),
            Input::NetworkChanged => self.on_network_changed(now),
            Input::Stop => return self.stop(now),
        }
        self.drain_hunts(now);
        self.drain_directory(now);
        self.drain_outlook(now);
        // What it found out makes the directory ask.
        self.drain_directory(now);
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn poll_timeout(&self) -> Option<Deadline<Why>> {
        if self.stopped {
            return None;
        }
        let sample = self.next_sample.map(|at| Deadline::new(at, Why::Sample));
        let links = self.links.values().filter_map(Link::poll_timeout).min_by_key(|deadline| deadline.at);
        let links = links.map(|deadline| deadline.map(Why::Peer));
        let dns = self.directory.poll_timeout().map(|at| Deadline::new(at, Why::Dns));
        let outlook = self.outlook.poll_timeout().map(|at| Deadline::new(at, Why::Outlook));
        let hunts = self.hunts.poll_timeout().map(|at| Deadline::new(at, Why::Hunt));
        [sample, links, dns, outlook, hunts].into_iter().flatten().min_by_key(|deadline| deadline.at)
    }
}

/// A change to a peer that must exist.
fn update(peer: Key) -> PeerUpdate {
    PeerUpdate { update_only: true, ..PeerUpdate::new(peer) }
}

/// The peer through which the server is reached: the one with the longest prefix that contains it. A default route does not
/// make a peer the registry.
fn registry_peer(device: &Device, server: IpAddr) -> Option<Key> {
    let prefixes = device.peers.iter().flat_map(|peer| peer.allowed_ips.iter().map(|net| (net, peer.public_key)));
    let reaching = prefixes.filter(|(net, _)| net.contains(&server) && net.prefix_len() > 0);
    reaching.max_by_key(|(net, _)| net.prefix_len()).map(|(_, key)| key)
}

/// An address of the peer's host inside the tunnel: a prefix that is one address, else the first address of one.
fn tunnel_address(peer: &Peer) -> Option<IpAddr> {
    let single = peer.allowed_ips.iter().find(|net| net.prefix_len() == net.max_prefix_len());
    single.map(IpNet::addr).or_else(|| peer.allowed_ips.iter().find_map(|net| net.hosts().next()))
}
