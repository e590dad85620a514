//! The values of filters, as people type them.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use ipnet::IpNet;
use pinhole_host::netlink::conntrack::{DccpState, Family, SctpState, TcpState, status};

use super::super::names::Labels;

/// An address, or a prefix.
pub(super) fn net(text: &str) -> Result<IpNet, String> {
    let parsed = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
    parsed.ok_or_else(|| "expected an address as in 10.0.0.2, or a prefix as in 10.0.0.0/8 or fd00::/8".into())
}

/// A family by any of its names.
pub(super) fn family(text: &str) -> Result<Family, String> {
    match text.to_ascii_lowercase().as_str() {
        "ipv4" | "inet" | "4" => Ok(Family::V4),
        "ipv6" | "inet6" | "6" => Ok(Family::V6),
        _ => Err("expected ipv4 or ipv6".into()),
    }
}

/// A state of any protocol, by conntrack(8)'s word for it.
pub(super) fn state(text: &str) -> Result<&'static str, String> {
    // The name that conntrack(8) also has for it.
    if text.eq_ignore_ascii_case("LISTEN") {
        return Ok(TcpState::SynSent2.name());
    }
    let tcp = TcpState::ALL.iter().map(|state| state.name());
    let sctp = SctpState::ALL.iter().map(|state| state.name());
    let dccp = DccpState::ALL.iter().map(|state| state.name());
    let found = tcp.clone().chain(sctp).chain(dccp).find(|name| name.eq_ignore_ascii_case(&text.replace('-', "_")));
    found.ok_or_else(|| format!("expected one of {}, or one of SCTP or DCCP", tcp.collect::<Vec<_>>().join(", ")))
}

/// A mark in decimal or hexadecimal, and a mask.
pub(super) fn mark(text: &str) -> Result<(u32, u32), String> {
    let (value, mask) = text.split_once('/').unwrap_or((text, "0xffffffff"));
    let number = |text: &str| match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    };
    number(value).zip(number(mask)).ok_or_else(|| "expected a mark as in 7, 0x2a or 0x20/0xf0".into())
}

/// A label by bit or by name.
pub(super) fn label(text: &str) -> Result<u8, String> {
    let labels = Labels::of_this_system().unwrap_or_default();
    labels.bit(text).ok_or_else(|| "expected a number below 128, or a name in /etc/xtables/connlabel.conf".into())
}

/// A number, or the numbers between two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Range<T> {
    first: T,
    last: T,
}

impl<T: PartialOrd> Range<T> {
    pub(super) fn contains(&self, value: T) -> bool {
        self.first <= value && value <= self.last
    }
}

/// "80", "1000-1999", "600-" for the rest.
impl<T: FromStr + PartialOrd + Copy + Largest> FromStr for Range<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = |text: &str| text.parse::<T>().ok();
        let range = match text.split_once(['-', ':']) {
            None => parse(text).map(|only| (only, only)),
            Some((first, "")) => parse(first).map(|first| (first, T::LARGEST)),
            Some((first, last)) => parse(first).zip(parse(last)),
        };
        let range = range.filter(|(first, last)| first <= last);
        range.map(|(first, last)| Self { first, last }).ok_or_else(|| {
            "expected a number as in 80, two with a dash between as in 1000-1999, or 600- for the rest".into()
        })
    }
}

/// The end of an open range.
pub(in super::super) trait Largest {
    const LARGEST: Self;
}

impl Largest for u16 {
    const LARGEST: Self = Self::MAX;
}

impl Largest for u32 {
    const LARGEST: Self = Self::MAX;
}

/// Status bits that are to be set or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Bits {
    pub(super) value: u32,
    pub(super) mask: u32,
}

impl Bits {
    pub(super) fn and(self, other: Self) -> Self {
        Self { value: self.value | other.value, mask: self.mask | other.mask }
    }
}

impl FromStr for Bits {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let upper = text.to_ascii_uppercase();
        let (name, is_set) = match upper.strip_prefix('!') {
            Some(name) => (name, false),
            None => (upper.as_str(), true),
        };
        let bit = match name {
            "UNREPLIED" => {
                return Ok(Self { value: if is_set { 0 } else { status::SEEN_REPLY }, mask: status::SEEN_REPLY });
            }
            "SNAT" => Some(status::SRC_NAT),
            "DNAT" => Some(status::DST_NAT),
            _ => status::NAMES.iter().find(|(known, _)| *known == name).map(|(_, bit)| *bit),
        };
        let mask = bit.ok_or_else(|| {
            let names: Vec<_> = status::NAMES.iter().map(|(name, _)| *name).collect();
            format!("expected UNREPLIED or one of {}", names.join(", "))
        })?;
        Ok(Self { value: if is_set { mask } else { 0 }, mask })
    }
}

/// An address, and a port if it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Endpoint {
    address: IpAddr,
    port: Option<u16>,
}

impl Endpoint {
    pub(super) fn matches(&self, other: SocketAddr) -> bool {
        self.address == other.ip() && self.port.is_none_or(|port| port == other.port())
    }
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.trim_start_matches('[').trim_end_matches(']').parse() {
            return Ok(Self { address, port: None });
        }
        let both = text.parse::<SocketAddr>();
        both.map(|both| Self { address: both.ip(), port: Some(both.port()) }).map_err(|_| {
            "expected an address as in 192.0.2.1, or with a port as in 192.0.2.1:51820 or [fd00::1]:80".into()
        })
    }
}
