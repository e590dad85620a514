//! The account of a packet's way: what happened at every hook and why, as plain data.
//!
//! The model: [`explain`] takes one packet through a [`Router`] and listens ([`Watch`](crate::Watch)). What it hears becomes
//! the notes of a [`Stage`]: one for each hook that the packet comes to, and one for the routing between them. With the
//! packet as it came and as it left, the verdict and what is known of its flow then, that is an [`Account`]. [`flows`] and
//! [`expectations`] are the tables that it left behind.
//!
//! Deliberately not here: how an account is shown.

mod flow;
mod steps;

use pinhole_sansio::Instant;
use pinhole_wire::{ip, text};

pub use flow::{Expected, FlowState, TcpSide, expectations, flows};
pub use steps::{Place, Stage};

use crate::interface::InterfaceId;
use crate::router::{Packet, Router, Verdict};
use crate::script::Info;
use steps::Steps;

/// Where a packet comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It comes in by an interface.
    Interface(InterfaceId),
    /// The router itself sends it.
    Local,
}

/// A packet's way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The packet as it came, in text notation.
    pub before: String,
    /// The interface that it came in by; none if the router itself sent it.
    pub input: Option<String>,
    /// Where it has been, in order.
    pub stages: Vec<Stage>,
    /// What became of it.
    pub verdict: Verdict,
    /// The interface that it left by, if it was forwarded.
    pub output: Option<String>,
    /// The packet as it left or was delivered, in text notation; none if it was dropped or is held.
    pub after: Option<String>,
    /// What connection tracking said of it; none if it did not get that far.
    pub info: Option<Info>,
    /// Its flow afterwards; none if it has none, or if the flow went with it.
    pub flow: Option<FlowState>,
    /// What the router sent beside: answers to the sender, and the other pieces of a packet that left in fragments.
    pub sent: Vec<Sent>,
    /// The prefixes of the lines that rules asked for (LOG).
    pub logs: Vec<String>,
}

/// A packet that the router itself sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// By which interface.
    pub interface: String,
    /// The packet, in text notation.
    pub line: String,
    /// Whether it is a further piece of the packet, and no answer.
    pub is_piece: bool,
}

/// What is known of a packet and its flow when its way is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// What connection tracking says of the packet; INVALID also if it was not asked.
    pub info: Info,
    /// Its flow, if that stays.
    pub flow: Option<FlowState>,
}

impl Account {
    /// Where the packet's way ended: its last hook.
    pub fn end(&self) -> Option<Place> {
        self.stages.last().map(|stage| stage.place)
    }
}

/// Takes a packet through the router, and says all that came of it.
pub fn explain(router: &mut Router, now: Instant, origin: Origin, packet: &[u8]) -> Account {
    let before = text::write(packet);
    let mut packet = Packet::from(packet.to_vec());
    let mut steps = Steps::default();
    let (input, verdict) = match origin {
        Origin::Interface(id) => (Some(id), router.explain(now, id, &mut packet, &mut steps)),
        Origin::Local => (None, router.send(now, &mut packet, &mut steps)),
    };
    let Steps { stages, ending, asked, .. } = steps;
    let name = |id: InterfaceId, router: &Router| router.interface(id).map(|interface| interface.name.clone());
    let input = input.map(|id| name(id, router).unwrap_or_default());
    let (output, left) = match verdict {
        Verdict::Forward(id) => (name(id, router), true),
        Verdict::Deliver => (None, true),
        Verdict::Hold | Verdict::Drop(_) => (None, false),
    };
    let (info, flow) = ending.map_or((None, None), |ending| (asked.then_some(ending.info), ending.flow));
    let mut sent = Vec::new();
    while let Some((by, packet)) = router.poll_transmit() {
        // Answers fit every link, and are whole.
        let is_piece = ip::Packet::new_checked(&packet.bytes[..]).is_ok_and(|packet| packet.is_fragment());
        let interface = name(by, router).unwrap_or_default();
        sent.push(Sent { interface, line: text::write(&packet.bytes), is_piece });
    }
    let logs = core::iter::from_fn(|| router.poll_log()).map(|logged| logged.log.prefix).collect();
    let after = left.then(|| text::write(&packet.bytes));
    Account { before, input, stages, verdict, output, after, info, flow, sent, logs }
}

#[cfg(test)]
mod tests;
