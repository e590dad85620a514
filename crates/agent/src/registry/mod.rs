//! The registry: serves the peers of WireGuard devices by DNS-SD, and brings agents together.
//!
//! Ordinary questions never come here: they are answered from [`Answers`] that this machine compiles whenever a device has
//! changed and hands out with [`Output::Publish`]. What comes here are the questions that carry the
//! [`rendezvous`](crate::rendezvous) option, and those whose answer was negative, for which the device is read once more.
//!
//! It decides nothing about access and rates; that has happened before a question comes here.

mod lanes;
mod meeting;
mod zone;

use core::net::{IpAddr, SocketAddr};
use core::ops::RangeInclusive;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use pinhole_dns::answers::{Answers, Asker, Outcome, Transport};
use pinhole_dns::edns::{COOKIE, MAX_UDP};
use pinhole_dns::message::{Edns, Header, MAX_MESSAGE, Message};
use pinhole_dns::{Name, RData, Record, Type};
use pinhole_sansio::{Deadline, Duration, Instant, Machine};
use pinhole_traversal::ports::Guess;
use pinhole_wg::arbiter::REJECT_AFTER;
use pinhole_wg::{Device, Key};

use crate::event::Event;
use crate::naming;
use crate::rendezvous::{Ask, Kind, OPTION_CODE, Party, Told};
pub use lanes::Lane;
use lanes::Lanes;
use meeting::{Meeting, Release};
pub use zone::{Itself, ZoneConfig, allowed_ips, build, instance};

/// How often devices are read when nobody asks: wgsd reads them for every question, and nobody should see a difference.
const REFRESH: Duration = Duration::from_millis(250);

/// A large device is read less often: this much more between reads per peer.
const REFRESH_PER_PEER: Duration = Duration::from_micros(500);

/// A question that needs the present state is content with one this old.
const FRESH: Duration = Duration::from_millis(5);

/// Questions that wait for a device to be read. A read takes a millisecond, but three seconds where a device hangs; what comes
/// beyond these is answered from what is known.
const MAX_WAITING: usize = 4_096;

/// No question is held longer, whatever it asks for.
const MAX_WAIT: Duration = Duration::from_secs(30);

/// Answers that are kept in case the question is repeated because they were lost, how many, and for how long.
const MAX_RECENT: usize = 4_096;
const RECENT_FOR: Duration = Duration::from_secs(3);

/// A told watcher that has not asked again after this long is told again.
const TELL_AGAIN: [Duration; 2] = [Duration::from_millis(90), Duration::from_millis(280)];

/// What a registry needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// Its zones.
    pub zones: Vec<ZoneConfig>,
    /// The addresses it listens on.
    pub listen: Vec<IpAddr>,
    /// The ports of the relay; none: there is no relay.
    pub relay: Option<RangeInclusive<u16>>,
}

/// A question that the compiled answers could not settle.
#[derive(Clone, Debug)]
pub struct Query {
    /// The caller's number for it, used once.
    pub id: u64,
    /// Who asks.
    pub source: SocketAddr,
    /// The address it was asked at.
    pub local: IpAddr,
    /// Over which transport.
    pub transport: Transport,
    /// Has the tunnel proven the source address?
    pub verified: bool,
    /// The message.
    pub bytes: Vec<u8>,
    /// The DNS cookie to answer it with.
    pub cookie: Option<Vec<u8>>,
}

/// What happens to a registry.
#[derive(Clone, Debug)]
pub enum Input {
    /// Time has passed.
    Timeout,
    /// The state of a device, asked for by [`Output::ReadDevice`]; `wall` is the time since the Unix epoch.
    Device {
        /// The device's name.
        name: String,
        /// What it says, or why it could not be read.
        device: Result<Device, String>,
        /// When, on the clock that handshakes are dated with.
        wall: Duration,
    },
    /// A question came.
    Query(Query),
    /// The lane with these ports has ended: nobody used it, or it could not be opened.
    LaneClosed {
        /// Its ports.
        ports: [u16; 2],
    },
}

/// What a registry wants done or known.
#[derive(Debug)]
pub enum Output {
    /// Read this device and tell.
    ReadDevice(String),
    /// Answer ordinary questions from these from now on; at this listening address only, or at all of them.
    Publish {
        /// The listening address.
        local: Option<IpAddr>,
        /// The answers.
        answers: Arc<Answers>,
    },
    /// Send this answer to a question. There may be more.
    Reply {
        /// The question.
        id: u64,
        /// The message.
        bytes: Vec<u8>,
    },
    /// There will be no more answers to a question.
    Forget(u64),
    /// Open this lane of the relay, or let its two in from other addresses if it is open.
    OpenLane(Lane),
    /// Something happened.
    Event(Event),
}

/// Why a registry wants to be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Devices are to be read.
    Refresh,
    /// A held question ends its wait.
    Held,
    /// A watcher is to be told again.
    TellAgain,
}

/// See the module.
#[derive(Debug)]
pub struct Registry {
    config: Config,
    devices: BTreeMap<String, State>,
    serial: u32,
    /// What the wall clock said when `Instant` was at its epoch; none before a device has been read.
    started: Option<Duration>,
    published: HashMap<Option<IpAddr>, Arc<Answers>>,
    next_refresh: Instant,
    /// Questions that wait for devices to be read, and since when.
    waiting: Vec<(Instant, Query)>,
    held: HashMap<u64, Held>,
    recent: VecDeque<Recent>,
    told: BTreeMap<Key, ToldWatcher>,
    lanes: Lanes,
    outputs: VecDeque<Output>,
}

#[derive(Debug, Default)]
struct State {
    device: Device,
    failed: bool,
    /// When the read that is under way was asked for.
    reading: Option<Instant>,
    /// When the last read that has ended was asked for: what it says is at least as new.
    read_at: Option<Instant>,
    meeting: Meeting,
    /// What peers have said of their NATs, and when.
    nats: BTreeMap<Key, (Instant, Guess)>,
}

impl State {
    /// Is what is known new enough for a question that came at `since`? A device that failed has nothing newer to say; the next
    /// refresh will find it if it is back.
    fn is_settled(&self, since: Instant) -> bool {
        self.failed || self.read_at.is_some_and(|at| at + FRESH >= since)
    }
}

/// A question that is held.
#[derive(Debug)]
struct Held {
    device: String,
    from: Key,
    query: Query,
    message: Message,
    /// When it was first asked: repetition does not prolong the wait.
    since: Instant,
}

/// An answered question.
#[derive(Debug)]
struct Recent {
    source: SocketAddr,
    dns_id: u16,
    question: Name,
    answer: Vec<u8>,
    at: Instant,
}

/// A watcher that was told and has not been heard of since.
#[derive(Debug)]
struct ToldWatcher {
    id: u64,
    bytes: Vec<u8>,
    at: Instant,
    times: usize,
}

impl Registry {
    /// A registry that reads its devices at once.
    pub fn new(now: Instant, config: Config) -> Self {
        let devices = config.zones.iter().map(|zone| (zone.device.clone(), State::default())).collect();
        Self {
            lanes: Lanes::new(config.relay.clone()),
            config,
            devices,
            serial: 0,
            started: None,
            published: HashMap::new(),
            next_refresh: now,
            waiting: Vec::new(),
            held: HashMap::new(),
            recent: VecDeque::new(),
            told: BTreeMap::new(),
            outputs: VecDeque::new(),
        }
    }

    fn on_device(&mut self, now: Instant, name: &str, device: Result<Device, String>, wall: Duration) {
        self.started.get_or_insert(wall.saturating_sub(now.since(Instant::EPOCH)));
        let Some(state) = self.devices.get_mut(name) else { return };
        state.read_at = Some(state.reading.take().unwrap_or(now));
        match device {
            Ok(device) => {
                if core::mem::take(&mut state.failed) {
                    self.outputs.push_back(Output::Event(Event::DeviceBack { device: name.to_owned() }));
                }
                let changed = announce_changes(&state.device, &device, &mut self.outputs);
                let fresh = |at: Duration| wall.saturating_sub(at) < REJECT_AFTER;
                let reachable = device.peers.iter().filter(|peer| peer.endpoint.is_some());
                let reachable = reachable.filter(|peer| peer.last_handshake.is_none_or(fresh));
                state.meeting.set_known(now, reachable.map(|peer| peer.public_key));
                let config_changed = changed || !same_zone_data(&state.device, &device);
                state.nats.retain(|key, _| is_peer(&device, key));
                state.device = device;
                if config_changed || self.published.is_empty() {
                    self.publish(wall);
                }
            }
            Err(reason) => {
                if !core::mem::replace(&mut state.failed, true) {
                    self.outputs.push_back(Output::Event(Event::DeviceFailed { device: name.to_owned(), reason }));
                }
                if self.published.is_empty() {
                    self.publish(wall);
                }
            }
        }
        self.answer_waiting(now);
    }

    /// Compiles all zones anew. The serial is the time, or one more than the last if the clock stands still.
    fn publish(&mut self, wall: Duration) {
        // RFC 1982 serials wrap; so does the time in 2106.
        let time = wall.as_secs() as u32;
        self.serial = if time > self.serial { time } else { self.serial.wrapping_add(1) };
        let by_address = self.config.zones.iter().any(zone::depends_on_local_address);
        let locals: Vec<Option<IpAddr>> = match by_address {
            true => self.config.listen.iter().copied().map(Some).collect(),
            false => vec![None],
        };
        for local in locals {
            let zones = self.config.zones.iter().filter_map(|config| {
                let state = self.devices.get(&config.device)?;
                Some(build(config, &state.device, self.serial, local))
            });
            let zones: Vec<_> = zones.collect();
            let answers = Arc::new(Answers::compile(&zones).escalating(OPTION_CODE));
            self.published.insert(local, Arc::clone(&answers));
            self.outputs.push_back(Output::Publish { local, answers });
        }
    }

    /// Has a device read, unless that is under way.
    fn read(&mut self, now: Instant, stale: impl Fn(&State) -> bool) {
        for (name, state) in self.devices.iter_mut().filter(|(_, state)| state.reading.is_none() && stale(state)) {
            state.reading = Some(now);
            self.outputs.push_back(Output::ReadDevice(name.clone()));
        }
    }

    fn on_query(&mut self, now: Instant, query: Query) {
        if self.waiting.len() == MAX_WAITING {
            return self.answer_plainly(&query);
        }
        self.waiting.push((now, query));
        self.answer_waiting(now);
    }

    /// Answers or holds the questions for which the devices have been read, and has them read for the others.
    fn answer_waiting(&mut self, now: Instant) {
        for (since, query) in core::mem::take(&mut self.waiting) {
            if self.devices.values().all(|state| state.is_settled(since)) {
                self.answer_or_hold(now, query);
            } else {
                self.waiting.push((since, query));
            }
        }
        if let Some(&(since, _)) = self.waiting.last() {
            self.read(now, |state| !state.is_settled(since));
        }
        self.release(now);
    }

    fn answer_or_hold(&mut self, now: Instant, query: Query) {
        let Some((message, ask)) = self.rendezvous_question(&query) else { return self.answer_plainly(&query) };
        if let Some(bytes) = self.recent_answer(now, &query, &message) {
            self.reply_once(query.id, bytes);
            return;
        }
        let located = self.locate(&message.questions[0].name);
        let Some((device, label)) = located else { return self.answer_plainly(&query) };
        let Some(from) = self.asker(&device, &query) else { return self.answer_plainly(&query) };
        let before = self.held_before(from, &message);
        // Repetition does not prolong the wait.
        let repeated = before.iter().filter_map(|id| self.held.get(id));
        let since = repeated.filter(|held| held.message.header.id == message.header.id).map(|held| held.since).min();
        let since = since.unwrap_or(now);
        let wait = Duration::from_millis(ask.wait_ms.into()).min(MAX_WAIT).saturating_sub(now.since(since));
        let Some(state) = self.devices.get_mut(&device) else { return self.answer_plainly(&query) };
        if let Some(nat) = ask.nat {
            let is_hard = nat.is_hard();
            let before = state.nats.insert(from, (now, nat));
            if before.is_some_and(|(_, nat)| nat.is_hard()) != is_hard {
                state.meeting.outdate(from);
            }
        }
        let taken = match ask.kind {
            Kind::Seek => match naming::parse_label(&label) {
                Some(to) if to != from && is_peer(&state.device, &to) => {
                    state.meeting.seek(now, query.id, from, to, wait)
                }
                _ => false,
            },
            Kind::Watch => {
                naming::parse_watch_label(&label) == Some(from) && state.meeting.watch(now, query.id, from, wait)
            }
        };
        if !taken {
            return self.answer_plainly(&query);
        }
        self.forget_told(&from);
        for id in before {
            self.held.remove(&id);
            self.outputs.push_back(Output::Forget(id));
        }
        self.held.insert(query.id, Held { device, from, query, message, since });
    }

    /// The peer that a question through the tunnel comes from.
    fn asker(&self, device: &str, query: &Query) -> Option<Key> {
        let state = self.devices.get(device).filter(|_| query.verified)?;
        zone::peer_of(&state.device, query.source.ip()).map(|peer| peer.public_key)
    }

    /// The held question of the same peer about the same name, if any: the meeting lets a new one take its place.
    fn held_before(&self, from: Key, message: &Message) -> Vec<u64> {
        let name = &message.questions[0].name;
        let same = |held: &Held| held.from == from && held.message.questions[0].name == *name;
        self.held.iter().filter(|(_, held)| same(held)).map(|(&id, _)| id).collect()
    }

    /// A question with our option: one question, of class IN, of the type that belongs to its kind.
    fn rendezvous_question(&self, query: &Query) -> Option<(Message, Ask)> {
        let message = Message::decode(&query.bytes).ok()?;
        let ask = Ask::decode(message.option(OPTION_CODE)?)?;
        let [question] = message.questions.as_slice() else { return None };
        let qtype = match ask.kind {
            Kind::Seek => Type::SRV,
            Kind::Watch => Type::PTR,
        };
        (question.qtype == qtype).then_some((message, ask))
    }

    /// The device and the first label of a name in one of the zones, below the service or its subtypes.
    fn locate(&self, name: &Name) -> Option<(String, Vec<u8>)> {
        let label = name.labels().next()?.to_vec();
        let text = core::str::from_utf8(&label).ok()?;
        let zone = self.config.zones.iter().find(|zone| {
            let sub = zone::instance(&zone.origin, "_sub").and_then(|sub| sub.child(text).ok());
            Some(name) == zone::instance(&zone.origin, text).as_ref() || Some(name) == sub.as_ref()
        })?;
        Some((zone.device.clone(), label))
    }

    /// Answers from the compiled answers.
    fn answer_plainly(&mut self, query: &Query) {
        match self.compiled_answer(query, None) {
            Some(bytes) => self.reply_once(query.id, bytes),
            None => self.outputs.push_back(Output::Forget(query.id)),
        }
    }

    /// The compiled answer to a question, with an option of ours if there is one, else with its cookie.
    fn compiled_answer(&self, query: &Query, told: Option<&[u8]>) -> Option<Vec<u8>> {
        let cookie = query.cookie.as_deref().map(|cookie| (COOKIE, cookie));
        let option = told.map(|told| (OPTION_CODE, told)).or(cookie);
        let asker = Asker { transport: query.transport, verified: query.verified, cookies: None, option };
        let room = match query.transport {
            Transport::Udp => usize::from(MAX_UDP),
            Transport::Tcp => MAX_MESSAGE,
        };
        let mut out = vec![0; room];
        match self.answers_at(query.local)?.answer(&query.bytes, &asker, &mut out) {
            Outcome::Reply(length) | Outcome::Miss(length) | Outcome::Escalate(length) => {
                out.truncate(length);
                Some(out)
            }
            Outcome::Drop(_) => None,
        }
    }

    /// What was published last for a listening address; none before the devices have been read.
    pub fn answers_at(&self, local: IpAddr) -> Option<&Arc<Answers>> {
        self.published.get(&Some(local)).or_else(|| self.published.get(&None))
    }

    /// Answers what can be answered now.
    fn release(&mut self, now: Instant) {
        let names: Vec<String> = self.devices.keys().cloned().collect();
        for name in names {
            let Some(state) = self.devices.get_mut(&name) else { continue };
            for release in state.meeting.poll(now) {
                self.carry_out(now, release);
            }
        }
    }

    fn carry_out(&mut self, now: Instant, release: Release) {
        match release {
            Release::Seek { ticket, to, simultaneous, initiate } => {
                let Some(held) = self.held.remove(&ticket) else { return };
                if simultaneous {
                    self.outputs.push_back(Output::Event(Event::Introduced { peer: held.from, to }));
                }
                let parties = if simultaneous { self.parties(now, &held, &[to]) } else { Vec::new() };
                let told = Told { simultaneous, initiate, observed: self.observed(&held), parties };
                let Some(bytes) = self.compiled_answer(&held.query, Some(&told.encode())) else {
                    return self.outputs.push_back(Output::Forget(ticket));
                };
                self.keep(now, &held, &bytes);
                self.reply_once(ticket, bytes);
            }
            Release::Watch { ticket, seekers, initiate } => {
                let Some(held) = self.held.remove(&ticket) else { return };
                // Only whom the answer can name.
                let seekers: Vec<Key> =
                    seekers.into_iter().filter(|key| self.endpoint(&held.device, key).is_some()).collect();
                let parties = self.parties(now, &held, &seekers);
                let simultaneous = !seekers.is_empty();
                let told = Told { simultaneous, initiate, observed: self.observed(&held), parties };
                let bytes = self.watch_answer(&held, &seekers, &told);
                self.keep(now, &held, &bytes);
                if seekers.is_empty() {
                    return self.reply_once(ticket, bytes);
                }
                self.forget_told(&held.from);
                self.told.insert(held.from, ToldWatcher { id: ticket, bytes: bytes.clone(), at: now, times: 0 });
                self.outputs.push_back(Output::Reply { id: ticket, bytes });
            }
        }
    }

    /// The seekers as a DNS-SD browse answer: PTR in Answer, SRV and address of each in Additional.
    fn watch_answer(&self, held: &Held, seekers: &[Key], told: &Told) -> Vec<u8> {
        let request = &held.message;
        let question = &request.questions[0];
        let flags = Header::QR | Header::AA | request.header.flags & Header::RD;
        let mut answer = Message {
            header: Header { id: request.header.id, flags, ..Header::default() },
            questions: request.questions.clone(),
            ..Message::default()
        };
        let origin = self.config.zones.iter().map(|zone| &zone.origin).find(|origin| question.name.is_in(origin));
        for seeker in seekers {
            let endpoint = self.endpoint(&held.device, seeker);
            let name = origin.and_then(|origin| zone::instance(origin, &naming::label(seeker)));
            let (Some(endpoint), Some(name)) = (endpoint, name) else { continue };
            let record = |owner: &Name, data| Record { owner: owner.clone(), ttl: 0, data };
            answer.answers.push(record(&question.name, RData::Ptr(name.clone())));
            answer.additional.extend(zone::service_records(&name, endpoint).map(|data| record(&name, data)));
        }
        answer.edns = Some(Edns { udp_size: MAX_UDP, ttl: 0, options: vec![(OPTION_CODE, told.encode())] });
        answer.encode()
    }

    /// What the asker must know of those it is brought together with.
    fn parties(&mut self, now: Instant, held: &Held, others: &[Key]) -> Vec<Party> {
        others.iter().for_each(|other| self.offer_relay(held, *other));
        let Some(state) = self.devices.get(&held.device) else { return Vec::new() };
        let party = |other: &Key| {
            let met = state.meeting.met_at(held.from, *other).unwrap_or(now).since(Instant::EPOCH);
            // The time of the meeting: both are told the same, and no two meetings of theirs have the same.
            let session = (self.started.unwrap_or_default() + met).as_nanos() as u64;
            let nat = |peer| state.nats.get(peer).map(|(since, nat)| nat.clone().aged(now.since(*since)));
            let relay = self.lanes.port(held.from, *other);
            Party { session: session.to_be_bytes(), relay, ours: nat(&held.from), theirs: nat(other) }
        };
        others.iter().map(party).collect()
    }

    /// Opens a lane for two that cannot meet, or that have met in vain.
    fn offer_relay(&mut self, held: &Held, other: Key) {
        let Some(state) = self.devices.get(&held.device) else { return };
        let is_hard = |peer| state.nats.get(peer).is_some_and(|(_, nat)| nat.is_hard());
        let needs_it = is_hard(&held.from) && is_hard(&other) || state.meeting.met_in_a_row(held.from, other) > 1;
        let seen = [held.from, other].map(|peer| self.endpoint(&held.device, &peer));
        if let ([Some(from), Some(to)], true) = (seen, needs_it)
            && let Some((lane, true)) = self.lanes.get([held.from, other], [from.ip(), to.ip()])
        {
            self.outputs.push_back(Output::OpenLane(lane));
        }
    }

    /// Where the device sees the asker.
    fn observed(&self, held: &Held) -> Option<SocketAddr> {
        self.endpoint(&held.device, &held.from)
    }

    /// Where a device sees a peer.
    fn endpoint(&self, device: &str, peer: &Key) -> Option<SocketAddr> {
        let peers = &self.devices.get(device)?.device.peers;
        peers.iter().find(|known| known.public_key == *peer)?.endpoint
    }

    fn reply_once(&mut self, id: u64, bytes: Vec<u8>) {
        self.outputs.push_back(Output::Reply { id, bytes });
        self.outputs.push_back(Output::Forget(id));
    }

    fn keep(&mut self, now: Instant, held: &Held, answer: &[u8]) {
        while self.recent.len() >= MAX_RECENT || self.recent.front().is_some_and(|old| now.since(old.at) > RECENT_FOR) {
            self.recent.pop_front();
        }
        let question = held.message.questions[0].name.clone();
        let (source, dns_id) = (held.query.source, held.message.header.id);
        self.recent.push_back(Recent { source, dns_id, question, answer: answer.to_vec(), at: now });
    }

    fn recent_answer(&self, now: Instant, query: &Query, message: &Message) -> Option<Vec<u8>> {
        let same = |recent: &&Recent| {
            recent.source == query.source
                && recent.dns_id == message.header.id
                && recent.question == message.questions[0].name
                && now.since(recent.at) <= RECENT_FOR
        };
        self.recent.iter().rev().find(same).map(|recent| recent.answer.clone())
    }

    fn tell_again(&mut self, now: Instant) {
        let mut done = Vec::new();
        for (key, told) in &mut self.told {
            let Some(&after) = TELL_AGAIN.get(told.times) else { continue };
            if told.at + after <= now {
                self.outputs.push_back(Output::Reply { id: told.id, bytes: told.bytes.clone() });
                told.times += 1;
                if told.times == TELL_AGAIN.len() {
                    done.push(*key);
                }
            }
        }
        done.iter().for_each(|key| self.forget_told(key));
    }

    fn forget_told(&mut self, key: &Key) {
        if let Some(told) = self.told.remove(key) {
            self.outputs.push_back(Output::Forget(told.id));
        }
    }

    fn refresh_interval(&self) -> Duration {
        let peers: usize = self.devices.values().map(|state| state.device.peers.len()).sum();
        REFRESH + REFRESH_PER_PEER * u32::try_from(peers).unwrap_or(u32::MAX)
    }
}

impl Machine for Registry {
    type Input = Input;
    type Output = Output;
    type Why = Why;

    fn timeout() -> Input {
        Input::Timeout
    }

    fn handle_input(&mut self, now: Instant, input: Input) {
        match input {
            Input::Timeout => {
                if self.next_refresh <= now {
                    self.next_refresh = now + self.refresh_interval();
                    self.read(now, |_| true);
                }
                self.tell_again(now);
                self.release(now);
            }
            Input::Device { name, device, wall } => self.on_device(now, &name, device, wall),
            Input::Query(query) => self.on_query(now, query),
            Input::LaneClosed { ports } => self.lanes.close(ports),
        }
    }

    fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn poll_timeout(&self) -> Option<Deadline<Why>> {
        let held = self.devices.values().filter_map(|state| state.meeting.poll_timeout()).min();
        let tell = self.told.values().filter_map(|told| Some(told.at + *TELL_AGAIN.get(told.times)?)).min();
        let refresh = Deadline::new(self.next_refresh, Why::Refresh);
        let held = Deadline::earlier(Some(refresh), held.map(|at| Deadline::new(at, Why::Held)));
        Deadline::earlier(held, tell.map(|at| Deadline::new(at, Why::TellAgain)))
    }
}

fn is_peer(device: &Device, key: &Key) -> bool {
    device.peers.iter().any(|peer| peer.public_key == *key)
}

/// Tells which peers have moved, come or gone; true if any has.
fn announce_changes(before: &Device, after: &Device, outputs: &mut VecDeque<Output>) -> bool {
    let endpoints = |device: &Device| -> BTreeMap<Key, SocketAddr> {
        device.peers.iter().filter_map(|peer| Some((peer.public_key, peer.endpoint?))).collect()
    };
    let (before, after) = (endpoints(before), endpoints(after));
    let moved = after.iter().filter(|(key, endpoint)| before.get(key) != Some(endpoint));
    let moved = moved.map(|(&peer, &endpoint)| Event::Peer { peer, endpoint });
    let gone = before.keys().filter(|key| !after.contains_key(key)).map(|&peer| Event::Gone { peer });
    let events: Vec<Event> = moved.chain(gone).collect();
    let changed = !events.is_empty();
    outputs.extend(events.into_iter().map(Output::Event));
    changed
}

/// Would both devices give the same zone?
fn same_zone_data(a: &Device, b: &Device) -> bool {
    let data = |device: &Device| -> Vec<_> {
        device.peers.iter().map(|peer| (peer.public_key, peer.endpoint, peer.allowed_ips.clone())).collect()
    };
    a.public_key == b.public_key && a.listen_port == b.listen_port && data(a) == data(b)
}

#[cfg(test)]
mod tests;
