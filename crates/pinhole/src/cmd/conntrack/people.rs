//! An entry for people: words, names of services, who is translated to what.

use std::fmt::Write;
use std::net::SocketAddr;

use pinhole_host::netlink::conntrack::{Entry, Tuple, status};

use super::names::{self, Services};
use super::paint::Tone;

/// Writes ends, states and notes.
#[derive(Debug)]
pub(super) struct People {
    services: Services,
}

impl People {
    /// Ports by the names of `services`; by number where it has none.
    pub(super) fn new(services: Services) -> Self {
        Self { services }
    }

    /// The initiator, and as whom the other side sees it: `10.0.0.2:51820 → 203.0.113.1:51820`.
    pub(super) fn source(&self, entry: &Entry) -> String {
        let mut text = self.end(entry.original.source, &entry.original, false);
        if entry.is_source_translated() {
            let _ = write!(text, " → {}", self.end(entry.reply.destination, &entry.reply, false));
        }
        text
    }

    /// Whom it called, and who really answers.
    pub(super) fn destination(&self, entry: &Entry) -> String {
        // What an ICMP query is about is said with its source.
        let mut text = self.end(entry.original.destination, &without_query(&entry.original), true);
        if entry.is_destination_translated() {
            let _ = write!(text, " → {}", self.end(entry.reply.source, &without_query(&entry.reply), true));
        }
        text
    }

    /// What is worth a word beside the state.
    pub(super) fn notes(&self, entry: &Entry) -> String {
        let mut notes = Vec::new();
        let has = |bit| entry.status & bit != 0;
        if !entry.is_answered() {
            notes.push("unreplied".to_owned());
        }
        for (bit, word) in [
            (status::EXPECTED, "expected"),
            (status::FIXED_TIMEOUT, "fixed timeout"),
            (status::HW_OFFLOAD, "in hardware"),
        ] {
            if has(bit) {
                notes.push(word.to_owned());
            }
        }
        if has(status::OFFLOAD) && !has(status::HW_OFFLOAD) {
            notes.push("offloaded".to_owned());
        }
        if let Some(helper) = &entry.helper {
            notes.push(format!("helper {helper}"));
        }
        if let Some(mark) = entry.mark.filter(|&mark| mark != 0) {
            notes.push(format!("mark {mark:#x}"));
        }
        for (zone, words) in [(entry.zone, "zone"), (entry.original.zone, "zone out"), (entry.reply.zone, "zone back")]
        {
            if let Some(zone) = zone {
                notes.push(format!("{words} {zone}"));
            }
        }
        if let Some(labels) = entry.labels.filter(|&labels| labels != 0) {
            let bits: Vec<_> = names::bits(labels).map(|bit| bit.to_string()).collect();
            notes.push(format!("label {}", bits.join("+")));
        }
        notes.join(", ")
    }

    fn end(&self, end: SocketAddr, tuple: &Tuple, named: bool) -> String {
        if let Some(icmp) = tuple.icmp {
            return format!("{} {} {}", end.ip(), query(tuple.protocol, icmp.kind), icmp.id);
        }
        if !tuple.has_ports() {
            return end.ip().to_string();
        }
        match self.services.name(tuple.protocol, end.port()).filter(|_| named) {
            Some(name) if end.is_ipv6() => format!("[{}]:{name}", end.ip()),
            Some(name) => format!("{}:{name}", end.ip()),
            None => end.to_string(),
        }
    }
}

/// The state as a word, or what stands for one.
pub(super) fn state(entry: &Entry) -> (String, Tone) {
    let name = match entry.state {
        Some(state) => state.name(),
        None if entry.status & status::ASSURED != 0 => "ASSURED",
        None if entry.is_answered() => "REPLIED",
        None => "UNREPLIED",
    };
    let tone = match name {
        "ESTABLISHED" | "ASSURED" | "OPEN" => Tone::Good,
        "UNREPLIED" | "SYN_SENT" | "SYN_SENT2" | "SYN_RECV" | "COOKIE_WAIT" | "COOKIE_ECHOED" => Tone::Waiting,
        "REPLIED" => Tone::Plain,
        _ => Tone::Fading,
    };
    (name.to_ascii_lowercase().replace('_', "-"), tone)
}

fn without_query(tuple: &Tuple) -> Tuple {
    Tuple { icmp: None, ..*tuple }
}

/// What is asked (the queries that connection tracking knows: RFC 792, RFC 950, RFC 4443, RFC 4620).
fn query(protocol: u8, kind: u8) -> &'static str {
    match (protocol, kind) {
        (1, 8 | 0) | (58, 128 | 129) => "echo",
        (1, 13 | 14) => "timestamp",
        (1, 15 | 16) => "information",
        (1, 17 | 18) => "mask",
        (58, 139 | 140) => "node",
        _ => "icmp",
    }
}
