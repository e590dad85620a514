//! What other people's tools make of the registry: dig, delv, and a browse by the rules of DNS-SD alone.

use super::golden::{ONE, TWO, readme};
use super::stage::{PUBLIC, stage};

#[test]
fn dig_has_nothing_to_complain_about() {
    let Some(stage) = stage() else { return };
    let _device = stage.device("wg0", &readme());
    let (_registry, _client) = stage.public_registry(&["--self", "192.0.2.1:51820"]);
    let at = format!("@{PUBLIC}");
    let instance = format!("{ONE}._wireguard._udp.example.com");
    let cases: [(&[&str], &[&str]); 9] = [
        (&["example.com", "SOA"], &["status: NOERROR", "flags: qr aa", "ns1.example.com. postmaster.example.com."]),
        (&["example.com", "NS"], &["status: NOERROR", "ns1.example.com.\t60\tIN\tA\t192.0.2.1"]),
        (&["_wireguard._udp.example.com", "PTR"], &["status: NOERROR", "ANSWER: 3", ONE, TWO]),
        (&[&instance, "SRV"], &["status: NOERROR", "0 0 7777", "203.0.113.1", "ANSWER: 1", "ADDITIONAL: 3"]),
        (&[&instance, "SRV", "+tcp"], &["status: NOERROR", "(TCP)"]),
        (&[&instance, "AAAA"], &["status: NOERROR", "ANSWER: 0, AUTHORITY: 1"]),
        (
            &[&instance, "TXT", "+noedns"],
            &["\"txtvers=1\" \"pub=xScVkH3fUGUv4RrJFfmcqm8rs3SEHr41km6+yffAHw4=\" \"allowed=10.0.0.1/32\""],
        ),
        (&["nobody.example.com", "A", "+dnssec"], &["status: NXDOMAIN", "flags: do", "COOKIE: "]),
        (&["example.org", "A"], &["status: REFUSED"]),
    ];
    for (args, expected) in cases {
        let Some(output) = stage.tool("dig", &[&[&*at, "+tries=1", "+time=30"], args].concat()) else { return };
        let missing: Vec<_> = expected.iter().filter(|text| !output.contains(**text)).collect();
        assert!(missing.is_empty(), "{missing:?} is missing in {output}");
        assert!(!output.contains("WARNING") || output.contains("recursion requested"), "{output}");
        assert!(
            !output.contains("malformed") && !output.contains("bad cookie") && !output.contains(";; communications"),
            "{output}"
        );
    }
}

#[test]
fn delv_takes_the_answers_as_unsigned() {
    let Some(stage) = stage() else { return };
    let _device = stage.device("wg0", &readme());
    let (_registry, _client) = stage.public_registry(&[]);
    let at = format!("@{PUBLIC}");
    let instance = format!("{ONE}._wireguard._udp.example.com");
    for (name, qtype, expected) in [
        (&*instance, "SRV", "0 0 7777"),
        (&instance, "TXT", "allowed=10.0.0.1/32"),
        (&instance, "AAAA", "ncache nxrrset"),
        ("_wireguard._udp.example.com", "PTR", ONE),
        ("nobody.example.com", "A", "ncache nxdomain"),
    ] {
        for mode in [&["-i"][..], &["-i", "+nodlv", "+nodnssec"], &["-i", "+tcp"]] {
            let args = [&[&*at], mode, &[name, qtype]].concat();
            let Some(output) = stage.tool("delv", &args) else { return };
            assert!(output.contains(expected), "{args:?}: {output}");
        }
    }
}

#[test]
fn a_browser_of_dns_sd_gets_from_the_domain_to_every_endpoint() {
    let Some(stage) = stage() else { return };
    let _device = stage.device("wg0", &readme());
    let (_registry, _client) = stage.public_registry(&[]);
    let at = format!("@{PUBLIC}");
    let lookup = |name: &str, qtype: &str| {
        let output = stage.tool("dig", &[&at, "+short", "+tries=1", "+time=30", name, qtype])?;
        Some(output.lines().map(str::to_owned).collect::<Vec<_>>())
    };
    let Some(types) = lookup("_services._dns-sd._udp.example.com", "PTR") else { return };
    assert_eq!(types, ["_wireguard._udp.example.com."]);
    let instances = lookup(&types[0], "PTR").expect("dig is there");
    assert_eq!(instances.len(), 2);
    let mut endpoints = Vec::new();
    for instance in instances {
        let service = lookup(&instance, "SRV").expect("dig is there");
        let [_, _, port, target] = service[0].split(' ').collect::<Vec<_>>()[..] else { panic!("{service:?}") };
        let address = lookup(target, "A").expect("dig is there");
        assert!(lookup(target, "AAAA").expect("dig is there").is_empty());
        assert!(lookup(&instance, "TXT").expect("dig is there")[0].starts_with("\"txtvers=1\" \"pub="));
        endpoints.push(format!("{}:{port}", address[0]));
    }
    endpoints.sort();
    assert_eq!(endpoints, ["198.51.100.1:8888", "203.0.113.1:7777"]);
}
