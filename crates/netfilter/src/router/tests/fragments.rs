//! Fragments on their way through the router. What is expected is what Linux 6.18 does.

use super::*;
use crate::watch::Topic;

/// A router between fd00::/64 and everything else, with masquerading over IPv4 only.
fn home() -> Home {
    let mut home = Home::masquerading();
    for (name, net) in [("lan6", "fd00::fe/64"), ("wan6", "2001:db8::1/64")] {
        home.router.add_interface(Interface::new(name, [super::net(net)]));
    }
    home.router.add_route(super::net("::/0"), InterfaceId::at(3));
    home
}

fn lan6() -> InterfaceId {
    InterfaceId::at(2)
}

impl Home {
    /// What the router has to say beside the packet.
    fn rest(&mut self) -> Vec<String> {
        core::iter::from_fn(|| self.router.poll_transmit())
            .map(|(_, packet)| Line::of(&packet.bytes).expect("a packet").to_string())
            .collect()
    }

    /// As its name says: the packets that come out when these come in, of each its length, and where it belongs.
    fn lengths(&mut self, lines: &[&str]) -> Vec<(usize, usize)> {
        let mut out = Vec::new();
        for line in lines {
            let mut packet = Packet::from(line.parse::<Line>().expect("a line").packet().expect("a packet"));
            if let Verdict::Forward(_) = self.router.process(self.now, self.lan, &mut packet) {
                out.push(packet.bytes);
            }
        }
        out.extend(core::iter::from_fn(|| self.router.poll_transmit()).map(|(_, packet)| packet.bytes));
        let at = |bytes: &Vec<u8>| usize::from(u16::from_be_bytes([bytes[6], bytes[7]]) & 0x1fff) * 8;
        out.iter().map(|bytes| (bytes.len(), at(bytes))).collect()
    }
}

#[test]
fn fragments_wait_for_each_other_and_leave_translated_in_the_same_pieces() {
    let mut home = home();
    assert_eq!(home.out("10.0.0.1 > 192.0.2.1 proto 17 16 frag id 9 offset 32"), Ok("hold".into()));
    assert!(home.router.v4().table.is_empty());
    let first = home.out("10.0.0.1 > 192.0.2.1 proto 17 \"\\x0f\\xa0\\x005\\x000\" 26 frag id 9 offset 0 more");
    let expected = "203.0.113.1 > 192.0.2.1 proto 17 \"\\x0f\\xa0\\x005\\x000\" 26 frag id 9 offset 0 more ttl 63";
    assert_eq!(first, Ok(expected.into()));
    assert_eq!(home.rest(), ["203.0.113.1 > 192.0.2.1 proto 17 16 frag id 9 offset 32 ttl 63"]);
    assert_eq!(home.ports().len(), 1);
}

#[test]
fn a_fragment_that_does_not_fit_the_others_is_dropped_and_counted() {
    let mut home = home();
    assert_eq!(home.out("10.0.0.1 > 192.0.2.1 proto 17 16 frag id 9 offset 0 more"), Ok("hold".into()));
    let over = home.out("10.0.0.1 > 192.0.2.1 proto 17 16 frag id 9 offset 8 more");
    assert_eq!(over, Err(Reason::Fragment));
    assert_eq!(home.router.drops().collect::<Vec<_>>(), [(Reason::Fragment, 1)]);
}

#[test]
fn what_a_rule_says_is_not_to_be_tracked_is_put_together_all_the_same() {
    let rules = Ruleset::builder().rule(TableName::Raw, "PREROUTING", Rule::new().untrack());
    let mut home = Home::with(rules.build().expect("rules"));
    assert_eq!(home.out("10.0.0.1 > 192.0.2.1 proto 17 16 frag id 9 offset 32"), Ok("hold".into()));
    let first = home.out("10.0.0.1 > 192.0.2.1 proto 17 32 frag id 9 offset 0 more");
    assert_eq!(first, Ok("10.0.0.1 > 192.0.2.1 proto 17 32 frag id 9 offset 0 more ttl 63".into()));
    assert_eq!(home.rest().len(), 1);
    assert!(home.router.v4().table.is_empty());
}

#[test]
fn what_is_too_long_is_cut_if_it_may_be() {
    let mut home = home();
    assert_eq!(home.lengths(&["10.0.0.1:4000 > 192.0.2.1:53 udp 1972 df"]), [(576, 0)], "the sender is told");
    let whole = home.lengths(&["10.0.0.1:4000 > 192.0.2.1:53 udp 1972 nodf"]);
    assert_eq!(whole, [(1_500, 0), (520, 1_480)]);
}

#[test]
fn fragments_that_may_not_be_cut_need_a_link_that_takes_the_longest_of_them() {
    let fragments = |first: usize| {
        ["more df", "df"].map(|words| {
            let (at, length) = if words == "df" { (first, 2_000 - first) } else { (0, first) };
            format!("10.0.0.1 > 192.0.2.1 proto 99 {length} frag id 9 offset {at} {words}")
        })
    };
    let [a, b] = fragments(1_600);
    assert_eq!(home().lengths(&[&a, &b]), [(576, 0)], "the sender is told");
    let [a, b] = fragments(1_200);
    assert_eq!(home().lengths(&[&a, &b]), [(1_220, 0), (820, 1_200)]);
}

#[test]
fn a_header_that_is_spread_over_fragments_is_gathered_to_be_translated() {
    let mut segment = "10.0.0.1:4000 > 192.0.2.1:80 tcp S seq 1 ack 0 win 1000 80".parse::<Line>().expect("a line");
    segment.ip.ttl = 64;
    let segment = segment.packet().expect("a packet")[20..].to_vec();
    let fragment = |from: usize, to: usize, words: &str| {
        let text: String = segment[from..to].iter().map(|byte| format!("\\x{byte:02x}")).collect();
        format!("10.0.0.1 > 192.0.2.1 proto 6 \"{text}\" frag id 9 offset {from} {words}")
    };
    let (a, b, c) = (fragment(0, 8, "more"), fragment(8, 48, "more"), fragment(48, 100, ""));
    assert_eq!(home().lengths(&[&a, &b, &c]), [(68, 0), (72, 48)]);
    let (a, b) = (fragment(0, 24, "more"), fragment(24, 48, "more"));
    assert_eq!(home().lengths(&[&a, &b, &c]), [(44, 0), (44, 24), (72, 48)]);
}

#[test]
fn only_its_destination_says_that_an_ipv4_packet_was_not_whole_in_time() {
    for (dst, expected) in [("192.0.2.1", None), ("203.0.113.1", Some("203.0.113.1 > 10.0.0.1 icmp"))] {
        for (words, has_first) in [("offset 0 more", true), ("offset 16", false)] {
            let mut home = home();
            let hold = home.out(&format!("10.0.0.1 > {dst} proto 17 16 frag id 9 {words}"));
            assert_eq!(hold, Ok("hold".into()));
            assert_eq!(home.router.poll_timeout(), Some(home.now + core::time::Duration::from_secs(30)));
            home.wait(30);
            home.router.handle_timeout(home.now);
            let rest = home.rest();
            let expected = expected.filter(|_| has_first);
            assert_eq!(rest.len(), usize::from(expected.is_some()), "{dst} {words}: {rest:?}");
            assert!(rest.iter().all(|line| expected.is_some_and(|start| line.starts_with(start))), "{rest:?}");
            assert_eq!(home.router.poll_timeout(), None);
        }
    }
}

#[test]
fn any_router_says_that_an_ipv6_packet_was_not_whole_in_time() {
    let mut home = home();
    let hold = home.pass(lan6(), "fd00::1 > 2001:db8:1::7 proto 17 16 frag id 9 offset 0 more");
    assert_eq!(hold, Ok("hold".into()));
    home.wait(60);
    home.router.handle_timeout(home.now);
    let (by, error) = home.router.poll_transmit().expect("an error");
    assert_eq!(by, lan6());
    // Time exceeded, in reassembly, about the fragment as it came.
    assert_eq!((error.bytes.len(), error.bytes[40], error.bytes[41]), (112, 3, 1));
    assert_eq!(error.bytes[8..24], "fd00::fe".parse::<Ipv6Addr>().expect("an address").octets());
}

#[test]
fn fragments_of_ipv6_leave_in_the_same_pieces_with_an_identification_of_the_routers() {
    let mut home = home();
    let hold = home.pass(lan6(), "fd00::1 > 2001:db8:1::7 proto 132 16 frag id 9 offset 1200");
    assert_eq!(hold, Ok("hold".into()));
    let first = home.pass(lan6(), "fd00::1 > 2001:db8:1::7 proto 132 1200 frag id 9 offset 0 more").expect("it passes");
    let rest = home.rest();
    let parse = |line: &str| {
        let fragment = line.parse::<Line>().expect("a line").ip.fragment.expect("a fragment");
        (fragment.offset, fragment.more, fragment.identification)
    };
    let id = parse(&first).2;
    assert_ne!(id, 9);
    assert_eq!(
        (parse(&first), rest.iter().map(|line| parse(line)).collect()),
        ((0, true, id), vec![(1_200, false, id)])
    );
}

#[test]
fn a_first_ipv6_fragment_that_is_longer_than_the_link_takes_is_too_big() {
    let mut home = home();
    let hold = home.pass(lan6(), "fd00::1 > 2001:db8:1::7 proto 132 16 frag id 9 offset 1600");
    assert_eq!(hold, Ok("hold".into()));
    let first = home.pass(lan6(), "fd00::1 > 2001:db8:1::7 proto 132 1600 frag id 9 offset 0 more");
    assert_eq!(first, Err(Reason::TooBig));
    assert_eq!(home.rest().len(), 1, "its sender is told");
}

#[test]
fn an_explanation_says_what_becomes_of_fragments() {
    let mut home = home();
    let mut told = Vec::new();
    for words in ["offset 16", "offset 0 more"] {
        let line = format!("10.0.0.1 > 192.0.2.1 proto 132 16 frag id 9 {words}");
        let mut packet = Packet::from(line.parse::<Line>().expect("a line").packet().expect("a packet"));
        home.router.explain(home.now, home.lan, &mut packet, &mut told);
    }
    let told: Vec<_> = told.iter().filter(|note| note.topic == Topic::Fragment).map(|note| &note.text[..]).collect();
    let expected = [
        "fragment id 9 offset 16: it waits for the others",
        "fragment id 9 offset 0 more: the packet is whole, 2 pieces",
        "the packet leaves in 2 pieces",
    ];
    assert_eq!(told, expected);
}
