//! Who is there: few hosts and few ports, so that flows collide. Each is an IPv4 and an IPv6 address.

/// An inside host.
pub(super) const LAN: [&str; 2] = ["10.0.0.1", "fd00::1"];
/// Another one.
pub(super) const LAN2: [&str; 2] = ["10.0.0.2", "fd00::2"];
/// The router, outside.
pub(super) const WAN: [&str; 2] = ["203.0.113.1", "2001:db8::1"];
/// An address that only rules have.
pub(super) const POOL: [&str; 2] = ["203.0.113.5", "2001:db8::5"];
/// The last one of several such.
pub(super) const TOP: [&str; 2] = ["203.0.113.7", "2001:db8::7"];
/// A host out there.
pub(super) const FAR: [&str; 2] = ["198.51.100.7", "2001:db8:7::7"];
/// Another one.
pub(super) const FAR2: [&str; 2] = ["198.51.100.8", "2001:db8:7::8"];
/// A host behind the third interface, which has no IPv6 address.
pub(super) const DMZ: [&str; 2] = ["192.168.9.1", "2001:db8:9::1"];

/// Who sends by each interface.
pub(super) const BEHIND: [&[[&str; 2]]; 3] = [&[LAN, LAN2, LAN, FAR], &[FAR, FAR2, FAR, LAN], &[DMZ]];

/// To whom things go.
pub(super) const TARGETS: [[&str; 2]; 12] = [
    FAR,
    FAR2,
    FAR,
    WAN,
    POOL,
    LAN,
    LAN2,
    DMZ,
    ["10.0.0.254", "fd00::fe"],
    ["224.0.0.1", "ff02::1"],
    ["203.0.113.255", "::1"],
    TOP,
];

/// Ports that things come from.
pub(super) const SOURCE_PORTS: [u16; 6] = [5_000, 5_001, 5_000, 600, 1, 53];
/// Ports that things go to.
pub(super) const PORTS: [u16; 10] = [53, 80, 21, 69, 5_060, 6_667, 1_723, 5_000, 5_001, 80];
