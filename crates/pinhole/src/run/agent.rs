//! The endpoint agent in the real world.

mod holes;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use pinhole_agent::endpoint::{Agent, Config, Input, Output, Owned};
use pinhole_dns::client;
use pinhole_host::dns::Exchanger;
use pinhole_host::netlink::monitor::Monitor;
use pinhole_host::raw::{Echoes, Openers};
use pinhole_host::wireguard::Control;
use pinhole_sansio::Machine;
use pinhole_wg::{DeviceUpdate, Key, Peer};
use tokio::sync::watch;

use self::holes::Holes;
use super::lock::{Lock, Locked};
use super::report::Report;
use super::underlay::Underlay;
use super::{Clock, clock};
use crate::config;

/// Runs an agent until `stop` says so. Undoes what it changed before it returns.
///
/// # Errors
/// If the configuration names what cannot be: a device that is not there is no error, since it may come.
pub async fn run(
    settings: config::Agent,
    report: Report,
    ready: watch::Sender<bool>,
    stop: watch::Receiver<bool>,
) -> Result<()> {
    // A device that goes away later may come back; one that is not there at the start is a mistake.
    let control = Control::open(&settings.device)?;
    let _lock = lock(&settings.device)?;
    let mut driver = Driver::new(&settings, control, report)?;
    let _ = ready.send(true);
    driver.run(stop).await
}

/// Keeps other agents off the device. Where nothing can be written down, an agent does without: it is said when it has
/// something to write.
fn lock(device: &str) -> Result<Option<Lock>> {
    match Lock::take(super::state_file(&format!("agent-{device}.lock"))) {
        Ok(Locked::Ours(lock)) => Ok(Some(lock)),
        Ok(Locked::Taken(holder)) => {
            bail!("another agent minds {device} already (process {holder}): stop that one first, or leave it be")
        }
        Err(error) => {
            tracing::debug!("no lock for {device}: {error}");
            Ok(None)
        }
    }
}

struct Driver {
    clock: Clock,
    device: String,
    control: Option<Control>,
    agent: Agent,
    openers: Option<Openers>,
    echoes: Echoes,
    holes: Holes,
    dns: Exchanger,
    underlay: Underlay,
    /// When each peer's last handshake was, as the device was last read.
    handshakes: BTreeMap<Key, Duration>,
    /// The mark of the device's packets.
    fwmark: u32,
    state: PathBuf,
    report: Report,
}

impl Driver {
    fn new(settings: &config::Agent, control: Control, report: Report) -> Result<Self> {
        let clock = Clock::start();
        let zone =
            settings.zone.parse().with_context(|| format!("the zone `{}` is not a domain name", settings.zone))?;
        let zone = super::zone_name(zone)?;
        let openers = match Openers::new() {
            Ok(openers) => Some(openers),
            Err(error) => {
                tracing::warn!(
                    "cannot send openers ({error}): punching works, but slower and not with NATs that unexpected packets \
                     poison; give CAP_NET_RAW (setcap cap_net_raw+ep, or AmbientCapabilities=CAP_NET_RAW under systemd)"
                );
                None
            }
        };
        let state = super::state_file(&format!("agent-{}.json", settings.device));
        let config = Config {
            device: settings.device.clone(),
            zone,
            server: settings.server.0,
            accept: settings.accept.clone(),
            keepalive: settings.keepalive,
            can_open: openers.is_some(),
            stun: settings.stun.iter().map(|server| server.0).collect(),
            owned: read_owned(&state),
            seed: clock::seed(),
        };
        Ok(Self {
            agent: Agent::new(clock.now(), config),
            clock,
            device: settings.device.clone(),
            control: Some(control),
            openers,
            echoes: Echoes::new(),
            holes: Holes::new(&settings.device),
            dns: Exchanger::new(),
            underlay: Underlay::default(),
            handshakes: BTreeMap::new(),
            fwmark: 0,
            state,
            report,
        })
    }

    async fn run(&mut self, mut stop: watch::Receiver<bool>) -> Result<()> {
        self.adopt_holes();
        let mut monitor = Monitor::open().context("cannot watch for network changes")?;
        loop {
            if self.carry_out() {
                return Ok(());
            }
            let input = tokio::select! {
                biased;
                _ = stop.wait_for(|&stop| stop) => Input::Stop,
                input = self.dns.input() => Input::Dns(input),
                input = self.holes.input() => input,
                changes = monitor.changed() => match changes {
                    Ok(_) => {
                        if !self.underlay.has_changed(self.fwmark) {
                            continue;
                        }
                        self.forget_sources();
                        Input::NetworkChanged
                    }
                    Err(error) => {
                        tracing::warn!("network changes go unnoticed from now on: {error}");
                        monitor = Monitor::open().context("cannot watch for network changes")?;
                        continue;
                    }
                },
                () = self.clock.sleep_until(self.agent.poll_timeout()) => Input::Timeout,
            };
            self.agent.handle_input(self.clock.now(), input);
        }
    }

    fn adopt_holes(&mut self) {
        let device = self.control().and_then(|control| Ok(control.device()?));
        for input in device.map(|device| self.holes.adopt(&device.peers)).unwrap_or_default() {
            self.agent.handle_input(self.clock.now(), input);
        }
    }

    /// Carries out all outputs; true when the agent has stopped.
    fn carry_out(&mut self) -> bool {
        while let Some(output) = self.agent.poll_output() {
            match output {
                Output::ReadDevice => self.read_device(),
                Output::Apply(update) => self.apply(&update),
                Output::Ask { question, to: server, bytes } => {
                    self.dns.carry_out(client::Output::Transmit { question, server, bytes });
                }
                Output::AskByTcp { question, to: server, bytes } => {
                    self.dns.carry_out(client::Output::Exchange { question, server, bytes });
                }
                Output::Asked(question) => self.dns.forget(question),
                Output::Open { from_port, to, ttl, fwmark } => {
                    let sent = self.openers.as_ref().map(|openers| openers.send(from_port, to, ttl, fwmark));
                    if let Some(Err(error)) = sent {
                        tracing::debug!("opener to {to}: {error}");
                    }
                }
                Output::Send { from_port, fwmark, to, ttl, bytes } => {
                    self.holes.send(from_port, fwmark, to, ttl, &bytes);
                }
                Output::OpenSockets { peer, sockets, toward, fwmark } => {
                    let input = self.holes.open(peer, sockets, toward, fwmark);
                    self.agent.handle_input(self.clock.now(), input);
                }
                Output::SendBy { peer, socket, to, ttl, bytes } => self.holes.send_by(&peer, socket, to, ttl, &bytes),
                Output::HandOver { peer, socket, own, remote } => {
                    if let Some(input) = self.holes.hand_over(peer, socket, own, remote) {
                        self.agent.handle_input(self.clock.now(), input);
                    }
                }
                Output::TakeBack { peer } => self.holes.take_back(&peer),
                Output::CloseSockets { peer } => self.holes.close(&peer),
                Output::Probe { to } => {
                    if let Err(error) = self.echoes.send(to) {
                        tracing::debug!("echo to {to}: {error}");
                    }
                }
                Output::Remember(owned) => self.remember(&owned),
                Output::Event(event) => self.report.show(&event),
                Output::Stopped => return true,
            }
        }
        false
    }

    fn control(&mut self) -> Result<&mut Control> {
        if self.control.is_none() {
            self.control = Some(Control::open(&self.device)?);
        }
        self.control.as_mut().context("no device")
    }

    /// The device may still send from an address that this host no longer has.
    fn forget_sources(&mut self) {
        if let Err(error) = self.control().and_then(|control| Ok(control.forget_sources()?)) {
            self.device_failed(&error);
        }
    }

    fn apply(&mut self, update: &DeviceUpdate) {
        if update.peers.iter().any(|peer| peer.handshake) && self.has_new_handshake(update) {
            // A handshake has completed since the machine looked; asking for another would end its session on a device
            // that has no word for it.
            return self.read_device();
        }
        if let Err(error) = self.control().and_then(|control| Ok(control.apply(update)?)) {
            self.device_failed(&error);
        }
    }

    /// Has a peer that a handshake is asked for completed one since the device was last read?
    fn has_new_handshake(&mut self, update: &DeviceUpdate) -> bool {
        let Ok(device) = self.control().and_then(|control| Ok(control.device()?)) else { return false };
        let asked =
            |peer: &&Peer| update.peers.iter().any(|asked| asked.handshake && asked.public_key == peer.public_key);
        device
            .peers
            .iter()
            .filter(asked)
            .any(|peer| peer.last_handshake > self.handshakes.get(&peer.public_key).copied())
    }

    fn read_device(&mut self) {
        let wall = Clock::wall();
        match self.control().and_then(|control| Ok(control.device()?)) {
            Ok(device) => {
                let handshakes = device.peers.iter().filter_map(|peer| Some((peer.public_key, peer.last_handshake?)));
                self.handshakes = handshakes.collect();
                let ends = device.peers.iter().filter_map(|peer| peer.endpoint).map(|endpoint| endpoint.ip());
                self.fwmark = device.fwmark;
                self.underlay.learn(ends, device.fwmark);
                self.agent.handle_input(self.clock.now(), Input::Device { device, wall });
            }
            Err(error) => self.device_failed(&error),
        }
    }

    /// The device may have been deleted and made again: the next read opens it anew.
    fn device_failed(&mut self, error: &anyhow::Error) {
        self.control = None;
        self.agent.handle_input(self.clock.now(), Input::DeviceFailed(format!("{error:#}")));
    }

    fn remember(&self, owned: &[Owned]) {
        if let Err(error) = write_owned(&self.state, owned) {
            tracing::warn!("cannot remember what to undo after a crash in {}: {error}", self.state.display());
        }
    }
}

fn read_owned(path: &PathBuf) -> Vec<Owned> {
    let text = std::fs::read(path).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

fn write_owned(path: &PathBuf, owned: &[Owned]) -> std::io::Result<()> {
    if owned.is_empty() {
        return match std::fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
    }
    super::write_state(path, &serde_json::to_vec_pretty(owned)?)
}
