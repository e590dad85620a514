//! What must hold of a table whatever has been done to it, looked at from all sides at once. For tests: it takes time in
//! proportion to the table.

use std::collections::{HashMap, HashSet};

use super::flow::Bits;
use super::flow::{Flow, NOBODY, Place};
use super::{Table, hash_at, hash_source_of};
use crate::status::{Direction, Status};
use crate::tuple::Address;

impl<A: Address> Table<A> {
    /// Looks for a contradiction between the slab, both indexes, the lists by source and what is kept aside.
    ///
    /// # Errors
    /// The first one found, in words. It is a bug of the table or of whoever changes it, never a matter of packets.
    pub fn audit(&self) -> Result<(), String> {
        self.audit_places()?;
        self.audit_tuples()?;
        self.audit_sources()
    }

    /// A place is free or has a flow, never both, and the counts agree.
    fn audit_places(&self) -> Result<(), String> {
        let (mut free, mut at) = (HashSet::new(), self.free);
        while at != NOBODY {
            let place = self.flows.get(at as usize).ok_or_else(|| format!("free place {at} is none"))?;
            ensure(place.bits.contains(Bits::IS_FREE), || {
                format!("place {at} is in the list of free ones and has {}", say(place))
            })?;
            ensure(free.insert(at), || format!("free place {at} is listed twice"))?;
            at = place.newer;
        }
        for (at, flow) in self.flows.iter().enumerate() {
            let listed = free.contains(&(at as u32));
            ensure(flow.bits.contains(Bits::IS_FREE) == listed, || format!("free place {at} is in no list"))?;
            let aside = self.extras.contains_key(&(at as u32));
            ensure(flow.bits.contains(Bits::HAS_EXTRA) == aside, || {
                format!("place {at}: something is kept aside of it, or should be")
            })?;
        }
        let taken = self.flows.len() - free.len();
        ensure(taken == self.len, || format!("{taken} flows, counted as {}", self.len))?;
        let aside = self.flows.iter().filter(|flow| flow.bits.contains(Bits::HAS_EXTRA)).count();
        ensure(aside == self.extras.len(), || format!("{} are kept aside, of {aside} flows", self.extras.len()))
    }

    /// A tuple in its zone has one owner, and leads to it.
    fn audit_tuples(&self) -> Result<(), String> {
        let (mut owners, mut found) = (HashMap::new(), 0);
        for (at, flow) in self.taken() {
            if !flow.status.contains(Status::CONFIRMED) {
                continue;
            }
            for direction in [Direction::Original, Direction::Reply] {
                if direction == Direction::Original && flow.bits.contains(Bits::REPLY_ONLY) {
                    continue;
                }
                found += 1;
                let (tuple, zone) = (flow.tuple(direction), flow.zone.in_direction(direction));
                if let Some(other) = owners.insert((tuple, zone), at) {
                    ensure(other == at, || format!("{tuple} in zone {zone} is that of {other} and of {at}"))?;
                }
                let bits = Place { at, direction }.bits();
                let hash = hash_at(&self.flows, &self.secret, Place { at, direction });
                ensure(self.index.find(hash, |value| value == bits).is_some(), || {
                    format!("{tuple} in zone {zone} does not lead to {at}, {direction} direction")
                })?;
            }
        }
        let all = self.index.audit(|value| hash_at(&self.flows, &self.secret, Place::from_bits(value)))?;
        ensure(all == found, || format!("the index has {all} tuples, the flows {found}"))
    }

    /// Each flow that is translated from its source is in the list of that source once, between its neighbours.
    fn audit_sources(&self) -> Result<(), String> {
        let mut heads = 0;
        for (at, flow) in self.taken().filter(|(_, flow)| flow.bits.contains(Bits::HAS_SOURCE)) {
            let neighbour = |place: u32, back: fn(&Flow<A>) -> u32| {
                let other = self.flows.get(place as usize);
                place == NOBODY
                    || other.is_some_and(|other| {
                        !other.bits.contains(Bits::IS_FREE)
                            && other.bits.contains(Bits::HAS_SOURCE)
                            && back(other) == at
                            && other.has_same_source(flow)
                    })
            };
            ensure(neighbour(flow.older, |other| other.newer), || format!("{at} and the older {} differ", flow.older))?;
            ensure(neighbour(flow.newer, |other| other.older), || format!("{at} and the newer {} differ", flow.newer))?;
            let head = self.sources.find(self.source_hash(at), |value| value == at);
            ensure(head.is_some() == (flow.newer == NOBODY), || format!("{at} and the first of its source differ"))?;
            heads += usize::from(head.is_some());
        }
        let sources: HashSet<_> =
            self.taken().filter(|(_, flow)| flow.bits.contains(Bits::HAS_SOURCE)).map(|(_, f)| source(f)).collect();
        ensure(sources.len() == heads, || format!("{heads} lists of {} sources", sources.len()))?;
        let all = self.sources.audit(|value| hash_source_of(&self.secret, &self.flows[value as usize]))?;
        ensure(all == heads, || format!("the index has {all} sources, the flows {heads}"))
    }

    fn taken(&self) -> impl Iterator<Item = (u32, &Flow<A>)> {
        self.flows
            .iter()
            .enumerate()
            .filter(|(_, flow)| !flow.bits.contains(Bits::IS_FREE))
            .map(|(at, flow)| (at as u32, flow))
    }
}

fn source<A: Address>(flow: &Flow<A>) -> (A, u16, u8, u16) {
    let tuple = flow.tuple(Direction::Original);
    (tuple.src, tuple.src_id, tuple.protocol, flow.zone.in_direction(Direction::Original))
}

fn say<A: Address>(flow: &Flow<A>) -> String {
    format!("{} ({})", flow.tuple(Direction::Original), flow.status)
}

fn ensure(holds: bool, or: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(or()) }
}
