use pinhole_sansio::conformance;
use pinhole_stun::{AttributeType, Class, Message, Method, TransactionId, Writer};

use super::*;

const ONE: &str = "203.0.113.1:3478";
const TWO: &str = "203.0.113.1:3479";
const REGISTRY: &str = "203.0.113.1:51820";

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// Answers what is to be sent, each server with the endpoint that it sees; the verdicts that come of it.
fn answer(vantage: &mut Vantage, now: Instant, sees: impl Fn(SocketAddr) -> Option<&'static str>) -> Vec<Mapping> {
    let mut verdicts = Vec::new();
    while let Some(output) = vantage.poll_output() {
        match output {
            Output::Changed(mapping) => verdicts.push(mapping),
            Output::Transmit { to, bytes } => {
                let id = Message::read(&bytes).unwrap().transaction_id();
                if let Some(seen) = sees(to) {
                    vantage.handle_input(now, Input::Received { from: to, bytes: response(id, address(seen)) });
                }
            }
        }
    }
    verdicts
}

fn response(id: TransactionId, mapped: SocketAddr) -> Vec<u8> {
    let mut bytes = [0; 128];
    let mut writer = Writer::new(&mut bytes, Class::Success, Method::BINDING, id);
    let length = writer.xor_address(AttributeType::XOR_MAPPED_ADDRESS, mapped).finish().unwrap();
    bytes[..length].to_vec()
}

fn asked(servers: &[&str]) -> Vantage {
    let mut vantage = Vantage::new(1);
    vantage.handle_input(Instant::EPOCH, Input::Servers(servers.iter().map(|server| address(server)).collect()));
    vantage
}

#[test]
fn the_same_endpoint_for_all_is_independent_and_another_for_each_is_dependent() {
    let mut vantage = asked(&[ONE, TWO]);
    assert_eq!(answer(&mut vantage, Instant::EPOCH, |_| Some("198.51.100.1:1000")), [Mapping::Independent]);
    let mut vantage = asked(&[ONE, TWO]);
    let each = |server: SocketAddr| Some(if server == address(ONE) { "198.51.100.1:7" } else { "198.51.100.1:8" });
    assert_eq!(answer(&mut vantage, Instant::EPOCH, each), [Mapping::Dependent]);
}

#[test]
fn one_view_says_nothing_and_what_the_registry_sees_is_one() {
    let mut vantage = asked(&[ONE]);
    assert_eq!(answer(&mut vantage, Instant::EPOCH, |_| Some("198.51.100.1:1000")), []);
    assert_eq!(vantage.mapping(), Mapping::Unknown);
    let seen = |at| Input::Seen { by: address(REGISTRY), at: address(at) };
    vantage.handle_input(Instant::EPOCH, seen("198.51.100.1:1000"));
    assert_eq!(vantage.mapping(), Mapping::Independent);
    let mut vantage = asked(&[ONE]);
    assert_eq!(answer(&mut vantage, Instant::EPOCH, |_| Some("198.51.100.1:1000")), []);
    vantage.handle_input(Instant::EPOCH, seen("198.51.100.1:1001"));
    assert_eq!(conformance::drain(&mut vantage).last(), Some(&Output::Changed(Mapping::Dependent)));
}

#[test]
fn a_nat_that_restarts_with_other_ports_does_not_pass_for_one_that_maps_anew_towards_everybody() {
    let mut vantage = asked(&[ONE, TWO]);
    let seen = |at| Input::Seen { by: address(REGISTRY), at: address(at) };
    vantage.handle_input(Instant::EPOCH, seen("198.51.100.1:1000"));
    assert_eq!(answer(&mut vantage, Instant::EPOCH, |_| Some("198.51.100.1:1000")), [Mapping::Independent]);
    vantage.handle_input(Instant::EPOCH, seen("198.51.100.1:2000"));
    assert_eq!(answer(&mut vantage, Instant::EPOCH, |_| Some("198.51.100.1:2000")), [], "asked again, and still so");
    assert_eq!(vantage.mapping(), Mapping::Independent);
}

#[test]
fn the_two_families_are_not_compared() {
    let mut vantage = asked(&[ONE, "[2001:db8::1]:3478"]);
    let each = |server: SocketAddr| Some(if server.is_ipv4() { "198.51.100.1:7" } else { "[2001:db8::9]:8" });
    assert_eq!(answer(&mut vantage, Instant::EPOCH, each), []);
}

#[test]
fn it_looks_again_and_forgets_what_was_seen_in_another_network() {
    let mut vantage = asked(&[ONE, TWO]);
    answer(&mut vantage, Instant::EPOCH, |_| Some("198.51.100.1:1000"));
    vantage.handle_input(Instant::EPOCH, Input::LookAgain);
    let moved = answer(&mut vantage, Instant::EPOCH, |_| Some("198.51.100.99:1000"));
    assert_eq!((moved, vantage.mapping()), (vec![], Mapping::Independent), "one network, seen whole");
    let again = vantage.poll_timeout().unwrap();
    assert_eq!(again, Deadline::new(Instant::EPOCH + LOOK_AGAIN, Why::LookAgain));
    vantage.handle_input(again.at, Input::Timeout);
    let asked = conformance::drain(&mut vantage);
    assert_eq!(asked.len(), 2);
    conformance::spurious_timeout_does_nothing(&mut vantage, again.at);
}

#[test]
fn servers_that_are_silent_change_nothing_and_strangers_are_not_believed() {
    let mut vantage = asked(&[ONE, TWO]);
    let mut sent = Vec::new();
    conformance::run_until(&mut vantage, Instant::EPOCH + Duration::from_secs(10), |_, output| sent.push(output));
    assert!(sent.iter().all(|output| matches!(output, Output::Transmit { .. })));
    let Output::Transmit { bytes, .. } = &sent[0] else { unreachable!() };
    let id = Message::read(bytes).unwrap().transaction_id();
    for (from, seen) in [("192.0.2.66:3478", "192.0.2.66:1"), (ONE, "192.0.2.66:2")] {
        let forged = response(if from == ONE { TransactionId::new([9; 12]) } else { id }, address(seen));
        vantage.handle_input(Instant::EPOCH, Input::Received { from: address(from), bytes: forged });
    }
    assert_eq!(vantage.mapping(), Mapping::Unknown);
}
