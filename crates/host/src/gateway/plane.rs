//! What a router of ours does to packets between its inside and its outside.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use pinhole_netfilter::behaviour::{Behaviour, Nat, Side, Verdict as NatVerdict};
use pinhole_netfilter::nat::Range;
use pinhole_netfilter::rules::{Not, Rule, RulesError, Ruleset, Target};
use pinhole_netfilter::settings::Settings;
use pinhole_netfilter::{Interface, InterfaceId, Packet, Router, Verdict};
use pinhole_sansio::Instant;
use pinhole_wire::Protocol;
use pinhole_wire::offload::VnetHdr;

/// An engine with an inside and an outside. Time and packets come in as arguments.
#[derive(Debug)]
pub struct Plane {
    pub(super) engine: Engine,
    /// Answers to packets, which go out before anything else.
    answers: VecDeque<(Side, Vec<u8>)>,
    /// What went to the inside and to the outside.
    traffic: [Traffic; 2],
}

/// What a plane has sent to a side. A packet that stands for many is one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// How many packets.
    pub packets: u64,
    /// How many bytes, with IP headers.
    pub bytes: u64,
}

#[derive(Debug)]
pub(super) enum Engine {
    Behaviour(Box<Nat<Ipv4Addr>>, Ipv4Addr),
    Rules(Box<Rules>),
}

/// Netfilter's hooks between two interfaces.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) router: Router,
    inside: InterfaceId,
    outside: InterfaceId,
}

impl Plane {
    /// A NAT with a behaviour and these external addresses, which answers its inside hosts from `inside`. IPv4 only. It is no
    /// hop: it leaves the time to live alone, as those do who route packets to it and from it.
    pub fn behaviour(
        behaviour: Behaviour,
        external: impl IntoIterator<Item = Ipv4Addr>,
        inside: Ipv4Addr,
        seed: u64,
    ) -> Self {
        let nat = Nat::new(behaviour, external, inside, seed);
        Self::new(Engine::Behaviour(Box::new(nat), inside))
    }

    /// A router with rules as `iptables-save` and `ip6tables-save` write them, an empty text for none, and a default route
    /// for either family by `outside`. What is for the router itself goes no further: nothing listens there.
    ///
    /// # Errors
    /// The first rule that is not understood.
    pub fn rules(
        rules_v4: &str,
        rules_v6: &str,
        inside: Interface,
        outside: Interface,
        seed: u64,
    ) -> Result<Self, RulesError> {
        let (v4, v6) = (Ruleset::<Ipv4Addr>::parse(rules_v4)?, Ruleset::<Ipv6Addr>::parse(rules_v6)?);
        Ok(Self::routing(v4, v6, inside, outside, seed))
    }

    /// The same for IPv4, where the gateway has only these ports, from the lowest to the highest: MASQUERADE and SNAT that say no
    /// ports choose from them.
    ///
    /// # Errors
    /// The first rule that is not understood.
    pub fn rules_within(
        ports: (u16, u16),
        rules: &str,
        inside: Interface,
        outside: Interface,
        seed: u64,
    ) -> Result<Self, RulesError> {
        let rules = Ruleset::<Ipv4Addr>::parse(rules)?;
        let mut tables: Vec<_> = rules.tables().cloned().collect();
        for chain in tables.iter_mut().flat_map(|table| &mut table.chains) {
            chain.rules = std::mem::take(&mut chain.rules).into_iter().flat_map(|rule| within(rule, ports)).collect();
        }
        let rules = Ruleset::load(tables, rules.sets().clone())?;
        Ok(Self::routing(rules, Ruleset::new(), inside, outside, seed))
    }

    fn routing(v4: Ruleset<Ipv4Addr>, v6: Ruleset<Ipv6Addr>, inside: Interface, outside: Interface, seed: u64) -> Self {
        let mut router = Router::new(Settings::default(), seed);
        let (inside, outside) = (router.add_interface(inside), router.add_interface(outside));
        let everything = [IpNet::V4(ipnet::Ipv4Net::default()), IpNet::V6(ipnet::Ipv6Net::default())];
        everything.into_iter().for_each(|net| router.add_route(net, outside));
        router.set_rules_v4(v4);
        router.set_rules_v6(v6);
        let rules = Rules { router, inside, outside };
        Self::new(Engine::Rules(Box::new(rules)))
    }

    const fn new(engine: Engine) -> Self {
        let nothing = Traffic { packets: 0, bytes: 0 };
        Self { engine, answers: VecDeque::new(), traffic: [nothing; 2] }
    }

    /// Takes a packet that came from a side, with what its TUN device says about it (the default, if it says nothing); the
    /// side it goes to, where it goes on, rewritten.
    ///
    /// A packet that stands for many is one to the engine; its checksum stays as partial as it was.
    pub fn process(&mut self, now: Instant, from: Side, vnet: &VnetHdr, packet: &mut Packet) -> Option<Side> {
        let to = match &mut self.engine {
            Engine::Behaviour(nat, _) => match nat.process(now, from, &mut packet.bytes) {
                NatVerdict::Forward(to) => Some(to),
                NatVerdict::Answer(answer) => {
                    self.answers.push_back((from, answer));
                    None
                }
                NatVerdict::Kept | NatVerdict::Drop(_) => None,
            },
            Engine::Rules(rules) => {
                // As for the kernel: `CHECKSUM_UNNECESSARY`, `CHECKSUM_PARTIAL`.
                packet.is_vouched_for = vnet.is_checksum_vouched_for();
                rules.process(now, from, packet)
            }
        };
        if let Some(to) = to {
            vnet.renew_partial_checksum(&mut packet.bytes);
            self.count(to, &packet.bytes);
        }
        to
    }

    /// A packet that goes to a side without being the one that was asked about.
    pub fn poll_output(&mut self) -> Option<(Side, Vec<u8>)> {
        let output = self.answers.pop_front().or_else(|| match &mut self.engine {
            Engine::Behaviour(nat, _) => nat.poll_output(),
            Engine::Rules(rules) => rules.router.poll_transmit().map(|(by, packet)| (rules.side(by), packet.bytes)),
        })?;
        self.count(output.0, &output.1);
        Some(output)
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match &self.engine {
            Engine::Behaviour(nat, _) => nat.poll_timeout(),
            Engine::Rules(rules) => rules.router.poll_timeout(),
        }
    }

    /// Lets time pass.
    pub fn handle_timeout(&mut self, now: Instant) {
        match &mut self.engine {
            Engine::Behaviour(nat, _) => nat.handle_timeout(now),
            Engine::Rules(rules) => rules.router.handle_timeout(now),
        }
    }

    /// A route of a router with rules, which leads to its own networks and to the outside otherwise. A NAT with a behaviour
    /// needs none: what it lets in is for the inside.
    pub fn add_route(&mut self, to: IpNet, side: Side) {
        if let Engine::Rules(rules) = &mut self.engine {
            let by = rules.interface(side);
            rules.router.add_route(to, by);
        }
    }

    /// The interface of a side has been switched off. A router with rules forgets what is masqueraded behind it, as Linux does;
    /// a NAT with a behaviour keeps its mappings, as the devices do that it stands for.
    pub fn interface_down(&mut self, now: Instant, side: Side) {
        if let Engine::Rules(rules) = &mut self.engine {
            let interface = rules.interface(side);
            rules.router.interface_down(now, interface);
        }
    }

    /// The outside has another address instead of the one that it had. What was masqueraded with the old one is forgotten; of a
    /// NAT with a behaviour, everything.
    pub fn readdress(&mut self, now: Instant, old: Ipv4Addr, new: Ipv4Addr, seed: u64) {
        match &mut self.engine {
            Engine::Behaviour(nat, inside) => **nat = Nat::new(*nat.behaviour(), [new], *inside, seed),
            Engine::Rules(rules) => {
                let outside = rules.outside;
                rules.router.remove_address(now, outside, IpAddr::V4(old));
                rules.router.add_address(outside, IpNet::from(IpAddr::V4(new)));
            }
        }
    }

    /// What went to a side.
    pub const fn traffic(&self, to: Side) -> Traffic {
        self.traffic[place(to)]
    }

    fn count(&mut self, to: Side, packet: &[u8]) {
        let traffic = &mut self.traffic[place(to)];
        traffic.packets += 1;
        traffic.bytes += packet.len() as u64;
    }

    /// The NAT, if it is one with a behaviour.
    pub fn nat(&self) -> Option<&Nat<Ipv4Addr>> {
        match &self.engine {
            Engine::Behaviour(nat, _) => Some(nat),
            Engine::Rules(_) => None,
        }
    }

    /// The router, if it is one with rules.
    pub fn router(&mut self) -> Option<&mut Router> {
        match &mut self.engine {
            Engine::Behaviour(..) => None,
            Engine::Rules(rules) => Some(&mut rules.router),
        }
    }
}

impl Rules {
    fn process(&mut self, now: Instant, from: Side, packet: &mut Packet) -> Option<Side> {
        let verdict = self.router.process(now, self.interface(from), packet);
        match verdict {
            Verdict::Forward(by) => Some(self.side(by)),
            Verdict::Deliver | Verdict::Hold | Verdict::Drop(_) => None,
        }
    }

    const fn interface(&self, side: Side) -> InterfaceId {
        match side {
            Side::Inside => self.inside,
            Side::Outside => self.outside,
        }
    }

    fn side(&self, by: InterfaceId) -> Side {
        if by == self.inside { Side::Inside } else { Side::Outside }
    }
}

/// A rule whose source NAT chooses from these ports. One for every protocol becomes several: ports are asked for by protocol.
fn within(rule: Rule<Ipv4Addr>, ports: (u16, u16)) -> Vec<Rule<Ipv4Addr>> {
    let confine = |range: &Range<Ipv4Addr>| Range { ports: Some(ports), ..*range };
    let target = match &rule.target {
        Some(Target::Masquerade(range)) if range.ports.is_none() => Target::Masquerade(confine(range)),
        Some(Target::Snat(range)) if range.ports.is_none() => Target::Snat(confine(range)),
        Some(_) | None => return vec![rule],
    };
    let of = |protocol: Protocol| Rule { target: Some(target.clone()), ..rule.clone() }.protocol(protocol.into());
    match rule.header.protocol {
        Some(Not { is, not: false }) if matches!(Protocol::from(is), Protocol::Tcp | Protocol::Udp) => {
            vec![Rule { target: Some(target), ..rule }]
        }
        Some(_) => vec![rule],
        None => vec![of(Protocol::Tcp), of(Protocol::Udp), rule],
    }
}

const fn place(side: Side) -> usize {
    match side {
        Side::Inside => 0,
        Side::Outside => 1,
    }
}
