//! Why a socket is still here: each case made by segments that are put on the wire, and explained.

use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use pinhole_host::namespace::Namespace;
use pinhole_host::netlink::sock_diag::{States, destroy, sockets};
use pinhole_host::nft::{Policy, Ports, Ruleset};
use pinhole_timewait::claim::Options;
use pinhole_wire::tcp;
use rustix::net::{self, AddressFamily, SendFlags, SocketType};
use serde_json::Value;

use super::{Stage, closed, end, half_closed, segment};
use crate::support::ready::ready;

const SERVER: &str = "127.0.0.1:9000";

/// Sends a segment that no socket of ours would.
fn inject(from: SocketAddr, to: SocketAddr, flags: tcp::Flags, timestamp: Option<u32>) {
    let packet = segment(from, to, flags, (77, 0), timestamp, 0);
    let socket = net::socket(AddressFamily::INET, SocketType::RAW, Some(net::ipproto::RAW)).expect("root");
    net::sendto(&socket, &packet, SendFlags::empty(), &SocketAddr::new(to.ip(), 0)).expect("loopback");
}

/// `why` while `meanwhile` is done after each `period`.
fn why_while(stage: &Stage, from: SocketAddr, period: Duration, meanwhile: impl Fn() + Send + Sync) -> Value {
    std::thread::scope(|scope| {
        let (done, ended) = std::sync::mpsc::channel::<()>();
        let meanwhile = &meanwhile;
        scope.spawn(move || {
            stage.run(move || {
                while ended.recv_timeout(period) == Err(RecvTimeoutError::Timeout) {
                    meanwhile()
                }
            })
        });
        let why = stage.json(&format!("why {from} {SERVER} --for {}", 1.4 + 1.5 * period.as_secs_f64()));
        drop(done);
        why
    })
}

/// Several times while `why` looks on.
const OFTEN: Duration = Duration::from_millis(200);

fn dead(stage: &Stage) -> SocketAddr {
    stage.run(|| {
        let listener = TcpListener::bind(SERVER).expect("a port");
        closed(&listener, Options::default(), None).expect("a port")
    })
}

#[test]
pub(super) fn a_socket_that_waits_is_told_when_it_ends() {
    if !ready(&[]) {
        return;
    }
    let stage = Stage::new("tw-why");
    let from = dead(&stage);
    let why = stage.json(&format!("why {from} {SERVER} --for 0.2"));
    assert_eq!((&why["cause"], &why["state"]), (&"waits".into(), &"TIME_WAIT".into()), "{why}");
    assert_eq!(
        (&why["with_reuse_addr"]["connect"], &why["without_options"]["bind"]),
        (&"ok".into(), &"EADDRINUSE".into())
    );
    let text = stage.pinhole(&format!("why {from} {SERVER} --for 0")).stdout;
    assert!(text.contains("in TIME_WAIT, dies in") && text.contains("EADDRINUSE"), "{text}");
    let nothing = stage.pinhole("why 127.0.0.1:1 127.0.0.1:2");
    assert_eq!(nothing.code, Some(1));
    assert!(nothing.stdout.contains("nothing of it"), "{}", nothing.stdout);
}

#[test]
pub(super) fn segments_that_start_its_time_anew_are_seen() {
    if !ready(&[]) {
        return;
    }
    let stage = Stage::new("tw-anew");
    // Its answer to an ACK meets nobody, and the RST to that would end it.
    stage.set("tcp_rfc1337", "1");
    let from = dead(&stage);
    let why = why_while(&stage, from, OFTEN, || inject(end(SERVER), from, tcp::Flags::ACK, None));
    assert_eq!(why["cause"], "restarted", "{why}");
    assert!(why["restarts"].as_u64().is_some_and(|count| count > 0), "{why}");
}

#[test]
pub(super) fn segments_of_another_clock_are_told_from_others() {
    if !ready(&[]) {
        return;
    }
    let stage = Stage::new("tw-paws");
    stage.set("tcp_rfc1337", "1");
    // Without a random offset: one is long ago.
    stage.set("tcp_timestamps", "2");
    let from = dead(&stage);
    let why = why_while(&stage, from, OFTEN, || inject(end(SERVER), from, tcp::Flags::ACK, Some(1)));
    assert_eq!(why["cause"], "paws_loop", "{why}");
    assert!(why["evidence"].to_string().contains("PAWS"), "{why}");
}

#[test]
pub(super) fn a_reset_that_ends_it_is_told_from_its_time() {
    if !ready(&[]) {
        return;
    }
    let stage = Stage::new("tw-reset");
    // An ACK that fits nothing is answered, and the answer meets nobody, who answers with the RST.
    let why_after = |ms| {
        let from = dead(&stage);
        why_while(&stage, from, Duration::from_millis(ms), || inject(end(SERVER), from, tcp::Flags::ACK, None))
    };
    // On a slow machine the first may be gone before somebody looks.
    let found = |why: &Value| why["cause"] != "nothing";
    let why = [300, 1500, 6000].into_iter().map(why_after).find(found).expect("it is looked at");
    assert_eq!(why["cause"], "killed", "{why}");
    assert!(why["words"].as_str().is_some_and(|words| words.contains("RST")), "{why}");
}

#[test]
pub(super) fn fin_wait_2_short_and_long_is_explained() {
    if !ready(&[]) {
        return;
    }
    for (fin_timeout_s, cause, bounds_s) in [("20", "fin_wait_2", 14.0..=22.1), ("75", "fin_wait_2_long", 24.0..=31.4)]
    {
        let stage = Stage::new("tw-half");
        stage.set("tcp_fin_timeout", fin_timeout_s);
        let (from, held) = stage.run(|| {
            let listener = TcpListener::bind(SERVER).expect("a port");
            half_closed(&listener, Options::default(), None)
        });
        let why = stage.json(&format!("why {from} {SERVER} --for 0.2"));
        assert_eq!((&why["cause"], &why["state"]), (&cause.into(), &"FIN_WAIT_2".into()), "{why}");
        let dies_s = why["socket"]["dies_in_s"].as_f64().expect("a number");
        assert!(bounds_s.contains(&dies_s), "{dies_s}");
        drop(held);
    }
}

#[test]
pub(super) fn what_only_connection_tracking_remembers_is_told() {
    if !ready(&[]) {
        return;
    }
    let stage = Stage { ns: Namespace::create("tw-tracked").expect("a namespace") };
    let rules = Ruleset::home_router("pinhole_test", "nowhere", Ports::Kept, Policy::Accept);
    let _rules = stage.run(|| rules.install()).expect("nf_tables works in a namespace");
    let from = dead(&stage);
    let both = stage.json(&format!("why {from} {SERVER} --for 0"));
    assert_eq!((&both["cause"], &both["conntrack"]), (&"waits".into(), &"TIME_WAIT".into()), "{both}");
    let left_s = both["conntrack_s"].as_u64().expect("a number");
    assert!((110..=120).contains(&left_s), "twice as long as the socket: {both}");
    let shown = stage.json("show");
    assert_eq!(shown["groups"][0]["conntrack_time_wait"], 1, "{shown}");
    let gone = stage.run(|| {
        let all = sockets(States::DEAD).expect("a list");
        destroy(all.iter().find(|socket| socket.local == from).expect("it is there")).is_ok()
    });
    if !gone {
        eprintln!("SKIP: this kernel destroys no TIME_WAIT socket");
        return;
    }
    let why = stage.json(&format!("why {from} {SERVER}"));
    assert_eq!(why["cause"], "conntrack_only", "{why}");
}
