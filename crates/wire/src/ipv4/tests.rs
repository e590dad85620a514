use super::*;

/// A packet without payload, followed by two bytes of padding.
const HEADER: [u8; 22] = [
    0x45, 0x00, 0x00, 0x14, 0x12, 0x34, 0x40, 0x00, 0x40, 0x11, 0xa6, 0x0c, 0xc0, 0xa8, 0x00, 0x01, 0xc0, 0xa8, 0x00,
    0xc7, 0xee, 0xee,
];

#[test]
fn every_field_is_read_where_rfc_791_puts_it() {
    let mut bytes = [
        0x46, 0xb8, 0x00, 0x1a, 0x12, 0x34, 0x60, 0x05, 0x07, 0x06, 0, 0, 192, 168, 0, 1, 203, 0, 113, 9, 1, 1, 1, 0,
        0xaa, 0xbb,
    ];
    let mut packet = Packet::new_checked(&mut bytes[..]).expect("well-formed");
    packet.fill_checksum();
    assert_eq!((packet.header_len(), packet.total_len(), packet.traffic_class()), (24, 26, 0xb8));
    assert_eq!((packet.identification(), packet.fragment_offset()), (0x1234, 40));
    assert!(packet.dont_fragment() && packet.more_fragments() && packet.verify_checksum());
    assert_eq!((packet.ttl(), packet.protocol()), (7, Protocol::Tcp));
    assert_eq!((packet.src(), packet.dst()), (Ipv4Addr::new(192, 168, 0, 1), Ipv4Addr::new(203, 0, 113, 9)));
    assert_eq!(packet.payload(), [0xaa, 0xbb]);
}

#[test]
fn padding_behind_the_packet_is_not_payload() {
    let packet = Packet::new_checked(HEADER).expect("well-formed");
    assert!(packet.payload().is_empty());
}

#[test]
fn impossible_headers_are_refused() {
    let edited = |at: usize, value: u8| {
        let mut bytes = HEADER;
        bytes[at] = value;
        Packet::new_checked(bytes).map(|_| ())
    };
    assert_eq!(Packet::new_checked(&HEADER[..19]), Err(Malformed::Truncated));
    assert_eq!(Packet::new_checked(&[][..]), Err(Malformed::Truncated));
    assert_eq!(edited(0, 0x65), Err(Malformed::Version));
    assert_eq!(edited(0, 0x44), Err(Malformed::HeaderLength));
    assert_eq!(edited(0, 0x4f), Err(Malformed::HeaderLength));
    assert_eq!(edited(3, 23), Err(Malformed::Length));
    assert_eq!(edited(3, 19), Err(Malformed::Length));
    assert_eq!(edited(2, 0xff), Err(Malformed::Length));
}

#[test]
fn the_time_to_live_goes_down_to_one_and_the_checksum_follows() {
    for ttl in [255, 64, 2] {
        let mut bytes = HEADER;
        let mut packet = Packet::new_checked(&mut bytes[..]).expect("well-formed");
        packet.set_ttl(ttl);
        packet.fill_checksum();
        assert!(packet.decrement_ttl() && packet.verify_checksum(), "from {ttl}");
        assert_eq!(packet.ttl(), ttl - 1);
    }
    for ttl in [1, 0] {
        let mut bytes = HEADER;
        let mut packet = Packet::new_checked(&mut bytes[..]).expect("well-formed");
        packet.set_ttl(ttl);
        let before = packet.header().to_vec();
        assert!(!packet.decrement_ttl());
        assert_eq!(packet.header(), before, "a packet that dies is left for the error to quote");
    }
}

#[test]
fn fragment_fields_are_set_without_touching_their_neighbours() {
    let mut bytes = HEADER;
    let mut packet = Packet::new_checked(&mut bytes[..]).expect("well-formed");
    packet.set_fragment(1480, true);
    assert!(packet.dont_fragment() && packet.more_fragments());
    packet.set_dont_fragment(false);
    assert_eq!((packet.fragment_offset(), packet.more_fragments(), packet.dont_fragment()), (1480, true, false));
    packet.set_fragment(0, false);
    assert_eq!((packet.fragment_offset(), packet.more_fragments()), (0, false));
}

#[test]
fn a_packet_that_was_initialised_reads_back() {
    let mut bytes = [0xff; 24];
    let [src, dst] = [Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2)];
    let packet = Packet::init(&mut bytes[..], src, dst, Protocol::Udp, 9).expect("room");
    assert_eq!((packet.src(), packet.dst(), packet.protocol(), packet.ttl()), (src, dst, Protocol::Udp, 9));
    assert!(packet.verify_checksum());
    assert_eq!(packet.payload(), [0xff; 4]);
    assert_eq!(Packet::init([0; 19], src, dst, Protocol::Udp, 9), Err(Malformed::Truncated));
    assert!(matches!(Packet::init(vec![0; 65_536], src, dst, Protocol::Udp, 9), Err(Malformed::Length)));
}
