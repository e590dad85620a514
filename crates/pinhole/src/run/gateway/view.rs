//! What a running gateway says of itself, as it goes through the control socket.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What does not change, mostly.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct About {
    /// The interface inside.
    pub inside: String,
    /// The interface outside.
    pub outside: String,
    /// What the outside sees.
    pub external: Ipv4Addr,
    /// Which ports of it; all if absent.
    pub ports: Option<String>,
    /// The behaviour, or whose rules.
    pub does: String,
    /// The process.
    pub process: u32,
}

/// The gateway at one moment.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct View {
    /// What it is.
    #[serde(flatten)]
    pub about: About,
    /// How long it has been up, in seconds.
    pub up_s: u64,
    /// How many flows it knows.
    pub flows: usize,
    /// What went to the inside.
    pub to_inside: Traffic,
    /// What went to the outside.
    pub to_outside: Traffic,
    /// What went no further.
    pub dropped: Vec<Dropped>,
    /// Translations, if they were asked for; the first of them, if they are many.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub translations: Option<Vec<Line>>,
}

/// What went one way. What the kernel hands over in one piece, up to 64 KiB of one flow, is one packet.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Traffic {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

/// Packets that went no further, for one reason.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Dropped {
    /// Why.
    pub reason: String,
    /// How many.
    pub packets: u64,
}

/// A flow and its translation.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Line {
    /// What is spoken.
    pub protocol: String,
    /// The endpoint inside.
    pub inside: String,
    /// What the outside knows it by.
    pub external: String,
    /// The other end.
    pub remote: String,
    /// Seconds that it lives without another packet.
    pub timeout_s: u64,
}

/// Where a running gateway is asked.
pub fn socket() -> PathBuf {
    crate::run::state_file("gateway.sock")
}

/// What a client sends to have the translations, too.
pub const FLOWS: &str = "flows\n";
/// What a client sends to have the rest only.
pub const SUMMARY: &str = "summary\n";
