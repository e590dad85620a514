//! What each criterion answers.

use core::net::Ipv4Addr;

use pinhole_sansio::Instant;

use super::world::{SYN, ask, flow, matches, matches_with, rules, subject};
use crate::rules::{Decision, Delivery, Device, Flow, Hook, Sets, Subject, TableName, Tracking};
use crate::status::{CtInfo, Status};

/// Each criterion is asked of `subject`; those behind `yes` match, those behind `no` do not.
fn check(subject: &Subject<'_, Ipv4Addr>, yes: &[&str], no: &[&str]) {
    for criteria in yes {
        assert_eq!(matches(criteria, subject), Some(true), "{criteria}");
    }
    for criteria in no {
        assert_eq!(matches(criteria, subject), Some(false), "{criteria}");
    }
}

#[test]
fn the_header_is_asked_for_interfaces_addresses_and_protocol() {
    check(
        &subject(),
        &[
            "",
            "-i lan+ -o wan",
            "! -i wan",
            "-s 10.0.0.0/8",
            "-d 192.0.2.1",
            "! -s 10.0.0.6",
            "-s 10.9.9.5/255.0.0.255",
        ],
        &["-i lan", "-i wan", "! -o wan", "-s 10.0.1.0/24", "! -d 192.0.2.0/24", "-s 10.9.9.6/255.0.0.255"],
    );
    check(&subject(), &["-p tcp", "-p 6", "! -p udp", "! -f"], &["-p udp", "! -p tcp", "-f"]);
    assert_eq!(matches("-s 10.1.1.1,10.0.0.5", &subject()), Some(true), "one of a list");
}

#[test]
fn tcp_is_asked_for_ports_flags_and_options() {
    check(
        &subject(),
        &[
            "-p tcp --dport 80",
            "-p tcp --dport http",
            "-p tcp --sport 1024:",
            "-p tcp ! --dport 81:90",
            "-p tcp --syn",
            "-p tcp --tcp-flags ALL SYN",
            "-p tcp --tcp-option 3",
            "-p tcp ! --tcp-option 8",
            "-p tcp -m multiport --dports 22,79:81",
            "-p tcp -m multiport --ports 40000",
            "-p tcp -m multiport ! --sports 80",
        ],
        &[
            "-p tcp --dport 81",
            "-p tcp --sport :1023",
            "-p tcp ! --dport 80",
            "-p tcp ! --syn",
            "-p tcp --tcp-flags SYN,ACK SYN,ACK",
            "-p tcp --tcp-option 8",
            "-p tcp --tcp-option 7",
            "-p tcp ! --tcp-option 3",
            "-p tcp -m multiport --sports 22,79:81",
            "-p tcp -m multiport ! --ports 80",
        ],
    );
}

#[test]
fn a_short_header_drops_the_packet_and_a_later_fragment_has_none() {
    let short = Subject { body: Some(&SYN[..19]), ..subject() };
    assert_eq!(matches("-p tcp ! --dport 80", &short), None);
    assert_eq!(matches("-p tcp -m multiport --dports 81", &Subject { body: Some(&SYN[..3]), ..subject() }), None);
    let mut bad = SYN;
    bad[12] = 0xf0;
    assert_eq!(matches("-p tcp --tcp-option 8", &Subject { body: Some(&bad), ..subject() }), None);
    let fragment = Subject { body: None, ..subject() };
    check(&fragment, &["-f", "-p tcp"], &["-p tcp --dport 80", "-p tcp ! --dport 80", "! -f"]);
}

#[test]
fn other_transports_are_asked_too() {
    let udp = Subject { protocol: 17, body: Some(&[0, 53, 0x13, 0x88, 0, 8, 0, 0]), ..subject() };
    check(&udp, &["-p udp --sport domain --dport 5000"], &["-p udp --dport 53", "-p tcp --dport 5000"]);
    assert_eq!(matches("-p udp --sport 53", &Subject { body: Some(&[0, 53, 1, 1]), ..udp }), None);
    let sctp = Subject { protocol: 132, body: Some(&[0, 7, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0]), ..subject() };
    check(&sctp, &["-p sctp --sport 7 ! --dport 7"], &["-p sctp --dport 7"]);
    let ping = Subject { protocol: 1, body: Some(&[8, 0, 0, 0, 0, 1, 0, 1]), ..subject() };
    check(
        &ping,
        &[
            "-p icmp --icmp-type echo-request",
            "-p icmp --icmp-type 8/0",
            "-p icmp --icmp-type any",
            "-p icmp ! --icmp-type 3",
        ],
        &["-p icmp --icmp-type 0", "-p icmp --icmp-type 8/1", "-p icmp ! --icmp-type any"],
    );
}

#[test]
fn the_flow_is_asked_for_state_status_tuples_and_direction() {
    check(
        &subject(),
        &[
            "-m conntrack --ctstate NEW",
            "-m conntrack --ctstate SNAT",
            "-m conntrack ! --ctstate INVALID,DNAT",
            "-m state --state NEW,ESTABLISHED",
            "-m conntrack --ctproto 6 --ctorigsrc 10.0.0.0/8 --ctrepldst 203.0.113.1 ! --ctreplsrc 10.0.0.1",
            "-m conntrack --ctorigsrcport 40000 --ctorigdstport 80 --ctreplsrcport 80 --ctrepldstport 1000:2000",
            "-m conntrack --ctexpire 100:120 --ctdir ORIGINAL",
            "-m conntrack ! --ctstatus ASSURED",
            "-m connmark --mark 0x30",
        ],
        &[
            "-m conntrack --ctstate ESTABLISHED,RELATED",
            "-m conntrack --ctstate DNAT",
            "-m conntrack ! --ctstate NEW",
            "-m conntrack --ctdir REPLY",
            "-m conntrack --ctstatus NONE",
            "-m conntrack --ctstatus ASSURED,CONFIRMED",
            "-m conntrack --ctexpire 119",
            "-m conntrack --ctrepldst 10.0.0.5",
            "-m connmark ! --mark 0x10/0x10",
            "-m helper --helper ftp",
        ],
    );
    let reply = Flow { info: CtInfo::EstablishedReply, status: Status(0x19e), ..flow() };
    let reply = Subject { tracking: Tracking::Flow(reply), ..subject() };
    check(&reply, &["-m conntrack --ctstate ESTABLISHED --ctdir REPLY", "-m conntrack --ctstatus ASSURED"], &[]);
    let expected = Flow { info: CtInfo::Related, master_helper: Some("ftp"), ..flow() };
    let expected = Subject { tracking: Tracking::Flow(expected), ..subject() };
    check(
        &expected,
        &[
            "-m helper --helper ftp",
            "-m helper --helper ftp-2121",
            r#"-m helper --helper """#,
            "-m state --state RELATED",
        ],
        &["-m helper --helper sip", "-m helper ! --helper ftp"],
    );
}

#[test]
fn without_a_flow_only_the_state_is_asked() {
    let invalid = Subject { tracking: Tracking::Invalid, ..subject() };
    check(
        &invalid,
        &["-m conntrack --ctstate INVALID --ctproto 17", "-m state --state INVALID", "-m helper ! --helper ftp"],
        &[
            "-m conntrack --ctproto 6",
            "-m conntrack ! --ctproto 17",
            "-m connmark ! --mark 1",
            "-m conntrack --ctdir ORIGINAL",
        ],
    );
    let untracked = Subject { tracking: Tracking::Untracked, ..subject() };
    check(&untracked, &["-m conntrack --ctstate UNTRACKED"], &["-m conntrack --ctstate INVALID,NEW"]);
}

#[test]
fn marks_lengths_and_hop_limits_are_compared() {
    let marked = Subject { mark: 0x1234, ..subject() };
    check(&marked, &["-m mark --mark 0x34/0xff", "-m mark ! --mark 1"], &["-m mark --mark 0x34", "-m mark --mark 3/1"]);
    check(
        &subject(),
        &[
            "-m length --length 46",
            "-m length --length :46",
            "-m length ! --length 47:",
            "-m ttl --ttl 64",
            "-m ttl --ttl-lt 65",
        ],
        &["-m length --length 47:", "-m ttl --ttl-gt 64", "-m ttl ! --ttl-eq 64"],
    );
    check(&Subject { length: 70_000, ..subject() }, &["-m length ! --length 0:65535"], &["-m length --length 0:65535"]);
}

#[test]
fn the_engine_says_what_an_address_is() {
    let broadcast = Subject { dst: Ipv4Addr::new(192, 0, 2, 255), delivery: Delivery::Broadcast, ..subject() };
    check(
        &subject(),
        &[
            "-m addrtype --dst-type LOCAL",
            "-m addrtype ! --src-type LOCAL --dst-type LOCAL,UNICAST",
            "-m pkttype --pkt-type host",
        ],
        &[
            "-m addrtype --src-type LOCAL",
            "-m addrtype --dst-type LOCAL --limit-iface-in",
            "-m pkttype ! --pkt-type unicast",
        ],
    );
    check(&subject(), &["-m addrtype --dst-type LOCAL --limit-iface-out"], &[]);
    check(&broadcast, &["-m addrtype --dst-type BROADCAST", "-m pkttype --pkt-type broadcast"], &[]);
}

#[test]
fn a_limit_gives_its_burst_at_once_and_then_its_rate() {
    let mut ruleset = rules(TableName::Filter, "-A FORWARD -m limit --limit 2/sec --limit-burst 3 -j DROP");
    let mut drops_at = |millis: u64| {
        let subject = Subject { now: Instant::from_millis(millis), ..subject() };
        ask(&mut ruleset, (TableName::Filter, Hook::Forward), &subject).0 == Decision::Drop
    };
    let burst: Vec<bool> = (0..5).map(|_| drops_at(10_000)).collect();
    assert_eq!(burst, [true, true, true, false, false]);
    assert_eq!([10_496, 10_500, 10_504, 11_000].map(&mut drops_at), [false, true, false, true]);
    let after_long: Vec<bool> = (0..4).map(|_| drops_at(3_600_000)).collect();
    assert_eq!(after_long, [true, true, true, false], "no more than the burst is saved");
}

#[test]
fn a_limit_is_asked_only_if_what_stands_before_it_matches() {
    let mut ruleset = rules(TableName::Filter, "-A FORWARD -i wan -m limit --limit 1/hour --limit-burst 1 -j DROP");
    let other = Subject { input: Device::named("wan"), ..subject() };
    let at = (TableName::Filter, Hook::Forward);
    assert_eq!(ask(&mut ruleset, at, &subject()).0, Decision::Accept);
    assert_eq!(ask(&mut ruleset, at, &other).0, Decision::Drop, "nothing was taken from it before");
    assert_eq!(ask(&mut ruleset, at, &other).0, Decision::Accept);
}

#[test]
fn sets_of_addresses_networks_and_ports_are_looked_up() {
    let text = "create hosts hash:ip family inet hashsize 1024 maxelem 65536 timeout 600 bucketsize 12 initval 0x1\n\
                add hosts 10.0.0.5 timeout 321\n\
                create nets hash:net family inet counters\n\
                add nets 10.0.0.0/8 packets 1 bytes 2\n\
                add nets 10.0.0.0/24 nomatch\n\
                add nets 10.0.0.4/30\n\
                create services hash:ip,port family inet\n\
                add services 192.0.2.1,tcp:80\n\
                add services 192.0.2.1,udp:53\n\
                create other hash:ip family inet6\n\
                add other 2001:db8::1\n";
    let sets = Sets::parse(text).expect("sets");
    let check = |criteria: &str, yes: bool, subject: &Subject<'_, Ipv4Addr>| {
        assert_eq!(matches_with(criteria, subject, sets.clone()), Some(yes), "{criteria}");
    };
    check("-m set --match-set hosts src", true, &subject());
    check("-m set --match-set hosts dst", false, &subject());
    check("-m set ! --match-set hosts dst", true, &subject());
    check("-m set --match-set nets src", true, &subject());
    check("-m set --match-set nets src", false, &Subject { src: Ipv4Addr::new(10, 0, 0, 9), ..subject() });
    check("-m set --match-set nets src", true, &Subject { src: Ipv4Addr::new(10, 0, 1, 9), ..subject() });
    check("-m set --match-set services dst,dst", true, &subject());
    check("-m set --match-set services dst,src", false, &subject());
    check("-m set --match-set services dst", false, &subject());
    check("-m set --match-set other src", false, &subject());
    check("-m set --match-set services dst,dst", false, &Subject { body: None, ..subject() });
}
