use super::{Expect, Item, Script, ScriptError};

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
