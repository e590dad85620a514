//! Rules of the kernel's own `nft`, in a namespace, and what is read from them.

use std::io::Write;
use std::process::{Command, Stdio};

use super::*;
use crate::namespace::Namespace;

fn dropped(by: &str) -> Fate {
    Fate::Dropped { by: by.to_owned() }
}

fn unclear(by: &str) -> Fate {
    Fate::Unclear { by: by.to_owned() }
}

/// What becomes of a stranger's packet to 51820, an answer, and a packet to nowhere, with these rules; whether it translates.
fn check(rules: &str, expected: [Fate; 3], translates: bool) {
    let namespace = Namespace::create("firewall").expect("a namespace");
    let mut command = Command::new("nft");
    command.args(["-f", "-"]).stdin(Stdio::piped());
    namespace.enter(&mut command);
    let mut child = command.spawn().expect("nft starts");
    child.stdin.take().expect("a pipe").write_all(rules.as_bytes()).expect("nft reads");
    assert!(child.wait().expect("nft ends").success(), "{rules}");
    let question = Question { interface: "eth0", own: Some([192, 168, 1, 10].into()), port: 51_820 };
    let firewall = namespace.run(|| look(&question)).expect("a thread");
    let [stranger, answer, elsewhere] = expected;
    assert_eq!(firewall, Firewall::Seen { stranger, answer, elsewhere, masquerades: translates }, "{rules}");
}

fn is_ready() -> bool {
    let has_nft = Command::new("nft").arg("--version").output().is_ok_and(|output| output.status.success());
    let ready = has_nft && crate::namespace::privilege::can_make_namespaces();
    if !ready {
        eprintln!("SKIP: the host's own filter is not read; this needs root and nft (apt-get install nftables)");
    }
    ready
}

#[test]
fn the_fate_of_packets_is_that_of_the_rules() {
    if !is_ready() {
        return;
    }
    let ok = || Fate::Accepted;
    let filter = |rules: &str| {
        format!("table inet filter {{ chain input {{ type filter hook input priority 0; {rules}\n }}\n}}")
    };
    let own = "inet filter input";
    check("", [ok(), ok(), ok()], false);
    check(&filter("policy drop;"), [dropped(own), dropped(own), dropped(own)], false);
    check(
        &filter("policy drop; ct state established,related accept\n iif lo accept"),
        [dropped(own), ok(), dropped(own)],
        false,
    );
    let named = "policy drop; ct state vmap { established : accept, related : accept, invalid : drop }\n udp dport { 53, 51820 } accept";
    check(&filter(named), [ok(), ok(), dropped(own)], false);
    check(&filter("iifname \"eth0\" ct state new udp dport 51820 reject"), [dropped(own), ok(), ok()], false);
    check(&filter("iifname \"wlan*\" drop\n meta l4proto tcp drop\n ip protocol icmp drop"), [ok(), ok(), ok()], false);
    check(&filter("iifname \"eth*\" drop"), [dropped(own), dropped(own), dropped(own)], false);
    check(&filter("udp dport 1000-60000 drop"), [dropped(own), dropped(own), ok()], false);
    check(&filter("ip daddr 192.168.1.10 udp dport != 51820 drop"), [ok(), ok(), dropped(own)], false);
    // Whose address it comes from is not known.
    check(&filter("ip saddr 192.0.2.1 drop"), [unclear(own), unclear(own), unclear(own)], false);
    check(&filter("policy drop; ip saddr 192.0.2.1 drop"), [dropped(own), dropped(own), dropped(own)], false);
    check(&filter("limit rate 1/second accept\n drop"), [unclear(own), unclear(own), unclear(own)], false);
}

#[test]
fn jumps_priorities_and_translations_are_followed() {
    if !is_ready() {
        return;
    }
    let ok = || Fate::Accepted;
    let jumps = "table ip filter {\n chain wan { udp dport 51820 return\n drop\n }\n chain lan { accept\n }\n
        chain INPUT { type filter hook input priority 0; policy accept; iifname \"eth1\" goto lan\n iifname \"eth0\" jump wan\n }\n}";
    check(jumps, [ok(), ok(), dropped("ip filter INPUT")], false);
    let early = "table ip raw { chain first { type filter hook prerouting priority -300; udp dport 9 drop\n }\n}
        table inet late { chain input { type filter hook input priority 10; udp dport 51820 drop\n }\n}
        table ip6 six { chain input { type filter hook input priority 0; policy drop; }\n}";
    check(early, [dropped("inet late input"), dropped("inet late input"), dropped("ip raw first")], false);
    let nat = "table ip nat { chain out { oifname \"eth0\" masquerade\n }\n
        chain post { type nat hook postrouting priority 100; jump out\n }\n}";
    check(nat, [ok(), ok(), ok()], true);
}

#[test]
fn without_privileges_it_is_hidden() {
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set=-all", "--inh-caps=-all", "--reuid=65534", "--clear-groups", "true"]);
    if !is_ready() || !command.status().is_ok_and(|status| status.success()) {
        return;
    }
    // Capabilities are a thread's own, so this thread's can go.
    let hidden = std::thread::spawn(|| {
        // SAFETY: a plain system call, of this thread only.
        let result = unsafe { libc::syscall(libc::SYS_setresuid, 65_534, 65_534, 65_534) };
        assert_eq!(result, 0);
        look(&Question { interface: "eth0", own: None, port: 51_820 })
    });
    assert_eq!(hidden.join().expect("a thread"), Firewall::Hidden);
}

#[test]
fn no_bytes_make_an_expression_panic() {
    let mut rng = pinhole_sansio::Rng::from_seed(5);
    let names = ["meta", "payload", "ct", "cmp", "range", "bitwise", "immediate", "match", "target", "fib", "x"];
    for _ in 0..20_000 {
        let length = rng.below(64) as usize;
        let mut bytes: Vec<u8> = (0..length).map(|_| (rng.next_u64() % 8) as u8).collect();
        if rng.chance(0.3) && !bytes.is_empty() {
            let at = rng.below(bytes.len() as u64) as usize;
            bytes[at] = rng.next_u64() as u8;
        }
        let expressions: Vec<_> = names.iter().filter_map(|name| read::parse(name, &bytes)).collect();
        let packet = Packet { interface: "eth0", index: 0, own: None, port: 1, state: rule::NEW };
        let _ = rule::evaluate(&expressions, &packet);
    }
}
