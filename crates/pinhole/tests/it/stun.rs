//! `pinhole stun serve` asked by clients that others wrote, on loopback, where every address is this host's.

use std::io::{Read, Write};
use std::net::{SocketAddr, UdpSocket};
use std::process::{Command, Stdio};

use pinhole_netns::{Program, Signal};
use serde_json::Value;

use crate::support::pinhole::{BINARY, Ended, Pinhole, run};
use crate::support::ready::{find, skip_for_want_of};
use crate::support::until;

/// A server at two addresses and two ports of its own choice, and where its first socket is.
fn serve(first: &str, second: &str, more: &[&str]) -> (Pinhole, SocketAddr) {
    let mut command = Command::new(BINARY);
    command.args(["stun", "serve", "--json", "--listen", &format!("{first}:0"), "--second", second]);
    command.args(["--second-port", "0", "--threads", "1"]).args(more);
    let mut server = Pinhole::spawn("stun", &mut command);
    let event = server.wait_for("what it serves", |event| event["event"] == "serving");
    assert!(event["other"].is_string(), "{event}");
    let address = event["address"].as_str().and_then(|text| text.parse().ok()).expect("an address");
    (server, address)
}

/// Runs a program of the distribution; `None` if it is not there.
fn ask(program: &str, package: &str, args: &[&str]) -> Option<String> {
    let Some(path) = find(program) else {
        skip_for_want_of(package);
        return None;
    };
    let Ended { stdout, stderr, .. } = run(Command::new(path).args(args));
    Some(stdout + &stderr)
}

#[test]
fn coturn_s_client_gets_its_three_answers() {
    let (_server, address) = serve("127.0.41.1", "127.0.41.2", &[]);
    let (ip, port) = (address.ip().to_string(), address.port().to_string());
    let Some(said) = ask("turnutils_stunclient", "coturn", &["-p", &port, &ip]) else { return };
    for answer in ["RFC 5780 response 1", "RFC 5780 response 2", "RFC 5780 response 3"] {
        assert!(said.contains(answer), "no {answer}: {said}");
    }
    assert!(said.contains(&format!("Response origin: : {address}")), "{said}");
}

#[test]
fn coturn_s_discovery_finds_that_there_is_no_nat() {
    let (_server, address) = serve("127.0.42.1", "127.0.42.2", &[]);
    let (ip, port) = (address.ip().to_string(), address.port().to_string());
    let args = ["-m", "-f", "-L", "127.0.42.9", "-p", &port, &ip];
    let Some(said) = ask("turnutils_natdiscovery", "coturn", &args) else { return };
    assert!(said.contains("No NAT! (Endpoint Independent Mapping)"), "{said}");
    assert!(said.contains("NAT with Endpoint Independent Filtering!"), "{said}");
    assert!(!said.contains("ALG detected"), "{said}");
}

#[test]
fn a_client_of_rfc_3489_finds_that_the_way_is_open() {
    let (_server, address) = serve("127.0.43.1", "127.0.43.2", &[]);
    let Some(said) = ask("stun", "stun-client", &[&address.to_string()]) else { return };
    assert!(said.contains("Primary: Open"), "{said}");
}

/// Where it serves by TLS.
fn tls_address(server: &mut Pinhole) -> SocketAddr {
    let event = server.wait_for("TLS", |event| event["event"] == "listening" && event["by"][0] == "TLS");
    event["address"].as_str().and_then(|text| text.parse().ok()).expect("an address")
}

/// Asks by `openssl s_client`: the answer.
fn ask_by_tls(server: SocketAddr, more: &[&str]) -> Vec<u8> {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-quiet", "-connect", &server.to_string()]).args(more);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut program = Program::start(&mut command).expect("openssl starts");
    let (stdin, stdout) = (program.child().stdin.take(), program.child().stdout.take());
    let request = b"\0\x01\0\0\x21\x12\xa4\x42transaction!";
    let mut stdin = stdin.expect("a pipe");
    stdin.write_all(request).and_then(|()| stdin.flush()).expect("it reads");
    let mut answer = vec![0; 32];
    // What does not come is an end: openssl ends where it cannot connect or does not trust.
    let read = stdout.expect("a pipe").read_exact(&mut answer);
    if read.is_ok() { answer } else { Vec::new() }
}

#[test]
fn openssl_asks_by_tls_and_trusts_the_certificate_it_is_given() {
    if find("openssl").is_none() {
        return skip_for_want_of("openssl");
    }
    let directory = std::env::temp_dir().join(format!("pinhole-test-stun-tls-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a directory");
    let [certificate, key] = ["cert.pem", "key.pem"].map(|name| directory.join(name).display().to_string());
    let args = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=stun.test", "-addext"];
    let made = run(Command::new("openssl").args(args).args([
        "subjectAltName=IP:127.0.48.1",
        "-keyout",
        &key,
        "-out",
        &certificate,
    ]));
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    let tls = ["--tls-port", "0", "--tls-cert", &certificate, "--tls-key", &key];
    let mut command = Command::new(BINARY);
    command.args(["stun", "serve", "--json", "--listen", "127.0.48.1:0", "--threads", "1"]).args(tls);
    let mut server = Pinhole::spawn("stun", &mut command);
    let address = tls_address(&mut server);
    for version in ["-tls1_2", "-tls1_3"] {
        let trusted = [version, "-CAfile", &certificate, "-verify_return_error", "-verify_ip", "127.0.48.1"];
        let answer = ask_by_tls(address, &trusted);
        assert_eq!(answer.get(..4), Some(&[1, 1, 0, 12][..]), "{version}: {answer:?}");
        assert_eq!(answer[8..20], b"transaction!"[..]);
        assert_eq!(answer[28..], [127 ^ 0x21, 0x12, 0xa4, 1 ^ 0x42], "127.0.0.1, or {answer:?}");
    }
    let wrong = run(Command::new(BINARY)
        .args(["stun", "serve", "--listen", "127.0.48.2:0", "--tls-cert", &certificate])
        .args(["--tls-key", &certificate]));
    assert_eq!(wrong.code, Some(1));
    assert!(wrong.stderr.contains("there is no key in"), "{}", wrong.stderr);
    std::fs::remove_dir_all(&directory).expect("it is there");
}

#[test]
fn a_certificate_of_its_own_is_made_for_who_does_not_look() {
    if find("openssl").is_none() {
        return skip_for_want_of("openssl");
    }
    let mut command = Command::new(BINARY);
    let args = ["stun", "serve", "--json", "--listen", "127.0.49.1:0", "--tls-self-signed", "--tls-port", "0"];
    let mut server = Pinhole::spawn("stun", command.args(args));
    let address = tls_address(&mut server);
    assert_eq!(ask_by_tls(address, &[]).get(..2), Some(&[1, 1][..]));
}

#[test]
fn two_hosts_serve_as_one() {
    let key = std::env::temp_dir().join(format!("pinhole-test-stun-key-{}", std::process::id()));
    std::fs::write(&key, "a key that both hosts have\n").expect("a file");
    let key_text = key.display().to_string();
    let start = |first: &str, partner: &str, [p, q]: [u16; 2]| {
        let mut command = Command::new(BINARY);
        command.args(["stun", "serve", "--json", "--listen", &format!("{first}:{p}"), "--partner", partner]);
        command.args(["--partner-key", &key_text, "--second-port", &q.to_string(), "--threads", "1"]);
        let mut server = Pinhole::spawn(first, &mut command);
        let event = server.wait_for("what it serves", |event| event["event"] == "serving");
        let port =
            |name: &str| event[name].as_str().and_then(|text| text.parse::<SocketAddr>().ok()).map(|at| at.port());
        (server, [port("address").expect("a port"), port("other").expect("another port")])
    };
    let (_first, ports) = start("127.0.44.1", "127.0.44.2", [0, 0]);
    let (_second, _) = start("127.0.44.2", "127.0.44.1", ports);
    let args = ["-f", "-L", "127.0.44.9", "-p", &ports[0].to_string(), "127.0.44.1"];
    if let Some(said) = ask("turnutils_natdiscovery", "coturn", &args) {
        assert!(said.contains("NAT with Endpoint Independent Filtering!"), "{said}");
    }
    std::fs::remove_file(&key).expect("it is there");
}

#[test]
fn ctrl_c_ends_it_and_the_counters_are_told() {
    let (mut server, address) = serve("127.0.45.1", "127.0.45.2", &["--rate-limit", "0"]);
    let args = ["stun", "bench", &address.to_string(), "--seconds", "0.3", "--json"];
    let ended = run(Command::new(BINARY).args(args));
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let measured: Value = serde_json::from_str(&ended.stdout).expect("an object");
    assert!(measured["answers"].as_u64() > Some(100), "{measured}");
    assert_eq!(measured["wrong"], 0, "{measured}");
    server.signal(Signal::INT);
    let counters = server.wait_for("the counters", |event| event["event"] == "counters");
    assert!(counters["sent"].as_u64() >= measured["answers"].as_u64(), "{counters}");
    let (status, said) = server.terminate();
    assert!(status.success(), "{status}: {said}");
}

#[test]
fn at_a_rate_no_more_is_asked_than_is_due() {
    let (_server, address) = serve("127.0.50.1", "127.0.50.2", &["--rate-limit", "0"]);
    let args = ["stun", "bench", &address.to_string(), "--seconds", "0.5", "--rate", "2000", "--json"];
    let measured: Value = serde_json::from_str(&run(Command::new(BINARY).args(args)).stdout).expect("an object");
    let of = |key: &str| measured[key].as_u64().expect("a number");
    // What is due in the last moment may not be asked any more.
    assert!((100..=1_000).contains(&(of("answers") + of("lost"))), "{measured}");
    assert_eq!(of("wrong"), 0, "{measured}");
}

#[test]
fn the_load_generator_understands_coturn_too() {
    let Some(path) = find("turnserver") else { return skip_for_want_of("coturn") };
    let port = UdpSocket::bind("127.0.46.1:0").and_then(|socket| socket.local_addr()).expect("a free port").port();
    let mut command = Command::new(path);
    command.args(["-n", "-S", "-L", "127.0.46.1", "-p", &port.to_string(), "--no-cli", "--no-tls", "--no-dtls"]);
    command.args([
        "--no-tcp",
        "--no-rfc5780",
        "--log-file",
        "stdout",
        "--pidfile",
        "/dev/null",
        "--userdb",
        "/dev/null",
    ]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let _server = Program::start(&mut command).expect("coturn starts");
    let args = ["stun", "bench", &format!("127.0.46.1:{port}"), "--seconds", "0.3", "--json"];
    let measured: Value = until("an answer of coturn", || {
        let measured: Value = serde_json::from_str(&run(Command::new(BINARY).args(args)).stdout).ok()?;
        (measured["answers"].as_u64() > Some(100)).then_some(measured)
    });
    assert_eq!(measured["wrong"], 0, "{measured}");
}

#[test]
fn what_is_wrong_is_said_with_what_to_do() {
    let taken = UdpSocket::bind("127.0.47.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    for (args, code, expected) in [
        (&["--listen", &address][..], 1, "another program has the port"),
        (&["--listen", "192.0.2.7"], 1, "no interface of this host has 192.0.2.7"),
        (&["--listen", "example"], 2, "expected 192.0.2.1, 192.0.2.1:3478 or [2001:db8::1]:3478"),
        (&["--second", "127.0.47.2"], 2, "listen at one address, not at 0.0.0.0:3478"),
        (&["--listen", "127.0.47.1", "--second", "127.0.47.1"], 2, "behaviour discovery needs two"),
        (&["--listen", "127.0.47.1", "--second", "::1"], 2, "one listening address of its family, and there are 0"),
        (&["--listen", "127.0.47.1", "--partner", "127.0.47.2"], 2, "--partner-key"),
        (
            &["--listen", "127.0.47.1", "--partner", "127.0.47.2", "--partner-key", "/nowhere/key"],
            1,
            "cannot read the key in /nowhere/key",
        ),
        (&["--listen", "127.0.47.1", "--users", "/nowhere/users"], 1, "cannot read the users in /nowhere/users"),
    ] {
        let ended = run(Command::new(BINARY).args(["stun", "serve"]).args(args));
        assert_eq!(ended.code, Some(code), "{args:?}: {}", ended.stderr);
        assert!(ended.stderr.contains(expected), "{args:?}: {}", ended.stderr);
    }
    let ended = run(Command::new(BINARY).args(["stun", "bench", "127.0.47.3:9", "--seconds", "0.2"]));
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
}
