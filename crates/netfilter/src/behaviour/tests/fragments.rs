//! Fragments through a NAT, in any order (RFC 4787 REQ-14).

use pinhole_wire::{ipv4, udp};

use super::world::{EXTERNAL, Outcome, World, socket};
use crate::behaviour::fragments::split;
use crate::behaviour::{Reason, Side};

const HOST: &str = "192.168.1.2:5000";
const PEER: &str = "198.51.100.1:3478";

/// A UDP packet with this identification, in three fragments.
fn fragments(src: &str, dst: &str, identification: u16) -> Vec<Vec<u8>> {
    let mut packet = super::world::udp(src, dst);
    let mut ip = ipv4::Packet::new_checked(&mut packet[..]).expect("IPv4");
    ip.set_dont_fragment(false);
    ip.set_identification(identification);
    ip.fill_checksum();
    let pieces = split(&packet, 28).expect("fragments");
    assert_eq!(pieces.len(), 2);
    pieces
}

/// Puts the payloads of fragments together, and holds the whole to be an intact packet.
fn assembled(arrived: &[Vec<u8>]) -> (String, String) {
    let views: Vec<_> = arrived.iter().map(|bytes| ipv4::Packet::new_checked(&bytes[..]).expect("IPv4")).collect();
    let mut sorted: Vec<_> = views.iter().collect();
    sorted.sort_by_key(|ip| ip.fragment_offset());
    let payload = sorted.iter().flat_map(|ip| ip.payload().to_vec()).collect::<Vec<_>>();
    assert!(views.iter().all(|ip| ip.verify_checksum() && ip.src() == views[0].src() && ip.dst() == views[0].dst()));
    let udp = udp::Packet::new_checked(&payload[..]).expect("UDP");
    assert!(udp.verify_checksum(views[0].src().into(), views[0].dst().into()));
    (format!("{}:{}", views[0].src(), udp.src_port()), format!("{}:{}", views[0].dst(), udp.dst_port()))
}

#[test]
fn fragments_pass_in_order_and_out_of_order_in_both_directions() {
    for order in [[0, 1], [1, 0]] {
        let mut world = World::of("rfc4787");
        let mut pass = |side, src: &str, dst: &str| {
            let all = fragments(src, dst, 7);
            let mut arrived = Vec::new();
            for n in order {
                match world.send(side, all[n].clone()) {
                    Outcome::Arrived(to, packet) => {
                        assert_ne!(to, side);
                        arrived.push(packet);
                    }
                    outcome => assert_eq!(outcome, Outcome::Kept),
                }
                arrived.extend(std::iter::from_fn(|| world.nat.poll_output()).map(|(_, packet)| packet));
            }
            assert_eq!(arrived.len(), 2);
            assembled(&arrived)
        };
        assert_eq!(pass(Side::Inside, HOST, PEER), ("203.0.113.1:5000".into(), PEER.into()));
        assert_eq!(pass(Side::Outside, PEER, "203.0.113.1:5000"), (PEER.into(), HOST.into()));
    }
}

#[test]
fn fragments_without_a_first_one_take_room_from_nothing_else() {
    let mut world = World::of("rfc4787");
    let mapped = world.mapped(HOST, PEER).to_string();
    for identification in 0..5_000 {
        let outcome = world.send(Side::Outside, fragments("192.0.2.9:1", &mapped, identification)[1].clone());
        assert!(matches!(outcome, Outcome::Kept | Outcome::Lost(Reason::TooManyFragments)), "{outcome:?}");
    }
    assert!(world.nat.counters().kept <= 256);
    // What is whole, and what comes in order, passes as if nothing were.
    assert!(world.comes_in(socket(PEER), socket(&mapped)));
    for fragment in fragments(PEER, &mapped, 9) {
        assert!(world.send(Side::Outside, fragment).has_arrived());
    }
    world.wait(15.1);
    let all = fragments(PEER, &mapped, 10);
    assert_eq!(world.send(Side::Outside, all[1].clone()), Outcome::Kept, "there is room again");
    assert!(world.send(Side::Outside, all[0].clone()).has_arrived());
    let late = world.nat.poll_output().expect("the one that waited");
    assert_eq!(
        ipv4::Packet::new_checked(&late.1[..]).map(|ip| ip.dst()),
        Ok("192.168.1.2".parse().expect("an address"))
    );
}

#[test]
fn fragments_of_a_packet_that_may_not_pass_do_not_pass() {
    let mut world = World::of("rfc4787");
    for fragment in fragments("192.0.2.9:1", &format!("{EXTERNAL}:9"), 3) {
        assert!(!world.send(Side::Outside, fragment).has_arrived());
    }
    assert_eq!(world.nat.poll_output(), None);
}
