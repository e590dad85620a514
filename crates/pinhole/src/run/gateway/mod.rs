//! The gateway in the real world: our engine between two TUN devices, and the host's routing turned so that packets find it.
//!
//! ```text
//!  inside ──► table of the inside: as main, but what would leave by the outside goes to ──► pinhole-in
//!                                                                                             engine
//!  outside ◄── main table ◄───────────────────────────────────────────────────────────────► pinhole-out
//!          ──► external address: all of it, or its ports
//! ```
//!
//! Nothing of other traffic is touched. An address that is the gateway's alone is a route; of one that is this host's own, the
//! gateway has a run of ports, which a routing rule tells from the others (Linux 4.17), and ICMP by a raw socket as any program
//! has it. The rules are such that the way back is always the way there mirrored, so that a strict `rp_filter` lets everything
//! through.

mod control;
mod note;
mod ports;
mod scene;
mod steering;
pub mod view;

use std::net::IpAddr;

use anyhow::{Context, Result, bail};
use ipnet::IpNet;
use pinhole_host::gateway::{Gateway, Plane};
use pinhole_host::netlink::monitor::Monitor;
use pinhole_host::netlink::{Socket, route};
use pinhole_host::tun::Tun;
use pinhole_netfilter::Interface;
use pinhole_netfilter::behaviour::Side;
use pinhole_netfilter::ports::Range;
use serde::Serialize;
use tokio::sync::watch;

use super::clock;
use super::lock::{Lock, Locked};
use super::report::Report;
use crate::config::{self, Ports};
use control::Control;
use note::Note;
use scene::Scene;
use steering::Steering;

/// The device that the inside's packets go to.
const INNER: &str = "pinhole-in";
/// The device that the outside's packets go to.
const OUTER: &str = "pinhole-out";

/// What a gateway is to be, with the file that it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    config: config::Gateway,
    /// The text of the rules.
    rules: Option<String>,
}

impl Settings {
    /// Reads the rules that the settings name.
    ///
    /// # Errors
    /// The file.
    pub fn read(config: config::Gateway) -> Result<Self> {
        let read = |path: &std::path::PathBuf| {
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
        };
        let rules = config.rules.as_ref().map(read).transpose()?;
        Ok(Self { config, rules })
    }
}

/// What the gateway tells of itself.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Event<'a> {
    /// It carries packets.
    Up { inside: &'a str, outside: &'a str, external: IpAddr, ports: Option<String>, does: String },
    /// The outside has another address.
    Readdressed { external: IpAddr },
    /// An interface has been switched off, or has gone.
    InterfaceDown { interface: &'a str },
    /// It is there again.
    InterfaceUp { interface: &'a str },
}

/// Runs a gateway until `stop` says so. Undoes what it changed before it returns.
///
/// # Errors
/// What is missing, or taken by another gateway; then nothing has changed.
pub async fn run(
    settings: Settings,
    report: Report,
    ready: watch::Sender<bool>,
    mut stop: watch::Receiver<bool>,
) -> Result<()> {
    let _lock = lock()?;
    if let Some(note) = Note::load()? {
        tracing::warn!("the last gateway was not stopped; undoing what is left of it");
        note.undo()?;
    }
    // What changes from here on is looked at.
    let mut monitor = Monitor::open().context("cannot watch the interfaces")?;
    let mut running = Running::start(settings, report)?;
    let _ = ready.send(true);
    let result = loop {
        tokio::select! {
            _ = stop.wait_for(|&stop| stop) => break Ok(()),
            changed = monitor.changed() => {
                if let Err(error) = changed.context("cannot watch the interfaces") {
                    break Err(error);
                }
                if !running.gateway.is_running() {
                    break Err(anyhow::anyhow!("the device {INNER} or {OUTER} was deleted"));
                }
                // The next change is another occasion.
                if let Err(error) = running.follow() {
                    tracing::warn!("cannot follow what has changed: {error:#}");
                }
            }
            client = running.control.client() => running.control.answer(client, &running.gateway, &running.about).await,
        }
    };
    let undone = running.stop();
    result.and(undone)
}

/// Undoes what a gateway has left behind that was killed.
///
/// # Errors
/// If one runs; what could not be undone.
pub fn clean() -> Result<()> {
    let _lock = lock()?;
    control::remove()?;
    Note::load()?.map_or(Ok(()), Note::undo)
}

fn lock() -> Result<Lock> {
    match Lock::take(super::state_file("gateway.lock")) {
        Ok(Locked::Ours(lock)) => Ok(lock),
        Ok(Locked::Taken(holder)) => {
            bail!("another gateway runs on this host (process {holder}): `pinhole gateway status` shows it")
        }
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            bail!("a gateway changes how this host routes: run it as root")
        }
        Err(error) => Err(error).context("cannot write to /run/pinhole"),
    }
}

/// A gateway that carries packets.
struct Running {
    control: Control,
    gateway: Gateway,
    steering: Steering,
    settings: Settings,
    scene: Scene,
    about: view::About,
    report: Report,
    /// Which interfaces, inside and outside, were up when they were last looked at.
    up: [bool; 2],
    /// Whether the host had the external address, if it is to have it, when that was last looked at.
    has_address: bool,
}

impl Running {
    fn start(settings: Settings, report: Report) -> Result<Self> {
        let mut netlink = route::open()?;
        let scene = Scene::look(&mut netlink, &settings.config)?;
        let ports = ports::choose(&settings.config, &scene)?;
        let plane = plane(&settings, &scene, ports)?;
        let about = view::About {
            inside: settings.config.inside.clone(),
            outside: settings.config.outside.clone(),
            external: scene.external,
            ports: ports.map(|ports| ports.to_string()),
            does: settings.config.describe(),
            process: std::process::id(),
        };
        let control = Control::bind()?;
        // The kernel says of a packet that is too long for the other side what it says of any.
        let devices = [(INNER, scene.outside.mtu), (OUTER, scene.inside.mtu)].map(|(name, mtu)| device(name, mtu));
        let [inner, outer] = devices;
        let (inner, outer) = (inner?, outer?);
        let shared = ports.filter(|_| scene.is_shared);
        let steering = Steering::begin(&mut netlink, &scene, shared, [&inner, &outer])?;
        let started = match shared {
            Some(_) => Gateway::start_beside_host(plane, inner, outer, scene.external),
            None => Gateway::start(plane, inner, outer),
        };
        let gateway = match started.context("cannot carry packets") {
            Ok(gateway) => gateway,
            Err(error) => {
                steering.end()?;
                return Err(error);
            }
        };
        let up = [scene.inside.is_up(), scene.outside.is_up()];
        let running = Self { control, gateway, steering, settings, scene, about, report, up, has_address: true };
        running.say_up();
        Ok(running)
    }

    fn say_up(&self) {
        let about = &self.about;
        let event = Event::Up {
            inside: &about.inside,
            outside: &about.outside,
            external: about.external.into(),
            ports: about.ports.clone(),
            does: about.does.clone(),
        };
        let ports = about.ports.as_ref().map(|ports| format!(", ports {ports}")).unwrap_or_default();
        let sentence = format!(
            "{} is NATed behind {}{ports} on {} ({}); Ctrl-C ends it",
            about.inside, about.external, about.outside, about.does
        );
        self.report.tell(&event, &sentence);
    }

    /// Links, addresses or routes have changed.
    fn follow(&mut self) -> Result<()> {
        let mut netlink = route::open()?;
        let scene = match Scene::look(&mut netlink, &self.settings.config) {
            Ok(scene) => scene,
            Err(missing) => {
                // It may come back: a cable, a PPP session, a lease.
                tracing::debug!("waiting: {missing:#}");
                self.forget_lost_address(&mut netlink)?;
                self.note_up(Scene::look_up(&mut netlink, &self.settings.config));
                return Ok(());
            }
        };
        self.note_up([scene.inside.is_up(), scene.outside.is_up()]);
        if scene.external != self.scene.external {
            self.steering.readdress(&mut netlink, scene.external)?;
            let (old, new) = (self.scene.external, scene.external);
            self.gateway.readdress(old, new, clock::seed()).context("cannot take the new address")?;
            self.about.external = new;
            self.report
                .tell(&Event::Readdressed { external: new.into() }, &format!("the outside sees us as {new} now"));
        }
        self.steering.follow(&mut netlink, &scene)?;
        self.scene = scene;
        self.has_address = true;
        Ok(())
    }

    /// The host has the external address no more, and no other one yet: what it stood for is forgotten.
    fn forget_lost_address(&mut self, netlink: &mut Socket) -> Result<()> {
        let external = self.scene.external;
        if self.scene.is_shared && self.has_address && !scene::has_address(netlink, external)? {
            self.has_address = false;
            let moment = self.gateway.now();
            self.gateway.plane().readdress(moment, external, external, clock::seed());
        }
        Ok(())
    }

    fn note_up(&mut self, up: [bool; 2]) {
        let names = [&self.settings.config.inside, &self.settings.config.outside];
        for ((side, name), (before, now)) in
            [Side::Inside, Side::Outside].into_iter().zip(names).zip(self.up.into_iter().zip(up))
        {
            match (before, now) {
                (true, false) => {
                    let moment = self.gateway.now();
                    self.gateway.plane().interface_down(moment, side);
                    self.report.tell(&Event::InterfaceDown { interface: name }, &format!("{name} is down"));
                }
                (false, true) => {
                    self.report.tell(&Event::InterfaceUp { interface: name }, &format!("{name} is up"));
                }
                (true, true) | (false, false) => {}
            }
        }
        self.up = up;
    }

    fn stop(self) -> Result<()> {
        let Self { control, gateway, steering, .. } = self;
        // From now on packets go as they did before; those that are in the devices are lost.
        let ended = steering.end();
        drop((control, gateway));
        ended
    }
}

/// The engine as the settings have it.
fn plane(settings: &Settings, scene: &Scene, ports: Option<Ports>) -> Result<Plane> {
    let config = &settings.config;
    let seed = clock::seed();
    let Some(rules) = &settings.rules else {
        let mut behaviour = config.parse_behaviour()?;
        if let Some(Ports { first, last }) = ports {
            behaviour.ports = Range::new(first, last);
            // Otherwise well-known ports are mapped to such, whatever the range.
            behaviour.keep_class = false;
        }
        let inside = scene.inside_address();
        return Ok(Plane::behaviour(behaviour, [scene.external], inside, seed));
    };
    // The kernel cuts, and tells who sends too much: the engine sees what stands for many packets.
    let inside = Interface::new(&config.inside, scene.inside_nets.iter().map(|&net| IpNet::V4(net)));
    let outside = Interface::new(&config.outside, [IpNet::from(IpAddr::V4(scene.external))]);
    let (inside, outside) = (inside.with_mtu(u16::MAX), outside.with_mtu(u16::MAX));
    let plane = match ports {
        Some(Ports { first, last }) => Plane::rules_within((first, last), rules, inside, outside, seed),
        None => Plane::rules(rules, "", inside, outside, seed),
    };
    let mut plane =
        plane.map_err(|error| anyhow::anyhow!("{}: {error}", config.rules.clone().unwrap_or_default().display()))?;
    scene.inside_routes.iter().for_each(|&net| plane.add_route(IpNet::V4(net), Side::Inside));
    Ok(plane)
}

fn device(name: &str, mtu: u32) -> Result<Tun> {
    Tun::create(name, u16::try_from(mtu).unwrap_or(u16::MAX)).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => anyhow::anyhow!(
            "/dev/net/tun is missing: load the kernel module with `modprobe tun`, or in a container pass --device /dev/net/tun"
        ),
        std::io::ErrorKind::PermissionDenied => {
            anyhow::anyhow!("not permitted to make a network interface: run as root or with CAP_NET_ADMIN")
        }
        std::io::ErrorKind::AlreadyExists => anyhow::anyhow!("there is an interface {name} already, and it is not ours"),
        _ => anyhow::Error::from(error).context(format!("cannot make the interface {name}")),
    })
}
