//! What RFC 4787 wants of UDP, requirement by requirement. Types of mapping and filtering: `types`.

use pinhole_sansio::{Duration, Instant};

use super::world::{EXTERNAL, Outcome, World, socket, udp};
use crate::behaviour::{Behaviour, Exempt, Reason, Side};

const HOST: &str = "192.168.1.2:5000";
const OTHER_HOST: &str = "192.168.1.3:5000";
const PEER: &str = "198.51.100.1:3478";

#[test]
fn ports_are_never_shared_and_the_class_stays() {
    let mut world = World::of("rfc4787");
    let mut seen = Vec::new();
    for host in 2..50 {
        let high = world.mapped(&format!("192.168.1.{host}:5000"), PEER).port();
        let low = world.mapped(&format!("192.168.1.{host}:500"), PEER).port();
        assert!(high >= 1_024 && low < 1_024 && low > 0, "{high} {low}");
        assert!(!seen.contains(&high) && !seen.contains(&low), "{high} {low}");
        seen.extend([high, low]);
    }
}

#[test]
fn parity_stays_as_long_as_there_are_ports_of_it() {
    let mut world = World::of("rfc4787 alloc=random ports=2000-2009");
    let ports: Vec<_> = (0..5).map(|n| world.mapped(&format!("192.168.1.2:{}", 5_000 + 2 * n), PEER).port()).collect();
    assert!(ports.iter().all(|port| port % 2 == 0), "{ports:?}");
    assert_eq!(world.mapped("192.168.1.2:6000", PEER).port() % 2, 1, "an odd one is better than none");
}

#[test]
fn the_odd_neighbour_gets_the_port_beside_where_contiguity_is_wanted() {
    let mut world = World::of("rfc4787 alloc=random contiguous=yes");
    let rtp = world.mapped("192.168.1.2:5000", PEER).port();
    assert_eq!(world.mapped("192.168.1.2:5001", PEER).port(), rtp + 1);
}

#[test]
fn an_udp_mapping_lives_five_minutes_after_the_last_packet_from_inside() {
    let mut world = World::of("rfc4787 alloc=random");
    let mapped = world.mapped(HOST, PEER);
    world.wait(299.9);
    assert!(world.comes_in(socket(PEER), mapped), "REQ-5: it is there");
    world.wait(0.2);
    assert_eq!(world.udp(Side::Outside, PEER, &mapped.to_string()), Outcome::Lost(Reason::NoMapping));
    // REQ-6: what goes out refreshes, what comes in does not.
    let mapped = world.mapped(HOST, PEER);
    world.wait(200.0);
    assert_eq!(world.mapped(HOST, PEER), mapped);
    world.wait(200.0);
    assert!(world.comes_in(socket(PEER), mapped));
    world.wait(100.1);
    assert!(!world.comes_in(socket(PEER), mapped), "inbound packets have not refreshed it");
}

#[test]
fn every_direction_of_refreshing_can_be_had() {
    for (refresh, out, into) in [("out", true, false), ("in", false, true), ("both", true, true)] {
        for (side, refreshes) in [(Side::Inside, out), (Side::Outside, into)] {
            let mut world = World::of(&format!("rfc4787 refresh={refresh} udp-timeout=100 udp-stream=100"));
            let mapped = world.mapped(HOST, PEER).to_string();
            world.wait(60.0);
            match side {
                Side::Inside => assert!(world.udp(side, HOST, PEER).has_arrived()),
                Side::Outside => assert!(world.udp(side, PEER, &mapped).has_arrived()),
            }
            world.wait(60.0);
            let lives = world.nat.list().iter().any(|listed| listed.external.to_string() == mapped);
            assert_eq!(lives, refreshes, "{refresh} {side:?}");
        }
    }
}

#[test]
fn every_timer_of_a_datagram_is_its_own() {
    let text = "rfc4787 udp-timeout=20 udp-stream=50 icmp-timeout=80";
    let echo = super::world::echo("192.168.1.2", "198.51.100.1", false, 7);
    for (packet, answered, seconds) in
        [(udp(HOST, PEER), false, 20.0), (udp(HOST, PEER), true, 50.0), (echo, false, 80.0)]
    {
        for (wait, lives) in [(seconds - 0.1, true), (seconds + 0.1, false)] {
            let mut world = World::of(text);
            let mapped = world.send(Side::Inside, packet.clone()).flow().src;
            if answered {
                assert!(world.comes_in(socket(PEER), mapped));
                assert!(world.send(Side::Inside, packet.clone()).has_arrived());
            }
            world.wait(wait);
            assert_eq!(world.nat.mappings() == 1, lives, "{seconds} s, answered: {answered}");
        }
    }
}

#[test]
fn hosts_on_both_sides_may_have_the_same_address() {
    let mut world = World::of("rfc4787");
    let mapped = world.mapped(HOST, "192.168.1.3:80");
    let answer = world.udp_from(Side::Outside, socket("192.168.1.3:80"), mapped).flow();
    assert_eq!((answer.src, answer.dst), (socket("192.168.1.3:80"), socket(HOST)));
}

#[test]
fn hosts_reach_each_other_by_external_endpoints_and_see_no_others() {
    let mut world = World::of("rfc4787");
    let (a, b) = (world.mapped(HOST, PEER), world.mapped(OTHER_HOST, PEER));
    let outcome = world.udp(Side::Inside, HOST, &b.to_string());
    assert!(matches!(outcome, Outcome::Arrived(Side::Inside, _)));
    assert_eq!((outcome.flow().src, outcome.flow().dst), (a, socket(OTHER_HOST)), "REQ-9 a: the external source");
    let back = world.udp(Side::Inside, OTHER_HOST, &a.to_string()).flow();
    assert_eq!((back.src, back.dst), (b, socket(HOST)));
}

#[test]
fn a_host_reaches_itself_by_its_own_external_endpoint() {
    let mut world = World::of("rfc4787");
    let own = world.mapped(HOST, PEER);
    let echo = world.udp(Side::Inside, HOST, &own.to_string()).flow();
    assert_eq!((echo.src, echo.dst), (own, socket(HOST)));
}

#[test]
fn every_kind_of_hairpinning_can_be_had() {
    let mut world = World::of("rfc4787 hairpin=internal");
    let b = world.mapped(OTHER_HOST, PEER).to_string();
    assert_eq!(world.udp(Side::Inside, HOST, &b).flow().src, socket(HOST));
    let mut world = World::of("rfc4787 hairpin=none");
    let b = world.mapped(OTHER_HOST, PEER).to_string();
    assert_eq!(world.udp(Side::Inside, HOST, &b), Outcome::Lost(Reason::Hairpin));
}

#[test]
fn hairpinned_packets_are_filtered_like_all_others() {
    let mut world = World::of("rfc4787 udp=ei/apd");
    let (a, b) = (world.mapped(HOST, PEER).to_string(), world.mapped(OTHER_HOST, PEER).to_string());
    assert_eq!(world.udp(Side::Inside, HOST, &b), Outcome::Lost(Reason::Filtered));
    assert!(world.udp(Side::Inside, OTHER_HOST, &a).has_arrived(), "the other one has sent");
    assert!(world.udp(Side::Inside, HOST, &b).has_arrived(), "and now both have");
}

#[test]
fn behaviour_does_not_change_under_pressure() {
    // REQ-11: a NAT whose wished port is taken behaves as one whose port is free.
    let mut world = World::of("rfc4787");
    world.mapped(OTHER_HOST, PEER);
    for peer in 1..200 {
        let first = world.mapped(HOST, PEER);
        assert_ne!(first.port(), 5_000, "it is taken");
        assert_eq!(world.mapped(HOST, &format!("198.51.100.{peer}:{peer}")), first);
        assert!(world.comes_in(socket("203.0.113.99:9"), first));
    }
}

#[test]
fn what_is_too_long_and_may_not_be_fragmented_is_answered() {
    let mut world = World::of("rfc4787");
    world.nat = world.nat.with_mtu(34);
    let packet = udp(HOST, PEER);
    assert_eq!(packet.len(), 35);
    let outcome = world.send(Side::Inside, packet);
    let line = pinhole_wire::text::Line::of(outcome.answer()).expect("a packet").to_string();
    assert_eq!(line, format!("192.168.1.1 > 192.168.1.2 icmp too-big mtu 34 ({HOST} > {PEER} udp \"payload\")"));
    assert_eq!(world.nat.mappings(), 0);
}

#[test]
fn what_is_too_long_and_may_be_fragmented_goes_out_in_fragments_in_order() {
    let mut world = World::of("rfc4787");
    world.nat = world.nat.with_mtu(34);
    let mut packet = udp(HOST, PEER);
    let mut ip = pinhole_wire::ipv4::Packet::new_checked(&mut packet[..]).expect("IPv4");
    ip.set_dont_fragment(false);
    ip.fill_checksum();
    assert_eq!(world.send(Side::Inside, packet), Outcome::Kept);
    let fragments: Vec<_> = std::iter::from_fn(|| world.nat.poll_output()).collect();
    let mut payload = Vec::new();
    for (n, (side, fragment)) in fragments.iter().enumerate() {
        let ip = pinhole_wire::ipv4::Packet::new_checked(&fragment[..]).expect("IPv4");
        assert!(*side == Side::Outside && fragment.len() <= 34 && ip.verify_checksum());
        assert_eq!((ip.fragment_offset(), ip.more_fragments()), (payload.len(), n + 1 < fragments.len()));
        assert_eq!(ip.src(), EXTERNAL);
        payload.extend_from_slice(ip.payload());
    }
    assert_eq!((fragments.len(), payload.len()), (2, 15));
    let udp = pinhole_wire::udp::Packet::new_checked(&payload[..]).expect("UDP");
    assert!(udp.verify_checksum(EXTERNAL.into(), socket(PEER).ip()), "it is whole again");
}

#[test]
fn exempt_destinations_are_not_translated() {
    // RFC 6888 REQ-6.
    let mut world = World::of("cgn_rfc6888");
    let net = "198.51.100.0/24".parse().expect("a network");
    world.nat = world.nat.with_exempt([Exempt { net, ports: Some((3_478, 3_478)) }]);
    let out = world.udp(Side::Inside, HOST, PEER);
    assert_eq!((out.flow().src, world.nat.mappings()), (socket(HOST), 0));
    assert_eq!(world.udp(Side::Outside, PEER, HOST).flow().dst, socket(HOST));
    assert_eq!(world.mapped(HOST, "198.51.100.1:53").ip(), EXTERNAL, "another port is translated");
    assert_eq!(world.udp(Side::Outside, "192.0.2.1:1", HOST), Outcome::Lost(Reason::NotOurs));
}

#[test]
fn a_mapping_that_was_asked_for_is_open_to_all_until_its_time_is_over() {
    // What a PCP server asks for (RFC 6888 REQ-9), and port forwarding.
    let mut world = World::of("home_router");
    let inside = ("192.168.1.2".parse().expect("an address"), 80);
    let udp = pinhole_wire::Protocol::Udp;
    let minute = Some(Duration::from_secs(60));
    let given = world.nat.open(world.now, udp, inside, Some((EXTERNAL, 8_080)), minute);
    assert_eq!(given, Ok((EXTERNAL, 8_080)));
    assert_eq!(world.udp(Side::Outside, PEER, "203.0.113.1:8080").flow().dst, socket("192.168.1.2:80"));
    assert_eq!(world.udp(Side::Inside, "192.168.1.2:80", PEER).flow().src, socket("203.0.113.1:8080"));
    let taken = world.nat.open(world.now, udp, (inside.0, 81), Some((EXTERNAL, 8_080)), minute);
    assert!(taken.is_ok_and(|(_, port)| port != 8_080), "somebody has it");
    world.wait(300.0);
    assert_eq!(world.nat.mappings(), 0);
    // Forever, until it is closed.
    assert!(world.nat.open(world.now, udp, inside, None, None).is_ok());
    world.wait(1e7);
    assert_eq!(world.nat.mappings(), 1);
    assert!(world.nat.close(world.now, udp, inside) && !world.nat.close(world.now, udp, inside));
    assert_eq!(world.nat.mappings(), 0);
}

#[test]
fn every_deadline_is_announced_and_the_same_seed_gives_the_same_run() {
    let run = |seed| {
        let mut nat = crate::behaviour::Nat::new(Behaviour::cgn_rfc6888(), [EXTERNAL], super::world::GATEWAY, seed);
        let mut seen = Vec::new();
        for host in 2..20 {
            let mut packet = udp(&format!("192.168.1.{host}:5000"), PEER);
            nat.process(Instant::EPOCH, Side::Inside, &mut packet);
            seen.push(packet);
        }
        while let Some(at) = nat.poll_timeout() {
            nat.handle_timeout(at);
            seen.push(format!("{at:?} {}", nat.mappings()).into_bytes());
        }
        assert_eq!(nat.mappings(), 0, "driven by its own deadlines alone, everything ends");
        seen
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

#[test]
fn no_payload_is_touched() {
    // REQ-10, and RFC 5382 REQ-6: addresses in a text are not the NAT's business, on the ports of their protocols neither.
    let texts =
        ["INVITE sip:b@203.0.113.9 SIP/2.0\r\nContact: <sip:192.168.1.2:5060>\r\n", "PORT 192,168,1,2,19,136\r\n"];
    for (text, port) in texts.into_iter().zip([5_060, 21]) {
        let mut world = World::of("rfc4787");
        let (src, dst) = (socket(HOST), std::net::SocketAddr::new(socket(PEER).ip(), port));
        let mut out = vec![0; 200];
        let len = pinhole_wire::build::udp(src, dst, 64, text.as_bytes(), &mut out).expect("a packet");
        out.truncate(len);
        assert_eq!(&world.send(Side::Inside, out).packet()[28..], text.as_bytes());
        let mut out = vec![0; 200];
        let segment = pinhole_wire::build::Segment { flags: pinhole_wire::tcp::Flags::SYN, ..Default::default() };
        let len = pinhole_wire::build::tcp(src, dst, 64, segment, text.as_bytes(), &mut out).expect("a packet");
        out.truncate(len);
        assert_eq!(&world.send(Side::Inside, out).packet()[40..], text.as_bytes());
    }
}

#[test]
fn no_udp_checksum_stays_none_and_none_becomes_none() {
    let mut world = World::of("rfc4787");
    let mut packet = udp(HOST, PEER);
    packet[26..28].fill(0);
    assert_eq!(world.send(Side::Inside, packet).packet()[26..28], [0, 0], "RFC 768: there is none");
    // With every sum there is, the translated one among them that computes to zero.
    for word in 0..=u16::MAX {
        let mut out = [0; 40];
        let len =
            pinhole_wire::build::udp(socket(HOST), socket(PEER), 64, &word.to_be_bytes(), &mut out).expect("it fits");
        let translated = world.send(Side::Inside, out[..len].to_vec());
        assert_ne!(translated.packet()[26..28], [0, 0], "{word}");
    }
}
