//! Two packets under way at once, as two processors have them: whose flow is put in the table, and what becomes of the other.

use core::net::Ipv4Addr;

use pinhole_wire::text;

use super::*;
use crate::headers::{Family, Headers};
use crate::nat::{Manip, Range};
use crate::settings::Personality;
use crate::status::Direction;

struct Machine {
    conntrack: Conntrack<Ipv4Addr>,
    now: Instant,
}

impl Machine {
    fn new(personality: Personality) -> Self {
        Self { conntrack: Conntrack::new(Settings::of(personality), 64, 1), now: Instant::from_millis(1_000) }
    }

    /// A packet meets conntrack.
    fn enter(&mut self, line: &str) -> (Vec<u8>, Headers<Ipv4Addr>, Seen) {
        let packet = text::read(line).expect("a packet");
        let headers = Ipv4Addr::headers(&packet).expect("IPv4");
        let ask = Ask { now: self.now, template: None, mark: 0, checks: false };
        let seen = self.conntrack.enter(&ask, &packet, &headers, &mut ()).expect("room");
        (packet, headers, seen)
    }

    /// Its flow is translated to this destination.
    fn translated(&mut self, line: &str, destination: &str) -> (Vec<u8>, Headers<Ipv4Addr>, Seen) {
        let under_way = self.enter(line);
        let Seen::Flow { at, .. } = under_way.2 else { panic!("no flow") };
        let range = Range::address(destination.parse().expect("an address"));
        self.conntrack.decide(self.now, at, &range, Manip::Destination, &mut ());
        under_way
    }

    /// It is confirmed, and done with.
    fn confirm(&mut self, (mut packet, mut headers, seen): (Vec<u8>, Headers<Ipv4Addr>, Seen)) -> Result<Seen, ()> {
        let confirmed = self.conntrack.confirm(self.now, &mut packet, &mut headers, seen, &mut ());
        self.conntrack.leave(self.now, *confirmed.as_ref().unwrap_or(&seen));
        confirmed.map_err(|_| ())
    }

    fn statuses(&self) -> Vec<Status> {
        self.conntrack.table.iter().map(|(_, flow)| flow.status).collect()
    }
}

const UDP: &str = "10.0.0.1:5000 > 192.0.2.1:53 udp 8";
const PING: &str = "10.0.0.1 > 192.0.2.1 icmp echo-request id 7 seq 1 56";
const TCP: &str = "10.0.0.1:5000 > 192.0.2.1:80 tcp S";
const GRE: &str = "10.0.0.1 > 192.0.2.1 gre 0x2000 0x800 20";

#[test]
fn the_second_of_two_equal_packets_joins_the_flow_of_the_first_where_clashes_are_resolved() {
    for (personality, joins) in [
        (Personality::V2_6, &[][..]),
        (Personality::V6_12, &[UDP, GRE]),
        (Personality::V6_18, &[UDP, GRE]),
        (Personality::V7_3, &[UDP, GRE, PING]),
    ] {
        for line in [UDP, PING, TCP, GRE] {
            let mut machine = Machine::new(personality);
            let (first, second) = (machine.enter(line), machine.enter(line));
            assert_ne!(first.2, second.2, "both have made a flow");
            let kept = machine.confirm(first).expect("the first one is confirmed");
            let joined = machine.confirm(second);
            assert_eq!(joined.is_ok(), joins.contains(&line), "{} {line}", personality.name);
            if let Ok(joined) = joined {
                assert_eq!(joined, kept, "{line}");
            }
            assert_eq!(machine.conntrack.table.len(), 1, "{} {line}", personality.name);
            let Statistics { clash_resolve, drop, insert_failed, .. } = machine.conntrack.statistics;
            let resolved = u64::from(joined.is_ok());
            assert_eq!((clash_resolve, drop, insert_failed), (resolved, 1 - resolved, 1 - resolved));
        }
    }
}

#[test]
fn two_packets_that_answer_each_other_are_one_flow_and_the_second_is_its_reply() {
    let mut machine = Machine::new(Personality::V6_18);
    let there = machine.enter(UDP);
    let back = machine.enter("192.0.2.1:53 > 10.0.0.1:5000 udp 8");
    let Ok(Seen::Flow { at, .. }) = machine.confirm(there) else { panic!("it is confirmed") };
    assert_eq!(machine.confirm(back), Ok(Seen::Flow { at, info: CtInfo::EstablishedReply }));
    assert_eq!(machine.conntrack.table.len(), 1);
}

#[test]
fn one_that_was_translated_otherwise_is_found_by_its_answers_for_a_second_and_never_assured() {
    let mut machine = Machine::new(Personality::V6_18);
    let first = machine.translated(UDP, "198.51.100.1");
    let second = machine.translated(UDP, "198.51.100.2");
    machine.confirm(first).expect("the first one is confirmed");
    let Ok(Seen::Flow { at, .. }) = machine.confirm(second) else { panic!("the second one is let through") };
    let flow = machine.conntrack.table.flow(at);
    assert!(flow.status.contains(Status::NAT_CLASH | Status::FIXED_TIMEOUT | Status::CONFIRMED), "{}", flow.status);
    assert_eq!(flow.remaining(machine.now).as_secs(), 1);
    let (original, reply) = (flow.tuple(Direction::Original), flow.tuple(Direction::Reply));
    let found = machine.conntrack.table.find(machine.now, &original, 0);
    assert!(found.is_some_and(|(other, _)| other != at), "the original direction is the first one's");
    assert_eq!(machine.conntrack.table.find(machine.now, &reply, 0), Some((at, Direction::Reply)));
    // Its answer passes, and neither prolongs it nor makes it ASSURED.
    let answer = machine.enter("198.51.100.2:53 > 10.0.0.1:5000 udp 8");
    assert_eq!(answer.2, Seen::Flow { at, info: CtInfo::EstablishedReply });
    machine.confirm(answer).expect("it passes");
    assert!(!machine.conntrack.table.flow(at).status.contains(Status::ASSURED));
    machine.now += core::time::Duration::from_millis(1_001);
    assert_eq!(machine.conntrack.table.find(machine.now, &reply, 0), None, "its second is over");
}

#[test]
fn one_whose_answers_would_be_anothers_too_is_dropped_and_leaves_nothing() {
    let mut machine = Machine::new(Personality::V6_18);
    let first = machine.enter(UDP);
    let second = machine.translated("10.0.0.1:5000 > 203.0.113.1:53 udp 8", "192.0.2.1");
    machine.confirm(first).expect("the first one is confirmed");
    assert!(machine.confirm(second).is_err());
    assert_eq!(machine.statuses().len(), 1);
    assert_eq!(machine.conntrack.statistics.insert_failed, 1);
}

#[test]
fn a_flow_is_private_to_its_packet_until_it_is_confirmed() {
    let mut machine = Machine::new(Personality::V6_18);
    let (_, _, seen) = machine.enter(UDP);
    let back = machine.enter("192.0.2.1:53 > 10.0.0.1:5000 udp 8");
    assert!(matches!(back.2, Seen::Flow { info: CtInfo::New, .. }), "nobody finds it");
    machine.conntrack.leave(machine.now, seen);
    machine.conntrack.leave(machine.now, back.2);
    assert!(machine.conntrack.table.is_empty(), "dropped packets leave nothing");
}
