use super::*;

/// A SYN with an MSS option and one byte of payload.
const SYN: [u8; 25] = [
    0x10, 0x92, 0x00, 0x50, 0x01, 0x02, 0x03, 0x04, 0xa1, 0xa2, 0xa3, 0xa4, 0x60, 0x02, 0xfa, 0xf0, 0, 0, 0, 0, 2, 4,
    5, 0xb4, 0x77,
];

#[test]
fn every_field_is_read_where_rfc_9293_puts_it() {
    let tcp = Packet::new_checked(SYN).expect("well-formed");
    assert_eq!((tcp.src_port(), tcp.dst_port(), tcp.window()), (4242, 80, 64_240));
    assert_eq!((tcp.seq(), tcp.ack(), tcp.flags()), (0x0102_0304, 0xa1a2_a3a4, Flags::SYN));
    assert_eq!((tcp.header_len(), tcp.options(), tcp.payload()), (24, &[2, 4, 5, 0xb4][..], &[0x77][..]));
}

#[test]
fn what_is_set_reads_back_and_the_checksum_covers_it() {
    for pair in [["10.0.0.1", "203.0.113.2"], ["fd00::1", "2001:db8::2"]] {
        let [src, dst]: [IpAddr; 2] = pair.map(|address| address.parse().expect("an address"));
        let mut bytes = *b"....................payload";
        let mut tcp = Packet::init(&mut bytes[..], 1, 2, Flags::SYN).expect("room");
        tcp.set_src_port(4242);
        tcp.set_dst_port(443);
        tcp.set_seq(7);
        tcp.set_ack(8);
        tcp.set_window(9);
        tcp.set_flags(Flags::PSH | Flags::ACK);
        tcp.fill_checksum(src, dst);
        assert_eq!((tcp.src_port(), tcp.dst_port(), tcp.seq(), tcp.ack(), tcp.window()), (4242, 443, 7, 8, 9));
        assert!(tcp.verify_checksum(src, dst) && tcp.payload() == b"payload");
        assert!(tcp.flags().contains(Flags::ACK) && !tcp.flags().contains(Flags::ACK | Flags::SYN));
        tcp.set_ack(9);
        assert!(!tcp.verify_checksum(src, dst));
    }
}

#[test]
fn impossible_data_offsets_are_refused() {
    assert_eq!(Packet::new_checked(&SYN[..19]), Err(Malformed::Truncated));
    for (offset, fine) in [(0, false), (4, false), (5, true), (6, true), (7, false), (15, false)] {
        let mut bytes = SYN;
        bytes[DATA_OFFSET] = offset << 4;
        let expected = if fine { Ok(()) } else { Err(Malformed::HeaderLength) };
        assert_eq!(Packet::new_checked(bytes).map(|_| ()), expected, "data offset {offset}");
    }
}

#[test]
fn flags_are_written_and_read_in_tcpdumps_letters() {
    for (flags, letters) in [(0x02, "S"), (0x12, "S."), (0x11, "F."), (0x04, "R"), (0, "-"), (0xff, "FSRP.UEW")] {
        assert_eq!(Flags(flags).to_string(), letters);
        assert_eq!(Flags::from_letters(letters), Some(Flags(flags)));
    }
    assert_eq!(Flags::from_letters("SX"), None);
}
