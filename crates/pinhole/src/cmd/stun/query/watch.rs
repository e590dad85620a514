//! Asking again and again from the same port: when does the mapping move?

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use pinhole_host::local_time::LocalTime;
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

use super::ask::{self, Said};
use super::{Args, servers};
use crate::cmd::print;

/// As whom a server saw this host last; `None` if it did not say.
type Last = BTreeMap<SocketAddr, Option<SocketAddr>>;

/// Until Ctrl-C, SIGTERM, or the end of its reader.
pub(super) async fn run(args: &Args, interval: Duration) -> Result<ExitCode> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for signals")?;
    let route = args.route();
    let mut servers = servers::resolve(&route, &args.servers, args.family(), false).await?;
    if args.servers.is_empty() {
        // One mapping is watched; more servers are more traffic.
        servers.truncate(1);
    }
    let mut askers = ask::open(args, &route, &servers)?;
    let mut last = Last::new();
    let rounds = async {
        let mut due = tokio::time::interval(interval);
        due.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            due.tick().await;
            for (asker, servers) in &mut askers {
                // A network that is down for a while is something to watch, too.
                match ask::ask(args, &route, asker, servers).await {
                    Ok(said) => said.iter().try_for_each(|said| tell(args, &mut last, said))?,
                    Err(error) => eprintln!("pinhole: {error:#}"),
                }
            }
        }
    };
    tokio::select! {
        ended = rounds => ended,
        _ = terminate.recv() => Ok(ExitCode::SUCCESS),
        _ = interrupt.recv() => Ok(ExitCode::SUCCESS),
    }
}

/// Tells what is new to people, and everything to machines.
fn tell(args: &Args, last: &mut Last, said: &Said) -> Result<()> {
    let mapped = said.mapped();
    let before = last.insert(said.server.address, mapped);
    let has_moved = before.is_some_and(|before| before != mapped);
    if args.json {
        let mut value = said.json();
        value["time_ms"] = json!(now_ms());
        value["moved"] = has_moved.into();
        value["before"] = before.flatten().map_or(Value::Null, |before| before.to_string().into());
        return print(format!("{value}\n").as_bytes());
    }
    let now = LocalTime::at(i64::try_from(now_ms() / 1_000).unwrap_or_default());
    let time = format!("{:02}:{:02}:{:02}", now.hour, now.minute, now.second);
    match (before, mapped) {
        (Some(before), now) if before == now => Ok(()),
        (Some(Some(before)), Some(now)) => print(format!("{time}  moved: {before} is now {now}\n").as_bytes()),
        (None | Some(None), Some(_)) | (_, None) => print(format!("{time}  {}\n", said.line()).as_bytes()),
    }
}

fn now_ms() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |since| since.as_millis() as u64)
}
