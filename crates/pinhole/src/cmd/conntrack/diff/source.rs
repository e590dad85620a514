//! Packets, from a script or a capture, one after another.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use pinhole_netfilter::script::{self, Script, Side};

use super::Args;
use super::plan::Plan;
use crate::cmd::conntrack::trace::source::Packets;

/// What happens to the routers.
pub(super) enum Event {
    /// A packet comes in.
    Packet {
        /// Since the first one.
        at: Duration,
        /// Where, if that was said.
        side: Option<Side>,
        /// The IP packet.
        packet: Vec<u8>,
    },
    /// All flows are forgotten.
    Flush,
    /// All flows lose so many seconds.
    Age(u32),
}

/// Where packets come from.
pub(super) enum Source {
    Script(std::vec::IntoIter<Event>),
    Capture(Box<Packets>),
}

impl Source {
    /// Opens what the arguments name.
    ///
    /// # Errors
    /// If the capture cannot be opened a second time.
    pub(super) fn open(args: &Args, plan: &Plan) -> Result<Self> {
        Ok(match (&args.pcap, &plan.script) {
            (None, Some(script)) => Self::Script(of_script(script).into_iter()),
            (Some(path), _) => Self::Capture(Box::new(capture(path)?)),
            (None, None) => Self::Script(Vec::new().into_iter()),
        })
    }

    /// The next event.
    ///
    /// # Errors
    /// If a capture is damaged.
    pub(super) fn next(&mut self) -> Result<Option<Event>> {
        match self {
            Self::Script(events) => Ok(events.next()),
            Self::Capture(packets) => {
                let next = packets.next()?;
                Ok(next.map(|(at, packet)| Event::Packet { at, side: None, packet }))
            }
        }
    }

    /// How much of a capture is read, in parts of one.
    pub(super) fn progress(&self) -> Option<f64> {
        match self {
            Self::Script(_) => None,
            Self::Capture(packets) => packets.progress(),
        }
    }

    /// How many frames of a capture had no IP packet in them.
    pub(super) fn not_ip(&self) -> u64 {
        match self {
            Self::Script(_) => 0,
            Self::Capture(packets) => packets.skipped(),
        }
    }
}

/// Opens a capture: the one place that knows what reads captures.
pub(super) fn capture(path: &Path) -> Result<Packets> {
    Packets::open(path)
}

fn of_script(script: &Script) -> Vec<Event> {
    let event = |step: script::Step<'_>| match step.event {
        script::Event::Packet(side, packet) => Event::Packet { at: step.at, side: Some(side), packet: packet.to_vec() },
        script::Event::Flush => Event::Flush,
        script::Event::Age(seconds) => Event::Age(seconds),
    };
    script.steps().into_iter().map(event).collect()
}
