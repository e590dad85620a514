//! The clocks of production: monotonic for machines, wall time for handshakes.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pinhole_sansio::{Deadline, Instant};

/// Turns the monotonic clock into the machines' time, whose epoch is the creation of this value.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: std::time::Instant,
}

impl Clock {
    /// A clock whose epoch is now.
    pub fn start() -> Self {
        Self { start: std::time::Instant::now() }
    }

    /// The time now.
    pub fn now(&self) -> Instant {
        Instant::EPOCH + self.start.elapsed()
    }

    /// Time since the Unix epoch.
    pub fn wall() -> Duration {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }

    /// Sleeps until a deadline, or for ever if there is none.
    pub async fn sleep_until<Why>(&self, deadline: Option<Deadline<Why>>) {
        match deadline {
            Some(deadline) => {
                let at = self.start + deadline.at.since(Instant::EPOCH);
                tokio::time::sleep_until(at.into()).await;
            }
            None => std::future::pending().await,
        }
    }
}

/// A seed for transaction ids and pauses, from the kernel.
pub fn seed() -> u64 {
    let mut bytes = [0; 8];
    // The kernel's pool is ready long before any program of ours runs; were it not, time is unpredictable enough here.
    match rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::NONBLOCK) {
        Ok(8) => u64::from_ne_bytes(bytes),
        _ => Clock::wall().as_nanos() as u64,
    }
}
