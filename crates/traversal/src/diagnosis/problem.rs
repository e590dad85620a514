//! What stands in the way: each problem with its evidence and how much it matters.
//!
//! Thresholds are constants with their reasons. A problem is found only on evidence; what could not be seen is a problem of its
//! own ([`Problem::FirewallHidden`]), and a small one.

use core::net::IpAddr;

use super::Protocol;
use super::facts::{
    Allocation, Busiest, Dependence, Facts, Fate, Firewall, Nat, Outside, PathMtu, Service, is_private, is_public,
    is_shared,
};
use super::layers::{Layer, Owner};

/// A table this full, in percent, drops flows at the next burst.
const FULL: u64 = 90;
/// One this full is worth a look.
const FILLING: u64 = 75;
/// WireGuard's keepalive where one is needed: 25 s (wg(8)). What forgets UDP sooner closes the path between two packets.
const KEEPALIVE_S: u32 = 25;
/// Fewer local ports than this are used up by one busy client; Linux has 28,232.
const FEW_PORTS: u32 = 8_192;
/// From so much of the ports on, in percent, connect() to the destination that holds them takes milliseconds, not microseconds:
/// it looks at the ports of one parity first (`pinhole_timewait::capacity`).
const PRESSING: u32 = 50;
/// What WireGuard puts around a packet over IPv4: 20 IP, 8 UDP, 32 its own. Over IPv6 it is 80.
const OVERHEAD_V4: u32 = 60;
/// wg-quick's MTU inside, where it is told nothing.
const USUAL_INSIDE: u32 = 1_420;
/// IPv6 needs as much (RFC 8200 §5).
const LEAST_MTU: u32 = 1_280;

/// A problem and what it is worth.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// What it is, with its evidence.
    pub problem: Problem,
    /// How much it matters.
    pub severity: Severity,
}

/// How much a problem matters, the most first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Nothing works.
    Blocking,
    /// Much does not.
    Serious,
    /// Something does not, or will not.
    Warning,
    /// Worth knowing.
    Notice,
}

/// What stands in the way. The order is that of usefulness within a severity.
#[derive(Clone, Debug, PartialEq)]
pub enum Problem {
    /// No interface is up and has an address.
    NoInterface,
    /// There is no IPv4 default route.
    NoDefaultRoute {
        /// But one of IPv6.
        has_v6: bool,
    },
    /// The gateway does not answer.
    GatewaySilent {
        /// Which one.
        gateway: IpAddr,
    },
    /// The host's own filter drops answers to what it has sent.
    InputDropsAnswers {
        /// By this chain.
        by: String,
    },
    /// No server outside answers by UDP.
    UdpBlocked {
        /// How many were asked.
        asked: usize,
    },
    /// The provider translates.
    CarrierNat {
        /// With this address on the inside of the carrier, if it is known.
        wan: Option<IpAddr>,
        /// And this one outside.
        public: Option<IpAddr>,
    },
    /// Two routers of one's own, or of the provider, translate one after the other.
    DoubleNat {
        /// The address between them, if it is known.
        between: Option<IpAddr>,
    },
    /// Every destination gets another port.
    HardMapping {
        /// On what it depends.
        mapping: Dependence,
        /// How ports are chosen.
        allocation: Option<Allocation>,
    },
    /// This connection tracking table is nearly full.
    ConntrackFull {
        /// Flows now.
        count: u32,
        /// Flows at most.
        max: u32,
    },
    /// A packet from outside that comes too early takes the mapping away.
    Poisoned,
    /// This host translates for others, and takes packets from outside for itself: that poisons mappings.
    InputPoisons,
    /// The host's own filter drops strangers' packets to the port.
    InputDropsStrangers {
        /// Which port.
        port: u16,
        /// By this chain.
        by: String,
    },
    /// Somewhere UDP flows are forgotten sooner than keepalives come.
    ShortUdpTimeout {
        /// After so many seconds.
        seconds: u32,
        /// Whether it is this host that forgets.
        is_ours: bool,
    },
    /// Packets as large as WireGuard's do not get through.
    SmallMtu {
        /// What gets through, in bytes.
        path: u32,
        /// What WireGuard's interface should have.
        inside: u32,
        /// Whether larger packets vanish, and nobody is told.
        is_silent: bool,
    },
    /// One destination holds many of the local ports, most of them by dead connections.
    TimeWaitPressure(Busiest),
    /// There are few local ports.
    FewPorts {
        /// The lowest.
        first: u16,
        /// The highest.
        last: u16,
    },
    /// Packets that come in by another way than answers would leave are dropped, and there is more than one way.
    StrictReversePath {
        /// On this interface.
        interface: String,
    },
    /// The first hop knows a protocol for port mapping and refuses.
    MappingRefused {
        /// Which one.
        protocol: Protocol,
        /// In its words.
        reason: String,
    },
    /// The first hop knows none.
    NoMapping,
    /// There is no IPv6.
    NoIpv6 {
        /// There are an address and a route, but nobody answers.
        is_broken: bool,
    },
    /// Rules of the host's own filter could not be understood.
    FirewallUnclear {
        /// In this chain.
        by: String,
    },
    /// The host's own filter could not be seen.
    FirewallHidden,
    /// Without CAP_NET_RAW no openers.
    NoRawSockets,
    /// Without CAP_NET_ADMIN no WireGuard device.
    NoNetAdmin,
}

impl Problem {
    /// As it stands in JSON.
    pub const fn key(&self) -> &'static str {
        match self {
            Self::NoInterface => "no-interface",
            Self::NoDefaultRoute { .. } => "no-default-route",
            Self::GatewaySilent { .. } => "gateway-silent",
            Self::InputDropsAnswers { .. } => "input-drops-answers",
            Self::UdpBlocked { .. } => "udp-blocked",
            Self::CarrierNat { .. } => "carrier-nat",
            Self::DoubleNat { .. } => "double-nat",
            Self::HardMapping { .. } => "hard-mapping",
            Self::ConntrackFull { .. } => "conntrack-full",
            Self::Poisoned => "poisoned",
            Self::InputPoisons => "input-poisons",
            Self::InputDropsStrangers { .. } => "input-drops-strangers",
            Self::ShortUdpTimeout { .. } => "short-udp-timeout",
            Self::SmallMtu { .. } => "small-mtu",
            Self::TimeWaitPressure(_) => "time-wait-pressure",
            Self::FewPorts { .. } => "few-ports",
            Self::StrictReversePath { .. } => "strict-reverse-path",
            Self::MappingRefused { .. } => "mapping-refused",
            Self::NoMapping => "no-mapping",
            Self::NoIpv6 { .. } => "no-ipv6",
            Self::FirewallUnclear { .. } => "firewall-unclear",
            Self::FirewallHidden => "firewall-hidden",
            Self::NoRawSockets => "no-raw-sockets",
            Self::NoNetAdmin => "no-net-admin",
        }
    }

    /// How much it matters.
    pub fn severity(&self) -> Severity {
        match self {
            Self::NoInterface
            | Self::GatewaySilent { .. }
            | Self::InputDropsAnswers { .. }
            | Self::UdpBlocked { .. } => Severity::Blocking,
            Self::NoDefaultRoute { has_v6 } => {
                if *has_v6 {
                    Severity::Serious
                } else {
                    Severity::Blocking
                }
            }
            Self::CarrierNat { .. } | Self::HardMapping { .. } => Severity::Serious,
            Self::ConntrackFull { count, max } => match percent(*count, *max) {
                FULL.. => Severity::Serious,
                _ => Severity::Warning,
            },
            Self::DoubleNat { .. }
            | Self::Poisoned
            | Self::InputPoisons
            | Self::ShortUdpTimeout { .. }
            | Self::SmallMtu { .. }
            | Self::TimeWaitPressure(_)
            | Self::FewPorts { .. } => Severity::Warning,
            Self::InputDropsStrangers { .. }
            | Self::StrictReversePath { .. }
            | Self::MappingRefused { .. }
            | Self::NoMapping
            | Self::NoIpv6 { .. }
            | Self::FirewallUnclear { .. }
            | Self::FirewallHidden
            | Self::NoRawSockets
            | Self::NoNetAdmin => Severity::Notice,
        }
    }
}

impl Severity {
    /// As it stands in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Blocking => "blocking",
            Self::Serious => "serious",
            Self::Warning => "warning",
            Self::Notice => "notice",
        }
    }
}

/// Everything that stands in the way, most useful first.
pub fn find(facts: &Facts, layers: &[Layer]) -> Vec<Finding> {
    let mut problems = Vec::new();
    way_out(facts, &mut problems);
    if !problems.iter().any(|problem| matches!(problem, Problem::NoInterface | Problem::NoDefaultRoute { .. })) {
        nats(facts, layers, &mut problems);
        // A router that is not there maps no ports, and that is not the point.
        if !problems.iter().any(|problem| matches!(problem, Problem::GatewaySilent { .. })) {
            first_hop(facts, &mut problems);
        }
        ipv6(facts, &mut problems);
    }
    firewall(facts, &mut problems);
    kernel(facts, &mut problems);
    let mut findings: Vec<Finding> =
        problems.into_iter().map(|problem| Finding { severity: problem.severity(), problem }).collect();
    // Stable: within a severity the order above stays.
    findings.sort_by_key(|finding| finding.severity);
    findings
}

fn way_out(facts: &Facts, problems: &mut Vec<Problem>) {
    if !facts.interfaces.iter().any(|interface| !interface.addresses.is_empty()) {
        problems.push(Problem::NoInterface);
        return;
    }
    let Some(route) = &facts.default_v4 else {
        problems.push(Problem::NoDefaultRoute { has_v6: facts.default_v6.is_some() });
        return;
    };
    if let (Some(gateway), Some(false)) = (route.router, facts.gateway_answers)
        && !matches!(facts.udp, Outside::Answers(_))
    {
        problems.push(Problem::GatewaySilent { gateway });
    }
}

fn nats(facts: &Facts, layers: &[Layer], problems: &mut Vec<Problem>) {
    for layer in layers {
        match layer.owner {
            Owner::FirstHop => {}
            Owner::Carrier => {
                let own = facts.default_v4.as_ref().and_then(|route| route.source).filter(|&ip| is_shared(ip));
                let told = facts.first_hop.external().map(|(_, ip)| ip);
                problems.push(Problem::CarrierNat { wan: told.or(own), public: layer.outside });
            }
            Owner::SecondRouter => {
                let told = facts.first_hop.external().map(|(_, ip)| ip).filter(|&ip| is_private(ip));
                problems.push(Problem::DoubleNat { between: told.or(layer.inside) });
            }
        }
    }
    match &facts.udp {
        Outside::NotAsked => {}
        Outside::Blocked { asked } => problems.push(Problem::UdpBlocked { asked: *asked }),
        Outside::Answers(nat) => translation(nat, problems),
    }
}

fn translation(nat: &Nat, problems: &mut Vec<Problem>) {
    match nat.mapping {
        Some(Dependence::EndpointIndependent) | None => {}
        Some(mapping @ (Dependence::AddressDependent | Dependence::AddressAndPortDependent)) => {
            problems.push(Problem::HardMapping { mapping, allocation: nat.allocation });
        }
    }
    if nat.poisoned == Some(true) {
        problems.push(Problem::Poisoned);
    }
    if let Some(seconds) = nat.lifetime.and_then(|lifetime| u32::try_from(lifetime.as_secs()).ok())
        && seconds <= KEEPALIVE_S
    {
        problems.push(Problem::ShortUdpTimeout { seconds, is_ours: false });
    }
}

fn first_hop(facts: &Facts, problems: &mut Vec<Problem>) {
    let services = Protocol::ALL.map(|protocol| (protocol, facts.first_hop.service(protocol)));
    let is_direct = matches!(&facts.udp, Outside::Answers(nat) if nat.translated == Some(false));
    if is_direct || services.iter().any(|(_, service)| service.maps()) {
        return;
    }
    let refused = services.iter().find_map(|&(protocol, service)| match service {
        Service::Refuses { reason, .. } => Some(Problem::MappingRefused { protocol, reason: reason.clone() }),
        Service::NotAsked | Service::Silent | Service::Works { .. } => None,
    });
    let all_silent = services.iter().all(|(_, service)| **service == Service::Silent);
    problems.extend(refused.or(all_silent.then_some(Problem::NoMapping)));
}

fn ipv6(facts: &Facts, problems: &mut Vec<Problem>) {
    let mut addresses = facts.interfaces.iter().flat_map(|interface| &interface.addresses);
    let has_address = addresses.any(|&(ip, _)| ip.is_ipv6() && is_public(ip));
    if !has_address || facts.default_v6.is_none() {
        problems.push(Problem::NoIpv6 { is_broken: false });
    } else if facts.v6_answers == Some(false) {
        problems.push(Problem::NoIpv6 { is_broken: true });
    }
}

fn firewall(facts: &Facts, problems: &mut Vec<Problem>) {
    let (stranger, answer, elsewhere, masquerades) = match &facts.firewall {
        Firewall::NotAsked | Firewall::Unsupported => return,
        Firewall::Hidden => return problems.push(Problem::FirewallHidden),
        Firewall::Seen { stranger, answer, elsewhere, masquerades } => (stranger, answer, elsewhere, *masquerades),
    };
    if let Fate::Dropped { by } = answer {
        return problems.push(Problem::InputDropsAnswers { by: by.clone() });
    }
    if masquerades && facts.settings.forwards == Some(true) && *elsewhere == Fate::Accepted {
        problems.push(Problem::InputPoisons);
    }
    match stranger {
        Fate::Accepted => {}
        Fate::Dropped { by } => problems.push(Problem::InputDropsStrangers { port: facts.port, by: by.clone() }),
        Fate::Unclear { by } => problems.push(Problem::FirewallUnclear { by: by.clone() }),
    }
}

fn kernel(facts: &Facts, problems: &mut Vec<Problem>) {
    if let Some(table) = facts.conntrack {
        if percent(table.count, table.max) >= FILLING {
            problems.push(Problem::ConntrackFull { count: table.count, max: table.max });
        }
        // Without flows nothing is tracked here, and nothing forgotten.
        if let Some(seconds) = table.udp_stream_s.filter(|&seconds| table.count > 0 && seconds <= KEEPALIVE_S) {
            problems.push(Problem::ShortUdpTimeout { seconds, is_ours: true });
        }
    }
    if let Some(PathMtu { bytes: path, is_told }) = facts.path_mtu
        && path < USUAL_INSIDE + OVERHEAD_V4
    {
        let inside = path.saturating_sub(OVERHEAD_V4).max(LEAST_MTU);
        problems.push(Problem::SmallMtu { path, inside, is_silent: !is_told });
    }
    if let Some(busiest) = facts.busiest
        && (busiest.used * 100 >= busiest.ports * PRESSING || busiest.exhausted_after_s.is_some())
    {
        problems.push(Problem::TimeWaitPressure(busiest));
    }
    if let Some((first, last)) = facts.settings.port_range {
        let ports = u32::from(last.saturating_sub(first)) + 1;
        if ports < FEW_PORTS {
            problems.push(Problem::FewPorts { first, last });
        }
    }
    if let Some(route) = &facts.default_v4
        && facts.settings.rp_filter == Some(1)
        && facts.is_multihomed
    {
        problems.push(Problem::StrictReversePath { interface: route.interface.clone() });
    }
    if let Some(capabilities) = facts.capabilities {
        if !capabilities.net_raw {
            problems.push(Problem::NoRawSockets);
        }
        if !capabilities.net_admin {
            problems.push(Problem::NoNetAdmin);
        }
    }
}

fn percent(count: u32, max: u32) -> u64 {
    if max == 0 { 0 } else { u64::from(count) * 100 / u64::from(max) }
}
