//! The STUN server in the real world: bound, told of, counted, stopped.

use std::io::Write;
use std::net::{Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result};
use pinhole_host::netlink::monitor::Monitor;
use pinhole_host::stun::xdp::{Report, State};
use pinhole_host::stun::{Config, Counter, Counters, Server};
use pinhole_stun::server::limit::RateLimit;
use pinhole_stun::server::{CallPolicy, Layout};
use serde_json::{Map, Value, json};
use tokio::sync::watch;

use super::Clock;
use crate::config;

/// How often a program that reads our lines is told the counters.
const COUNTERS_EVERY: Duration = Duration::from_secs(10);

/// Serves until `stop` says so.
///
/// # Errors
/// An address that cannot be served at, a file that cannot be read.
pub async fn run(
    settings: config::stun::Stun,
    json: bool,
    ready: watch::Sender<bool>,
    mut stop: watch::Receiver<bool>,
) -> Result<()> {
    let mut server = Server::bind(&server_config(&settings)?)?;
    let say = Say { json };
    let mut by = vec!["UDP"];
    by.extend(settings.tcp.then_some("TCP"));
    for address in server.addresses() {
        say.listening(*address, &by);
    }
    for address in server.tls_addresses() {
        say.listening(*address, &["TLS"]);
    }
    for layout in server.layouts() {
        say.layout(layout);
    }
    // First the subscription, then the look: no change goes by between them.
    let mut interfaces = Interfaces::watch(&settings);
    server.follow_interfaces().iter().for_each(|report| say.xdp(report));
    let _ = ready.send(true);
    let mut told = Counters::default();
    loop {
        tokio::select! {
            _ = stop.wait_for(|&stop| stop) => break,
            () = interfaces.changed() => server.follow_interfaces().iter().for_each(|report| say.xdp(report)),
            () = tokio::time::sleep(COUNTERS_EVERY), if json => {
                let counters = server.counters();
                if counters != told {
                    say.counters(&counters);
                    told = counters;
                }
            }
        }
    }
    say.counters(&server.counters());
    server.stop().await;
    Ok(())
}

/// The host's interfaces, watched where a program at one of them depends on what they are.
struct Interfaces(Option<Monitor>);

impl Interfaces {
    fn watch(settings: &config::stun::Stun) -> Self {
        let monitor = (!settings.xdp.is_empty()).then(Monitor::open).transpose();
        Self(monitor.unwrap_or_else(|error| {
            tracing::warn!(%error, "interfaces are not watched");
            None
        }))
    }

    /// Waits until they have changed; for ever if they are not watched, or no more.
    async fn changed(&mut self) {
        if let Some(monitor) = &mut self.0 {
            match monitor.changed().await {
                Ok(_) => return,
                Err(error) => tracing::warn!(%error, "interfaces are no longer watched"),
            }
            self.0 = None;
        }
        std::future::pending().await
    }
}

/// A server for the agents of a registry. Where there is none, agents do without: they punch as if their NATs mapped the same
/// towards everybody.
pub fn serve_agents() -> Option<Server> {
    match server_config(&config::stun::Stun::for_agents()).and_then(|config| Ok(Server::bind(&config)?)) {
        Ok(server) => Some(server),
        Err(error) => {
            tracing::warn!(
                "agents are not told how their NATs map: {error:#} (a STUN server that runs here already does as well;                  then give --no-stun, or `stun = false`)"
            );
            None
        }
    }
}

fn server_config(settings: &config::stun::Stun) -> Result<Config> {
    let mut secret = [0; 32];
    rustix::rand::getrandom(&mut secret, rustix::rand::GetRandomFlags::empty())
        .context("the kernel gives no random bytes")?;
    let per_minute = settings.rate_limit;
    let mut sites = settings.sites()?;
    if settings.listen.is_empty() && UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).is_err() {
        // "Every address" is what there is: on many hosts IPv6 is switched off.
        sites.retain(|site| site.ip.is_ipv4());
    }
    Ok(Config {
        tcp: settings.tcp,
        tls: settings.tls()?,
        shards: settings.threads,
        partner: settings.key()?,
        limit: RateLimit { per_minute, burst: RateLimit::REQUESTS.burst.max(per_minute / 60) },
        calls: if settings.call_back { CallPolicy::Proven(RateLimit::CALLS) } else { CallPolicy::Never },
        accounts: settings.accounts()?,
        xdp: settings.xdp.iter().map(|config::stun::Xdp(wish)| wish.clone()).collect(),
        ..Config::new(sites, secret)
    })
}

/// What is told, as lines for people or objects for programs.
struct Say {
    json: bool,
}

impl Say {
    fn listening(&self, address: SocketAddr, by: &[&str]) {
        match self.json {
            true => self.object("listening", json!({ "address": address, "by": by })),
            false => self.line(&format!("STUN is served at {address} by {}", by.join(" and "))),
        }
    }

    /// What behaviour discovery can find out here.
    fn layout(&self, layout: &Layout) {
        let other = layout.other(pinhole_stun::server::Local::FIRST);
        let first = SocketAddr::new(layout.ip, layout.port);
        match (self.json, other) {
            (true, other) => self.object("serving", json!({ "address": first, "other": other })),
            (false, Some(other)) => {
                self.line(&format!("clients of {first} can discover their NAT's behaviour (other: {other})"))
            }
            (false, None) => {}
        }
    }

    /// Who answers plain requests on an interface.
    fn xdp(&self, report: &Report) {
        if !self.json {
            return self.line(&report.to_string());
        }
        let (mode, why) = match &report.state {
            State::Native => ("native", None),
            State::Generic(behind) => ("generic", Some(behind.to_string())),
            State::Sockets(refusal) => ("none", Some(refusal.to_string())),
        };
        self.object("xdp", json!({ "interface": report.interface, "mode": mode, "why": why }));
    }

    fn counters(&self, counters: &Counters) {
        if self.json {
            let counted = Counter::ALL.iter().map(|counter| (counter.name().to_owned(), counters.of(*counter).into()));
            return self.object("counters", Value::Object(counted.collect()));
        }
        let of = |counter| counters.of(counter);
        self.line(&format!(
            "{} requests by UDP and {} by TCP, {} answered{}, {} over the limit, {} that were no requests",
            of(Counter::UdpReceived),
            of(Counter::StreamReceived),
            of(Counter::Sent),
            match of(Counter::SentByXdp) {
                0 => String::new(),
                count => format!(" ({count} of them by XDP)"),
            },
            of(Counter::Limited),
            of(Counter::Malformed) + of(Counter::NotRequest),
        ));
    }

    fn object(&self, event: &str, fields: Value) {
        let mut object = Map::new();
        object.insert("time_ms".to_owned(), json!(u64::try_from(Clock::wall().as_millis()).unwrap_or(u64::MAX)));
        object.insert("role".to_owned(), json!("stun"));
        object.insert("event".to_owned(), json!(event));
        if let Value::Object(fields) = fields {
            object.extend(fields);
        }
        self.line(&Value::Object(object).to_string());
    }

    /// A reader that went away is no reason to stop.
    fn line(&self, text: &str) {
        let mut out = std::io::stdout().lock();
        let _ = writeln!(out, "{text}").and_then(|()| out.flush());
    }
}
