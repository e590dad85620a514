//! Names of protocols, services and labels.

use std::collections::HashMap;

/// Protocols with a name in conntrack(8), by number.
const PROTOCOLS: [(u8, &str); 9] = [
    (1, "icmp"),
    (2, "igmp"),
    (6, "tcp"),
    (17, "udp"),
    (33, "dccp"),
    (47, "gre"),
    (58, "icmpv6"),
    (132, "sctp"),
    (136, "udplite"),
];

/// The name of an IP protocol; its number where it has none here.
pub(super) fn protocol(number: u8) -> String {
    known_protocol(number).map_or_else(|| number.to_string(), str::to_owned)
}

/// The name of an IP protocol that has one here.
pub(super) fn known_protocol(number: u8) -> Option<&'static str> {
    PROTOCOLS.iter().find(|(n, _)| *n == number).map(|(_, name)| *name)
}

/// The number of a protocol by name or number.
pub(super) fn protocol_number(text: &str) -> Result<u8, String> {
    if text.eq_ignore_ascii_case("ipv6-icmp") {
        return Ok(58);
    }
    let named = PROTOCOLS.iter().find(|(_, name)| name.eq_ignore_ascii_case(text)).map(|(number, _)| *number);
    named.or_else(|| text.parse().ok()).ok_or_else(|| {
        let names: Vec<_> = PROTOCOLS.iter().map(|(_, name)| *name).collect();
        format!("expected one of {}, or a number below 256", names.join(", "))
    })
}

/// The services of /etc/services.
#[derive(Clone, Debug, Default)]
pub(in crate::cmd) struct Services(HashMap<(u8, u16), Box<str>>);

impl Services {
    /// Reads the system's; without the file there are no names.
    pub(in crate::cmd) fn of_this_system() -> Self {
        Self::parse(&std::fs::read_to_string("/etc/services").unwrap_or_default())
    }

    /// Lines are `name port/protocol aliases # comment`; the first name of a port counts.
    pub(super) fn parse(text: &str) -> Self {
        let mut services = HashMap::new();
        for line in text.lines() {
            let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
            let (Some(name), Some(port)) = (words.next(), words.next()) else { continue };
            let Some((port, protocol)) = port.split_once('/') else { continue };
            if let (Ok(port), Ok(protocol)) = (port.parse(), protocol_number(protocol)) {
                services.entry((protocol, port)).or_insert_with(|| name.into());
            }
        }
        Self(services)
    }

    /// The name of a port.
    pub(in crate::cmd) fn name(&self, protocol: u8, port: u16) -> Option<&str> {
        self.0.get(&(protocol, port)).map(AsRef::as_ref)
    }
}

/// The names of connection labels, as xtables' connlabel.conf gives them.
#[derive(Clone, Debug, Default)]
pub(super) struct Labels(Vec<(u8, Box<str>)>);

impl Labels {
    const FILE: &str = "/etc/xtables/connlabel.conf";

    /// Reads the system's; `None` without the file.
    pub(super) fn of_this_system() -> Option<Self> {
        std::fs::read_to_string(Self::FILE).ok().map(|text| Self::parse(&text))
    }

    /// Lines are `bit name`.
    pub(super) fn parse(text: &str) -> Self {
        let line = |line: &str| {
            let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
            let bit = words.next()?.parse().ok().filter(|&bit: &u8| bit < 128)?;
            Some((bit, words.next()?.into()))
        };
        Self(text.lines().filter_map(line).collect())
    }

    /// The name of a label.
    pub(super) fn name(&self, bit: u8) -> Option<&str> {
        self.0.iter().find(|(b, _)| *b == bit).map(|(_, name)| name.as_ref())
    }

    /// The bit of a label by name or number.
    pub(super) fn bit(&self, text: &str) -> Option<u8> {
        let named = self.0.iter().find(|(_, name)| **name == *text).map(|(bit, _)| *bit);
        named.or_else(|| text.parse().ok().filter(|&bit| bit < 128))
    }
}

/// The bits that are set.
pub(super) fn bits(labels: u128) -> impl Iterator<Item = u8> {
    (0..128).filter(move |bit| labels >> bit & 1 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_read_as_the_system_writes_them() {
        let services =
            Services::parse("# x\ntcpmux\t1/tcp # TCP\nhttp 80/tcp www\nwww-x 80/tcp\nmdns 5353/udp\nx 70000/tcp\ny\n");
        assert_eq!((services.name(6, 80), services.name(17, 80)), (Some("http"), None));
        assert_eq!((services.name(17, 5353), services.name(6, 1)), (Some("mdns"), Some("tcpmux")));
        assert_eq!(services.0.len(), 3);
    }

    #[test]
    fn labels_have_names_and_numbers() {
        let labels = Labels::parse("# bit name\n0\teth0-in\n5 ftp\n200 no\n");
        assert_eq!(
            (labels.name(5), labels.bit("ftp"), labels.bit("7"), labels.bit("200")),
            (Some("ftp"), Some(5), Some(7), None)
        );
        assert_eq!(bits(1 << 127 | 1 << 5).collect::<Vec<_>>(), [5, 127]);
    }

    #[test]
    fn protocols_are_found_by_name_and_number() {
        assert_eq!(
            (protocol_number("TCP"), protocol_number("50"), protocol_number("ipv6-icmp")),
            (Ok(6), Ok(50), Ok(58))
        );
        assert!(protocol_number("tpc").is_err_and(|words| words.contains("tcp, udp")));
    }
}
