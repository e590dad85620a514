//! What does not fit: truncation, retry by TCP, long lists of allowed-ips, and zones larger than any message.

use super::device::Peer;
use super::stage::{TUNNEL, stage};
use super::wire::*;

fn many(count: u16) -> Vec<Peer> {
    (0..count).map(|n| Peer::new(n, &format!("203.0.113.{}:{}", n % 250, 1_000 + n), &["10.0.0.1/32"])).collect()
}

#[test]
fn browsing_is_cut_at_512_and_1232_bytes_with_tc_and_whole_by_tcp() {
    let Some(stage) = stage() else { return };
    let _device = stage.device("wg0", &many(100));
    let (_registry, client) = stage.private_registry(&[]);
    let browse = Query::new("_wireguard._udp.example.com.", PTR);
    let cases = [(browse.clone(), 512), (browse.clone().edns(512), 512), (browse.clone().edns(800), 800)];
    let more = [(browse.clone().edns(1232), 1232), (browse.clone().edns(4096), 1232), (browse.clone().edns(0), 512)];
    for (query, limit) in cases.into_iter().chain(more) {
        let answer = client.ask(&query);
        assert!(answer.has(TC) && answer.len <= limit, "{} of {limit}", answer.len);
        assert!(answer.len > limit - 100, "what fits is there: {} of {limit}", answer.len);
    }
    let stream = stage.connect(TUNNEL).expect("a connection");
    write_framed(&stream, &browse.bytes()).expect("it is taken");
    let whole = Answer::read(&read_framed(&stream).expect("an answer"));
    assert_eq!((whole.has(TC), whole.targets().len()), (false, 100));
}

#[test]
fn a_thousand_peers_are_each_found_and_the_list_is_what_64_kib_hold() {
    let Some(stage) = stage() else { return };
    let peers = many(1_000);
    let _device = stage.device("wg0", &peers);
    let (_registry, client) = stage.private_registry(&[]);
    for (id, peer) in peers.iter().enumerate() {
        let query = Query::new(&format!("{}._wireguard._udp.example.com.", peer.label()), SRV).id(id as u16);
        assert_eq!(client.ask(&query).endpoint(), peer.endpoint.as_ref().and_then(|text| text.parse().ok()));
    }
    let stream = stage.connect(TUNNEL).expect("a connection");
    write_framed(&stream, &Query::new("_wireguard._udp.example.com.", PTR).bytes()).expect("it is taken");
    let answer = Answer::read(&read_framed(&stream).expect("an answer"));
    let listed = answer.targets();
    println!("measured: {} of 1,000 peers in {} bytes", listed.len(), answer.len);
    // 71 bytes a peer, compressed: what is more is left out, and TC says so, by TCP too (RFC 2181 §9).
    assert!(answer.has(TC) && listed.len() > 900 && answer.len <= 65_535);
    let expected = peers.iter().map(|peer| format!("{}._wireguard._udp.example.com.", peer.label()));
    assert!(listed.into_iter().eq(expected.take(answer.message.answers.len())), "the first of them, in order");
}

#[test]
fn long_allowed_ips_are_served_whole_and_never_cost_the_address() {
    let Some(stage) = stage() else { return };
    let nets: Vec<String> = (0..300).map(|n| format!("10.{}.{}.0/24", 100 + n / 250, n % 250)).collect();
    let nets: Vec<&str> = nets.iter().map(String::as_str).collect();
    let peers = [Peer::new(1, "203.0.113.1:7777", &nets), Peer::new(2, "[2001:db8::7]:51820", &nets)];
    let _device = stage.device("wg0", &peers);
    let (_registry, client) = stage.private_registry(&[]);
    for peer in &peers {
        let name = format!("{}._wireguard._udp.example.com.", peer.label());
        let endpoint = peer.endpoint.as_ref().and_then(|text| text.parse().ok());
        for name in [name.clone(), name.to_uppercase()] {
            let plain = client.ask(&Query::new(&name, SRV));
            assert_eq!((plain.endpoint(), plain.has(TC), plain.len <= 512), (endpoint, false, true));
            let edns = client.ask(&Query::new(&name, SRV).edns(1232));
            assert_eq!((edns.endpoint(), edns.has(TC)), (endpoint, false));
        }
        let text = client.ask(&Query::new(&name, TXT).edns(1232));
        assert!(text.has(TC), "4 KiB do not fit a datagram");
        let stream = stage.connect(TUNNEL).expect("a connection");
        for (query, tail) in [(Query::new(&name, TXT), 0), (Query::new(&name, SRV), 1)] {
            write_framed(&stream, &query.bytes()).expect("it is taken");
            let answer = Answer::read(&read_framed(&stream).expect("an answer"));
            assert_eq!((answer.has(TC), answer.message.additional.len() > tail), (false, tail == 1));
            let listed = answer.text().into_iter().filter_map(|string| {
                let (key, list) = string.split_once('=')?;
                key.starts_with("allowed").then(|| list.split(',').map(str::to_owned).collect::<Vec<_>>())
            });
            assert_eq!(listed.flatten().collect::<Vec<_>>(), nets);
        }
    }
}
