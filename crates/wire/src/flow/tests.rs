use super::*;
use crate::build::{self, Echo};
use crate::text::Line;
use core::net::IpAddr;

fn packet(line: &str) -> Vec<u8> {
    line.parse::<Line>().expect("a line").packet().expect("a whole line")
}

#[test]
fn a_flow_is_named_by_protocol_and_ends() {
    for (line, flow) in [
        ("10.0.0.1:51820 > 203.0.113.2:7 udp 9", "10.0.0.1:51820 > 203.0.113.2:7 udp"),
        ("[fd00::1]:4 > [fd00::2]:80 tcp S seq 1 ack 0 win 1 0", "[fd00::1]:4 > [fd00::2]:80 tcp"),
        ("10.0.0.1 > 10.0.0.2 icmp echo-request id 7 seq 1 0", "10.0.0.1 > 10.0.0.2 icmp id 7"),
        ("fd00::1 > fd00::2 icmp6 echo-reply id 7 seq 1 0", "fd00::1 > fd00::2 icmp6 id 7"),
    ] {
        assert_eq!(Flow::of(&packet(line)).expect("well-formed").to_string(), flow);
    }
}

#[test]
fn the_reverse_of_a_request_is_the_flow_of_its_reply() {
    let [a, b]: [IpAddr; 2] = ["10.0.0.1", "10.0.0.2"].map(|address| address.parse().expect("an address"));
    let echo = |src, dst, reply| {
        let mut out = [0; 64];
        let len = build::echo(src, dst, 64, Echo { reply, identifier: 77, sequence: 1 }, b"", &mut out).expect("room");
        Flow::of(&out[..len]).expect("well-formed")
    };
    assert_eq!(echo(a, b, false).reversed(), echo(b, a, true));
    assert_ne!(echo(a, b, false), echo(a, b, true));
}

#[test]
fn a_quote_cut_off_after_eight_bytes_still_names_its_flow() {
    for (line, keep) in [
        ("10.0.0.1:51820 > 203.0.113.2:7 udp 900", 28),
        ("10.0.0.1:4 > 203.0.113.2:80 tcp S seq 1 ack 0 win 1 500", 28),
        ("[fd00::1]:4 > [fd00::2]:80 tcp S seq 1 ack 0 win 1 500", 48),
        ("10.0.0.1 > 10.0.0.2 icmp echo-request id 7 seq 1 100", 28),
    ] {
        let whole = packet(line);
        assert_eq!(Flow::of_quoted(&whole[..keep]), Flow::of(&whole), "{line}");
        assert_eq!(Flow::of(&whole[..keep]), Err(Malformed::Length), "{line}: not a whole packet");
        for end in 0..keep - 5 {
            assert!(Flow::of_quoted(&whole[..end]).is_err(), "{line}: {end} bytes");
        }
    }
}

#[test]
fn a_later_fragment_and_an_unknown_protocol_have_no_ports() {
    let mut fragment = packet("10.0.0.1:51820 > 203.0.113.2:7 udp 9");
    fragment[7] = 1;
    assert_eq!(Flow::of(&fragment).expect("well-formed").src.port(), 0);
    let mut gre = packet("10.0.0.1:51820 > 203.0.113.2:7 udp 9");
    gre[9] = 47;
    assert_eq!(Flow::of(&gre).expect("well-formed").to_string(), "10.0.0.1 > 203.0.113.2 proto 47");
}
