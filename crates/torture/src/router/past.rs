//! What has gone through the router: what answers it, comes again, or complains about it.

use pinhole_netfilter::InterfaceId;
use pinhole_wire::answer::{self, Trouble};

use super::make;
use crate::Choices;

/// A packet, and the interface that it comes in or goes out by.
pub(super) type By = (InterfaceId, Vec<u8>);

/// The last packets, newest first.
#[derive(Debug, Default)]
pub(super) struct Past {
    seen: Vec<Seen>,
}

/// A packet that went in, and what came out.
#[derive(Debug)]
struct Seen {
    sent: By,
    output: Option<By>,
}

/// Packets that are remembered, at most.
const MOST_SEEN: usize = 24;

impl Past {
    pub(super) fn remember(&mut self, sent: By, output: Option<By>) {
        self.seen.truncate(MOST_SEEN - 1);
        self.seen.insert(0, Seen { sent, output });
    }

    /// An answer to a packet that came out, from where it went.
    pub(super) fn answer(&self, choices: &mut Choices<'_>) -> Option<By> {
        let (by, packet) = self.recent(choices)?.output.as_ref()?;
        Some((*by, make::answer(choices, packet)?))
    }

    /// The same packet again, or almost the same.
    pub(super) fn again(&self, choices: &mut Choices<'_>) -> Option<By> {
        let (by, mut packet) = self.recent(choices)?.sent.clone();
        if choices.rarely(2) {
            choices.mutate(&mut packet);
        }
        Some((by, packet))
    }

    /// An ICMP error about a packet that came out, from there.
    pub(super) fn error(&self, choices: &mut Choices<'_>) -> Option<By> {
        let (by, about) = self.recent(choices)?.output.as_ref()?;
        let trouble = *choices.one_of(&[Trouble::TimeExceeded, Trouble::PortUnreachable, Trouble::HostUnreachable]);
        let from = if about[0] >> 4 == 4 { "192.0.2.9" } else { "2001:db8:5::9" };
        let mut error = vec![0; answer::MAX_ERROR_V6];
        let length = answer::error(about, trouble, from.parse().expect("an address"), &mut error);
        error.truncate(length.unwrap_or(0));
        if choices.rarely(6) {
            choices.mutate(&mut error);
        }
        Some((*by, error))
    }

    fn recent(&self, choices: &mut Choices<'_>) -> Option<&Seen> {
        let at = choices.below(MOST_SEEN);
        if self.seen.is_empty() { None } else { self.seen.get(at % self.seen.len()) }
    }
}
