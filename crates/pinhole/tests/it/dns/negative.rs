//! What is not there: NODATA, empty non-terminals, misses that do not last, and a serial that moves with the data.

use super::device::Peer;
use super::golden::{ONE, readme};
use super::stage::{TUNNEL, stage, until};
use super::wire::*;

/// A miss reads the device, and a read is good for 5 ms: floods of misses must not become floods of reads. Nothing tells
/// when they have passed, since nothing happens then.
fn pass_freshness() {
    std::thread::sleep(std::time::Duration::from_millis(6));
}

#[test]
fn names_above_a_peer_exist_and_a_type_they_lack_is_no_data() {
    let Some(stage) = stage() else { return };
    let _device = stage.device("wg0", &readme());
    let (_registry, client) = stage.private_registry(&[]);
    let instance = format!("{ONE}._wireguard._udp.example.com.");
    type Case<'a> = (&'a str, u16, u16, &'a [u16], &'a [u16]);
    let cases: [Case<'_>; 14] = [
        ("example.com.", SOA, NOERROR, &[SOA], &[]),
        ("example.com.", NS, NOERROR, &[NS], &[]),
        ("example.com.", A, NOERROR, &[], &[SOA]),
        ("ns1.example.com.", A, NOERROR, &[A], &[]),
        ("_udp.example.com.", A, NOERROR, &[], &[SOA]),
        ("_udp.example.com.", NS, NOERROR, &[], &[SOA]),
        ("_wireguard._udp.example.com.", SRV, NOERROR, &[], &[SOA]),
        ("_wireguard._udp.example.com.", A, NOERROR, &[], &[SOA]),
        ("_dns-sd._udp.example.com.", PTR, NOERROR, &[], &[SOA]),
        ("_services._dns-sd._udp.example.com.", PTR, NOERROR, &[PTR], &[]),
        (&instance, AAAA, NOERROR, &[], &[SOA]),
        (&instance, PTR, NOERROR, &[], &[SOA]),
        ("nobody._wireguard._udp.example.com.", SRV, NXDOMAIN, &[], &[SOA]),
        ("_tcp.example.com.", A, NXDOMAIN, &[], &[SOA]),
    ];
    for (name, qtype, rcode, answer, authority) in cases {
        let got = client.ask(&Query::new(name, qtype).edns(1232));
        let [answers, authorities, _] = got.types();
        assert_eq!((got.rcode(), &*answers, &*authorities), (rcode, answer, authority), "{name} {qtype}");
        assert!(got.has(AA), "{name} {qtype}");
    }
    let services = client.ask(&Query::new("_services._dns-sd._udp.example.com.", PTR));
    assert_eq!(services.targets(), ["_wireguard._udp.example.com."]);
}

#[test]
fn the_service_exists_while_it_has_no_peer() {
    let Some(stage) = stage() else { return };
    let device = stage.device("wg0", &[]);
    let (_registry, client) = stage.private_registry(&[]);
    let browse = Query::new("_wireguard._udp.example.com.", PTR);
    let answer = client.ask(&browse);
    assert_eq!((answer.rcode(), answer.types()), (NOERROR, [vec![], vec![SOA], vec![]]));
    device.set(&readme());
    pass_freshness();
    assert_eq!(client.ask(&browse.id(2)).targets().len(), 2, "seen by the very next question");
}

#[test]
fn a_peer_that_appears_after_a_miss_is_seen_by_the_next_question() {
    let Some(stage) = stage() else { return };
    let device = stage.device("wg0", &readme());
    let (_registry, client) = stage.private_registry(&[]);
    let mut peers = readme();
    for n in 0..20 {
        let late = Peer::new(n, "203.0.113.9:999", &["10.0.0.9/32"]);
        let query = Query::new(&format!("{}._wireguard._udp.example.com.", late.label()), SRV).id(n);
        let miss = client.ask(&query);
        assert_eq!(miss.rcode(), NXDOMAIN);
        let pinhole_dns::RData::Soa(soa) = &miss.message.authority[0].data else { panic!("a start of authority") };
        assert!(soa.minimum <= 10 && miss.message.authority[0].ttl <= 10, "a resolver forgets the miss soon");
        peers.push(late);
        device.set(&peers);
        pass_freshness();
        assert_eq!(client.ask(&query.id(n + 1_000)).rcode(), NOERROR, "peer {n}");
    }
}

#[test]
fn the_serial_moves_with_the_data_and_only_then() {
    let Some(stage) = stage() else { return };
    let device = stage.device("wg0", &readme());
    let (_registry, client) = stage.private_registry(&[]);
    let soa = Query::new("example.com.", SOA);
    let before = client.ask(&soa).serial();
    let reads = device.reads();
    until("the device is read again", || (device.reads() > reads + 1).then_some(()));
    assert_eq!(client.ask(&soa).serial(), before);
    let mut peers = readme();
    for (change, endpoint) in ["203.0.113.1:7778", "203.0.113.1:7779", "[2001:db8::7]:1"].into_iter().enumerate() {
        let last = client.ask(&soa).serial();
        peers[0].endpoint = Some(endpoint.to_owned());
        device.set(&peers);
        let now = until("the serial moves", || Some(client.ask(&soa).serial()).filter(|&serial| serial != last));
        assert!(now.wrapping_sub(last).cast_signed() > 0, "change {change}: {last} to {now} (RFC 1982)");
        let moved = client.ask(&Query::new(&format!("{ONE}._wireguard._udp.example.com."), SRV));
        assert_eq!(moved.endpoint(), endpoint.parse().ok());
    }
}

#[test]
fn a_device_that_stops_answering_hides_nobody_and_is_used_again() {
    let Some(stage) = stage() else { return };
    let device = stage.device("wg0", &readme());
    let (registry, client) = stage.private_registry(&[]);
    device.silence(true);
    let reads = device.reads();
    until("a read hangs", || (device.reads() > reads).then_some(()));
    let known = Query::new(&format!("{ONE}._wireguard._udp.example.com."), SRV);
    assert_eq!(client.ask(&known).rcode(), NOERROR);
    // Each read hangs for three seconds, and no question waits for one.
    let reads = device.reads();
    let stream = stage.connect(TUNNEL).expect("a connection");
    for _ in 0..20 {
        write_framed(&stream, &known.bytes()).expect("it is taken");
        assert_eq!(Answer::read(&read_framed(&stream).expect("an answer")).rcode(), NOERROR);
    }
    assert!(device.reads() - reads < 10, "{} reads for 20 questions", device.reads() - reads);
    until("it is said", || registry.output().contains("device_failed").then_some(()));
    assert_eq!(client.ask(&known.id(2)).rcode(), NOERROR);
    device.silence(false);
    until("it is back", || registry.output().contains("device_back").then_some(()));
}
