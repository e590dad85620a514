//! One interface from a wg-quick file: up, down, and down after a crash. The steps and their order are wg-quick's (wg-quick(8)).
//!
//! Every step that outlives the interface is written down before it is done ([`State`]), and undone from there: by the process
//! that did it, or by another if that one has died. Addresses and routes go with the interface.

use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Error, Result, anyhow, bail};
use pinhole_host::embedded::{Device, Options};
use pinhole_host::netlink::route;
use pinhole_host::wireguard;
use pinhole_wg::quick::{Config, Endpoint, interface_name};

use super::routes;
use super::state::State;

/// What WireGuard over IPv6 takes of a packet: 40 + 8 + 32 bytes.
const OVERHEAD: u32 = 80;
/// The MTU of a link that cannot be asked.
const USUAL_MTU: u32 = 1500;
/// The smallest MTU that IPv6 allows (RFC 8200 §5).
const LEAST_MTU: u32 = 1280;

/// A wg-quick file that has been read and makes sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    path: PathBuf,
    /// The interface's name, which is the file's.
    name: String,
    config: Config,
}

impl File {
    /// Reads and checks it.
    ///
    /// # Errors
    /// The file and the line.
    pub fn read(path: &Path) -> Result<Self> {
        let shown = path.display();
        let file = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let name = interface_name(file).ok_or_else(|| bad_name(path))?.to_owned();
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {shown}"))?;
        let mode = std::fs::metadata(path).map_or(0, |metadata| metadata.permissions().mode());
        if mode & 0o007 != 0 {
            tracing::warn!(
                "{shown} can be read by everyone on this machine, with its private key: `chmod 600 {shown}`"
            );
        }
        let config = Config::parse(&text).map_err(|error| anyhow!("{shown}, {error}"))?;
        if config.interface.save_config {
            bail!("{shown}: SaveConfig is not supported, the file is never written: remove the line");
        }
        if config.interface.private_key.is_none() {
            bail!("{shown}: [Interface] has no PrivateKey");
        }
        Ok(Self { path: path.to_owned(), name, config })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// An interface that is up.
#[derive(Debug)]
pub struct Interface {
    name: String,
    device: Option<Device>,
}

impl Interface {
    /// Brings up what the file says, with our own device if `userspace` or if the kernel has none. Blocks: names are resolved
    /// and hooks run. Where it fails, nothing stays changed.
    ///
    /// # Errors
    /// The interface, or the privilege that is missing.
    pub fn up(file: &File, userspace: bool) -> Result<Self> {
        let File { path, name, config } = file;
        if link_exists(name)? {
            bail!("{name} exists already; `pinhole wg down {name}` takes it down");
        }
        if State::exists(name) {
            tracing::warn!("{name} was not taken down last time; undoing what is left");
            // A crash left it. Hooks may fail now that the interface is gone, and that is no reason to stay down.
            if let Err(error) = undo(name) {
                tracing::warn!("while undoing: {error:#}");
            }
        }
        let hooks = |hooks: &[String]| hooks.iter().map(|hook| hook.replace("%i", name)).collect();
        let mut state = State {
            name: name.clone(),
            pre_down: hooks(&config.interface.pre_down),
            post_down: hooks(&config.interface.post_down),
            ..State::default()
        };
        // Before anything is changed: what would fail late and need undoing.
        let update = config_update(path, config)?;
        run_hooks(name, &config.interface.pre_up)?;
        let mtu = config.interface.mtu.unwrap_or_else(|| default_mtu(&update));
        let device = create(name, &update, mtu, userspace)?;
        state.save().inspect_err(|_| remove_link(name))?;
        let interface = Self { name: name.clone(), device };
        match interface.set_up(config, mtu, &mut state) {
            Ok(()) => Ok(interface),
            Err(error) => {
                if let Err(second) = interface.down() {
                    tracing::warn!("while undoing: {second:#}");
                }
                Err(error)
            }
        }
    }

    fn set_up(&self, config: &Config, mtu: u16, state: &mut State) -> Result<()> {
        let name = &self.name;
        let mut netlink = route::open()?;
        let link = route::link::find(&mut netlink, name).with_context(|| format!("cannot find {name}"))?;
        for &address in &config.interface.addresses {
            route::address::add(&mut netlink, link.index, address)
                .with_context(|| format!("cannot give {name} the address {address}"))?;
        }
        let change = route::link::Change { up: Some(true), mtu: Some(mtu.into()), ..Default::default() };
        route::link::set(&mut netlink, link.index, &change).with_context(|| format!("cannot switch {name} on"))?;
        set_dns(config, state)?;
        routes::add(&mut netlink, name, link.index, config, state)?;
        run_hooks(name, &config.interface.post_up)
    }

    /// The interface's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Who runs the device, in words.
    pub fn runner(&self) -> &'static str {
        if self.device.is_some() { "embedded WireGuard" } else { "kernel WireGuard" }
    }

    /// Completes when the device ends by itself; never for one that the kernel runs.
    pub async fn ended(&mut self) {
        match &mut self.device {
            Some(device) => device.ended().await,
            None => std::future::pending().await,
        }
    }

    /// Leaves it up, without a process. Only for a device that the kernel runs.
    ///
    /// # Errors
    /// None for a device that the kernel runs.
    pub fn leave(self) -> Result<()> {
        if self.device.is_some() {
            bail!("{} cannot stay up without the process that runs it", self.name);
        }
        Ok(())
    }

    /// Takes it down and undoes all that [`up`](Self::up) did. If someone else does that at the moment, it is left to them.
    ///
    /// # Errors
    /// The first thing that could not be undone; the rest is. Or why the device had ended before.
    pub fn down(self) -> Result<()> {
        let undone = if State::exists(&self.name) { undo(&self.name) } else { Ok(()) };
        let Some(device) = self.device else { return undone };
        match (undone, device.stop()) {
            // It has gone because it was taken down: here, or by `pinhole wg down`.
            (undone, Ok(()) | Err(pinhole_host::embedded::Error::InterfaceGone(_))) => undone,
            (Err(error), Err(_)) => Err(error),
            (Ok(()), Err(error)) => Err(error.into()),
        }
    }
}

/// Takes down the interface `name`, whoever brought it up.
///
/// # Errors
/// When `up` was not here; the first thing that could not be undone.
pub fn down(name: &str) -> Result<()> {
    if !State::exists(name) {
        bail!("{name} was not brought up by pinhole (`pinhole wg show` lists what is up)");
    }
    undo(name)
}

/// Whether the running kernel has WireGuard, or has it as a module that it loads now.
pub fn kernel_has_wireguard() -> bool {
    // Generic netlink loads the module of a family that is asked for (net/netlink/genetlink.c).
    let open = pinhole_host::netlink::Socket::open(pinhole_host::netlink::Protocol::Generic);
    open.is_ok_and(|mut socket| pinhole_host::netlink::generic::Family::resolve(&mut socket, "wireguard").is_ok())
}

/// What to say of a file whose name gives no interface.
pub(super) fn bad_name(path: &Path) -> Error {
    anyhow!(
        "{}: the file's name is the interface's with .conf behind: 1 to 15 letters, digits or any of _ = + . -",
        path.display()
    )
}

/// The device's part of the file, with names resolved.
fn config_update(path: &Path, config: &Config) -> Result<pinhole_wg::DeviceUpdate> {
    let mut failed = None;
    let update = config.update(|endpoint| match resolve(endpoint) {
        Ok(address) => Some(address),
        Err(error) => {
            failed.get_or_insert(error);
            None
        }
    });
    match failed {
        Some(error) => Err(error.context(format!("{}: Endpoint", path.display()))),
        None => Ok(update),
    }
}

fn resolve(endpoint: &Endpoint) -> Result<SocketAddr> {
    match endpoint {
        Endpoint::Address(address) => Ok(*address),
        Endpoint::Host { name, port } => {
            let mut found =
                (name.as_str(), *port).to_socket_addrs().with_context(|| format!("cannot resolve {name}"))?;
            found.next().with_context(|| format!("{name} has no address"))
        }
    }
}

/// Makes the device: the kernel's, or ours.
fn create(name: &str, update: &pinhole_wg::DeviceUpdate, mtu: u16, userspace: bool) -> Result<Option<Device>> {
    if !userspace {
        match wireguard::create(name) {
            Ok(()) => {
                let apply = wireguard::Control::open(name).and_then(|mut control| control.apply(update));
                apply.inspect_err(|_| remove_link(name))?;
                return Ok(None);
            }
            Err(wireguard::Error::NoKernelModule) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Some(Device::start(name, update, &Options { mtu, ..Options::default() })?))
}

/// As wg-quick: the largest MTU on the way to an endpoint, or of the default route, less what WireGuard needs.
fn default_mtu(update: &pinhole_wg::DeviceUpdate) -> u16 {
    let mtu = route::open().ok().and_then(|mut netlink| {
        let endpoints = update.peers.iter().filter_map(|peer| peer.endpoint.map(|endpoint| endpoint.ip()));
        let mut interfaces: Vec<u32> = endpoints
            .filter_map(|to| route::table::lookup(&mut netlink, to, update.fwmark.unwrap_or(0)).ok()?.interface)
            .collect();
        if interfaces.is_empty() {
            let routes = route::table::list(&mut netlink).unwrap_or_default();
            let defaults = routes.into_iter().filter(|route| route.destination.prefix_len() == 0);
            interfaces.extend(defaults.filter_map(|route| route.interface));
        }
        let links = route::link::list(&mut netlink).ok()?;
        links
            .into_iter()
            .filter(|link| interfaces.contains(&link.index) && !link.is_loopback())
            .map(|link| link.mtu)
            .max()
    });
    let mtu = mtu.unwrap_or(USUAL_MTU).saturating_sub(OVERHEAD).max(LEAST_MTU);
    u16::try_from(mtu).unwrap_or(u16::MAX)
}

/// Gives the name servers to resolvconf, or says that they are not used.
fn set_dns(config: &Config, state: &mut State) -> Result<()> {
    let interface = &config.interface;
    if interface.dns_servers.is_empty() && interface.dns_search.is_empty() {
        return Ok(());
    }
    let mut lines: Vec<String> = interface.dns_servers.iter().map(|server| format!("nameserver {server}")).collect();
    if !interface.dns_search.is_empty() {
        lines.push(format!("search {}", interface.dns_search.join(" ")));
    }
    state.resolvconf = true;
    state.save()?;
    let arguments = ["-a", state.name.as_str(), "-m", "0", "-x"];
    match pipe("resolvconf", &arguments, &(lines.join("\n") + "\n")) {
        Ok(()) => Ok(()),
        Err(Piped::Missing) => {
            tracing::warn!(
                "DNS = … is not in effect: resolvconf is not installed (`apt install openresolv`), names are resolved as before"
            );
            state.resolvconf = false;
            state.save()
        }
        Err(Piped::Failed(error)) => Err(error.context("cannot set the name servers with resolvconf")),
    }
}

/// Why a program that is fed a text did not do its work.
pub(super) enum Piped {
    /// It is not installed.
    Missing,
    /// It failed.
    Failed(Error),
}

/// Runs a program with `input` on its standard input.
pub(super) fn pipe(program: &str, arguments: &[&str], input: &str) -> Result<(), Piped> {
    let spawned = Command::new(program).args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).spawn();
    let mut child = spawned.map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Piped::Missing,
        _ => Piped::Failed(error.into()),
    })?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that does not read it says so by its status.
        let _ = std::io::Write::write_all(&mut stdin, input.as_bytes());
    }
    let status = child.wait().map_err(|error| Piped::Failed(error.into()))?;
    if status.success() { Ok(()) } else { Err(Piped::Failed(anyhow!("{program}: {status}"))) }
}

/// Runs hooks as wg-quick does, with a shell. What they print goes to standard error: standard output is events, or what the
/// process that waits for this one reads.
fn run_hooks(name: &str, hooks: &[String]) -> Result<()> {
    hooks.iter().try_for_each(|hook| run_hook(&hook.replace("%i", name)))
}

fn run_hook(hook: &str) -> Result<()> {
    let shell = if Path::new("/bin/bash").exists() { "/bin/bash" } else { "/bin/sh" };
    let output = std::io::stderr().as_fd().try_clone_to_owned().context("cannot share standard error with a hook")?;
    let status = Command::new(shell).args(["-c", hook]).stdout(output).status();
    let status = status.with_context(|| format!("cannot run {shell}"))?;
    if status.success() { Ok(()) } else { bail!("the hook `{hook}` failed: {status}") }
}

/// Undoes what was written down, goes on over failures, and returns the first.
fn undo(name: &str) -> Result<()> {
    let Some(state) = State::take(name)? else { return Ok(()) };
    let mut first = None;
    let mut note = |result: Result<()>| {
        if let Err(error) = result {
            if first.is_some() {
                tracing::warn!("{error:#}");
            }
            first.get_or_insert(error);
        }
    };
    state.pre_down.iter().for_each(|hook| note(run_hook(hook)));
    if state.resolvconf {
        note(match pipe("resolvconf", &["-d", name, "-f"], "") {
            Ok(()) | Err(Piped::Missing) => Ok(()),
            Err(Piped::Failed(error)) => Err(error),
        });
    }
    note(routes::remove(&state));
    remove_link(name);
    note(wireguard::remove_stale_socket(name).map_err(Error::from));
    state.post_down.iter().for_each(|hook| note(run_hook(hook)));
    first.map_or(Ok(()), Err)
}

fn link_exists(name: &str) -> Result<bool> {
    Ok(route::link::find(&mut route::open()?, name).is_ok())
}

/// Removes the interface; one that has gone already is fine.
fn remove_link(name: &str) {
    if let Ok(mut netlink) = route::open()
        && let Ok(link) = route::link::find(&mut netlink, name)
        && let Err(error) = route::link::delete(&mut netlink, link.index)
    {
        tracing::warn!("cannot remove {name}: {error}");
    }
}
