//! What each problem is, and what to do about it.

use super::super::facts::Busiest;
use super::super::problem::Problem;
use super::words::{Word, allocation, dependence};
use super::{Lang, Row, filled, or_unknown};

/// What it is, with its evidence: one sentence.
pub fn title(problem: &Problem, lang: Lang) -> String {
    filled(lang.pick(title_row(problem)), &values(problem, lang))
}

/// What to do about it, or why nothing has to be done.
pub fn remedy(problem: &Problem, lang: Lang) -> String {
    filled(lang.pick(remedy_row(problem)), &values(problem, lang))
}

/// The values that the texts may name.
pub(super) fn values(problem: &Problem, lang: Lang) -> Vec<(&'static str, String)> {
    match problem {
        Problem::NoInterface
        | Problem::NoDefaultRoute { .. }
        | Problem::Poisoned
        | Problem::InputPoisons
        | Problem::NoMapping
        | Problem::NoIpv6 { .. }
        | Problem::FirewallHidden
        | Problem::NoRawSockets
        | Problem::NoNetAdmin => Vec::new(),
        Problem::GatewaySilent { gateway } => vec![("gateway", gateway.to_string())],
        Problem::InputDropsAnswers { by } | Problem::FirewallUnclear { by } => vec![("by", by.clone())],
        Problem::UdpBlocked { asked } => vec![("asked", asked.to_string())],
        Problem::CarrierNat { wan, public } => {
            vec![("wan", or_unknown(lang, *wan)), ("public", or_unknown(lang, *public))]
        }
        Problem::DoubleNat { between } => vec![("between", or_unknown(lang, *between))],
        Problem::HardMapping { mapping, allocation: ports } => vec![
            ("mapping", dependence(*mapping, lang).to_owned()),
            ("ports", or_unknown(lang, ports.map(|ports| allocation(ports, lang)))),
        ],
        Problem::ConntrackFull { count, max } => vec![
            ("count", count.to_string()),
            ("max", max.to_string()),
            ("percent", (u64::from(*count) * 100 / u64::from(*max).max(1)).to_string()),
            ("more", max.saturating_mul(4).to_string()),
        ],
        Problem::InputDropsStrangers { port, by } => vec![("port", port.to_string()), ("by", by.clone())],
        Problem::ShortUdpTimeout { seconds, is_ours: true } => vec![("seconds", seconds.to_string())],
        Problem::ShortUdpTimeout { seconds, is_ours: false } => {
            vec![("seconds", seconds.to_string()), ("less", (seconds * 2 / 3).max(1).to_string())]
        }
        Problem::SmallMtu { path, inside, is_silent: _ } => {
            vec![("path", path.to_string()), ("inside", inside.to_string())]
        }
        Problem::TimeWaitPressure(busiest) => {
            let for_ever = || Word::ForEver.text(lang).to_owned();
            let (least, most) = busiest.lasts_s;
            vec![
                ("to", busiest.to.to_string()),
                ("used", busiest.used.to_string()),
                ("dead", busiest.time_wait.to_string()),
                ("ports", busiest.ports.to_string()),
                ("least", format!("{least:.1}")),
                ("most", format!("{most:.1}")),
                ("until", busiest.exhausted_after_s.map_or_else(for_ever, |after_s| format!("{after_s:.0} s"))),
            ]
        }
        Problem::FewPorts { first, last } => vec![("first", first.to_string()), ("last", last.to_string())],
        Problem::StrictReversePath { interface } => vec![("interface", interface.clone())],
        Problem::MappingRefused { protocol, reason } => {
            vec![("protocol", protocol.name().to_owned()), ("reason", reason.clone())]
        }
    }
}

pub(super) fn title_row(problem: &Problem) -> Row {
    match problem {
        Problem::NoInterface => {
            ["No network interface is up and has an address.", "没有任何已启用并且带地址的网络接口。"]
        }
        Problem::NoDefaultRoute { has_v6: false } => {
            ["There is no default route: nothing leads to the Internet.", "没有默认路由:本机无法到达互联网。"]
        }
        Problem::NoDefaultRoute { has_v6: true } => {
            ["There is no IPv4 default route; IPv6 has one.", "没有 IPv4 默认路由;IPv6 有默认路由。"]
        }
        Problem::GatewaySilent { gateway: _ } => {
            ["The gateway {gateway} does not answer.", "网关 {gateway} 没有应答。"]
        }
        Problem::InputDropsAnswers { by: _ } => [
            "This host's own firewall drops answers to what it has sent (chain {by}).",
            "本机防火墙丢弃了对本机所发报文的应答(链 {by})。",
        ],
        Problem::UdpBlocked { asked: _ } => [
            "None of {asked} STUN servers answers: UDP does not seem to get out.",
            "{asked} 个 STUN 服务器都没有应答:UDP 似乎出不去。",
        ],
        Problem::CarrierNat { .. } => [
            "The provider translates as well (carrier NAT): address towards it {wan}, address outside {public}.",
            "运营商也在做地址转换(CGNAT):面向运营商的地址 {wan},公网地址 {public}。",
        ],
        Problem::DoubleNat { .. } => [
            "Two routers translate one after the other; the address between them is {between}.",
            "前后有两台路由器在做地址转换;两者之间的地址是 {between}。",
        ],
        Problem::HardMapping { .. } => [
            "The NAT gives every destination another port (symmetric, NAT4): mapping {mapping}, ports {ports}.",
            "NAT 对每个目的地使用不同的端口(对称型,NAT4):映射{mapping},端口{ports}。",
        ],
        Problem::ConntrackFull { .. } => [
            "The connection tracking table is {percent} % full ({count} of {max}); when it is full, new flows are dropped.",
            "连接跟踪表已用 {percent} %({max} 中的 {count});满了之后新的连接会被丢弃。",
        ],
        Problem::Poisoned => [
            "A packet from outside that comes too early makes the NAT give up the port: mappings are poisoned.",
            "外面过早到达的报文会让 NAT 换掉端口:映射被“污染”。",
        ],
        Problem::InputPoisons => [
            "This host translates for others and accepts packets from outside for itself: early ones poison mappings.",
            "本机为其他主机做地址转换,同时 INPUT 放行外来报文:过早到达的报文会“污染”映射。",
        ],
        Problem::InputDropsStrangers { .. } => [
            "This host's own firewall drops packets from strangers to UDP port {port} (chain {by}).",
            "本机防火墙丢弃陌生来源发往 UDP 端口 {port} 的报文(链 {by})。",
        ],
        Problem::ShortUdpTimeout { is_ours: true, .. } => [
            "This host's connection tracking forgets a UDP flow after {seconds} s.",
            "本机的连接跟踪在 {seconds} 秒后就忘记 UDP 流。",
        ],
        Problem::ShortUdpTimeout { is_ours: false, .. } => [
            "The NAT forgets a silent UDP mapping after about {seconds} s.",
            "NAT 在大约 {seconds} 秒没有报文之后就忘记 UDP 映射。",
        ],
        Problem::SmallMtu { is_silent: true, .. } => [
            "Packets of more than {path} bytes vanish on the way, and no router says so; WireGuard's usual 1420 bytes inside need 1480.",
            "超过 {path} 字节的报文在途中消失,而且没有路由器告知;WireGuard 常用的内层 1420 字节需要 1480 字节。",
        ],
        Problem::SmallMtu { is_silent: false, .. } => [
            "Packets of at most {path} bytes get through; WireGuard's usual 1420 bytes inside need 1480 or more.",
            "路径上最多只能通过 {path} 字节的报文;WireGuard 常用的内层 1420 字节需要 1480 字节以上。",
        ],
        Problem::TimeWaitPressure(_) => [
            "{to} holds {used} of {ports} local ports, {dead} in TIME_WAIT, which lasts {least} to {most} s here; at the present rate the ports last {until}.",
            "{to} 占用了 {ports} 个本地端口中的 {used} 个,其中 {dead} 个处于 TIME_WAIT(在本内核上持续 {least} 到 {most} 秒);按目前的速率,端口还够用:{until}。",
        ],
        Problem::FewPorts { .. } => ["Local ports are only {first} to {last}.", "本地端口范围只有 {first} 到 {last}。"],
        Problem::StrictReversePath { interface: _ } => [
            "There are several ways out, and {interface} drops what comes in by another than its own (rp_filter 1).",
            "有多个出口,而 {interface} 会丢弃不从自己这条路来的报文(rp_filter 为 1)。",
        ],
        Problem::MappingRefused { .. } => [
            "The router speaks {protocol} and maps no port: {reason}.",
            "路由器支持 {protocol},但拒绝映射端口:{reason}。",
        ],
        Problem::NoMapping => [
            "The router maps no ports: it answers neither PCP nor NAT-PMP nor UPnP.",
            "路由器不能映射端口:PCP、NAT-PMP、UPnP 都没有应答。",
        ],
        Problem::NoIpv6 { is_broken: false } => ["There is no IPv6 to the Internet.", "没有可用的 IPv6 互联网连接。"],
        Problem::NoIpv6 { is_broken: true } => [
            "There are an IPv6 address and a route, but nobody answers over it.",
            "有 IPv6 地址和路由,但没有任何应答。",
        ],
        Problem::FirewallUnclear { by: _ } => [
            "The firewall's chain {by} has rules that pinhole cannot read.",
            "防火墙链 {by} 中有 pinhole 读不懂的规则。",
        ],
        Problem::FirewallHidden => [
            "This host's own firewall cannot be seen without CAP_NET_ADMIN.",
            "没有 CAP_NET_ADMIN 权限,看不到本机防火墙。",
        ],
        Problem::NoRawSockets => [
            "Without CAP_NET_RAW no openers can be sent from WireGuard's port.",
            "没有 CAP_NET_RAW 权限,不能从 WireGuard 的端口发出打洞报文。",
        ],
        Problem::NoNetAdmin => [
            "Without CAP_NET_ADMIN WireGuard devices cannot be read or set.",
            "没有 CAP_NET_ADMIN 权限,不能读取或设置 WireGuard 设备。",
        ],
    }
}

pub(super) fn remedy_row(problem: &Problem) -> Row {
    match problem {
        Problem::NoInterface => [
            "Plug in the cable or join the wireless network; `ip -brief address` shows what is there.",
            "接好网线或连接无线网络;用 `ip -brief address` 查看接口。",
        ],
        Problem::NoDefaultRoute { has_v6: false } => [
            "Ask DHCP again (`networkctl renew`, `dhclient`), or set one: `ip route add default via ROUTER`.",
            "重新获取 DHCP(`networkctl renew`、`dhclient`),或手动设置:`ip route add default via 路由器`。",
        ],
        Problem::NoDefaultRoute { has_v6: true } => [
            "Peers with IPv6 can be reached; for the others get an IPv4 address, or ask the provider for DS-Lite or NAT64.",
            "可以直连有 IPv6 的对端;要连其他对端,需要 IPv4 地址,或向运营商咨询 DS-Lite、NAT64。",
        ],
        Problem::GatewaySilent { gateway: _ } => [
            "Check the cable and that the router is on; `ip neigh show {gateway}` says whether it is there.",
            "检查网线和路由器是否开机;`ip neigh show {gateway}` 可以看出它是否在线。",
        ],
        Problem::InputDropsAnswers { by: _ } => [
            "Let answers in: `nft insert rule {by} ct state established,related accept`.",
            "放行应答:`nft insert rule {by} ct state established,related accept`。",
        ],
        Problem::UdpBlocked { asked: _ } => [
            "Allow outgoing UDP in the router or the company's firewall; until then only a relay over TCP works. Or other servers: --server.",
            "在路由器或公司防火墙中放行出站 UDP;在此之前只能用 TCP 中继。也可以用 --server 换服务器再试。",
        ],
        Problem::CarrierNat { .. } => [
            "Ask the provider for a public IPv4 address, or use IPv6. Punching works all the same if the mapping is endpoint-independent.",
            "向运营商申请公网 IPv4 地址,或使用 IPv6。如果映射与目的地无关,打洞照样可行。",
        ],
        Problem::DoubleNat { .. } => [
            "Make one of them a bridge (modem or access point mode), or map the port on both.",
            "把其中一台改为桥接(光猫桥接或 AP 模式),或者在两台上都映射端口。",
        ],
        Problem::HardMapping { .. } => [
            "On an own router turn it off (no `random`, `fully-random` or \"symmetric\"; choose \"full cone\" or \"cone\"), or map WireGuard's port there; otherwise IPv6.",
            "如果是自己的路由器,请关闭它(不要用 `random`、`fully-random` 或“对称型”;选“全锥型”或“锥型”),或在上面映射 WireGuard 的端口;否则使用 IPv6。",
        ],
        Problem::ConntrackFull { .. } => [
            "`sysctl -w net.netfilter.nf_conntrack_max={more}`; who fills it: `pinhole conntrack top`.",
            "`sysctl -w net.netfilter.nf_conntrack_max={more}`;用 `pinhole conntrack top` 看是谁占满的。",
        ],
        Problem::Poisoned => [
            "On an own router drop what comes from outside and belongs to nothing (INPUT policy drop on the WAN side). pinhole's openers die before they do harm.",
            "如果是自己的路由器,请丢弃从外面来的、不属于任何连接的报文(WAN 侧 INPUT 策略设为丢弃)。pinhole 的打洞报文会在造成影响之前失效。",
        ],
        Problem::InputPoisons => [
            "Drop what comes in from outside and belongs to nothing: in the input hook `iifname WAN ct state new drop`, after the ports that this host serves.",
            "丢弃从外面来的、不属于任何连接的报文:在 input 钩子里、本机服务端口之后加 `iifname WAN ct state new drop`。",
        ],
        Problem::InputDropsStrangers { .. } => [
            "Punching works all the same. To be called by everyone: `nft insert rule {by} udp dport {port} accept`.",
            "打洞不受影响。若要让任何人都能主动连入:`nft insert rule {by} udp dport {port} accept`。",
        ],
        Problem::ShortUdpTimeout { is_ours: true, .. } => [
            "`sysctl -w net.netfilter.nf_conntrack_udp_timeout_stream=120` (RFC 4787: two minutes or more), or a shorter PersistentKeepalive.",
            "`sysctl -w net.netfilter.nf_conntrack_udp_timeout_stream=120`(RFC 4787 要求两分钟以上),或缩短 PersistentKeepalive。",
        ],
        Problem::ShortUdpTimeout { is_ours: false, .. } => {
            ["Set PersistentKeepalive = {less} on this side.", "在这一侧设置 PersistentKeepalive = {less}。"]
        }
        Problem::SmallMtu { .. } => [
            "Set MTU = {inside} in WireGuard's interface (20 less if peers are reached over IPv6).",
            "在 WireGuard 接口里设置 MTU = {inside}(如果通过 IPv6 连接对端,再减 20)。",
        ],
        Problem::TimeWaitPressure(Busiest { reused_after_s: None, .. }) => [
            "`sysctl -w net.ipv4.tcp_tw_reuse=1`, more ports (`net.ipv4.ip_local_port_range`), or connections that are kept open; how much each helps: `pinhole timewait forecast --to {to}`.",
            "`sysctl -w net.ipv4.tcp_tw_reuse=1`,扩大端口范围(`net.ipv4.ip_local_port_range`),或使用长连接;各有多大作用见 `pinhole timewait forecast --to {to}`。",
        ],
        Problem::TimeWaitPressure(Busiest { reused_after_s: Some(_), .. }) => [
            "tcp_tw_reuse is on, so dead connections do not hold ports for long: keep connections open, or take more ports; how much each helps: `pinhole timewait forecast --to {to}`.",
            "tcp_tw_reuse 已经打开,死连接不会长时间占用端口:请使用长连接,或扩大端口范围;各有多大作用见 `pinhole timewait forecast --to {to}`。",
        ],
        Problem::FewPorts { .. } => [
            "Take the usual range: `sysctl -w net.ipv4.ip_local_port_range='32768 60999'`.",
            "恢复默认范围:`sysctl -w net.ipv4.ip_local_port_range='32768 60999'`。",
        ],
        Problem::StrictReversePath { interface: _ } => [
            "`sysctl -w net.ipv4.conf.{interface}.rp_filter=2` and the same for `all`.",
            "`sysctl -w net.ipv4.conf.{interface}.rp_filter=2`,`all` 也同样设置。",
        ],
        Problem::MappingRefused { .. } => [
            "Allow it in the router's settings, or forward the port there by hand.",
            "在路由器设置里允许,或手动转发端口。",
        ],
        Problem::NoMapping => [
            "Switch UPnP or NAT-PMP on in the router's settings, or forward the port there by hand.",
            "在路由器设置里打开 UPnP 或 NAT-PMP,或手动转发端口。",
        ],
        Problem::NoIpv6 { is_broken: false } => [
            "Switch IPv6 on in the router, or ask the provider: between two hosts with IPv6 there is no NAT.",
            "在路由器里打开 IPv6,或向运营商申请:两端都有 IPv6 时没有 NAT。",
        ],
        Problem::NoIpv6 { is_broken: true } => [
            "Check the router's IPv6 and its firewall; `ip -6 route show default` says which router it is.",
            "检查路由器的 IPv6 及其防火墙;`ip -6 route show default` 可以看出是哪台路由器。",
        ],
        Problem::FirewallUnclear { by: _ } => [
            "Look at it: `nft list ruleset`. Whether strangers are let in is unknown.",
            "请用 `nft list ruleset` 查看。陌生来源能否进入未知。",
        ],
        Problem::FirewallHidden => ["Run it with sudo to see it.", "用 sudo 运行即可看到。"],
        Problem::NoRawSockets => [
            "Run the agent as root, or give it the capability (`AmbientCapabilities=CAP_NET_RAW` in the unit).",
            "以 root 运行 agent,或给它这个权限(在 systemd 单元里写 `AmbientCapabilities=CAP_NET_RAW`)。",
        ],
        Problem::NoNetAdmin => [
            "Run the agent as root, or give it the capability (`AmbientCapabilities=CAP_NET_ADMIN` in the unit).",
            "以 root 运行 agent,或给它这个权限(在 systemd 单元里写 `AmbientCapabilities=CAP_NET_ADMIN`)。",
        ],
    }
}
