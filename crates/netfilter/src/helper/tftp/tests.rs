use super::*;
use crate::helper::Verdict;
use crate::helper::tests::{CLIENT, Flow, GATEWAY, SERVER};
use crate::nat::Range;
use crate::status::Status;
use crate::tuple::Tuple;

const READ_REQUEST: &[u8] = b"\x00\x01boot.img\x00octet\x00";

#[test]
fn a_request_makes_the_server_expected_from_any_port() {
    for request in [READ_REQUEST, b"\x00\x02boot.img\x00octet\x00", b"\x00\x01"] {
        let mut flow = Flow::direct(Helper::Tftp);
        flow.status.clear(Status::SEEN_REPLY);
        assert_eq!(flow.send(Direction::Original, request), Outcome::ACCEPT);
        assert_eq!(flow.expected(), ["192.0.2.1 any > 10.0.0.2 5000 udp"]);
    }
}

#[test]
fn other_packets_mean_nothing() {
    for other in [&b"\x00\x03\x00\x01data"[..], b"\x00\x00", b"\x01\x00", b"\x01", b""] {
        let mut flow = Flow::direct(Helper::Tftp);
        assert_eq!(flow.send(Direction::Original, other), Outcome::ACCEPT);
        assert!(flow.expected().is_empty(), "{other:?}");
    }
}

#[test]
fn behind_nat_the_server_comes_to_the_translated_port_and_reaches_the_clients() {
    let mut flow = Flow::masqueraded(Helper::Tftp);
    assert_eq!(flow.send(Direction::Original, READ_REQUEST), Outcome::ACCEPT);
    assert_eq!(flow.expected(), ["192.0.2.1 any > 203.0.113.1 61000 udp"]);
    let child = Tuple { src: SERVER, dst: GATEWAY, src_id: 3_000, dst_id: 61_000, protocol: UDP };
    let met = flow.expectations.find(flow.now, 0, &child, |_| true).expect("it is expected");
    let translation = flow.expectations.translation(&met, &child, &flow.tuples);
    assert_eq!(translation.source, Some(Range::address(SERVER)));
    assert_eq!(translation.destination, Some(Range { ports: Some((5_000, 5_000)), ..Range::address(CLIENT) }));
}

#[test]
fn a_request_that_cannot_be_expected_is_dropped() {
    let mut flow = Flow::direct(Helper::Tftp);
    flow.expectations.set_max(0);
    assert_eq!(flow.send(Direction::Original, READ_REQUEST).verdict, Verdict::Drop);
    assert!(flow.last_note().ends_with("the table of expectations is full: dropped"), "{}", flow.last_note());
}
