//! What a person may write, and what is said when it is wrong.

use std::net::Ipv4Addr;

use pinhole_netfilter::behaviour::Behaviour;
use pinhole_sansio::{Duration, Instant};

use super::*;
use crate::topology::{Nat, RouterKind};
use crate::{Link, PlaceKind};

const SAMPLE: &str = include_str!("sample.lab");

#[test]
fn the_sample_is_a_scenario() {
    let scenario = Scenario::parse(SAMPLE).expect("the sample");
    let network = &scenario.network;
    let names: Vec<&str> = network.places.iter().map(|place| place.name.as_str()).collect();
    assert_eq!(names, ["hub", "carrier", "home", "alice", "office", "bob"]);
    assert_eq!((scenario.seed, scenario.until), (7, Instant::from_millis(40_000)));
    assert_eq!(scenario.registry, Some(0));
    assert_eq!(scenario.agents[1], Starter { place: 5, at: Instant::from_millis(500) });
    assert_eq!(network.routers_of(3), [2, 1]);
    let home = Link { jitter: Duration::from_millis(2), loss: 0.001, ..Link::with_delay(Duration::from_millis(5)) };
    assert_eq!(network.places[2].link, home);
    let PlaceKind::Router { inside, nat } = &network.places[1].kind else { panic!("the carrier is a router") };
    assert_eq!(inside.to_string(), "100.64.0.1/10");
    assert_eq!(*nat, RouterKind::Behaviour(Behaviour::cgn_rfc6888()));
    assert!(matches!(&network.places[4].kind, PlaceKind::Router { nat: RouterKind::Kernel(Nat::CONE), .. }));
    assert_eq!(scenario.changes[1].1, Change::Readdress(1, Ipv4Addr::new(198, 51, 100, 99)));
    assert_eq!(scenario.expectations[1].after, Instant::from_millis(10_000));
    assert_eq!(scenario.expectations[1].within, Duration::from_secs(3));
}

#[test]
fn rules_are_taken_as_they_stand_up_to_their_end() {
    let text = "rules box 192.0.2.1 inside 10.0.0.1/24 delay 1ms\n*nat # not ours\n-A POSTROUTING -j MASQUERADE\nCOMMIT\nend\nhost a 10.0.0.2 behind box";
    let scenario = Scenario::parse(text).expect("a scenario");
    let PlaceKind::Router { nat: RouterKind::Rules(rules), .. } = &scenario.network.places[0].kind else {
        panic!("a router with rules")
    };
    assert_eq!(rules, "*nat # not ours\n-A POSTROUTING -j MASQUERADE\nCOMMIT\n");
    assert_eq!(scenario.lines, [1, 6]);
}

#[test]
fn what_is_wrong_is_said_with_its_line_and_what_would_be_right() {
    let check = |text: &str, expected: &str| {
        let error = Scenario::parse(text).expect_err(text);
        assert_eq!(error.to_string(), expected, "{text}");
    };
    check(
        "hosts a 1.2.3.4",
        "line 1: `hosts`: a line begins with internet, host, nat, linux, rules, registry, agent, at, expect, until or seed",
    );
    check("\n# nothing\nhost a 1.2.3", "line 3: `1.2.3`: expected its address, as 192.0.2.1");
    check("host a 192.0.2.1 delay 20", "line 1: `20`: expected a time, as 20ms");
    check("host a 192.0.2.1 loss 5", "line 1: `5`: expected a share, as 5%");
    check("host a 192.0.2.1 behind home", "line 1: there is no home above this line");
    check("host a 192.0.2.1\nhost b 192.0.2.1", "line 2: 192.0.2.1 is taken there");
    check("host a 192.0.2.1\nhost b 10.0.0.1 behind a", "line 2: a is a host, and this is for routers");
    check("nat a 192.0.2.1 is home_router", "line 1: a has no `inside` network, as in: inside 192.168.1.0/24");
    check("nat a 192.0.2.1 inside 10.0.0.0/24", "line 1: a: what `is` it, as in: is home_router");
    check("host a 192.0.2.1\nagent a\nexpect a b direct", "line 3: there is no b above this line");
    check("host a 192.0.2.1\nagent a\nagent a", "line 1: a runs two programs");
    check(
        "host a 192.0.2.1\nat 1s explode a",
        "line 2: `explode`: expected reboot, address, poison, stop, start, cut, mend, link or wake",
    );
    check("host a 192.0.2.1\nat 1s stop a now", "line 2: `now`: the line should have ended before it");
    check("rules a 192.0.2.1 inside 10.0.0.0/24\n*nat", "line 1: its rules have no `end`");
    let error = Scenario::parse("nat a 192.0.2.1 inside 10.0.0.0/24 is toaster").expect_err("no preset");
    assert!(error.to_string().starts_with("line 1: `toaster`: expected one of rfc4787"), "{error}");
}
