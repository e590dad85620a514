//! The model's answer to "may I bind and connect this 4-tuple now" against this kernel's, call by call.

use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use pinhole_timewait::Version;
use pinhole_timewait::claim::{Claim, Held, Options, Port, Rule, Rules, Says, ask};
use pinhole_timewait::segment::State;
use rustix::io::Errno;
use rustix::net;

use super::{Stage, closed, connect, end, half_closed, socket};
use crate::support::ready::ready;

const ALL: [Options; 4] = [
    Options { reuse_addr: false, reuse_port: false },
    Options { reuse_addr: true, reuse_port: false },
    Options { reuse_addr: false, reuse_port: true },
    Options { reuse_addr: true, reuse_port: true },
];
const NONE: Options = ALL[0];

fn version() -> Version {
    rustix::system::uname().release().to_string_lossy().parse().expect("a version")
}

fn says(result: Result<(), Errno>) -> Says {
    match result {
        Ok(()) => Says::Ok,
        Err(Errno::ADDRINUSE) => Says::InUse,
        Err(Errno::ADDRNOTAVAIL) => Says::NotAvailable,
        Err(errno) => panic!("{errno}"),
    }
}

/// bind() and connect() of a new socket.
fn bind_and_connect(options: Options, from: SocketAddr, to: SocketAddr) -> [Says; 2] {
    let socket = socket(to, options);
    match says(net::bind(&socket, &from)) {
        Says::Ok => [Says::Ok, says(net::connect(&socket, &to))],
        refused => [refused, Says::NotReached],
    }
}

/// bind() and listen() of a new socket.
fn bind_and_listen(options: Options, from: SocketAddr) -> [Says; 2] {
    let socket = socket(from, options);
    match says(net::bind(&socket, &from)) {
        Says::Ok => [Says::Ok, says(net::listen(&socket, 1))],
        refused => [refused, Says::NotReached],
    }
}

/// Holds the model's answer against the kernel's for every cell of the matrix.
fn check(stage: &Stage, server: &str, timestamps: bool, state: State) {
    let rules = Rules::defaults(version());
    stage.run(|| {
        let listener = TcpListener::bind(end(server)).expect("a port");
        let to = listener.local_addr().expect("bound");
        let mut port = 20_000;
        let mut held_open = Vec::new();
        for first in ALL {
            for second in ALL {
                let mut dead = || {
                    port += 1;
                    let from = SocketAddr::new(to.ip(), port);
                    match state {
                        State::TimeWait => assert_eq!(closed(&listener, first, Some(from)), Ok(from)),
                        State::FinWait2 => held_open.push(half_closed(&listener, first, Some(from)).1),
                    }
                    from
                };
                let held = Held { state, options: first, timestamps, age_ms: 1, left_ms: 60_000, loopback: true };
                let claim = Claim { options: second, port: Port::Explicit, same_peer: true };
                let answer = ask(Some(&held), &claim, &rules);
                let (one, other) = (dead(), dead());
                let what = format!("{server} {state:?} timestamps {timestamps}: {first:?}, then {second:?}");
                assert_eq!(bind_and_connect(second, one, to), [answer.bind, answer.connect], "{what}");
                assert_eq!(bind_and_listen(second, other), [answer.bind, answer.listen], "{what}");
            }
        }
    });
}

#[test]
pub(super) fn bind_connect_and_listen_say_what_the_model_says() {
    if !ready(&[]) {
        return;
    }
    for server in ["127.0.0.1:9000", "[::1]:9000"] {
        for tw_reuse in ["0", "1", "2"] {
            // Each round would meet ports that the one before has left.
            let stage = Stage::new("tw-bind");
            stage.set("tcp_tw_reuse", tw_reuse);
            check(&stage, server, true, State::TimeWait);
        }
    }
}

#[test]
pub(super) fn without_timestamps_and_in_fin_wait_2_it_is_as_the_model_says() {
    if !ready(&[]) {
        return;
    }
    let stage = Stage::new("tw-plain");
    stage.set("tcp_timestamps", "0");
    check(&stage, "127.0.0.1:9000", false, State::TimeWait);
    let stage = Stage::new("tw-finwait");
    check(&stage, "127.0.0.1:9000", true, State::FinWait2);
}

#[test]
pub(super) fn connect_takes_a_dead_port_when_the_model_says_so() {
    if !ready(&[]) {
        return;
    }
    /// Long enough to ask before.
    const DELAY_MS: u64 = 1000;
    for (tw_reuse, timestamps) in [(0, true), (1, true), (2, true), (1, false)] {
        let stage = Stage::new("tw-chosen");
        stage.set("tcp_tw_reuse", &tw_reuse.to_string());
        stage.set("tcp_timestamps", if timestamps { "1" } else { "0" });
        let has_delay = stage.ns.set("net/ipv4/tcp_tw_reuse_delay", &DELAY_MS.to_string()).is_ok();
        // One port only, so that connect() comes to it.
        stage.set("ip_local_port_range", "30000 30000");
        let rules = Rules { tw_reuse, tw_reuse_delay_ms: DELAY_MS, ..Rules::defaults(version()) };
        assert!(has_delay || !rules.version.has_reuse_delay());
        stage.run(|| {
            let listener = TcpListener::bind("127.0.0.1:9000").expect("a port");
            let to = listener.local_addr().expect("bound");
            assert_eq!(closed(&listener, NONE, None), Ok(end("127.0.0.1:30000")));
            let born = Instant::now();
            let ask_at = |age_ms| {
                let held =
                    Held { state: State::TimeWait, options: NONE, timestamps, age_ms, left_ms: 60_000, loopback: true };
                ask(Some(&held), &Claim { options: NONE, port: Port::Chosen, same_peer: true }, &rules)
            };
            let young = ask_at(born.elapsed().as_millis() as u64);
            // Where whole seconds are compared, the next may begin at any moment.
            if young.connect != Says::Ok && (has_delay || young.rule != Rule::TooYoung) {
                let found = says(connect(NONE, None, to).map(drop));
                let is_young = born.elapsed() < Duration::from_millis(DELAY_MS * 4 / 5);
                if found == Says::Ok && !is_young {
                    eprintln!("SKIP: on a machine so busy that it is old already");
                    return;
                }
                assert_eq!(found, young.connect, "tw_reuse {tw_reuse}, timestamps {timestamps}: {young:?}");
            }
            // What would be given later is given then, and no later than the model says; what would not, is not.
            let old_ms = rules.reuse_delay_ms() + 50;
            std::thread::sleep(Duration::from_millis(old_ms));
            let old = ask_at(old_ms);
            let found = says(connect(NONE, None, to).map(drop));
            assert_eq!(found, old.connect, "tw_reuse {tw_reuse}, timestamps {timestamps}: {old:?}");
        });
    }
}

#[test]
pub(super) fn bind_to_port_zero_takes_nothing_that_is_held() {
    if !ready(&[]) {
        return;
    }
    let stage = Stage::new("tw-any");
    stage.set("ip_local_port_range", "30000 30001");
    stage.run(|| {
        let listener = TcpListener::bind("127.0.0.1:9000").expect("a port");
        let second = TcpListener::bind("127.0.0.1:9001").expect("a port");
        let other = second.local_addr().expect("bound");
        for _ in 0..2 {
            closed(&listener, NONE, None).expect("two ports are there");
        }
        let held = Held {
            state: State::TimeWait,
            options: NONE,
            timestamps: true,
            age_ms: 1,
            left_ms: 60_000,
            loopback: true,
        };
        let answer = |port| {
            let claim = Claim { options: NONE, port, same_peer: false };
            ask(Some(&held), &claim, &Rules::defaults(version()))
        };
        let bound = bind_and_connect(NONE, end("127.0.0.1:0"), other)[0];
        assert_eq!(bound, answer(Port::BoundToAny).bind);
        let chosen = says(connect(NONE, None, other).map(drop));
        assert_eq!(answer(Port::Chosen).connect, Says::Ok);
        assert_eq!(chosen, Says::Ok);
    });
}
