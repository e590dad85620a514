//! The death row for cohorts: as [`DeathRow`](crate::DeathRow), for sockets that all ask for a minute.

use super::cohort::Cohort;
use super::draw::Draw;
use super::outcome::Recorder;
use crate::Hz;
use crate::death_row::{CELLS, QUOTA, Ticks, period_j};

#[derive(Clone, Debug)]
pub(super) struct Row {
    period_j: u64,
    worker_delay_j: u64,
    /// Newest last.
    cells: [Vec<Cohort>; CELLS],
    hand: usize,
    slow_at_j: Option<u64>,
    flags: u8,
    worker_at_j: Option<u64>,
    len: u64,
    ticks: Ticks,
}

impl Row {
    pub(super) fn new(hz: Hz, worker_delay_j: u64) -> Self {
        Self {
            period_j: period_j(hz),
            worker_delay_j,
            cells: Default::default(),
            hand: 0,
            slow_at_j: None,
            flags: 0,
            worker_at_j: None,
            len: 0,
            ticks: Ticks::default(),
        }
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn ticks(&self) -> Ticks {
        self.ticks
    }

    pub(super) fn event_j(&self) -> Option<u64> {
        [self.worker_at_j, self.slow_at_j].into_iter().flatten().min()
    }

    /// Takes a cohort in that came after the last event; into an empty row one socket only, as its moment sets the clock.
    pub(super) fn take(&mut self, cohort: Cohort) {
        if self.len == 0 {
            self.slow_at_j = Some(cohort.from as u64 + self.period_j);
        }
        self.len += cohort.count;
        self.cells[(self.hand + CELLS - 1) % CELLS].push(cohort);
    }

    pub(super) fn advance(&mut self, now_j: u64, draw: &mut Draw, recorder: &mut Recorder) {
        while let Some(at_j) = self.event_j().filter(|&at_j| at_j <= now_j) {
            if self.worker_at_j == Some(at_j) {
                self.worker_at_j = None;
                let flags = self.flags;
                for cell in (0..CELLS).filter(|cell| flags & (1 << cell) != 0) {
                    self.kill(cell, u64::MAX, at_j, draw, recorder);
                }
                self.flags = 0;
            } else {
                self.tick(at_j, draw, recorder);
            }
        }
    }

    fn tick(&mut self, at_j: u64, draw: &mut Draw, recorder: &mut Recorder) {
        self.slow_at_j = None;
        if self.len == 0 {
            return;
        }
        self.ticks.all += 1;
        let killed = self.kill(self.hand, QUOTA + 1, at_j, draw, recorder);
        let over = killed > QUOTA;
        if over {
            self.ticks.stalled += 1;
            self.flags |= 1 << self.hand;
            self.worker_at_j.get_or_insert(at_j + self.worker_delay_j);
        } else {
            self.hand = (self.hand + 1) % CELLS;
        }
        if over || self.len > 0 {
            self.slow_at_j = Some(at_j + self.period_j);
        }
    }

    /// Kills the newest, at most `most`; how many it were.
    fn kill(&mut self, cell: usize, most: u64, at_j: u64, draw: &mut Draw, recorder: &mut Recorder) -> u64 {
        let mut killed = 0;
        while let Some(newest) = self.cells[cell].last_mut().filter(|_| killed < most) {
            let before = newest.count;
            newest.take_newest(most - killed, draw, |born_j| recorder.died(born_j, at_j));
            killed += before - newest.count;
            if newest.count == 0 {
                self.cells[cell].pop();
            }
        }
        self.len -= killed;
        killed
    }
}
