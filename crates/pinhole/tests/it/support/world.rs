//! A public host with the registry and two homes with agents, on real namespaces, NATs and programs.

use std::collections::BTreeMap;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use pinhole_lab::{Link, Nat, Topology};
use pinhole_netns::{Host, Internet};

use super::device::{Device, Kind};
use super::pinhole::Pinhole;
use super::plan::{self, DEVICE, NAMES, ZONE};
use super::until;
use super::witness::Witness;

/// What differs between worlds.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// Whose WireGuard hub, alice and bob run.
    pub wireguard: [Kind; 3],
    /// The NATs of alice and bob.
    pub nats: [Nat; 2],
    /// Of each of the three links, one way.
    pub delay_ms: u64,
    /// The probability that a link loses a packet.
    pub loss: f64,
    /// Decides which.
    pub seed: u64,
}

impl Default for Setup {
    fn default() -> Self {
        Self { wireguard: [Kind::Go; 3], nats: [Nat::CONE; 2], delay_ms: 20, loss: 0.0, seed: 1 }
    }
}

/// The running world. Fields end in this order: those that use a device before the device.
#[derive(Debug)]
pub struct World {
    /// The agents that run.
    pub agents: BTreeMap<&'static str, Pinhole>,
    /// The registry, if it runs.
    pub registry: Option<Pinhole>,
    /// The devices.
    #[expect(dead_code, reason = "they are held, so that they end with the world")]
    pub devices: BTreeMap<&'static str, Device>,
    /// Hosts, NATs and links.
    pub internet: Internet,
}

impl World {
    /// The Internet with its devices, without registry and agents.
    pub fn bare(setup: Setup) -> Self {
        let link = Link { loss: setup.loss, ..Link::with_delay(Duration::from_millis(setup.delay_ms)) };
        let topology = Topology::two_homes(setup.nats[0], setup.nats[1], link, setup.seed);
        let internet = Internet::build(&topology).unwrap_or_else(|error| panic!("{error}"));
        let devices = NAMES.into_iter().zip(setup.wireguard);
        let start = |(name, kind)| (name, Device::start(internet.host(name), kind, &plan::config(name)));
        let devices = devices.map(start).collect();
        Self { agents: BTreeMap::new(), registry: None, devices, internet }
    }

    /// With a registry that answers, without agents.
    pub fn with_registry(setup: Setup) -> Self {
        let mut world = Self::bare(setup);
        world.start_registry(&[]);
        world
    }

    /// With everything, connected.
    pub fn connected(setup: Setup) -> Self {
        let mut world = Self::with_registry(setup);
        let begin = world.start_agents();
        let mut witness = Witness::new(&world.internet);
        let echo = |from, to| {
            super::traffic::first_echo(world.host(from), world.host(to), plan::tunnel(to), begin);
        };
        echo("alice", "bob");
        echo("bob", "alice");
        witness.first_direct(begin);
        world
    }

    /// The host called `name`.
    pub fn host(&self, name: &str) -> &Host {
        self.internet.host(name)
    }

    /// Starts the registry on the hub and returns when it answers on its tunnel address.
    pub fn start_registry(&mut self, more: &[&str]) {
        let role = ["registry", "--zone", ZONE, "--device", DEVICE, "--json"];
        self.registry = Some(Pinhole::start(self.host("hub"), &[&role, more].concat()));
        wait_for_dns(self.host("hub"), (plan::tunnel("hub"), 53));
    }

    /// Starts an agent.
    pub fn start_agent(&mut self, name: &'static str) {
        let server = plan::tunnel("hub").to_string();
        let role = ["agent", "--zone", ZONE, "--device", DEVICE, "--server", &server, "--json"];
        let agent = Pinhole::start(self.host(name), &role);
        self.agents.insert(name, agent);
    }

    /// Starts both agents; gives the moment at which the second was started.
    pub fn start_agents(&mut self) -> Instant {
        self.start_agent("alice");
        let begin = Instant::now();
        self.start_agent("bob");
        begin
    }

    /// The agent of `name`.
    pub fn agent(&mut self, name: &str) -> &mut Pinhole {
        self.agents.get_mut(name).expect("it runs")
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // A failing test shows what the NATs track.
        if std::thread::panicking() {
            for home in ["alice", "bob"] {
                let entries = self.internet.site(home).conntrack().unwrap_or_default();
                let flows = entries.iter().map(|entry| format!("{:?} <> {:?}", entry.original, entry.reply));
                println!("--- {home}'s NAT\n{}", flows.collect::<Vec<_>>().join("\n"));
            }
        }
    }
}

/// Waits until something on `host` answers DNS at `server`.
pub fn wait_for_dns(host: &Host, server: (std::net::Ipv4Addr, u16)) {
    /// `. NS`, id 1: a server that answers nothing else refuses it.
    const QUESTION: [u8; 17] = [0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1];
    let asks = || -> std::io::Result<usize> {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.connect(server)?;
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        socket.send(&QUESTION)?;
        socket.recv(&mut [0; 512])
    };
    until("a DNS server", || host.run(asks).expect("a thread").ok());
}
