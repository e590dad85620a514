//! `pinhole lab run`: one scenario from a file, simulated, and what came of it.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use clap::Args as ClapArgs;
use pinhole_agent::event::Event;
use pinhole_lab::scenario::Scenario;
use pinhole_lab::sim::Change;
use pinhole_sansio::Instant;
use pinhole_wg::Key;
use pinhole_world::{Judged, Outcome, World};
use serde_json::json;

use super::ladder::Ladder;
use super::{human, millis, real, words};
use crate::cmd::conntrack::paint::{Paint, Tone};

/// Run a scenario from a file in virtual time, and hold what comes of it to what must
#[derive(Debug, ClapArgs)]
#[command(
    after_help = "A scenario is text: hosts, NATs, links, who runs the registry and agents, what goes wrong when, what is expected. \
docs/lab.md has the words, and a sample.

Examples:
  pinhole lab run home.lab
  pinhole lab run --packets --seed 3 home.lab
  pinhole lab run --pcap /tmp/home home.lab
  pinhole lab run --real home.lab              the same in network namespaces, with the kernel's NAT

Exit code 1 means that something did not come as expected, or that a run contradicts the oracle."
)]
pub(super) struct Args {
    /// The scenario
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Instead of the scenario's own seed
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Also show packets, of the first ten thousand
    #[arg(long)]
    packets: bool,
    /// For machines: events, and what came of each pair
    #[arg(long)]
    json: bool,
    /// Write what crosses each outside interface to DIR, one pcap file each
    #[arg(long, value_name = "DIR", conflicts_with = "real")]
    pcap: Option<PathBuf>,
    /// In network namespaces of this machine instead, in real time
    #[arg(long, conflicts_with_all = ["packets", "json"])]
    real: bool,
}

/// Runs.
pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let name = args.file.display();
    let text = fs::read_to_string(&args.file).with_context(|| format!("cannot read {name}"))?;
    let scenario = Scenario::parse(&text).map_err(|error| anyhow!("{name}, {error}"))?;
    if args.real {
        return real::run(&args.file, &scenario);
    }
    let seed = args.seed.unwrap_or(scenario.seed);
    let mut world = World::new(&scenario, seed).map_err(|error| at_line(&args.file, &scenario, &error))?;
    if args.packets {
        world.sim().watch();
    }
    if args.pcap.is_some() {
        captures(&mut world);
    }
    world.run();
    let outcomes = world.outcomes();
    let text = if args.json {
        json(&world, &outcomes)?
    } else {
        let paint = Paint::for_stdout();
        let told = Told { world: &world, packets: args.packets, paint };
        format!("{}\n{}", told.text(), results(&scenario, &outcomes, paint))
    };
    crate::cmd::print(text.as_bytes())?;
    if let Some(directory) = &args.pcap {
        save_captures(&mut world, directory)?;
    }
    Ok(code(&outcomes))
}

/// Failure, if something did not come as it must.
pub(super) fn code(outcomes: &[Outcome]) -> ExitCode {
    let failed = outcomes.iter().flat_map(|outcome| &outcome.judged).any(|judged| judged.failure.is_some());
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn at_line(file: &Path, scenario: &Scenario, error: &pinhole_lab::sim::SimError) -> anyhow::Error {
    let place = match error {
        pinhole_lab::sim::SimError::Network(fault) => fault.place,
        pinhole_lab::sim::SimError::Rules(place, _) => *place,
    };
    let line = scenario.lines.get(place).copied().unwrap_or_default();
    anyhow!("{}, line {line}: {error}", file.display())
}

/// Captures at every place.
pub(super) fn captures(world: &mut World) {
    let places = world.scenario().network.places.len();
    (0..places).for_each(|place| world.sim().capture(place));
}

/// Writes the captures of all places to a directory.
pub(super) fn save_captures(world: &mut World, directory: &Path) -> Result<()> {
    fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    for place in 0..world.scenario().network.places.len() {
        let path = directory.join(format!("{}.pcap", world.scenario().network.places[place].name));
        let bytes = world.sim().take_capture(place)?;
        fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// What happened, line by line.
pub(super) struct Told<'a> {
    pub(super) world: &'a World,
    pub(super) packets: bool,
    pub(super) paint: Paint,
}

impl Told<'_> {
    pub(super) fn text(&self) -> String {
        let network = &self.world.scenario().network;
        let place = |at: usize| network.places[at].name.as_str();
        let since = |at: Instant| Duration::from_nanos(at.as_nanos());
        let mut lines: Vec<(Duration, Tone, String)> = Vec::new();
        for (at, who, event) in self.world.events() {
            lines.push((since(at), tone(event), format!("{:<10} {}", place(who), self.words(event))));
        }
        for (at, change) in &self.world.scenario().changes {
            let words = change_words(change, &place);
            lines.push((since(*at), Tone::Heading, format!("{:<10} {words}", "*")));
        }
        if self.packets {
            let rungs = Ladder::of(self.world).lines();
            lines.extend(rungs.into_iter().map(|(at, text)| (at, Tone::Fading, text)));
        }
        lines.sort_by_key(|(at, ..)| *at);
        lines.into_iter().fold(String::new(), |mut text, (at, tone, line)| {
            let _ = writeln!(text, "{:>10.3} s  {}", at.as_secs_f64(), self.paint.paint(tone, &line));
            text
        })
    }

    /// An event in words. Those that have no sentence here are told by their name: new ones come with the agent.
    fn words(&self, event: &Event) -> String {
        let network = &self.world.scenario().network;
        let value = serde_json::to_value(event).unwrap_or_default();
        let text = |name: &str| value[name].as_str().unwrap_or_default();
        let who = |name: &str| {
            let key: Option<Key> = text(name).parse().ok();
            let member = key.and_then(|key| self.world.plan().by_key(&key));
            member.map_or("somebody", |member| network.places[member.place].name.as_str())
        };
        match text("event") {
            "registry_up" => "reaches the registry".into(),
            "registry_down" => "does not reach the registry".into(),
            "observed" => format!("is seen at {}", text("endpoint")),
            "asked" => format!("asks where {} is", who("peer")),
            "answered" => {
                let then = if value["initiate"] == true { "knocks" } else { "opens its NAT" };
                format!("learns that {} is at {}, and {then}", who("peer"), text("endpoint"))
            }
            "opener" => format!("opens its NAT for {} with a time to live of {}", who("peer"), value["ttl"]),
            "handshake" => format!("starts a handshake with {} at {}", who("peer"), text("endpoint")),
            "up" => format!("has a path to {} at {}", who("peer"), text("endpoint")),
            "down" => format!("has no path to {}", who("peer")),
            "introduced" => format!("tells {} and {} of each other", who("peer"), who("to")),
            "peer" => format!("sees {} at {}", who("peer"), text("endpoint")),
            other if value["peer"].is_string() => format!("{}: {}", other.replace('_', " "), who("peer")),
            other => other.replace('_', " "),
        }
    }
}

fn tone(event: &Event) -> Tone {
    let value = serde_json::to_value(event).unwrap_or_default();
    match value["event"].as_str() {
        Some("up") => Tone::Good,
        Some("down" | "registry_down" | "failed") => Tone::Bad,
        Some(_) | None => Tone::Plain,
    }
}

fn change_words<'a>(change: &Change, place: &impl Fn(usize) -> &'a str) -> String {
    match change {
        Change::Reboot(id) => format!("{} reboots", place(*id)),
        Change::Readdress(id, address) => format!("{} has the address {address} from now on", place(*id)),
        Change::Poison { router, from, port } => {
            format!("an unexpected packet comes to port {port} of {}, as if from {from}", place(*router))
        }
        Change::Stop(id) => format!("{} dies", place(*id)),
        Change::Start(id) => format!("{} starts anew", place(*id)),
        Change::Cut(id) => format!("the cable of {} is cut", place(*id)),
        Change::Mend(id) => format!("the cable of {} is whole again", place(*id)),
        Change::Relink(id, _) => format!("the link of {} changes", place(*id)),
        Change::Tell(id) => format!("{} is told that its network has changed", place(*id)),
    }
}

/// What came of each pair.
pub(super) fn results(scenario: &Scenario, outcomes: &[Outcome], paint: Paint) -> String {
    let network = &scenario.network;
    let mut text = String::new();
    for outcome in outcomes {
        let [a, b] = outcome.pair.map(|place| network.places[place].name.as_str());
        let came = match outcome.direct_after {
            Some(after) => format!("direct {} after the second started", human(after)),
            None => format!("not direct: {}", words::reason(&outcome.ruling)),
        };
        let good = outcome.judged.iter().all(|judged| judged.failure.is_none());
        let tone = if good { Tone::Good } else { Tone::Bad };
        let _ = writeln!(
            text,
            "{}  {came} ({})",
            paint.paint(tone, &format!("{a} - {b}")),
            words::must(outcome.ruling.must)
        );
        if outcome.direct_after.is_none() {
            for &fix in &outcome.ruling.verdict.fixes {
                let _ = writeln!(text, "    would help (here is {a}'s side): {}", words::fix(fix));
            }
        }
        for Judged { line, took, failure } in &outcome.judged {
            let by = line.map_or_else(|| "the oracle".to_owned(), |line| format!("line {line}"));
            match (failure, took) {
                (Some(failure), _) => {
                    let _ = writeln!(text, "    {} {failure}", paint.paint(Tone::Bad, &format!("{by} fails:")));
                }
                (None, Some(took)) if line.is_some() => {
                    let _ = writeln!(text, "    {by}: as expected, after {}", human(*took));
                }
                (None, Some(_) | None) => {
                    let _ = writeln!(text, "    {by}: as expected");
                }
            }
        }
    }
    text
}

fn json(world: &World, outcomes: &[Outcome]) -> Result<String> {
    let network = &world.scenario().network;
    let name = |place: usize| network.places[place].name.as_str();
    let mut events = Vec::new();
    for (at, who, event) in world.events() {
        let mut value = serde_json::to_value(event)?;
        if let Some(object) = value.as_object_mut() {
            object.insert("at_ms".into(), json!(millis(Duration::from_nanos(at.as_nanos()))));
            object.insert("host".into(), json!(name(who)));
        }
        events.push(value);
    }
    let pair = |outcome: &Outcome| {
        let judged = outcome.judged.iter().map(
            |judged| json!({ "line": judged.line, "took_ms": judged.took.map(millis), "failure": judged.failure }),
        );
        json!({
            "pair": outcome.pair.map(name),
            "direct_after_ms": outcome.direct_after.map(millis),
            "oracle": words::must(outcome.ruling.must),
            "reason": outcome.direct_after.is_none().then(|| words::reason(&outcome.ruling)),
            "fixes": outcome.ruling.verdict.fixes.iter().map(|&fix| words::fix(fix)).collect::<Vec<_>>(),
            "judged": judged.collect::<Vec<_>>(),
        })
    };
    let pairs: Vec<_> = outcomes.iter().map(pair).collect();
    Ok(format!("{:#}\n", json!({ "events": events, "pairs": pairs })))
}
