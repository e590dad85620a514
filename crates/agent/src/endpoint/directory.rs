//! The agent's side of DNS-SD: asks where peers are, listens for peers that ask for us, and reads whatever server answers.
//!
//! Three kinds of servers are understood: our registry, which knows the [`rendezvous`](crate::rendezvous) option; a wgsd, old
//! or new; and a recursive resolver in front of either. The last two answer at once and tell no one, which shows in the
//! missing option.

use core::net::SocketAddr;
use std::collections::{BTreeMap, HashMap, VecDeque};

use ipnet::IpNet;
use pinhole_dns::client::{self, Client, QuestionId, Schedule};
use pinhole_dns::message::Message;
use pinhole_dns::sd::{self, Resolution, Unresolved};
use pinhole_dns::{Name, RData, Type};
use pinhole_sansio::{Duration, Instant, Machine, Rng};
use pinhole_traversal::ports::Guess;
use pinhole_wg::Key;

use super::Output;
use crate::naming;
use crate::registry::{allowed_ips, instance};
use crate::rendezvous::{Ask, Kind, OPTION_CODE, Party, Told};

/// How long the registry may hold a seek. Short: while the peer is away the registry's answer to our watch will tell when it
/// is back.
const SEEK_WAIT: Duration = Duration::from_millis(2_000);

/// How long the registry may hold a watch: less than the 25 s of a keepalive, so that the watch is one too.
const WATCH_WAIT: Duration = Duration::from_secs(20);

/// Two watches without news are at least this far apart, whatever the server does.
const WATCH_GAP: Duration = Duration::from_secs(1);

/// A server without rendezvous is asked again whether it has learned it.
const PLAIN_WATCH_GAP: Duration = Duration::from_secs(600);

/// Seeks under way at once; the others queue.
const MAX_SEEKS: usize = 32;

/// How often the zone is browsed for announced peers.
const BROWSE_EVERY: Duration = Duration::from_secs(10);

/// Instances taken from one browse answer: what fits in the largest DNS message.
const MAX_INSTANCES: usize = 1_024;

/// When a question is repeated. In a tunnel to a registry a lost packet should cost little, and nobody else is bothered.
const TUNNEL_SEEK: Schedule =
    Schedule { first: Duration::from_millis(70), longest: Duration::from_millis(1_000), attempts: 7 };
const TUNNEL_WATCH: Schedule =
    Schedule { first: Duration::from_millis(400), longest: Duration::from_millis(5_000), attempts: 8 };

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// The registry sees us at a new place.
    Observed(SocketAddr),
    /// A peer is here.
    Found { peer: Key, endpoint: SocketAddr, told: Option<Told> },
    /// Peers want us: who, where it is, and what else is told of it.
    Sought { by: Vec<(Key, SocketAddr, Option<Party>)>, told: Told },
    /// The server does not know the peer.
    Absent { peer: Key },
    /// The server does not answer.
    Silent { peer: Key },
    /// The zone announces a peer.
    Announced { peer: Key, allowed_ips: Vec<IpNet> },
}

#[derive(Debug)]
enum Purpose {
    /// One of the questions by which a peer is located.
    Seek(Box<Seek>),
    Watch,
    Browse,
    Announced(Key),
}

/// A peer being located.
#[derive(Debug)]
struct Seek {
    peer: Key,
    resolution: Resolution,
    told: Option<Told>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Directory {
    zone: Name,
    server: SocketAddr,
    client: Client,
    me: Option<Key>,
    in_tunnel: bool,
    /// What the registry is told of the NAT here.
    nat: Option<Guess>,
    /// No peer is asked for before, since the question is to tell of the NAT.
    quiet_until: Option<Instant>,
    /// What the questions in flight are for, with their names and types.
    purposes: HashMap<QuestionId, (Purpose, Name, Type)>,
    seeking: BTreeMap<Key, QuestionId>,
    queue: VecDeque<Key>,
    watching: bool,
    next_watch: Option<Instant>,
    next_browse: Option<Instant>,
    /// Announced peers whose TXT record has been asked for, and when.
    asked: BTreeMap<Key, Instant>,
    observed: Option<SocketAddr>,
    heard: VecDeque<Heard>,
    outputs: VecDeque<Output>,
}

impl Directory {
    pub(super) fn new(now: Instant, zone: Name, server: SocketAddr, browse: bool, mut rng: Rng) -> Self {
        Self {
            zone,
            server,
            client: Client::new(client::Config::default(), rng.next_u64()),
            me: None,
            in_tunnel: false,
            nat: None,
            quiet_until: None,
            purposes: HashMap::new(),
            seeking: BTreeMap::new(),
            queue: VecDeque::new(),
            watching: false,
            next_watch: Some(now),
            next_browse: browse.then_some(now),
            asked: BTreeMap::new(),
            observed: None,
            heard: VecDeque::new(),
            outputs: VecDeque::new(),
        }
    }

    /// Says who we are and whether the server is reached through the tunnel.
    pub(super) fn set_me(&mut self, now: Instant, me: Option<Key>, in_tunnel: bool) {
        self.in_tunnel = in_tunnel;
        if self.me != me {
            self.me = me;
            self.handle_timeout(now);
        }
    }

    /// The NAT here is being looked at: what is known of it by then will do.
    pub(super) fn wait_for_nat(&mut self, until: Instant) {
        if self.nat.is_none() {
            self.quiet_until = Some(until);
        }
    }

    /// What the registry is told of the NAT here, with whatever it is asked from now on.
    pub(super) fn set_nat(&mut self, now: Instant, nat: Guess) {
        self.nat = Some(nat);
        self.quiet_until = None;
        self.start_seeks(now);
        self.drain_client(now);
    }

    /// Asks where a peer is.
    pub(super) fn seek(&mut self, now: Instant, peer: Key) {
        if self.seeking.contains_key(&peer) || self.queue.contains(&peer) {
            return;
        }
        self.queue.push_back(peer);
        self.start_seeks(now);
        self.drain_client(now);
    }

    /// The answer is no longer of interest.
    pub(super) fn forget(&mut self, peer: Key) {
        self.queue.retain(|queued| *queued != peer);
        if let Some(id) = self.seeking.remove(&peer) {
            self.purposes.remove(&id);
            self.client.cancel(id);
            self.outputs.push_back(Output::Asked(id));
        }
    }

    /// The way to the server is open, or is another one: what is unanswered is asked again at once.
    pub(super) fn hurry(&mut self, now: Instant) {
        self.client.ask_again(now);
        if !self.watching {
            self.next_watch = Some(now);
        }
        self.handle_timeout(now);
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        self.client.handle_input(now, client::Input::Timeout);
        if self.quiet_until.is_some_and(|until| until <= now) {
            self.quiet_until = None;
            self.start_seeks(now);
        }
        if self.next_watch.is_some_and(|at| at <= now) && self.start_watch(now) {
            self.next_watch = None;
        }
        if self.next_browse.is_some_and(|at| at <= now) {
            self.next_browse = Some(now + BROWSE_EVERY);
            if let Some(service) = instance(&self.zone, "x").and_then(|name| name.parent()) {
                self.ask(now, Purpose::Browse, service, Type::PTR, None);
            }
        }
        self.drain_client(now);
    }

    pub(super) fn handle_input(&mut self, now: Instant, input: client::Input) {
        self.client.handle_input(now, input);
        self.drain_client(now);
    }

    pub(super) fn poll_heard(&mut self) -> Option<Heard> {
        self.heard.pop_front()
    }

    pub(super) fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let client = self.client.poll_timeout().map(|deadline| deadline.at);
        let watch = self.next_watch.filter(|_| self.me.is_some());
        [client, watch, self.next_browse, self.quiet_until].into_iter().flatten().min()
    }

    fn start_seeks(&mut self, now: Instant) {
        while self.seeking.len() < MAX_SEEKS && self.quiet_until.is_none() {
            let Some(peer) = self.queue.pop_front() else { return };
            let Some(name) = instance(&self.zone, &naming::label(&peer)) else { continue };
            let seek = Seek { peer, resolution: Resolution::new(name.clone(), false), told: None };
            let ask = Ask { kind: Kind::Seek, wait_ms: SEEK_WAIT.as_millis() as u16, nat: self.nat.clone() };
            self.ask_for(now, Box::new(seek), name, Type::SRV, Some(ask));
        }
    }

    fn ask_for(&mut self, now: Instant, seek: Box<Seek>, name: Name, qtype: Type, ask: Option<Ask>) {
        let peer = seek.peer;
        let id = self.ask(now, Purpose::Seek(seek), name, qtype, ask);
        self.seeking.insert(peer, id);
    }

    /// False while we do not know who we are.
    fn start_watch(&mut self, now: Instant) -> bool {
        let Some(me) = &self.me else { return false };
        let sub = instance(&self.zone, "_sub").and_then(|sub| sub.child(naming::watch_label(me)).ok());
        if let Some(name) = sub {
            let nat = self.nat.clone();
            let ask = Ask { kind: Kind::Watch, wait_ms: WATCH_WAIT.as_millis() as u16, nat };
            self.ask(now, Purpose::Watch, name, Type::PTR, Some(ask));
            self.watching = true;
        }
        true
    }

    fn ask(&mut self, now: Instant, purpose: Purpose, name: Name, qtype: Type, ask: Option<Ask>) -> QuestionId {
        let schedule = match (&purpose, self.in_tunnel) {
            (Purpose::Watch, _) => TUNNEL_WATCH,
            (_, true) => TUNNEL_SEEK,
            (_, false) => Schedule::CONVENTIONAL,
        };
        let options = ask.into_iter().map(|ask| (OPTION_CODE, ask.encode())).collect();
        let (servers, schedule) = (vec![self.server], Some(schedule));
        let id = self.client.ask(now, client::Ask { name: name.clone(), qtype, options, servers, schedule });
        self.purposes.insert(id, (purpose, name, qtype));
        id
    }

    /// Takes what the client has to send and what it has learned, which may make it ask more.
    fn drain_client(&mut self, now: Instant) {
        while let Some(output) = self.client.poll_output() {
            match output {
                client::Output::Transmit { question, server, bytes } => {
                    self.outputs.push_back(Output::Ask { question, to: server, bytes });
                }
                client::Output::Exchange { question, server, bytes } => {
                    self.outputs.push_back(Output::AskByTcp { question, to: server, bytes });
                }
                client::Output::Done { question, answer } => {
                    self.outputs.push_back(Output::Asked(question));
                    if let Some((purpose, name, qtype)) = self.purposes.remove(&question) {
                        self.on_done(now, purpose, &name, qtype, answer.ok().map(|answer| *answer));
                    }
                }
            }
        }
    }

    fn on_done(&mut self, now: Instant, purpose: Purpose, name: &Name, qtype: Type, answer: Option<Message>) {
        let told = answer.as_ref().and_then(|answer| Told::decode(answer.option(OPTION_CODE)?));
        if let Some(observed) = told.as_ref().and_then(|told| told.observed)
            && self.observed.replace(observed) != Some(observed)
        {
            self.heard.push_back(Heard::Observed(observed));
        }
        match (purpose, answer) {
            (Purpose::Seek(mut seek), Some(answer)) => {
                seek.resolution.absorb(name, qtype, &answer);
                seek.told = seek.told.or(told);
                self.go_on(now, seek);
            }
            (Purpose::Seek(seek), None) => self.end_seek(now, seek.peer, Heard::Silent { peer: seek.peer }),
            (Purpose::Watch, answer) => self.on_watch(now, answer.as_ref(), told),
            (Purpose::Browse, Some(answer)) => self.on_browse(now, name, &answer),
            (Purpose::Announced(peer), Some(answer)) => {
                let strings = answer.answers.iter().find_map(|record| match &record.data {
                    RData::Txt(strings) => Some(strings),
                    _ => None,
                });
                let allowed_ips = strings.map(|strings| allowed_ips(&sd::entries(strings))).unwrap_or_default();
                self.heard.push_back(Heard::Announced { peer, allowed_ips });
            }
            (Purpose::Browse | Purpose::Announced(_), None) => {}
        }
    }

    /// The peer is located, or there is more to ask, or it is nowhere.
    fn go_on(&mut self, now: Instant, seek: Box<Seek>) {
        let (peer, told) = (seek.peer, seek.told.clone());
        let located = seek
            .resolution
            .instance()
            .map(|instance| instance.addresses.first().map(|&address| SocketAddr::new(address, instance.srv.port)));
        match located {
            Ok(Some(endpoint)) => self.end_seek(now, peer, Heard::Found { peer, endpoint, told }),
            Err(Unresolved::Ask(name, qtype)) if qtype != Type::SRV => self.ask_for(now, seek, name, qtype, None),
            Ok(None) | Err(Unresolved::Ask(..) | Unresolved::NoInstance | Unresolved::NoAddress(_)) => {
                self.end_seek(now, peer, Heard::Absent { peer });
            }
        }
    }

    fn end_seek(&mut self, now: Instant, peer: Key, heard: Heard) {
        self.seeking.remove(&peer);
        self.heard.push_back(heard);
        self.start_seeks(now);
    }

    /// The next watch follows at once, unless this server does not watch, or has nothing to say and says so too early.
    fn on_watch(&mut self, now: Instant, answer: Option<&Message>, told: Option<Told>) {
        self.watching = false;
        let gap = match (answer, told) {
            (Some(answer), Some(told)) if told.simultaneous => {
                self.heard.push_back(Heard::Sought { by: seekers(answer, &told.parties), told });
                Duration::ZERO
            }
            (Some(_), None) => PLAIN_WATCH_GAP,
            (Some(_), Some(_)) => WATCH_GAP,
            (None, _) => Duration::ZERO,
        };
        self.next_watch = Some(now + gap);
        if gap.is_zero() && self.start_watch(now) {
            self.next_watch = None;
        }
    }

    fn on_browse(&mut self, now: Instant, service: &Name, answer: &Message) {
        self.asked.retain(|_, &mut at| now.since(at) < BROWSE_EVERY * 6);
        for name in sd::instances(answer, service).into_iter().take(MAX_INSTANCES) {
            let Some(key) = name.labels().next().and_then(naming::parse_label) else { continue };
            if Some(key) == self.me || self.asked.contains_key(&key) {
                continue;
            }
            self.asked.insert(key, now);
            self.ask(now, Purpose::Announced(key), name, Type::TXT, None);
        }
    }
}

/// The peers that an answer to a watch names, with their endpoints and what is told of them in the same order.
fn seekers(answer: &Message, parties: &[Party]) -> Vec<(Key, SocketAddr, Option<Party>)> {
    let Some(question) = answer.questions.first() else { return Vec::new() };
    let parties = parties.iter().map(Some).chain(core::iter::repeat(None));
    let names = sd::instances(answer, &question.name).into_iter().zip(parties);
    let located = names.filter_map(|(name, party)| {
        let key = name.labels().next().and_then(naming::parse_label)?;
        let mut resolution = Resolution::new(name.clone(), false);
        resolution.absorb(&name, Type::SRV, answer);
        let instance = resolution.instance().ok()?;
        let endpoint = SocketAddr::new(*instance.addresses.first()?, instance.srv.port);
        Some((key, endpoint, party.cloned()))
    });
    located.collect()
}
