//! What the tests share: the Internet in a box with the real programs on it, traffic through the tunnels, and a witness.
//!
//! A [`World`](world::World) has a public host and two homes; [`Pinhole`](pinhole::Pinhole) is the real binary on one of
//! them; a [`Stream`](traffic::Stream) is numbered data through the tunnel; the [`Witness`](witness::Witness) looks at what
//! crosses the Internet, so that no test has to believe what a program says of itself.

pub mod device;
pub mod pinhole;
pub mod plan;
pub mod ready;
pub mod traffic;
pub mod witness;
pub mod world;

use std::time::{Duration, Instant};

/// The bound of every wait; each ends at once when what it waits for is there. Generous, for machines that do much else.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Nothing announces some things (another program's socket, a counter); this is how often they are looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Waits for something that nothing announces.
///
/// # Panics
/// When it does not come within [`PATIENCE`].
pub fn until<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = check() {
            return value;
        }
        assert!(start.elapsed() < PATIENCE, "{what} did not come within {PATIENCE:?}");
        std::thread::sleep(LOOK_AGAIN);
    }
}
