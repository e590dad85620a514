//! Packets in, packets out, in virtual time.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use pinhole_sansio::{Duration, Instant, Machine, conformance};
use pinhole_wire::build::{self, Echo};
use pinhole_wire::text::Line;
use pinhole_wire::{Protocol, wireguard};

use super::{Core, Input, Output, Port, Seen, Verdict};
use crate::{Ledger, Link, Loss};

const ROUTER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 254);
const A: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const B: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn core(a: Link, b: Link) -> (Core, Port, Port) {
    let mut core = Core::new(ROUTER, 5, 7);
    let (port_a, port_b) = (core.attach(a), core.attach(b));
    core.route(net(A), port_a);
    core.route(net(B), port_b);
    (core, port_a, port_b)
}

fn net(address: Ipv4Addr) -> ipnet::Ipv4Net {
    ipnet::Ipv4Net::new_assert(address, 32)
}

fn udp(from: Ipv4Addr, to: Ipv4Addr, ttl: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0; 28 + payload.len()];
    let ends = (SocketAddr::new(from.into(), 51_820), SocketAddr::new(to.into(), 51_821));
    build::udp(ends.0, ends.1, ttl, payload, &mut packet).expect("it fits");
    packet
}

/// Runs until all is quiet; returns arrivals as `(ms, port, line)` and what the tap saw.
fn run(core: &mut Core, now: Instant, port: Port, packet: Vec<u8>) -> (Vec<(u64, Port, String)>, Vec<Seen>) {
    let (mut arrivals, mut seen) = (Vec::new(), Vec::new());
    core.handle_input(now, Input::Packet(port, packet));
    let first = conformance::drain(core).into_iter().map(|output| (now, output)).collect::<Vec<_>>();
    let mut take = |at: Instant, output| match output {
        Output::Packet(port, packet) => {
            let line = Line::of(&packet).map_or_else(|error| format!("{error:?}"), |line| line.to_string());
            arrivals.push((at.as_nanos() / 1_000_000, port, line));
        }
        Output::Seen(packet) => seen.push(packet),
    };
    first.into_iter().for_each(|(at, output)| take(at, output));
    conformance::run_until(core, now + Duration::from_secs(10), take);
    (arrivals, seen)
}

#[test]
fn a_packet_takes_the_delay_of_both_links_and_the_hops_from_its_time_to_live() {
    let (mut core, a, b) = core(Link::with_delay(ms(20)), Link::with_delay(ms(5)));
    let (arrivals, seen) = run(&mut core, Instant::from_millis(100), a, udp(A, B, 64, &[0; 10]));
    assert_eq!(arrivals, [(125, b, "198.51.100.1:51820 > 192.0.2.1:51821 udp 10 ttl 59".into())]);
    assert_eq!(seen.len(), 1);
    assert_eq!((seen[0].at, seen[0].verdict, seen[0].ttl), (Instant::from_millis(120), Verdict::Forwarded(b), 64));
    let (arrivals, _) = run(&mut core, Instant::from_millis(500), a, udp(A, B, 6, b"just"));
    assert_eq!(arrivals[0].2, "198.51.100.1:51820 > 192.0.2.1:51821 udp \"just\" ttl 1");
}

#[test]
fn without_delay_it_passes_in_the_same_call() {
    let (mut core, a, b) = core(Link::default(), Link::default());
    core.handle_input(Instant::EPOCH, Input::Packet(a, udp(A, B, 64, b"x")));
    assert!(core.poll_timeout().is_none());
    let outputs = conformance::drain(&mut core);
    assert!(outputs.iter().any(|o| matches!(o, Output::Packet(port, _) if *port == b)), "{outputs:?}");
}

#[test]
fn the_router_complains_to_the_sender_only() {
    let tight = Link { mtu: 100, ..Link::with_delay(ms(10)) };
    let cases = [
        (udp(A, B, 5, b"x"), Verdict::Expired, "203.0.113.254 > 198.51.100.1 icmp time-exceeded"),
        (udp(A, Ipv4Addr::new(8, 8, 8, 8), 64, b"x"), Verdict::Unroutable, "203.0.113.254 > 198.51.100.1 icmp "),
        (udp(A, B, 64, &[0; 200]), Verdict::TooBig, "203.0.113.254 > 198.51.100.1 icmp "),
    ];
    for (packet, verdict, line) in cases {
        let (mut core, a, _) = core(Link::with_delay(ms(10)), tight);
        let (arrivals, seen) = run(&mut core, Instant::EPOCH, a, packet);
        assert_eq!(seen.iter().map(|s| s.verdict).collect::<Vec<_>>(), [verdict]);
        assert_eq!(arrivals.len(), 1, "{arrivals:?}");
        assert_eq!((arrivals[0].0, arrivals[0].1), (20, a));
        assert!(arrivals[0].2.starts_with(line), "{arrivals:?}");
    }
}

#[test]
fn the_router_answers_pings() {
    let (mut core, a, _) = core(Link::with_delay(ms(10)), Link::default());
    let mut packet = vec![0; 28];
    let echo = Echo { reply: false, identifier: 3, sequence: 1 };
    build::echo(IpAddr::V4(A), IpAddr::V4(ROUTER), 64, echo, &[], &mut packet).expect("it fits");
    let (arrivals, _) = run(&mut core, Instant::EPOCH, a, packet);
    assert_eq!(arrivals, [(20, a, "203.0.113.254 > 198.51.100.1 icmp echo-reply id 3 seq 1 0".into())]);
}

#[test]
fn loss_has_the_rate_it_says_and_repeats_with_its_seed() {
    let lossy = Link { loss: 0.2, ..Link::default() };
    let count = || {
        let (mut core, a, b) = core(lossy, Link::default());
        let arrived: Vec<bool> = (0..10_000)
            .map(|_| {
                core.handle_input(Instant::EPOCH, Input::Packet(a, udp(A, B, 64, b"x")));
                conformance::drain(&mut core).iter().any(|o| matches!(o, Output::Packet(port, _) if *port == b))
            })
            .collect();
        arrived
    };
    let arrived = count();
    let received = arrived.iter().filter(|&&ok| ok).count();
    // Five standard deviations of a binomial with n = 10,000 and p = 0.8 are 200.
    assert!((7_800..=8_200).contains(&received), "{received}");
    assert_eq!(arrived, count());
}

#[test]
fn a_slow_link_spaces_packets_and_drops_what_would_wait_too_long() {
    // 1,000 bytes at 1 Mb/s take 8 ms.
    let slow = Link { rate_bps: Some(1_000_000), ..Link::default() };
    let (mut core, a, _) = core(slow, Link::default());
    for _ in 0..100 {
        core.handle_input(Instant::EPOCH, Input::Packet(a, udp(A, B, 64, &[0; 972])));
    }
    let (mut arrivals, mut lost) = (Vec::new(), 0);
    let count_lost =
        |output: &Output| matches!(output, Output::Seen(s) if s.verdict == Verdict::LostComing(Loss::QueueFull));
    lost += conformance::drain(&mut core).iter().filter(|o| count_lost(o)).count();
    conformance::run_until(&mut core, Instant::from_millis(10_000), |at, output| {
        if matches!(output, Output::Packet(..)) {
            arrivals.push(at.as_nanos() / 1_000_000);
        }
    });
    assert_eq!(&arrivals[..3], [8, 16, 24]);
    assert_eq!((arrivals.len(), lost), (26, 74), "200 ms of queue hold 25 packets and the one being sent");
}

#[test]
fn jitter_keeps_packets_in_order() {
    let jittery = Link { jitter: ms(30), ..Link::with_delay(ms(10)) };
    let (mut core, a, _) = core(jittery, Link::default());
    for n in 0..100u8 {
        core.handle_input(Instant::from_millis(n.into()), Input::Packet(a, udp(A, B, 64, &[n])));
    }
    let mut order = Vec::new();
    let mut take = |output| {
        if let Output::Packet(_, packet) = output {
            order.extend(packet.last().copied());
        }
    };
    conformance::drain(&mut core).into_iter().for_each(&mut take);
    conformance::run_until(&mut core, Instant::from_millis(1_000), |_, output| take(output));
    assert_eq!(order, (0..100).collect::<Vec<_>>());
}

#[test]
fn a_cut_link_carries_nothing_and_a_moved_prefix_is_found_at_its_new_place() {
    let (mut core, a, b) = core(Link::default(), Link::default());
    core.link_mut(b).connected = false;
    let (arrivals, seen) = run(&mut core, Instant::EPOCH, a, udp(A, B, 64, b"x"));
    assert_eq!((arrivals.len(), seen[0].verdict), (0, Verdict::LostGoing(Loss::Disconnected)));
    core.link_mut(b).connected = true;
    let new = Ipv4Addr::new(192, 0, 2, 77);
    core.unroute(net(B));
    core.route(net(new), b);
    let (_, seen) = run(&mut core, Instant::EPOCH, a, udp(A, B, 64, b"x"));
    assert_eq!(seen[0].verdict, Verdict::Unroutable);
    let (arrivals, _) = run(&mut core, Instant::EPOCH, a, udp(A, new, 64, b"x"));
    assert_eq!(arrivals[0].1, b);
}

#[test]
fn what_is_not_ipv4_is_ignored() {
    let (mut core, a, _) = core(Link::default(), Link::default());
    for bytes in [vec![], vec![0x45; 10], vec![0x60; 60], vec![0xff; 1500]] {
        let (arrivals, seen) = run(&mut core, Instant::EPOCH, a, bytes);
        assert_eq!((arrivals.len(), seen.len()), (0, 0));
    }
}

#[test]
fn the_ledger_tells_tunnel_data_from_handshakes_keepalives_and_losses() {
    let (mut core, a, b) = core(Link::default(), Link::default());
    let mut ledger = Ledger::default();
    let message = |kind: u8, length: usize| {
        let mut bytes = vec![0; length];
        bytes[0] = kind;
        bytes
    };
    let initiation = message(1, wireguard::INITIATION_LEN);
    for payload in [initiation, message(4, 32), message(4, 96), message(4, 128), message(9, 200)] {
        let (_, seen) = run(&mut core, Instant::EPOCH, a, udp(A, B, 64, &payload));
        seen.iter().for_each(|seen| ledger.add(seen));
    }
    core.link_mut(b).connected = false;
    let (_, seen) = run(&mut core, Instant::EPOCH, a, udp(A, B, 64, &message(4, 96)));
    seen.iter().for_each(|seen| ledger.add(seen));
    let pairs: Vec<_> = ledger.pairs().collect();
    assert_eq!(pairs.len(), 1);
    assert_eq!(pairs[0].0, Protocol::Udp);
    let there = ledger.sum(|from, to| from.ip() == A && to.ip() == B);
    assert_eq!((there.packets, there.handshakes, there.data, there.lost), (5, 1, 2, 1));
    assert_eq!(ledger.sum(|from, _| from.ip() == B), crate::Tally::default());
}
