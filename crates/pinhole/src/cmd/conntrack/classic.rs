//! An entry as `conntrack -L` of conntrack-tools prints it, character by character, so that scripts can move.

use std::io::{self, Write};
use std::net::IpAddr;

use pinhole_host::local_time::LocalTime;
use pinhole_host::netlink::conntrack::{Counters, Entry, Tuple, status};

use super::names::{self, Labels};

const NS_PER_S: u64 = 1_000_000_000;

/// What conntrack(8) adds with `-o`.
#[derive(Clone, Debug, Default)]
pub(super) struct Extras {
    /// `extended`: the network layer first.
    pub(super) family: bool,
    /// `id`.
    pub(super) id: bool,
    /// `ktimestamp`: when the flow began and ended.
    pub(super) times: bool,
    /// `timestamp`: when an event was seen.
    pub(super) seen: bool,
    /// `labels`, by the names of connlabel.conf.
    pub(super) labels: Option<Labels>,
}

/// Writes `entry` without a line end. `now_s` is the time since 1970, for ages.
pub(super) fn write(out: &mut impl Write, entry: &Entry, extras: &Extras, now_s: u64) -> io::Result<()> {
    let protocol = entry.original.protocol;
    if extras.family {
        let name = if entry.original.source.is_ipv4() { "ipv4" } else { "ipv6" };
        write!(out, "{name:<8} {} ", entry.original.family())?;
    }
    write!(out, "{:<8} {protocol}", names::known_protocol(protocol).unwrap_or("unknown"))?;
    if let Some(timeout) = entry.timeout_s {
        write!(out, " {timeout}")?;
    }
    if let Some(state) = entry.state {
        write!(out, " {}", state.name())?;
    }
    tuple(out, &entry.original, "orig", entry.sent)?;
    if entry.status & status::SEEN_REPLY == 0 {
        out.write_all(b" [UNREPLIED]")?;
    }
    tuple(out, &entry.reply, "reply", entry.received)?;
    out.write_all(standing(entry.status).as_bytes())?;
    if let Some(mark) = entry.mark {
        write!(out, " mark={mark}")?;
    }
    if let Some(mark) = entry.secmark {
        write!(out, " secmark={mark}")?;
    }
    if let Some(context) = &entry.security_context {
        write!(out, " secctx={context}")?;
    }
    if let Some(zone) = entry.zone {
        write!(out, " zone={zone}")?;
    }
    times(out, entry, extras, now_s)?;
    if let Some(helper) = &entry.helper {
        write!(out, " helper={helper}")?;
    }
    if let Some(uses) = entry.uses {
        write!(out, " use={uses}")?;
    }
    if extras.id {
        write!(out, " id={}", entry.id)?;
    }
    if let (Some(labels), Some(known)) = (entry.labels, &extras.labels) {
        let names: Vec<_> = names::bits(labels).filter_map(|bit| known.name(bit)).collect();
        // Without any name conntrack(8) loses its equals sign.
        write!(out, " labels{}{}", if names.is_empty() { "" } else { "=" }, names.join(","))?;
    }
    Ok(())
}

fn tuple(out: &mut impl Write, tuple: &Tuple, direction: &str, counters: Option<Counters>) -> io::Result<()> {
    out.write_all(b" src=")?;
    address(out, tuple.source.ip())?;
    out.write_all(b" dst=")?;
    address(out, tuple.destination.ip())?;
    let (source, destination) = (tuple.source.port(), tuple.destination.port());
    match (tuple.protocol, tuple.icmp) {
        (1 | 58, Some(icmp)) => write!(out, " type={} code={} id={}", icmp.kind, icmp.code, icmp.id)?,
        (47, _) => write!(out, " srckey={source:#x} dstkey={destination:#x}")?,
        _ if tuple.has_ports() => write!(out, " sport={source} dport={destination}")?,
        _ => {}
    }
    if let Some(zone) = tuple.zone {
        write!(out, " zone-{direction}={zone}")?;
    }
    if let Some(counters) = counters {
        write!(out, " packets={} bytes={}", counters.packets, counters.bytes)?;
    }
    Ok(())
}

/// As inet_ntop(3) writes it, which has the old "IPv4-compatible" addresses end in dots.
fn address(out: &mut impl Write, address: IpAddr) -> io::Result<()> {
    if let IpAddr::V6(v6) = address
        && let [0, 0, 0, 0, 0, 0, high, _] = v6.segments()
        && high != 0
    {
        let [.., a, b, c, d] = v6.octets();
        return write!(out, "::{a}.{b}.{c}.{d}");
    }
    write!(out, "{address}")
}

fn standing(status: u32) -> &'static str {
    if status & status::HW_OFFLOAD != 0 {
        " [HW_OFFLOAD]"
    } else if status & status::OFFLOAD != 0 {
        " [OFFLOAD]"
    } else if status & status::ASSURED != 0 {
        " [ASSURED]"
    } else {
        ""
    }
}

fn times(out: &mut impl Write, entry: &Entry, extras: &Extras, now_s: u64) -> io::Result<()> {
    let ended_s = entry.ended_ns.map(|ns| ns / NS_PER_S);
    let ctime = |s: u64| LocalTime::at(s.cast_signed()).to_string();
    if let Some(began_s) = entry.began_ns.map(|ns| ns / NS_PER_S) {
        write!(out, " delta-time={}", ended_s.unwrap_or(now_s).wrapping_sub(began_s))?;
        if extras.times {
            write!(out, " [start={}]", ctime(began_s))?;
        }
    }
    if let Some(ended_s) = ended_s.filter(|_| extras.times) {
        write!(out, " [stop={}]", ctime(ended_s))?;
    }
    Ok(())
}
