//! `pinhole lab run --real`: a scenario in network namespaces, in real time: the kernel's NAT or our engine's, real processes of
//! this program, our links.
//!
//! Each agent's host has a user here as in the simulation, who sends a small datagram to every other one through the tunnel
//! all the time; what arrives when is judged by the same rules.

mod lower;

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use pinhole_host::namespace::privilege;
use pinhole_lab::PlaceId;
use pinhole_lab::scenario::Scenario;
use pinhole_lab::sim::Change;
use pinhole_netns::{Host, Internet, Program};
use pinhole_sansio::{Instant, Rng};
use pinhole_wg::quick::{Config, Endpoint, Interface, PeerConfig};
use pinhole_world::plan::{DEVICE, Member, PORT, Plan, ZONE};
use pinhole_world::world;

use super::run::{code, results};
use crate::cmd::conntrack::paint::Paint;

/// Where a host keeps its configuration: its `/run` is its own.
const DIRECTORY: &str = "/run/pinhole-lab";
/// Keeps the mapping towards the registry open.
const KEEPALIVE: u16 = 25;
/// How often users send, and what happens on schedule is looked at.
const TICK: Duration = Duration::from_millis(5);
/// Where users listen, inside the tunnel.
const USER: u16 = 7_777;
/// A program that is to end has so long.
const END_WITHIN: Duration = Duration::from_secs(5);

/// Runs it.
pub(super) fn run(file: &Path, scenario: &Scenario) -> Result<ExitCode> {
    let topology = lower::topology(file, scenario)?;
    // Before any thread is started: a process with threads cannot enter a user namespace.
    privilege::acquire().map_err(|denied| anyhow!("{denied}"))?;
    let internet = Internet::build(&topology).context("cannot build the Internet")?;
    let plan = Plan::new(scenario, &mut Rng::from_seed(scenario.seed));
    let mut stage =
        Stage { scenario, plan, internet, programs: BTreeMap::new(), sockets: BTreeMap::new(), heard: Vec::new() };
    if !stage.play()? {
        return Ok(ExitCode::from(130));
    }
    let outcomes = world::outcomes(scenario, |pair, after| stage.direct_at(pair, after));
    crate::cmd::print(results(scenario, &outcomes, Paint::for_stdout()).as_bytes())?;
    Ok(code(&outcomes))
}

/// The hosts and what runs on them. Programs end before their hosts do.
struct Stage<'a> {
    scenario: &'a Scenario,
    plan: Plan,
    programs: BTreeMap<PlaceId, Program>,
    /// The sockets of the users of agents' hosts, once the devices are there.
    sockets: BTreeMap<PlaceId, UdpSocket>,
    heard: Vec<Heard>,
    internet: Internet,
}

/// A datagram that a user has got.
struct Heard {
    by: PlaceId,
    from: PlaceId,
    at: Instant,
    sent: Instant,
}

impl Stage<'_> {
    /// Lets the scenario happen; false when someone stopped it.
    fn play(&mut self) -> Result<bool> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        crate::cmd::stop::on_signal(move || stopped.store(true, Ordering::Relaxed))
            .context("cannot wait for signals")?;
        if let Some(registry) = self.scenario.registry {
            self.start(registry)?;
        }
        let epoch = std::time::Instant::now();
        let mut changes = self.scenario.changes.clone();
        changes.sort_by_key(|(at, _)| *at);
        let mut changes = changes.into_iter().peekable();
        let mut starts: Vec<_> = self.scenario.agents.clone();
        loop {
            let now = Instant::EPOCH + epoch.elapsed();
            if stop.load(Ordering::Relaxed) {
                return Ok(false);
            }
            if now >= self.scenario.until {
                return Ok(true);
            }
            let due: Vec<_> = starts.extract_if(.., |starter| starter.at <= now).collect();
            for starter in due {
                self.start(starter.place)?;
            }
            while let Some((_, change)) = changes.next_if(|(at, _)| *at <= now) {
                self.change(&change)?;
            }
            self.check_programs()?;
            self.exchange(now);
            std::thread::sleep(TICK);
        }
    }

    /// When both of a pair had heard something from the other that was sent after `after`.
    fn direct_at(&self, [a, b]: [PlaceId; 2], after: Instant) -> Option<Instant> {
        let heard = |by: PlaceId, from: PlaceId| {
            let mut all = self.heard.iter();
            all.find(|heard| heard.by == by && heard.from == from && heard.sent >= after).map(|heard| heard.at)
        };
        Some(heard(a, b)?.max(heard(b, a)?))
    }

    fn name(&self, place: PlaceId) -> &str {
        &self.scenario.network.places[place].name
    }

    /// Starts the program of a place.
    fn start(&mut self, place: PlaceId) -> Result<()> {
        let Some(member) = self.plan.at(place) else { return Ok(()) };
        let name = self.name(place).to_owned();
        let host = self.internet.host(&name);
        let path = Path::new(DIRECTORY).join("pinhole.toml");
        let text = self.settings(place);
        let device = self.device(member).to_text();
        let write = || -> std::io::Result<()> {
            fs::create_dir_all(DIRECTORY)?;
            write_private(&Path::new(DIRECTORY).join(format!("{DEVICE}.conf")), &device)?;
            write_private(&path, &text)
        };
        host.run(write)?.with_context(|| format!("cannot write {DIRECTORY} of {name}"))?;
        let pinhole = std::env::current_exe().context("cannot find this program to start it again")?;
        let mut command = host.command(pinhole);
        command.arg("up").arg("--config").arg(&path).env("PINHOLE_LOG", "pinhole=error");
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let program = Program::start(&mut command).with_context(|| format!("cannot start pinhole on {name}"))?;
        self.programs.insert(place, program);
        Ok(())
    }

    fn settings(&self, place: PlaceId) -> String {
        let device = format!("[[wireguard]]\nconfig = \"{DIRECTORY}/{DEVICE}.conf\"\nuserspace = true\n\n");
        match &self.plan.registry {
            Some(registry) if registry.place == place => {
                format!("{device}[registry]\n[[registry.zone]]\nname = \"{ZONE}\"\ndevice = \"{DEVICE}\"\n")
            }
            Some(registry) => {
                let server = registry.tunnel;
                format!("{device}[[agent]]\ndevice = \"{DEVICE}\"\nzone = \"{ZONE}\"\nserver = \"{server}\"\n")
            }
            None => device,
        }
    }

    fn device(&self, member: &Member) -> Config {
        let interface = Interface {
            private_key: Some(member.private),
            listen_port: Some(PORT),
            addresses: vec![ipnet::IpNet::V4(ipnet::Ipv4Net::new_assert(member.tunnel, 16))],
            ..Interface::default()
        };
        let registry = self.plan.registry.as_ref().filter(|registry| registry.place != member.place);
        let is_registry = |other: &Member| registry.is_some_and(|registry| registry.place == other.place);
        let others = self.plan.registry.iter().chain(&self.plan.agents).filter(|other| other.place != member.place);
        let peers = others.map(|other| PeerConfig {
            allowed_ips: vec![ipnet::IpNet::V4(other.tunnel.into())],
            endpoint: is_registry(other).then(|| Endpoint::Address(other.endpoint())),
            keepalive: is_registry(other).then_some(KEEPALIVE),
            ..PeerConfig::new(other.public)
        });
        Config { interface, peers: peers.collect() }
    }

    fn change(&mut self, change: &Change) -> Result<()> {
        let name = |place: &PlaceId| self.scenario.network.places[*place].name.clone();
        match change {
            Change::Reboot(id) => self.internet.site(&name(id)).restart_nat().context("restarting a NAT")?,
            Change::Readdress(id, address) => {
                self.internet.site(&name(id)).readdress(*address).context("changing an address")?;
            }
            Change::Cut(id) => self.internet.site(&name(id)).set_connected(false),
            Change::Mend(id) => self.internet.site(&name(id)).set_connected(true),
            Change::Relink(id, link) => self.internet.site(&name(id)).change_link(|old| *old = *link),
            Change::Stop(id) => {
                self.sockets.remove(id);
                if let Some(mut program) = self.programs.remove(id) {
                    program.stop(END_WITHIN).context("stopping a program")?;
                }
            }
            Change::Start(id) => self.start(*id)?,
            Change::Poison { .. } | Change::Tell(_) => bail!("this was refused before"),
        }
        Ok(())
    }

    /// A program that ends by itself is a fault.
    fn check_programs(&mut self) -> Result<()> {
        for (&place, program) in &mut self.programs {
            if let Some(status) = program.child().try_wait()? {
                bail!("pinhole ended on {}: {status}", self.scenario.network.places[place].name);
            }
        }
        Ok(())
    }

    /// Every user sends to every other one, and takes what has come.
    fn exchange(&mut self, now: Instant) {
        for member in &self.plan.agents {
            let place = member.place;
            if !self.programs.contains_key(&place) {
                continue;
            }
            let host = self.internet.host(&self.scenario.network.places[place].name);
            if !self.sockets.contains_key(&place)
                && let Some(socket) = socket(host, member)
            {
                self.sockets.insert(place, socket);
            }
            let Some(socket) = self.sockets.get(&place) else { continue };
            for other in self.plan.agents.iter().filter(|other| other.place != place) {
                // Without a path there is nobody to send to, which is what shows.
                let to = SocketAddr::new(other.tunnel.into(), USER);
                let _ = socket.send_to(&now.as_nanos().to_be_bytes(), to);
            }
            let mut stamp = [0; 8];
            loop {
                match socket.recv_from(&mut stamp) {
                    Ok((8, from)) => {
                        let sent = Instant::from_nanos(u64::from_be_bytes(stamp));
                        if let Some(who) = self.plan.by_tunnel(from.ip()) {
                            self.heard.push(Heard { by: place, from: who.place, at: now, sent });
                        }
                    }
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    // An ICMP error about what was sent; there may be more behind it.
                    Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
                    Err(_) => break,
                }
            }
        }
    }
}

/// The user's socket, once the device is there.
fn socket(host: &Host, member: &Member) -> Option<UdpSocket> {
    let bind = || UdpSocket::bind(SocketAddr::new(member.tunnel.into(), USER));
    let socket = host.run(bind).ok()?.ok()?;
    socket.set_nonblocking(true).ok()?;
    Some(socket)
}

fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?.write_all(text.as_bytes())
}
