use std::collections::BTreeSet;

use super::*;
use crate::script::Event;

#[test]
fn the_same_seed_gives_the_same_case_and_another_another() {
    for seed in 0..200 {
        assert_eq!(Case::of_seed(seed), Case::of_seed(seed));
        assert_ne!(Case::of_seed(seed).packets, Case::of_seed(seed + 1).packets);
    }
}

#[test]
fn cases_read_back_from_their_scripts() {
    for seed in (0..4_096).step_by(37) {
        let case = Case::of_seed(seed);
        let script: Script = case.script().to_string().parse().unwrap_or_else(|error| panic!("{seed}: {error}"));
        assert_eq!(script.setup(), case.setup, "{seed}");
        let packets = script.steps().into_iter().filter(|step| matches!(step.event, Event::Packet(..)));
        assert_eq!(packets.count(), case.packets.len(), "{seed}");
    }
}

#[test]
fn every_protocol_and_every_set_of_flags_comes_up() {
    let mut protocols = BTreeSet::new();
    let mut flags = BTreeSet::new();
    let mut fragments = 0;
    for seed in 0..2_048 {
        for (_, packet) in Case::of_seed(seed).packets {
            let Ok(line) = Line::of(&packet) else { continue };
            protocols.insert(u8::from(line.protocol()));
            fragments += usize::from(line.ip.fragment.is_some());
            if let Body::Tcp { segment, .. } = &line.body {
                flags.insert(segment.flags.0);
            }
        }
    }
    assert!([1, 6, 17, 47, 50, 58, 132].iter().all(|protocol| protocols.contains(protocol)), "{protocols:?}");
    assert!(flags.len() > 250 && fragments > 100, "{} {fragments}", flags.len());
}

#[test]
fn a_case_shrinks_to_the_packets_that_matter() {
    let case = Case::of_seed(5);
    let (first, last) = (case.packets[1].clone(), case.packets[case.packets.len() - 1].clone());
    let differs = |case: &Case| {
        let place = |packet: &(Side, Vec<u8>)| case.packets.iter().position(|other| other == packet);
        place(&first).is_some_and(|at| place(&last).is_some_and(|behind| behind >= at))
    };
    let small = shrink(&case, differs);
    assert!(small.packets.len() <= 2 && differs(&small), "{small:?}");
}
