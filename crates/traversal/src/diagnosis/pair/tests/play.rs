//! The techniques, played between two small NATs with four hundred ports each: what is said to be sure must come through every
//! time, what is said to work as a rule mostly, and where a relay is needed nothing may.

use std::collections::{BTreeMap, BTreeSet};

use pinhole_sansio::Rng;

use super::super::super::facts::Dependence;
use super::super::super::facts::Dependence::{AddressAndPortDependent, AddressDependent, EndpointIndependent};
use super::super::*;

const PORTS: u16 = 400;
const SERVER: u8 = 9;
/// Sockets that a hard side opens for a spray.
const SOCKETS: u16 = 30;
/// Ports that the other side tries: far from all of them, as in the world outside.
const PROBES: u16 = 80;
/// Worlds in which each technique is played.
const WORLDS: u64 = 20;

/// `(address, port)`; a side's address is its number.
type End = (u8, u16);

struct Nat {
    address: u8,
    mapping: Dependence,
    filtering: Dependence,
    allocation: Allocation,
    /// Whether an answer to what came in by a mapping leaves by it: some do, none must.
    reuses: bool,
    next: u16,
    rng: Rng,
    /// Socket and as much of the remote end as counts, to the port outside.
    mapped: BTreeMap<(u16, Option<u8>, Option<u16>), u16>,
    owners: BTreeMap<u16, u16>,
    sent: BTreeSet<(u16, End)>,
    sent_to_address: BTreeSet<(u16, u8)>,
}

impl Nat {
    fn new(address: u8, side: &Side, reuses: bool, seed: u64) -> Self {
        Self {
            address,
            mapping: side.mapping.expect("a NAT"),
            filtering: side.filtering.expect("a NAT"),
            allocation: side.allocation.expect("a NAT"),
            reuses,
            next: 100,
            rng: Rng::from_seed(seed),
            mapped: BTreeMap::new(),
            owners: BTreeMap::new(),
            sent: BTreeSet::new(),
            sent_to_address: BTreeSet::new(),
        }
    }

    /// As whom `socket` is seen at `to`, to which it sends.
    fn out(&mut self, socket: u16, to: End) -> End {
        let key = match self.mapping {
            EndpointIndependent => (socket, None, None),
            AddressDependent => (socket, Some(to.0), None),
            AddressAndPortDependent => (socket, Some(to.0), Some(to.1)),
        };
        let port = match self.mapped.get(&key) {
            Some(&port) => port,
            None => {
                let port = self.choose(socket);
                self.mapped.insert(key, port);
                self.owners.insert(port, socket);
                port
            }
        };
        self.sent.insert((port, to));
        self.sent_to_address.insert((port, to.0));
        (self.address, port)
    }

    fn choose(&mut self, socket: u16) -> u16 {
        match self.allocation {
            // Dependent mappings that keep the port share it; the remote end tells them apart.
            Allocation::Preserving => socket,
            Allocation::Sequential => {
                self.next += 1;
                self.next
            }
            Allocation::Block | Allocation::Random => loop {
                let port = self.rng.below(u64::from(PORTS)) as u16;
                if !self.owners.contains_key(&port) {
                    break port;
                }
            },
        }
    }

    /// Which socket gets what comes from `from` to `port`, if one does.
    fn inwards(&mut self, port: u16, from: End) -> Option<u16> {
        let socket = *self.owners.get(&port)?;
        let admitted = match self.filtering {
            EndpointIndependent => true,
            AddressDependent => self.sent_to_address.contains(&(port, from.0)),
            AddressAndPortDependent => self.sent.contains(&(port, from)),
        };
        if admitted && self.reuses {
            let key = match self.mapping {
                EndpointIndependent => (socket, None, None),
                AddressDependent => (socket, Some(from.0), None),
                AddressAndPortDependent => (socket, Some(from.0), Some(from.1)),
            };
            self.mapped.entry(key).or_insert(port);
        }
        admitted.then_some(socket)
    }
}

/// Two NATs whose hosts have asked a server from socket 0 as whom they are seen.
struct World {
    nats: [Nat; 2],
    known: [End; 2],
}

impl World {
    fn new(sides: [&Side; 2], reuses: bool, seed: u64) -> Self {
        let mut nats = [Nat::new(0, sides[0], reuses, seed), Nat::new(1, sides[1], reuses, seed + 1_000)];
        let known = [nats[0].out(0, (SERVER, 1)), nats[1].out(0, (SERVER, 1))];
        Self { nats, known }
    }

    /// `from` sends from `socket`; if that arrives, the other answers, and if the answer arrives there is a path.
    fn send(&mut self, from: usize, socket: u16, to: End) -> bool {
        let seen = self.nats[from].out(socket, to);
        let Some(receiver) = self.nats[1 - from].inwards(to.1, seen).filter(|_| usize::from(to.0) == 1 - from) else {
            return false;
        };
        let answer = self.nats[1 - from].out(receiver, seen);
        // The receiver of the answer may see it from elsewhere; WireGuard takes that.
        self.nats[from].inwards(seen.1, answer).is_some()
    }

    /// Where the next mapping of `side` towards the other will be.
    fn guessed(&self, side: usize) -> End {
        let nat = &self.nats[side];
        let port = match (nat.mapping, nat.allocation) {
            (EndpointIndependent, _) | (_, Allocation::Preserving | Allocation::Block | Allocation::Random) => {
                self.known[side].1
            }
            (_, Allocation::Sequential) => nat.next + 1,
        };
        (side as u8, port)
    }

    fn play(&mut self, way: Way) -> bool {
        let callee = |callee| match callee {
            Callee::Us => 0,
            Callee::Them => 1,
        };
        match way {
            Way::Call(who) => {
                let who = callee(who);
                self.send(1 - who, 0, self.known[who])
            }
            Way::Punch => {
                let known = self.known;
                (0..2).any(|_| self.send(0, 0, known[1]) || self.send(1, 0, known[0]))
            }
            Way::OpenAddress(who) => {
                let who = callee(who);
                self.send(who, 0, (1 - who as u8, 777));
                self.send(1 - who, 0, self.known[who])
            }
            Way::Guess => {
                let guessed = [self.guessed(0), self.guessed(1)];
                (0..2).any(|_| self.send(0, 0, guessed[1]) || self.send(1, 0, guessed[0]))
            }
            Way::Spray => self.spray(0) || self.spray(1),
            Way::Ipv6 | Way::SameNetwork | Way::Hairpin | Way::MappedPort(_) => false,
        }
    }

    /// `hard` opens many sockets towards where the other is or will be, and the other tries ports from one socket.
    fn spray(&mut self, hard: usize) -> bool {
        let target = self.guessed(1 - hard);
        for socket in 1..=SOCKETS {
            self.send(hard, socket, target);
        }
        // 37 and 400 have no common factor, so no port comes twice.
        (0..PROBES).any(|probe| self.send(1 - hard, 0, (hard as u8, probe * 37 % PORTS)))
    }
}

/// How often `way` comes through, in percent.
fn rate(sides: [&Side; 2], way: Way, reuses: bool) -> usize {
    let through = (0..WORLDS).filter(|&seed| World::new(sides, reuses, seed).play(way)).count();
    through * 100 / WORLDS as usize
}

#[test]
fn techniques_come_through_as_the_verdicts_say() {
    let nats = super::nats();
    for (at, us) in nats.iter().enumerate() {
        // The other half of the table is this one, mirrored.
        for them in &nats[..=at] {
            let pair = || format!("{} and {}", super::name(us), super::name(them));
            match judge(us, them).outcome {
                Outcome::Direct { way, is_sure: true } => {
                    assert_eq!(rate([us, them], way, false), 100, "{}: {way:?} is sure", pair());
                }
                Outcome::Direct { way, is_sure: false } => {
                    let rate = rate([us, them], way, true);
                    assert!(rate >= 75, "{}: {way:?} works as a rule: {rate} %", pair());
                }
                Outcome::Relay(_) => {
                    let calls = [Callee::Us, Callee::Them];
                    let ways = calls.into_iter().flat_map(|who| [Way::Call(who), Way::OpenAddress(who)]);
                    for way in ways.chain([Way::Punch, Way::Guess, Way::Spray]) {
                        let rate = rate([us, them], way, false);
                        assert!(rate < 40, "{}: {way:?} would do: {rate} %", pair());
                    }
                }
                Outcome::Unclear => panic!("{}: all is known", pair()),
            }
        }
    }
}
