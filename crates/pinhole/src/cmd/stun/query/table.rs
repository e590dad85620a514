//! Findings for people: each verdict in the RFC's terms, how sure it is, and what it rests on.

use std::fmt::{Display, Write};
use std::net::IpAddr;

use pinhole_stun::client::Transport;
use pinhole_traversal::diagnosis::layers::Layer;
use pinhole_traversal::diagnosis::text::{self, Lang};
use pinhole_traversal::discovery::{Classic, Confidence, Report, Verdict};

use super::ask::transport_name;
use super::discover::Findings;
use super::servers::Named;

/// Columns of the names of questions.
const NAMES: usize = 18;

pub(super) fn findings(findings: &Findings, all: bool) -> String {
    let mut text = String::new();
    for report in findings.reports() {
        if !text.is_empty() {
            text.push('\n');
        }
        one(&mut text, findings, report, all);
    }
    text
}

fn one(text: &mut String, findings: &Findings, report: &Report, all: bool) {
    let transport = transport_name(report.transport);
    head(text, findings, report, transport);
    if !report.is_answered() {
        for server in &report.servers {
            if let Err(failure) = &server.answer {
                let named = findings.servers.iter().find(|named| named.address == server.address);
                let name = named.map_or_else(|| server.address.to_string(), Named::with_address);
                line(text, "", &format!("{name}: {failure}"));
            }
        }
        return;
    }
    let mut table = Table { text, report, all };
    table.verdict("NAT", 1, &report.translation);
    if report.transport == Transport::Datagram {
        findings.layers.iter().flatten().enumerate().for_each(|(at, layer)| table.layer(at, layer));
    }
    table.verdict("mapping", 4, &report.mapping);
    table.verdict("filtering", 3, &report.filtering);
    table.verdict("hairpinning", 3, &report.hairpin);
    table.verdict("ports", 3, &report.allocation);
    table.verdict_as("parity kept", 0, &report.parity, |keeps| yes_or_no(*keeps).into());
    table.verdict("pooling", 2, &report.pooling);
    if report.transport == Transport::Datagram {
        table.verdict_as("poisoned early", 2, &report.poisoning, |poisons| yes_or_no(*poisons).into());
        table.verdict_as("outermost filter", 2, &report.outermost_filter, |hops| hops_away(*hops));
    }
    if report.lifetime.confidence != Confidence::Unknown || !report.lifetime.notes.is_empty() {
        table.verdict("lifetime", 3, &report.lifetime);
        if report.transport == Transport::Datagram {
            table.verdict("of a stream", 3, &report.stream_lifetime);
        }
    }
    if all {
        line(text, "observations", "");
        for observation in &report.observations {
            line(text, "", &observation.to_string());
        }
    }
}

/// What it is, in a line, and by whom.
fn head(text: &mut String, findings: &Findings, report: &Report, transport: &str) {
    let is_udp = report.transport == Transport::Datagram;
    let blocked = findings.udp_blocked().filter(|_| is_udp);
    let what = match (blocked.as_ref().and_then(Verdict::value), report.classic()) {
        (Some(true), _) => Classic::UdpBlocked.to_string(),
        (_, Some(classic)) => match classic.number() {
            Some(number) => format!("{classic} ({number})"),
            None => classic.to_string(),
        },
        (_, None) if !report.is_answered() => "no server answers".to_owned(),
        (_, None) if report.mapping.value().is_some() => {
            let mapping = report.mapping.possible.iter().map(ToString::to_string).collect::<String>();
            format!("mapping {mapping}, filtering not known")
        }
        (_, None) => "not certain enough to be named".to_owned(),
    };
    let _ = write!(text, "{transport}: {what}");
    if let (Some(local), Some(mapped)) = (report.local, report.mapped) {
        let _ = write!(text, "; {} is {}", local.ip(), mapped.ip());
    }
    let used = report.servers.iter().find(|server| server.is_used);
    let name = used.and_then(|server| findings.servers.iter().find(|named| named.address == server.address));
    if let Some(name) = name {
        let _ = write!(text, ", with {}", name.with_address());
    }
    let _ = writeln!(text, " ({:.1} s)", report.took.as_secs_f64());
}

struct Table<'a> {
    text: &'a mut String,
    report: &'a Report,
    all: bool,
}

impl Table<'_> {
    /// Whose one of the NATs on the way is, and which NAT.
    fn layer(&mut self, at: usize, layer: &Layer) {
        let ip = |ip: Option<IpAddr>| ip.map_or_else(|| "?".to_owned(), |ip| ip.to_string());
        let likely = if layer.is_certain { "" } else { " (likely)" };
        let name = if at == 0 { "layers" } else { "" };
        let owner = text::owner(layer.owner, Lang::En);
        line(self.text, name, &format!("{}. {owner}{likely} {} > {}", at + 1, ip(layer.inside), ip(layer.outside)));
        let number = text::number(&layer.kind).map_or_else(String::new, |number| format!("; {number}"));
        let share = |share| text::share(share, Lang::En);
        let (mapping, filtering) = (share(layer.kind.mapping), share(layer.kind.filtering));
        line(self.text, "", &format!("   mapping {mapping}, filtering {filtering}{number}"));
    }

    /// With so many observations, unless all are wanted.
    fn verdict<T: Display>(&mut self, name: &str, shown: usize, verdict: &Verdict<T>) {
        self.verdict_as(name, shown, verdict, ToString::to_string);
    }

    fn verdict_as<T>(&mut self, name: &str, shown: usize, verdict: &Verdict<T>, word: impl Fn(&T) -> String) {
        let words: Vec<String> = verdict.possible.iter().map(word).collect();
        let what = match (verdict.confidence, &words[..]) {
            (Confidence::Unknown, _) => "not known".to_owned(),
            (Confidence::Contradictory, _) => "observations contradict each other:".to_owned(),
            (Confidence::Certain, words) => words.join(" or "),
            (confidence @ (Confidence::Likely | Confidence::Unsure), words) => {
                format!("{} ({confidence})", words.join(" or "))
            }
        };
        line(self.text, name, &what);
        for note in &verdict.notes {
            line(self.text, "", &format!("note: {note}"));
        }
        // A contradiction is only understood with all of it.
        let shown = if self.all || verdict.is_contradictory() { usize::MAX } else { shown };
        let observations = verdict.evidence.iter().filter_map(|place| self.report.observations.get(*place));
        for observation in observations.take(shown) {
            line(self.text, "", &format!("- {observation}"));
        }
        match (shown, verdict.evidence.len()) {
            (0, count @ 1..) => line(self.text, "", &format!("- {count} observations (--evidence shows them)")),
            (shown, count) if count > shown => {
                line(self.text, "", &format!("- and {} more (--evidence shows them)", count - shown));
            }
            _ => {}
        }
    }
}

fn hops_away(hops: u8) -> String {
    match hops {
        0 => "this host's own".to_owned(),
        1 => "the first hop's".to_owned(),
        hops => format!("{hops} hops away"),
    }
}

fn line(text: &mut String, name: &str, what: &str) {
    // A string takes everything.
    let _ = writeln!(text, "{}", format!("  {name:NAMES$}{what}").trim_end());
}

const fn yes_or_no(is: bool) -> &'static str {
    if is { "yes" } else { "no" }
}
