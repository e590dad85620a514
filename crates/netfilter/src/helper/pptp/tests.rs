use core::net::Ipv4Addr;

use super::*;
use crate::expect::Translation;
use crate::helper::tests::{CLIENT, Flow, GATEWAY, MASTER, SERVER};
use crate::nat::Range;

use Direction::{Original, Reply};

const START_REQUEST: u16 = 1;
const START_REPLY: u16 = 2;
const OUT_CALL_REQUEST: u16 = 7;
const OUT_CALL_REPLY: u16 = 8;
const IN_CALL_REQUEST: u16 = 9;
const IN_CALL_REPLY: u16 = 10;
const IN_CALL_CONNECTED: u16 = 11;
const CALL_CLEAR_REQUEST: u16 = 12;
const CALL_DISCONNECT_NOTIFY: u16 = 13;

const CLIENT_CALL: u16 = 100;
const SERVER_CALL: u16 = 200;

/// A message whose body begins with these bytes.
fn message(number: u16, body: &[u8]) -> Vec<u8> {
    let mut message = vec![0, 0, 0, 1, 0x1a, 0x2b, 0x3c, 0x4d];
    message.extend_from_slice(&number.to_be_bytes());
    message.extend_from_slice(&[0, 0]);
    message.extend_from_slice(body);
    message.resize(12 + 208, 0);
    message
}

/// A message whose body begins with two call ids and a result.
fn about(number: u16, call: u16, peer: u16, result: u8) -> Vec<u8> {
    let [[a, b], [c, d]] = [call, peer].map(u16::to_be_bytes);
    message(number, &[a, b, c, d, result])
}

/// A control connection that has begun.
fn started(mut flow: Flow<Ipv4Addr>) -> Flow<Ipv4Addr> {
    flow.send(Original, message(START_REQUEST, &[]));
    flow.send(Reply, message(START_REPLY, &[1, 0, 1]));
    flow
}

/// The call id that a packet has at `at` of its body.
fn call_at(outcome: &Outcome<Ipv4Addr>, sent: &[u8], at: usize) -> u16 {
    let becomes = outcome.apply(sent);
    assert_eq!(becomes.len(), sent.len());
    u16::from_be_bytes([becomes[12 + at], becomes[13 + at]])
}

#[test]
fn an_outgoing_call_makes_a_tunnel_expected_both_ways() {
    let mut flow = started(Flow::direct(Helper::Pptp));
    flow.send(Original, about(OUT_CALL_REQUEST, CLIENT_CALL, 0, 0));
    assert_eq!(flow.send(Reply, about(OUT_CALL_REPLY, SERVER_CALL, CLIENT_CALL, 1)), Outcome::ACCEPT);
    assert_eq!(flow.expected(), ["10.0.0.2 100 > 192.0.2.1 200 proto 47", "192.0.2.1 200 > 10.0.0.2 100 proto 47"]);
    let keymap = flow.expectations.keymap();
    assert_eq!(keymap.source_key(CLIENT, SERVER, SERVER_CALL), CLIENT_CALL);
    assert_eq!(keymap.source_key(SERVER, CLIENT, CLIENT_CALL), SERVER_CALL);
    assert_eq!(keymap.source_key(SERVER, CLIENT, 1), 0);

    let packet = Tuple { src: SERVER, dst: CLIENT, src_id: SERVER_CALL, dst_id: CLIENT_CALL, protocol: GRE };
    let met = flow.expectations.find(flow.now, 0, &packet, |_| true).expect("it is expected");
    assert_eq!(met.child_timeouts().map(|(a, b)| (a.as_secs(), b.as_secs())), Some((600, 18_000)));
    assert!(flow.expected().is_empty(), "the other direction is its reply");
}

#[test]
fn an_incoming_call_makes_a_tunnel_expected_once_it_is_connected() {
    let mut flow = started(Flow::direct(Helper::Pptp));
    flow.send(Reply, about(IN_CALL_REQUEST, SERVER_CALL, 0, 0));
    flow.send(Original, about(IN_CALL_REPLY, CLIENT_CALL, SERVER_CALL, 1));
    assert!(flow.expected().is_empty());
    flow.send(Reply, about(IN_CALL_CONNECTED, CLIENT_CALL, 0, 0));
    assert_eq!(flow.expected(), ["10.0.0.2 100 > 192.0.2.1 200 proto 47", "192.0.2.1 200 > 10.0.0.2 100 proto 47"]);
}

#[test]
fn what_does_not_fit_the_state_is_ignored() {
    let request = || about(OUT_CALL_REQUEST, CLIENT_CALL, 0, 0);
    let reply = |peer, result| about(OUT_CALL_REPLY, SERVER_CALL, peer, result);
    let cases = [
        (false, vec![(Original, request()), (Reply, reply(CLIENT_CALL, 1))], "no session"),
        (true, vec![(Reply, reply(CLIENT_CALL, 1))], "no request"),
        (true, vec![(Original, request()), (Reply, reply(7, 1))], "another call"),
        (true, vec![(Original, request()), (Reply, reply(CLIENT_CALL, 2))], "refused"),
        (true, vec![(Reply, request()), (Original, reply(CLIENT_CALL, 1))], "the wrong sides"),
        (true, vec![(Original, request()[..100].to_vec()), (Reply, reply(CLIENT_CALL, 1))], "a request that is cut"),
    ];
    for (is_started, messages, why) in cases {
        let mut flow = Flow::direct(Helper::Pptp);
        if is_started {
            flow = started(flow);
        }
        for (direction, message) in messages {
            assert_eq!(flow.send(direction, message), Outcome::ACCEPT);
        }
        assert!(flow.expected().is_empty(), "{why}");
    }
}

#[test]
fn nat_makes_the_clients_call_id_the_translated_port() {
    let mut flow = started(Flow::masqueraded(Helper::Pptp));
    let request = about(OUT_CALL_REQUEST, CLIENT_CALL, 0, 0);
    assert_eq!(call_at(&flow.send(Original, &request), &request, 0), 61_000);
    let reply = about(OUT_CALL_REPLY, SERVER_CALL, 61_000, 1);
    assert_eq!(call_at(&flow.send(Reply, &reply), &reply, 2), CLIENT_CALL);
    assert_eq!(
        flow.expected(),
        ["10.0.0.2 100 > 192.0.2.1 200 proto 47", "192.0.2.1 200 > 203.0.113.1 61000 proto 47"]
    );
    let clear = about(CALL_CLEAR_REQUEST, CLIENT_CALL, 0, 0);
    assert_eq!(call_at(&flow.send(Original, &clear), &clear, 0), 61_000);
}

#[test]
fn the_tunnels_key_is_translated_whichever_side_begins() {
    let expected = |flow: &mut Flow<Ipv4Addr>, packet: Tuple<Ipv4Addr>, left: usize| -> Translation<Ipv4Addr> {
        let met = flow.expectations.find(flow.now, 0, &packet, |_| true).expect("it is expected");
        assert_eq!(flow.expectations.len(), left);
        flow.expectations.translation(&met, &packet, &flow.tuples)
    };
    let key = |address, key| Some(Range { ports: Some((key, key)), ..Range::address(address) });
    let called = || {
        let mut flow = started(Flow::masqueraded(Helper::Pptp));
        flow.send(Original, about(OUT_CALL_REQUEST, CLIENT_CALL, 0, 0));
        flow.send(Reply, about(OUT_CALL_REPLY, SERVER_CALL, 61_000, 1));
        flow
    };
    let there = Tuple { src: CLIENT, dst: SERVER, src_id: CLIENT_CALL, dst_id: SERVER_CALL, protocol: GRE };
    let translation = expected(&mut called(), there, 0);
    assert_eq!((translation.source, translation.destination), (key(GATEWAY, 61_000), Some(Range::address(SERVER))));
    let back = Tuple { src: SERVER, dst: GATEWAY, src_id: SERVER_CALL, dst_id: 61_000, protocol: GRE };
    // Linux looks for the client's direction in the wrong place when the server begins, and leaves it.
    let translation = expected(&mut called(), back, 1);
    assert_eq!((translation.source, translation.destination), (Some(Range::address(SERVER)), key(CLIENT, CLIENT_CALL)));
}

#[test]
fn under_nat_a_server_that_begins_takes_the_clients_direction_only_if_both_calls_are_0() {
    for (client_call, server_call, left) in [(0, 0, 0), (CLIENT_CALL, 0, 1), (0, SERVER_CALL, 1)] {
        let mut flow = started(Flow::masqueraded(Helper::Pptp));
        flow.send(Original, about(OUT_CALL_REQUEST, client_call, 0, 0));
        flow.send(Reply, about(OUT_CALL_REPLY, server_call, 61_000, 1));
        let back = Tuple { src: SERVER, dst: GATEWAY, src_id: server_call, dst_id: 61_000, protocol: GRE };
        assert!(flow.expectations.find(flow.now, 0, &back, |_| true).is_some());
        assert_eq!(flow.expectations.len(), left, "{client_call} and {server_call}");
    }
}

#[test]
fn a_call_that_ends_says_which_tunnel_ends_with_it() {
    let mut flow = started(Flow::direct(Helper::Pptp));
    flow.send(Original, about(OUT_CALL_REQUEST, CLIENT_CALL, 0, 0));
    flow.send(Reply, about(OUT_CALL_REPLY, SERVER_CALL, CLIENT_CALL, 1));
    let outcome = flow.send(Reply, about(CALL_DISCONNECT_NOTIFY, CLIENT_CALL, 0, 0));
    let there = Tuple { src: CLIENT, dst: SERVER, src_id: CLIENT_CALL, dst_id: SERVER_CALL, protocol: GRE };
    assert_eq!(outcome.ends, [Some(there), there.inverse()], "flows, or what is expected");
    assert_eq!(flow.expectations.keymap().source_key(CLIENT, SERVER, SERVER_CALL), 0);
}

#[test]
fn a_tunnel_that_another_connection_has_is_not_expected_at_all() {
    let mut flow = started(Flow::direct(Helper::Pptp));
    let there = Tuple { src: CLIENT, dst: SERVER, src_id: 9, dst_id: SERVER_CALL, protocol: GRE };
    assert!(flow.expectations.keymap_mut().add(crate::expect::MasterId(9), Original, &there));
    flow.send(Original, about(OUT_CALL_REQUEST, CLIENT_CALL, 0, 0));
    flow.send(Reply, about(OUT_CALL_REPLY, SERVER_CALL, CLIENT_CALL, 1));
    assert!(flow.expectations.is_empty());
    flow.expectations.remove_master(MASTER);
    assert_eq!(flow.expectations.keymap().source_key(CLIENT, SERVER, SERVER_CALL), 9, "the other's stays");
}
