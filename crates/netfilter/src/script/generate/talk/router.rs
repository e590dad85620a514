//! The routers of talks: helpers, a translation, zones, marks and a filter, drawn and put together.

use core::net::{IpAddr, SocketAddr};

use pinhole_sansio::Rng;

use super::{inside_host, one, outside_host};
use crate::script::{Family, Setup, Side};

#[derive(Clone, Debug)]
pub(super) struct Router {
    /// Whether flows to the ports of helpers get them.
    pub helps: bool,
    nat: &'static Nat,
    zones: &'static [&'static str],
    marks: &'static [&'static str],
    filter: &'static [&'static str],
}

/// A translation, as rules of the nat table. `P`, `Q` are two addresses of the outside network, `H`, `I` the inside hosts;
/// `[P]` becomes `P` in IPv4.
#[derive(Debug)]
struct Nat {
    rules: &'static [&'static str],
    inbound: f64,
    /// As whom the outside reaches an inside host.
    outside: Outside,
}

#[derive(Clone, Copy, Debug)]
enum Outside {
    Itself,
    Router,
    P,
    Mapped,
}

const NATS: [Nat; 22] = [
    Nat { rules: &[], inbound: 0.3, outside: Outside::Itself },
    Nat { rules: &["-A POSTROUTING -o out -j MASQUERADE"], inbound: 0.05, outside: Outside::Router },
    Nat { rules: &["-A POSTROUTING -o out -j MASQUERADE"], inbound: 0.05, outside: Outside::Router },
    Nat { rules: &["-A POSTROUTING -o out -j SNAT --to-source P"], inbound: 0.05, outside: Outside::P },
    Nat { rules: &["-A POSTROUTING -o out -j SNAT --to-source P-Q"], inbound: 0.05, outside: Outside::P },
    Nat { rules: &["-A POSTROUTING -o out -j SNAT --to-source P-Q --persistent"], inbound: 0.05, outside: Outside::P },
    Nat { rules: &["-A POSTROUTING -o out -j SNAT --to-source P-Q --random"], inbound: 0.05, outside: Outside::P },
    Nat {
        rules: &[
            "-A POSTROUTING -o out -p tcp -j SNAT --to-source [P]:4000-4001",
            "-A POSTROUTING -o out -p udp -j SNAT --to-source [P]:4000-4001",
        ],
        inbound: 0.05,
        outside: Outside::P,
    },
    Nat {
        rules: &[
            "-A POSTROUTING -o out -p tcp -j SNAT --to-source [P-Q]:2000-2003 --random",
            "-A POSTROUTING -o out -p udp -j SNAT --to-source [P-Q]:2000-2003",
        ],
        inbound: 0.05,
        outside: Outside::P,
    },
    Nat { rules: &["-A POSTROUTING -o out -j MASQUERADE --random"], inbound: 0.05, outside: Outside::Router },
    Nat { rules: &["-A POSTROUTING -o out -j MASQUERADE --random-fully"], inbound: 0.05, outside: Outside::Router },
    Nat {
        rules: &[
            "-A POSTROUTING -o out -p tcp -j MASQUERADE --to-ports 3000-3002",
            "-A POSTROUTING -o out -p udp -j MASQUERADE --to-ports 4000-4000",
        ],
        inbound: 0.05,
        outside: Outside::Router,
    },
    Nat { rules: &["-A PREROUTING -i out -d P -j DNAT --to-destination H"], inbound: 0.8, outside: Outside::P },
    Nat { rules: &["-A PREROUTING -i out -d P -j DNAT --to-destination H-I"], inbound: 0.8, outside: Outside::P },
    Nat {
        rules: &["-A PREROUTING -i out -d P -j DNAT --to-destination H-I --persistent"],
        inbound: 0.8,
        outside: Outside::P,
    },
    Nat {
        rules: &[
            "-A PREROUTING -i out -d P -p tcp -j DNAT --to-destination [H]:7000-7002",
            "-A PREROUTING -i out -d P -p udp -j DNAT --to-destination [H-I]:7000-7001 --random",
        ],
        inbound: 0.8,
        outside: Outside::P,
    },
    Nat {
        rules: &[
            "-A PREROUTING -i out -d P -p tcp -j DNAT --to-destination [H]:8000-8100/80",
            "-A PREROUTING -i out -d P -p udp -j DNAT --to-destination [H]:8000-8100/69",
        ],
        inbound: 0.8,
        outside: Outside::P,
    },
    Nat {
        rules: &["-A PREROUTING -i out -p tcp -j REDIRECT --to-ports 2121", "-A PREROUTING -i in -p udp -j REDIRECT"],
        inbound: 0.5,
        outside: Outside::P,
    },
    Nat {
        rules: &[
            "-A PREROUTING -i out -d P/NET -j NETMAP --to H/NET",
            "-A POSTROUTING -o out -s H/NET -j NETMAP --to P/NET",
        ],
        inbound: 0.4,
        outside: Outside::Mapped,
    },
    Nat {
        rules: &["-A PREROUTING -i out -d P -j DNAT --to-destination H", "-A POSTROUTING -o out -j SNAT --to-source P"],
        inbound: 0.5,
        outside: Outside::P,
    },
    Nat {
        rules: &[
            "-A PREROUTING -i out -d P -j DNAT --to-destination H",
            "-A POSTROUTING -o out -j MASQUERADE",
            "-A POSTROUTING -o in -j MASQUERADE",
        ],
        inbound: 0.5,
        outside: Outside::P,
    },
    Nat {
        rules: &["-A PREROUTING -i in -d D -j DNAT --to-destination E", "-A POSTROUTING -o out -j MASQUERADE"],
        inbound: 0.1,
        outside: Outside::Router,
    },
];

/// Rules of the raw table that put flows in zones.
const ZONES: [&[&str]; 8] = [
    &[],
    &[],
    &[],
    &[],
    &["-A PREROUTING -i in -j CT --zone 1", "-A PREROUTING -i out -j CT --zone 1"],
    &["-A PREROUTING -i in -j CT --zone-orig 1"],
    &["-A PREROUTING -i out -j CT --zone-reply 2"],
    &["-A PREROUTING -i in -s H -j CT --zone-orig 1", "-A PREROUTING -i in -s I -j CT --zone-orig 2"],
];

/// Rules of the mangle table that mark packets and flows.
const MARKS: [&[&str]; 6] = [
    &[],
    &[],
    &[
        "-A PREROUTING -j CONNMARK --restore-mark",
        "-A POSTROUTING -j MARK --set-xmark 0x5/0xff",
        "-A POSTROUTING -j CONNMARK --save-mark",
    ],
    &[
        "-A PREROUTING -i in -j MARK --set-xmark 0x1234/0xffffffff",
        "-A PREROUTING -j CONNMARK --save-mark --nfmask 0xff --ctmask 0xff00",
        "-A FORWARD -j CONNMARK --restore-mark --nfmask 0xf0 --ctmask 0xffff",
        "-A POSTROUTING -m mark --mark 0x30/0x30 -j CONNMARK --or-mark 0x10000",
    ],
    &[
        "-A FORWARD -i in -m conntrack --ctstate NEW -j CONNMARK --set-xmark 0x11/0xf",
        "-A FORWARD -m connmark --mark 0x11/0xff -j CONNMARK --xor-mark 0x100",
        "-A FORWARD -m conntrack --ctdir REPLY -j CONNMARK --and-mark 0xfffffffe",
    ],
    &[
        "-A PREROUTING -i in -p tcp -j CONNMARK --set-mark 0x7/0x3",
        "-A PREROUTING -i out -m conntrack --ctstate RELATED -j MARK --or-mark 0x80",
        "-A POSTROUTING -j CONNMARK --save-mark --mask 0x80",
    ],
];

/// Rules of the filter table.
const FILTERS: [&[&str]; 5] = [
    &[],
    &[],
    &["-A FORWARD -m conntrack --ctstate INVALID -j DROP"],
    &[
        "-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        "-A FORWARD -i in -m conntrack --ctstate NEW -j ACCEPT",
        "-A FORWARD -m conntrack --ctstate DNAT -j ACCEPT",
        "-A FORWARD -j DROP",
    ],
    &["-A FORWARD -m conntrack --ctstate INVALID -j REJECT", "-A FORWARD -i out -m conntrack --ctstate NEW -j DROP"],
];

/// Helpers of flows by protocol and port, those of IPv6 first.
const HELPERS: [(&str, u16, &str); 6] = [
    ("tcp", 21, "ftp"),
    ("udp", 69, "tftp"),
    ("udp", 5_060, "sip"),
    ("tcp", 5_060, "sip"),
    ("tcp", 6_667, "irc"),
    ("tcp", 1_723, "pptp"),
];

impl Router {
    pub fn of_seed(seed: u64) -> Self {
        let mut rng = Rng::from_seed(seed ^ 0x726f_7574);
        let rng = &mut rng;
        Self {
            helps: rng.chance(0.7),
            nat: &NATS[rng.below(NATS.len() as u64) as usize],
            zones: one(&ZONES, rng),
            marks: one(&MARKS, rng),
            filter: one(&FILTERS, rng),
        }
    }

    pub fn setup(&self) -> Setup {
        let rules = Family::ALL.map(|family| (family, self.rules(family)));
        let rules = rules.into_iter().filter(|(_, text)| !text.is_empty()).collect();
        Setup { rules, ..Setup::default() }
    }

    fn rules(&self, family: Family) -> String {
        let is_v4 = family == Family::Ipv4;
        let count = if is_v4 { 6 } else { 4 };
        let helpers = HELPERS.iter().take(if self.helps { count } else { 0 });
        let mut raw: Vec<String> = self.zones.iter().map(|rule| named(rule, is_v4)).collect();
        raw.extend(helpers.map(|(protocol, port, helper)| {
            // A later rule does not change what an earlier one has said: where there are zones, they come with it.
            format!("-A PREROUTING -p {protocol} -m {protocol} --dport {port} -j CT --helper {helper}")
        }));
        if self.helps && !self.zones.is_empty() {
            raw.rotate_left(self.zones.len());
        }
        let of = |rules: &[&str]| rules.iter().map(|rule| named(rule, is_v4)).collect::<Vec<_>>();
        let tables =
            [("raw", raw), ("mangle", of(self.marks)), ("nat", of(self.nat.rules)), ("filter", of(self.filter))];
        let tables = tables.into_iter().filter(|(_, rules)| !rules.is_empty());
        tables.map(|(name, rules)| format!("*{name}\n{}\nCOMMIT\n", rules.join("\n"))).collect()
    }

    /// How often flows begin outside.
    pub fn inbound(&self) -> f64 {
        self.nat.inbound
    }

    /// How often flows are IPv6.
    pub fn v6(&self) -> f64 {
        0.35
    }

    /// The end that opens a flow, and the other as it sees it.
    pub fn ends(&self, opener: Side, is_v4: bool, port: u16, rng: &mut Rng) -> (SocketAddr, SocketAddr) {
        let from = if rng.chance(0.9) { 4_000 + rng.below(3) as u16 } else { one(&[20, 511, 700, 1_023, 65_535], rng) };
        let (inside, outside) = (inside_host(is_v4, rng), outside_host(is_v4, rng));
        let (own, peer) = match opener {
            Side::In => (inside, outside),
            Side::Out => (outside, self.seen(inside, rng)),
        };
        (SocketAddr::new(own, from), SocketAddr::new(peer, port))
    }

    /// An inside host as the outside knows it.
    fn seen(&self, inside: IpAddr, rng: &mut Rng) -> IpAddr {
        let is_v4 = inside.is_ipv4();
        let address = |word: &str| named(word, is_v4).parse().unwrap_or(inside);
        if rng.chance(0.03) {
            return inside;
        }
        match self.nat.outside {
            Outside::Itself => inside,
            Outside::Router => address("R"),
            Outside::P => address("P"),
            Outside::Mapped => match inside {
                IpAddr::V4(v4) => [203, 0, 113, v4.octets()[3]].into(),
                IpAddr::V6(v6) => [0x2001, 0xdb8, 0, 0, 0, 0, 0, v6.segments()[7]].into(),
            },
        }
    }
}

/// The rule with addresses of a family for its words.
fn named(rule: &str, is_v4: bool) -> String {
    let names: [(&str, &str, &str); 7] = [
        ("H", "10.0.0.10", "fd00::a"),
        ("I", "10.0.0.11", "fd00::b"),
        ("P", "203.0.113.5", "2001:db8::5"),
        ("Q", "203.0.113.8", "2001:db8::8"),
        ("R", "203.0.113.1", "2001:db8::1"),
        ("D", "198.51.100.1", "2001:db8:1::1"),
        ("E", "198.51.100.2", "2001:db8:1::2"),
    ];
    let mut words = Vec::new();
    for word in rule.split(' ') {
        let is_name = |part: &str| names.iter().find(|(name, ..)| *name == part);
        let mut text = String::new();
        let mut rest = word;
        while !rest.is_empty() {
            let len = rest.find(|c: char| !c.is_ascii_uppercase()).unwrap_or(rest.len()).max(1);
            let (part, behind) = rest.split_at(len);
            text += match is_name(part) {
                Some((_, v4, v6)) => {
                    if is_v4 {
                        v4
                    } else {
                        v6
                    }
                }
                None if part == "NET" => {
                    if is_v4 {
                        "24"
                    } else {
                        "64"
                    }
                }
                None if is_v4 && matches!(part, "[" | "]") => "",
                None => part,
            };
            rest = behind;
        }
        words.push(text);
    }
    words.join(" ")
}
