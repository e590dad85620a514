//! Filtering by elimination: what comes in unasked excludes filters, and so does what does not come in, where a control has
//! shown that it would have come (RFC 5780 §4.4).
//!
//! Silence alone is no evidence: the server's other address may be down, or the server may not obey. The control asks it to
//! send, from the same place, to a hole that is open for that place.

use pinhole_stun::behaviour::Change;

use super::evidence::{Observation, Outcome, Question};
use super::terms::{Dependence, Hairpin};
use super::verdict::{Confidence, Note, Verdict};

/// The places from which an answer may come, the farthest first.
pub(super) const CHANGES: [Change; 3] = [Change::BOTH, Change::IP, Change::PORT];

/// What is known of a control.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Control {
    /// It came.
    Passed,
    /// It should have come.
    Failed,
    /// It could not be made, but the place answers when asked itself.
    Impossible,
    /// The place does not answer at all.
    Dead,
}

/// The share of unanswered requests above which silence is no evidence. As a first repetition is forgiven, it is reached where 39 %
/// get lost: then six of them go unanswered once in 280 times, and of two sockets both once in 80,000.
const MOST_UNANSWERED: f64 = 0.2;

/// Whom the NAT lets in. `reachable` says which places have answered when they were asked directly.
pub(super) fn judge(observations: &[Observation], reachable: impl Fn(Change) -> bool) -> Verdict<Dependence> {
    let asked = |observation: &Observation| {
        let Question::Filter { change, .. } = observation.question else { return None };
        Some(change)
    };
    judge_those(observations, reachable, asked)
}

/// The same by those observations of which `asked` says from where an answer was to come in.
pub(super) fn judge_those(
    observations: &[Observation],
    reachable: impl Fn(Change) -> bool,
    asked: impl Fn(&Observation) -> Option<Change>,
) -> Verdict<Dependence> {
    let mut possible = Dependence::ALL.to_vec();
    let is_heard = is_heard(observations);
    let (mut evidence, mut notes, mut confidence) = (Vec::new(), Vec::new(), Confidence::Certain);
    for change in CHANGES {
        let control = control(observations, change, &reachable);
        for (place, observation) in observations.iter().enumerate() {
            if asked(observation) != Some(change) {
                continue;
            }
            match (&observation.outcome, control) {
                (Outcome::Mapped { .. } | Outcome::Arrived { .. }, _) => {
                    possible.retain(|value| admits(*value, change));
                    evidence.push(place);
                }
                (Outcome::Silence, _) if !is_heard => notes.push(Note::ManyUnanswered),
                (Outcome::Silence, Control::Passed | Control::Impossible) => {
                    possible.retain(|value| !admits(*value, change));
                    evidence.push(place);
                    if control == Control::Impossible {
                        confidence = Confidence::Likely;
                        notes.push(Note::NoControl);
                    }
                }
                (Outcome::Silence, Control::Failed) => notes.push(Note::ControlFailed),
                (Outcome::Silence, Control::Dead) => notes.push(Note::OtherSilent),
                (Outcome::Elsewhere { .. }, _) => notes.push(Note::ChangeIgnored),
                (Outcome::Refused, _) => notes.push(Note::ChangeRefused),
            }
        }
    }
    let verdict = if evidence.is_empty() {
        Verdict::unknown()
    } else {
        evidence.extend(controls(observations));
        Verdict::left(possible, confidence, evidence)
    };
    notes.into_iter().fold(verdict, Verdict::with)
}

/// What packets to the host's own mapping say about the filter, where no server could say more: they come from another
/// endpoint of the NAT's own address.
pub(super) fn by_hairpin(
    observations: &[Observation],
    mapping: &Verdict<Dependence>,
    hairpin: &Verdict<Hairpin>,
) -> Option<Verdict<Dependence>> {
    if mapping.value() != Some(&Dependence::EndpointIndependent) || hairpin.value() != Some(&Hairpin::ExternalSource) {
        return None;
    }
    let mut possible = Dependence::ALL.to_vec();
    let mut evidence = Vec::new();
    for (place, observation) in observations.iter().enumerate() {
        let change = match observation.question {
            Question::HairpinUnasked => Change::BOTH,
            Question::HairpinAddress => Change::PORT,
            Question::HairpinBoth
            | Question::Reach
            | Question::Mapping { .. }
            | Question::Filter { .. }
            | Question::Control { .. }
            | Question::Call { .. }
            | Question::Poison { .. }
            | Question::Port { .. }
            | Question::Depth { .. }
            | Question::Lifetime { .. } => continue,
        };
        possible.retain(|value| admits(*value, change) == observation.arrived());
        evidence.push(place);
    }
    Some(Verdict::left(possible, Confidence::Likely, evidence).with(Note::ByHairpin))
}

/// Whether such a filter lets in who differs so from one that was sent to.
fn admits(filter: Dependence, change: Change) -> bool {
    match filter {
        Dependence::EndpointIndependent => true,
        Dependence::AddressDependent => !change.ip,
        Dependence::AddressAndPortDependent => change == Change::NONE,
    }
}

fn control(observations: &[Observation], change: Change, reachable: &impl Fn(Change) -> bool) -> Control {
    let of = |observation: &&Observation| matches!(observation.question, Question::Control { change: asked, .. } if asked == change);
    let (mut failed, mut passed) = (false, false);
    for observation in observations.iter().filter(of) {
        match observation.outcome {
            Outcome::Mapped { .. } | Outcome::Arrived { .. } => passed = true,
            Outcome::Silence => failed = true,
            // RESPONSE-PORT or CHANGE-REQUEST are not known there: nothing was shown.
            Outcome::Elsewhere { .. } | Outcome::Refused => {}
        }
    }
    match (passed, failed, reachable(change)) {
        (true, _, _) => Control::Passed,
        (false, true, true) => Control::Failed,
        (false, false, true) => Control::Impossible,
        (false, _, false) => Control::Dead,
    }
}

/// Whether so much is answered that silence says something.
pub(super) fn is_heard(observations: &[Observation]) -> bool {
    unanswered(observations) <= MOST_UNANSWERED
}

/// The share of requests without an answer, of those that no filter was in the way of: other sockets' at the same time, to the
/// same endpoint. One that was answered after a single repetition may only have been late, on a host that is busy.
fn unanswered(observations: &[Observation]) -> f64 {
    let (mut sent, mut answered) = (0, 0);
    for observation in observations {
        if let Question::Port { .. } = observation.question {
            let is_answered = observation.mapped().is_some();
            sent += if is_answered { observation.attempts.saturating_sub(1).max(1) } else { observation.attempts };
            answered += u32::from(is_answered);
        }
    }
    if sent == 0 { 0.0 } else { 1.0 - f64::from(answered) / f64::from(sent) }
}

fn controls(observations: &[Observation]) -> impl Iterator<Item = usize> {
    let is_control =
        |(_, observation): &(usize, &Observation)| matches!(observation.question, Question::Control { .. });
    observations.iter().enumerate().filter(is_control).map(|(place, _)| place)
}

#[cfg(test)]
mod tests;
