//! Ports that run out when it was said that they would, and what is shown of them.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use pinhole_timewait::claim::Options;
use rustix::io::Errno;

use super::{Stage, closed, half_closed};
use crate::support::ready::ready;

#[test]
pub(super) fn a_small_range_runs_out_when_it_was_forecast() {
    if !ready(&[]) {
        return;
    }
    const RATE: u32 = 25;
    const PORTS: u32 = 75;
    let stage = Stage::new("tw-exhaust");
    stage.set("tcp_tw_reuse", "0");
    stage.set("ip_local_port_range", "30000 30079");
    stage.set("ip_local_reserved_ports", "30010-30014");
    let forecast = stage.json(&format!("forecast --rate {RATE} --to 127.0.0.1:9000"));
    assert_eq!(forecast["ports"], PORTS, "{forecast}");
    let after_s = forecast["exhausted_after_s"].as_f64().expect("it runs out");
    assert!((after_s - f64::from(PORTS) / f64::from(RATE)).abs() < 1e-9, "{after_s}");
    let (served, failed_after) = stage.run(|| {
        let listener = TcpListener::bind("127.0.0.1:9000").expect("a port");
        let begun = Instant::now();
        for at in 0u32.. {
            std::thread::sleep((Duration::from_secs(1) * at / RATE).saturating_sub(begun.elapsed()));
            match closed(&listener, Options::default(), None) {
                Ok(_) => {}
                Err(Errno::ADDRNOTAVAIL) => return (at, begun.elapsed()),
                Err(errno) => panic!("{errno}"),
            }
        }
        unreachable!("ports run out");
    });
    assert_eq!(served, PORTS, "not one more and not one less");
    let off = failed_after.as_secs_f64() / after_s - 1.0;
    // One in a hundred, and what a busy machine delays the last connection.
    assert!((-0.01..=0.1).contains(&off), "{failed_after:?} and not {after_s} s");

    let show = stage.json("show --to 127.0.0.1:9000");
    let group = &show["groups"][0];
    let counts = ["time_wait", "used", "free"].map(|key| group[key].as_u64());
    assert_eq!(counts, [Some(u64::from(PORTS)), Some(u64::from(PORTS)), Some(0)], "{group}");
    let table = stage.pinhole("show").stdout;
    assert!(table.contains("nearly out of ports"), "{table}");
    let now = stage.json(&format!("forecast --rate {RATE} --to 127.0.0.1:9000"));
    assert_eq!(now["exhausted_after_s"], 0.0, "they are out already: {now}");
}

#[test]
pub(super) fn show_counts_what_is_there_and_in_both_families() {
    if !ready(&[]) {
        return;
    }
    let stage = Stage::new("tw-show");
    stage.set("tcp_fin_timeout", "60");
    let held = stage.run(|| {
        let mut held = Vec::new();
        for (address, dead) in [("127.0.0.1:9000", 5), ("[::1]:9000", 3)] {
            let listener = TcpListener::bind(address).expect("a port");
            (0..dead).for_each(|_| assert!(closed(&listener, Options::default(), None).is_ok()));
            held.push(half_closed(&listener, Options::default(), None).1);
        }
        held
    });
    let show = stage.json("show --sockets");
    assert_eq!((&show["time_wait"], &show["fin_wait_2"]), (&8.into(), &2.into()), "{show}");
    let groups = show["groups"].as_array().expect("a list");
    let of = |to: &str| groups.iter().find(|group| group["to"] == to).unwrap_or_else(|| panic!("{to}: {show}"));
    assert_eq!((&of("127.0.0.1:9000")["time_wait"], &of("[::1]:9000")["time_wait"]), (&5.into(), &3.into()));
    let sockets = show["sockets"].as_array().expect("a list");
    assert_eq!(sockets.len(), 10);
    for socket in sockets {
        let dies_s = socket["dies_in_s"].as_f64().expect("a number");
        let timer_s = socket["timer_s"].as_f64().expect("a number");
        assert!((timer_s..=timer_s + 8.3).contains(&dies_s), "{socket}");
    }
    let table = stage.pinhole("show").stdout;
    assert!(table.contains("8 in TIME_WAIT, 2 in FIN_WAIT_2") && !table.contains('\x1b'), "{table}");
    drop(held);
}

#[test]
pub(super) fn beyond_the_most_buckets_there_is_no_time_wait_and_it_is_counted() {
    if !ready(&[]) {
        return;
    }
    let stage = Stage::new("tw-buckets");
    stage.set("tcp_max_tw_buckets", "5");
    stage.run(|| {
        let listener = TcpListener::bind("127.0.0.1:9000").expect("a port");
        (0..12).for_each(|_| assert!(closed(&listener, Options::default(), None).is_ok()));
    });
    let show = stage.json("show");
    assert_eq!((&show["time_wait"], &show["most"]), (&5.into(), &5.into()), "{show}");
    assert_eq!(show["counters"]["overflow"], 7, "{show}");
    assert!(stage.pinhole("show").stdout.contains("7 closed without TIME_WAIT"));
    assert!(stage.pinhole("explain").stdout.contains("tcp_max_tw_buckets=5"));
    // The model says the same of such a host.
    let model = stage.json("simulate --rate 0 --burst 12@0 --buckets 5 --for 10");
    assert_eq!((&model["overflowed"], &model["most_sockets"]), (&7.into(), &5.into()), "{model}");
}

#[test]
pub(super) fn watch_tells_of_births_line_by_line() {
    if !ready(&[]) {
        return;
    }
    let stage = Stage::new("tw-watch");
    stage.run(|| {
        let listener = TcpListener::bind("127.0.0.1:9000").expect("a port");
        (0..4).for_each(|_| assert!(closed(&listener, Options::default(), None).is_ok()));
    });
    let ended = stage.pinhole("watch --json --interval 0.1 --count 3");
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let lines: Vec<serde_json::Value> =
        ended.stdout.lines().map(|line| serde_json::from_str(line).expect("an object a line")).collect();
    assert_eq!(lines.len(), 4, "{}", ended.stdout);
    assert!(lines.iter().all(|line| line["wait"] == 4 && line["died"] == 0), "{}", ended.stdout);
    assert!(lines[0]["deaths"].as_array().is_some_and(|deaths| !deaths.is_empty()));
    let text = stage.pinhole("watch --interval 0.05 --count 1").stdout;
    assert!(text.lines().count() == 2 && text.contains("4 wait"), "{text}");
}
