//! What RFC 5508 wants of ICMP.

use core::net::IpAddr;

use pinhole_wire::answer::{self, Trouble};
use pinhole_wire::text::Line;
use pinhole_wire::{Flow, icmp, ipv4};

use super::world::{EXTERNAL, Outcome, World, assert_intact, echo, socket, tcp, udp};
use crate::behaviour::{Reason, Side};

const HOST: &str = "192.168.1.2:5000";
const PEER: &str = "198.51.100.1:3478";
/// A router between the NAT and the peer.
const ROUTER: &str = "192.0.2.99";

/// The error about `packet` that `from` sends.
fn error(packet: &[u8], trouble: Trouble, from: &str) -> Vec<u8> {
    let mut out = vec![0; 600];
    let from: IpAddr = from.parse().expect("an address");
    let len = answer::error(packet, trouble, from, &mut out).expect("an error");
    out.truncate(len);
    out
}

fn line(packet: &[u8]) -> String {
    Line::of(packet).expect("a packet").to_string()
}

#[test]
fn queries_pass_and_their_identifier_is_mapped_independently_of_the_destination() {
    let mut world = World::of("rfc4787");
    let mut external = |host: &str, peer: &str| {
        let out = world.send(Side::Inside, echo(host, peer, false, 777)).flow();
        assert_eq!(out.src.ip(), IpAddr::from(EXTERNAL));
        out.src.port()
    };
    let (a, b) = (external("192.168.1.2", "198.51.100.1"), external("192.168.1.3", "198.51.100.1"));
    assert_ne!(a, b, "two hosts with one identifier");
    assert_eq!((external("192.168.1.2", "198.51.100.2"), external("192.168.1.3", "198.51.100.2")), (a, b));
    let back = world.send(Side::Outside, echo("198.51.100.2", "203.0.113.1", true, b)).flow();
    assert_eq!((back.dst.ip().to_string(), back.dst.port()), ("192.168.1.3".into(), 777));
}

/// A query or an answer of any type.
fn query(message_type: u8, src: &str, dst: &str, identifier: u16) -> Vec<u8> {
    let mut packet = echo(src, dst, false, identifier);
    let address = |text: &str| text.parse().expect("an address");
    let mut message = icmp::Packet::new_checked(&mut packet[20..]).expect("ICMP");
    message.set_message_type(message_type);
    message.fill_checksum(address(src), address(dst));
    packet
}

#[test]
fn every_kind_of_query_passes_and_information_requests_do_not() {
    // REQ-1 means the queries of RFC 1122; REQ-10 c takes out information requests (15, 16).
    for (ask, answer) in [(icmp::v4::ECHO_REQUEST, icmp::v4::ECHO_REPLY), (13, 14), (17, 18)] {
        let mut world = World::of("rfc4787");
        world.send(Side::Inside, echo("192.168.1.9", "198.51.100.1", false, 777));
        let out = world.send(Side::Inside, query(ask, "192.168.1.2", "198.51.100.1", 777));
        let message = icmp::Packet::new_checked(&out.packet()[20..]).expect("ICMP");
        let mapped = message.identifier();
        assert_ne!(mapped, 777, "{ask}: another host has it");
        let back = world.send(Side::Outside, query(answer, "198.51.100.1", "203.0.113.1", mapped));
        let message = icmp::Packet::new_checked(&back.packet()[20..]).expect("ICMP");
        assert_eq!(message.identifier(), 777, "{ask}");
        assert_eq!(back.packet()[16..20], [192, 168, 1, 2], "{ask}");
        // An error about it finds it too.
        let about = world.send(Side::Outside, error(out.packet(), Trouble::TimeExceeded, ROUTER));
        assert_eq!(about.packet()[16..20], [192, 168, 1, 2], "{ask}");
        assert_intact(&about.packet()[28..]);
    }
    let mut world = World::of("rfc4787");
    for information in [15, 16] {
        let packet = query(information, "192.168.1.2", "198.51.100.1", 777);
        assert_eq!(world.send(Side::Inside, packet), Outcome::Lost(Reason::Protocol));
    }
}

#[test]
fn a_source_route_does_not_leave_in_icmp() {
    // §7.3, in the header of the message and in that of the packet it quotes.
    let with_options = |mut packet: Vec<u8>, options: [u8; 8]| {
        packet.splice(20..20, options);
        packet[0] = 0x47;
        let length = packet.len() as u16;
        packet[2..4].copy_from_slice(&length.to_be_bytes());
        ipv4::Packet::new_checked(&mut packet[..]).expect("IPv4").fill_checksum();
        packet
    };
    for (options, passes) in [
        ([131, 7, 4, 192, 168, 1, 7, 0], false),
        ([1, 137, 7, 4, 192, 168, 1, 7], false),
        // A record of the route, the end of options before what would be one, and a length that lies.
        ([7, 7, 4, 0, 0, 0, 0, 0], true),
        ([0, 131, 7, 4, 0, 0, 0, 0], true),
        ([68, 0, 4, 0, 0, 0, 0, 0], true),
    ] {
        let mut world = World::of("rfc4787");
        let outer = world.send(Side::Inside, with_options(echo("192.168.1.2", "198.51.100.1", false, 9), options));
        assert_eq!(outer.has_arrived(), passes, "{options:?}");
        let mapped = world.mapped(HOST, PEER).to_string();
        let inbound = world.udp(Side::Outside, PEER, &mapped).packet().to_vec();
        let about = error(&with_options(inbound, options), Trouble::PortUnreachable, "192.168.1.2");
        assert_eq!(world.send(Side::Inside, about).has_arrived(), passes, "{options:?}");
        assert_eq!(world.nat.counters().of(Reason::SourceRoute), if passes { 0 } else { 2 });
        assert!(world.send(Side::Inside, with_options(udp(HOST, PEER), options)).has_arrived(), "not ICMP");
    }
}

#[test]
fn own_errors_have_the_traffic_class_of_what_they_are_about_and_are_limited_in_number() {
    let mut world = World::of("rfc4787 ports=2000-2000 parity=no");
    world.mapped("192.168.1.2:5000", PEER);
    let mut packet = udp("192.168.1.2:5001", PEER);
    let mut ip = ipv4::Packet::new_checked(&mut packet[..]).expect("IPv4");
    ip.set_traffic_class(0xb8);
    ip.fill_checksum();
    let refused = world.send(Side::Inside, packet.clone());
    let ip = ipv4::Packet::new_checked(refused.answer()).expect("IPv4");
    assert_eq!(ip.traffic_class(), 0xb8, "REQ-10 d");
    // REQ-10 f: a hundred in a tenth of a second.
    let refuse = |world: &mut World| world.send(Side::Inside, packet.clone());
    let answered = (0..500).filter(|_| matches!(refuse(&mut world), Outcome::Answered(_))).count();
    assert_eq!(answered, 99);
    world.wait(0.1);
    assert!(matches!(refuse(&mut world), Outcome::Answered(_)));
}

#[test]
fn no_error_is_sent_about_an_error_or_a_later_fragment() {
    // REQ-10 e, RFC 1812 §4.3.2.7.
    let mut world = World::of("rfc4787");
    world.nat = world.nat.with_mtu(34);
    let inbound = udp("198.51.100.1:3478", "192.168.1.2:5000");
    let about = error(&inbound, Trouble::PortUnreachable, "192.168.1.2");
    assert_eq!(world.send(Side::Inside, about), Outcome::Lost(Reason::TooBig));
    let mut later = udp(HOST, PEER);
    let mut ip = ipv4::Packet::new_checked(&mut later[..]).expect("IPv4");
    ip.set_fragment(8, false);
    ip.fill_checksum();
    assert_eq!(world.send(Side::Inside, later), Outcome::Lost(Reason::TooBig));
}

#[test]
fn a_query_session_lives_for_sixty_seconds() {
    let mut world = World::of("rfc4787");
    world.send(Side::Inside, echo("192.168.1.2", "198.51.100.1", false, 7));
    let answer = echo("198.51.100.1", "203.0.113.1", true, 7);
    world.wait(59.9);
    assert!(world.send(Side::Outside, answer.clone()).has_arrived());
    world.wait(0.2);
    assert_eq!(world.send(Side::Outside, answer), Outcome::Lost(Reason::NoMapping));
}

#[test]
fn queries_from_outside_are_for_nobody_inside() {
    let mut world = World::of("rfc4787");
    world.send(Side::Inside, echo("192.168.1.2", "198.51.100.1", false, 7));
    let query = echo("198.51.100.1", "203.0.113.1", false, 7);
    assert_eq!(world.send(Side::Outside, query), Outcome::Lost(Reason::NoMapping));
    let answer = echo("192.168.1.2", "198.51.100.1", true, 7);
    assert_eq!(world.send(Side::Inside, answer), Outcome::Lost(Reason::Protocol));
}

#[test]
fn an_error_from_outside_is_translated_with_the_packet_it_quotes_whoever_sent_it() {
    let mut world = World::of("rfc4787 udp=ei/apd tcp=ei/apd");
    let packets = [udp(HOST, PEER), tcp(HOST, PEER, "S"), echo("192.168.1.2", "198.51.100.1", false, 5_000)];
    for (packet, protocol) in packets.into_iter().zip(["udp", "tcp", "icmp"]) {
        let out = world.send(Side::Inside, packet).packet().to_vec();
        let troubles = [
            (Trouble::TimeExceeded, "time-exceeded"),
            (Trouble::PortUnreachable, "port-unreachable"),
            (Trouble::TooBig { mtu: 1_300 }, "too-big mtu 1300"),
        ];
        for (trouble, word) in troubles {
            let back = world.send(Side::Outside, error(&out, trouble, ROUTER));
            let text = line(back.packet());
            assert!(text.starts_with(&format!("{ROUTER} > 192.168.1.2 icmp {word} (192.168.1.2")), "{text}");
            assert!(text.contains(protocol), "{text}");
            // The quoted packet is what the host had sent: checksums and all, which `send` has looked at.
            let ip = ipv4::Packet::new_checked(back.packet()).expect("IPv4");
            assert_intact(&ip.payload()[8..]);
        }
    }
}

#[test]
fn an_error_about_a_packet_with_options_or_of_eight_bytes_is_translated_as_well() {
    let mut world = World::of("rfc4787");
    let out = world.send(Side::Inside, tcp(HOST, PEER, "S")).packet().to_vec();
    // REQ-3 b: a header of 24 bytes. And no more than eight of TCP, as RFC 792 has it.
    let mut quoted = [&[0x46], &out[1..20], &[1, 1, 1, 0], &out[20..28]].concat();
    quoted[3] += 4;
    quoted[10..12].fill(0);
    let checksum = pinhole_wire::checksum::of(&quoted[..24]);
    quoted[10..12].copy_from_slice(&checksum.to_be_bytes());
    let mut packet = error(&out, Trouble::TimeExceeded, ROUTER);
    packet.truncate(28);
    packet.extend_from_slice(&quoted);
    let length = packet.len() as u16;
    packet[2..4].copy_from_slice(&length.to_be_bytes());
    ipv4::Packet::new_checked(&mut packet[..]).expect("IPv4").fill_checksum();
    let router: IpAddr = ROUTER.parse().expect("an address");
    icmp::Packet::new_checked(&mut packet[20..]).expect("ICMP").fill_checksum(router, EXTERNAL.into());
    let back = world.send(Side::Outside, packet);
    let inner = Flow::of_quoted(&back.packet()[28..]).expect("a flow");
    assert_eq!((inner.src, inner.dst), (socket(HOST), socket(PEER)));
    assert_eq!(pinhole_wire::checksum::of(&back.packet()[28..52]), 0, "the quoted IP header is right");
}

#[test]
fn an_error_with_a_wrong_checksum_is_dropped() {
    let mut world = World::of("rfc4787");
    let out = world.send(Side::Inside, udp(HOST, PEER)).packet().to_vec();
    let intact = error(&out, Trouble::TimeExceeded, ROUTER);
    let mut own = intact.clone();
    own[40] ^= 1;
    assert_eq!(world.send(Side::Outside, own), Outcome::Lost(Reason::Checksum), "its own");
    let mut about = out.clone();
    about[8] ^= 1;
    let mut quoted = error(&about, Trouble::TimeExceeded, ROUTER);
    quoted[28 + 8] = about[8];
    assert_eq!(world.send(Side::Outside, quoted), Outcome::Lost(Reason::Checksum), "that of the quoted header");
    // REQ-3 c: the quoted transport checksum is nobody's business.
    let mut about = out;
    about[26] ^= 1;
    let router: IpAddr = ROUTER.parse().expect("an address");
    let mut wrong = error(&about, Trouble::TimeExceeded, ROUTER);
    icmp::Packet::new_checked(&mut wrong[20..]).expect("ICMP").fill_checksum(router, EXTERNAL.into());
    let mut packet = wrong.clone();
    let verdict = world.nat.process(world.now, Side::Outside, &mut packet);
    assert_eq!(verdict, crate::behaviour::Verdict::Forward(Side::Inside));
}

#[test]
fn an_error_about_nothing_known_is_dropped_on_both_sides() {
    let mut world = World::of("rfc4787");
    world.mapped(HOST, PEER);
    let unknown = udp("203.0.113.1:9", PEER);
    let outcome = world.send(Side::Outside, error(&unknown, Trouble::TimeExceeded, ROUTER));
    assert_eq!(outcome, Outcome::Lost(Reason::UnrelatedError));
    let unknown = udp("192.0.2.1:1", "192.168.1.9:9");
    let about = error(&unknown, Trouble::PortUnreachable, "192.168.1.9");
    assert_eq!(world.send(Side::Inside, about), Outcome::Lost(Reason::UnrelatedError));
}

#[test]
fn an_error_from_inside_comes_from_the_external_address() {
    let mut world = World::of("rfc4787");
    let mapped = world.mapped(HOST, PEER).to_string();
    // About a packet from somebody the host knows, and from somebody it does not know.
    for peer in [PEER, "198.51.100.1:9"] {
        let inbound = world.udp(Side::Outside, peer, &mapped).packet().to_vec();
        for from in ["192.168.1.2", "10.1.2.3"] {
            // The host itself, and a router behind the NAT.
            let out = world.send(Side::Inside, error(&inbound, Trouble::PortUnreachable, from));
            let expected =
                format!("203.0.113.1 > 198.51.100.1 icmp port-unreachable ({peer} > {mapped} udp \"payload\")");
            assert_eq!(line(out.packet()), expected);
        }
    }
}

#[test]
fn an_error_about_a_hairpinned_packet_goes_back_by_hairpinning() {
    let mut world = World::of("rfc4787");
    let (a, b) = (world.mapped(HOST, PEER), world.mapped("192.168.1.3:5000", PEER));
    let inbound = world.udp(Side::Inside, HOST, &b.to_string()).packet().to_vec();
    let back = world.send(Side::Inside, error(&inbound, Trouble::PortUnreachable, "192.168.1.3"));
    assert!(matches!(back, Outcome::Arrived(Side::Inside, _)));
    // REQ-7: each host sees what it knows.
    let expected = format!("203.0.113.1 > 192.168.1.2 icmp port-unreachable ({HOST} > {b} udp \"payload\")");
    assert_eq!(line(back.packet()), expected);
    assert_ne!(a, b);
}

#[test]
fn errors_neither_end_nor_refresh_anything() {
    for packet in [udp(HOST, PEER), tcp(HOST, PEER, "S"), echo("192.168.1.2", "198.51.100.1", false, 5_000)] {
        let mut world = World::of("rfc4787");
        let out = world.send(Side::Inside, packet.clone()).packet().to_vec();
        let before = world.nat.list();
        for trouble in [Trouble::PortUnreachable, Trouble::TimeExceeded, Trouble::Prohibited] {
            assert!(world.send(Side::Outside, error(&out, trouble, ROUTER)).has_arrived());
        }
        assert_eq!(world.nat.list(), before, "nothing ended");
        world.wait(50.0);
        let remaining = world.nat.list()[0].remaining;
        assert!(world.send(Side::Outside, error(&out, Trouble::TimeExceeded, ROUTER)).has_arrived());
        assert_eq!(world.nat.list()[0].remaining, remaining, "nothing is refreshed");
    }
}

#[test]
fn errors_may_be_dropped_or_end_sessions_where_a_device_does_so() {
    let mut world = World::of("rfc4787 errors=dropped");
    let out = world.send(Side::Inside, udp(HOST, PEER)).packet().to_vec();
    let about = error(&out, Trouble::TimeExceeded, ROUTER);
    assert_eq!(world.send(Side::Outside, about.clone()), Outcome::Lost(Reason::UnwantedError));
    let mut world = World::of("rfc4787 errors=end-sessions");
    world.send(Side::Inside, udp(HOST, PEER));
    assert!(world.send(Side::Outside, about).has_arrived());
    assert_eq!(world.nat.mappings(), 0);
}

#[test]
fn an_inside_host_hears_that_it_gets_no_session() {
    let expected = [
        (
            "prohibited",
            Some(r#"192.168.1.1 > 192.168.1.2 icmp prohibited (192.168.1.2:5002 > 198.51.100.1:3478 udp "payload")"#),
        ),
        (
            "host",
            Some(
                r#"192.168.1.1 > 192.168.1.2 icmp host-unreachable (192.168.1.2:5002 > 198.51.100.1:3478 udp "payload")"#,
            ),
        ),
        ("silence", None),
    ];
    for (refusal, answer) in expected {
        let mut world = World::of(&format!("rfc4787 ports=2000-2001 refusal={refusal}"));
        world.mapped("192.168.1.2:5000", PEER);
        world.mapped("192.168.1.2:5001", PEER);
        let outcome = world.udp(Side::Inside, "192.168.1.2:5002", PEER);
        match answer {
            Some(answer) => assert_eq!(line(outcome.answer()), answer),
            None => assert_eq!(outcome, Outcome::Lost(Reason::NoPort)),
        }
    }
}

#[test]
fn redirects_and_source_quench_do_not_cross() {
    let mut world = World::of("rfc4787");
    let out = world.send(Side::Inside, udp(HOST, PEER)).packet().to_vec();
    for message_type in [icmp::v4::REDIRECT, icmp::v4::SOURCE_QUENCH] {
        let mut packet = error(&out, Trouble::TimeExceeded, ROUTER);
        packet[20] = message_type;
        assert_eq!(world.send(Side::Outside, packet), Outcome::Lost(Reason::Protocol));
    }
}
