//! Our reading of rules against the real `iptables-restore` and `iptables-save`, in namespaces of their own: what we accept
//! they accept, and write as we do; what makes no sense to them makes none to us.

use std::io::Write;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::process::{Command, Stdio};

use pinhole_netfilter::Address;
use pinhole_netfilter::rules::{Ruleset, Sets};

/// Lines for either family, by table. Each stands in a chain of its own.
const BOTH: &[(&str, &[&str])] = &[
    (
        "filter",
        &[
            "",
            "-i lan+ -o wan -j ACCEPT",
            "! -i eth0 ! -o eth1 -j ACCEPT",
            "-i + -j ACCEPT",
            "-p tcp -j ACCEPT",
            "-p 6 -j ACCEPT",
            "-p gre",
            "-p 50",
            "-p 200",
            "-p all -j DROP",
            "-p TCP -j DROP",
            "! -p udp -j RETURN",
            "-p mh",
            "-p 89",
            "-p tcp --dport ssh -j ACCEPT",
            "-p tcp --destination-port 22 --source-port=5 -j ACCEPT",
            "-p tcp -m tcp --sport 1024: --dport 0:0 -j ACCEPT",
            "-p tcp -m tcp --sport 1024: ! --dport :1023 -j ACCEPT",
            "-p tcp -m tcp ! --dport 80:90 -j ACCEPT",
            "-p tcp -m tcp --dport 0:65535 -j ACCEPT",
            "-p tcp -m tcp -j ACCEPT",
            "-p tcp -m tcp --tcp-flags SYN,ACK,FIN SYN -j ACCEPT",
            "-p tcp -m tcp --tcp-flags ALL NONE -j ACCEPT",
            "-p tcp -m tcp ! --tcp-flags SYN,RST SYN,RST -j ACCEPT",
            "-p tcp --syn -j ACCEPT",
            "-p tcp ! --syn -j ACCEPT",
            "-p tcp -m tcp --sport 5 ! --tcp-option 7 -j ACCEPT",
            "-p tcp -m tcp --dport http -m tcp --sport 5 -j ACCEPT",
            "-p udp -m udp --sport 53 ! --dport 1000:2000 -j ACCEPT",
            "-p sctp --sport 53 ! --dport 1000:2000 -j ACCEPT",
            "-p dccp --sport 53 --dport 1000:2000 -j ACCEPT",
            "-p tcp -m multiport --dports 22,80:90,https -j ACCEPT",
            "-p tcp -m multiport ! --sports 22 -j ACCEPT",
            "-p udp -m multiport --port 22,23 -j ACCEPT",
            "-p udplite -m multiport --destination-ports 22 -j ACCEPT",
            "-m conntrack --ctstate RELATED,ESTABLISHED,NEW,INVALID,UNTRACKED,SNAT,DNAT -j ACCEPT",
            "-m conntrack --ctstate dnat,INVALID -j ACCEPT",
            "-m conntrack ! --ctstate NEW -j ACCEPT",
            "-m conntrack --ctstatus ASSURED,EXPECTED,SEEN_REPLY,CONFIRMED -j ACCEPT",
            "-m conntrack ! --ctstatus NONE -j ACCEPT",
            "-m conntrack --ctproto tcp --ctorigsrcport 1:2 -j ACCEPT",
            "-m conntrack --ctdir REPLY --ctexpire 10:20 --ctstatus ASSURED --ctrepldstport 10:20 ! --ctreplsrcport 9 \
             --ctorigdstport ssh --ctorigsrcport 1: ! --ctproto 6 --ctstate NEW -j ACCEPT",
            "-m conntrack ! --ctexpire 10 -j ACCEPT",
            "-m state --state UNTRACKED,ESTABLISHED,RELATED -j ACCEPT",
            "-m state ! --state INVALID -j ACCEPT",
            "-m mark --mark 1 -j ACCEPT",
            "-m mark ! --mark 0x10/0xff -j ACCEPT",
            "-m mark --mark 010/8 -j ACCEPT",
            "-m connmark ! --mark 0x1/0x3 -j ACCEPT",
            "-m limit -j ACCEPT",
            "-m limit --limit 3/min --limit-burst 5 -j ACCEPT",
            "-m limit --limit 3/hour --limit-burst 9 -j ACCEPT",
            "-m limit --limit 100/s -j ACCEPT",
            "-m limit --limit 2/day -j ACCEPT",
            "-m limit --limit 1/day --limit-burst 1 -j ACCEPT",
            "-m limit --limit 59/min -j ACCEPT",
            "-m limit --limit 61/min -j ACCEPT",
            "-m limit --limit 120/MINUTE -j ACCEPT",
            "-m limit --limit 7000/sec -j ACCEPT",
            "-m limit --limit 5 --limit-burst 10000 -j ACCEPT",
            "-m comment --comment hello -m comment --comment \"hello world\" -j ACCEPT",
            "-m comment --comment \"he said \\\"hi\\\" \\\\ 'x'\" -j ACCEPT",
            "-m comment --comment -dash -j ACCEPT",
            "-m comment --comment \"\" -j ACCEPT",
            "-m comment --comment a/b:c_d=e;f.é -j ACCEPT",
            "-m addrtype --dst-type LOCAL -j ACCEPT",
            "-m addrtype ! --dst-type LOCAL,MULTICAST ! --src-type UNICAST,ANYCAST,UNSPEC,UNREACHABLE -j ACCEPT",
            "-m addrtype --dst-type LOCAL --limit-iface-in -j ACCEPT",
            "-m addrtype --src-type LOCAL --limit-iface-out -j ACCEPT",
            "-m length --length 100 -j ACCEPT",
            "-m length ! --length 100:200 -j ACCEPT",
            "-m length --length :200 -j ACCEPT",
            "-m length --length 100: -j ACCEPT",
            "-m helper --helper ftp -j ACCEPT",
            "-m helper ! --helper ftp-2121 -j ACCEPT",
            "-m helper --helper \"\" -j ACCEPT",
            "-m pkttype ! --pkt-type host -j ACCEPT",
            "-m pkttype --pkt-type multicast -j ACCEPT",
            "-m pkttype --pkt-type broadcast -j ACCEPT",
            "-j c000",
            "-g c000",
            "-j REJECT",
            "-p tcp -j REJECT --reject-with tcp-reset",
            "-j LOG",
            "-j LOG --log-prefix \"foo: \" --log-level 4",
            "-j LOG --log-prefix bar --log-level debug --log-uid --log-macdecode --log-ip-options --log-tcp-options \
             --log-tcp-sequence",
            "-j LOG --log-level crit",
            "-j LOG --log-prefix 01234567890123456789012345678",
        ],
    ),
    (
        "nat",
        &[
            "-p tcp -j SNAT --to-source :100-200",
            "-o wan -j MASQUERADE",
            "-p udp -j MASQUERADE --to-ports 1024-2048 --random",
            "-p udp -j MASQUERADE --to-ports 1024",
            "-j MASQUERADE --random-fully",
            "-p tcp -j REDIRECT --to-ports 80-80",
            "-p sctp -j REDIRECT --to-ports 80-90 --random",
            "-p tcp -j REDIRECT --to-ports http",
            "-j REDIRECT",
        ],
    ),
    (
        "mangle",
        &[
            "-j MARK --set-mark 1",
            "-j MARK --set-mark 0x1/0x2",
            "-j MARK --set-xmark 0x10/0xff",
            "-j MARK --and-mark 0xff",
            "-j MARK --or-mark 0xff",
            "-j MARK --xor-mark 0xff",
            "-j CONNMARK --set-mark 1",
            "-j CONNMARK --set-mark 0x1/0x2",
            "-j CONNMARK --set-xmark 0x10/0xff",
            "-j CONNMARK --and-mark 0xff",
            "-j CONNMARK --or-mark 0xff",
            "-j CONNMARK --xor-mark 0xff",
            "-j CONNMARK --save-mark",
            "-j CONNMARK --restore-mark --mask 0xff",
            "-j CONNMARK --save-mark --ctmask 0xf0 --nfmask 0xff",
            "-j CONNMARK --restore-mark --ctmask 2",
        ],
    ),
    (
        "raw",
        &[
            "-j CT --notrack",
            "-j NOTRACK",
            "-j CT",
            "-p tcp -j CT --helper ftp --zone 5 --expevents new --ctevents destroy,new",
            "-j CT --zone 0",
            "-j CT --zone-orig 5",
            "-j CT --zone-reply 5",
            "-j CT --zone mark",
            "-j CT --zone-orig mark",
            "-j CT --ctevents new,destroy,assured,mark,protoinfo,helper,natseqinfo,secmark,related,reply",
            "-j TRACE",
        ],
    ),
];

/// Lines for IPv4.
const V4: &[(&str, &[&str])] = &[
    (
        "filter",
        &[
            "-s 10.0.0.1 -d 10.1.0.0/16 -j DROP",
            "-s 10.0.0.1/255.255.0.255 -j DROP",
            "! -s 10.1.2.3/8 -j DROP",
            "-s 10.0.0.1,10.0.0.2/24 -d 1.1.1.1,2.2.2.2 -j DROP",
            "-d 0.0.0.0/0 -j DROP",
            "-d 10.0.0.0/255.255.255.0 -j DROP",
            "-f -j DROP",
            "! -f -p udp -j DROP",
            "-m addrtype --dst-type LOCAL,BROADCAST,BLACKHOLE,PROHIBIT -j ACCEPT",
            "-p icmp --icmp-type echo-request -j ACCEPT",
            "-p icmp -m icmp --icmp-type any -j ACCEPT",
            "-p icmp -m icmp ! --icmp-type 255 -j ACCEPT",
            "-p icmp -m icmp ! --icmp-type 3/4 -j ACCEPT",
            "-p icmp -m icmp --icmp-type network-unreachable -j ACCEPT",
            "-p icmp -m icmp --icmp-type TOS-host-redirect -j ACCEPT",
            "-p icmp -m icmp --icmp-type ttl-zero-during-transit -j ACCEPT",
            "-p ipv6-icmp -j ACCEPT",
            "-m conntrack --ctorigsrc 10.0.0.0/8 ! --ctorigdst 1.2.3.4 --ctreplsrc 5.6.7.8 --ctrepldst 9.9.9.0/24 -j ACCEPT",
            "-m ttl --ttl 64 -j ACCEPT",
            "-m ttl ! --ttl-eq 64 -j ACCEPT",
            "-m ttl --ttl-lt 64 -j ACCEPT",
            "-m ttl --ttl-gt 64 -j ACCEPT",
            "-j REJECT --reject-with icmp-net-unreachable",
            "-j REJECT --reject-with host-unreach",
            "-j REJECT --reject-with proto-unreach",
            "-j REJECT --reject-with port-unreach",
            "-j REJECT --reject-with net-prohib",
            "-j REJECT --reject-with host-prohib",
            "-j REJECT --reject-with admin-prohib",
        ],
    ),
    (
        "nat",
        &[
            "-j SNAT --to-source 1.2.3.4",
            "-p tcp -j SNAT --to-source 1.2.3.4-1.2.3.9:100-200 --persistent --random",
            "-p udp -j SNAT --to-source 1.2.3.4:100 --random-fully",
            "-p icmp -j SNAT --to-source 1.2.3.4:5",
            "-j DNAT --to-destination 1.2.3.4",
            "-p tcp -j DNAT --to-destination 1.2.3.4:http",
            "-p tcp -j DNAT --to-destination 1.2.3.4-1.2.3.6:80-90 --random --persistent",
            "-p tcp -m tcp --dport 1000:2000 -j DNAT --to-destination 1.2.3.4:1000-2000/900",
            "-p tcp -j DNAT --to-destination :80",
            "-p tcp -j DNAT --to-destination 1.2.3.4-1.2.3.4:7-7",
            "-j NETMAP --to 10.0.0.0/24",
            "-j NETMAP --to 10.0.0.5",
            "-j NETMAP --to 10.0.0.0/255.255.0.0",
        ],
    ),
];

/// Lines for IPv6.
const V6: &[(&str, &[&str])] = &[
    (
        "filter",
        &[
            "-s fe80::1 -d 2001:db8::/32 -j DROP",
            "-s ::1/ffff::ff -j DROP",
            "-s 2001:db8::1,2001:db8::2 -j DROP",
            "-s ::ffff:1.2.3.4 -j DROP",
            "-p icmpv6 -m icmp6 --icmpv6-type echo-request -j ACCEPT",
            "-p ipv6-icmp --icmpv6-type 1/4 -j ACCEPT",
            "-p 58 --icmpv6-type neighbor-solicitation -j ACCEPT",
            "-p ipv6-icmp -m icmp6 ! --icmpv6-type no-route -j ACCEPT",
            "-p ipv6-icmp -m icmp6 --icmpv6-type packet-too-big -j ACCEPT",
            "-m hl --hl-eq 64 -j ACCEPT",
            "-m hl ! --hl-eq 64 -j ACCEPT",
            "-m hl --hl-lt 64 -j ACCEPT",
            "-m hl --hl-gt 64 -j ACCEPT",
            "-m conntrack --ctorigsrc 2001:db8::/32 ! --ctrepldst 2001:db8::1 -j ACCEPT",
            "-j REJECT --reject-with icmp6-adm-prohibited",
            "-j REJECT --reject-with no-route",
            "-j REJECT --reject-with addr-unreach",
            "-j REJECT --reject-with port-unreach",
            "-j REJECT --reject-with policy-fail",
            "-j REJECT --reject-with reject-route",
        ],
    ),
    (
        "nat",
        &[
            "-p tcp -j SNAT --to-source [2001:db8::1]:100-200",
            "-j SNAT --to-source 2001:db8::1-2001:db8::5 --persistent",
            "-p udp -j SNAT --to-source [2001:db8::1-2001:db8::5]:10",
            "-p udp -j SNAT --to-source [2001:db8::1]",
            "-p udp -j DNAT --to-destination [2001:db8::1]:80-90/70",
            "-p udp -j DNAT --to-destination :80",
            "-j NETMAP --to 2001:db8::/64",
            "-j NETMAP --to 2001:db8::1",
        ],
    ),
];

/// What makes no sense to iptables, by table and line of POSTROUTING or FORWARD.
const NONSENSE: &[(&str, &str)] = &[
    ("filter", "-m tcp --dport 1"),
    ("filter", "-p udp -m multiport --dports 5:1"),
    ("filter", "-p tcp -m multiport --dports :80"),
    ("filter", "-p tcp -m multiport --dports 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16"),
    ("filter", "-p gre -m multiport --dports 1"),
    ("filter", "! -p all"),
    ("filter", "-m conntrack"),
    ("filter", "-m conntrack ! --ctdir REPLY"),
    ("filter", "-m state --state SNAT"),
    ("filter", "-m limit --limit 1/day"),
    ("filter", "-m limit --limit 10001/sec"),
    ("filter", "-m limit --limit 3/hour --limit-burst 10001"),
    ("filter", "-m limit --limit 3/hour --limit-burst 0"),
    ("filter", "-m comment --comment a --comment b"),
    ("filter", "-m addrtype --limit-iface-in"),
    ("filter", "-p tcp --syn --tcp-flags ALL NONE"),
    ("filter", "-p tcp --tcp-option 0"),
    ("filter", "-p icmp -m icmp"),
    ("filter", "-s 1.2.3.4 -s 1.2.3.5"),
    ("filter", "! -s 1.2.3.4,1.2.3.5"),
    ("filter", "-m ttl --ttl-lt 64 --ttl-gt 3"),
    ("filter", "-j REJECT --reject-with tcp-reset"),
    ("filter", "-j LOG --log-prefix \"\""),
    ("filter", "-j MASQUERADE"),
    ("filter", "-j NOTRACK"),
    ("nat", "-j DROP"),
    ("nat", "-i lan -j ACCEPT"),
    ("nat", "-j DNAT --to-destination 1.2.3.4"),
    ("nat", "-j SNAT"),
    ("nat", "-j SNAT --to-source 1.2.3.4:5"),
    ("nat", "-p gre -j SNAT --to-source 1.2.3.4:5"),
    ("nat", "-p udplite -j MASQUERADE --to-ports 5"),
    ("nat", "-p tcp -j MASQUERADE --to-ports 5-3"),
    ("nat", "-m addrtype --dst-type LOCAL --limit-iface-in"),
    ("mangle", "-j MARK"),
    ("mangle", "-j MARK --set-mark 1 --or-mark 2"),
    ("mangle", "-j CONNMARK --save-mark --restore-mark"),
    ("mangle", "-j CONNMARK --save-mark --mask 1 --ctmask 2"),
    ("mangle", "-j TRACE"),
    ("mangle", "-j CT --notrack"),
];

/// What the nft variant alone writes otherwise: it makes one match of two, and loses a negation behind a range.
const NFT_WRITES_OTHERWISE: &[&str] =
    &["-p tcp -m tcp --dport http -m tcp --sport 5 -j ACCEPT", "-p tcp -m tcp --sport 1024: ! --dport :1023 -j ACCEPT"];

/// The two programs that go by the name of iptables.
const VARIANTS: [&str; 2] = ["legacy", "nft"];

#[test]
fn what_we_accept_iptables_accepts_and_writes_as_we_do() {
    for variant in VARIANTS.into_iter().filter(|variant| can_run(variant)) {
        for (family, own) in [("iptables", V4), ("ip6tables", V6)] {
            for table in ["filter", "nat", "mangle", "raw"] {
                let lines = BOTH.iter().chain(own).filter(|(name, _)| *name == table).flat_map(|(_, lines)| *lines);
                let lines = lines.copied().filter(|line| variant == "legacy" || !NFT_WRITES_OTHERWISE.contains(line));
                let text = one_chain_each(table, lines);
                let theirs = restore_and_save(family, variant, table, &text).unwrap_or_else(|error| panic!("{error}"));
                let ours = if family == "iptables" { written::<Ipv4Addr>(&text) } else { written::<Ipv6Addr>(&text) };
                let differing: Vec<_> = ours.iter().zip(&theirs).filter(|(ours, theirs)| ours != theirs).collect();
                assert!(differing.is_empty(), "ours, and that of {family}-{variant}: {differing:#?}");
                assert_eq!(ours.len(), theirs.len());
            }
        }
    }
}

#[test]
fn what_makes_no_sense_to_iptables_makes_none_to_us() {
    if !can_run("legacy") {
        return;
    }
    for (table, line) in NONSENSE {
        let chain = if *table == "filter" { "FORWARD" } else { "POSTROUTING" };
        let text = format!("*{table}\n-A {chain} {line}\nCOMMIT\n");
        assert!(restore_and_save("iptables", "legacy", table, &text).is_err(), "iptables accepts {line}");
        assert!(Ruleset::<Ipv4Addr>::parse(&text).is_err(), "we accept {line}");
    }
}

#[test]
fn whole_rulesets_pass_through_iptables_unchanged() {
    let cases = [
        ("iptables", include_str!("../../src/rules/tests/fixtures/home-router.rules")),
        ("iptables", include_str!("../../src/rules/tests/fixtures/containers.rules")),
        ("iptables", include_str!("../../src/rules/tests/fixtures/desktop.rules")),
        ("ip6tables", include_str!("../../src/rules/tests/fixtures/zones6.rules")),
    ];
    for variant in VARIANTS.into_iter().filter(|variant| can_run(variant)) {
        for (family, text) in cases {
            for block in text.split_inclusive("COMMIT\n") {
                let lines = || block.lines().filter(|line| line.starts_with(['*', ':', '-']));
                let table = lines().next().expect("a table").trim_start_matches('*').to_owned();
                let theirs = restore_and_save(family, variant, &table, block).expect("it is accepted");
                let ours: Vec<&str> = lines().filter(|line| line.starts_with('-')).collect();
                assert_eq!(ours, theirs, "{family}-{variant}");
            }
        }
    }
}

#[test]
fn sets_are_read_as_ipset_saves_them() {
    if !can_run("legacy") {
        return;
    }
    let text = "create a hash:ip family inet comment\nadd a 10.0.0.0/30 comment \"four of them\"\n\
                create b hash:net family inet counters\nadd b 10.0.0.0/8\nadd b 10.1.0.0/16 nomatch\n\
                create c hash:ip,port family inet\nadd c 10.0.0.1,udp:53-54\nadd c 10.0.0.1,80\nadd c 10.0.0.1,icmp:8/0\n\
                create d hash:net,port family inet\nadd d 10.0.0.0/8,tcp:22\n\
                create e hash:ip family inet6\nadd e 2001:db8::1\n\
                create f hash:ip,port,ip family inet\nadd f 10.0.0.1,vrrp:0,10.0.0.2\n";
    match in_namespace("ipset restore && ipset save", text) {
        Ok(saved) => {
            let [ours, theirs] = [text, &saved].map(|text| Sets::<Ipv4Addr>::parse(text).expect("sets"));
            assert!(!saved.is_empty() && ours == theirs, "{saved}\n{ours:?}\n{theirs:?}");
        }
        Err(error) if error.contains("not found") => eprintln!("SKIP: no ipset; install it: apt-get install ipset"),
        Err(error) => panic!("{error}"),
    }
}

/// A table in which each line stands in a chain of its own.
fn one_chain_each<'a>(table: &str, lines: impl Iterator<Item = &'a str> + Clone) -> String {
    let names = lines.clone().enumerate().map(|(n, _)| format!(":c{n:03} - [0:0]\n")).collect::<String>();
    let rules = lines.enumerate().map(|(n, line)| format!("-A c{n:03} {line}\n")).collect::<String>();
    format!("*{table}\n{names}{rules}COMMIT\n")
}

/// Our rules of `text`.
fn written<A: Address>(text: &str) -> Vec<String> {
    let ruleset = Ruleset::<A>::parse(text).unwrap_or_else(|error| panic!("{error}"));
    rules(&ruleset.to_string())
}

fn rules(text: &str) -> Vec<String> {
    text.lines().filter(|line| line.starts_with("-A")).map(|line| line.trim_end().to_owned()).collect()
}

/// Gives `text` to iptables-restore; returns the rules that iptables-save writes then.
fn restore_and_save(family: &str, variant: &str, table: &str, text: &str) -> Result<Vec<String>, String> {
    let program = format!("{family}-{variant}");
    in_namespace(&format!("{program}-restore && {program}-save -t {table}"), text).map(|saved| rules(&saved))
}

/// Whether there is this variant of iptables and we may use it; says loudly what is missing.
fn can_run(variant: &str) -> bool {
    if in_namespace("true", "").is_err() {
        eprintln!("SKIP: making namespaces needs root (or CAP_SYS_ADMIN and CAP_NET_ADMIN); run the tests with sudo");
        return false;
    }
    let text = "*filter\n-A INPUT -j ACCEPT\nCOMMIT\n";
    let works =
        ["iptables", "ip6tables"].iter().all(|family| restore_and_save(family, variant, "filter", text).is_ok());
    if !works {
        eprintln!("SKIP: no iptables-{variant} that works with this kernel; install it: apt-get install iptables");
    }
    works
}

/// Runs a shell command in a new network namespace, which ends with it.
fn in_namespace(command: &str, input: &str) -> Result<String, String> {
    let mut child = Command::new("unshare")
        .args(["--net", "sh", "-c", command])
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("XTABLES_LOCKFILE", format!("{}/xtables.lock", env!("CARGO_TARGET_TMPDIR")))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    // A program that refuses its input early does not read the rest.
    let _ = child.stdin.take().expect("it was piped").write_all(input.as_bytes());
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    if output.status.success() { Ok(out) } else { Err(err) }
}
