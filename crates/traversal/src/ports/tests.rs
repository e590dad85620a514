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
        Guess::Sequential(Sequence { next: 65_530, step: -4, others: 35, age_ms: 150 }),
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
        &[1, 0, 1, 0, 0, 0, 0, 0, 0],
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
    assert_eq!(counter, Guess::Sequential(Sequence { next: 3_012, step: 2, others: 25, age_ms: 0 }));
    let busy = Guess::of(&samples([3_000, 3_008, 3_016, 3_040, 3_044, 3_056, 3_076, 3_092, 3_096, 3_100, 3_140]), 1);
    assert!(matches!(busy, Guess::Sequential(Sequence { next: 3_144, step: 4, .. })), "{busy:?}");
    let kept: Vec<Sample> = samples([0; 6]).iter().map(|s| Sample { external: s.inside, ..*s }).collect();
    assert_eq!(Guess::of(&kept, 51_820), Guess::Sequential(Sequence { next: 51_820, step: 1, others: 0, age_ms: 0 }));
    let block = Guess::of(&samples([40_100, 40_450, 40_010, 40_333, 40_200, 40_071]), 1);
    assert_eq!(block, Guess::Block { runs: vec![40_010..=40_450] });
    let random = Guess::of(&samples([1_100, 64_000, 33_000, 9_000]), 1);
    assert_eq!(random, Guess::Random { seen: 1_100..=64_000, samples: 4 });
    assert_eq!(Guess::of(&[], 1), Guess::Unknown);
}

#[test]
fn a_counter_goes_around_its_end_and_grows_old() {
    let sequence = Sequence { next: 65_533, step: 2, others: 30, age_ms: 20 };
    assert_eq!([0, 1, 2, 3].map(|count| sequence.after(count)), [65_533, 65_535, 1_025, 1_027]);
    assert_eq!(Sequence { step: -1, next: 1_025, ..sequence }.after(3), 65_534);
    assert_eq!(Sequence { next: 1, step: -2, ..sequence }.after(1), 65_535, "one that gives low ports, too");
    let Guess::Sequential(aged) = Guess::Sequential(sequence).aged(Duration::from_millis(100)) else {
        panic!("it counts")
    };
    assert_eq!(aged, Sequence { age_ms: 120, ..sequence });
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

#[test]
fn a_counter_is_followed_in_passes_that_reach_farther() {
    let sequence = Sequence { next: 65_530, step: 2, others: 20, age_ms: 200 };
    let all: Vec<(Instant, u16)> = Count::new(Instant::from_millis(1), sequence).collect();
    assert_eq!(all[..4].iter().map(|(_, port)| *port).collect::<Vec<_>>(), [65_530, 65_532, 65_534, 1_024]);
    let passes: Vec<usize> = all.chunk_by(|a, b| a.0 == b.0).map(<[_]>::len).collect();
    assert_eq!(passes, [39, 48, 64, 87]);
}

/// Ports of a meeting at 500 a second.
fn met(sequence: Sequence) -> Vec<u16> {
    let mut meeting = Meeting::new(Instant::EPOCH, sequence, sequence);
    let mut now = Instant::EPOCH;
    let next = || {
        now += Duration::from_millis(2);
        meeting.next(now)
    };
    std::iter::from_fn(next).collect()
}

#[test]
fn two_that_count_alone_try_every_small_difference_at_once() {
    let ports = met(Sequence { next: 3_000, step: 1, others: 0, age_ms: 50 });
    let tried: Vec<i32> = ports.iter().zip(3_000..).take(20).map(|(&port, n)| i32::from(port) - n).collect();
    assert!((0..=5).all(|sum| tried.contains(&sum)), "{tried:?}");
}

#[test]
fn a_meeting_goes_to_no_port_twice_and_leaves_no_low_number_out() {
    for others in [0, 1, 5, 35, 100, 1_000, u16::MAX] {
        let mut ports = met(Sequence { next: 3_000, step: 1, others, age_ms: 150 });
        assert_eq!(ports.len(), 200);
        ports.sort_unstable();
        assert!(ports.windows(2).all(|pair| pair[0] < pair[1]), "{others}: {ports:?}");
        let low = if others < 30 { 4 } else { 24 };
        assert!((3_000..3_000 + low).all(|port| ports.contains(&port)), "{others}: {ports:?}");
    }
}

#[test]
fn a_busy_meeting_crosses_every_likely_difference_odd_and_even() {
    let ports = met(Sequence { next: 3_000, step: 1, others: 35, age_ms: 150 });
    let tried: Vec<i32> = ports.iter().zip(3_000..).map(|(&port, n)| i32::from(port) - n).collect();
    // 74 a second for 350 ms are 26; at the end it is 400 ms later.
    assert!((12..=60).all(|sum| tried.contains(&sum)), "{tried:?}");
}
