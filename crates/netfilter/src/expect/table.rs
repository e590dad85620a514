//! The table of expectations.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use pinhole_sansio::Instant;

use super::{Class, ExpectId, Expectation, Flags, Keymap, MasterId, Policy, Refused};
use crate::tuple::{Address, Tuple};

/// Events that wait at most. An older one is lost then, as with a full netlink socket.
const MAX_EVENTS: usize = 16_384;

/// What an expectation is looked up by: destination address, port and protocol, which no mask covers.
type Destination<A> = (A, u16, u8);

/// All expectations.
///
/// Bounded by `max` (`nf_conntrack_expect_max`). Keeps no time: every call that may meet something old says what time it
/// is, and [`poll_timeout`](Self::poll_timeout) says when [`expire`](Self::expire) would do something.
#[derive(Clone, Debug)]
pub struct Expectations<A: Address> {
    all: BTreeMap<ExpectId, Expectation<A>>,
    by_destination: BTreeMap<Destination<A>, Vec<ExpectId>>,
    by_master: BTreeMap<MasterId, Vec<ExpectId>>,
    by_expiry: BTreeSet<(Instant, ExpectId)>,
    keymap: Keymap<A>,
    next: u64,
    max: usize,
    listening: bool,
    events: VecDeque<Event<A>>,
}

/// What happened to an expectation (`IPEXP_NEW`, `IPEXP_DESTROY`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<A: Address> {
    /// It was added.
    New(Expectation<A>),
    /// It was met, evicted or replaced, or its time was over, or its master's.
    Destroy(Expectation<A>),
}

/// Whose expectations the same expectation of another flow is compared with (`NF_CT_EXP_F_SKIP_MASTER`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Masters {
    /// The same of another master clashes: all helpers but one.
    Own,
    /// The same of another master is [`Refused::Already`]: SIP's streams.
    Any,
}

impl<A: Address> Expectations<A> {
    /// The kernel's default of `nf_conntrack_expect_max`: four times 1,024 buckets.
    pub const DEFAULT_MAX: usize = 4_096;

    /// An empty table that holds at most `max`.
    pub fn new(max: usize) -> Self {
        Self {
            all: BTreeMap::new(),
            by_destination: BTreeMap::new(),
            by_master: BTreeMap::new(),
            by_expiry: BTreeSet::new(),
            keymap: Keymap::new(),
            next: 0,
            max,
            listening: false,
            events: VecDeque::new(),
        }
    }

    /// Whether events are kept for [`poll_event`](Self::poll_event). At first they are not.
    pub fn listen(&mut self, listening: bool) {
        self.listening = listening;
    }

    /// Sets `nf_conntrack_expect_max`. What is there stays.
    pub fn set_max(&mut self, max: usize) {
        self.max = max;
    }

    /// Adds an expectation under the limits of its class. The same one of the same master is replaced; the oldest of its
    /// class goes if the class is full. Says when it ends by itself: `policy.timeout` from `now`.
    ///
    /// # Errors
    /// Why not; then nothing was added, but what stood in its way may be gone.
    pub fn add(&mut self, now: Instant, expectation: Expectation<A>, policy: Policy) -> Result<ExpectId, Refused> {
        self.add_among(now, expectation, policy, Masters::Own)
    }

    /// As [`add`](Self::add), and says what the same expectation of another master means.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub fn add_among(
        &mut self,
        now: Instant,
        mut expectation: Expectation<A>,
        policy: Policy,
        masters: Masters,
    ) -> Result<ExpectId, Refused> {
        self.expire(now);
        if let Some(same) = self.same(&expectation, masters)? {
            self.remove(same);
        }
        if policy.max > 0 {
            while self.count(expectation.master, expectation.class) >= policy.max {
                let oldest = self.of_master(expectation.master).find(|(_, other)| other.class == expectation.class);
                let oldest = oldest.map(|(id, _)| id).expect("a class that is full has a member");
                self.remove(oldest);
            }
        }
        if self.all.len() >= self.max {
            return Err(Refused::Full);
        }
        expectation.expires = now + policy.timeout;
        Ok(self.insert(expectation))
    }

    /// The expectation that a flow beginning with `tuple` in `zone` meets, if its master is in the table and not leaving,
    /// which `is_alive` says. It is gone then, with its sibling, unless it is PERMANENT.
    pub fn find(
        &mut self,
        now: Instant,
        zone: u16,
        tuple: &Tuple<A>,
        is_alive: impl FnOnce(MasterId) -> bool,
    ) -> Option<Expectation<A>> {
        if self.all.is_empty() {
            return None;
        }
        self.expire(now);
        let (id, found) = self.lookup(zone, tuple).find(|(_, e)| !e.flags.contains(Flags::INACTIVE))?;
        let found = *found;
        if !is_alive(found.master) {
            return None;
        }
        if !found.flags.contains(Flags::PERMANENT) {
            self.remove(id);
        }
        if let Some(sibling) = found.sibling {
            self.remove_met_by(zone, &sibling);
        }
        Some(found)
    }

    /// Removes one, if it is still there.
    pub fn remove(&mut self, id: ExpectId) -> Option<Expectation<A>> {
        let gone = self.all.remove(&id)?;
        let destination = destination(&gone.tuple);
        forget(&mut self.by_destination, &destination, id);
        forget(&mut self.by_master, &gone.master, id);
        self.by_expiry.remove(&(gone.expires, id));
        self.tell(Event::Destroy(gone));
        Some(gone)
    }

    /// Removes the one that a flow beginning with `tuple` in `zone` would meet, INACTIVE or not.
    pub fn remove_met_by(&mut self, zone: u16, tuple: &Tuple<A>) -> Option<Expectation<A>> {
        let (id, _) = self.lookup(zone, tuple).next()?;
        self.remove(id)
    }

    /// Removes all that `master` has announced, tunnels included: it leaves the table.
    pub fn remove_master(&mut self, master: MasterId) {
        self.keymap.remove(master);
        while let Some(&id) = self.by_master.get(&master).and_then(|ids| ids.last()) {
            self.remove(id);
        }
    }

    /// Gives one a new time to live from now on, and makes it active.
    pub fn refresh(&mut self, id: ExpectId, expires: Instant) {
        let Some(expectation) = self.all.get_mut(&id) else { return };
        self.by_expiry.remove(&(expectation.expires, id));
        expectation.expires = expires;
        expectation.flags.0 &= !Flags::INACTIVE.0;
        self.by_expiry.insert((expires, id));
    }

    /// Removes what is over at `now`.
    pub fn expire(&mut self, now: Instant) {
        while let Some(&(_, id)) = self.by_expiry.first().filter(|(at, _)| *at <= now) {
            self.remove(id);
        }
    }

    /// When the next one is over.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.by_expiry.first().map(|&(at, _)| at)
    }

    /// The next thing that happened, if somebody [listens](Self::listen).
    pub fn poll_event(&mut self) -> Option<Event<A>> {
        self.events.pop_front()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// All, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (ExpectId, &Expectation<A>)> {
        self.all.iter().map(|(&id, expectation)| (id, expectation))
    }

    /// What `master` has announced, oldest first.
    pub fn of_master(&self, master: MasterId) -> impl DoubleEndedIterator<Item = (ExpectId, &Expectation<A>)> {
        let ids = self.by_master.get(&master).map_or(&[][..], Vec::as_slice);
        ids.iter().map(|&id| (id, &self.all[&id]))
    }

    /// Changes what `master` has announced, but not whom it is for nor when it ends.
    pub(crate) fn change_of_master(&mut self, master: MasterId, mut change: impl FnMut(&mut Expectation<A>)) {
        for id in self.by_master.get(&master).map_or(&[][..], Vec::as_slice) {
            if let Some(expectation) = self.all.get_mut(id) {
                change(expectation);
            }
        }
    }

    /// What flows that begin with `tuple` in `zone` meet.
    pub fn lookup(&self, zone: u16, tuple: &Tuple<A>) -> impl Iterator<Item = (ExpectId, &Expectation<A>)> {
        let (zone, tuple) = (zone, *tuple);
        self.to(tuple).filter(move |(_, e)| e.zone == zone && e.is_met_by(&tuple))
    }

    /// The call ids of PPTP's tunnels.
    pub fn keymap(&self) -> &Keymap<A> {
        &self.keymap
    }

    pub(crate) fn keymap_mut(&mut self) -> &mut Keymap<A> {
        &mut self.keymap
    }

    /// The one that `expectation` replaces.
    fn same(&self, expectation: &Expectation<A>, masters: Masters) -> Result<Option<ExpectId>, Refused> {
        for (id, other) in self.to(expectation.tuple).filter(|(_, other)| other.zone == expectation.zone) {
            let comparable = masters == Masters::Any || other.master == expectation.master;
            if comparable && (other.tuple, other.mask) == (expectation.tuple, expectation.mask) {
                let own = (other.class, other.master) == (expectation.class, expectation.master);
                return if own { Ok(Some(id)) } else { Err(Refused::Already) };
            }
            if other.mask.and(&expectation.mask).same(&other.tuple, &expectation.tuple) {
                return Err(Refused::Busy);
            }
        }
        Ok(None)
    }

    fn insert(&mut self, expectation: Expectation<A>) -> ExpectId {
        let id = ExpectId(self.next);
        self.next += 1;
        self.by_destination.entry(destination(&expectation.tuple)).or_default().push(id);
        self.by_master.entry(expectation.master).or_default().push(id);
        self.by_expiry.insert((expectation.expires, id));
        self.all.insert(id, expectation);
        self.tell(Event::New(expectation));
        id
    }

    /// All with the destination of `tuple`.
    fn to(&self, tuple: Tuple<A>) -> impl Iterator<Item = (ExpectId, &Expectation<A>)> {
        let ids = self.by_destination.get(&destination(&tuple)).map_or(&[][..], Vec::as_slice);
        ids.iter().map(|&id| (id, &self.all[&id]))
    }

    fn count(&self, master: MasterId, class: Class) -> usize {
        self.of_master(master).filter(|(_, e)| e.class == class).count()
    }

    fn tell(&mut self, event: Event<A>) {
        if !self.listening {
            return;
        }
        if self.events.len() == MAX_EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }
}

impl<A: Address> Default for Expectations<A> {
    fn default() -> Self {
        Self::new(Self::DEFAULT_MAX)
    }
}

fn destination<A: Address>(tuple: &Tuple<A>) -> Destination<A> {
    (tuple.dst, tuple.dst_id, tuple.protocol)
}

fn forget<K: Ord>(index: &mut BTreeMap<K, Vec<ExpectId>>, key: &K, id: ExpectId) {
    if let Some(ids) = index.get_mut(key) {
        ids.retain(|&other| other != id);
        if ids.is_empty() {
            index.remove(key);
        }
    }
}

#[cfg(test)]
mod tests;
