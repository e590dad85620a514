//! Interfaces from wg-quick files on our own device, as `wg(8)` and the kernel see them, and nothing left of them afterwards.

use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use pinhole_host::netlink::route;
use pinhole_lab::{Link, Nat, Topology};
use pinhole_netns::{Host, Internet, Signal};

use crate::support::pinhole::{BINARY, Ended, Pinhole, run};
use crate::support::plan;
use crate::support::ready::ready;
use crate::support::until;

/// Odd case, spaces and comments are wg-quick's to accept, and so ours.
const EVERYTHING: &str = "\
# a comment
 [interface]  # odd case
privatekey=PRIVATE
  LISTENPORT =  51999   # trailing comment
Address = 10.9.0.1/24, fd09::1/64
Address=10.10.0.1/32
MTU = 1380
FwMark = 0x1234
PreUp = echo pre-up %i | tee -a /run/hooks
PostUp = echo post-up %i | tee -a /run/hooks; false || true
PreDown = echo pre-down %i | tee -a /run/hooks
PostDown = echo post-down %i | tee -a /run/hooks

[PEER]
PublicKey = ALICE
presharedkey = PSK
AllowedIPs = 10.9.0.2/32, fd09::2/128
AllowedIPs = 10.20.0.0/16,10.30.1.7/16
Endpoint = [::1]:51998
PersistentKeepalive = 25
";

const DEFAULT_ROUTE: &str = "\
[Interface]
PrivateKey = PRIVATE
Address = 10.9.0.1/24
[Peer]
PublicKey = ALICE
AllowedIPs = 0.0.0.0/0
";

/// A host with a file `/run/wt0.conf`. Takes the interface down again whatever happens.
struct Stage {
    internet: Internet,
}

impl Stage {
    fn new(file: &str) -> Self {
        let topology = Topology::two_homes(Nat::CONE, Nat::CONE, Link::default(), 1);
        let stage = Self { internet: Internet::build(&topology).expect("it can be built") };
        let psk = plan::private_key("bob").to_base64();
        let (private, alice) = (plan::private_key("hub").to_base64(), plan::key("alice").to_base64());
        let text = file.replace("PRIVATE", &private).replace("ALICE", &alice).replace("PSK", &psk);
        std::fs::write(stage.host().path("/run/wt0.conf"), text).expect("a writable /run");
        stage
    }

    /// Changes the file.
    fn edit(&self, from: &str, to: &str) {
        let path = self.host().path("/run/wt0.conf");
        let text = std::fs::read_to_string(&path).expect("it is there");
        assert!(text.contains(from), "{text}");
        std::fs::write(path, text.replace(from, to)).expect("a writable /run");
    }

    fn host(&self) -> &Host {
        self.internet.host("hub")
    }

    /// Runs `pinhole wg` with `args`; wants success and gives standard error.
    fn wg(&self, args: &[&str]) -> String {
        let Ended { code, stderr, stdout } = run(self.host().command(BINARY).arg("wg").args(args));
        assert_eq!((code, stdout.as_str()), (Some(0), ""), "{args:?}: {stderr}");
        stderr
    }

    /// What a program on the host prints.
    fn says(&self, program: &str, args: &[&str]) -> String {
        let ended = run(self.host().command(program).args(args));
        assert_eq!(ended.code, Some(0), "{program} {args:?}: {}", ended.stderr);
        ended.stdout
    }

    fn addresses(&self) -> Vec<IpNet> {
        let interfaces = self.host().run(|| route::interfaces(&mut route::open()?)).expect("a thread");
        let ours = interfaces.expect("interfaces").into_iter().find(|interface| interface.link.name == "wt0");
        let addresses = ours.into_iter().flat_map(|interface| interface.addresses).map(|address| address.net);
        addresses.filter(|net| !matches!(net.addr(), IpAddr::V6(v6) if v6.is_unicast_link_local())).collect()
    }

    fn rules(&self) -> usize {
        self.host().run(|| route::rule::list(&mut route::open()?)).expect("a thread").expect("rules").len()
    }

    /// What pinhole keeps in /run.
    fn kept(&self) -> Vec<PathBuf> {
        let list = |directory| std::fs::read_dir(self.host().path(directory)).into_iter().flatten();
        let entries = ["/run/pinhole", "/run/wireguard"].into_iter().flat_map(list);
        entries.map(|entry| entry.expect("readable").path()).collect()
    }

    fn hooks(&self) -> String {
        std::fs::read_to_string(self.host().path("/run/hooks")).unwrap_or_default()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = self.host().command(BINARY).args(["wg", "down", "wt0"]).status();
        }
    }
}

fn nets(text: &str) -> Vec<IpNet> {
    text.split(' ').map(|net| net.parse().expect("a prefix")).collect()
}

#[test]
fn a_file_with_everything_comes_up_answers_wg_and_leaves_nothing_behind() {
    if !ready(&["wg"]) {
        return;
    }
    let stage = Stage::new(EVERYTHING);
    // Hooks that print must not be taken for the word of the device's process.
    let said = stage.wg(&["up", "--userspace", "/run/wt0.conf"]);
    assert!(said.contains("pre-up wt0\n") && said.contains("post-up wt0\n"), "{said}");
    let mut addresses = stage.addresses();
    addresses.sort();
    assert_eq!(addresses, nets("10.9.0.1/24 10.10.0.1/32 fd09::1/64"));
    let routes = stage.host().run(|| route::table::list(&mut route::open()?)).expect("a thread").expect("routes");
    for net in nets("10.20.0.0/16 10.30.0.0/16") {
        assert!(routes.iter().any(|route| route.destination == net), "{net}: {routes:?}");
    }
    let (alice, psk) = (plan::key("alice").to_base64(), plan::private_key("bob").to_base64());
    let peer = format!("{alice}\t{psk}\t[::1]:51998\t10.9.0.2/32,fd09::2/128,10.20.0.0/16,10.30.0.0/16\t0\t0\t");
    let dump = stage.says("wg", &["show", "wt0", "dump"]);
    assert!(dump.contains("\t51999\t0x1234\n") && dump.contains(&peer) && dump.ends_with("\t25\n"), "{dump}");

    let bob = plan::key("bob").to_base64();
    stage.says("wg", &["set", "wt0", "peer", &bob, "allowed-ips", "10.9.0.7/32", "persistent-keepalive", "7"]);
    stage.says("wg", &["set", "wt0", "listen-port", "51888", "fwmark", "0"]);
    assert!(stage.says("wg", &["show", "wt0", "allowed-ips"]).contains(&format!("{bob}\t10.9.0.7/32")));
    assert_eq!(stage.says("wg", &["show", "wt0", "listen-port"]), "51888\n");
    let configuration = stage.says("wg", &["showconf", "wt0"]);
    let (kept, _) = configuration.split_once("\n[Peer]").expect("it has peers");
    std::fs::write(stage.host().path("/run/synced.conf"), kept).expect("a writable /run");
    stage.says("wg", &["syncconf", "wt0", "/run/synced.conf"]);
    assert_eq!(stage.says("wg", &["show", "wt0", "peers"]), "");

    stage.wg(&["down", "wt0"]);
    assert_eq!(stage.hooks(), "pre-up wt0\npost-up wt0\npre-down wt0\npost-down wt0\n");
    assert_eq!(stage.addresses(), []);
    until("the end of its socket", || stage.kept().is_empty().then_some(()));
}

#[test]
fn what_a_default_route_takes_is_undone_however_the_device_ends() {
    if !ready(&[]) {
        return;
    }
    let stage = Stage::new(DEFAULT_ROUTE);
    let before = stage.rules();
    let up = || {
        let device = Pinhole::start(stage.host(), &["wg", "up", "--userspace", "--foreground", "/run/wt0.conf"]);
        until("its rules", || (stage.rules() == before + 2).then_some(()));
        device
    };
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let mut device = up();
        until("its word", || device.stderr().contains("wt0 is up").then_some(()));
        device.signal(signal);
        until("the end of its rules and files", || (stage.rules() == before && stage.kept().is_empty()).then_some(()));
    }
    let mut device = up();
    until("its word", || device.stderr().contains("wt0 is up").then_some(()));
    device.kill();
    assert_eq!((stage.rules(), stage.kept().len()), (before + 2, 2), "its note and its socket are left");
    assert_eq!(stage.wg(&["down", "wt0"]), "", "undoing is nothing to talk about");
    assert_eq!((stage.rules(), stage.kept()), (before, Vec::new()));
}

#[test]
fn a_reload_takes_up_a_file_that_has_changed_and_leaves_a_bad_one_alone() {
    if !ready(&["wg"]) {
        return;
    }
    let stage = Stage::new(EVERYTHING);
    let roles = "[[wireguard]]\nconfig = '/run/wt0.conf'\nuserspace = true\n";
    std::fs::write(stage.host().path("/run/pinhole.toml"), roles).expect("a writable /run");
    let mut up = Pinhole::start(stage.host(), &["up", "--json", "-c", "/run/pinhole.toml"]);
    let port = || run(stage.host().command("wg").args(["show", "wt0", "listen-port"])).stdout;
    until("the device", || (port() == "51999\n").then_some(()));
    stage.edit("51999", "51998");
    up.signal(Signal::HUP);
    until("the device as it is now", || (port() == "51998\n").then_some(()));
    stage.edit("51998", "a port");
    up.signal(Signal::HUP);
    until("its word", || up.stderr().contains("everything stays as it was").then_some(()));
    assert_eq!(port(), "51998\n");
    let (status, words) = up.terminate();
    assert!(status.success() && words.contains("/run/wt0.conf, line 4: LISTENPORT = a port"), "{words}");
    assert_eq!((stage.addresses(), stage.kept()), (Vec::new(), Vec::new()));
}
