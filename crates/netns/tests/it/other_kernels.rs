//! The engine beside another kernel than the running one: Debian's, in a guest. What the personalities say of versions is
//! held here; `PINHOLE_GUEST_KERNEL` names others than Debian 12's.

use std::fs;
use std::path::{Path, PathBuf};

use pinhole_guest::Guest;
use pinhole_netfilter::script::generate::Case;
use pinhole_netfilter::script::{Engine, Script};
use pinhole_netfilter::settings::Personality;

use crate::oracle::{Compared, engine_differs, kernel, scripts_directory};

/// What the rules and scripts ask of the kernel, which in the guest finds no module by itself.
const MODULES: &[&str] = &[
    "tun",
    "nf_tables",
    "nft_compat",
    "nft_chain_nat",
    "nft_ct",
    "nft_log",
    "nft_limit",
    "nft_masq",
    "nft_nat",
    "nft_redir",
    "nft_reject_inet",
    "nft_reject_ipv4",
    "nft_reject_ipv6",
    "nfnetlink_log",
    "nf_conntrack_netlink",
    "nf_conntrack_ftp",
    "nf_conntrack_tftp",
    "nf_conntrack_irc",
    "nf_conntrack_sip",
    "nf_conntrack_pptp",
    "nf_nat_ftp",
    "nf_nat_tftp",
    "nf_nat_irc",
    "nf_nat_sip",
    "nf_nat_pptp",
    "nf_log_syslog",
    "nfnetlink_cttimeout",
    "xt_CT",
    "xt_LOG",
    "xt_MASQUERADE",
    "xt_NETMAP",
    "xt_REDIRECT",
    "xt_TRACE",
    "xt_connmark",
    "xt_conntrack",
    "xt_comment",
    "xt_limit",
    "xt_mark",
    "xt_multiport",
    "xt_nat",
    "xt_set",
    "xt_state",
    "xt_tcpudp",
    "ipt_REJECT",
    "ip6t_REJECT",
];

/// The programs that load rules, and where Debian keeps the parts that they load at run time.
const PROGRAMS: [&str; 3] = ["nft", "iptables-restore", "ip6tables-restore"];
const PARTS: &str = "/usr/lib/x86_64-linux-gnu/xtables";
/// Where the scripts lie in the guest.
const SCRIPTS: &str = "/scripts";

/// Scripts that another kernel takes differently, by which rule is not known: 6.1 and 6.12 rewrite both contacts of a header,
/// and 6.12 expects a connection to port 0.
const KNOWN: &[(&str, &str)] = &[("6.1", "sip-length.pkt"), ("6.12", "sip-length.pkt"), ("6.12", "ftp-port-zero.pkt")];

const PROTOCOLS: &str = "/etc/protocols";

/// As many as emulation does in a quarter of a minute, scripts included.
const PACKETS: u64 = 1_500;

#[test]
fn another_kernel_does_what_its_personality_says() {
    let programs = PROGRAMS.map(|name| format!("/usr/sbin/{name}")).map(|path| (PathBuf::from(&path), path));
    let parts = files(Path::new(PARTS)).map(|path| (path.clone(), path.display().to_string()));
    let scripts = files(&scripts_directory()).map(|path| (path.clone(), format!("{SCRIPTS}/{}", name(&path))));
    // Where iptables finds the names of protocols.
    let protocols = [(PathBuf::from(PROTOCOLS), PROTOCOLS.to_owned())];
    let all: Vec<_> = programs.into_iter().chain(parts).chain(scripts).chain(protocols).collect();
    let guest = Guest::new("other_kernels::another_kernel_does_what_its_personality_says").modules(MODULES);
    let guest = all.iter().fold(guest, |guest, (outside, inside)| guest.file(outside, inside));
    let console = guest.run(in_the_guest);
    // Seen with --nocapture.
    println!("{}", console.unwrap_or_default());
}

fn in_the_guest() {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").expect("a release");
    let personality = Personality::of_release(&release).unwrap_or_else(|| panic!("whose is {release}?"));
    let (mut kernel, mut engine) = (kernel("other"), Engine::new(personality, 1));
    let (mut compared, mut found) = (Compared::default(), Vec::new());
    for path in files(Path::new(SCRIPTS)) {
        if KNOWN.contains(&(personality.name, &name(&path))) {
            continue;
        }
        let script: Script = fs::read_to_string(&path).expect("a file").parse().expect("a script");
        let difference = engine_differs(&script, &mut kernel, &mut engine, &mut compared);
        found.extend(difference.map(|difference| format!("{}: {difference}", name(&path))));
    }
    for seed in (0..).step_by(32) {
        if compared.packets > PACKETS {
            break;
        }
        let case = Case::of_seed(seed);
        let difference = engine_differs(&case.script(), &mut kernel, &mut engine, &mut compared);
        found.extend(difference.map(|difference| format!("case {seed}: {difference}\n{}", case.script())));
    }
    let (release, name) = (release.trim(), personality.name);
    println!("Linux {release} as {name}: {compared}, {} differences", found.len());
    assert!(found.is_empty(), "{}", found.join("\n"));
}

fn files(directory: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path())
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
