//! Two peers behind NATs connect directly.

use std::time::Duration;

use pinhole_lab::Nat;

use crate::support::device::Kind;
use crate::support::plan::{self, ALICE, BOB, HUB, PORT};
use crate::support::ready::ready;
use crate::support::traffic::{Log, Stream, first_echo};
use crate::support::witness::{Witness, counted};
use crate::support::world::{Setup, World};
use crate::support::{PATIENCE, until};

/// Both agents up to the first tunnel data on the direct path, at 20 ms links that lose nothing: 0.3 s on a machine at rest,
/// and less than the 5 s after which WireGuard itself would try again. Links that lose 5 % take more than 2 s once in 1,500
/// times, so with them only the usual patience is a bound.
const DIRECT_WITHIN: Duration = Duration::from_secs(4);

/// Connects, sends a stream each way, and looks from outside whether it went where it should.
fn check(setup: Setup) {
    if !ready(&["wireguard-go"]) {
        return;
    }
    let mut world = World::with_registry(setup);
    let mut witness = Witness::new(&world.internet);
    let begin = world.start_agents();
    let direct = witness.first_direct(begin);
    let (alice, bob) = (world.host("alice"), world.host("bob"));
    let echo = first_echo(alice, bob, plan::tunnel("bob"), begin);
    println!("measured: {setup:?}: direct after {direct:?}, first echo after {echo:?}");
    assert!(setup.loss > 0.0 || direct < DIRECT_WITHIN, "direct after {direct:?}");

    let streams = [("alice", "bob"), ("bob", "alice")]
        .map(|(from, to)| Stream::start(world.host(from), world.host(to), plan::tunnel(to)));
    streams.iter().for_each(|stream| stream.go_on(100));
    let logs = streams.map(Stream::finish);
    for log in &logs {
        assert!(log.arrived() >= least(log.packets.len(), setup.loss), "{} of {}", log.arrived(), log.packets.len());
    }
    let arrived = logs.each_ref().map(Log::arrived);
    for (from, to, count) in [(ALICE, BOB, arrived[0]), (BOB, ALICE, arrived[1])] {
        assert!(witness.datagrams(from, to) >= count, "the core has seen every datagram go from NAT to NAT");
    }
    assert_eq!(witness.relayed(), 0, "nothing goes through the public host");
    let (at_alice, at_bob) = ((ALICE, PORT).into(), (BOB, PORT).into());
    assert_eq!(witness.direct_pairs(), [(at_alice, at_bob), (at_bob, at_alice)].into(), "one path, ports kept");
    for (name, peer, mapped) in [("alice", BOB, at_alice), ("bob", ALICE, at_bob)] {
        let (out, back, endpoint) = counted(&mut world.internet, name, peer.into());
        let enough = out >= 100 && back >= least(100, setup.loss) as u64;
        assert!(enough && endpoint == mapped, "{name}'s NAT: {out} out, {back} in, as {endpoint}");
    }
}

/// How many of `sent` datagrams, 100 or more, arrive over two links that lose this share each: the mean less six standard
/// deviations. At 5 % fewer arrive once in 10^7 times, by the binomial distribution itself.
fn least(sent: usize, loss: f64) -> usize {
    let passes = (1.0 - loss).powi(2);
    let deviation = (sent as f64 * passes * (1.0 - passes)).sqrt();
    (sent as f64 * passes - 6.0 * deviation) as usize
}

#[test]
fn wireguard_go_on_all_hosts_connects_directly() {
    check(Setup::default());
}

#[test]
fn pinholes_own_devices_connect_directly() {
    check(Setup { wireguard: [Kind::Embedded; 3], ..Setup::default() });
}

#[test]
fn pinholes_own_device_connects_with_wireguard_go() {
    check(Setup { wireguard: [Kind::Go, Kind::Embedded, Kind::Go], ..Setup::default() });
}

#[test]
fn nats_that_unexpected_packets_poison_are_not_poisoned() {
    check(Setup { nats: [Nat::POISONABLE; 2], ..Setup::default() });
}

#[test]
fn loss_on_every_link_costs_time_and_not_the_path() {
    check(Setup { wireguard: [Kind::Embedded; 3], loss: 0.05, seed: 7, ..Setup::default() });
}

/// What the ordering of the punch is for: without it, this is what the same NAT does.
#[test]
fn a_packet_that_comes_too_early_poisons_such_a_nat() {
    if !ready(&["wireguard-go"]) {
        return;
    }
    for (nat, poisoned) in [(Nat::POISONABLE, true), (Nat::CONE, false)] {
        let world = World::bare(Setup { nats: [nat; 2], ..Setup::default() });
        // Alice, at her WireGuard port's neighbour, is called by bob before she has called him.
        let socket = |host: &str, port: u16| {
            let bind = || std::net::UdpSocket::bind(("0.0.0.0", port));
            let socket = world.host(host).run(bind).expect("a thread").expect("a socket");
            socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
            socket
        };
        let (alice, bob) = (socket("alice", 4_000), socket("bob", 4_000));
        let mut witness = Witness::new(&world.internet);
        // What the hub sends to another port of hers once bob's packet is past it goes the same way, and comes after it.
        let (marked, hub) = (socket("alice", 5_000), socket("hub", 5_000));
        marked.send_to(b"open", (HUB, 5_000)).expect("it leaves");
        let (_, open) = hub.recv_from(&mut [0; 8]).expect("it arrives");
        bob.send_to(b"too early", (ALICE, 4_000)).expect("it leaves");
        until("bob's packet behind the core", || {
            witness.look();
            witness.seen.iter().find(|seen| seen.flow.dst == (ALICE, 4_000).into()).map(|seen| seen.at)
        });
        hub.send_to(b"behind it", open).expect("it leaves");
        marked.recv_from(&mut [0; 16]).expect("the mark, and so bob's packet, is at alice's NAT");
        alice.send_to(b"hello", (BOB, 4_000)).expect("it leaves");
        let source = until("alice's packet at the core", || {
            witness.look();
            witness.seen.iter().find(|seen| seen.flow.dst == (BOB, 4_000).into()).map(|seen| seen.flow.src)
        });
        assert_eq!(source.port() != 4_000, poisoned, "{nat:?} gave alice {source}");
    }
}
