use super::*;
use crate::{Flow, ip, text::Line};

#[test]
fn what_is_built_reads_back_with_every_checksum_right() {
    for line in [
        "10.0.0.1:51820 > 203.0.113.2:51820 udp 0",
        "10.0.0.1:51820 > 203.0.113.2:51820 udp 33 ttl 3",
        "[fd00::1]:1 > [fd00::2]:65535 udp 1200",
        "10.0.0.1:4242 > 203.0.113.2:80 tcp S. seq 4294967295 ack 7 win 64240 11",
        "[fd00::1]:4242 > [fd00::2]:80 tcp R seq 1 ack 0 win 0 0",
        "10.0.0.1 > 10.0.0.2 icmp echo-request id 7 seq 8 56",
        "fd00::1 > fd00::2 icmp6 echo-reply id 7 seq 8 57",
    ] {
        let bytes = line.parse::<Line>().expect("a line").packet().expect("a packet");
        assert_eq!(Line::of(&bytes).expect("well-formed").to_string(), line);
        assert!(checksums_are_right(&bytes), "{line}");
    }
}

#[test]
fn the_payload_is_carried() {
    let [src, dst] = ["10.0.0.1:1", "10.0.0.2:2"].map(|end| end.parse().expect("an address"));
    let mut out = [0xee; 64];
    let len = udp(src, dst, 64, b"hello", &mut out).expect("room");
    assert_eq!((&out[28..len], out[len]), (&b"hello"[..], 0xee));
    let len = tcp(src, dst, 64, Segment::default(), b"hello", &mut out).expect("room");
    assert_eq!(&out[40..len], b"hello");
}

#[test]
fn a_packet_that_cannot_be_is_refused() {
    let [v4, v6] = ["10.0.0.1:1", "[fd00::1]:1"].map(|end| end.parse().expect("an address"));
    let mut out = vec![0; 70_000];
    assert_eq!(udp(v4, v6, 64, b"", &mut out), Err(BuildError::Family));
    assert_eq!(udp(v4, v4, 64, b"x", &mut out[..28]), Err(BuildError::Space));
    assert_eq!(udp(v4, v4, 64, &vec![0; 65_508], &mut out), Err(BuildError::Space));
    assert_eq!(udp(v4, v4, 64, &vec![0; 65_507], &mut out), Ok(65_535));
    assert_eq!(udp(v6, v6, 64, &vec![0; 65_528], &mut out), Err(BuildError::Space));
}

/// Whether the IPv4 header's and the transport's checksums are right.
pub(crate) fn checksums_are_right(packet: &[u8]) -> bool {
    let ip = ip::Packet::new_checked(packet).expect("well-formed");
    let upper = ip.upper().expect("well-formed");
    let (body, src, dst) = (&packet[upper.offset..upper.end], ip.src(), ip.dst());
    let header = match ip {
        ip::Packet::V4(ip) => ip.verify_checksum(),
        ip::Packet::V6(_) => true,
    };
    let flow = Flow::of(packet).expect("well-formed");
    header
        && match flow.protocol {
            Protocol::Udp => udp::Packet::new_checked(body).expect("udp").verify_checksum(src, dst),
            Protocol::Tcp => tcp::Packet::new_checked(body).expect("tcp").verify_checksum(src, dst),
            Protocol::Icmp | Protocol::Icmpv6 => {
                icmp::Packet::new_checked(body).expect("icmp").verify_checksum(src, dst)
            }
            Protocol::Other(_) => true,
        }
}
