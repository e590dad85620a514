use core::net::SocketAddr;

use pinhole_sansio::Duration;
use pinhole_stun::client::SocketId;

use super::{Dependence, judge, translation};
use crate::discovery::evidence::{Observation, Outcome, Question};
use crate::discovery::{Confidence, Note, Translation, Verdict};

/// The four endpoints of a server.
const SERVER: [&str; 4] = ["203.0.113.1:1", "203.0.113.1:2", "203.0.113.2:1", "203.0.113.2:2"];

fn at(text: &str) -> SocketAddr {
    text.parse().expect("an endpoint")
}

/// A socket that these servers saw at these ports; 0 for no answer.
fn round(number: u8, ports: &[(&str, u16)]) -> Vec<Observation> {
    let one = |&(server, port): &(&str, u16)| Observation {
        at: Duration::ZERO,
        socket: SocketId(number.into()),
        local: Some(at("192.168.1.2:5000")),
        question: Question::Mapping { round: number },
        asked: at(server),
        attempts: 1,
        outcome: match port {
            0 => Outcome::Silence,
            port => Outcome::Mapped { mapped: SocketAddr::new([198, 51, 100, 1].into(), port), from: at(server) },
        },
    };
    ports.iter().map(one).collect()
}

fn four(number: u8, ports: [u16; 4]) -> Vec<Observation> {
    let pairs: Vec<(&str, u16)> = SERVER.into_iter().zip(ports).collect();
    round(number, &pairs)
}

fn verdict(rounds: &[[u16; 4]]) -> Verdict<Dependence> {
    let observations: Vec<Observation> =
        rounds.iter().enumerate().flat_map(|(number, ports)| four(number as u8, *ports)).collect();
    judge(&observations, true)
}

#[test]
fn two_sockets_that_agree_are_certain_and_one_is_likely() {
    use Dependence::{AddressAndPortDependent, AddressDependent, EndpointIndependent};
    let cases = [
        ([7, 7, 7, 7], EndpointIndependent),
        ([7, 7, 8, 8], AddressDependent),
        ([7, 8, 9, 10], AddressAndPortDependent),
    ];
    for (ports, expected) in cases {
        let twice = verdict(&[ports, ports]);
        assert_eq!((twice.value(), twice.confidence), (Some(&expected), Confidence::Certain), "{ports:?}");
        let once = verdict(&[ports]);
        assert_eq!((once.value(), once.confidence), (Some(&expected), Confidence::Likely), "{ports:?}");
    }
}

#[test]
fn what_no_dependence_explains_is_a_contradiction() {
    // By port alone; by address except once; and two sockets of which each is treated otherwise.
    for rounds in [&[[7, 8, 7, 8]][..], &[[7, 7, 8, 9]], &[[7, 7, 7, 7], [7, 7, 8, 8]]] {
        let verdict = verdict(rounds);
        assert!(verdict.is_contradictory(), "{rounds:?}: {verdict:?}");
        assert_eq!(verdict.value(), None);
        assert_eq!(verdict.evidence.len(), rounds.len() * 4, "all of it is shown");
    }
}

#[test]
fn what_did_not_answer_leaves_possible_what_it_would_have_excluded() {
    use Dependence::{AddressAndPortDependent, AddressDependent, EndpointIndependent};
    assert_eq!(verdict(&[[7, 0, 8, 0]]).possible, [AddressDependent, AddressAndPortDependent]);
    assert_eq!(verdict(&[[7, 7, 0, 0]]).possible, [EndpointIndependent, AddressDependent]);
    assert_eq!(verdict(&[[7, 7, 0, 0]]).confidence, Confidence::Unsure);
    let alone = verdict(&[[7, 0, 0, 0]]);
    assert_eq!(
        (alone.possible.len(), alone.confidence, &alone.notes[..]),
        (3, Confidence::Unsure, &[Note::OneServer][..])
    );
    assert_eq!(verdict(&[[0, 0, 0, 0]]).confidence, Confidence::Unknown);
}

#[test]
fn an_address_of_ones_own_is_no_nat_and_both_at_once_is_a_contradiction() {
    let mut observations = four(0, [7, 7, 7, 7]);
    assert_eq!(translation(&observations).value(), Some(&Translation::Translated));
    observations[0].outcome = Outcome::Mapped { mapped: at("192.168.1.2:5000"), from: at(SERVER[0]) };
    assert!(translation(&observations).is_contradictory());
}
