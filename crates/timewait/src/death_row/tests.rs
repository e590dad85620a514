//! The row against traces of the 2.6.32 C functions: each trace was run through them, compiled, and through this.

use super::*;

/// A trace: arrivals from a generator, and what came of them.
struct Trace {
    name: &'static str,
    seed: u64,
    /// How many arrivals, and the bound of the gap between two.
    arrivals: &'static [(u64, u64)],
    /// What they ask for, ms; one of them at random if there are several.
    timeouts_ms: &'static [u64],
    worker_delay_ms: u64,
    n: usize,
    min: u64,
    max: u64,
    sum: u64,
    stalls: u64,
    hash: u64,
}

const fn trace(
    name: &'static str,
    seed: u64,
    arrivals: &'static [(u64, u64)],
    timeouts_ms: &'static [u64],
    [n, min, max, sum, stalls, hash]: [u64; 6],
) -> Trace {
    Trace { name, seed, arrivals, timeouts_ms, worker_delay_ms: 1, n: n as usize, min, max, sum, stalls, hash }
}

const MINUTE: &[u64] = &[60_000];

#[rustfmt::skip]
const TRACES: [Trace; 15] = [
    trace("5/s", 1, &[(4500, 399)], MINUTE, [4500, 52501, 60000, 253_194_522, 0, 0x7a33_6a8e_d8cb_0a3d]),
    trace("10/s", 2, &[(9000, 199)], MINUTE, [9000, 52501, 60000, 506_171_503, 0, 0xb6d2_f9b2_6ef0_2032]),
    trace("12.5/s", 3, &[(11250, 159)], MINUTE, [11250, 52520, 112_498, 978_719_902, 49, 0xce36_1abb_336d_a492]),
    trace("20/s", 4, &[(18000, 99)], MINUTE, [18000, 52558, 112_500, 1_864_907_865, 63, 0xed05_5c3f_6740_8563]),
    trace("50/s", 5, &[(45000, 39)], MINUTE, [45000, 52508, 112_501, 4_656_012_656, 64, 0x6c03_f6e7_4fd1_cae5]),
    trace("burst 100", 6, &[(100, 9)], MINUTE, [100, 59495, 60000, 5_973_273, 0, 0x41b8_9a58_962b_b36b]),
    trace("burst 101", 6, &[(101, 9)], MINUTE, [101, 59490, 60000, 6_032_763, 1, 0xed12_47f6_660b_41d0]),
    trace("hot, then 10/s", 7, &[(6000, 39), (18000, 199)], MINUTE, [24000, 52518, 112_501, 2_452_703_886, 131, 0x2db5_e7e8_f100_0958]),
    Trace { worker_delay_ms: 1000, ..trace("worker 1 s late", 8, &[(30000, 39)], MINUTE, [30000, 52526, 113_500, 3_108_716_062, 44, 0x9704_7098_323b_9f12]) },
    Trace { worker_delay_ms: 10_000, ..trace("worker 10 s late", 8, &[(30000, 39)], MINUTE, [30000, 52526, 175_000, 4_737_475_062, 64, 0xfd55_ec19_bf2e_cf79]) },
    trace("FIN_WAIT_2 mix", 9, &[(12000, 99)], &[5000, 10_000, 30_000, 45_000, 60_000], [12000, 7516, 112_498, 710_288_287, 43, 0x5ffa_813a_e909_b692]),
    trace("short", 10, &[(3000, 199)], &[700], [3000, 1, 768, 1_238_874, 0, 0xb6be_a340_5bc8_4f9b]),
    trace("short, seldom", 11, &[(600, 1999)], &[700], [600, 5, 768, 377_278, 0, 0xb324_6d82_e6db_c74c]),
    trace("both rows", 12, &[(12000, 99)], &[700, 3900, 7000, 60_000], [12000, 5, 112_452, 245_195_172, 8, 0xa00b_30f7_cf81_5d0a]),
    trace("both rows, hot", 13, &[(30000, 39)], &[700, 60_000], [30000, 1, 112_501, 1_541_026_169, 44, 0x415b_a8df_252d_22e1]),
];

/// The generator of the traces: Knuth's MMIX, upper bits.
struct Generator(u64);

impl Generator {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }
}

impl Trace {
    /// Each arrival and what it asks for.
    fn arrivals(&self) -> Vec<(u64, u64)> {
        let mut generator = Generator(self.seed);
        let mut at = 1000;
        let gaps = self.arrivals.iter().flat_map(|&(count, bound)| (0..count).map(move |_| bound));
        gaps.map(|bound| {
            at += 1 + generator.next() % bound;
            let timeout = match self.timeouts_ms {
                [only] => *only,
                several => several[(generator.next() % several.len() as u64) as usize],
            };
            (at, timeout)
        })
        .collect()
    }
}

fn fnv1a(pairs: &[(u64, u64)]) -> u64 {
    let bytes = pairs.iter().flat_map(|&(born, died)| [born, died]).flat_map(|ms| (ms as u32).to_le_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Runs arrivals through a row; births and deaths, sorted.
fn run(arrivals: &[(u64, u64)], worker_delay_j: u64) -> (Vec<(u64, u64)>, Ticks) {
    let mut row = DeathRow::with_worker_delay(Hz::HZ_1000, worker_delay_j);
    let mut pairs = Vec::new();
    for &(at, timeout) in arrivals {
        row.advance(at, |death| pairs.push((death.value, death.at_j)));
        row.schedule(at, timeout, at);
    }
    row.advance(u64::MAX, |death| pairs.push((death.value, death.at_j)));
    assert!(row.is_empty());
    pairs.sort_unstable();
    (pairs, row.ticks())
}

#[test]
fn the_row_kills_when_the_kernels_functions_did() {
    for trace in &TRACES {
        let (pairs, ticks) = run(&trace.arrivals(), trace.worker_delay_ms);
        let lives: Vec<u64> = pairs.iter().map(|(born, died)| died - born).collect();
        let min = lives.iter().copied().min();
        let max = lives.iter().copied().max();
        let found = (lives.len(), min, max, lives.iter().sum(), ticks.stalled, fnv1a(&pairs));
        let expected = (trace.n, Some(trace.min), Some(trace.max), trace.sum, trace.stalls, trace.hash);
        assert_eq!(found, expected, "{}", trace.name);
    }
}

#[test]
fn the_traces_begin_as_the_kernels_did() {
    assert_eq!(TRACES[0].arrivals()[..2], [(1156, 60_000), (1424, 60_000)]);
    assert_eq!(TRACES[10].arrivals()[..2], [(1081, 10_000), (1129, 5000)]);
    assert_eq!(TRACES[13].arrivals()[..2], [(1078, 700), (1086, 7000)]);
}

#[test]
fn the_hundred_and_first_socket_of_a_cell_stalls_the_hand() {
    let burst = |count: u64, at: u64| (0..count).map(move |n| (at + n % 1000, 60_000));
    for (count, stalls) in [(1, 0), (100, 0), (101, 1), (102, 1), (10_000, 1)] {
        let mut arrivals: Vec<_> = burst(count, 1000).collect();
        arrivals.sort_unstable();
        let (pairs, ticks) = run(&arrivals, 1);
        assert_eq!(ticks.stalled, stalls, "{count}");
        assert!(pairs.iter().all(|(born, died)| (59_000..=60_001).contains(&(died - born))), "{count}");
    }
}

#[test]
fn a_stalled_hand_costs_every_cell_behind_it_a_period() {
    // 112.5 = (2 * 7 + 1) * 7.5: seven cells ahead, each of them full.
    let bursts = (0..8).flat_map(|slot| (0..101).map(move |_| (1000 + slot * 7500, 60_000)));
    let (pairs, ticks) = run(&bursts.collect::<Vec<_>>(), 1);
    let lives: Vec<u64> = (0..8)
        .map(|slot| pairs.iter().filter(|p| p.0 == 1000 + slot * 7500).map(|p| p.1 - p.0).max().unwrap_or(0))
        .collect();
    assert_eq!(ticks.stalled, 8);
    assert_eq!(lives, [60_000, 67_500, 75_000, 82_500, 90_000, 97_500, 105_000, 112_500]);
}

#[test]
fn two_bursts_a_period_apart_delay_the_second() {
    let bursts = [1000, 8500].into_iter().flat_map(|at| (0..1000).map(move |n| (at + n, 60_000)));
    let (pairs, _) = run(&bursts.collect::<Vec<_>>(), 1);
    let second = pairs.iter().filter(|p| p.0 >= 8500).map(|p| p.1 - p.0);
    assert!(second.clone().all(|life| (66_400..=67_502).contains(&life)), "{:?}", second.max());
}

#[test]
fn short_slots_have_the_length_that_the_tick_gives_them() {
    let ms = |hz: Hz| hz.to_ms(1 << short_shift(hz));
    assert_eq!((ms(Hz::HZ_1000), ms(Hz::HZ_250), ms(Hz::HZ_100)), (128, 128, 160));
    assert!(is_short(Hz::HZ_1000, 3968) && !is_short(Hz::HZ_1000, 3969));
}

#[test]
fn a_socket_that_is_gone_is_not_found_again() {
    let mut row = DeathRow::new(Hz::HZ_1000);
    let first = row.schedule(0, 60_000, 1);
    assert_eq!((row.deschedule(first), row.deschedule(first), row.next_j()), (Some(1), None, None));
    let second = row.schedule(5, 60_000, 2);
    assert!(!row.reschedule(6, 60_000, first), "its place has another one");
    row.advance(7000, |_| panic!("too early"));
    assert!(row.reschedule(7000, 60_000, second));
    // The only one: the timer begins anew with it.
    let mut deaths = Vec::new();
    row.advance(u64::MAX, |death| deaths.push(death));
    assert_eq!(deaths, [Death { at_j: 67_000, value: 2, killer: Killer::Tick }]);
}
