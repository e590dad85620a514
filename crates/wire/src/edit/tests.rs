use super::*;
use crate::build::tests::checksums_are_right;
use crate::text::Line;

fn packet(line: &str) -> Vec<u8> {
    line.parse::<Line>().expect("a line").packet().expect("a whole line")
}

fn end(text: &str) -> SocketAddr {
    text.parse().expect("an address and a port")
}

#[test]
fn a_rewritten_end_is_the_only_difference_and_checksums_stay_right() {
    for (before, which, new, after) in [
        (
            "10.0.0.1:51820 > 203.0.113.2:7 udp 9",
            End::Source,
            "198.51.100.1:61000",
            "198.51.100.1:61000 > 203.0.113.2:7 udp 9",
        ),
        (
            "10.0.0.1:51820 > 203.0.113.2:7 udp 9",
            End::Destination,
            "192.168.1.5:8",
            "10.0.0.1:51820 > 192.168.1.5:8 udp 9",
        ),
        (
            "10.0.0.1:4 > 203.0.113.2:80 tcp S seq 1 ack 0 win 9 3",
            End::Source,
            "198.51.100.1:5",
            "198.51.100.1:5 > 203.0.113.2:80 tcp S seq 1 ack 0 win 9 3",
        ),
        (
            "[fd00::1]:4 > [fd00::2]:80 tcp S seq 1 ack 0 win 9 3",
            End::Destination,
            "[2001:db8::9]:81",
            "[fd00::1]:4 > [2001:db8::9]:81 tcp S seq 1 ack 0 win 9 3",
        ),
        ("[fd00::1]:4 > [fd00::2]:80 udp 3", End::Source, "[2001:db8::9]:81", "[2001:db8::9]:81 > [fd00::2]:80 udp 3"),
        (
            "10.0.0.1 > 10.0.0.2 icmp echo-request id 7 seq 1 5",
            End::Source,
            "198.51.100.1:99",
            "198.51.100.1 > 10.0.0.2 icmp echo-request id 99 seq 1 5",
        ),
        (
            "10.0.0.2 > 198.51.100.1 icmp echo-reply id 99 seq 1 5",
            End::Destination,
            "10.0.0.1:7",
            "10.0.0.2 > 10.0.0.1 icmp echo-reply id 7 seq 1 5",
        ),
        (
            "10.0.0.1 > 10.0.0.2 icmp echo-request id 7 seq 1 5",
            End::Destination,
            "10.0.0.9:99",
            "10.0.0.1 > 10.0.0.9 icmp echo-request id 7 seq 1 5",
        ),
        (
            "fd00::1 > fd00::2 icmp6 echo-request id 7 seq 1 5",
            End::Source,
            "[fd00::8]:9",
            "fd00::8 > fd00::2 icmp6 echo-request id 9 seq 1 5",
        ),
    ] {
        let mut bytes = packet(before);
        rewrite(&mut bytes, which, end(new)).expect("well-formed");
        assert_eq!(Line::of(&bytes).expect("well-formed").to_string(), after);
        assert!(checksums_are_right(&bytes), "{after}");
    }
}

#[test]
fn no_checksum_stays_none_and_a_wrong_one_stays_wrong() {
    let mut none = packet("10.0.0.1:51820 > 203.0.113.2:7 udp 9");
    none[26..28].fill(0);
    rewrite(&mut none, End::Source, end("198.51.100.1:61000")).expect("well-formed");
    assert_eq!(none[26..28], [0, 0]);

    let mut wrong = packet("10.0.0.1:51820 > 203.0.113.2:7 udp 9");
    wrong[30] ^= 1;
    rewrite(&mut wrong, End::Source, end("198.51.100.1:61000")).expect("well-formed");
    assert!(!checksums_are_right(&wrong));
}

#[test]
fn every_port_keeps_udp_checksums_right_and_none_zero() {
    let mut bytes = packet("10.0.0.1:51820 > 203.0.113.2:7 udp 2");
    for port in 0..=u16::MAX {
        rewrite(&mut bytes, End::Source, SocketAddr::new(IpAddr::from([198, 51, 100, 1]), port)).expect("well-formed");
        let udp = udp::Packet::new_checked(&bytes[20..]).expect("well-formed");
        assert!(
            udp.checksum() != 0 && udp.verify_checksum([198, 51, 100, 1].into(), [203, 0, 113, 2].into()),
            "{port}"
        );
    }
}

#[test]
fn a_later_fragment_has_only_an_address_to_rewrite() {
    let mut bytes = packet("10.0.0.1:51820 > 203.0.113.2:7 udp 9");
    bytes[7] = 1;
    let before = bytes[20..].to_vec();
    rewrite(&mut bytes, End::Source, end("198.51.100.1:61000")).expect("well-formed");
    assert_eq!((&bytes[12..16], &bytes[20..]), (&[198, 51, 100, 1][..], &before[..]));
}

#[test]
fn what_cannot_be_rewritten_is_left_alone() {
    let whole = packet("10.0.0.1:51820 > 203.0.113.2:7 udp 9");
    let mut short_udp = whole.clone();
    short_udp[25] = 200;
    for (bytes, new, why) in [
        (whole.clone(), "[fd00::1]:1", EditError::Family),
        (whole[..30].to_vec(), "10.0.0.2:1", EditError::Malformed(Malformed::Length)),
        (short_udp, "10.0.0.2:1", EditError::Malformed(Malformed::Length)),
    ] {
        let mut edited = bytes.clone();
        assert_eq!(rewrite(&mut edited, End::Source, end(new)), Err(why));
        assert_eq!(edited, bytes);
    }
}
