//! The presets do what their descriptions say.

use super::world::{Outcome, World, socket};
use crate::behaviour::{Behaviour, Reason, Side};

const HOST: &str = "192.168.1.2:5000";
const OTHER_HOST: &str = "192.168.1.3:5000";
const PEER: &str = "198.51.100.1:3478";
const OTHER_PEER: &str = "198.51.100.2:3478";

#[test]
fn stock_linux_shares_a_port_between_hosts_that_talk_to_different_peers() {
    let mut world = World::of("linux_masquerade");
    assert_eq!(world.mapped(HOST, PEER).port(), 5_000);
    assert_eq!(world.mapped(OTHER_HOST, OTHER_PEER).port(), 5_000, "nobody else talks to that one");
    let other = world.mapped(OTHER_HOST, PEER).port();
    assert_ne!(other, 5_000, "towards this peer it is taken");
    let receiver = |world: &mut World, peer, port: u16| {
        world.udp(Side::Outside, peer, &format!("203.0.113.1:{port}")).flow().dst.to_string()
    };
    assert_eq!(receiver(&mut world, PEER, 5_000), HOST);
    assert_eq!(receiver(&mut world, OTHER_PEER, 5_000), OTHER_HOST);
    assert_eq!(receiver(&mut world, PEER, other), OTHER_HOST);
}

#[test]
fn an_early_packet_poisons_stock_linux_towards_its_sender_only_and_openwrt_not_at_all() {
    for (preset, poisoned) in [("linux_masquerade", true), ("openwrt", false), ("rfc4787", false)] {
        let mut world = World::of(preset);
        world.mapped(HOST, OTHER_PEER);
        world.udp(Side::Outside, PEER, "203.0.113.1:5000");
        assert_eq!(world.mapped(HOST, PEER).port() != 5_000, poisoned, "{preset}");
        assert_eq!(world.mapped(HOST, "198.51.100.3:1").port(), 5_000, "{preset}: others are not concerned");
    }
    // It passes.
    let mut world = World::of("linux_masquerade");
    world.udp(Side::Outside, PEER, "203.0.113.1:5000");
    world.wait(30.1);
    assert_eq!(world.mapped(HOST, PEER).port(), 5_000);
    // And without a mapping at that time it is the same.
    world.wait(1_000.0);
    world.udp(Side::Outside, PEER, "203.0.113.1:5000");
    assert_ne!(world.mapped(HOST, PEER).port(), 5_000);
}

#[test]
fn poisoning_is_a_fault_that_can_be_switched_on_in_any_kind() {
    for name in Behaviour::NAMES {
        for (switch, poisoned) in [("yes", true), ("no", false)] {
            let mut world = World::of(&format!("{name} alloc=preserving-or-random udp=ei/apd poisoning={switch}"));
            world.mapped(HOST, OTHER_PEER);
            world.udp(Side::Outside, PEER, "203.0.113.1:5000");
            assert_eq!(world.mapped(HOST, PEER).port() != 5_000, poisoned, "{name} {switch}");
        }
    }
}

#[test]
fn a_carrier_does_what_is_demanded_of_every_nat_and_differs_in_what_rfc_6888_adds_only() {
    let base = Behaviour::rfc4787();
    let Behaviour { allocation, hold_down, refusal, limits, .. } = Behaviour::cgn_rfc6888();
    assert_eq!(Behaviour { allocation, hold_down, refusal, limits, ..base }, Behaviour::cgn_rfc6888());
    // So it hairpins, lets everybody in, and holds what it did not expect, with random ports as well.
    let mut world = World::of("cgn_rfc6888");
    let (a, b) = (world.mapped(HOST, PEER), world.mapped(OTHER_HOST, PEER));
    assert_eq!(world.mapped(HOST, OTHER_PEER), a);
    assert!(world.comes_in(socket(OTHER_PEER), b));
    assert_eq!(world.udp(Side::Inside, HOST, &b.to_string()).flow().src, a);
    world.wait(299.9);
    assert!(world.comes_in(socket(PEER), a));
}

#[test]
fn a_mobile_carrier_has_blocks_and_forgets_soon() {
    let mut world = World::of("mobile_carrier");
    let blocks: Vec<u16> = (1..50).map(|n| world.mapped(HOST, &format!("198.51.100.{n}:53")).port()).collect();
    assert!(blocks.iter().all(|port| (port - 1_024) / 512 == (blocks[0] - 1_024) / 512), "{blocks:?}");
    world.wait(30.1);
    assert_eq!(world.nat.mappings(), 0);
}

#[test]
fn unsolicited_connections_get_what_each_device_gives_them() {
    for name in Behaviour::NAMES {
        let mut world = World::of(name);
        let outcome = world.tcp(Side::Outside, PEER, "203.0.113.1:5000", "S");
        match name {
            "home_router" | "full_cone_router" | "linux_masquerade" | "openwrt" => {
                assert!(!outcome.answer().is_empty(), "{name}")
            }
            "rfc4787" | "cgn_rfc6888" => assert_eq!(outcome, Outcome::Lost(Reason::SynHeld), "{name}"),
            _ => assert_eq!(outcome, Outcome::Lost(Reason::NoMapping), "{name}"),
        }
    }
}

#[test]
fn an_office_firewall_can_be_predicted_and_a_cloud_cannot() {
    let ports = |name: &str| {
        let mut world = World::of(name);
        (1..6).map(|n| world.mapped(HOST, &format!("198.51.100.{n}:53")).port()).collect::<Vec<_>>()
    };
    assert_eq!(ports("corporate_firewall"), [1_024, 1_025, 1_026, 1_027, 1_028]);
    let cloud = ports("cloud_nat");
    assert!(cloud.windows(2).all(|pair| pair[0].abs_diff(pair[1]) > 1), "{cloud:?}");
}

#[test]
fn a_full_cone_router_lets_everybody_in_and_a_home_router_whom_it_knows() {
    for (name, open) in [("full_cone_router", true), ("home_router", false)] {
        let mut world = World::of(name);
        let mapped = world.mapped(HOST, PEER);
        assert_eq!(world.comes_in(socket(OTHER_PEER), mapped), open, "{name}");
        assert!(world.comes_in(socket(PEER), mapped), "{name}");
    }
}

#[test]
fn answers_to_whom_a_filter_lets_in_come_from_the_endpoint_that_was_reached() {
    // A mapping for one peer that others may send to: an answer must not come from another port.
    let mut world = World::of("rfc4787 udp=apd/ei alloc=random");
    let mapped = world.mapped(HOST, PEER);
    assert!(world.comes_in(socket(OTHER_PEER), mapped));
    assert_eq!(world.mapped(HOST, OTHER_PEER), mapped);
}
