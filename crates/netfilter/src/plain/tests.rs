use core::net::{IpAddr, SocketAddr};

use pinhole_sansio::Rng;
use pinhole_wire::checksum::Sum;
use pinhole_wire::{build, edit, ip};

use super::*;

fn random<A: Address>(rng: &mut Rng) -> SocketAddr {
    // Words of ones and of zeros are those that a one's complement sum can be wrong with.
    let word = |rng: &mut Rng| match rng.below(4) {
        0 => 0,
        1 => u64::MAX,
        _ => rng.next_u64(),
    };
    let address = A::of_number(u128::from(word(rng)) << 64 | u128::from(word(rng)));
    (Into::<IpAddr>::into(address), word(rng) as u16).into()
}

fn packet(rng: &mut Rng, ends: [SocketAddr; 2], protocol: u8) -> Vec<u8> {
    let payload: Vec<u8> = (0..rng.below(200)).map(|_| rng.next_u64() as u8).collect();
    let mut bytes = vec![0; 400];
    let [src, dst] = ends;
    let length = if protocol == UDP {
        build::udp(src, dst, 64, &payload, &mut bytes)
    } else {
        let segment = build::Segment { seq: rng.next_u64() as u32, ..build::Segment::default() };
        build::tcp(src, dst, 64, segment, &payload, &mut bytes)
    };
    bytes.truncate(length.expect("a packet"));
    bytes
}

fn ends_of<A: Plain>([src, dst]: [SocketAddr; 2]) -> Ends<A> {
    let address = |end: SocketAddr| A::of(end.ip()).expect("an address of the family");
    Ends::of(&Tuple { src: address(src), dst: address(dst), src_id: src.port(), dst_id: dst.port(), protocol: UDP })
}

fn a_translated_packet_is_the_one_that_two_edits_give<A: Plain>() {
    let mut rng = Rng::from_seed(1);
    for n in 0..20_000 {
        let protocol = if n % 2 == 0 { UDP } else { 6 };
        let [old, new] = [0, 1].map(|_| [random::<A>(&mut rng), random::<A>(&mut rng)]);
        let mut bytes = packet(&mut rng, old, protocol);
        let mut edited = bytes.clone();
        assert!(A::is_plain(&bytes) && is_intact::<A>(&bytes, protocol));
        assert_eq!(A::ends(&bytes), Some((ends_of::<A>(old), protocol)));
        translate(&mut bytes, &ends_of::<A>(old), &ends_of::<A>(new), protocol);
        edit::rewrite(&mut edited, edit::End::Source, new[0]).expect("a packet");
        edit::rewrite(&mut edited, edit::End::Destination, new[1]).expect("a packet");
        assert!(ip::Packet::new_checked(&mut edited[..]).expect("a packet").decrement_ttl());
        assert_eq!(bytes, edited, "from {old:?} to {new:?}");
        assert!(is_intact::<A>(&bytes, protocol));
        let damaged = A::BODY + rng.below((bytes.len() - A::BODY) as u64) as usize;
        bytes[damaged] ^= 1;
        assert!(!is_intact::<A>(&bytes, protocol) || bytes[A::BODY + UDP_CHECKSUM..][..2] == [0, 0]);
    }
}

#[test]
fn a_translated_packet_is_the_one_that_two_edits_give_in_either_family() {
    a_translated_packet_is_the_one_that_two_edits_give::<Ipv4Addr>();
    a_translated_packet_is_the_one_that_two_edits_give::<Ipv6Addr>();
}

#[test]
fn an_absent_checksum_stays_absent_and_one_that_comes_to_zero_is_written_as_ones() {
    let ends = [([10, 0, 0, 1], 5_000).into(), ([192, 0, 2, 1], 53).into()];
    let mut rng = Rng::from_seed(2);
    let mut bytes = packet(&mut rng, ends, UDP);
    let checksum = Ipv4Addr::BODY + UDP_CHECKSUM..Ipv4Addr::BODY + UDP_CHECKSUM + 2;
    let old = ends_of::<Ipv4Addr>(ends);
    // The port whose difference from the old one is what the checksum lacks to ones.
    let sum = u16::from_be_bytes([bytes[checksum.start], bytes[checksum.start + 1]]);
    let port = (u32::from(sum) + 5_000) as u16;
    let port = if u32::from(sum) + 5_000 > 0xffff { port + 1 } else { port };
    let mut new = old;
    [new.ids[0], new.ids[1]] = port.to_be_bytes();
    translate(&mut bytes, &old, &new, UDP);
    assert_eq!(bytes[checksum.clone()], [0xff, 0xff]);
    bytes[checksum.clone()].fill(0);
    translate(&mut bytes, &new, &old, UDP);
    assert_eq!(bytes[checksum], [0, 0]);
}

#[test]
fn a_packet_with_anything_special_is_not_plain() {
    let ends = [([10, 0, 0, 1], 5_000).into(), ([192, 0, 2, 1], 53).into()];
    let whole = packet(&mut Rng::from_seed(3), ends, UDP);
    assert!(Ipv4Addr::is_plain(&whole));
    for length in 0..whole.len() {
        assert!(!Ipv4Addr::is_plain(&whole[..length]), "cut to {length} bytes");
    }
    // What a byte becomes, and whether that is wrong although the checksum is right.
    for (at, byte) in [(0, 0x46), (0, 0x65), (3, 1), (6, 0x20), (7, 1), (8, 1), (9, 1)] {
        let mut bytes = whole.clone();
        bytes[at] = byte;
        ip_checksum(&mut bytes);
        assert!(!Ipv4Addr::is_plain(&bytes), "byte {at} is {byte}");
    }
    let mut bytes = whole;
    bytes[11] ^= 1;
    assert!(!Ipv4Addr::is_plain(&bytes), "a wrong checksum");
}

fn ip_checksum(bytes: &mut [u8]) {
    bytes[10..12].fill(0);
    let sum = Sum::new().bytes(&bytes[..20]).finish();
    bytes[10..12].copy_from_slice(&sum.to_be_bytes());
}
