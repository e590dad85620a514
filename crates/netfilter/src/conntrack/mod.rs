//! Connection tracking of one address family: what happens to a packet at priority -200 and, last, at confirm
//! (`net/netfilter/nf_conntrack_core.c`).
//!
//! [`Conntrack::enter`] finds or makes the flow of a packet and lets its tracker judge; [`Conntrack::translate`] makes the
//! packet look as its flow is translated; [`Conntrack::confirm`] shows it to its helper and puts a new flow in the table.
//! What was made for a packet that gets no further is removed by [`Conntrack::leave`].

mod confirm;
mod enter;
mod event;
mod statistics;
mod translate;

use core::time::Duration;
use std::collections::{HashMap, VecDeque};

use pinhole_sansio::{Instant, Rng};

pub(crate) use confirm::Unconfirmed;
pub(crate) use enter::{Ask, Stopped};
pub use event::{Event, Happened};
pub use statistics::Statistics;
pub(crate) use translate::Untranslated;

use crate::expect::Expectations;
use crate::helper;
use crate::nat::Dice;
use crate::settings::{Settings, Timeouts};
use crate::status::{CtInfo, Status};
use crate::table::{Extra, Flow, FlowId, Table};
use crate::tuple::{Address, GRE};

/// The flows of one address family, and all that is known of them.
#[derive(Debug)]
pub struct Conntrack<A: Address> {
    /// The flows.
    pub table: Table<A>,
    /// Flows that others have announced.
    pub expectations: Expectations<A>,
    /// The settings, under the kernel's names.
    pub settings: Settings,
    /// The parameters of the helpers.
    pub helpers: helper::Settings,
    /// Timeout policies that rules name (`CT --timeout`).
    pub policies: HashMap<String, Timeouts>,
    /// What is drawn at random.
    pub dice: Dice,
    /// What was counted.
    pub statistics: Statistics,
    /// The address that answers to the last new flow go to, which is a good guess for the next one.
    pub(crate) mapped: A,
    /// Flows of the other family, which count against the limit.
    pub(crate) others: usize,
    listening: bool,
    events: VecDeque<Event<A>>,
    /// What the packet under way has done to its flow.
    happened: Happened,
    /// Whether a helper has had the packet under way gathered into one piece.
    gathered: bool,
}

/// What conntrack says of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// It has no flow and cannot have one.
    Invalid,
    /// It is not to have one.
    Untracked,
    /// It belongs to the flow at a place of the table.
    Flow {
        /// Where the flow is.
        at: u32,
        /// What the packet is in it.
        info: CtInfo,
    },
}

/// Events that wait to be fetched, at most; older ones are lost and counted.
const MOST_EVENTS: usize = 65_536;

impl<A: Address> Conntrack<A> {
    /// No flows; the seed makes hashes unguessable and draws repeatable.
    pub fn new(settings: Settings, capacity: usize, seed: u64) -> Self {
        let mut rng = Rng::from_seed(seed);
        Self {
            table: Table::new(capacity, &mut rng),
            expectations: Expectations::new(settings.expect_max as usize),
            helpers: helper::Settings::of(&settings.personality),
            settings,
            policies: HashMap::new(),
            dice: Dice::from_seed(rng.next_u64()),
            statistics: Statistics::default(),
            mapped: A::UNSPECIFIED,
            others: 0,
            listening: false,
            events: VecDeque::new(),
            happened: Happened::default(),
            gathered: false,
        }
    }

    /// Whether somebody listens, so that there are events.
    pub fn listen(&mut self, listening: bool) {
        self.listening = listening;
        self.expectations.listen(listening);
    }

    /// The next event, when somebody listens.
    pub fn poll_event(&mut self) -> Option<Event<A>> {
        self.events.pop_front()
    }

    /// The packet is done with: what it has done is told, and a flow that it made and that nothing confirmed goes.
    #[inline]
    pub(crate) fn leave(&mut self, now: Instant, seen: Seen) {
        if let Seen::Flow { at, .. } = seen {
            let status = self.table.flow(at).status;
            if status.contains(Status::DYING) {
                self.table.expire(at);
            } else if !status.contains(Status::CONFIRMED) {
                self.discard(at);
            } else if self.happened != Happened::default() {
                self.tell(at);
            }
        }
        self.happened = Happened::default();
        self.bury(now);
    }

    /// Tells of flows whose time was over, and forgets what they announced.
    #[inline]
    pub(crate) fn bury(&mut self, _now: Instant) {
        while let Some(gone) = self.table.poll_expired() {
            if let Some(extra) = &gone.extra {
                self.forget(gone.id, gone.flow.protocol(), extra);
            }
            if self.listening {
                self.push(Event { id: gone.id, happened: Happened::DESTROY, flow: gone.flow });
            }
        }
    }

    /// Removes a flow that was never in the table, and what its first packet has announced.
    pub(crate) fn discard(&mut self, at: u32) {
        let id = self.table.id(at);
        let (flow, extra) = self.table.remove(at);
        if let Some(extra) = extra {
            self.forget(id, flow.protocol(), &extra);
        }
    }

    /// Forgets what a flow has announced. The end of a tunnel's flow makes its master's call ids unknown, even if the flow was
    /// never in the table (`gre_conntrack_destroy`).
    #[cold]
    fn forget(&mut self, id: FlowId, protocol: u8, extra: &Extra<A>) {
        if extra.helper.is_some() {
            self.expectations.remove_master(id.into());
        }
        if let Some(master) = extra.master.filter(|_| protocol == GRE) {
            self.expectations.keymap_mut().remove(master);
        }
    }

    /// Removes a flow as `conntrack -D` does.
    pub fn delete(&mut self, now: Instant, at: u32) {
        self.table.expire(at);
        self.bury(now);
    }

    /// Removes every flow that `is_meant` (`nf_ct_iterate_cleanup_net`).
    pub fn delete_all(&mut self, now: Instant, mut is_meant: impl FnMut(&Flow<A>) -> bool) {
        let meant: Vec<_> = self.table.iter().filter(|(_, flow)| is_meant(flow)).map(|(id, _)| id).collect();
        for id in meant {
            if let Some(at) = self.table.place(id) {
                self.table.expire(at);
            }
        }
        self.bury(now);
    }

    /// Gives every flow that a listing shows another time to live from now on, as user space may (`ctnetlink_change_timeout`); one
    /// that gets none is deleted.
    pub fn set_timeouts(&mut self, now: Instant, mut left: impl FnMut(&Flow<A>) -> Option<Duration>) {
        let shown = |flow: &Flow<A>| !flow.status.intersects(Status::FIXED_TIMEOUT | Status::DYING);
        let all: Vec<_> = self.table.iter().filter(|(_, flow)| shown(flow)).map(|(id, _)| id).collect();
        for id in all {
            let Some(at) = self.table.place(id) else { continue };
            match left(self.table.flow(at)) {
                Some(left) => self.table.flow_mut(at).expires = now + left,
                None => self.table.expire(at),
            }
        }
        self.bury(now);
    }

    /// Whether a helper has had the packet under way gathered into one piece, so that it does not leave in those in which it
    /// came (`skb_linearize`).
    pub(crate) fn take_gathered(&mut self) -> bool {
        core::mem::take(&mut self.gathered)
    }

    /// Another packet goes before the one under way: what that has done is kept for [`resume`](Self::resume).
    pub(crate) fn set_aside(&mut self) -> Happened {
        core::mem::take(&mut self.happened)
    }

    /// The packet under way goes on.
    pub(crate) fn resume(&mut self, happened: Happened) {
        self.happened = happened;
    }

    /// The packet under way has done something to its flow.
    pub(crate) fn happened(&mut self, what: Happened) {
        self.happened |= what;
    }

    fn tell(&mut self, at: u32) {
        if self.listening && self.settings.events != 0 {
            let event = Event { id: self.table.id(at), happened: self.happened, flow: self.table.flow(at).clone() };
            self.push(event);
        }
    }

    fn push(&mut self, event: Event<A>) {
        if self.events.len() == MOST_EVENTS {
            self.events.pop_front();
            self.statistics.events_lost += 1;
        }
        self.events.push_back(event);
    }
}

#[cfg(test)]
mod tests;
