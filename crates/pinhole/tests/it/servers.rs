//! Agents whose server is not our registry: a wgsd, old or new, and a recursive resolver.

#[path = "../../../agent/tests/it/wgsd.rs"]
mod wgsd;

use std::net::UdpSocket;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pinhole_netns::{Host, Program};

use crate::support::device::state;
use crate::support::pinhole::Pinhole;
use crate::support::plan::{self, DEVICE, ZONE};
use crate::support::ready::ready;
use crate::support::traffic::first_echo;
use crate::support::witness::Witness;
use crate::support::world::{Setup, World, wait_for_dns};
use wgsd::Dialect;

/// wgsd's own client takes 3.4 s between two homes, and the wait for its cron job.
const DIRECT_WITHIN: Duration = Duration::from_millis(3_400);

/// Starts both agents with the hub's server at `port` and wants a direct path.
fn check_connects(world: &World, port: u16, what: &str) {
    let mut witness = Witness::new(&world.internet);
    let server = format!("{}:{port}", plan::tunnel("hub"));
    let begin = Instant::now();
    let start = |name| {
        let role = ["agent", "--zone", ZONE, "--device", DEVICE, "--server", &server, "--json"];
        Pinhole::start(world.host(name), &role)
    };
    let _agents = ["alice", "bob"].map(start);
    first_echo(world.host("alice"), world.host("bob"), plan::tunnel("bob"), begin);
    let direct = witness.first_direct(begin);
    println!("measured: {what}: direct after {direct:?}");
    assert!(direct < DIRECT_WITHIN, "{what}: direct after {direct:?}");
    assert_eq!(witness.relayed(), 0);
}

#[test]
fn agents_connect_with_a_plain_wgsd_old_or_new() {
    if !ready(&["wireguard-go"]) {
        return;
    }
    for dialect in [Dialect::Current, Dialect::Old] {
        let world = World::bare(Setup::default());
        let (hub, stop) = (world.host("hub"), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| serve(hub, dialect, &stop));
            let _stop = StopOnDrop(&stop);
            wait_for_dns(hub, (plan::tunnel("hub"), 53));
            check_connects(&world, 53, &format!("wgsd, {dialect:?}"));
        });
    }
}

/// Ends the server when the test ends, well or not.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Answers as wgsd does, from the hub's live device.
fn serve(hub: &Host, dialect: Dialect, stop: &AtomicBool) {
    let bind = || UdpSocket::bind((plan::tunnel("hub"), 53));
    let socket = hub.run(bind).expect("a thread").expect("the tunnel address");
    socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout");
    let mut buffer = [0; 1_500];
    while !stop.load(Ordering::Relaxed) {
        let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
        if let Some(answer) = wgsd::answer(dialect, &state(hub), &buffer[..length]) {
            let _ = socket.send_to(&answer, from);
        }
    }
}

#[test]
fn agents_connect_through_a_resolver_that_minimises_names_strictly() {
    const PORT: u16 = 5_300;
    if !ready(&["wireguard-go", "unbound"]) {
        return;
    }
    let mut world = World::bare(Setup::default());
    world.start_registry(&[]);
    let hub = world.host("hub");
    let address = plan::tunnel("hub");
    let text = format!(
        "server:\n  interface: {address}\n  port: {PORT}\n  access-control: 10.77.0.0/24 allow\n  username: \"\"\n  \
         chroot: \"\"\n  directory: \"/\"\n  pidfile: \"\"\n  use-syslog: no\n  do-daemonize: no\n  \
         qname-minimisation: yes\n  qname-minimisation-strict: yes\n  use-caps-for-id: yes\n  \
         module-config: \"iterator\"\nremote-control:\n  control-enable: no\n\
         stub-zone:\n  name: \"{ZONE}\"\n  stub-addr: {address}\n"
    );
    std::fs::write(hub.path("/run/unbound.conf"), text).expect("a writable /run");
    let mut command = hub.command(crate::support::ready::find("unbound").expect("it is there"));
    command.args(["-d", "-c", "/run/unbound.conf"]);
    let _unbound = Program::start(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()))
        .expect("unbound starts");
    wait_for_dns(hub, (address, PORT));
    check_connects(&world, PORT, "unbound");
}
