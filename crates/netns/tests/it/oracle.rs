//! The packet scripts of `netfilter`, run on this machine's kernel.

use std::path::{Path, PathBuf};
use std::time::Duration;

use pinhole_netfilter::script::generate::{Case, Talk, shrink};
use pinhole_netfilter::script::{
    Comparer, Engine, Event, Executor, Ports, Script, Setup, Side, Tolerance, check, fill, run,
};
use pinhole_netfilter::settings::Personality;
use pinhole_netns::oracle::{Kernel, missing_tools};

use crate::support::skip_without_privilege;

/// Set to anything, it makes the tests write what the kernel did into the scripts: read it before you commit it.
const UPDATE: &str = "PINHOLE_UPDATE_SCRIPTS";

fn skip() -> bool {
    let missing = missing_tools();
    if !missing.is_empty() {
        eprintln!("SKIP: the kernel's rules are loaded by {}; install what is in parentheses", missing.join(", "));
    }
    skip_without_privilege() || !missing.is_empty()
}

pub fn scripts_directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../netfilter/scripts")
}

fn scripts() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(scripts_directory()).expect("the scripts are there");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "pkt"));
    paths.sort();
    paths
}

#[test]
fn the_kernel_does_what_every_script_says() {
    if skip() {
        return;
    }
    let mut complaints = Vec::new();
    let mut kernel = Kernel::new("oracle-scripts");
    for path in scripts() {
        let name = path.file_name().expect("a file").to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).expect("a script");
        let script: Script = text.parse().unwrap_or_else(|error| panic!("{name}: {error}"));
        let observed = run(&script, &mut kernel).unwrap_or_else(|error| panic!("{name}: {error}"));
        if std::env::var_os(UPDATE).is_some() {
            let filled = fill(&script, &observed, Tolerance::default()).to_string();
            std::fs::write(&path, filled).expect("the script can be written");
        } else {
            let failures = check(&script, &observed, Tolerance::default());
            complaints.extend(failures.iter().map(|failure| format!("{name}: {failure}")));
        }
    }
    assert!(
        complaints.is_empty(),
        "the kernel differs (or write its outcomes with {UPDATE}=1):\n{}",
        complaints.join("\n")
    );
}

#[test]
fn the_same_router_is_kept_and_forgets_its_entries() {
    if skip() {
        return;
    }
    let script: Script = "in > 10.0.0.1:1 > 198.51.100.1:2 udp 5\n  info NEW\n".parse().expect("a script");
    let mut kernel = Kernel::new("oracle-kept");
    for _ in 0..3 {
        let observed = run(&script, &mut kernel).expect("a kernel");
        assert_eq!(check(&script, &observed, Tolerance::default()), [], "it is new every time");
    }
    kernel.flush().expect("a kernel");
}

#[test]
fn what_is_put_in_comes_out_at_once_however_many_they_are() {
    if skip() {
        return;
    }
    const PACKETS: u32 = 20_000;
    let mut kernel = Kernel::new("oracle-speed");
    kernel.load(&Setup::default()).expect("a kernel");
    let packet = pinhole_wire::text::read("10.0.0.1:1 > 198.51.100.1:2 udp 20").expect("a packet");
    let start = std::time::Instant::now();
    for at in 0..PACKETS {
        let observed = kernel.step(std::time::Duration::ZERO, Side::In, &packet).expect("a kernel");
        assert_eq!(observed.outputs.len(), 1, "packet {at}: {observed:?}");
        assert!(observed.info.is_some() && observed.entry.is_some(), "packet {at}: {observed:?}");
    }
    eprintln!("{:.0} packets/s", f64::from(PACKETS) / start.elapsed().as_secs_f64());
}

/// How many packets the engine is compared by; unset, as many as CI has time for.
const PACKETS: &str = "PINHOLE_DIFFERENTIAL_PACKETS";
/// From which seed on.
const SEED: &str = "PINHOLE_DIFFERENTIAL_SEED";

/// The number in an environment variable.
fn number(name: &str, default: u64) -> u64 {
    let value = std::env::var(name).ok();
    value.map_or(default, |value| value.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// The first packet with which the engine does something else than the kernel. Where the kernel draws a port at random, the
/// engine is told which: it takes it only if it might have drawn it too.
pub fn engine_differs(script: &Script, kernel: &mut Kernel, engine: &mut Engine, packets: &mut u64) -> Option<String> {
    kernel.load(&script.setup()).expect("a kernel");
    engine.load(&script.setup()).unwrap_or_else(|error| panic!("{error}"));
    let mut comparer = Comparer::new(Tolerance::default());
    for (at, step) in script.steps().into_iter().enumerate() {
        let Event::Packet(side, packet) = step.event else { continue };
        let expected = kernel.step(step.at, side, packet).expect("a kernel");
        engine.follow(&expected);
        let found = engine.step(step.at, side, packet).unwrap_or_else(|error| panic!("{error}"));
        *packets += 1;
        let differences = comparer.differences(&expected, &found);
        if !differences.is_empty() {
            let all: Vec<String> = differences.iter().map(ToString::to_string).collect();
            return Some(format!("packet {}: {}", at + 1, all.join("; ")));
        }
    }
    None
}

#[test]
fn the_engine_does_what_the_kernel_does() {
    if skip() {
        return;
    }
    let (wanted, first) = (number(PACKETS, 20_000), number(SEED, 0));
    let (mut kernel, mut engine) = (Kernel::new("oracle-engine"), Engine::new(Personality::V6_18, 1));
    let (mut packets, mut seed, mut found) = (0, first, Vec::new());
    while packets < wanted && found.len() < 5 {
        let case = Case::of_seed(seed);
        if let Some(difference) = engine_differs(&case.script(), &mut kernel, &mut engine, &mut packets) {
            let differs = |case: &Case| engine_differs(&case.script(), &mut kernel, &mut engine, &mut 0).is_some();
            let small = shrink(&case, differs);
            let last = engine_differs(&small.script(), &mut kernel, &mut engine, &mut 0).unwrap_or(difference);
            found.push(format!("{SEED}={seed}: {last}\n{}", small.script()));
        }
        // Routers change every 256 seeds; a few of each are taken in turn.
        seed = seed + if wanted < 100_000 && (seed - first) % 8 == 7 { 249 } else { 1 };
    }
    eprintln!("{packets} packets, seeds {first} to {}, {} differences", seed - 1, found.len());
    assert!(found.is_empty(), "the engine differs from the kernel:\n{}", found.join("\n"));
}

/// The first packet after which two runs differ, with what differs.
fn first_difference(case: &Case, one: &mut Kernel, other: &mut Kernel) -> Option<String> {
    let script = case.script();
    let (expected, found) = (run(&script, one).expect("a kernel"), run(&script, other).expect("a kernel"));
    let mut comparer = Comparer::new(Tolerance { ports: Ports::Renamed, ..Tolerance::default() });
    expected.iter().zip(&found).enumerate().find_map(|(at, (expected, found))| {
        let differences = comparer.differences(expected, found);
        let all: Vec<String> = differences.iter().map(ToString::to_string).collect();
        (!all.is_empty()).then(|| format!("packet {}: {}", at + 1, all.join("; ")))
    })
}

#[test]
fn the_kernel_does_the_same_with_the_same_packets() {
    if skip() {
        return;
    }
    let (mut one, mut other) = (Kernel::new("oracle-one"), Kernel::new("oracle-other"));
    for seed in (0..2_048).step_by(8) {
        let case = Case::of_seed(seed);
        if let Some(difference) = first_difference(&case, &mut one, &mut other) {
            let small = shrink(&case, |case| first_difference(case, &mut one, &mut other).is_some());
            panic!("seed {seed}: {difference}\n{}", small.script());
        }
    }
}

/// The first packet of a talk with which the engine does something else than the kernel, with the script so far; or what
/// their tables differ in at its end.
fn engine_differs_in(
    talk: &Talk,
    kernel: &mut Kernel,
    engine: &mut Engine,
    packets: &mut u64,
) -> Option<(String, Script)> {
    kernel.load(&talk.setup).unwrap_or_else(|error| panic!("{error}\n{:?}", talk.setup.rules));
    engine.load(&talk.setup).unwrap_or_else(|error| panic!("{error}"));
    let (mut hosts, comparer) = (talk.hosts(), Comparer::new(Tolerance::default()));
    let (mut comparer, mut said, mut observed) = (comparer, Vec::new(), Vec::new());
    let mut differences = Vec::new();
    'talk: for &step in talk.steps() {
        for (side, packet) in hosts.speak(step) {
            let expected = kernel.step(Duration::ZERO, side, &packet).expect("a kernel");
            engine.follow(&expected);
            let found = engine.step(Duration::ZERO, side, &packet).unwrap_or_else(|error| panic!("{error}"));
            hosts.hear(&expected.outputs);
            *packets += 1;
            differences = comparer.differences(&expected, &found);
            said.push((Duration::ZERO, side, packet));
            observed.push(expected);
            if !differences.is_empty() {
                break 'talk;
            }
        }
    }
    if differences.is_empty() {
        let found = engine.table().unwrap_or_else(|error| panic!("{error}"));
        differences = comparer.tables(&kernel.table().expect("a kernel"), &found);
    }
    if differences.is_empty() {
        return None;
    }
    let all: Vec<String> = differences.iter().map(ToString::to_string).collect();
    let script = fill(&Script::of_packets(&talk.setup, said), &observed, Tolerance::default());
    Some((all.join("; "), script))
}

#[test]
fn the_engine_does_what_the_kernel_does_when_hosts_answer() {
    if skip() {
        return;
    }
    let (wanted, first) = (number(PACKETS, 6_000), number(SEED, 0));
    let (mut kernel, mut engine) = (Kernel::new("oracle-talk"), Engine::new(Personality::V6_18, 1));
    let (mut packets, mut seed, mut found) = (0, first, Vec::new());
    while packets < wanted && found.len() < 5 {
        let talk = Talk::of_seed(seed);
        if let Some((difference, script)) = engine_differs_in(&talk, &mut kernel, &mut engine, &mut packets) {
            let small = talk.shrink(|talk| engine_differs_in(talk, &mut kernel, &mut engine, &mut 0).is_some());
            let last = engine_differs_in(&small, &mut kernel, &mut engine, &mut 0).unwrap_or((difference, script));
            found.push(format!("{SEED}={seed}: {}\n{}", last.0, last.1));
        }
        // Routers change every 32 seeds; a few of each are taken in turn.
        seed = seed + if wanted < 100_000 && (seed - first) % 8 == 7 { 25 } else { 1 };
    }
    eprintln!("{packets} packets, seeds {first} to {}, {} differences", seed - 1, found.len());
    assert!(found.is_empty(), "the engine differs from the kernel:\n{}", found.join("\n"));
}
