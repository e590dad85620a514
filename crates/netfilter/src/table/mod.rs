//! The table of flows: who is tracked, found by either tuple, in bounded memory.
//!
//! The model: flows lie in a slab and are named by their place; an [index](index::Index) leads from the hash of a tuple and a
//! zone to a flow and a direction, and a second one from a source endpoint to the newest flow that is translated from it. A
//! flow has a place from the moment it is made, but is found only once it is [inserted](Table::insert): until then it belongs
//! to the packet that made it. Whatever only few flows have (a helper, counters, a timeout policy) is kept aside.
//!
//! Expiry is lazy, as in Linux: a lookup that meets an expired flow removes it, and [`Table::sweep`] goes through the rest.

mod audit;
mod flow;
mod hash;
mod index;

use core::ops::Range;
use std::collections::{HashMap, VecDeque};

use pinhole_sansio::{Instant, Rng};

pub use flow::{Counters, Extra, Flow, FlowId, Zone};

use crate::plain::Ends;
use crate::status::{Direction, Status};
use crate::track::State;
use crate::tuple::{Address, Tuple};
pub(crate) use flow::Place;
use flow::{Bits, NOBODY};
use hash::Secret;
use index::Index;

/// The flows of one address family.
#[derive(Debug)]
pub struct Table<A: Address> {
    flows: Vec<Flow<A>>,
    /// The first of the places that are free, linked by [`Flow::newer`].
    free: u32,
    /// Flows that have a place, found or not.
    len: usize,
    /// Values are a place and a direction in the lowest bit.
    index: Index,
    /// Values are places of flows that are the newest of their source.
    sources: Index,
    secret: Secret,
    extras: HashMap<u32, Box<Extra<A>>>,
    /// What has been removed because its time was over, for whoever has to be told.
    expired: VecDeque<Expired<A>>,
    /// Where the sweep goes on.
    swept: usize,
    /// How many flows have been removed: as long as none is, what was found holds.
    removed: u64,
}

/// What is known of a source endpoint, until a flow is removed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source {
    hash: u64,
    /// The newest flow that is translated from it.
    newest: Option<u32>,
    removed: u64,
}

/// A flow whose time was over.
#[derive(Debug)]
pub struct Expired<A: Address> {
    /// Which one it was.
    pub id: FlowId,
    /// As it was.
    pub flow: Flow<A>,
    /// What was kept aside of it.
    pub extra: Option<Box<Extra<A>>>,
}

/// Where a flow may be, as [`Table::likely`] says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Likely(u32);

impl Likely {
    /// Nowhere.
    pub(crate) const NOWHERE: Self = Self(NOBODY);

    #[inline]
    pub(crate) const fn is_nowhere(self) -> bool {
        self.0 == NOBODY
    }
}

impl<A: Address> Table<A> {
    /// An empty table that takes `capacity` flows before it grows; the seed makes its hashes unguessable.
    pub fn new(capacity: usize, rng: &mut Rng) -> Self {
        Self {
            flows: Vec::with_capacity(capacity),
            free: NOBODY,
            len: 0,
            index: Index::with_capacity(2 * capacity),
            sources: Index::with_capacity(capacity),
            secret: Secret::new(rng),
            extras: HashMap::new(),
            expired: VecDeque::new(),
            swept: 0,
            removed: 0,
        }
    }

    /// The flow that has this tuple in this zone, and in which direction. One whose time is over is removed instead.
    #[inline]
    pub fn find(&mut self, now: Instant, tuple: &Tuple<A>, zone: u16) -> Option<(u32, Direction)> {
        self.find_in(now, tuple, Zone { id: zone, only: None }, Direction::Original)
    }

    /// [`find`](Self::find), where a direction of a zone may be in another one: the tuple is looked for among those of
    /// `by`, and what is found belongs to the zone as its own direction does (`nf_ct_key_equal`).
    #[inline]
    pub(crate) fn find_in(
        &mut self,
        now: Instant,
        tuple: &Tuple<A>,
        zone: Zone,
        by: Direction,
    ) -> Option<(u32, Direction)> {
        let (ends, protocol) = (Ends::of(tuple), tuple.protocol);
        let hash = self.hash(&ends, protocol, zone.in_direction(by));
        let place = self.find_hashed(now, hash, &ends, protocol, zone, by)?;
        Some((place.at, place.direction))
    }

    #[inline]
    fn find_hashed(
        &mut self,
        now: Instant,
        hash: u64,
        ends: &Ends<A>,
        protocol: u8,
        zone: Zone,
        by: Direction,
    ) -> Option<Place> {
        let id = zone.in_direction(by);
        let value = self.index.find(hash, |value| {
            let Place { at, direction } = Place::from_bits(value);
            zone.in_direction(direction) == id && self.flows[at as usize].is(ends, protocol, id, direction)
        })?;
        let place = Place::from_bits(value);
        if self.flows[place.at as usize].expires <= now {
            self.expire(place.at);
            return None;
        }
        Some(place)
    }

    /// The flow outside all zones that has a tuple of this hash, whether or not its time is over.
    #[inline]
    pub(crate) fn lookup(&self, hash: u64, ends: &Ends<A>, protocol: u8) -> Option<Place> {
        let value = self.index.find(hash, |value| {
            let place = Place::from_bits(value);
            self.flows[place.at as usize].is_unzoned(ends, protocol, place.direction)
        })?;
        Some(Place::from_bits(value))
    }

    /// The hash of a tuple in a zone.
    #[inline]
    pub(crate) fn hash(&self, ends: &Ends<A>, protocol: u8, zone: u16) -> u64 {
        self.secret.hash(ends, protocol, zone)
    }

    /// Reads the first memory that [`lookup`](Self::lookup) will read, for a batch: what it gives means nothing.
    #[inline]
    pub(crate) fn touch_index(&self, hash: u64) -> u32 {
        self.index.touch(hash)
    }

    /// Reads where the flows from the source of a tuple outside all zones are listed.
    #[inline]
    pub(crate) fn touch_source(&self, ends: &Ends<A>, protocol: u8) -> u32 {
        self.sources.touch(self.secret.hash_source(ends, protocol, 0))
    }

    /// Where [`lookup`](Self::lookup) will most likely find a flow of this hash.
    #[inline]
    pub(crate) fn likely(&self, hash: u64) -> Likely {
        Likely(self.index.likely(hash).unwrap_or(NOBODY))
    }

    /// Reads the first cache line of a flow that may be the one, and if asked for the second one, where its tracker's state is.
    #[inline]
    pub(crate) fn touch(&self, Likely(place): Likely, whole: bool) -> u32 {
        let Some(flow) = self.flows.get((place >> 1) as usize) else { return 0 };
        let second = whole && matches!(flow.state, State::Generic);
        flow.mark ^ u32::from(second)
    }

    /// Whether the flow that is most likely the one of a tuple is the one.
    #[inline]
    pub(crate) fn confirm(&self, Likely(place): Likely, ends: &Ends<A>, protocol: u8) -> Option<Place> {
        let place = Place::from_bits(place);
        let flow = self.flows.get(place.at as usize)?;
        flow.is_unzoned(ends, protocol, place.direction).then_some(place)
    }

    /// Makes a flow that is not found yet.
    #[inline(always)]
    pub fn add(&mut self, flow: Flow<A>) -> u32 {
        self.len += 1;
        if self.free == NOBODY {
            self.flows.push(flow);
            return (self.flows.len() - 1) as u32;
        }
        let at = self.free;
        let place = &mut self.flows[at as usize];
        self.free = place.newer;
        let generation = place.generation;
        *place = flow;
        place.generation = generation;
        at
    }

    /// Makes a flow findable, in one direction only or in both, whoever else has its tuples. Where both directions are the
    /// same, it is the reply that is found.
    pub fn insert(&mut self, at: u32, only: Option<Direction>) {
        for direction in [Direction::Reply, Direction::Original] {
            if only.is_none_or(|only| only == direction) {
                let place = Place { at, direction };
                self.enter(self.hash_of(place), place);
            }
        }
        let flow = &mut self.flows[at as usize];
        flow.status |= Status::CONFIRMED;
        flow.bits.put(Bits::REPLY_ONLY, only == Some(Direction::Reply));
    }

    /// Makes a flow findable in both directions, if no other one has either tuple.
    ///
    /// # Errors
    /// The flow that has the original tuple, or else that has the reply tuple.
    pub(crate) fn insert_if_free(&mut self, now: Instant, at: u32) -> Result<(), u32> {
        let mut hashes = [0; 2];
        for direction in [Direction::Original, Direction::Reply] {
            let flow = &self.flows[at as usize];
            let (ends, protocol, zone) = (flow.ends(direction), flow.protocol(), flow.zone);
            let hash = self.hash(&ends, protocol, zone.in_direction(direction));
            if let Some(other) = self.find_hashed(now, hash, &ends, protocol, zone, direction) {
                return Err(other.at);
            }
            hashes[direction.index()] = hash;
        }
        for direction in [Direction::Reply, Direction::Original] {
            self.enter(hashes[direction.index()], Place { at, direction });
        }
        self.flows[at as usize].status |= Status::CONFIRMED;
        Ok(())
    }

    fn enter(&mut self, hash: u64, place: Place) {
        let (flows, secret) = (&self.flows, &self.secret);
        self.index.insert(hash, place.bits(), |value| hash_at(flows, secret, Place::from_bits(value)));
        // Only a direction that is in a zone of its own can have the tuple of another flow: then the newer one is found, as in
        // Linux's chains.
        if flows[place.at as usize].zone.only.is_some()
            && let Some(first) = self.index.find(hash, |value| have_same_tuple(flows, Place::from_bits(value), place))
        {
            self.index.swap(hash, first, place.bits());
        }
    }

    /// Removes a flow, found or not.
    pub fn remove(&mut self, at: u32) -> (Flow<A>, Option<Box<Extra<A>>>) {
        self.removed += 1;
        let flow = self.flows[at as usize].clone();
        if flow.status.contains(Status::CONFIRMED) {
            for direction in [Direction::Original, Direction::Reply] {
                if direction == Direction::Reply || !flow.bits.contains(Bits::REPLY_ONLY) {
                    let place = Place { at, direction };
                    self.index.remove(self.hash_of(place), place.bits());
                }
            }
        }
        self.unlink_source(at);
        let extra = if flow.bits.contains(Bits::HAS_EXTRA) { self.extras.remove(&at) } else { None };
        let place = &mut self.flows[at as usize];
        place.generation = place.generation.wrapping_add(1);
        place.status = Status::default();
        place.bits.put(Bits::IS_FREE, true);
        place.bits.put(Bits::HAS_EXTRA, false);
        place.newer = self.free;
        self.free = at;
        self.len -= 1;
        (flow, extra)
    }

    /// The flow at a place.
    #[inline]
    pub fn flow(&self, at: u32) -> &Flow<A> {
        &self.flows[at as usize]
    }

    /// The flow at a place, to be changed in everything that it is not found by.
    #[inline]
    pub fn flow_mut(&mut self, at: u32) -> &mut Flow<A> {
        &mut self.flows[at as usize]
    }

    /// What names the flow at a place for good.
    pub fn id(&self, at: u32) -> FlowId {
        FlowId { at, generation: self.flows[at as usize].generation }
    }

    /// The place of a flow, if it still is the one that had this name.
    pub fn place(&self, id: FlowId) -> Option<u32> {
        let flow = self.flows.get(id.at as usize)?;
        (!flow.bits.contains(Bits::IS_FREE) && flow.generation == id.generation).then_some(id.at)
    }

    /// What is kept aside of a flow.
    #[inline]
    pub fn extra(&self, at: u32) -> Option<&Extra<A>> {
        if !self.flows[at as usize].bits.contains(Bits::HAS_EXTRA) {
            return None;
        }
        self.extras.get(&at).map(|extra| &**extra)
    }

    /// What is kept aside of a flow, if anything is.
    #[inline]
    pub fn extra_mut(&mut self, at: u32) -> Option<&mut Extra<A>> {
        if !self.flows[at as usize].bits.contains(Bits::HAS_EXTRA) {
            return None;
        }
        self.extras.get_mut(&at).map(|extra| &mut **extra)
    }

    /// The flow, and what is kept aside of it.
    pub(crate) fn parts(&mut self, at: u32) -> (&mut Flow<A>, Option<&mut Extra<A>>) {
        let flow = &mut self.flows[at as usize];
        let extra =
            if flow.bits.contains(Bits::HAS_EXTRA) { self.extras.get_mut(&at).map(|extra| &mut **extra) } else { None };
        (flow, extra)
    }

    /// Makes room aside for a flow.
    pub fn make_extra(&mut self, at: u32) -> &mut Extra<A> {
        let flow = &mut self.flows[at as usize];
        flow.bits.put(Bits::HAS_EXTRA, true);
        flow.ways = [None, None];
        self.extras.entry(at).or_default()
    }

    /// Enters a flow as the newest that is translated from its source endpoint.
    pub fn link_source(&mut self, at: u32) {
        let source = self.source_of(at);
        self.link_source_as(at, &source);
    }

    /// What is known of the source endpoint of a flow.
    pub(crate) fn source_of(&self, at: u32) -> Source {
        let flow = &self.flows[at as usize];
        let hash = hash_source_of(&self.secret, flow);
        let newest = self.sources.find(hash, |value| self.flows[value as usize].has_same_source(flow));
        Source { hash, newest, removed: self.removed }
    }

    /// [`link_source`](Self::link_source), when it is known what the source is.
    pub(crate) fn link_source_as(&mut self, at: u32, source: &Source) {
        if source.removed != self.removed {
            return self.link_source(at);
        }
        let Source { hash, newest, .. } = *source;
        if let Some(newest) = newest {
            self.sources.replace(hash, newest, at);
            self.flows[newest as usize].newer = at;
        } else {
            let (flows, secret) = (&self.flows, &self.secret);
            let again = |value: u32| hash_source_of(secret, &flows[value as usize]);
            self.sources.insert(hash, at, again);
        }
        let flow = &mut self.flows[at as usize];
        flow.older = newest.unwrap_or(NOBODY);
        flow.newer = NOBODY;
        flow.bits.put(Bits::HAS_SOURCE, true);
    }

    /// The flows that are translated from the source endpoint of `like`, newest first.
    pub fn same_source<'a>(&'a self, like: &Flow<A>) -> impl Iterator<Item = &'a Flow<A>> {
        let hash = hash_source_of(&self.secret, like);
        self.newest_first(self.sources.find(hash, |value| self.flows[value as usize].has_same_source(like)))
    }

    /// The flows that are translated from a source endpoint, newest first.
    pub(crate) fn of_source(&self, source: &Source) -> impl Iterator<Item = &Flow<A>> {
        self.newest_first(source.newest)
    }

    fn newest_first(&self, newest: Option<u32>) -> impl Iterator<Item = &Flow<A>> {
        let next = |flow: &&Flow<A>| (flow.older != NOBODY).then(|| &self.flows[flow.older as usize]);
        core::iter::successors(newest.map(|at| &self.flows[at as usize]), next)
    }

    /// Removes from the nearest eight buckets those flows of the first bucket with any that are not ASSURED
    /// (`early_drop`). Says how many.
    pub fn drop_early(&mut self, tuple: &Tuple<A>, zone: u16, buckets: usize) -> usize {
        let hash = self.hash(&Ends::of(tuple), tuple.protocol, zone);
        let spared = |at: u32| {
            let status = self.flows[at as usize].status;
            status.intersects(Status::ASSURED | Status::FIXED_TIMEOUT | Status::DYING)
        };
        let mut victims: Vec<u32> = Vec::new();
        for bucket in self.index.neighbours(hash, buckets) {
            victims.extend(bucket.map(|value| Place::from_bits(value).at).filter(|&at| !spared(at)));
            if !victims.is_empty() {
                break;
            }
        }
        victims.sort_unstable();
        victims.dedup();
        for &at in &victims {
            self.expire(at);
        }
        victims.len()
    }

    /// Looks at `count` places and removes what is over; says whether it has come round.
    pub fn sweep(&mut self, now: Instant, count: usize, mut early: impl FnMut(&Flow<A>) -> bool) -> bool {
        let end = self.flows.len().min(self.swept.saturating_add(count));
        for at in self.swept..end {
            let flow = &self.flows[at];
            if !flow.bits.contains(Bits::IS_FREE)
                && flow.status.contains(Status::CONFIRMED)
                && (flow.expires <= now || early(flow))
            {
                self.expire(at as u32);
            }
        }
        self.swept = if end == self.flows.len() { 0 } else { end };
        self.swept == 0
    }

    /// Forgets by which interfaces packets leave.
    pub(crate) fn forget_ways(&mut self) {
        for flow in &mut self.flows {
            flow.ways = [None, None];
        }
    }

    /// The next flow that was removed because its time was over.
    pub fn poll_expired(&mut self) -> Option<Expired<A>> {
        self.expired.pop_front()
    }

    /// Every flow that is found, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (FlowId, &Flow<A>)> {
        let there = |(_, flow): &(usize, &Flow<A>)| {
            !flow.bits.contains(Bits::IS_FREE) && flow.status.contains(Status::CONFIRMED)
        };
        let name = |(at, flow): (usize, &'_ Flow<A>)| FlowId { at: at as u32, generation: flow.generation };
        self.flows.iter().enumerate().filter(there).map(move |(at, flow)| (name((at, flow)), flow))
    }

    /// Flows that have a place, those that are not found included.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many bytes of memory it has.
    pub fn bytes(&self) -> usize {
        let extras = self.extras.capacity() * (size_of::<u32>() + size_of::<Box<Extra<A>>>());
        self.flows.capacity() * size_of::<Flow<A>>() + self.index.bytes() + self.sources.bytes() + extras
    }

    /// Where the memory of the flows and of their indexes is, for a host that gives it larger pages: every packet meets it at
    /// another place. It is valid until something is added.
    pub fn memory(&self) -> [Range<*const u8>; 3] {
        let Range { start, .. } = self.flows.as_ptr_range();
        let end = start.wrapping_add(self.flows.capacity());
        [start.cast()..end.cast(), self.index.memory(), self.sources.memory()]
    }

    /// Removes a flow whose time is over, and remembers that for [`poll_expired`](Self::poll_expired).
    pub(crate) fn expire(&mut self, at: u32) {
        let id = self.id(at);
        let (flow, extra) = self.remove(at);
        self.expired.push_back(Expired { id, flow, extra });
    }

    fn unlink_source(&mut self, at: u32) {
        let Flow { bits, older, newer, .. } = self.flows[at as usize];
        if !bits.contains(Bits::HAS_SOURCE) {
            return;
        }
        if newer == NOBODY {
            let hash = self.source_hash(at);
            if older == NOBODY {
                self.sources.remove(hash, at);
            } else {
                self.sources.replace(hash, at, older);
            }
        } else {
            self.flows[newer as usize].older = older;
        }
        if older != NOBODY {
            self.flows[older as usize].newer = newer;
        }
        self.flows[at as usize].bits.put(Bits::HAS_SOURCE, false);
    }

    fn source_hash(&self, at: u32) -> u64 {
        hash_source_of(&self.secret, &self.flows[at as usize])
    }

    fn hash_of(&self, place: Place) -> u64 {
        hash_at(&self.flows, &self.secret, place)
    }
}

fn hash_at<A: Address>(flows: &[Flow<A>], secret: &Secret, place: Place) -> u64 {
    let flow = &flows[place.at as usize];
    secret.hash(&flow.ends(place.direction), flow.protocol(), flow.zone.in_direction(place.direction))
}

/// Whether directions of two flows are told apart by nothing.
fn have_same_tuple<A: Address>(flows: &[Flow<A>], one: Place, other: Place) -> bool {
    let [one_flow, other_flow] = [one, other].map(|place| &flows[place.at as usize]);
    let (ends, zone) = (other_flow.ends(other.direction), other_flow.zone.in_direction(other.direction));
    one_flow.is(&ends, other_flow.protocol(), zone, one.direction)
}

fn hash_source_of<A: Address>(secret: &Secret, flow: &Flow<A>) -> u64 {
    let direction = Direction::Original;
    secret.hash_source(&flow.ends(direction), flow.protocol(), flow.zone.in_direction(direction))
}

#[cfg(test)]
mod tests;
