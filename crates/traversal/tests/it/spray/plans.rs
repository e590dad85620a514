//! Pairs of NATs that are measured, by name, and what comes of many seeds.

use pinhole_netfilter::behaviour::Dependence::{AddressAndPortDependent, AddressDependent, EndpointIndependent};
use pinhole_netfilter::behaviour::{Allocation, Behaviour, Dependence, Pairing};
use pinhole_netfilter::ports::Range;
use pinhole_sansio::Duration;

use super::world::{End, Kind, Plan, World};

/// A home: endpoint-independent mapping, this filtering.
pub fn easy(filtering: Dependence) -> Kind {
    let udp = Pairing::new(EndpointIndependent, filtering);
    Kind::Behaviour(Behaviour { udp, ..Behaviour::home_router() })
}

/// A NAT with a mapping for each destination.
pub fn hard(mapping: Dependence, allocation: Allocation) -> Kind {
    let udp = Pairing::new(mapping, AddressAndPortDependent);
    Kind::Behaviour(Behaviour { udp, allocation, ..Behaviour::cloud_nat() })
}

/// As good as any: each of 64,512 ports.
pub fn random() -> Kind {
    hard(AddressAndPortDependent, Allocation::Random)
}

/// Draws from the ephemeral ports of Linux.
pub fn ephemeral() -> Kind {
    let udp = Pairing::new(AddressAndPortDependent, AddressAndPortDependent);
    let ports = Range::new(32_768, 60_999);
    Kind::Behaviour(Behaviour { udp, ports, allocation: Allocation::Random, ..Behaviour::cloud_nat() })
}

pub fn counter(step: u16) -> Kind {
    hard(AddressAndPortDependent, Allocation::Sequential { step })
}

/// One mapping for all ports of an address.
pub fn by_address() -> Kind {
    hard(AddressDependent, Allocation::Sequential { step: 1 })
}

/// A mapping for each destination, by the inside port or the next above.
pub fn preserving() -> Kind {
    hard(AddressAndPortDependent, Allocation::Preserving)
}

/// The home that most have.
pub fn restricted() -> Kind {
    easy(AddressAndPortDependent)
}

/// Of a hard NAT nothing is told but that.
pub fn blind(plan: Plan) -> Plan {
    Plan { blind: true, ..plan }
}

/// With so many flows of others a second on each side.
pub fn busy(others: u32, plan: Plan) -> Plan {
    Plan { others: [others, others], ..plan }
}

/// Each link loses one packet in twenty.
pub fn lossy(plan: Plan) -> Plan {
    Plan { loss: 0.05, ..plan }
}

/// A pair of NATs and its name.
pub type Named = (&'static str, fn() -> Plan);

/// What is measured.
pub const NAMED: &[Named] = &[
    ("cone x Linux fully-random", || Plan::new(restricted(), Kind::LinuxFullyRandom)),
    ("cone x Linux fully-random, 5 % loss", || lossy(Plan::new(restricted(), Kind::LinuxFullyRandom))),
    ("Linux, poisonable x Linux fully-random", || Plan::new(Kind::LinuxOpen, Kind::LinuxFullyRandom)),
    ("cone x random, any port", || Plan::new(restricted(), random())),
    ("cone x random, any port, 5 % loss", || lossy(Plan::new(restricted(), random()))),
    ("cone x random, 32768-60999", || Plan::new(restricted(), ephemeral())),
    ("address-restricted x random", || Plan::new(easy(AddressDependent), random())),
    ("full cone x random", || Plan::new(easy(EndpointIndependent), random())),
    ("cone x blocks of 512", || Plan::new(restricted(), Kind::Behaviour(Behaviour::mobile_carrier()))),
    ("cone x Linux fully-random, not sampled", || blind(Plan::new(restricted(), Kind::LinuxFullyRandom))),
    ("cone x random, any port, not sampled", || blind(Plan::new(restricted(), random()))),
    ("cone x random, 32768-60999, not sampled", || blind(Plan::new(restricted(), ephemeral()))),
    ("cone x counter", || Plan::new(restricted(), counter(1))),
    ("cone x counter, 35 flows/s", || busy(35, Plan::new(restricted(), counter(2)))),
    ("cone x counter, 35 flows/s, 5 % loss", || lossy(busy(35, Plan::new(restricted(), counter(2))))),
    ("counter x counter, alone", || Plan::new(counter(1), counter(4))),
    ("counter x counter, 5 flows/s", || busy(5, Plan::new(counter(1), counter(1)))),
    ("counter x counter, 35 flows/s", || busy(35, Plan::new(counter(1), counter(2)))),
    ("counter x counter, 35 flows/s, 5 % loss", || lossy(busy(35, Plan::new(counter(1), counter(2))))),
    ("counter x counter, 35 flows/s, by address", || busy(35, Plan::new(by_address(), by_address()))),
    ("counter x counter, 35 flows/s, one by address", || busy(35, Plan::new(counter(1), by_address()))),
    ("counter x counter, 70 flows/s", || busy(70, Plan::new(counter(1), counter(1)))),
    ("keeps its port for each x counter, 35 flows/s", || busy(35, Plan::new(preserving(), counter(1)))),
];

/// What came of a plan.
pub struct Plans {
    ends: Vec<End>,
}

impl Plans {
    /// One world for each seed.
    pub fn run(plan: &Plan, seeds: u64) -> Self {
        let workers = std::thread::available_parallelism().map_or(1, |count| count.get() as u64);
        let worker = |first| {
            let seeds = (first..seeds).step_by(workers as usize);
            seeds.map(|seed| (seed, World::new(plan, seed).run())).collect::<Vec<(u64, End)>>()
        };
        let mut ends: Vec<(u64, End)> = std::thread::scope(|scope| {
            let handles: Vec<_> = (0..workers).map(|first| scope.spawn(move || worker(first))).collect();
            handles.into_iter().flat_map(|handle| handle.join().expect("a world does not panic")).collect()
        });
        ends.sort_by_key(|(seed, _)| *seed);
        let ends = ends.into_iter().map(|(_, end)| end).collect();
        Self { ends }
    }

    /// What is said of it, in thousandths.
    pub fn share(&self) -> usize {
        self.direct() * 1_000 / self.ends.len()
    }

    pub fn ends(&self) -> &[End] {
        &self.ends
    }

    /// Worlds in which WireGuard's packets went both ways.
    pub fn direct(&self) -> usize {
        self.ends.iter().filter(|end| end.carries).count()
    }

    pub fn within_ms(&self, millis: u64) -> usize {
        let within = |end: &&End| end.direct.is_some_and(|direct| direct <= Duration::from_millis(millis));
        self.ends.iter().filter(|end| end.carries).filter(within).count()
    }

    /// A percentile of the time to direct; what did not get there counts as for ever.
    pub fn millis(&self, percent: usize) -> String {
        let millis = |end: &End| end.direct.filter(|_| end.carries).map_or(u128::MAX, |direct| direct.as_millis());
        match percentile(self.ends.iter().map(millis).collect(), percent) {
            u128::MAX => "-".into(),
            millis => millis.to_string(),
        }
    }

    /// A percentile of the number of probes.
    pub fn probes(&self, percent: usize) -> u32 {
        percentile(self.ends.iter().map(|end| end.counters[0].probes).collect(), percent)
    }
}

fn percentile<T: Ord + Copy>(mut values: Vec<T>, percent: usize) -> T {
    values.sort_unstable();
    values[((values.len() * percent).div_ceil(100)).clamp(1, values.len()) - 1]
}
