//! What came before, by flow: the last packets, of which those that belong to the one that differs are shown.

use std::collections::VecDeque;
use std::time::Duration;

use pinhole_netfilter::script::{Lookup, Observed, Side, TupleView};

/// So many packets are remembered; what a flow did before them is not shown.
const MOST: usize = 16_384;

/// A packet that was replayed.
pub(super) struct Replayed {
    /// Counted from 1.
    pub(super) number: u64,
    pub(super) at: Duration,
    pub(super) side: Side,
    pub(super) packet: Vec<u8>,
    /// What the kernel did with it.
    pub(super) kernel: Observed,
}

/// The last packets.
#[derive(Default)]
pub(super) struct Recent(VecDeque<Replayed>);

impl Recent {
    /// Remembers one more.
    pub(super) fn push(&mut self, replayed: Replayed) {
        if self.0.len() == MOST {
            self.0.pop_front();
        }
        self.0.push_back(replayed);
    }

    /// The last `count` packets of the flow that `replayed` is of, oldest first.
    pub(super) fn of_flow(&self, replayed: &Replayed, engine: &Observed, count: usize) -> Vec<&Replayed> {
        let flows: Vec<TupleView> = originals(&replayed.kernel).chain(originals(engine)).collect();
        let ends = ends(&replayed.packet);
        let is_of_it = |other: &&Replayed| {
            originals(&other.kernel).any(|flow| flows.contains(&flow))
                || ends.is_some() && ends == self::ends(&other.packet)
        };
        let mut found: Vec<&Replayed> = self.0.iter().rev().filter(is_of_it).take(count).collect();
        found.reverse();
        found
    }
}

fn originals(observed: &Observed) -> impl Iterator<Item = TupleView> {
    observed.entry.iter().map(|entry| entry.original)
}

/// Both ends of a packet, whichever way it goes.
fn ends(packet: &[u8]) -> Option<[TupleView; 2]> {
    let tuple = Lookup::default().tuple(packet)?;
    // A query's type is not that of its answer.
    let ids = if tuple.is_icmp() { (tuple.src_id, tuple.src_id) } else { (tuple.src_id, tuple.dst_id) };
    let there = TupleView { src_id: ids.0, dst_id: ids.1, ..tuple };
    let back = TupleView { src: tuple.dst, dst: tuple.src, src_id: ids.1, dst_id: ids.0, ..tuple };
    Some(if there <= back { [there, back] } else { [back, there] })
}
