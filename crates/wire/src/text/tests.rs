use super::*;
use pinhole_sansio::Rng;

/// Lines of every kind. Other tests cut and bend the packets that they say.
const LINES: &[&str] = &[
    "10.0.0.1:51820 > 203.0.113.2:51820 udp 32",
    "10.0.0.1:1 > 203.0.113.2:2 udp 0 nosum",
    "10.0.0.1:1 > 203.0.113.2:2 udp \"a\\x00\\\"\\\\ \\r\\n\" 20 \"end\" badsum id 7 nodf tos 0x3 ttl 3",
    "[fd00::1]:1 > [fd00::2]:2 udp 5 sum 0x1234 tos 0x3 label 0x12345",
    "[fd00::1]:4000 > [fd00::2]:80 tcp S seq 1 ack 0 win 64240 0",
    "10.0.0.1:1 > 203.0.113.2:2 tcp S seq 1 ack 0 win 64240 (mss 1460, sackok, ts 1 0, nop, wscale 7) 0",
    "10.0.0.1:1 > 203.0.113.2:2 tcp . seq 1 ack 2 win 9 urg 5 (nop, nop, sack 5-10 4294967295-3) \"x\"",
    "10.0.0.1:1 > 203.0.113.2:2 tcp - seq 1 ack 2 win 9 (end, nop, opt 30 \"abc\", bytes \"\\x05\\t\\x01\\x00\\x00\") 0",
    "10.0.0.1 > 203.0.113.2 icmp echo-request id 7 seq 1 56 ttl 3",
    "10.0.0.1 > 203.0.113.2 icmp timestamp-request id 7 seq 1 12",
    "10.0.0.1 > 203.0.113.2 icmp type 9 code 3 rest 0x12345678 4 badsum",
    "fd00::1 > fd00::2 icmp6 echo-reply id 7 seq 1 56",
    "203.0.113.1 > 10.0.0.1 icmp time-exceeded (10.0.0.1:51820 > 203.0.113.2:51820 udp 32 ttl 1)",
    "203.0.113.1 > 10.0.0.1 icmp too-big mtu 1400 (10.0.0.1:5 > 203.0.113.2:6 tcp - seq 1 ack 0 win 0 1400) cut 28",
    "fd00::1 > fd00::2 icmp6 too-big mtu 1280 ([fd00::2]:1 > [fd00::1]:2 udp 1400) cut 1000",
    "203.0.113.1 > 10.0.0.1 icmp port-unreachable 3",
    "10.0.0.1 > 203.0.113.2 gre pptp call 7 seq 1 ack 2 10",
    "10.0.0.1 > 203.0.113.2 gre 0x2000 0x800 \"\\x00\\x00\\x00\\x07\" 20",
    "10.0.0.1:4000 > 203.0.113.2:80 sctp tag 0x0 (INIT tag 0x5 rwnd 65535 out 10 in 10 tsn 1)",
    "10.0.0.1:4000 > 203.0.113.2:80 sctp tag 0x5 (COOKIE_ECHO 20) (DATA flags 0x3 \"abc\") (chunk 77 0)",
    "10.0.0.1 > 203.0.113.2 proto 50 100",
    "10.0.0.1 > 203.0.113.2 proto 17 16 frag id 7 offset 1480 more",
    "10.0.0.1 > 203.0.113.2 proto 17 16 frag id 7 offset 8 df ttl 1",
    "fd00::1 > fd00::2 proto 17 16 frag id 77777 offset 1480",
    "10.0.0.1:1 > 203.0.113.2:2 udp 3 ipsum 0x1234",
];

#[test]
fn lines_read_back_as_they_were_written() {
    for text in LINES {
        let packet = read(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(write(&packet), *text);
    }
}

#[test]
fn what_a_tcp_line_leaves_out_is_usual() {
    let check = |short: &str, whole: &str| {
        let both = [short, whole].map(|fields| read(&format!("10.0.0.1:1 > 203.0.113.2:2 tcp {fields}")));
        assert_eq!(both[0], both[1], "{short}");
    };
    check("S", "S seq 0 ack 0 win 64240 0");
    check("S. ack 5", "S. seq 0 ack 5 win 64240 0");
    check("P. seq 5 7 ttl 3", "P. seq 5 ack 0 win 64240 7 ttl 3");
    check("S (mss 1460)", "S seq 0 ack 0 win 64240 (mss 1460) 0");
}

#[test]
fn every_packet_reads_back_as_the_same_bytes() {
    let mut rng = Rng::from_seed(1);
    for text in LINES {
        let whole = read(text).expect("a packet");
        for _ in 0..2_000 {
            let mut bytes = whole.clone();
            for _ in 0..rng.below(4) {
                let at = rng.below(bytes.len() as u64) as usize;
                bytes[at] = rng.next_u64() as u8;
            }
            if rng.chance(0.1) {
                bytes.truncate(rng.below(bytes.len() as u64) as usize);
            }
            let text = write(&bytes);
            assert_eq!(read(&text).as_deref(), Ok(bytes.as_slice()), "{text}");
        }
    }
}

#[test]
fn a_number_may_be_hexadecimal_and_a_payload_in_pieces() {
    let packet = read("10.0.0.1:1 > 203.0.113.2:2 tcp S seq 0x10 ack 0 win 1 2 \"a\" \"b\"").expect("a packet");
    assert_eq!(write(&packet), "10.0.0.1:1 > 203.0.113.2:2 tcp S seq 16 ack 0 win 1 \"\\x00\\x00ab\"");
}

#[test]
fn a_bad_checksum_stays_bad_when_the_packet_is_translated() {
    let mut packet = read("10.0.0.1:1 > 203.0.113.2:2 udp 5 badsum").expect("a packet");
    crate::edit::rewrite(&mut packet, crate::edit::End::Source, ([10, 0, 0, 9], 9).into()).expect("a translation");
    assert_eq!(write(&packet), "10.0.0.9:9 > 203.0.113.2:2 udp 5 badsum");
}

#[test]
fn the_checksum_of_sctp_is_crc32c() {
    // RFC 3720 appendix B.4: 32 bytes of zeros.
    let packet =
        read("10.0.0.1:1 > 203.0.113.2:2 sctp tag 0x0 (INIT tag 0x5 rwnd 1 out 1 in 1 tsn 1)").expect("a packet");
    assert_eq!(sctp::crc32c(&[0; 32]), 0x8a91_36aa);
    assert_ne!(packet[28..32], [0; 4]);
}

#[test]
fn packets_that_no_line_makes_are_still_described() {
    let udp = "10.0.0.1:1 > 203.0.113.2:2 udp 12".parse::<Line>().expect("a line").packet().expect("a packet");
    let edited = |edits: &[(usize, u8)]| {
        let mut bytes = udp.clone();
        edits.iter().for_each(|&(at, value)| bytes[at] = value);
        Line::of(&bytes).map(|line| line.to_string())
    };
    for (edits, start) in [
        (&[(9, 47)][..], "10.0.0.1 > 203.0.113.2 gre 0x1 0x2 "),
        (&[(7, 1)], "10.0.0.1 > 203.0.113.2 proto 17 \"\\x00\\x01\\x00\\x02\\x00\\x14"),
        (&[(9, 1), (20, 13)], "10.0.0.1 > 203.0.113.2 icmp type 13 code 1 rest 0x14"),
        (&[(9, 1), (20, 3), (21, 2)], "10.0.0.1 > 203.0.113.2 icmp protocol-unreachable rest 0x14"),
        (&[(8, 0)], "10.0.0.1:1 > 203.0.113.2:2 udp 12 ipsum"),
    ] {
        let line = edited(edits).expect("a packet");
        assert!(line.starts_with(start), "{line}");
    }
    assert_eq!(edited(&[(9, 6), (32, 0)]), Err(Malformed::HeaderLength));
    assert_eq!(edited(&[(25, 99)]), Err(Malformed::Length));
}

#[test]
fn an_unreadable_line_says_which_word_was_expected() {
    for (text, message) in [
        ("", "expected an address, found the end of the line"),
        ("10.0.0.1:1 -> 10.0.0.2:2 udp 3", "expected >, found ->"),
        ("10.0.0.1:99999 > 10.0.0.2:2 udp 3", "expected an address and a port from 0 to 65535, found 10.0.0.1:99999"),
        ("10.0.0.1:1 > 10.0.0.2:2 dccp 3", "expected udp, tcp, icmp, icmp6, gre, sctp or proto, found dccp"),
        ("10.0.0.1:1 > 10.0.0.2:2 udp", "expected a payload length, found the end of the line"),
        ("10.0.0.1:1 > 10.0.0.2:2 udp -3", "expected a payload length, found -3"),
        ("10.0.0.1:1 > 10.0.0.2:2 udp \"a", "expected a text in quotes, found \"a"),
        ("10.0.0.1:1 > 10.0.0.2:2 udp 65536", "expected a length that IP allows, found 65536"),
        ("10.0.0.1:1 > 10.0.0.2:2 udp 3 hops 4", "expected ttl or the end of the line, found hops"),
        ("10.0.0.1:1 > 10.0.0.2:2 udp 3 )", "expected the end of the line, found )"),
        ("10.0.0.1:1 > 10.0.0.2:2 tcp X seq 1", "expected TCP flags, as SFRP.UEW or -, found X"),
        ("10.0.0.1:1 > 10.0.0.2:2 tcp S sek 1", "expected a payload length, found sek"),
        (
            "10.0.0.1 > 10.0.0.2 icmp6 echo-reply id 1 seq 1 0",
            "expected icmp over IPv4 or icmp6 over IPv6, found icmp6",
        ),
        ("10.0.0.1 > 10.0.0.2 icmp greeting", "expected an ICMP message, as echo-request, or type, found greeting"),
        ("10.0.0.1:1 > [fd00::2]:2 udp 3", "expected two addresses of one family, found fd00::2"),
    ] {
        let error = text.parse::<Line>().expect_err("not a line");
        assert_eq!(error.to_string(), message, "{text:?}");
    }
    assert_eq!(read("raw 123").expect_err("odd").expected, "an even number of hexadecimal digits");
}

#[test]
fn no_text_makes_it_panic() {
    let mut rng = Rng::from_seed(2);
    for text in LINES {
        for _ in 0..2_000 {
            let mut bytes = text.as_bytes().to_vec();
            for _ in 0..rng.below(3) {
                let at = rng.below(bytes.len() as u64) as usize;
                bytes[at] = b" ()\",0x9-azZ>:\\"[rng.below(15) as usize];
            }
            bytes.truncate(rng.below(bytes.len() as u64 + 1) as usize);
            let _ = read(&String::from_utf8_lossy(&bytes));
        }
    }
}

#[test]
fn no_bytes_make_a_view_panic() {
    // Every prefix of every packet, with every byte of its headers set to each of a few awkward values.
    for text in LINES {
        let whole = read(text).expect("a packet");
        for at in 0..whole.len().min(100) {
            for value in [0, 1, 3, 4, 6, 43, 44, 51, 60, 0x45, 0x4f, 0x60, 0x7f, 0xff] {
                let mut bytes = whole.clone();
                bytes[at] = value;
                for end in [at, at + 1, whole.len() - 1, whole.len()] {
                    let _ = Line::of(&bytes[..end]).map(|line| line.to_string());
                    let _ = crate::Flow::of_quoted(&bytes[..end]);
                    let _ =
                        crate::edit::rewrite(&mut bytes[..end], crate::edit::End::Source, ([10, 0, 0, 9], 9).into());
                }
            }
        }
    }
}
