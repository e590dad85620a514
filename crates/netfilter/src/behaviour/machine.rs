//! One NAT: packets in, packets out.

use std::collections::{BTreeMap, VecDeque};

use core::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use pinhole_sansio::{Duration, Instant, Rng};
use pinhole_wire::answer::{self, Trouble};
use pinhole_wire::build::{self, Segment};
use pinhole_wire::edit::End;
use pinhole_wire::{Protocol, ip, tcp as wire_tcp};

use super::config::{Allocation, Behaviour, Dependence, Hairpin, IcmpErrors, Pairing, Refresh, Refusal, Unsolicited};
use super::flows::{Flags, Flows};
use super::fragments::{Fragments, Way};
use super::held::Held;
use super::icmp_error;
use super::packet::{self, Endpoint, Kind, Parsed, Proto};
use super::pool::{Owned, Pool, Request};
use super::reason::{Counters, Reason};
use super::tcp::{Phase, State};
use crate::tuple::Address;

/// A side of a NAT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// Where the subscribers are.
    Inside,
    /// Where everybody else is.
    Outside,
}

/// What became of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is rewritten and goes to this side.
    Forward(Side),
    /// It goes no further, and this goes back to the side it came from.
    Answer(Vec<u8>),
    /// It was copied, and may come out of [`Nat::poll_output`] later.
    Kept,
    /// It goes no further.
    Drop(Reason),
}

/// Destinations that are not translated (RFC 6888 REQ-6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exempt {
    /// The remote addresses.
    pub net: IpNet,
    /// The lowest and the highest remote port; all if absent.
    pub ports: Option<(u16, u16)>,
}

/// A session, for tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    /// What is spoken.
    pub protocol: Protocol,
    /// The inside endpoint. The port of ICMP is the identifier.
    pub inside: SocketAddr,
    /// Its external endpoint.
    pub external: SocketAddr,
    /// The remote endpoint; unspecified for a mapping that was asked for.
    pub remote: SocketAddr,
    /// The inside has sent to the remote endpoint.
    pub sent: bool,
    /// The remote endpoint has sent.
    pub received: bool,
    /// How long it lives without a packet, to a tenth of a second.
    pub remaining: Duration,
}

/// How long a tick of the timers is. A session ends at the first tick that is not before its time.
const TICK_NANOS: u64 = 100_000_000;
/// So many mappings share a port at most, when they may.
const MOST_ON_PORT: usize = 32;
/// So many remote endpoints may have poisoned an external one at the same time.
const MOST_POISONED: usize = 4_096;
/// Fewer sessions than numbers, of which some mean something else.
const MOST_SESSIONS: u32 = 1 << 30;

/// A NAT with a behaviour.
#[derive(Clone, Debug)]
pub struct Nat<A> {
    behaviour: Behaviour,
    inside_address: A,
    /// Of the link to the outside, in bytes.
    mtu: Option<u16>,
    exempt: Vec<Exempt>,
    pub(super) flows: Flows<A>,
    pub(super) pool: Pool<A>,
    fragments: Fragments<A>,
    held: Held<A>,
    /// Until when a remote endpoint has an external one to itself, because it sent there first.
    poisoned: BTreeMap<(Proto, Endpoint<A>, Endpoint<A>), u32>,
    output: VecDeque<(Side, Vec<u8>)>,
    counters: Counters,
    now: Instant,
    tick: u32,
}

impl<A: Address> Nat<A> {
    /// A NAT with these external addresses, which answers its inside hosts from `inside_address`. All its choices follow
    /// from `seed`.
    pub fn new(behaviour: Behaviour, external: impl IntoIterator<Item = A>, inside_address: A, seed: u64) -> Self {
        let mut rng = Rng::from_seed(seed);
        let secret = [rng.next_u64(), rng.next_u64(), rng.next_u64(), rng.next_u64()];
        let pool = Pool::new(&behaviour, external, rng);
        Self {
            behaviour,
            inside_address,
            mtu: None,
            exempt: Vec::new(),
            flows: Flows::new(pool.len(), secret),
            pool,
            fragments: Fragments::new(),
            held: Held::new(),
            poisoned: BTreeMap::new(),
            output: VecDeque::new(),
            counters: Counters::default(),
            now: Instant::EPOCH,
            tick: 0,
        }
    }

    /// Does not translate what goes to these destinations and comes from them.
    #[must_use]
    pub fn with_exempt(mut self, exempt: impl IntoIterator<Item = Exempt>) -> Self {
        self.exempt.extend(exempt);
        self
    }

    /// Sends nothing longer than `mtu` bytes to the outside: what may not be fragmented is answered, the rest is fragmented
    /// (RFC 4787 REQ-13). For a NAT whose router does not do that already.
    #[must_use]
    pub const fn with_mtu(mut self, mtu: u16) -> Self {
        self.mtu = Some(mtu);
        self
    }

    /// Takes a packet that came from `side`, and rewrites it if it goes on. The buffer may be longer than the packet.
    pub fn process(&mut self, now: Instant, side: Side, packet: &mut [u8]) -> Verdict {
        self.advance(now);
        let verdict = match side {
            Side::Inside => self.leave(packet).and_then(|verdict| self.fit(verdict, packet)),
            Side::Outside => self.arrive(packet),
        };
        match &verdict {
            Ok(Verdict::Forward(_)) => self.counters.forwarded += 1,
            Ok(Verdict::Answer(_)) => self.counters.answered += 1,
            Ok(Verdict::Kept) => self.counters.kept += 1,
            Ok(Verdict::Drop(reason)) | Err(reason) => self.counters.count(*reason),
        }
        match verdict {
            Ok(verdict) => verdict,
            Err(reason) => self.refuse(side, reason, packet),
        }
    }

    /// A packet that the NAT sends later than the one that caused it, and the side it goes to.
    pub fn poll_output(&mut self) -> Option<(Side, Vec<u8>)> {
        self.output.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) may have something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let ticks = [self.flows.next_due(), self.fragments.next_due(), self.held.next_due()];
        ticks.into_iter().flatten().min().map(|tick| Instant::from_nanos(u64::from(tick) * TICK_NANOS))
    }

    /// Lets time pass: sessions end, and SYNs that were held are answered.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.advance(now);
    }

    /// Maps an inside endpoint for `lifetime` (forever, if absent) whether or not it sends, to `wished` if that is free: what
    /// PCP and port forwarding ask for. Returns the external endpoint.
    ///
    /// # Errors
    /// Why there is none.
    pub fn open(
        &mut self,
        now: Instant,
        protocol: Protocol,
        inside: (A, u16),
        wished: Option<(A, u16)>,
        lifetime: Option<Duration>,
    ) -> Result<(A, u16), Reason> {
        self.advance(now);
        let proto = Proto::of::<A>(protocol).ok_or(Reason::Protocol)?;
        let inside = Endpoint { address: inside.0, port: inside.1 };
        let wished = match wished {
            Some((address, port)) => Some((self.pool.external(address).ok_or(Reason::NotOurs)?, port)),
            None => None,
        };
        let nobody = Self::nobody();
        let mapping = match self.flows.mapping_of(proto, inside, nobody) {
            Some(mapping) => mapping,
            None => self.new_mapping(proto, inside, nobody, nobody, wished)?,
        };
        let ends = lifetime.map_or(u32::MAX, |lifetime| self.tick_after(lifetime));
        match self.flows.pin(mapping) {
            Some(pin) => self.flows.set_end(pin, ends),
            None => {
                self.flows.add_session(mapping, nobody, Flags::PINNED, ends);
            }
        }
        let mapping = self.flows.mapping(mapping);
        Ok((self.pool.address(mapping.external), mapping.external_port))
    }

    /// Takes back what [`open`](Self::open) gave; says whether there was something. Sessions go on until they end.
    pub fn close(&mut self, now: Instant, protocol: Protocol, inside: (A, u16)) -> bool {
        self.advance(now);
        let Some(proto) = Proto::of::<A>(protocol) else { return false };
        let inside = Endpoint { address: inside.0, port: inside.1 };
        let pin = self.flows.mapping_of(proto, inside, Self::nobody()).and_then(|mapping| self.flows.pin(mapping));
        if let Some(pin) = pin {
            self.end_session(pin);
        }
        pin.is_some()
    }

    /// Its behaviour.
    pub const fn behaviour(&self) -> &Behaviour {
        &self.behaviour
    }

    /// What became of all packets.
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// How many mappings there are.
    pub fn mappings(&self) -> usize {
        self.flows.mappings() as usize
    }

    /// How many ports of an external address are free, of 65,536.
    pub fn free_ports(&self, protocol: Protocol, external: A) -> Option<u32> {
        let (external, proto) = (self.pool.external(external)?, Proto::of::<A>(protocol)?);
        Some(self.pool.free(external, proto))
    }

    /// All sessions, in the order of protocol and inside endpoint.
    pub fn list(&self) -> Vec<Listed> {
        let socket = |endpoint: Endpoint<A>| SocketAddr::new(endpoint.address.into(), endpoint.port);
        let all = self.flows.list().into_iter().filter(|(_, session)| !session.flags.contains(Flags::PERMISSION));
        let listed = all.map(|(mapping, session)| Listed {
            protocol: mapping.proto.protocol::<A>(),
            inside: socket(mapping.inside()),
            external: SocketAddr::new(self.pool.address(mapping.external).into(), mapping.external_port),
            remote: socket(session.remote()),
            sent: session.flags.contains(Flags::SENT),
            received: session.flags.contains(Flags::RECEIVED),
            remaining: Duration::from_nanos(u64::from(session.ends.saturating_sub(self.tick)) * TICK_NANOS),
        });
        listed.collect()
    }

    /// Bytes that tables and allocators hold.
    pub fn memory(&self) -> usize {
        self.flows.memory() + self.pool.memory()
    }

    /// A packet from inside.
    fn leave(&mut self, packet: &mut [u8]) -> Result<Verdict, Reason> {
        let mut parsed = packet::parse::<A>(packet)?;
        if self.is_exempt(&parsed, parsed.dst) {
            return Ok(Verdict::Forward(Side::Outside));
        }
        let too_big = self.mtu.is_some_and(|mtu| parsed.end > mtu.into());
        if too_big && self.pool.external(parsed.dst.address).is_none() && !may_fragment(packet) {
            return Err(Reason::TooBig);
        }
        let key = self.fragment_key(Side::Inside, &parsed);
        match parsed.kind {
            Kind::LaterFragment => return self.later_fragment(parsed, key, packet),
            Kind::Error => return self.error_leaves(parsed, packet),
            Kind::Transport(_) => {}
        }
        let session = self.outbound(&parsed)?;
        let &super::flows::Session { external, external_port: port, .. } = self.flows.session(session);
        let (inside, external) = (parsed.src, Endpoint { address: self.pool.address(external), port });
        if self.pool.external(parsed.dst.address).is_none() {
            parsed.rewrite(packet, End::Source, external);
            self.first_fragment(key, &parsed, Side::Outside);
            return Ok(Verdict::Forward(Side::Outside));
        }
        // Hairpinning: from here on it is a packet from outside.
        if self.behaviour.hairpin == Hairpin::None {
            return Err(Reason::Hairpin);
        }
        let mut outer = parsed;
        outer.src = external;
        let target = self.inbound(&outer, packet, Side::Inside)?;
        match self.behaviour.hairpin {
            Hairpin::ExternalSource => parsed.rewrite(packet, End::Source, external),
            Hairpin::InternalSource | Hairpin::None => parsed.src = inside,
        }
        parsed.rewrite(packet, End::Destination, target);
        self.first_fragment(key, &parsed, Side::Inside);
        Ok(Verdict::Forward(Side::Inside))
    }

    /// Lets a packet that is too long for the outside go there in fragments.
    fn fit(&mut self, verdict: Verdict, packet: &[u8]) -> Result<Verdict, Reason> {
        let Some(mtu) = self.mtu.map(usize::from) else { return Ok(verdict) };
        if verdict != Verdict::Forward(Side::Outside) || packet.len() <= mtu {
            return Ok(verdict);
        }
        let Ok(ip) = ip::Packet::new_checked(packet) else { return Ok(verdict) };
        if ip.total_len() <= mtu {
            return Ok(verdict);
        }
        let fragments = super::fragments::split(packet, mtu).ok_or(Reason::TooBig)?;
        self.output.extend(fragments.into_iter().map(|fragment| (Side::Outside, fragment)));
        Ok(Verdict::Kept)
    }

    /// A packet from outside.
    fn arrive(&mut self, packet: &mut [u8]) -> Result<Verdict, Reason> {
        let mut parsed = packet::parse::<A>(packet)?;
        if self.pool.external(parsed.dst.address).is_none() {
            let exempt = self.is_exempt(&parsed, parsed.src);
            return if exempt { Ok(Verdict::Forward(Side::Inside)) } else { Err(Reason::NotOurs) };
        }
        let key = self.fragment_key(Side::Outside, &parsed);
        match parsed.kind {
            Kind::LaterFragment => return self.later_fragment(parsed, key, packet),
            Kind::Error => return self.error_arrives(parsed, packet),
            Kind::Transport(_) => {}
        }
        let target = self.inbound(&parsed, packet, Side::Outside)?;
        parsed.rewrite(packet, End::Destination, target);
        self.first_fragment(key, &parsed, Side::Inside);
        Ok(Verdict::Forward(Side::Inside))
    }

    /// The session of a packet from inside, made if there is none.
    fn outbound(&mut self, parsed: &Parsed<A>) -> Result<u32, Reason> {
        let Parsed { proto, src: inside, dst: remote, .. } = *parsed;
        if proto == Proto::Icmp && remote.port != 0 {
            // An answer to a query that cannot have come from outside.
            return Err(Reason::Protocol);
        }
        let session = match self.flows.session_of(proto, inside, remote) {
            Some(session) => session,
            None => self.new_session(parsed)?,
        };
        if !self.flows.session(session).flags.contains(Flags::SENT) {
            self.permit(session);
        }
        self.touch(session, Side::Inside, parsed);
        if parsed.is_syn() {
            let mapping = *self.flows.mapping(self.flows.session(session).mapping);
            self.held.forget(self.external_of(&mapping), remote);
        }
        Ok(session)
    }

    /// A session for a packet from inside that has none, on a mapping that is there or made for it.
    fn new_session(&mut self, parsed: &Parsed<A>) -> Result<u32, Reason> {
        let Parsed { proto, src: inside, dst: remote, .. } = *parsed;
        let starts = proto != Proto::Tcp || parsed.is_syn();
        if !starts && (!self.behaviour.pick_up || parsed.flags().contains(wire_tcp::Flags::RST)) {
            return Err(Reason::NoConnection);
        }
        let peer = match self.pairing(proto).mapping {
            Dependence::EndpointIndependent => Self::nobody(),
            Dependence::AddressDependent => Endpoint { address: remote.address, port: 0 },
            Dependence::AddressAndPortDependent => remote,
        };
        let mut known = self.flows.mapping_of(proto, inside, peer);
        if self.behaviour.overloading || self.behaviour.poisoning {
            // Somebody else may have the remote endpoint on that port. Then there is, or will be, a mapping for it alone.
            known = known.filter(|&mapping| self.is_available(mapping, remote));
            known = known.or_else(|| self.flows.mapping_of(proto, inside, remote));
        }
        let mapping = match known {
            Some(mapping) => {
                self.admit_session(self.flows.mapping(mapping).subscriber)?;
                mapping
            }
            None => {
                let taken = self.flows.mapping_of(proto, inside, peer).is_some();
                self.new_mapping(proto, inside, if taken { remote } else { peer }, remote, None)?
            }
        };
        let ends = self.tick_after(self.lifetime(proto, Flags::SENT, State::default()));
        let session = self.add_session(mapping, remote, ends);
        if !starts {
            self.flows.session_mut(session).tcp = State::PICKED_UP;
        }
        Ok(session)
    }

    /// A mapping with an external endpoint of its own.
    fn new_mapping(
        &mut self,
        proto: Proto,
        inside: Endpoint<A>,
        peer: Endpoint<A>,
        remote: Endpoint<A>,
        wished: Option<(u16, u16)>,
    ) -> Result<u32, Reason> {
        let subscriber = self.pool.subscriber_of(&self.behaviour, inside.address);
        let external = self.admit_session(subscriber).and_then(|()| {
            let second = (self.now.as_nanos() / 1_000_000_000) as u32;
            self.pool.admit(&self.behaviour, subscriber, proto, second)?;
            self.choose(proto, inside, remote, subscriber, wished)
        });
        match external {
            Ok(external) => Ok(self.flows.add_mapping(proto, inside, peer, external, subscriber)),
            Err(reason) => {
                self.pool.forget_idle(subscriber);
                Err(reason)
            }
        }
    }

    /// An external endpoint for a new mapping.
    fn choose(
        &mut self,
        proto: Proto,
        inside: Endpoint<A>,
        remote: Endpoint<A>,
        subscriber: u32,
        wished: Option<(u16, u16)>,
    ) -> Result<(u16, u16), Reason> {
        if let Some(wished) = wished
            && self.pool.take(self.now, &self.behaviour, subscriber, proto, wished)
        {
            return Ok(wished);
        }
        let mut another = false;
        let preserving = matches!(self.behaviour.allocation, Allocation::Preserving | Allocation::PreservingOrRandom);
        if (self.behaviour.overloading || self.behaviour.poisoning)
            && preserving
            && let Some(external) = self.pool.preferred(subscriber)
        {
            let at = (external, inside.port);
            let sharers = self.flows.on_port(proto, external, inside.port).count();
            let free = self.is_endpoint_available(proto, at, remote, None);
            if sharers == 0 && free && self.pool.take(self.now, &self.behaviour, subscriber, proto, at) {
                return Ok(at);
            }
            if sharers > 0 && sharers < MOST_ON_PORT && free && self.behaviour.overloading {
                self.pool.share(subscriber, proto, external);
                return Ok(at);
            }
            another = !free;
        }
        // The port beside the one that the endpoint's even neighbour has.
        let beside = (self.behaviour.contiguous && inside.port & 1 == 1).then(|| {
            let even = Endpoint { port: inside.port - 1, ..inside };
            let even = self.flows.mapping_of(proto, even, Self::nobody())?;
            let even = self.flows.mapping(even);
            (even.external_port & 1 == 0).then_some((even.external, even.external_port | 1))
        });
        let request = Request { proto, port: inside.port, beside: beside.flatten(), another };
        self.pool.allocate(self.now, &self.behaviour, subscriber, request)
    }

    /// Whether a remote endpoint is nobody else's on a mapping's port.
    fn is_available(&self, mapping: u32, remote: Endpoint<A>) -> bool {
        let &super::flows::Mapping { proto, external, external_port, .. } = self.flows.mapping(mapping);
        self.is_endpoint_available(proto, (external, external_port), remote, Some(mapping))
    }

    fn is_endpoint_available(
        &self,
        proto: Proto,
        (external, port): (u16, u16),
        remote: Endpoint<A>,
        except: Option<u32>,
    ) -> bool {
        let endpoint = Endpoint { address: self.pool.address(external), port };
        let poisoned = self.poisoned.get(&(proto, endpoint, remote)).is_some_and(|&ends| ends > self.tick);
        let taken = |other: u32| {
            let inside = self.flows.mapping(other).inside();
            let session = self.flows.session_of(proto, inside, remote);
            Some(other) != except && session.is_some_and(|session| self.flows.session(session).mapping == other)
        };
        !poisoned && !self.flows.on_port(proto, external, port).any(taken)
    }

    /// Whom a packet from outside is for, if it may pass.
    fn inbound(&mut self, parsed: &Parsed<A>, packet: &[u8], from: Side) -> Result<Endpoint<A>, Reason> {
        let Parsed { proto, src: remote, dst: external, .. } = *parsed;
        if proto == Proto::Icmp && remote.port != 0 {
            // A query from outside. It is for the NAT itself, if for anybody.
            return Err(Reason::NoMapping);
        }
        let found = self.receiver(proto, external, remote);
        let (mapping, session) = match found {
            Ok(found) => found,
            Err(reason) => return Err(self.unexpected(parsed, packet, from, reason)),
        };
        let inside = self.flows.mapping(mapping).inside();
        match session {
            Some(session) => self.touch(session, Side::Outside, parsed),
            None => self.admit_inbound(mapping, parsed)?,
        }
        Ok(inside)
    }

    /// The mapping that a remote endpoint reaches by an external one, and its session with it.
    fn receiver(&self, proto: Proto, external: Endpoint<A>, remote: Endpoint<A>) -> Result<(u32, Option<u32>), Reason> {
        let number = self.pool.external(external.address).ok_or(Reason::NotOurs)?;
        let filtering = self.pairing(proto).filtering;
        let mut reason = Reason::NoMapping;
        let mut open = None;
        for mapping in self.flows.on_port(proto, number, external.port) {
            let inside = self.flows.mapping(mapping).inside();
            let session = self.flows.session_of(proto, inside, remote);
            let session = session.filter(|&session| self.flows.session(session).mapping == mapping);
            if session.is_some_and(|session| self.flows.session(session).flags.contains(Flags::SENT)) {
                return Ok((mapping, session));
            }
            let admitted = match filtering {
                Dependence::EndpointIndependent => true,
                Dependence::AddressDependent => self.flows.permission(mapping, remote.address).is_some(),
                Dependence::AddressAndPortDependent => false,
            };
            // A forwarded port is open to all.
            if admitted || session.is_some() || self.flows.pin(mapping).is_some() {
                open = open.or(Some((mapping, session)));
            }
            reason = Reason::Filtered;
        }
        open.ok_or(reason)
    }

    /// A session for a packet from outside that may pass and has none.
    fn admit_inbound(&mut self, mapping: u32, parsed: &Parsed<A>) -> Result<(), Reason> {
        let Parsed { proto, src: remote, .. } = *parsed;
        let inside = self.flows.mapping(mapping).inside();
        let starts = parsed.is_syn();
        let picked_up = self.behaviour.pick_up && !parsed.flags().contains(wire_tcp::Flags::RST);
        if proto == Proto::Tcp && !starts && !picked_up {
            return Err(Reason::NoConnection);
        }
        // Of two external endpoints the remote one has reached the same inside one by, the first has the session.
        let elsewhere = self.flows.session_of(proto, inside, remote).is_some();
        let admitted = self.admit_session(self.flows.mapping(mapping).subscriber);
        match (proto, elsewhere, admitted) {
            (Proto::Tcp, true, _) => return Err(Reason::Filtered),
            (Proto::Tcp, false, Err(reason)) => return Err(reason),
            // It passes without a session, since the mapping lets everybody in; but it does not keep it alive.
            (Proto::Udp | Proto::Icmp, true, _) | (Proto::Udp | Proto::Icmp, false, Err(_)) => return Ok(()),
            (Proto::Udp | Proto::Tcp | Proto::Icmp, false, Ok(())) => {}
        }
        // Where inbound packets keep nothing alive they make no session either. But where a mapping is for one peer only, an
        // answer to another would not go by it without a session, so there they do.
        let answers_find_it = self.pairing(proto).mapping == Dependence::EndpointIndependent;
        if proto != Proto::Tcp && self.behaviour.refresh == Refresh::Outbound && answers_find_it {
            return Ok(());
        }
        let ends = self.tick_after(self.lifetime(proto, Flags::RECEIVED, State::default()));
        let session = self.add_session(mapping, remote, ends);
        if proto == Proto::Tcp && !starts {
            self.flows.session_mut(session).tcp = State::PICKED_UP;
        }
        self.touch(session, Side::Outside, parsed);
        Ok(())
    }

    /// What is to be done about a packet from outside that may not pass.
    fn unexpected(&mut self, parsed: &Parsed<A>, packet: &[u8], from: Side, reason: Reason) -> Reason {
        let Parsed { proto, src: remote, dst: external, .. } = *parsed;
        if self.behaviour.poisoning && proto == Proto::Udp && self.poisoned.len() < MOST_POISONED {
            let ends = self.tick_after(self.behaviour.timers.udp);
            self.poisoned.insert((proto, external, remote), ends);
        }
        match self.behaviour.unsolicited {
            Unsolicited::HoldThenIcmp(time) if parsed.is_syn() => {
                let ends = self.tick_after(time);
                let held = self.held.hold(external, remote, (from, &packet[..parsed.end]), ends);
                if held { Reason::SynHeld } else { Reason::TooManySyns }
            }
            Unsolicited::HoldThenIcmp(_) | Unsolicited::Reset | Unsolicited::Silence => reason,
        }
    }

    /// Takes note of a packet of a session: who has sent, how long it lives.
    fn touch(&mut self, id: u32, from: Side, parsed: &Parsed<A>) {
        let refreshes = match (self.behaviour.refresh, from) {
            (Refresh::Both, _) | (Refresh::Outbound, Side::Inside) | (Refresh::Inbound, Side::Outside) => true,
            (Refresh::Outbound, Side::Outside) | (Refresh::Inbound, Side::Inside) => false,
        };
        let session = self.flows.session_mut(id);
        session.flags.set(match from {
            Side::Inside => Flags::SENT,
            Side::Outside => Flags::RECEIVED,
        });
        let (flags, ends) = (session.flags, session.ends);
        let (life, refreshes) = match parsed.proto {
            Proto::Udp | Proto::Icmp => (self.lifetime(parsed.proto, flags, State::default()), refreshes),
            Proto::Tcp => {
                let next = session.tcp.next(from, parsed.flags());
                session.tcp = next;
                (self.lifetime(Proto::Tcp, flags, next), true)
            }
        };
        let mut new = self.tick_after(life);
        if from == Side::Inside && parsed.flags().contains(wire_tcp::Flags::RST) {
            // It may answer what came uninvited, which shall not keep a mapping (RFC 7857 §7.1).
            new = new.min(ends);
        }
        if refreshes && new != ends {
            self.flows.set_end(id, new);
        }
    }

    /// How long a session lives without a packet.
    fn lifetime(&self, proto: Proto, flags: Flags, state: State) -> Duration {
        let timers = &self.behaviour.timers;
        match proto {
            Proto::Udp if flags.contains(Flags::SENT) && flags.contains(Flags::RECEIVED) => timers.udp_stream,
            Proto::Udp => timers.udp,
            Proto::Icmp => timers.icmp,
            Proto::Tcp => match state.phase() {
                Phase::Opening => timers.tcp_opening,
                Phase::Closing => timers.tcp_closing,
                Phase::Established => timers.tcp_established,
                Phase::Reset => timers.tcp_reset,
            },
        }
    }

    /// The inside has sent to the session's remote endpoint for the first time.
    fn permit(&mut self, id: u32) {
        let session = *self.flows.session(id);
        let proto = self.flows.mapping(session.mapping).proto;
        self.flows.session_mut(id).flags.set(Flags::SENT);
        if self.pairing(proto).filtering != Dependence::AddressDependent {
            return;
        }
        let address = session.remote().address;
        match self.flows.permission(session.mapping, address) {
            Some(permission) => self.flows.session_mut(permission).ends += 1,
            None => {
                let remote = Endpoint { address, port: 0 };
                self.flows.add_session(session.mapping, remote, Flags::PERMISSION, 1);
            }
        }
    }

    fn admit_session(&self, subscriber: u32) -> Result<(), Reason> {
        let limits = &self.behaviour.limits;
        if self.pool.subscriber(subscriber).sessions >= limits.sessions {
            return Err(Reason::SessionQuota);
        }
        if self.flows.sessions() >= limits.total.min(MOST_SESSIONS) { Err(Reason::TableFull) } else { Ok(()) }
    }

    fn add_session(&mut self, mapping: u32, remote: Endpoint<A>, ends: u32) -> u32 {
        let subscriber = self.flows.mapping(mapping).subscriber;
        self.pool.subscriber_mut(subscriber).sessions += 1;
        self.flows.add_session(mapping, remote, Flags::NEW, ends)
    }

    /// Ends a session, its permission if it was the last, and its mapping if that has none left.
    pub(super) fn end_session(&mut self, id: u32) {
        let session = *self.flows.session(id);
        let mapping = *self.flows.mapping(session.mapping);
        self.flows.remove_session(id);
        let pinned = session.flags.contains(Flags::PINNED);
        if !pinned {
            self.pool.subscriber_mut(mapping.subscriber).sessions -= 1;
        }
        if session.flags.contains(Flags::SENT)
            && self.pairing(mapping.proto).filtering == Dependence::AddressDependent
            && let Some(permission) = self.flows.permission(session.mapping, session.remote().address)
        {
            let permission_of = self.flows.session_mut(permission);
            permission_of.ends -= 1;
            if permission_of.ends == 0 {
                self.flows.remove_session(permission);
            }
        }
        if self.flows.mapping(session.mapping).sessions == 0 {
            let last = self.flows.remove_mapping(session.mapping);
            let super::flows::Mapping { subscriber, proto, external, external_port: port, .. } = mapping;
            let reuse = proto == Proto::Tcp && session.tcp.is_closed();
            let owned = Owned { subscriber, proto, external, port };
            self.pool.release(self.now, &self.behaviour, owned, last, reuse);
        }
    }

    fn error_leaves(&mut self, mut parsed: Parsed<A>, packet: &mut [u8]) -> Result<Verdict, Reason> {
        if self.behaviour.icmp_errors == IcmpErrors::Dropped {
            return Err(Reason::UnwantedError);
        }
        let quote = icmp_error::read(&parsed, packet)?;
        let session = self.flows.session_of(quote.proto, quote.dst, quote.src);
        let mapping = match session {
            Some(session) => self.flows.session(session).mapping,
            // A packet that was let in without one.
            None => {
                let mapping = self.flows.mapping_of(quote.proto, quote.dst, Self::nobody());
                let external = |mapping: u32| self.external_of(self.flows.mapping(mapping));
                let open = |&mapping: &u32| self.receiver(quote.proto, external(mapping), quote.src).is_ok();
                mapping.filter(open).ok_or(Reason::UnrelatedError)?
            }
        };
        let external = self.external_of(self.flows.mapping(mapping));
        icmp_error::rewrite(&mut parsed, packet, quote, End::Destination, external);
        if self.pool.external(parsed.dst.address).is_some() {
            // About a packet that came by hairpinning (RFC 5508 REQ-7).
            return self.error_arrives(parsed, packet);
        }
        session.into_iter().for_each(|session| self.after_error(session));
        Ok(Verdict::Forward(Side::Outside))
    }

    fn error_arrives(&mut self, mut parsed: Parsed<A>, packet: &mut [u8]) -> Result<Verdict, Reason> {
        if self.behaviour.icmp_errors == IcmpErrors::Dropped {
            return Err(Reason::UnwantedError);
        }
        let quote = icmp_error::read(&parsed, packet)?;
        let number = self.pool.external(quote.src.address).ok_or(Reason::UnrelatedError)?;
        let session = self.flows.on_port(quote.proto, number, quote.src.port).find_map(|mapping| {
            let inside = self.flows.mapping(mapping).inside();
            let session = self.flows.session_of(quote.proto, inside, quote.dst);
            session.filter(|&session| self.flows.session(session).mapping == mapping)
        });
        let session = session.ok_or(Reason::UnrelatedError)?;
        let inside = self.flows.mapping(self.flows.session(session).mapping).inside();
        icmp_error::rewrite(&mut parsed, packet, quote, End::Source, inside);
        self.after_error(session);
        Ok(Verdict::Forward(Side::Inside))
    }

    fn after_error(&mut self, session: u32) {
        match self.behaviour.icmp_errors {
            IcmpErrors::EndSessions => self.end_session(session),
            IcmpErrors::Translated | IcmpErrors::Dropped => {}
        }
    }

    /// What the sender hears of a packet that goes no further.
    fn refuse(&mut self, side: Side, reason: Reason, packet: &[u8]) -> Verdict {
        let answer = match side {
            Side::Inside if reason.is_refusal() => self.refusal(packet),
            Side::Inside if reason == Reason::TooBig => {
                let mtu = self.mtu.unwrap_or(u16::MAX);
                error(packet, Trouble::TooBig { mtu }, self.inside_address.into())
            }
            Side::Inside | Side::Outside if matches!(reason, Reason::NoMapping | Reason::Filtered) => {
                self.reset(packet)
            }
            Side::Inside | Side::Outside => None,
        };
        answer.map_or(Verdict::Drop(reason), |answer| {
            self.counters.answered += 1;
            Verdict::Answer(answer)
        })
    }

    fn refusal(&self, packet: &[u8]) -> Option<Vec<u8>> {
        let trouble = match self.behaviour.refusal {
            Refusal::Silence => return None,
            Refusal::HostUnreachable => Trouble::HostUnreachable,
            Refusal::Prohibited => Trouble::Prohibited,
        };
        error(packet, trouble, self.inside_address.into())
    }

    /// The reset that an unexpected SYN gets (RFC 9293 §3.5.2).
    fn reset(&self, packet: &[u8]) -> Option<Vec<u8>> {
        let parsed = packet::parse::<A>(packet).ok()?;
        if self.behaviour.unsolicited != Unsolicited::Reset || !parsed.is_syn() {
            return None;
        }
        let tcp = wire_tcp::Packet::new_checked(&packet[parsed.offset..parsed.end]).ok()?;
        let ack = tcp.seq().wrapping_add(1).wrapping_add(tcp.payload().len() as u32);
        let segment = Segment { flags: wire_tcp::Flags::RST | wire_tcp::Flags::ACK, seq: 0, ack, window: 0 };
        let socket = |endpoint: Endpoint<A>| SocketAddr::new(endpoint.address.into(), endpoint.port);
        let mut out = vec![0; 60];
        let len = build::tcp(socket(parsed.dst), socket(parsed.src), 64, segment, &[], &mut out).ok()?;
        out.truncate(len);
        Some(out)
    }

    fn later_fragment(
        &mut self,
        mut parsed: Parsed<A>,
        key: Option<super::fragments::Key<A>>,
        packet: &mut [u8],
    ) -> Result<Verdict, Reason> {
        let key = key.ok_or(Reason::Malformed)?;
        let Some(way) = self.fragments.way(&key) else {
            let kept = self.fragments.keep(key, &packet[..parsed.end], self.tick);
            return if kept { Ok(Verdict::Kept) } else { Err(Reason::TooManyFragments) };
        };
        follow(&mut parsed, packet, way);
        Ok(Verdict::Forward(way.to))
    }

    /// Later fragments go where the first one went; those that are here already go now.
    fn first_fragment(&mut self, key: Option<super::fragments::Key<A>>, parsed: &Parsed<A>, to: Side) {
        let Some(key) = key else { return };
        let way = Way { to, src: parsed.src.address, dst: parsed.dst.address };
        for mut early in self.fragments.follow(key, way, self.tick) {
            if let Ok(mut parsed) = packet::parse::<A>(&early) {
                follow(&mut parsed, &mut early, way);
                self.counters.forwarded += 1;
                self.output.push_back((to, early));
            }
        }
    }

    fn fragment_key(&self, side: Side, parsed: &Parsed<A>) -> Option<super::fragments::Key<A>> {
        let protocol = u8::from(parsed.proto.protocol::<A>());
        parsed.fragment.map(|id| (side, parsed.src.address, parsed.dst.address, id, protocol))
    }

    fn is_exempt(&self, parsed: &Parsed<A>, remote: Endpoint<A>) -> bool {
        if self.exempt.is_empty() {
            return false;
        }
        let address: IpAddr = remote.address.into();
        let later = parsed.kind == Kind::LaterFragment;
        let in_ports = |(min, max): (u16, u16)| later || (min..=max).contains(&remote.port);
        self.exempt.iter().any(|exempt| exempt.net.contains(&address) && exempt.ports.is_none_or(in_ports))
    }

    /// Everything that is due until `now` happens.
    fn advance(&mut self, now: Instant) {
        self.now = self.now.max(now);
        let tick = u32::try_from(self.now.as_nanos() / TICK_NANOS).unwrap_or(u32::MAX - 1);
        if tick <= self.tick {
            return;
        }
        self.tick = tick;
        while let Some(session) = self.flows.due(tick) {
            self.end_session(session);
        }
        self.fragments.expire(tick);
        self.poisoned.retain(|_, ends| *ends > tick);
        while let Some((from, syn)) = self.held.due(tick) {
            let Ok(address) = ip::Packet::new_checked(&syn[..]).map(|ip| ip.dst()) else { continue };
            let answer = error(&syn, Trouble::PortUnreachable, address);
            self.output.extend(answer.map(|answer| (from, answer)));
        }
    }

    /// The first tick that is not before `time` from now has passed.
    fn tick_after(&self, time: Duration) -> u32 {
        let at = (self.now + time).as_nanos().div_ceil(TICK_NANOS);
        u32::try_from(at).unwrap_or(u32::MAX)
    }

    fn external_of(&self, mapping: &super::flows::Mapping<A>) -> Endpoint<A> {
        Endpoint { address: self.pool.address(mapping.external), port: mapping.external_port }
    }

    const fn pairing(&self, proto: Proto) -> Pairing {
        match proto {
            Proto::Udp => self.behaviour.udp,
            Proto::Tcp => self.behaviour.tcp,
            Proto::Icmp => self.behaviour.icmp,
        }
    }

    const fn nobody() -> Endpoint<A> {
        Endpoint { address: A::UNSPECIFIED, port: 0 }
    }
}

fn follow<A: Address>(parsed: &mut Parsed<A>, packet: &mut [u8], way: Way<A>) {
    parsed.rewrite(packet, End::Source, Endpoint { address: way.src, port: 0 });
    parsed.rewrite(packet, End::Destination, Endpoint { address: way.dst, port: 0 });
}

/// Whether a router may fragment it, which it never may in IPv6.
fn may_fragment(packet: &[u8]) -> bool {
    pinhole_wire::ipv4::Packet::new_checked(packet).is_ok_and(|ip| !ip.dont_fragment())
}

/// An ICMP error about `packet`, if it may be answered by one.
fn error(packet: &[u8], trouble: Trouble, from: IpAddr) -> Option<Vec<u8>> {
    let mut out = vec![0; answer::MAX_ERROR_V6];
    let len = answer::error(packet, trouble, from, &mut out).ok()?;
    out.truncate(len);
    Some(out)
}
