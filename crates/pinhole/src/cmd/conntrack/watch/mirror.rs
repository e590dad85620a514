//! The flows that have been seen, to be held against the table after events were lost.
//!
//! It is as large as the part of the table that passes the filter, and no larger: every end that is seen or found takes
//! one out.

use std::collections::{HashMap, HashSet};

use pinhole_host::netlink::conntrack::{Entry, Event};

/// Flows by the kernel's number.
#[derive(Debug, Default)]
pub(super) struct Mirror {
    known: HashMap<u32, Entry>,
    /// What the table said after a loss has begun or ended, and whose own event may still come. Both begin anew with each
    /// loss.
    told_new: HashSet<u32>,
    told_ended: HashSet<u32>,
}

impl Mirror {
    pub(super) fn new(table: Vec<Entry>) -> Self {
        Self { known: by_id(table), ..Self::default() }
    }

    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// Takes an event whose entry passes the filter or not; says whether it is to be shown. What was shown when it began
    /// is shown when it ends, too, although the event of the end says less.
    pub(super) fn take(&mut self, event: &Event, matches: bool) -> bool {
        match event {
            Event::New(entry) => {
                self.told_ended.remove(&entry.id);
                if matches {
                    self.known.insert(entry.id, entry.clone());
                }
                !self.told_new.remove(&entry.id) && matches
            }
            Event::Updated(entry) => {
                if matches {
                    self.known.insert(entry.id, entry.clone());
                }
                matches
            }
            Event::Ended(entry) => {
                let known = self.known.remove(&entry.id).is_some();
                self.told_new.remove(&entry.id);
                !self.told_ended.remove(&entry.id) && (known || matches)
            }
        }
    }

    /// What must have happened since, for the table to be as it is: ends first, then changes of state, then beginnings.
    pub(super) fn resynchronise(&mut self, table: Vec<Entry>) -> Vec<Event> {
        let now = by_id(table);
        let before = std::mem::take(&mut self.known);
        self.told_new.clear();
        self.told_ended.clear();
        let mut events = Vec::new();
        for (id, known) in &before {
            if !now.get(id).is_some_and(|entry| is_same(known, entry)) {
                self.told_ended.insert(*id);
                events.push(Event::Ended(Entry { timeout_s: None, ..known.clone() }));
            }
        }
        for (id, entry) in &now {
            match before.get(id).filter(|known| is_same(known, entry)) {
                Some(known) if known.state.map(|s| s.name()) == entry.state.map(|s| s.name()) => {}
                Some(_) => events.push(Event::Updated(entry.clone())),
                None => {
                    // A number that is used again is alive.
                    self.told_ended.remove(id);
                    self.told_new.insert(*id);
                    events.push(Event::New(entry.clone()));
                }
            }
        }
        self.known = now;
        events
    }
}

fn by_id(table: Vec<Entry>) -> HashMap<u32, Entry> {
    table.into_iter().map(|entry| (entry.id, entry)).collect()
}

/// Whether two entries with one number are one flow.
fn is_same(a: &Entry, b: &Entry) -> bool {
    a.original == b.original && a.reply == b.reply
}

#[cfg(test)]
mod tests {
    use pinhole_host::netlink::conntrack::{State, TcpState, Tuple};

    use super::*;

    fn flow(id: u32, port: u16, state: TcpState) -> Entry {
        let (a, b) = (([10, 0, 0, 1], port).into(), ([10, 0, 0, 2], 80).into());
        let state = Some(State::Tcp { state, sides: [None; 2] });
        Entry { id, state, ..Entry::new(Tuple::new(6, a, b), Tuple::new(6, b, a)) }
    }

    /// Kinds and numbers, in the order of numbers.
    fn told(events: &[Event]) -> Vec<(&'static str, u32)> {
        let mut told: Vec<_> = events
            .iter()
            .map(|event| match event {
                Event::New(entry) => ("new", entry.id),
                Event::Updated(entry) => ("updated", entry.id),
                Event::Ended(entry) => ("ended", entry.id),
            })
            .collect();
        told.sort_by_key(|&(kind, id)| (id, kind));
        told
    }

    use TcpState::{Established, SynSent};

    #[test]
    fn after_a_loss_the_table_tells_what_was_missed() {
        let mut mirror = Mirror::new(vec![flow(1, 1, SynSent), flow(2, 2, SynSent), flow(3, 3, SynSent)]);
        // 1 stays, 2 is established, 3 ended, 4 began; 5 began and ended unseen.
        let table = vec![flow(1, 1, SynSent), flow(2, 2, Established), flow(4, 4, SynSent)];
        assert_eq!(told(&mirror.resynchronise(table)), [("updated", 2), ("ended", 3), ("new", 4)]);
        assert_eq!(mirror.len(), 3);
    }

    #[test]
    fn what_the_table_told_is_not_told_again_by_a_late_event() {
        let mut mirror = Mirror::new(vec![flow(3, 3, SynSent)]);
        mirror.resynchronise(vec![flow(4, 4, SynSent)]);
        assert!(!mirror.take(&Event::New(flow(4, 4, SynSent)), true));
        assert!(!mirror.take(&Event::Ended(flow(3, 3, SynSent)), true));
        assert!(mirror.take(&Event::New(flow(3, 7, SynSent)), true), "the number is used again");
        assert!(mirror.take(&Event::Ended(flow(3, 7, SynSent)), true));
    }

    #[test]
    fn a_flow_that_begins_while_the_table_is_first_read_is_told_by_its_event() {
        let mut mirror = Mirror::new(vec![flow(1, 1, SynSent)]);
        assert!(mirror.take(&Event::New(flow(1, 1, SynSent)), true));
        assert!(mirror.take(&Event::Ended(flow(1, 1, SynSent)), true));
    }

    #[test]
    fn a_number_that_was_used_again_meanwhile_is_one_end_and_one_beginning() {
        let mut mirror = Mirror::new(vec![flow(1, 1, SynSent)]);
        assert_eq!(told(&mirror.resynchronise(vec![flow(1, 9, SynSent)])), [("ended", 1), ("new", 1)]);
        assert!(mirror.take(&Event::Ended(flow(1, 9, SynSent)), true));
    }

    #[test]
    fn the_end_of_a_flow_that_was_shown_is_shown_and_of_others_not() {
        let mut mirror = Mirror::default();
        assert!(mirror.take(&Event::New(flow(1, 1, SynSent)), true));
        assert!(!mirror.take(&Event::New(flow(2, 2, SynSent)), false));
        assert!(mirror.take(&Event::Ended(flow(1, 1, SynSent)), false));
        assert!(!mirror.take(&Event::Ended(flow(2, 2, SynSent)), false));
        assert_eq!(mirror.len(), 0);
    }
}
