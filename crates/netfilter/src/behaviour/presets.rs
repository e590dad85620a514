//! Behaviours of devices that exist, each with the reason why it is as it is.

use pinhole_sansio::Duration;

use super::config::Dependence::{AddressAndPortDependent, AddressDependent, EndpointIndependent};
use super::config::{
    Allocation, Behaviour, Hairpin, IcmpErrors, Limits, Pairing, Pooling, Refresh, Refusal, Timers, Unsolicited,
};
use crate::ports::{HoldDown, Range};

const SECOND: Duration = Duration::from_secs(1);

/// The ports that are not well known.
const HIGH: Range = Range::new(1_024, 65_535);

/// The lowest times that the RFCs allow, or recommend where they do.
const RFC_TIMERS: Timers = Timers {
    udp: Duration::from_secs(300),               // RFC 4787 REQ-5 c
    udp_stream: Duration::from_secs(300),        // the same
    tcp_established: Duration::from_secs(7_440), // RFC 5382 REQ-5: 2 h 4 min
    tcp_opening: Duration::from_secs(240),       // the same: 4 min
    tcp_closing: Duration::from_secs(240),
    tcp_reset: Duration::from_secs(240), // RFC 7857 §2.2
    icmp: Duration::from_secs(60),       // RFC 5508 REQ-2
};

/// The defaults of Linux's connection tracking (`nf_conntrack_proto_*.c`).
const LINUX_TIMERS: Timers = Timers {
    udp: Duration::from_secs(30),
    udp_stream: Duration::from_secs(120),
    tcp_established: Duration::from_secs(432_000),
    tcp_opening: Duration::from_secs(120),
    tcp_closing: Duration::from_secs(120),
    tcp_reset: Duration::from_secs(10),
    icmp: Duration::from_secs(30),
};

const fn all(mapping: super::Dependence, filtering: super::Dependence) -> [Pairing; 2] {
    [Pairing::new(mapping, filtering); 2]
}

impl Behaviour {
    /// The names of all presets.
    pub const NAMES: [&'static str; 9] = [
        "rfc4787",
        "home_router",
        "full_cone_router",
        "openwrt",
        "linux_masquerade",
        "cgn_rfc6888",
        "mobile_carrier",
        "cloud_nat",
        "corporate_firewall",
    ];

    /// The preset with this name, one of [`NAMES`](Self::NAMES).
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "rfc4787" => Self::rfc4787(),
            "home_router" => Self::home_router(),
            "full_cone_router" => Self::full_cone_router(),
            "openwrt" => Self::openwrt(),
            "linux_masquerade" => Self::linux_masquerade(),
            "cgn_rfc6888" => Self::cgn_rfc6888(),
            "mobile_carrier" => Self::mobile_carrier(),
            "cloud_nat" => Self::cloud_nat(),
            "corporate_firewall" => Self::corporate_firewall(),
            _ => return None,
        })
    }

    /// All that RFC 4787, 5382, 5508 and 7857 demand and recommend where transparency comes first: every inside endpoint
    /// has one external endpoint, which anybody may send to.
    pub const fn rfc4787() -> Self {
        let [udp, tcp] = all(EndpointIndependent, EndpointIndependent);
        Self {
            udp,
            tcp,
            icmp: Pairing::new(EndpointIndependent, AddressDependent),
            allocation: Allocation::PreservingOrRandom,
            ports: HIGH,
            keep_class: true,
            keep_parity: true,
            contiguous: false,
            overloading: false,
            hold_down: HoldDown::NONE,
            pooling: Pooling::Paired,
            hairpin: Hairpin::ExternalSource,
            timers: RFC_TIMERS,
            refresh: Refresh::Outbound,
            unsolicited: Unsolicited::HoldThenIcmp(Duration::from_secs(6)),
            refusal: Refusal::Prohibited,
            icmp_errors: IcmpErrors::Translated,
            pick_up: false,
            poisoning: false,
            limits: Limits::NONE,
        }
    }

    /// What most homes have: endpoint-independent mapping, port preservation, filtering by address and port, hairpinning
    /// that shows the inside address, UDP forgotten after a minute, and resets for unexpected connections.
    pub const fn home_router() -> Self {
        let [udp, tcp] = all(EndpointIndependent, AddressAndPortDependent);
        Self {
            udp,
            tcp,
            allocation: Allocation::Preserving,
            keep_class: false,
            keep_parity: false,
            hairpin: Hairpin::InternalSource,
            timers: Timers {
                udp: Duration::from_secs(60),
                udp_stream: Duration::from_secs(180),
                tcp_established: Duration::from_secs(7_440),
                tcp_opening: Duration::from_secs(120),
                tcp_closing: Duration::from_secs(120),
                tcp_reset: Duration::from_secs(10),
                icmp: Duration::from_secs(30),
            },
            refresh: Refresh::Both,
            unsolicited: Unsolicited::Reset,
            refusal: Refusal::Silence,
            pick_up: true,
            ..Self::rfc4787()
        }
    }

    /// A router with "full cone NAT" switched on, as gamers want it: as [`home_router`](Self::home_router), but whoever
    /// knows the external endpoint may send to it, and hosts behind it reach each other by it.
    pub const fn full_cone_router() -> Self {
        let [udp, _] = all(EndpointIndependent, EndpointIndependent);
        Self { udp, hairpin: Hairpin::ExternalSource, ..Self::home_router() }
    }

    /// OpenWrt: Linux's masquerade behind a firewall that rejects what comes in unexpected (`option input REJECT` of its zone
    /// `wan`), before it could poison a mapping.
    pub const fn openwrt() -> Self {
        Self { poisoning: false, ..Self::linux_masquerade() }
    }

    /// Stock Linux with a single masquerade rule. Mapping looks endpoint-independent, since ports are preserved, but a
    /// port is unique only together with the remote endpoint: two hosts share it, and a packet from outside that comes too
    /// early takes it away (the poisoning that hole punching meets).
    pub const fn linux_masquerade() -> Self {
        let [udp, tcp] = all(EndpointIndependent, AddressAndPortDependent);
        Self {
            udp,
            tcp,
            allocation: Allocation::PreservingOrRandom,
            keep_class: true,
            keep_parity: false,
            overloading: true,
            pooling: Pooling::Arbitrary,
            hairpin: Hairpin::None,
            timers: LINUX_TIMERS,
            refresh: Refresh::Both,
            unsolicited: Unsolicited::Reset,
            refusal: Refusal::Silence,
            pick_up: true,
            poisoning: true,
            ..Self::rfc4787()
        }
    }

    /// A carrier's NAT as RFC 6888 wants it: paired addresses, ports that cannot be guessed and rest for two minutes, quotas
    /// for each subscriber, and nothing that is thrown out to make room.
    pub const fn cgn_rfc6888() -> Self {
        Self {
            allocation: Allocation::Random,
            hold_down: HoldDown { time: Duration::from_secs(120), ports: 16_384 },
            refusal: Refusal::HostUnreachable,
            limits: Limits { ports: 2_000, sessions: 16_000, rate: 500, ..Limits::NONE },
            ..Self::rfc4787()
        }
    }

    /// What a mobile phone is behind: ports in blocks, so that there is little to log; sessions that are forgotten soon; and
    /// a mapping for every remote endpoint, which makes direct connections hard.
    pub const fn mobile_carrier() -> Self {
        let [udp, tcp] = all(AddressAndPortDependent, AddressAndPortDependent);
        Self {
            udp,
            tcp,
            allocation: Allocation::Blocks { size: 512, most: 4 },
            keep_class: false,
            keep_parity: false,
            pooling: Pooling::Paired,
            hairpin: Hairpin::None,
            timers: Timers {
                udp: Duration::from_secs(30),
                udp_stream: Duration::from_secs(60),
                tcp_established: Duration::from_secs(1_800),
                tcp_opening: Duration::from_secs(60),
                tcp_closing: Duration::from_secs(60),
                tcp_reset: Duration::from_secs(5),
                icmp: Duration::from_secs(30),
            },
            refresh: Refresh::Both,
            unsolicited: Unsolicited::Silence,
            refusal: Refusal::Silence,
            limits: Limits { ports: 2_048, sessions: 4_096, ..Limits::NONE },
            ..Self::rfc4787()
        }
    }

    /// The managed NAT gateway of a cloud: it serves clients, so it has a random port for each remote endpoint, lets nobody in,
    /// and keeps idle TCP for 350 seconds only.
    pub const fn cloud_nat() -> Self {
        let [udp, tcp] = all(AddressAndPortDependent, AddressAndPortDependent);
        Self {
            udp,
            tcp,
            icmp: Pairing::new(AddressDependent, AddressDependent),
            allocation: Allocation::Random,
            keep_class: false,
            keep_parity: false,
            pooling: Pooling::SoftlyPaired,
            hairpin: Hairpin::None,
            timers: Timers {
                udp: Duration::from_secs(120),
                udp_stream: Duration::from_secs(120),
                tcp_established: Duration::from_secs(350),
                tcp_opening: Duration::from_secs(60),
                tcp_closing: Duration::from_secs(60),
                tcp_reset: Duration::from_secs(10),
                icmp: Duration::from_secs(60),
            },
            refresh: Refresh::Both,
            unsolicited: Unsolicited::Silence,
            refusal: Refusal::Silence,
            ..Self::rfc4787()
        }
    }

    /// The firewall of an office: symmetric, from a counter, which can be predicted; nothing comes in that was not asked for,
    /// ICMP errors included.
    pub const fn corporate_firewall() -> Self {
        let [udp, tcp] = all(AddressAndPortDependent, AddressAndPortDependent);
        Self {
            udp,
            tcp,
            icmp: Pairing::new(AddressDependent, AddressDependent),
            allocation: Allocation::Sequential { step: 1 },
            keep_class: false,
            keep_parity: false,
            hairpin: Hairpin::None,
            timers: Timers {
                udp: Duration::from_secs(120),
                udp_stream: Duration::from_secs(120),
                tcp_established: Duration::from_secs(3_600),
                tcp_opening: Duration::from_secs(30),
                tcp_closing: Duration::from_secs(30),
                tcp_reset: SECOND,
                icmp: Duration::from_secs(10),
            },
            refresh: Refresh::Both,
            unsolicited: Unsolicited::Silence,
            refusal: Refusal::Silence,
            icmp_errors: IcmpErrors::Dropped,
            ..Self::rfc4787()
        }
    }
}
