//! What is asked of the kernel is what it has then.

use std::net::Ipv4Addr;

use super::rule::{self, Rule};
use super::table::{self, NoWay};
use super::{link, neighbour, open};
use crate::namespace::{Namespace, privilege};

#[test]
fn rules_ways_that_are_none_and_proxies_are_made_found_and_removed() {
    if !privilege::can_make_namespaces() {
        eprintln!("SKIP: making namespaces needs root (or CAP_SYS_ADMIN and CAP_NET_ADMIN); run the tests with sudo");
        return;
    }
    let namespace = Namespace::create("route-test").expect("a namespace");
    namespace.run(check).expect("a thread");
}

fn check() {
    let mut socket = open().expect("rtnetlink");
    let before = rule::list(&mut socket).expect("rules");
    let rules = [
        Rule { input: Some("eth9".into()), priority: Some(10), ..Rule::table(300) },
        Rule {
            to: Some(Ipv4Addr::new(203, 0, 113, 1)),
            protocol: Some(17),
            to_ports: Some(61_000..=65_534),
            priority: Some(10),
            ..Rule::table(301)
        },
        Rule { not: true, origin: Some(2), to_ports: Some(1..=9), priority: Some(0), ..Rule::table(table::LOCAL) },
        Rule { mark: Some(7), suppress_prefix_length: Some(0), priority: Some(12), ..Rule::table(table::MAIN) },
    ];
    for rule in &rules {
        rule::add(&mut socket, rule).unwrap_or_else(|error| panic!("{rule:?}: {error}"));
        assert!(rule::list(&mut socket).expect("rules").contains(rule), "{rule:?}");
        assert!(rule::add(&mut socket, rule).is_err_and(|error| error.is_exists()), "{rule:?}");
    }
    for rule in &rules {
        rule::delete(&mut socket, rule).unwrap_or_else(|error| panic!("{rule:?}: {error}"));
    }
    assert_eq!(rule::list(&mut socket).expect("rules"), before);

    let net = "198.51.100.0/24".parse().expect("a network");
    for what in [NoWay::Throw, NoWay::Blackhole] {
        table::set_no_way(&mut socket, net, 300, what, 0).expect("a route");
        assert_eq!(table::list_no_ways(&mut socket, 300).expect("routes"), [(net, what)], "instead of the other one");
    }
    table::set_no_way(&mut socket, net, 300, NoWay::Blackhole, 9).expect("a second one, that is worse");
    assert_eq!(table::list_no_ways(&mut socket, 300).expect("routes").len(), 2);
    table::delete_no_way(&mut socket, net, 300, NoWay::Blackhole).expect("it is there");
    assert!(table::delete_no_way(&mut socket, net, 300, NoWay::Throw).is_err_and(|error| error.is_not_found()));
    table::delete_no_way(&mut socket, net, 300, NoWay::Blackhole).expect("it is there");
    assert_eq!(table::list_no_ways(&mut socket, 300).expect("routes"), []);

    link::add_veth(&mut socket, "eth9", "eth8", None).expect("a cable");
    let index = link::find(&mut socket, "eth9").expect("it is there").index;
    let address = Ipv4Addr::new(203, 0, 113, 9);
    neighbour::add_proxy(&mut socket, index, address).expect("a proxy");
    neighbour::delete_proxy(&mut socket, index, address).expect("it is there");
    assert!(neighbour::delete_proxy(&mut socket, index, address).is_err_and(|error| error.is_not_found()));
}
