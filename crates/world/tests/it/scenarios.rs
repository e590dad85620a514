//! Scenarios from text: what must come of them, and one that must fail.

use pinhole_lab::scenario::Scenario;
use pinhole_world::oracle::{self, Must};
use pinhole_world::{Outcome, World};

const SAMPLE: &str = include_str!("../../../lab/src/scenario/sample.lab");
/// Says that there must be a path, and cuts it.
const CANARY: &str = include_str!("canary.lab");

fn run(text: &str) -> Vec<Outcome> {
    let scenario = Scenario::parse(text).expect("a scenario");
    let mut world = World::new(&scenario, scenario.seed).expect("a network");
    world.run();
    world.outcomes()
}

fn failures(outcomes: &[Outcome]) -> Vec<String> {
    let judged = outcomes.iter().flat_map(|outcome| &outcome.judged);
    judged.filter_map(|judged| Some(format!("line {:?}: {}", judged.line, judged.failure.as_ref()?))).collect()
}

#[test]
fn the_sample_comes_out_as_it_expects() {
    let outcomes = run(SAMPLE);
    assert_eq!(outcomes.len(), 1);
    assert_eq!(outcomes[0].judged.len(), 5, "the oracle and four lines");
    assert!(failures(&outcomes).is_empty(), "{:#?}", failures(&outcomes));
}

#[test]
fn the_canary_fails() {
    let failures = failures(&run(CANARY));
    assert_eq!(failures.len(), 2, "the oracle and the expectation: {failures:#?}");
    assert!(failures[0].contains("a direct path must exist"), "{failures:#?}");
}

#[test]
fn two_homes_of_one_carrier_need_one_that_turns_packets_around() {
    for (hairpin, must) in [("external", Must::Direct), ("none", Must::Never)] {
        let text = format!(
            "host hub 203.0.113.1 delay 5ms\n\
             nat carrier 198.51.100.1 inside 100.64.0.0/10 delay 5ms is cgn_rfc6888 hairpin={hairpin}\n\
             nat home-a 100.64.0.2 behind carrier inside 192.168.1.0/24 is home_router\n\
             nat home-b 100.64.0.3 behind carrier inside 192.168.2.0/24 is home_router\n\
             host alice 192.168.1.10 behind home-a\nhost bob 192.168.2.10 behind home-b\n\
             registry hub\nagent alice\nagent bob\nuntil 15s"
        );
        let scenario = Scenario::parse(&text).expect("a scenario");
        assert_eq!(oracle::rule(&scenario.network, 4, 5).must, must, "{hairpin}");
        let outcomes = run(&text);
        assert!(failures(&outcomes).is_empty(), "{hairpin}: {outcomes:#?}");
    }
}

#[test]
fn three_agents_are_three_pairs() {
    let text = "host hub 203.0.113.1 delay 5ms\nhost alice 192.0.2.1 delay 5ms\nhost bob 192.0.2.2 delay 5ms\n\
                linux home 192.0.2.3 inside 10.0.0.0/24 delay 5ms\nhost carol 10.0.0.9 behind home\n\
                registry hub\nagent alice\nagent bob at 200ms\nagent carol at 700ms\nuntil 5s";
    let outcomes = run(text);
    assert_eq!(outcomes.len(), 3);
    assert!(failures(&outcomes).is_empty(), "{outcomes:#?}");
}

#[test]
fn a_host_that_starts_anew_is_found_again() {
    let text = "host hub 203.0.113.1 delay 5ms\nlinux home 192.0.2.3 inside 10.0.0.0/24 delay 5ms\n\
                host alice 10.0.0.9 behind home\nhost bob 198.51.100.7 delay 5ms\n\
                registry hub\nagent alice\nagent bob\nat 5s stop bob\nat 6s start bob\n\
                expect alice bob direct within 1s\nexpect alice bob none after 5.1s within 800ms\n\
                expect alice bob direct after 6s within 4s\nuntil 12s";
    let outcomes = run(text);
    assert!(failures(&outcomes).is_empty(), "{outcomes:#?}");
}
