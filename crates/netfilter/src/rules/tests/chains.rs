//! The way through chains: jumps, policies, counters, and what rules do on the way.

use core::net::Ipv4Addr;

use super::world::{Scribe, ask, flow, rules, subject};
use crate::nat::{Manip, Range, Which};
use crate::rules::{
    Counters, Decision, Flow, Hook, Masked, Policy, Reject, Rule, Ruleset, States, Subject, TableName, Tracking,
    Translation,
};
use crate::status::CtInfo;
use crate::watch::Note;

const FORWARD: (TableName, Hook) = (TableName::Filter, Hook::Forward);
const MANGLE: (TableName, Hook) = (TableName::Mangle, Hook::Forward);

/// What chains `lines` of filter log of a packet in FORWARD, and decide.
fn check(lines: &str, logged: &[&str], decision: Decision<Ipv4Addr>) {
    let (decided, told) = ask(&mut rules(TableName::Filter, lines), FORWARD, &subject());
    let logged: Vec<String> = logged.iter().map(|prefix| format!("log {prefix}")).collect();
    assert_eq!((told, decided), (logged, decision), "{lines}");
}

#[test]
fn a_jump_comes_back_and_a_goto_does_not() {
    let chains = ":a - [0:0]\n:b - [0:0]\n-A a -j LOG --log-prefix a\n-A b -j LOG --log-prefix b\n";
    let with = |rules: &str| format!(":FORWARD DROP [0:0]\n{chains}{rules}");
    check(&with("-A FORWARD -j a\n-A FORWARD -j b\n-A FORWARD -j ACCEPT"), &["a", "b"], Decision::Accept);
    check(&with("-A FORWARD -g a\n-A FORWARD -j ACCEPT"), &["a"], Decision::Drop);
    check(&with("-A FORWARD -j a\n-A a -g b\n-A a -j DROP\n-A FORWARD -j ACCEPT"), &["a", "b"], Decision::Accept);
    check(&with("-A FORWARD -j a\n-A a -j RETURN\n-A a -j DROP\n-A FORWARD -j ACCEPT"), &["a"], Decision::Accept);
    check(&with("-A FORWARD -j RETURN\n-A FORWARD -j ACCEPT"), &[], Decision::Drop);
    check(&with("-A FORWARD -j a\n-A a -j b\n-A b -j ACCEPT"), &["a", "b"], Decision::Accept);
}

#[test]
fn a_rejected_packet_is_answered_as_asked() {
    let unreachable = |code| Decision::Reject(Reject::Icmp { message_type: 3, code });
    check("-A FORWARD -j REJECT", &[], unreachable(3));
    check("-A FORWARD -j REJECT --reject-with icmp-admin-prohibited", &[], unreachable(13));
    check("-A FORWARD -p tcp -j REJECT --reject-with tcp-reset", &[], Decision::Reject(Reject::TcpReset));
}

#[test]
fn rules_and_policies_count_packets_and_bytes() {
    let mut ruleset =
        rules(TableName::Filter, ":FORWARD DROP [7:700]\n-A FORWARD -j LOG\n[1:1] -A FORWARD -p udp -j DROP");
    ask(&mut ruleset, FORWARD, &subject());
    let table = ruleset.table(TableName::Filter).expect("filter");
    let forward = table.chains.iter().find(|chain| chain.name == "FORWARD").expect("a chain");
    let counted: Vec<Counters> = forward.rules.iter().map(|rule| rule.counters).collect();
    assert_eq!(counted, [Counters { packets: 1, bytes: 46 }, Counters { packets: 1, bytes: 1 }]);
    assert_eq!(forward.counters, Counters { packets: 8, bytes: 746 });
}

#[test]
fn a_changed_mark_is_seen_by_later_rules() {
    let lines = "-A FORWARD -j MARK --set-mark 0x5\n-A FORWARD -m mark --mark 0x5 -j MARK --or-mark 0x10\n\
                 -A FORWARD -j MARK --and-mark 0x11\n-A FORWARD -j MARK --xor-mark 0x3\n\
                 -A FORWARD -j MARK --set-mark 0x40/0xf0";
    let (_, told) = ask(&mut rules(TableName::Mangle, lines), MANGLE, &subject());
    assert_eq!(told, ["mark 0x5", "mark 0x15", "mark 0x11", "mark 0x12", "mark 0x42"]);
}

#[test]
fn marks_go_between_packet_and_flow() {
    let marked = Subject { mark: 0xff, ..subject() };
    let check = |line: &str, told: &[&str]| {
        assert_eq!(ask(&mut rules(TableName::Mangle, line), MANGLE, &marked).1, told, "{line}");
    };
    check("-A FORWARD -j CONNMARK --set-mark 1", &["flow mark 0x1"]);
    check("-A FORWARD -j CONNMARK --set-mark 0x30", &[]);
    check("-A FORWARD -j CONNMARK --save-mark --nfmask 0x0f --ctmask 0xff", &["flow mark 0xf"]);
    check("-A FORWARD -j CONNMARK --restore-mark --nfmask 0xf0 --ctmask 0x10", &["mark 0x1f"]);
    check(
        "-A FORWARD -j CONNMARK --set-mark 1\n-A FORWARD -m connmark --mark 1 -j MARK --set-mark 2",
        &["flow mark 0x1", "mark 0x2"],
    );
    let alone = Subject { tracking: Tracking::Invalid, ..marked };
    let mut ruleset = rules(TableName::Mangle, "-A FORWARD -j CONNMARK --restore-mark");
    assert!(ask(&mut ruleset, MANGLE, &alone).1.is_empty(), "there is no flow");
}

#[test]
fn the_first_rule_that_says_how_a_packet_is_tracked_counts() {
    let unseen = Subject { tracking: Tracking::Invalid, ..subject() };
    let raw = (TableName::Raw, Hook::PreRouting);
    let lines = "-A PREROUTING -j NOTRACK\n-A PREROUTING -j CT --zone 5\n\
                 -A PREROUTING -m conntrack --ctstate UNTRACKED -j LOG --log-prefix untracked";
    assert_eq!(ask(&mut rules(TableName::Raw, lines), raw, &unseen).1, ["untrack", "log untracked"]);
    let lines = "-A PREROUTING -p tcp -j CT --helper ftp\n-A PREROUTING -j CT --notrack\n-A PREROUTING -j TRACE";
    let (_, told) = ask(&mut rules(TableName::Raw, lines), raw, &unseen);
    assert!(told[0].starts_with("template") && told[0].contains("ftp"), "{told:?}");
    assert_eq!(told[1..], ["trace"]);
    assert!(ask(&mut rules(TableName::Raw, "-A PREROUTING -j CT --notrack"), raw, &subject()).1.is_empty());
}

#[test]
fn nat_decides_a_translation() {
    let a = |last| Ipv4Addr::new(192, 0, 2, last);
    let check = |chain: &str, line: &str, translation: Translation<Ipv4Addr>| {
        let hook = Hook::named(chain).expect("a hook");
        let mut ruleset = rules(TableName::Nat, &format!("-A {chain} {line}"));
        assert_eq!(ask(&mut ruleset, (TableName::Nat, hook), &subject()).0, Decision::Nat(translation), "{line}");
    };
    let nothing = Range { addresses: None, ..Range::address(a(0)) };
    check("POSTROUTING", "-o wan -j MASQUERADE", Translation::Masquerade(nothing));
    let range = Range { ports: Some((10, 20)), which: Which::FullyRandom, ..nothing };
    check("POSTROUTING", "-p tcp -j MASQUERADE --to-ports 10-20 --random-fully", Translation::Masquerade(range));
    let range = Range { addresses: Some((a(1), a(9))), persistent: true, which: Which::Random, ..nothing };
    check(
        "POSTROUTING",
        "-j SNAT --to-source 192.0.2.1-192.0.2.9 --random --persistent",
        Translation::To(Manip::Source, range),
    );
    let range = Range { ports: Some((80, 90)), which: Which::Shifted { base: 1_080 }, ..Range::address(a(1)) };
    check(
        "PREROUTING",
        "-p tcp -j DNAT --to-destination 192.0.2.1:80-90/1080",
        Translation::To(Manip::Destination, range),
    );
    check(
        "PREROUTING",
        "-p tcp -j REDIRECT --to-ports 8080",
        Translation::Redirect(Range { ports: Some((8_080, 8_080)), ..nothing }),
    );
    let range = Range { addresses: Some((a(16), a(31))), netmap: true, ..nothing };
    check("PREROUTING", "-j NETMAP --to 192.0.2.16/28", Translation::To(Manip::Destination, range));
    check("POSTROUTING", "-j NETMAP --to 192.0.2.16/28", Translation::To(Manip::Source, range));
}

#[test]
fn a_table_that_is_not_there_is_idle() {
    let mut ruleset = rules(TableName::Filter, "-A FORWARD -j DROP");
    assert!(ruleset.is_idle(TableName::Nat, Hook::PreRouting) && ruleset.is_idle(TableName::Filter, Hook::PreRouting));
    assert!(!ruleset.is_idle(TableName::Filter, Hook::Forward));
    assert_eq!(ask(&mut ruleset, (TableName::Nat, Hook::PreRouting), &subject()).0, Decision::Accept);
}

#[test]
fn the_way_is_told_rule_by_rule_with_what_the_packet_has_instead() {
    let lines = ":FORWARD DROP [0:0]\n:a - [0:0]\n-A FORWARD -i wan -j ACCEPT\n-A FORWARD -p tcp -m tcp --dport 22 -j ACCEPT\n\
                 -A FORWARD -j a\n-A a -m conntrack --ctstate INVALID -j DROP";
    let mut notes: Vec<Note> = Vec::new();
    let mut ruleset = rules(TableName::Filter, lines);
    ruleset.run(TableName::Filter, Hook::Forward, &subject(), &mut Scribe::default(), &mut notes);
    let told: Vec<&str> = notes.iter().map(|note| note.text.as_str()).collect();
    assert_eq!(
        told,
        [
            "filter:FORWARD:1 does not match: -i wan, and its way in is lan0 (of -i wan -j ACCEPT)",
            "filter:FORWARD:2 does not match: -m tcp --dport 22, and it goes from port 40000 to 80, flags S \
             (of -p tcp -m tcp --dport 22 -j ACCEPT)",
            "filter:FORWARD:3 matches: -j a",
            "filter:a:1 does not match: -m conntrack --ctstate INVALID, and it is NEW \
             (of -m conntrack --ctstate INVALID -j DROP)",
            "filter:a ends without a decision: back to FORWARD",
            "filter:FORWARD: no rule decided, the policy is DROP",
        ]
    );
}

#[test]
fn rules_built_in_rust_are_those_of_the_text() {
    let built = Ruleset::builder()
        .policy(TableName::Filter, Hook::Forward, Policy::Drop)
        .rule(TableName::Filter, "FORWARD", Rule::new().state(States::ESTABLISHED.and(States::RELATED)).accept())
        .rule(TableName::Filter, "FORWARD", Rule::new().in_device("lan+").out_device("wan").tcp_to(443).jump("web"))
        .rule(
            TableName::Filter,
            "web",
            Rule::new().comment("not that one").to(Masked::one(Ipv4Addr::LOCALHOST)).reject(),
        )
        .rule(TableName::Nat, "POSTROUTING", Rule::new().out_device("wan").masquerade())
        .build()
        .expect("rules");
    let text = "*filter\n:FORWARD DROP\n:web -\n-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n\
                -A FORWARD -i lan+ -o wan -p tcp --dport 443 -j web\n\
                -A web -d 127.0.0.1 -m comment --comment \"not that one\" -j REJECT\nCOMMIT\n\
                *nat\n-A POSTROUTING -o wan -j MASQUERADE\nCOMMIT\n";
    assert_eq!(built, Ruleset::parse(text).expect("rules"));
}

#[test]
fn a_long_row_of_jumps_is_gone_through() {
    let chains: String = (0..3_000).map(|n| format!(":c{n} - [0:0]\n")).collect();
    let jumps: String = (1..3_000).map(|n| format!("-A c{} -j c{n}\n", n - 1)).collect();
    let lines = format!("{chains}{jumps}-A FORWARD -j c0\n-A c2999 -j RETURN\n-A FORWARD -j DROP");
    check(&lines, &[], Decision::Drop);
}

#[test]
fn the_rule_for_answered_flows_counts_and_is_traced_as_any_other() {
    let lines = "-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n-A FORWARD -j DROP";
    let mut ruleset = rules(TableName::Filter, lines);
    let answered = Tracking::Flow(Flow { info: CtInfo::EstablishedReply, ..flow() });
    let mut notes: Vec<Note> = Vec::new();
    for (tracking, decision) in [(answered, Decision::Accept), (Tracking::Flow(flow()), Decision::Drop)] {
        let subject = Subject { tracking, ..subject() };
        let decided = ruleset.run(TableName::Filter, Hook::Forward, &subject, &mut Scribe::default(), &mut notes);
        assert_eq!(decided, decision);
    }
    let told: Vec<&str> = notes.iter().map(|note| note.text.as_str()).collect();
    let yes = "filter:FORWARD:1 matches: -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT";
    let no = "filter:FORWARD:1 does not match: -m conntrack --ctstate RELATED,ESTABLISHED, and it is NEW \
              (of -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT)";
    assert_eq!(told, [yes, no, "filter:FORWARD:2 matches: -j DROP"]);
    let counted = ruleset.tables().flat_map(|table| &table.chains).flat_map(|chain| &chain.rules);
    assert!(counted.map(|rule| rule.counters).eq([Counters { packets: 1, bytes: 46 }; 2]));
}
