//! WireGuard devices on hosts: wireguard-go as Debian has it, or pinhole's own as `pinhole wg up` runs it.

use std::process::Stdio;

use pinhole_host::netlink::route::{self, address, link};
use pinhole_host::wireguard::Control;
use pinhole_netns::{Host, Program};
use pinhole_wg::Device as State;
use pinhole_wg::quick::{Config, Endpoint};

use super::pinhole::Pinhole;
use super::plan::DEVICE;
use super::until;

/// Whose WireGuard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// wireguard-go.
    Go,
    /// pinhole's own.
    Embedded,
}

/// A running device; dropping it ends it.
#[derive(Debug)]
#[expect(dead_code, reason = "it is held, so that it ends with the test")]
pub enum Device {
    /// wireguard-go.
    Go(Program),
    /// `pinhole wg up`.
    Embedded(Pinhole),
}

impl Device {
    /// Starts one on `host`; returns when it answers and has its address.
    pub fn start(host: &Host, kind: Kind, config: &Config) -> Self {
        match kind {
            Kind::Go => Self::Go(start_go(host, config)),
            Kind::Embedded => Self::Embedded(start_embedded(host, config)),
        }
    }
}

/// What the device on `host` says of itself.
pub fn state(host: &Host) -> State {
    host.run(|| Control::open(DEVICE)?.device()).expect("a thread").expect("the device answers")
}

fn start_go(host: &Host, config: &Config) -> Program {
    let mut command = host.command("wireguard-go");
    command.args(["--foreground", DEVICE]).env("LOG_LEVEL", "silent");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let program = Program::start(&mut command).expect("wireguard-go starts");
    let mut control = until("wireguard-go's socket", || host.run(|| Control::open(DEVICE)).expect("a thread").ok());
    // Its socket is in the host's own /run.
    let update = config.update(Endpoint::address);
    host.run(|| control.apply(&update)).expect("a thread").expect("it takes its configuration");
    let configure = || -> Result<(), pinhole_host::netlink::Error> {
        let mut socket = route::open()?;
        let index = link::find(&mut socket, DEVICE)?.index;
        for net in &config.interface.addresses {
            address::add(&mut socket, index, *net)?;
        }
        link::set(&mut socket, index, &link::Change { up: Some(true), mtu: Some(1420), ..Default::default() })
    };
    host.run(configure).expect("a thread").expect("an address");
    program
}

fn start_embedded(host: &Host, config: &Config) -> Pinhole {
    let inside = format!("/run/{DEVICE}.conf");
    std::fs::write(host.path(&inside), config.to_text()).expect("a writable /run");
    let device = Pinhole::start(host, &["wg", "up", "--userspace", "--foreground", &inside]);
    until("pinhole's own device", || {
        let interfaces = || route::interfaces(&mut route::open()?);
        let interfaces = host.run(interfaces).expect("a thread").ok()?;
        let ours = interfaces.iter().find(|interface| interface.link.name == DEVICE)?;
        (ours.link.is_up() && !ours.addresses.is_empty()).then_some(())
    });
    until("its socket", || host.run(|| Control::open(DEVICE)).expect("a thread").ok());
    device
}
