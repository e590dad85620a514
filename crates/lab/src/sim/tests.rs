//! Packets through homes, carriers and links.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};

use pinhole_netfilter::behaviour::Behaviour;
use pinhole_sansio::{Duration, Instant};
use pinhole_wire::{build, ipv4, udp};

use super::*;
use crate::topology::{Nat, RouterKind};
use crate::{Network, Place as Data, PlaceKind};

/// A host that answers each datagram that says "ping", and sends one now and then.
#[derive(Debug)]
struct Talker {
    address: SocketAddr,
    to: Option<SocketAddr>,
    ttl: u8,
    every: Duration,
    next: Instant,
    out: VecDeque<Vec<u8>>,
    got: Vec<(Instant, SocketAddr, Vec<u8>)>,
}

impl Talker {
    fn new(address: [u8; 4], to: Option<SocketAddr>) -> Self {
        let address = SocketAddr::new(Ipv4Addr::from(address).into(), 5_000);
        let every = Duration::from_millis(100);
        Self { address, to, ttl: 64, every, next: Instant::EPOCH, out: VecDeque::new(), got: Vec::new() }
    }

    fn send(&mut self, to: SocketAddr, text: &[u8]) {
        let mut packet = vec![0; 100];
        let length = build::udp(self.address, to, self.ttl, text, &mut packet).expect("it fits");
        packet.truncate(length);
        self.out.push_back(packet);
    }
}

impl Host for Talker {
    fn receive(&mut self, now: Instant, packet: Vec<u8>) {
        let ip = ipv4::Packet::new_checked(packet.as_slice()).expect("IPv4");
        let Ok(datagram) = udp::Packet::new_checked(ip.payload()) else { return };
        let from = SocketAddr::new(ip.src().into(), datagram.src_port());
        let text = datagram.payload().to_vec();
        if text == b"ping" {
            self.send(from, b"pong");
        }
        self.got.push((now, from, text));
    }

    fn handle_timeout(&mut self, now: Instant) {
        if self.next <= now {
            self.next = now + self.every;
            if let Some(to) = self.to {
                self.send(to, b"ping");
            }
        }
    }

    fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.out.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.to.is_some().then_some(self.next)
    }

    fn start(&mut self, now: Instant) {
        self.next = now;
    }

    fn network_changed(&mut self, _: Instant, address: Ipv4Addr) {
        self.address.set_ip(address.into());
    }
}

const SERVER: [u8; 4] = [203, 0, 113, 1];
const MS: u64 = 1_000_000;

fn server() -> SocketAddr {
    SocketAddr::from((SERVER, 5_000))
}

fn place(name: &str, address: [u8; 4], behind: Option<PlaceId>, link: Link, kind: PlaceKind) -> Data {
    Data { name: name.into(), address: address.into(), behind, link, kind }
}

fn host(name: &str, address: [u8; 4], behind: Option<PlaceId>, link: Link) -> Data {
    place(name, address, behind, link, PlaceKind::Host(Clock::default()))
}

fn router(name: &str, address: [u8; 4], behind: Option<PlaceId>, inside: &str, nat: impl Into<RouterKind>) -> Data {
    let kind = PlaceKind::Router { inside: inside.parse().expect("a network"), nat: nat.into() };
    place(name, address, behind, Link::with_delay(Duration::from_millis(10)), kind)
}

/// A server, and a host behind a home behind a carrier: places 0, 1, 2 and 3.
fn behind_a_carrier(link: Link) -> Network {
    let mut network = Network::new();
    network.add(host("server", SERVER, None, link));
    let carrier = network.add(router("carrier", [198, 51, 100, 1], None, "100.64.0.1/10", Behaviour::mobile_carrier()));
    let home = network.add(router("home", [100, 64, 0, 2], Some(carrier), "192.168.1.1/24", Behaviour::home_router()));
    network.add(host("alice", [192, 168, 1, 10], Some(home), Link::default()));
    network
}

fn sim(network: &Network, seed: u64) -> Sim<Talker> {
    let make = |id: PlaceId| {
        let address = network.places[id].address.octets();
        Talker::new(address, (address != SERVER).then(server))
    };
    Sim::new(network, seed, make).expect("a network")
}

#[test]
fn a_packet_goes_through_home_and_carrier_and_its_answer_comes_back() {
    let network = behind_a_carrier(Link::with_delay(Duration::from_millis(5)));
    let mut sim = sim(&network, 1);
    assert!(sim.run(Instant::from_millis(1_000), |sim| !sim.host(3).got.is_empty()));
    assert_eq!(sim.now(), Instant::from_millis(50), "10 ms to the carrier, 10 and 5 ms to the server, and back");
    let (_, from, _) = &sim.host(0).got[0];
    assert_eq!(from.ip(), Ipv4Addr::new(198, 51, 100, 1), "the carrier's address");
    assert_eq!(sim.host(3).got[0].1, server());
}

#[test]
fn the_same_seed_gives_the_same_bytes_at_every_interface() {
    let link = Link {
        jitter: Duration::from_millis(7),
        loss: 0.1,
        reorder: 0.1,
        rate_bps: Some(1_000_000),
        ..Link::with_delay(Duration::from_millis(5))
    };
    let captures = |seed| -> Vec<Vec<u8>> {
        let network = behind_a_carrier(link);
        let mut sim = sim(&network, seed);
        (0..network.places.len()).for_each(|place| sim.capture(place));
        sim.run(Instant::from_millis(20_000), |_| false);
        (0..network.places.len()).map(|place| sim.take_capture(place).expect("memory")).collect()
    };
    let (first, again, other) = (captures(7), captures(7), captures(8));
    assert!(first.iter().all(|capture| capture.len() > 5_000), "every interface has seen something");
    assert_eq!(first, again);
    assert_ne!(first, other);
}

#[test]
fn a_home_that_is_linux_behaves_as_the_kernels_rules_say() {
    let mut network = Network::new();
    network.add(host("server", SERVER, None, Link::default()));
    let home = network.add(router("home", [198, 51, 100, 1], None, "192.168.1.1/24", Nat::CONE));
    network.add(host("alice", [192, 168, 1, 10], Some(home), Link::default()));
    let mut sim = sim(&network, 1);
    assert!(sim.run(Instant::from_millis(1_000), |sim| !sim.host(2).got.is_empty()));
    assert_eq!(sim.host(0).got[0].1, SocketAddr::from(([198, 51, 100, 1], 5_000)), "the port is kept");
}

#[test]
fn hosts_of_one_home_talk_without_translation() {
    let mut network = behind_a_carrier(Link::default());
    network.add(host("bob", [192, 168, 1, 11], Some(2), Link::default()));
    let mut sim = sim(&network, 1);
    sim.with_host(4, |bob, _| bob.send(SocketAddr::from(([192, 168, 1, 10], 5_000)), b"ping"));
    assert!(sim.run(Instant::from_millis(1_000), |sim| !sim.host(3).got.is_empty()));
    assert_eq!(sim.host(3).got[0].1, SocketAddr::from(([192, 168, 1, 11], 5_000)));
}

#[test]
fn a_short_time_to_live_ends_on_the_internet_and_the_witness_says_so() {
    let network = behind_a_carrier(Link::default());
    let mut sim = sim(&network, 1);
    sim.watch();
    sim.with_host(3, |alice, _| {
        alice.ttl = 4;
        alice.send(server(), b"opener");
        alice.ttl = 64;
    });
    sim.run(Instant::from_millis(90), |_| false);
    let opener = sim.journeys().iter().find(|journey| journey.sent.ttl == 4).expect("it was sent");
    let places: Vec<Where> = opener.path.iter().map(|(_, place)| *place).collect();
    assert_eq!(places, [Where::At(3), Where::At(2), Where::At(1), Where::Internet]);
    assert_eq!(opener.end, Some(End::Expired));
    assert_eq!(opener.last.from.ip(), Ipv4Addr::new(198, 51, 100, 1), "as the Internet saw it");
}

#[test]
fn a_stranger_is_kept_out_and_the_witness_says_by_whom_and_why() {
    let mut network = behind_a_carrier(Link::default());
    network.add(host("stranger", [203, 0, 113, 9], None, Link::default()));
    let mut sim = sim(&network, 1);
    sim.watch();
    sim.run(Instant::from_millis(80), |_| false);
    let carrier = |from: &&SocketAddr| from.ip() == Ipv4Addr::new(198, 51, 100, 1);
    let mapped = *sim.host(0).got.iter().map(|(_, from, _)| from).find(carrier).expect("alice has been heard");
    sim.with_host(4, |stranger, _| stranger.send(mapped, b"let me in"));
    sim.run(Instant::from_millis(200), |_| false);
    let tried = sim.journeys().iter().find(|journey| journey.sent.to == mapped && journey.path[0].1 == Where::At(4));
    let tried = tried.expect("it was sent");
    assert_eq!(tried.end, Some(End::Refused(Refusal::Nat(pinhole_netfilter::behaviour::Reason::Filtered))));
    assert_eq!(tried.path.last().map(|last| last.1), Some(Where::At(1)), "the carrier");
}

#[test]
fn a_reboot_changes_the_mapping_and_a_new_address_the_address() {
    let network = behind_a_carrier(Link::default());
    let mut sim = sim(&network, 1);
    sim.schedule(Instant::from_millis(1_000), Change::Reboot(1));
    sim.schedule(Instant::from_millis(2_000), Change::Readdress(1, Ipv4Addr::new(198, 51, 100, 77)));
    sim.run(Instant::from_millis(3_000), |_| false);
    let seen: Vec<SocketAddr> = sim.host(0).got.iter().map(|(_, from, _)| *from).collect();
    assert_ne!(seen[3], seen[15], "another port after the reboot");
    assert_eq!(seen[3].ip(), seen[15].ip());
    assert_eq!(seen[25].ip(), Ipv4Addr::new(198, 51, 100, 77));
    assert!(sim.host(3).got.len() > 27, "answers find their way all the time");
}

#[test]
fn a_cut_cable_and_a_dead_host_hear_nothing_until_they_are_back() {
    for (out, back) in [(Change::Cut(2), Change::Mend(2)), (Change::Stop(0), Change::Start(0))] {
        let network = behind_a_carrier(Link::default());
        let mut sim = sim(&network, 1);
        sim.schedule(Instant::from_nanos(1_000 * MS), out.clone());
        sim.schedule(Instant::from_nanos(2_000 * MS), back);
        sim.run(Instant::from_millis(3_000), |_| false);
        let times: Vec<u64> = sim.host(3).got.iter().map(|(at, ..)| at.as_nanos() / MS).collect();
        assert!(times.iter().all(|at| !(1_050..2_000).contains(at)), "{out:?}: {times:?}");
        assert!(times.iter().any(|&at| at >= 2_000) && times.iter().any(|&at| at < 1_050), "{out:?}: {times:?}");
    }
}

#[test]
fn an_unexpected_packet_poisons_a_home_that_lets_itself_be_poisoned() {
    for (nat, is_poisoned) in [(Nat::POISONABLE, true), (Nat::CONE, false)] {
        let mut network = Network::new();
        network.add(host("server", SERVER, None, Link::default()));
        let home = network.add(router("home", [198, 51, 100, 1], None, "192.168.1.1/24", nat));
        network.add(host("alice", [192, 168, 1, 10], Some(home), Link::default()));
        let mut sim = Sim::new(&network, 1, |id| Talker::new(network.places[id].address.octets(), None)).expect("fine");
        sim.schedule(Instant::EPOCH, Change::Poison { router: home, from: server(), port: 5_000 });
        sim.run(Instant::from_millis(500), |_| false);
        sim.with_host(2, |alice, _| alice.send(server(), b"ping"));
        sim.run(Instant::from_millis(1_000), |_| false);
        assert_eq!(sim.host(0).got[0].1.port() != 5_000, is_poisoned, "{nat:?}");
    }
}

#[test]
fn a_clock_that_runs_fast_sends_more() {
    let sent = |drift_ppm| {
        let mut network = behind_a_carrier(Link::default());
        network.places[3].kind = PlaceKind::Host(Clock { ahead: Duration::ZERO, drift_ppm });
        let mut sim = sim(&network, 1);
        sim.run(Instant::from_millis(100_000), |_| false);
        sim.host(0).got.len()
    };
    let (right, fast, slow) = (sent(0), sent(10_000), sent(-10_000));
    assert_eq!((right, fast, slow), (1_000, 1_010, 990));
}

#[test]
fn a_packet_that_takes_a_detour_is_overtaken() {
    let mut network = behind_a_carrier(Link::default());
    network.places[0].link = Link { reorder: 0.3, ..Link::with_delay(Duration::from_millis(300)) };
    let mut sim = sim(&network, 3);
    sim.watch();
    sim.run(Instant::from_millis(20_000), |_| false);
    let to_server = sim.journeys().iter().filter(|journey| journey.sent.to == server() && journey.end.is_some());
    let arrivals: Vec<Instant> = to_server.map(|journey| journey.path[journey.path.len() - 1].0).collect();
    let overtaken = arrivals.windows(2).filter(|pair| pair[1] < pair[0]).count();
    assert!((20..80).contains(&overtaken), "{overtaken} of {}", arrivals.len());
}

#[test]
fn what_cannot_be_built_is_said() {
    let mut network = behind_a_carrier(Link::default());
    network.add(host("alice", [192, 168, 1, 12], Some(2), Link::default()));
    let fault = network.check().expect_err("two alices");
    assert_eq!((fault.place, fault.to_string().as_str()), (4, "there are two places called alice"));
    network.places[4].name = "bob".into();
    network.places[4].address = [10, 0, 0, 1].into();
    let fault = network.check().expect_err("not in the home");
    assert_eq!(fault.to_string(), "10.0.0.1 is not in 192.168.1.0/24, the network inside of home");
}
