//! Calls in virtual time.

use pinhole_sansio::{Instant, Machine, conformance};

use super::{Call, CallRequest, CallResult, Calls, Input, MAX_CALLS, Output, PATIENCE, Protocol};
use crate::behaviour::Change;
use crate::server::Local;
use crate::{AttributeType, Class, Fingerprint, Message};

fn call(protocol: Protocol, port: u16) -> Call {
    let request = CallRequest { protocol, change: Change::PORT, port, token: *b"a token!" };
    let local = Local::FIRST;
    Call { asker: "192.0.2.1:40000".parse().unwrap(), local, from: local.changed(Change::PORT), request }
}

fn value(bytes: &[u8], kind: AttributeType) -> Vec<u8> {
    let message = Message::read(bytes).unwrap();
    assert_eq!((message.class(), message.fingerprint()), (Class::Indication, Fingerprint::Right));
    message.value(kind).unwrap().to_vec()
}

/// The result that the asker is told.
fn told(output: &Output) -> CallResult {
    let Output::Transmit { from, to, bytes } = output else { panic!("{output:?}") };
    assert_eq!((*from, *to), (Local::FIRST, "192.0.2.1:40000".parse().unwrap()));
    let (result, change, token) = CallResult::read(&value(bytes, AttributeType::CALL_BACK_RESULT)).unwrap();
    assert_eq!((change, token), (Change::PORT, *b"a token!"));
    result
}

#[test]
fn a_call_by_udp_is_one_datagram_from_the_socket_that_was_asked_for() {
    let mut calls = Calls::new();
    calls.handle_input(Instant::EPOCH, Input::Grant(call(Protocol::Udp, 51_820)));
    let outputs = conformance::drain(&mut calls);
    let [Output::Transmit { from, to, bytes }] = &outputs[..] else { panic!("{outputs:?}") };
    assert_eq!((*from, *to), (Local::FIRST.changed(Change::PORT), "192.0.2.1:51820".parse().unwrap()));
    let request = CallRequest::read(&value(bytes, AttributeType::CALL_BACK)).unwrap();
    assert_eq!(request, call(Protocol::Udp, 51_820).request);
    assert_eq!(calls.poll_timeout(), None);
}

#[test]
fn how_a_call_by_tcp_ends_is_told() {
    for ended in [CallResult::Connected, CallResult::Refused, CallResult::Unreachable] {
        let mut calls = Calls::new();
        calls.handle_input(Instant::EPOCH, Input::Grant(call(Protocol::Tcp, 80)));
        let outputs = conformance::drain(&mut calls);
        let [Output::Connect { call: id, to, .. }] = &outputs[..] else { panic!("{outputs:?}") };
        assert_eq!(*to, "192.0.2.1:80".parse().unwrap());
        calls.handle_input(Instant::from_millis(1), Input::Ended(*id, ended));
        assert_eq!(told(&calls.poll_output().unwrap()), ended);
        calls.handle_input(Instant::from_millis(2), Input::Ended(*id, ended));
        assert!(calls.poll_output().is_none(), "once");
    }
}

#[test]
fn a_call_without_an_end_is_abandoned() {
    let mut calls = Calls::new();
    calls.handle_input(Instant::EPOCH, Input::Grant(call(Protocol::Tcp, 80)));
    conformance::drain(&mut calls);
    let mut seen = Vec::new();
    conformance::run_until(&mut calls, Instant::EPOCH + PATIENCE * 2, |at, output| seen.push((at, output)));
    assert!(matches!(seen[0], (at, Output::Abandon { .. }) if at == Instant::EPOCH + PATIENCE));
    assert_eq!(told(&seen[1].1), CallResult::TimedOut);
    assert_eq!((seen.len(), calls.poll_timeout()), (2, None));
}

#[test]
fn only_so_many_calls_are_made_at_once() {
    let mut calls = Calls::new();
    for _ in 0..MAX_CALLS {
        calls.handle_input(Instant::EPOCH, Input::Grant(call(Protocol::Tcp, 80)));
    }
    assert!(conformance::drain(&mut calls).iter().all(|output| matches!(output, Output::Connect { .. })));
    calls.handle_input(Instant::EPOCH, Input::Grant(call(Protocol::Tcp, 80)));
    assert_eq!(told(&calls.poll_output().unwrap()), CallResult::Busy);
}

#[test]
fn what_is_no_call_is_not_read_as_one() {
    let good = call(Protocol::Tcp, 80).request.value();
    assert!(CallRequest::read(&good).is_some());
    assert_eq!(CallRequest::read(&good[..11]), None);
    for (at, byte) in [(0, 1), (3, 0)] {
        let mut bad = good;
        bad[at] = byte;
        assert_eq!(CallRequest::read(&bad), None, "byte {at}");
    }
    assert_eq!(CallResult::read(&[9; 12]), None);
}
