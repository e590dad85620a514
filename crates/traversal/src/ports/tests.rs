use pinhole_sansio::Rng;

use super::*;

fn samples(ports: impl IntoIterator<Item = u16>) -> Vec<Sample> {
    let sample = |(n, external): (usize, u16)| Sample {
        at: Instant::from_millis(10 * n as u64),
        inside: (20_000 + n * 1_009) as u16,
        external,
    };
    ports.into_iter().enumerate().map(sample).collect()
}

#[test]
fn a_guess_survives_being_told() {
    let guesses = [
        Guess::Fixed,
        Guess::Unknown,
        Guess::Sequential(Sequence { next: 65_530, step: -4, others: 35 }),
        Guess::Block { runs: vec![1_024..=1_535, 40_000..=40_511] },
        Guess::Random { seen: 2_000..=64_000, samples: 24 },
    ];
    for guess in guesses {
        let bytes = guess.encode();
        assert!(bytes.len() <= 18, "{guess:?}");
        assert_eq!(Guess::decode(&bytes), Ok(guess));
    }
}

#[test]
fn what_is_no_guess_is_refused() {
    let none: [&[u8]; 9] = [
        &[],
        &[9],
        &[0, 0],
        &[1, 0, 1, 0, 0, 0, 0],
        &[1, 0, 1, 0, 1, 0],
        &[2],
        &[2, 0, 9, 0, 8],
        &[2, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1],
        &[3, 0, 9, 0, 8, 1],
    ];
    for bytes in none {
        assert_eq!(Guess::decode(bytes), Err(Unreadable), "{bytes:?}");
    }
}

#[test]
fn samples_tell_a_counter_a_block_and_chance_apart() {
    // Four samples, 10 ms apart, with two mappings of others between them: 66 a second.
    let counter = Guess::of(&samples([3_000, 3_002, 3_006, 3_008, 3_010]), 1);
    assert_eq!(counter, Guess::Sequential(Sequence { next: 3_012, step: 2, others: 25 }));
    let kept: Vec<Sample> = samples([0; 6]).iter().map(|s| Sample { external: s.inside, ..*s }).collect();
    assert_eq!(Guess::of(&kept, 51_820), Guess::Sequential(Sequence { next: 51_820, step: 1, others: 0 }));
    let block = Guess::of(&samples([40_100, 40_450, 40_010, 40_333, 40_200, 40_071]), 1);
    assert_eq!(block, Guess::Block { runs: vec![40_010..=40_450] });
    let random = Guess::of(&samples([1_100, 64_000, 33_000, 9_000]), 1);
    assert_eq!(random, Guess::Random { seen: 1_100..=64_000, samples: 4 });
    assert_eq!(Guess::of(&[], 1), Guess::Unknown);
}

#[test]
fn a_counter_goes_on_while_the_guess_is_on_its_way() {
    let guess = Guess::Sequential(Sequence { next: 65_535, step: 2, others: 30 });
    let Guess::Sequential(aged) = guess.aged(Duration::from_millis(100)) else { panic!("it stays a counter") };
    assert_eq!((aged.next, aged.after(1)), (5, 7), "three mappings of others, around the end");
}

/// The first `count` ports of a search.
fn searched(guess: &Guess, count: usize) -> Vec<u16> {
    let mut rng = Rng::from_seed(1);
    let mut search = Search::new(guess, guess.sockets());
    std::iter::from_fn(|| search.next(&mut rng)).take(count).collect()
}

fn share(ports: &[u16], run: RangeInclusive<u16>) -> usize {
    ports.iter().filter(|port| run.contains(port)).count() * 100 / ports.len()
}

#[test]
fn no_port_is_tried_twice_and_in_the_end_all_are_but_the_well_known() {
    let guesses = [
        Guess::Unknown,
        Guess::Random { seen: 500..=65_535, samples: 3 },
        Guess::Block { runs: vec![2_000..=2_500, 2_400..=3_000, 65_000..=65_535] },
    ];
    for guess in guesses {
        let mut ports = searched(&guess, 100_000);
        ports.sort_unstable();
        ports.dedup();
        assert_eq!((ports.len(), ports.first()), (64_512, Some(&1_024)), "{guess:?}");
    }
}

#[test]
fn the_ports_that_linux_prefers_come_first() {
    let anywhere = Guess::Random { seen: 1_500..=65_000, samples: 24 };
    assert!(share(&searched(&anywhere, 900), 1_024..=2_047) == 100);
    let unknown = share(&searched(&Guess::Unknown, 1_000), 1_024..=2_047);
    assert!((40..100).contains(&unknown), "{unknown} %: if nothing else is known, mostly");
}

#[test]
fn samples_from_a_part_of_the_ports_lead_there() {
    let ephemeral = Guess::Random { seen: 33_000..=60_700, samples: 24 };
    assert_eq!(share(&searched(&ephemeral, 1_000), 32_768..=60_999), 100);
    let own = Guess::Random { seen: 20_100..=29_800, samples: 24 };
    assert_eq!(share(&searched(&own, 1_000), 19_000..=31_000), 100);
    let few = Guess::Random { seen: 50_500..=64_000, samples: 3 };
    let ports = searched(&few, 1_000);
    assert!(share(&ports, 50_001..=65_535) >= 40 && share(&ports, 1_024..=2_047) >= 10, "three samples leave doubts");
}

#[test]
fn a_block_is_tried_before_anything_else() {
    let block = Guess::Block { runs: vec![10_250..=10_700, 51_210..=51_680] };
    let ports = searched(&block, 600);
    assert!(ports.iter().all(|port| (10_100..=10_850).contains(port) || (51_100..=51_800).contains(port)));
}
