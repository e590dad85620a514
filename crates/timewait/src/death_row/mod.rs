//! The death row of 2.6 to 4.0 (net/ipv4/inet_timewait_sock.c), exactly: what each socket's end depends on.
//!
//! The model: one row for the whole machine. Eight *cells* of 7.5 s, in each a list whose newest socket is killed first; a
//! *hand* that goes from cell to cell, one a tick. A socket that wants 60 s goes into the seventh cell from the hand. A tick
//! kills [`QUOTA`] sockets and one, leaves the rest to a *worker*, and, this is why TIME_WAIT lasts 112.5 s on a busy machine,
//! **does not move the hand**: every full cell costs the ones behind it one more period. Sockets that want less than a few
//! seconds (FIN_WAIT_2 with a short timeout, `tcp_tw_recycle`) go into a row of 32 short slots with a timer of its own.
//!
//! Time comes in as jiffies. [`DeathRow::advance`] does all that is due; then a change at that jiffy may follow, as timers
//! run before packets. Memory is that of the sockets inside, and nothing bounds their number but `tcp_max_tw_buckets`.

mod lists;

use crate::Hz;
use lists::{Lists, NONE};

pub use lists::Handle;

/// `INET_TWDR_TWKILL_SLOTS`.
pub const CELLS: usize = 8;
/// `INET_TWDR_TWKILL_QUOTA`: what a tick kills at most, but it looks after it has killed, so it is one more.
pub const QUOTA: u64 = 100;
/// `INET_TWDR_RECYCLE_SLOTS`.
const SHORT_SLOTS: usize = 32;
/// `INET_TWDR_RECYCLE_SLOTS_LOG`.
const SHORT_SLOTS_LOG: u32 = 5;

/// Who killed a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Killer {
    /// The tick of its cell.
    Tick,
    /// The worker, as the tick had had its quota.
    Worker,
    /// The timer of the short slots.
    Short,
}

/// A socket's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Death<T> {
    /// The jiffy.
    pub at_j: u64,
    /// What came in with it.
    pub value: T,
    /// Who did it.
    pub killer: Killer,
}

/// How often the hand was to move, and how often it did not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ticks {
    /// Ticks with sockets in the row.
    pub all: u64,
    /// Those after which the hand stayed.
    pub stalled: u64,
}

/// The row. `T` is whatever the caller knows a socket by.
#[derive(Clone, Debug)]
pub struct DeathRow<T> {
    hz: Hz,
    worker_delay_j: u64,
    /// Cells first, short slots behind them.
    lists: Lists<T>,
    hand: usize,
    slow_at_j: Option<u64>,
    /// Cells that the worker is to empty, a bit each, and when it runs.
    flags: u8,
    worker_at_j: Option<u64>,
    short: Short,
    ticks: Ticks,
}

/// Where the row of short slots stands.
#[derive(Clone, Copy, Debug)]
struct Short {
    /// `None` while nothing waits there.
    hand: Option<usize>,
    base_j: u64,
    at_j: Option<u64>,
}

impl<T> DeathRow<T> {
    /// An empty row, whose worker runs in the jiffy after the tick that asks for it.
    pub fn new(hz: Hz) -> Self {
        Self::with_worker_delay(hz, 1)
    }

    /// As [`new`](Self::new), with a worker that takes `delay_j` jiffies to run: on a busy machine it may be many.
    pub fn with_worker_delay(hz: Hz, delay_j: u64) -> Self {
        Self {
            hz,
            worker_delay_j: delay_j,
            lists: Lists::new(CELLS + SHORT_SLOTS),
            hand: 0,
            slow_at_j: None,
            flags: 0,
            worker_at_j: None,
            short: Short { hand: None, base_j: 0, at_j: None },
            ticks: Ticks::default(),
        }
    }

    /// Takes a socket in at `now_j` that asks for `timeout_j` jiffies.
    ///
    /// All that is due by then must have been done ([`advance`](Self::advance)).
    pub fn schedule(&mut self, now_j: u64, timeout_j: u64, value: T) -> Handle {
        let list = self.place(now_j, timeout_j);
        self.arm_if_first(now_j);
        self.lists.push(list, value)
    }

    /// A segment starts the time of a socket anew; false if it is not there any more.
    pub fn reschedule(&mut self, now_j: u64, timeout_j: u64, handle: Handle) -> bool {
        if !self.lists.unlink(handle) {
            return false;
        }
        let list = self.place(now_j, timeout_j);
        self.arm_if_first(now_j);
        self.lists.link(list, handle);
        true
    }

    /// Takes a socket out before its time (a RST, reuse, an accepted SYN); `None` if it is not there any more.
    pub fn deschedule(&mut self, handle: Handle) -> Option<T> {
        let value = self.lists.remove(handle)?;
        if self.lists.is_empty() {
            self.slow_at_j = None;
        }
        Some(value)
    }

    /// Does all that is due up to and including `now_j`, in the kernel's order, and tells of each death.
    pub fn advance(&mut self, now_j: u64, mut died: impl FnMut(Death<T>)) {
        while let Some(at_j) = self.next_j().filter(|&at_j| at_j <= now_j) {
            if self.worker_at_j == Some(at_j) {
                self.worker(at_j, &mut died);
            } else if self.slow_at_j == Some(at_j) {
                self.slow_tick(at_j, &mut died);
            } else {
                self.short_tick(at_j, &mut died);
            }
        }
    }

    /// When something is due next.
    pub fn next_j(&self) -> Option<u64> {
        [self.worker_at_j, self.slow_at_j, self.short.at_j].into_iter().flatten().min()
    }

    /// How many sockets wait.
    pub fn len(&self) -> usize {
        self.lists.len()
    }

    /// Whether none does.
    pub fn is_empty(&self) -> bool {
        self.lists.is_empty()
    }

    /// How often the hand stayed.
    pub fn ticks(&self) -> Ticks {
        self.ticks
    }

    /// Puts the list for a timeout in order and names it.
    fn place(&mut self, now_j: u64, timeout_j: u64) -> usize {
        let shift = short_shift(self.hz);
        let slots = timeout_j.div_ceil(1 << shift);
        if slots >= SHORT_SLOTS as u64 {
            return (self.hand + offset(self.hz, timeout_j)) % CELLS;
        }
        let end_j = now_j + (slots << shift);
        let slots = slots as usize;
        let slot = match self.short.hand {
            None => {
                self.short = Short { hand: Some(0), base_j: now_j, at_j: Some(end_j) };
                slots
            }
            Some(hand) => {
                self.short.at_j = self.short.at_j.map(|at_j| at_j.min(end_j));
                (hand + slots) % SHORT_SLOTS
            }
        };
        CELLS + slot
    }

    fn arm_if_first(&mut self, now_j: u64) {
        if self.lists.is_empty() {
            self.slow_at_j = Some(now_j + period_j(self.hz));
        }
    }

    fn slow_tick(&mut self, at_j: u64, died: &mut impl FnMut(Death<T>)) {
        self.slow_at_j = None;
        if self.lists.is_empty() {
            return;
        }
        self.ticks.all += 1;
        let over = self.kill(self.hand, at_j, Killer::Tick, died);
        if over {
            self.ticks.stalled += 1;
            self.flags |= 1 << self.hand;
            self.worker_at_j.get_or_insert(at_j + self.worker_delay_j);
        } else {
            self.hand = (self.hand + 1) % CELLS;
        }
        if over || !self.lists.is_empty() {
            self.slow_at_j = Some(at_j + period_j(self.hz));
        }
    }

    /// Kills from the front; true once it has killed one more than the quota, even if that was the last.
    fn kill(&mut self, list: usize, at_j: u64, killer: Killer, died: &mut impl FnMut(Death<T>)) -> bool {
        for _ in 0..=QUOTA {
            let Some(value) = self.lists.pop(list) else { return false };
            died(Death { at_j, value, killer });
        }
        true
    }

    /// Empties the cells that were left to it, with whatever is in them by now.
    fn worker(&mut self, at_j: u64, died: &mut impl FnMut(Death<T>)) {
        self.worker_at_j = None;
        for cell in 0..CELLS {
            while self.flags & (1 << cell) != 0 {
                if !self.kill(cell, at_j, Killer::Worker, died) {
                    self.flags &= !(1 << cell);
                }
            }
        }
    }

    fn short_tick(&mut self, at_j: u64, died: &mut impl FnMut(Death<T>)) {
        self.short.at_j = None;
        let Some(hand) = self.short.hand else { return };
        let before = self.lists.len();
        let mut moved = false;
        let mut end_j = self.short.base_j;
        let mut rest = None;
        for step in 0..SHORT_SLOTS {
            let slot = (hand + step) % SHORT_SLOTS;
            if end_j <= at_j {
                while let Some(value) = self.lists.pop(CELLS + slot) {
                    died(Death { at_j, value, killer: Killer::Short });
                }
            } else {
                if !moved {
                    moved = true;
                    self.short.base_j = end_j;
                    self.short.hand = Some(slot);
                }
                if self.lists.first(CELLS + slot) != NONE {
                    rest = Some(end_j);
                    break;
                }
            }
            end_j += 1 << short_shift(self.hz);
        }
        self.short.at_j = rest;
        if rest.is_none() {
            self.short.hand = None;
        }
        if self.lists.is_empty() && before > 0 {
            self.slow_at_j = None;
        }
    }
}

/// Jiffies from one tick to the next: an eighth of a minute.
pub const fn period_j(hz: Hz) -> u64 {
    hz.from_s(crate::TIMEWAIT_S) / CELLS as u64
}

/// How many cells ahead of the hand a socket goes that asks for `timeout_j` jiffies.
pub const fn offset(hz: Hz, timeout_j: u64) -> usize {
    let last = CELLS - 1;
    let cells = timeout_j.div_ceil(period_j(hz));
    if timeout_j >= hz.from_s(crate::TIMEWAIT_S) || cells >= last as u64 { last } else { cells as usize }
}

/// Whether `timeout_j` is so short that it goes into the short slots.
pub const fn is_short(hz: Hz, timeout_j: u64) -> bool {
    timeout_j.div_ceil(1 << short_shift(hz)) < SHORT_SLOTS as u64
}

/// A short slot is two to this power jiffies (`INET_TWDR_RECYCLE_TICK`): 128 ms for `HZ` 1000 and 250, 160 for 100.
pub const fn short_shift(hz: Hz) -> u32 {
    let log = hz.get().next_power_of_two().trailing_zeros();
    let log = if log < 5 { 5 } else { log };
    let shift = log + 2 - SHORT_SLOTS_LOG;
    let most = 12 + 2 - SHORT_SLOTS_LOG;
    if shift > most { most } else { shift }
}

#[cfg(test)]
mod tests;
