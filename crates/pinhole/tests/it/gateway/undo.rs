//! What a gateway changes is undone, by itself or after a crash.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use pinhole_netns::Signal;

use super::{OUTSIDE, PUBLIC, Stage};
use crate::support::pinhole::Pinhole;
use crate::support::ready::ready;
use crate::support::until;

/// With ports that the host draws from, so that there is a setting to restore; and with an address that it answers for.
const WAYS: [&[&str]; 3] = [&[], &["--ports", "40000-50000"], &["--external", "203.0.113.99"]];

/// All that a gateway could have changed.
fn dump(stage: &Stage) -> BTreeMap<String, String> {
    let lists = [
        "ip -d rule",
        "ip -6 -d rule",
        "ip -d route show table all",
        "ip -6 -d route show table all",
        "ip -d neigh show proxy",
        "ip -o addr",
        "ls -A /run/pinhole",
    ];
    let mut dump: BTreeMap<String, String> =
        lists.map(|line| (line.to_owned(), stage.says(&stage.router, line))).into();
    let settings = stage.router.run(|| {
        let mut settings = BTreeMap::new();
        for family in ["ipv4", "ipv6", "core", "netfilter"] {
            read_all(&Path::new("/proc/sys/net").join(family), &mut settings);
        }
        settings
    });
    dump.extend(settings.expect("a thread"));
    dump
}

fn read_all(directory: &Path, settings: &mut BTreeMap<String, String>) {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    for path in entries.map(|entry| entry.path()).collect::<Vec<PathBuf>>() {
        if path.is_dir() {
            read_all(&path, settings);
        } else if let Ok(value) = std::fs::read_to_string(&path) {
            // How many fragments wait and such is counted, not set.
            if !path.ends_with("nf_conntrack_count") {
                settings.insert(path.display().to_string(), value);
            }
        }
    }
}

/// Differences, for people.
fn difference(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> Vec<String> {
    let names = before.keys().chain(after.keys()).collect::<std::collections::BTreeSet<_>>();
    let differing = names.into_iter().filter(|&name| before.get(name) != after.get(name));
    differing.map(|name| format!("{name}: {:?} became {:?}", before.get(name), after.get(name))).collect()
}

fn check_restored(name: &str, end: impl Fn(&Stage, Pinhole)) {
    for way in WAYS {
        let stage = Stage::new(name);
        stage.router.set("net/ipv4/ip_local_reserved_ports", "60000,8080").expect("a setting");
        stage.says(&stage.router, "ip rule add from 192.0.2.1 lookup 77");
        std::fs::create_dir_all(stage.router.path("/run/pinhole".as_ref())).expect("a writable /run");
        // What the kernel does by itself when a cable is plugged in is done.
        let is_settled =
            |text: String| text.matches("local fe80:").count() == 2 && text.matches("multicast").count() == 2;
        until("IPv6", || is_settled(stage.says(&stage.router, "ip -6 -d route show table all")).then_some(()));
        let before = dump(&stage);
        let gateway = stage.up(way);
        assert!(!difference(&before, &dump(&stage)).is_empty(), "there is something to undo");
        end(&stage, gateway);
        assert_eq!(difference(&before, &dump(&stage)), Vec::<String>::new(), "{way:?}");
    }
}

#[test]
fn a_gateway_that_is_stopped_leaves_rules_routes_and_settings_as_they_were() {
    if !ready(&["ip"]) {
        return;
    }
    for signal in [Signal::TERM, Signal::INT] {
        check_restored("gw-stop", |stage, gateway| {
            gateway.signal(signal);
            until("its end", || stage.gateway(&["status"]).stderr.contains("no gateway runs here").then_some(()));
            let (status, words) = gateway.terminate();
            assert!(status.success() && words.is_empty(), "{words}");
        });
    }
}

#[test]
fn what_a_killed_gateway_left_is_undone_by_clean() {
    if !ready(&["ip", "ping"]) {
        return;
    }
    check_restored("gw-clean", |stage, gateway| {
        gateway.kill();
        let ended = stage.gateway(&["status"]);
        assert_eq!(
            (ended.code, ended.stderr.as_str()),
            (Some(1), "pinhole: no gateway runs here: `pinhole gateway up` starts one\n")
        );
        // Nothing from inside goes out untranslated.
        let server = stage.udp(&stage.outside, OUTSIDE, 0);
        let client = stage.udp(&stage.inside, super::INSIDE, 0);
        client.send_to(b"x", (OUTSIDE, super::port_of(&server))).expect("a route");
        assert!(super::is_silent(&server));
        // Until then the host itself goes on as before.
        assert!(stage.ping(&stage.outside, PUBLIC, &[]) && stage.ping(&stage.router, OUTSIDE, &[]));
        let ended = stage.gateway(&["clean"]);
        assert_eq!((ended.code, ended.stdout.as_str(), ended.stderr.as_str()), (Some(0), "", ""));
        let again = stage.gateway(&["clean"]);
        assert_eq!((again.code, again.stderr.as_str()), (Some(0), ""), "nothing to undo is no error");
    });
}

#[test]
fn what_a_killed_gateway_left_is_undone_by_the_next_one() {
    if !ready(&["ip", "ping"]) {
        return;
    }
    check_restored("gw-next", |stage, gateway| {
        gateway.kill();
        let mut next = stage.up(&[]);
        until("its word", || next.stderr().contains("the last gateway was not stopped").then_some(()));
        assert!(stage.ping(&stage.inside, OUTSIDE, &[]));
        let (status, words) = next.terminate();
        assert!(status.success(), "{words}");
    });
}

#[test]
fn a_setting_that_someone_else_has_changed_since_stays_theirs() {
    if !ready(&["ip"]) {
        return;
    }
    let stage = Stage::new("gw-theirs");
    let read = || {
        let read = || std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_reserved_ports");
        stage.router.run(read).expect("a thread").expect("a setting")
    };
    let gateway = stage.up(&["--ports", "40000-50000"]);
    assert_eq!(read(), "40000-50000\n");
    stage.router.set("net/ipv4/ip_local_reserved_ports", "9148").expect("a setting");
    let (status, words) = gateway.terminate();
    assert!(status.success(), "{words}");
    assert_eq!(read(), "9148\n");
}
