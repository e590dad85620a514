//! What goes wrong is said in a line that names the thing and what to do, with the right exit code, and changes nothing.

use std::process::Command;

use crate::support::pinhole::{BINARY, Ended, Pinhole, run};
use crate::support::plan::{self, DEVICE, ZONE};
use crate::support::ready::ready;
use crate::support::until;
use crate::support::world::{Setup, World};

/// Runs pinhole and holds its end against what is expected: exit code and a part of standard error.
fn check(args: &[&str], code: i32, expected: &str) {
    let Ended { code: ended, stderr, .. } = run(Command::new(BINARY).args(args));
    assert_eq!(ended, Some(code), "{args:?}: {stderr}");
    assert!(stderr.contains(expected), "{args:?}: {stderr}");
    assert!(!stderr.contains("panicked"), "{args:?}: {stderr}");
}

#[test]
fn wrong_usage_ends_with_2_and_failure_with_1() {
    check(&["agent"], 2, "--device");
    check(&["registry", "--zone", "a.", "--zone", "b.", "--device", "wg0"], 2, "one --device for each --zone");
    check(&["registry", "--zone", "e..z", "--device", "wg0"], 2, "`e..z` is not a domain name");
    check(
        &["registry", "--zone", "z.", "--zone", "Z", "--device", "wg0", "--device", "wg1"],
        2,
        "the zone Z. is there twice",
    );
    check(&["registry", "--zone", "z.", "--device", "wg0", "--self", "192.0.2.1"], 2, "expected 192.0.2.1:51820");
    check(&["registry", "--zone", "z.", "--device", "wg0", "--allow", "192.0.2.0/33"], 2, "expected 10.0.0.0/24");
    check(&["agent", "--device", "wg0", "--zone", "z.", "--server", "nonsense"], 2, "`nonsense` is not an address");
    check(&["up", "--config", "/nowhere/pinhole.toml"], 1, "cannot read the configuration /nowhere/pinhole.toml");
    check(&["agent", "--device", "nosuch0", "--zone", "z.", "--server", "10.0.0.1"], 1, "no WireGuard device nosuch0");
    check(&["registry", "--zone", "z.", "--device", "nosuch0"], 1, "no WireGuard device nosuch0");
    check(&["agent", "--device", "a-name-that-is-too-long", "--zone", "z.", "--server", "10.0.0.1"], 1, "name");
    check(&["wg", "up", "/nowhere/wg9.conf"], 1, "/nowhere/wg9.conf");
}

#[test]
fn standard_output_that_is_closed_or_full_is_no_reason_to_panic() {
    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/../../pinhole.sample.toml");
    for args in [&["wg", "genkey"][..], &["completions", "bash"], &["man"], &["up", "--check", "--config", sample]] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("a Linux");
        let output = Command::new(BINARY).args(args).stdout(full).output().expect("it starts");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {stderr}");
        assert!(stderr.starts_with("pinhole: cannot write to standard output"), "{args:?}: {stderr}");

        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let output = Command::new(BINARY).args(args).stdout(writer).output().expect("it starts");
        assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]), "{args:?}");
    }
}

#[test]
fn a_configuration_that_is_wrong_is_refused_with_its_line() {
    let path = std::env::temp_dir().join(format!("pinhole-test-{}.toml", std::process::id()));
    let check = |text: &str, code, expected: &str| {
        std::fs::write(&path, text).expect("a file");
        check(&["up", "--check", "--config", &path.display().to_string()], code, expected);
    };
    check("[[agent]]\ndevice = 'wg0'\nzone = 'z.'\nserver = 'x'\n", 1, "line 4");
    check("[registry]\ncolour = 'red'\n", 1, "unknown field `colour`");
    check("", 1, "names no role");
    check(include_str!("../../../../pinhole.sample.toml"), 0, "");
    std::fs::remove_file(&path).expect("it is there");
}

#[test]
fn a_port_that_is_taken_is_named() {
    if !ready(&["wireguard-go"]) {
        return;
    }
    let world = World::with_registry(Setup::default());
    let hub = world.host("hub");
    let ended = run(hub.command(BINARY).args(["registry", "--zone", ZONE, "--device", DEVICE]));
    assert_eq!(ended.code, Some(1));
    assert!(
        ended.stderr.contains("10.77.0.254:53") && ended.stderr.contains("another program has the port"),
        "{}",
        ended.stderr
    );
    assert!(!ended.stderr.contains("os error"), "it is said once: {}", ended.stderr);
}

#[test]
fn a_second_agent_on_a_device_is_refused_until_the_first_has_ended() {
    if !ready(&["wireguard-go"]) {
        return;
    }
    let mut world = World::with_registry(Setup::default());
    world.start_agent("alice");
    world.agent("alice").wait_for("a way to the hub", |event| event["event"] == "registry_up");
    let server = plan::tunnel("hub").to_string();
    let args = ["agent", "--device", DEVICE, "--zone", ZONE, "--server", &server];
    let ended = run(world.host("alice").command(BINARY).args(args));
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""), "{}", ended.stderr);
    assert!(ended.stderr.starts_with("pinhole: another agent minds wg0 already (process "), "{}", ended.stderr);
    // After a crash nothing stands in the way.
    world.agents.remove("alice").expect("it runs").kill();
    world.start_agent("alice");
    world.agent("alice").wait_for("a way to the hub", |event| event["event"] == "registry_up");
}

#[test]
fn an_agent_without_raw_sockets_says_so_in_a_line() {
    if !ready(&["wireguard-go", "setpriv"]) {
        return;
    }
    let world = World::with_registry(Setup::default());
    let server = plan::tunnel("hub").to_string();
    let mut command = world.host("alice").command("setpriv");
    command.args(["--bounding-set=-all", "--inh-caps=-all", BINARY, "agent", "--device", DEVICE, "--zone", ZONE]);
    let mut agent = Pinhole::spawn("alice", command.args(["--server", &server, "--json"]));
    let words = until("a word about openers", || Some(agent.stderr()).filter(|words| words.contains("CAP_NET_RAW")));
    assert_eq!(words.lines().count(), 1, "{words}");
}

#[test]
fn an_agent_goes_on_until_the_registry_is_there() {
    if !ready(&["wireguard-go"]) {
        return;
    }
    let mut world = World::bare(Setup::default());
    world.start_agent("alice");
    let agent = world.agent("alice");
    agent.wait_for("a way to the hub", |event| event["event"] == "registry_up");
    agent.wait_for("a failed attempt", |event| event["event"] == "failed");
    world.start_registry(&[]);
    world.start_agent("bob");
    world.agent("alice").wait_for("the path", |event| event["event"] == "up");
}

#[test]
fn up_runs_a_registry_reloads_its_file_and_survives_bad_ones() {
    if !ready(&["wireguard-go", "dig"]) {
        return;
    }
    let world = World::bare(Setup::default());
    let hub = world.host("hub");
    let write = |zones: &[&str]| {
        let zones = zones.iter().map(|zone| format!("[[registry.zone]]\nname = '{zone}'\ndevice = '{DEVICE}'\n"));
        let text = format!("[registry]\n{}", zones.collect::<String>());
        std::fs::write(hub.path("/run/pinhole.toml"), text).expect("a writable /run");
    };
    let answers = |zone: &str| {
        let ended = run(hub.command("dig").args(["+short", "+tries=1", "+time=1", "@10.77.0.254", zone, "SOA"]));
        ended.stdout.contains("postmaster").then_some(())
    };
    write(&["first.example."]);
    let mut up = Pinhole::start(hub, &["up", "--json", "-c", "/run/pinhole.toml"]);
    until("the first zone", || answers("first.example."));
    assert_eq!(answers("second.example."), None);
    write(&["first.example.", "second.example."]);
    up.signal(pinhole_netns::Signal::HUP);
    until("the second zone", || answers("second.example."));
    let no_zone = "[registry]\n[[registry.zone]]\nname = 'third.example.'\ndevice = 'absent0'\n";
    let no_device = "[[agent]]\ndevice = 'absent1'\nzone = 'first.example.'\nserver = '10.77.0.254'\n";
    for (text, word) in [
        ("nonsense", "everything stays as it was"),
        (no_zone, "going back to what ran before: no WireGuard device absent0"),
        (no_device, "going back to what ran before: no WireGuard device absent1"),
    ] {
        std::fs::write(hub.path("/run/pinhole.toml"), text).expect("a writable /run");
        up.signal(pinhole_netns::Signal::HUP);
        until(word, || up.stderr().contains(word).then_some(()));
        until("the zones as they were", || answers("second.example."));
    }
    let (status, words) = up.terminate();
    assert!(status.success(), "{words}");
}
