//! Mapping by elimination: two servers that see the same socket at the same or at different endpoints exclude what does not
//! fit (RFC 5780 §4.3, for servers wherever they are).

use core::net::SocketAddr;

use super::evidence::{Observation, Question};
use super::terms::{Dependence, Translation};
use super::verdict::{Confidence, Note, Verdict};

/// One socket seen by one server.
#[derive(Clone, Copy, Debug)]
struct Seen {
    place: usize,
    round: u8,
    server: SocketAddr,
    mapped: SocketAddr,
}

/// On what mappings depend. `with_behaviour` if one server has four endpoints, all of them its own.
pub(super) fn judge(observations: &[Observation], with_behaviour: bool) -> Verdict<Dependence> {
    let mut seen: Vec<Seen> = seen(observations).collect();
    // One socket after the other, as people read it.
    seen.sort_by_key(|seen| (seen.round, seen.server));
    let mut possible = Dependence::ALL.to_vec();
    let mut rounds = Vec::new();
    for (at, one) in seen.iter().enumerate() {
        for other in seen[at + 1..].iter().filter(|other| other.round == one.round && other.server != one.server) {
            let excluded = excluded(one, other);
            possible.retain(|value| !excluded.contains(value));
            rounds.push((one.round, excluded));
        }
    }
    // Independent sockets that each leave one alone are certain.
    let alone = |round: u8| {
        let left = |value: &&Dependence| !rounds.iter().any(|(of, excluded)| *of == round && excluded.contains(value));
        Dependence::ALL.iter().filter(left).count() == 1
    };
    let firm = (0..=u8::MAX).take_while(|round| seen.iter().any(|seen| seen.round == *round));
    let sure = with_behaviour && firm.filter(|round| alone(*round)).count() >= 2;
    let confidence = if sure { Confidence::Certain } else { Confidence::Likely };
    let evidence: Vec<usize> = seen.iter().map(|seen| seen.place).collect();
    if rounds.is_empty() {
        let verdict = if seen.is_empty() {
            Verdict::unknown()
        } else {
            Verdict { evidence, ..Verdict::left(Dependence::ALL.to_vec(), Confidence::Unsure, vec![0]) }
        };
        return verdict.with(Note::OneServer);
    }
    let verdict = Verdict::left(possible, confidence, evidence);
    if with_behaviour { verdict } else { verdict.with(Note::OnlyBinding) }
}

/// Whether there is a NAT at all.
pub(super) fn translation(observations: &[Observation]) -> Verdict<Translation> {
    let mut possible = vec![Translation::None, Translation::Translated];
    let mut evidence = Vec::new();
    for (place, observation) in observations.iter().enumerate() {
        let (Some(local), Some(mapped)) = (observation.local, observation.mapped()) else { continue };
        let is_own = local.ip() == mapped.ip() && local.port() == mapped.port();
        let excluded = if is_own { Translation::Translated } else { Translation::None };
        possible.retain(|value| *value != excluded);
        evidence.push(place);
    }
    let confidence = if evidence.len() > 1 { Confidence::Certain } else { Confidence::Likely };
    Verdict::left(possible, confidence, evidence)
}

fn seen(observations: &[Observation]) -> impl Iterator<Item = Seen> {
    observations.iter().enumerate().filter_map(|(place, observation)| {
        let Question::Mapping { round } = observation.question else { return None };
        Some(Seen { place, round, server: observation.asked, mapped: observation.mapped()? })
    })
}

/// What two views of one socket exclude.
fn excluded(one: &Seen, other: &Seen) -> &'static [Dependence] {
    use Dependence::{AddressAndPortDependent, AddressDependent, EndpointIndependent};
    let (same_address, same_mapping) = (one.server.ip() == other.server.ip(), one.mapped == other.mapped);
    match (same_address, same_mapping) {
        (true, true) => &[AddressAndPortDependent],
        (true, false) => &[EndpointIndependent, AddressDependent],
        (false, true) => &[AddressDependent, AddressAndPortDependent],
        (false, false) => &[EndpointIndependent],
    }
}

#[cfg(test)]
mod tests;
