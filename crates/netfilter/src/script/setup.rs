//! The router of a script: two sides with addresses, settings and rules.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::Item;

/// Where a packet comes in or goes out; also the name of the router's interface there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// The inside: 10.0.0.0/24 and fd00::/64 unless a script says otherwise.
    In,
    /// The outside, and all else: 203.0.113.0/24 and 2001:db8::/64 unless a script says otherwise.
    Out,
}

impl Side {
    /// Both.
    pub const ALL: [Self; 2] = [Self::In, Self::Out];

    /// The place of this side in an array of two.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The word for it, which is also the interface's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Out => "out",
        }
    }

    /// The side of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|side| side.name() == name)
    }

    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::In => Self::Out,
            Self::Out => Self::In,
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Which protocol rules are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// Those of `iptables-save`.
    Ipv4,
    /// Those of `ip6tables-save`.
    Ipv6,
}

impl Family {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Ipv4, Self::Ipv6];

    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
        }
    }

    /// The family of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|family| family.name() == name)
    }
}

/// A router with two interfaces, `in` and `out`, that forwards between them. Both have no link layer, so every address is
/// reached at once. What is not inside is outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setup {
    /// Its addresses, each with the network that is reached through that side.
    pub addresses: Vec<(Side, IpNet)>,
    /// What else is reached through a side, beside the default route to the outside.
    pub routes: Vec<(Side, IpNet)>,
    /// Settings below `net.netfilter`, such as `nf_conntrack_udp_timeout`, with their values.
    pub settings: Vec<(String, String)>,
    /// Rules, as `iptables-save` writes them.
    pub rules: Vec<(Family, String)>,
}

impl Default for Setup {
    fn default() -> Self {
        Self { addresses: DEFAULT_ADDRESSES.map(net).to_vec(), routes: vec![], settings: vec![], rules: vec![] }
    }
}

/// What the router has unless a script says otherwise (RFC 5737, RFC 3849, RFC 4193).
const DEFAULT_ADDRESSES: [(Side, IpAddr, u8); 4] = [
    (Side::In, IpAddr::V4(Ipv4Addr::new(10, 0, 0, 254)), 24),
    (Side::Out, IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1)), 24),
    (Side::In, IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0xfe)), 64),
    (Side::Out, IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)), 64),
];

fn net((side, address, prefix_len): (Side, IpAddr, u8)) -> (Side, IpNet) {
    (side, IpNet::new_assert(address, prefix_len))
}

impl Setup {
    /// The default router with these rules.
    pub fn with_rules(family: Family, rules: &str) -> Self {
        Self { rules: vec![(family, rules.to_owned())], ..Self::default() }
    }

    /// The first address of a family at a side: what masquerading takes.
    pub fn address(&self, side: Side, family: Family) -> Option<IpAddr> {
        let of_family = |address: &IpAddr| match family {
            Family::Ipv4 => address.is_ipv4(),
            Family::Ipv6 => address.is_ipv6(),
        };
        self.addresses.iter().filter(|(at, _)| *at == side).map(|(_, net)| net.addr()).find(of_family)
    }

    /// Gives the router `net` in the place of the default address of that side and family; a further one is added.
    pub(super) fn replace_address(&mut self, side: Side, address: IpNet) {
        let same = |&(at, other): &(Side, IpNet)| at == side && other.addr().is_ipv4() == address.addr().is_ipv4();
        let is_default = |entry: &(Side, IpNet)| DEFAULT_ADDRESSES.map(net).contains(entry);
        self.addresses.retain(|entry| !(same(entry) && is_default(entry)) || *entry == (side, address));
        if !self.addresses.contains(&(side, address)) {
            self.addresses.push((side, address));
        }
    }

    /// Whether a rule attaches a helper.
    pub fn has_helpers(&self) -> bool {
        self.rules.iter().any(|(_, text)| text.contains("--helper"))
    }

    /// The zones that flows may be in: that of all without a rule, and those that rules name.
    pub fn zones(&self) -> Vec<u16> {
        let words = self.rules.iter().flat_map(|(_, text)| text.split_ascii_whitespace());
        let (names, values) = (words.clone(), words.skip(1));
        let named = names.zip(values).filter(|(name, _)| name.starts_with("--zone"));
        let mut zones: Vec<u16> = named.filter_map(|(_, value)| value.parse().ok()).collect();
        zones.push(0);
        zones.sort_unstable();
        zones.dedup();
        zones
    }

    /// The lines that say all this.
    pub(super) fn items(&self) -> Vec<Item> {
        let default = Self::default();
        let addresses = self.addresses.iter().filter(|_| self.addresses != default.addresses);
        let addresses = addresses.map(|&(side, net)| Item::Address(side, net));
        let settings = self.settings.iter().map(|(name, value)| Item::Set(name.clone(), value.clone()));
        let routes = self.routes.iter().map(|&(side, net)| Item::Route(side, net));
        let rules = self.rules.iter().map(|(family, text)| Item::Rules(*family, text.clone()));
        settings.chain(addresses).chain(routes).chain(rules).collect()
    }
}
