//! May and can a test run here? As root it just does, as an ordinary user it is run once more inside a user namespace, and
//! where neither works, or a program is missing, it says so past the test harness and does nothing.

use std::io::Write;
use std::process::Command;

use pinhole_host::namespace::privilege;

/// Set in the process that runs a test inside a user namespace.
const INSIDE: &str = "PINHOLE_TEST_IN_USER_NAMESPACE";

/// Whether the test that calls this is to go on: it may make namespaces and has the `programs` it needs. When not, it has
/// been run elsewhere and has passed, or cannot be run and that has been said.
///
/// # Panics
/// When it has been run elsewhere and has failed.
pub fn ready(programs: &[&str]) -> bool {
    if let Some(missing) = programs.iter().find(|program| find(program).is_none()) {
        skip_for_want_of(missing);
        return false;
    }
    if !privilege::can_make_namespaces() {
        in_user_namespace();
        return false;
    }
    true
}

/// Says that the test cannot go on without `program`.
pub fn skip_for_want_of(program: &str) {
    skip(&format!("{program} is missing; install it (apt-get install {})", package(program)));
}

/// Where a program is.
pub fn find(program: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Debian keeps some in sbin, which is not on every user's path.
    let directories = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    directories.map(|directory| directory.join(program)).find(|path| path.is_file())
}

fn package(program: &str) -> &str {
    match program {
        "setpriv" | "unshare" => "util-linux",
        "wg" => "wireguard-tools",
        "dig" | "delv" => "bind9-dnsutils",
        "ip" => "iproute2",
        "miniupnpd" => "miniupnpd-nftables",
        "stund" => "stun-server",
        "turnserver" => "coturn",
        _ => program,
    }
}

fn in_user_namespace() {
    let name = std::thread::current().name().unwrap_or("main").to_owned();
    if name == "main" || std::env::var_os(INSIDE).is_some() {
        return skip("namespaces need root, or a user namespace and more than one test thread; run the tests as root");
    }
    let unshare = |command: &mut Command| {
        command.args(["--user", "--map-root-user", "--net", "--mount"]);
    };
    let mut try_it = Command::new("unshare");
    unshare(&mut try_it);
    if !try_it.arg("true").output().is_ok_and(|output| output.status.success()) {
        return skip("not root, and user namespaces are not allowed here; run the tests as root");
    }
    let mut command = Command::new("unshare");
    unshare(&mut command);
    let this = std::env::current_exe().expect("the test's own program");
    command.arg(this).args(["--exact", &name, "--nocapture", "--test-threads", "2"]).env(INSIDE, "1");
    let output = command.output().expect("unshare starts");
    let said = String::from_utf8_lossy(&output.stderr);
    if said.lines().any(|line| line.starts_with("SKIP:")) {
        let _ = std::io::stderr().write_all(&output.stderr);
    }
    assert!(output.status.success(), "in a user namespace:\n{}{said}", String::from_utf8_lossy(&output.stdout));
}

/// Past the test harness, which keeps what a passing test prints to itself.
pub fn skip(reason: &str) {
    let name = std::thread::current().name().unwrap_or("a test").to_owned();
    let _ = writeln!(std::io::stderr(), "SKIP: {name}: {reason}");
}
