//! An emulator of wgsd's client, as strict and as careless as the original: 512 bytes, no EDNS, no retry, no TCP, the first
//! answer must be SRV and the first additional record an address; nothing else is looked at.

use std::net::SocketAddr;

use super::device::Peer;
use super::stage::stage;
use super::wire::{Client, Query, SRV};

/// What wgsd-client would set as endpoint; a panic where it would panic or skip the peer.
fn wgsd_client(client: &Client, peer: &Peer) -> SocketAddr {
    let name = format!("{}._wireguard._udp.example.com.", peer.label().to_uppercase());
    let answer = client.exchange(&Query::new(&name, SRV));
    assert!(answer.len() <= 512, "miekg/dns reads 512 bytes");
    assert_eq!(answer[3] & 0xf, 0, "success");
    super::wire::Answer::read(&answer).endpoint().expect("Answer[0] is SRV and Extra[0] an address")
}

#[test]
fn wgsds_client_finds_every_peer() {
    let Some(stage) = stage() else { return };
    let nets: Vec<String> = (0..200).map(|n| format!("10.1.{n}.0/24")).collect();
    let nets: Vec<&str> = nets.iter().map(String::as_str).collect();
    let endpoints = ["203.0.113.1:7777", "[2001:db8::7]:51820", "[fd00:1111:2222:3333:4444:5555:6666:7777]:65535"];
    let mut peers = Vec::new();
    for (n, endpoint) in (0u16..).zip(endpoints) {
        // Around the lengths of the list where wgsd's own server truncates, and where it fails.
        for (m, count) in (0u16..).zip([0, 1, 8, 9, 10, 11, 14, 15, 16, 17, 18, 19, 200]) {
            peers.push(Peer::new(100 * n + m, endpoint, &nets[..count]));
        }
    }
    let _device = stage.device("wg0", &peers);
    let (registry, peer) = stage.private_registry(&[]);
    peers
        .iter()
        .for_each(|p| assert_eq!(Some(wgsd_client(&peer, p)), p.endpoint.as_ref().and_then(|e| e.parse().ok())));
    drop(registry);
    // As a stranger: nothing proves its address, and it has no cookie to show.
    let (_registry, stranger) = stage.public_registry(&["--rate-limit", "0"]);
    peers
        .iter()
        .for_each(|p| assert_eq!(Some(wgsd_client(&stranger, p)), p.endpoint.as_ref().and_then(|e| e.parse().ok())));
}
