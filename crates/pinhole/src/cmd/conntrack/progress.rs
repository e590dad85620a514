//! How far a large capture is: on standard error, if somebody looks there and it takes more than a second.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// Before this nobody wonders.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often it is told.
const PERIOD: Duration = Duration::from_millis(250);
/// How many packets go by before the clock is looked at.
const STRIDE: u64 = 1_024;

/// Tells.
pub(super) struct Progress {
    next: Instant,
    told: bool,
    looked_at: bool,
}

impl Progress {
    /// `is_alone`: nothing else is written to the terminal meanwhile.
    pub(super) fn new(is_alone: bool) -> Self {
        let looked_at = is_alone && std::io::stderr().is_terminal();
        Self { next: Instant::now() + PATIENCE, told: false, looked_at }
    }

    /// So many packets are done, and so much of the capture is read, in parts of one.
    pub(super) fn tell(&mut self, packets: u64, read: Option<f64>) {
        if !self.looked_at || !packets.is_multiple_of(STRIDE) || Instant::now() < self.next {
            return;
        }
        self.next = Instant::now() + PERIOD;
        self.told = true;
        let share = read.map_or_else(String::new, |read| format!(", {:.0} %", read * 100.0));
        eprint!("\r\x1b[Kpinhole: {packets} packets{share}");
        let _ = std::io::stderr().flush();
    }

    /// Takes the line away.
    pub(super) fn end(&mut self) {
        if self.told {
            eprint!("\r\x1b[K");
        }
    }
}
