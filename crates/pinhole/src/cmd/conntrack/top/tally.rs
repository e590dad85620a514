//! Flows counted into groups.

use std::collections::HashMap;
use std::net::IpAddr;

use pinhole_host::netlink::conntrack::Entry;

use super::super::names::{self, Services};
use super::super::people;
use super::{By, Order};

/// Packets and bytes of each flow at the last look, by the kernel's number of it.
pub(super) type Totals = HashMap<u32, (u64, u64)>;

/// What one look counted.
#[derive(Debug)]
pub(super) struct Tally {
    groups: HashMap<Key, Group>,
    pub(super) totals: Totals,
    pub(super) flows: u64,
    pub(super) unreplied: u64,
    /// Whether the kernel counts packets and bytes.
    pub(super) counted: bool,
}

/// What a group has in common.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Address(IpAddr),
    State(u8, String),
    Protocol(u8),
    Service(u8, u16),
}

/// One group of flows.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Group {
    pub(super) name: String,
    pub(super) flows: u64,
    pub(super) unreplied: u64,
    /// Of the flows that are there, since they began.
    pub(super) packets: u64,
    pub(super) bytes: u64,
    /// Since the last look; after [`Tally::sorted`] per second.
    pub(super) packets_per_s: Option<f64>,
    pub(super) bytes_per_s: Option<f64>,
    new_packets: u64,
    new_bytes: u64,
}

impl Tally {
    /// Counts `entries`. What went through a flow that was not there `before` is new.
    pub(super) fn new(entries: &[Entry], by: By, services: &Services, before: &Totals) -> Self {
        let mut tally = Self { groups: HashMap::new(), totals: HashMap::new(), flows: 0, unreplied: 0, counted: false };
        for entry in entries {
            tally.take(entry, by, services, before);
        }
        tally
    }

    fn take(&mut self, entry: &Entry, by: By, services: &Services, before: &Totals) {
        let Some(key) = key(entry, by) else { return };
        let unreplied = u64::from(!entry.is_answered());
        self.flows += 1;
        self.unreplied += unreplied;
        let group =
            self.groups.entry(key).or_insert_with_key(|key| Group { name: name(key, services), ..Group::default() });
        group.flows += 1;
        group.unreplied += unreplied;
        let Some(total) = entry.total() else { return };
        self.counted = true;
        group.packets = group.packets.saturating_add(total.packets);
        group.bytes = group.bytes.saturating_add(total.bytes);
        let (packets, bytes) = before.get(&entry.id).copied().unwrap_or_default();
        group.new_packets = group.new_packets.saturating_add(total.packets.saturating_sub(packets));
        group.new_bytes = group.new_bytes.saturating_add(total.bytes.saturating_sub(bytes));
        self.totals.insert(entry.id, (total.packets, total.bytes));
    }

    /// The groups in an order, with rates over `seconds`; none at the first look.
    pub(super) fn sorted(&self, order: Order, seconds: Option<f64>) -> Vec<Group> {
        let seconds = seconds.filter(|_| self.counted);
        let rated = |group: &Group| Group {
            packets_per_s: seconds.map(|seconds| group.new_packets as f64 / seconds),
            bytes_per_s: seconds.map(|seconds| group.new_bytes as f64 / seconds),
            ..group.clone()
        };
        let mut groups: Vec<Group> = self.groups.values().map(rated).collect();
        let first = |group: &Group| match order {
            Order::Flows => group.flows,
            Order::Bytes => group.bytes,
            Order::Packets => group.packets,
            Order::Rate => group.new_bytes,
        };
        groups.sort_by(|a, b| (first(b), b.flows, &a.name).cmp(&(first(a), a.flows, &b.name)));
        groups
    }
}

/// `None` for a flow that has no place among such groups.
fn key(entry: &Entry, by: By) -> Option<Key> {
    let original = &entry.original;
    Some(match by {
        By::Source => Key::Address(original.source.ip()),
        By::Destination => Key::Address(original.destination.ip()),
        By::Nat if entry.is_source_translated() => Key::Address(entry.reply.destination.ip()),
        By::Nat => return None,
        By::State => Key::State(original.protocol, people::state(entry).0),
        By::Protocol => Key::Protocol(original.protocol),
        By::Service if original.has_ports() => Key::Service(original.protocol, original.destination.port()),
        By::Service => Key::Protocol(original.protocol),
    })
}

fn name(key: &Key, services: &Services) -> String {
    match key {
        Key::Address(address) => address.to_string(),
        Key::State(protocol, state) => format!("{} {state}", names::protocol(*protocol)),
        Key::Protocol(protocol) => names::protocol(*protocol),
        Key::Service(protocol, port) => {
            let port = services.name(*protocol, *port).map_or_else(|| port.to_string(), str::to_owned);
            format!("{} {port}", names::protocol(*protocol))
        }
    }
}
