//! The diagnosis for people: the way as a drawing, then what works, then what to do.

use std::fmt::Write;
use std::net::IpAddr;

use pinhole_traversal::diagnosis::facts::{Dependence, Facts, Nat, Outside, Service};
use pinhole_traversal::diagnosis::kinds::{Kind, Share};
use pinhole_traversal::diagnosis::layers::Layer;
use pinhole_traversal::diagnosis::pair::{Outcome, Verdict};
use pinhole_traversal::diagnosis::problem::Severity;
use pinhole_traversal::diagnosis::text::{self, Lang, Word};
use pinhole_traversal::diagnosis::{Diagnosis, Protocol};

use super::Pair;

/// Columns of the names at the left of the drawing, and of the kinds of peers.
const NAME: usize = 16;
const PEER: usize = 44;

/// Everything.
pub(super) fn report(facts: &Facts, diagnosis: &Diagnosis, pair: Option<&Pair>, lang: Lang) -> String {
    let mut out = Out { text: String::new(), lang };
    out.way(facts, diagnosis);
    if let Some(pair) = pair {
        out.heading(Word::Pair);
        out.verdict("", &pair.verdict);
        out.fixes(&pair.verdict);
    }
    out.heading(Word::Reach);
    for (peer, verdict) in &diagnosis.peers {
        out.verdict(text::peer(*peer, lang), verdict);
    }
    out.heading(Word::PublicPort);
    let v6 = diagnosis.v6_port.map(|port| ("IPv6", port));
    for (transport, port) in [("UDP", diagnosis.port), ("TCP", diagnosis.tcp_port)].into_iter().chain(v6) {
        let by = text::who_maps(port).map_or_else(String::new, |protocol| format!(" ({protocol})"));
        out.line(&format!("  {transport}: {}{by}", text::port(port, lang)));
    }
    out.heading(Word::InTheWay);
    if diagnosis.findings.is_empty() {
        out.line(&format!("  {}", Word::Nothing.text(lang)));
    }
    for (number, finding) in diagnosis.findings.iter().enumerate() {
        let mark = match finding.severity {
            Severity::Blocking | Severity::Serious => "✗",
            Severity::Warning => "!",
            Severity::Notice => "·",
        };
        let severity = text::severity(finding.severity, lang);
        out.line(&format!("  {mark} {}. [{severity}] {}", number + 1, text::title(&finding.problem, lang)));
        out.line(&format!("       → {}", text::remedy(&finding.problem, lang)));
    }
    out.text
}

struct Out {
    text: String,
    lang: Lang,
}

impl Out {
    fn line(&mut self, line: &str) {
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }

    fn heading(&mut self, word: Word) {
        let _ = write!(self.text, "\n{}\n", word.text(self.lang));
    }

    fn word(&self, word: Word) -> &'static str {
        word.text(self.lang)
    }

    /// A place on the way, what is to be said of it, and the line to the next.
    fn place(&mut self, name: &str, details: &[String], is_last: bool) {
        for (number, detail) in details.iter().enumerate() {
            let left = match (number, is_last) {
                (0, _) => padded(name, NAME),
                (_, true) => padded("", NAME),
                (_, false) => padded("│", NAME),
            };
            self.line(&format!("  {left} {detail}"));
        }
        if !is_last {
            self.line("  │");
        }
    }

    fn way(&mut self, facts: &Facts, diagnosis: &Diagnosis) {
        self.line(self.word(Word::Way));
        self.line("");
        self.here(facts);
        let router = facts.default_v4.as_ref().and_then(|route| route.router);
        for (number, layer) in diagnosis.layers.iter().enumerate() {
            let mut details = vec![translation(layer, self.lang)];
            details.extend(self.kind(&layer.kind));
            if number == 0 {
                details.push(self.services(facts));
            }
            let likely = if layer.is_certain { String::new() } else { format!(" ({})", self.word(Word::Likely)) };
            self.place(&format!("{}{likely}", text::owner(layer.owner, self.lang)), &details, false);
        }
        if diagnosis.layers.is_empty()
            && let Some(router) = router
        {
            let services = self.services(facts);
            self.place(&router.to_string(), &[services], false);
        }
        let mut details = self.seen_as(&facts.udp);
        details.extend(self.together(facts, diagnosis.layers.len() != 1));
        let last = self.word(Word::Internet);
        self.place(last, &details, true);
        let v6 = self.v6(facts);
        self.place("IPv6", &[v6], true);
    }

    fn here(&mut self, facts: &Facts) {
        let on_the_way = |name: &str| {
            let ways = [&facts.default_v4, &facts.default_v6];
            ways.into_iter().flatten().any(|route| route.interface == name)
        };
        let mut interfaces: Vec<_> =
            facts.interfaces.iter().filter(|interface| !interface.addresses.is_empty()).collect();
        interfaces.sort_by_key(|interface| !on_the_way(&interface.name));
        let mut details: Vec<String> = interfaces
            .iter()
            .map(|interface| {
                let addresses: Vec<String> =
                    interface.addresses.iter().map(|(ip, prefix)| format!("{ip}/{prefix}")).collect();
                let kind = if interface.kind.is_empty() { String::new() } else { format!(" ({})", interface.kind) };
                format!("{}{kind} {}  MTU {}", interface.name, addresses.join(" "), interface.mtu)
            })
            .collect();
        if details.is_empty() {
            details.push("–".to_owned());
        }
        let name = self.word(Word::ThisHost);
        self.place(name, &details, false);
    }

    fn services(&self, facts: &Facts) -> String {
        let all = Protocol::ALL.map(|protocol| (protocol, facts.first_hop.service(protocol)));
        if all.iter().all(|(_, service)| **service == Service::Silent) {
            return self.word(Word::NoMappingService).to_owned();
        }
        let each = all.map(|(protocol, service)| {
            let state = match service {
                Service::NotAsked => self.word(Word::NotAsked).to_owned(),
                Service::Silent => self.word(Word::Silent).to_owned(),
                Service::Refuses { reason, .. } => format!("{} ({reason})", self.word(Word::Refuses)),
                Service::Works { mapped: Some(_), .. } => self.word(Word::Maps).to_owned(),
                Service::Works { mapped: None, .. } => self.word(Word::Yes).to_owned(),
            };
            format!("{}: {state}", protocol.name())
        });
        each.join(" · ")
    }

    /// As whom servers see this host, and what that makes it.
    fn seen_as(&self, udp: &Outside) -> Vec<String> {
        let nat = match udp {
            Outside::NotAsked => return vec![self.word(Word::NoServers).to_owned()],
            Outside::Blocked { asked } => return vec![format!("{} (0/{asked})", self.word(Word::NoAnswer))],
            Outside::Answers(nat) => nat,
        };
        let public: Vec<String> = nat.public.iter().map(ToString::to_string).collect();
        let kind = match (nat.translated, nat.filtering) {
            (Some(false), Some(Dependence::EndpointIndependent)) => format!(" · {}", self.word(Word::NoNat)),
            (Some(false), _) => format!(" · {}", self.word(Word::FirewallOnly)),
            (Some(true) | None, _) => {
                text::number(&whole(nat)).map_or_else(String::new, |number| format!(" · {number}"))
            }
        };
        vec![format!("{} {}{kind}", self.word(Word::SeenAs), public.join(" "))]
    }

    /// What all NATs do together: by UDP where the layers do not say it, by TCP, or by both.
    fn together(&self, facts: &Facts, udp_is_news: bool) -> Vec<String> {
        let whole = |outside: &Outside| match outside {
            Outside::Answers(nat) if nat.translated != Some(false) => Some(whole(nat)),
            Outside::Answers(_) | Outside::Blocked { .. } | Outside::NotAsked => None,
        };
        let (udp, tcp) = (whole(&facts.udp), whole(&facts.tcp));
        let mut lines = Vec::new();
        let mut add = |transport: &str, kind: Option<Kind>| {
            let words = kind.map_or_else(Vec::new, |kind| self.kind(&kind));
            lines.extend(words.iter().map(|words| format!("{transport}: {words}")));
        };
        if udp == tcp {
            add("UDP, TCP", udp);
        } else {
            add("UDP", udp.filter(|_| udp_is_news));
            add("TCP", tcp);
        }
        if let Outside::Blocked { asked } = facts.tcp {
            lines.push(format!("TCP: {} (0/{asked})", self.word(Word::NoAnswer)));
        }
        lines
    }

    /// Which NAT it is, in two lines; in none where nothing is known.
    fn kind(&self, kind: &Kind) -> Vec<String> {
        if *kind == Kind::default() {
            return Vec::new();
        }
        let unknown = || self.word(Word::Unknown);
        let ports = kind.allocation.map_or_else(unknown, |value| text::allocation(value, self.lang));
        let hairpin = kind.hairpin.map_or_else(unknown, |turns| self.word(if turns { Word::Yes } else { Word::No }));
        let share = |share| text::share(share, self.lang);
        let number = text::number(kind).map_or_else(String::new, |number| format!(" · {number}"));
        vec![
            format!(
                "{}: {} · {}: {}{number}",
                self.word(Word::Mapping),
                share(kind.mapping),
                self.word(Word::Filtering),
                share(kind.filtering)
            ),
            format!("{}: {ports} · {}: {hairpin}", self.word(Word::Ports), self.word(Word::Hairpin)),
        ]
    }

    fn v6(&self, facts: &Facts) -> String {
        let addresses = facts.interfaces.iter().flat_map(|interface| &interface.addresses);
        let own = addresses.into_iter().find_map(|&(ip, _)| match ip {
            IpAddr::V6(v6) if pinhole_traversal::diagnosis::facts::is_public(ip) => Some(v6),
            IpAddr::V4(_) | IpAddr::V6(_) => None,
        });
        let (Some(own), Some(route)) = (own, &facts.default_v6) else { return self.word(Word::NoIpv6).to_owned() };
        let router = route.router.map_or_else(String::new, |router| format!(" → {router}"));
        let answers = match facts.v6_answers {
            Some(true) => "",
            Some(false) => self.word(Word::NoAnswer),
            None => self.word(Word::NotMeasured),
        };
        format!("{own}{router} {answers}")
    }

    fn verdict(&mut self, name: &str, verdict: &Verdict) {
        let (mark, by) = match &verdict.outcome {
            Outcome::Direct { way, is_sure } => {
                let by_hand =
                    if way.is_automatic() { String::new() } else { format!(" [{}]", self.word(Word::ByHand)) };
                let mark = if *is_sure { "✓" } else { "~" };
                (mark, format!(": {}{by_hand}", text::way(*way, self.lang)))
            }
            Outcome::Unclear => ("?", String::new()),
            Outcome::Relay(obstacle) => ("✗", format!(": {}", text::obstacle(*obstacle, self.lang))),
        };
        let name = if name.is_empty() { String::new() } else { padded(name, PEER) };
        self.line(&format!("  {mark} {name}{}{by}", text::fate_of_peer(&verdict.outcome, self.lang)));
    }

    fn fixes(&mut self, verdict: &Verdict) {
        if verdict.fixes.is_empty() {
            return;
        }
        self.line(&format!("    {}:", self.word(Word::WouldHelp)));
        for fix in &verdict.fixes {
            self.line(&format!("       → {}", text::fix(*fix, self.lang)));
        }
    }
}

/// `192.168.1.1 → 198.51.100.1`.
fn translation(layer: &Layer, lang: Lang) -> String {
    let ip = |ip: Option<IpAddr>| ip.map_or_else(|| Word::Unknown.text(lang).to_owned(), |ip| ip.to_string());
    format!("{} → {}", ip(layer.inside), ip(layer.outside))
}

/// All NATs together as if they were one.
fn whole(nat: &Nat) -> Kind {
    let share = |value: Option<Dependence>| value.map_or(Share::Unknown, Share::Exactly);
    Kind {
        mapping: share(nat.mapping),
        filtering: share(nat.filtering),
        allocation: nat.allocation,
        hairpin: nat.hairpin,
    }
}

/// `text` with blanks up to so many columns: a Chinese character takes two.
fn padded(text: &str, columns: usize) -> String {
    let width: usize = text.chars().map(|c| if is_wide(c) { 2 } else { 1 }).sum();
    format!("{text}{}", " ".repeat(columns.saturating_sub(width)))
}

/// CJK ideographs and punctuation, and fullwidth forms.
const fn is_wide(c: char) -> bool {
    matches!(c, '\u{2e80}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{ff00}'..='\u{ff60}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_those_of_a_terminal() {
        assert_eq!(padded("运营商 NAT", 12), "运营商 NAT  ");
        assert_eq!(padded("carrier NAT", 12), "carrier NAT ");
        assert_eq!(padded("too long", 3), "too long");
    }

    #[test]
    fn a_host_without_anything_is_drawn_in_every_language() {
        let facts = Facts::default();
        for lang in Lang::ALL {
            let text = report(&facts, &Diagnosis::of(&facts), None, lang);
            assert!(text.contains("✗ 1. [") && text.contains(Word::NoServers.text(lang)), "{text}");
        }
    }
}
