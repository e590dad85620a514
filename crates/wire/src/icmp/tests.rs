use super::*;

#[test]
fn an_echo_reads_back_and_only_icmpv6_sums_the_addresses() {
    for (pair, covers_addresses) in [(["10.0.0.1", "10.0.0.2"], false), (["fd00::1", "fd00::2"], true)] {
        let [src, dst]: [IpAddr; 2] = pair.map(|address| address.parse().expect("an address"));
        let other: IpAddr = if covers_addresses { "fd00::3" } else { "10.0.0.3" }.parse().expect("an address");
        let mut bytes = *b"........ping";
        let mut icmp = Packet::init(&mut bytes[..], v4::ECHO_REQUEST, 0).expect("room");
        icmp.set_identifier(7);
        icmp.set_sequence(8);
        icmp.fill_checksum(src, dst);
        assert_eq!((icmp.identifier(), icmp.sequence(), icmp.payload()), (7, 8, &b"ping"[..]));
        assert!(icmp.verify_checksum(src, dst));
        assert_eq!(icmp.verify_checksum(src, other), !covers_addresses);
    }
}

#[test]
fn the_checksum_is_the_one_worked_out_by_hand() {
    // 0800 + 0001 + 0005 + 6162 + 6364 = cccc, whose complement is 3333.
    let any: IpAddr = "10.0.0.1".parse().expect("an address");
    let mut bytes = [8, 0, 0, 0, 0, 1, 0, 5, b'a', b'b', b'c', b'd'];
    let mut icmp = Packet::new_checked(&mut bytes[..]).expect("well-formed");
    icmp.fill_checksum(any, any);
    assert_eq!(icmp.checksum(), 0x3333);
}

#[test]
fn kinds_depend_on_the_protocol() {
    for (protocol, message_type, kind) in [
        (Protocol::Icmp, 8, Kind::EchoRequest),
        (Protocol::Icmp, 0, Kind::EchoReply),
        (Protocol::Icmp, 3, Kind::Error),
        (Protocol::Icmp, 11, Kind::Error),
        (Protocol::Icmp, 13, Kind::Other),
        (Protocol::Icmp, 128, Kind::Other),
        (Protocol::Icmpv6, 128, Kind::EchoRequest),
        (Protocol::Icmpv6, 129, Kind::EchoReply),
        (Protocol::Icmpv6, 1, Kind::Error),
        (Protocol::Icmpv6, 127, Kind::Error),
        (Protocol::Icmpv6, 135, Kind::Other),
        (Protocol::Udp, 8, Kind::Other),
    ] {
        let icmp = Packet::init([0; 8], message_type, 0).expect("room");
        assert_eq!(icmp.kind(protocol), kind, "{protocol} type {message_type}");
    }
}

#[test]
fn a_short_message_is_refused() {
    assert_eq!(Packet::new_checked([0; 7]), Err(Malformed::Truncated));
    assert_eq!(Packet::init([0; 7], 8, 0), Err(Malformed::Truncated));
}
