use super::*;

fn ends(text: [&str; 2]) -> [IpAddr; 2] {
    text.map(|address| address.parse().expect("an address"))
}

#[test]
fn a_datagram_reads_back_and_its_checksum_covers_all_of_it() {
    for pair in [["152.1.51.27", "152.14.94.75"], ["fd00::1", "2001:db8::2"]] {
        let [src, dst] = ends(pair);
        let mut bytes = *b"........Hi?";
        let mut udp = Packet::init(&mut bytes[..], 41_103, 10_111).expect("room");
        udp.fill_checksum(src, dst);
        assert_eq!((udp.src_port(), udp.dst_port(), udp.total_len(), udp.payload()), (41_103, 10_111, 11, &b"Hi?"[..]));
        for at in 0..bytes.len() {
            let mut damaged = bytes;
            damaged[at] ^= 0x40;
            let intact = Packet::new_checked(damaged).is_ok_and(|udp| udp.verify_checksum(src, dst));
            assert!(!intact, "damage at {at} is seen");
        }
        assert!(Packet::new_checked(bytes).is_ok_and(|udp| udp.verify_checksum(src, dst)));
    }
}

#[test]
fn the_checksum_is_the_one_worked_out_by_hand() {
    // 9801+331b+980e+5e4b (addresses) +0011+000a (protocol, length) +a08f+277f+000a (header) +6262 = ec0c with carries.
    let [src, dst] = ends(["152.1.51.27", "152.14.94.75"]);
    let mut bytes = [0xa0, 0x8f, 0x27, 0x7f, 0, 10, 0, 0, 0x62, 0x62];
    let mut udp = Packet::new_checked(&mut bytes[..]).expect("well-formed");
    udp.fill_checksum(src, dst);
    assert_eq!(udp.checksum(), !0xec0c);
}

#[test]
fn no_checksum_is_right_over_ipv4_and_wrong_over_ipv6() {
    let udp = Packet::init([0; 9], 1, 2).expect("room");
    let [a, b] = ends(["10.0.0.1", "10.0.0.2"]);
    assert!(udp.verify_checksum(a, b));
    let [a, b] = ends(["fd00::1", "fd00::2"]);
    assert!(!udp.verify_checksum(a, b));
}

#[test]
fn a_checksum_that_computes_to_zero_is_sent_as_ffff() {
    let [src, dst] = ends(["0.0.0.0", "0.0.0.0"]);
    // The words 0011 + 000a + 000a + ffda sum to ffff, whose complement is zero.
    let mut bytes = [0, 0, 0, 0, 0, 10, 0, 0, 0xff, 0xda];
    let mut udp = Packet::new_checked(&mut bytes[..]).expect("well-formed");
    udp.fill_checksum(src, dst);
    assert_eq!(udp.checksum(), 0xffff);
    assert!(udp.verify_checksum(src, dst));
}

#[test]
fn impossible_lengths_are_refused() {
    assert_eq!(Packet::new_checked([0; 7]), Err(Malformed::Truncated));
    for (len, malformed) in [(7, true), (8, false), (9, false), (10, true), (0xffff, true)] {
        let mut bytes = [0; 9];
        bytes[4..6].copy_from_slice(&u16::to_be_bytes(len));
        assert_eq!(Packet::new_checked(bytes) == Err(Malformed::Length), malformed, "length {len}");
    }
    assert_eq!(Packet::init([0; 7], 1, 2), Err(Malformed::Truncated));
    assert!(matches!(Packet::init(vec![0; 65_536], 1, 2), Err(Malformed::Length)));
}

#[test]
fn bytes_behind_the_datagram_are_not_payload() {
    let udp = Packet::new_checked([0, 1, 0, 2, 0, 9, 0, 0, 7, 0xee]).expect("well-formed");
    assert_eq!(udp.payload(), [7]);
}
