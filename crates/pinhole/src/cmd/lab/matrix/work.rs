//! Runs cells on all cores. What a run gives depends on its cell and its seed alone, so the order does not matter.

use std::io::{IsTerminal, Write};
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use pinhole_world::{Cell, cell, oracle, world};

use super::tally::Tally;
use crate::cmd::lab::ladder::Ladder;

/// Before this nobody wonders.
const PATIENCE: Duration = Duration::from_secs(1);

/// Runs every cell with every seed; `ladders` keeps the packets of one run of each.
pub(super) fn run(cells: &[Cell], seeds: &Range<u64>, jobs: usize, ladders: bool) -> Vec<Tally> {
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::with_capacity(cells.len())));
    let progress = Progress { begin: Instant::now(), all: cells.len(), is_seen: std::io::stderr().is_terminal() };
    std::thread::scope(|scope| {
        for _ in 0..jobs.min(cells.len()) {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(&cell) = cells.get(at) else { return };
                    let tally = run_cell(cell, seeds, ladders);
                    let Ok(mut done) = done.lock() else { return };
                    done.push((at, tally));
                    progress.tell(done.len());
                }
            });
        }
    });
    progress.end();
    let mut done = done.into_inner().unwrap_or_default();
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, tally)| tally).collect()
}

fn run_cell(cell: Cell, seeds: &Range<u64>, ladders: bool) -> Tally {
    let [alice, bob] = cell::pair(cell.conditions);
    let ruling = oracle::rule(&cell.scenario(seeds.start).network, alice, bob);
    let mut runs = Vec::new();
    let mut contradictions = Vec::new();
    for seed in seeds.clone() {
        let direct = cell.run(seed);
        contradictions.extend(world::contradiction(&ruling, direct).map(|what| (seed, what)));
        runs.push((direct, seed));
    }
    // Those that are not direct come first, then the fast ones.
    runs.sort_unstable();
    let direct: Vec<Duration> = runs.iter().filter_map(|(direct, _)| *direct).collect();
    let typical = if direct.len() < runs.len() { runs[0].1 } else { runs[runs.len() / 2].1 };
    let ladder = ladders.then(|| ladder(cell, typical)).flatten();
    Tally { cell, ruling, runs: runs.len() as u64, direct, contradictions, typical, ladder }
}

fn ladder(cell: Cell, seed: u64) -> Option<Ladder> {
    let mut world = cell.world(seed).ok()?;
    world.sim().watch();
    world.run_until_direct(cell::pair(cell.conditions));
    Some(Ladder::of(&world))
}

/// How far it is, on standard error, if somebody looks there.
struct Progress {
    begin: Instant,
    all: usize,
    is_seen: bool,
}

impl Progress {
    fn tell(&self, done: usize) {
        if self.is_seen && self.begin.elapsed() > PATIENCE {
            eprint!("\r\x1b[Kpinhole: {done} of {} cells", self.all);
            let _ = std::io::stderr().flush();
        }
    }

    fn end(&self) {
        if self.is_seen && self.begin.elapsed() > PATIENCE {
            eprint!("\r\x1b[K");
        }
    }
}
