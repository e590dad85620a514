//! For tests only: arbitrary bytes for every parser and arbitrary operations for every machine, held to what must always be
//! true.
//!
//! A [`Target`] is a function of bytes that panics when something is not as it must be. The same targets are run by
//! ordinary tests, over bytes of a seed, the corpora in `fuzz/corpus` and changes of them, and by cargo-fuzz, whose targets
//! in `fuzz/` are one line each. A machine reads its bytes as [`Choices`]: which operation, which address, which flags; so
//! any bytes are a valid run, and a shorter prefix is a shorter run.
//!
//! Deliberately not here: knowledge of the answers. What a packet must become is for packet scripts and for the kernel to
//! say; here is what holds whatever the packet.

mod choices;
mod discovery;
mod first_hop;
mod intact;
mod messages;
pub mod nat;
mod packets;
pub mod replay;
pub mod router;
mod stun;
mod texts;

pub use choices::Choices;
pub use intact::intact;

/// A function that takes any bytes, and what it is about.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, which is also that of the file in `fuzz/fuzz_targets` and of the directory in `fuzz/corpus`.
    pub name: &'static str,
    /// Panics if something is not as it must be.
    pub run: fn(&[u8]),
}

/// All of them but netlink's attributes, which are with the system calls.
pub const TARGETS: [Target; 16] = [
    Target { name: "packet_views", run: packets::views },
    Target { name: "packet_lines", run: packets::lines },
    Target { name: "captures", run: packets::captures },
    Target { name: "rules", run: texts::rules },
    Target { name: "scripts", run: texts::scripts },
    Target { name: "router", run: router::run },
    Target { name: "helpers", run: router::run_helpers },
    Target { name: "batches", run: router::run_batches },
    Target { name: "behaviour_nat", run: nat::run },
    Target { name: "dns_messages", run: messages::dns },
    Target { name: "uapi", run: messages::uapi },
    Target { name: "wg_quick", run: messages::quick },
    Target { name: "stun_messages", run: stun::messages },
    Target { name: "stun_client", run: stun::client },
    Target { name: "discovery", run: discovery::run },
    Target { name: "first_hop", run: first_hop::run },
];

/// The target of a name.
///
/// # Panics
/// If there is none.
pub fn target(name: &str) -> Target {
    TARGETS.into_iter().find(|target| target.name == name).unwrap_or_else(|| panic!("there is no target {name}"))
}
