use super::*;
use crate::build;

#[test]
fn both_versions_read_alike() {
    for (src, dst, offset) in [("10.0.0.1:1", "10.0.0.2:2", 20), ("[fd00::1]:1", "[fd00::2]:2", 40)] {
        let [src, dst] = [src, dst].map(|end| end.parse::<core::net::SocketAddr>().expect("an address"));
        let mut bytes = [0; 64];
        let len = build::udp(src, dst, 5, b"x", &mut bytes).expect("room");
        let mut packet = Packet::new_checked(&mut bytes[..]).expect("well-formed");
        assert_eq!((packet.src(), packet.dst(), packet.ttl(), packet.total_len()), (src.ip(), dst.ip(), 5, len));
        assert_eq!(packet.upper(), Ok(Upper { protocol: Protocol::Udp, offset, end: len, first: true }));
        assert!(packet.decrement_ttl() && packet.ttl() == 4 && !packet.is_fragment());
    }
}

#[test]
fn a_later_fragment_has_no_upper_header() {
    let v4 = |offset| {
        let mut bytes = vec![0; 40];
        let any = core::net::Ipv4Addr::LOCALHOST;
        let mut ip = ipv4::Packet::init(&mut bytes[..], any, any, Protocol::Udp, 64).expect("room");
        ip.set_fragment(offset, true);
        bytes
    };
    let v6 = |offset: u8| {
        let mut bytes = [&[0; 40][..], &[17, 0, 0, offset | 1, 0, 0, 0, 7], &[0; 8]].concat();
        let any = core::net::Ipv6Addr::LOCALHOST;
        ipv6::Packet::init(&mut bytes[..], any, any, Protocol::Other(44), 64).expect("room");
        bytes
    };
    for (bytes, first) in [(v4(0), true), (v4(8), false), (v6(0), true), (v6(8), false)] {
        let packet = Packet::new_checked(&bytes[..]).expect("well-formed");
        assert!(packet.is_fragment());
        assert_eq!(packet.upper().map(|upper| (upper.protocol, upper.first)), Ok((Protocol::Udp, first)));
    }
}

#[test]
fn other_versions_are_refused() {
    assert_eq!(Packet::new_checked(&[][..]), Err(Malformed::Truncated));
    for nibble in (0..16).filter(|nibble| ![4, 6].contains(nibble)) {
        assert_eq!(Packet::new_checked([nibble << 4; 60]), Err(Malformed::Version));
    }
}
