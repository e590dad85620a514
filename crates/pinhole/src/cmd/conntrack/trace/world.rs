//! The router that the packets meet: interfaces, routes, rules and settings, from files and arguments or by default.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use anyhow::{Result, anyhow};
use ipnet::IpNet;
use pinhole_netfilter::explain::Origin;
use pinhole_netfilter::rules::Ruleset;
use pinhole_netfilter::script::{self, Family, Script};
use pinhole_netfilter::settings::Settings;
use pinhole_netfilter::tuple::Address;
use pinhole_netfilter::{Interface, InterfaceId, Router};
use pinhole_sansio::Instant;
use pinhole_wire::ip;

use super::Args;
use crate::cmd::conntrack::router::{
    HOME_RULES, Port, Route, everything, note_of_unknown, read, read_rules, read_script, wrong_usage,
};

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

/// The MTU of interfaces when a capture is traced: it may hold what a network card put together or has yet to cut.
const LONG: u16 = u16::MAX;

impl World {
    /// Builds the router that the arguments ask for. Wrong arguments end the program.
    pub(super) fn new(args: &Args) -> Result<Self> {
        let script = args.script.as_deref().map(read_script).transpose()?;
        let settings = Settings::of(args.kernel);
        let mut notes = Vec::new();
        let is_home = args.router.interface.is_empty() && script.is_none();
        let (ports, mut routes) = match &script {
            Some(script) => of_script(script),
            None if is_home => home(),
            None => (args.router.interface.clone(), args.router.route.clone()),
        };
        if is_home || script.is_some() {
            routes.splice(0..0, args.router.route.iter().cloned());
        } else if args.router.route.is_empty()
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
        if let Some(path) = &args.router.rules {
            let rules = self.read_rules::<Ipv4Addr>(args, path, sets)?;
            self.warn_of_unknown(&rules, path);
            self.router.set_rules_v4(rules);
        } else if is_home && args.router.rules6.is_none() {
            self.router.set_rules_v4(Ruleset::parse(HOME_RULES)?);
            self.notes.push(
                "no rules and no interfaces given: this is a home router, lan 192.168.1.1/24 and fd00::1/64, wan \
                 203.0.113.1/24 and 2001:db8::1/64; what leaves by wan over IPv4 is masqueraded"
                    .into(),
            );
        } else if self.script.is_none() && args.router.rules6.is_none() {
            self.notes.push("no --rules: packets are tracked, nothing is filtered or translated".into());
        }
        if is_home && (args.router.rules.is_some() || args.router.rules6.is_some()) {
            self.notes.push(
                "no --interface: lan is 192.168.1.1/24 and fd00::1/64, wan 203.0.113.1/24 and 2001:db8::1/64".into(),
            );
        }
        if let Some(path) = &args.router.rules6 {
            let rules = self.read_rules::<Ipv6Addr>(args, path, sets)?;
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

    /// Reads rules. Those that are not known are left out and named, where that is wanted; otherwise they end it.
    fn read_rules<A: Address>(&mut self, args: &Args, path: &Path, sets: Option<(&str, &Path)>) -> Result<Ruleset<A>> {
        let read = read_rules::<A>(path, sets)?;
        if !args.leave_out {
            let all = read.all(path).map_err(|error| anyhow!("{error}; --leave-out goes on without such rules"))?;
            return Ok(all.1);
        }
        self.notes.extend(read.left_out.iter().map(|error| format!("{}: left out {error}", path.display())));
        Ok(read.rules)
    }

    fn warn_of_unknown<A: Address>(&mut self, rules: &Ruleset<A>, path: &Path) {
        let known: Vec<&str> = self.ports.iter().map(|port| port.name.as_str()).collect();
        self.notes.extend(note_of_unknown(rules, path, &known));
    }

    fn set(&mut self, args: &Args) {
        let of_script = self.script.as_ref().map(|script| script.setup().settings).unwrap_or_default();
        for (name, value) in of_script.iter().chain(&args.router.settings) {
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

    /// Takes so many seconds from what all flows have left.
    pub(super) fn age(&mut self, now: Instant, seconds: u32) {
        self.router.v4().set_timeouts(now, |flow| script::older(flow.remaining(now), seconds));
        self.router.v6().set_timeouts(now, |flow| script::older(flow.remaining(now), seconds));
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

fn default(like: IpAddr) -> IpNet {
    everything()[usize::from(like.is_ipv6())]
}
