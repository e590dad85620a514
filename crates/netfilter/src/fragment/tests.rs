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
    let (words, whole) = take::<Ipv6Addr>(std::slice::from_ref(&atomic));
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

/// Gives one fragment to a reassembly.
fn give<A: Family>(reassembly: &mut Reassembly<A>, now: Instant, bytes: &[u8]) -> Outcome {
    let mut packet = bytes.to_vec();
    let headers = A::headers(&packet).expect("headers");
    reassembly.take(now, input(), &mut packet, &headers, &mut ())
}

/// A first fragment with 8 bytes of another packet, told apart by its identification.
fn other(id: usize) -> Vec<u8> {
    let line = format!("10.0.0.1 > 198.51.100.7 proto 17 8 frag id {id} offset 0 more");
    line.parse::<Line>().expect("a line").packet().expect("a packet")
}

#[test]
fn a_packet_is_given_up_after_its_time_and_only_a_first_fragment_is_handed_back() {
    let (first, last) = (fragment_v4(0, 16, "more"), fragment_v4(16, 100, ""));
    for (fragment, life) in [(first, LIFE_V4), (last, LIFE_V4)] {
        let has_first = ipv4::Packet::new_checked(&fragment[..]).expect("a packet").fragment_offset() == 0;
        let mut reassembly = Reassembly::<Ipv4Addr>::new();
        let begin = Instant::from_millis(5_000);
        give(&mut reassembly, begin, &fragment);
        assert_eq!(reassembly.poll_timeout(), Some(begin + life));
        assert_eq!(reassembly.expire(begin + life - Duration::from_nanos(1)), None);
        let expected = Expired { place: input(), first: has_first.then(|| fragment.into()) };
        assert_eq!(reassembly.expire(begin + life), Some(expected));
        assert_eq!((reassembly.len(), reassembly.bytes(), reassembly.poll_timeout()), (0, 0, None));
    }
}

#[test]
fn a_later_fragment_does_not_prolong_the_time_of_its_packet() {
    let mut reassembly = Reassembly::<Ipv6Addr>::new();
    give(&mut reassembly, Instant::EPOCH, &fragment_v6(0, 16, "more"));
    give(&mut reassembly, Instant::from_millis(59_000), &fragment_v6(16, 32, "more"));
    assert_eq!(reassembly.poll_timeout(), Some(Instant::from_millis(60_000)));
}

#[test]
fn a_packet_begins_anew_when_its_source_has_sent_too_many_other_fragments_meanwhile() {
    for (others, is_whole) in [(63, true), (64, false)] {
        let mut reassembly = Reassembly::<Ipv4Addr>::new();
        give(&mut reassembly, Instant::EPOCH, &fragment_v4(0, 16, "more"));
        (0..others).for_each(|n| drop(give(&mut reassembly, Instant::EPOCH, &other(1_000 + n))));
        let later = Instant::from_millis(1_000);
        let outcome = give(&mut reassembly, later, &fragment_v4(16, 100, ""));
        assert_eq!(matches!(outcome, Outcome::Whole(_)), is_whole, "{others} others: {outcome:?}");
        if !is_whole {
            assert!(matches!(give(&mut reassembly, later, &fragment_v4(0, 16, "more")), Outcome::Whole(_)));
        }
    }
}

#[test]
fn memory_is_bounded_and_old_fragments_stay_when_there_is_no_room() {
    let mut reassembly = Reassembly::<Ipv4Addr>::new();
    give(&mut reassembly, Instant::EPOCH, &fragment_v4(0, 16, "more"));
    let fits = (0..20_000).take_while(|&n| give(&mut reassembly, Instant::EPOCH, &other(n + 10)) == Outcome::Kept);
    let fits = fits.count();
    assert!((4_000..8_000).contains(&fits), "{fits}");
    assert!(reassembly.bytes() <= MOST_BYTES + FRAGMENT_COST + QUEUE_COST + 28, "{}", reassembly.bytes());
    let last = give(&mut reassembly, Instant::EPOCH, &fragment_v4(16, 100, ""));
    assert_eq!(last, Outcome::Refused(Refused::Full), "what is here stays, and what is new is refused");
    while reassembly.expire(Instant::EPOCH + LIFE_V4).is_some() {}
    assert_eq!((reassembly.bytes(), reassembly.sources.len()), (0, 0));
}

#[test]
fn a_packet_that_would_be_longer_than_ip_allows_is_refused() {
    let piece = |offset: usize, length: usize, words: &str| {
        let line = format!("10.0.0.1 > 198.51.100.7 proto 17 {length} frag id 9 offset {offset} {words}");
        line.parse::<Line>().expect("a line").packet().expect("a packet")
    };
    let [a, b] = [piece(0, 40_000, "more"), piece(40_000, 25_528, "")];
    check::<Ipv4Addr>(&[a.clone(), b], &["kept", "Oversize"]);
    check::<Ipv4Addr>(&[a, piece(40_000, 25_515, "")], &["kept", "whole"]);
}

#[test]
fn arbitrary_fragments_neither_break_the_counts_nor_make_a_packet_out_of_what_overlaps() {
    let mut rng = pinhole_sansio::Rng::from_seed(11);
    let mut whole = 0;
    let mut four = Reassembly::<Ipv4Addr>::new();
    let mut six = Reassembly::<Ipv6Addr>::new();
    for round in 0..40_000_u64 {
        let (from, length) = (rng.below(6) as usize * 8, rng.below(4) as usize * 8 + (rng.chance(0.05) as usize));
        let words = if rng.chance(0.3) { "" } else { "more" };
        let now = Instant::from_millis(round * 10);
        if from == 0 && words.is_empty() {
            continue;
        }
        let fragment = fragment_v4(from, from + length, words);
        if let Outcome::Whole(it) = give(&mut four, now, &fragment) {
            assert!(it.lengths.iter().all(|&length| length <= it.longest), "{it:?}");
            whole += 1;
        }
        give(&mut six, now, &fragment_v6(from, from + length, words));
        while four.expire(now).is_some() {}
        while six.expire(now).is_some() {}
        for (bytes, costs) in [
            (four.bytes(), four.queues.values().map(Queue::cost).sum::<usize>()),
            (six.bytes(), six.queues.values().map(Queue::cost).sum()),
        ] {
            assert_eq!(bytes, costs);
        }
        assert_eq!((four.len(), six.len()), (four.due.len(), six.due.len()));
    }
    assert!(whole > 100, "{whole}");
}

mod cut;
