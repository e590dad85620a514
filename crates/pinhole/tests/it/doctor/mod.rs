//! `pinhole doctor` on a host behind the kernel's NAT, with a STUN server of ours and miniupnpd as the first hop.

mod stage;

use std::process::Command;
use std::time::{Duration, Instant};

use pinhole_host::namespace::Namespace;
use serde_json::{Value, json};

use crate::support::pinhole::{BINARY, Ended, run};
use crate::support::ready::ready;
use stage::{INSIDE, INSIDE_V6, PUBLIC, SERVER, Stage, doctor_on, findings, ip, nft};

/// What the command promises.
const PROMISED: Duration = Duration::from_secs(15);

/// What becomes of a path to this kind of peer.
fn outcome<'a>(diagnosis: &'a Value, peer: &str) -> (&'a str, &'a str) {
    let peers = diagnosis["peers"].as_array().expect("peers");
    let verdict = peers.iter().find(|verdict| verdict["peer"] == peer).expect("this kind");
    (verdict["outcome"].as_str().unwrap_or("-"), verdict["way"].as_str().unwrap_or("-"))
}

/// Runs all at the same time: doctors mostly wait.
fn at_once<const N: usize>(doctors: [&(dyn Fn() -> Ended + Sync); N]) -> [Ended; N] {
    std::thread::scope(|scope| doctors.map(|doctor| scope.spawn(doctor)).map(|doctor| doctor.join().expect("a doctor")))
}

#[test]
fn a_home_whose_router_maps_ports_is_told_so_and_nothing_is_left_there() {
    if !ready(&["ip", "nft", "miniupnpd"]) {
        return;
    }
    let mut stage = Stage::home("doctor-map", "");
    stage.miniupnpd();
    let begun = Instant::now();
    let diagnosis = stage.diagnosis("");
    assert!(begun.elapsed() < PROMISED, "{:?}", begun.elapsed());
    for service in diagnosis["first_hop"].as_array().expect("services") {
        assert_eq!((&service["state"], &service["external"]), (&json!("works"), &json!(PUBLIC)), "{service}");
        assert!(service["mapped"].as_str().is_some_and(|mapped| mapped.starts_with(PUBLIC)), "{service}");
    }
    assert_eq!(diagnosis["public_port"]["key"], "mapping");
    assert_eq!(diagnosis["side"]["mapped_port"], true);
    assert_eq!(findings(&diagnosis), ["no-ipv6"], "{diagnosis:#}");
    let [layer] = &diagnosis["layers"].as_array().expect("layers")[..] else { panic!("one: {diagnosis:#}") };
    assert_eq!((&layer["owner"], &layer["outside"]), (&json!("first-hop"), &json!(PUBLIC)));
    // What was mapped has been given back.
    let mut list = Command::new("nft");
    stage.router.enter(list.args(["list", "chain", "inet", "miniupnpd", "prerouting"]));
    let left = run(&mut list).stdout;
    assert!(!left.contains("dnat"), "{left}");
    // Without permission nothing is mapped, and the address is told all the same.
    let diagnosis = stage.diagnosis("--no-mapping");
    let by_nat_pmp = &diagnosis["first_hop"][1];
    assert_eq!((&by_nat_pmp["external"], &by_nat_pmp["mapped"]), (&json!(PUBLIC), &Value::Null));
}

#[test]
fn a_router_that_opens_ipv6_pinholes_is_told_so_and_none_is_left() {
    if !ready(&["ip", "nft", "miniupnpd"]) {
        return;
    }
    let mut stage = Stage::home("doctor-six", "");
    stage.six();
    stage.miniupnpd();
    let diagnosis = stage.diagnosis("");
    for service in diagnosis["first_hop_v6"].as_array().expect("services") {
        assert_eq!((&service["state"], &service["external"]), (&json!("works"), &json!(INSIDE_V6)), "{service}");
        assert!(service["mapped"].as_str().is_some_and(|mapped| mapped.starts_with(&format!("[{INSIDE_V6}]:"))));
    }
    assert_eq!(diagnosis["public_v6_port"]["key"], "mapping", "{diagnosis:#}");
    assert!(!findings(&diagnosis).contains(&"no-ipv6"), "{diagnosis:#}");
    let mut list = Command::new("nft");
    stage.router.enter(list.args(["list", "chain", "inet", "miniupnpd", "forward"]));
    let left = run(&mut list).stdout;
    assert!(!left.contains(INSIDE_V6), "{left}");
}

#[test]
fn a_usual_home_is_drawn_in_both_languages_with_verdicts_and_remedies() {
    if !ready(&["ip", "nft"]) {
        return;
    }
    let stage = Stage::home("doctor-home", "");
    let host = &stage.host;
    let [english, chinese] = at_once([&|| doctor_on(host, ""), &|| doctor_on(host, "--lang zh")]);
    let Ended { code, stdout, stderr } = english;
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{stdout}");
    for part in [
        &format!("  this host        eth0 (veth) {INSIDE}/24  MTU 1500\n"),
        &format!("  home router      192.168.77.1 → {PUBLIC}\n"),
        &format!("  Internet         seen as {PUBLIC} · port-restricted cone, NAT3\n"),
        "✓ behind a port-restricted cone (NAT3)        direct: hole punching\n",
        "✗ where UDP is blocked                        not direct",
        "The router maps no ports",
    ] {
        assert!(stdout.contains(part), "{part} in\n{stdout}");
    }
    let chinese = chinese.stdout;
    for part in ["通往互联网的路径", "家用路由器", "打洞", "路由器不能映射端口"] {
        assert!(chinese.contains(part), "{part} in\n{chinese}");
    }
    assert!(!chinese.contains("What stands in the way"), "{chinese}");
}

#[test]
fn pairs_of_two_hosts_are_judged_from_their_two_diagnoses() {
    if !ready(&["ip", "nft"]) {
        return;
    }
    let (cone, hard) = (Stage::home("doctor-cone", ""), Stage::home("doctor-hard", "fully-random"));
    let directory = std::env::temp_dir();
    let file = |name: &str| directory.join(format!("pinhole-doctor-{name}-{}.json", std::process::id()));
    let (of_cone, of_hard) = (file("cone"), file("hard"));
    let [of_the_hard, of_the_cone] =
        at_once([&|| doctor_on(&hard.host, "--json"), &|| doctor_on(&cone.host, "--json")])
            .map(|ended| stage::json(&ended));
    let write = |mut diagnosis: Value, path: &std::path::Path, public: &str| {
        // Both stages have the same public address; in the world outside they would not.
        diagnosis["side"]["public"] = json!(public);
        std::fs::write(path, diagnosis.to_string()).expect("a file");
        diagnosis
    };
    let diagnosed = write(of_the_hard, &of_hard, "11.22.44.1");
    assert_eq!(diagnosed["side"]["mapping"], "address-and-port-dependent");
    assert!(findings(&diagnosed).starts_with(&["hard-mapping"]), "{:?}", findings(&diagnosed));
    assert_eq!(outcome(&diagnosed, "open"), ("direct", "call-them"));
    assert_eq!(outcome(&diagnosed, "symmetric-random"), ("relay", "-"));
    write(of_the_cone, &of_cone, "11.22.55.1");

    let with = |stage: &'static str, other: &std::path::Path| format!("{stage} --peer {}", other.display());
    let (with_cone, with_hard, as_text) = (with("--json", &of_cone), with("--json", &of_hard), with("", &of_hard));
    let (cone, hard) = (&cone.host, &hard.host);
    let [punch, spray, relay, text] = at_once([
        &|| doctor_on(cone, &with_cone),
        &|| doctor_on(cone, &with_hard),
        &|| doctor_on(hard, &with_hard),
        &|| doctor_on(hard, &as_text),
    ]);
    let pair = |ended: &Ended| (ended.code, stage::json(ended)["pair"].clone());
    let (code, verdict) = pair(&punch);
    assert_eq!((code, &verdict["outcome"], &verdict["way"]), (Some(0), &json!("direct"), &json!("punch")));
    let (code, verdict) = pair(&spray);
    assert_eq!((code, &verdict["outcome"], &verdict["way"]), (Some(0), &json!("direct"), &json!("spray")));
    assert_eq!(verdict["automatic"], false);
    let (code, verdict) = pair(&relay);
    assert_eq!((code, &verdict["outcome"], &verdict["obstacle"]), (Some(3), &json!("relay"), &json!("both-random")));
    assert_eq!(verdict["fixes"][0]["key"], "map-port-here");
    let text = text.stdout;
    assert!(text.contains("✗ not direct: each NAT gives the other a port that nobody can guess"), "{text}");
    for path in [of_cone, of_hard] {
        std::fs::remove_file(path).expect("it is there");
    }
}

#[test]
fn a_carriers_nat_is_seen_by_the_address_of_its_router() {
    if !ready(&["ip", "nft"]) {
        return;
    }
    let stage = Stage::carrier("doctor-cgn");
    let diagnosis = stage.diagnosis("");
    let owners: Vec<&Value> =
        diagnosis["layers"].as_array().expect("layers").iter().map(|layer| &layer["owner"]).collect();
    assert_eq!(owners, ["first-hop", "carrier"], "{diagnosis:#}");
    let carrier = &diagnosis["layers"][1];
    assert_eq!((&carrier["inside"], &carrier["outside"]), (&json!("100.64.0.1"), &json!(PUBLIC)));
    assert_eq!(carrier["evidence"][0]["key"], "shared-address");
    // The home's filter is opened by packets that die at the carrier's, and that one is still shut.
    let kind = |layer: usize| ["mapping", "filtering"].map(|what| diagnosis["layers"][layer][what].clone());
    let (open, shut) = (json!({ "is": "endpoint-independent" }), "address-and-port-dependent");
    assert_eq!(kind(0), [open.clone(), json!({ "at_most": shut })], "{diagnosis:#}");
    assert_eq!(kind(1), [open, json!({ "is": shut })], "{diagnosis:#}");
    assert_eq!(diagnosis["udp"]["outermost_filter"], 2, "{diagnosis:#}");
    assert_eq!(findings(&diagnosis)[0], "carrier-nat");
    assert_eq!(diagnosis["public_port"]["key"], "relay");
    assert_eq!(outcome(&diagnosis, "port-restricted-cone"), ("direct", "punch"));
}

#[test]
fn a_home_and_its_carrier_are_told_apart_by_packets_that_die_between_them() {
    if !ready(&["ip", "nft"]) {
        return;
    }
    let (open, shut) = ("endpoint-independent", "address-and-port-dependent");
    let cases = [("eim-eif", json!({ "is": shut }), open), ("eim-adf", json!({ "is": shut }), "address-dependent")];
    for (file, home, carrier) in cases {
        let stage = Stage::carrier_of("doctor-two", file);
        let diagnosis = stage.diagnosis("--no-mapping");
        let kind = |layer: usize, what: &str| diagnosis["layers"][layer][what].clone();
        assert_eq!([kind(0, "owner"), kind(1, "owner")], [json!("first-hop"), json!("carrier")], "{diagnosis:#}");
        assert_eq!([kind(0, "filtering"), kind(1, "filtering")], [home, json!({ "is": carrier })], "{diagnosis:#}");
        let mapping = json!({ "is": open });
        assert_eq!([kind(0, "mapping"), kind(1, "mapping")], [mapping.clone(), mapping], "{diagnosis:#}");
        assert_eq!(kind(0, "number"), "port-restricted cone, NAT3");
        // What the whole is by TCP stands beside it.
        assert_eq!([&diagnosis["tcp"]["mapping"], &diagnosis["tcp"]["filtering"]], [open, shut], "{diagnosis:#}");
        // `stun query` counts the same layers.
        let mut command = Command::new(BINARY);
        stage.host.enter(command.args(["stun", "query", "--discover", "--json", SERVER]));
        let found = stage::json(&run(&mut command));
        let layers = found[0]["layers"].as_array().unwrap_or_else(|| panic!("{found:#}"));
        assert_eq!(layers.iter().map(|layer| layer["owner"].clone()).collect::<Vec<_>>(), ["first-hop", "carrier"]);
        assert_eq!(layers[1]["filtering"], json!({ "is": carrier }), "{found:#}");
    }
}

#[test]
fn dead_connections_that_hold_the_ports_towards_one_server_are_found_with_that_server() {
    /// Half of the ports and a few.
    const DEAD: usize = 260;
    if !ready(&["ip", "nft"]) {
        return;
    }
    let stage = Stage::home("doctor-dead", "");
    stage.host.set("net/ipv4/ip_local_port_range", "40000 40499").expect("every kernel has it");
    stage.host.set("net/ipv4/tcp_tw_reuse", "0").expect("every kernel has it");
    let listener = stage.router.run(|| std::net::TcpListener::bind("192.168.77.1:0")).expect("a thread");
    let listener = listener.expect("a port");
    let to = listener.local_addr().expect("an address");
    let connect = move || (0..DEAD).try_for_each(|_| std::net::TcpStream::connect(to).map(drop));
    std::thread::scope(|scope| {
        // Who closes first is in TIME_WAIT; the other side must read that, and close too.
        scope.spawn(|| listener.incoming().take(DEAD).for_each(|stream| drop(stream.map(read_to_end))));
        stage.host.run(connect).expect("a thread").expect("all connect");
    });
    let diagnosis = stage.diagnosis("--no-mapping");
    let finding =
        diagnosis["findings"].as_array().expect("findings").iter().find(|it| it["key"] == "time-wait-pressure");
    let title = finding.and_then(|finding| finding["title"].as_str()).unwrap_or_else(|| panic!("{diagnosis:#}"));
    assert!(title.starts_with(&format!("{to} holds ")) && title.contains(" of 500 local ports"), "{title}");
    let busiest = &diagnosis["kernel"]["busiest"];
    // A dump of a table that others use meanwhile may miss some.
    assert!(busiest["time_wait"].as_u64() >= Some(DEAD as u64 * 4 / 5), "{busiest}");
    assert!(busiest["time_wait_lasts_s"][1].as_f64() >= Some(60.0), "{busiest}");
}

fn read_to_end(mut stream: std::net::TcpStream) {
    // Whatever ends it, it is over.
    let _ = std::io::Read::read_to_end(&mut stream, &mut Vec::new());
}

#[test]
fn filters_mtu_and_rights_are_seen_where_they_stand_in_the_way() {
    if !ready(&["ip", "nft", "setpriv"]) {
        return;
    }
    let stage = Stage::home("doctor-own", "");
    // A bottleneck behind the router.
    ip(&stage.router, "link set wan mtu 1400");
    nft(
        &stage.host,
        "table inet filter { chain input { type filter hook input priority 0; policy drop; ct state established,related accept\n
            udp dport 51821 accept\n }\n}",
    );
    // A router that takes what comes from outside poisons the mappings of those behind it.
    nft(&stage.router, "flush chain ip nat input");
    let (host, router) = (&stage.host, &stage.router);
    let without_rights = || {
        let mut command = Command::new("setpriv");
        command.args(["--bounding-set=-all", "--inh-caps=-all", BINARY, "doctor", "--json", "--server", SERVER]);
        host.enter(&mut command);
        run(&mut command)
    };
    let [closed, open, on_router, without_rights] = at_once([
        &|| doctor_on(host, "--json"),
        &|| doctor_on(host, "--json --port 51821"),
        &|| doctor_on(router, "--json --no-mapping"),
        &without_rights,
    ])
    .map(|ended| stage::json(&ended));
    let keys = findings(&closed);
    assert!(keys.contains(&"small-mtu") && keys.contains(&"input-drops-strangers"), "{keys:?}");
    assert_eq!([&closed["way"]["path_mtu"], &closed["way"]["mtu_black_hole"]], [&json!(1400), &json!(false)]);
    assert_eq!(closed["firewall"]["stranger"]["by"], "inet filter input");
    assert!(!findings(&open).contains(&"input-drops-strangers"));
    assert!(findings(&on_router).contains(&"input-poisons"), "{on_router:#}");
    let keys = findings(&without_rights);
    for key in ["firewall-hidden", "no-raw-sockets", "no-net-admin"] {
        assert!(keys.contains(&key), "{key}: {keys:?}");
    }
    assert_eq!(outcome(&without_rights, "port-restricted-cone"), ("direct", "punch"), "the rest needs no rights");
}

#[test]
fn a_path_on_which_large_packets_vanish_without_a_word_is_found_by_what_is_answered() {
    if !ready(&["ip", "nft"]) {
        return;
    }
    let stage = Stage::home("doctor-hole", "");
    nft(
        &stage.router,
        "table ip hole { chain forward { type filter hook forward priority -10; meta length > 1430 drop\n }\n}",
    );
    let diagnosis = stage.diagnosis("--no-mapping");
    assert!(findings(&diagnosis).contains(&"small-mtu"), "{diagnosis:#}");
    assert_eq!([&diagnosis["way"]["path_mtu"], &diagnosis["way"]["mtu_black_hole"]], [&json!(1430), &json!(true)]);
}

/// The rule files, and what a home router of each makes of this host.
const KINDS: [(&str, &str); 10] = [
    ("eim-eif", "full cone, NAT1"),
    ("eim-eif-random-port", "full cone, NAT1"),
    ("eim-adf", "restricted cone, NAT2"),
    ("eim-apdf", "port-restricted cone, NAT3"),
    ("adm-eif", "symmetric, NAT4"),
    ("adm-adf", "symmetric, NAT4"),
    ("adm-apdf", "symmetric, NAT4"),
    ("apdm-eif", "symmetric, NAT4"),
    ("apdm-adf", "symmetric, NAT4"),
    ("apdm-apdf", "symmetric, NAT4"),
];

#[test]
fn every_nat_that_the_kernel_can_be_is_named_in_less_than_what_is_promised() {
    if !ready(&["ip", "nft"]) {
        return;
    }
    for (file, number) in KINDS {
        let stage = Stage::home_of("doctor-kind", file);
        let begun = Instant::now();
        let diagnosis = stage.diagnosis("");
        let took = begun.elapsed();
        assert!(took < PROMISED, "{file}: {took:?}");
        println!("{file}: {:.1} s", took.as_secs_f64());
        let [layer] = &diagnosis["layers"].as_array().expect("layers")[..] else { panic!("one: {diagnosis:#}") };
        assert_eq!((&layer["owner"], &layer["number"]), (&json!("first-hop"), &json!(number)), "{file}: {diagnosis:#}");
        let tcp = ["mapping", "filtering"].map(|what| &diagnosis["tcp"][what]);
        assert_eq!(tcp, ["mapping", "filtering"].map(|what| &diagnosis["udp"][what]), "{file}: {diagnosis:#}");
    }
}

#[test]
fn what_is_not_there_is_one_clear_line_and_no_failure() {
    if !ready(&["ip"]) {
        return;
    }
    let host = Namespace::create("doctor-none").expect("a namespace");
    let Ended { code, stdout, stderr } = doctor_on(&host, "");
    assert_eq!(code, Some(3), "{stdout}{stderr}");
    assert!(stdout.contains("✗ 1. [blocking] No network interface is up and has an address."), "{stdout}");
    assert!(!stdout.contains("2. [blocking]"), "{stdout}");
    ip(&host, "link add eth0 type veth peer name other");
    ip(&host, "link set eth0 up");
    ip(&host, "link set other up");
    ip(&host, "addr add 192.168.77.10/24 dev eth0");
    let Ended { code, stdout, .. } = doctor_on(&host, "");
    assert_eq!(code, Some(3), "{stdout}");
    assert!(stdout.contains("✗ 1. [blocking] There is no default route"), "{stdout}");
    // A gateway that is not there, and nobody behind it.
    ip(&host, "route add default via 192.168.77.1");
    let begun = Instant::now();
    let Ended { code, stdout, .. } = doctor_on(&host, "--json");
    assert!(begun.elapsed() < PROMISED, "{:?}", begun.elapsed());
    let diagnosis: Value = serde_json::from_str(&stdout).expect("JSON");
    assert_eq!(code, Some(3), "{diagnosis:#}");
    assert_eq!(findings(&diagnosis)[..2], ["gateway-silent", "udp-blocked"], "{diagnosis:#}");
}

#[test]
fn a_file_that_is_no_diagnosis_is_refused_before_anything_is_asked() {
    let check = |file: &str, reason: &str| {
        let ended = run(Command::new(BINARY).args(["doctor", "--peer", file]));
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.stderr.contains(reason) && ended.stdout.is_empty(), "{ended:?}");
    };
    check("/nowhere/there.json", "cannot read the peer's diagnosis /nowhere/there.json");
    check(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"), "is not what `pinhole doctor --json` prints");
    assert_eq!(run(Command::new(BINARY).args(["doctor", "--lang", "fr"])).code, Some(2));
}
