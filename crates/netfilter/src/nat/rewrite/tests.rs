use core::net::{Ipv4Addr, Ipv6Addr};

use pinhole_wire::{ip, tcp, text::Line, udp};

use super::*;

fn check<A: Family>(line: &str, target: [&str; 2], ids: [u16; 2], expected: &str) {
    let mut packet = line.parse::<Line>().expect("a line").packet().expect("a packet");
    let mut headers = A::headers(&packet).expect("headers");
    let [src, dst] = target.map(|address| A::of(address.parse().expect("an address")).expect("of this family"));
    let target = Tuple { src, dst, src_id: ids[0], dst_id: ids[1], protocol: headers.protocol };
    for manip in [Manip::Source, Manip::Destination] {
        rewrite(&mut packet, &mut headers, &target, manip, &Personality::V6_12).expect("a whole header");
    }
    assert_eq!(Line::of(&packet).expect("a packet still").to_string(), expected);
    assert_eq!(A::headers(&packet).expect("a right header checksum"), headers);
    let body = headers.body(&packet);
    let ip = ip::Packet::new_checked(&packet[..]).expect("IP");
    let intact = match Protocol::from(headers.protocol) {
        Protocol::Udp => udp::Packet::new_checked(body).expect("UDP").verify_checksum(ip.src(), ip.dst()),
        Protocol::Tcp => tcp::Packet::new_checked(body).expect("TCP").verify_checksum(ip.src(), ip.dst()),
        _ => pinhole_wire::icmp::Packet::new_checked(body).expect("ICMP").verify_checksum(ip.src(), ip.dst()),
    };
    assert!(intact, "the checksum of {expected}");
}

#[test]
fn both_ends_are_written_and_checksums_stay_right() {
    let to = ["203.0.113.1", "198.51.100.9"];
    check::<Ipv4Addr>(
        "10.0.0.1:1000 > 192.0.2.1:53 udp 11",
        to,
        [40_000, 5_353],
        "203.0.113.1:40000 > 198.51.100.9:5353 udp 11",
    );
    check::<Ipv4Addr>(
        "10.0.0.1:1000 > 192.0.2.1:80 tcp S seq 1 ack 0 win 100 0",
        to,
        [1, 8_080],
        "203.0.113.1:1 > 198.51.100.9:8080 tcp S seq 1 ack 0 win 100 0",
    );
    check::<Ipv4Addr>(
        "10.0.0.1 > 192.0.2.1 icmp echo-request id 7 seq 1 3",
        to,
        [777, 8 << 8],
        "203.0.113.1 > 198.51.100.9 icmp echo-request id 777 seq 1 3",
    );
    let to = ["2001:db8::1", "2001:db8::2"];
    check::<Ipv6Addr>(
        "[fd00::1]:1000 > [fd00::2]:53 udp 11",
        to,
        [40_000, 5_353],
        "[2001:db8::1]:40000 > [2001:db8::2]:5353 udp 11",
    );
    check::<Ipv6Addr>(
        "fd00::1 > fd00::2 icmp6 echo-request id 7 seq 1 3",
        to,
        [777, 128 << 8],
        "2001:db8::1 > 2001:db8::2 icmp6 echo-request id 777 seq 1 3",
    );
}

#[test]
fn an_absent_udp_checksum_stays_absent() {
    let line: Line = "10.0.0.1:1000 > 192.0.2.1:53 udp 11".parse().expect("a line");
    let mut packet = line.packet().expect("a packet");
    packet[26..28].fill(0);
    let mut headers = Ipv4Addr::headers(&packet).expect("headers");
    let mut target = headers.tuple(&packet).expect("a tuple");
    target.src_id = 4;
    rewrite(&mut packet, &mut headers, &target, Manip::Source, &Personality::V6_12).expect("a whole header");
    assert_eq!((packet[20..22].to_vec(), packet[26..28].to_vec()), (vec![0, 4], vec![0, 0]));
}

#[test]
fn a_packet_that_ends_anywhere_does_not_panic() {
    for line in ["10.0.0.1:1000 > 192.0.2.1:53 udp 11", "10.0.0.1:1000 > 192.0.2.1:80 tcp S seq 1 ack 0 win 100 0"] {
        let whole = line.parse::<Line>().expect("a line").packet().expect("a packet");
        for protocol in [1, 6, 17, 33, 47, 132, 136] {
            for len in 20..whole.len() {
                let mut packet = whole[..len].to_vec();
                let mut headers = Ipv4Addr::quoted_headers(&packet).expect("headers");
                headers.protocol = protocol;
                let target = Tuple { src: headers.dst, dst: headers.src, src_id: 1, dst_id: 2, protocol };
                let rewritten = rewrite(&mut packet, &mut headers, &target, Manip::Source, &Personality::V6_12);
                assert_eq!(rewritten.is_err(), len < 28, "protocol {protocol}, {len} bytes");
                let _ = rewrite(&mut packet, &mut headers, &target, Manip::Destination, &Personality::V6_12);
            }
        }
    }
}
