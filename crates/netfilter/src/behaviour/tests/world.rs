//! A NAT with hosts around it: who sends what, and what arrives where.

use core::net::{IpAddr, Ipv4Addr, SocketAddr};

use pinhole_sansio::{Duration, Instant};
use pinhole_wire::build::{self, Echo, Segment};
use pinhole_wire::{Flow, icmp, ip, tcp, udp};

use crate::behaviour::{Behaviour, Nat, Reason, Side, Verdict};

pub(super) const EXTERNAL: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
pub(super) const GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 1);

/// A NAT and the time.
pub(super) struct World {
    pub(super) nat: Nat<Ipv4Addr>,
    pub(super) now: Instant,
}

/// What became of a packet that was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It arrived on this side.
    Arrived(Side, Vec<u8>),
    /// This came back.
    Answered(Vec<u8>),
    Kept,
    Lost(Reason),
}

impl World {
    pub(super) fn new(behaviour: Behaviour) -> Self {
        Self::with_pool(behaviour, &[EXTERNAL])
    }

    pub(super) fn of(text: &str) -> Self {
        Self::new(text.parse().expect("a behaviour"))
    }

    pub(super) fn with_pool(behaviour: Behaviour, pool: &[Ipv4Addr]) -> Self {
        let nat = Nat::new(behaviour, pool.iter().copied(), GATEWAY, 1);
        Self { nat, now: Instant::EPOCH + Duration::from_secs(1_000) }
    }

    pub(super) fn wait(&mut self, seconds: f64) {
        self.now += Duration::from_secs_f64(seconds);
        self.nat.handle_timeout(self.now);
    }

    /// Sends a packet from `side`. What arrives has right checksums and arrives with a time to live that nobody changed.
    pub(super) fn send(&mut self, side: Side, mut packet: Vec<u8>) -> Outcome {
        let before = packet.clone();
        match self.nat.process(self.now, side, &mut packet) {
            Verdict::Forward(to) => {
                assert_intact(&packet);
                assert_eq!(before[8], packet[8], "a NAT is no router");
                Outcome::Arrived(to, packet)
            }
            Verdict::Answer(answer) => {
                assert_intact(&answer);
                Outcome::Answered(answer)
            }
            Verdict::Kept => Outcome::Kept,
            Verdict::Drop(reason) => Outcome::Lost(reason),
        }
    }

    pub(super) fn udp(&mut self, side: Side, src: &str, dst: &str) -> Outcome {
        self.send(side, udp(src, dst))
    }

    pub(super) fn tcp(&mut self, side: Side, src: &str, dst: &str, flags: &str) -> Outcome {
        self.send(side, tcp(src, dst, flags))
    }

    /// Sends a UDP packet from inside and says from where it came out.
    pub(super) fn mapped(&mut self, src: &str, dst: &str) -> SocketAddr {
        self.udp(Side::Inside, src, dst).flow().src
    }

    /// Whether a UDP packet from `src` to `dst` comes in.
    pub(super) fn comes_in(&mut self, src: SocketAddr, dst: SocketAddr) -> bool {
        self.udp_from(Side::Outside, src, dst).has_arrived()
    }

    pub(super) fn udp_from(&mut self, side: Side, src: SocketAddr, dst: SocketAddr) -> Outcome {
        self.udp(side, &src.to_string(), &dst.to_string())
    }
}

impl Outcome {
    /// The flow of the packet that arrived.
    pub(super) fn flow(&self) -> Flow {
        Flow::of(self.packet()).expect("a packet with a flow")
    }

    /// The packet that arrived.
    pub(super) fn packet(&self) -> &[u8] {
        match self {
            Self::Arrived(_, packet) => packet,
            Self::Answered(_) | Self::Kept | Self::Lost(_) => panic!("it should have arrived: {self:?}"),
        }
    }

    /// What came back.
    pub(super) fn answer(&self) -> &[u8] {
        match self {
            Self::Answered(packet) => packet,
            Self::Arrived(..) | Self::Kept | Self::Lost(_) => panic!("it should have been answered: {self:?}"),
        }
    }

    pub(super) fn has_arrived(&self) -> bool {
        match self {
            Self::Arrived(..) => true,
            Self::Answered(_) | Self::Kept | Self::Lost(_) => false,
        }
    }
}

pub(super) fn socket(text: &str) -> SocketAddr {
    text.parse().expect("an address and a port")
}

pub(super) fn udp(src: &str, dst: &str) -> Vec<u8> {
    let mut out = vec![0; 100];
    let len = build::udp(socket(src), socket(dst), 64, b"payload", &mut out).expect("a packet");
    out.truncate(len);
    out
}

pub(super) fn tcp(src: &str, dst: &str, flags: &str) -> Vec<u8> {
    let flags = tcp::Flags::from_letters(flags).expect("TCP flags");
    let segment = Segment { flags, seq: 1_000, ack: 2_000, window: 100 };
    let mut out = vec![0; 100];
    let len = build::tcp(socket(src), socket(dst), 64, segment, &[], &mut out).expect("a packet");
    out.truncate(len);
    out
}

pub(super) fn echo(src: &str, dst: &str, reply: bool, identifier: u16) -> Vec<u8> {
    let address = |text: &str| text.parse::<IpAddr>().expect("an address");
    let mut out = vec![0; 100];
    let header = Echo { reply, identifier, sequence: 1 };
    let len = build::echo(address(src), address(dst), 64, header, b"payload", &mut out).expect("a packet");
    out.truncate(len);
    out
}

/// Holds every checksum of a packet, and of the packet it quotes, to be right.
pub(super) fn assert_intact(packet: &[u8]) {
    let ip = ip::Packet::new_checked(packet).expect("an IP packet");
    if let ip::Packet::V4(ip) = &ip {
        assert!(ip.verify_checksum(), "IP checksum");
    }
    let upper = ip.upper().expect("an upper layer");
    if ip.is_fragment() {
        return;
    }
    let body = &packet[upper.offset..upper.end];
    match upper.protocol {
        pinhole_wire::Protocol::Udp => {
            let udp = udp::Packet::new_checked(body).expect("a UDP packet");
            assert!(udp.verify_checksum(ip.src(), ip.dst()), "UDP checksum");
        }
        pinhole_wire::Protocol::Tcp => {
            let tcp = tcp::Packet::new_checked(body).expect("a TCP segment");
            assert!(tcp.verify_checksum(ip.src(), ip.dst()), "TCP checksum");
        }
        pinhole_wire::Protocol::Icmp | pinhole_wire::Protocol::Icmpv6 => {
            let icmp = icmp::Packet::new_checked(body).expect("an ICMP message");
            assert!(icmp.verify_checksum(ip.src(), ip.dst()), "ICMP checksum");
            if icmp.kind(upper.protocol) == icmp::Kind::Error {
                let quote = icmp.payload();
                if ip::Packet::new_checked(quote).is_ok() {
                    assert_intact(quote);
                }
            }
        }
        pinhole_wire::Protocol::Other(_) => {}
    }
}
