//! What every sans-IO core of pinhole shares: time that comes in as an argument, deadlines that say why, seeded
//! randomness, and the [`Machine`] contract with its conformance check.
//!
//! Nothing here reads a clock, a random device or a socket. The production runtime and the simulator both drive the same
//! machines; only where `now` and the bytes come from differs.

mod machine;
mod rng;
mod time;

pub use core::time::Duration;
pub use machine::{Machine, conformance};
pub use rng::Rng;
pub use time::{Deadline, Instant};
