//! SYNs from outside that nobody waits for yet (RFC 5382 REQ-4).
//!
//! A host behind another NAT may open at the same time as ours. An answer to its SYN would end its attempt, so it is
//! answered only after a while, and not at all if ours has sent a SYN by then.

use std::collections::{BTreeMap, VecDeque};

use super::machine::Side;
use super::packet::Endpoint;

/// So many are held at most; one more is dropped without an answer, which is what an attacker gets.
const MOST: usize = 1_024;
/// A longer SYN is dropped without an answer. Headers with all options are 120 bytes; data in a SYN is rare.
const LONGEST: usize = 576;

/// Whom a held SYN is for, and from whom.
type Key<A> = (Endpoint<A>, Endpoint<A>);

/// A SYN and the side that it came from, which is the inside if it goes by hairpinning.
type Syn = (Side, Box<[u8]>);

#[derive(Clone, Debug)]
pub(super) struct Held<A> {
    /// With the tick at which it is answered.
    packets: BTreeMap<Key<A>, (u32, Syn)>,
    /// In the order of their ticks; those that are held no longer are not in `packets`.
    order: VecDeque<(u32, Key<A>)>,
}

impl<A: Copy + Ord> Held<A> {
    pub(super) const fn new() -> Self {
        Self { packets: BTreeMap::new(), order: VecDeque::new() }
    }

    /// Holds a SYN until `tick`; says whether there was room. A repeated one is as good as held.
    pub(super) fn hold(
        &mut self,
        external: Endpoint<A>,
        remote: Endpoint<A>,
        (from, packet): (Side, &[u8]),
        tick: u32,
    ) -> bool {
        let key = (external, remote);
        if self.packets.contains_key(&key) {
            return true;
        }
        if self.order.len() >= MOST || packet.len() > LONGEST {
            return false;
        }
        self.packets.insert(key, (tick, (from, packet.into())));
        self.order.push_back((tick, key));
        true
    }

    /// Somebody waits for it now, and it is forgotten.
    pub(super) fn forget(&mut self, external: Endpoint<A>, remote: Endpoint<A>) {
        if !self.packets.is_empty() {
            self.packets.remove(&(external, remote));
        }
    }

    /// One that nobody has waited for until `tick`.
    pub(super) fn due(&mut self, tick: u32) -> Option<Syn> {
        while let Some((at, key)) = self.order.pop_front_if(|(at, _)| *at <= tick) {
            // It may have been forgotten, and another one of the same key held since.
            if self.packets.get(&key).is_some_and(|(held, _)| *held == at) {
                return self.packets.remove(&key).map(|(_, syn)| syn);
            }
        }
        None
    }

    /// When the first is due.
    pub(super) fn next_due(&self) -> Option<u32> {
        self.order.front().map(|(at, _)| *at)
    }
}
