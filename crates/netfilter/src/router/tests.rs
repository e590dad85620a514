//! Whole ways of packets: a home router with two interfaces, `lan` (10.0.0.254/24) and `wan` (203.0.113.1/24).

use pinhole_wire::text::Line;

use super::short::Terms;
use super::*;
use crate::Status;
use crate::conntrack::Seen;
use crate::rules::{Hook, Passes, Policy, Rule, States, TableName};
use crate::settings::Settings;

struct Home {
    router: Router,
    lan: InterfaceId,
    wan: InterfaceId,
    now: Instant,
}

fn net(text: &str) -> IpNet {
    text.parse().expect("a network")
}

impl Home {
    fn with(rules: Ruleset<Ipv4Addr>) -> Self {
        let mut router = Router::new(Settings::default(), 7);
        let lan = router.add_interface(Interface::new("lan", [net("10.0.0.254/24")]));
        let wan = router.add_interface(Interface::new("wan", [net("203.0.113.1/24")]));
        router.add_route(net("0.0.0.0/0"), wan);
        router.set_rules_v4(rules);
        Self { router, lan, wan, now: Instant::from_millis(1_000) }
    }

    fn masquerading() -> Self {
        let rule = Rule::new().out_device("wan").masquerade();
        Self::with(Ruleset::builder().rule(TableName::Nat, "POSTROUTING", rule).build().expect("rules"))
    }

    fn pass(&mut self, input: InterfaceId, line: &str) -> Result<String, Reason> {
        let mut packet = Packet::from(line.parse::<Line>().expect("a line").packet().expect("a packet"));
        match self.router.process(self.now, input, &mut packet) {
            Verdict::Forward(_) => Ok(Line::of(&packet.bytes).expect("a packet").to_string()),
            Verdict::Deliver => Ok(format!("local {}", Line::of(&packet.bytes).expect("a packet"))),
            Verdict::Hold => Ok("hold".into()),
            Verdict::Drop(reason) => Err(reason),
        }
    }

    fn out(&mut self, line: &str) -> Result<String, Reason> {
        self.pass(self.lan, line)
    }

    fn back(&mut self, line: &str) -> Result<String, Reason> {
        self.pass(self.wan, line)
    }

    fn wait(&mut self, seconds: u64) {
        self.now += core::time::Duration::from_secs(seconds);
    }

    fn ports(&mut self) -> Vec<(u16, Status)> {
        let table = &self.router.v4().table;
        table.iter().map(|(_, flow)| (flow.tuple(crate::Direction::Reply).dst_id, flow.status)).collect()
    }
}

#[test]
fn what_nobody_may_send_or_get_is_tracked_and_dropped() {
    let mut home = Home::masquerading();
    let lan = home.lan;
    for line in [
        "127.0.0.1:5 > 198.51.100.7:53 udp 8",
        "10.0.0.1:5 > 127.0.0.1:53 udp 8",
        "224.1.2.3:5 > 198.51.100.7:53 udp 8",
        "0.0.0.0:5 > 198.51.100.7:53 udp 8",
        "10.0.0.254:5 > 198.51.100.7:53 udp 8",
        "10.0.0.1:5353 > 224.0.0.251:5353 udp 8",
        "10.0.0.1:5 > 0.0.0.0:53 udp 8",
    ] {
        assert_eq!(home.pass(lan, line), Err(Reason::NotUnicast), "{line}");
        assert!(matches!(home.router.said_v4(), Some(Seen::Flow { .. })), "{line} is seen by conntrack");
    }
    let local = |line: &str| Ok(format!("local {line}"));
    for line in ["0.0.0.0:68 > 255.255.255.255:67 udp 8", "10.0.0.1:5 > 224.0.0.1:53 udp 8"] {
        assert_eq!(home.pass(lan, line), local(line));
    }
}

#[test]
fn a_protocol_without_a_tracker_has_no_ports_and_is_translated_by_its_addresses_alone() {
    let mut home = Home::masquerading();
    let (lan, wan) = (home.lan, home.wan);
    let body = r#""\x99\xfc\x13\x89\x08\x00\xaa\xf3""#;
    let request = home.pass(lan, &format!("10.0.0.1 > 198.51.100.7 proto 33 {body}"));
    assert_eq!(request, Ok(format!("203.0.113.1 > 198.51.100.7 proto 33 {body} ttl 63")));
    // Whatever its ports are, it is an answer.
    let answer = home.pass(wan, &format!("198.51.100.7 > 203.0.113.1 proto 33 {body}"));
    assert_eq!(answer, Ok(format!("198.51.100.7 > 10.0.0.1 proto 33 {body} ttl 63")));
}

#[test]
fn a_masqueraded_flow_goes_out_with_its_port_and_comes_back() {
    let mut home = Home::masquerading();
    let out = home.out("10.0.0.1:5000 > 192.0.2.1:53 udp 8");
    assert_eq!(out, Ok("203.0.113.1:5000 > 192.0.2.1:53 udp 8 ttl 63".into()));
    let back = home.back("192.0.2.1:53 > 203.0.113.1:5000 udp 8");
    assert_eq!(back, Ok("192.0.2.1:53 > 10.0.0.1:5000 udp 8 ttl 63".into()));
    assert_eq!(home.ports(), [(5_000, Status(0x19a))]);
    // What nobody asked for is the router's own business.
    let stranger = home.back("192.0.2.9:53 > 203.0.113.1:5000 udp 8");
    assert_eq!(stranger, Ok("local 192.0.2.9:53 > 203.0.113.1:5000 udp 8".into()));
}

#[test]
fn a_packet_that_comes_too_early_poisons_the_mapping_and_a_dropped_one_does_not() {
    for guarded in [false, true] {
        let mut rules =
            Ruleset::builder().rule(TableName::Nat, "POSTROUTING", Rule::new().out_device("wan").masquerade());
        if guarded {
            rules = rules.policy(TableName::Filter, crate::rules::Hook::Input, Policy::Drop);
        }
        let mut home = Home::with(rules.build().expect("rules"));
        assert_eq!(home.back("192.0.2.1:41000 > 203.0.113.1:51820 udp 8").is_ok(), !guarded);
        let out = home.out("10.0.0.1:51820 > 192.0.2.1:41000 udp 8").expect("it passes");
        assert_eq!(out.starts_with("203.0.113.1:51820 "), guarded, "{out}");
    }
}

#[test]
fn a_flow_keeps_its_port_towards_everybody_and_another_host_gets_another_one() {
    let mut home = Home::masquerading();
    for peer in ["192.0.2.1:53", "192.0.2.2:53", "192.0.2.1:54"] {
        let out = home.out(&format!("10.0.0.1:5000 > {peer} udp 8")).expect("it passes");
        assert!(out.starts_with("203.0.113.1:5000 "), "{out}");
    }
    let other = home.out("10.0.0.2:5000 > 192.0.2.1:53 udp 8").expect("it passes");
    assert!(!other.starts_with("203.0.113.1:5000 "), "the tuple is taken: {other}");
    let elsewhere = home.out("10.0.0.2:5000 > 192.0.2.9:53 udp 8").expect("it passes");
    let port = |line: &str| line.split([':', ' ']).nth(1).map(String::from);
    assert_eq!(port(&other), port(&elsewhere), "the same source keeps what it once got");
}

#[test]
fn a_tcp_connection_is_followed_through_its_states() {
    let mut home = Home::masquerading();
    let (mut out, mut back) = (Vec::new(), Vec::new());
    out.push(home.out("10.0.0.1:5000 > 192.0.2.1:80 tcp S seq 100 ack 0 win 64240 0"));
    back.push(home.back("192.0.2.1:80 > 203.0.113.1:5000 tcp S. seq 900 ack 101 win 65535 0"));
    out.push(home.out("10.0.0.1:5000 > 192.0.2.1:80 tcp . seq 101 ack 901 win 64240 0"));
    assert_eq!(home.ports(), [(5_000, Status(0x19e))], "as measured on Linux 6.18");
    back.push(home.back("192.0.2.1:80 > 203.0.113.1:5000 tcp P. seq 901 ack 101 win 65535 100"));
    assert!(out.iter().chain(&back).all(Result::is_ok), "{out:?} {back:?}");
    home.wait(431_999);
    assert!(home.out("10.0.0.1:5000 > 192.0.2.1:80 tcp . seq 101 ack 1001 win 64240 0").is_ok());
    assert_eq!(home.ports().len(), 1);
}

#[test]
fn a_flow_goes_where_its_packets_say_when_nothing_is_translated_any_more() {
    let mut home = Home::masquerading();
    for _ in 0..3 {
        assert!(home.out("10.0.0.1:5000 > 192.0.2.1:53 udp 8").is_ok());
        let back = home.back("192.0.2.1:53 > 203.0.113.1:5000 udp 8");
        assert_eq!(back, Ok("192.0.2.1:53 > 10.0.0.1:5000 udp 8 ttl 63".into()));
    }
    home.router.set_rules_v4(Ruleset::new());
    let back = home.back("192.0.2.1:53 > 203.0.113.1:5000 udp 8");
    assert_eq!(back, Ok("local 192.0.2.1:53 > 203.0.113.1:5000 udp 8".into()));
}

#[test]
fn what_a_packet_has_announced_that_was_dropped_is_not_expected() {
    let rules = "*raw\n-A PREROUTING -p udp -m udp --dport 5060 -j CT --helper sip\nCOMMIT\n\
        *nat\n-A POSTROUTING -o wan -p udp -j MASQUERADE --to-ports 5000\nCOMMIT\n";
    let mut home = Home::with(Ruleset::parse(rules).expect("rules"));
    // A rule of one port gives it to the second host too, whose flow clashes when its helper has read the packet.
    let mut invite = |host: &str, port: u16| {
        let body = format!("v=0\\r\\no=me 1 1 IN IP4 {host}\\r\\nc=IN IP4 {host}\\r\\nm=audio {port} RTP/AVP 0\\r\\n");
        let head =
            format!("INVITE sip:you@192.0.2.1 SIP/2.0\\r\\nCSeq: 1 INVITE\\r\\nContent-Length: {}", body.len() - 8);
        home.out(&format!("{host}:5060 > 192.0.2.1:5060 udp \"{head}\\r\\n\\r\\n{body}\""))
    };
    let (first, second) = (invite("10.0.0.1", 40_000), invite("10.0.0.2", 42_000));
    assert!(first.is_ok() && second == Err(Reason::Clash), "{first:?} {second:?}");
    let Conntrack { table, expectations, .. } = home.router.v4();
    assert!(!expectations.is_empty(), "the first one's streams are expected");
    assert!(expectations.iter().all(|(_, expected)| table.place(expected.master.into()).is_some()));
}

#[test]
fn what_goes_early_goes_by_how_many_flows_of_both_families_there_are_now() {
    let mut home = Home::masquerading();
    home.router.set("nf_conntrack_max", "10").expect("a setting");
    for port in 1..10 {
        home.out(&format!("10.0.0.1:{port} > 192.0.2.1:53 udp 8")).expect("there is room");
    }
    let lan6 = home.router.add_interface(Interface::new("lan6", [net("fd00::fe/64")]));
    home.pass(lan6, "[fd00::1]:1 > [fd00::fe]:9 udp 8").expect("there is room");
    home.router.v4().delete_all(home.now, |_| true);
    home.wait(2);
    home.router.handle_timeout(home.now);
    assert_eq!(home.router.v6().table.len(), 1, "nine of ten places are free");
}

#[test]
fn an_icmp_error_finds_its_flow_and_is_translated_inside_and_outside() {
    let mut home = Home::masquerading();
    let mut sent = "10.0.0.1:5000 > 192.0.2.1:53 udp 8".parse::<Line>().expect("a line").packet().expect("a packet");
    let mut packet = Packet::from(sent.clone());
    home.router.process(home.now, home.lan, &mut packet);
    let mut error = [0; 576];
    let trouble = pinhole_wire::answer::Trouble::TimeExceeded;
    let router = Ipv4Addr::new(198, 51, 100, 7);
    let length = pinhole_wire::answer::error(&packet.bytes, trouble, router.into(), &mut error).expect("an error");
    let mut error = Packet::from(error[..length].to_vec());
    assert_eq!(home.router.process(home.now, home.wan, &mut error), Verdict::Forward(home.lan));
    let line = Line::of(&error.bytes).expect("a packet").to_string();
    assert_eq!(line, "198.51.100.7 > 10.0.0.1 icmp time-exceeded (10.0.0.1:5000 > 192.0.2.1:53 udp 8 ttl 63) ttl 63");
    // What is quoted is what was sent, checksums included, but for the router's own step.
    sent[8] = 63;
    sent[10..12].copy_from_slice(&error.bytes[28 + 10..28 + 12]);
    assert_eq!(error.bytes[28..], sent);
}

#[test]
fn a_packet_that_a_rule_drops_leaves_no_flow() {
    let rules = Ruleset::builder().policy(TableName::Filter, crate::rules::Hook::Forward, Policy::Drop);
    let mut home = Home::with(rules.build().expect("rules"));
    let dropped = home.out("10.0.0.1:5000 > 192.0.2.1:53 udp 8");
    assert_eq!(dropped, Err(Reason::Rule(TableName::Filter, crate::rules::Hook::Forward)));
    assert!(home.router.v4().table.is_empty());
    assert_eq!(home.router.drops().map(|(_, count)| count).sum::<u64>(), 1);
}

#[test]
fn a_checksum_that_somebody_vouches_for_is_not_looked_at_whichever_way_a_packet_goes() {
    let mut home = Home::masquerading();
    for (is_vouched_for, is_known) in [(false, false), (true, true), (false, false), (true, true)] {
        let mut bytes =
            "10.0.0.1:5000 > 192.0.2.1:53 udp 8".parse::<Line>().expect("a line").packet().expect("a packet");
        bytes[26] ^= 1;
        let [mut alone, mut batch] = [(); 2].map(|()| Packet { is_vouched_for, ..Packet::from(bytes.clone()) });
        home.router.process(home.now, home.lan, &mut alone);
        assert_eq!(matches!(home.router.said_v4(), Some(Seen::Flow { .. })), is_known);
        home.router.process_batch(home.now, home.lan, core::slice::from_mut(&mut batch), &mut [Verdict::Hold]);
        assert_eq!(matches!(home.router.said_v4(), Some(Seen::Flow { .. })), is_known);
        assert_eq!(alone, batch);
    }
}

#[test]
fn a_router_that_is_the_last_one_says_so() {
    let mut home = Home::masquerading();
    let dropped = home.out("10.0.0.1:5000 > 192.0.2.1:53 udp 8 ttl 1");
    assert_eq!(dropped, Err(Reason::TimeExceeded));
    let (by, answer) = home.router.poll_transmit().expect("an answer");
    let line = Line::of(&answer.bytes).expect("a packet").to_string();
    assert_eq!(
        (by, line.as_str()),
        (home.lan, "10.0.0.254 > 10.0.0.1 icmp time-exceeded (10.0.0.1:5000 > 192.0.2.1:53 udp 8 ttl 1) nodf tos 0xc0")
    );
    assert!(home.router.v4().table.is_empty());
}

#[test]
fn what_happens_is_told_step_by_step() {
    let mut home = Home::masquerading();
    let mut packet =
        Packet::from("10.0.0.1:5000 > 192.0.2.1:53 udp 8".parse::<Line>().expect("a line").packet().expect("a packet"));
    let mut notes = Vec::new();
    home.router.explain(home.now, home.lan, &mut packet, &mut notes);
    let told: Vec<&str> = notes.iter().map(|note| note.text.as_str()).collect();
    for expected in ["PRE_ROUTING", "192.0.2.1: out by wan (route 0.0.0.0/0)", "FORWARD", "POST_ROUTING"] {
        assert!(told.contains(&expected), "{told:#?}");
    }
    assert!(told.iter().any(|text| text.contains("confirmed")), "{told:#?}");
}

mod change;
mod fragments;

#[test]
fn a_filter_that_accepts_what_is_established_counts_it_whichever_way_a_packet_goes() {
    let known = States::ESTABLISHED.and(States::RELATED);
    let rules = Ruleset::builder()
        .rule(TableName::Nat, "POSTROUTING", Rule::new().out_device("wan").masquerade())
        .rule(TableName::Filter, "FORWARD", Rule::new().state(known).accept())
        .rule(TableName::Filter, "FORWARD", Rule::new().in_device("lan").accept())
        .policy(TableName::Filter, Hook::Forward, Policy::Drop);
    let rules = rules.build().expect("rules");
    let [mut short, mut long, mut batch] = [0, 1, 2].map(|_| Home::with(rules.clone()));
    assert!(short.router.v4.terms == Some(Terms::new(true, Passes::Established)));
    let out = "10.0.0.1:5000 > 192.0.2.1:53 udp 8";
    let back = "192.0.2.1:53 > 203.0.113.1:5000 udp 8";
    for line in [out, out, back, back, out, back, out] {
        let input = if line == out { short.lan } else { short.wan };
        let packet = Packet::from(line.parse::<Line>().expect("a line").packet().expect("a packet"));
        let [mut a, mut b, mut c] = [0, 1, 2].map(|_| packet.clone());
        let verdict = short.router.process(short.now, input, &mut a);
        assert_eq!(long.router.explain(long.now, input, &mut b, &mut Vec::new()), verdict);
        let mut verdicts = [Verdict::Hold];
        batch.router.process_batch(batch.now, input, core::slice::from_mut(&mut c), &mut verdicts);
        assert_eq!(verdicts, [verdict]);
        assert!(a == b && a == c && verdict != Verdict::Hold, "{line}");
        assert!(
            short.router.rules_v4() == long.router.rules_v4() && short.router.rules_v4() == batch.router.rules_v4()
        );
        assert_eq!((short.router.said_v4(), batch.router.said_v4()), (long.router.said_v4(), long.router.said_v4()));
    }
    let filter = short.router.rules_v4().table(TableName::Filter).expect("a table");
    let forward = filter.chains.iter().find(|chain| chain.name == "FORWARD").expect("a chain");
    assert_eq!(forward.rules.iter().map(|rule| rule.counters.packets).collect::<Vec<_>>(), [5, 2]);
}

#[test]
fn a_filter_that_asks_before_it_accepts_sees_every_packet() {
    let known = Rule::new().state(States::ESTABLISHED).accept();
    let early = Rule::new().in_device("wan").drop();
    let rules = |rules: [Rule<Ipv4Addr>; 2]| {
        let [first, second] = rules;
        let rules =
            Ruleset::builder().rule(TableName::Filter, "FORWARD", first).rule(TableName::Filter, "FORWARD", second);
        Home::with(rules.build().expect("rules")).router.v4.terms.is_some()
    };
    assert!(!rules([early.clone(), known.clone()]));
    assert!(rules([known.clone(), early]));
    let input = Ruleset::builder().rule(TableName::Filter, "INPUT", Rule::new().drop()).build().expect("rules");
    let mut home = Home::with(input);
    assert!(home.router.v4.terms.is_some(), "what goes through does not meet INPUT");
    for _ in 0..3 {
        home.out("10.0.0.1:5000 > 192.0.2.1:53 udp 8").expect("it passes");
    }
    let filter = home.router.rules_v4().table(TableName::Filter).expect("a table");
    let forward = filter.chains.iter().find(|chain| chain.name == "FORWARD").expect("a chain");
    assert_eq!(forward.counters.packets, 3, "but the policy of FORWARD counts it");
    let mangle = Ruleset::builder().rule(TableName::Mangle, "FORWARD", known).build().expect("rules");
    assert!(Home::with(mangle).router.v4.terms.is_none());
}
