//! `watch` sees flows begin, change and end, says what it lost, and finds out what became of it.

use std::collections::HashSet;
use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::process::Stdio;

use pinhole_netns::Signal;
use serde_json::Value;

use super::Stage;
use crate::support::pinhole::{BINARY, Pinhole};
use crate::support::ready::ready;
use crate::support::until;

/// Starts a watch for JSON and returns when it sees what happens.
fn start(stage: &Stage, options: &str) -> Pinhole {
    let watch = Pinhole::spawn("watch", &mut stage.command(BINARY, &format!("conntrack watch --json {options}")));
    wait_for_listeners(stage, 1);
    watch
}

/// Waits until `count` programs listen to all three kinds of events. Nothing announces it.
fn wait_for_listeners(stage: &Stage, count: usize) {
    let listen = || {
        let table = std::fs::read_to_string(format!("/proc/{}/net/netlink", stage.ns.pid())).ok()?;
        // The columns of the protocol, 12 for netfilter, and of the groups.
        let is_one = |line: &&str| {
            let words: Vec<_> = line.split_whitespace().collect();
            words.get(1) == Some(&"12") && words.get(3) == Some(&"00000007")
        };
        (table.lines().filter(is_one).count() == count).then_some(())
    };
    until("a listener", listen);
}

fn port(event: &Value) -> Option<u64> {
    event["original"]["destination_port"].as_u64()
}

#[test]
fn flows_are_seen_to_begin_change_and_end() {
    if !ready(&["conntrack"]) {
        return;
    }
    let stage = Stage::new("ct-watch");
    let mut watch = start(&stage, "-p udp --dport 20001");
    stage.send([20_002].into_iter());
    let sockets = stage.ns.run(|| {
        let there = UdpSocket::bind("127.0.0.1:20001").expect("a free port");
        let here = UdpSocket::bind("127.0.0.1:0").expect("a port");
        here.send_to(b"question", "127.0.0.1:20001").expect("loopback");
        there.send_to(b"answer", here.local_addr().expect("bound")).expect("loopback");
    });
    sockets.expect("a thread");
    let new = watch.wait_for("the beginning", |event| event["event"] == "new");
    assert_eq!((port(&new), new["original"]["source"].as_str()), (Some(20_001), Some("127.0.0.1")));
    assert!(!new["status"].as_array().expect("a list").contains(&"SEEN_REPLY".into()), "{new}");
    let update = watch.wait_for("the answer", |event| event["event"] == "update");
    assert!(update["status"].as_array().expect("a list").contains(&"SEEN_REPLY".into()), "{update}");
    assert_eq!(stage.conntrack("-D -p udp --dport 20001").code, Some(0));
    let destroy = watch.wait_for("the end", |event| event["event"] == "destroy");
    assert_eq!(
        (&destroy["id"], &destroy["sent"]["bytes"], &destroy["received"]["bytes"]),
        (&new["id"], &36.into(), &34.into())
    );
    assert!(destroy["time"].as_f64() > new["time"].as_f64(), "{destroy}");
    watch.signal(Signal::INT);
    let (status, words) = watch.terminate();
    assert!(status.success() && words.is_empty(), "{status}: {words}");
}

#[test]
fn the_lines_of_events_are_those_of_conntrack() {
    if !ready(&["conntrack"]) {
        return;
    }
    let stage = Stage::new("ct-events");
    let piped = |program, line| stage.command(program, line).stdout(Stdio::piped()).spawn().expect("it starts");
    let watch = piped(BINARY, "conntrack watch -o conntrack,id --count 6");
    let mut theirs = piped("conntrack", "-E -o id");
    wait_for_listeners(&stage, 2);
    stage.send(20_000..20_003);
    // What a program deletes, conntrack(8) prints with the program's name behind it.
    assert_eq!(stage.conntrack("-D -p udp").code, Some(0));
    let ours = watch.wait_with_output().expect("it ends by itself");
    assert!(ours.status.success());
    let reader = BufReader::new(theirs.stdout.take().expect("a pipe"));
    let read: Vec<String> = reader.lines().take(6).map(|line| line.expect("text")).collect();
    theirs.kill().expect("it runs");
    theirs.wait().expect("it ends");
    let plain = |line: &str| line.split(" [USERSPACE]").next().unwrap_or_default().to_owned();
    let theirs: Vec<_> = read.iter().map(|line| plain(line)).collect();
    let ours = String::from_utf8(ours.stdout).expect("text");
    assert_eq!(ours.lines().map(plain).collect::<Vec<_>>(), theirs);
}

#[test]
fn what_is_lost_is_counted_and_found_in_the_table() {
    if !ready(&[]) {
        return;
    }
    const FLOWS: u16 = 500;
    let stage = Stage::new("ct-lost");
    let mut watch = start(&stage, "-p udp --buffer-size 8192");
    // What is there when the watch begins is no event of it, so it has to have begun.
    stage.send([19_999].into_iter());
    watch.wait_for("a first flow", |event| port(event) == Some(19_999));
    watch.signal(Signal::STOP);
    stage.send(20_000..20_000 + FLOWS);
    watch.signal(Signal::CONT);
    let mut seen = HashSet::new();
    let (mut missed, mut lost) = (0, 0);
    // Until every flow has been told of, by its own event or after the loss by the table.
    watch.wait_for("all flows", |event| {
        match event["event"].as_str() {
            Some("new") => assert!(seen.insert(port(event).expect("it has one")), "told twice: {event}"),
            _ => return false,
        }
        seen.len() == usize::from(FLOWS)
    });
    for event in watch.events() {
        lost += event["count"].as_u64().unwrap_or(0);
        missed += u64::from(event["missed"] == true);
    }
    assert!(missed > 0 && lost == missed, "{lost} lost, {missed} found");
}
