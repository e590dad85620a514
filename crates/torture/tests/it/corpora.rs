//! The corpora that cargo-fuzz begins with: every file as it is, and with a little changed.

use std::path::PathBuf;

use pinhole_sansio::Rng;
use pinhole_torture::{TARGETS, Target};

use super::attempt;

/// How often each file is changed.
const CHANGES: u64 = 100;

/// Where the corpus of a target is, from the workspace on. Rules and scripts are those that other tests are about.
fn corpus(target: Target) -> PathBuf {
    let workspace = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    match target.name {
        "rules" => workspace.join("crates/netfilter/src/rules/tests/fixtures"),
        "scripts" => workspace.join("crates/netfilter/scripts"),
        name => workspace.join("fuzz/corpus").join(name),
    }
}

fn files(target: Target) -> Vec<PathBuf> {
    let directory = corpus(target);
    let entries = std::fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut files: Vec<_> =
        entries.map(|entry| entry.expect("an entry").path()).filter(|path| path.is_file()).collect();
    files.sort();
    files
}

#[test]
fn every_file_and_its_neighbours_pass() {
    for target in TARGETS {
        let all: Vec<_> = files(target).into_iter().map(|path| (std::fs::read(&path).expect("bytes"), path)).collect();
        assert!(!all.is_empty(), "{} has a corpus", target.name);
        for (bytes, path) in &all {
            if let Err(wrong) = attempt(target, bytes) {
                panic!("{}: {wrong}", path.display());
            }
            let slow = matches!(target.name, "router" | "helpers" | "batches") && bytes.len() > 500;
            for seed in 0..if slow { CHANGES / 10 } else { CHANGES } {
                let mut rng = Rng::from_seed(seed);
                let other = &all[rng.below(all.len() as u64) as usize].0;
                let changed = change(bytes, other, &mut rng);
                if let Err(wrong) = attempt(target, &changed) {
                    panic!("{}, changed by seed {seed}: {wrong}\n{changed:02x?}", path.display());
                }
            }
        }
    }
}

/// Bytes flipped, a piece of another file in the middle, or cut.
fn change(bytes: &[u8], other: &[u8], rng: &mut Rng) -> Vec<u8> {
    let mut changed = bytes.to_vec();
    let somewhere = |rng: &mut Rng, length: usize| rng.below(length as u64 + 1) as usize;
    for _ in 0..rng.below(4) {
        let at = somewhere(rng, changed.len().saturating_sub(1));
        if let Some(byte) = changed.get_mut(at) {
            *byte = if rng.chance(0.3) { *byte ^ 1 << rng.below(8) } else { rng.next_u64() as u8 };
        }
    }
    if rng.chance(0.3) {
        let (from, to, at) = (somewhere(rng, other.len()), somewhere(rng, other.len()), somewhere(rng, changed.len()));
        changed.splice(at..at, other[from.min(to)..from.max(to)].iter().copied());
    }
    if rng.chance(0.2) {
        changed.truncate(somewhere(rng, changed.len()));
    }
    changed
}
