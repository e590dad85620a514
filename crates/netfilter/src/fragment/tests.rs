//! Fragments in all orders, and such as contradict each other. What becomes of them is what Linux 6.18 does with conntrack
//! in use, seen between two devices in a namespace.

use core::net::{Ipv4Addr, Ipv6Addr};

use pinhole_wire::text::Line;
use pinhole_wire::{build, ipv4};

use super::*;

/// Where fragments come in.
fn input() -> Place {
    Place::Arriving(InterfaceId::at(0))
}

/// A datagram of 100 bytes over IP: 8 of UDP's, 92 of ours.
fn datagram(family: &str) -> Vec<u8> {
    let [src, dst] = match family {
        "v4" => ["10.0.0.1:4000", "198.51.100.7:53"],
        _ => ["[fd00::1]:4000", "[2001:db8:1::7]:53"],
    }
    .map(|end| end.parse().expect("an end"));
    let payload: Vec<u8> = (0..92).collect();
    let mut packet = vec![0; 200];
    let length = build::udp(src, dst, 64, &payload, &mut packet).expect("a packet");
    packet.truncate(length);
    packet
}

/// Bytes `from..to` of what `datagram` carries over IPv4, as a fragment; `words` are of the text notation, such as `more`.
fn fragment_v4(from: usize, to: usize, words: &str) -> Vec<u8> {
    fragment(&datagram("v4")[20..], "10.0.0.1 > 198.51.100.7", from, to, words)
}

/// The same over IPv6.
fn fragment_v6(from: usize, to: usize, words: &str) -> Vec<u8> {
    fragment(&datagram("v6")[40..], "fd00::1 > 2001:db8:1::7", from, to, words)
}

fn fragment(data: &[u8], ends: &str, from: usize, to: usize, words: &str) -> Vec<u8> {
    let mut data = data.to_vec();
    data.resize(data.len().max(to), 0);
    let text: String = data[from..to].iter().map(|byte| format!("\\x{byte:02x}")).collect();
    let text = if text.is_empty() { "0".into() } else { format!("\"{text}\"") };
    let line = format!("{ends} proto 17 {text} frag id 9 offset {from} {words}");
    line.parse::<Line>().expect("a line").packet().expect("a packet")
}

/// What becomes of each of the fragments, in a word, and the packet if it is whole at the end.
fn take<A: Family>(fragments: &[Vec<u8>]) -> (Vec<String>, Option<(Vec<u8>, Whole)>) {
    let mut reassembly = Reassembly::<A>::new();
    let mut packet = None;
    let words = fragments.iter().map(|bytes| {
        let mut bytes = bytes.clone();
        let headers = A::headers(&bytes).expect("headers");
        match reassembly.take(Instant::EPOCH, input(), &mut bytes, &headers, &mut ()) {
            Outcome::AsIs => "as it is".into(),
            Outcome::Kept => "kept".into(),
            Outcome::Refused(refused) => format!("{refused:?}"),
            Outcome::Whole(whole) => {
                packet = Some((bytes, whole));
                "whole".into()
            }
        }
    });
    (words.collect(), packet)
}

#[track_caller]
fn check<A: Family>(fragments: &[Vec<u8>], expected: &[&str]) {
    assert_eq!(take::<A>(fragments).0, expected);
}

/// All orders of `0..n`.
fn orders(n: usize) -> Vec<Vec<usize>> {
    if n == 0 {
        return vec![vec![]];
    }
    let shorter = orders(n - 1);
    let with = |order: &Vec<usize>, at: usize| [&order[..at], &[n - 1], &order[at..]].concat();
    shorter.iter().flat_map(|order| (0..n).map(|at| with(order, at)).collect::<Vec<_>>()).collect()
}

#[test]
fn fragments_make_the_same_packet_in_whatever_order_they_come() {
    let cuts = [(0, 16), (16, 64), (64, 72), (72, 96), (96, 100)];
    for order in orders(cuts.len()) {
        let words = |to: usize| if to == 100 { "" } else { "more" };
        let four: Vec<_> = order.iter().map(|&n| fragment_v4(cuts[n].0, cuts[n].1, words(cuts[n].1))).collect();
        let (_, whole) = take::<Ipv4Addr>(&four);
        let (packet, whole) = whole.unwrap_or_else(|| panic!("{order:?} make no packet"));
        let mut expected = datagram("v4");
        let mut header = ipv4::Packet::new_checked(&mut expected[..]).expect("a header");
        header.set_identification(9);
        header.set_dont_fragment(false);
        header.fill_checksum();
        assert_eq!(packet, expected, "{order:?}");
        assert_eq!((whole.longest, &whole.lengths[..]), (68, &[36, 48, 8, 24, 4][..]), "{order:?}");

        let six: Vec<_> = order.iter().map(|&n| fragment_v6(cuts[n].0, cuts[n].1, words(cuts[n].1))).collect();
        let (packet, whole) = take::<Ipv6Addr>(&six).1.unwrap_or_else(|| panic!("{order:?} make no packet"));
        assert_eq!(packet, datagram("v6"), "{order:?}");
        assert_eq!((whole.longest, &whole.lengths[..]), (96, &[56, 48, 8, 24, 4][..]), "{order:?}");
    }
}

#[test]
fn a_duplicate_is_ignored_and_any_other_overlap_ends_the_packet() {
    let [a, b, c] = [fragment_v4(0, 16, "more"), fragment_v4(16, 32, "more"), fragment_v4(32, 100, "")];
    check::<Ipv4Addr>(&[a.clone(), a.clone(), b.clone(), c.clone()], &["kept", "Duplicate", "kept", "whole"]);
    // What lies within fragments that came one right after the other is a duplicate too …
    let across = fragment_v4(8, 24, "more");
    check::<Ipv4Addr>(&[a.clone(), b.clone(), across.clone(), c], &["kept", "kept", "Duplicate", "whole"]);
    // … but not within such as did not.
    let later = fragment_v4(32, 64, "more");
    let rest = fragment_v4(64, 100, "");
    check::<Ipv4Addr>(&[later, a.clone(), b, across, rest], &["kept", "kept", "kept", "Overlap", "kept"]);
    let [over, end] = [fragment_v4(8, 32, "more"), fragment_v4(8, 100, "")];
    check::<Ipv4Addr>(&[a, over, end], &["kept", "Overlap", "kept"]);

    let [a, b, over] = [fragment_v6(0, 16, "more"), fragment_v6(16, 100, ""), fragment_v6(8, 32, "more")];
    check::<Ipv6Addr>(&[a.clone(), a.clone(), b.clone()], &["kept", "Duplicate", "whole"]);
    check::<Ipv6Addr>(&[a, over, b], &["kept", "Overlap", "kept"]);
}

#[test]
fn a_contradiction_about_the_end_ends_an_ipv4_packet_but_not_an_ipv6_one() {
    let (last, sooner, first) = ((16, 100, ""), (16, 80, ""), (0, 16, "more"));
    let four = [last, sooner, first].map(|(from, to, words)| fragment_v4(from, to, words));
    check::<Ipv4Addr>(&four, &["kept", "End", "kept"]);
    let six = [last, sooner, first].map(|(from, to, words)| fragment_v6(from, to, words));
    check::<Ipv6Addr>(&six, &["kept", "End", "whole"]);
    let beyond = [(8, 16, ""), (16, 32, "more"), (0, 8, "more")];
    check::<Ipv4Addr>(&beyond.map(|(from, to, words)| fragment_v4(from, to, words)), &["kept", "End", "kept"]);
    check::<Ipv6Addr>(&beyond.map(|(from, to, words)| fragment_v6(from, to, words)), &["kept", "End", "whole"]);
}

#[test]
fn an_empty_fragment_ends_an_ipv4_packet_but_not_an_ipv6_one() {
    let all = [(0, 16, "more"), (16, 16, "more"), (16, 100, "")];
    check::<Ipv4Addr>(&all.map(|(from, to, words)| fragment_v4(from, to, words)), &["kept", "Empty", "kept"]);
    check::<Ipv6Addr>(&all.map(|(from, to, words)| fragment_v6(from, to, words)), &["kept", "Empty", "whole"]);
}

#[test]
fn data_that_is_no_multiple_of_eight_is_cut_in_ipv4_and_goes_on_in_ipv6() {
    let all = [(0, 21, "more"), (16, 100, "")];
    let (words, whole) = take::<Ipv4Addr>(&all.map(|(from, to, words)| fragment_v4(from, to, words)));
    assert_eq!(words, ["kept", "whole"]);
    assert_eq!(whole.map(|(_, whole)| whole.lengths), Some(vec![36, 84]));
    let six = [(0, 16, "more"), (16, 21, "more"), (16, 100, "")];
    check::<Ipv6Addr>(&six.map(|(from, to, words)| fragment_v6(from, to, words)), &["kept", "as it is", "kept"]);
}

#[test]
fn a_first_fragment_of_ipv6_without_its_transport_header_goes_on_as_it_is() {
    let line = "fd00::1 > 2001:db8:1::7 proto 6 16 frag id 9 offset 0 more";
    let cut_short = line.parse::<Line>().expect("a line").packet().expect("a packet");
    check::<Ipv6Addr>(&[cut_short], &["as it is"]);
}

#[test]
fn an_atomic_fragment_of_ipv6_is_whole_by_itself_but_not_beside_others_of_its_identification() {
    let atomic = fragment_v6(0, 100, "");
    let (words, whole) = take::<Ipv6Addr>(&[atomic.clone()]);
    assert_eq!(words, ["whole"]);
    let (packet, whole) = whole.expect("a packet");
    assert_eq!((packet, whole.longest), (datagram("v6"), 148));
    let others = [fragment_v6(0, 16, "more"), atomic, fragment_v6(16, 100, "")];
    check::<Ipv6Addr>(&others, &["kept", "Overlap", "kept"]);
}

#[test]
fn congestion_that_one_fragment_met_is_the_packets_and_not_ect_goes_with_nothing_else() {
    for (tos, expected) in
        [((2, 3), Some(3)), ((1, 3), Some(3)), ((3, 3), Some(3)), ((2, 1), Some(2)), ((0, 0), Some(0))]
            .into_iter()
            .chain([((0, 3), None), ((0, 1), None), ((2, 0), None)])
    {
        let words = [format!("more tos {}", tos.0), format!("tos {}", tos.1)];
        let four = [fragment_v4(0, 16, &words[0]), fragment_v4(16, 100, &words[1])];
        let packet = take::<Ipv4Addr>(&four).1.map(|(packet, _)| packet[1]);
        assert_eq!(packet, expected, "{tos:?}");
        let six = [fragment_v6(0, 16, &words[0]), fragment_v6(16, 100, &words[1])];
        let packet = take::<Ipv6Addr>(&six).1.map(|(packet, _)| packet[1] >> 4);
        assert_eq!(packet, expected, "{tos:?}");
    }
}
