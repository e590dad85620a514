//! One NAT: packets in, packets out.

use std::collections::VecDeque;

use core::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use pinhole_sansio::{Duration, Instant, Rng};
use pinhole_wire::answer::{self, Trouble};
use pinhole_wire::build::{self, Segment};
use pinhole_wire::edit::End;
use pinhole_wire::{Protocol, ip, tcp as wire_tcp};

use super::binding::{Bindings, TICK_NANOS};
use super::config::{Behaviour, Hairpin, IcmpErrors, Refusal, Unsolicited};
use super::fragments::{Fragments, Way};
use super::held::Held;
use super::icmp_error;
use super::packet::{self, Endpoint, Kind, Parsed, Proto};
use super::pool::Pool;
use super::reason::{Counters, Reason};
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

/// A NAT with a behaviour.
#[derive(Clone, Debug)]
pub struct Nat<A> {
    pub(super) bindings: Bindings<A>,
    inside_address: A,
    /// Of the link to the outside, in bytes.
    mtu: Option<u16>,
    exempt: Vec<Exempt>,
    fragments: Fragments<A>,
    held: Held<A>,
    output: VecDeque<(Side, Vec<u8>)>,
    counters: Counters,
    /// How many refusals were answered in which tick.
    refused: (u32, u32),
}

/// How many refused packets are answered in a tick of 100 ms (RFC 1812 §4.3.2.8, which RFC 5508 REQ-10 f recommends): as
/// many in a second as Linux sends errors (`icmp_msgs_per_sec`).
const MOST_REFUSALS: u32 = 100;

impl<A: Address> Nat<A> {
    /// A NAT with these external addresses, which answers its inside hosts from `inside_address`. All its choices follow
    /// from `seed`.
    pub fn new(behaviour: Behaviour, external: impl IntoIterator<Item = A>, inside_address: A, seed: u64) -> Self {
        let mut rng = Rng::from_seed(seed);
        let secret = [rng.next_u64(), rng.next_u64(), rng.next_u64(), rng.next_u64()];
        let pool = Pool::new(&behaviour, external, rng);
        Self {
            bindings: Bindings::new(behaviour, pool, secret),
            inside_address,
            mtu: None,
            exempt: Vec::new(),
            fragments: Fragments::new(),
            held: Held::new(),
            output: VecDeque::new(),
            counters: Counters::default(),
            refused: (0, 0),
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
        let ticks = [self.bindings.flows.next_due(), self.fragments.next_due(), self.held.next_due()];
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
        self.bindings.open(protocol, inside, wished, lifetime)
    }

    /// Takes back what [`open`](Self::open) gave; says whether there was something. Sessions go on until they end.
    pub fn close(&mut self, now: Instant, protocol: Protocol, inside: (A, u16)) -> bool {
        self.advance(now);
        self.bindings.close(protocol, inside)
    }

    /// Its behaviour.
    pub const fn behaviour(&self) -> &Behaviour {
        &self.bindings.behaviour
    }

    /// What became of all packets.
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Whether it holds nothing: no mapping, no session or permission, no subscriber.
    pub fn is_empty(&self) -> bool {
        let Bindings { flows, pool, .. } = &self.bindings;
        flows.mappings() == 0 && flows.sessions() == 0 && pool.subscribers() == 0
    }

    /// How many mappings there are.
    pub fn mappings(&self) -> usize {
        self.bindings.flows.mappings() as usize
    }

    /// How many sessions there are.
    pub fn sessions(&self) -> usize {
        self.bindings.flows.sessions() as usize
    }

    /// How many ports of an external address are free, of 65,536.
    pub fn free_ports(&self, protocol: Protocol, external: A) -> Option<u32> {
        let (external, proto) = (self.bindings.pool.external(external)?, Proto::of::<A>(protocol)?);
        Some(self.bindings.pool.free(external, proto))
    }

    /// All sessions, in the order of protocol and inside endpoint.
    pub fn list(&self) -> Vec<Listed> {
        self.bindings.list()
    }

    /// Bytes that tables and allocators hold.
    pub fn memory(&self) -> usize {
        self.bindings.flows.memory() + self.bindings.pool.memory()
    }

    /// A packet from inside.
    fn leave(&mut self, packet: &mut [u8]) -> Result<Verdict, Reason> {
        let mut parsed = packet::parse::<A>(packet)?;
        if self.is_exempt(&parsed, parsed.dst) {
            return Ok(Verdict::Forward(Side::Outside));
        }
        let too_big = self.mtu.is_some_and(|mtu| parsed.end > mtu.into());
        if too_big && self.bindings.pool.external(parsed.dst.address).is_none() && !may_fragment(packet) {
            return Err(Reason::TooBig);
        }
        // RFC 5508 §7.3: addresses in the route would show who is inside.
        if parsed.proto == Proto::Icmp && packet::has_source_route(packet) {
            return Err(Reason::SourceRoute);
        }
        let key = self.fragment_key(Side::Inside, &parsed);
        match parsed.kind {
            Kind::LaterFragment => return self.later_fragment(parsed, key, packet),
            Kind::Error => return self.error_leaves(parsed, packet),
            Kind::Transport(_) => {}
        }
        let session = self.bindings.outbound(&parsed)?;
        let &super::flows::Session { external, external_port: port, .. } = self.bindings.flows.session(session);
        let (inside, external) = (parsed.src, Endpoint { address: self.bindings.pool.address(external), port });
        if parsed.is_syn() {
            self.held.forget(external, parsed.dst);
        }
        if self.bindings.pool.external(parsed.dst.address).is_none() {
            parsed.rewrite(packet, End::Source, external);
            self.first_fragment(key, &parsed, Side::Outside);
            return Ok(Verdict::Forward(Side::Outside));
        }
        // Hairpinning: from here on it is a packet from outside.
        if self.bindings.behaviour.hairpin == Hairpin::None {
            return Err(Reason::Hairpin);
        }
        let mut outer = parsed;
        outer.src = external;
        let target = self.inbound(&outer, packet, Side::Inside)?;
        match self.bindings.behaviour.hairpin {
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
        if self.bindings.pool.external(parsed.dst.address).is_none() {
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

    /// Whom a packet that reached an external address is for, if it may pass.
    fn inbound(&mut self, parsed: &Parsed<A>, packet: &[u8], from: Side) -> Result<Endpoint<A>, Reason> {
        self.bindings.inbound(parsed).map_err(|reason| match reason {
            Reason::NoMapping | Reason::Filtered => self.unexpected(parsed, packet, from, reason),
            reason => reason,
        })
    }

    /// What is to be done about a packet from outside that may not pass.
    fn unexpected(&mut self, parsed: &Parsed<A>, packet: &[u8], from: Side, reason: Reason) -> Reason {
        let Parsed { proto, src: remote, dst: external, .. } = *parsed;
        self.bindings.poison(proto, external, remote);
        match self.bindings.behaviour.unsolicited {
            Unsolicited::HoldThenIcmp(time) if parsed.is_syn() => {
                let ends = self.bindings.tick_after(time);
                let held = self.held.hold(external, remote, (from, &packet[..parsed.end]), ends);
                if held { Reason::SynHeld } else { Reason::TooManySyns }
            }
            Unsolicited::HoldThenIcmp(_) | Unsolicited::Reset | Unsolicited::Silence => reason,
        }
    }

    fn error_leaves(&mut self, mut parsed: Parsed<A>, packet: &mut [u8]) -> Result<Verdict, Reason> {
        if self.bindings.behaviour.icmp_errors == IcmpErrors::Dropped {
            return Err(Reason::UnwantedError);
        }
        let quote = icmp_error::read(&parsed, packet)?;
        if packet::has_source_route(quote.of(packet)) {
            return Err(Reason::SourceRoute);
        }
        let session = self.bindings.flows.session_of(quote.proto, quote.dst, quote.src);
        let mapping = match session {
            Some(session) => self.bindings.flows.session(session).mapping,
            // A packet that was let in without one.
            None => {
                let mapping = self.bindings.flows.mapping_of(quote.proto, quote.dst, Bindings::<A>::nobody());
                let external = |mapping: u32| self.bindings.external_of(self.bindings.flows.mapping(mapping));
                let open = |&mapping: &u32| self.bindings.receiver(quote.proto, external(mapping), quote.src).is_ok();
                mapping.filter(open).ok_or(Reason::UnrelatedError)?
            }
        };
        let external = self.bindings.external_of(self.bindings.flows.mapping(mapping));
        icmp_error::rewrite(&mut parsed, packet, quote, End::Destination, external);
        if self.bindings.pool.external(parsed.dst.address).is_some() {
            // About a packet that came by hairpinning (RFC 5508 REQ-7).
            return self.error_arrives(parsed, packet);
        }
        session.into_iter().for_each(|session| self.after_error(session));
        Ok(Verdict::Forward(Side::Outside))
    }

    fn error_arrives(&mut self, mut parsed: Parsed<A>, packet: &mut [u8]) -> Result<Verdict, Reason> {
        if self.bindings.behaviour.icmp_errors == IcmpErrors::Dropped {
            return Err(Reason::UnwantedError);
        }
        let quote = icmp_error::read(&parsed, packet)?;
        let number = self.bindings.pool.external(quote.src.address).ok_or(Reason::UnrelatedError)?;
        let session = self.bindings.flows.on_port(quote.proto, number, quote.src.port).find_map(|mapping| {
            let inside = self.bindings.flows.mapping(mapping).inside();
            let session = self.bindings.flows.session_of(quote.proto, inside, quote.dst);
            session.filter(|&session| self.bindings.flows.session(session).mapping == mapping)
        });
        let session = session.ok_or(Reason::UnrelatedError)?;
        let inside = self.bindings.flows.mapping(self.bindings.flows.session(session).mapping).inside();
        icmp_error::rewrite(&mut parsed, packet, quote, End::Source, inside);
        self.after_error(session);
        Ok(Verdict::Forward(Side::Inside))
    }

    fn after_error(&mut self, session: u32) {
        match self.bindings.behaviour.icmp_errors {
            IcmpErrors::EndSessions => self.bindings.end_session(session),
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

    fn refusal(&mut self, packet: &[u8]) -> Option<Vec<u8>> {
        let trouble = match self.bindings.behaviour.refusal {
            Refusal::Silence => return None,
            Refusal::HostUnreachable => Trouble::HostUnreachable,
            Refusal::Prohibited => Trouble::Prohibited,
        };
        let tick = self.bindings.tick;
        let so_far = if self.refused.0 == tick { self.refused.1 } else { 0 };
        if so_far >= MOST_REFUSALS {
            return None;
        }
        self.refused = (tick, so_far + 1);
        error(packet, trouble, self.inside_address.into())
    }

    /// The reset that an unexpected SYN gets (RFC 9293 §3.5.2).
    fn reset(&self, packet: &[u8]) -> Option<Vec<u8>> {
        let parsed = packet::parse::<A>(packet).ok()?;
        if self.bindings.behaviour.unsolicited != Unsolicited::Reset || !parsed.is_syn() {
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
            let kept = self.fragments.keep(key, &packet[..parsed.end], self.bindings.tick);
            return if kept { Ok(Verdict::Kept) } else { Err(Reason::TooManyFragments) };
        };
        follow(&mut parsed, packet, way);
        Ok(Verdict::Forward(way.to))
    }

    /// Later fragments go where the first one went; those that are here already go now.
    fn first_fragment(&mut self, key: Option<super::fragments::Key<A>>, parsed: &Parsed<A>, to: Side) {
        let Some(key) = key else { return };
        let way = Way { to, src: parsed.src.address, dst: parsed.dst.address };
        for mut early in self.fragments.follow(key, way, self.bindings.tick) {
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
        if !self.bindings.advance(now) {
            return;
        }
        let tick = self.bindings.tick;
        self.fragments.expire(tick);
        while let Some((from, syn)) = self.held.due(tick) {
            let Ok(address) = ip::Packet::new_checked(&syn[..]).map(|ip| ip.dst()) else { continue };
            let answer = error(&syn, Trouble::PortUnreachable, address);
            self.output.extend(answer.map(|answer| (from, answer)));
        }
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
    copy_traffic_class(packet, &mut out);
    Some(out)
}

/// RFC 5508 §7.7: an error has the traffic class of the packet it is about.
fn copy_traffic_class(of: &[u8], to: &mut [u8]) {
    match (ip::Packet::new_checked(of), ip::Packet::new_checked(to)) {
        (Ok(ip::Packet::V4(of)), Ok(ip::Packet::V4(mut to))) => {
            to.set_traffic_class(of.traffic_class());
            to.fill_checksum();
        }
        (Ok(ip::Packet::V6(of)), Ok(ip::Packet::V6(mut to))) => to.set_traffic_class(of.traffic_class()),
        (Ok(_) | Err(_), Ok(_) | Err(_)) => {}
    }
}
