//! The routers of cases: one for each kind of rule, with what is known beforehand of its translations.

use core::net::{IpAddr, Ipv4Addr};

use pinhole_sansio::Rng;

use crate::script::{Family, Setup};

/// A kind of router.
#[derive(Debug)]
pub(super) struct Rules {
    /// Its rules for IPv4, as `iptables-save` writes them.
    text: &'static str,
    /// Its rules for IPv6.
    text_v6: &'static str,
    /// How often its flows are IPv6.
    pub(super) v6: f64,
    /// How often flows begin outside.
    pub(super) inbound: f64,
    /// As whom the outside sees an inside host.
    outside_view: View,
}

#[derive(Clone, Copy, Debug)]
enum View {
    Same,
    Is(Ipv4Addr),
    Mapped,
}

/// The router's own address outside, and another one of its network.
const ROUTER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
const POOL: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 5);

const FILTER: &str = "*filter\n:FORWARD DROP [0:0]\n-A FORWARD -m conntrack --ctstate INVALID -j DROP\n\
     -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n\
     -A FORWARD -i in -m conntrack --ctstate NEW -j ACCEPT\nCOMMIT\n";

pub(super) const ALL: [Rules; 8] = [
    Rules { text: "", text_v6: "", v6: 0.3, inbound: 0.3, outside_view: View::Same },
    Rules {
        text: "*nat\n-A POSTROUTING -o out -j MASQUERADE\nCOMMIT\n",
        text_v6: "",
        v6: 0.0,
        inbound: 0.1,
        outside_view: View::Is(ROUTER),
    },
    Rules { text: FILTER, text_v6: FILTER, v6: 0.3, inbound: 0.3, outside_view: View::Same },
    Rules {
        text: "*nat\n-A POSTROUTING -o out -j SNAT --to-source 203.0.113.5\nCOMMIT\n",
        text_v6: "",
        v6: 0.0,
        inbound: 0.1,
        outside_view: View::Is(POOL),
    },
    Rules {
        text: "*nat\n-A PREROUTING -i out -d 203.0.113.5/32 -j DNAT --to-destination 10.0.0.10\nCOMMIT\n",
        text_v6: "",
        v6: 0.0,
        inbound: 0.8,
        outside_view: View::Is(POOL),
    },
    Rules {
        text: "*nat\n-A PREROUTING -i out -d 203.0.113.0/24 -j NETMAP --to 10.0.0.0/24\n\
               -A POSTROUTING -o out -s 10.0.0.0/24 -j NETMAP --to 203.0.113.0/24\nCOMMIT\n",
        text_v6: "",
        v6: 0.0,
        inbound: 0.4,
        outside_view: View::Mapped,
    },
    Rules {
        text: "*raw\n-A PREROUTING -p udp -j CT --notrack\n-A PREROUTING -p icmp -j CT --notrack\nCOMMIT\n",
        text_v6: "",
        v6: 0.0,
        inbound: 0.3,
        outside_view: View::Same,
    },
    Rules {
        text: "*nat\n-A PREROUTING -i in -d 203.0.113.5/32 -j DNAT --to-destination 10.0.0.10\n\
               -A PREROUTING -i out -d 203.0.113.5/32 -j DNAT --to-destination 10.0.0.10\n\
               -A POSTROUTING -s 10.0.0.0/24 -j MASQUERADE\nCOMMIT\n",
        text_v6: "",
        v6: 0.0,
        inbound: 0.4,
        outside_view: View::Is(ROUTER),
    },
];

impl Rules {
    pub(super) fn setup(&self) -> Setup {
        let texts = [(Family::Ipv4, self.text), (Family::Ipv6, self.text_v6)];
        let rules = texts.into_iter().filter(|(_, text)| !text.is_empty());
        Setup { rules: rules.map(|(family, text)| (family, text.to_owned())).collect(), ..Setup::default() }
    }

    /// The address by which the outside reaches an inside host.
    pub(super) fn outside_view(&self, inside: IpAddr, rng: &mut Rng) -> IpAddr {
        let IpAddr::V4(v4) = inside else { return inside };
        match self.outside_view {
            View::Same => inside,
            View::Is(address) if rng.chance(0.97) => address.into(),
            // As if there were no translation: it is not for the router.
            View::Is(_) => inside,
            View::Mapped => Ipv4Addr::new(203, 0, 113, v4.octets()[3]).into(),
        }
    }
}
