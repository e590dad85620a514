//! What a simulated router does to packets: the engine, with a behaviour or with rules.
//!
//! A NAT with a behaviour is no hop by itself, so the time to live is counted here; a router with rules counts it itself.
//! [`RouterKind::Kernel`] is simulated by the engine with the rules that the kernel would have.

use std::collections::VecDeque;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};
use pinhole_netfilter::behaviour::{self, Behaviour, Nat, Side};
use pinhole_netfilter::rules::{RulesError, Ruleset};
use pinhole_netfilter::settings::Settings;
use pinhole_netfilter::{Interface, InterfaceId, Packet, Router, router};
use pinhole_sansio::Instant;
use pinhole_wire::answer::{self, MAX_ERROR_V4, Trouble};
use pinhole_wire::ipv4;

use crate::topology::{PortAllocation, RouterKind, WanInput};

/// What becomes of a packet at a router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It goes on to this side.
    Forward(Side),
    /// It was for the router itself.
    Taken,
    /// It may go on later.
    Kept,
    /// It goes no further.
    Refused(Refusal),
}

/// Why a router lets a packet go no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The NAT says so.
    Nat(behaviour::Reason),
    /// The rules, or what tracks connections.
    Rules(router::Reason),
    /// Its time to live ran out.
    Expired,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nat(reason) => write!(f, "{reason}"),
            Self::Rules(reason) => write!(f, "{reason}"),
            Self::Expired => f.write_str("its time to live has run out"),
        }
    }
}

/// A router's engine.
#[derive(Debug)]
pub(super) struct Gate {
    kind: RouterKind,
    public: Ipv4Addr,
    inside: Ipv4Net,
    engine: Engine,
    /// What the router sends itself.
    answers: VecDeque<(Side, Vec<u8>)>,
}

#[derive(Debug)]
enum Engine {
    Nat(Box<Nat<Ipv4Addr>>),
    Rules { router: Box<Router>, inside: InterfaceId, outside: InterfaceId },
}

impl Gate {
    /// A router of this kind, with its public address and its network inside.
    pub(super) fn new(kind: &RouterKind, public: Ipv4Addr, inside: Ipv4Net, seed: u64) -> Result<Self, RulesError> {
        let engine = Engine::new(kind, public, inside, seed)?;
        Ok(Self { kind: kind.clone(), public, inside, engine, answers: VecDeque::new() })
    }

    /// It forgets all flows, and draws other ports from now on; with another address, if there is one.
    pub(super) fn restart(&mut self, public: Option<Ipv4Addr>, seed: u64) {
        self.public = public.unwrap_or(self.public);
        if let Ok(engine) = Engine::new(&self.kind, self.public, self.inside, seed) {
            self.engine = engine;
        }
        self.answers.clear();
    }

    pub(super) fn process(&mut self, now: Instant, from: Side, packet: &mut Vec<u8>) -> Fate {
        match &mut self.engine {
            Engine::Nat(nat) => {
                let address = match from {
                    Side::Inside => self.inside.addr(),
                    Side::Outside => self.public,
                };
                // What is not IPv4 the NAT refuses.
                if let Ok(mut ip) = ipv4::Packet::new_checked(packet.as_mut_slice()) {
                    if from == Side::Inside && ip.dst() == self.inside.addr() {
                        if answer::echo_reply(packet) {
                            self.answers.push_back((from, std::mem::take(packet)));
                        }
                        return Fate::Taken;
                    }
                    if ip.ttl() <= 1 {
                        self.answers.extend(error(packet, address).map(|error| (from, error)));
                        return Fate::Refused(Refusal::Expired);
                    }
                    ip.set_ttl(ip.ttl() - 1);
                    ip.fill_checksum();
                }
                match nat.process(now, from, packet) {
                    behaviour::Verdict::Forward(to) => Fate::Forward(to),
                    behaviour::Verdict::Answer(answer) => {
                        self.answers.push_back((from, answer));
                        Fate::Taken
                    }
                    behaviour::Verdict::Kept => Fate::Kept,
                    behaviour::Verdict::Drop(reason) => Fate::Refused(Refusal::Nat(reason)),
                }
            }
            Engine::Rules { router, inside, outside } => {
                let input = match from {
                    Side::Inside => *inside,
                    Side::Outside => *outside,
                };
                let mut on_its_way = Packet::from(std::mem::take(packet));
                let verdict = router.process(now, input, &mut on_its_way);
                *packet = on_its_way.bytes;
                match verdict {
                    router::Verdict::Forward(by) if by == *inside => Fate::Forward(Side::Inside),
                    router::Verdict::Forward(_) => Fate::Forward(Side::Outside),
                    router::Verdict::Deliver => Fate::Taken,
                    router::Verdict::Hold => Fate::Kept,
                    router::Verdict::Drop(reason) => Fate::Refused(Refusal::Rules(reason)),
                }
            }
        }
    }

    /// The next packet that the router itself sends, and to which side.
    pub(super) fn poll_output(&mut self) -> Option<(Side, Vec<u8>)> {
        self.answers.pop_front().or_else(|| match &mut self.engine {
            Engine::Nat(nat) => nat.poll_output(),
            Engine::Rules { router, inside, .. } => {
                let (by, packet) = router.poll_transmit()?;
                Some((if by == *inside { Side::Inside } else { Side::Outside }, packet.bytes))
            }
        })
    }
}

impl Engine {
    fn new(kind: &RouterKind, public: Ipv4Addr, inside: Ipv4Net, seed: u64) -> Result<Self, RulesError> {
        let rules = match kind {
            RouterKind::Behaviour(behaviour) => return Ok(Self::nat(*behaviour, public, inside, seed)),
            RouterKind::Kernel(nat) => kernel_rules(nat.ports, nat.wan_input),
            RouterKind::Rules(rules) => rules.clone(),
        };
        let rules = Ruleset::<Ipv4Addr>::parse(&rules)?;
        let mut router = Box::new(Router::new(Settings::default(), seed));
        let outside_net = Ipv4Net::new_assert(public, 32);
        let inside = router.add_interface(Interface::new("lan", [IpNet::V4(inside)]));
        let outside = router.add_interface(Interface::new("wan", [IpNet::V4(outside_net)]));
        router.add_route(IpNet::V4(Ipv4Net::default()), outside);
        router.set_rules_v4(rules);
        Ok(Self::Rules { router, inside, outside })
    }

    fn nat(behaviour: Behaviour, public: Ipv4Addr, inside: Ipv4Net, seed: u64) -> Self {
        Self::Nat(Box::new(Nat::new(behaviour, [public], inside.addr(), seed)))
    }
}

/// What `iptables-save` would say of a home router with the kernel's NAT.
fn kernel_rules(ports: PortAllocation, wan_input: WanInput) -> String {
    let random = match ports {
        PortAllocation::Preserving => "",
        PortAllocation::Random => " --random-fully",
    };
    let input = match wan_input {
        WanInput::Drop => "DROP",
        WanInput::Accept => "ACCEPT",
    };
    format!(
        "*nat\n:POSTROUTING ACCEPT [0:0]\n-A POSTROUTING -o wan -j MASQUERADE{random}\nCOMMIT\n\
         *filter\n:INPUT {input} [0:0]\n:FORWARD DROP [0:0]\n\
         -A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n-A INPUT -i lan -j ACCEPT\n\
         -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n-A FORWARD -i lan -o wan -j ACCEPT\nCOMMIT\n"
    )
}

fn error(packet: &[u8], from: Ipv4Addr) -> Option<Vec<u8>> {
    let mut error = vec![0; MAX_ERROR_V4];
    let length = answer::error(packet, Trouble::TimeExceeded, IpAddr::V4(from), &mut error).ok()?;
    error.truncate(length);
    Some(error)
}
