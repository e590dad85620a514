//! What happens to a tunnel that stands: NATs restart, addresses change, the registry and the agents come and go.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use pinhole_host::netlink::conntrack::Entry;

use crate::support::device::Kind;
use crate::support::plan::{self, BOB, HUB, PORT};
use crate::support::ready::ready;
use crate::support::traffic::{Stream, first_echo};
use crate::support::until;
use crate::support::world::{Setup, World};

/// Traffic has to flow again within this after a NAT or an address has changed: 2 s on a machine at rest, and less than the
/// 15 s after which WireGuard itself finds a path dead. That leaves room for two attempts that fail.
const RECOVERED_WITHIN: Duration = Duration::from_secs(14);

/// Datagrams that are sent before and after what a test does to the tunnel.
const MANY: usize = 200;

fn setup(kind: Kind) -> Setup {
    Setup { wireguard: [kind; 3], ..Setup::default() }
}

/// A stream from alice to bob.
fn stream(world: &World) -> Stream {
    Stream::start(world.host("alice"), world.host("bob"), plan::tunnel("bob"))
}

/// Does `harm` to a connected world in the middle of a stream, and measures until datagrams arrive again.
fn check_recovery(kind: Kind, harm: impl FnOnce(&mut World, &Stream)) {
    let harmed = check_recovery_if(kind, |world, stream| {
        harm(world, stream);
        true
    });
    assert!(harmed);
}

/// As [`check_recovery`], if `harm` says that it did what it should; else there is nothing to check, and it is false.
fn check_recovery_if(kind: Kind, harm: impl FnOnce(&mut World, &Stream) -> bool) -> bool {
    if !ready(&["wireguard-go"]) {
        return true;
    }
    let mut world = World::connected(setup(kind));
    let stream = stream(&world);
    stream.go_on(MANY);
    let moment = Instant::now();
    if !harm(&mut world, &stream) {
        return false;
    }
    let harmed = Instant::now();
    let resumed = stream.resumed_after(harmed);
    println!("measured: {kind:?}: traffic again {resumed:?} after the change ({:?} to make it)", harmed - moment);
    assert!(resumed < RECOVERED_WITHIN, "traffic again only after {resumed:?}");
    stream.go_on(MANY);
    let log = stream.finish();
    let tail = &log.packets[log.packets.len() - MANY / 2..];
    assert!(tail.iter().all(|(_, arrived)| arrived.is_some()), "the path is whole again");
    first_echo(world.host("bob"), world.host("alice"), plan::tunnel("alice"), harmed);
    true
}

fn restart_nat(home: &'static str) -> impl FnOnce(&mut World, &Stream) {
    move |world, _| world.internet.site(home).restart_nat().expect("the NAT restarts")
}

#[test]
fn the_senders_nat_restarts_with_new_ports() {
    check_recovery(Kind::Embedded, restart_nat("alice"));
}

#[test]
fn the_receivers_nat_restarts_with_new_ports() {
    check_recovery(Kind::Embedded, restart_nat("bob"));
}

#[test]
fn a_nat_restarts_before_wireguard_go() {
    check_recovery(Kind::Go, restart_nat("bob"));
}

#[test]
fn a_home_gets_another_public_address() {
    check_recovery(Kind::Embedded, |world, _| {
        let address = Ipv4Addr::new(198, 51, 100, 77);
        world.internet.site("alice").readdress(address).expect("another address");
    });
}

#[test]
fn a_host_gets_another_address_in_its_home() {
    const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 17);
    for kind in [Kind::Embedded, Kind::Go] {
        let once = || {
            check_recovery_if(kind, |world, _| {
                world.internet.readdress_in_home("alice", ADDRESS).expect("another address");
                has_one_port(world, ADDRESS)
            })
        };
        assert!((0..10).any(|_| once()), "the NAT never gave one port");
    }
}

/// Whether alice's NAT gives her one port towards the hub and bob, when she has `address` and both flows are there. The old
/// address still has the port that she had, so she gets another; and where both flows begin in the same microseconds, on two
/// processors, Linux may give two, as a symmetric NAT does. Then there is no direct path to be found.
fn has_one_port(world: &mut World, address: Ipv4Addr) -> bool {
    let ports = until("her flows to the hub and to bob", || {
        let entries = world.internet.site("alice").conntrack().expect("the NAT's kernel has ctnetlink");
        let port = |to: Ipv4Addr| {
            let source = SocketAddr::from((address, PORT));
            let flow = |entry: &&Entry| entry.original.source == source && entry.original.destination.ip() == to;
            entries.iter().find(flow).map(|entry| entry.mapped().port())
        };
        Some([port(HUB)?, port(BOB)?])
    });
    println!("measured: alice's ports towards hub and bob: {ports:?}");
    ports[0] == ports[1]
}

#[test]
fn a_cable_is_pulled_and_plugged_in_again() {
    for kind in [Kind::Embedded, Kind::Go] {
        check_recovery(kind, |world, stream| {
            let alice = world.host("alice");
            alice.set_up(false).expect("no link");
            stream.go_on(2 * MANY);
            alice.set_up(true).expect("a link and a route");
        });
    }
}

/// Runs a stream, does `act` in its middle, and wants every datagram to arrive.
fn check_nothing_is_lost(kind: Kind, act: impl FnOnce(&mut World, &Stream)) {
    if !ready(&["wireguard-go"]) {
        return;
    }
    let mut world = World::connected(setup(kind));
    let stream = stream(&world);
    stream.go_on(MANY);
    act(&mut world, &stream);
    stream.go_on(MANY);
    let log = stream.finish();
    assert_eq!(log.lost(), Vec::<usize>::new(), "of {} datagrams", log.packets.len());
}

#[test]
fn an_agent_that_is_killed_and_started_again_loses_nothing() {
    for kind in [Kind::Embedded, Kind::Go] {
        check_nothing_is_lost(kind, |world, stream| {
            for name in ["alice", "bob"] {
                world.agents.remove(name).expect("it runs").kill();
                stream.go_on(MANY / 4);
                world.start_agent(name);
                world.agent(name).wait_for("the path", |event| event["event"] == "up");
            }
            stream.go_on(2 * MANY);
        });
    }
}

#[test]
fn an_agent_that_is_stopped_and_started_again_loses_nothing() {
    check_nothing_is_lost(Kind::Go, |world, stream| {
        for name in ["alice", "bob"] {
            let (status, words) = world.agents.remove(name).expect("it runs").terminate();
            assert!(status.success(), "{words}");
            stream.go_on(MANY / 4);
            world.start_agent(name);
            world.agent(name).wait_for("the path", |event| event["event"] == "up");
        }
    });
}

#[test]
fn a_dead_registry_takes_nothing_away_and_heals_later_when_it_is_back() {
    check_nothing_is_lost(Kind::Embedded, |world, stream| {
        world.registry.take().expect("it runs").kill();
        stream.go_on(2 * MANY);
        world.start_registry(&[]);
    });
    check_recovery(Kind::Embedded, |world, _| {
        world.registry.take().expect("it runs").kill();
        world.internet.site("bob").restart_nat().expect("the NAT restarts");
        world.start_registry(&[]);
    });
}
