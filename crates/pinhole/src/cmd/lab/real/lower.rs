//! From a scenario to what namespaces can be built of today; the rest is refused by name and line.

use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::{Result, bail};
use pinhole_lab::scenario::Scenario;
use pinhole_lab::sim::Change;
use pinhole_lab::{Clock, Home, PlaceId, PlaceKind, Site, Topology};

/// The topology of a scenario.
///
/// # Errors
/// The first thing that cannot be built, with its line.
pub(super) fn topology(file: &Path, scenario: &Scenario) -> Result<Topology> {
    let network = &scenario.network;
    let mut topology = Topology { router: network.router, hops: network.hops, seed: scenario.seed, sites: Vec::new() };
    let mut site_of = vec![None; network.places.len()];
    for (id, place) in network.places.iter().enumerate() {
        let refuse = |what: String| -> Result<()> {
            let line = scenario.lines.get(id).copied().unwrap_or_default();
            bail!("{}, line {line}: {} cannot be made of namespaces: {what}", file.display(), place.name)
        };
        match (&place.kind, place.behind) {
            (PlaceKind::Router { .. }, Some(_)) => {
                refuse("a router behind a router; simulate it (leave out --real)".into())?
            }
            (PlaceKind::Router { inside, nat }, None) => {
                if inside.addr() != gateway(inside.network()) {
                    refuse(format!("its address inside must be the first, {}", gateway(inside.network())))?;
                }
                let home = Home { router: nat.clone(), lan: inside.trunc(), hosts: Vec::new() };
                site_of[id] = Some(topology.sites.len());
                topology.sites.push(Site {
                    name: place.name.clone(),
                    public: place.address,
                    link: place.link,
                    home: Some(home),
                });
            }
            (PlaceKind::Host(clock), behind) => {
                if *clock != Clock::default() {
                    refuse("its clock is this machine's, which neither drifts nor is ahead".into())?;
                }
                let Some(router) = behind else {
                    topology.sites.push(Site {
                        name: place.name.clone(),
                        public: place.address,
                        link: place.link,
                        home: None,
                    });
                    continue;
                };
                if place.link != pinhole_lab::Link::default() {
                    refuse("the cable inside a home is plain: no delay, loss or rate".into())?;
                }
                let home = site_of[router].and_then(|site: usize| topology.sites[site].home.as_mut());
                if let Some(home) = home {
                    let address = home.address(home.hosts.len());
                    if address != place.address {
                        refuse(format!("its address must be {address}: hosts of a home are .10, .11 and so on"))?;
                    }
                    home.hosts.push(place.name.clone());
                }
            }
        }
    }
    for ((_, change), line) in scenario.changes.iter().zip(&scenario.change_lines) {
        if let Some(what) = refused(scenario, change) {
            bail!("{}, line {line}: {what}; simulate it (leave out --real)", file.display());
        }
    }
    Ok(topology)
}

/// Why a change cannot be made in namespaces.
fn refused(scenario: &Scenario, change: &Change) -> Option<String> {
    let is_site = |id: &PlaceId| scenario.network.places[*id].behind.is_none();
    let name = |id: &PlaceId| &scenario.network.places[*id].name;
    match change {
        Change::Readdress(id, _) | Change::Cut(id) | Change::Mend(id) | Change::Relink(id, _) if !is_site(id) => Some(
            format!("{} is inside a home: only the links and addresses of homes and public hosts change", name(id)),
        ),
        Change::Reboot(_) | Change::Readdress(..) | Change::Cut(_) | Change::Mend(_) | Change::Relink(..) => None,
        Change::Stop(_) | Change::Start(_) => None,
        Change::Poison { router, .. } => Some(format!("{} cannot be sent packets from nowhere", name(router))),
        Change::Tell(id) => Some(format!("{} hears of its network from the kernel alone", name(id))),
    }
}

fn gateway(network: Ipv4Addr) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(network) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn homes_and_public_hosts_can_be_built_and_the_rest_is_refused_by_line() {
        let lower = |text: &str| {
            let scenario = Scenario::parse(text).expect("a scenario");
            topology(Path::new("x.lab"), &scenario).map_err(|error| error.to_string())
        };
        let home = "host hub 203.0.113.1 delay 5ms\nlinux home 192.0.2.1 inside 10.0.0.0/24\n";
        let topology =
            lower(&format!("{home}host a 10.0.0.10 behind home\nat 1s reboot home")).expect("it can be built");
        topology.check().expect("it is one");
        assert_eq!(topology.sites[1].home.as_ref().map(|home| home.hosts.clone()), Some(vec!["a".to_owned()]));
        let refused = |more: &str, expected: &str| {
            let error = lower(&format!("{home}{more}")).expect_err(more);
            assert!(error.starts_with("x.lab, line 3: ") && error.contains(expected), "{error}");
        };
        refused("host a 10.0.0.9 behind home", "its address must be 10.0.0.10");
        refused("nat b 10.0.0.10 behind home inside 10.1.0.0/24 is openwrt", "a router behind a router");
        refused("host a 10.0.0.10 behind home drift 3ppm", "neither drifts");
        refused("at 1s wake hub", "hears of its network from the kernel alone");
    }
}
