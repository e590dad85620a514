//! Flows and expectations as plain data, whatever their address family.

use core::time::Duration;

use pinhole_sansio::Instant;

use crate::conntrack::Conntrack;
use crate::router::Router;
use crate::script::TupleView;
use crate::status::{Direction, Status};
use crate::table::{Flow, Table};
use crate::tuple::Address;

/// A flow at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowState {
    /// The tuple of its first packet.
    pub original: TupleView,
    /// The tuple of an answer.
    pub reply: TupleView,
    /// What is known of it.
    pub status: Status,
    /// The state of its protocol, if that has states.
    pub state: Option<&'static str>,
    /// How long it lives if nothing comes.
    pub remaining: Duration,
    /// Its mark.
    pub mark: u32,
    /// Its zone.
    pub zone: u16,
    /// Its helper.
    pub helper: Option<&'static str>,
    /// The tuple of the flow that announced it.
    pub master: Option<TupleView>,
    /// What is known of both sides of a TCP connection, the original one first.
    pub tcp: Option<[TcpSide; 2]>,
}

/// What TCP's tracker knows of one side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpSide {
    /// The highest sequence number that it has sent, plus one.
    pub end: u32,
    /// The highest that the peer lets it send.
    pub maxend: u32,
    /// The largest window that it has advertised, in bytes.
    pub maxwin: u32,
    /// By how many bits its windows are scaled.
    pub scale: u8,
}

impl FlowState {
    /// The flow at a place of the table.
    pub(crate) fn of<A: Address>(table: &Table<A>, at: u32, now: Instant) -> Self {
        let flow: &Flow<A> = table.flow(at);
        let extra = table.extra(at);
        let [original, reply] = flow.tuples().map(TupleView::from);
        let side = |direction| {
            flow.state.tcp().map(|tcp| {
                let side = tcp.side(direction);
                TcpSide { end: side.end, maxend: side.maxend, maxwin: side.maxwin, scale: side.scale }
            })
        };
        Self {
            original,
            reply,
            status: flow.status,
            state: flow.state.name(),
            remaining: flow.remaining(now),
            mark: flow.mark,
            zone: flow.zone.id,
            helper: extra.and_then(|extra| extra.helper.as_ref()).map(|state| state.helper().name()),
            master: extra.and_then(|extra| extra.master_tuples).map(|[original, _]| original.into()),
            tcp: side(Direction::Original).zip(side(Direction::Reply)).map(|(original, reply)| [original, reply]),
        }
    }

    /// Whether source or destination is translated.
    pub fn is_translated(&self) -> bool {
        self.status.intersects(Status::NAT)
    }
}

/// A flow that another one has announced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// In words.
    pub text: String,
    /// How long it is waited for.
    pub remaining: Duration,
}

/// All flows of the router, those of IPv4 first, at most `most`.
pub fn flows(router: &mut Router, now: Instant, most: usize) -> Vec<FlowState> {
    let mut all = of_family(router.v4(), now, most);
    let rest = most - all.len();
    all.extend(of_family(router.v6(), now, rest));
    all
}

fn of_family<A: Address>(conntrack: &Conntrack<A>, now: Instant, most: usize) -> Vec<FlowState> {
    let table = &conntrack.table;
    let lives = |(id, flow): (_, &Flow<A>)| (flow.expires > now).then(|| table.place(id)).flatten();
    table.iter().filter_map(lives).take(most).map(|at| FlowState::of(table, at, now)).collect()
}

/// What is expected, of both families.
pub fn expectations(router: &mut Router, now: Instant) -> Vec<Expected> {
    fn of<A: Address>(conntrack: &Conntrack<A>, now: Instant) -> impl Iterator<Item = Expected> {
        let alive = conntrack.expectations.iter().filter(move |(_, expectation)| expectation.expires > now);
        alive.map(move |(_, expectation)| Expected {
            text: expectation.to_string(),
            remaining: expectation.expires.since(now),
        })
    }
    let mut all: Vec<Expected> = of(router.v4(), now).collect();
    all.extend(of(router.v6(), now));
    all
}
