//! Several zones and devices, and the registry's own record.

use pinhole_dns::RData;

use super::device::{PRIVATE_KEY, Peer};
use super::golden::{ONE, readme};
use super::stage::{PUBLIC, TUNNEL, stage};
use super::wire::*;

#[test]
fn each_zone_has_its_own_device_and_a_zone_below_another_wins() {
    let Some(stage) = stage() else { return };
    let other = Peer::new(9, "203.0.113.9:999", &["10.9.0.9/32"]);
    let _one = stage.device("wg0", &readme());
    let _two = stage.device("wg7", std::slice::from_ref(&other));
    let zones = ["--zone", "Example.COM", "--device", "wg0", "--zone", "deep.example.com.", "--device", "wg7"];
    let _registry = stage.registry(&[&zones, ["--listen", PUBLIC].as_slice()].concat(), 1);
    let client = stage.ask_from(&stage.client, PUBLIC);
    let ask =
        |label: &str, zone: &str| client.ask(&Query::new(&format!("{label}._wireguard._udp.{zone}"), SRV)).rcode();
    assert_eq!(ask(ONE, "example.com."), NOERROR);
    assert_eq!(ask(&other.label(), "deep.example.com."), NOERROR);
    assert_eq!(ask(&other.label(), "example.com."), NXDOMAIN);
    assert_eq!(ask(ONE, "deep.example.com."), NXDOMAIN);
    assert_eq!(client.ask(&Query::new("deep.example.com.", SOA)).types()[0], [SOA]);
    // Whatever the case of the configuration, as wgsd has it.
    let listed = client.ask(&Query::new("_wireguard._udp.example.com.", PTR)).targets();
    assert_eq!(listed[0], format!("{ONE}._wireguard._udp.example.com."));
}

#[test]
fn the_registry_serves_itself_where_it_was_asked_or_where_it_is_told() {
    let Some(stage) = stage() else { return };
    let _device = stage.device("wg0", &readme());
    let key = pinhole_wg::PrivateKey::from_bytes(PRIVATE_KEY).public();
    let own = Peer::with_key(*key.as_bytes(), "", &[]);
    let query = Query::new(&format!("{}._wireguard._udp.example.com.", own.label()), SRV);
    let common = ["--zone", "example.com.", "--device", "wg0", "--listen", PUBLIC, "--listen", TUNNEL];
    let v6 = ["--listen", "[2001:db8::1]:53", "--self", "--self-allowed-ips", "10.0.0.254/32"];
    let registry = stage.registry(&[&common, v6.as_slice()].concat(), 3);
    for (at, endpoint) in
        [(PUBLIC, "192.0.2.1:51820"), (TUNNEL, "10.0.0.254:51820"), ("2001:db8::1", "[2001:db8::1]:51820")]
    {
        let answer = stage.ask_from(&stage.client, at).ask(&query);
        assert_eq!(answer.endpoint(), endpoint.parse().ok(), "asked at {at}");
        assert_eq!(answer.text().last().map(String::as_str), Some("allowed=10.0.0.254/32"));
    }
    drop(registry);
    let told = ["--self", "198.51.100.77:1234"];
    let _registry = stage.registry(&[&common, told.as_slice()].concat(), 2);
    let answer = stage.ask_from(&stage.client, TUNNEL).ask(&query);
    assert_eq!(answer.endpoint(), "198.51.100.77:1234".parse().ok());
    assert_eq!(answer.text().last().map(String::as_str), Some("allowed="));
}

#[test]
fn a_wildcard_answers_from_the_address_that_was_asked() {
    let Some(stage) = stage() else { return };
    let _device = stage.device("wg0", &readme());
    let args = ["--zone", "example.com.", "--device", "wg0", "--listen", "0.0.0.0", "--listen", "[::]:53"];
    let _registry = stage.registry(&args, 4);
    // A connected socket takes answers from that address only.
    for at in [PUBLIC, TUNNEL, "2001:db8::1", "fd00::254"] {
        assert_eq!(stage.ask_from(&stage.client, at).ask(&Query::new("example.com.", SOA)).rcode(), NOERROR, "{at}");
    }
}

#[test]
fn the_name_server_has_the_addresses_where_whoever_is_sent_there_finds_it() {
    let Some(stage) = stage() else { return };
    let _device = stage.device("wg0", &readme());
    let common = ["--zone", "example.com.", "--device", "wg0"];
    let cases: [(&[&str], usize, &[&str]); 4] = [
        (&[], 2, &["10.0.0.254", "fd00::254"]),
        (&["--listen", TUNNEL, "--listen", PUBLIC, "--listen", "127.0.0.1"], 3, &[PUBLIC]),
        (&["--listen", "0.0.0.0"], 2, &[]),
        (&["--listen", "0.0.0.0", "--self"], 3, &[]),
    ];
    for (listen, places, addresses) in cases {
        let _registry = stage.registry(&[&common, listen].concat(), places);
        let answer = stage.ask_from(&stage.client, TUNNEL).ask(&Query::new("example.com.", NS));
        let found = answer.message.additional.iter().map(|record| match record.data {
            RData::A(address) => address.to_string(),
            RData::Aaaa(address) => address.to_string(),
            _ => panic!("an address: {record:?}"),
        });
        assert_eq!(found.collect::<Vec<_>>(), addresses, "{listen:?}");
    }
}
