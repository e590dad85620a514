//! From a topology to namespaces, cables and NATs.

use std::fmt;
use std::io;

use ipnet::{IpNet, Ipv4Net};
use pinhole_host::gateway::Plane;
use pinhole_host::namespace::Namespace;
use pinhole_host::netlink::route::{self, address, link, table};
use pinhole_host::{netlink, nft};
use pinhole_lab::{Core, Fault, Home, RouterKind, Site, Topology};
use pinhole_netfilter::rules::RulesError;

use crate::engine::Engine;
use crate::host::Host;
use crate::internet::{Internet, Place};
use crate::nat::{Router, WAN, single};
use crate::tun::Tun;

/// The interface of a host in a home.
const LAN: &str = "eth0";

/// Why an Internet could not be built.
#[derive(Debug)]
pub enum BuildError {
    /// The topology is not one.
    Topology(Fault),
    /// The kernel refused a part.
    Part {
        /// Which host or router.
        name: String,
        /// What could not be done for it.
        what: &'static str,
        /// The kernel's words.
        source: io::Error,
    },
    /// The NAT of a router could not be programmed.
    Nat {
        /// Which router.
        name: String,
        /// Why.
        source: nft::Error,
    },
    /// The rules of a router are not understood.
    Rules {
        /// Which router.
        name: String,
        /// Why.
        source: RulesError,
    },
}

pub(crate) fn build(topology: &Topology) -> Result<Internet, BuildError> {
    topology.check().map_err(BuildError::Topology)?;
    let mut core = Core::new(topology.router, topology.hops, topology.seed);
    // The namespaces are independent of each other until the core joins them.
    let built: Vec<Built> = std::thread::scope(|scope| {
        let site = |(index, site)| scope.spawn(move || build_site(index, site));
        let threads: Vec<_> = topology.sites.iter().enumerate().map(site).collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, _>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        threads.into_iter().map(join).collect::<Result<_, _>>()
    })?;
    let (mut hosts, mut sites, mut ends) = (Vec::new(), Vec::new(), Vec::new());
    for (site, built) in topology.sites.iter().zip(built) {
        let port = core.attach(site.link);
        core.route(single(site.public), port);
        sites.push(Place { name: site.name.clone(), public: site.public, port, router: built.router });
        hosts.extend(built.hosts);
        ends.push((built.tun, built.plane));
    }
    let engine = Engine::start(core, ends).map_err(|source| part("the Internet", "starting its thread", source))?;
    Ok(Internet { engine, hosts, sites })
}

/// A site before it is attached.
struct Built {
    tun: Tun,
    plane: Option<Plane>,
    router: Option<Router>,
    hosts: Vec<Host>,
}

fn build_site(index: usize, site: &Site) -> Result<Built, BuildError> {
    let name = site.name.as_str();
    let fail = |what| move |source| part(name, what, source);
    let namespace = Namespace::create(name).map_err(fail("making its namespace"))?;
    let tun = namespace.run(|| Tun::create(WAN)).and_then(|tun| tun).map_err(fail("making its TUN device"))?;
    // The public address is that of whoever translates: a kernel that only carries packets to our engine has another one.
    let address = match &site.home {
        Some(home @ Home { router: RouterKind::Behaviour(_) | RouterKind::Rules(_), .. }) => home.gateway(),
        Some(Home { router: RouterKind::Kernel(_), .. }) | None => site.public,
    };
    let outside = Host::new(namespace, WAN, single(address), None, index);
    // The Internet speaks IPv4 only; router solicitations would be noise in captures. A kernel without IPv6 makes none.
    let _ = outside.namespace().set(&format!("net/ipv6/conf/{WAN}/disable_ipv6"), "1");
    outside.configure(site.link.mtu).map_err(fail("giving it its public address"))?;
    let Some(home) = &site.home else {
        return Ok(Built { tun, plane: None, router: None, hosts: vec![outside] });
    };

    let ports = outside.namespace().set("net/ipv4/ip_forward", "1");
    ports.map_err(fail("letting it forward packets (net.ipv4.ip_forward; is /proc/sys read-only here?)"))?;
    let mut router = Router::new(outside, home.clone());
    router.install().map_err(|source| BuildError::Nat { name: name.to_owned(), source })?;
    // Counters and events of connection tracking are for the witness; a kernel without them routes as well.
    let _ = router.host.namespace().set("net/netfilter/nf_conntrack_acct", "1");
    let hosts = home.hosts.iter().enumerate().map(|(number, name)| build_host(index, &router, home, number, name));
    let hosts = hosts.collect::<Result<_, _>>()?;
    let rules = |source| BuildError::Rules { name: name.to_owned(), source };
    let plane = router.plane(site.public).map_err(rules)?;
    Ok(Built { tun, plane, router: Some(router), hosts })
}

/// Makes a host of a home and its cable to the router.
fn build_host(site: usize, router: &Router, home: &Home, number: usize, name: &str) -> Result<Host, BuildError> {
    let fail = |what| move |source| part(name, what, source);
    let namespace = Namespace::create(name).map_err(fail("making its namespace"))?;
    let inside = home.address(number);
    let cable = cable(number);
    let plug = || -> Result<(), netlink::Error> {
        let mut socket = route::open()?;
        link::add_veth(&mut socket, &cable, LAN, Some(namespace.net()))?;
        let index = link::find(&mut socket, &cable)?.index;
        link::set(&mut socket, index, &link::Change { up: Some(true), ..Default::default() })?;
        address::add(&mut socket, index, IpNet::V4(single(home.gateway())))?;
        // Each host has its own cable, so the router knows each by its own route and answers for the others.
        table::add(&mut socket, &table::Route::to(IpNet::V4(single(inside)), index))
    };
    let plugged = router.host.run(plug).map_err(fail("entering its router"))?;
    plugged.map_err(|error| part(name, "connecting it to its router", io::Error::other(error)))?;
    let proxy = format!("net/ipv4/conf/{cable}/proxy_arp");
    router.host.namespace().set(&proxy, "1").map_err(fail("letting the router answer for its neighbours"))?;
    let address = Ipv4Net::new_assert(inside, home.lan.prefix_len());
    let host = Host::new(namespace, LAN, address, Some(home.gateway()), site);
    host.configure(1500).map_err(fail("giving it its address"))?;
    Ok(host)
}

/// The router's end of the cable to the host with this number in its home.
pub(crate) fn cable(number: usize) -> String {
    format!("lan{number}")
}

fn part(name: &str, what: &'static str, source: io::Error) -> BuildError {
    BuildError::Part { name: name.to_owned(), what, source }
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Topology(fault) => write!(f, "{fault}"),
            Self::Part { name, what, source: _ } => write!(f, "{name}: {what}"),
            Self::Rules { name, source: _ } => write!(f, "{name}: reading its rules"),
            Self::Nat { name, source: _ } => write!(f, "{name}: programming its NAT"),
        }
    }
}

impl std::error::Error for BuildError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Topology(_) => None,
            Self::Part { source, .. } => Some(source),
            Self::Nat { source, .. } => Some(source),
            Self::Rules { source, .. } => Some(source),
        }
    }
}
