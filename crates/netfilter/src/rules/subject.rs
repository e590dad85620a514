//! What rules are asked about, and what they ask of the engine around them.

use core::time::Duration;

use pinhole_sansio::Instant;

use super::Device;
use super::target::{Log, Template};
use crate::status::{CtInfo, Status};
use crate::tuple::{Address, Tuple};

/// A packet at a hook, as rules see it.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a, A: Address> {
    /// When it is here.
    pub now: Instant,
    /// Where it came in.
    pub input: Device,
    /// Where it will go out.
    pub output: Device,
    /// Its source address, as it is at this hook.
    pub src: A,
    /// Its destination address, as it is at this hook.
    pub dst: A,
    /// The IP protocol number, that behind all extension headers of IPv6.
    pub protocol: u8,
    /// The transport header and what follows it; none in a later fragment.
    pub body: Option<&'a [u8]>,
    /// The length of the packet from its IP header on, in bytes.
    pub length: u32,
    /// Its time to live or hop limit.
    pub ttl: u8,
    /// Its mark when it came to this table.
    pub mark: u32,
    /// To whom the link layer delivered it.
    pub delivery: Delivery,
    /// What conntrack says of it.
    pub tracking: Tracking<'a, A>,
}

/// What conntrack says of a packet.
#[derive(Clone, Copy, Debug)]
pub enum Tracking<'a, A: Address> {
    /// Nothing: not yet seen, or INVALID.
    Invalid,
    /// Not to be tracked.
    Untracked,
    /// It belongs to a flow.
    Flow(Flow<'a, A>),
}

/// What rules can ask about a flow.
#[derive(Clone, Copy, Debug)]
pub struct Flow<'a, A: Address> {
    /// What the packet is in it; [`CtInfo::Untracked`] reads as [`Tracking::Untracked`] does.
    pub info: CtInfo,
    /// Its status bits.
    pub status: Status,
    /// The tuple of its first packet.
    pub original: Tuple<A>,
    /// The tuple of an answer.
    pub reply: Tuple<A>,
    /// Its zone.
    pub zone: u16,
    /// Its mark.
    pub mark: u32,
    /// How long it will live if nothing comes.
    pub remaining: Duration,
    /// The helper of the flow that expected this one: that is what `-m helper` asks for (`net/netfilter/xt_helper.c`).
    pub master_helper: Option<&'a str>,
}

/// To whom the link layer delivered a packet (`PACKET_HOST` and so on, `include/uapi/linux/if_packet.h`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Delivery {
    /// To this host alone.
    #[default]
    Unicast,
    /// To all.
    Broadcast,
    /// To a group.
    Multicast,
}

/// What an address is to this host (`RTN_*` in `include/uapi/linux/rtnetlink.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AddressKind {
    /// Not routed at all.
    Unspec = 0,
    /// Reached through a gateway or on a link.
    Unicast = 1,
    /// One of this host's own.
    Local = 2,
    /// All on a link.
    Broadcast = 3,
    /// One of several.
    Anycast = 4,
    /// A group.
    Multicast = 5,
    /// Dropped by a route.
    Blackhole = 6,
    /// Refused by a route.
    Unreachable = 7,
    /// Prohibited by a route.
    Prohibit = 8,
}

/// The engine around the rules.
pub trait Host<A> {
    /// What `address` is to this host; seen from one interface only, if `device` is given.
    fn kind(&mut self, address: A, device: Option<Device>) -> AddressKind;

    /// Carries out what a rule does beside its verdict, at once and in order.
    fn apply(&mut self, effect: Effect<'_>);
}

/// What a rule does beside its verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect<'a> {
    /// The packet's mark becomes this.
    Mark(u32),
    /// The mark of the packet's flow becomes this.
    FlowMark(u32),
    /// The packet is not tracked.
    Untrack,
    /// The packet's flow, if it begins one, gets what the template says.
    Template(&'a Template),
    /// A line is written about the packet.
    Log(&'a Log),
    /// From now on every rule that the packet meets is noted (`nf_trace`).
    Trace,
}
