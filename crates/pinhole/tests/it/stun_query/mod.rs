//! `pinhole stun query` on a host behind the kernel's NAT, with servers of ours and of others.

mod stage;

use std::net::{SocketAddr, SocketAddrV4, UdpSocket};
use std::time::Duration;

use pinhole_host::gateway::Plane;
use pinhole_host::nft::{Policy, Ports};
use pinhole_netfilter::behaviour::{Allocation, Behaviour, Dependence, Pairing};
use pinhole_netns::{Crossing, Offload};
use serde_json::{Value, json};

use crate::support::pinhole::{BINARY, Pinhole, run as run_program};
use crate::support::ready::ready;
use stage::{INSIDE, INSIDE_V6, PUBLIC, PUBLIC_V6, SERVER, SERVER_V6, Serves, Stage};

const EI: &str = "endpoint-independent";
const AD: &str = "address-dependent";
const APD: &str = "address-and-port-dependent";

/// The rule files, with mapping, filtering, allocation, whether two sockets of one host reach each other, and the old number.
const RULES: [(&str, &str, &str, &str, &str, &str); 10] = [
    ("eim-eif", EI, EI, "preserving", "external-source", "NAT1"),
    ("eim-eif-random-port", EI, EI, "random", "external-source", "NAT1"),
    ("eim-adf", EI, AD, "preserving", "external-source", "NAT2"),
    ("eim-apdf", EI, APD, "preserving", "external-source", "NAT3"),
    ("adm-eif", AD, EI, "random", "external-source", "NAT4"),
    ("adm-adf", AD, AD, "random", "none", "NAT4"),
    ("adm-apdf", AD, APD, "random", "none", "NAT4"),
    ("apdm-eif", APD, EI, "random", "external-source", "NAT4"),
    ("apdm-adf", APD, AD, "random", "none", "NAT4"),
    ("apdm-apdf", APD, APD, "random", "none", "NAT4"),
];

/// Each in a world of its own, some at a time: discoveries mostly wait.
fn at_once<T: Send>(cases: impl IntoIterator<Item = T>, check: impl Fn(T) + Sync) {
    let mut cases: Vec<T> = cases.into_iter().collect();
    while !cases.is_empty() {
        std::thread::scope(|scope| {
            for case in cases.drain(..cases.len().min(5)) {
                scope.spawn(|| check(case));
            }
        });
    }
}

/// The verdicts about UDP, and the mapping by TCP.
fn verdicts(found: &Value) -> Value {
    let udp = &found["udp"];
    json!({
        "nat": udp["nat"]["value"],
        "mapping": udp["mapping"]["value"],
        "filtering": udp["filtering"]["value"],
        "allocation": udp["allocation"]["value"]["kind"],
        "hairpinning": udp["hairpinning"]["value"],
        "number": udp["number"],
        "tcp mapping": found["tcp"]["mapping"]["value"],
        "tcp filtering": found["tcp"]["filtering"]["value"],
        "tcp hairpinning": found["tcp"]["hairpinning"]["value"],
        "tcp allocation": found["tcp"]["allocation"]["value"]["kind"],
    })
}

fn every_rule_file(serves: Serves) {
    at_once(RULES, |(file, mapping, filtering, allocation, hairpinning, number)| {
        let stage = Stage::new("stunq", serves);
        stage.load(file);
        let found = stage.discover("");
        // coturn calls nobody; what the NAT does with packets of its own says something for one mapping of all endpoints.
        let shows = serves == Serves::Ours || mapping == EI;
        let tcp_filtering = if shows { json!(filtering) } else { json!(null) };
        let expected = json!({
            "nat": true, "mapping": mapping, "filtering": filtering, "allocation": allocation,
            "hairpinning": hairpinning, "number": number, "tcp mapping": mapping, "tcp allocation": allocation,
            "tcp filtering": tcp_filtering, "tcp hairpinning": hairpinning,
        });
        assert_eq!(verdicts(&found), expected, "{file}: {found:#}");
        let took = found["udp"]["took_s"].as_f64().expect("a time");
        // Some two seconds; on a machine that is busy, as long as answers are late.
        assert!(took < 60.0, "{file}: {took} s");
    });
}

#[test]
fn every_nat_that_the_kernel_can_be_is_recognised_with_our_server() {
    if ready(&["ip", "nft"]) {
        every_rule_file(Serves::Ours);
    }
}

#[test]
fn every_nat_that_the_kernel_can_be_is_recognised_with_coturn() {
    if ready(&["ip", "nft", "turnserver"]) {
        every_rule_file(Serves::Coturn);
    }
}

#[test]
fn every_nat_that_the_kernel_can_be_is_recognised_with_a_server_of_rfc_3489() {
    if !ready(&["ip", "nft", "stund"]) {
        return;
    }
    at_once(RULES, |(file, mapping, filtering, allocation, hairpinning, number)| {
        let stage = Stage::new("stund", Serves::Stund);
        stage.load(file);
        let found = stage.discover("--udp");
        let udp = &found["udp"];
        assert_eq!(
            [&udp["mapping"]["value"], &udp["hairpinning"]["value"]],
            [mapping, hairpinning],
            "{file}: {found:#}"
        );
        // Without RESPONSE-PORT a silence may have no control where every endpoint has a mapping of its own.
        let (seen, must_show) = (&udp["filtering"]["value"], mapping == EI || filtering == EI);
        assert!(seen == filtering || seen.is_null() && !must_show, "{file}: {found:#}");
        assert_eq!([&udp["allocation"]["value"]["kind"], &udp["number"]], [allocation, number], "{file}: {found:#}");
    });
}

#[test]
fn linux_masquerade_is_port_restricted_or_symmetric_and_poisoned_only_without_a_firewall() {
    if !ready(&["ip"]) {
        return;
    }
    let cases = [
        (Ports::Kept, Policy::Drop, EI, "NAT3", json!(false)),
        (Ports::Kept, Policy::Accept, EI, "NAT3", json!(true)),
        (Ports::Random, Policy::Drop, APD, "NAT4", json!(null)),
    ];
    at_once(cases, |(ports, input, mapping, number, poisoned)| {
        let mut stage = Stage::new("masq", Serves::Ours);
        stage.masquerade(ports, input);
        let found = stage.discover("--udp");
        let udp = &found["udp"];
        let seen = [&udp["mapping"], &udp["filtering"], &udp["poisoning"]].map(|verdict| verdict["value"].clone());
        assert_eq!(seen, [json!(mapping), json!(APD), poisoned], "{ports:?} {input:?}: {found:#}");
        assert_eq!(udp["number"], json!(number));
    });
}

#[test]
fn no_nat_a_firewall_and_blocked_udp_are_told_apart() {
    if !ready(&["ip", "nft"]) {
        return;
    }
    let forward = |rule: &str| {
        format!("table inet fw {{\nchain f {{\ntype filter hook forward priority 0; policy accept;\n{rule}\n}}\n}}\n")
    };
    let cases = [
        (String::from("\n"), json!("open Internet"), json!(false)),
        (forward("iifname wan ct state new drop"), json!("firewall only"), json!(false)),
        (forward("meta l4proto udp drop"), json!(null), json!(true)),
    ];
    at_once(cases, |(rules, name, blocked)| {
        let stage = Stage::new("open", Serves::Ours);
        stage.nft(&rules);
        let found = stage.discover("");
        assert_eq!([&found["udp"]["type"], &found["udp_blocked"]["value"]], [&name, &blocked], "{rules}: {found:#}");
        assert_eq!(found["tcp"]["nat"]["value"], json!(false), "{rules}");
    });
}

#[test]
fn over_ipv6_no_nat_a_firewall_and_nat66_are_told_apart() {
    if !ready(&["ip", "nft"]) {
        return;
    }
    let firewall = "table ip6 fw {\nchain f {\ntype filter hook forward priority 0; policy accept;\n\
        iifname wan ct state new drop\n}\n}\n";
    let nat66 = "table ip6 nat {\nchain post {\ntype nat hook postrouting priority 100;\noifname wan masquerade\n}\n\
        chain in {\ntype filter hook input priority 0;\niifname wan meta l4proto { tcp, udp } ct state new drop\n}\n}\n";
    let (inside, public) = (INSIDE_V6.to_string(), PUBLIC_V6.to_string());
    let cases = [
        ("\n", json!("open Internet"), false, &inside, json!(null)),
        (firewall, json!("firewall only"), false, &inside, json!(1)),
        (nat66, json!("port-restricted cone"), true, &public, json!(1)),
    ];
    at_once(cases, |(rules, name, is_nat, seen_as, filter_at)| {
        let stage = Stage::over_v6("six");
        stage.nft(rules);
        let found = stage.discover_with(SERVER_V6[0].into(), "");
        let udp = &found["udp"];
        let verdicts = [&udp["type"], &udp["nat"]["value"], &udp["outermost_filter"]["value"]];
        assert_eq!(verdicts, [&name, &json!(is_nat), &filter_at], "{rules}: {found:#}");
        assert_eq!(udp["mapping"]["value"], EI, "{rules}: {found:#}");
        let mapped = udp["mapped"].as_str().expect("an endpoint");
        assert!(mapped.starts_with(&format!("[{seen_as}]:")), "{rules}: {mapped}");
        let tcp = &found["tcp"];
        let filtering = if name == "open Internet" { EI } else { APD };
        let verdicts = [&tcp["nat"]["value"], &tcp["mapping"]["value"], &tcp["filtering"]["value"]];
        assert_eq!(verdicts, [&json!(is_nat), &json!(EI), &json!(filtering)], "{rules}: {found:#}");
    });
}

#[test]
fn a_pool_of_public_addresses_is_told_with_two_of_them_and_one_that_is_paired_with_all() {
    if !ready(&["ip", "nft"]) {
        return;
    }
    // By the kernel's choice the source decides which address, alone or with the destination.
    let cases = [("", json!("arbitrary")), ("persistent", json!("paired"))];
    at_once(cases, |(flag, pooling)| {
        let stage = Stage::new("pool", Serves::Ours);
        stage.add_public(&["203.0.113.2", "203.0.113.3", "203.0.113.4"]);
        stage.nft(&format!(
            "table ip nat {{\nchain post {{\ntype nat hook postrouting priority 100;\n\
             oifname wan snat to 203.0.113.1-203.0.113.4 {flag}\n}}\n}}\n"
        ));
        let found = stage.discover("--udp");
        let verdict = &found["udp"]["pooling"];
        assert_eq!(verdict["value"], pooling, "{flag}: {verdict:#}");
        let observations = found["udp"]["observations"].as_array().expect("observations");
        let evidence = verdict["evidence"].as_array().expect("places");
        let address = |place: &Value| {
            let seen = &observations[place.as_u64().expect("a place") as usize]["mapped"];
            seen.as_str().and_then(|seen| seen.parse::<SocketAddr>().ok()).expect("an endpoint").ip()
        };
        let seen: std::collections::BTreeSet<_> = evidence.iter().map(address).collect();
        assert_eq!(seen.len() > 1, pooling == "arbitrary", "{flag}: {seen:?}");
        let ended = stage.query(&format!("--discover --udp {}", SERVER[0]));
        assert!(seen.iter().all(|address| ended.stdout.contains(&address.to_string())), "{ended:?}");
    });
}

#[test]
fn people_get_one_line_and_machines_get_all() {
    if !ready(&["ip", "nft"]) {
        return;
    }
    let stage = Stage::new("line", Serves::Ours);
    stage.load("eim-apdf");
    for (transport, name) in [("", "UDP"), ("--tcp", "TCP")] {
        let ended = stage.query(&format!("{transport} --from-port 40123 {}", SERVER[0]));
        let start = format!("{INSIDE}:40123 is {PUBLIC}:40123 by {name}, port kept; says {}:3478 after ", SERVER[0]);
        assert!(ended.stdout.starts_with(&start) && ended.stdout.lines().count() == 1, "{ended:?}");
        assert_eq!(ended.code, Some(0));
        // A minute of TIME_WAIT would be in the way of the next one.
        let ended = stage.query(&format!("{transport} --json --from-port 40123 {} {}", SERVER[0], SERVER[1]));
        let json: Value = serde_json::from_str(&ended.stdout).unwrap_or_else(|_| panic!("{ended:?}"));
        assert_eq!(json[0]["mapped"], json!(format!("{PUBLIC}:40123")), "{json:#}");
        assert_eq!(json[1]["mapped"], json[0]["mapped"], "{json:#}");
    }
    let ended = stage.query(&format!("--discover --udp {}", SERVER[0]));
    for words in ["UDP: port-restricted cone (NAT3)", "mapping", EI, "filtering", APD, "- 0."] {
        assert!(ended.stdout.contains(words), "no {words}: {ended:?}");
    }
}

#[test]
fn a_silent_server_is_an_error_that_names_it_and_wrong_usage_is_another() {
    if !ready(&["ip"]) {
        return;
    }
    let stage = Stage::new("silent", Serves::Nobody);
    let ended = stage.query("--timeout 0.5 203.0.113.10");
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""));
    assert!(ended.stderr.contains("203.0.113.10:3478 by UDP: no answer"), "{ended:?}");
    let ended = stage.query("--timeout 0.5 --interface nowhere 203.0.113.10");
    assert!(ended.code == Some(1) && ended.stderr.contains("nowhere"), "{ended:?}");
    for wrong in ["--from-port 0", "--fwmark x", "--timeout 0", "--lifetime", "--tcp --udp --discover", "-4 -6"] {
        assert_eq!(stage.query(wrong).code, Some(2), "{wrong}");
    }
}

#[test]
fn a_port_that_another_program_has_is_asked_from_and_that_program_keeps_it() {
    if !ready(&["ip", "nft"]) {
        return;
    }
    let stage = Stage::new("borrow", Serves::Ours);
    stage.load("eim-apdf");
    let owner = stage.client.run(|| UdpSocket::bind("0.0.0.0:51820")).expect("a thread").expect("a free port");
    owner.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
    let ended = stage.query(&format!("--json --from-port 51820 {}", SERVER[0]));
    let json: Value = serde_json::from_str(&ended.stdout).unwrap_or_else(|_| panic!("{ended:?}"));
    assert_eq!(json[0]["mapped"], json!(format!("{PUBLIC}:51820")), "{json:#}");
    assert_eq!(json[0]["borrowed_port"], json!(true), "{json:#}");
    // The owner sees the answer as well, drops it if it is WireGuard, and goes on with the same mapping.
    let mut buffer = [0; 1_500];
    let (_, from) = owner.recv_from(&mut buffer).expect("the answer comes here too");
    assert_eq!(from, SocketAddr::from(SocketAddrV4::new(SERVER[0], 3_478)));
    owner.send_to(b"still mine", (SERVER[0], 9)).expect("it can send");
    let ended = stage.query(&format!("--tcp --from-port 51820 {}", SERVER[0]));
    assert_eq!(ended.code, Some(0), "by TCP the port is free: {ended:?}");
}

#[test]
fn watching_tells_when_the_mapping_moves() {
    if !ready(&["ip", "nft"]) {
        return;
    }
    let stage = Stage::new("watch", Serves::Ours);
    stage.load("eim-apdf");
    let line = format!("--watch=0.2 --json --from-port 40200 {}", SERVER[0]);
    let mut watch = Pinhole::spawn("watch", &mut stage.command(&line));
    let first = watch.wait_for("an answer", |event| event["mapped"].is_string());
    assert_eq!((&first["mapped"], &first["moved"]), (&json!(format!("{PUBLIC}:40200")), &json!(false)));
    // The router gives every new flow another port now, and has forgotten the old ones.
    stage.load("apdm-apdf");
    stage.forget();
    let moved = watch.wait_for("a move", |event| event["moved"] == json!(true) && event["mapped"].is_string());
    assert_eq!(moved["before"], first["mapped"], "{moved}");
    assert_ne!(moved["mapped"], first["mapped"], "{moved}");
    let (status, _) = watch.terminate();
    assert!(status.success(), "{status}");
}

#[test]
fn what_is_asked_from_wireguards_port_goes_the_way_of_its_mark() {
    if !ready(&["ip", "nft"]) {
        return;
    }
    let stage = Stage::new("wgmark", Serves::Ours);
    stage.load("eim-apdf");
    // What has no mark has no way, as where a VPN takes the default route.
    stage.ip("rule add fwmark 7 lookup main priority 10");
    stage.ip("rule add to 203.0.113.0/24 priority 11 unreachable");
    let file = std::env::temp_dir().join(format!("phq{}.conf", std::process::id()));
    let key = pinhole_host::embedded::generate_private_key().expect("randomness").to_base64();
    std::fs::write(&file, format!("[Interface]\nPrivateKey = {key}\nListenPort = 51820\nFwMark = 7\n"))
        .expect("a file");
    let device = stage.run_pinhole(&["wg", "up", "--foreground", "--userspace", &file.display().to_string()]);
    let sockets = format!("/proc/{}/net/udp", stage.client.pid());
    let has_port = || std::fs::read_to_string(&sockets).is_ok_and(|sockets| sockets.contains(":CA6C ")).then_some(());
    crate::support::until("WireGuard's socket", has_port);
    let query = || {
        let ended = stage.query(&format!("--json --timeout 2 --from-port 51820 {}", SERVER[0]));
        let json: Value = serde_json::from_str(&ended.stdout).ok()?;
        (json[0]["borrowed_port"] == json!(true)).then_some(json)
    };
    let json = crate::support::until("an answer to WireGuard's port", query);
    assert_eq!(json[0]["mapped"], json!(format!("{PUBLIC}:51820")), "{json:#}");
    let ended = stage.query(&format!("--timeout 1 --from-port 51820 --fwmark 0 {}", SERVER[0]));
    assert!(ended.code == Some(1) && ended.stderr.contains("no route"), "without the mark: {ended:?}");
    let ended = stage.query(&format!("--timeout 2 --fwmark 0x7 {}", SERVER[0]));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    drop(device);
    std::fs::remove_file(&file).expect("our file");
}

/// How often each NAT is looked at through links with losses; `PINHOLE_DISCOVERIES` says otherwise.
const RUNS: usize = 1;

fn discoveries() -> usize {
    std::env::var("PINHOLE_DISCOVERIES").ok().and_then(|runs| runs.parse().ok()).unwrap_or(RUNS)
}

/// Counts verdicts, and those that are not known.
#[derive(Default)]
struct Tally(std::sync::Mutex<(usize, Vec<String>)>);

impl Tally {
    /// Not known is counted, wrong is a failure.
    fn check(&self, what: &str, seen: &Value, right: &str, found: &Value) {
        assert!(seen.is_null() || seen == right, "{what}: {seen}, not {right}: {found:#}");
        let (asked, unsure) = &mut *self.0.lock().expect("no check panics with it");
        *asked += 1;
        unsure.extend(seen.is_null().then(|| what.to_owned()));
    }

    /// An honest "unsure" is right only if it is rare.
    fn assert(self) {
        let (asked, unsure) = self.0.into_inner().expect("no check has panicked with it");
        println!("{asked} verdicts, none wrong, {} not known", unsure.len());
        assert!(unsure.len() * 20 < asked, "{} of {asked} are not known: {unsure:?}", unsure.len());
    }
}

#[test]
fn losses_make_no_verdict_wrong() {
    if !ready(&["ip", "nft"]) {
        return;
    }
    let runs = discoveries();
    let tally = Tally::default();
    at_once(RULES, |(file, mapping, filtering, allocation, hairpinning, _)| {
        let stage = Stage::new("lossy", Serves::Ours);
        stage.load(file);
        stage.lose_two_percent();
        for run in 0..runs {
            let found = stage.discover("");
            let (udp, tcp) = (&found["udp"], &found["tcp"]);
            let check = |what: &str, seen: &Value, right| {
                tally.check(&format!("{file} run {run}, {what}"), seen, right, &found);
            };
            check("mapping", &udp["mapping"]["value"], mapping);
            check("filtering", &udp["filtering"]["value"], filtering);
            check("allocation", &udp["allocation"]["value"]["kind"], allocation);
            check("hairpinning", &udp["hairpinning"]["value"], hairpinning);
            check("mapping by TCP", &tcp["mapping"]["value"], mapping);
            // Six calls at once and one in ten seconds are all that a source gets.
            if run == 0 {
                check("filtering by TCP", &tcp["filtering"]["value"], filtering);
            }
        }
    });
    tally.assert();
}

/// How our engine chooses ports, and what that is called.
const ALLOCATIONS: [(Allocation, &str); 5] = [
    (Allocation::Preserving, "preserving"),
    (Allocation::Random, "random"),
    (Allocation::Sequential { step: 1 }, "sequential"),
    (Allocation::Blocks { size: 512, most: 4 }, "block"),
    (Allocation::Deterministic { size: 1_024, bits: 6 }, "block"),
];

/// Our engine as the router between a host and our server, and what discoveries on that host find, as often as is wanted.
fn discover_behind(behaviour: Behaviour, loses: bool, runs: usize) -> Vec<Value> {
    let plane = Plane::behaviour(behaviour, [Crossing::EXTERNAL], Crossing::GATEWAY, 1);
    let crossing = Crossing::build("stunx", plane, Offload::None).expect("two hosts and a gateway");
    let [first, second] = Crossing::OUTSIDE.map(|address| address.to_string());
    let mut command = std::process::Command::new(BINARY);
    command.args(["stun", "serve", "--json", "--listen", &first, "--second", &second, "--call-back"]);
    // One host asks here as often as many would.
    crossing.outside().enter(command.args(["--rate-limit", "0"]));
    let mut server = Pinhole::spawn("stun", &mut command);
    server.wait_for("what it serves", |event| event["event"] == "serving");
    if loses {
        stage::lose_two_percent(crossing.outside());
    }
    let discover = |run| {
        let mut command = std::process::Command::new(BINARY);
        command.args(["stun", "query", "--discover", "--json", &first]);
        // Six calls at once and one in ten seconds are all that a source gets.
        command.args((run > 0).then_some("--udp"));
        crossing.inside().enter(&mut command);
        let ended = run_program(&mut command);
        let found: Value = serde_json::from_str(&ended.stdout).unwrap_or_else(|_| panic!("{ended:?}"));
        found[0].clone()
    };
    let found = (0..runs).map(discover).collect();
    drop(server);
    found
}

#[test]
fn every_behaviour_and_allocation_of_our_engine_is_recognised_with_losses() {
    if !ready(&["nft"]) {
        return;
    }
    let runs = discoveries();
    let words = [EI, AD, APD];
    let pairings = (0..3).flat_map(|mapping| (0..3).map(move |filtering| (mapping, filtering)));
    let all = pairings.flat_map(|pairing| ALLOCATIONS.map(|allocation| (pairing, allocation)));
    let tally = Tally::default();
    at_once(all, |((mapping, filtering), (allocation, name))| {
        let pairing = Pairing::new(Dependence::ALL[mapping], Dependence::ALL[filtering]);
        let (keep_parity, keep_class) = (false, false);
        let behaviour =
            Behaviour { udp: pairing, tcp: pairing, allocation, keep_parity, keep_class, ..Behaviour::rfc4787() };
        for (run, found) in discover_behind(behaviour, true, runs).iter().enumerate() {
            let case = format!("{pairing:?} {allocation:?} run {run}");
            for by in ["udp", "tcp"] {
                let verdicts = &found[by];
                if verdicts.is_null() {
                    continue;
                }
                tally.check(&format!("{case} {by} mapping"), &verdicts["mapping"]["value"], words[mapping], found);
                tally.check(
                    &format!("{case} {by} filtering"),
                    &verdicts["filtering"]["value"],
                    words[filtering],
                    found,
                );
                tally.check(&format!("{case} {by} allocation"), &verdicts["allocation"]["value"]["kind"], name, found);
            }
        }
    });
    tally.assert();
}

#[test]
fn the_kernels_two_timers_for_udp_are_both_found() {
    if !ready(&["ip"]) {
        return;
    }
    let mut stage = Stage::new("timer", Serves::Ours);
    stage.masquerade(Ports::Kept, Policy::Drop);
    stage.set_timers(7, 10);
    // Longer than other programs are waited for.
    let mut command = stage.command(&format!("--discover --udp --json --lifetime=16 {}", SERVER[0]));
    let output = command.stdin(std::process::Stdio::null()).output().expect("it runs");
    let found: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    for (name, real) in [("lifetime", 7.0), ("stream_lifetime", 10.0)] {
        let verdict = &found[0]["udp"][name];
        let bound = |which: &str| verdict["value"][which].as_f64().unwrap_or_else(|| panic!("{name}: {found:#}"));
        // The kernel forgets up to a second late, and a busy machine looks late.
        let (survived, died) = (bound("survived_s"), bound("died_s"));
        assert!(survived <= real + 1.0 && died >= real - 1.5 && died - survived <= 2.5, "{name}: {verdict}");
    }
}

#[test]
fn the_kernels_timer_for_open_connections_is_found() {
    if !ready(&["ip"]) {
        return;
    }
    let mut stage = Stage::new("tcptimer", Serves::Ours);
    stage.masquerade(Ports::Kept, Policy::Drop);
    stage.set_tcp_timer(9);
    // Longer than other programs are waited for.
    let mut command = stage.command(&format!("--discover --tcp --json --lifetime=18 {}", SERVER[0]));
    let output = command.stdin(std::process::Stdio::null()).output().expect("it runs");
    let found: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    let verdict = &found[0]["tcp"]["lifetime"];
    let bound = |which: &str| verdict["value"][which].as_f64().unwrap_or_else(|| panic!("{found:#}"));
    let (survived, died) = (bound("survived_s"), bound("died_s"));
    assert!(survived <= 10.0 && died >= 7.5 && died - survived <= 2.5, "{verdict}");
}
