//! The core: entries, limits, zones, events (`nf_conntrack_core.c`).

use pinhole_netfilter::conntrack::{Event, Happened};
use pinhole_netfilter::settings::Personality;
use pinhole_netfilter::{Direction, Reason, Status};

use super::Home;

#[test]
fn a_timeout_counts_from_the_last_packet_and_a_lookup_that_meets_an_entry_whose_time_is_over_removes_it() {
    let mut home = Home::plain();
    home.router.v4().listen(true);
    home.out("10.0.0.1:5000 > 192.0.2.1:53 udp 8").expect("it passes");
    home.wait(29.9);
    assert_eq!(home.flow().remaining.as_millis(), 100);
    home.wait(0.2);
    assert_eq!((home.flows().len(), home.router.v4().table.len()), (0, 1), "over, and not collected yet");
    while home.router.v4().poll_event().is_some() {}
    home.out("10.0.0.1:5000 > 192.0.2.1:53 udp 8").expect("it passes");
    assert_eq!(home.router.v4().table.len(), 1);
    let events: Vec<Happened> =
        core::iter::from_fn(|| home.router.v4().poll_event()).map(|event| event.happened).collect();
    assert!(events.contains(&Happened::DESTROY) && events.contains(&Happened::NEW), "{events:?}");
}

#[test]
fn where_the_table_is_full_what_is_not_assured_makes_way_and_what_is_stays() {
    let mut home = Home::plain();
    home.assured("10.0.0.1:5000", "192.0.2.1:53");
    home.assured("10.0.0.1:5001", "192.0.2.1:53");
    home.set("nf_conntrack_max", "2");
    assert_eq!(home.out("10.0.0.2:5000 > 192.0.2.1:53 udp 8"), Err(Reason::TableFull));
    assert_eq!(home.flows().len(), 2);
    assert_eq!(home.router.v4().statistics.drop, 1);
    home.set("nf_conntrack_max", "600");
    let mut refused = 0;
    for port in 1..2_000 {
        refused += u32::from(home.out(&format!("10.0.0.3:{port} > 192.0.2.1:53 udp 8")).is_err());
        assert!(home.router.v4().table.len() <= 600);
    }
    let flows = home.flows();
    assert_eq!(flows.iter().filter(|flow| flow.status.contains(Status::ASSURED)).count(), 2, "they are still there");
    let statistics = home.router.v4().statistics;
    assert!(statistics.early_drop > 1_000, "{statistics:?}");
    assert!(refused < 200, "{refused}: in eight buckets there is nearly always one");
}

#[test]
fn a_limit_of_zero_is_none_until_7_3_refuses_everything() {
    for (personality, passes) in [(Personality::V6_12, true), (Personality::V6_18, true), (Personality::V7_3, false)] {
        let mut home = Home::like(personality, "");
        home.set("nf_conntrack_max", "0");
        assert_eq!(home.out("10.0.0.1:5000 > 192.0.2.1:53 udp 8").is_ok(), passes, "{}", personality.name);
    }
}

#[test]
fn above_95_percent_the_collector_takes_what_is_not_assured_and_what_is_closing() {
    for (count, stay) in [(95, 95), (96, 0)] {
        let mut home = Home::plain();
        home.set("nf_conntrack_max", "100");
        for port in 0..count {
            home.out(&format!("10.0.0.1:{} > 192.0.2.1:53 udp 8", 5_000 + port)).expect("it passes");
        }
        home.wait(1.5);
        let now = home.now;
        home.router.handle_timeout(now);
        assert_eq!(home.router.v4().table.len(), stay, "{count} of 100");
    }
    // Of those that are ASSURED, a connection in TIME_WAIT goes and one that is established stays.
    let mut home = Home::plain();
    for port in [5_000, 5_001] {
        let mut segment = |from_inside: bool, fields: &str| {
            let ends = [format!("10.0.0.1:{port}"), "192.0.2.1:80".to_owned()];
            let (input, [a, b]) = if from_inside { (home.lan, [0, 1]) } else { (home.wan, [1, 0]) };
            home.pass(input, &format!("{} > {} tcp {fields}", ends[a], ends[b])).expect("it passes");
        };
        segment(true, "S seq 100");
        segment(false, "S. seq 900 ack 101");
        segment(true, ". seq 101 ack 901");
        if port == 5_000 {
            segment(true, "F. seq 101 ack 901");
            segment(false, "F. seq 901 ack 102");
            segment(true, ". seq 102 ack 902");
        }
    }
    assert!(home.flows().iter().all(|flow| flow.status.contains(Status::ASSURED)));
    home.set("nf_conntrack_max", "2");
    home.wait(1.5);
    let now = home.now;
    home.router.handle_timeout(now);
    assert_eq!(home.flow().state, Some("ESTABLISHED"));
}

#[test]
fn zones_have_tuples_of_their_own_in_both_directions_or_in_one() {
    let mut home = Home::new("*raw\n-A PREROUTING -s 10.0.0.0/25 -m mark --mark 0x0 -i lan -j CT --zone 7\nCOMMIT\n");
    home.out("10.0.0.1:5000 > 192.0.2.1:53 udp 8").expect("it passes");
    assert_eq!(home.flow().zone, 7);
    // The answer comes by wan, in zone 0: there it is new.
    home.back("192.0.2.1:53 > 10.0.0.1:5000 udp 8").expect("it passes");
    let zones: Vec<u16> = home.flows().iter().map(|flow| flow.zone).collect();
    assert_eq!((zones.len(), zones.contains(&0)), (2, true), "{zones:?}");
    // With the original direction alone in it the answer is found.
    let mut home = Home::new("*raw\n-A PREROUTING -i lan -j CT --zone-orig 7\nCOMMIT\n");
    home.out("10.0.0.1:5000 > 192.0.2.1:53 udp 8").expect("it passes");
    home.back("192.0.2.1:53 > 10.0.0.1:5000 udp 8").expect("it passes");
    assert!(home.flow().status.contains(Status::SEEN_REPLY));
}

#[test]
fn flows_are_counted_only_if_that_was_wanted_when_they_began() {
    let mut home = Home::plain();
    home.out("10.0.0.1:5000 > 192.0.2.1:53 udp 8").expect("it passes");
    home.set("nf_conntrack_acct", "1");
    for _ in 0..2 {
        home.out("10.0.0.1:5000 > 192.0.2.1:53 udp 8").expect("it passes");
        home.out("10.0.0.1:5001 > 192.0.2.1:53 udp 8").expect("it passes");
    }
    let table = &home.router.v4().table;
    let counted = |(id, flow): (_, &pinhole_netfilter::table::Flow<std::net::Ipv4Addr>)| {
        let counters = table.place(id).and_then(|at| table.extra(at)).and_then(|extra| extra.counters);
        (flow.tuple(Direction::Original).src_id, counters.map(|[original, _]| (original.packets, original.bytes)))
    };
    let mut flows: Vec<_> = table.iter().map(counted).collect();
    flows.sort_unstable();
    assert_eq!(flows, [(5_000, None), (5_001, Some((2, 72)))]);
}

#[test]
fn events_are_told_after_each_packet_while_somebody_listens() {
    let mut home = Home::new("*mangle\n-A FORWARD -j CONNMARK --set-mark 0x5\nCOMMIT\n");
    let told = |home: &mut Home| -> Vec<Happened> {
        core::iter::from_fn(|| home.router.v4().poll_event()).map(|Event { happened, .. }| happened).collect()
    };
    home.out("10.0.0.9:1 > 192.0.2.1:53 udp 8").expect("it passes");
    assert_eq!(told(&mut home), [], "nobody listens");
    home.router.v4().listen(true);
    let all = |parts: &[Happened]| Happened(parts.iter().fold(0, |all, part| all | part.0));
    home.out("10.0.0.1:5000 > 192.0.2.1:80 tcp S seq 100").expect("it passes");
    assert_eq!(told(&mut home), [all(&[Happened::NEW, Happened::MARK, Happened::PROTOINFO])]);
    home.back("192.0.2.1:80 > 10.0.0.1:5000 tcp S. seq 900 ack 101").expect("it passes");
    assert_eq!(told(&mut home), [all(&[Happened::REPLY, Happened::PROTOINFO])]);
    home.out("10.0.0.1:5000 > 192.0.2.1:80 tcp . seq 101 ack 901").expect("it passes");
    assert_eq!(told(&mut home), [all(&[Happened::ASSURED, Happened::PROTOINFO])]);
    home.out("10.0.0.1:5000 > 192.0.2.1:80 tcp P. seq 101 ack 901 5").expect("it passes");
    assert_eq!(told(&mut home), [], "nothing has changed");
    let now = home.now;
    home.router.v4().delete_all(now, |_| true);
    assert_eq!(told(&mut home), [Happened::DESTROY; 2]);
    home.set("nf_conntrack_events", "0");
    home.out("10.0.0.1:6000 > 192.0.2.1:53 udp 8").expect("it passes");
    assert_eq!(told(&mut home), [], "events are switched off");
}
