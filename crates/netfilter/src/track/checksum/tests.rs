//! Checksums of packets that others have made, and of those that we make and break.

use core::net::{Ipv4Addr, SocketAddr};

use pinhole_wire::{build, ipv4};

use super::{checksum_is_right, crc32c};
use crate::settings::{Personality, Settings};
use crate::track::Upper;

const SRC: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const DST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

fn is_right(protocol: u8, body: &[u8]) -> bool {
    checksum_is_right(Upper { protocol, body }, SRC, DST, &Settings::of(Personality::V6_12))
}

/// What a builder makes is right, and no longer if a bit of it is another.
fn check(protocol: u8, packet: &[u8]) {
    let mut body = packet[ipv4::HEADER_LEN..].to_vec();
    assert!(is_right(protocol, &body), "{protocol}");
    let last = body.len() - 1;
    body[last] ^= 1;
    assert!(!is_right(protocol, &body), "{protocol}");
}

#[test]
fn tcp_udp_and_icmp_are_summed_whole() {
    let (src, dst) = (SocketAddr::new(SRC.into(), 4_000), SocketAddr::new(DST.into(), 53));
    let mut out = [0; 100];
    let len = build::udp(src, dst, 64, b"query", &mut out).expect("room");
    check(17, &out[..len]);
    let len = build::tcp(src, dst, 64, build::Segment::default(), b"data", &mut out).expect("room");
    check(6, &out[..len]);
    let echo = build::Echo { reply: false, identifier: 7, sequence: 1 };
    let len = build::echo(SRC.into(), DST.into(), 64, echo, b"ping", &mut out).expect("room");
    check(1, &out[..len]);
}

#[test]
fn udp_without_a_checksum_is_right() {
    assert!(is_right(17, &[0, 1, 0, 2, 0, 8, 0, 0]));
    assert!(!is_right(17, &[0, 1, 0, 2, 0, 8, 0, 1]));
}

#[test]
fn crc32c_is_that_of_rfc_3720() {
    // RFC 3720 appendix B.4: 32 bytes of zeros, of ones, and counting up.
    let counting: Vec<u8> = (0..32).collect();
    for (bytes, crc) in [(&[0; 32][..], 0x8a91_36aa), (&[0xff; 32], 0x62a8_ab43), (&counting, 0x46dd_794e)] {
        assert_eq!(!crc32c(!0, bytes), crc);
    }
}

#[test]
fn sctp_is_checked_by_its_crc_with_the_lowest_octet_first() {
    let mut body = [&[0, 1, 0, 2, 0, 0, 0, 3, 0, 0, 0, 0][..], b"\x00\x03\x00\x08data"].concat();
    assert!(!is_right(132, &body));
    let crc = !crc32c(!0, &body);
    body[8..12].copy_from_slice(&crc.to_le_bytes());
    assert!(is_right(132, &body));
    body[15] ^= 1;
    assert!(!is_right(132, &body));
}

#[test]
fn udp_lite_is_summed_as_far_as_it_says() {
    // Coverage 8: the data may change, the header may not. Linux sums it as if it were UDP (measured on 6.18).
    let mut body = [&[0, 1, 0, 2, 0, 8, 0, 0][..], b"data"].concat();
    let sum =
        pinhole_wire::checksum::Sum::pseudo_header(SRC.into(), DST.into(), 17.into(), body.len()).bytes(&body[..8]);
    body[6..8].copy_from_slice(&sum.finish().to_be_bytes());
    assert!(is_right(136, &body));
    body[11] ^= 1;
    assert!(is_right(136, &body));
    body[1] ^= 1;
    assert!(!is_right(136, &body));
}
