use core::net::Ipv4Addr;
use core::time::Duration;

use super::*;
use crate::expect::{ChildNat, Mask};
use crate::helper::Helper;
use crate::nat::Range;
use crate::status::Direction;
use crate::tuple::GRE;

const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const GATEWAY: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
const MASTER: MasterId = MasterId(1);
const POLICY: Policy = Policy::new(2, 300);
const START: Instant = Instant::EPOCH;

fn at(secs: u64) -> Instant {
    START + Duration::from_secs(secs)
}

/// From any port of the server to a port of the client.
fn expectation(master: MasterId, dst_id: u16) -> Expectation<Ipv4Addr> {
    Expectation::new(Helper::Ftp, master, 0, 6, (Some(SERVER), None), (CLIENT, dst_id))
}

fn packet(src_id: u16, dst_id: u16) -> Tuple<Ipv4Addr> {
    Tuple { src: SERVER, dst: CLIENT, src_id, dst_id, protocol: 6 }
}

fn listening() -> Expectations<Ipv4Addr> {
    let mut expectations = Expectations::default();
    expectations.listen(true);
    expectations
}

/// The events that wait, as `new 2024` and `destroy 2024` by destination port.
fn events(expectations: &mut Expectations<Ipv4Addr>) -> Vec<String> {
    core::iter::from_fn(|| expectations.poll_event())
        .map(|event| match event {
            Event::New(e) => format!("new {}", e.tuple.dst_id),
            Event::Destroy(e) => format!("destroy {}", e.tuple.dst_id),
        })
        .collect()
}

#[test]
fn an_expectation_is_met_once() {
    let mut expectations = listening();
    expectations.add(START, expectation(MASTER, 2_024), POLICY).expect("there is room");
    assert_eq!(expectations.find(START, 0, &packet(20, 2_025), |_| true), None, "another port");
    assert_eq!(expectations.find(START, 0, &Tuple { protocol: 17, ..packet(20, 2_024) }, |_| true), None, "UDP");
    assert_eq!(
        expectations.find(START, 0, &Tuple { src: GATEWAY, ..packet(20, 2_024) }, |_| true),
        None,
        "not the server"
    );
    let met = expectations.find(START, 0, &packet(20, 2_024), |_| true).expect("any port of the server will do");
    assert_eq!(met.master, MASTER);
    assert_eq!(expectations.find(START, 0, &packet(20, 2_024), |_| true), None, "it was met");
    assert_eq!(events(&mut expectations), ["new 2024", "destroy 2024"]);
}

#[test]
fn a_permanent_one_stays_and_an_inactive_one_waits() {
    let mut expectations = Expectations::default();
    let permanent = Expectation { flags: Flags::PERMANENT, ..expectation(MASTER, 1) };
    expectations.add(START, permanent, POLICY).expect("there is room");
    for _ in 0..2 {
        assert!(expectations.find(START, 0, &packet(9, 1), |_| true).is_some());
    }
    let inactive = Expectation { flags: Flags::INACTIVE, ..expectation(MASTER, 2) };
    let id = expectations.add(START, inactive, POLICY).expect("there is room");
    assert_eq!(expectations.find(START, 0, &packet(9, 2), |_| true), None);
    expectations.refresh(id, at(10));
    assert!(expectations.find(START, 0, &packet(9, 2), |_| true).is_some());
}

#[test]
fn the_masters_of_other_zones_and_dead_ones_are_not_masters() {
    let mut expectations = Expectations::default();
    expectations.add(START, expectation(MASTER, 1), POLICY).expect("there is room");
    assert_eq!(expectations.find(START, 7, &packet(9, 1), |_| true), None, "zone 7");
    assert_eq!(expectations.find(START, 0, &packet(9, 1), |_| false), None, "its master is not confirmed");
    assert!(expectations.find(START, 0, &packet(9, 1), |master| master == MASTER).is_some(), "and it is still there");
    let zoned = Expectation { zone: 7, ..expectation(MasterId(2), 1) };
    expectations.add(START, expectation(MASTER, 1), POLICY).expect("there is room");
    assert!(expectations.add(START, zoned, POLICY).is_ok(), "zones do not clash");
}

#[test]
fn the_same_of_the_same_master_is_replaced_and_its_time_starts_anew() {
    let mut expectations = listening();
    expectations.add(START, expectation(MASTER, 1), POLICY).expect("there is room");
    expectations.add(at(200), expectation(MASTER, 1), POLICY).expect("the same");
    assert_eq!(events(&mut expectations), ["new 1", "destroy 1", "new 1"]);
    assert_eq!(expectations.poll_timeout(), Some(at(500)));
    assert!(expectations.find(at(499), 0, &packet(9, 1), |_| true).is_some());
}

#[test]
fn what_one_packet_could_meet_twice_is_busy() {
    let mut expectations = Expectations::default();
    expectations.add(START, expectation(MASTER, 1), POLICY).expect("there is room");
    assert_eq!(expectations.add(START, expectation(MasterId(2), 1), POLICY), Err(Refused::Busy), "another's");
    let narrower =
        Expectation { mask: Mask { src_id: u16::MAX, ..expectation(MASTER, 1).mask }, ..expectation(MASTER, 1) };
    assert_eq!(expectations.add(START, narrower, POLICY), Err(Refused::Busy), "a part of what is expected");
    let mut narrow = Expectation { mask: narrower.mask, ..expectation(MASTER, 2) };
    narrow.tuple.src_id = 20;
    expectations.add(START, narrow, POLICY).expect("there is room");
    assert_eq!(expectations.add(START, expectation(MasterId(2), 2), POLICY), Err(Refused::Busy), "more than expected");
    let mut elsewhere = expectation(MasterId(2), 1);
    elsewhere.tuple.src = GATEWAY;
    assert!(expectations.add(START, elsewhere, POLICY).is_ok(), "from another source");
}

#[test]
fn where_masters_share_the_same_of_another_one_is_already_there() {
    let mut expectations = Expectations::default();
    expectations.add(START, expectation(MASTER, 1), POLICY).expect("there is room");
    let other = expectation(MasterId(2), 1);
    assert_eq!(expectations.add_among(START, other, POLICY, Masters::Any), Err(Refused::Already));
    let own = Expectation { class: Class::VIDEO, ..expectation(MASTER, 1) };
    assert_eq!(expectations.add(START, own, POLICY), Err(Refused::Already), "another class");
}

#[test]
fn a_full_class_loses_its_oldest() {
    let mut expectations = listening();
    for port in [1, 2, 3] {
        expectations.add(START, expectation(MASTER, port), POLICY).expect("the oldest goes");
    }
    let video = Expectation { class: Class::VIDEO, ..expectation(MASTER, 4) };
    expectations.add(START, video, POLICY).expect("the other class has room");
    expectations.add(START, expectation(MasterId(2), 5), POLICY).expect("the other master has room");
    assert_eq!(events(&mut expectations), ["new 1", "new 2", "destroy 1", "new 3", "new 4", "new 5"]);
}

#[test]
fn a_full_table_refuses() {
    let mut expectations = Expectations::new(2);
    for port in [1, 2] {
        expectations.add(START, expectation(MASTER, port), POLICY).expect("there is room");
    }
    assert_eq!(expectations.add(START, expectation(MasterId(2), 3), POLICY), Err(Refused::Full));
    assert!(expectations.add(START, expectation(MASTER, 3), POLICY).is_ok(), "in place of the oldest of its class");
    assert_eq!(expectations.len(), 2);
}

#[test]
fn they_end_with_their_time_and_with_their_master() {
    let mut expectations = listening();
    expectations.add(START, expectation(MASTER, 1), Policy::new(4, 10)).expect("there is room");
    expectations.add(START, expectation(MASTER, 2), Policy::new(4, 20)).expect("there is room");
    expectations.add(START, expectation(MasterId(2), 3), Policy::new(4, 30)).expect("there is room");
    assert_eq!(expectations.find(at(10), 0, &packet(9, 1), |_| true), None, "10 s are over");
    assert_eq!(expectations.poll_timeout(), Some(at(20)));
    expectations.remove_master(MASTER);
    assert_eq!(expectations.iter().map(|(_, e)| e.tuple.dst_id).collect::<Vec<_>>(), [3]);
    expectations.expire(at(30));
    assert!(expectations.is_empty() && expectations.poll_timeout().is_none());
    assert_eq!(events(&mut expectations), ["new 1", "new 2", "new 3", "destroy 1", "destroy 2", "destroy 3"]);
}

#[test]
fn one_direction_of_a_tunnel_takes_the_other_with_it() {
    let mut expectations = Expectations::default();
    let there = Tuple { src: CLIENT, dst: SERVER, src_id: 7, dst_id: 8, protocol: GRE };
    let back = there.inverse().expect("GRE has answers");
    for (tuple, sibling) in [(there, back), (back, there)] {
        let [from, to] = [(Some(tuple.src), Some(tuple.src_id)), (Some(tuple.dst), Some(tuple.dst_id))];
        let to = to.0.zip(to.1).expect("both are there");
        let tunnel = Expectation::new(Helper::Ftp, MASTER, 0, GRE, from, to);
        expectations.add(START, Expectation { sibling: Some(sibling), ..tunnel }, POLICY).expect("there is room");
    }
    assert!(expectations.find(START, 0, &back, |_| true).is_some());
    assert!(expectations.is_empty());
}

#[test]
fn a_child_that_follows_its_master_is_translated_as_it() {
    // The client speaks with the server through the gateway, and the server comes to a port of the gateway.
    let original = Tuple { src: CLIENT, dst: SERVER, src_id: 5_000, dst_id: 21, protocol: 6 };
    let reply = Tuple { src: SERVER, dst: GATEWAY, src_id: 21, dst_id: 5_000, protocol: 6 };
    let nat = ChildNat::FollowMaster { direction: Direction::Reply, port: 2_024 };
    let met = Expectation { nat, ..expectation(MASTER, 2_024) };
    let expectations = Expectations::default();
    let translation = expectations.translation(&met, &packet(20, 2_024), &[original, reply]);
    assert_eq!(translation.source, Some(Range::address(SERVER)));
    assert_eq!(translation.destination, Some(Range { ports: Some((2_024, 2_024)), ..Range::address(CLIENT) }));

    let untouched = expectations.translation(&expectation(MASTER, 2_024), &packet(20, 2_024), &[original, reply]);
    assert_eq!((untouched.source, untouched.destination), (None, None));
}

#[test]
fn no_more_events_wait_than_the_bound_and_none_if_nobody_listens() {
    let mut expectations = listening();
    for _ in 0..MAX_EVENTS {
        expectations.add(START, expectation(MASTER, 1), POLICY).expect("there is room");
    }
    assert_eq!(events(&mut expectations).len(), MAX_EVENTS);
    expectations.listen(false);
    expectations.add(START, expectation(MASTER, 2), POLICY).expect("there is room");
    assert_eq!(expectations.poll_event(), None);
}
