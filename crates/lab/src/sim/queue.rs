//! What happens next: moments in the order of time, and of being put there where the time is the same.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, VecDeque};

use pinhole_sansio::Instant;

/// Moments to come.
#[derive(Debug)]
pub(super) struct Queue<T> {
    /// Those of the moment that is now, which need no order.
    current: VecDeque<T>,
    current_at: Instant,
    later: BinaryHeap<Entry<T>>,
    sequence: u64,
}

#[derive(Debug)]
struct Entry<T> {
    at: Instant,
    sequence: u64,
    what: T,
}

impl<T> Queue<T> {
    /// Adds what happens at `at`, which is not before what was taken last.
    pub(super) fn push(&mut self, at: Instant, what: T) {
        if at <= self.current_at {
            return self.current.push_back(what);
        }
        self.sequence += 1;
        self.later.push(Entry { at, sequence: self.sequence, what });
    }

    /// When the next thing happens.
    pub(super) fn next_at(&self) -> Option<Instant> {
        if self.current.is_empty() { self.later.peek().map(|entry| entry.at) } else { Some(self.current_at) }
    }

    /// What happens next, if it happens at `at`.
    pub(super) fn pop_at(&mut self, at: Instant) -> Option<T> {
        // What was put there before the moment came goes first.
        if at > self.current_at {
            self.current_at = at;
        }
        if self.later.peek().is_some_and(|entry| entry.at <= at) {
            return self.later.pop().map(|entry| entry.what);
        }
        self.current.pop_front()
    }
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { current: VecDeque::new(), current_at: Instant::EPOCH, later: BinaryHeap::new(), sequence: 0 }
    }
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<T> Eq for Entry<T> {}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Entry<T> {
    /// The heap gives the greatest first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.sequence).cmp(&(self.at, self.sequence))
    }
}
