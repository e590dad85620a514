//! How many packets met which end.

use std::collections::BTreeMap;
use std::io::{self, Write};

use pinhole_netfilter::Verdict;
use pinhole_netfilter::explain::Account;
use pinhole_netfilter::watch::Topic;
use serde::Serialize;

use super::text;

/// Counts.
#[derive(Debug, Default, Serialize)]
pub(super) struct Summary {
    packets: u64,
    /// Frames of a capture without an IP packet.
    pub(super) skipped: u64,
    verdicts: Vec<Count>,
    /// What connection tracking said of packets, by its words.
    states: BTreeMap<String, u64>,
    #[serde(skip)]
    wrong_checksums: u64,
    /// Whether cards may have had to fill in checksums.
    #[serde(skip)]
    pub(super) is_capture: bool,
}

#[derive(Debug, Serialize)]
struct Count {
    verdict: &'static str,
    /// Of what is dropped, why: a name that stays as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    /// In words.
    text: String,
    packets: u64,
}

impl Summary {
    /// One more.
    pub(super) fn count(&mut self, account: &Account) {
        self.packets += 1;
        let (verdict, reason) = names(account.verdict);
        let text = text::verdict(account);
        match self
            .verdicts
            .iter_mut()
            .find(|count| (count.verdict, count.reason, &count.text) == (verdict, reason, &text))
        {
            Some(count) => count.packets += 1,
            None => self.verdicts.push(Count { verdict, reason, text, packets: 1 }),
        }
        if let Some(info) = account.info {
            *self.states.entry(info.to_string()).or_default() += 1;
        }
        let mut notes = account.stages.iter().flat_map(|stage| &stage.notes);
        let is_wrong = notes.any(|note| note.topic == Topic::Track && note.text.contains("checksum"));
        self.wrong_checksums += u64::from(is_wrong);
    }

    /// What the user may want to try.
    pub(super) fn hints(&self) -> Vec<String> {
        let mut hints = Vec::new();
        if self.wrong_checksums > 0 && self.is_capture {
            hints.push(format!(
                "{} with a wrong checksum: if they were captured where they were sent, the network card fills it in later; \
                 `--set nf_conntrack_checksum=0` does not look at it",
                packets(self.wrong_checksums)
            ));
        }
        if self.skipped > 0 {
            let frames = if self.skipped == 1 {
                "1 frame was no IP packet and was"
            } else {
                "frames were no IP packets and were"
            };
            let count = if self.skipped == 1 { String::new() } else { format!("{} ", self.skipped) };
            hints.push(format!("{count}{frames} left out"));
        }
        hints
    }

    /// For people.
    pub(super) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "{}", packets(self.packets))?;
        let mut verdicts: Vec<(u64, &str)> =
            self.verdicts.iter().map(|count| (count.packets, count.text.as_str())).collect();
        verdicts.sort_by_key(|(count, _)| core::cmp::Reverse(*count));
        verdicts.iter().try_for_each(|(count, text)| writeln!(out, "{count:>10}  {text}"))?;
        if !self.states.is_empty() {
            writeln!(out, "as connection tracking saw them")?;
        }
        self.states.iter().try_for_each(|(state, count)| writeln!(out, "{count:>10}  {state}"))?;
        self.hints().iter().try_for_each(|hint| writeln!(out, "{hint}"))
    }

    /// Verdicts in words with their counts, most first.
    pub(super) fn verdicts(&self) -> Vec<(&'static str, &str, u64)> {
        let mut all: Vec<_> =
            self.verdicts.iter().map(|count| (count.verdict, count.text.as_str(), count.packets)).collect();
        all.sort_by_key(|(_, _, packets)| core::cmp::Reverse(*packets));
        all
    }
}

/// "1 packet", "2 packets".
pub(super) fn packets(count: u64) -> String {
    if count == 1 { "1 packet".into() } else { format!("{count} packets") }
}

/// The names of a verdict and of its reason, which stay as they are.
pub(super) const fn names(verdict: Verdict) -> (&'static str, Option<&'static str>) {
    match verdict {
        Verdict::Forward(_) => ("forward", None),
        Verdict::Deliver => ("deliver", None),
        Verdict::Hold => ("hold", None),
        Verdict::Drop(reason) => ("drop", Some(reason.name())),
    }
}
