//! For machines: one object.

use std::io::{self, Write};

use pinhole_host::clock::Source;
use serde_json::{Value, json};

use super::super::groups::{Group, Key};
use super::super::machine::Machine;
use super::super::sample::{Dead, Kind};
use super::{Args, View};

pub(super) fn write(out: &mut impl Write, args: &Args, view: &View) -> io::Result<()> {
    let pool = view.machine.pool(view.groups.blocked);
    let (time_wait, fin_wait2, overdue) = view.groups.totals();
    let limit = args.limit.unwrap_or(usize::MAX);
    let groups: Vec<Value> = view.groups.groups.iter().take(limit).map(|group| object(group, view)).collect();
    let mut whole = json!({
        "kernel": machine(&view.machine),
        "time_wait": time_wait,
        "fin_wait_2": fin_wait2,
        "overdue": overdue,
        "most": view.machine.settings.max_tw_buckets,
        "ports": {
            "low": pool.low,
            "high": pool.high,
            "reserved": pool.reserved,
            "listened_on": pool.blocked,
            "each_destination": pool.ports(),
        },
        "deaths": view.sample.calendar(view.sample.dead.iter()),
        "groups": groups,
        "tracked": view.tracked,
    });
    if let Some(counters) = view.counters {
        whole["counters"] = json!({
            "expired": counters.expired,
            "recycled": counters.recycled,
            "killed": counters.killed,
            "overflow": counters.overflow,
            "paws": counters.paws,
        });
    }
    if args.sockets {
        let mut dead: Vec<&Dead> = view.sample.dead.iter().collect();
        dead.sort_by_key(|dead| dead.death_ns);
        whole["sockets"] = dead.iter().take(limit).map(|dead| socket(dead, view.sample.at_ns)).collect();
    }
    writeln!(out, "{whole:#}")
}

/// The kernel and its clock.
pub(in super::super) fn machine(machine: &Machine) -> Value {
    json!({
        "release": machine.release,
        "hz": machine.hz.get(),
        "granule_s": machine.hz.to_s(machine.granule_j()),
        "timeout_s": machine.hz.to_s(machine.timeout_j()),
        "jiffies_from": source(machine.jiffies.source),
        "off_by_s": machine.jiffies.uncertainty_ns() as f64 / 1e9,
    })
}

/// One socket, seconds from `now_ns` on.
pub(in super::super) fn socket(dead: &Dead, now_ns: u64) -> Value {
    json!({
        "local": dead.socket.local,
        "remote": dead.socket.remote,
        "state": state(dead.kind),
        "dies_in_s": dead.left_s(now_ns),
        "timer_s": f64::from(dead.socket.expires_ms) / 1000.0,
        "overdue": dead.is_overdue(),
        "age_s": now_ns.saturating_sub(dead.since_ns) as f64 / 1e9,
        "cookie": dead.socket.cookie,
    })
}

pub(in super::super) const fn state(kind: Kind) -> &'static str {
    match kind {
        Kind::TimeWait => "TIME_WAIT",
        Kind::FinWait2 | Kind::FinWait2Whole => "FIN_WAIT_2",
    }
}

fn object(group: &Group, view: &View) -> Value {
    let ports = view.machine.pool(view.groups.blocked).ports();
    let dead = group.dead.iter().map(|&at| &view.sample.dead[at]);
    let mut object = json!({
        "time_wait": group.time_wait,
        "fin_wait_2": group.fin_wait2,
        "overdue": group.overdue,
        "living": group.living,
        "deaths": view.sample.calendar(dead),
        "conntrack_time_wait": group.tracked.map(|tracking| tracking.time_wait),
        "conntrack_last_s": group.tracked.map(|tracking| tracking.last_s),
    });
    match group.key {
        Key::Out { from, to } => {
            object["from"] = json!(from);
            object["to"] = json!(to);
            object["used"] = json!(group.used);
            object["free"] = json!(ports.saturating_sub(group.used));
        }
        Key::In { service } => object["service"] = json!(service),
    }
    object
}

const fn source(source: Source) -> &'static str {
    match source {
        Source::TimerList => "timer_list",
        Source::SchedStat => "schedstat",
        Source::Observed => "observed",
        Source::Guess => "guess",
    }
}
