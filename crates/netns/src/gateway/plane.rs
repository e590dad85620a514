//! What a router of ours does to packets between its inside and its outside.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use pinhole_netfilter::behaviour::{Behaviour, Nat, Side, Verdict as NatVerdict};
use pinhole_netfilter::rules::{RulesError, Ruleset};
use pinhole_netfilter::settings::Settings;
use pinhole_netfilter::{Interface, InterfaceId, Packet, Router, Verdict};
use pinhole_sansio::Instant;
use pinhole_wire::offload::VnetHdr;

/// An engine with an inside and an outside. Time and packets come in as arguments.
#[derive(Debug)]
pub struct Plane {
    engine: Engine,
    /// Answers to packets, which go out before anything else.
    answers: VecDeque<(Side, Vec<u8>)>,
}

#[derive(Debug)]
enum Engine {
    Behaviour(Box<Nat<Ipv4Addr>>),
    Rules(Box<Rules>),
}

/// Netfilter's hooks between two interfaces.
#[derive(Debug)]
struct Rules {
    router: Router,
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
        Self { engine: Engine::Behaviour(Box::new(nat)), answers: VecDeque::new() }
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
        let mut router = Router::new(Settings::default(), seed);
        let (inside, outside) = (router.add_interface(inside), router.add_interface(outside));
        let everything = [IpNet::V4(ipnet::Ipv4Net::default()), IpNet::V6(ipnet::Ipv6Net::default())];
        everything.into_iter().for_each(|net| router.add_route(net, outside));
        router.set_rules_v4(v4);
        router.set_rules_v6(v6);
        let rules = Rules { router, inside, outside };
        Ok(Self { engine: Engine::Rules(Box::new(rules)), answers: VecDeque::new() })
    }

    /// Takes a packet that came from a side, with what its TUN device says about it (the default, if it says nothing); the
    /// side it goes to, where it goes on, rewritten.
    ///
    /// A packet that stands for many is one to the engine; its checksum stays as partial as it was.
    pub fn process(&mut self, now: Instant, from: Side, vnet: &VnetHdr, packet: &mut Packet) -> Option<Side> {
        let to = match &mut self.engine {
            Engine::Behaviour(nat) => match nat.process(now, from, &mut packet.bytes) {
                NatVerdict::Forward(to) => Some(to),
                NatVerdict::Answer(answer) => {
                    self.answers.push_back((from, answer));
                    None
                }
                NatVerdict::Kept | NatVerdict::Drop(_) => None,
            },
            Engine::Rules(rules) => rules.process(now, from, !vnet.is_checksum_partial(), packet),
        };
        if to.is_some() {
            vnet.renew_partial_checksum(&mut packet.bytes);
        }
        to
    }

    /// A packet that goes to a side without being the one that was asked about.
    pub fn poll_output(&mut self) -> Option<(Side, Vec<u8>)> {
        self.answers.pop_front().or_else(|| match &mut self.engine {
            Engine::Behaviour(nat) => nat.poll_output(),
            Engine::Rules(rules) => rules.router.poll_transmit().map(|(by, packet)| (rules.side(by), packet.bytes)),
        })
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match &self.engine {
            Engine::Behaviour(nat) => nat.poll_timeout(),
            Engine::Rules(rules) => rules.router.poll_timeout(),
        }
    }

    /// Lets time pass.
    pub fn handle_timeout(&mut self, now: Instant) {
        match &mut self.engine {
            Engine::Behaviour(nat) => nat.handle_timeout(now),
            Engine::Rules(rules) => rules.router.handle_timeout(now),
        }
    }

    /// The NAT, if it is one with a behaviour.
    pub fn nat(&self) -> Option<&Nat<Ipv4Addr>> {
        match &self.engine {
            Engine::Behaviour(nat) => Some(nat),
            Engine::Rules(_) => None,
        }
    }

    /// The router, if it is one with rules.
    pub fn router(&mut self) -> Option<&mut Router> {
        match &mut self.engine {
            Engine::Behaviour(_) => None,
            Engine::Rules(rules) => Some(&mut rules.router),
        }
    }
}

impl Rules {
    fn process(&mut self, now: Instant, from: Side, is_checksum_whole: bool, packet: &mut Packet) -> Option<Side> {
        let input = match from {
            Side::Inside => self.inside,
            Side::Outside => self.outside,
        };
        // A packet that this machine sent itself has no checksum yet, and is not judged by it (`CHECKSUM_PARTIAL`).
        let (v4, v6) = (self.router.v4().settings.checksum, self.router.v6().settings.checksum);
        self.router.v4().settings.checksum &= is_checksum_whole;
        self.router.v6().settings.checksum &= is_checksum_whole;
        let verdict = self.router.process(now, input, packet);
        self.router.v4().settings.checksum = v4;
        self.router.v6().settings.checksum = v6;
        match verdict {
            Verdict::Forward(by) => Some(self.side(by)),
            Verdict::Deliver | Verdict::Hold | Verdict::Drop(_) => None,
        }
    }

    fn side(&self, by: InterfaceId) -> Side {
        if by == self.inside { Side::Inside } else { Side::Outside }
    }
}
