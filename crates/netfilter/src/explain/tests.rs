//! Accounts of whole ways: where packets were, what they ended as, and what is left. The sentences are held by the goldens of
//! `pinhole conntrack trace`.

use core::net::Ipv4Addr;

use ipnet::IpNet;

use super::*;
use crate::interface::Interface;
use crate::rules::{Hook, Ruleset};
use crate::settings::Settings;
use crate::watch::Topic;

struct Home {
    router: Router,
    lan: InterfaceId,
    wan: InterfaceId,
}

impl Home {
    fn with(rules: &str) -> Self {
        let net = |text: &str| text.parse::<IpNet>().expect("a network");
        let mut router = Router::new(Settings::default(), 1);
        let lan = router.add_interface(Interface::new("lan", [net("10.0.0.254/24")]));
        let wan = router.add_interface(Interface::new("wan", [net("203.0.113.1/24")]));
        router.add_route(net("0.0.0.0/0"), wan);
        router.set_rules_v4(Ruleset::<Ipv4Addr>::parse(rules).expect("rules"));
        Self { router, lan, wan }
    }

    fn pass(&mut self, origin: Origin, line: &str) -> Account {
        let packet = text::read(line).expect("a packet");
        explain(&mut self.router, Instant::from_millis(1_000), origin, &packet)
    }
}

fn places(account: &Account) -> Vec<&str> {
    account.stages.iter().map(|stage| stage.place.name()).collect()
}

const MASQUERADE: &str = "*nat\n-A POSTROUTING -o wan -j MASQUERADE\nCOMMIT\n";

#[test]
fn the_places_of_a_packet_are_the_hooks_in_order_with_the_routing_between_them() {
    let mut home = Home::with(MASQUERADE);
    let (lan, wan) = (Origin::Interface(home.lan), Origin::Interface(home.wan));
    let through = home.pass(lan, "10.0.0.1:5000 > 192.0.2.1:53 udp 8");
    assert_eq!(places(&through), ["PRE_ROUTING", "routing", "FORWARD", "POST_ROUTING"]);
    assert_eq!(through.output.as_deref(), Some("wan"));
    assert_eq!(through.after.as_deref(), Some("203.0.113.1:5000 > 192.0.2.1:53 udp 8 ttl 63"));
    let local = home.pass(wan, "192.0.2.9:53 > 203.0.113.1:22 udp 8");
    assert_eq!(places(&local), ["PRE_ROUTING", "routing", "LOCAL_IN"]);
    assert_eq!((local.verdict, local.output), (Verdict::Deliver, None));
    let own = home.pass(Origin::Local, "203.0.113.1:6000 > 192.0.2.1:53 udp 8");
    assert_eq!(places(&own), ["routing", "LOCAL_OUT", "POST_ROUTING"]);
    assert_eq!(own.input, None);
}

#[test]
fn a_flow_is_shown_as_it_is_afterwards_and_one_that_was_dropped_is_not_there() {
    let mut home = Home::with(&format!("{MASQUERADE}*filter\n-A FORWARD -p tcp -j DROP\nCOMMIT\n"));
    let lan = Origin::Interface(home.lan);
    let account = home.pass(lan, "10.0.0.1:5000 > 192.0.2.1:53 udp 8");
    let flow = account.flow.expect("a flow");
    assert_eq!(flow.reply.to_string(), "192.0.2.1:53 > 203.0.113.1:5000 udp");
    assert_eq!((flow.remaining.as_secs(), flow.is_translated()), (30, true));
    assert_eq!(flows(&mut home.router, Instant::from_millis(1_000), 10), [flow]);
    assert!(flows(&mut home.router, Instant::from_millis(32_000), 10).is_empty(), "its time is over");

    let dropped = home.pass(lan, "10.0.0.1:5000 > 192.0.2.1:80 tcp S seq 1 ack 0 win 1000 0");
    assert_eq!(dropped.end(), Some(Place::Hook(Hook::Forward)));
    assert_eq!((dropped.info.map(|info| info.to_string()), dropped.flow), (Some("NEW".into()), None));
    assert_eq!(dropped.after, None);
}

#[test]
fn a_packet_that_never_came_to_connection_tracking_has_no_state() {
    let mut home = Home::with("*raw\n-A PREROUTING -p udp -j DROP\nCOMMIT\n");
    let lan = Origin::Interface(home.lan);
    assert_eq!(home.pass(lan, "10.0.0.1:5000 > 192.0.2.1:53 udp 8").info, None);
    let malformed = home.pass(lan, "raw 4500");
    assert_eq!((malformed.info, malformed.stages), (None, vec![]));
}

#[test]
fn answers_to_the_sender_and_lines_that_rules_ask_for_are_part_of_the_account() {
    let mut home = Home::with("*filter\n-A FORWARD -j LOG --log-prefix \"no: \"\n-A FORWARD -j REJECT\nCOMMIT\n");
    let lan = Origin::Interface(home.lan);
    let account = home.pass(lan, "10.0.0.1:5000 > 192.0.2.1:53 udp 8");
    assert_eq!(account.logs, ["no: "]);
    let [Sent { interface, line, is_piece: false }] = &account.sent[..] else { panic!("{:?}", account.sent) };
    assert_eq!(interface, "lan");
    assert!(line.starts_with("10.0.0.254 > 10.0.0.1 icmp port-unreachable ("), "{line}");
    assert!(home.pass(lan, "10.0.0.1:5000 > 192.0.2.1:53 udp 8").sent.len() == 1, "each account has its own");
}

#[test]
fn rules_in_vain_are_told_apart_from_rules_that_match() {
    let mut home = Home::with("*filter\n-A FORWARD -p tcp -j DROP\n-A FORWARD -j ACCEPT\nCOMMIT\n");
    let account = home.pass(Origin::Interface(home.lan), "10.0.0.1:5000 > 192.0.2.1:53 udp 8");
    let of = |topic| {
        let notes = account.stages.iter().flat_map(|stage| &stage.notes).filter(move |note| note.topic == topic);
        notes.map(|note| note.text.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(of(Topic::Rule), ["filter:FORWARD:2 matches: -j ACCEPT"]);
    let no = "filter:FORWARD:1 does not match: -p tcp, and its protocol is udp (of -p tcp -j DROP)";
    assert!(of(Topic::Tried).contains(&no), "{:?}", of(Topic::Tried));
}
