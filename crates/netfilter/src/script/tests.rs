use super::{
    Comparer, EntryView, Expect, Info, Item, Lookup, Observed, Output, Ports, Script, ScriptError, Side, Tolerance,
    check, fill,
};
use crate::status::{CtInfo, Status};

#[test]
fn a_script_reads_back_as_it_was_written() {
    let text = "\
# what it is for
set nf_conntrack_udp_timeout 5
address in 10.1.0.254/16
route in 10.2.0.0/16
rules ipv4
*nat
-A POSTROUTING -o out -j MASQUERADE
COMMIT
end

in > 10.0.0.1:4000 > 198.51.100.7:80 tcp S seq 1 ack 0 win 64240 (mss 1460) 0  # a comment
  out < 203.0.113.1:4000 > 198.51.100.7:80 tcp S seq 1 ack 0 win 64240 0 ttl 63
  info NEW
  ct: tcp SYN_SENT timeout 120 status CONFIRMED,SRC_NAT scale 0/7 flags 0x3/0x0 mark 0x1 helper ftp original (10.0.0.1:4000 > 198.51.100.7:80 tcp) reply (198.51.100.7:80 > 203.0.113.1:4000 tcp)
+0.5
out > 198.51.100.7 > 203.0.113.1 icmp echo-request id 7 seq 1 \"# no comment\"
  drop
  info ESTABLISHED reply
  ct: none
flush
out > raw 4500
  info -
  delivered
";
    let script: Script = text.parse().expect("a script");
    assert_eq!(script.to_string(), text);
    assert_eq!(script.to_string().parse::<Script>(), Ok(script.clone()));
    let steps = script.steps();
    assert_eq!(steps.len(), 4);
    assert_eq!(steps[1].at.as_millis(), 500);
    let setup = script.setup();
    assert!(setup.addresses.iter().any(|(_, net)| net.to_string() == "10.1.0.254/16"));
    assert!(!setup.addresses.iter().any(|(_, net)| net.to_string() == "10.0.0.254/24"), "the default is replaced");
}

#[test]
fn a_wrong_line_is_named() {
    for (text, line, message) in [
        ("\n\nset", 3, "expected a setting and its value"),
        ("set ../../vm/panic 1", 1, "\"../../vm/panic\" is no setting's name"),
        ("rules ipv4\n*nat", 1, "these rules have no \"end\""),
        ("rules ipv5\nend", 1, "expected rules ipv4 or rules ipv6, found \"ipv5\""),
        ("in >", 1, "expected > or < and a packet after in"),
        ("in > 10.0.0.1:1 > 10.0.0.2:2 udp", 1, "in this packet: expected a payload length, found the end of the line"),
        ("drop", 1, "an outcome before any packet"),
        ("+x", 1, "expected a number of seconds after +, found \"+x\""),
        ("+1e99", 1, "expected a number of seconds after +, found \"+1e99\""),
        ("info OLD", 1, "expected NEW, ESTABLISHED, RELATED, INVALID or UNTRACKED, found \"OLD\""),
        ("ct: tcp OPEN", 1, "\"OPEN\" is no state of tcp"),
        ("ct: status OPEN", 1, "\"OPEN\" are no status bits"),
        ("hello", 1, "\"hello\" begins no line"),
    ] {
        assert_eq!(text.parse::<Script>(), Err(ScriptError { line, message: message.into() }), "{text:?}");
    }
}

#[test]
fn no_text_makes_it_panic() {
    let mut rng = pinhole_sansio::Rng::from_seed(1);
    let pieces = [
        "in ",
        "> ",
        "< ",
        "10.0.0.1",
        ":1 ",
        "[fd00::1]:2 ",
        "udp ",
        "tcp S ",
        "icmp ",
        "icmp6 ",
        "(",
        ")",
        "seq 1 ",
        "\"",
        "\\x0",
        "\\",
        "#",
        "ct: ",
        "status ",
        "original (",
        "+1",
        "é",
        "0x",
        "99999999999 ",
        "rules ipv4\n",
        "end\n",
        "\n",
        "too-big mtu 5 ",
        "cut 3 ",
        "sctp tag 1 ",
        "gre 1 2 ",
        "proto 5 ",
        "frag id 1 offset 9 more ",
        "raw 4",
        " ",
    ];
    for _ in 0..20_000 {
        let text: String = (0..rng.below(12)).map(|_| pieces[rng.below(pieces.len() as u64) as usize]).collect();
        if let Ok(script) = text.parse::<Script>() {
            let again = script.to_string();
            assert_eq!(again.parse::<Script>().map(|script| script.to_string()), Ok(again.clone()), "{text:?}");
        }
    }
}

#[test]
fn expectations_stand_with_their_packet() {
    let script: Script = "in > 10.0.0.1:1 > 10.0.0.2:2 udp 3\n  drop".parse().expect("a script");
    assert!(matches!(script.lines[1].item, Item::Expect(Expect::Drop)));
}

const TEXT: &str = "in > 10.0.0.1:4000 > 198.51.100.7:53 udp 3\n  out < 203.0.113.1:4000 > 198.51.100.7:53 udp 3\n  info NEW\n  ct: timeout 30\n";

/// What a router did that translated to `port`.
fn translated(port: u16, timeout_s: u32) -> Observed {
    let packet = format!("203.0.113.1:{port} > 198.51.100.7:53 udp 3");
    let tuple = |text: String| text.parse().expect("a tuple");
    Observed {
        outputs: vec![Output { side: Side::Out, packet: pinhole_wire::text::read(&packet).expect("a packet") }],
        delivered: false,
        info: Some(Info::Tracked(CtInfo::New)),
        expectations: Vec::new(),
        entry: Some(EntryView {
            zones: [0, 0],
            original: tuple("10.0.0.1:4000 > 198.51.100.7:53 udp".into()),
            reply: tuple(format!("198.51.100.7:53 > 203.0.113.1:{port} udp")),
            status: Status::CONFIRMED | Status::SRC_NAT,
            timeout_s,
            protocol: None,
            mark: 0,
            helper: None,
        }),
    }
}

#[test]
fn an_expectation_that_is_not_met_is_told_with_its_line() {
    let script: Script = TEXT.parse().expect("a script");
    assert_eq!(check(&script, &[translated(4_000, 29)], Tolerance::default()), []);
    let told = |observed: Observed| -> Vec<String> {
        check(&script, &[observed], Tolerance::default()).iter().map(ToString::to_string).collect()
    };
    let told_of_port = told(translated(4_001, 30));
    assert_eq!(
        told_of_port,
        [
            "line 2: expected out < 203.0.113.1:4000 > 198.51.100.7:53 udp 3, found out < 203.0.113.1:4001 > 198.51.100.7:53 udp 3"
        ]
    );
    assert!(told(translated(4_000, 28))[0].starts_with("line 4: expected ct: timeout 30, found ct: timeout 28"));
    let dropped = told(Observed { info: Some(Info::Invalid), ..Observed::default() });
    assert_eq!(dropped[0], "line 2: expected out < 203.0.113.1:4000 > 198.51.100.7:53 udp 3, found drop");
    assert_eq!(dropped[1], "line 3: expected info NEW, found info INVALID");
    assert_eq!(dropped[2], "line 4: expected ct: timeout 30, found ct: none");
}

#[test]
fn a_filled_script_is_met_and_keeps_what_was_true() {
    let script: Script = TEXT.parse().expect("a script");
    for observed in [translated(4_000, 30), translated(4_001, 120), Observed::default()] {
        let filled = fill(&script, std::slice::from_ref(&observed), Tolerance::default());
        let filled: Script = filled.to_string().parse().expect("a script");
        assert_eq!(check(&filled, std::slice::from_ref(&observed), Tolerance::default()), [], "{filled}");
        let again = fill(&filled, std::slice::from_ref(&observed), Tolerance::default());
        assert_eq!(again.to_string(), filled.to_string());
    }
    let filled = fill(&script, &[translated(4_000, 30)], Tolerance::default());
    let later = fill(&filled, &[translated(4_000, 29)], Tolerance::default());
    assert_eq!(later, filled, "a second more or less is no news");
}

#[test]
fn two_routers_may_choose_other_ports_if_each_stands_for_one() {
    let renamed = Tolerance { ports: Ports::Renamed, ..Tolerance::default() };
    let differences = |tolerance: Tolerance, pairs: &[(u16, u16)]| {
        let mut comparer = Comparer::new(tolerance);
        let pairs = pairs.iter().map(|&(one, other)| (translated(one, 30), translated(other, 30)));
        pairs.map(|(one, other)| comparer.differences(&one, &other).len()).collect::<Vec<_>>()
    };
    assert_eq!(differences(Tolerance::default(), &[(5, 5), (5, 6)]), [0, 2], "output and reply tuple");
    assert_eq!(differences(renamed, &[(5, 6), (5, 6)]), [0, 0]);
    assert_ne!(differences(renamed, &[(5, 6), (7, 6)])[1], 0, "one port of the one for two of the other");
    let mut comparer = Comparer::default();
    assert_eq!(comparer.differences(&translated(5, 30), &translated(5, 31)), []);
    let found = comparer.differences(&translated(5, 30), &translated(5, 32));
    assert_eq!(found[0].to_string(), "timeout: expected 30, found 32");
}

#[test]
fn the_tuple_of_a_packet_is_that_of_its_flow() {
    let mut lookup = Lookup::default();
    for (packet, tuple) in [
        ("10.0.0.1:1 > 10.0.0.2:2 udp 3", Some("10.0.0.1:1 > 10.0.0.2:2 udp")),
        ("10.0.0.1 > 10.0.0.2 icmp echo-request id 7 seq 1 0", Some("10.0.0.1 > 10.0.0.2 icmp type 8 code 0 id 7")),
        (
            "10.0.0.9 > 10.0.0.2 icmp time-exceeded (10.0.0.2:2 > 10.0.0.1:1 udp 3) cut 28",
            Some("10.0.0.1:1 > 10.0.0.2:2 udp"),
        ),
        ("10.0.0.1 > 10.0.0.2 proto 17 16 frag id 3 offset 8", None),
        (
            "10.0.0.1 > 10.0.0.2 proto 17 \"\\x00\\x01\\x00\\x02\" 4 frag id 3 offset 0 more",
            Some("10.0.0.1:1 > 10.0.0.2:2 udp"),
        ),
        ("10.0.0.1 > 10.0.0.2 proto 17 16 frag id 3 offset 8", Some("10.0.0.1:1 > 10.0.0.2:2 udp")),
        ("10.0.0.1 > 10.0.0.2 gre pptp call 7 0", None),
        ("raw 45", None),
    ] {
        let bytes = pinhole_wire::text::read(packet).expect("a packet");
        assert_eq!(lookup.tuple(&bytes).map(|tuple| tuple.to_string()).as_deref(), tuple, "{packet}");
    }
}
