//! Our own engine as the router of a script.

use core::fmt;
use core::net::IpAddr;
use core::time::Duration;

use pinhole_sansio::Instant;

use super::lookup::{ends, is_of_tunnel};
use super::{
    EntryView, Executor, ExpectationView, Family, Info, Lookup, Observed, Output, ProtocolView, Setup, Side, TcpSide,
    TupleView, older,
};
use crate::conntrack::{Conntrack, Seen};
use crate::expect::{ChildNat, Expectation};
use crate::nat::Told;
use crate::router::{Packet, Reason, Router, Verdict};
use crate::rules::{RulesError, Ruleset};
use crate::settings::{Personality, SettingError, Settings};
use crate::status::{CtInfo, Direction, Status};
use crate::table::Flow;
use crate::track::State;
use crate::tuple::{Address, GRE, Tuple};
use crate::{Interface, InterfaceId};

/// Scripts begin at this time, so that nothing is younger than the engine.
const BEGIN: Instant = Instant::from_millis(1_000_000);
/// IPv6's fragment header (RFC 8200 §4.5).
const FRAGMENT: u8 = 44;
/// What is too big for a link is no affair of connection tracking.
const MTU: u16 = 65_535;

/// A router of our own, made anew for each script.
#[derive(Debug)]
pub struct Engine {
    personality: Personality,
    seed: u64,
    router: Router,
    sides: [InterfaceId; 2],
    lookup: Lookup,
    zones: Vec<u16>,
    expects: bool,
    now: Instant,
    told: Told,
    /// What was expected when a kernel was last followed, and the entry that it has found.
    followed: Vec<TupleView>,
    preferred: Option<(TupleView, [u16; 2])>,
    /// Whether the kernel that is followed has had the packet at the end of LOCAL_IN.
    delivered: bool,
}

/// Why the engine cannot be the router of a script.
#[derive(Debug)]
pub enum EngineError {
    /// It does not know such a rule.
    Rules(RulesError),
    /// It does not know such a setting.
    Setting(SettingError),
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rules(error) => write!(f, "the rules: {error}"),
            Self::Setting(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for EngineError {}

impl Engine {
    /// A router that behaves as this kernel does, and draws by this seed what the kernel draws at random.
    pub fn new(personality: Personality, seed: u64) -> Self {
        let (router, sides) = build(personality, seed, &Setup::default());
        let (lookup, told) = (Lookup::default(), Told::default());
        Self {
            personality,
            seed,
            router,
            sides,
            lookup,
            zones: vec![0],
            expects: false,
            now: BEGIN,
            told,
            followed: Vec::new(),
            preferred: None,
            delivered: false,
        }
    }

    /// What is drawn at random for the next packet is what a kernel has drawn for it, as far as it may be drawn: so the
    /// engine follows a kernel as long as that does what the engine would.
    pub fn follow(&mut self, kernel: &Observed) {
        let of_entry = kernel.entry.as_ref().map(|entry| {
            let TupleView { src, dst, src_id, dst_id, .. } = entry.reply;
            let source = if entry.reply.is_icmp() { src_id } else { dst_id };
            [(dst, source), (src, src_id)]
        });
        // An entry that is not found shows itself in what comes out.
        let of_output = || ends(&kernel.outputs.first()?.packet);
        // Where zones are, another entry may have the tuple.
        let ends = match (of_entry, of_output()) {
            (Some([source, destination]), Some([from, to])) if (source.0, destination.0) != (from.0, to.0) => {
                Some([from, to])
            }
            (entry, output) => entry.or(output),
        };
        let expected: Vec<TupleView> = kernel.expectations.iter().map(|expectation| expectation.tuple).collect();
        let new = expected.iter().filter(|tuple| !self.followed.contains(tuple)).map(|tuple| tuple.dst_id);
        self.told = Told { ends, expected: new.collect() };
        self.followed = expected;
        self.preferred = kernel.entry.as_ref().map(EntryView::place);
        self.delivered = kernel.delivered;
    }

    /// Every entry has as much left as the one of a kernel's table, and what is not there is over: a second that a kernel counts
    /// and the engine does not is none then, however often entries age.
    pub fn follow_table(&mut self, kernel: &[EntryView]) {
        let now = self.now;
        self.router.v4().set_timeouts(now, |flow| left_in(kernel, flow));
        self.router.v6().set_timeouts(now, |flow| left_in(kernel, flow));
    }

    /// It is so long since the router was loaded.
    pub fn wait(&mut self, until: Duration) {
        self.now = self.now.max(BEGIN + until);
        self.router.handle_timeout(self.now);
    }

    /// The router itself.
    pub fn router(&mut self) -> &mut Router {
        &mut self.router
    }

    fn side(&self, id: InterfaceId) -> Side {
        if id == self.sides[Side::In.index()] { Side::In } else { Side::Out }
    }

    /// The entry that the packet's tuple finds.
    fn entry(&mut self, tuple: TupleView) -> Option<EntryView> {
        // A tunnel's keys are not in the packet.
        if tuple.protocol == GRE && (tuple.src_id, tuple.dst_id) != (0, 0) {
            return None;
        }
        let (now, mut tuple) = (self.now, tuple);
        if tuple.has_ports() && !self.personality.has_ports(tuple.protocol) {
            (tuple.src_id, tuple.dst_id) = (0, 0);
        }
        if self.zones.len() > 1
            && let Some(place) = self.preferred.take()
            && let Ok(all) = self.table()
            && let Some(entry) = all.into_iter().find(|entry| entry.place() == place)
            && (entry.original == tuple || entry.reply == tuple)
        {
            // Where directions are in zones of their own, several entries may have the tuple.
            return Some(entry);
        }
        self.zones.iter().find_map(|&zone| match (tuple.src, tuple.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => find(self.router.v4(), now, &named(tuple, src, dst), zone),
            (IpAddr::V6(src), IpAddr::V6(dst)) => find(self.router.v6(), now, &named(tuple, src, dst), zone),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => None,
        })
    }

    /// The entry of a PPTP tunnel's packet; where several fit, the one that the followed kernel has found.
    fn tunnel(&mut self, packet: &[u8]) -> Option<EntryView> {
        let all = self.table().unwrap_or_default();
        let found = self.lookup.tunnel(packet, &all);
        let preferred = self.preferred.take();
        let preferred = preferred.and_then(|place| all.into_iter().find(|entry| entry.place() == place));
        preferred.filter(|_| found.is_some()).or(found)
    }

    fn expectations(&mut self) -> Vec<ExpectationView> {
        if !self.expects {
            return Vec::new();
        }
        let now = self.now;
        let mut all = expectations(self.router.v4(), now);
        all.extend(expectations(self.router.v6(), now));
        all.sort_unstable();
        all
    }

    fn said(&self, packet: &[u8]) -> Option<Info> {
        let said = if packet.first()? >> 4 == 6 { self.router.said_v6() } else { self.router.said_v4() };
        said.map(|seen| match seen {
            Seen::Invalid => Info::Invalid,
            Seen::Untracked => Info::Tracked(CtInfo::Untracked),
            Seen::Flow { info, .. } => Info::Tracked(info),
        })
    }
}

impl Executor for Engine {
    type Error = EngineError;

    fn load(&mut self, setup: &Setup) -> Result<(), EngineError> {
        (self.router, self.sides) = build(self.personality, self.seed, setup);
        (self.lookup, self.now) = (Lookup::default(), BEGIN);
        (self.zones, self.expects) = (setup.zones(), setup.has_helpers());
        (self.told, self.followed) = (Told::default(), Vec::new());
        for (name, value) in &setup.settings {
            self.router.set(name, value).map_err(EngineError::Setting)?;
        }
        for (family, text) in &setup.rules {
            match family {
                Family::Ipv4 => self.router.set_rules_v4(Ruleset::parse(text).map_err(EngineError::Rules)?),
                Family::Ipv6 => self.router.set_rules_v6(Ruleset::parse(text).map_err(EngineError::Rules)?),
            }
        }
        Ok(())
    }

    fn step(&mut self, at: Duration, from: Side, packet: &[u8]) -> Result<Observed, EngineError> {
        self.wait(at);
        let told = core::mem::take(&mut self.told);
        self.router.v4().dice.tell(told.clone());
        self.router.v6().dice.tell(told);
        let mut passing = Packet::from(packet.to_vec());
        let verdict = self.router.process(self.now, self.sides[from.index()], &mut passing);
        let info = self.said(packet);
        let mut outputs = Vec::new();
        if let Verdict::Forward(by) = verdict {
            outputs.push(Output { side: self.side(by), packet: passing.bytes });
        }
        while let Some((by, packet)) = self.router.poll_transmit() {
            outputs.push(Output { side: self.side(by), packet: packet.bytes });
        }
        outputs.iter_mut().for_each(|output| forget_identification(&mut output.packet));
        let tuple = self.lookup.tuple(packet);
        let entry = match tuple {
            Some(tuple) => self.entry(tuple),
            None if self.expects && is_of_tunnel(packet) => self.tunnel(packet),
            None => None,
        };
        let expectations = self.expectations();
        // What is dropped when it is confirmed has been at the end of LOCAL_IN before, where a kernel is asked.
        let late = matches!(verdict, Verdict::Drop(Reason::Helper | Reason::Clash)) && self.delivered;
        let delivered = verdict == Verdict::Deliver || late;
        Ok(Observed { outputs, delivered, info, entry, expectations })
    }

    fn table(&mut self) -> Result<Vec<EntryView>, EngineError> {
        let now = self.now;
        let mut all = table(self.router.v4(), now);
        all.extend(table(self.router.v6(), now));
        all.sort_by_key(EntryView::place);
        Ok(all)
    }

    fn flush(&mut self) -> Result<(), EngineError> {
        let now = self.now;
        self.router.v4().delete_all(now, |_| true);
        self.router.v6().delete_all(now, |_| true);
        Ok(())
    }

    fn age(&mut self, seconds: u32) -> Result<(), EngineError> {
        let now = self.now;
        self.router.v4().set_timeouts(now, |flow| older(flow.remaining(now), seconds));
        self.router.v6().set_timeouts(now, |flow| older(flow.remaining(now), seconds));
        Ok(())
    }
}

fn build(personality: Personality, seed: u64, setup: &Setup) -> (Router, [InterfaceId; 2]) {
    let mut router = Router::new(Settings::of(personality), seed);
    let sides = Side::ALL.map(|side| {
        let addresses = setup.addresses.iter().filter(|(at, _)| *at == side).map(|(_, net)| *net);
        router.add_interface(Interface::new(side.name(), addresses).with_mtu(MTU))
    });
    for (side, net) in &setup.routes {
        router.add_route(*net, sides[side.index()]);
    }
    for net in ["0.0.0.0/0", "::/0"] {
        router.add_route(net.parse().expect("a network"), sides[Side::Out.index()]);
    }
    (router, sides)
}

/// What pieces of an IPv6 packet have in common is drawn at random, so there is nothing to compare: it becomes zero.
fn forget_identification(packet: &mut [u8]) {
    if let [0x60..=0x6f, _, _, _, _, _, FRAGMENT, ..] = packet
        && let Some(identification) = packet.get_mut(44..48)
    {
        identification.fill(0);
    }
}

fn named<A: Address>(tuple: TupleView, src: A, dst: A) -> Tuple<A> {
    Tuple { src, dst, src_id: tuple.src_id, dst_id: tuple.dst_id, protocol: tuple.protocol }
}

fn find<A: Address>(conntrack: &mut Conntrack<A>, now: Instant, tuple: &Tuple<A>, zone: u16) -> Option<EntryView> {
    let (at, _) = conntrack.table.find(now, tuple, zone)?;
    Some(view(conntrack, now, conntrack.table.flow(at), at))
}

/// All that are not over, but for those that only answers find.
fn table<A: Address>(conntrack: &Conntrack<A>, now: Instant) -> Vec<EntryView> {
    let shown = |flow: &Flow<A>| flow.expires > now && !flow.status.intersects(Status::NAT_CLASH | Status::DYING);
    let all = conntrack.table.iter().filter(|(_, flow)| flow.status.contains(Status::CONFIRMED) && shown(flow));
    let place = |(id, flow)| conntrack.table.place(id).map(|at| view(conntrack, now, flow, at));
    all.filter_map(place).collect()
}

/// How long a flow has in such a table; nothing if it is not there.
fn left_in<A: Address>(table: &[EntryView], flow: &Flow<A>) -> Option<Duration> {
    let zones = [Direction::Original, Direction::Reply].map(|direction| flow.zone.in_direction(direction));
    let place = (flow.tuple(Direction::Original).into(), zones);
    let entry = table.iter().find(|entry| entry.place() == place)?;
    Some(Duration::from_secs(entry.timeout_s.into()))
}

fn expectations<A: Address>(conntrack: &mut Conntrack<A>, now: Instant) -> Vec<ExpectationView> {
    conntrack.expectations.expire(now);
    let seen = |expectation: &Expectation<A>| {
        let master = conntrack.table.place(expectation.master.into())?;
        let (direction, address, port) = match expectation.nat {
            ChildNat::None => (None, A::UNSPECIFIED, 0),
            ChildNat::FollowMaster { direction, port } => (Some(direction), A::UNSPECIFIED, port),
            ChildNat::Pptp { direction, key } => (Some(direction), A::UNSPECIFIED, key),
            ChildNat::Sip { direction, address, port } => (Some(direction), address, port),
        };
        let nat = direction.filter(|_| port != 0 || address != A::UNSPECIFIED);
        Some(ExpectationView {
            master: conntrack.table.flow(master).tuple(Direction::Original).into(),
            tuple: expectation.tuple.into(),
            mask: (expectation.mask.src.into(), expectation.mask.src_id),
            timeout_s: expectation.expires.since(now).as_secs() as u32,
            helper: expectation.helper.map(|helper| helper.name().to_owned()),
            class: expectation.class.0,
            flags: expectation.flags.0,
            nat: nat.map(|direction| (direction, address.into(), port)),
        })
    };
    conntrack.expectations.iter().filter_map(|(_, expectation)| seen(expectation)).collect()
}

fn view<A: Address>(conntrack: &Conntrack<A>, now: Instant, flow: &Flow<A>, at: u32) -> EntryView {
    let helper = conntrack.table.extra(at).and_then(|extra| extra.helper.as_ref());
    let protocol = match &flow.state {
        State::Tcp(tcp) => Some(ProtocolView::Tcp {
            state: tcp.state() as u8,
            sides: [Direction::Original, Direction::Reply].map(|direction| {
                let side = tcp.side(direction);
                let window = Some([side.end, side.maxend, side.maxwin, side.maxack]);
                TcpSide { scale: side.scale, flags: side.flags.0, window }
            }),
        }),
        State::Sctp(sctp) => Some(ProtocolView::Sctp {
            state: sctp.state() as u8,
            tags: [Direction::Original, Direction::Reply].map(|direction| sctp.tag(direction)),
        }),
        State::Udp(_)
        | State::UdpLite
        | State::Icmp
        | State::Icmpv6
        | State::Gre(_)
        | State::Dccp(_)
        | State::Generic => None,
    };
    EntryView {
        original: flow.tuple(Direction::Original).into(),
        reply: flow.tuple(Direction::Reply).into(),
        status: flow.status,
        timeout_s: flow.remaining(now).as_secs() as u32,
        protocol,
        mark: flow.mark,
        helper: helper.map(|state| state.helper().name().to_owned()),
        zones: [Direction::Original, Direction::Reply].map(|direction| flow.zone.in_direction(direction)),
    }
}
