use super::*;

const SRC: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
const DST: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);

/// A packet whose first header is `next` and whose payload is `payload`.
fn packet(next: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; HEADER_LEN];
    bytes.extend_from_slice(payload);
    Packet::init(&mut bytes[..], SRC, DST, next.into(), 64).expect("room");
    bytes
}

#[test]
fn every_field_is_set_and_read_where_rfc_8200_puts_it() {
    let mut bytes = packet(17, &[1, 2, 3]);
    let mut packet = Packet::new_checked(&mut bytes[..]).expect("well-formed");
    packet.set_traffic_class(0xb9);
    packet.set_flow_label(0xfff1_2345);
    assert_eq!((packet.traffic_class(), packet.flow_label()), (0xb9, 0x1_2345));
    assert_eq!((packet.payload_len(), packet.next_header(), packet.hop_limit()), (3, 17, 64));
    assert_eq!((packet.src(), packet.dst(), packet.payload()), (SRC, DST, &[1, 2, 3][..]));
    assert_eq!(bytes[..8], [0x6b, 0x91, 0x23, 0x45, 0, 3, 17, 64]);
}

#[test]
fn impossible_headers_are_refused() {
    let bytes = packet(17, &[1, 2, 3]);
    assert_eq!(Packet::new_checked(&bytes[..39]), Err(Malformed::Truncated));
    assert_eq!(Packet::new_checked(&bytes[..42]), Err(Malformed::Length));
    let mut v4 = bytes;
    v4[0] = 0x40;
    assert_eq!(Packet::new_checked(v4), Err(Malformed::Version));
}

#[test]
fn the_hop_limit_goes_down_to_one() {
    let mut bytes = packet(17, &[]);
    let mut packet = Packet::new_checked(&mut bytes[..]).expect("well-formed");
    packet.set_hop_limit(2);
    assert!(packet.decrement_hop_limit());
    assert!(!packet.decrement_hop_limit());
    assert_eq!(packet.hop_limit(), 1);
}

#[test]
fn extension_headers_are_walked_to_the_upper_layer() {
    let plain = [17, 0, 0, 0, 0, 0, 0, 0];
    let hop_by_hop_then_destination =
        [&[60u8, 0, 0, 0, 0, 0, 0, 0][..], &[6, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]].concat();
    let authentication = [[17, 1, 0, 0, 0, 0, 0, 1], [0, 0, 0, 1, 0xaa, 0xbb, 0xcc, 0xdd]].concat();
    for (next, payload, protocol, offset) in [
        (17, &plain[..], Protocol::Udp, 40),
        (0, &plain[..], Protocol::Udp, 48),
        (43, &plain[..], Protocol::Udp, 48),
        (0, &hop_by_hop_then_destination[..], Protocol::Tcp, 64),
        (51, &authentication[..], Protocol::Udp, 52),
        (59, &[][..], Protocol::Other(59), 40),
    ] {
        let upper = Packet::new_checked(packet(next, payload)).expect("well-formed").upper_layer();
        assert_eq!(upper, Ok(UpperLayer { protocol, offset, fragment: None }), "next header {next}");
    }
}

#[test]
fn a_fragment_header_is_read_and_ends_the_walk_in_later_fragments() {
    let first = packet(44, &[60, 0, 0, 1, 0, 0, 0, 7, 17, 0, 0, 0, 0, 0, 0, 0]);
    let upper = Packet::new_checked(first).expect("well-formed").upper_layer().expect("headers");
    assert_eq!((upper.protocol, upper.offset), (Protocol::Udp, 56));
    assert_eq!(upper.fragment, Some(Fragment { identification: 7, offset: 0, more: true }));

    // What stands behind a later fragment header is the middle of something, even if it looks like a header.
    let later = packet(44, &[60, 0, 5, 0xa8, 0, 0, 0, 7, 17, 200, 0, 0, 0, 0, 0, 0]);
    let upper = Packet::new_checked(later).expect("well-formed").upper_layer().expect("headers");
    assert_eq!(upper.fragment, Some(Fragment { identification: 7, offset: 1448, more: false }));
    assert_eq!((upper.protocol, upper.offset), (Protocol::Other(60), 48));
}

#[test]
fn extension_headers_that_leave_the_packet_are_refused() {
    let many = [[60, 0, 0, 0, 0, 0, 0, 0]; 20].concat();
    for (what, payload) in
        [("cut off", &[17u8, 0, 0][..]), ("too long", &[17, 9, 0, 0, 0, 0, 0, 0]), ("too many", &many), ("absent", &[])]
    {
        let upper = Packet::new_checked(packet(60, payload)).expect("well-formed").upper_layer();
        assert_eq!(upper, Err(Malformed::HeaderLength), "{what}");
    }
}
