//! The router that the packets meet: interfaces, routes, rules and settings, from files and arguments or by default.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use anyhow::{Result, bail};
use ipnet::IpNet;
use pinhole_netfilter::explain::Origin;
use pinhole_netfilter::rules::{Not, Ruleset, Sets};
use pinhole_netfilter::script::{Family, Script};
use pinhole_netfilter::settings::Settings;
use pinhole_netfilter::tuple::Address;
use pinhole_netfilter::{Interface, InterfaceId, Router};
use pinhole_sansio::Instant;
use pinhole_wire::ip;

use super::{Args, read, wrong_usage};

/// An interface of the command line.
#[derive(Clone, Debug)]
pub(super) struct Port {
    name: String,
    addresses: Vec<IpNet>,
}

/// A route of the command line.
#[derive(Clone, Debug)]
pub(super) struct Route {
    to: IpNet,
    by: String,
}

/// The router and what is to be known of it.
pub(super) struct World {
    pub(super) router: Router,
    /// The script that was given, with its packets.
    pub(super) script: Option<Script>,
    ports: Vec<Port>,
    ids: Vec<InterfaceId>,
    /// Networks and the places of the interfaces that lead there, longest prefixes first.
    ways: Vec<(IpNet, usize)>,
    /// Where all packets come in, if that was said.
    input: Option<InterfaceId>,
    kernel: &'static str,
    notes: Vec<String>,
}

/// What a home router masquerades.
const HOME_RULES: &str = "*nat\n-A POSTROUTING -o wan -j MASQUERADE\nCOMMIT\n";
/// The MTU of interfaces when a capture is traced: it may hold what a network card put together or has yet to cut.
const LONG: u16 = u16::MAX;

impl World {
    /// Builds the router that the arguments ask for. Wrong arguments end the program.
    pub(super) fn new(args: &Args) -> Result<Self> {
        let script = args.script.as_deref().map(read_script).transpose()?;
        let settings = Settings::of(args.kernel);
        let mut notes = Vec::new();
        let is_home = args.interface.is_empty() && script.is_none();
        let (ports, mut routes) = match &script {
            Some(script) => of_script(script),
            None if is_home => home(),
            None => (args.interface.clone(), args.route.clone()),
        };
        if is_home || script.is_some() {
            routes.splice(0..0, args.route.iter().cloned());
        } else if args.route.is_empty()
            && let Some(last) = ports.last()
        {
            let by = || last.name.clone();
            routes.extend(everything().map(|to| Route { to, by: by() }));
            notes.push(format!("no --route: all that is on no interface's network is reached by {}", last.name));
        }
        let mut world = Self {
            router: Router::new(settings, args.seed),
            script,
            ports: Vec::new(),
            ids: Vec::new(),
            ways: Vec::new(),
            input: None,
            kernel: args.kernel.name,
            notes,
        };
        world.plug(&ports, args.pcap.is_some());
        world.route(&routes);
        world.input = args.input.as_deref().map(|name| world.id(name).unwrap_or_else(|known| wrong_usage(known)));
        world.load_rules(args, is_home)?;
        world.set(args);
        Ok(world)
    }

    fn plug(&mut self, ports: &[Port], is_capture: bool) {
        for port in ports {
            if self.ports.iter().any(|other| other.name == port.name) {
                wrong_usage(format!(
                    "the interface {} is there twice: give its addresses in one --interface",
                    port.name
                ));
            }
            let mut interface = Interface::new(&port.name, port.addresses.iter().copied());
            if is_capture {
                interface = interface.with_mtu(LONG);
            }
            self.ways.extend(port.addresses.iter().map(|net| (net.trunc(), self.ports.len())));
            self.ids.push(self.router.add_interface(interface));
            self.ports.push(port.clone());
        }
    }

    fn route(&mut self, routes: &[Route]) {
        for Route { to, by } in routes {
            let Some(place) = self.ports.iter().position(|port| port.name == *by) else {
                wrong_usage(self.unknown(by));
            };
            self.router.add_route(*to, self.ids[place]);
            self.ways.push((to.trunc(), place));
        }
        self.ways.sort_by_key(|(net, _)| core::cmp::Reverse(net.prefix_len()));
    }

    fn load_rules(&mut self, args: &Args, is_home: bool) -> Result<()> {
        let sets = args.sets.as_deref().map(|path| read(path, "sets")).transpose()?;
        let sets = sets.as_deref().zip(args.sets.as_deref());
        if let Some(path) = &args.rules {
            let rules = parse_rules::<Ipv4Addr>(path, sets)?;
            self.warn_of_unknown(&rules, path);
            self.router.set_rules_v4(rules);
        } else if is_home && args.rules6.is_none() {
            self.router.set_rules_v4(Ruleset::parse(HOME_RULES)?);
            self.notes.push(
                "no rules and no interfaces given: this is a home router, lan 192.168.1.1/24 and fd00::1/64, wan \
                 203.0.113.1/24 and 2001:db8::1/64; what leaves by wan over IPv4 is masqueraded"
                    .into(),
            );
        } else if self.script.is_none() && args.rules6.is_none() {
            self.notes.push("no --rules: packets are tracked, nothing is filtered or translated".into());
        }
        if is_home && (args.rules.is_some() || args.rules6.is_some()) {
            self.notes.push(
                "no --interface: lan is 192.168.1.1/24 and fd00::1/64, wan 203.0.113.1/24 and 2001:db8::1/64".into(),
            );
        }
        if let Some(path) = &args.rules6 {
            let rules = parse_rules::<Ipv6Addr>(path, sets)?;
            self.warn_of_unknown(&rules, path);
            self.router.set_rules_v6(rules);
        }
        let Some(script) = &self.script else { return Ok(()) };
        for (family, text) in script.setup().rules {
            match family {
                Family::Ipv4 => self.router.set_rules_v4(Ruleset::parse(&text)?),
                Family::Ipv6 => self.router.set_rules_v6(Ruleset::parse(&text)?),
            }
        }
        Ok(())
    }

    /// Rules that name interfaces which are not there match nothing: that is seldom meant.
    fn warn_of_unknown<A: Address>(&mut self, rules: &Ruleset<A>, path: &Path) {
        let headers = rules.tables().flat_map(|table| &table.chains).flat_map(|chain| &chain.rules);
        let mut unknown: Vec<String> = headers
            .flat_map(|rule| [rule.header.input, rule.header.output])
            .flatten()
            .map(|Not { is, .. }| is.to_string())
            .filter(|name| name != "lo" && !self.ports.iter().any(|port| means(name, &port.name)))
            .collect();
        unknown.sort();
        unknown.dedup();
        if !unknown.is_empty() {
            let names = unknown.join(", ");
            self.notes.push(format!(
                "{} names interfaces that are not here: {names}; give them with --interface",
                path.display()
            ));
        }
    }

    fn set(&mut self, args: &Args) {
        let of_script = self.script.as_ref().map(|script| script.setup().settings).unwrap_or_default();
        for (name, value) in of_script.iter().chain(&args.settings) {
            if let Err(error) = self.router.set(name, value) {
                wrong_usage(format!("{error}"));
            }
        }
    }

    /// What the user should know of this router.
    pub(super) fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Forgets all flows.
    pub(super) fn flush(&mut self, now: Instant) {
        self.router.v4().delete_all(now, |_| true);
        self.router.v6().delete_all(now, |_| true);
    }

    /// Checksums are not looked at from now on.
    pub(super) fn trust_checksums(&mut self) {
        // The setting is there, and 0 fits it.
        let _ = self.router.set("nf_conntrack_checksum", "0");
    }

    /// Where a packet comes from: the side that was said, or the one that leads back to its source.
    pub(super) fn origin(&self, side: Option<&str>, packet: &[u8]) -> Result<Origin, String> {
        if let Some(side) = side {
            return self.id(side).map(Origin::Interface);
        }
        if let Some(input) = self.input {
            return Ok(Origin::Interface(input));
        }
        let Ok(view) = ip::Packet::new_checked(packet) else {
            // It is malformed, which is said wherever it comes in.
            return Ok(Origin::Interface(self.ids[0]));
        };
        let source = view.src();
        if self.ports.iter().any(|port| port.addresses.iter().any(|net| net.addr() == source)) {
            return Ok(Origin::Local);
        }
        let way = self.ways.iter().find(|(net, _)| net.contains(&source)).map(|&(_, place)| self.ids[place]);
        way.map(Origin::Interface).ok_or_else(|| {
            format!(
                "no interface leads to its source {source}: give --in, or a route as in --route {}=IFACE",
                default(source)
            )
        })
    }

    fn id(&self, name: &str) -> Result<InterfaceId, String> {
        let place = self.ports.iter().position(|port| port.name == name);
        place.map(|place| self.ids[place]).ok_or_else(|| self.unknown(name))
    }

    fn unknown(&self, name: &str) -> String {
        let known: Vec<&str> = self.ports.iter().map(|port| port.name.as_str()).collect();
        format!("there is no interface {name}: there are {}", known.join(", "))
    }

    /// Interfaces with their addresses, for people.
    pub(super) fn interfaces(&self) -> impl Iterator<Item = (&str, String)> {
        self.ports.iter().map(|Port { name, addresses }| {
            let addresses: Vec<String> = addresses.iter().map(IpNet::to_string).collect();
            (name.as_str(), addresses.join(", "))
        })
    }

    /// The kernel that it is like.
    pub(super) const fn kernel(&self) -> &'static str {
        self.kernel
    }
}

/// `NAME=ADDRESS/LENGTH,…`.
pub(super) fn parse_interface(text: &str) -> Result<Port, String> {
    let example = "lan=192.168.1.1/24,fd00::1/64";
    let (name, nets) = text.split_once('=').ok_or_else(|| format!("expected a name and addresses: {example}"))?;
    if name.is_empty() || name.len() > 15 || name.contains(char::is_whitespace) {
        return Err(format!("{name:?} is no interface's name, which has 1 to 15 characters"));
    }
    let net = |text: &str| text.parse().map_err(|_| format!("{text:?} is no address with its length: {example}"));
    Ok(Port { name: name.to_owned(), addresses: nets.split(',').map(net).collect::<Result<_, _>>()? })
}

/// `PREFIX=IFACE`.
pub(super) fn parse_route(text: &str) -> Result<Route, String> {
    let example = "10.9.0.0/16=lan";
    let (to, by) = text.split_once('=').ok_or_else(|| format!("expected a network and an interface: {example}"))?;
    let to = to.parse().map_err(|_| format!("{to:?} is no network: {example}"))?;
    Ok(Route { to, by: by.to_owned() })
}

fn home() -> (Vec<Port>, Vec<Route>) {
    let port = |name: &str, v4: [u8; 4], v6: [u16; 8]| Port {
        name: name.to_owned(),
        addresses: vec![
            IpNet::new_assert(Ipv4Addr::from(v4).into(), 24),
            IpNet::new_assert(Ipv6Addr::from(v6).into(), 64),
        ],
    };
    let lan = port("lan", [192, 168, 1, 1], [0xfd00, 0, 0, 0, 0, 0, 0, 1]);
    let wan = port("wan", [203, 0, 113, 1], [0x2001, 0xdb8, 0, 0, 0, 0, 0, 1]);
    (vec![lan, wan], everything().map(|to| Route { to, by: "wan".to_owned() }).to_vec())
}

fn of_script(script: &Script) -> (Vec<Port>, Vec<Route>) {
    use pinhole_netfilter::script::Side;
    let setup = script.setup();
    let port = |side: Side| Port {
        name: side.name().to_owned(),
        addresses: setup.addresses.iter().filter(|(at, _)| *at == side).map(|(_, net)| *net).collect(),
    };
    let mut routes: Vec<Route> =
        setup.routes.iter().map(|(side, to)| Route { to: *to, by: side.name().to_owned() }).collect();
    routes.extend(everything().map(|to| Route { to, by: Side::Out.name().to_owned() }));
    (Side::ALL.map(port).to_vec(), routes)
}

fn read_script(path: &Path) -> Result<Script> {
    match read(path, "script")?.parse() {
        Ok(script) => Ok(script),
        Err(error) => bail!("{}: {error}", path.display()),
    }
}

fn parse_rules<A: Address>(path: &Path, sets: Option<(&str, &Path)>) -> Result<Ruleset<A>> {
    let sets = match sets {
        Some((text, path)) => match Sets::parse(text) {
            Ok(sets) => sets,
            Err(error) => bail!("{}: {error}", path.display()),
        },
        None => Sets::default(),
    };
    let text = read(path, "rules")?;
    if text.lines().any(|line| line.trim_start().starts_with("table ") && line.trim_end().ends_with('{')) {
        bail!("{} are rules of nft: give what iptables-save (or iptables-nft-save) writes", path.display());
    }
    Ruleset::parse_with(&text, sets).map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))
}

/// Whether a rule's name of an interface means this one.
fn means(rule: &str, name: &str) -> bool {
    rule.strip_suffix('+').map_or(rule == name, |begin| name.starts_with(begin))
}

fn everything() -> [IpNet; 2] {
    [IpAddr::from(Ipv4Addr::UNSPECIFIED), Ipv6Addr::UNSPECIFIED.into()].map(|any| IpNet::new_assert(any, 0))
}

fn default(like: IpAddr) -> IpNet {
    everything()[usize::from(like.is_ipv6())]
}
