//! A scenario with nodes on its hosts.

use std::sync::Arc;

use pinhole_agent::event::Event;
use pinhole_lab::scenario::{Expectation, Scenario};
use pinhole_lab::sim::{Journey, Sim, SimError};
use pinhole_lab::{Clock, PlaceId, PlaceKind};
use pinhole_sansio::{Duration, Instant, Rng};

use crate::node::{Arrival, Node};
use crate::oracle::{self, Must, Ruling};
use crate::plan::Plan;

/// A path that must come about has so long, where nobody says how long.
const PATIENCE: Duration = Duration::from_secs(10);

/// See the module.
#[derive(Debug)]
pub struct World {
    scenario: Scenario,
    sim: Sim<Node>,
    plan: Arc<Plan>,
}

/// What came of a pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The two.
    pub pair: [PlaceId; 2],
    /// How long after the later of them started both had heard from the other.
    pub direct_after: Option<Duration>,
    /// What the oracle says.
    pub ruling: Ruling,
    /// What was expected, and whether it came so.
    pub judged: Vec<Judged>,
}

/// Something that was to happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// In which line it is expected; by the oracle, if in none.
    pub line: Option<usize>,
    /// How long it took, if it was a path, and there was one.
    pub took: Option<Duration>,
    /// What went wrong.
    pub failure: Option<String>,
}

impl World {
    /// The world of a scenario, with this seed instead of the scenario's own.
    ///
    /// # Errors
    /// What cannot be built.
    pub fn new(scenario: &Scenario, seed: u64) -> Result<Self, SimError> {
        let mut rng = Rng::from_seed(seed);
        let plan = Arc::new(Plan::new(scenario, &mut rng));
        let network = &scenario.network;
        let mut node = |place: PlaceId| Node::new(Arc::clone(&plan), place, network.places[place].address, rng.fork());
        let mut sim = Sim::new(network, seed, &mut node)?;
        for (at, change) in &scenario.changes {
            sim.schedule(*at, change.clone());
        }
        Ok(Self { scenario: scenario.clone(), sim, plan })
    }

    /// The simulation.
    pub fn sim(&mut self) -> &mut Sim<Node> {
        &mut self.sim
    }

    /// Who is who.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The scenario that it is the world of.
    pub fn scenario(&self) -> &Scenario {
        &self.scenario
    }

    /// Runs to the end of the scenario.
    pub fn run(&mut self) {
        self.sim.run(self.scenario.until, |_| false);
    }

    /// Runs until the pair has a direct path both ways, or to the end of the scenario; how long that took.
    pub fn run_until_direct(&mut self, pair: [PlaceId; 2]) -> Option<Duration> {
        let [a, b] = pair;
        let direct =
            |sim: &Sim<Node>| !sim.host(a).heard().from(b).is_empty() && !sim.host(b).heard().from(a).is_empty();
        self.sim.run(self.scenario.until, direct);
        self.direct_after(pair)
    }

    /// Everything that the programs have told, in the order of time.
    pub fn events(&self) -> Vec<(Instant, PlaceId, &Event)> {
        let mut all: Vec<_> = Vec::new();
        for (place, node) in self.sim.hosts() {
            let clock = self.clock(place);
            all.extend(node.events().iter().map(|(at, event)| (clock.when(*at), place, event)));
        }
        all.sort_by_key(|(at, place, _)| (*at, *place));
        all
    }

    /// Where packets went, if somebody watched.
    pub fn journeys(&self) -> &[Journey] {
        self.sim.journeys()
    }

    /// How long after the later of the two had started both had heard from the other.
    pub fn direct_after(&self, pair: [PlaceId; 2]) -> Option<Duration> {
        let start = start(&self.scenario, pair);
        self.direct_at(pair, start).map(|at| at.since(start))
    }

    /// When both had heard something from the other that was sent after `after`.
    pub fn direct_at(&self, [a, b]: [PlaceId; 2], after: Instant) -> Option<Instant> {
        let heard = |by: PlaceId, from: PlaceId| {
            let arrivals = self.sim.host(by).heard().from(from).iter();
            let (here, there) = (self.clock(by), self.clock(from));
            let first = arrivals.map(|&Arrival { at, sent, .. }| (here.when(at), there.when(sent)));
            first.filter(|(_, sent)| *sent >= after).map(|(at, _)| at).next()
        };
        Some(heard(a, b)?.max(heard(b, a)?))
    }

    /// What came of every pair, and whether that is what must.
    pub fn outcomes(&self) -> Vec<Outcome> {
        outcomes(&self.scenario, |pair, after| self.direct_at(pair, after))
    }

    fn clock(&self, place: PlaceId) -> Clock {
        match self.scenario.network.places[place].kind {
            PlaceKind::Host(clock) => clock,
            PlaceKind::Router { .. } => Clock::default(),
        }
    }
}

/// What came of every pair of a scenario, and whether that is what must. `direct_at` says when both of a pair had heard
/// something from the other that was sent after a moment.
pub fn outcomes(scenario: &Scenario, direct_at: impl Fn([PlaceId; 2], Instant) -> Option<Instant>) -> Vec<Outcome> {
    let outcome = |pair: [PlaceId; 2]| {
        let ruling = oracle::rule(&scenario.network, pair[0], pair[1]);
        let start = start(scenario, pair);
        let direct_after = direct_at(pair, start).map(|at| at.since(start));
        let is_about = |expectation: &&Expectation| expectation.pair == pair || expectation.pair == [pair[1], pair[0]];
        let by_oracle = Judged { line: None, took: direct_after, failure: contradiction(&ruling, direct_after) };
        let expected = scenario.expectations.iter().filter(is_about).map(|expectation| {
            let after = expectation.after.max(start);
            judge(expectation, direct_at(pair, after).map(|at| at.since(after)))
        });
        let judged = std::iter::once(by_oracle).chain(expected).collect();
        Outcome { pair, direct_after, ruling, judged }
    };
    scenario.pairs().map(outcome).collect()
}

fn judge(expectation: &Expectation, took: Option<Duration>) -> Judged {
    let &Expectation { direct, within, line, .. } = expectation;
    let failure = match (direct, took) {
        (true, Some(took)) if took <= within => None,
        (true, Some(took)) => Some(format!("direct only after {took:.0?} instead of {within:?}")),
        (true, None) => Some(format!("not direct within {within:?}")),
        (false, Some(took)) if took <= within => Some(format!("direct after {took:.0?}")),
        (false, Some(_) | None) => None,
    };
    Judged { line: Some(line), took, failure }
}

/// When the later of two agents starts.
fn start(scenario: &Scenario, pair: [PlaceId; 2]) -> Instant {
    let starts = scenario.agents.iter().filter(|starter| pair.contains(&starter.place)).map(|starter| starter.at);
    starts.max().unwrap_or(Instant::EPOCH)
}

/// What of a run contradicts the oracle.
pub fn contradiction(ruling: &Ruling, direct_after: Option<Duration>) -> Option<String> {
    match (ruling.must, direct_after) {
        (Must::Direct, Some(after)) if after > PATIENCE => {
            Some(format!("a direct path must exist, and came about only after {after:.1?}"))
        }
        (Must::Direct, None) => Some("a direct path must exist, and there was none".into()),
        (Must::Never, Some(_)) => Some("there cannot be a direct path, and there was one".into()),
        (Must::Direct | Must::Maybe, Some(_)) | (Must::Maybe | Must::Never, None) => None,
    }
}
