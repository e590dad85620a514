//! The router: a namespace that forwards between two TUN devices, with the settings and rules of a script.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use pinhole_host::namespace::Namespace;
use pinhole_host::netlink::route::{self, Route, address, link, table};
use pinhole_netfilter::script::{Family, Setup, Side};
use pinhole_wire::{Protocol, icmp, ip};

use super::OracleError;
use super::entry::Entries;
use super::log::{self, Log};
use super::window::Windows;
use crate::tun::Tun;

/// What makes a Linux host a plain router that does nothing of its own accord: no reverse path filter, no limit on ICMP
/// errors, no redirects sent or believed, no path MTU learned, no discovery of neighbours and routers.
const SETTINGS: &[(&str, &str)] = &[
    ("net/ipv4/conf/all/rp_filter", "0"),
    ("net/ipv4/conf/default/rp_filter", "0"),
    ("net/ipv4/conf/all/send_redirects", "0"),
    ("net/ipv4/conf/default/send_redirects", "0"),
    ("net/ipv4/conf/all/accept_redirects", "0"),
    ("net/ipv4/conf/default/accept_redirects", "0"),
    ("net/ipv4/ip_no_pmtu_disc", "2"),
    ("net/ipv4/icmp_ratelimit", "0"),
    ("net/ipv4/icmp_ratemask", "0"),
    ("net/ipv4/fwmark_reflect", "1"),
    ("net/ipv6/fwmark_reflect", "1"),
    ("net/ipv4/ip_forward", "1"),
    ("net/ipv6/icmp/ratelimit", "0"),
    ("net/ipv6/icmp/ratemask", "255"),
    ("net/ipv6/auto_flowlabels", "0"),
    ("net/ipv6/conf/all/accept_redirects", "0"),
    ("net/ipv6/conf/default/accept_redirects", "0"),
    ("net/ipv6/conf/default/accept_ra", "0"),
    ("net/ipv6/conf/default/accept_dad", "0"),
    ("net/ipv6/conf/default/router_solicitations", "0"),
    ("net/ipv6/conf/default/addr_gen_mode", "1"),
    ("net/ipv6/conf/all/forwarding", "1"),
];

/// The largest there is: what is too big for a link is no affair of connection tracking.
const MTU: u32 = 65_535;

/// A running router.
#[derive(Debug)]
pub(super) struct Router {
    pub(super) log: Log,
    pub(super) entries: Entries,
    pub(super) windows: Option<Windows>,
    tuns: [Tun; 2],
    /// Goes last: the devices and sockets are in it.
    _namespace: Namespace,
}

impl Router {
    pub(super) fn make(name: &str, setup: &Setup, watches_windows: bool) -> Result<Self, OracleError> {
        let namespace = Namespace::create(name).map_err(|error| OracleError::new("making a namespace", error))?;
        for (setting, value) in SETTINGS {
            let failed = |error| OracleError::new(format!("setting {setting} to {value}"), error);
            namespace.set(setting, value).map_err(failed)?;
        }
        let enter = |error| OracleError::new("entering the namespace", error);
        let tuns = namespace.run(|| devices(setup).inspect(|_| settle(setup))).map_err(enter)??;
        run(&namespace, Command::new("nft").args(["-f", "-"]), &log::ruleset())?;
        for (family, rules) in &setup.rules {
            let program = match family {
                Family::Ipv4 => "iptables-restore",
                Family::Ipv6 => "ip6tables-restore",
            };
            run(&namespace, &mut Command::new(program), rules)?;
        }
        for (setting, value) in &setup.settings {
            let failed = |error| OracleError::new(format!("setting {setting} to {value}"), error);
            namespace.set(&format!("net/netfilter/{setting}"), value).map_err(failed)?;
        }
        let (log, entries) =
            namespace.run(|| Ok::<_, OracleError>((Log::open()?, Entries::open()?))).map_err(enter)??;
        let watch = |error| OracleError::new("watching windows", error);
        let windows =
            namespace.run(|| watches_windows.then(Windows::open).transpose()).map_err(watch)?.map_err(watch)?;
        Ok(Self { log, entries, windows, tuns, _namespace: namespace })
    }

    /// Gives the router a packet. What is no packet at all is refused by the device, as a cable would lose it.
    pub(super) fn write(&self, side: Side, packet: &[u8]) {
        let _ = self.tuns[side.index()].write(packet);
    }

    /// The next packet that came out at a side, if there is one now.
    pub(super) fn read<'a>(&self, side: Side, buffer: &'a mut [u8]) -> Result<Option<&'a [u8]>, OracleError> {
        loop {
            let failed = |error| OracleError::new("reading from a TUN device", error);
            match self.tuns[side.index()].read(buffer).map_err(failed)? {
                None => return Ok(None),
                Some(length) if is_own_affair(&buffer[..length]) => {}
                Some(length) => return Ok(Some(&buffer[..length])),
            }
        }
    }

    pub(super) fn flush(&mut self) -> Result<(), OracleError> {
        self.entries.flush()
    }
}

/// Whether the kernel sends this without being asked: multicast listener reports and neighbour discovery (RFC 3810 §5.2,
/// RFC 4861 §4).
fn is_own_affair(packet: &[u8]) -> bool {
    const OWN: [u8; 6] = [131, 132, 133, 135, 136, 143];
    let message = || {
        let ip = ip::Packet::new_checked(packet).ok()?;
        // What is forwarded has one hop less, and comes from somebody.
        let nobody = matches!(ip.src(), IpAddr::V6(src) if src.is_unspecified() || src.is_unicast_link_local());
        let is_own = nobody || ip.ttl() == u8::MAX;
        let upper = ip.upper().ok()?;
        let message = icmp::Packet::new_checked(packet.get(upper.offset..upper.end)?).ok()?;
        Some(is_own && upper.protocol == Protocol::Icmpv6 && OWN.contains(&message.message_type()))
    };
    packet.first().is_some_and(|first| first >> 4 == 6) && message().unwrap_or(false)
}

/// Makes both devices in the calling thread's namespace, with addresses and routes.
fn devices(setup: &Setup) -> Result<[Tun; 2], OracleError> {
    let tun = |side: Side| {
        Tun::create(side.name()).map_err(|error| OracleError::new(format!("making the TUN device {side}"), error))
    };
    let tuns = [tun(Side::In)?, tun(Side::Out)?];
    let mut netlink = route::open().map_err(|error| OracleError::new("opening rtnetlink", error))?;
    let mut index = [0; 2];
    for side in Side::ALL {
        let failed = |error| OracleError::new(format!("raising the TUN device {side}"), error);
        index[side.index()] = link::find(&mut netlink, side.name()).map_err(failed)?.index;
        let up = link::Change { up: Some(true), mtu: Some(MTU), ..Default::default() };
        link::set(&mut netlink, index[side.index()], &up).map_err(failed)?;
    }
    for (side, net) in &setup.addresses {
        let failed = |error| OracleError::new(format!("giving {side} the address {net}"), error);
        address::add(&mut netlink, index[side.index()], *net).map_err(failed)?;
    }
    let default = ["0.0.0.0/0", "::/0"].map(|net| (Side::Out, net.parse().expect("a network")));
    for (side, net) in setup.routes.iter().copied().chain(default) {
        let failed = |error| OracleError::new(format!("routing {net} to {side}"), error);
        table::add(&mut netlink, &Route::to(net, index[side.index()])).map_err(failed)?;
    }
    Ok(tuns)
}

/// Where programs are looked for. An ordinary user's path lacks what Debian keeps for root.
fn with_sbin(path: &OsStr) -> OsString {
    let sbin = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::join_paths(std::env::split_paths(path).chain(sbin)).unwrap_or_else(|_| path.to_owned())
}

/// Waits until every IPv6 address leads to this host: the kernel adds that route by and by (`addrconf_dad_work`). One that
/// never comes is no error here: what a packet to it meets then is seen.
fn settle(setup: &Setup) {
    const PATIENCE: Duration = Duration::from_secs(2);
    let of_v6 = setup.addresses.iter().filter_map(|(_, net)| match net.addr() {
        IpAddr::V4(_) => None,
        IpAddr::V6(address) => Some(format!("{:032x} 80 ", u128::from(address))),
    });
    let wanted: Vec<String> = of_v6.collect();
    let deadline = Instant::now() + PATIENCE;
    let are_there = || {
        let routes = std::fs::read_to_string("/proc/thread-self/net/ipv6_route").unwrap_or_default();
        wanted.iter().all(|route| routes.lines().any(|line| line.starts_with(route)))
    };
    while !are_there() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Runs a program of the distribution inside, with `input`; what it complains of is the error.
fn run(namespace: &Namespace, command: &mut Command, input: &str) -> Result<(), OracleError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let failed = |error: std::io::Error| OracleError::new(format!("running {program}"), error);
    namespace.enter(command);
    command.env("PATH", with_sbin(&std::env::var_os("PATH").unwrap_or_default()));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that refuses does not read on; what it says then is the better error.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().map_err(failed)?;
    if output.status.success() {
        return Ok(());
    }
    Err(OracleError::new(program, String::from_utf8_lossy(&output.stderr).trim()))
}
