//! One cell of the NAT-pair matrix: a kind of NAT on either side, and the conditions between.
//!
//! As a word: `ei/apd/preserving:apd/apd/random+carrier+loss5`. Mapping, filtering and allocation of one side, those of the
//! other, and the conditions.

use std::fmt;
use std::str::FromStr;

use pinhole_lab::scenario::{Scenario, Starter};
use pinhole_lab::sim::SimError;
use pinhole_lab::{Clock, Link, Network, Place, PlaceId, PlaceKind};
use pinhole_netfilter::behaviour::{self, Behaviour, Pairing};
use pinhole_sansio::{Duration, Instant, Rng};
use pinhole_traversal::diagnosis::facts::Dependence;

pub use pinhole_traversal::diagnosis::facts::Allocation;

use crate::world::World;

/// One way over each access link; peer to peer and back is four of them.
pub const ACCESS: Duration = Duration::from_millis(20);
/// Up to how much each packet is late.
const JITTER: Duration = Duration::from_millis(1);
/// From a home to its carrier.
const TO_CARRIER: Duration = Duration::from_millis(2);
/// How long a run may take.
const LIMIT: Duration = Duration::from_secs(10);
/// The agents start within this time, in any order.
const SKEW_MS: u64 = 500;

/// A kind of NAT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nature {
    /// On what mappings depend.
    pub mapping: Dependence,
    /// On what the filter depends.
    pub filtering: Dependence,
    /// How ports are chosen.
    pub allocation: Allocation,
}

/// What is between the two, the same for both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Conditions {
    /// Each home is behind a carrier's NAT.
    pub carrier: bool,
    /// Packets that come too early take mappings away.
    pub poisoning: bool,
    /// How many of 100 packets each access link loses.
    pub loss_percent: u8,
}

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cell {
    /// Alice's NAT.
    pub alice: Nature,
    /// Bob's NAT.
    pub bob: Nature,
    /// What is between them.
    pub conditions: Conditions,
}

/// The places of a cell's network.
pub const HUB: PlaceId = 0;
/// Those with agents.
pub fn pair(conditions: Conditions) -> [PlaceId; 2] {
    if conditions.carrier { [3, 6] } else { [2, 4] }
}

/// Why a text is no cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CellError(String);

impl Nature {
    /// All kinds, the easiest first.
    pub fn all() -> impl Iterator<Item = Self> {
        Dependence::ALL.into_iter().flat_map(|mapping| {
            Dependence::ALL.into_iter().flat_map(move |filtering| {
                Allocation::ALL.into_iter().map(move |allocation| Self { mapping, filtering, allocation })
            })
        })
    }

    /// Such a NAT; in all else an ordinary home router.
    pub fn behaviour(self, poisoning: bool) -> Behaviour {
        let dependence = |dependence| match dependence {
            Dependence::EndpointIndependent => behaviour::Dependence::EndpointIndependent,
            Dependence::AddressDependent => behaviour::Dependence::AddressDependent,
            Dependence::AddressAndPortDependent => behaviour::Dependence::AddressAndPortDependent,
        };
        let allocation = match self.allocation {
            Allocation::Preserving => behaviour::Allocation::Preserving,
            Allocation::Sequential => behaviour::Allocation::Sequential { step: 1 },
            Allocation::Block => behaviour::Allocation::Blocks { size: 512, most: 4 },
            Allocation::Random => behaviour::Allocation::Random,
        };
        let udp = Pairing::new(dependence(self.mapping), dependence(self.filtering));
        Behaviour { udp, allocation, poisoning, ..Behaviour::home_router() }
    }
}

impl Conditions {
    /// Every combination of a carrier, poisoning, and loss of this many percent.
    pub fn all(loss_percent: u8) -> Vec<Self> {
        let both = [false, true];
        let mut all = Vec::new();
        for loss_percent in [0, loss_percent] {
            for carrier in both {
                all.extend(both.map(|poisoning| Self { carrier, poisoning, loss_percent }));
            }
        }
        all
    }
}

impl Cell {
    /// The network, its agents, and how long they may take; when they start is drawn from the seed.
    pub fn scenario(&self, seed: u64) -> Scenario {
        let Conditions { carrier, poisoning, loss_percent } = self.conditions;
        let access = Link { jitter: JITTER, loss: f64::from(loss_percent) / 100.0, ..Link::with_delay(ACCESS) };
        let mut network = Network::new();
        let host = |name: &str, address: [u8; 4], behind, link| {
            let kind = PlaceKind::Host(Clock::default());
            Place { name: name.into(), address: address.into(), behind, link, kind }
        };
        network.add(host("hub", [203, 0, 113, 1], None, access));
        let sides = [("alice", self.alice, [198, 51, 100, 1], 1), ("bob", self.bob, [192, 0, 2, 1], 2)];
        for (name, nature, public, third) in sides {
            let router = |name: String, address, behind, inside: &str, link, nat: Behaviour| {
                let inside = inside.parse().expect("a network");
                Place { name, address, behind, link, kind: PlaceKind::Router { inside, nat: nat.into() } }
            };
            let inside = format!("192.168.{third}.1/24");
            let nat = nature.behaviour(poisoning);
            let home = if carrier {
                let above = router(
                    format!("{name}-carrier"),
                    public.into(),
                    None,
                    "100.64.0.1/10",
                    access,
                    Behaviour::cgn_rfc6888(),
                );
                let above = network.add(above);
                let to_carrier = Link::with_delay(TO_CARRIER);
                router(format!("{name}-home"), [100, 64, 0, 2].into(), Some(above), &inside, to_carrier, nat)
            } else {
                router(format!("{name}-home"), public.into(), None, &inside, access, nat)
            };
            let home = network.add(home);
            network.add(host(name, [192, 168, third, 10], Some(home), Link::default()));
        }
        let mut rng = Rng::from_seed(seed ^ 0x6365_6c6c);
        let mut scenario = Scenario::new(network, seed);
        scenario.registry = Some(HUB);
        scenario.agents = pair(self.conditions)
            .into_iter()
            .map(|place| Starter { place, at: Instant::from_millis(rng.below(SKEW_MS)) })
            .collect();
        scenario.until = Instant::from_millis(SKEW_MS) + LIMIT;
        scenario
    }

    /// The world of one run.
    ///
    /// # Errors
    /// None: a cell's network can be built.
    pub fn world(&self, seed: u64) -> Result<World, SimError> {
        World::new(&self.scenario(seed), seed)
    }

    /// Runs it; how long a direct path took, if one came about.
    pub fn run(&self, seed: u64) -> Option<Duration> {
        let mut world = self.world(seed).expect("a cell's network can be built");
        world.run_until_direct(pair(self.conditions))
    }
}

impl fmt::Display for Nature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", short(self.mapping), short(self.filtering), self.allocation.name())
    }
}

impl fmt::Display for Conditions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { carrier, poisoning, loss_percent } = *self;
        f.write_str(if carrier { "+carrier" } else { "" })?;
        f.write_str(if poisoning { "+poisoning" } else { "" })?;
        if loss_percent > 0 { write!(f, "+loss{loss_percent}") } else { Ok(()) }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}{}", self.alice, self.bob, self.conditions)
    }
}

impl FromStr for Nature {
    type Err = CellError;

    fn from_str(text: &str) -> Result<Self, CellError> {
        let expected = || CellError(format!("`{text}`: expected mapping/filtering/allocation, as ei/apd/preserving"));
        let mut words = text.split('/');
        let mut next = || words.next().ok_or_else(expected);
        let dependence = |word: &str| {
            let found = Dependence::ALL.into_iter().find(|dependence| short(*dependence) == word);
            found.ok_or_else(|| CellError(format!("`{word}`: expected ei, ad or apd")))
        };
        let (mapping, filtering) = (dependence(next()?)?, dependence(next()?)?);
        let word = next()?;
        let allocation = Allocation::ALL.into_iter().find(|allocation| allocation.name() == word);
        let allocation = allocation
            .ok_or_else(|| CellError(format!("`{word}`: expected preserving, sequential, block or random")))?;
        if words.next().is_some() {
            return Err(expected());
        }
        Ok(Self { mapping, filtering, allocation })
    }
}

impl FromStr for Cell {
    type Err = CellError;

    fn from_str(text: &str) -> Result<Self, CellError> {
        let mut parts = text.split('+');
        let pair = parts.next().unwrap_or_default();
        let (alice, bob) = pair
            .split_once(':')
            .ok_or_else(|| CellError(format!("`{pair}`: expected two NATs, as ei/apd/preserving:apd/apd/random")))?;
        let mut conditions = Conditions::default();
        for word in parts {
            match (word, word.strip_prefix("loss").and_then(|number| number.parse::<u8>().ok())) {
                ("carrier", _) => conditions.carrier = true,
                ("poisoning", _) => conditions.poisoning = true,
                (_, Some(percent)) if percent <= 100 => conditions.loss_percent = percent,
                (_, Some(_) | None) => {
                    return Err(CellError(format!(
                        "`{word}`: expected carrier, poisoning or loss and a percentage, as loss5"
                    )));
                }
            }
        }
        Ok(Self { alice: alice.parse()?, bob: bob.parse()?, conditions })
    }
}

impl fmt::Display for CellError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for CellError {}

const fn short(dependence: Dependence) -> &'static str {
    match dependence {
        Dependence::EndpointIndependent => "ei",
        Dependence::AddressDependent => "ad",
        Dependence::AddressAndPortDependent => "apd",
    }
}
