//! Everything the router has of one address family.

use pinhole_sansio::{Instant, Rng};

use super::route::Routes;
use super::short::Terms;
use crate::conntrack::{Conntrack, Seen};
use crate::fragment::Reassembly;
use crate::headers::Family;
use crate::rules::{Hook, Passes, Ruleset, TableName};
use crate::table::Flow;

/// What the router has of one address family.
#[derive(Debug)]
pub(super) struct Stack<A: Family> {
    pub(super) conntrack: Conntrack<A>,
    pub(super) rules: Ruleset<A>,
    pub(super) routes: Routes<A>,
    /// Fragments that wait for others.
    pub(super) reassembly: Reassembly<A>,
    /// What pieces of an IPv6 packet have in common is drawn from it.
    pub(super) identifications: Rng,
    /// Whether there are rules in nat: then every flow has its translation decided, if only to be none.
    pub(super) translates: bool,
    /// What conntrack said of the last packet; nothing if it did not get that far.
    pub(super) said: Option<Seen>,
    /// What every interface takes, in bytes.
    pub(super) shortest_mtu: u16,
    /// What flows must be whose packets go the short way, if any may.
    pub(super) terms: Option<Terms>,
    /// Hooks at which some rule may have something to say, as bits by table.
    pub(super) busy: [u8; 4],
}

/// The share of the table above which flows that are as good as over go early: 95 %.
const PRESSURE: (usize, usize) = (95, 100);

impl<A: Family> Stack<A> {
    pub(super) fn new(conntrack: Conntrack<A>, seed: u64) -> Self {
        Self {
            conntrack,
            rules: Ruleset::new(),
            routes: Routes::new(),
            reassembly: Reassembly::new(),
            identifications: Rng::from_seed(seed),
            translates: false,
            said: None,
            shortest_mtu: u16::MAX,
            terms: Some(Terms::new(false, Passes::Unasked)),
            busy: [0; 4],
        }
    }

    pub(super) fn set_rules(&mut self, rules: Ruleset<A>) {
        // Whether packets are translated decides where they go.
        self.conntrack.table.forget_ways();
        self.translates = rules.table(TableName::Nat).is_some();
        for table in TableName::ALL {
            let busy = Hook::ALL.into_iter().filter(|&hook| !rules.is_idle(table, hook));
            self.busy[table as usize] = busy.fold(0, |bits, hook| bits | 1 << hook as u8);
        }
        self.rules = rules;
        self.terms = self.terms();
    }

    /// Whether a rule of `table` may have something to say at `hook`.
    #[inline]
    pub(super) fn is_busy(&self, table: TableName, hook: Hook) -> bool {
        self.busy[table as usize] & 1 << hook as u8 != 0
    }

    /// Removes what is over, and under pressure what is as good as over (`gc_worker`).
    pub(super) fn sweep(&mut self, now: Instant) {
        let max = self.conntrack.settings.max as usize;
        let count = self.conntrack.table.len() + self.conntrack.others;
        let pressed = max > 0 && count * PRESSURE.1 > max * PRESSURE.0;
        let may_go =
            |flow: &Flow<A>| pressed && (!flow.status.contains(crate::Status::ASSURED) || flow.state.is_closing());
        self.conntrack.table.sweep(now, usize::MAX, may_go);
        self.conntrack.bury(now);
        self.conntrack.expectations.expire(now);
    }
}
