//! Bytes of a seed. `PINHOLE_SEED` replays one, `PINHOLE_RUNS` asks for more of them than usual.

use pinhole_torture::router::{self, Mix, WORDS};
use pinhole_torture::{Target, target};

use super::{attempt, bytes, shortest};

/// Bytes of a run at most: a few hundred operations.
const MOST_BYTES: u64 = 3_000;

fn number(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name} is to be a number, not {value:?}")))
}

/// Runs a target over the bytes of seeds.
fn seeds(name: &str, usual: u64) {
    let target = target(name);
    if let Some(seed) = number("PINHOLE_SEED") {
        return run(target, seed);
    }
    let first = number("PINHOLE_FIRST_SEED").unwrap_or(0);
    for seed in first..first + number("PINHOLE_RUNS").unwrap_or(usual) {
        run(target, seed);
    }
}

fn run(target: Target, seed: u64) {
    let bytes = bytes(seed, (200 + seed * 37 % MOST_BYTES) as usize);
    if let Err(wrong) = attempt(target, &bytes) {
        let shortest = shortest(target, &bytes);
        let again = attempt(target, &shortest).err().unwrap_or_default();
        let name = target.name;
        panic!(
            "{wrong}\nShortest: {} bytes of {}: {again}\n\
             Replay: PINHOLE_SEED={seed} cargo test -p pinhole-torture --test it random::{name}",
            shortest.len(),
            bytes.len()
        );
    }
}

macro_rules! targets {
    ($($name:ident $usual:literal,)*) => {
        $(
            #[test]
            fn $name() {
                seeds(stringify!($name), $usual);
            }
        )*

        #[test]
        fn every_target_is_run() {
            let run = [$(stringify!($name)),*];
            assert!(pinhole_torture::TARGETS.iter().map(|target| target.name).eq(run));
        }
    };
}

targets! {
    packet_views 2_000,
    packet_lines 500,
    captures 500,
    rules 500,
    scripts 500,
    router 40,
    helpers 40,
    batches 40,
    behaviour_nat 40,
    dns_messages 2_000,
    uapi 500,
    wg_quick 500,
    stun_messages 500,
    stun_client 500,
    discovery 300,
    first_hop 1_500,
}

#[test]
fn a_nat_of_any_kind_keeps_what_must_always_hold() {
    for kind in 0..pinhole_torture::nat::KINDS.len() {
        for seed in 0..4 {
            let mut bytes = bytes(seed, 6_000);
            bytes[0] = kind as u8;
            let result = attempt(target("behaviour_nat"), &bytes);
            result.unwrap_or_else(|wrong| panic!("{}, seed {seed}: {wrong}", pinhole_torture::nat::KINDS[kind]));
        }
    }
}

#[test]
fn every_target_is_one_for_cargo_fuzz_too() {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/fuzz_targets");
    for target in pinhole_torture::TARGETS {
        let path = directory.join(target.name).with_extension("rs");
        let source = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(source.contains(&format!("target(\"{}\")", target.name)), "{}", path.display());
    }
}

#[test]
fn runs_reach_what_they_are_for() {
    let mut heard = [0; WORDS.len()];
    for seed in 0..60 {
        for mix in Mix::ALL {
            let counts = router::heard(&bytes(seed, 2_000), mix);
            heard.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
        }
    }
    let heard: Vec<_> = WORDS.iter().zip(heard).collect();
    assert!(heard.iter().all(|&(_, count)| count > 0), "{heard:#?}");
}
