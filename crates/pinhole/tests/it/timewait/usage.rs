//! What is said of wrong arguments, huge numbers, nothing at all and missing privilege; and what needs no privilege.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::Value;

use super::{Stage, closed, end};
use crate::support::pinhole::{BINARY, run};
use crate::support::ready::ready;

#[test]
fn wrong_usage_ends_with_2_and_says_what_was_expected() {
    for (line, expected) in [
        ("", "show"),
        ("show --to nonsense", "10.0.0.2:443"),
        ("why 10.0.0.1 10.0.0.2", "ADDRESS:PORT"),
        ("forecast --rate -1", "1e9"),
        ("forecast --rate NaN", "1e9"),
        ("simulate --kernel linux", "2.6.32"),
        ("simulate --hz 7", "250"),
        ("simulate --rate x", "600"),
        ("simulate --burst 5", "1000@7.5"),
        ("watch --interval 0", "0.02"),
        ("why localhost:1 127.0.0.1:2", "10.0.0.1:40000"),
        ("forecast --rate 1 --ports 0", "from 1 to"),
        ("forecast --rate 1 --ports 4294967295", "from 1 to"),
        ("forecast --rate 1 --from 10.0.0.1", "--to"),
        ("simulate --ports 0", "1.."),
        ("simulate --kernel 2.4", "from 2.6 on"),
    ] {
        let ended = run(Command::new(BINARY).arg("timewait").args(line.split_whitespace()));
        assert_eq!(ended.code, Some(2), "{line}: {}", ended.stderr);
        assert!(ended.stderr.contains(expected), "{line}: {}", ended.stderr);
    }
}

#[test]
fn what_cannot_be_is_one_clear_line() {
    for (line, expected) in [
        ("simulate --rate 1e300", "simulate less time"),
        ("simulate --rate 0", "no connection ever closes"),
        ("simulate --rate 1 --for 1e12", "thirty years"),
        ("simulate --rate 1:5,2:5 --sockets 9", "single --rate"),
        ("simulate --html /nowhere/page.html --for 1", "/nowhere/page.html"),
        ("show --netns no-such-namespace", "ip netns list"),
        ("show --netns /etc/passwd", "is no network namespace"),
        ("show --netns 4194305", "no network namespace"),
        ("why 10.0.0.1:1 [::1]:2", "one is IPv4"),
        ("forecast --to 203.0.113.1:9", "say --rate"),
        ("forecast", "--to"),
    ] {
        let ended = run(Command::new(BINARY).arg("timewait").args(line.split_whitespace()));
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""), "{line}: {}", ended.stderr);
        assert!(ended.stderr.contains(expected) && ended.stderr.lines().count() == 1, "{line}: {}", ended.stderr);
    }
}

#[test]
fn a_simulation_is_plotted_in_the_terminal_and_on_a_page() {
    let directory = std::env::temp_dir().join(format!("pinhole-timewait-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a directory");
    let (page, plot) = (directory.join("page.html"), directory.join("plot.svg"));
    let mut command = Command::new(BINARY);
    command.args(["timewait", "simulate", "--kernel", "2.6.32", "--rate", "20", "--for", "2000", "--warm-up", "300"]);
    let ended = run(command.arg("--html").arg(&page).arg("--svg").arg(&plot));
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stdout.contains("the hand stayed at") && ended.stdout.contains('█'), "{}", ended.stdout);
    let html = std::fs::read_to_string(&page).expect("a page");
    assert!(html.starts_with("<!doctype html>") && html.matches("<svg ").count() == 2 && !html.contains("<script"));
    assert!(std::fs::read_to_string(&plot).expect("a plot").trim_end().ends_with("</svg>"));
    std::fs::remove_dir_all(&directory).expect("it is there");

    let json = |line: &str| {
        let ended = run(Command::new(BINARY).args(["timewait", "simulate", "--json"]).args(line.split(' ')));
        serde_json::from_str::<Value>(&ended.stdout).unwrap_or_else(|error| panic!("{line}: {error} {}", ended.stderr))
    };
    let hot = json("--kernel 2.6.32 --rate 50 --for 2000 --warm-up 300");
    let (least, most) = (hot["least_s"].as_f64(), hot["most_s"].as_f64());
    assert!(
        least.is_some_and(|s| (97.4..97.8).contains(&s)) && most.is_some_and(|s| (112.3..112.6).contains(&s)),
        "{hot}"
    );
    let now = json("--kernel 6.x --hz 1000 --rate 50 --for 300");
    assert!(now["most_s"].as_f64().is_some_and(|s| (63.9..=64.096).contains(&s)), "{now}");
}

#[test]
fn an_empty_namespace_has_nothing_and_says_so() {
    if !ready(&[]) {
        return;
    }
    let stage = Stage::new("tw-empty");
    let ended = stage.pinhole("show");
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stdout.contains("0 in TIME_WAIT") && ended.stdout.contains("nothing waits here"), "{}", ended.stdout);
    assert_eq!(stage.json("show")["groups"], Value::Array(Vec::new()));
    let explain = stage.json("explain");
    assert!(explain["kernel"]["hz"].as_u64() >= Some(12) && explain["explained"].is_object(), "{explain}");
    stage.set("tcp_fin_timeout", "90");
    assert!(stage.pinhole("explain").stdout.contains("does not mean 90 s"), "advice comes with the setting");
}

#[test]
fn another_namespace_is_entered_by_process_and_by_path() {
    if !ready(&[]) {
        return;
    }
    let stage = Stage::new("tw-enter");
    stage.run(|| {
        let listener = std::net::TcpListener::bind(end("127.0.0.1:9000")).expect("a port");
        closed(&listener, pinhole_timewait::claim::Options::default(), None).expect("a port");
    });
    let pid = stage.ns.pid();
    for name in [pid.to_string(), format!("/proc/{pid}/ns/net")] {
        let ended = run(Command::new(BINARY).args(["timewait", "show", "--json", "--netns", &name]));
        let show: Value = serde_json::from_str(&ended.stdout).unwrap_or_else(|e| panic!("{e}: {}", ended.stderr));
        assert_eq!(show["time_wait"], 1, "{name}: {show}");
    }
}

#[test]
fn without_privilege_it_shows_what_it_may_and_says_what_it_may_not() {
    if !ready(&["setpriv"]) {
        return;
    }
    let stage = Stage::new("tw-nobody");
    let from = stage.run(|| {
        let listener = std::net::TcpListener::bind(end("127.0.0.1:9000")).expect("a port");
        closed(&listener, pinhole_timewait::claim::Options::default(), None).expect("a port")
    });
    // Where nobody may read it, too.
    let directory = std::env::temp_dir().join(format!("pinhole-nobody-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a directory");
    let program = directory.join("pinhole");
    std::fs::copy(BINARY, &program).expect("a copy");
    for path in [&directory, &program] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("it is ours");
    }
    let unprivileged = |line: &str| {
        let drop = "--bounding-set=-all --inh-caps=-all --reuid=65534 --regid=65534 --clear-groups";
        let mut command = stage.command("setpriv", drop);
        run(command.arg(&program).arg("timewait").args(line.split(' ')))
    };
    let show = unprivileged("show");
    if show.stderr.starts_with("setpriv") {
        let _ = std::fs::remove_dir_all(&directory);
        eprintln!("SKIP: there is no other user in a user namespace; run the tests with sudo");
        return;
    }
    assert_eq!(show.code, Some(0), "{}", show.stderr);
    assert!(show.stdout.contains("1 in TIME_WAIT"), "{}", show.stdout);
    assert!(show.stdout.contains("CAP_NET_ADMIN"), "{}", show.stdout);
    assert!(show.stdout.contains("/proc/timer_list") || std::path::Path::new("/proc/schedstat").exists());
    let why = unprivileged(&format!("why {from} 127.0.0.1:9000 --for 0"));
    assert!(why.stdout.contains("in TIME_WAIT"), "{} {}", why.stdout, why.stderr);
    let refused = unprivileged(&format!("show --netns {}", std::process::id()));
    std::fs::remove_dir_all(&directory).expect("it is there");
    assert!(refused.code == Some(1) && refused.stderr.lines().count() == 1, "{}", refused.stderr);
}
