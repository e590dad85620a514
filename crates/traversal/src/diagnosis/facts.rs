//! What was seen, as plain data. Whoever collects it fills in what it can see; the rest stays unknown.

use core::net::{IpAddr, Ipv4Addr, SocketAddr};

use pinhole_sansio::Duration;

use super::Protocol;

/// Everything that was seen.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// The UDP port that is to be reached: WireGuard's.
    pub port: u16,
    /// Interfaces that are up, without the loopback.
    pub interfaces: Vec<Interface>,
    /// The IPv4 default route that packets take.
    pub default_v4: Option<Gateway>,
    /// The IPv6 default route that packets take.
    pub default_v6: Option<Gateway>,
    /// Whether other default routes of IPv4 exist.
    pub is_multihomed: bool,
    /// Whether the IPv4 gateway answers; `None` if it was not asked or need not answer.
    pub gateway_answers: Option<bool>,
    /// What the gateway says of itself.
    pub first_hop: FirstHop,
    /// The first routers on the way out, in order, from time-to-live 1.
    pub hops: Vec<Hop>,
    /// What servers outside see of UDP over IPv4.
    pub udp: Outside,
    /// And of TCP.
    pub tcp: Outside,
    /// Whether a server outside answers over IPv6; `None` if none was asked.
    pub v6_answers: Option<bool>,
    /// What this host's own filter does.
    pub firewall: Firewall,
    /// Connection tracking, where this host tracks.
    pub conntrack: Option<Conntrack>,
    /// Settings of the kernel.
    pub settings: Settings,
    /// Sockets in use.
    pub sockets: Option<Sockets>,
    /// The ports towards the destination that holds most of them.
    pub busiest: Option<Busiest>,
    /// What this process may.
    pub capabilities: Option<Capabilities>,
    /// The largest packet that gets through.
    pub path_mtu: Option<PathMtu>,
}

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// `wireguard`, `tun`, `veth` …; empty for hardware.
    pub kind: String,
    /// Bytes of its largest packet.
    pub mtu: u32,
    /// Its addresses that are good beyond the link, with the lengths of their prefixes.
    pub addresses: Vec<(IpAddr, u8)>,
}

/// Where packets to the Internet go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// To this router; `None` on a link without one.
    pub router: Option<IpAddr>,
    /// Through this interface.
    pub interface: String,
    /// With this source address.
    pub source: Option<IpAddr>,
}

/// What the gateway says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FirstHop {
    /// By PCP.
    pub pcp: Service,
    /// By NAT-PMP.
    pub nat_pmp: Service,
    /// By UPnP.
    pub upnp: Service,
    /// By PCP over IPv6: a pinhole in its firewall.
    pub pcp_v6: Service,
    /// By UPnP's WANIPv6FirewallControl: the same.
    pub upnp_v6: Service,
}

/// A protocol for port mapping at the first hop.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Service {
    /// It was not asked.
    #[default]
    NotAsked,
    /// Nobody answers.
    Silent,
    /// It answers and does not map.
    Refuses {
        /// In the protocol's words.
        reason: String,
        /// The outside address, if it told that.
        external: Option<IpAddr>,
    },
    /// It answers.
    Works {
        /// The outside address, if it told that.
        external: Option<IpAddr>,
        /// The port that it gave for a moment; `None` if none was asked for.
        mapped: Option<SocketAddr>,
    },
}

/// A router on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hop {
    /// How far away it is.
    pub ttl: u8,
    /// Who said that the packet had lived long enough; `None` if nobody did.
    pub address: Option<Ipv4Addr>,
}

/// What servers outside see of one transport.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Outside {
    /// No server was asked.
    #[default]
    NotAsked,
    /// None of so many answers.
    Blocked {
        /// How many were asked.
        asked: usize,
    },
    /// They answer.
    Answers(Nat),
}

/// What discovery says of all translations on the way together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Nat {
    /// Whether the address that servers see is another than this host's.
    pub translated: Option<bool>,
    /// On what mappings depend.
    pub mapping: Option<Dependence>,
    /// On what the filter depends.
    pub filtering: Option<Dependence>,
    /// How ports are chosen.
    pub allocation: Option<Allocation>,
    /// Whether packets to the own mapping come back.
    pub hairpin: Option<bool>,
    /// As whom this host was seen; several if the NAT has a pool and does not keep to one.
    pub public: Vec<IpAddr>,
    /// Whether a packet from outside that came too early took the mapping away.
    pub poisoned: Option<bool>,
    /// How many hops away the outermost filter is that keeps strangers out; 0 is this host's own.
    pub outermost_filter: Option<u8>,
    /// On what the filter of all that is beyond the first hop depends.
    pub filtering_beyond: Option<Dependence>,
    /// How long a silent mapping lives at least.
    pub lifetime: Option<Duration>,
    /// Each verdict with what it rests on, as discovery says it.
    pub evidence: Vec<String>,
}

/// On what of the remote endpoint a mapping or a filter depends (RFC 4787 §4.1, §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dependence {
    /// On nothing.
    EndpointIndependent,
    /// On its address.
    AddressDependent,
    /// On its address and port.
    AddressAndPortDependent,
}

/// How the outside port of a new mapping is chosen (RFC 4787 §4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Allocation {
    /// The inside port, if it is free.
    Preserving,
    /// One after another.
    Sequential,
    /// At random from a small block.
    Block,
    /// At random from all.
    Random,
}

/// What this host's own filter does with packets to itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Firewall {
    /// Nobody looked.
    #[default]
    NotAsked,
    /// This process may not see it.
    Hidden,
    /// This kernel has no nf_tables, or it cannot be asked.
    Unsupported,
    /// What becomes of UDP packets over IPv4 that come in through the default route's interface.
    Seen {
        /// Of one from a stranger to the port that is to be reached.
        stranger: Fate,
        /// Of one that answers what this host has sent.
        answer: Fate,
        /// Of one from a stranger to a port where nothing listens.
        elsewhere: Fate,
        /// Whether this host translates what it forwards: then packets that it takes itself poison mappings.
        masquerades: bool,
    },
}

/// What becomes of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It gets in.
    Accepted,
    /// It is dropped or refused, by this chain (`table chain`).
    Dropped {
        /// By whom.
        by: String,
    },
    /// Rules decide that could not be read, in this chain.
    Unclear {
        /// By whom.
        by: String,
    },
}

/// Connection tracking of this host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Conntrack {
    /// Flows now.
    pub count: u32,
    /// Flows at most (`nf_conntrack_max`).
    pub max: u32,
    /// Seconds that an unanswered UDP flow lives (`nf_conntrack_udp_timeout`).
    pub udp_s: Option<u32>,
    /// Seconds that an answered one lives (`nf_conntrack_udp_timeout_stream`).
    pub udp_stream_s: Option<u32>,
    /// Seconds that an idle TCP connection lives (`nf_conntrack_tcp_timeout_established`).
    pub tcp_established_s: Option<u32>,
}

/// Settings of the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// `ip_local_port_range`: the lowest and the highest.
    pub port_range: Option<(u16, u16)>,
    /// `tcp_tw_reuse`: 0 never, 1 always, 2 on the loopback only.
    pub tw_reuse: Option<u8>,
    /// `rp_filter` as it counts on the default route's interface: 0 off, 1 strict, 2 loose.
    pub rp_filter: Option<u8>,
    /// `ip_forward`.
    pub forwards: Option<bool>,
}

/// Sockets of this network namespace (`/proc/net/sockstat`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sockets {
    /// TCP sockets in use.
    pub tcp: u32,
    /// TCP sockets in TIME_WAIT.
    pub time_wait: u32,
    /// UDP sockets in use.
    pub udp: u32,
}

/// The destination that holds most of the ports that connect() may choose from: each address and port has a pool of its own.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Busiest {
    /// Which one.
    pub to: SocketAddr,
    /// Ports that it holds, those of dead connections too.
    pub used: u32,
    /// Of these, connections in TIME_WAIT.
    pub time_wait: u32,
    /// Ports that there are.
    pub ports: u32,
    /// How long TIME_WAIT lasts on this kernel, in seconds: from and to.
    pub lasts_s: (f64, f64),
    /// In how many seconds none is left, if connections go on being closed as in the last half minute; `None` for never.
    pub exhausted_after_s: Option<f64>,
    /// After so many seconds connect() takes the port of a dead connection there; `None` for not before its end.
    pub reused_after_s: Option<f64>,
}

/// The largest packet that gets to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathMtu {
    /// Bytes, all headers included.
    pub bytes: u32,
    /// Whether routers tell it; otherwise larger packets vanish without a word.
    pub is_told: bool,
}

/// What this process may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// CAP_NET_ADMIN: WireGuard devices, nf_tables, connection tracking.
    pub net_admin: bool,
    /// CAP_NET_RAW: openers, questions from WireGuard's port.
    pub net_raw: bool,
}

impl FirstHop {
    /// What it says by this protocol.
    pub const fn service(&self, protocol: Protocol) -> &Service {
        match protocol {
            Protocol::Pcp => &self.pcp,
            Protocol::NatPmp => &self.nat_pmp,
            Protocol::Upnp => &self.upnp,
        }
    }

    /// What it says by this protocol over IPv6, by which NAT-PMP does not speak.
    pub const fn service_v6(&self, protocol: Protocol) -> &Service {
        match protocol {
            Protocol::Pcp => &self.pcp_v6,
            Protocol::NatPmp => &Service::NotAsked,
            Protocol::Upnp => &self.upnp_v6,
        }
    }

    /// The outside address and who told it, the most reliable first.
    pub fn external(&self) -> Option<(Protocol, IpAddr)> {
        let told = |protocol: Protocol| Some((protocol, self.service(protocol).external()?));
        Protocol::ALL.into_iter().find_map(told)
    }

    /// Whether the address that this protocol told is a public one.
    pub fn is_public(&self, protocol: Protocol) -> bool {
        self.service(protocol).external().is_some_and(is_public)
    }
}

impl Dependence {
    /// All three, the most open first.
    pub const ALL: [Self; 3] = [Self::EndpointIndependent, Self::AddressDependent, Self::AddressAndPortDependent];

    /// As it stands in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::EndpointIndependent => "endpoint-independent",
            Self::AddressDependent => "address-dependent",
            Self::AddressAndPortDependent => "address-and-port-dependent",
        }
    }
}

impl Allocation {
    /// All four, the most predictable first.
    pub const ALL: [Self; 4] = [Self::Preserving, Self::Sequential, Self::Block, Self::Random];

    /// As it stands in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Preserving => "preserving",
            Self::Sequential => "sequential",
            Self::Block => "block",
            Self::Random => "random",
        }
    }
}

/// Whether an address belongs to carriers' NATs: 100.64.0.0/10 (RFC 6598).
pub const fn is_shared(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => matches!(ip.octets(), [100, 64..=127, ..]),
        IpAddr::V6(_) => false,
    }
}

/// Whether an address is one of RFC 1918's.
pub const fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_private(),
        IpAddr::V6(_) => false,
    }
}

/// Whether the whole Internet could route to it. Addresses for documentation count, since laboratories use them.
pub const fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => {
            !(is_private(ip)
                || is_shared(ip)
                || v4.is_loopback()
                || v4.is_link_local()
                || v4.is_unspecified()
                || v4.is_broadcast()
                || v4.is_multicast())
        }
        // 2000::/3, the unicast space that is given out (RFC 4291 §2.4).
        IpAddr::V6(v6) => v6.octets()[0] & 0xe0 == 0x20,
    }
}
