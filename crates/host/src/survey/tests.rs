//! The way out, in a namespace of one's own.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::*;
use crate::namespace::{Namespace, privilege};

const TOWARD: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), IpAddr::V6(std::net::Ipv6Addr::LOCALHOST)];

#[test]
fn without_a_network_there_is_no_way_and_nothing_fails() {
    if !privilege::can_make_namespaces() {
        eprintln!("SKIP: no namespace without root");
        return;
    }
    let namespace = Namespace::create("survey").expect("a namespace");
    let look = || {
        let ways = ways(TOWARD).expect("netlink");
        assert_eq!((ways.interfaces, ways.v4, ways.v6, ways.is_multihomed), (vec![], None, None, false));
        assert!(path::hops([192, 0, 2, 1].into(), 3, Duration::from_millis(50)).is_err());
        assert!(mtu::mtu(SocketAddr::from(([192, 0, 2, 1], 9))).is_err());
        assert_eq!(path::is_neighbour_there([192, 0, 2, 1].into()), None);
    };
    namespace.run(look).expect("a thread");
}
