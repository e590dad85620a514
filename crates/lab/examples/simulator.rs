//! How many packets a second the simulator carries on one core: 64 hosts in as many homes, behind NATs of every kind, talk to
//! a server and are answered. A packet counts once, from host to host, however many routers are between.
//!
//! ```console
//! $ cargo run --release -p pinhole-lab --example simulator
//! ```

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Instant as WallClock;

use pinhole_lab::sim::{Host, Sim};
use pinhole_lab::{Clock, Link, Network, Place, PlaceKind};
use pinhole_netfilter::behaviour::Behaviour;
use pinhole_sansio::{Duration, Instant};
use pinhole_wire::{build, ipv4};

const HOMES: u8 = 64;
const PACKETS: u64 = 4_000_000;
const EVERY: Duration = Duration::from_micros(100);

/// Sends a packet every now and then, or sends back what it gets.
struct Talker {
    packet: Option<Vec<u8>>,
    next: Instant,
    out: Option<Vec<u8>>,
    got: u64,
}

impl Host for Talker {
    fn receive(&mut self, _: Instant, mut packet: Vec<u8>) {
        self.got += 1;
        if self.packet.is_none() {
            turn_around(&mut packet);
            self.out = Some(packet);
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        if self.next <= now {
            self.next = now + EVERY;
            self.out = self.packet.clone();
        }
    }

    fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.out.take()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.packet.is_some().then_some(self.next)
    }

    fn start(&mut self, now: Instant) {
        self.next = now;
    }

    fn network_changed(&mut self, _: Instant, _: Ipv4Addr) {}
}

/// Swaps addresses and ports, which changes no sum but the time to live's.
fn turn_around(packet: &mut [u8]) {
    let Ok(mut ip) = ipv4::Packet::new_checked(&mut packet[..]) else { return };
    let (src, dst) = (ip.src(), ip.dst());
    ip.set_src(dst);
    ip.set_dst(src);
    ip.set_ttl(64);
    ip.fill_checksum();
    let ports: [u8; 4] = [packet[22], packet[23], packet[20], packet[21]];
    packet[20..24].copy_from_slice(&ports);
}

fn main() {
    let server = Ipv4Addr::new(203, 0, 113, 1);
    let link = Link::with_delay(Duration::from_millis(10));
    let mut network = Network::new();
    let host = |name: String, address, behind, link| Place {
        name,
        address,
        behind,
        link,
        kind: PlaceKind::Host(Clock::default()),
    };
    network.add(host("server".into(), server, None, link));
    for home in 0..HOMES {
        let name = Behaviour::NAMES[usize::from(home) % Behaviour::NAMES.len()];
        let behaviour = Behaviour::named(name).expect("a preset");
        let inside = "192.168.1.1/24".parse().expect("a network");
        let kind = PlaceKind::Router { inside, nat: behaviour.into() };
        let address = Ipv4Addr::new(198, 51, 100, home + 1);
        let router = network.add(Place { name: format!("home{home}"), address, behind: None, link, kind });
        network.add(host(format!("host{home}"), Ipv4Addr::new(192, 168, 1, 10), Some(router), Link::default()));
    }
    let make = |id: usize| {
        let from = SocketAddr::new(network.places[id].address.into(), 5_000);
        let mut packet = vec![0; 128];
        let length = build::udp(from, SocketAddr::new(server.into(), 5_000), 64, &[0; 100], &mut packet);
        packet.truncate(length.expect("it fits"));
        let packet = (network.places[id].address != server).then_some(packet);
        Talker { packet, next: Instant::EPOCH, out: None, got: 0 }
    };
    let mut sim = Sim::new(&network, 1, make).expect("a network");
    let begin = WallClock::now();
    let carried = |sim: &Sim<Talker>| sim.hosts().map(|(_, host)| host.got).sum::<u64>();
    let mut until = Instant::EPOCH;
    while carried(&sim) < PACKETS {
        until += Duration::from_millis(100);
        sim.run(until, |_| false);
    }
    let (packets, seconds) = (carried(&sim), begin.elapsed().as_secs_f64());
    println!("{packets} packets in {seconds:.2} s: {:.2} M packets/s", packets as f64 / seconds / 1e6);
}
