//! `pinhole demo`: the main job in one command, and Ctrl-C whenever someone has seen enough.

use std::process::Command;

use serde_json::Value;

use crate::support::pinhole::{BINARY, Pinhole, run};
use crate::support::ready::ready;

fn check(wireguard: &str) {
    let ended = run(Command::new(BINARY).args(["demo", "--json", "--wireguard", wireguard]));
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    let events: Vec<Value> =
        ended.stdout.lines().map(|line| serde_json::from_str(line).expect("every line is an object")).collect();
    let verdict = events.last().expect("a verdict");
    assert_eq!((&verdict["event"], &verdict["direct"]), (&"verdict".into(), &true.into()), "{verdict}");
    assert_eq!(verdict["seen"][2], 0, "nothing went through the hub: {verdict}");
    for event in ["mapping", "asked", "answered", "opener", "handshake", "up", "packet"] {
        assert!(events.iter().any(|happened| happened["event"] == event), "{event} is shown");
    }
}

#[test]
fn it_ends_with_tunnel_data_from_nat_to_nat() {
    if ready(&[]) {
        check("embedded");
    }
}

#[test]
fn it_ends_so_with_wireguard_go_too() {
    if ready(&["wireguard-go"]) {
        check("wireguard-go");
    }
}

#[test]
fn it_stops_when_it_is_told_to_whatever_it_is_doing() {
    if !ready(&[]) {
        return;
    }
    // With links this long the echoes take many seconds.
    let start = || Pinhole::spawn("demo", Command::new(BINARY).args(["demo", "--json", "--keep", "--delay", "200"]));
    let up = |source: &'static str| move |event: &Value| event["event"] == "up" && event["source"] == source;
    let mut measuring = start();
    measuring.wait_for("a path", up("alice"));
    let mut connecting = start();
    connecting.wait_for("a question", |event| event["event"] == "asked");
    for (what, demo) in [("connecting", connecting), ("measuring", measuring)] {
        let (status, words) = demo.terminate();
        assert_eq!((status.code(), words.as_str()), (Some(130), ""), "{what}");
    }
}
