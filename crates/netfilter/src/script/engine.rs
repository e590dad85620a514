//! Our own engine as the router of a script.

use core::fmt;
use core::net::IpAddr;
use core::time::Duration;

use pinhole_sansio::Instant;

use super::{
    EntryView, Executor, Family, Info, Lookup, Observed, Output, ProtocolView, Setup, Side, TcpSide, TupleView,
};
use crate::conntrack::{Conntrack, Seen};
use crate::router::{Packet, Router, Verdict};
use crate::rules::{RulesError, Ruleset};
use crate::settings::{Personality, SettingError, Settings};
use crate::status::{CtInfo, Direction};
use crate::track::State;
use crate::tuple::{Address, GRE, Tuple};
use crate::{Interface, InterfaceId};

/// Scripts begin at this time, so that nothing is younger than the engine.
const BEGIN: Instant = Instant::from_millis(1_000_000);
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
    now: Instant,
    told: Option<u16>,
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
        Self { personality, seed, router, sides, lookup: Lookup::default(), now: BEGIN, told: None }
    }

    /// The next port that is drawn at random is this one, if it may be drawn: so the engine follows a kernel, as long as the
    /// kernel does what the engine would.
    pub fn tell(&mut self, port: Option<u16>) {
        self.told = port;
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
        match (tuple.src, tuple.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => view(self.router.v4(), self.now, &named(tuple, src, dst)),
            (IpAddr::V6(src), IpAddr::V6(dst)) => view(self.router.v6(), self.now, &named(tuple, src, dst)),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => None,
        }
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
        self.now = BEGIN + at;
        self.router.handle_timeout(self.now);
        let told = self.told.take();
        self.router.v4().dice.tell(told);
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
        let tuple = self.lookup.tuple(packet);
        let entry = tuple.and_then(|tuple| self.entry(tuple));
        Ok(Observed { outputs, delivered: verdict == Verdict::Deliver, info, entry })
    }

    fn flush(&mut self) -> Result<(), EngineError> {
        let now = self.now;
        self.router.v4().delete_all(now, |_| true);
        self.router.v6().delete_all(now, |_| true);
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

fn named<A: Address>(tuple: TupleView, src: A, dst: A) -> Tuple<A> {
    Tuple { src, dst, src_id: tuple.src_id, dst_id: tuple.dst_id, protocol: tuple.protocol }
}

fn view<A: Address>(conntrack: &mut Conntrack<A>, now: Instant, tuple: &Tuple<A>) -> Option<EntryView> {
    let (at, _) = conntrack.table.find(now, tuple, 0)?;
    let flow = conntrack.table.flow(at);
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
    Some(EntryView {
        original: flow.tuple(Direction::Original).into(),
        reply: flow.tuple(Direction::Reply).into(),
        status: flow.status,
        timeout_s: flow.remaining(now).as_secs() as u32,
        protocol,
        mark: flow.mark,
        helper: helper.map(|state| state.helper().name().to_owned()),
    })
}
