//! Settings, counts and rights, from /proc.

use std::fs;

use pinhole_traversal::diagnosis::facts::{Capabilities, Conntrack, Settings, Sockets};

/// Bits of `CapEff` (include/uapi/linux/capability.h).
const NET_ADMIN: u64 = 1 << 12;
const NET_RAW: u64 = 1 << 13;

/// The settings that matter for packets through `interface`.
pub fn settings(interface: Option<&str>) -> Settings {
    let number = |name: &str| sysctl(name)?.parse::<u8>().ok();
    let port_range = sysctl("net/ipv4/ip_local_port_range").and_then(|text| {
        let mut ports = text.split_whitespace().map_while(|port| port.parse().ok());
        Some((ports.next()?, ports.next()?))
    });
    // The stricter of both counts (Documentation/networking/ip-sysctl.rst: the maximum of the two).
    let all = number("net/ipv4/conf/all/rp_filter");
    let own = interface.and_then(|name| number(&format!("net/ipv4/conf/{name}/rp_filter")));
    Settings {
        port_range,
        tw_reuse: number("net/ipv4/tcp_tw_reuse"),
        rp_filter: all.max(own),
        forwards: number("net/ipv4/ip_forward").map(|value| value != 0),
    }
}

/// Connection tracking, if this kernel has it.
pub fn conntrack() -> Option<Conntrack> {
    let number = |name: &str| sysctl(&format!("net/netfilter/nf_conntrack_{name}"))?.parse::<u32>().ok();
    Some(Conntrack {
        count: number("count")?,
        max: number("max")?,
        udp_s: number("udp_timeout"),
        udp_stream_s: number("udp_timeout_stream"),
        tcp_established_s: number("tcp_timeout_established"),
    })
}

/// The sockets of this network namespace.
pub fn sockets() -> Option<Sockets> {
    parse_sockets(&fs::read_to_string("/proc/thread-self/net/sockstat").ok()?)
}

/// What this process may.
pub fn capabilities() -> Option<Capabilities> {
    let status = fs::read_to_string("/proc/thread-self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    let bits = u64::from_str_radix(line.trim(), 16).ok()?;
    Some(Capabilities { net_admin: bits & NET_ADMIN != 0, net_raw: bits & NET_RAW != 0 })
}

fn parse_sockets(text: &str) -> Option<Sockets> {
    let value = |protocol: &str, name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(protocol))?;
        let mut words = line.split_whitespace().skip_while(|word| *word != name);
        words.nth(1)?.parse().ok()
    };
    Some(Sockets { tcp: value("TCP:", "inuse")?, time_wait: value("TCP:", "tw")?, udp: value("UDP:", "inuse")? })
}

fn sysctl(name: &str) -> Option<String> {
    Some(fs::read_to_string(format!("/proc/sys/{name}")).ok()?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_sockets_are_read() {
        let text =
            "sockets: used 51\nTCP: inuse 5 orphan 0 tw 17 alloc 33 mem 0\nUDP: inuse 9 mem 34\nUDPLITE: inuse 0\n";
        assert_eq!(parse_sockets(text), Some(Sockets { tcp: 5, time_wait: 17, udp: 9 }));
        assert_eq!(parse_sockets("TCP: inuse x\n"), None);
        assert_eq!(parse_sockets(""), None);
    }

    #[test]
    fn this_kernel_says_what_there_is() {
        assert!(sockets().is_some() && capabilities().is_some());
        assert!(settings(Some("lo")).port_range.is_some_and(|(first, last)| first < last));
    }
}
