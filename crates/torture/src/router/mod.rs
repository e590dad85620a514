//! A router under arbitrary packets and operations.
//!
//! Everything is played three times: packet by packet, with somebody watching, and in batches. Each must say and send the
//! same, and leave the same behind: so a watch changes nothing, a batch is what its packets are one after another, and the
//! same seed gives the same bytes.

mod check;
mod make;
mod past;
mod places;
mod rules;
mod talk;
mod world;

use pinhole_netfilter::{InterfaceId, Packet, Verdict};
use pinhole_wire::text;

pub use world::WORDS;
use world::World;

/// Any operations.
///
/// # Panics
/// If something is not as it must be.
pub fn run(bytes: &[u8]) {
    every_way(bytes, Mix::All);
}

/// Mostly conversations that helpers listen to.
///
/// # Panics
/// If something is not as it must be.
pub fn run_helpers(bytes: &[u8]) {
    every_way(bytes, Mix::Helpers);
}

/// Mostly batches of packets that come in together.
///
/// # Panics
/// If something is not as it must be.
pub fn run_batches(bytes: &[u8]) {
    every_way(bytes, Mix::Batches);
}

/// How often the router told of each of the [`WORDS`] while `bytes` were played, so that a test can see that runs reach what
/// they are for.
///
/// # Panics
/// As [`run`].
pub fn heard(bytes: &[u8], mix: Mix) -> [u64; WORDS.len()] {
    World::new(bytes, mix, Way::Watched).hear()
}

/// Which operations there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mix {
    /// All.
    All,
    /// Conversations that helpers listen to.
    Helpers,
    /// Packets that come in together.
    Batches,
}

impl Mix {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::All, Self::Helpers, Self::Batches];
}

/// How packets are given to the router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// One at a time.
    Alone,
    /// One at a time, with somebody watching.
    Watched,
    /// Those that come in together at once.
    Together,
}

fn every_way(bytes: &[u8], mix: Mix) {
    let alone = World::new(bytes, mix, Way::Alone).play();
    for way in [Way::Watched, Way::Together] {
        let other = World::new(bytes, mix, way).play();
        for (alone, other) in alone.iter().zip(&other) {
            assert!(alone == other, "played alone: {}\n{way:?}: {}", alone.line(), other.line());
        }
        assert_eq!(alone.len(), other.len());
    }
}

/// What the router has said or sent.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    Verdict(Verdict, Packet),
    Sent(InterfaceId, Packet),
    Logged(pinhole_netfilter::router::Logged),
    Event(String),
    Left(String),
}

impl Said {
    /// For people.
    fn line(&self) -> String {
        match self {
            Self::Verdict(verdict, packet) => {
                format!("{verdict:?} mark {} {}", packet.mark, text::write(&packet.bytes))
            }
            Self::Sent(by, packet) => format!("{by:?} {}", text::write(&packet.bytes)),
            Self::Logged(logged) => format!("{logged:?}"),
            Self::Event(text) | Self::Left(text) => text.clone(),
        }
    }
}
