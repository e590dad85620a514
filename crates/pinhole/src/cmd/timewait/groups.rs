//! Sockets by where they go: who went out to the same destination shares its ports; who came in to a service takes none.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};

use pinhole_host::netlink::conntrack::{Entry, State, TcpState as Tracked};
use pinhole_host::netlink::sock_diag::TcpState;

use super::machine::Machine;
use super::sample::{Dead, Kind, Sample};

/// Who shares ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Key {
    /// From an address to an end: each socket has a port of the range.
    Out { from: IpAddr, to: SocketAddr },
    /// To a service of this machine.
    In { service: SocketAddr },
}

/// One of them.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) key: Key,
    /// Indexes of the sample's dead sockets.
    pub(super) dead: Vec<usize>,
    pub(super) time_wait: usize,
    pub(super) fin_wait2: usize,
    pub(super) overdue: usize,
    pub(super) living: usize,
    /// Different ports of the range that are taken.
    pub(super) used: u32,
    ports: PortSet,
    /// Entries of connection tracking that are in TIME_WAIT, if they could be read.
    pub(super) tracked: Option<Tracking>,
}

/// What connection tracking has of a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tracking {
    pub(super) time_wait: usize,
    /// When the last of them goes, seconds.
    pub(super) last_s: u32,
}

/// The groups, and what they share.
#[derive(Clone, Debug)]
pub(super) struct Groups {
    /// Most dead sockets first.
    pub(super) groups: Vec<Group>,
    /// Ports of the range on which somebody listens.
    pub(super) blocked: u32,
}

impl Groups {
    /// Sorts a sample out; `tracked` is the TCP part of connection tracking's table, where it could be read.
    pub(super) fn of(machine: &Machine, sample: &Sample, tracked: Option<&[Entry]>) -> Self {
        let pool = machine.pool(0);
        let in_range = |port: u16| (pool.low..=pool.high).contains(&port);
        let listens: HashSet<u16> =
            sample.living.iter().filter(|s| s.state == TcpState::Listen).map(|s| s.local.port()).collect();
        let key = |local: SocketAddr, remote: SocketAddr| {
            let (from, to) = (local.ip().to_canonical(), SocketAddr::new(remote.ip().to_canonical(), remote.port()));
            match in_range(local.port()) && !listens.contains(&local.port()) {
                true => Key::Out { from, to },
                false => Key::In { service: SocketAddr::new(from, local.port()) },
            }
        };
        let mut groups: HashMap<Key, Group> = HashMap::new();
        for (at, dead) in sample.dead.iter().enumerate() {
            let key = key(dead.socket.local, dead.socket.remote);
            let group = groups.entry(key).or_insert_with(|| Group::new(key));
            group.add(at, dead);
            group.ports.insert(dead.socket.local.port());
        }
        for socket in sample.living.iter().filter(|socket| socket.state != TcpState::Listen) {
            // What is bound only, or closed, has no peer.
            if socket.remote.port() == 0 {
                continue;
            }
            let key = key(socket.local, socket.remote);
            let group = groups.entry(key).or_insert_with(|| Group::new(key));
            group.living += 1;
            group.ports.insert(socket.local.port());
        }
        if let Some(entries) = tracked {
            groups.values_mut().for_each(|group| group.tracked = Some(Tracking::default()));
            for (key, entry) in
                entries.iter().filter(|entry| is_time_wait(entry)).map(|entry| (of_entry(&key, entry), entry))
            {
                let group = groups.entry(key).or_insert_with(|| Group::new(key));
                let tracking = group.tracked.get_or_insert_default();
                tracking.time_wait += 1;
                tracking.last_s = tracking.last_s.max(entry.timeout_s.unwrap_or(0));
            }
        }
        let mut groups: Vec<Group> = groups.into_values().collect();
        for group in &mut groups {
            group.used = group.ports.count(pool.low, pool.high);
        }
        groups.sort_by_key(|group| (std::cmp::Reverse(group.dead.len() + group.living), group.key));
        let blocked = listens.iter().filter(|port| in_range(**port)).count() as u32;
        Self { groups, blocked }
    }

    /// How many dead sockets each process-less state has, and how many are overdue.
    pub(super) fn totals(&self) -> (usize, usize, usize) {
        let sum = |of: fn(&Group) -> usize| self.groups.iter().map(of).sum();
        (sum(|g| g.time_wait), sum(|g| g.fin_wait2), sum(|g| g.overdue))
    }
}

impl Group {
    fn new(key: Key) -> Self {
        Self {
            key,
            dead: Vec::new(),
            time_wait: 0,
            fin_wait2: 0,
            overdue: 0,
            living: 0,
            used: 0,
            ports: PortSet::default(),
            tracked: None,
        }
    }

    fn add(&mut self, at: usize, dead: &Dead) {
        self.dead.push(at);
        self.overdue += usize::from(dead.is_overdue());
        match dead.kind {
            Kind::TimeWait => self.time_wait += 1,
            Kind::FinWait2 | Kind::FinWait2Whole => self.fin_wait2 += 1,
        }
    }
}

/// A bit for each port, as far as there is one.
#[derive(Clone, Debug, Default)]
struct PortSet(Vec<u64>);

impl PortSet {
    fn insert(&mut self, port: u16) {
        let word = usize::from(port / 64);
        if word >= self.0.len() {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << (port % 64);
    }

    /// How many there are from `low` to `high`.
    fn count(&self, low: u16, high: u16) -> u32 {
        let all = |upto: u32| {
            let (words, bits) = ((upto / 64) as usize, upto % 64);
            let whole: u32 = self.0.iter().take(words).map(|word| word.count_ones()).sum();
            whole + self.0.get(words).map_or(0, |word| (word & ((1 << bits) - 1)).count_ones())
        };
        all(u32::from(high) + 1).saturating_sub(all(u32::from(low)))
    }
}

fn is_time_wait(entry: &Entry) -> bool {
    matches!(entry.state, Some(State::Tcp { state: Tracked::TimeWait, .. }))
}

fn of_entry(key: &impl Fn(SocketAddr, SocketAddr) -> Key, entry: &Entry) -> Key {
    key(entry.original.source, entry.original.destination)
}

/// Per death, how many: for a line of bars.
pub(super) fn histogram(calendar: &[(f64, usize)], columns: usize, until_s: f64) -> Vec<u64> {
    let mut counts = vec![0; columns];
    for &(at_s, count) in calendar {
        let column = (at_s / until_s * columns as f64) as usize;
        counts[column.min(columns - 1)] += count as u64;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_count_once_and_within_the_range() {
        let mut ports = PortSet::default();
        for port in [0, 63, 64, 64, 1023, 32_768, 60_999, 65_535] {
            ports.insert(port);
        }
        let cases = [(0, 65_535, 7), (64, 64, 1), (32_768, 60_999, 2), (1, 63, 1), (65_535, 65_535, 1), (5, 4, 0)];
        for (low, high, count) in cases {
            assert_eq!(ports.count(low, high), count, "{low}-{high}");
        }
        assert_eq!(PortSet::default().count(0, 65_535), 0);
    }

    #[test]
    fn a_histogram_loses_nobody() {
        assert_eq!(histogram(&[(0.0, 1), (30.0, 2), (59.9, 3), (99.0, 4)], 2, 60.0), [1, 9]);
    }
}
