//! What the whole has to achieve.

use pinhole_agent::event::Event;
use pinhole_sansio::{Duration, Instant};

use crate::wgsd::Dialect;
use crate::world::{ALICE, BOB, Settings, World};

/// Peer to peer and back with 20 ms links; to the registry it is half as far.
const ROUND_TRIP: Duration = Duration::from_millis(80);

fn settings(seed: u64) -> Settings {
    Settings {
        seed,
        loss: 0.0,
        accepts_input: false,
        copies: false,
        wgsd: None,
        strangers: false,
        starts: [Duration::ZERO; 2],
    }
}

fn connect(settings: &Settings) -> Duration {
    let mut world = World::new(settings.clone());
    let connected = world.run(Instant::from_millis(60_000), |world| world.first_user_packet().is_some());
    assert!(connected, "seed {}: no path within a minute: {:#?}", settings.seed, world.events);
    world.first_user_packet().expect("a packet")
}

/// Times of many runs, sorted.
fn times(runs: u64, settings_of: impl Fn(u64) -> Settings) -> Vec<Duration> {
    let mut times: Vec<Duration> = (0..runs).map(|seed| connect(&settings_of(seed))).collect();
    times.sort_unstable();
    times
}

#[test]
fn two_agents_that_start_together_are_connected_after_three_round_trips() {
    for seed in 0..20 {
        let time = connect(&settings(seed));
        assert!(time <= ROUND_TRIP * 3 + Duration::from_millis(50), "seed {seed}: {time:?}");
    }
}

#[test]
fn the_order_of_the_starts_does_not_matter() {
    for (alice, bob) in
        [(0, 10), (10, 0), (0, 45), (45, 0), (0, 200), (200, 0), (0, 700), (700, 0), (0, 9_000), (9_000, 0)]
    {
        let starts = [Duration::from_millis(alice), Duration::from_millis(bob)];
        let time = connect(&Settings { starts, ..settings(1) });
        assert!(time <= ROUND_TRIP * 3 + Duration::from_millis(50), "{alice} and {bob}: {time:?}");
    }
}

#[test]
fn nats_that_unexpected_packets_poison_are_not_poisoned() {
    for (alice, bob) in [(0, 0), (0, 10), (10, 0), (0, 200), (200, 0), (0, 700), (700, 0)] {
        let starts = [Duration::from_millis(alice), Duration::from_millis(bob)];
        let time = connect(&Settings { starts, accepts_input: true, ..settings(1) });
        assert!(time <= ROUND_TRIP * 3 + Duration::from_millis(50), "{alice} and {bob}: {time:?}");
    }
}

#[test]
fn with_five_percent_loss_on_each_link_99_of_100_are_connected_within_a_second() {
    for (copies, p99_within, all_within) in [(false, 1_000, 10_000), (true, 400, 1_000)] {
        let times = times(2_000, |seed| Settings { loss: 0.05, copies, ..settings(seed) });
        let (median, p99, longest) = (times[times.len() / 2], times[times.len() * 99 / 100], times[times.len() - 1]);
        println!("copies: {copies}; median {median:?}, p99 {p99:?}, longest {longest:?}");
        assert!(p99 <= Duration::from_millis(p99_within), "copies: {copies}; p99 {p99:?}");
        assert!(longest <= Duration::from_millis(all_within), "copies: {copies}; longest {longest:?}");
    }
}

#[test]
fn a_nat_that_restarts_is_found_again_within_three_seconds() {
    for seed in 0..20 {
        for home in [ALICE, BOB] {
            let mut world = World::new(settings(seed));
            assert!(world.run(Instant::from_millis(5_000), |world| world.first_user_packet().is_some()));
            world.run(Instant::from_millis(8_000), |_| false);
            world.hosts[home].nat.as_mut().expect("a NAT").restart();
            let (before, restart) = (world.user_packets.len(), world.now);
            let again = world.run(Instant::from_millis(30_000), |world| world.user_packets.len() > before + 16);
            assert!(again, "seed {seed}, {home}: {:#?}", world.events);
            let time = world.now.since(restart);
            assert!(time <= Duration::from_millis(3_000), "seed {seed}, home {home}: {time:?}");
        }
    }
}

#[test]
fn an_agent_that_starts_anew_on_a_live_tunnel_loses_nothing() {
    for home in [ALICE, BOB] {
        let mut world = World::new(settings(3));
        assert!(world.run(Instant::from_millis(5_000), |world| world.first_user_packet().is_some()));
        world.run(Instant::from_millis(6_000), |_| false);
        world.start_agent(home);
        world.run(Instant::from_millis(20_000), |_| false);
        let numbers: Vec<u64> = world.user_packets.iter().map(|(_, _, number)| *number).collect();
        assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "every packet arrived, in order");
        assert!(numbers.len() > 3_000);
    }
}

#[test]
fn a_dead_registry_takes_nothing_away_and_is_used_again_when_it_is_back() {
    let mut world = World::new(settings(4));
    assert!(world.run(Instant::from_millis(5_000), |world| world.first_user_packet().is_some()));
    world.registry_is_up = false;
    world.run(Instant::from_millis(40_000), |_| false);
    let numbers: Vec<u64> = world.user_packets.iter().map(|(_, _, number)| *number).collect();
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "the path does not need the registry");
    world.hosts[ALICE].nat.as_mut().expect("a NAT").restart();
    let before = world.user_packets.len();
    assert!(!world.run(Instant::from_millis(50_000), |world| world.user_packets.len() > before + 16));
    world.registry_is_up = true;
    assert!(
        world.run(Instant::from_millis(58_000), |world| world.user_packets.len() > before + 16),
        "{:#?}",
        world.events
    );
}

#[test]
fn a_changed_address_is_acted_upon_at_once() {
    let mut world = World::new(settings(5));
    assert!(world.run(Instant::from_millis(5_000), |world| world.first_user_packet().is_some()));
    world.run(Instant::from_millis(6_000), |_| false);
    world.hosts[BOB].nat.as_mut().expect("a NAT").restart();
    world.network_changed(BOB);
    let (before, change) = (world.user_packets.len(), world.now);
    assert!(world.run(Instant::from_millis(20_000), |world| world.user_packets.len() > before + 16));
    assert!(world.now.since(change) < Duration::from_millis(2_500), "{:?}", world.now.since(change));
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let events = |seed| {
        let mut world = World::new(Settings { loss: 0.2, ..settings(seed) });
        world.run(Instant::from_millis(20_000), |_| false);
        world
            .events
            .iter()
            .map(|(at, host, event): &(Instant, usize, Event)| format!("{at:?} {host} {event:?}"))
            .collect()
    };
    let (first, again, other): (Vec<String>, Vec<String>, Vec<String>) = (events(9), events(9), events(10));
    assert_eq!(first, again);
    assert_ne!(first, other);
}

#[test]
fn every_kind_of_wgsd_will_do_as_a_server() {
    for dialect in [Dialect::Current, Dialect::Old, Dialect::Resolved] {
        for (seed, bob) in [(1, 0), (2, 300), (3, 3_000)] {
            let starts = [Duration::ZERO, Duration::from_millis(bob)];
            let time = connect(&Settings { wgsd: Some(dialect), starts, ..settings(seed) });
            assert!(
                time < Duration::from_millis(3_400),
                "{dialect:?}, {bob} ms apart: {time:?}; wgsd's own client takes 3.4 s"
            );
        }
    }
}

#[test]
fn strangers_that_the_zone_announces_are_added_and_connected() {
    for wgsd in [None, Some(Dialect::Current), Some(Dialect::Resolved)] {
        let mut world = World::new(Settings { strangers: true, wgsd, ..settings(6) });
        let connected = world.run(Instant::from_millis(30_000), |world| world.first_user_packet().is_some());
        assert!(connected, "{wgsd:?}: {:#?}", world.events);
        let added = world.events.iter().filter(|(_, _, event)| matches!(event, Event::Added { .. })).count();
        assert_eq!(added, 2, "each has added the other, once");
        world.stop_agent(ALICE);
        let peers = world.hosts[ALICE].wireguard.device().peers.len();
        assert_eq!(peers, 1, "an agent that stops removes what it has added");
    }
}
