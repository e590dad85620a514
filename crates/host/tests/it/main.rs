//! What `host` does on the running kernel, on another one in a guest, and with the programs of others.

use std::thread;
use std::time::{Duration, Instant};

mod embedded;
mod handover;
mod kernel;
mod wireguard;

/// The bound of every wait; each ends at once when what it waits for is there.
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for something that nothing announces.
fn until<T>(mut check: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        match check() {
            Some(value) => return value,
            None => assert!(start.elapsed() < PATIENCE, "it never happened"),
        }
        thread::sleep(Duration::from_millis(5));
    }
}
