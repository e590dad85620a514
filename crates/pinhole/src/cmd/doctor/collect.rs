//! Looks and asks: everything at once, each part with its own deadline, so that one that hangs takes nothing from the others.

use std::future::Future;
use std::io::{IsTerminal, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result};
use pinhole_host::embedded;
use pinhole_host::probe::{Route, discovery};
use pinhole_host::survey::{self, Ways, firewall, firsthop, mtu, path, system};
use pinhole_stun::client::Transport;
use pinhole_traversal::diagnosis::facts::{Facts, Firewall, FirstHop, Hop, Nat, Outside};
use pinhole_traversal::discovery::Settings;

use super::{Args, nat};
use crate::cmd::stun::servers::{self, Family};
use crate::cmd::timewait;

/// How long names may take: a resolver that is slow delays discovery.
const RESOLVE: Duration = Duration::from_secs(4);
/// How long discovery may take; behind most NATs it takes three seconds.
const DISCOVER: Duration = Duration::from_secs(9);
/// How long the first hop may take.
const FIRST_HOP: Duration = Duration::from_secs(13);
/// Routers on the way that matter: carriers' NATs are among the first.
const HOPS: u8 = 8;
/// How long each may take.
const HOP_WAIT: Duration = Duration::from_millis(1_200);
/// A server that answers over IPv6 does so in this time.
const V6: Duration = Duration::from_secs(3);
/// What the kernel is asked the way to where no server is known. Nothing is sent there.
const ANYWHERE_V4: Ipv4Addr = Ipv4Addr::new(1, 1, 1, 1);
const ANYWHERE_V6: Ipv6Addr = Ipv6Addr::new(0x2606, 0x4700, 0x4700, 0, 0, 0, 0, 0x1111);

/// Everything that can be seen.
///
/// # Errors
/// When the kernel gives no randomness, or no netlink.
pub(super) async fn collect(args: &Args) -> Result<Facts> {
    let progress = Progress::begin();
    // Before there are sockets of ours.
    let busiest = on_thread(|| timewait::busiest().ok().flatten()).await;
    let mut seed = [0; 8];
    embedded::fill_random(&mut seed).context("the kernel gives no randomness")?;
    let seed = u64::from_ne_bytes(seed);
    let route = Route::default();
    let resolve = async |family| {
        let of_family = |name: &&String| is_of(name, family);
        let names: Vec<String> = args.servers.iter().filter(of_family).cloned().collect();
        if names.is_empty() && !args.servers.is_empty() {
            return Ok(Vec::new());
        }
        let resolving = servers::resolve(&route, &names, family, true);
        match tokio::time::timeout(RESOLVE, resolving).await {
            Ok(Ok(servers)) => Ok(servers.into_iter().map(|named| named.address).collect::<Vec<SocketAddr>>()),
            Ok(Err(error)) => Err(format!("{error:#}")),
            Err(_) => Err("names are not resolved in time; give an address: --server 192.0.2.1".to_owned()),
        }
    };
    // Without a route nothing can be resolved, and nothing needs to.
    let ways = survey::ways([ANYWHERE_V4.into(), ANYWHERE_V6.into()]).context("cannot ask the kernel for routes")?;
    let has_way = ways.v4.is_some() || ways.v6.is_some() || !args.servers.is_empty();
    let (v4, v6) = match has_way {
        true => tokio::join!(resolve(Family::V4), resolve(Family::V6)),
        false => (Ok(Vec::new()), Ok(Vec::new())),
    };
    if let Err(trouble) = &v4 {
        progress.note(trouble);
    }
    let (v4, v6) = (v4.unwrap_or_default(), v6.unwrap_or_default());
    let toward = |servers: &[SocketAddr], otherwise: IpAddr| servers.first().map_or(otherwise, SocketAddr::ip);
    let toward = [toward(&v4, ANYWHERE_V4.into()), toward(&v6, ANYWHERE_V6.into())];
    let ways = survey::ways(toward).unwrap_or(ways);
    let target = v4.first().copied().filter(|_| ways.v4.is_some());
    let (udp, tcp, v6_answers, first_hop, hops, path_mtu, firewall) = tokio::join!(
        progress.part("STUN by UDP", discover(&route, Transport::Datagram, &v4, seed, ways.v4.is_some())),
        progress.part("STUN by TCP", discover(&route, Transport::Stream, &v4, seed ^ 4, ways.v4.is_some())),
        progress.part("IPv6", answers_v6(&route, v6, seed, ways.v6.is_some())),
        progress.part("PCP, NAT-PMP, UPnP", first_hop(&ways, !args.no_mapping, seed)),
        progress.part("routers", hops(target.map(|server| server.ip()))),
        progress.part("MTU", on_thread(move || target.and_then(|server| mtu::mtu(server).ok()))),
        progress.part("firewall", look_at_firewall(&ways, args.port)),
    );
    let gateway_answers = ways.v4.as_ref().and_then(|route| match route.router {
        Some(IpAddr::V4(router)) => match hops.iter().any(|hop| hop.address == Some(router)) {
            true => Some(true),
            false => path::is_neighbour_there(router),
        },
        Some(IpAddr::V6(_)) | None => None,
    });
    let settings = system::settings(ways.v4.as_ref().map(|route| route.interface.as_str()));
    progress.end();
    Ok(Facts {
        port: args.port,
        gateway_answers,
        first_hop,
        hops,
        udp,
        tcp,
        v6_answers,
        firewall: firewall.unwrap_or_default(),
        conntrack: system::conntrack(),
        settings,
        sockets: system::sockets(),
        busiest: busiest.flatten(),
        capabilities: system::capabilities(),
        path_mtu: path_mtu.flatten(),
        is_multihomed: ways.is_multihomed,
        interfaces: ways.interfaces,
        default_v4: ways.v4,
        default_v6: ways.v6,
    })
}

/// Whether a server may have an address of the family: literal addresses have one only.
fn is_of(name: &str, family: Family) -> bool {
    let host = name.strip_prefix("stun:").unwrap_or(name);
    let literal = host.parse::<IpAddr>().ok().or_else(|| Some(host.parse::<SocketAddr>().ok()?.ip()));
    match (literal, family) {
        (Some(ip), Family::V4) => ip.is_ipv4(),
        (Some(ip), Family::V6) => ip.is_ipv6(),
        (None, _) | (_, Family::Any) => true,
    }
}

async fn discover(route: &Route, transport: Transport, servers: &[SocketAddr], seed: u64, has_way: bool) -> Outside {
    if servers.is_empty() || !has_way {
        return Outside::NotAsked;
    }
    let asked = servers.len();
    let settings = Settings { transport, servers: servers.to_vec(), port: None, lifetime: None, seed };
    let mut heard = false;
    let finding = discovery::discover(route, settings, |observation| heard |= observation.mapped().is_some());
    match tokio::time::timeout(DISCOVER, finding).await {
        Ok(Ok(report)) => nat::outside(&report),
        Ok(Err(_)) => Outside::NotAsked,
        // Somebody answers, and what that means is not known in time.
        Err(_) if heard => Outside::Answers(Nat::default()),
        Err(_) => Outside::Blocked { asked },
    }
}

/// Whether anybody answers over IPv6.
async fn answers_v6(route: &Route, servers: Vec<SocketAddr>, seed: u64, has_way: bool) -> Option<bool> {
    if servers.is_empty() || !has_way {
        return None;
    }
    let settings = Settings { transport: Transport::Datagram, servers, port: None, lifetime: None, seed: seed ^ 6 };
    let (sender, mut heard) = tokio::sync::mpsc::channel(1);
    let finding = discovery::discover(route, settings, move |observation| {
        if observation.mapped().is_some() {
            // One answer is all that is wanted.
            let _ = sender.try_send(());
        }
    });
    tokio::select! {
        Some(()) = heard.recv() => Some(true),
        report = tokio::time::timeout(V6, finding) => Some(report.is_ok_and(|report| report.is_ok_and(|report| report.is_answered()))),
    }
}

/// The first routers on the way to `target`, if that has an IPv4 address.
pub(in crate::cmd) async fn hops(target: Option<IpAddr>) -> Vec<Hop> {
    let Some(IpAddr::V4(target)) = target else { return Vec::new() };
    on_thread(move || path::hops(target, HOPS, HOP_WAIT).unwrap_or_default()).await.unwrap_or_default()
}

/// What the first hop says, asked for a port or not.
pub(in crate::cmd) async fn first_hop(ways: &Ways, maps: bool, seed: u64) -> FirstHop {
    let v4 = ways.v4.as_ref().and_then(|way| match (way.router, way.source) {
        (Some(IpAddr::V4(gateway)), Some(own)) => Some(firsthop::Way { gateway, own }),
        (Some(_) | None, _) => None,
    });
    let v6 = ways.v6.as_ref().and_then(|way| match (way.router, way.source) {
        (Some(IpAddr::V6(router)), Some(IpAddr::V6(own))) => firsthop::Way::through(&way.interface, router, own).ok(),
        (Some(_) | None, _) => None,
    });
    let settings = firsthop::Settings { v4, v6, maps, seed };
    tokio::time::timeout(FIRST_HOP, firsthop::ask(settings)).await.unwrap_or_default()
}

async fn look_at_firewall(ways: &Ways, port: u16) -> Option<Firewall> {
    let interface = ways.v4.as_ref().map(|route| route.interface.clone()).unwrap_or_default();
    let own = ways.v4.as_ref().and_then(|route| match route.source {
        Some(IpAddr::V4(own)) => Some(own),
        Some(IpAddr::V6(_)) | None => None,
    });
    on_thread(move || firewall::look(&firewall::Question { interface: &interface, own, port })).await
}

async fn on_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    tokio::task::spawn_blocking(work).await.ok()
}

/// What is still waited for, on standard error, where somebody looks at it.
struct Progress {
    is_shown: bool,
    left: std::cell::RefCell<Vec<&'static str>>,
}

impl Progress {
    fn begin() -> Self {
        let progress = Self { is_shown: std::io::stderr().is_terminal(), left: std::cell::RefCell::default() };
        progress.show("names");
        progress
    }

    async fn part<T>(&self, name: &'static str, work: impl Future<Output = T>) -> T {
        self.left.borrow_mut().push(name);
        let result = work.await;
        self.left.borrow_mut().retain(|left| *left != name);
        let left = self.left.borrow().join(" · ");
        self.show(&left);
        result
    }

    fn show(&self, left: &str) {
        if self.is_shown {
            eprint!("\r\x1b[Kpinhole: {left}");
            let _ = std::io::stderr().flush();
        }
    }

    /// Says something that is worth a line.
    fn note(&self, text: &str) {
        let clear = if self.is_shown { "\r\x1b[K" } else { "" };
        eprintln!("{clear}pinhole: {text}");
    }

    fn end(&self) {
        if self.is_shown {
            eprint!("\r\x1b[K");
        }
    }
}
