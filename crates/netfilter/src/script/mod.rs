//! Packet scripts: what is put in at which side, what must come out, and what must be known of the flow then.
//!
//! ```text
//! set nf_conntrack_tcp_timeout_established 5
//! rules ipv4
//! *nat
//! -A POSTROUTING -o out -j MASQUERADE
//! COMMIT
//! end
//! in > 10.0.0.1:4000 > 198.51.100.7:80 tcp S seq 1 ack 0 win 64240 0
//!   out < 203.0.113.1:4000 > 198.51.100.7:80 tcp S seq 1 ack 0 win 64240 0 ttl 63
//!   info NEW
//!   ct: tcp SYN_SENT timeout 120
//! +0.5
//! out > 192.0.2.1:80 > 203.0.113.1:4000 tcp S. seq 9 ack 2 win 64240 0
//!   drop
//! ```
//!
//! `age 30` takes 30 s from what all flows have left, as if it had passed, and lets no time pass: that much can be had of a kernel at once.
//!
//! The model: a [`Script`] is its lines ([`Item`]), so that it can be written back with other outcomes; [`Script::setup`] is
//! the router that it wants and [`Script::steps`] what happens to it. An [`Executor`] is a router of that kind: the engine,
//! or the kernel in a namespace. It answers every packet with an [`Observed`], which is plain data, so that two executors
//! are compared by [`Comparer`] and a script's expectations by [`check()`]. [`fill`] writes outcomes into a script.
//!
//! Not here: sockets, namespaces and clocks, which are an executor's affair.

mod check;
mod compare;
mod engine;
mod expected;
pub mod generate;
mod lookup;
mod observed;
mod parse;
mod print;
mod setup;
mod view;

pub use check::{Failure, check, fill};
pub use compare::{Comparer, Difference, Ports, Tolerance};
pub use engine::{Engine, EngineError};
pub use expected::ExpectationView;
pub use lookup::{Lookup, is_of_tunnel};
pub use observed::{Executor, Info, Observed, Output, Verdict, run};
pub use parse::ScriptError;
pub use setup::{Family, Setup, Side};
pub use view::{EntryView, ProtocolView, TcpSide, TupleView};

use core::time::Duration;

use ipnet::IpNet;

/// A script, line by line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Script {
    /// Its lines, in order.
    pub lines: Vec<Line>,
}

/// A line of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Where it stands, counted from one; zero if nobody wrote it.
    pub number: usize,
    /// What it says.
    pub item: Item,
    /// What is written behind `#`.
    pub comment: Option<String>,
}

/// What a line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// Nothing, beside a comment.
    Blank,
    /// `set NAME VALUE`: a setting under `net.netfilter`.
    Set(String, String),
    /// `address SIDE NET`: what the router has on that side instead of what it has by default.
    Address(Side, IpNet),
    /// `route SIDE NET`: what is also reached through that side.
    Route(Side, IpNet),
    /// `rules ipv4 … end`: what `iptables-save` writes.
    Rules(Family, String),
    /// `+SECONDS`: time passes.
    Wait(Duration),
    /// `flush`: all entries are forgotten.
    Flush,
    /// `age SECONDS`: all entries have so much less left, as [`older`] says.
    Age(u32),
    /// `SIDE > PACKET`: a packet comes in.
    Inject(Side, Vec<u8>),
    /// What must be the outcome of the packet above.
    Expect(Expect),
}

/// What must be the outcome of a packet. What is not said is not asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expect {
    /// `drop`: nothing comes out, and nobody gets it.
    Drop,
    /// `delivered`: the router keeps it for itself.
    Delivered,
    /// `SIDE < PACKET`: this comes out there. Several are in order.
    Output(Output),
    /// `info NEW`: what conntrack says of the packet.
    Info(Info),
    /// `info -`: conntrack has not seen it.
    Unseen,
    /// `ct: none`: there is no entry.
    NoEntry,
    /// `ct: …`: there is one, of which this is true.
    Entry(EntryExpect),
}

/// What must be true of an entry. What is absent is not asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EntryExpect {
    /// `tcp ESTABLISHED`, `sctp CLOSED`.
    pub state: Option<(&'static str, u8)>,
    /// `status SEEN_REPLY,ASSURED,…`: exactly these bits.
    pub status: Option<u16>,
    /// `timeout 120`: seconds left.
    pub timeout_s: Option<u32>,
    /// `scale 7/2`: the window scales of both sides.
    pub scale: Option<[u8; 2]>,
    /// `flags 0x3/0x23`: the tracker's flags of both sides.
    pub flags: Option<[u8; 2]>,
    /// `tags 0x1/0x2`: SCTP's verification tags.
    pub tags: Option<[u32; 2]>,
    /// `mark 0x1`.
    pub mark: Option<u32>,
    /// `helper ftp`.
    pub helper: Option<String>,
    /// `original (…)`.
    pub original: Option<TupleView>,
    /// `reply (…)`.
    pub reply: Option<TupleView>,
}

/// What an entry has left that has `left` when it gets older by so many seconds; nothing if it is over. It is if less than 5 s are
/// left: what ends at any moment is not compared.
pub fn older(left: Duration, seconds: u32) -> Option<Duration> {
    const LEAST: Duration = Duration::from_secs(5);
    left.checked_sub(Duration::from_secs(seconds.into())).filter(|left| *left >= LEAST)
}

/// One thing that happens to the router.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step<'a> {
    /// When, since the beginning.
    pub at: Duration,
    /// What.
    pub event: Event<'a>,
    /// The line that says so.
    pub line: usize,
}

/// What happens to a router.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A packet comes in at a side.
    Packet(Side, &'a [u8]),
    /// All entries are forgotten.
    Flush,
    /// All entries lose so many seconds.
    Age(u32),
}

impl Script {
    /// The router that the script wants.
    pub fn setup(&self) -> Setup {
        let mut setup = Setup::default();
        for line in &self.lines {
            match &line.item {
                Item::Set(name, value) => setup.settings.push((name.clone(), value.clone())),
                Item::Address(side, net) => setup.replace_address(*side, *net),
                Item::Route(side, net) => setup.routes.push((*side, *net)),
                Item::Rules(family, text) => setup.rules.push((*family, text.clone())),
                Item::Blank | Item::Wait(_) | Item::Flush | Item::Age(_) | Item::Inject(..) | Item::Expect(_) => {}
            }
        }
        setup
    }

    /// What happens to it, in order.
    pub fn steps(&self) -> Vec<Step<'_>> {
        let mut at = Duration::ZERO;
        let mut steps = Vec::new();
        for (index, line) in self.lines.iter().enumerate() {
            let event = match &line.item {
                Item::Wait(wait) => {
                    at = at.saturating_add(*wait);
                    continue;
                }
                Item::Inject(side, packet) => Event::Packet(*side, packet),
                Item::Flush => Event::Flush,
                Item::Age(seconds) => Event::Age(*seconds),
                Item::Blank
                | Item::Set(..)
                | Item::Address(..)
                | Item::Route(..)
                | Item::Rules(..)
                | Item::Expect(_) => continue,
            };
            steps.push(Step { at, event, line: index });
        }
        steps
    }

    /// A script of packets with nothing expected, for what a generator made.
    pub fn of_packets(setup: &Setup, packets: impl IntoIterator<Item = (Duration, Side, Vec<u8>)>) -> Self {
        let mut items = Vec::new();
        let mut now = Duration::ZERO;
        for (at, side, packet) in packets {
            if at > now {
                items.push(Item::Wait(at - now));
                now = at;
            }
            items.push(Item::Inject(side, packet));
        }
        Self::of_items(setup, items)
    }

    /// A script of these items behind the router.
    pub fn of_items(setup: &Setup, items: impl IntoIterator<Item = Item>) -> Self {
        let items = setup.items().into_iter().chain(items);
        Self { lines: items.map(|item| Line { number: 0, item, comment: None }).collect() }
    }
}

#[cfg(test)]
mod tests;
