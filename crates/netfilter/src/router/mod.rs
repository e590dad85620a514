//! A router whose packets pass netfilter's five hooks: the router of the simulator, the data plane of the gateway, and what
//! explains a packet.
//!
//! ```text
//!  in ─► defragment ─► raw ─► conntrack ─► mangle ─► nat (destination)      PRE_ROUTING
//!                                                       │
//!                          ┌──── to this host ◄──── which way ────► through ────┐
//!  INPUT          mangle, filter, nat (source)              time to live, mangle, filter      FORWARD
//!                          │                                                    │
//!                       confirm                             mangle, nat (source), confirm     POST_ROUTING
//!                          ▼                                                    ▼
//!                       deliver                                                out
//! ```
//!
//! Fragments are kept ([`Verdict::Hold`]) until their packet is whole; that one goes on when the last of them comes. A packet
//! that leaves in pieces becomes the first of them in place, and the others wait in [`Router::poll_transmit`] in order.
//!
//! What this host sends itself begins at OUTPUT (raw, conntrack, mangle, nat, filter) and leaves by POST_ROUTING. A packet is
//! changed in place; what the router has to say beside (ICMP errors, resets, further fragments) waits in
//! [`Router::poll_transmit`].
//!
//! Deliberately not here: a link layer, next hops, a routing protocol, and sockets.

mod answer;
mod batch;
mod change;
mod fragments;
mod path;
mod route;
mod short;
mod stack;
mod verdict;

use core::net::{Ipv4Addr, Ipv6Addr};
use core::ops::Range;
use std::collections::{HashMap, VecDeque};

use ipnet::IpNet;
use pinhole_sansio::Instant;
use pinhole_wire::Malformed;

pub use verdict::{Reason, Verdict};

use crate::conntrack::{Conntrack, Seen};
use crate::interface::{Interface, InterfaceId};
use crate::rules::{Log, Ruleset};
use crate::settings::{SettingError, Settings};
use crate::watch::Watch;
use stack::Stack;

/// A packet on its way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packet {
    /// From the IP header on.
    pub bytes: Vec<u8>,
    /// What rules have marked it with.
    pub mark: u32,
    /// Whether whoever gives the packet vouches for its transport checksum, as a network card does that has looked at it
    /// (`CHECKSUM_UNNECESSARY`): then it is not looked at again. It is corrected nevertheless.
    pub is_vouched_for: bool,
}

impl From<Vec<u8>> for Packet {
    fn from(bytes: Vec<u8>) -> Self {
        Self { bytes, mark: 0, is_vouched_for: false }
    }
}

/// A router.
#[derive(Debug)]
pub struct Router {
    interfaces: Vec<Interface>,
    v4: Stack<Ipv4Addr>,
    v6: Stack<Ipv6Addr>,
    outbox: Outbox,
    drops: HashMap<Reason, u64>,
    swept: Instant,
}

/// What the router has to say beside the packet that it is asked about.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    packets: VecDeque<(InterfaceId, Packet)>,
    logs: VecDeque<Logged>,
}

/// A line that a rule has asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logged {
    /// When.
    pub at: Instant,
    /// What the rule says.
    pub log: Log,
    /// The packet, as it was there.
    pub packet: Vec<u8>,
}

/// Packets whose memory is asked for together.
const BATCH: usize = 32;
/// Lines that wait to be fetched, at most; later ones are lost.
const MOST_LOGS: usize = 1_024;
/// Packets that wait to be fetched, at most; later ones are lost.
const MOST_PACKETS: usize = 65_536;
/// How often the table is gone through for flows whose time is over; Linux: one second to one minute
/// (`GC_SCAN_INTERVAL_MIN`, `GC_SCAN_INTERVAL_MAX`).
const SWEEP: core::time::Duration = core::time::Duration::from_secs(1);

impl Router {
    /// A router without interfaces, rules and flows. The same seed gives the same ports.
    pub fn new(settings: Settings, seed: u64) -> Self {
        Self::with_capacity(settings, seed, 0)
    }

    /// The same, with memory for `capacity` flows of IPv4.
    pub fn with_capacity(settings: Settings, seed: u64, capacity: usize) -> Self {
        Self {
            interfaces: Vec::new(),
            v4: Stack::new(Conntrack::new(settings.clone(), capacity, seed), seed),
            v6: Stack::new(Conntrack::new(settings, 0, seed ^ 0x6a09_e667_f3bc_c908), seed),
            outbox: Outbox::default(),
            drops: HashMap::new(),
            swept: Instant::EPOCH,
        }
    }

    /// Adds an interface, and the routes to its networks.
    pub fn add_interface(&mut self, interface: Interface) -> InterfaceId {
        let id = InterfaceId::at(self.interfaces.len());
        self.v4.routes.add_interface(id, &interface);
        self.v6.routes.add_interface(id, &interface);
        self.forget_ways();
        self.v4.shortest_mtu = self.v4.shortest_mtu.min(interface.mtu);
        self.v6.shortest_mtu = self.v6.shortest_mtu.min(interface.mtu);
        self.interfaces.push(interface);
        id
    }

    /// Adds a route. The longest prefix wins; of equal ones the first.
    pub fn add_route(&mut self, to: IpNet, by: InterfaceId) {
        match to {
            IpNet::V4(_) => self.v4.routes.add(to, by),
            IpNet::V6(_) => self.v6.routes.add(to, by),
        }
        self.forget_ways();
    }

    /// Replaces the rules for IPv4. Flows stay as they are.
    pub fn set_rules_v4(&mut self, rules: Ruleset<Ipv4Addr>) {
        self.v4.set_rules(rules);
    }

    /// Replaces the rules for IPv6. Flows stay as they are.
    pub fn set_rules_v6(&mut self, rules: Ruleset<Ipv6Addr>) {
        self.v6.set_rules(rules);
    }

    /// Changes a setting, by the name that `sysctl` has for it.
    ///
    /// # Errors
    /// If there is no such setting, or the value does not fit it.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), SettingError> {
        self.v4.conntrack.settings.set(name, value)?;
        self.v6.conntrack.settings.set(name, value)?;
        self.v4.conntrack.expectations.set_max(self.v4.conntrack.settings.expect_max as usize);
        self.v6.conntrack.expectations.set_max(self.v6.conntrack.settings.expect_max as usize);
        Ok(())
    }

    /// Takes a packet that has come in by `input` through all hooks on its way.
    #[inline]
    pub fn process(&mut self, now: Instant, input: InterfaceId, packet: &mut Packet) -> Verdict {
        if let Some(output) = self.hurry(now, packet) {
            return Verdict::Forward(output);
        }
        self.process_long(now, input, packet)
    }

    /// Takes a packet the short way, if it may go that.
    #[inline]
    fn hurry(&mut self, now: Instant, packet: &mut Packet) -> Option<InterfaceId> {
        let Self { v4, v6, interfaces, .. } = self;
        match packet.bytes.first()? >> 4 {
            4 => v4.hurry(now, interfaces, packet),
            6 => v6.hurry(now, interfaces, packet),
            _ => None,
        }
    }

    /// The same, telling `watch` what happens and why.
    #[inline]
    pub fn explain(
        &mut self,
        now: Instant,
        input: InterfaceId,
        packet: &mut Packet,
        watch: &mut impl Watch,
    ) -> Verdict {
        self.balance();
        let Self { interfaces, v4, v6, outbox, .. } = self;
        let verdict = match packet.bytes.first().map(|first| first >> 4) {
            Some(4) => v4.receive(now, input, interfaces, packet, outbox, watch),
            Some(6) => v6.receive(now, input, interfaces, packet, outbox, watch),
            Some(_) => Verdict::Drop(Reason::Malformed(Malformed::Version)),
            None => Verdict::Drop(Reason::Malformed(Malformed::Truncated)),
        };
        self.count(verdict)
    }

    /// Takes packets that have come in by one interface through all hooks, one after another; `verdicts` has room for them.
    /// The memory of all their flows is asked for before the first one is worked on.
    pub fn process_batch(
        &mut self,
        now: Instant,
        input: InterfaceId,
        packets: &mut [Packet],
        verdicts: &mut [Verdict],
    ) {
        for (packets, verdicts) in packets.chunks_mut(BATCH).zip(verdicts.chunks_mut(BATCH)) {
            let Self { v4, v6, .. } = self;
            let version = packets.first().and_then(|packet| packet.bytes.first()).map(|first| first >> 4);
            match version {
                Some(4) if v4.terms.is_some() => {
                    let asked = v4.ask(packets);
                    self.process_asked(now, input, packets, verdicts, |router, n, packets, verdicts| {
                        router.v4.hurry_from(now, &asked, n, &router.interfaces, packets, verdicts)
                    });
                }
                Some(6) if v6.terms.is_some() => {
                    let asked = v6.ask(packets);
                    self.process_asked(now, input, packets, verdicts, |router, n, packets, verdicts| {
                        router.v6.hurry_from(now, &asked, n, &router.interfaces, packets, verdicts)
                    });
                }
                Some(_) | None => self.process_asked(now, input, packets, verdicts, |_, n, _, _| n),
            }
        }
    }

    /// Takes packets of a batch through all hooks, the short way as far as `hurry` goes.
    fn process_asked(
        &mut self,
        now: Instant,
        input: InterfaceId,
        packets: &mut [Packet],
        verdicts: &mut [Verdict],
        mut hurry: impl FnMut(&mut Self, usize, &mut [Packet], &mut [Verdict]) -> usize,
    ) {
        let mut n = 0;
        loop {
            n = hurry(self, n, packets, verdicts);
            let (Some(packet), Some(verdict)) = (packets.get_mut(n), verdicts.get_mut(n)) else { return };
            *verdict = self.process_long(now, input, packet);
            n += 1;
        }
    }

    /// The long way, which most packets do not go.
    #[inline(never)]
    fn process_long(&mut self, now: Instant, input: InterfaceId, packet: &mut Packet) -> Verdict {
        self.explain(now, input, packet, &mut ())
    }

    /// Takes a packet that this host itself sends through all hooks on its way.
    pub fn send(&mut self, now: Instant, packet: &mut Packet, watch: &mut impl Watch) -> Verdict {
        self.balance();
        let Self { interfaces, v4, v6, outbox, .. } = self;
        let verdict = match packet.bytes.first().map(|first| first >> 4) {
            Some(4) => v4.send(now, interfaces, packet, outbox, watch),
            Some(6) => v6.send(now, interfaces, packet, outbox, watch),
            Some(_) => Verdict::Drop(Reason::Malformed(Malformed::Version)),
            None => Verdict::Drop(Reason::Malformed(Malformed::Truncated)),
        };
        self.count(verdict)
    }

    /// What conntrack said of the last packet of IPv4; nothing if it did not get that far.
    pub fn said_v4(&self) -> Option<Seen> {
        self.v4.said
    }

    /// The same of IPv6.
    pub fn said_v6(&self) -> Option<Seen> {
        self.v6.said
    }

    /// The next packet that the router itself sends, and the interface that it leaves by.
    pub fn poll_transmit(&mut self) -> Option<(InterfaceId, Packet)> {
        self.outbox.packets.pop_front()
    }

    /// The next line that a rule has asked for.
    pub fn poll_log(&mut self) -> Option<Logged> {
        self.outbox.logs.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let idle = self.v4.conntrack.table.is_empty() && self.v6.conntrack.table.is_empty();
        let sweep = (!idle).then(|| self.swept + SWEEP);
        let fragments = [self.v4.reassembly.poll_timeout(), self.v6.reassembly.poll_timeout()];
        fragments.into_iter().chain([sweep]).flatten().min()
    }

    /// Removes flows whose time is over. They are not found anyway; this gives their memory back and tells of their end. So
    /// too fragments, whose sender may be told.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.v4.expire_fragments(now, &self.interfaces, &mut self.outbox, &mut ());
        self.v6.expire_fragments(now, &self.interfaces, &mut self.outbox, &mut ());
        if now < self.swept + SWEEP {
            return;
        }
        self.swept = now;
        self.balance();
        self.v4.sweep(now);
        self.v6.sweep(now);
    }

    /// Connection tracking of IPv4.
    pub fn v4(&mut self) -> &mut Conntrack<Ipv4Addr> {
        &mut self.v4.conntrack
    }

    /// Connection tracking of IPv6.
    pub fn v6(&mut self) -> &mut Conntrack<Ipv6Addr> {
        &mut self.v6.conntrack
    }

    /// The rules for IPv4, with what they have counted.
    pub fn rules_v4(&self) -> &Ruleset<Ipv4Addr> {
        &self.v4.rules
    }

    /// The rules for IPv6, with what they have counted.
    pub fn rules_v6(&self) -> &Ruleset<Ipv6Addr> {
        &self.v6.rules
    }

    /// An interface.
    pub fn interface(&self, id: InterfaceId) -> Option<&Interface> {
        self.interfaces.get(id.place())
    }

    /// Where the tables of flows are in memory: see [`Table::memory`](crate::table::Table::memory).
    pub fn memory(&self) -> impl Iterator<Item = Range<*const u8>> {
        self.v4.conntrack.table.memory().into_iter().chain(self.v6.conntrack.table.memory())
    }

    /// Packets that were dropped, by reason.
    pub fn drops(&self) -> impl Iterator<Item = (Reason, u64)> {
        self.drops.iter().map(|(&reason, &count)| (reason, count))
    }

    fn forget_ways(&mut self) {
        self.v4.conntrack.table.forget_ways();
        self.v6.conntrack.table.forget_ways();
    }

    /// The limit of flows is one for both families.
    #[inline]
    fn balance(&mut self) {
        self.v4.conntrack.others = self.v6.conntrack.table.len();
        self.v6.conntrack.others = self.v4.conntrack.table.len();
    }

    #[inline]
    fn count(&mut self, verdict: Verdict) -> Verdict {
        if let Verdict::Drop(reason) = verdict {
            *self.drops.entry(reason).or_default() += 1;
        }
        verdict
    }
}

impl Outbox {
    pub(crate) fn packet(&mut self, by: InterfaceId, packet: Packet) {
        if self.packets.len() < MOST_PACKETS {
            self.packets.push_back((by, packet));
        }
    }

    pub(crate) fn log(&mut self, at: Instant, log: &Log, packet: &[u8]) {
        if self.logs.len() < MOST_LOGS {
            self.logs.push_back(Logged { at, log: log.clone(), packet: packet.to_vec() });
        }
    }
}

#[cfg(test)]
mod tests;
