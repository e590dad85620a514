//! Interfaces that go down and addresses that change, under flows of three kinds.

use super::*;
use crate::rules::Masked;

/// Flows that are masqueraded behind `wan`, translated by name to its address, and not translated at all.
fn home() -> Home {
    let named = crate::nat::Range::address(Ipv4Addr::new(203, 0, 113, 1));
    let to = |last, length| Rule::new().to(Masked::prefix(Ipv4Addr::new(192, 0, 2, last), length));
    let rules = Ruleset::builder().rule(TableName::Nat, "POSTROUTING", to(128, 25).snat(named)).rule(
        TableName::Nat,
        "POSTROUTING",
        to(0, 26).out_device("wan").masquerade(),
    );
    let mut home = Home::with(rules.build().expect("rules"));
    for line in [
        "10.0.0.1:5000 > 192.0.2.1:53 udp 8",
        "10.0.0.1:5001 > 192.0.2.200:53 udp 8",
        "10.0.0.1:5002 > 192.0.2.100:53 udp 8",
    ] {
        home.out(line).expect("it is let through");
    }
    assert_eq!(sources(&mut home), [5_000, 5_001, 5_002]);
    home
}

/// The inside ports of all flows.
fn sources(home: &mut Home) -> Vec<u16> {
    let table = &home.router.v4().table;
    let mut ports: Vec<u16> = table.iter().map(|(_, flow)| flow.tuple(crate::Direction::Original).src_id).collect();
    ports.sort_unstable();
    ports
}

#[test]
fn an_interface_that_goes_down_ends_what_is_masqueraded_behind_it_and_nothing_else() {
    let mut home = home();
    home.router.v4().listen(true);
    home.router.interface_down(home.now, home.lan);
    assert_eq!(sources(&mut home), [5_000, 5_001, 5_002], "nothing is masqueraded behind the inside");
    home.router.interface_down(home.now, home.wan);
    assert_eq!(sources(&mut home), [5_001, 5_002]);
    let event = home.router.v4().poll_event().expect("whoever listens is told");
    assert_eq!(event.happened, crate::conntrack::Happened::DESTROY);
    assert_eq!(
        home.back("192.0.2.1:53 > 203.0.113.1:5000 udp 8").expect("it is for the router").split(' ').next(),
        Some("local")
    );
}

#[test]
fn an_address_that_goes_ends_what_is_masqueraded_with_it_and_the_next_flow_has_the_other_one() {
    let mut home = home();
    home.router.add_address(home.wan, net("198.51.100.7/24"));
    home.router.remove_address(home.now, home.wan, "198.51.100.9".parse().expect("an address"));
    home.router.remove_address(home.now, home.lan, "203.0.113.1".parse().expect("an address"));
    assert_eq!(sources(&mut home), [5_000, 5_001, 5_002], "these interfaces have no such address");
    home.router.remove_address(home.now, home.wan, "203.0.113.1".parse().expect("an address"));
    assert_eq!(sources(&mut home), [5_001, 5_002]);
    let again = home.out("10.0.0.1:5000 > 192.0.2.1:53 udp 8");
    assert_eq!(again, Ok("198.51.100.7:5000 > 192.0.2.1:53 udp 8 ttl 63".into()));
    // A packet for the old address is nobody's here, and goes on by the default route.
    let old = home.back("192.0.2.1:53 > 203.0.113.1:9 udp 8");
    assert_eq!(old, Ok("192.0.2.1:53 > 203.0.113.1:9 udp 8 ttl 63".into()));
}

#[test]
fn a_network_stays_as_long_as_an_address_is_in_it() {
    let mut home = home();
    let toward = |home: &mut Home| home.pass(home.wan, "192.0.2.9:1 > 10.0.0.77:9 udp 8");
    home.router.add_address(home.lan, net("10.0.0.253/24"));
    home.router.remove_address(home.now, home.lan, "10.0.0.254".parse().expect("an address"));
    assert!(toward(&mut home).is_ok());
    let output = |home: &Home| home.router.v4.routes.network_of(Ipv4Addr::new(10, 0, 0, 77));
    assert_eq!(output(&home), Some(net("10.0.0.0/24")));
    home.router.remove_address(home.now, home.lan, "10.0.0.253".parse().expect("an address"));
    assert_eq!(output(&home), Some(net("0.0.0.0/0")), "only the default route leads there now");
}
