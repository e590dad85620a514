//! Public captures: `PINHOLE_CAPTURES` names a directory, in which every file is read that begins as a capture does.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use core::time::Duration;

use pinhole_netfilter::settings::Personality;
use pinhole_torture::replay::{Replay, Totals};
use pinhole_wire::pcap::Capture;

use super::quietly;

const SKIP: &str = "SKIP captures: no PINHOLE_CAPTURES; `cargo xtask captures` fetches some and replays them";

#[test]
fn captures_pass_without_a_panic() {
    let Some(directory) = std::env::var_os("PINHOLE_CAPTURES").map(PathBuf::from) else {
        println!("{SKIP}");
        return;
    };
    let mut files = Vec::new();
    collect(&directory, &mut files);
    files.sort();
    let (mut sum, mut ends, mut wrong, mut read) = (Totals::default(), BTreeMap::new(), Vec::new(), 0);
    for (number, file) in files.iter().enumerate() {
        let bytes = std::fs::read(file).expect("a file that can be read");
        let capture = match Capture::new(&bytes[..], None) {
            Ok(capture) => capture,
            Err(error) => {
                let reason = error.to_string().split(';').next().unwrap_or_default().to_owned();
                *ends.entry(reason).or_insert(0) += 1;
                continue;
            }
        };
        read += 1;
        let (mut totals, mut at, mut end) = (Totals::default(), 0, String::from("whole"));
        let personality = Personality::ALL[number % Personality::ALL.len()];
        let result = quietly(|| (totals, end) = replay(capture, personality, &mut at));
        if let Err(panic) = result {
            wrong.push(format!("{}, packet {at}: {panic}", file.display()));
        }
        *ends.entry(end).or_insert(0) += 1;
        add(&mut sum, totals);
    }
    println!("{} files, {read} captures: {ends:#?}\n{sum:#?}", files.len());
    assert!(read > 0, "there is no capture in {}", directory.display());
    assert!(wrong.is_empty(), "{} captures failed:\n{}", wrong.len(), wrong.join("\n"));
}

/// Replays a capture; says what became of it, and how it ended.
fn replay(mut capture: Capture<&[u8]>, personality: Personality, at: &mut u64) -> (Totals, String) {
    let (mut replay, mut now) = (Replay::new(personality), Duration::ZERO);
    loop {
        match capture.next_packet() {
            Ok(Some((since, packet))) => {
                // Time does not go back, and a damaged stamp does not take it beyond what an instant can be.
                now = now.max(since.min(Duration::from_secs(100_000_000)));
                *at += 1;
                replay.packet(now, &packet);
            }
            Ok(None) => return (replay.finish(), "whole".into()),
            Err(_) => return (replay.finish(), "cut or damaged".into()),
        }
    }
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
    let entries = std::fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    for entry in entries {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|kind| ["pcap", "pcapng", "cap"].iter().any(|known| kind == *known)) {
            files.push(path);
        }
    }
}

fn add(sum: &mut Totals, other: Totals) {
    sum.packets += other.packets;
    sum.forwarded += other.forwarded;
    sum.translated += other.translated;
    sum.delivered += other.delivered;
    sum.held += other.held;
    sum.flows += other.flows;
    sum.expected = sum.expected.max(other.expected);
    sum.together = sum.together.max(other.together);
    for (reason, count) in other.dropped {
        *sum.dropped.entry(reason).or_default() += count;
    }
}

#[test]
fn a_conversation_is_replayed_both_ways_through_its_translation() {
    let mut replay = Replay::new(Personality::V6_18);
    let packets = [
        "10.1.0.9:5000 > 198.51.100.7:53 udp 8",
        "10.1.0.9:40000 > 198.51.100.7:80 tcp S seq 1 ack 0 win 64240 0",
        "198.51.100.7:53 > 10.1.0.9:5000 udp 8",
        "198.51.100.7:80 > 10.1.0.9:40000 tcp S. seq 9 ack 2 win 64240 0",
    ];
    for line in packets {
        replay.packet(Duration::ZERO, &pinhole_wire::text::read(line).expect("a packet"));
    }
    let totals = replay.finish();
    assert_eq!((totals.packets, totals.forwarded, totals.translated, totals.flows), (4, 4, 4, 2), "{totals:?}");
    assert_eq!(totals.together, 2, "two from inside, then two from outside");
}
