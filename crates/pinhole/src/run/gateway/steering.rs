//! Routing that brings the gateway its packets, and nobody else's.
//!
//! - **From the inside:** a table that says what the main table says, but leads into our device where that leads to the outside,
//!   is asked for what comes in by the inside interface, after every rule of others and before the main table.
//! - **From the outside, an address of its own:** a route into our other device. If the neighbours look for it on the link, this
//!   host answers for it.
//! - **From the outside, ports of the host's address:** the local table is asked first of all, about everything else, and then two
//!   rules lead the ports into our devices, the inside's by their side (hairpinning). They are kept before the rules of others.
//! - **From the outside to the inside, past the gateway:** a table of blackholes, asked for what comes in by the outside interface.

use std::collections::BTreeMap;
use std::mem;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;

use anyhow::{Context, Result, bail};
use ipnet::{IpNet, Ipv4Net};
use pinhole_host::netlink::Socket;
use pinhole_host::netlink::route::rule::{self, Rule};
use pinhole_host::netlink::route::table::NoWay;
use pinhole_host::netlink::route::{Route, link, neighbour, table};
use pinhole_host::tun::Tun;

use super::note::{Local, Note};
use super::ports;
use super::scene::Scene;
use crate::config::Ports;

/// The first number that is tried for a table.
const FIRST_TABLE: u32 = 52_000;
/// The rule for the main table, if nobody has moved it (`fib_default_rules_init`).
const MAIN_PRIORITY: u32 = 32_766;
/// `RTPROT_KERNEL`: who makes the rules that a namespace begins with.
const BY_KERNEL: u8 = 2;
const RESERVED: &str = "net/ipv4/ip_local_reserved_ports";

/// What was changed, and why.
#[derive(Debug)]
pub(super) struct Steering {
    note: Note,
    inside: String,
    external: Ipv4Addr,
    /// The ports of the host's own address, if it is that.
    ports: Option<Ports>,
    devices: [u32; 2],
    tables: Tables,
    /// What the tables of the inside and of the closed door say now.
    ways: [Ways; 2],
    /// The priority of the rules for the ports.
    first: u32,
}

/// Our tables, by number.
#[derive(Clone, Copy, Debug)]
struct Tables {
    /// For what comes from the inside.
    inside: u32,
    /// For what is for the external address.
    outside: u32,
    /// For what comes from the outside and wants past us.
    closed: u32,
}

/// What a table says about each destination.
type Ways = BTreeMap<Ipv4Net, Way>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Into our device of the inside.
    Inner,
    No(NoWay),
}

impl Steering {
    /// Turns the routing. Where it fails, nothing stays changed.
    pub(super) fn begin(
        netlink: &mut Socket,
        scene: &Scene,
        ports: Option<Ports>,
        [inner, outer]: [&Tun; 2],
    ) -> Result<Self> {
        let tables = free_tables(netlink)?;
        let mut steering = Self {
            note: Note { tables: vec![tables.inside, tables.outside, tables.closed], ..Note::default() },
            inside: scene.inside.name.clone(),
            external: scene.external,
            ports,
            devices: [inner.index(), outer.index()],
            tables,
            ways: [Ways::new(), Ways::new()],
            first: 0,
        };
        match steering.turn(netlink, scene, [inner.name(), outer.name()]) {
            Ok(()) => Ok(steering),
            Err(error) => {
                if let Err(second) = steering.end() {
                    tracing::warn!("while undoing: {second:#}");
                }
                Err(error)
            }
        }
    }

    fn turn(&mut self, netlink: &mut Socket, scene: &Scene, devices: [&str; 2]) -> Result<()> {
        self.note.save()?;
        for (name, index) in devices.into_iter().zip(self.devices) {
            raise(netlink, name, index)?;
        }
        let everything = IpNet::V4(Ipv4Net::default());
        let [_, outer] = self.devices;
        let to_outer = Route { table: self.tables.outside, ..Route::to(everything, outer) };
        table::add(netlink, &to_outer).context("cannot add a route")?;
        self.follow_routes(netlink, scene)?;
        // If the devices go without us, what comes from inside must not go out untranslated.
        table::set_no_way(netlink, everything, self.tables.inside, NoWay::Blackhole, u32::MAX)
            .context("cannot add a route")?;
        match self.ports {
            Some(ports) => self.take_ports(netlink, ports)?,
            None => self.take_address(netlink, scene)?,
        }
        let tables = self.tables;
        self.add_late_rule(netlink, &scene.outside.name, tables.closed)?;
        self.add_late_rule(netlink, &scene.inside.name, tables.inside)?;
        // Only these two forward, whatever `ip_forward` says of the others, and only now that nothing gets past us.
        for name in [&scene.inside.name, &scene.outside.name] {
            self.note.set(&format!("net/ipv4/conf/{name}/forwarding"), "1")?;
        }
        Ok(())
    }

    /// A table for what comes in by an interface, asked as the last one before the main table.
    fn add_late_rule(&mut self, netlink: &mut Socket, input: &str, table: u32) -> Result<()> {
        let rules = v4_rules(netlink)?;
        let is_free = |priority: &u32| rules.iter().all(|rule| rule.priority != Some(*priority));
        let priority = (1..MAIN_PRIORITY).rev().find(is_free).context("no routing rule is free (`ip rule`)")?;
        self.note.add_rule(netlink, priority, Rule { input: Some(input.to_owned()), ..Rule::table(table) })
    }

    /// Follows what has changed around.
    pub(super) fn follow(&mut self, netlink: &mut Socket, scene: &Scene) -> Result<()> {
        self.follow_routes(netlink, scene)?;
        if self.ports.is_some() { self.stay_first(netlink) } else { Ok(()) }
    }

    /// The external address is another one now.
    pub(super) fn readdress(&mut self, netlink: &mut Socket, external: Ipv4Addr) -> Result<()> {
        self.external = external;
        let Some(ports) = self.ports else { return Ok(()) };
        self.drop_port_rules(netlink, self.first)?;
        if let Some(local) = self.note.local.take() {
            local.widen(netlink).context("cannot restore the rule for the local table")?;
        }
        self.take_ports(netlink, ports)
    }

    /// Undoes everything.
    pub(super) fn end(self) -> Result<()> {
        self.note.undo()
    }

    /// Makes the inside's table say what the main table says, and closes the way past us to what is inside.
    fn follow_routes(&mut self, netlink: &mut Socket, scene: &Scene) -> Result<()> {
        let way = |is_outside| if is_outside { Way::Inner } else { Way::No(NoWay::Throw) };
        let mut inside: Ways = scene.main.iter().map(|&(net, is_outside)| (net, way(is_outside))).collect();
        // Without a default route nothing gets out. It must not come back unseen, and let packets out untranslated.
        inside.entry(Ipv4Net::default()).or_insert(Way::Inner);
        // Hosts inside that send to the external address mean each other.
        inside.insert(Ipv4Net::from(self.external), Way::Inner);
        let closed = scene.inside_routes.iter().map(|&net| (net, Way::No(NoWay::Blackhole))).collect();
        let tables = [self.tables.inside, self.tables.closed];
        let before = mem::replace(&mut self.ways, [inside, closed]);
        for ((table, before), now) in tables.into_iter().zip(&before).zip(&self.ways) {
            self.follow_table(netlink, table, before, now)?;
        }
        Ok(())
    }

    fn follow_table(&self, netlink: &mut Socket, table: u32, before: &Ways, now: &Ways) -> Result<()> {
        let [inner, _] = self.devices;
        let into = |net: Ipv4Net| Route { table, ..Route::to(IpNet::V4(net), inner) };
        for (&net, &way) in now.iter().filter(|(net, way)| before.get(net) != Some(way)) {
            let result = match way {
                Way::Inner => table::replace(netlink, &into(net)),
                Way::No(what) => table::set_no_way(netlink, IpNet::V4(net), table, what, 0),
            };
            result.with_context(|| format!("cannot add a route to {net}"))?;
        }
        for (&net, &way) in before.iter().filter(|(net, _)| !now.contains_key(net)) {
            let result = match way {
                Way::Inner => table::delete(netlink, &into(net)),
                Way::No(what) => table::delete_no_way(netlink, IpNet::V4(net), table, what),
            };
            match result {
                Err(error) if !error.is_not_found() => {
                    return Err(error).with_context(|| format!("cannot remove the route to {net}"));
                }
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// The external address is the gateway's alone.
    fn take_address(&mut self, netlink: &mut Socket, scene: &Scene) -> Result<()> {
        let [_, outer] = self.devices;
        let address = IpNet::from(IpAddr::V4(self.external));
        table::add(netlink, &Route::to(address, outer))
            .with_context(|| format!("cannot take the address {}", self.external))?;
        if scene.is_on_link {
            self.note.proxy = Some((scene.outside.name.clone(), self.external));
            self.note.save()?;
            neighbour::add_proxy(netlink, scene.outside.index, self.external)
                .with_context(|| format!("cannot answer for {}", self.external))?;
        }
        Ok(())
    }

    /// The external address is the host's, but for some ports.
    fn take_ports(&mut self, netlink: &mut Socket, ports: Ports) -> Result<()> {
        let rules = v4_rules(netlink)?;
        let is_wide =
            |rule: &&Rule| Rule { priority: None, origin: None, ..(*rule).clone() } == Rule::table(table::LOCAL);
        let Some(local) = rules.iter().find(is_wide) else {
            bail!("the routing rules do not say \"lookup local\", as they always do: restore that (`ip rule`)");
        };
        let local = Local {
            priority: local.priority.unwrap_or(0),
            origin: local.origin.or(Some(BY_KERNEL)).filter(|_| local.priority == Some(0)),
            address: self.external,
            ports: (ports.first, ports.last),
        };
        self.add_port_rules(netlink, local.priority)?;
        self.reserve(ports)?;
        self.note.local = Some(local.clone());
        self.note.save()?;
        local.narrow(netlink).context("cannot narrow the rule for the local table")
    }

    /// The rules for the ports go before all others, and behind the one for the local table, as new rules do by themselves.
    fn add_port_rules(&mut self, netlink: &mut Socket, local: u32) -> Result<()> {
        let Some(Ports { first, last }) = self.ports else { return Ok(()) };
        let rules = v4_rules(netlink)?;
        let others = rules.iter().filter_map(|rule| rule.priority).filter(|&priority| priority > local).min();
        let priority = others.unwrap_or(MAIN_PRIORITY) - 1;
        if priority <= local {
            bail!("no routing rule is free behind the one for the local table (`ip rule`)");
        }
        let range: RangeInclusive<u16> = first..=last;
        let to = |table| Rule { to: Some(self.external), to_ports: Some(range.clone()), ..Rule::table(table) };
        let from_inside = Rule { input: Some(self.inside.clone()), ..to(self.tables.inside) };
        for rule in [from_inside, to(self.tables.outside)] {
            self.note.add_rule(netlink, priority, rule)?;
        }
        self.first = priority;
        let is_ours = |rule: &Rule| rule.priority == Some(priority) && rule.to_ports == Some(range.clone());
        if v4_rules(netlink)?.iter().filter(|rule| is_ours(rule)).count() != 2 {
            // Older kernels ignore what they do not know, and the rule would be for every port.
            bail!(
                "the kernel has no routing by ports (Linux 4.17): give the gateway an address of its own with --external"
            );
        }
        Ok(())
    }

    fn drop_port_rules(&mut self, netlink: &mut Socket, at: u32) -> Result<()> {
        let is_meant = |(priority, _): &(u32, u32)| *priority == at;
        let (ours, others): (Vec<_>, Vec<_>) = mem::take(&mut self.note.rules).into_iter().partition(is_meant);
        self.note.rules = others;
        for (priority, table) in ours {
            let rule = Rule { priority: Some(priority), ..Rule::table(table) };
            match rule::delete(netlink, &rule) {
                Err(error) if !error.is_not_found() => return Err(error).context("cannot move a routing rule"),
                Ok(()) | Err(_) => {}
            }
        }
        self.note.save()
    }

    /// Rules that others have put before ours get behind them.
    fn stay_first(&mut self, netlink: &mut Socket) -> Result<()> {
        let local = self.note.local.as_ref().map_or(0, |local| local.priority);
        let before = self.first;
        let is_before = |rule: &Rule| rule.priority.is_some_and(|priority| local < priority && priority < before);
        if !v4_rules(netlink)?.iter().any(is_before) {
            return Ok(());
        }
        self.add_port_rules(netlink, local)?;
        self.drop_port_rules(netlink, before)
    }

    /// Keeps the host from drawing these ports for itself.
    fn reserve(&mut self, ports: Ports) -> Result<()> {
        let drawn = ports::drawn()?;
        if ports.last < drawn.first || drawn.last < ports.first || self.note.has_set(RESERVED) {
            return Ok(());
        }
        let path = format!("/proc/sys/{RESERVED}");
        let before = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        let before = before.trim();
        let separator = if before.is_empty() { "" } else { "," };
        self.note.set(RESERVED, &format!("{before}{separator}{ports}"))
    }
}

/// Switches a device of ours on: it forwards, and speaks no IPv6.
fn raise(netlink: &mut Socket, name: &str, index: u32) -> Result<()> {
    // What comes out of the engine may have our own address, and has been checked on its way in.
    let settings = [
        (format!("net/ipv6/conf/{name}/disable_ipv6"), "1"),
        (format!("net/ipv4/conf/{name}/forwarding"), "1"),
        (format!("net/ipv4/conf/{name}/accept_local"), "1"),
        (format!("net/ipv4/conf/{name}/rp_filter"), "0"),
    ];
    for (setting, value) in settings {
        // A kernel without IPv6 has no such setting; what else cannot be set shows in what does not get through.
        if let Err(error) = std::fs::write(format!("/proc/sys/{setting}"), value) {
            tracing::debug!("{setting}: {error}");
        }
    }
    let up = link::Change { up: Some(true), ..Default::default() };
    link::set(netlink, index, &up).with_context(|| format!("cannot switch {name} on"))
}

fn v4_rules(netlink: &mut Socket) -> Result<Vec<Rule>> {
    let rules = rule::list(netlink).context("cannot read the routing rules")?;
    Ok(rules.into_iter().filter(|rule| !rule.ipv6).collect())
}

fn free_tables(netlink: &mut Socket) -> Result<Tables> {
    let routes = table::list(netlink).context("cannot read the routes")?;
    let rules = rule::list(netlink).context("cannot read the routing rules")?;
    let is_free =
        |table: &u32| routes.iter().all(|route| route.table != *table) && rules.iter().all(|rule| rule.table != *table);
    let mut free = (FIRST_TABLE..=u32::MAX).filter(is_free);
    let mut next = || free.next().context("no routing table is free");
    Ok(Tables { inside: next()?, outside: next()?, closed: next()? })
}
