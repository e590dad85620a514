use super::*;
use crate::build::tests::checksums_are_right;
use crate::text::Line;

fn packet(line: &str) -> Vec<u8> {
    line.parse::<Line>().expect("a line").packet().expect("a whole line")
}

fn answer(packet: &[u8], trouble: Trouble, router: &str) -> Result<Vec<u8>, Refusal> {
    let mut out = vec![0; 2_000];
    let len = error(packet, trouble, router.parse().expect("an address"), &mut out)?;
    out.truncate(len);
    Ok(out)
}

#[test]
fn an_error_goes_to_the_sender_and_quotes_the_packet() {
    let v4 = "10.0.0.1:51820 > 203.0.113.2:7 udp 9";
    let v6 = "[fd00::1]:51820 > [fd00::2]:7 udp 9";
    for (line, trouble, router, expected) in [
        (v4, Trouble::TimeExceeded, "192.0.2.1", "192.0.2.1 > 10.0.0.1 icmp time-exceeded"),
        (v4, Trouble::PortUnreachable, "203.0.113.2", "203.0.113.2 > 10.0.0.1 icmp port-unreachable"),
        (v4, Trouble::HostUnreachable, "192.0.2.1", "192.0.2.1 > 10.0.0.1 icmp host-unreachable"),
        (v4, Trouble::Prohibited, "192.0.2.1", "192.0.2.1 > 10.0.0.1 icmp prohibited"),
        (v4, Trouble::TooBig { mtu: 1280 }, "192.0.2.1", "192.0.2.1 > 10.0.0.1 icmp too-big mtu 1280"),
        (v6, Trouble::TimeExceeded, "2001:db8::1", "2001:db8::1 > fd00::1 icmp6 time-exceeded"),
        (v6, Trouble::PortUnreachable, "fd00::2", "fd00::2 > fd00::1 icmp6 port-unreachable"),
        (v6, Trouble::NoRoute, "2001:db8::1", "2001:db8::1 > fd00::1 icmp6 no-route"),
        (v6, Trouble::TooBig { mtu: 1280 }, "2001:db8::1", "2001:db8::1 > fd00::1 icmp6 too-big mtu 1280"),
    ] {
        let about = packet(line);
        let bytes = answer(&about, trouble, router).expect("an error");
        assert_eq!(Line::of(&bytes).expect("well-formed").to_string(), format!("{expected} ({line})"));
        assert!(checksums_are_right(&bytes) && bytes.ends_with(&about), "{expected}");
        if let Trouble::TooBig { mtu } = trouble {
            let upper = ip::Packet::new_checked(&bytes[..]).and_then(|ip| ip.upper()).expect("well-formed");
            let icmp = icmp::Packet::new_checked(&bytes[upper.offset..]).expect("well-formed");
            assert_eq!(icmp.mtu(), u32::from(mtu));
        }
    }
}

#[test]
fn the_quote_is_cut_to_the_limit_of_the_family_and_the_buffer() {
    let v4 = packet("10.0.0.1:51820 > 203.0.113.2:7 udp 1400");
    assert_eq!(answer(&v4, Trouble::TimeExceeded, "192.0.2.1").expect("an error").len(), MAX_ERROR_V4);
    let v6 = packet("[fd00::1]:51820 > [fd00::2]:7 udp 1400");
    assert_eq!(answer(&v6, Trouble::TimeExceeded, "fd00::9").expect("an error").len(), MAX_ERROR_V6);
    let router = "192.0.2.1".parse().expect("an address");
    assert_eq!(error(&v4, Trouble::TimeExceeded, router, &mut [0; 56]), Ok(56));
    let refused = Err(Refusal::CannotBuild(build::BuildError::Space));
    assert_eq!(error(&v4, Trouble::TimeExceeded, router, &mut [0; 27]), refused);
}

#[test]
fn some_packets_get_no_error() {
    let udp = packet("10.0.0.1:51820 > 203.0.113.2:7 udp 9");
    let about_an_error = answer(&udp, Trouble::TimeExceeded, "192.0.2.1").expect("an error");
    let mut fragment = udp.clone();
    fragment[7] = 1;
    for (what, bytes, why) in [
        ("an error", about_an_error, Refusal::IsError),
        ("a later fragment", fragment, Refusal::IsFragment),
        ("a truncated packet", udp[..25].to_vec(), Refusal::Malformed(Malformed::Length)),
        ("from nobody", packet("0.0.0.0:68 > 203.0.113.2:67 udp 9"), Refusal::NotUnicast),
        ("from a group", packet("224.0.0.1:68 > 203.0.113.2:67 udp 9"), Refusal::NotUnicast),
        ("to all", packet("10.0.0.1:68 > 255.255.255.255:67 udp 9"), Refusal::NotUnicast),
        ("to a group", packet("[fd00::1]:5353 > [ff02::fb]:5353 udp 9"), Refusal::NotUnicast),
    ] {
        let router = if bytes[0] >> 4 == 4 { "192.0.2.1" } else { "fd00::9" };
        assert_eq!(answer(&bytes, Trouble::TimeExceeded, router), Err(why), "{what}");
    }
    let to_a_group = packet("[fd00::1]:5353 > [ff02::fb]:5353 udp 9");
    assert!(answer(&to_a_group, Trouble::TooBig { mtu: 1280 }, "fd00::9").is_ok(), "path MTU discovery of a group");
    assert!(answer(&udp, Trouble::TimeExceeded, "fd00::9").is_err(), "a router of another family");
}

#[test]
fn an_echo_request_becomes_its_reply() {
    for (request, reply) in [
        (
            "10.0.0.1 > 10.0.0.2 icmp echo-request id 7 seq 1 5 ttl 3",
            "10.0.0.2 > 10.0.0.1 icmp echo-reply id 7 seq 1 5",
        ),
        ("fd00::1 > fd00::2 icmp6 echo-request id 7 seq 1 4 ttl 3", "fd00::2 > fd00::1 icmp6 echo-reply id 7 seq 1 4"),
    ] {
        let mut bytes = packet(request);
        assert!(echo_reply(&mut bytes));
        assert_eq!(Line::of(&bytes).expect("well-formed").to_string(), reply);
        assert!(checksums_are_right(&bytes), "{reply}");
    }
}

#[test]
fn nothing_else_becomes_a_reply() {
    let mut fragment = packet("10.0.0.1 > 10.0.0.2 icmp echo-request id 7 seq 1 64");
    fragment[6] = 0x20;
    for mut bytes in [
        packet("10.0.0.1 > 10.0.0.2 icmp echo-reply id 7 seq 1 5"),
        packet("10.0.0.1 > 255.255.255.255 icmp echo-request id 7 seq 1 5"),
        packet("10.0.0.1:7 > 10.0.0.2:7 udp 5"),
        fragment,
        vec![0x45],
    ] {
        let before = bytes.clone();
        assert!(!echo_reply(&mut bytes));
        assert_eq!(bytes, before);
    }
}
