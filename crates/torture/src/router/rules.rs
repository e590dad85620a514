//! Rules and settings to choose from.

use pinhole_netfilter::Family;
use pinhole_netfilter::rules::Ruleset;

use super::{Mix, places};
use crate::Choices;

/// Lines of iptables-save by table. Words with an at sign are addresses of the [places]; `@icmp` is ICMP of the family.
const TABLES: [(&str, &[&str]); 4] = [
    (
        "raw",
        &[
            "-A PREROUTING -p tcp -m tcp --dport 21 -j CT --helper ftp",
            "-A PREROUTING -p tcp -m tcp --dport 6667 -j CT --helper irc",
            "-A PREROUTING -p tcp -m tcp --dport 1723 -j CT --helper pptp",
            "-A PREROUTING -p udp -m udp --dport 69 -j CT --helper tftp",
            "-A PREROUTING -p udp -m udp --dport 5060 -j CT --helper sip",
            "-A PREROUTING -p tcp -m tcp --dport 5060 -j CT --helper sip",
            "-A PREROUTING -i lan -j CT --zone 1",
            "-A PREROUTING -i wan -j CT --zone 1",
            "-A PREROUTING -i lan -j CT --zone-orig 2",
            "-A PREROUTING -i dmz -j CT --zone-reply 3",
            "-A PREROUTING -j CT --zone mark",
            "-A PREROUTING -p udp -m udp --dport 53 -j CT --notrack",
            "-A PREROUTING -p @icmp -j CT --notrack",
            "-A PREROUTING -p udp -j CT --timeout short",
            "-A OUTPUT -p udp -j CT --notrack",
            "-A OUTPUT -j CT --zone 1",
        ],
    ),
    (
        "mangle",
        &[
            "-A PREROUTING -i lan -j MARK --set-xmark 0x1/0xffffffff",
            "-A PREROUTING -j CONNMARK --restore-mark --nfmask 0xffffffff --ctmask 0xffffffff",
            "-A FORWARD -j CONNMARK --save-mark --nfmask 0xffffffff --ctmask 0xffffffff",
            "-A POSTROUTING -d @far/128 -j DROP",
            "-A INPUT -p udp -j MARK --set-xmark 0x2/0xff",
        ],
    ),
    (
        "nat",
        &[
            "-A POSTROUTING -o wan -j MASQUERADE",
            "-A POSTROUTING -o dmz -j MASQUERADE",
            "-A POSTROUTING -o wan -j MASQUERADE --random",
            "-A POSTROUTING -o wan -j MASQUERADE --random-fully",
            "-A POSTROUTING -o wan -p udp -j MASQUERADE --to-ports 5000-5002",
            "-A POSTROUTING -o wan -p tcp -j MASQUERADE --to-ports 5000",
            "-A POSTROUTING -o wan -j SNAT --to-source @pool",
            "-A POSTROUTING -o wan -j SNAT --to-source @pool-@top",
            "-A POSTROUTING -o wan -j SNAT --to-source @pool-@top --persistent",
            "-A POSTROUTING -j SNAT --to-source @lan",
            "-A POSTROUTING -o wan -j SNAT --to-source @pool --random-fully",
            "-A PREROUTING -d @wan/128 -p tcp -m tcp --dport 80 -j DNAT --to-destination @lan",
            "-A PREROUTING -d @pool/128 -j DNAT --to-destination @lan",
            "-A PREROUTING -d @far/128 -j DNAT --to-destination @lan-@lan2",
            "-A PREROUTING -d @pool/128 -j DNAT --to-destination @lan-@lan2 --random",
            "-A PREROUTING -p udp -m udp --dport 53 -j REDIRECT --to-ports 5001",
            "-A PREROUTING -p tcp -m tcp --dport 80 -j REDIRECT --to-ports 5000-5003",
            "-A PREROUTING -i dmz -j REDIRECT",
            "-A PREROUTING -i wan -d @pool/120 -j NETMAP --to @lan/120",
            "-A POSTROUTING -o wan -s @lan/120 -j NETMAP --to @pool/120",
            "-A INPUT -j SNAT --to-source @lan2",
            "-A OUTPUT -p udp -j DNAT --to-destination @lan",
            "-A OUTPUT -p tcp -j REDIRECT",
            "-A POSTROUTING -p tcp -j ACCEPT",
            "-A POSTROUTING -p @icmp -j RETURN",
        ],
    ),
    (
        "filter",
        &[
            "-A FORWARD -m conntrack --ctstate INVALID -j DROP",
            "-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
            "-A FORWARD -i lan -m conntrack --ctstate NEW -j ACCEPT",
            "-A FORWARD -i wan -m conntrack --ctstate NEW -j DROP",
            "-A FORWARD -p tcp -m tcp --dport 80 -j REJECT --reject-with tcp-reset",
            "-A FORWARD -p udp -m udp --dport 53 -j REJECT",
            "-A FORWARD -m limit --limit 1/second --limit-burst 2 -j LOG",
            "-A INPUT -i wan -m conntrack --ctstate NEW -j DROP",
            "-A INPUT -m conntrack --ctstate SNAT -j DROP",
            "-A OUTPUT -p udp -m udp --dport 53 -j DROP",
            "-A FORWARD -d @lan2/128 -j DROP",
        ],
    ),
];

/// Names of settings and values for them, which make tables small, times short and trackers lax or strict.
pub(super) const SETTINGS: [(&str, &[&str]); 15] = [
    ("nf_conntrack_max", &["0", "1", "3", "8", "20", "262144"]),
    ("nf_conntrack_expect_max", &["1", "2", "4096"]),
    ("nf_conntrack_checksum", &["0", "1"]),
    ("nf_conntrack_tcp_loose", &["0", "1"]),
    ("nf_conntrack_tcp_be_liberal", &["0", "1"]),
    ("nf_conntrack_tcp_ignore_invalid_rst", &["0", "1"]),
    ("nf_conntrack_tcp_max_retrans", &["0", "3"]),
    ("nf_conntrack_acct", &["0", "1"]),
    ("nf_conntrack_timestamp", &["0", "1"]),
    ("nf_conntrack_events", &["0", "1", "2"]),
    ("nf_conntrack_udp_timeout", &["0", "1", "30"]),
    ("nf_conntrack_udp_timeout_stream", &["0", "2", "120"]),
    ("nf_conntrack_tcp_timeout_syn_sent", &["0", "1", "120"]),
    ("nf_conntrack_tcp_timeout_established", &["0", "1", "432000"]),
    ("nf_conntrack_icmp_timeout", &["0", "30"]),
];

/// Rules for a mix of operations.
pub(super) fn of<A: Family>(mix: Mix, choices: &mut Choices<'_>, family: usize) -> Ruleset<A> {
    match mix {
        Mix::All => some(choices, family),
        Mix::Helpers => helpers(choices, family),
        // Where no table but nat has rules, packets may go the short way.
        Mix::Batches => match choices.below(8) {
            0 => some(choices, family),
            1 => helpers(choices, family),
            _ => read(&format!("*nat\n{}COMMIT\n", translations(choices, family))),
        },
    }
}

/// A few lines of each table.
fn some<A: Family>(choices: &mut Choices<'_>, family: usize) -> Ruleset<A> {
    let mut text = String::new();
    for (table, lines) in TABLES {
        if choices.rarely(3) {
            continue;
        }
        text += &format!("*{table}\n");
        if table == "filter" && choices.rarely(4) {
            text += ":FORWARD DROP [0:0]\n";
        }
        for _ in 0..choices.below(4) {
            text += &localised(choices.one_of::<&str>(lines), family);
            text.push('\n');
        }
        text += "COMMIT\n";
    }
    read(&text)
}

/// All helpers by rule, and masquerading.
fn helpers<A: Family>(choices: &mut Choices<'_>, family: usize) -> Ruleset<A> {
    let mut text = "*raw\n".to_owned();
    for line in &TABLES[0].1[..6] {
        text += &localised(line, family);
        text.push('\n');
    }
    text += &format!("COMMIT\n*nat\n{}COMMIT\n", translations(choices, family));
    read(&text)
}

/// A few lines of nat.
fn translations(choices: &mut Choices<'_>, family: usize) -> String {
    let lines = (0..choices.below(3)).map(|_| localised(choices.one_of::<&str>(&TABLES[2].1[..14]), family) + "\n");
    lines.collect()
}

fn read<A: Family>(text: &str) -> Ruleset<A> {
    Ruleset::parse(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// A line with the addresses of a family.
fn localised(line: &str, family: usize) -> String {
    let mut line = line.replace("@icmp", ["icmp", "ipv6-icmp"][family]);
    // The longest names first, so that none is taken for another one.
    for (name, addresses) in [
        ("@lan2", places::LAN2),
        ("@lan", places::LAN),
        ("@wan", places::WAN),
        ("@pool", places::POOL),
        ("@top", places::TOP),
        ("@far", places::FAR),
    ] {
        line = line.replace(name, addresses[family]);
    }
    if family == 0 { line.replace("/128", "/32").replace("/120", "/24") } else { line }
}

#[cfg(test)]
mod tests {
    use core::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    #[test]
    fn every_line_is_a_rule_of_both_families() {
        for (table, lines) in TABLES {
            for line in lines {
                let text = |family| format!("*{table}\n{}\nCOMMIT\n", localised(line, family));
                read::<Ipv4Addr>(&text(0));
                read::<Ipv6Addr>(&text(1));
            }
        }
    }
}
