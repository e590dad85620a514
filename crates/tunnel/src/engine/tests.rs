//! Two engines and the path between them, in virtual time; and one engine against boringtun.

use std::collections::{HashSet, VecDeque};

use pinhole_sansio::Rng;
use pinhole_wg::PresharedKey;

use super::*;

const A: usize = 0;
const B: usize = 1;

/// What happens to datagrams on their way.
type Path = Box<dyn FnMut(Instant, usize, &[u8]) -> Option<Duration>>;

/// Two engines, the path between them, and what came out at each.
struct World {
    now: Instant,
    engines: [Engine; 2],
    path: Path,
    on_the_way: Vec<(Instant, usize, SocketAddr, Vec<u8>)>,
    /// Every datagram that was sent, by sender.
    sent: [Vec<Vec<u8>>; 2],
    /// Every packet that came out, by receiver.
    packets: [Vec<Vec<u8>>; 2],
}

fn key(of: usize) -> PrivateKey {
    PrivateKey::from_bytes([of as u8 + 1; 32])
}

fn address(of: usize) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, of as u8 + 1], 51820))
}

fn engine(of: usize) -> Engine {
    let mut rng = Rng::from_seed(of as u64 + 100);
    let entropy = move |bytes: &mut [u8]| bytes.iter_mut().for_each(|byte| *byte = rng.next_u64() as u8);
    let mut engine = Engine::new(Box::new(entropy), Duration::from_secs(1_700_000_000), 1420);
    let update = DeviceUpdate { private_key: Some(key(of)), ..DeviceUpdate::default() };
    engine.apply(Instant::EPOCH, &update, &mut Outbox::new());
    engine
}

fn peer(of: usize) -> PeerUpdate {
    PeerUpdate {
        endpoint: Some(address(of)),
        allowed_ips: vec![
            format!("10.0.0.{}/32", of + 1).parse().unwrap(),
            format!("fd00::{}/128", of + 1).parse().unwrap(),
        ],
        ..PeerUpdate::new(key(of).public())
    }
}

fn only(peer: PeerUpdate) -> DeviceUpdate {
    DeviceUpdate { peers: vec![peer], ..DeviceUpdate::default() }
}

/// A packet from the tunnel address of one side to the other's, told apart by `number`.
fn packet(from: usize, number: u16, len: usize) -> Vec<u8> {
    let mut packet = vec![0; len.max(22)];
    packet[0] = 0x45;
    let total = packet.len() as u16;
    packet[2..4].copy_from_slice(&total.to_be_bytes());
    packet[12..16].copy_from_slice(&[10, 0, 0, from as u8 + 1]);
    packet[16..20].copy_from_slice(&[10, 0, 0, 2 - from as u8]);
    packet[20..22].copy_from_slice(&number.to_be_bytes());
    packet
}

impl World {
    fn new(path: impl FnMut(Instant, usize, &[u8]) -> Option<Duration> + 'static) -> Self {
        let mut world = Self {
            now: Instant::EPOCH,
            engines: [engine(A), engine(B)],
            path: Box::new(path),
            on_the_way: Vec::new(),
            sent: [Vec::new(), Vec::new()],
            packets: [Vec::new(), Vec::new()],
        };
        world.apply(A, only(peer(B)));
        world.apply(B, only(peer(A)));
        world
    }

    /// Over a path that takes 10 ms each way and loses nothing.
    fn lossless() -> Self {
        Self::new(|_, _, _| Some(Duration::from_millis(10)))
    }

    fn with_session() -> Self {
        let mut world = Self::lossless();
        world.send(A, 0);
        world.run(Duration::from_millis(100));
        assert_eq!(world.numbers(B), [0]);
        world
    }

    fn apply(&mut self, at: usize, update: DeviceUpdate) {
        let mut out = Outbox::new();
        self.engines[at].apply(self.now, &update, &mut out);
        self.take(at, &out);
    }

    fn send(&mut self, from: usize, number: u16) {
        let packet = packet(from, number, 100);
        let mut out = Outbox::new();
        self.engines[from].send(self.now, &Split::whole(&packet).unwrap(), &mut out);
        self.take(from, &out);
    }

    fn take(&mut self, from: usize, out: &Outbox) {
        for message in out.transmits().flat_map(|transmit| transmit.messages()) {
            self.sent[from].push(message.to_vec());
            if let Some(delay) = (self.path)(self.now, from, message) {
                self.on_the_way.push((self.now + delay, 1 - from, address(from), message.to_vec()));
            }
        }
    }

    fn receive(&mut self, at: usize, from: SocketAddr, mut datagram: Vec<u8>) -> bool {
        let mut out = Outbox::new();
        let range = self.engines[at].receive(self.now, from, &mut datagram, &mut out);
        let came = range.is_some();
        self.packets[at].extend(range.map(|range| datagram[range].to_vec()));
        self.take(at, &out);
        came
    }

    /// Lets time pass: whatever is earliest, a datagram or a timer, comes first.
    fn run(&mut self, duration: Duration) {
        let until = self.now + duration;
        loop {
            let datagram = (0..self.on_the_way.len()).min_by_key(|&at| self.on_the_way[at].0);
            let arrival = datagram.map(|at| self.on_the_way[at].0);
            let timer = (0..2).filter_map(|at| Some((self.engines[at].poll_timeout()?, at))).min();
            match (arrival, timer) {
                (Some(at), _) if at <= until && timer.is_none_or(|(timer, _)| at <= timer) => {
                    self.now = self.now.max(at);
                    let (_, to, from, bytes) = self.on_the_way.remove(datagram.unwrap());
                    self.receive(to, from, bytes);
                }
                (_, Some((at, engine))) if at <= until => {
                    self.now = self.now.max(at);
                    let mut out = Outbox::new();
                    self.engines[engine].handle_timeout(self.now, &mut out);
                    self.take(engine, &out);
                }
                _ => break,
            }
        }
        self.now = until;
    }

    /// The numbers of the packets that came out.
    fn numbers(&self, at: usize) -> Vec<u16> {
        self.packets[at].iter().map(|packet| u16::from_be_bytes([packet[20], packet[21]])).collect()
    }

    /// Initiations; copies do not count.
    fn handshakes(&self, from: usize) -> usize {
        let initiations = self.sent[from].iter().filter(|message| message[0] == 1);
        initiations.collect::<HashSet<_>>().len()
    }

    fn peer(&self, at: usize) -> pinhole_wg::Peer {
        self.engines[at].dump().peers.remove(0)
    }
}

#[test]
fn packets_cross_after_one_handshake_and_come_out_as_they_went_in() {
    let mut world = World::with_session();
    let lens = [22, 100, 1419, 1420];
    for (number, len) in lens.iter().enumerate() {
        let packet = packet(B, number as u16, *len);
        let mut out = Outbox::new();
        world.engines[B].send(world.now, &Split::whole(&packet).unwrap(), &mut out);
        world.take(B, &out);
        world.run(Duration::from_millis(20));
        assert_eq!(world.packets[A].pop(), Some(packet));
    }
    assert_eq!((world.handshakes(A), world.handshakes(B)), (1, 0));
    // Padded to sixteen bytes, but not beyond the MTU (§5.4.6).
    let data: Vec<usize> = world.sent[B].iter().filter(|message| message[0] == 4).map(Vec::len).collect();
    assert_eq!(data, [32 + 32, 32 + 112, 32 + 1420, 32 + 1420]);
    let copy_of_the_response = wireguard::RESPONSE_LEN as u64;
    assert_eq!(world.peer(A).rx_bytes, world.peer(B).tx_bytes - copy_of_the_response);
    assert_eq!(world.peer(A).last_handshake, Some(Duration::from_millis(1_700_000_000_020)));
}

#[test]
fn what_waits_for_the_handshake_comes_in_order_and_the_oldest_of_too_many_are_dropped() {
    let mut world = World::lossless();
    (0..200).for_each(|number| world.send(A, number));
    world.run(Duration::from_millis(100));
    assert_eq!(world.numbers(B), (72..200).collect::<Vec<_>>());
}

#[test]
fn initiations_that_cross_end_in_a_session_at_once() {
    let mut world = World::lossless();
    world.send(A, 1);
    world.send(B, 2);
    world.run(Duration::from_millis(100));
    assert_eq!((world.numbers(A), world.numbers(B)), (vec![2], vec![1]));
    world.send(A, 3);
    world.send(B, 4);
    world.run(Duration::from_millis(100));
    assert_eq!((world.numbers(A), world.numbers(B)), (vec![2, 4], vec![1, 3]));
    assert_eq!((world.handshakes(A), world.handshakes(B)), (1, 1));
}

#[test]
fn handshakes_asked_for_faster_than_the_path_answers_end_in_a_session() {
    for both in [false, true] {
        let mut world = World::new(|_, _, _| Some(Duration::from_millis(300)));
        for _ in 0..20 {
            world.apply(A, only(PeerUpdate { handshake: true, ..PeerUpdate::new(key(B).public()) }));
            if both {
                world.apply(B, only(PeerUpdate { handshake: true, ..PeerUpdate::new(key(A).public()) }));
            }
            world.run(Duration::from_millis(100));
            if world.peer(A).last_handshake.is_some() {
                break;
            }
        }
        // The first response comes after one round trip, not after the last question.
        assert!(world.now <= Instant::from_millis(800), "both sides: {both}, {:?}", world.now);
        world.send(A, 1);
        world.send(B, 2);
        world.run(Duration::from_millis(700));
        assert_eq!((world.numbers(A), world.numbers(B)), (vec![2], vec![1]), "both sides: {both}");
    }
}

#[test]
fn the_first_handshake_gets_through_although_two_of_three_messages_are_lost() {
    let mut sent = [0, 0];
    let mut world = World::new(move |_, from, message| {
        sent[from] += u32::from(message[0] != 4);
        (message[0] == 4 || sent[from] == 3).then_some(Duration::from_millis(20))
    });
    world.send(A, 1);
    world.run(Duration::from_millis(200));
    assert_eq!(world.numbers(B), [1]);
    let kinds = |at: usize| world.sent[at].iter().map(|message| message[0]).collect::<Vec<_>>();
    assert_eq!((kinds(A), kinds(B)), (vec![1, 1, 1, 4], vec![2, 2, 2]));
}

#[test]
fn a_handshake_has_no_copies_once_it_is_answered_nor_while_a_session_carries_data() {
    let mut world = World::new(|_, _, _| Some(Duration::from_millis(5)));
    world.send(A, 1);
    world.run(Duration::from_millis(200));
    let handshakes = |world: &World, at: usize| world.sent[at].iter().filter(|message| message[0] != 4).count();
    assert_eq!((handshakes(&world, A), handshakes(&world, B)), (1, 1), "the round trip is shorter than the first gap");
    world.path = Box::new(|_, _, _| Some(Duration::from_millis(300)));
    world.apply(A, only(PeerUpdate { handshake: true, ..PeerUpdate::new(key(B).public()) }));
    world.run(Duration::from_secs(2));
    assert_eq!((handshakes(&world, A), handshakes(&world, B)), (2, 2));
}

#[test]
fn a_path_that_loses_a_third_of_all_datagrams_carries_the_others() {
    for seed in 0..20 {
        let mut rng = Rng::from_seed(seed);
        let mut world = World::new(move |_, _, _| (!rng.chance(0.33)).then_some(Duration::from_millis(20)));
        for number in 0..600 {
            world.send(A, number);
            world.send(B, number);
            world.run(Duration::from_millis(500));
        }
        // Five minutes, two renewals: nothing may stand still for long.
        for at in [A, B] {
            let numbers = world.numbers(at);
            assert!(numbers.len() > 300, "seed {seed}: {} of 600", numbers.len());
            let longest = numbers.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).max();
            assert!(longest < Some(100), "seed {seed}: a gap of {longest:?} packets");
        }
    }
}

#[test]
fn a_session_is_renewed_every_two_minutes_without_losing_a_packet() {
    let mut world = World::with_session();
    for number in 1..1000 {
        world.send(A, number);
        world.send(B, number);
        world.run(Duration::from_secs(1));
    }
    assert_eq!(world.numbers(B), (0..1000).collect::<Vec<_>>());
    assert_eq!(world.numbers(A), (1..1000).collect::<Vec<_>>());
    // Only the initiator renews, at 120 s.
    assert_eq!((world.handshakes(A), world.handshakes(B)), (9, 0));
}

#[test]
fn a_peer_that_goes_silent_is_asked_again_for_ninety_seconds_and_then_no_more() {
    let mut world = World::with_session();
    world.path = Box::new(|_, _, _| None);
    world.send(A, 1);
    world.run(Duration::from_secs(14));
    assert_eq!(world.handshakes(A), 1);
    world.run(Duration::from_secs(2));
    assert_eq!(world.handshakes(A), 2, "after keepalive and rekey timeouts");
    world.run(Duration::from_secs(1000));
    assert_eq!(world.handshakes(A), 2 + 19);
    assert_eq!(world.engines[A].poll_timeout(), None, "at rest");
}

#[test]
fn a_receiver_with_nothing_to_say_sends_one_keepalive() {
    let mut world = World::with_session();
    let before = world.sent[B].len();
    world.run(Duration::from_secs(60));
    let keepalives: Vec<usize> = world.sent[B][before..].iter().map(Vec::len).collect();
    assert_eq!(keepalives, [32]);
}

#[test]
fn persistent_keepalives_hold_the_path_and_may_change_on_a_live_session() {
    let mut world = World::with_session();
    world.apply(A, only(PeerUpdate { keepalive: Some(5), ..PeerUpdate::new(key(B).public()) }));
    let before = world.sent[A].len();
    world.run(Duration::from_secs(51));
    // One of the ten is saved by the answer to the first packet, which comes by itself after 10 s.
    assert_eq!(world.sent[A].len() - before, 9);
    world.apply(A, only(PeerUpdate { keepalive: Some(0), ..PeerUpdate::new(key(B).public()) }));
    world.run(Duration::from_secs(60));
    assert_eq!((world.sent[A].len() - before, world.handshakes(A)), (9, 1));
}

#[test]
fn a_peer_with_keepalive_is_called_as_soon_as_its_endpoint_is_known() {
    let mut world = World::lossless();
    world.apply(A, DeviceUpdate { replace_peers: true, ..DeviceUpdate::default() });
    world.apply(A, only(PeerUpdate { endpoint: None, keepalive: Some(25), ..peer(B) }));
    assert_eq!(world.handshakes(A), 0);
    world.run(Duration::from_secs(60));
    world.apply(A, only(PeerUpdate { endpoint: Some(address(B)), ..PeerUpdate::new(key(B).public()) }));
    assert_eq!(world.handshakes(A), 1);
    world.run(Duration::from_millis(100));
    assert!(world.peer(B).last_handshake.is_some());
}

#[test]
fn the_endpoint_follows_what_is_authentic_and_nothing_else() {
    let mut world = World::with_session();
    let replayed = world.engines[B].counters().of(Dropped::Replayed);
    let elsewhere = SocketAddr::from(([198, 51, 100, 9], 4444));
    world.path = Box::new(|_, _, _| None);
    world.send(A, 1);
    let message = world.sent[A].last().unwrap().clone();
    let mut forged = message.clone();
    *forged.last_mut().unwrap() ^= 1;
    world.receive(B, elsewhere, forged);
    assert_eq!(world.peer(B).endpoint, Some(address(A)), "forged");
    world.receive(B, elsewhere, message.clone());
    assert_eq!(world.peer(B).endpoint, Some(elsewhere));
    world.receive(B, address(A), message);
    assert_eq!(world.peer(B).endpoint, Some(elsewhere), "replayed");
    assert_eq!(world.numbers(B), [0, 1]);
    let counters = world.engines[B].counters();
    assert_eq!((counters.of(Dropped::Forged), counters.of(Dropped::Replayed)), (1, replayed + 1));
}

#[test]
fn a_handshake_that_is_replayed_is_not_answered() {
    let mut world = World::with_session();
    let initiation = world.sent[A].iter().find(|message| message[0] == 1).unwrap().clone();
    world.run(Duration::from_secs(1));
    let before = world.sent[B].len();
    world.receive(B, SocketAddr::from(([198, 51, 100, 9], 4444)), initiation);
    assert_eq!((world.sent[B].len(), world.peer(B).endpoint), (before, Some(address(A))));
}

#[test]
fn a_packet_whose_source_is_not_the_peers_is_dropped() {
    let mut world = World::with_session();
    for source in [[10, 0, 0, 9], [10, 0, 0, 2]] {
        let mut packet = packet(A, 1, 100);
        packet[12..16].copy_from_slice(&source);
        let mut out = Outbox::new();
        world.engines[A].send(world.now, &Split::whole(&packet).unwrap(), &mut out);
        world.take(A, &out);
    }
    world.run(Duration::from_millis(50));
    assert_eq!(world.numbers(B), [0]);
    assert_eq!(world.engines[B].counters().of(Dropped::NotAllowed), 2);
}

#[test]
fn a_prefix_moves_to_the_peer_that_claimed_it_last() {
    let mut world = World::with_session();
    let other = PrivateKey::from_bytes([9; 32]).public();
    let claim = PeerUpdate { allowed_ips: vec!["10.0.0.2/32".parse().unwrap()], ..PeerUpdate::new(other) };
    world.apply(A, only(claim));
    let peers = world.engines[A].dump().peers;
    let prefixes: Vec<usize> = peers.iter().map(|peer| peer.allowed_ips.len()).collect();
    assert_eq!(prefixes, [1, 1]);
    world.send(A, 1);
    world.run(Duration::from_millis(50));
    assert_eq!(world.numbers(B), [0], "the new owner has no endpoint");
    world.apply(A, only(PeerUpdate::removal(other)));
    world.apply(A, only(peer(B)));
    world.send(A, 2);
    world.run(Duration::from_millis(50));
    assert_eq!(world.numbers(B), [0, 2]);
}

#[test]
fn preshared_keys_must_be_the_same_on_both_sides_and_take_effect_with_the_next_handshake() {
    let secret = |byte| Some(PresharedKey::from_bytes([byte; 32]));
    for (ours, theirs, works) in [(5, 5, true), (5, 6, false), (5, 0, false)] {
        let mut world = World::lossless();
        world.apply(A, only(PeerUpdate { preshared_key: secret(ours), ..peer(B) }));
        world.apply(B, only(PeerUpdate { preshared_key: secret(theirs), ..peer(A) }));
        world.send(A, 1);
        world.run(Duration::from_secs(1));
        assert_eq!(world.numbers(B).len(), usize::from(works), "{ours} and {theirs}");
    }
    let mut world = World::with_session();
    world.apply(A, only(PeerUpdate { preshared_key: secret(7), ..peer(B) }));
    world.send(A, 1);
    world.run(Duration::from_secs(1));
    assert_eq!(world.numbers(B), [0, 1], "the session lives on");
}

#[test]
fn a_new_private_key_ends_all_sessions() {
    let mut world = World::with_session();
    world.apply(A, DeviceUpdate { private_key: Some(PrivateKey::from_bytes([77; 32])), ..DeviceUpdate::default() });
    world.send(A, 1);
    world.run(Duration::from_secs(1));
    assert_eq!(world.numbers(B), [0]);
    assert_eq!(world.engines[B].counters().of(Dropped::UnknownPeer), 3, "a message and its copies");
}

#[test]
fn keys_are_forgotten_nine_minutes_after_the_last_handshake() {
    let mut world = World::with_session();
    world.run(Duration::from_secs(541));
    assert!(world.engines[A].poll_timeout().is_none() && world.engines[B].poll_timeout().is_none());
    world.send(A, 1);
    world.run(Duration::from_secs(1));
    assert_eq!((world.handshakes(A), world.numbers(B)), (2, vec![0, 1]));
}

#[test]
fn under_load_an_initiator_must_prove_its_address_and_does() {
    let mut world = World::lossless();
    // Messages with a right first MAC and nothing else, from many places: what an attacker who knows the key can send.
    let mac1_key = crate::noise::cookie::mac1_key(key(B).public().as_bytes());
    for number in 0..250u32 {
        let mut message = vec![0; wireguard::INITIATION_LEN];
        message[0] = 1;
        message[4..8].copy_from_slice(&number.to_le_bytes());
        crate::noise::cookie::sign(&mut message, &mac1_key, None);
        world.engines[B].receive(
            world.now,
            SocketAddr::from(([198, 51, 100, number as u8], 1)),
            &mut message,
            &mut Outbox::new(),
        );
    }
    world.send(A, 1);
    world.run(Duration::from_millis(100));
    assert!(world.sent[B].iter().any(|message| message[0] == 3), "a cookie was sent");
    assert_eq!(world.peer(A).last_handshake, None);
    // The load goes on while the initiator tries again with the cookie.
    for step in 0..60 {
        for number in 0..30u32 {
            let mut message = vec![0; wireguard::INITIATION_LEN];
            message[0] = 1;
            message[4..8].copy_from_slice(&(step * 1000 + number).to_le_bytes());
            crate::noise::cookie::sign(&mut message, &mac1_key, None);
            let from = SocketAddr::from(([198, 51, 100, number as u8], 1));
            world.engines[B].receive(world.now, from, &mut message, &mut Outbox::new());
        }
        world.run(Duration::from_millis(100));
    }
    assert_eq!(world.numbers(B), [1]);
}

#[test]
fn no_datagram_makes_it_panic() {
    let mut rng = Rng::from_seed(11);
    let mut world = World::with_session();
    world.send(A, 1);
    let real: Vec<Vec<u8>> = world.sent.iter().flatten().cloned().collect();
    for _ in 0..5_000 {
        let mut datagram = real[rng.below(real.len() as u64) as usize].clone();
        datagram.truncate(rng.below(datagram.len() as u64 + 1) as usize);
        for _ in 0..rng.below(4) {
            let at = rng.below(datagram.len().max(1) as u64) as usize;
            if let Some(byte) = datagram.get_mut(at) {
                *byte = rng.next_u64() as u8;
            }
        }
        world.receive(rng.below(2) as usize, address(A), datagram);
    }
}

/// boringtun as the other side; it reads the clock by itself, so time here is real.
struct Boring {
    tunnel: boringtun::noise::Tunn,
    packets: Vec<Vec<u8>>,
}

impl Boring {
    /// Hands it a datagram, or nothing to ask for what it has waiting; returns what it sends.
    fn decapsulate(&mut self, datagram: &[u8]) -> VecDeque<Vec<u8>> {
        let (mut replies, mut input) = (VecDeque::new(), datagram.to_vec());
        loop {
            let mut buffer = [0; 2048];
            match self.tunnel.decapsulate(None, &input, &mut buffer) {
                boringtun::noise::TunnResult::WriteToNetwork(reply) => replies.push_back(reply.to_vec()),
                boringtun::noise::TunnResult::WriteToTunnelV4(packet, _) => {
                    self.packets.push(packet.to_vec());
                    return replies;
                }
                _ => return replies,
            }
            input.clear();
        }
    }
}

#[test]
fn another_implementation_understands_it_as_initiator_and_as_responder() {
    for we_begin in [true, false] {
        let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let mut ours = engine(A);
        let mut rng = Rng::from_seed(5);
        ours.core =
            Core::new(Box::new(move |bytes| bytes.iter_mut().for_each(|b| *b = rng.next_u64() as u8)), wall, 1420);
        let preshared = [3; 32];
        let peer = PeerUpdate { preshared_key: Some(PresharedKey::from_bytes(preshared)), ..peer(B) };
        let update = DeviceUpdate { private_key: Some(key(A)), peers: vec![peer], ..DeviceUpdate::default() };
        let (now, mut out) = (Instant::EPOCH, Outbox::new());
        ours.apply(now, &update, &mut out);
        let tunnel = boringtun::noise::Tunn::new(
            (*key(B).as_bytes()).into(),
            (*key(A).public().as_bytes()).into(),
            Some(preshared),
            None,
            7,
            None,
        );
        let mut boring = Boring { tunnel, packets: Vec::new() };

        let mut to_us = VecDeque::new();
        if we_begin {
            ours.send(now, &Split::whole(&packet(A, 1, 100)).unwrap(), &mut out);
        } else {
            let mut buffer = [0; 2048];
            match boring.tunnel.encapsulate(&packet(B, 2, 100), &mut buffer) {
                boringtun::noise::TunnResult::WriteToNetwork(message) => to_us.push_back(message.to_vec()),
                other => panic!("{other:?}"),
            }
        }
        let mut ours_got = Vec::new();
        for _ in 0..10 {
            let to_them: Vec<Vec<u8>> = out.transmits().flat_map(|t| t.messages()).map(<[u8]>::to_vec).collect();
            out.clear();
            to_them.iter().for_each(|message| to_us.extend(boring.decapsulate(message)));
            while let Some(mut message) = to_us.pop_front() {
                if let Some(range) = ours.receive(now, address(B), &mut message, &mut out) {
                    ours_got.push(message[range].to_vec());
                }
            }
        }
        if we_begin {
            assert_eq!(boring.packets, [packet(A, 1, 100)]);
            let mut buffer = [0; 2048];
            if let boringtun::noise::TunnResult::WriteToNetwork(message) =
                boring.tunnel.encapsulate(&packet(B, 2, 100), &mut buffer)
            {
                let range = ours.receive(now, address(B), message, &mut out).expect("a packet");
                ours_got.push(message[range].to_vec());
            }
        }
        assert_eq!(ours_got, [packet(B, 2, 100)], "we begin: {we_begin}");
    }
}
