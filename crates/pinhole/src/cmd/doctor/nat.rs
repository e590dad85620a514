//! What behaviour discovery found by one transport, in the words of the diagnosis.

use std::net::IpAddr;

use pinhole_traversal::diagnosis::facts::{Allocation, Dependence, Nat, Outside};
use pinhole_traversal::discovery::{self, Confidence, Hairpin, Report, Translation, Verdict};

/// Observations that are quoted for one verdict; the rest is counted.
const MAX_QUOTED: usize = 3;

/// What `report` says of its transport.
pub(in crate::cmd) fn outside(report: &Report) -> Outside {
    if !report.is_answered() {
        return Outside::Blocked { asked: report.servers.len() };
    }
    let mut public: Vec<IpAddr> = Vec::new();
    for mapped in report.mapped.into_iter().chain(report.observations.iter().filter_map(|seen| seen.mapped())) {
        if !public.contains(&mapped.ip()) {
            public.push(mapped.ip());
        }
    }
    Outside::Answers(Nat {
        translated: report.translation.value().map(|translation| *translation == Translation::Translated),
        mapping: report.mapping.value().copied().map(dependence),
        filtering: report.filtering.value().copied().map(dependence),
        allocation: report.allocation.value().map(allocation),
        hairpin: report.hairpin.value().map(|hairpin| match hairpin {
            Hairpin::ExternalSource | Hairpin::InternalSource => true,
            Hairpin::None => false,
        }),
        public,
        poisoned: report.poisoning.value().copied(),
        outermost_filter: report.outermost_filter.value().copied(),
        filtering_beyond: report.filtering_beyond.value().copied().map(dependence),
        lifetime: report.lifetime.value().map(|lifetime| lifetime.survived),
        evidence: evidence(report),
    })
}

fn dependence(dependence: discovery::Dependence) -> Dependence {
    match dependence {
        discovery::Dependence::EndpointIndependent => Dependence::EndpointIndependent,
        discovery::Dependence::AddressDependent => Dependence::AddressDependent,
        discovery::Dependence::AddressAndPortDependent => Dependence::AddressAndPortDependent,
    }
}

fn allocation(allocation: &discovery::Allocation) -> Allocation {
    match allocation {
        discovery::Allocation::Preserving => Allocation::Preserving,
        discovery::Allocation::Sequential { .. } => Allocation::Sequential,
        discovery::Allocation::Block { .. } => Allocation::Block,
        discovery::Allocation::Random { .. } => Allocation::Random,
    }
}

fn evidence(report: &Report) -> Vec<String> {
    let mut lines = Vec::new();
    lines.extend(line(report, "translation", &report.translation));
    lines.extend(line(report, "mapping", &report.mapping));
    lines.extend(line(report, "filtering", &report.filtering));
    lines.extend(line(report, "allocation", &report.allocation));
    lines.extend(line(report, "hairpin", &report.hairpin));
    lines.extend(line(report, "hops to the outermost filter", &report.outermost_filter));
    lines.extend(line(report, "filtering beyond the first hop", &report.filtering_beyond));
    lines
}

/// `mapping: endpoint-independent (certain): 0.020 s … > …: who am I? …`
fn line<T: std::fmt::Display>(report: &Report, name: &str, verdict: &Verdict<T>) -> Option<String> {
    if verdict.confidence == Confidence::Unknown {
        return None;
    }
    let possible: Vec<String> = verdict.possible.iter().map(ToString::to_string).collect();
    let quoted = verdict.evidence.iter().take(MAX_QUOTED).filter_map(|&place| report.observations.get(place));
    let quoted: Vec<String> = quoted.map(ToString::to_string).collect();
    let notes: Vec<String> = verdict.notes.iter().map(ToString::to_string).collect();
    let more = verdict.evidence.len().saturating_sub(MAX_QUOTED);
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    let notes = if notes.is_empty() { String::new() } else { format!(" [{}]", notes.join("; ")) };
    Some(format!("{name}: {} ({}): {}{more}{notes}", possible.join(" or "), verdict.confidence, quoted.join("; ")))
}
