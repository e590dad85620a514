use pinhole_wire::text::Line;

use super::*;

fn packet(line: &str) -> Vec<u8> {
    line.parse::<Line>().expect("a line").packet().expect("a packet")
}

#[test]
fn the_tuple_of_a_packet_has_its_ports_or_its_identifier() {
    let check = |line: &str, expected: &str| {
        let packet = packet(line);
        let headers = Ipv4Addr::headers(&packet).expect("headers");
        assert_eq!(headers.tuple(&packet).expect("a tuple").to_string(), expected);
    };
    check("10.0.0.1:1000 > 192.0.2.1:53 udp 8", "10.0.0.1:1000 > 192.0.2.1:53 udp");
    check("10.0.0.1 > 192.0.2.1 icmp echo-request id 7 seq 1 0", "10.0.0.1 > 192.0.2.1 icmp type 8 code 0 id 7");
}

#[test]
fn writing_an_address_keeps_the_headers_checksum_right() {
    let mut packet = packet("10.0.0.1:1000 > 192.0.2.1:53 udp 8");
    for (address, end) in [("203.0.113.7", Manip::Source), ("255.255.255.255", Manip::Destination)] {
        let address: Ipv4Addr = address.parse().expect("an address");
        address.put(&mut packet, end);
        let headers = Ipv4Addr::headers(&packet).expect("a header whose checksum is right");
        assert_eq!(if end == Manip::Source { headers.src } else { headers.dst }, address);
    }
}

#[test]
fn one_hop_less_keeps_the_headers_checksum_right_whatever_it_is() {
    let mut packet = packet("192.168.115.8:22793 > 1.173.5.226:22636 udp 37");
    for id in 0..=u16::MAX {
        packet[4..6].copy_from_slice(&id.to_be_bytes());
        packet[8] = 64;
        packet[10..12].fill(0);
        let sum = pinhole_wire::checksum::of(&packet[..20]);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        Ipv4Addr::decrement_ttl(&mut packet);
        assert_eq!(Ipv4Addr::headers(&packet).map(|headers| headers.ttl), Ok(63), "{id}");
        assert_ne!(packet[10..12], [0xff; 2], "{id}: of both zeros, a sum is the other one");
    }
}

#[test]
fn a_wrong_header_checksum_is_malformed() {
    let mut packet = packet("10.0.0.1:1000 > 192.0.2.1:53 udp 8");
    packet[10] ^= 1;
    assert_eq!(Ipv4Addr::headers(&packet), Err(Malformed::Length));
}

#[test]
fn a_quoted_packet_may_be_cut() {
    for line in ["10.0.0.1:1000 > 192.0.2.1:53 udp 80", "[fd00::1]:1000 > [fd00::2]:53 udp 80"] {
        let mut packet = packet(line);
        if packet[0] >> 4 == 4 {
            packet.truncate(ipv4::HEADER_LEN + 8);
            assert!(Ipv4Addr::quoted_headers(&packet).expect("headers").tuple(&packet).is_some());
            assert!(Ipv4Addr::headers(&packet).is_err());
        } else {
            packet.truncate(ipv6::HEADER_LEN + 8);
            assert!(Ipv6Addr::quoted_headers(&packet).expect("headers").tuple(&packet).is_some());
            assert!(Ipv6Addr::headers(&packet).is_err());
        }
    }
}
