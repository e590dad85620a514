//! Mappings and sessions: who may have which, how long they live, and which of them a packet belongs to.

use std::collections::BTreeMap;

use core::net::SocketAddr;

use pinhole_sansio::{Duration, Instant};
use pinhole_wire::{Protocol, tcp as wire_tcp};

use super::config::{Allocation, Behaviour, Dependence, Pairing, Refresh};
use super::flows::{Flags, Flows, Mapping};
use super::machine::{Listed, Side};
use super::packet::{Endpoint, Parsed, Proto};
use super::pool::{Owned, Pool, Request};
use super::reason::Reason;
use super::tcp::{Phase, State};
use crate::tuple::Address;

/// How long a tick of the timers is. A session ends at the first tick that is not before its time.
pub(super) const TICK_NANOS: u64 = 100_000_000;
/// So many mappings share a port at most, when they may.
const MOST_ON_PORT: usize = 32;
/// So many remote endpoints may have poisoned an external one at the same time.
const MOST_POISONED: usize = 4_096;
/// Fewer sessions than numbers, of which some mean something else.
const MOST_SESSIONS: u32 = 1 << 30;

/// What a NAT knows about who talks to whom.
#[derive(Clone, Debug)]
pub(super) struct Bindings<A> {
    pub(super) behaviour: Behaviour,
    pub(super) flows: Flows<A>,
    pub(super) pool: Pool<A>,
    /// Until when a remote endpoint has an external one to itself, because it sent there first.
    poisoned: BTreeMap<(Proto, Endpoint<A>, Endpoint<A>), u32>,
    now: Instant,
    pub(super) tick: u32,
}

impl<A: Address> Bindings<A> {
    /// None yet.
    pub(super) fn new(behaviour: Behaviour, pool: Pool<A>, secret: [u64; 4]) -> Self {
        let flows = Flows::new(pool.len(), secret);
        Self { behaviour, flows, pool, poisoned: BTreeMap::new(), now: Instant::EPOCH, tick: 0 }
    }

    /// Ends everything that is due until `now`; says whether a tick has passed.
    pub(super) fn advance(&mut self, now: Instant) -> bool {
        self.now = self.now.max(now);
        let tick = u32::try_from(self.now.as_nanos() / TICK_NANOS).unwrap_or(u32::MAX - 1);
        if tick <= self.tick {
            return false;
        }
        self.tick = tick;
        while let Some(session) = self.flows.due(tick) {
            self.end_session(session);
        }
        self.poisoned.retain(|_, ends| *ends > tick);
        true
    }

    /// An unexpected packet from `remote` has come; see [`Behaviour::poisoning`].
    pub(super) fn poison(&mut self, proto: Proto, external: Endpoint<A>, remote: Endpoint<A>) {
        if self.behaviour.poisoning && proto == Proto::Udp && self.poisoned.len() < MOST_POISONED {
            let ends = self.tick_after(self.behaviour.timers.udp);
            self.poisoned.insert((proto, external, remote), ends);
        }
    }

    /// The session of a packet from inside, made if there is none.
    pub(super) fn outbound(&mut self, parsed: &Parsed<A>) -> Result<u32, Reason> {
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
        Ok(session)
    }

    /// Whom a packet from outside is for, if it may pass.
    pub(super) fn inbound(&mut self, parsed: &Parsed<A>) -> Result<Endpoint<A>, Reason> {
        let Parsed { proto, src: remote, dst: external, .. } = *parsed;
        if proto == Proto::Icmp && remote.port != 0 {
            // A query from outside. It is for the NAT itself, if for anybody.
            return Err(Reason::NoMapping);
        }
        let (mapping, session) = self.receiver(proto, external, remote)?;
        let inside = self.flows.mapping(mapping).inside();
        match session {
            Some(session) => self.touch(session, Side::Outside, parsed),
            None => self.admit_inbound(mapping, parsed)?,
        }
        Ok(inside)
    }

    /// What [`Nat::open`](super::Nat::open) says.
    pub(super) fn open(
        &mut self,
        protocol: Protocol,
        inside: (A, u16),
        wished: Option<(A, u16)>,
        lifetime: Option<Duration>,
    ) -> Result<(A, u16), Reason> {
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

    /// What [`Nat::close`](super::Nat::close) says.
    pub(super) fn close(&mut self, protocol: Protocol, inside: (A, u16)) -> bool {
        let Some(proto) = Proto::of::<A>(protocol) else { return false };
        let inside = Endpoint { address: inside.0, port: inside.1 };
        let pin = self.flows.mapping_of(proto, inside, Self::nobody()).and_then(|mapping| self.flows.pin(mapping));
        if let Some(pin) = pin {
            self.end_session(pin);
        }
        pin.is_some()
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
            let Mapping { subscriber, proto, external, external_port: port, .. } = mapping;
            let reuse = proto == Proto::Tcp && session.tcp.is_closed();
            let owned = Owned { subscriber, proto, external, port };
            self.pool.release(self.now, &self.behaviour, owned, last, reuse);
        }
    }

    /// All sessions, in the order of protocol and inside endpoint.
    pub(super) fn list(&self) -> Vec<Listed> {
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

    /// The mapping that a remote endpoint reaches by an external one, and its session with it.
    pub(super) fn receiver(
        &self,
        proto: Proto,
        external: Endpoint<A>,
        remote: Endpoint<A>,
    ) -> Result<(u32, Option<u32>), Reason> {
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

    /// The first tick that is not before `time` from now has passed.
    pub(super) fn tick_after(&self, time: Duration) -> u32 {
        let at = (self.now + time).as_nanos().div_ceil(TICK_NANOS);
        u32::try_from(at).unwrap_or(u32::MAX)
    }

    pub(super) fn external_of(&self, mapping: &Mapping<A>) -> Endpoint<A> {
        Endpoint { address: self.pool.address(mapping.external), port: mapping.external_port }
    }

    pub(super) const fn nobody() -> Endpoint<A> {
        Endpoint { address: A::UNSPECIFIED, port: 0 }
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

    /// Whether an inside port may be mapped to an external one, by range and class.
    fn may_have(&self, proto: Proto, inside: u16, external: u16) -> bool {
        let of_class = self.behaviour.keep_class && inside < 1_024 && external < 1_024;
        proto == Proto::Icmp || of_class || self.behaviour.ports.contains(external)
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
            && self.may_have(proto, inside.port, inside.port)
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
            let odd = even.external_port | 1;
            let fits = even.external_port & 1 == 0 && self.may_have(proto, inside.port, odd);
            fits.then_some((even.external, odd))
        });
        let request = Request { proto, port: inside.port, beside: beside.flatten(), another };
        self.pool.allocate(self.now, &self.behaviour, subscriber, request)
    }

    /// Whether a remote endpoint is nobody else's on a mapping's port.
    fn is_available(&self, mapping: u32, remote: Endpoint<A>) -> bool {
        let &Mapping { proto, external, external_port, .. } = self.flows.mapping(mapping);
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

    const fn pairing(&self, proto: Proto) -> Pairing {
        match proto {
            Proto::Udp => self.behaviour.udp,
            Proto::Tcp => self.behaviour.tcp,
            Proto::Icmp => self.behaviour.icmp,
        }
    }
}
