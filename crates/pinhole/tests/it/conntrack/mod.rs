//! `pinhole conntrack` against the running kernel and against conntrack(8), in namespaces.

mod diff;
mod list;
mod top;
mod trace;
mod watch;

use std::net::UdpSocket;
use std::process::Command;

use pinhole_host::namespace::Namespace;
use pinhole_host::nft::{Installed, Policy, Ports, Ruleset};

use crate::support::pinhole::{BINARY, Ended, run};

/// A namespace whose loopback traffic is tracked, counted and timed, with nothing in its table.
struct Stage {
    ns: Namespace,
    /// Tracking begins with a rule that asks for it.
    _rules: Installed,
}

impl Stage {
    fn new(name: &str) -> Self {
        let ns = Namespace::create(name).expect("a namespace");
        let rules = Ruleset::home_router("pinhole_test", "nowhere", Ports::Kept, Policy::Accept);
        let rules = ns.run(|| rules.install()).expect("a thread").expect("nf_tables works in a namespace");
        for setting in ["nf_conntrack_acct", "nf_conntrack_timestamp"] {
            ns.set(&format!("net/netfilter/{setting}"), "1").expect("every kernel with conntrack has it");
        }
        Self { ns, _rules: rules }
    }

    /// A table with something of everything, made by conntrack(8).
    fn with_a_varied_table(name: &str) -> Self {
        let stage = Self::new(name);
        for line in VARIED.lines() {
            let made = stage.conntrack(&format!("-I {line}"));
            assert_eq!(made.code, Some(0), "{line}: {}", made.stderr);
        }
        stage
    }

    fn command(&self, program: &str, line: &str) -> Command {
        let mut command = Command::new(program);
        command.args(line.split_whitespace());
        self.ns.enter(&mut command);
        command
    }

    fn pinhole(&self, line: &str) -> Ended {
        run(&mut self.command(BINARY, &format!("conntrack {line}")))
    }

    fn conntrack(&self, line: &str) -> Ended {
        run(&mut self.command("conntrack", line))
    }

    /// Sends from one new port to each of `to`, whether or not anyone is there.
    fn send(&self, to: impl Iterator<Item = u16> + Send) {
        let send = || {
            let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
            for port in to {
                // That nobody is there is told to the next send.
                let _ =
                    socket.send_to(b"x", ("127.0.0.1", port)).or_else(|_| socket.send_to(b"x", ("127.0.0.1", port)));
            }
        };
        self.ns.run(send).expect("a thread");
    }
}

/// TCP in several states, UDP translated either way, ICMP, SCTP, GRE and others, IPv6, marks, zones.
const VARIED: &str = "\
-p tcp -s 10.0.0.2 -d 198.51.100.7 --sport 40000 --dport 443 --state ESTABLISHED -t 1000 -u SEEN_REPLY,ASSURED -m 7
-p tcp -s 10.0.0.3 -d 198.51.100.7 --sport 40000 --dport 22 --state SYN_SENT -t 1000 -w 5
-p tcp -s 10.0.0.3 -d 198.51.100.8 --sport 40001 --dport 22 --state TIME_WAIT -t 1000 -u SEEN_REPLY
-p tcp -s 10.0.0.3 -d 198.51.100.8 --sport 40002 --dport 22 --state LISTEN -t 1000
-p udp -s 10.0.0.2 -d 203.0.113.9 --sport 51820 --dport 51820 -t 1000 --src-nat 192.0.2.1:51820
-p udp -s 10.0.0.4 -d 192.0.2.1 --sport 5000 --dport 80 -t 1000 --dst-nat 10.0.0.99:8080 -u SEEN_REPLY
-p icmp -s 10.0.0.2 -d 192.0.2.8 --icmp-type 8 --icmp-code 0 --icmp-id 77 -t 1000 -m 0x2a
-p udp -s fd00::1 -d fd00::2 --sport 5000 --dport 53 -t 1000
-p udp -s ::1.2.3.4 -d ::ffff:1.2.3.4 --sport 1 --dport 2 -t 1000
-p icmpv6 -s fd00::1 -d fd00::2 --icmpv6-type 128 --icmpv6-code 0 --icmpv6-id 78 -t 1000
-p sctp -s 10.0.0.2 -d 10.0.0.9 --sport 1 --dport 2 --state ESTABLISHED -t 1000 --orig-vtag 1 --reply-vtag 2
-p sctp -s fd00::3 -d fd00::4 --sport 1 --dport 2 --state CLOSED -t 1000 --orig-vtag 0 --reply-vtag 0
-p gre -s 10.0.0.2 -d 10.0.0.9 --srckey 0x1 --dstkey 0x2 -t 1000
-p gre -s 10.0.0.2 -d 10.0.0.10 --srckey 5 --dstkey 6 -t 1000 --orig-zone 9
-p 50 -s 10.0.0.2 -d 10.0.0.9 -t 1000";

/// How many lines of [`VARIED`] there are.
fn varied() -> usize {
    VARIED.lines().count()
}
