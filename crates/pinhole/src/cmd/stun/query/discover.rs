//! Behaviour discovery: by UDP and TCP side by side, each family that has servers.

use std::io::IsTerminal;
use std::net::{Ipv6Addr, SocketAddr};
use std::process::ExitCode;

use anyhow::{Result, bail};
use pinhole_host::probe::{Door, Route, discovery};
use pinhole_host::survey;
use pinhole_stun::client::Transport;
use pinhole_traversal::diagnosis::facts::Facts;
use pinhole_traversal::diagnosis::layers::{self, Layer};
use pinhole_traversal::discovery::{Observation, Question, Report, Settings, Verdict, is_udp_blocked};
use serde_json::Value;

use super::servers::{self, Named};
use super::{Args, json, refused, seed, table};
use crate::cmd::doctor::{first_hop, hops, outside};
use crate::cmd::print;

/// What was found out about one family of addresses.
#[derive(Debug)]
pub(super) struct Findings {
    pub(super) servers: Vec<Named>,
    /// The NATs on the way, nearest first; `None` where nobody has looked: by IPv6, or on another way than the usual one.
    pub(super) layers: Option<Vec<Layer>>,
    pub(super) udp: Option<Report>,
    pub(super) tcp: Option<Report>,
}

impl Findings {
    pub(super) fn reports(&self) -> impl Iterator<Item = &Report> {
        self.udp.iter().chain(&self.tcp)
    }

    /// Whether UDP is blocked, if it was asked by UDP.
    pub(super) fn udp_blocked(&self) -> Option<Verdict<bool>> {
        self.udp.as_ref().map(|udp| is_udp_blocked(udp, self.tcp.as_ref()))
    }
}

pub(super) async fn run(args: &Args) -> Result<ExitCode> {
    let route = args.route();
    let servers = servers::resolve(&route, &args.servers, args.family(), true).await?;
    let mut all = Vec::new();
    for is_v4 in [true, false] {
        let of: Vec<Named> = servers.iter().filter(|named| named.address.is_ipv4() == is_v4).cloned().collect();
        if !of.is_empty() {
            all.push(find(args, &route, of).await?);
        }
    }
    if args.json {
        let all: Vec<Value> = all.iter().map(json::findings).collect();
        print(format!("{:#}\n", Value::Array(all)).as_bytes())?;
    } else {
        for findings in &all {
            print(table::findings(findings, args.evidence).as_bytes())?;
        }
    }
    let answered = all.iter().flat_map(Findings::reports).any(Report::is_answered);
    if !answered {
        bail!("no server answered; is there a way to the Internet? `pinhole stun query SERVER` asks a single one");
    }
    Ok(ExitCode::SUCCESS)
}

async fn find(args: &Args, route: &Route, servers: Vec<Named>) -> Result<Findings> {
    let addresses: Vec<SocketAddr> = servers.iter().map(|named| named.address).collect();
    check_port(args, route, &addresses)?;
    let settings = |transport| -> Result<Settings> {
        let port = args.from_port.filter(|_| transport == args.transport());
        Ok(Settings { transport, servers: addresses.clone(), port, lifetime: args.lifetime, seed: seed()? })
    };
    let (udp, tcp) = (settings(Transport::Datagram)?, settings(Transport::Stream)?);
    let mut progress = Progress::new(args);
    let by_udp = async {
        match args.tcp {
            true => Ok(None),
            false => discovery::discover(route, udp, |observation| progress.tell(observation)).await.map(Some),
        }
    };
    let by_tcp = async {
        match args.udp {
            true => Ok(None),
            false => discovery::discover(route, tcp, |_| {}).await.map(Some),
        }
    };
    let is_usual = *route == Route::default() && !args.tcp;
    let around = async { Ok(look_around(addresses.first().copied().filter(|_| is_usual)).await) };
    let (udp, tcp, around) = tokio::try_join!(by_udp, by_tcp, around).map_err(|error| refused(args, error))?;
    progress.end();
    let layers = around.zip(udp.as_ref()).map(|(facts, udp)| layers::of(&Facts { udp: outside(udp), ..facts }));
    Ok(Findings { servers, layers, udp, tcp })
}

/// What else shows how many NATs there are: routers on the way to `server`, and what the first one says of itself.
async fn look_around(server: Option<SocketAddr>) -> Option<Facts> {
    let server = server.filter(SocketAddr::is_ipv4)?.ip();
    let ways = survey::ways([server, Ipv6Addr::LOCALHOST.into()]).ok()?;
    let (first_hop, hops) = tokio::join!(first_hop(&ways, false, seed().ok()?), hops(Some(server)));
    Some(Facts { default_v4: ways.v4.clone(), first_hop, hops, ..Facts::default() })
}

/// A port that another program has cannot be discovered from: what it sends in the middle would be taken for the NAT's doing.
fn check_port(args: &Args, route: &Route, servers: &[SocketAddr]) -> Result<()> {
    let (Some(port), Some(first)) = (args.from_port.filter(|_| !args.tcp), servers.first()) else { return Ok(()) };
    let door = Door::open(route, *first, Some(port)).map_err(|error| refused(args, error))?;
    if door.is_borrowed() {
        bail!("port {port} is another program's; leave --from-port out: the NAT treats all ports alike");
    }
    Ok(())
}

/// A line that says what is awaited, where somebody looks at it.
struct Progress {
    is_shown: bool,
}

impl Progress {
    fn new(args: &Args) -> Self {
        let is_shown = args.lifetime.is_some() && std::io::stderr().is_terminal();
        Self { is_shown }
    }

    /// Lifetimes take minutes; the rest is over before it is read.
    fn tell(&mut self, observation: &Observation) {
        if let Question::Lifetime { silence_ms: 1.., .. } = observation.question
            && self.is_shown
        {
            eprint!("\r\x1b[K{}: {}", observation.question, observation.outcome);
        }
    }

    fn end(&mut self) {
        if self.is_shown {
            eprint!("\r\x1b[K");
        }
    }
}
