//! The destination that holds most of this machine's ports, for who asks no more than whether ports run out.

use anyhow::Result;
use pinhole_host::netlink::sock_diag::States;
use pinhole_timewait::capacity::{self, Load};
use pinhole_timewait::lifetime::{Heat, Lifetime};
use pinhole_traversal::diagnosis::facts::Busiest;

use super::groups::{Groups, Key};
use super::machine::Machine;
use super::sample::{Dead, Sample};

/// What is counted to see a rate, seconds.
const SEEN_S: f64 = 30.0;

/// That destination, if any connection goes out of this network namespace. At its rate of the last half minute is reckoned when none is left.
///
/// # Errors
/// When the kernel says neither its version nor its sockets.
pub(crate) fn busiest() -> Result<Option<Busiest>> {
    let machine = Machine::find()?;
    let sample = Sample::take(&machine, States::ALL)?;
    let groups = Groups::of(&machine, &sample, None);
    let out = groups.groups.iter().filter_map(|group| match group.key {
        Key::Out { to, .. } => Some((to, group)),
        Key::In { .. } => None,
    });
    let Some((to, group)) = out.max_by_key(|(_, group)| group.used) else { return Ok(None) };
    let dead: Vec<&Dead> = group.dead.iter().map(|&at| &sample.dead[at]).collect();
    let age_s = |dead: &Dead| sample.at_ns.saturating_sub(dead.since_ns) as f64 / 1e9;
    let reused_after_s = machine.reused_after_s(Some(to.ip()));
    let back_s = |dead: &&Dead| {
        let left_s = dead.left_s(sample.at_ns);
        reused_after_s.map_or(left_s, |after_s| left_s.min((after_s - age_s(dead)).max(0.0)))
    };
    let mut taken_s: Vec<f64> = dead.iter().map(back_s).filter(|&back_s| back_s > 0.0).collect();
    taken_s.sort_by(f64::total_cmp);
    let young = dead.iter().filter(|dead| age_s(dead) <= SEEN_S).count();
    let load = Load { rate_per_s: young as f64 / SEEN_S, duration_s: 0.0, reused_after_s };
    let ports = machine.pool(groups.blocked).ports();
    let forecast = capacity::forecast(machine.kernel(), ports, load, &taken_s);
    let lasts = Lifetime::of(machine.generation(), machine.hz, Heat::Cold);
    Ok(Some(Busiest {
        to,
        used: group.used,
        time_wait: u32::try_from(group.time_wait).unwrap_or(u32::MAX),
        ports,
        lasts_s: (lasts.above_s, lasts.most_s),
        exhausted_after_s: forecast.exhausted_after_s,
        reused_after_s,
    }))
}
