//! `list` prints what conntrack(8) prints, filters as it filters, and ends as it should.

use std::process::{Command, Stdio};

use serde_json::Value;

use super::{Stage, varied};
use crate::support::pinhole::{BINARY, run};
use crate::support::ready::ready;
use crate::support::until;

/// Holds our lines against those of conntrack(8), byte by byte and in its order; returns how many there are. Both look
/// again when a second has passed between them.
fn same(stage: &Stage, options: &str) -> usize {
    let (mut ours, mut theirs) = (String::new(), String::new());
    let mut looks = 0;
    let lines = until(&format!("two equal looks at the table ({options})"), || {
        let before = stage.conntrack(&format!("-L {options}"));
        let our = stage.pinhole(&format!("list -o conntrack {options}"));
        assert_eq!((before.code, our.code), (Some(0), Some(0)), "{options}: {}{}", before.stderr, our.stderr);
        (ours, theirs) = (our.stdout, before.stdout);
        looks += 1;
        // Enough for a second to have passed between the first ones; the failure below then shows the difference.
        (ours == theirs || looks > 20).then(|| ours.lines().count())
    });
    assert_eq!(ours, theirs, "{options}");
    lines
}

#[test]
fn lines_are_those_of_conntrack_byte_by_byte() {
    if !ready(&["conntrack"]) {
        return;
    }
    let stage = Stage::with_a_varied_table("ct-lines");
    stage.send(20_000..20_003);
    let all = varied() + 3;
    for options in ["", "-o extended", "-o id", "-o extended,id,ktimestamp", "-o timestamp"] {
        assert_eq!(same(&stage, options), all, "{options}");
    }
}

#[test]
fn filters_let_through_what_conntracks_do() {
    if !ready(&["conntrack"]) {
        return;
    }
    let stage = Stage::with_a_varied_table("ct-filters");
    let cases = [
        ("-p tcp", 4),
        ("-p udp", 4),
        ("-p icmp", 1),
        ("-p icmpv6", 1),
        ("-p 50", 1),
        ("-f ipv6", 4),
        ("-f ipv4", 11),
        ("-s 10.0.0.2", 7),
        ("--orig-src 10.0.0.0/30", 10),
        ("-s fd00::/16", 3),
        ("-d 198.51.100.7", 2),
        ("-d 198.51.100.0/24 -s 10.0.0.3", 3),
        ("-r 10.0.0.99", 1),
        ("-q 192.0.2.1", 1),
        ("-n", 1),
        ("-n 192.0.2.1", 1),
        ("-n 192.0.2.2", 0),
        ("-g", 1),
        ("-g 10.0.0.99", 1),
        ("-j", 2),
        ("-m 7", 1),
        ("-m 0x28/0xf8", 1),
        ("-m 0x2/0xf", 0),
        ("-m 0/0x1", 14),
        ("-w 5", 1),
        ("-w 0", 14),
        ("-w 9", 0),
        ("--orig-zone 9", 1),
        ("--orig-zone 5", 0),
        ("--reply-zone 9", 0),
        ("-u SEEN_REPLY", 3),
        ("-u SEEN_REPLY,ASSURED", 1),
        ("-u EXPECTED", 0),
        ("-u FIXED_TIMEOUT", 0),
        ("-p tcp --state ESTABLISHED", 1),
        ("-p tcp --state SYN_SENT", 1),
        ("-p tcp --state TIME_WAIT -u SEEN_REPLY", 1),
        ("-p sctp --state CLOSED", 1),
        ("-p udp --dport 80", 1),
        ("-p udp --orig-port-src 5000", 2),
        ("-p udp --reply-port-src 8080", 1),
        ("-p udp --reply-port-dst 51820", 1),
        ("-p icmp --icmp-type 8", 1),
        ("-p icmp --icmp-type 8 --icmp-code 0 --icmp-id 77", 1),
        // Without a status: conntrack 1.4.7 finds nothing when both a mark and a status are asked for.
        ("-p tcp -s 10.0.0.2 -d 198.51.100.7 --sport 40000 --dport 443 -m 7", 1),
    ];
    for (options, count) in cases {
        assert_eq!(same(&stage, options), count, "{options}");
    }
}

#[test]
fn json_has_every_flow_and_the_table_shows_who_becomes_what() {
    if !ready(&["conntrack"]) {
        return;
    }
    let stage = Stage::with_a_varied_table("ct-json");
    let all: Vec<Value> = serde_json::from_str(&stage.pinhole("list --json").stdout).expect("an array");
    assert_eq!(all.len(), varied());
    let translated = all.iter().find(|flow| !flow["source_nat"].is_null()).expect("the one that is");
    assert_eq!((&translated["source_nat"], &translated["protocol"]), (&"192.0.2.1:51820".into(), &"udp".into()));
    assert!(translated["age_s"].as_f64().is_some_and(|age| (0.0..60.0).contains(&age)), "{translated}");
    let first: Vec<Value> = serde_json::from_str(&stage.pinhole("list --json --limit 1").stdout).expect("an array");
    assert_eq!((first.len(), &first[0]["id"]), (1, &all[0]["id"]));

    let table = stage.pinhole("list").stdout;
    assert!(table.contains("10.0.0.2:51820 → 192.0.2.1:51820"), "{table}");
    assert!(!table.contains('\x1b'), "a pipe has no colours: {table}");
    let summary = table.lines().find(|line| line.starts_with(&format!("{} flows", varied()))).expect("a summary");
    assert!(
        summary.contains("2 translated") && summary.contains(&format!("the table holds {} of", varied())),
        "{summary}"
    );
}

#[test]
fn a_reader_that_has_enough_ends_it_quietly() {
    if !ready(&["conntrack"]) {
        return;
    }
    let stage = Stage::with_a_varied_table("ct-pipe");
    for options in ["list", "list --json", "list -o conntrack", "top --once", "top --json --interval 0.1"] {
        let mut command = stage.command(BINARY, &format!("conntrack {options}"));
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("pinhole starts");
        drop(child.stdout.take());
        let ended = child.wait_with_output().expect("it ends");
        let said = String::from_utf8_lossy(&ended.stderr);
        assert!(ended.status.success() && said.is_empty(), "{options}: {} {said}", ended.status);
    }
}

#[test]
fn without_privilege_one_line_says_what_is_missing() {
    if !ready(&["setpriv"]) {
        return;
    }
    let stage = Stage::new("ct-nobody");
    for what in ["list", "watch", "top --once"] {
        let mut command = stage.command("setpriv", "--bounding-set=-all --inh-caps=-all");
        let ended = run(command.arg(BINARY).arg("conntrack").args(what.split(' ')));
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""), "{what}: {}", ended.stderr);
        assert!(ended.stderr.contains("CAP_NET_ADMIN") && ended.stderr.contains("sudo"), "{what}: {}", ended.stderr);
        assert_eq!(ended.stderr.lines().count(), 1, "{what}: {}", ended.stderr);
    }
}

#[test]
fn wrong_usage_ends_with_2_and_says_what_was_expected() {
    for (line, expected) in [
        ("list -p tpc", "tcp, udp"),
        ("list -s nonsense", "10.0.0.2"),
        ("list --sort size", "bytes"),
        ("watch -e OLD", "DESTROY"),
        ("top --interval 0", "0.1"),
        ("lists", "list"),
    ] {
        let ended = run(Command::new(BINARY).arg("conntrack").args(line.split(' ')));
        assert_eq!(ended.code, Some(2), "{line}: {}", ended.stderr);
        assert!(ended.stderr.contains(expected), "{line}: {}", ended.stderr);
    }
}
