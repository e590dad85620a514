use core::net::{Ipv4Addr, Ipv6Addr};

use super::*;
use crate::expect::{Expectation, Expectations, MasterId};
use crate::helper::tests::{CLIENT, Flow, GATEWAY, MASTER, SERVER, edited};
use crate::helper::{State, Verdict};
use crate::nat::Range;
use crate::status::{Direction, Status};
use crate::tuple::Tuple;

use Direction::{Original, Reply};

const START: pinhole_sansio::Instant = pinhole_sansio::Instant::EPOCH;

/// A flow in which both sides have ended a line.
fn greeted<A: Address>(mut flow: Flow<A>) -> Flow<A> {
    assert_eq!(flow.send(Reply, "220 hello\r\n"), Outcome::ACCEPT);
    assert_eq!(flow.send(Original, "USER me\r\n"), Outcome::ACCEPT);
    flow
}

/// Sends a text as the first of its side's lines after the greeting, and says what is expected, or that it is dropped.
fn check(direction: Direction, text: &str, numbers: Numbers) -> String {
    let mut flow = greeted(Flow::direct(Helper::Ftp));
    flow.settings.ftp_numbers = numbers;
    let outcome = flow.send(direction, text);
    match (outcome.verdict, flow.expected().as_slice()) {
        (Verdict::Drop, []) => "dropped".to_owned(),
        (Verdict::Accept, []) => "passes".to_owned(),
        (Verdict::Accept, [one]) => one.clone(),
        (verdict, expected) => panic!("{verdict:?} with {expected:?}"),
    }
}

#[test]
fn what_clients_and_servers_announce() {
    let to_client = "192.0.2.1 any > 10.0.0.2 40000 tcp";
    let to_server = "10.0.0.2 any > 192.0.2.1 40000 tcp";
    let cases = [
        (Original, "PORT 10,0,0,2,156,64\r\n", to_client),
        (Original, "port 10,0,0,2,156,64\r\n", to_client),
        (Original, "PORT  10,0,0,2,156,64\r\n", "dropped"),
        (Original, "PORTAGE 10,0,0,2,156,64\r\n", to_client),
        (Original, "PORT 10,0,0,2,156,64\n", "dropped"),
        (Original, "PORT 10,0,0,2,156,64 \r\n", "dropped"),
        (Original, "PORT 10,0,0,2,156\r\n", "dropped"),
        (Original, "PORT 10,0,0,2,156,64,1\r\n", "dropped"),
        (Original, "PORT 10,,,2,156,64\r\n", to_client),
        (Original, "PORT 010,000,000,0002,156,64\r\n", to_client),
        (Original, "PORT 10,0,0,3,156,64\r\n", "passes"),
        (Original, "P", "dropped"),
        (Original, "PO", "dropped"),
        (Original, "PORT", "dropped"),
        (Original, "PORT ", "dropped"),
        (Original, "PORT 10,0,0,2,1", "dropped"),
        (Original, "PASV\r\n", "passes"),
        (Original, "NOOP\r\nPORT 10,0,0,2,156,64\r\n", "passes"),
        (Original, "EPRT |1|10.0.0.2|40000|\r\n", to_client),
        (Original, "eprt !1!10.0.0.2!40000!\r\n", to_client),
        (Original, "EPRT ~1~10.0.0.2~40000~", to_client),
        (Original, "EPRT 1110.0.0.2140000\r\n", "dropped"),
        (Original, "EPRT \x7f1\x7f10.0.0.2\x7f40000\x7f\r\n", "dropped"),
        (Original, "EPRT |2|2001:db8::1|40000|\r\n", "dropped"),
        (Original, "EPRT |1|10.0.0.2|40000\r\n", "dropped"),
        (Original, "EPRT |1|10.0.0.2|0|\r\n", "dropped"),
        (Original, "EPRT |1|10.0.0|40000|\r\n", "dropped"),
        (Original, "EPRT |1|\r\n", "dropped"),
        (Original, "227 Entering Passive Mode (10,0,0,2,156,64).\r\n", "passes"),
        (Reply, "227 Entering Passive Mode (192,0,2,1,156,64).\r\n", to_server),
        (Reply, "227 192,0,2,1,156,64\r\n", to_server),
        (Reply, "227 =192,0,2,1,156,64 ok\r\n", to_server),
        (Reply, "227 Entering Passive Mode (192,0,2,1,156,64", "dropped"),
        (Reply, "227 Entering Passive Mode\r\n", "dropped"),
        (Reply, "227 Entering Passive Mode (10,0,0,1,156,64).\r\n", "passes"),
        (Reply, "227", "dropped"),
        (Reply, "229 Entering Extended Passive Mode (|||40000|)\r\n", to_server),
        (Reply, "229 Entering (%%%40000%)\r\n", to_server),
        (Reply, "229 Entering (|||40000|", to_server),
        (Reply, "229 Entering (|1||40000|)\r\n", "dropped"),
        (Reply, "229 Entering |||40000|\r\n", "dropped"),
        (Reply, "22", "dropped"),
        (Reply, "226 Done\r\n", "passes"),
        (Reply, "PORT 192,0,2,1,156,64\r\n", "passes"),
    ];
    for (direction, text, expected) in cases {
        for numbers in [Numbers::Wrap, Numbers::Checked] {
            assert_eq!(check(direction, text, numbers), expected, "{direction} says {text:?}");
        }
    }
}

#[test]
fn numbers_out_of_range_wrap_or_are_wrong() {
    // Measured on Linux 6.18.44: the second column.
    let expected = |port: u16| format!("192.0.2.1 any > 10.0.0.2 {port} tcp");
    let cases = [
        ("PORT 10,0,0,2,156,256\r\n", expected(40_192)),
        ("PORT 10,0,0,2,256,64\r\n", expected(64)),
        ("PORT 256,0,0,2,156,64\r\n", "passes".to_owned()),
        ("PORT 10,0,0,2,0,0\r\n", expected(0)),
        ("EPRT |1|10.0.0.2|65536|\r\n", "dropped".to_owned()),
        ("EPRT |1|10.0.0.2|65537|\r\n", expected(1)),
        ("EPRT |1|10.0.0.2|105536|\r\n", expected(40_000)),
        ("EPRT |1|4294967306.0.0.2|40000|\r\n", expected(40_000)),
    ];
    for (text, wrapped) in cases {
        assert_eq!(check(Original, text, Numbers::Wrap), wrapped, "{text:?}");
        assert_eq!(check(Original, text, Numbers::Checked), "dropped", "{text:?}");
    }
}

#[test]
fn ipv6_has_eprt_and_epsv_only() {
    let [client, server] = [1, 2].map(|last| Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last));
    let cases = [
        (Original, "EPRT |2|2001:db8::1|40000|\r\n", Some("2001:db8::2 any > 2001:db8::1 40000 tcp")),
        (Original, "EPRT |1|10.0.0.2|40000|\r\n", None),
        (Original, "EPRT |2|2001:db8::1%eth0|40000|\r\n", None),
        (Original, "PORT 10,0,0,2,156,64\r\n", None),
        (Reply, "229 ok (|||40000|)\r\n", Some("2001:db8::1 any > 2001:db8::2 40000 tcp")),
    ];
    for (direction, text, expected) in cases {
        let mut flow = greeted(Flow::between(Helper::Ftp, client, server));
        flow.send(direction, text);
        assert_eq!(flow.expected(), Vec::from_iter(expected), "{text:?}");
    }
}

#[test]
fn only_a_text_that_begins_a_line_is_read() {
    let mut flow = Flow::direct(Helper::Ftp);
    let port = "PORT 10,0,0,2,156,64\r\n";
    assert_eq!(flow.send(Original, port), Outcome::ACCEPT);
    assert!(flow.expected().is_empty(), "nothing is known of the first line");
    assert_eq!(flow.send(Original, "STOR half a line "), Outcome::ACCEPT);
    assert_eq!(flow.send(Original, port), Outcome::ACCEPT);
    assert!(flow.expected().is_empty(), "in the middle of a line");
    assert_eq!(flow.send(Original, port), Outcome::ACCEPT);
    assert_eq!(flow.expected().len(), 1);
}

#[test]
fn the_last_two_line_ends_are_known_so_that_a_line_may_come_again() {
    let mut flow = greeted(Flow::direct(Helper::Ftp));
    let (first, second) = (flow.seq[0], "PORT 10,0,0,2,156,64\r\n");
    flow.send(Original, second);
    flow.expectations.remove_master(MASTER);
    flow.send_at(Original, first, second.as_bytes());
    assert_eq!(flow.expected().len(), 1, "sent again");
    flow.send(Original, "NOOP\r\n");
    flow.expectations.remove_master(MASTER);
    flow.send_at(Original, first, second.as_bytes());
    assert!(flow.expected().is_empty(), "two lines ago");
}

#[test]
fn nothing_is_read_before_the_answer() {
    let mut flow = greeted(Flow::direct(Helper::Ftp));
    flow.status.clear(Status::SEEN_REPLY);
    flow.send(Original, "PORT 10,0,0,2,156,64\r\n");
    assert!(flow.expected().is_empty());
}

#[test]
fn a_restored_flow_is_picked_up_once_per_side() {
    let mut flow = Flow::direct(Helper::Ftp);
    flow.state = State::restored(Helper::Ftp);
    flow.send(Original, "PORT 10,0,0,2,156,64\r\n");
    assert_eq!(flow.expected().len(), 1);
    flow.seq[1] += 100;
    flow.send(Reply, "200 half");
    flow.send(Reply, "229 ok (|||40000|)\r\n");
    assert_eq!(flow.expected(), ["192.0.2.1 any > 10.0.0.2 40000 tcp"], "in the middle of a line, and not the first");
}

#[test]
fn if_loose_another_host_may_be_named() {
    let mut flow = greeted(Flow::direct(Helper::Ftp));
    flow.settings.ftp_loose = true;
    flow.send(Reply, "227 ok (198,51,100,7,156,64)\r\n");
    assert_eq!(flow.expected(), ["10.0.0.2 any > 198.51.100.7 40000 tcp"]);
}

#[test]
fn nat_writes_the_gateways_address_into_the_text() {
    let cases = [
        ("PORT 10,0,0,2,156,64\r\n", "PORT 203,0,113,1,156,64\r\n"),
        ("EPRT |1|10.0.0.2|40000|\r\n", "EPRT |1|203.0.113.1|40000|\r\n"),
        ("EPRT !1!10.0.0.2!40000!\r\n", "EPRT |1|203.0.113.1|40000|\r\n"),
    ];
    for (text, becomes) in cases {
        let mut flow = greeted(Flow::masqueraded(Helper::Ftp));
        let outcome = flow.send(Original, text);
        assert_eq!(edited(&outcome, text), becomes);
        assert_eq!(outcome.growth(), 3);
        assert_eq!(flow.expected(), ["192.0.2.1 any > 203.0.113.1 40000 tcp"]);
    }
}

#[test]
fn a_server_behind_nat_announces_the_gateway_and_the_text_may_shrink() {
    let cases = [
        ("227 ok (10,0,0,2,156,64)\r\n", "227 ok (203,0,113,1,156,64)\r\n"),
        ("227 ok (010,000,000,002,156,064)\r\n", "227 ok (203,0,113,1,156,64)\r\n"),
        ("229 ok (|||40000|)\r\n", "229 ok (|||40000|)\r\n"),
    ];
    for (text, becomes) in cases {
        let mut flow = greeted(Flow::forwarded(Helper::Ftp));
        let outcome = flow.send(Reply, text);
        assert_eq!(edited(&outcome, text), becomes);
        assert_eq!(flow.expected(), ["192.0.2.1 any > 203.0.113.1 40000 tcp"]);
        let child = Tuple { src: SERVER, dst: GATEWAY, src_id: 9, dst_id: 40_000, protocol: TCP };
        let met = flow.expectations.find(START, 0, &child, |_| true).expect("it is expected");
        let translation = flow.expectations.translation(&met, &child, &flow.tuples);
        assert_eq!(translation.source, Some(Range::address(SERVER)), "the client, not translated");
        assert_eq!(translation.destination, Some(Range { ports: Some((40_000, 40_000)), ..Range::address(CLIENT) }));
    }
}

#[test]
fn ipv6_under_nat_is_written_out_in_full() {
    let [client, server, gateway] = [1, 2, 3].map(|last| Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last));
    let mut flow = greeted(Flow::between(Helper::Ftp, client, server));
    flow.tuples[1].dst = gateway;
    flow.status |= Status::SRC_NAT;
    let text = "EPRT |2|2001:db8::1|40000|\r\n";
    let outcome = flow.send(Original, text);
    assert_eq!(edited(&outcome, text), "EPRT |2|2001:0db8:0000:0000:0000:0000:0000:0003|40000|\r\n");
}

#[test]
fn nat_takes_another_port_if_this_one_is_expected_already() {
    let mut flow = greeted(Flow::masqueraded(Helper::Ftp));
    occupy(&mut flow.expectations, 40_000);
    flow.draws = vec![40_000, 50_000];
    let text = "PORT 10,0,0,2,156,64\r\n";
    let outcome = flow.send(Original, text);
    assert_eq!(edited(&outcome, text), "PORT 203,0,113,1,195,80\r\n");
    assert!(flow.draws.is_empty());
    let (_, last) = flow.expectations.iter().last().expect("it is expected");
    assert_eq!(last.nat, ChildNat::FollowMaster { direction: Reply, port: 40_000 }, "the client's own port");
}

#[test]
fn nat_drops_when_no_port_was_free_after_128_more_tries() {
    let mut flow = greeted(Flow::masqueraded(Helper::Ftp));
    occupy(&mut flow.expectations, 40_000);
    flow.draws = vec![40_000; 200];
    assert_eq!(flow.send(Original, "PORT 10,0,0,2,156,64\r\n").verdict, Verdict::Drop);
    assert_eq!(flow.draws.len(), 200 - 128);
    assert_eq!(flow.last_note(), "no port from 40000 on was free: dropped");
}

/// Another control connection of the same server has announced this port of the gateway.
fn occupy(expectations: &mut Expectations<Ipv4Addr>, port: u16) {
    let other = Expectation::new(Helper::Ftp, MasterId(9), 0, TCP, (Some(SERVER), None), (GATEWAY, port));
    expectations.add(START, other, POLICY).expect("there is room");
}

#[test]
fn a_later_announcement_takes_the_place_of_an_earlier_one() {
    let mut flow = greeted(Flow::direct(Helper::Ftp));
    flow.send(Original, "PORT 10,0,0,2,156,64\r\n");
    flow.send(Original, "PORT 10,0,0,2,156,65\r\n");
    assert_eq!(flow.expected(), ["192.0.2.1 any > 10.0.0.2 40001 tcp"]);
}
