//! When a client's ports to one destination run out, and what helps how much.
//!
//! The model: to one destination, address and port, a source address has a [`Pool`] of ports. A connection takes one for as long
//! as it lasts and its TIME_WAIT after it, so `rate x (duration + lifetime)` of them are taken. Two lines matter. At *half*
//! connect() gets slow, from microseconds to milliseconds, because it looks at the ports of one parity first. At *all* of them
//! it fails, and not a little: it is on and off. Ports come back when those that were taken in the last on-phase die, a minute
//! later, at the wheel's granules, and so the outage has the wheel's period.

mod change;

use crate::lifetime::{Heat, Lifetime, STAYS_HOT_PER_S, granule_s};
use crate::simulate::{Phase, Plan, Simulation};
use crate::{Generation, Hz, TIMEWAIT_S};

pub use change::{Change, Effect, changes};

/// Where connect() gets slow: half of the ports.
pub const SLOW_SHARE: f64 = 0.5;

/// The ports that connect() may choose from for one destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    /// The lowest of `ip_local_port_range`.
    pub low: u16,
    /// The highest.
    pub high: u16,
    /// Of these, how many `ip_local_reserved_ports` takes out.
    pub reserved: u32,
    /// Of these, how many are bound so that connect() never takes them, whatever the destination: listeners and sockets, dead ones
    /// too, that were bound explicitly.
    pub blocked: u32,
}

impl Pool {
    /// How many there are.
    pub fn ports(&self) -> u32 {
        (u32::from(self.high) + 1).saturating_sub(u32::from(self.low)).saturating_sub(self.reserved + self.blocked)
    }
}

/// The load on it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Load {
    /// New connections a second.
    pub rate_per_s: f64,
    /// How long each lasts, seconds.
    pub duration_s: f64,
    /// Where connect() takes the ports of dead connections (`tcp_tw_reuse`), how old these must be, seconds.
    pub reused_after_s: Option<f64>,
}

/// The kernel that carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// Its timer.
    pub generation: Generation,
    /// Its jiffies.
    pub hz: Hz,
}

/// What will be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Forecast {
    /// How many ports there are.
    pub ports: u32,
    /// How long TIME_WAIT lasts under this load.
    pub lifetime: Lifetime,
    /// The ports that are taken in the long run, on average; more than there are if they run out.
    pub taken: f64,
    /// The rate that the ports carry on average, connections a second: N / (D + mean).
    pub sustainable_per_s: f64,
    /// The rate at which not one connection is refused: N / (D + longest).
    pub safe_per_s: f64,
    /// The rate at which half of the ports are taken.
    pub slow_per_s: f64,
    /// Seconds until half are taken; `None` for never.
    pub slow_after_s: Option<f64>,
    /// Seconds until all are taken; `None` for never.
    pub exhausted_after_s: Option<f64>,
    /// What happens from then on.
    pub saturation: Option<Saturation>,
}

/// Ports run out, come back, and run out again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Saturation {
    /// Seconds from one outage to the next.
    pub cycle_s: f64,
    /// Seconds of it in which connect() works.
    pub up_s: f64,
    /// Seconds of it in which it fails.
    pub outage_s: f64,
    /// Connections that succeed, a second, on average.
    pub served_per_s: f64,
}

/// What `load` comes to, where `taken_s` tells when ports that are taken already come back, seconds from now, in order.
pub fn forecast(kernel: Kernel, ports: u32, load: Load, taken_s: &[f64]) -> Forecast {
    let lifetime = lifetime_under(kernel, load);
    let all = f64::from(ports);
    let held_s = load.duration_s + lifetime.mean_s();
    let most_s = load.duration_s + lifetime.most_s;
    let exhausted_after_s = reach(all, load, lifetime, taken_s);
    Forecast {
        ports,
        lifetime,
        taken: load.rate_per_s * held_s,
        sustainable_per_s: all / held_s,
        safe_per_s: all / most_s,
        slow_per_s: all * SLOW_SHARE / held_s,
        slow_after_s: reach(all * SLOW_SHARE, load, lifetime, taken_s),
        exhausted_after_s,
        saturation: exhausted_after_s.and_then(|_| saturation(kernel, ports, load)),
    }
}

/// How long a port is not to be had. A death row is hot from a rate on that depends on all of the machine's sockets; these are
/// taken as all.
fn lifetime_under(kernel: Kernel, load: Load) -> Lifetime {
    if let Some(after_s) = load.reused_after_s {
        return Lifetime { above_s: after_s, most_s: after_s };
    }
    let heat = if load.rate_per_s > STAYS_HOT_PER_S * 2.0 { Heat::Hot } else { Heat::Cold };
    Lifetime::of(kernel.generation, kernel.hz, heat)
}

/// Seconds until `wanted` ports are taken.
fn reach(wanted: f64, load: Load, lifetime: Lifetime, taken_s: &[f64]) -> Option<f64> {
    let most_s = load.duration_s + lifetime.most_s;
    // Between two releases the ports that are taken only grow, so a crossing is between two of them or after the last.
    let mut from_s = 0.0;
    for (released, until_s) in taken_s.iter().copied().chain([f64::INFINITY]).enumerate() {
        let left = (taken_s.len() - released) as f64;
        let own = (wanted - left).max(0.0);
        let at_s = if load.rate_per_s > 0.0 { own / load.rate_per_s } else { f64::INFINITY };
        // Of its own connections, none comes back sooner than `most_s`, and more than these are never there.
        if own <= load.rate_per_s * most_s {
            let at_s = at_s.max(from_s);
            if at_s < until_s && at_s <= most_s.max(from_s) {
                return Some(at_s);
            }
        }
        from_s = until_s;
    }
    None
}

/// The cycle of running out, if it is one.
fn saturation(kernel: Kernel, ports: u32, load: Load) -> Option<Saturation> {
    let up_s = f64::from(ports) / load.rate_per_s;
    let minute_s = TIMEWAIT_S as f64 + load.duration_s;
    let cycle_s = match (load.reused_after_s, kernel.generation) {
        (Some(after_s), _) => after_s + load.duration_s,
        (None, Generation::DeathRow) => return simulated(kernel, ports, load),
        (None, Generation::TimerPerSocket) => minute_s,
        (None, Generation::Quantised) => {
            let granule_s = granule_s(kernel.hz);
            ((minute_s / granule_s).floor() + 1.0) * granule_s
        }
    };
    (up_s < cycle_s).then(|| Saturation {
        cycle_s,
        up_s,
        outage_s: cycle_s - up_s,
        served_per_s: f64::from(ports) / cycle_s,
    })
}

/// A death row has no formula: whether it is hot depends on its own outages.
fn simulated(kernel: Kernel, ports: u32, load: Load) -> Option<Saturation> {
    /// Ten of its cycles, of which the first is another.
    const LENGTH_S: f64 = 1200.0;
    /// What is too short to be seen.
    const SHORT_S: f64 = 0.5;
    let plan = Plan {
        phases: vec![Phase { rate_per_s: load.rate_per_s, length_s: LENGTH_S }],
        ports: Some(ports),
        even: true,
        ..Plan::steady(kernel.generation, kernel.hz, load.rate_per_s, LENGTH_S)
    };
    let outcome = Simulation::new(&plan).ok()?.run();
    let outages: Vec<_> = outcome.outages.iter().filter(|outage| outage.length_s() > SHORT_S).collect();
    let (first, last) = (outages.first()?, outages.last()?);
    let cycles = outages.len() as f64 - 1.0;
    let cycle_s = if cycles > 0.0 { (last.from_s - first.from_s) / cycles } else { LENGTH_S };
    let outage_s = outages.iter().map(|outage| outage.length_s()).sum::<f64>() / outages.len() as f64;
    let served_per_s = outcome.served as f64 / LENGTH_S;
    Some(Saturation { cycle_s, up_s: (cycle_s - outage_s).max(0.0), outage_s, served_per_s })
}

#[cfg(test)]
mod tests;
