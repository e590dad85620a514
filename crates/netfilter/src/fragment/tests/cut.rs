//! In what pieces packets leave.

use super::*;
use pinhole_wire::text;

/// Each piece as the length of the packet, offset, `more` and `df`.
fn shape(pieces: &[Vec<u8>]) -> Vec<String> {
    let line = |piece: &Vec<u8>| {
        let headers = Line::of(piece).expect("a packet").ip;
        let at = headers.fragment.unwrap_or_else(|| panic!("no fragment: {}", text::write(piece)));
        let more = if at.more { " more" } else { "" };
        let df = if piece[0] >> 4 == 4 && headers.dont_fragment { " df" } else { "" };
        format!("{}@{}{more}{df}", piece.len(), at.offset)
    };
    pieces.iter().map(line).collect()
}

#[track_caller]
fn check_cut<A: Family>(fragments: &[Vec<u8>], mtu: usize, expected: &[&str]) -> Vec<Vec<u8>> {
    let (packet, whole) = take::<A>(fragments).1.expect("a packet");
    let pieces = pieces::<A>(&packet, mtu, Some(&whole), 7).expect("pieces");
    assert_eq!(shape(&pieces), expected);
    for piece in &pieces {
        A::headers(piece).expect("headers, their checksum right");
    }
    // What was cut can be put together again.
    let mut again = take::<A>(&pieces).1.expect("a packet").0;
    if A::IS_V4 {
        let mut header = ipv4::Packet::new_checked(&mut again[..]).expect("a header");
        header.set_dont_fragment(whole.dont_fragment);
        header.fill_checksum();
    }
    assert_eq!(again, packet);
    pieces
}

#[test]
fn a_packet_leaves_in_the_pieces_that_it_came_in_if_they_fit() {
    let unequal = [(64, 100, ""), (0, 16, "more"), (16, 64, "more")];
    let four = unequal.map(|(from, to, words)| fragment_v4(from, to, words));
    check_cut::<Ipv4Addr>(&four, 1_500, &["36@0 more", "68@16 more", "56@64"]);
    let six = unequal.map(|(from, to, words)| fragment_v6(from, to, words));
    check_cut::<Ipv6Addr>(&six, 1_500, &["64@0 more", "96@16 more", "84@64"]);
}

#[test]
fn a_packet_whose_pieces_do_not_fit_leaves_in_equal_ones() {
    let parts = [(0, 80, "more"), (80, 100, "")];
    let four = parts.map(|(from, to, words)| fragment_v4(from, to, words));
    check_cut::<Ipv4Addr>(&four, 70, &["68@0 more", "68@48 more", "24@96"]);
}

#[test]
fn pieces_that_leave_as_they_came_lose_the_flag_and_new_ones_have_it() {
    let parts = [(0, 40, "more df"), (40, 100, "df")];
    let four = parts.map(|(from, to, words)| fragment_v4(from, to, words));
    check_cut::<Ipv4Addr>(&four, 1_500, &["60@0 more", "80@40"]);
    check_cut::<Ipv4Addr>(&four, 79, &["76@0 more df", "64@56 df"]);
    // The flag of a short piece beside a longer one that may be cut says nothing.
    let parts = [(0, 40, "more df"), (40, 100, "")];
    let four = parts.map(|(from, to, words)| fragment_v4(from, to, words));
    check_cut::<Ipv4Addr>(&four, 79, &["76@0 more", "64@56"]);
}

#[test]
fn later_pieces_have_only_the_options_that_are_to_be_copied() {
    // Router alert is copied, record route is not (RFC 2113, RFC 791).
    const OPTIONS: [u8; 12] = [0x94, 4, 0, 0, 7, 7, 4, 0, 0, 0, 0, 1];
    let mut packet = datagram("v4");
    packet.splice(20..20, OPTIONS);
    packet[0] = 0x48;
    packet[3] += 12;
    let mut header = ipv4::Packet::new_checked(&mut packet[..]).expect("a header");
    header.set_dont_fragment(false);
    header.fill_checksum();
    let pieces = pieces::<Ipv4Addr>(&packet, 72, None, 0).expect("pieces");
    assert_eq!(shape(&pieces), ["72@0 more", "72@40 more", "52@80"]);
    assert_eq!(pieces[0][20..32], OPTIONS);
    for piece in &pieces[1..] {
        assert_eq!(piece[20..32], [0x94, 4, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1]);
    }
}

#[test]
fn a_fragment_can_be_cut_again() {
    let middle = fragment_v4(16, 64, "more");
    let pieces = pieces::<Ipv4Addr>(&middle, 44, None, 0).expect("pieces");
    assert_eq!(shape(&pieces), ["44@16 more", "44@40 more"]);
}

#[test]
fn pieces_of_ipv6_have_a_new_identification_behind_the_headers_that_all_must_have() {
    let mut packet = datagram("v6");
    // Hop-by-hop options that say nothing.
    packet.splice(40..40, [17, 0, 1, 4, 0, 0, 0, 0]);
    packet[5] += 8;
    packet[6] = 0;
    let pieces = pieces::<Ipv6Addr>(&packet, 112, None, 0xabcd).expect("pieces");
    assert_eq!(shape(&pieces), ["112@0 more", "100@56"]);
    for piece in &pieces {
        assert_eq!((piece[6], &piece[40..42], piece[48]), (0, &[44, 0][..], 17));
        assert_eq!(piece[52..56], [0, 0, 0xab, 0xcd]);
    }
    assert_eq!(take::<Ipv6Addr>(&pieces).1.expect("a packet").0, packet);
}

#[test]
fn a_link_without_room_for_eight_bytes_takes_no_pieces() {
    assert_eq!(pieces::<Ipv4Addr>(&datagram("v4"), 27, None, 0), None);
    assert!(pieces::<Ipv4Addr>(&datagram("v4"), 28, None, 0).is_some_and(|pieces| pieces.len() == 13));
}
