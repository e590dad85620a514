//! The packet scripts of `netfilter`, run on this machine's kernel.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pinhole_netfilter::script::generate::{Case, Talk, shrink};
use pinhole_netfilter::script::{
    Comparer, Difference, Engine, EntryView, Event, Executor, Item, Observed, Ports, ProtocolView, Script, Setup, Side,
    Tolerance, check, fill, run,
};
use pinhole_netfilter::settings::Personality;
use pinhole_netns::oracle::{Kernel, missing_tools, missing_windows};

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

/// How much has been compared.
#[derive(Debug, Default)]
pub struct Compared {
    pub packets: u64,
    /// Of how many the kernel has shown the windows.
    windows: u64,
    /// How often flows have got older.
    ages: u64,
}

impl Compared {
    fn count(&mut self, observed: &Observed) {
        let shows = |entry: &EntryView| match entry.protocol {
            Some(ProtocolView::Tcp { sides, .. }) => sides.iter().all(|side| side.window.is_some()),
            Some(ProtocolView::Sctp { .. }) | None => false,
        };
        self.packets += 1;
        self.windows += u64::from(observed.entry.as_ref().is_some_and(shows));
    }
}

impl fmt::Display for Compared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { packets, windows, ages } = self;
        write!(f, "{packets} packets, of {windows} the windows of TCP too, {ages} ages of flows")
    }
}

/// A kernel that shows windows, if that can be had here.
pub fn kernel(name: &str) -> Kernel {
    match missing_windows() {
        None => Kernel::new(name).with_windows(),
        Some(why) => {
            eprintln!("SKIP: the windows that the kernel keeps of TCP are not compared: {why}");
            Kernel::new(name)
        }
    }
}

/// What both do with a packet, the engine at the time at which the kernel has done it. What a busy machine has stopped for meanwhile,
/// timeouts may differ by.
fn both(
    at: Duration,
    side: Side,
    packet: &[u8],
    kernel: &mut Kernel,
    engine: &mut Engine,
    comparer: &mut Comparer,
) -> (Observed, Observed) {
    let expected = kernel.step(at, side, packet).expect("a kernel");
    engine.follow(&expected);
    let (begun, ended) = kernel.last_step();
    comparer.allow(Tolerance::default().timeout_s + (ended - begun).as_secs_f64().round() as u32);
    let found = engine.step(ended, side, packet).unwrap_or_else(|error| panic!("{error}"));
    (expected, found)
}

/// What differs in the tables.
fn tables_differ(kernel: &mut Kernel, engine: &mut Engine, comparer: &mut Comparer) -> Vec<Difference> {
    let begun = kernel.elapsed();
    let expected = kernel.table().expect("a kernel");
    let ended = kernel.elapsed();
    comparer.allow(Tolerance::default().timeout_s + (ended - begun).as_secs_f64().round() as u32);
    engine.wait(ended);
    comparer.tables(&expected, &engine.table().unwrap_or_else(|error| panic!("{error}")))
}

/// Flows get older on both sides; what differs in their tables before. The engine takes over what the kernel counts then.
fn age(seconds: u32, kernel: &mut Kernel, engine: &mut Engine, comparer: &mut Comparer) -> Vec<Difference> {
    let differences = tables_differ(kernel, engine, comparer);
    kernel.age(seconds).expect("a kernel");
    engine.follow_table(&kernel.table().expect("a kernel"));
    differences
}

/// The first packet with which the engine does something else than the kernel. Where the kernel draws a port at random, the
/// engine is told which: it takes it only if it might have drawn it too.
pub fn engine_differs(
    script: &Script,
    kernel: &mut Kernel,
    engine: &mut Engine,
    compared: &mut Compared,
) -> Option<String> {
    kernel.load(&script.setup()).expect("a kernel");
    engine.load(&script.setup()).unwrap_or_else(|error| panic!("{error}"));
    let mut comparer = Comparer::new(Tolerance::default());
    for (at, step) in script.steps().into_iter().enumerate() {
        let differences = match step.event {
            Event::Packet(side, packet) => {
                let (expected, found) = both(step.at, side, packet, kernel, engine, &mut comparer);
                compared.count(&expected);
                comparer.differences(&expected, &found)
            }
            Event::Age(seconds) => {
                compared.ages += 1;
                age(seconds, kernel, engine, &mut comparer)
            }
            Event::Flush => {
                kernel.flush().expect("a kernel");
                engine.flush().unwrap_or_else(|error| panic!("{error}"));
                Vec::new()
            }
        };
        if !differences.is_empty() {
            let all: Vec<String> = differences.iter().map(ToString::to_string).collect();
            return Some(format!("step {}: {}", at + 1, all.join("; ")));
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
    let (mut kernel, mut engine) = (kernel("oracle-engine"), Engine::new(Personality::V6_18, 1));
    let (mut compared, mut seed, mut found) = (Compared::default(), first, Vec::new());
    while compared.packets < wanted && found.len() < 5 {
        let case = Case::of_seed(seed);
        if let Some(difference) = engine_differs(&case.script(), &mut kernel, &mut engine, &mut compared) {
            let mut differs =
                |case: &Case| engine_differs(&case.script(), &mut kernel, &mut engine, &mut Compared::default());
            let small = shrink(&case, |case| differs(case).is_some());
            let last = differs(&small).unwrap_or(difference);
            found.push(format!("{SEED}={seed}: {last}\n{}", small.script()));
        }
        // Routers change every 256 seeds; a few of each are taken in turn.
        seed = seed + if wanted < 100_000 && (seed - first) % 8 == 7 { 249 } else { 1 };
    }
    eprintln!("{compared}, seeds {first} to {}, {} differences", seed - 1, found.len());
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
        // One runs after the other, and an age may bring a flow to within a moment of its end.
        if case.script().steps().iter().any(|step| matches!(step.event, Event::Age(_))) {
            continue;
        }
        // A machine that stalls shifts timeouts, but not twice in the same place.
        if first_difference(&case, &mut one, &mut other).is_some()
            && let Some(difference) = first_difference(&case, &mut one, &mut other)
        {
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
    compared: &mut Compared,
) -> Option<(String, Script)> {
    kernel.load(&talk.setup).unwrap_or_else(|error| panic!("{error}\n{:?}", talk.setup.rules));
    engine.load(&talk.setup).unwrap_or_else(|error| panic!("{error}"));
    let (mut hosts, comparer) = (talk.hosts(), Comparer::new(Tolerance::default()));
    let (mut comparer, mut said, mut observed) = (comparer, Vec::new(), Vec::new());
    let mut differences = Vec::new();
    'talk: for &step in talk.steps() {
        if let Some(seconds) = talk.ages(step) {
            compared.ages += 1;
            differences = age(seconds, kernel, engine, &mut comparer);
            said.push(Item::Age(seconds));
            if !differences.is_empty() {
                break;
            }
        }
        for (side, packet) in hosts.speak(step) {
            let (expected, found) = both(Duration::ZERO, side, &packet, kernel, engine, &mut comparer);
            hosts.hear(&expected.outputs);
            compared.count(&expected);
            differences = comparer.differences(&expected, &found);
            said.push(Item::Inject(side, packet));
            observed.push(expected);
            if !differences.is_empty() {
                break 'talk;
            }
        }
    }
    if differences.is_empty() {
        differences = tables_differ(kernel, engine, &mut comparer);
    }
    if differences.is_empty() {
        return None;
    }
    let all: Vec<String> = differences.iter().map(ToString::to_string).collect();
    let script = fill(&Script::of_items(&talk.setup, said), &observed, Tolerance::default());
    Some((all.join("; "), script))
}

#[test]
fn the_engine_does_what_the_kernel_does_when_hosts_answer() {
    if skip() {
        return;
    }
    let (wanted, first) = (number(PACKETS, 4_500), number(SEED, 0));
    let (mut kernel, mut engine) = (kernel("oracle-talk"), Engine::new(Personality::V6_18, 1));
    let (mut compared, mut seed, mut found) = (Compared::default(), first, Vec::new());
    while compared.packets < wanted && found.len() < 5 {
        let talk = Talk::of_seed(seed);
        if let Some(difference) = engine_differs_in(&talk, &mut kernel, &mut engine, &mut compared) {
            let mut differs = |talk: &Talk| engine_differs_in(talk, &mut kernel, &mut engine, &mut Compared::default());
            let small = talk.shrink(|talk| differs(talk).is_some());
            let last = differs(&small).unwrap_or(difference);
            found.push(format!("{SEED}={seed}: {}\n{}", last.0, last.1));
        }
        // Routers change every 32 seeds; a few of each are taken in turn.
        seed = seed + if wanted < 100_000 && (seed - first) % 8 == 7 { 25 } else { 1 };
    }
    eprintln!("{compared}, seeds {first} to {}, {} differences", seed - 1, found.len());
    assert!(found.is_empty(), "the engine differs from the kernel:\n{}", found.join("\n"));
}
