//! Everything but problems: techniques, obstacles, kinds of NAT, headings.

use super::super::facts::{Allocation, Dependence};
use super::super::kinds::{Kind, Share};
use super::super::layers::Owner;
use super::super::pair::{Callee, Fix, Obstacle, Outcome, Way, Who};
use super::super::problem::Severity;
use super::super::{Peer, PublicPort};
use super::{Lang, Row};

/// Headings and small words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is its English text")]
pub enum Word {
    Unknown,
    Way,
    ThisHost,
    Internet,
    Reach,
    PublicPort,
    InTheWay,
    Nothing,
    Pair,
    Direct,
    AsARule,
    NotDirect,
    Unclear,
    ByHand,
    WouldHelp,
    Mapping,
    Filtering,
    Ports,
    Hairpin,
    Yes,
    No,
    NoNat,
    FirewallOnly,
    Likely,
    SeenAs,
    Silent,
    NoMappingService,
    NotAsked,
    Maps,
    Refuses,
    NoIpv6,
    NoServers,
    NoAnswer,
    NotMeasured,
    ForEver,
    AtMost,
}

impl Word {
    /// All of them.
    pub const ALL: [Self; 36] = [
        Self::Unknown,
        Self::Way,
        Self::ThisHost,
        Self::Internet,
        Self::Reach,
        Self::PublicPort,
        Self::InTheWay,
        Self::Nothing,
        Self::Pair,
        Self::Direct,
        Self::AsARule,
        Self::NotDirect,
        Self::Unclear,
        Self::ByHand,
        Self::WouldHelp,
        Self::Mapping,
        Self::Filtering,
        Self::Ports,
        Self::Hairpin,
        Self::Yes,
        Self::No,
        Self::NoNat,
        Self::FirewallOnly,
        Self::Likely,
        Self::SeenAs,
        Self::Silent,
        Self::NoMappingService,
        Self::NotAsked,
        Self::Maps,
        Self::Refuses,
        Self::NoIpv6,
        Self::NoServers,
        Self::NoAnswer,
        Self::NotMeasured,
        Self::ForEver,
        Self::AtMost,
    ];

    /// The text.
    pub const fn text(self, lang: Lang) -> &'static str {
        lang.pick(match self {
            Self::Unknown => ["unknown", "未知"],
            Self::Way => ["The way to the Internet", "通往互联网的路径"],
            Self::ThisHost => ["this host", "本机"],
            Self::Internet => ["Internet", "互联网"],
            Self::Reach => ["WireGuard, directly, with a peer", "WireGuard 直连,对端为"],
            Self::PublicPort => ["A public port", "公网端口"],
            Self::InTheWay => ["What stands in the way, and what to do", "有哪些障碍,怎么办"],
            Self::Nothing => ["Nothing.", "没有。"],
            Self::Pair => ["This host and the other one", "本机与对端"],
            Self::Direct => ["direct", "直连"],
            Self::AsARule => ["direct as a rule", "通常可以直连"],
            Self::NotDirect => ["not direct", "不能直连"],
            Self::Unclear => ["unclear: too little is known", "不确定:信息不足"],
            Self::ByHand => ["pinhole does not do this by itself yet", "pinhole 目前还不会自动这样做"],
            Self::WouldHelp => ["what would help", "可以改善的办法"],
            Self::Mapping => ["mapping", "映射"],
            Self::Filtering => ["filtering", "过滤"],
            Self::Ports => ["ports", "端口"],
            Self::Hairpin => ["hairpin", "回环"],
            Self::Yes => ["yes", "支持"],
            Self::No => ["no", "不支持"],
            Self::NoNat => ["no NAT", "没有 NAT"],
            Self::FirewallOnly => ["no NAT, a firewall only", "没有 NAT,只有防火墙"],
            Self::Likely => ["likely", "很可能"],
            Self::SeenAs => ["seen as", "外面看到的地址"],
            Self::Silent => ["silent", "没有应答"],
            Self::NoMappingService => ["maps no ports (PCP, NAT-PMP, UPnP)", "不能映射端口(PCP、NAT-PMP、UPnP)"],
            Self::NotAsked => ["not asked", "未询问"],
            Self::Maps => ["maps ports", "可以映射端口"],
            Self::Refuses => ["refuses", "拒绝"],
            Self::NoIpv6 => ["no IPv6", "没有 IPv6"],
            Self::NoServers => ["no STUN server was asked", "没有询问 STUN 服务器"],
            Self::NoAnswer => ["no STUN server answers", "STUN 服务器都没有应答"],
            Self::NotMeasured => ["not measured", "未测量"],
            Self::ForEver => ["for ever", "一直"],
            Self::AtMost => ["at most", "至多"],
        })
    }
}

/// Whose a NAT is.
pub const fn owner(owner: Owner, lang: Lang) -> &'static str {
    lang.pick(match owner {
        Owner::FirstHop => ["home router", "家用路由器"],
        Owner::SecondRouter => ["second router", "第二台路由器"],
        Owner::Carrier => ["carrier NAT", "运营商 NAT"],
    })
}

/// A kind of peer.
pub const fn peer(peer: Peer, lang: Lang) -> &'static str {
    lang.pick(match peer {
        Peer::Open => ["with a public address", "有公网地址"],
        Peer::FullCone => ["behind a full cone (NAT1)", "在全锥型之后(NAT1)"],
        Peer::RestrictedCone => ["behind a restricted cone (NAT2)", "在受限锥型之后(NAT2)"],
        Peer::PortRestrictedCone => ["behind a port-restricted cone (NAT3)", "在端口受限锥型之后(NAT3)"],
        Peer::SymmetricSequential => ["behind a symmetric NAT that counts (NAT4)", "在端口递增的对称型之后(NAT4)"],
        Peer::SymmetricRandom => ["behind a symmetric NAT at random (NAT4)", "在端口随机的对称型之后(NAT4)"],
        Peer::UdpBlocked => ["where UDP is blocked", "UDP 被封锁"],
    })
}

/// What becomes of a path: direct, as a rule, not, unclear.
pub const fn fate_of_peer(outcome: &Outcome, lang: Lang) -> &'static str {
    match outcome {
        Outcome::Direct { is_sure: true, .. } => Word::Direct.text(lang),
        Outcome::Direct { is_sure: false, .. } => Word::AsARule.text(lang),
        Outcome::Unclear => Word::Unclear.text(lang),
        Outcome::Relay(_) => Word::NotDirect.text(lang),
    }
}

/// A technique.
pub const fn way(way: Way, lang: Lang) -> &'static str {
    lang.pick(way_row(way))
}

const fn way_row(way: Way) -> Row {
    match way {
        Way::Ipv6 => ["over IPv6", "通过 IPv6"],
        Way::SameNetwork => ["by the addresses in the common network", "使用同一网络内的地址"],
        Way::Hairpin => ["through the common NAT, which turns packets around", "经过同一个 NAT 回环"],
        Way::Call(Callee::Us) => ["the peer calls this host", "由对端呼叫本机"],
        Way::Call(Callee::Them) => ["this host calls the peer", "由本机呼叫对端"],
        Way::MappedPort(Callee::Us) => {
            ["the peer calls a port that the router here maps", "由对端呼叫本侧路由器映射的端口"]
        }
        Way::MappedPort(Callee::Them) => {
            ["this host calls a port that the router there maps", "由本机呼叫对侧路由器映射的端口"]
        }
        Way::Punch => ["hole punching", "打洞"],
        Way::OpenAddress(Callee::Us) => {
            ["this host opens its filter for the peer's address and is called", "本机先为对端地址打开过滤,再由对端呼叫"]
        }
        Way::OpenAddress(Callee::Them) => {
            ["the peer opens its filter for this address and is called", "对端先为本机地址打开过滤,再由本机呼叫"]
        }
        Way::Guess => ["hole punching with a guessed port", "预测端口打洞"],
        Way::Spray => ["hole punching by trying many ports (birthday)", "尝试大量端口打洞(生日攻击法)"],
    }
}

/// Why there is no direct path.
pub const fn obstacle(obstacle: Obstacle, lang: Lang) -> &'static str {
    lang.pick(match obstacle {
        Obstacle::UdpBlocked(Who::Us) => ["UDP does not get out here", "本侧 UDP 出不去"],
        Obstacle::UdpBlocked(Who::Them) => ["UDP does not get out there", "对侧 UDP 出不去"],
        Obstacle::UdpBlockedOnBoth => ["UDP gets out on neither side", "两侧 UDP 都出不去"],
        Obstacle::BothRandom => [
            "each NAT gives the other a port that nobody can guess, and lets in nobody else",
            "两侧 NAT 给对方的端口都无法预测,又都不放行其他来源",
        ],
        Obstacle::NoHairpin => [
            "both are behind the same NAT, and it does not turn packets around",
            "两端在同一个 NAT 之后,而它不支持回环",
        ],
    })
}

/// What would help.
pub const fn fix(fix: Fix, lang: Lang) -> &'static str {
    lang.pick(match fix {
        Fix::AllowUdp(Who::Us) => ["let UDP out here", "本侧放行出站 UDP"],
        Fix::AllowUdp(Who::Them) => ["let UDP out there", "对侧放行出站 UDP"],
        Fix::MapPort(Who::Us) => [
            "map WireGuard's port on the router here (UPnP, NAT-PMP, or by hand)",
            "在本侧路由器上映射 WireGuard 的端口(UPnP、NAT-PMP 或手动)",
        ],
        Fix::MapPort(Who::Them) => [
            "map WireGuard's port on the router there (UPnP, NAT-PMP, or by hand)",
            "在对侧路由器上映射 WireGuard 的端口(UPnP、NAT-PMP 或手动)",
        ],
        Fix::EasyMapping(Who::Us) => [
            "let the router here keep one port (\"cone\"; no random ports)",
            "让本侧路由器保持同一端口(“锥型”,不要随机端口)",
        ],
        Fix::EasyMapping(Who::Them) => [
            "let the router there keep one port (\"cone\"; no random ports)",
            "让对侧路由器保持同一端口(“锥型”,不要随机端口)",
        ],
        Fix::Ipv6(Who::Us) => ["get IPv6 here: the other side has it", "本侧启用 IPv6:对侧已有"],
        Fix::Ipv6(Who::Them) => ["get IPv6 there: this side has it", "对侧启用 IPv6:本侧已有"],
        Fix::Ipv6OnBoth => ["get IPv6 on both sides", "两侧都启用 IPv6"],
        Fix::PublicAddress(Who::Us) => {
            ["ask the provider here for a public IPv4 address", "向本侧运营商申请公网 IPv4 地址"]
        }
        Fix::PublicAddress(Who::Them) => {
            ["ask the provider there for a public IPv4 address", "向对侧运营商申请公网 IPv4 地址"]
        }
        Fix::LocalAddresses => {
            ["use the addresses in the common network as endpoints", "把同一网络内的地址设为 Endpoint"]
        }
        Fix::Relay => ["a host with a public address that both reach, as a hub", "找一台双方都能访问的公网主机作中转"],
    })
}

/// How this host can have a public port.
pub const fn port(port: PublicPort, lang: Lang) -> &'static str {
    lang.pick(match port {
        PublicPort::Already => ["there: this host is public", "已有:本机直接在公网上"],
        PublicPort::OpenFilter => ["no NAT: open the port in the firewall", "没有 NAT:在防火墙里放行端口即可"],
        PublicPort::Mapping(_) => ["the router maps one on request", "路由器可以按请求映射"],
        PublicPort::Punch => {
            ["by hole punching: one held open from inside is open to everyone", "打洞:从里面保持打开的端口对所有人开放"]
        }
        PublicPort::MappingAndPunch(_) => [
            "the router maps one, and the NAT behind it lets strangers in: public while it is held open from inside",
            "路由器可以映射,外面那层 NAT 也放行陌生来源:只要从里面保持打开就是公网端口",
        ],
        PublicPort::MappingThenPunch(_) => [
            "the router maps one, but another NAT is behind it: it is public only if that NAT lets strangers in",
            "路由器可以映射,但外面还有一层 NAT:只有那层放行陌生来源时才是公网端口",
        ],
        PublicPort::ByHand => [
            "by hand: forward it in the router's settings; otherwise only by a relay",
            "手动:在路由器设置里转发端口;否则只能通过中继",
        ],
        PublicPort::Relay => ["only by a relay with a public address", "只能通过有公网地址的中继"],
        PublicPort::Unknown => ["unknown", "未知"],
    })
}

/// The protocol that maps, if one does.
pub const fn who_maps(port: PublicPort) -> Option<&'static str> {
    match port {
        PublicPort::Mapping(protocol)
        | PublicPort::MappingAndPunch(protocol)
        | PublicPort::MappingThenPunch(protocol) => Some(protocol.name()),
        PublicPort::Already
        | PublicPort::OpenFilter
        | PublicPort::Punch
        | PublicPort::ByHand
        | PublicPort::Relay
        | PublicPort::Unknown => None,
    }
}

/// How much a problem matters.
pub const fn severity(severity: Severity, lang: Lang) -> &'static str {
    lang.pick(match severity {
        Severity::Blocking => ["blocking", "阻断"],
        Severity::Serious => ["serious", "严重"],
        Severity::Warning => ["warning", "警告"],
        Severity::Notice => ["notice", "提示"],
    })
}

/// On what mappings or filters depend.
pub const fn dependence(dependence: Dependence, lang: Lang) -> &'static str {
    lang.pick(match dependence {
        Dependence::EndpointIndependent => ["endpoint-independent", "与目的地无关"],
        Dependence::AddressDependent => ["address-dependent", "与目的地址有关"],
        Dependence::AddressAndPortDependent => ["address-and-port-dependent", "与目的地址和端口有关"],
    })
}

/// Which NAT of RFC 3489 that is, with the number that consoles and many programs give it, if that is certain.
pub const fn number(kind: &Kind) -> Option<&'static str> {
    use Dependence::{AddressAndPortDependent, AddressDependent, EndpointIndependent};
    match (kind.mapping.exactly(), kind.filtering.exactly()) {
        (Some(EndpointIndependent), Some(EndpointIndependent)) => Some("full cone, NAT1"),
        (Some(EndpointIndependent), Some(AddressDependent)) => Some("restricted cone, NAT2"),
        (Some(EndpointIndependent), Some(AddressAndPortDependent)) => Some("port-restricted cone, NAT3"),
        (Some(EndpointIndependent), None) | (None, _) => None,
        (Some(AddressDependent | AddressAndPortDependent), _) => Some("symmetric, NAT4"),
    }
}

/// On what the mappings or the filter of one NAT depend.
pub fn share(share: Share, lang: Lang) -> String {
    match share {
        Share::Unknown => Word::Unknown.text(lang).to_owned(),
        Share::AtMost(most) => format!("{} {}", Word::AtMost.text(lang), dependence(most, lang)),
        Share::Exactly(value) => dependence(value, lang).to_owned(),
    }
}

/// How ports are chosen.
pub const fn allocation(allocation: Allocation, lang: Lang) -> &'static str {
    lang.pick(match allocation {
        Allocation::Preserving => ["kept", "保持不变"],
        Allocation::Sequential => ["counted up", "依次递增"],
        Allocation::Block => ["random in a block", "在一段内随机"],
        Allocation::Random => ["random", "随机"],
    })
}
