use core::net::SocketAddr;

use pinhole_sansio::Duration;
use pinhole_stun::behaviour::Change;
use pinhole_stun::client::SocketId;

use super::{CHANGES, Dependence, judge};
use crate::discovery::evidence::{Observation, Outcome, Question};
use crate::discovery::{Confidence, Note};

fn here() -> SocketAddr {
    SocketAddr::new([203, 0, 113, 1].into(), 3_478)
}

fn came() -> Outcome {
    Outcome::Mapped { mapped: SocketAddr::new([198, 51, 100, 1].into(), 7), from: here() }
}

fn observe(question: Question, outcome: Outcome) -> Observation {
    let (at, socket, local) = (Duration::ZERO, SocketId(0), None);
    Observation { at, socket, local, question, asked: here(), attempts: 1, outcome }
}

/// What came of asking for the three changes.
fn filter(round: u8, outcomes: [Outcome; 3]) -> impl Iterator<Item = Observation> {
    let all = CHANGES.into_iter().zip(outcomes);
    all.map(move |(change, outcome)| observe(Question::Filter { round, change }, outcome))
}

fn control(outcomes: [Outcome; 3]) -> impl Iterator<Item = Observation> {
    let all = CHANGES.into_iter().zip(outcomes);
    all.map(|(change, outcome)| observe(Question::Control { round: 0, change }, outcome))
}

/// The three outcomes as their letters say: whether it came.
fn outcomes(letters: &str) -> [Outcome; 3] {
    let mut each = letters.chars().map(|letter| if letter == 'y' { came() } else { Outcome::Silence });
    [(); 3].map(|()| each.next().expect("three letters"))
}

#[test]
fn with_a_control_silence_is_evidence() {
    use Dependence::{AddressAndPortDependent, AddressDependent, EndpointIndependent};
    let cases = [("yyy", EndpointIndependent), ("nny", AddressDependent), ("nnn", AddressAndPortDependent)];
    for (letters, expected) in cases {
        let observations: Vec<_> = filter(0, outcomes(letters)).chain(control(outcomes("yyy"))).collect();
        let verdict = judge(&observations, |_| true);
        assert_eq!((verdict.value(), verdict.confidence), (Some(&expected), Confidence::Certain), "{letters}");
    }
}

#[test]
fn without_one_it_is_less_and_from_a_dead_address_nothing() {
    let silent: Vec<_> = filter(0, outcomes("nnn")).collect();
    let likely = judge(&silent, |_| true);
    assert_eq!(likely.value(), Some(&Dependence::AddressAndPortDependent));
    assert_eq!((likely.confidence, &likely.notes[..]), (Confidence::Likely, &[Note::NoControl][..]));
    let dead = judge(&silent, |_| false);
    assert_eq!((dead.value(), &dead.notes[..]), (None, &[Note::OtherSilent][..]));
    let failed: Vec<_> = silent.iter().cloned().chain(control(outcomes("nnn"))).collect();
    let verdict = judge(&failed, |_| true);
    assert_eq!((verdict.value(), &verdict.notes[..]), (None, &[Note::ControlFailed][..]));
}

#[test]
fn a_server_that_ignores_or_refuses_proves_nothing() {
    for (outcome, note) in
        [(Outcome::Elsewhere { from: here() }, Note::ChangeIgnored), (Outcome::Refused, Note::ChangeRefused)]
    {
        let observations: Vec<_> = filter(0, [(); 3].map(|()| outcome.clone())).collect();
        let verdict = judge(&observations, |_| true);
        assert_eq!((verdict.confidence, &verdict.notes[..]), (Confidence::Unknown, &[note][..]));
    }
}

#[test]
fn sockets_that_disagree_and_filters_that_nobody_has_are_contradictions() {
    let disagree: Vec<_> =
        filter(0, outcomes("yyy")).chain(filter(1, outcomes("nnn"))).chain(control(outcomes("yyy"))).collect();
    assert!(judge(&disagree, |_| true).is_contradictory());
    // The farther one came in, and the nearer one did not.
    let odd: Vec<_> = filter(0, outcomes("ynn")).chain(control(outcomes("yyy"))).collect();
    let verdict = judge(&odd, |_| true);
    assert!(verdict.is_contradictory() && verdict.evidence.len() == 6, "{verdict:?}");
}

#[test]
fn where_many_requests_go_unanswered_silence_says_nothing() {
    let silent: Vec<_> = filter(0, outcomes("nnn")).chain(control(outcomes("yyy"))).collect();
    let port = |attempts| Observation { attempts, ..observe(Question::Port { number: 0 }, came()) };
    let few: Vec<_> = silent.iter().cloned().chain([port(1), port(1)]).collect();
    assert_eq!(judge(&few, |_| true).confidence, Confidence::Certain);
    let many: Vec<_> = silent.iter().cloned().chain([port(1), port(3)]).collect();
    let verdict = judge(&many, |_| true);
    assert_eq!((verdict.value(), &verdict.notes[..]), (None, &[Note::ManyUnanswered][..]));
}

#[test]
fn what_comes_in_needs_no_control() {
    let observations: Vec<_> = filter(0, outcomes("yyy")).collect();
    let verdict = judge(&observations, |change: Change| !change.ip);
    assert_eq!((verdict.value(), verdict.confidence), (Some(&Dependence::EndpointIndependent), Confidence::Certain));
}
