//! What cannot be is said in one line, and changes nothing.

use super::Stage;
use crate::support::pinhole::{BINARY, run};
use crate::support::ready::ready;
use crate::support::until;

/// Starts a gateway that cannot be; its exit code and its one line.
fn check(stage: &Stage, args: &[&str], code: i32, expected: &str) {
    let ended = stage.gateway(&[&["up"], args].concat());
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(code), ""), "{args:?}: {}", ended.stderr);
    assert!(ended.stderr.contains(expected), "{args:?}: {}", ended.stderr);
    if code == 1 {
        assert_eq!(ended.stderr.lines().count(), 1, "{args:?}: {}", ended.stderr);
    }
}

#[test]
fn what_cannot_be_is_said_in_a_line() {
    if !ready(&["ip", "setpriv"]) {
        return;
    }
    let stage = Stage::new("gw-errors");
    let rules = stage.says(&stage.router, "ip rule");
    let both = ["--inside", "eth1", "--outside", "eth0"];
    let with = |more: &[&'static str]| [&both[..], more].concat();
    check(&stage, &["--inside", "eth1"], 2, "--outside");
    check(&stage, &["--inside", "eth0", "--outside", "eth0"], 2, "name two interfaces");
    check(&stage, &with(&["--preset", "netgear"]), 2, "expected one of rfc4787, home_router");
    check(&stage, &with(&["--behaviour", "udp=ei"]), 2, "`udp=ei`: expected MAPPING/FILTERING");
    check(&stage, &with(&["--ports", "9-3"]), 2, "expected 61000-65535");
    check(&stage, &with(&["--rules", "x", "--preset", "openwrt"]), 2, "cannot be used with");
    check(
        &stage,
        &with(&["--ports", "1024-65534"]),
        1,
        "hardly a port of those that it draws from itself (32768-60999)",
    );
    check(&stage, &with(&["--rules", "/nowhere/x"]), 1, "cannot read /nowhere/x");
    check(&stage, &["--inside", "eth7", "--outside", "eth0"], 1, "there is no interface eth7: `ip link` shows");
    check(&stage, &["--inside", "eth1", "--outside", "wan"], 1, "there is no interface wan");
    check(&stage, &["--inside", "lo", "--outside", "eth0"], 1, "lo has no IPv4 address");
    std::fs::write(stage.router.path("/run/bad.rules".as_ref()), "*nat\n-A POSTROUTING -j FROBNICATE\nCOMMIT\n")
        .expect("a writable /run");
    check(&stage, &with(&["--rules", "/run/bad.rules"]), 1, "/run/bad.rules: line 2");
    assert_eq!(stage.says(&stage.router, "ip rule"), rules);

    let mut unprivileged = stage.command(&stage.router, "setpriv");
    unprivileged.args(["--bounding-set=-all", "--inh-caps=-all", BINARY, "gateway", "up"]).args(both);
    let ended = run(&mut unprivileged);
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("run as root or with CAP_NET_ADMIN"), "{}", ended.stderr);
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);

    let gateway = stage.up(&[]);
    check(&stage, &both, 1, "another gateway runs on this host (process ");
    let ended = stage.gateway(&["clean"]);
    assert!(ended.code == Some(1) && ended.stderr.contains("another gateway runs"), "{}", ended.stderr);
    let (status, words) = gateway.terminate();
    assert!(status.success() && words.is_empty(), "{words}");
    stage.says(&stage.router, "ip tuntap add dev pinhole-out mode tun");
    check(&stage, &both, 1, "there is an interface pinhole-out already, and it is not ours");
    assert_eq!(stage.says(&stage.router, "ip rule"), rules);
}

#[test]
fn a_program_that_waits_on_a_port_of_the_gateways_is_named() {
    if !ready(&["ip"]) {
        return;
    }
    let stage = Stage::new("gw-sockets");
    let _waits = stage.udp(&stage.router, std::net::Ipv4Addr::UNSPECIFIED, 51_820);
    let mut gateway = stage.up(&["--ports", "51000-52000"]);
    let expected = "a program of this host waits on 203.0.113.1 port 51820/udp, which is the gateway's now";
    until("its word", || gateway.stderr().contains(expected).then_some(()));
}
