//! The router that both executors are, and which side a captured packet comes in at.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use anyhow::Result;
use ipnet::IpNet;
use pinhole_netfilter::script::{Family, Script, Setup, Side};
use pinhole_netfilter::settings::Personality;
use pinhole_wire::ip;

use super::Args;
use super::rename::rename;
use super::source;
use crate::cmd::conntrack::router::{
    HOME_RULES, Port, everything, note_of_unknown, read_rules, read_script, wrong_usage,
};

/// What is to be replayed into what.
pub(super) struct Plan {
    /// The script, if packets are of one.
    pub(super) script: Option<Script>,
    pub(super) setup: Setup,
    /// What the inside and the outside are called.
    pub(super) names: [String; 2],
    pub(super) personality: Personality,
    /// This machine's kernel, as it calls itself.
    pub(super) kernel: String,
    /// The same router as arguments of `trace`; none if there are no such arguments.
    pub(super) as_arguments: Option<Vec<String>>,
    /// What the user should know.
    pub(super) notes: Vec<String>,
    /// Networks and the sides that lead there, longest prefixes first.
    ways: Vec<(IpNet, Side)>,
    /// The router's own addresses.
    own: BTreeSet<IpAddr>,
}

/// What a private address is (RFC 1918, RFC 6598, RFC 4193).
const PRIVATE: [(IpAddr, u8); 5] = [
    (IpAddr::V4(Ipv4Addr::new(10, 0, 0, 0)), 8),
    (IpAddr::V4(Ipv4Addr::new(172, 16, 0, 0)), 12),
    (IpAddr::V4(Ipv4Addr::new(192, 168, 0, 0)), 16),
    (IpAddr::V4(Ipv4Addr::new(100, 64, 0, 0)), 10),
    (IpAddr::V6(Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0)), 7),
];

impl Plan {
    /// Reads scripts and rules, and looks through a capture. Wrong arguments end the program.
    ///
    /// # Errors
    /// What cannot be read, or is not known, with its line.
    pub(super) fn new(args: &Args) -> Result<Self> {
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned();
        let mut plan = Self {
            script: args.script.as_deref().map(read_script).transpose()?,
            setup: Setup::default(),
            names: Side::ALL.map(|side| side.name().to_owned()),
            personality: args.kernel.or_else(|| Personality::of_release(&kernel)).unwrap_or(Personality::V2_6),
            kernel,
            as_arguments: None,
            notes: Vec::new(),
            ways: Vec::new(),
            own: BTreeSet::new(),
        };
        match (&plan.script, &args.pcap) {
            (Some(script), _) => plan.setup = script.setup(),
            (None, Some(path)) => plan.of_capture(args, path)?,
            (None, None) => wrong_usage("give a packet script, or --pcap FILE"),
        }
        plan.setup.settings.extend(args.router.settings.iter().cloned());
        Ok(plan)
    }

    /// The side that a captured packet comes in at; none if the router itself sent it.
    pub(super) fn side(&self, packet: &[u8]) -> Option<Side> {
        // What is malformed is refused wherever it comes in.
        let Ok(view) = ip::Packet::new_checked(packet) else { return Some(Side::In) };
        let source = view.src();
        if self.own.contains(&source) {
            return None;
        }
        let way = self.ways.iter().find(|(net, _)| net.contains(&source));
        Some(way.map_or(Side::Out, |&(_, side)| side))
    }

    fn of_capture(&mut self, args: &Args, path: &Path) -> Result<()> {
        if !path.is_file() {
            wrong_usage(format!("{} is no file: a capture is read twice, so it must be one", path.display()));
        }
        let seen = Seen::through(path)?;
        if seen.is_cut {
            self.setup.settings.push(("nf_conntrack_checksum".into(), "0".into()));
            self.notes.push(
                "the capture has only the beginning of packets: the rest is taken for zeros, and checksums are not looked at"
                    .into(),
            );
        }
        let given = &args.router.interface;
        let ports = match given.as_slice() {
            [] => home().to_vec(),
            [inside, outside] if inside.name != outside.name => vec![inside.clone(), outside.clone()],
            _ => wrong_usage("the router has two sides: give --interface twice, the inside first, or not at all"),
        };
        self.names = [0, 1].map(|at: usize| ports[at].name.clone());
        let sides = || Side::ALL.into_iter().zip(&ports);
        self.setup.addresses =
            sides().flat_map(|(side, port)| port.addresses.iter().map(move |&net| (side, net))).collect();
        self.setup.routes = args.router.route.iter().map(|route| (self.named(&route.by), route.to)).collect();
        if given.is_empty() && args.router.route.is_empty() {
            let inside = seen.inside();
            let words: Vec<String> = inside.iter().map(IpNet::to_string).collect();
            self.notes.push(format!(
                "no --interface: lan is the inside, {}, wan 203.0.113.1/24 and 2001:db8::1/64 all else",
                if words.is_empty() { "which nobody is in".to_owned() } else { words.join(", ") }
            ));
            self.setup.routes = inside.into_iter().map(|net| (Side::In, net)).collect();
        }
        self.settle_routes();
        self.own = self.setup.addresses.iter().map(|(_, net)| net.addr()).collect();
        self.load_rules(args)?;
        let is_home = args.router.rules.is_none() && args.router.rules6.is_none() && given.is_empty();
        self.as_arguments = (!is_home).then(|| self.arguments(args, &ports));
        Ok(())
    }

    fn named(&self, name: &str) -> Side {
        let at = self.names.iter().position(|known| known == name);
        let known = || format!("there is no interface {name}: there are {}", self.names.join(", "));
        at.map_or_else(|| wrong_usage(known()), |at| Side::ALL[at])
    }

    /// Leaves out routes that the router has anyway, and orders all ways.
    fn settle_routes(&mut self) {
        let mut had: BTreeSet<IpNet> = self.setup.addresses.iter().map(|(_, net)| net.trunc()).collect();
        for (side, to) in &self.setup.routes {
            if to.prefix_len() == 0 && *side == Side::In {
                wrong_usage(format!("all else is the outside: there is no route {to} to the inside"));
            }
        }
        had.extend(everything());
        self.setup.routes.retain_mut(|(_, to)| {
            *to = to.trunc();
            had.insert(*to)
        });
        let networks = self.setup.addresses.iter().chain(&self.setup.routes);
        self.ways = networks.map(|&(side, net)| (net.trunc(), side)).collect();
        self.ways.sort_by_key(|(net, _)| core::cmp::Reverse(net.prefix_len()));
    }

    fn load_rules(&mut self, args: &Args) -> Result<()> {
        let names = self.names.clone();
        let known = [names[0].as_str(), names[1].as_str()];
        if let Some(path) = &args.router.rules {
            let (text, rules) = read_rules::<Ipv4Addr>(path, None)?.all(path)?;
            self.notes.extend(note_of_unknown(&rules, path, &known));
            self.setup.rules.push((Family::Ipv4, rename(&text, &names)));
        }
        if let Some(path) = &args.router.rules6 {
            let (text, rules) = read_rules::<Ipv6Addr>(path, None)?.all(path)?;
            self.notes.extend(note_of_unknown(&rules, path, &known));
            self.setup.rules.push((Family::Ipv6, rename(&text, &names)));
        }
        if self.setup.rules.is_empty() {
            let note = if args.router.interface.is_empty() {
                self.setup.rules.push((Family::Ipv4, rename(HOME_RULES, &names)));
                "no --rules: what leaves by wan over IPv4 is masqueraded"
            } else {
                "no --rules: packets are tracked, nothing is filtered or translated"
            };
            self.notes.push(note.into());
        }
        Ok(())
    }

    /// This router, for `trace`.
    fn arguments(&self, args: &Args, ports: &[Port]) -> Vec<String> {
        let mut all = Vec::new();
        let mut add = |option: &str, value: String| all.extend([option.to_owned(), value]);
        for (option, path) in [("--rules", &args.router.rules), ("--rules6", &args.router.rules6)] {
            if let Some(path) = path {
                add(option, path.display().to_string());
            }
        }
        for port in ports {
            let addresses: Vec<String> = port.addresses.iter().map(IpNet::to_string).collect();
            add("--interface", format!("{}={}", port.name, addresses.join(",")));
        }
        let default = everything().map(|net| (Side::Out, net));
        for (side, to) in self.setup.routes.iter().chain(&default) {
            add("--route", format!("{to}={}", self.names[side.index()]));
        }
        all
    }
}

/// What a capture is about.
#[derive(Default)]
struct Seen {
    /// By family: whether some packet goes between a private address and another one.
    crosses: [bool; 2],
    /// By family: who sent the first packet.
    first: [Option<IpAddr>; 2],
    is_cut: bool,
}

impl Seen {
    /// Reads all of it. What is damaged ends it here, and is told of when it is replayed.
    fn through(path: &Path) -> Result<Self> {
        let mut seen = Self::default();
        let mut packets = source::capture(path)?;
        while let Ok(Some((_, packet))) = packets.next() {
            let Ok(view) = ip::Packet::new_checked(&packet[..]) else { continue };
            let family = usize::from(view.src().is_ipv6());
            seen.crosses[family] |= is_private(view.src()) != is_private(view.dst()) && is_host(view.src());
            if is_host(view.src()) {
                seen.first[family].get_or_insert(view.src());
            }
        }
        seen.is_cut = packets.is_cut();
        Ok(seen)
    }

    /// The networks that are inside.
    fn inside(&self) -> Vec<IpNet> {
        let of_family = |family: usize| {
            let private = PRIVATE.iter().filter(move |(net, _)| usize::from(net.is_ipv6()) == family);
            let private: Vec<IpNet> = private.map(|&(net, length)| IpNet::new_assert(net, length)).collect();
            match self.first[family] {
                Some(_) if self.crosses[family] => private,
                Some(first) => vec![first.into()],
                None => Vec::new(),
            }
        };
        (0..2).flat_map(of_family).collect()
    }
}

fn is_private(address: IpAddr) -> bool {
    PRIVATE.iter().any(|&(net, length)| IpNet::new_assert(net, length).contains(&address))
}

/// Whether packets may come from there to be routed.
fn is_host(address: IpAddr) -> bool {
    let is_link_local = match address {
        IpAddr::V4(address) => address.is_link_local() || address.is_broadcast(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    !(address.is_unspecified() || address.is_loopback() || address.is_multicast() || is_link_local)
}

/// A home router's sides. The inside's own addresses are such as no capture is about (RFC 2544, RFC 5180).
fn home() -> [Port; 2] {
    let port = |name: &str, nets: [(IpAddr, u8); 2]| Port {
        name: name.to_owned(),
        addresses: nets.map(|(address, length)| IpNet::new_assert(address, length)).to_vec(),
    };
    let inside = [(Ipv4Addr::new(198, 18, 0, 1).into(), 32), (Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, 1).into(), 128)];
    let outside =
        [(Ipv4Addr::new(203, 0, 113, 1).into(), 24), (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into(), 64)];
    [port("lan", inside), port("wan", outside)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inside_are_private_addresses_that_talk_to_others_or_else_who_begins() {
        let mut seen = Seen { first: [Some([192, 168, 1, 2].into()), None], ..Seen::default() };
        assert_eq!(seen.inside(), ["192.168.1.2/32".parse().expect("a network")], "home or not, all are private");
        seen.crosses[0] = true;
        assert_eq!(seen.inside().len(), 4);
    }
}
