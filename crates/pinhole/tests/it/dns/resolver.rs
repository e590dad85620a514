//! unbound in front of the registry, as a recursor that trusts nobody: strict QNAME minimisation and random case.

use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::device::Peer;
use super::golden::{ONE, readme};
use super::stage::{PATIENCE, Stage, stage, until};
use super::wire::*;
use crate::support::ready::{find, skip_for_want_of};

/// unbound on the client's loopback; it ends when dropped.
struct Unbound {
    child: Child,
    configuration: std::path::PathBuf,
}

impl Unbound {
    /// `None` and a loud reason where there is no unbound.
    fn start(stage: &Stage, zone: &str) -> Option<Self> {
        let Some(path) = find("unbound") else {
            skip_for_want_of("unbound");
            return None;
        };
        let directory = std::env::temp_dir();
        let configuration = directory.join(format!("pinhole-{}-{}.conf", std::process::id(), stage.client.name()));
        let text = format!(
            "server:\n  interface: 127.0.0.1\n  port: 53\n  username: \"\"\n  chroot: \"\"\n  directory: \"/\"\n  \
             pidfile: \"\"\n  use-syslog: no\n  do-daemonize: no\n  num-threads: 1\n  do-not-query-localhost: no\n  \
             qname-minimisation: yes\n  qname-minimisation-strict: yes\n  use-caps-for-id: yes\n  \
             module-config: \"iterator\"\n  cache-max-negative-ttl: 3600\n  verbosity: 1\n\
             remote-control:\n  control-enable: no\n{zone}"
        );
        let mut file = std::fs::File::create(&configuration).expect("a file");
        file.write_all(text.as_bytes()).expect("it is written");
        let mut command = Command::new(path);
        command.args(["-d", "-c"]).arg(&configuration).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        stage.client.enter(&mut command);
        Some(Self { child: command.spawn().expect("unbound starts"), configuration })
    }
}

impl Drop for Unbound {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(&self.configuration);
    }
}

fn behind_unbound(zone: &str) {
    let Some(stage) = stage() else { return };
    let device = stage.device("wg0", &readme());
    let (_registry, _client) = stage.public_registry(&[]);
    let Some(mut unbound) = Unbound::start(&stage, zone) else { return };
    let client = stage.ask_from(&stage.client, "127.0.0.1");
    until("unbound answers", || {
        assert!(unbound.child.try_wait().expect("its state").is_none(), "unbound ended");
        client.try_exchange(&Query::new("example.com.", SOA).bytes(), Duration::from_millis(50))
    });
    let instance = format!("{ONE}._wireguard._udp.example.com.");
    let mut id = 0;
    let mut ask = |name: &str, qtype: u16| {
        id += 1;
        let query = Query::new(name, qtype).id(id).edns(1232).bytes();
        Answer::read(&client.try_exchange(&query, PATIENCE).expect("an answer"))
    };
    let cases: [(&str, u16, u16, usize); 9] = [
        (&instance, SRV, NOERROR, 1),
        (&instance, A, NOERROR, 1),
        (&instance, AAAA, NOERROR, 0),
        (&instance, TXT, NOERROR, 1),
        ("_wireguard._udp.example.com.", PTR, NOERROR, 2),
        ("_services._dns-sd._udp.example.com.", PTR, NOERROR, 1),
        ("example.com.", NS, NOERROR, 1),
        ("_udp.example.com.", TXT, NOERROR, 0),
        ("nobody.example.com.", A, NXDOMAIN, 0),
    ];
    for (name, qtype, rcode, answers) in cases {
        let answer = ask(name, qtype);
        assert_eq!((answer.rcode(), answer.message.answers.len()), (rcode, answers), "{name} {qtype}");
    }
    // A miss hides a peer no longer than the negative TTL.
    let late = Peer::new(5, "203.0.113.5:5", &[]);
    let name = format!("{}._wireguard._udp.example.com.", late.label());
    assert_eq!(ask(&name, SRV).rcode(), NXDOMAIN);
    device.set(&[readme(), vec![late]].concat());
    until("the peer is seen behind unbound", || (ask(&name, SRV).rcode() == NOERROR).then_some(()));
    // Forwarding and stub resolvers fetch what does not fit a datagram by TCP.
    let many: Vec<Peer> = (0..120).map(|n| Peer::new(n, "203.0.113.5:5", &[])).collect();
    device.set(&many);
    until("all peers are seen behind unbound", || {
        let answer = ask("_wireguard._udp.example.com.", PTR);
        (answer.rcode() == NOERROR && answer.has(TC)).then_some(())
    });
}

#[test]
fn unbound_resolves_peers_by_a_stub_zone() {
    behind_unbound("stub-zone:\n  name: \"example.com.\"\n  stub-addr: 192.0.2.1@53\n");
}

#[test]
fn unbound_resolves_peers_by_forwarding() {
    behind_unbound("forward-zone:\n  name: \"example.com.\"\n  forward-addr: 192.0.2.1@53\n");
}
