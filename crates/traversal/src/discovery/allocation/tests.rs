use core::net::SocketAddr;

use pinhole_sansio::{Duration, Rng};
use pinhole_stun::client::SocketId;

use super::{judge, parity, pooling};
use crate::discovery::evidence::{Observation, Outcome, Question};
use crate::discovery::{Allocation, Note, Pooling};

/// Sockets that got these ports, one after another, with inside ports from a seed.
fn observed(externals: &[(u8, u16)]) -> Vec<Observation> {
    let mut rng = Rng::from_seed(1);
    let server = SocketAddr::new([203, 0, 113, 1].into(), 3_478);
    let one = |(number, &(address, port)): (usize, &(u8, u16))| Observation {
        at: Duration::ZERO,
        socket: SocketId(number as u32),
        local: Some(SocketAddr::new([192, 168, 1, 2].into(), 20_000 + rng.below(40_000) as u16)),
        question: Question::Port { number: number as u8 },
        asked: server,
        attempts: 1,
        outcome: Outcome::Mapped { mapped: SocketAddr::new([198, 51, 100, address].into(), port), from: server },
    };
    externals.iter().enumerate().map(one).collect()
}

fn allocation(ports: impl IntoIterator<Item = u16>) -> Option<Allocation> {
    let externals: Vec<(u8, u16)> = ports.into_iter().map(|port| (1, port)).collect();
    judge(&observed(&externals)).value().cloned()
}

#[test]
fn a_counter_is_recognised_with_others_between_lost_packets_and_its_end() {
    let step = |step| Some(Allocation::Sequential { step });
    assert_eq!(allocation((0..24).map(|n| 2_000 + n)), step(1));
    assert_eq!(allocation((0..24).map(|n| 60_000 - 4 * n)), step(-4));
    let busy = [0, 1, 2, 5, 6, 7, 9, 10, 11, 12, 20, 21, 22, 23, 24, 27, 28, 29, 30, 31, 33, 34, 35, 36];
    assert_eq!(allocation(busy.map(|n| 30_000 + 2 * n)), step(2));
    let reordered = [0, 1, 2, 3, 23, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22];
    assert_eq!(allocation(reordered.map(|n| 30_000 + n)), step(1));
    let around = (0..12).map(|n| 65_524 + n).chain((0..12).map(|n| 1_024 + n));
    assert_eq!(allocation(around), step(1));
}

#[test]
fn random_ports_are_of_all_of_a_block_or_of_a_few() {
    for seed in 0..2_000 {
        let mut rng = Rng::from_seed(seed);
        let mut from = |first: u64, count: u64| (first + rng.below(count)) as u16;
        let all: Vec<u16> = (0..24).map(|_| from(1_024, 64_512)).collect();
        assert!(matches!(allocation(all), Some(Allocation::Random { .. })), "seed {seed}");
        let one: Vec<u16> = (0..24).map(|_| from(40_960, 512)).collect();
        assert!(matches!(allocation(one), Some(Allocation::Block { runs }) if runs.len() == 1), "seed {seed}");
        let two: Vec<u16> = (0..24).map(|n| from(if n < 16 { 10_240 } else { 51_200 }, 512)).collect();
        assert!(matches!(allocation(two), Some(Allocation::Block { runs }) if runs.len() == 2), "seed {seed}");
        let few: Vec<u16> = (0..24).map(|n| from([10_240, 51_200, 30_208, 2_048][n / 7], 512)).collect();
        assert!(matches!(allocation(few), Some(Allocation::Block { runs }) if runs.len() == 4), "seed {seed}");
        // Of a handful, chance makes runs.
        let handful: Vec<u16> = (0..6).map(|_| from(1_024, 64_512)).collect();
        assert!(!matches!(allocation(handful), Some(Allocation::Block { runs }) if runs.len() > 2), "seed {seed}");
    }
}

#[test]
fn counters_of_several_addresses_are_followed_apart() {
    let externals: Vec<(u8, u16)> =
        (0..24).map(|n| (1 + n % 2, 5_000 + 20_000 * u16::from(n % 2) + u16::from(n / 2))).collect();
    let observations = observed(&externals);
    assert_eq!(judge(&observations).value(), Some(&Allocation::Sequential { step: 1 }));
    assert_eq!(pooling(&observations).value(), Some(&Pooling::Arbitrary));
}

#[test]
fn a_few_taken_ports_do_not_hide_that_ports_are_kept() {
    let mut observations = observed(&[(1, 1); 24]);
    for (number, observation) in observations.iter_mut().enumerate() {
        let kept = observation.local.expect("a port").port();
        let port = if number % 8 == 3 { kept + 1 } else { kept };
        let mapped = SocketAddr::new([198, 51, 100, 1].into(), port);
        observation.outcome = Outcome::Mapped { mapped, from: observation.asked };
    }
    let verdict = judge(&observations);
    assert_eq!((verdict.value(), &verdict.notes[..]), (Some(&Allocation::Preserving), &[Note::SomeTaken][..]));
    assert_eq!(parity(&observations).value(), Some(&false), "what goes to the port above loses its parity");
}

#[test]
fn a_handful_says_nothing() {
    let observations = observed(&[(1, 5), (1, 6), (1, 7)]);
    assert_eq!((judge(&observations).value(), parity(&observations).value()), (None, None));
}
