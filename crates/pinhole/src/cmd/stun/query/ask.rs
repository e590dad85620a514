//! Asking once: one line for each server that was named, or for the first well-known one that answers.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use pinhole_host::probe::Route;
use pinhole_host::probe::ask::Asker;
use pinhole_stun::client::{Answer, Failure, Transport};
use serde_json::{Value, json};

use super::servers::{self, Named};
use super::{Args, refused, seed};
use crate::cmd::print;

/// What a server said.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) server: Named,
    pub(super) transport: Transport,
    /// From where it was asked.
    pub(super) local: SocketAddr,
    /// From a port that another program has.
    pub(super) is_borrowed: bool,
    pub(super) answer: Result<Box<Answer>, Failure>,
}

pub(super) async fn run(args: &Args) -> Result<ExitCode> {
    let route = args.route();
    let servers = servers::resolve(&route, &args.servers, args.family(), false).await?;
    let said = once(args, &route, &servers).await?;
    let answered = said.iter().any(|said| said.answer.is_ok());
    if args.json {
        let all: Vec<Value> = said.iter().map(Said::json).collect();
        print(format!("{:#}\n", Value::Array(all)).as_bytes())?;
    } else {
        // A well-known server that is silent is nobody's concern if another one answers.
        let matters = |said: &&Said| !args.servers.is_empty() || !answered || said.answer.is_ok();
        for said in said.iter().filter(matters) {
            match &said.answer {
                Ok(_) => print(format!("{}\n", said.line()).as_bytes())?,
                Err(_) => eprintln!("pinhole: {}", said.line()),
            }
        }
    }
    Ok(if answered { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Asks all servers, each family from one port.
pub(super) async fn once(args: &Args, route: &Route, servers: &[Named]) -> Result<Vec<Said>> {
    let mut said = Vec::new();
    for (asker, servers) in &mut open(args, route, servers)? {
        said.append(&mut ask(args, route, asker, servers).await?);
    }
    Ok(said)
}

/// An asker for each family, with its servers.
pub(super) fn open(args: &Args, route: &Route, servers: &[Named]) -> Result<Vec<(Asker, Vec<Named>)>> {
    let mut askers = Vec::new();
    for is_v4 in [true, false] {
        let of: Vec<Named> = servers.iter().filter(|named| named.address.is_ipv4() == is_v4).cloned().collect();
        if let Some(first) = of.first() {
            let asker = Asker::open(route, args.transport(), first.address, args.from_port, seed()?);
            askers.push((asker.map_err(|error| refused(args, error))?, of));
        }
    }
    Ok(askers)
}

pub(super) async fn ask(args: &Args, route: &Route, asker: &mut Asker, servers: &[Named]) -> Result<Vec<Said>> {
    let (port, is_borrowed) = (asker.port()?, asker.is_borrowed());
    let addresses: Vec<SocketAddr> = servers.iter().map(|named| named.address).collect();
    let mut answers: Vec<(SocketAddr, Result<Box<Answer>, Failure>)> = Vec::new();
    let told = |server, answer: Result<Box<Answer>, Failure>| {
        // Of servers that nobody named one answer is enough.
        let is_enough = args.servers.is_empty() && answer.is_ok();
        answers.push((server, answer));
        !is_enough
    };
    asker.ask(&addresses, args.schedule(), told).await.map_err(|error| refused(args, error))?;
    let mut said = Vec::new();
    for (address, answer) in answers {
        let Some(server) = servers.iter().find(|named| named.address == address).cloned() else { continue };
        let local = SocketAddr::new(route.local(address).map_err(|error| refused(args, error))?, port);
        said.push(Said { server, transport: args.transport(), local, is_borrowed, answer });
    }
    Ok(said)
}

impl Said {
    /// As whom the server saw this host.
    pub(super) fn mapped(&self) -> Option<SocketAddr> {
        self.answer.as_ref().ok().map(|answer| answer.mapped)
    }

    /// For people.
    pub(super) fn line(&self) -> String {
        let transport = transport_name(self.transport);
        let by = self.server.with_address();
        match &self.answer {
            Ok(answer) => {
                let nat = match (answer.mapped == self.local, answer.mapped.port() == self.local.port()) {
                    (true, _) => "no NAT",
                    (false, true) => "port kept",
                    (false, false) => "other port",
                };
                let borrowed = if self.is_borrowed { ", borrowed port" } else { "" };
                let time = milliseconds(answer.round_trip);
                format!(
                    "{} is {} by {transport}, {nat}{borrowed}; says {by} after {time} ms",
                    self.local, answer.mapped
                )
            }
            Err(failure) => format!("{by} by {transport}: {failure}"),
        }
    }

    /// For machines.
    pub(super) fn json(&self) -> Value {
        let mut value = json!({
            "server": self.server.name,
            "server_address": self.server.address.to_string(),
            "transport": transport_name(self.transport),
            "local": self.local.to_string(),
            "borrowed_port": self.is_borrowed,
        });
        match &self.answer {
            Ok(answer) => {
                value["mapped"] = answer.mapped.to_string().into();
                value["mapped_plain"] = answer.plain.map(|plain| plain.to_string()).into();
                value["other"] = answer.other.map(|other| other.to_string()).into();
                value["origin"] = answer.origin.map(|origin| origin.to_string()).into();
                value["software"] = answer.software.clone().into();
                value["attempts"] = answer.attempts.into();
                value["round_trip_ms"] = (answer.round_trip.as_secs_f64() * 1_000.0).into();
                value["nat"] = (answer.mapped != self.local).into();
            }
            Err(failure) => value["error"] = failure.to_string().into(),
        }
        value
    }
}

pub(super) const fn transport_name(transport: Transport) -> &'static str {
    match transport {
        Transport::Datagram => "UDP",
        Transport::Stream => "TCP",
    }
}

/// To a tenth below ten.
fn milliseconds(time: Duration) -> String {
    let milliseconds = time.as_secs_f64() * 1_000.0;
    if milliseconds < 10.0 { format!("{milliseconds:.1}") } else { format!("{milliseconds:.0}") }
}
