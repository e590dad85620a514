//! How fast pairs become direct, and what a path survives.

use pinhole_sansio::Duration;
use pinhole_world::{Cell, cell};

/// Three round trips and 50 ms to the first datagram; half of one more until both have had one, and the jitter of a dozen links.
const BOTH_WAYS: Duration = Duration::from_millis(3 * 80 + 50 + 40 + 12);

fn times(text: &str, seeds: u64) -> Vec<Duration> {
    let cell: Cell = text.parse().expect("a cell");
    let run = |seed| cell.run(seed).unwrap_or_else(|| panic!("no path: pinhole lab replay --seed {seed} {cell}"));
    let mut times: Vec<Duration> = (0..seeds).map(run).collect();
    times.sort_unstable();
    times
}

#[test]
fn two_ordinary_homes_hear_each_other_after_three_and_a_half_round_trips() {
    let times = times("ei/apd/preserving:ei/apd/preserving", 20);
    let longest = times[times.len() - 1];
    assert!(longest <= BOTH_WAYS, "{longest:?}");
}

#[test]
fn with_five_percent_loss_99_of_100_hear_each_other_within_two_seconds() {
    let times = times("ei/apd/preserving:ei/apd/random+loss5", 100);
    let (median, p99) = (times[times.len() / 2], times[times.len() * 99 / 100]);
    println!("median {median:?}, p99 {p99:?}");
    assert!(p99 <= Duration::from_secs(2), "p99 {p99:?}");
}

#[test]
fn a_hard_nat_is_searched_and_found() {
    let times = times("ei/apd/preserving:apd/apd/random", 5);
    let longest = times[times.len() - 1];
    assert!(longest <= Duration::from_secs(5), "{longest:?}");
}

#[test]
fn a_home_that_can_be_poisoned_is_not() {
    let times = times("ei/apd/preserving:ei/apd/preserving+poisoning", 20);
    let longest = times[times.len() - 1];
    assert!(longest <= BOTH_WAYS, "{longest:?}");
}

#[test]
fn nobody_needs_the_cells_hub_once_a_path_is_there() {
    use pinhole_lab::sim::Change;
    use pinhole_sansio::Instant;
    let cell: Cell = "ei/apd/preserving:ei/apd/preserving".parse().expect("a cell");
    let mut world = cell.world(3).expect("a network");
    world.sim().schedule(Instant::from_millis(2_000), Change::Stop(cell::HUB));
    world.run();
    let [a, b] = cell::pair(cell.conditions);
    let arrivals = world.sim().host(a).heard().from(b);
    assert!(
        arrivals.windows(2).all(|pair| pair[1].number == pair[0].number + 1),
        "every datagram has arrived, in order"
    );
    assert!(arrivals.len() > 1_500, "{}", arrivals.len());
}
