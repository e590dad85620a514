//! `top` counts what is there.

use pinhole_netns::Signal;
use serde_json::{Value, json};

use super::{Stage, varied};
use crate::support::pinhole::{BINARY, Pinhole};
use crate::support::ready::ready;

fn once(stage: &Stage, options: &str) -> Value {
    let ended = stage.pinhole(&format!("top --once --json {options}"));
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    serde_json::from_str(&ended.stdout).expect("one object")
}

/// Names and numbers of flows.
fn groups(look: &Value) -> Vec<(String, u64)> {
    let group = |group: &Value| (group["name"].as_str().unwrap_or("").to_owned(), group["flows"].as_u64().unwrap_or(0));
    look["groups"].as_array().expect("a list").iter().map(group).collect()
}

#[test]
fn flows_are_counted_by_host_state_and_service() {
    if !ready(&["conntrack"]) {
        return;
    }
    let stage = Stage::with_a_varied_table("ct-top");
    let look = once(&stage, "");
    assert_eq!((look["entries"].as_u64(), look["flows"].as_u64()), (Some(varied() as u64), Some(varied() as u64)));
    assert!(look["maximum"].as_u64().is_some_and(|maximum| maximum > 0), "{look}");
    let of = |name: &str, count: u64| (name.to_owned(), count);
    assert_eq!(groups(&look)[..2], [of("10.0.0.2", 7), of("10.0.0.3", 3)]);
    let states = groups(&once(&stage, "--by state -p tcp"));
    let expected = ["established", "syn-sent", "syn-sent2", "time-wait"].map(|state| of(&format!("tcp {state}"), 1));
    assert_eq!(states, expected);
    assert_eq!(groups(&once(&stage, "--by nat")), [of("192.0.2.1", 1)]);
    assert_eq!(groups(&once(&stage, "--by service -p tcp -N")), [of("tcp 22", 3), of("tcp 443", 1)]);
    assert_eq!(groups(&once(&stage, "--by protocol --rows 1")).len(), 1);
    let inserted = once(&stage, "")["counters"]["insert"].as_u64();
    assert_eq!(inserted, Some(varied() as u64), "conntrack(8) made them all");
}

#[test]
fn rates_come_with_the_second_look_and_ctrl_c_ends_it() {
    if !ready(&[]) {
        return;
    }
    let stage = Stage::new("ct-rates");
    stage.send([20_000].into_iter());
    let mut top = Pinhole::spawn("top", &mut stage.command(BINARY, "conntrack top --json --interval 0.2 -p udp"));
    let first = top.wait_for("the first look", |_| true);
    assert_eq!((&first["per_s"], &first["groups"][0]["bytes_per_s"]), (&Value::Null, &Value::Null));
    stage.send(20_001..20_005);
    let busy = |look: &Value| look["groups"][0]["bytes_per_s"].as_f64().is_some_and(|rate| rate > 0.0);
    let look = top.wait_for("a rate", busy);
    assert_eq!(look["per_s"]["drop"], json!(0.0));
    top.wait_for("all flows", |look| look["groups"][0]["flows"] == 5);
    top.signal(Signal::INT);
    let (status, words) = top.terminate();
    assert!(status.success() && words.is_empty(), "{status}: {words}");
}
