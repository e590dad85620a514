//! Who gets answers: peers by default, strangers on request, nobody without a bound.

use std::time::{Duration, Instant};

use super::device::Peer;
use super::golden::{ONE, readme};
use super::stage::{CLIENT, PATIENCE, PEER, PUBLIC, TUNNEL, stage};
use super::wire::*;

#[test]
fn by_default_only_the_tunnel_is_served_and_only_through_it() {
    let Some(stage) = stage() else { return };
    let _device = stage.device("wg0", &readme());
    let (_registry, peer) = stage.private_registry(&[]);
    let query = Query::new(&format!("{ONE}._wireguard._udp.example.com."), SRV);
    assert_eq!(peer.ask(&query).rcode(), NOERROR);
    let v6 = stage.ask_from(&stage.client, "fd00::254");
    assert_eq!(v6.ask(&query).rcode(), NOERROR, "on every tunnel address");
    let public = stage.ask_from(&stage.client, PUBLIC);
    assert_eq!(public.try_exchange(&query.bytes(), Duration::from_millis(300)), None, "the public address is closed");
    assert!(stage.connect(PUBLIC).is_err(), "by TCP too");
    // A stranger who routes the tunnel address over the Internet does not get in, whatever source is written on it.
    let route = |args: &[&str]| {
        let args: Vec<&str> = [&["-n"], args].concat()[1..].to_vec();
        stage.tool("ip", "iproute2", &args)
    };
    if route(&["route", "replace", "10.0.0.254/32", "via", PUBLIC, "dev", "eth0", "src", PEER]).is_none() {
        return;
    }
    for setting in ["net/ipv4/conf/all/rp_filter", "net/ipv4/conf/wan0/rp_filter"] {
        stage.server.set(setting, "0").expect("a setting");
    }
    let spoof = stage.ask_from(&stage.client, TUNNEL);
    assert_eq!(
        spoof.try_exchange(&query.bytes(), Duration::from_millis(300)),
        None,
        "by the way it came, not by source"
    );
    assert!(stage.connect(TUNNEL).is_err());
}

#[test]
fn outside_the_zone_is_refused_and_so_are_transfers_and_other_classes() {
    let Some(stage) = stage() else { return };
    let _device = stage.device("wg0", &readme());
    let (_registry, client) = stage.public_registry(&[]);
    let cases = [
        (Query::new("example.org.", A), REFUSED),
        (Query::new("com.", NS), REFUSED),
        (Query::new(".", NS), REFUSED),
        (Query::new("notexample.com.", A), REFUSED),
        (Query::new("example.com.", AXFR), REFUSED),
        (Query::new("version.bind.", TXT).class(3), REFUSED),
        (Query::new("example.com.", SOA).flags(4 << 11), NOTIMP),
        (Query::new("example.com.", SOA).flags(5 << 11), NOTIMP),
    ];
    for (query, rcode) in cases {
        let answer = client.exchange(&query);
        assert_eq!(u16::from(answer[3] & 0xf), rcode, "{query:?}");
        assert!(answer.len() <= query.bytes().len(), "{query:?}");
    }
}

#[test]
fn a_response_is_never_answered() {
    let Some(stage) = stage() else { return };
    let _device = stage.device("wg0", &readme());
    let (_registry, client) = stage.public_registry(&[]);
    let query = Query::new("example.com.", SOA);
    for flags in [QR, QR | RD, QR | AA, QR | 5 << 11, 0xffff] {
        assert!(client.is_silent_to(&query.clone().flags(flags).bytes()), "{flags:04x}");
    }
    for length in 0..12 {
        assert!(client.is_silent_to(&query.bytes()[..length]), "{length} bytes");
    }
    let own = client.exchange(&query);
    assert!(client.is_silent_to(&own), "its own answers");
}

#[test]
fn only_the_networks_of_the_list_are_answered_and_peers_always() {
    let Some(stage) = stage() else { return };
    let _device = stage.device("wg0", &readme());
    let args = ["--listen", TUNNEL, "--allow", "198.51.100.0/24"];
    let (_registry, stranger) = stage.public_registry(&args);
    let query = Query::new("example.com.", SOA);
    assert_eq!(stranger.ask(&query).rcode(), REFUSED);
    assert_eq!(stage.ask_from(&stage.client, TUNNEL).ask(&query).rcode(), NOERROR);
    let stream = stage.connect(PUBLIC).expect("a connection");
    write_framed(&stream, &query.bytes()).expect("it is taken");
    assert_eq!(Answer::read(&read_framed(&stream).expect("an answer")).rcode(), REFUSED, "by TCP too");
    drop(_registry);
    let net = format!("{CLIENT}/32");
    let (_registry, friend) = stage.public_registry(&["--allow", "198.51.100.0/24", "--allow", &net]);
    assert_eq!(friend.ask(&query).rcode(), NOERROR);
}

#[test]
fn a_stranger_gets_at_most_four_times_what_it_sent() {
    let Some(stage) = stage() else { return };
    let nets: Vec<String> = (0..200).map(|n| format!("10.1.{n}.0/24")).collect();
    let nets: Vec<&str> = nets.iter().map(String::as_str).collect();
    let peers: Vec<Peer> = (0..50).map(|n| Peer::new(n, "203.0.113.1:7777", &nets)).collect();
    let _device = stage.device("wg0", &peers);
    let (_registry, client) = stage.public_registry(&["--rate-limit", "0", "--self"]);
    let instance = format!("{}._wireguard._udp.example.com.", peers[3].label());
    let short = instance.replace('=', "");
    let names = [&*instance, &short, "example.com.", "ns1.example.com.", "_udp.example.com.", "x.example.com."];
    let more = ["_wireguard._udp.example.com.", "_services._dns-sd._udp.example.com.", "example.org.", "."];
    let mut worst = (0.0, String::new());
    for name in names.into_iter().chain(more) {
        for qtype in [A, NS, SOA, PTR, TXT, AAAA, SRV, AXFR, ANY, 48, 65_535] {
            let plain = Query::new(name, qtype);
            for query in [plain.clone(), plain.clone().edns(512), plain.clone().edns(65_535).option(10, b"8 bytes!")] {
                let (sent, got) = (query.bytes().len(), client.exchange(&query).len());
                let factor = got as f64 / sent as f64;
                // An answer always has the question and, if asked for, EDNS with a cookie: 28 bytes it did not send.
                assert!(got <= 4 * sent, "{name} {qtype}: {got} bytes for {sent}");
                if factor > worst.0 {
                    worst = (factor, format!("{name} {qtype}: {got} bytes for {sent}"));
                }
            }
        }
    }
    println!("measured: the largest factor is {:.2}: {}", worst.0, worst.1);
}

#[test]
fn the_rate_limit_holds_for_strangers_sends_them_to_tcp_and_spares_peers() {
    let Some(stage) = stage() else { return };
    let _device = stage.device("wg0", &readme());
    let (_registry, client) = stage.public_registry(&["--listen", TUNNEL, "--rate-limit", "10"]);
    let query = Query::new(&format!("{ONE}._wireguard._udp.example.com."), SRV);
    let (mut whole, mut truncated) = (0_u64, 0_u64);
    let begin = Instant::now();
    for id in 0..400 {
        client.send(&query.clone().id(id).bytes());
    }
    // Patient until there are as many as there must be, then until no more come.
    let patience = |whole, truncated| if whole < 20 || truncated < 100 { PATIENCE } else { Duration::from_millis(300) };
    while let Some(answer) = client.receive(patience(whole, truncated)) {
        let answer = Answer::read(&answer);
        if answer.has(TC) { truncated += 1 } else { whole += 1 }
    }
    // 20 at once and 10 a second.
    let most = 21 + 10 * begin.elapsed().as_secs();
    assert!((20..=most).contains(&whole), "{whole} answers");
    assert!((100..=200).contains(&truncated), "{truncated} of some 380 are sent to TCP");
    let stream = stage.connect(PUBLIC).expect("a connection");
    for _ in 0..50 {
        write_framed(&stream, &query.bytes()).expect("it is taken");
        assert_eq!(Answer::read(&read_framed(&stream).expect("an answer")).rcode(), NOERROR);
    }
    let peer = stage.ask_from(&stage.client, TUNNEL);
    for id in 0..400 {
        assert!(!peer.ask(&query.clone().id(id)).has(TC), "peers are not limited");
    }
}
