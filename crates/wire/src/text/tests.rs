use super::*;

#[test]
fn lines_read_back_as_they_were_written() {
    for text in [
        "10.0.0.1:51820 > 203.0.113.2:51820 udp 32",
        "[fd00::1]:4000 > [fd00::2]:80 tcp S seq 1 ack 0 win 64240 0",
        "10.0.0.1 > 203.0.113.2 icmp echo-request id 7 seq 1 56 ttl 3",
        "fd00::1 > fd00::2 icmp6 echo-reply id 7 seq 1 56",
    ] {
        assert_eq!(text.parse::<Line>().expect("a line").to_string(), text);
    }
}

#[test]
fn packets_that_no_line_makes_are_still_described() {
    let udp = "10.0.0.1:1 > 203.0.113.2:2 udp 12".parse::<Line>().expect("a line").packet().expect("a packet");
    let edited = |edits: &[(usize, u8)]| {
        let mut bytes = udp.clone();
        edits.iter().for_each(|&(at, value)| bytes[at] = value);
        Line::of(&bytes).map(|line| line.to_string())
    };
    for (edits, expected) in [
        (&[(9, 47)][..], "10.0.0.1 > 203.0.113.2 proto 47 20"),
        (&[(7, 1)], "10.0.0.1 > 203.0.113.2 udp 20 frag"),
        (&[(6, 0x20)], "10.0.0.1:1 > 203.0.113.2:2 udp 12 frag"),
        (&[(9, 1), (20, 13)], "10.0.0.1 > 203.0.113.2 icmp type 13 code 1 12"),
        (&[(9, 1), (20, 3), (21, 2)], "10.0.0.1 > 203.0.113.2 icmp type 3 code 2"),
        (&[(8, 0)], "10.0.0.1:1 > 203.0.113.2:2 udp 12 ttl 0"),
    ] {
        assert_eq!(edited(edits), Ok(expected.into()));
    }
    assert_eq!(edited(&[(9, 6), (32, 0)]), Err(Malformed::HeaderLength));
    assert_eq!(edited(&[(25, 99)]), Err(Malformed::Length));
}

#[test]
fn an_unreadable_line_says_which_word_was_expected() {
    for (text, message) in [
        ("", "expected an address, found the end of the line"),
        ("10.0.0.1:1 -> 10.0.0.2:2 udp 3", "expected >, found ->"),
        ("10.0.0.1:99999 > 10.0.0.2:2 udp 3", "expected an address, found 10.0.0.1:99999"),
        ("10.0.0.1:1 > 10.0.0.2:2 sctp 3", "expected udp, tcp, icmp or icmp6, found sctp"),
        ("10.0.0.1:1 > 10.0.0.2:2 udp", "expected a payload length, found the end of the line"),
        ("10.0.0.1:1 > 10.0.0.2:2 udp -3", "expected a payload length, found -3"),
        ("10.0.0.1:1 > 10.0.0.2:2 udp 65536", "expected a length that IP allows, found 65536"),
        ("10.0.0.1:1 > 10.0.0.2:2 udp 3 hops 4", "expected ttl or the end of the line, found hops"),
        ("10.0.0.1:1 > 10.0.0.2:2 udp 3 ttl 4 5", "expected the end of the line, found 5"),
        ("10.0.0.1:1 > 10.0.0.2:2 tcp X seq 1", "expected TCP flags, as SFRP.UEW or -, found X"),
        ("10.0.0.1:1 > 10.0.0.2:2 tcp S ack 1", "expected seq, found ack"),
        (
            "10.0.0.1 > 10.0.0.2 icmp6 echo-reply id 1 seq 1 0",
            "expected icmp over IPv4 or icmp6 over IPv6, found icmp6",
        ),
        ("10.0.0.1 > 10.0.0.2 icmp redirect", "expected echo-request or echo-reply, found redirect"),
    ] {
        let error = text.parse::<Line>().expect_err("not a line");
        assert_eq!(error.to_string(), message, "{text:?}");
    }
    let mixed = "10.0.0.1:1 > [fd00::2]:2 udp 3".parse::<Line>().expect_err("two families");
    assert_eq!(mixed.expected, "two addresses of one family");
}

#[test]
fn no_bytes_make_a_view_panic() {
    // Every prefix of every packet, with every byte of its headers set to each of a few awkward values.
    for text in [
        "10.0.0.1:1 > 203.0.113.2:2 udp 12",
        "[fd00::1]:4 > [fd00::2]:80 tcp S seq 1 ack 0 win 1 30",
        "10.0.0.1 > 203.0.113.2 icmp echo-request id 7 seq 1 40",
        "fd00::1 > fd00::2 icmp6 echo-request id 7 seq 1 60",
    ] {
        let whole = text.parse::<Line>().expect("a line").packet().expect("a packet");
        for at in 0..whole.len() {
            for value in [0, 1, 3, 4, 6, 43, 44, 51, 60, 0x45, 0x4f, 0x60, 0x7f, 0xff] {
                let mut bytes = whole.clone();
                bytes[at] = value;
                for end in [at, at + 1, whole.len() - 1, whole.len()] {
                    let _ = Line::of(&bytes[..end]).map(|line| line.to_string());
                    let _ = Flow::of_quoted(&bytes[..end]);
                    let _ =
                        crate::edit::rewrite(&mut bytes[..end], crate::edit::End::Source, ([10, 0, 0, 9], 9).into());
                }
            }
        }
    }
}
