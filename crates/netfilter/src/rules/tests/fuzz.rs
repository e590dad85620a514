//! Text from anywhere: nothing panics, and what is read can be written and read again.

use core::net::{Ipv4Addr, Ipv6Addr};

use pinhole_sansio::Rng;

use super::world::{Scribe, subject};
use crate::rules::{Hook, Ruleset, Sets, Subject, TableName};
use crate::tuple::Address;

const FIXTURES: [&str; 5] = [
    include_str!("fixtures/home-router.rules"),
    include_str!("fixtures/containers.rules"),
    include_str!("fixtures/services.rules"),
    include_str!("fixtures/desktop.rules"),
    include_str!("fixtures/zones6.rules"),
];

/// Reads `text`; what can be read is written and read again.
fn read<A: Address>(text: &str) -> Option<Ruleset<A>> {
    let ruleset = Ruleset::<A>::parse(text).ok()?;
    let written = ruleset.with_counters().to_string();
    let again = Ruleset::parse(&written).unwrap_or_else(|error| panic!("{error}\n{written}"));
    assert_eq!(again, ruleset, "{text}");
    Some(ruleset)
}

#[test]
fn random_bytes_do_not_panic() {
    let mut rng = Rng::from_seed(1);
    for _ in 0..2_000 {
        let length = rng.below(200);
        let bytes: Vec<u8> = (0..length).map(|_| rng.below(256) as u8).collect();
        let text = String::from_utf8_lossy(&bytes);
        read::<Ipv4Addr>(&text);
        read::<Ipv4Addr>(&format!("*filter\n-A INPUT {text}\nCOMMIT\n"));
        let _ = Sets::<Ipv6Addr>::parse(&format!("create a hash:ip,port\nadd a {text}\n"));
    }
}

#[test]
fn mutated_rulesets_do_not_panic_and_stay_what_they_are() {
    let words: Vec<&str> = FIXTURES.iter().flat_map(|text| text.split_ascii_whitespace()).collect();
    let mut rng = Rng::from_seed(2);
    let mut understood = 0;
    for round in 0..6_000 {
        let supported = FIXTURES[round % FIXTURES.len()].lines().filter(|line| !line.contains("statistic"));
        let mut lines: Vec<String> = supported.map(ToOwned::to_owned).collect();
        for _ in 0..=rng.below(2) {
            let at = rng.below(lines.len() as u64) as usize;
            lines[at] = mutate(&lines[at], &words, &mut rng);
        }
        let text = lines.join("\n");
        if let Some(mut ruleset) = read::<Ipv4Addr>(&text) {
            understood += 1;
            run(&mut ruleset, &mut rng);
        }
        understood += usize::from(read::<Ipv6Addr>(&text).is_some());
    }
    assert!(understood > 300, "only {understood} mutations were understood");
}

fn mutate(line: &str, words: &[&str], rng: &mut Rng) -> String {
    let mut parts: Vec<String> = line.split(' ').map(ToOwned::to_owned).collect();
    let at = rng.below(parts.len() as u64) as usize;
    let other = words[rng.below(words.len() as u64) as usize].to_owned();
    match rng.below(5) {
        0 => parts[at] = other,
        1 => parts.insert(at, other),
        2 => drop(parts.remove(at)),
        3 => parts.insert(at, "!".into()),
        _ => {
            let flipped = parts[at].bytes().map(|byte| if rng.chance(0.2) { b' ' + rng.below(90) as u8 } else { byte });
            parts[at] = String::from_utf8_lossy(&flipped.collect::<Vec<_>>()).into_owned();
        }
    }
    parts.join(" ")
}

/// Asks every table about packets of random bytes.
fn run(ruleset: &mut Ruleset<Ipv4Addr>, rng: &mut Rng) {
    let length = rng.below(64);
    let body: Vec<u8> = (0..length).map(|_| rng.below(256) as u8).collect();
    let protocol = [1, 6, 17, 132][rng.below(4) as usize];
    let subject = Subject { protocol, body: Some(&body), ..subject() };
    for table in TableName::ALL {
        for hook in Hook::ALL {
            ruleset.run(table, hook, &subject, &mut Scribe::default(), &mut Vec::new());
        }
    }
}
