//! Brings two peers together in the same moment.
//!
//! A peer that wants a path *seeks* another; a peer that may be wanted *watches*. Both questions are held here until both
//! sides can be answered at once, because a punch in which the sides act a round trip apart loses its first packets, and at
//! some NATs poisons the mapping. By the triangle inequality, answers that leave the registry together reach the two sides so
//! that what one then sends arrives at the other's NAT after that side has opened it.
//!
//! It knows keys and tickets, not DNS messages or endpoints. Every question is held for a bounded time.

use std::collections::{BTreeMap, HashMap};

use pinhole_sansio::{Duration, Instant};
use pinhole_wg::Key;

/// A peer that is known but has not asked anything is given this long to ask: two agents that start together are a
/// handshake's loss apart at most times.
const GRACE: Duration = Duration::from_millis(250);

/// Whoever has asked with the option within this time runs an agent, and will watch again soon.
const AGENT_MEMORY: Duration = Duration::from_secs(60);

/// Two that were brought together so short a time ago are still at it: a question that crossed the answer on its way is told
/// the same again.
const JUST_MET: Duration = Duration::from_millis(800);

/// Questions held at once, over all peers. A registry with 1,000 peers that all seek and watch needs 2,000.
const MAX_HELD: usize = 16_384;

/// Seekers named in one answer to a watch: as many SRV records with their addresses as fit a packet of 1,232 octets well.
const MAX_TOLD: usize = 4;

/// Which held question; the caller's number.
pub(crate) type Ticket = u64;

/// A question to be answered now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Release {
    /// Say where the sought peer is, or that nobody knows.
    Seek { ticket: Ticket, to: Key, simultaneous: bool, initiate: bool },
    /// Say who seeks the watcher; nobody, if the time is over.
    Watch { ticket: Ticket, seekers: Vec<Key>, initiate: bool },
}

#[derive(Debug)]
struct Seek {
    ticket: Ticket,
    since: Instant,
    until: Instant,
}

#[derive(Debug)]
struct Watch {
    ticket: Ticket,
    until: Instant,
}

/// See the module. Ordered maps, so that the same questions give the same order of answers.
#[derive(Debug, Default)]
pub(crate) struct Meeting {
    /// Held seeks by (who, whom).
    seeks: BTreeMap<(Key, Key), Seek>,
    watches: BTreeMap<Key, Watch>,
    agents: HashMap<Key, Instant>,
    /// When a peer was first seen to have an endpoint.
    known: HashMap<Key, Instant>,
    /// How often and when a pair (smaller key first) has been brought together: the roles take turns.
    met: HashMap<(Key, Key), Met>,
}

#[derive(Clone, Copy, Debug)]
struct Met {
    times: u32,
    last: Instant,
    /// How often they have met in a row: who has a path does not.
    in_a_row: u32,
    /// Something has changed since.
    is_outdated: bool,
}

/// Meetings that are farther apart have nothing to do with each other.
const ROW: Duration = Duration::from_secs(60);

impl Meeting {
    /// `from` wants a path to `to`. A repeated seek replaces the one before, whose ticket is void.
    /// False if too many are held.
    pub(crate) fn seek(&mut self, now: Instant, ticket: Ticket, from: Key, to: Key, wait: Duration) -> bool {
        if self.is_full() {
            return false;
        }
        self.agents.insert(from, now);
        self.seeks.insert((from, to), Seek { ticket, since: now, until: now + wait });
        true
    }

    /// `from` may be called. A repeated watch replaces the one before, whose ticket is void. False if too many are held.
    pub(crate) fn watch(&mut self, now: Instant, ticket: Ticket, from: Key, wait: Duration) -> bool {
        if self.is_full() {
            return false;
        }
        self.agents.insert(from, now);
        self.watches.insert(from, Watch { ticket, until: now + wait });
        true
    }

    /// Takes the peers that have an endpoint now; forgets those that are gone.
    pub(crate) fn set_known(&mut self, now: Instant, peers: impl Iterator<Item = Key>) {
        let before = core::mem::take(&mut self.known);
        self.known = peers.map(|key| (key, before.get(&key).copied().unwrap_or(now))).collect();
        self.agents.retain(|_, &mut seen| now.since(seen) < AGENT_MEMORY);
        let known = &self.known;
        self.met.retain(|(a, b), _| known.contains_key(a) && known.contains_key(b));
    }

    /// What is known of a peer has changed, and with it what it and those that it has just met have to do: they are brought
    /// together anew.
    pub(crate) fn outdate(&mut self, peer: Key) {
        for ((a, b), met) in &mut self.met {
            met.is_outdated |= *a == peer || *b == peer;
        }
    }

    /// How often the two were brought together in a row, not long after each other.
    pub(crate) fn met_in_a_row(&self, a: Key, b: Key) -> u32 {
        self.met.get(&(a.min(b), a.max(b))).map_or(0, |met| met.in_a_row)
    }

    /// When the two were last brought together.
    pub(crate) fn met_at(&self, a: Key, b: Key) -> Option<Instant> {
        self.met.get(&(a.min(b), a.max(b))).map(|met| met.last)
    }

    /// The questions that can be answered now.
    pub(crate) fn poll(&mut self, now: Instant) -> Vec<Release> {
        let mut releases = Vec::new();
        self.bring_together(now, &mut releases);
        self.end_waits(now, &mut releases);
        releases
    }

    /// When a held question ends its wait.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let seeks = self.seeks.iter().map(|((_, to), seek)| self.end_of(*to, seek));
        seeks.chain(self.watches.values().map(|watch| watch.until)).min()
    }

    /// Answers every seek whose other side can be told as well.
    fn bring_together(&mut self, now: Instant, releases: &mut Vec<Release>) {
        let mut callers: BTreeMap<Key, Vec<Key>> = BTreeMap::new();
        let pairs: Vec<(Key, Key)> = self.seeks.keys().copied().collect();
        for (from, to) in pairs {
            if !self.known.contains_key(&to) || !self.known.contains_key(&from) {
                continue;
            }
            if let Some(initiates) = self.has_just_met(now, from, to) {
                self.release_seek(from, to, true, initiates, releases);
            } else if self.seeks.contains_key(&(from, to)) && self.seeks.contains_key(&(to, from)) {
                let from_initiates = self.take_turn(now, from, to);
                self.release_seek(from, to, true, from_initiates, releases);
                self.release_seek(to, from, true, !from_initiates, releases);
            } else if self.watches.contains_key(&to) && self.seeks.contains_key(&(from, to)) {
                callers.entry(to).or_default().push(from);
            }
        }
        for (watcher, seekers) in callers {
            self.tell_watcher(now, watcher, seekers, releases);
        }
    }

    /// One answer to a watch carries one role for all the seekers it names, so those with the other role wait for the next.
    fn tell_watcher(&mut self, now: Instant, watcher: Key, seekers: Vec<Key>, releases: &mut Vec<Release>) {
        let Some(&first) = seekers.first() else { return };
        let Some(watch) = self.watches.remove(&watcher) else { return };
        let watcher_initiates = self.has_turn(watcher, first);
        let told: Vec<Key> = seekers
            .into_iter()
            .filter(|&seeker| self.has_turn(watcher, seeker) == watcher_initiates)
            .take(MAX_TOLD)
            .collect();
        for &seeker in &told {
            self.take_turn(now, watcher, seeker);
            self.release_seek(seeker, watcher, true, !watcher_initiates, releases);
        }
        releases.push(Release::Watch { ticket: watch.ticket, seekers: told, initiate: watcher_initiates });
    }

    fn end_waits(&mut self, now: Instant, releases: &mut Vec<Release>) {
        let over: Vec<(Key, Key)> =
            self.seeks.iter().filter(|((_, to), seek)| self.end_of(*to, seek) <= now).map(|(&pair, _)| pair).collect();
        for (from, to) in over {
            self.release_seek(from, to, false, true, releases);
        }
        let over: Vec<Key> = self.watches.iter().filter(|(_, w)| w.until <= now).map(|(&key, _)| key).collect();
        for key in over {
            if let Some(watch) = self.watches.remove(&key) {
                releases.push(Release::Watch { ticket: watch.ticket, seekers: Vec::new(), initiate: false });
            }
        }
    }

    /// A seek for a known peer waits only for the grace time; for an unknown one as long as the asker said.
    fn end_of(&self, to: Key, seek: &Seek) -> Instant {
        match self.known.get(&to) {
            Some(&since) => seek.until.min(since.max(seek.since) + GRACE),
            None => seek.until,
        }
    }

    fn release_seek(&mut self, from: Key, to: Key, simultaneous: bool, initiate: bool, releases: &mut Vec<Release>) {
        if let Some(seek) = self.seeks.remove(&(from, to)) {
            releases.push(Release::Seek { ticket: seek.ticket, to, simultaneous, initiate });
        }
    }

    /// Does `a` knock in the attempt that `a` and `b` are at? `None` if they are not at one.
    fn has_just_met(&self, now: Instant, a: Key, b: Key) -> Option<bool> {
        let met =
            self.met.get(&(a.min(b), a.max(b))).filter(|met| !met.is_outdated && now.since(met.last) < JUST_MET)?;
        Some(knocks(a, b, met.times.wrapping_sub(1)))
    }

    /// Is it `a` that knocks when `a` and `b` meet next?
    fn has_turn(&self, a: Key, b: Key) -> bool {
        knocks(a, b, self.met.get(&(a.min(b), a.max(b))).map_or(0, |met| met.times))
    }

    fn take_turn(&mut self, now: Instant, a: Key, b: Key) -> bool {
        let mine = self.has_turn(a, b);
        let before = self.met.get(&(a.min(b), a.max(b)));
        let (times, in_a_row) = before.map_or((0, 0), |met| {
            let in_a_row = if now.since(met.last) < ROW { met.in_a_row } else { 0 };
            (met.times, in_a_row)
        });
        let met = Met { times: times.wrapping_add(1), last: now, in_a_row: in_a_row + 1, is_outdated: false };
        self.met.insert((a.min(b), a.max(b)), met);
        mine
    }

    fn is_full(&self) -> bool {
        self.seeks.len() + self.watches.len() >= MAX_HELD
    }
}

/// The smaller key knocks the first time, then they take turns.
fn knocks(a: Key, b: Key, times: u32) -> bool {
    (a < b) == times.is_multiple_of(2)
}

#[cfg(test)]
mod tests;
