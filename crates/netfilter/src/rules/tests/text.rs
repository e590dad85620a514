//! Reading and writing the text of iptables-save.

use core::net::{Ipv4Addr, Ipv6Addr};

use crate::rules::{RulesError, Ruleset};
use crate::tuple::Address;

const HOME_ROUTER: &str = include_str!("fixtures/home-router.rules");
const CONTAINERS: &str = include_str!("fixtures/containers.rules");
const SERVICES: &str = include_str!("fixtures/services.rules");
const DESKTOP: &str = include_str!("fixtures/desktop.rules");
const ZONES6: &str = include_str!("fixtures/zones6.rules");

/// Reads `text`, which is in iptables-save's own form, writes it, and reads that.
fn check<A: Address>(text: &str) {
    let ruleset = Ruleset::<A>::parse(text).unwrap_or_else(|error| panic!("{error}"));
    let body = |text: &str| text.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n");
    pretty(&body(&ruleset.to_string()), &body(text));
    let again = Ruleset::parse(&ruleset.with_counters().to_string()).expect("what was written can be read");
    assert_eq!(again, ruleset);
}

fn pretty(written: &str, wanted: &str) {
    for (written, wanted) in written.lines().zip(wanted.lines()) {
        assert_eq!(written, wanted);
    }
    assert_eq!(written.lines().count(), wanted.lines().count());
}

#[test]
fn rulesets_as_they_are_in_use_are_written_as_they_were_read() {
    check::<Ipv4Addr>(HOME_ROUTER);
    check::<Ipv4Addr>(CONTAINERS);
    check::<Ipv4Addr>(DESKTOP);
    check::<Ipv6Addr>(ZONES6);
    let without_chance: Vec<&str> = SERVICES.lines().filter(|line| !line.contains("statistic")).collect();
    check::<Ipv4Addr>(&without_chance.join("\n"));
}

#[test]
fn a_match_that_is_not_supported_is_named_with_its_line() {
    let error: RulesError = Ruleset::<Ipv4Addr>::parse(SERVICES).expect_err("statistic is not supported");
    let line = SERVICES.lines().position(|line| line.contains("statistic")).expect("a line") + 1;
    let text = error.to_string();
    assert!(text.starts_with(&format!("line {line}: the match 'statistic' is not supported; supported: ")), "{text}");
}

#[test]
fn counters_are_kept() {
    let text =
        "*filter\n:INPUT ACCEPT [1:2]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n[3:4] -A INPUT -j DROP\nCOMMIT\n";
    let ruleset = Ruleset::<Ipv4Addr>::parse(text).expect("rules");
    assert_eq!(ruleset.with_counters().to_string(), text);
}

#[test]
fn what_people_write_becomes_what_iptables_writes() {
    let check = |written: &str, canonical: &[&str]| {
        let (table, chain) =
            match written.split_once("-j ").map(|(_, target)| target.split(' ').next().unwrap_or_default()) {
                Some("MASQUERADE" | "SNAT") => ("nat", "POSTROUTING"),
                Some("DNAT" | "REDIRECT" | "NETMAP") => ("nat", "PREROUTING"),
                Some("CT") => ("raw", "PREROUTING"),
                _ => ("filter", "FORWARD"),
            };
        let text = format!("*{table}\n-A {chain} {written}\nCOMMIT\n");
        let ruleset = Ruleset::<Ipv4Addr>::parse(&text).unwrap_or_else(|error| panic!("{written}: {error}"));
        let found: Vec<String> = ruleset
            .to_string()
            .lines()
            .filter_map(|line| line.strip_prefix(&format!("-A {chain} ")).map(ToOwned::to_owned))
            .collect();
        assert_eq!(found, canonical, "{written}");
    };
    check("-p 6 --dport ssh -j ACCEPT", &["-p tcp -m tcp --dport 22 -j ACCEPT"]);
    check("-p tcp --syn -j ACCEPT", &["-p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN -j ACCEPT"]);
    check("-s 10.1.2.3/8,10.0.0.1 -j DROP", &["-s 10.0.0.0/8 -j DROP", "-s 10.0.0.1/32 -j DROP"]);
    check("-d 0.0.0.0/0 -i + -p all -j ACCEPT", &["-j ACCEPT"]);
    check("-p icmp --icmp-type ping -j ACCEPT", &["-p icmp -m icmp --icmp-type 8 -j ACCEPT"]);
    check("-m limit --limit 120/minute --limit-burst 5 -j ACCEPT", &["-m limit --limit 2/sec -j ACCEPT"]);
    check("-m limit --limit 7000/s -j ACCEPT", &["-m limit --limit 10000/sec -j ACCEPT"]);
    check("-m limit -j ACCEPT", &["-m limit --limit 3/hour -j ACCEPT"]);
    check("-j REJECT", &["-j REJECT --reject-with icmp-port-unreachable"]);
    check("-j MARK --or-mark 0xff", &["-j MARK --set-xmark 0xff/0xff"]);
    check("-j CONNMARK --save-mark --mask 255", &["-j CONNMARK --save-mark --nfmask 0xff --ctmask 0xff"]);
    check("-j LOG --log-prefix 'x --log-level debug", &[r#"-j LOG --log-prefix "\'x" --log-level 7"#]);
    check("-j NETMAP --to 10.0.0.5", &["-j NETMAP --to 10.0.0.5/32"]);
    check("-p tcp -j CT --ctevents mark,new --helper=ftp", &["-p tcp -j CT --helper ftp --ctevents new,mark"]);
    check("-p udp -j MASQUERADE --to-ports 5-5", &["-p udp -j MASQUERADE --to-ports 5"]);
}
