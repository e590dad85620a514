//! The hole that extra sockets punch through a NAT that maps at random becomes that of an unmodified WireGuard.
//!
//! The machine and its effects, on real hosts between kernel NATs, without agents: those have their own tests.

mod course;

use std::net::SocketAddr;
use std::time::Duration;

use pinhole_host::handover::{self, Handover};
use pinhole_host::netlink::conntrack;
use pinhole_host::nft::{Chain, Family, Hook, Installed, Policy, Rule, Ruleset, State};
use pinhole_host::wireguard::Control;
use pinhole_lab::Nat;
use pinhole_traversal::ports::Guess;
use pinhole_traversal::spray::{Limits, Remote, Role, Secret, Session, Settings};
use pinhole_wg::{DeviceUpdate, PeerUpdate};

use crate::support::device::{self, Kind};
use crate::support::plan::{self, ALICE, BOB, DEVICE, PORT};
use crate::support::ready::ready;
use crate::support::traffic::{Stream, first_echo};
use crate::support::until;
use crate::support::witness::Witness;
use crate::support::world::{Setup, World};
use course::Outcome;

/// Datagrams each way through a tunnel that is looked at.
const MANY: usize = 200;

/// Alice is easy to find, bob is not.
fn world(bob: Kind) -> World {
    let wireguard = [Kind::Go, Kind::Go, bob];
    World::bare(Setup { wireguard, nats: [Nat::CONE, Nat::SYMMETRIC], ..Setup::default() })
}

/// Both sides' attempts at the same time: what alice and bob came to.
fn punch(world: &World, number: u8) -> [Outcome; 2] {
    let settings = |role, local, remote, ports| Settings {
        role,
        secret: Secret([3; 32]),
        session: Session([number; 8]),
        local,
        remote: Remote { endpoint: SocketAddr::new(remote, PORT), ports },
        // Four times the usual number: fails once in ten million times.
        limits: Limits { probes: 4_000, deadline: Duration::from_secs(20), ..Limits::default() },
        seed: number.into(),
    };
    let alice = settings(Role::Prober, Guess::Fixed, BOB.into(), Guess::Unknown);
    let bob = settings(Role::Opener, Guess::Unknown, ALICE.into(), Guess::Fixed);
    let hosts = [world.host("alice"), world.host("bob")];
    std::thread::scope(|scope| {
        let bob = scope.spawn(|| course::run(hosts[1], plan::key("alice"), &bob));
        let alice = course::run(hosts[0], plan::key("bob"), &alice);
        [alice, bob.join().expect("a thread")]
    })
}

/// Tells a WireGuard where its peer is, and has it shake hands or wait for the peer to.
fn tell(world: &World, name: &str, peer: &str, endpoint: SocketAddr, handshake: bool) {
    let change = PeerUpdate { endpoint: Some(endpoint), handshake, ..PeerUpdate::new(plan::key(peer)) };
    let update = DeviceUpdate { peers: vec![change], ..DeviceUpdate::default() };
    world.host(name).run(|| Control::open(DEVICE)?.apply(&update)).expect("a thread").expect("it is taken");
}

/// Makes bob's WireGuard and alice's use the way; gives bob's hole, and his endpoint as alice sees it.
fn connect(world: &World, [alice, bob]: [Outcome; 2]) -> (Handover, SocketAddr) {
    let (at_bob, at_alice) = (alice.direct.expect("a way"), bob.direct.expect("a way"));
    println!("measured: a way after {:?} and {} probes", alice.took.max(bob.took), alice.probes);
    assert_eq!((at_alice, alice.handover.is_none()), (SocketAddr::from((ALICE, PORT)), true));
    assert_eq!(at_bob.ip(), BOB);
    // Initiations that cross would destroy each other.
    tell(world, "bob", "alice", at_alice, false);
    tell(world, "alice", "bob", at_bob, true);
    (bob.handover.expect("bob's WireGuard cannot be reached otherwise"), at_bob)
}

/// Holds the tunnel between the homes to losing nothing, by the way that was found.
fn check_tunnel(world: &World, at_bob: SocketAddr) {
    first_echo(world.host("alice"), world.host("bob"), plan::tunnel("bob"), std::time::Instant::now());
    let mut witness = Witness::new(&world.internet);
    let streams = [("alice", "bob"), ("bob", "alice")]
        .map(|(from, to)| Stream::start(world.host(from), world.host(to), plan::tunnel(to)));
    streams.iter().for_each(|stream| stream.go_on(MANY));
    for log in streams.map(Stream::finish) {
        assert_eq!(log.lost(), Vec::<usize>::new(), "of {}", log.packets.len());
    }
    let at_alice = SocketAddr::from((ALICE, PORT));
    assert_eq!(witness.direct_pairs(), [(at_alice, at_bob), (at_bob, at_alice)].into(), "one path");
}

fn holes(world: &World) -> Vec<handover::Left> {
    world.host("bob").run(handover::list).expect("a thread").expect("a list")
}

/// A course from the beginning to the end, with another peer's traffic all the while.
fn check(bob: Kind, prepare: impl FnOnce(&World) -> Option<Installed>) {
    if !ready(&["wireguard-go"]) {
        return;
    }
    let world = world(bob);
    let _prepared = prepare(&world);
    let hub = || device::state(world.host("hub")).peers.iter().all(|peer| peer.last_handshake.is_some()).then_some(());
    until("the homes at the hub", hub);
    let others = [("bob", "hub"), ("hub", "bob")]
        .map(|(from, to)| Stream::start(world.host(from), world.host(to), plan::tunnel(to)));
    let (mut handover, at_bob) = connect(&world, punch(&world, 1));
    check_tunnel(&world, at_bob);
    let traffic = handover.traffic().expect("it counts").expect("it is there");
    assert!(traffic.sent >= MANY as u64 && traffic.received >= MANY as u64, "{traffic:?}");
    assert_eq!(holes(&world).len(), 1);
    drop(handover);
    assert_eq!(holes(&world), []);
    others.iter().for_each(|stream| stream.go_on(MANY));
    for log in others.map(Stream::finish) {
        assert_eq!(log.lost(), Vec::<usize>::new(), "of the other peer's {}", log.packets.len());
    }
}

#[test]
fn a_hole_through_a_random_nat_becomes_wireguard_gos() {
    check(Kind::Go, |_| None);
}

#[test]
fn a_hole_through_a_random_nat_becomes_pinholes_own_devices() {
    check(Kind::Embedded, |_| None);
}

/// The host tracks its flows, lets in nothing but answers, and WireGuard has been calling its peer before.
#[test]
fn a_host_with_a_firewall_whose_wireguard_has_called_already_gets_its_hole() {
    check(Kind::Go, |world| {
        let bob = world.host("bob");
        let answers = Rule::new().state(&[State::Established, State::Related]).accept();
        // The tunnel's own interface stays open.
        let rules = vec![answers, Rule::new().input_interface("eth0").counter().drop()];
        let chain = Chain { name: "input", hook: Hook::Input, policy: Policy::Accept, rules };
        let (table, comment) = ("firewall".to_owned(), String::new());
        let ruleset = Ruleset { family: Family::V4, table, comment, chains: vec![chain] };
        let firewall = bob.run(|| ruleset.install()).expect("a thread").expect("a firewall");
        let alice = SocketAddr::from((ALICE, PORT));
        tell(world, "bob", "alice", alice, true);
        let called = || {
            let entries = bob.run(conntrack::list).expect("a thread").expect("ctnetlink");
            entries.iter().any(|entry| entry.original.destination == alice).then_some(())
        };
        until("a flow from bob's WireGuard to alice", called);
        Some(firewall)
    });
}

/// WireGuard's port has the hole: so that is where the two meet when they look for a way again.
#[test]
fn who_looks_again_finds_the_hole_that_wireguard_has_and_the_tunnel_loses_nothing() {
    if !ready(&["wireguard-go"]) {
        return;
    }
    let world = world(Kind::Go);
    let (_handover, at_bob) = connect(&world, punch(&world, 1));
    first_echo(world.host("alice"), world.host("bob"), plan::tunnel("bob"), std::time::Instant::now());
    let stream = Stream::start(world.host("alice"), world.host("bob"), plan::tunnel("bob"));
    let [alice, bob] = punch(&world, 2);
    assert_eq!((alice.direct, bob.direct), (Ok(at_bob), Ok((ALICE, PORT).into())));
    assert!(bob.handover.is_none());
    stream.go_on(MANY);
    let log = stream.finish();
    assert_eq!(log.lost(), Vec::<usize>::new(), "of {}", log.packets.len());
    assert_eq!(holes(&world).len(), 1);
}
