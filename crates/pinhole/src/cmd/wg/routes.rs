//! The routes to the peers' allowed-ips, as wg-quick makes them (wg-quick(8), `Table`).
//!
//! A default route would also catch WireGuard's own packets. So it goes into a table of its own, which everything is sent to
//! that does not bear WireGuard's mark, and the main table is asked first for anything but its default route. Three things keep
//! the way back open and closed to others: the kernel is told to heed marks when it checks where packets come from, WireGuard's
//! connections are recognised by nftables on their way back, and packets to the tunnel's address that come from elsewhere are
//! dropped (CVE-2019-14899).

use std::fmt::Write;

use anyhow::{Context, Result};
use ipnet::IpNet;
use pinhole_host::netlink::{Socket, route};
use pinhole_host::wireguard::Control;
use pinhole_wg::DeviceUpdate;
use pinhole_wg::quick::{Config, Table};
use route::rule::Rule;
use route::table::Route;

use super::interface::{Piped, pipe};
use super::state::{RuleState, State};

/// The first table that wg-quick tries.
const FIRST_TABLE: u32 = 51820;
const VALID_MARK: &str = "/proc/sys/net/ipv4/conf/all/src_valid_mark";

/// Makes the routes.
pub(super) fn add(netlink: &mut Socket, name: &str, index: u32, config: &Config, state: &mut State) -> Result<()> {
    let mut prefixes: Vec<IpNet> = config.peers.iter().flat_map(|peer| peer.allowed_ips.iter().copied()).collect();
    prefixes.sort_by_key(|prefix| (core::cmp::Reverse(prefix.prefix_len()), *prefix));
    prefixes.dedup();
    match config.interface.table {
        Table::Off => Ok(()),
        Table::Number(table) => prefixes
            .into_iter()
            .try_for_each(|prefix| add_route(netlink, name, Route { table, ..Route::to(prefix, index) })),
        Table::Auto => {
            let (defaults, others): (Vec<_>, Vec<_>) =
                prefixes.into_iter().partition(|prefix| prefix.prefix_len() == 0);
            for prefix in others {
                let routes = route::table::list(netlink).context("cannot read the routes")?;
                let own = |route: &&Route| route.interface == Some(index) && route.table == route::table::MAIN;
                // The interface's own network, mostly.
                if !routes.iter().filter(own).any(|route| route.destination.contains(&prefix)) {
                    add_route(netlink, name, Route::to(prefix, index))?;
                }
            }
            if defaults.is_empty() { Ok(()) } else { add_defaults(netlink, name, index, config, &defaults, state) }
        }
    }
}

/// Undoes what does not go with the interface.
pub(super) fn remove(state: &State) -> Result<()> {
    let mut netlink = route::open()?;
    let mut result = Ok(());
    for rule in &state.rules {
        match route::rule::delete(&mut netlink, &rule.into()) {
            Err(error) if !error.is_not_found() => result = Err(error).context("cannot remove a routing rule"),
            Ok(()) | Err(_) => {}
        }
    }
    if let Some(table) = &state.nft_table {
        // Added first, so that one that has gone is no error: `destroy` does the same, from nft 1.0.8 on.
        match pipe("nft", &["-f", "-"], &format!("add table {table}\ndelete table {table}\n")) {
            Err(Piped::Failed(error)) => result = Err(error),
            Ok(()) | Err(Piped::Missing) => {}
        }
    }
    if state.valid_mark_was_off {
        std::fs::write(VALID_MARK, "0").context("cannot restore net.ipv4.conf.all.src_valid_mark")?;
    }
    result
}

fn add_route(netlink: &mut Socket, name: &str, route: Route) -> Result<()> {
    let result = route::table::add(netlink, &route);
    result.with_context(|| format!("cannot route {} to {name}", route.destination))
}

fn add_defaults(
    netlink: &mut Socket,
    name: &str,
    index: u32,
    config: &Config,
    prefixes: &[IpNet],
    state: &mut State,
) -> Result<()> {
    let mark = match config.interface.fwmark.filter(|mark| *mark != 0) {
        Some(mark) => mark,
        None => {
            let table = free_table(netlink)?;
            let update = DeviceUpdate { fwmark: Some(table), ..DeviceUpdate::default() };
            Control::open(name).and_then(|mut control| control.apply(&update)).context("cannot set the mark")?;
            table
        }
    };
    for prefix in prefixes {
        add_route(netlink, name, Route { table: mark, ..Route::to(*prefix, index) })?;
        let ipv6 = prefix.addr().is_ipv6();
        let all = Rule { ipv6, mark: Some(mark), not: true, ..Rule::table(mark) };
        let main = Rule { ipv6, suppress_prefix_length: Some(0), ..Rule::table(route::table::MAIN) };
        for rule in [all, main] {
            add_rule(netlink, rule, state)?;
        }
    }
    if prefixes.iter().any(|prefix| prefix.addr().is_ipv4()) {
        heed_marks(state)?;
    }
    add_filter(name, mark, config, prefixes, state)
}

/// Adds a rule before all others, and finds out which priority that is.
fn add_rule(netlink: &mut Socket, rule: Rule, state: &mut State) -> Result<()> {
    route::rule::add(netlink, &rule).context("cannot add a routing rule")?;
    let rules = route::rule::list(netlink).context("cannot read the routing rules")?;
    let same = |other: &&Rule| Rule { priority: None, ..(*other).clone() } == rule;
    let priority = rules.iter().filter(same).filter_map(|rule| rule.priority).min();
    state.rules.push(RuleState { priority, ..RuleState::from(&rule) });
    state.save()
}

fn free_table(netlink: &mut Socket) -> Result<u32> {
    let routes = route::table::list(netlink).context("cannot read the routes")?;
    (FIRST_TABLE..=u32::MAX).find(|table| routes.iter().all(|route| route.table != *table)).context("no table is free")
}

fn heed_marks(state: &mut State) -> Result<()> {
    let before = std::fs::read_to_string(VALID_MARK).with_context(|| format!("cannot read {VALID_MARK}"))?;
    if before.trim() == "0" {
        state.valid_mark_was_off = true;
        state.save()?;
        std::fs::write(VALID_MARK, "1").with_context(|| format!("cannot write {VALID_MARK}"))?;
    }
    Ok(())
}

fn add_filter(name: &str, mark: u32, config: &Config, prefixes: &[IpNet], state: &mut State) -> Result<()> {
    let table = format!("inet pinhole-{name}");
    state.nft_table = Some(table.clone());
    state.save()?;
    match pipe("nft", &["-f", "-"], &filter(&table, name, mark, config, prefixes)) {
        Ok(()) => Ok(()),
        Err(Piped::Missing) => {
            tracing::warn!(
                "nft is not installed (`apt install nftables`): packets to the tunnel's address are also taken from outside the \
                 tunnel, and with net.ipv4.conf.*.rp_filter = 1 nothing comes back through it"
            );
            state.nft_table = None;
            state.save()
        }
        Err(Piped::Failed(error)) => Err(error.context("cannot set the filter for the default route")),
    }
}

/// wg-quick's rules, as a script for nft.
fn filter(table: &str, name: &str, mark: u32, config: &Config, prefixes: &[IpNet]) -> String {
    let mut script = format!("add table {table}\nflush table {table}\n");
    let mut line = |text: std::fmt::Arguments<'_>| {
        // Writing to a `String` cannot fail.
        let _ = writeln!(script, "{text}");
    };
    line(format_args!("add chain {table} preraw {{ type filter hook prerouting priority -300; }}"));
    line(format_args!("add chain {table} premangle {{ type filter hook prerouting priority -150; }}"));
    line(format_args!("add chain {table} postmangle {{ type filter hook postrouting priority -150; }}"));
    for address in &config.interface.addresses {
        let family = if address.addr().is_ipv4() { "ip" } else { "ip6" };
        if prefixes.iter().any(|prefix| prefix.addr().is_ipv4() == address.addr().is_ipv4()) {
            let address = address.addr();
            line(format_args!(
                "add rule {table} preraw iifname != \"{name}\" {family} daddr {address} fib saddr type != local drop"
            ));
        }
    }
    line(format_args!("add rule {table} postmangle meta l4proto udp meta mark {mark:#x} ct mark set meta mark"));
    line(format_args!("add rule {table} premangle meta l4proto udp meta mark set ct mark"));
    script
}

impl From<&Rule> for RuleState {
    fn from(rule: &Rule) -> Self {
        let Rule { ipv6, mark, not, table, suppress_prefix_length, priority, .. } = rule.clone();
        Self { ipv6, mark, not, table, suppress_prefix_length, priority }
    }
}

impl From<&RuleState> for Rule {
    fn from(state: &RuleState) -> Self {
        let RuleState { ipv6, mark, not, table, suppress_prefix_length, priority } = state.clone();
        Self { ipv6, mark, not, suppress_prefix_length, priority, ..Self::table(table) }
    }
}
