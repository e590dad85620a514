//! The same for a gateway that translates sources: its ports to one destination, as connection tracking holds them.

use std::io::{self, Write};

use pinhole_host::netlink::conntrack::{self, CpuStatistics, Entry, Select, State, TcpState};
use pinhole_timewait::Version;
use pinhole_timewait::capacity::Load;
use pinhole_timewait::snat::{self, Fill};
use serde_json::{Value, json};

use super::super::machine::Machine;
use super::super::target::Peer;
use super::super::trouble;
use super::Args;
use crate::cmd::conntrack::paint::{Paint, Tone};

/// More failures than one in a thousand are worth a colour.
const BAD: f64 = 0.001;

/// What will be at the rate, and what is.
pub(super) struct Gateway {
    version: Version,
    sustainable_per_s: f64,
    steady: Fill,
    /// What connection tracking holds to the peer.
    now: Now,
    /// New flows that found no port, since the start.
    failed: Option<u64>,
}

/// What is known of this moment.
enum Now {
    Holds(Fill),
    /// Nobody said to which peer.
    OfNobody,
    NotAllowed,
}

impl Gateway {
    pub(super) fn of(machine: &Machine, args: &Args, load: Load) -> Self {
        let ports = args.ports.unwrap_or(snat::PORTS);
        let now = match args.to.map(|peer| (peer, conntrack::dump(&Select::default()))) {
            Some((peer, Ok(entries))) => Now::Holds(fill(ports, peer, &entries)),
            Some((_, Err(_))) => Now::NotAllowed,
            None => Now::OfNobody,
        };
        let failed = conntrack::statistics().ok().map(|all| u64::from(CpuStatistics::sum(&all).insert_failed));
        Self {
            version: machine.version,
            sustainable_per_s: snat::sustainable_per_s(machine.version, ports, load.duration_s),
            steady: Fill::steady(ports, load.rate_per_s, load.duration_s),
            now,
            failed,
        }
    }

    pub(super) fn text(&self, out: &mut impl Write, paint: Paint) -> io::Result<()> {
        writeln!(out, "\n{}", paint.paint(Tone::Heading, "AS A GATEWAY THAT TRANSLATES SOURCES"))?;
        let evicts = match self.version.evicts_when_translating() {
            true => "this kernel may take ports from flows that are closing",
            false => "this kernel keeps a port for 120 s after its flow has closed",
        };
        writeln!(out, "  {} ports to one address and port; {evicts}", self.steady.ports)?;
        match self.sustainable_per_s {
            rate if rate.is_finite() => writeln!(out, "  carries {rate:.0} connections a second for ever")?,
            _ => writeln!(out, "  carries any number of connections a second, as they close at once")?,
        }
        self.line(out, "at this rate", &self.steady, paint)?;
        match &self.now {
            Now::Holds(now) => self.line(out, "now", now, paint)?,
            Now::OfNobody => {
                writeln!(out, "  {}", paint.paint(Tone::Fading, "now: --to says towards which address and port"))?
            }
            Now::NotAllowed => writeln!(out, "  {}", paint.paint(Tone::Fading, trouble::NO_CONNTRACK))?,
        }
        match self.failed {
            Some(failed) if failed > 0 => {
                let words = format!("  {failed} flows found no port or clashed since the start (insert_failed)");
                writeln!(out, "{}", paint.paint(Tone::Bad, &words))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn line(&self, out: &mut impl Write, when: &str, fill: &Fill, paint: Paint) -> io::Result<()> {
        let failure = fill.failure(self.version);
        let tone = if failure > BAD { Tone::Bad } else { Tone::Good };
        let words = format!(
            "  {when}: {:.0} ports live, {:.0} closing; {:.2} % of new connections time out",
            fill.live,
            fill.closing,
            failure * 100.0
        );
        writeln!(out, "{}", paint.paint(tone, &words))
    }

    pub(super) fn json(&self) -> Value {
        let object =
            |fill: &Fill| json!({ "live": fill.live, "closing": fill.closing, "failure": fill.failure(self.version) });
        json!({
            "ports": self.steady.ports,
            "sustainable_per_s": self.sustainable_per_s.is_finite().then_some(self.sustainable_per_s),
            "at_this_rate": object(&self.steady),
            "now": match &self.now {
                Now::Holds(now) => object(now),
                Now::OfNobody | Now::NotAllowed => Value::Null,
            },
            "insert_failed": self.failed,
        })
    }
}

/// What flows to `peer` hold.
fn fill(ports: u32, peer: Peer, entries: &[Entry]) -> Fill {
    let mut fill = Fill { ports, live: 0.0, closing: 0.0 };
    for entry in entries.iter().filter(|entry| peer.is(entry.reply.source)) {
        match entry.state {
            Some(State::Tcp { state: TcpState::TimeWait | TcpState::Close, .. }) => fill.closing += 1.0,
            Some(State::Tcp { .. }) => fill.live += 1.0,
            Some(State::Sctp { .. } | State::Dccp { .. }) | None => {}
        }
    }
    fill
}
