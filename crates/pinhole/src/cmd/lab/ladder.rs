//! A ladder diagram: the parties side by side, and below them what went between them, in time.
//!
//! Packets of one kind that went the same way with the same end, one after another, are one rung.

use std::fmt::Write;
use std::time::Duration;

use pinhole_lab::PlaceId;
use pinhole_lab::sim::{End, Glance, Journey, Where};
use pinhole_lab::{Loss, Network};
use pinhole_sansio::Instant;
use pinhole_wire::Protocol;
use pinhole_wire::wireguard::{KEEPALIVE_LEN, Kind};
use pinhole_world::World;

/// A time to live below this is meant to end on the way.
const ORDINARY_TTL: u8 = 64;

/// See the module.
#[derive(Debug)]
pub(super) struct Ladder {
    /// Who is where, from left to right.
    pub(super) parties: Vec<String>,
    /// What happened, in time.
    pub(super) rungs: Vec<Rung>,
}

/// Packets that went from one party to another.
#[derive(Debug)]
pub(super) struct Rung {
    /// When the first one was sent.
    pub(super) at: Duration,
    /// From which party.
    pub(super) from: usize,
    /// How far they got.
    pub(super) to: usize,
    /// What they are.
    pub(super) what: String,
    /// How many.
    pub(super) count: usize,
    /// How they ended, if not by arriving.
    pub(super) end: Option<String>,
    /// Whether that end was meant.
    pub(super) is_meant: bool,
    /// Whether the registry is part of it.
    pub(super) with_registry: bool,
}

impl Ladder {
    /// What went over the network of a world up to now, if somebody watched.
    pub(super) fn of(world: &World) -> Self {
        let network = &world.scenario().network;
        let order = order(network, world.scenario().registry);
        let parties = order.iter().map(|party| name(network, *party).to_owned()).collect();
        let column = |place: Where| order.iter().position(|party| *party == place).unwrap_or_default();
        let hub = world.scenario().registry.map(Where::At);
        let mut rungs: Vec<Rung> = Vec::new();
        for journey in world.journeys() {
            let Some(rung) = rung(network, journey, column, hub) else { continue };
            match rungs.last_mut() {
                Some(last) if last.is_like(&rung) => last.count += 1,
                Some(_) | None => rungs.push(rung),
            }
        }
        Self { parties, rungs }
    }

    /// The rungs as lines of text.
    pub(super) fn lines(&self) -> Vec<(Duration, String)> {
        let wide = self.parties.iter().map(String::len).max().unwrap_or_default();
        let line = |rung: &Rung| {
            let (from, to) = (&self.parties[rung.from], &self.parties[rung.to]);
            let mut text = format!("{from:>wide$} → {to:<wide$}  {}", rung.what);
            if rung.count > 1 {
                let _ = write!(text, " ×{}", rung.count);
            }
            if let Some(end) = &rung.end {
                let _ = write!(text, " ({end})");
            }
            (rung.at, text)
        };
        self.rungs.iter().map(line).collect()
    }
}

impl Rung {
    fn is_like(&self, other: &Self) -> bool {
        (self.from, self.to, &self.what, &self.end) == (other.from, other.to, &other.what, &other.end)
    }
}

/// The first agent's side, the Internet, the other sides turned around, and the registry.
fn order(network: &Network, registry: Option<PlaceId>) -> Vec<Where> {
    let mut order = Vec::new();
    let roots = |place: PlaceId| network.routers_of(place).last().copied().unwrap_or(place);
    let first = (0..network.places.len()).map(roots).find(|&root| Some(root) != registry);
    let side = |root: Option<PlaceId>, inner_first: bool, order: &mut Vec<Where>| {
        let mut of = (0..network.places.len()).filter(|&place| Some(roots(place)) == root).collect::<Vec<_>>();
        if inner_first {
            of.reverse();
        }
        order.extend(of.into_iter().map(Where::At));
    };
    side(first, true, &mut order);
    order.push(Where::Internet);
    let others = (0..network.places.len()).filter(|&place| network.places[place].behind.is_none());
    others
        .filter(|&root| Some(root) != first && Some(root) != registry)
        .for_each(|root| side(Some(root), false, &mut order));
    side(registry, false, &mut order);
    order
}

fn rung(network: &Network, journey: &Journey, column: impl Fn(Where) -> usize, hub: Option<Where>) -> Option<Rung> {
    let (&(at, from), &(_, to)) = (journey.path.first()?, journey.path.last()?);
    // Routers tell the sender of each opener that it has died; that is noise.
    if journey.sent.protocol == Protocol::Icmp {
        return None;
    }
    let is_opener = journey.sent.ttl < ORDINARY_TTL;
    Some(Rung {
        at: Duration::from_nanos(at.since(Instant::EPOCH).as_nanos() as u64),
        from: column(from),
        to: column(to),
        what: what(&journey.sent),
        count: 1,
        end: end(network, journey, to),
        is_meant: is_opener && journey.end == Some(End::Expired),
        with_registry: Some(from) == hub || Some(to) == hub,
    })
}

/// What a packet is.
fn what(glance: &Glance) -> String {
    match glance.wireguard {
        Some(Kind::HandshakeInitiation) => "handshake initiation".into(),
        Some(Kind::HandshakeResponse) => "handshake response".into(),
        Some(Kind::CookieReply) => "cookie reply".into(),
        Some(Kind::Transport) if glance.payload == KEEPALIVE_LEN => "keepalive".into(),
        Some(Kind::Transport) => "tunnel data".into(),
        None if glance.ttl < ORDINARY_TTL => format!("opener, time to live {}", glance.ttl),
        None => format!("{}, {} bytes", glance.protocol, glance.payload),
    }
}

/// How a packet ended, if it did not arrive.
fn end(network: &Network, journey: &Journey, at: Where) -> Option<String> {
    Some(match journey.end {
        Some(End::Arrived) => return None,
        None => "under way".into(),
        Some(End::Taken) => format!("for {} itself", name(network, at)),
        Some(End::Lost(Loss::Chance)) => "lost".into(),
        Some(End::Lost(Loss::QueueFull)) => "the link is full".into(),
        Some(End::Lost(Loss::Disconnected)) => "the cable is cut".into(),
        Some(End::Refused(refusal)) => format!("{}: {refusal}", name(network, at)),
        Some(End::Expired) => "its time to live ends here".into(),
        Some(End::Unroutable) => "nobody has this address".into(),
        Some(End::TooBig) => "longer than the next link allows".into(),
        Some(End::HostDown) => format!("{} is down", name(network, at)),
    })
}

pub(super) fn name(network: &Network, at: Where) -> &str {
    match at {
        Where::At(place) => &network.places[place].name,
        Where::Internet => "internet",
    }
}
