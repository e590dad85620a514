//! Runs roles side by side until a signal, replaces them on reload, and stops them in reverse order.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::sync::watch;
use tokio::task::{JoinHandle, LocalSet};

use super::report::Report;
use super::signals::{Request, Signals};
use super::{agent, gateway, registry, stun, wireguard};
use crate::cmd::wg::interface::File;
use crate::config::{self, Config};

/// A role gets this long to undo what it changed.
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// How often it is looked whether a role has ended by itself.
const ROLE_CHECK: Duration = Duration::from_millis(200);

/// Something that runs until it is stopped. Equal roles need no restart on reload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// A device from a wg-quick file.
    WireGuard {
        /// As it was when it was read.
        file: File,
        /// Our own device even if the kernel has WireGuard.
        userspace: bool,
    },
    /// The DNS-SD registry.
    Registry(config::Registry),
    /// The STUN server.
    Stun(config::stun::Stun),
    /// An endpoint agent.
    Agent(config::Agent),
    /// The NAT between two interfaces.
    Gateway(gateway::Settings),
}

impl Role {
    fn name(&self) -> String {
        match self {
            Self::WireGuard { file, .. } => format!("the device of {}", file.path().display()),
            Self::Registry(_) => "the registry".to_owned(),
            Self::Stun(_) => "the STUN server".to_owned(),
            Self::Agent(agent) => format!("the agent of {}", agent.device),
            Self::Gateway(_) => "the gateway".to_owned(),
        }
    }

    /// When its turn to start comes: devices first, since the others use them.
    fn place(&self) -> u8 {
        match self {
            Self::WireGuard { .. } => 0,
            Self::Registry(_) | Self::Stun(_) => 1,
            Self::Agent(_) => 2,
            Self::Gateway(_) => 3,
        }
    }
}

/// In the order in which they start, with the files that they name.
fn roles(config: Config) -> Result<Vec<Role>> {
    let device = |wireguard: config::WireGuard| -> Result<Role> {
        Ok(Role::WireGuard { file: File::read(&wireguard.config)?, userspace: wireguard.userspace })
    };
    let devices = config.wireguard.into_iter().map(device);
    let has_stun = config.stun.is_some();
    let registry = config.registry.into_iter().map(|registry| {
        let stun = registry.stun && !has_stun;
        Ok(Role::Registry(config::Registry { stun, ..registry }))
    });
    let stun = config.stun.into_iter().map(Role::Stun).map(Ok);
    let gateway = config.gateway.into_iter().map(|settings| gateway::Settings::read(settings).map(Role::Gateway));
    let agents = config.agent.into_iter().map(Role::Agent).map(Ok);
    devices.chain(registry).chain(stun).chain(agents).chain(gateway).collect()
}

/// Runs roles until SIGTERM or SIGINT.
///
/// # Errors
/// The first role that fails, after the others have been stopped.
pub fn until_stopped(roles: Vec<Role>, json: bool) -> Result<ExitCode> {
    run(roles, None, json)
}

/// Runs the roles of a configuration; SIGHUP reads `path` again.
///
/// # Errors
/// The first role that fails, after the others have been stopped.
pub fn configuration(config: Config, path: PathBuf, json: bool) -> Result<ExitCode> {
    run(roles(config)?, Some(path), json)
}

fn run(roles: Vec<Role>, path: Option<PathBuf>, json: bool) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    let local = LocalSet::new();
    let result = local.block_on(&runtime, async {
        let mut signals = Signals::new()?;
        let mut supervisor = Supervisor { running: Vec::new(), json };
        let result = supervisor.run(roles, path, &mut signals).await;
        supervisor.stop_all().await;
        result.map(|()| ExitCode::SUCCESS)
    });
    // All roles have ended; what may still be going on is the reading of a device that hangs.
    drop(local);
    runtime.shutdown_background();
    result
}

struct Supervisor {
    running: Vec<Running>,
    json: bool,
}

struct Running {
    role: Role,
    stop: watch::Sender<bool>,
    task: JoinHandle<Result<()>>,
}

impl Supervisor {
    async fn run(&mut self, roles: Vec<Role>, path: Option<PathBuf>, signals: &mut Signals) -> Result<()> {
        self.start(roles).await?;
        loop {
            tokio::select! {
                request = signals.next() => match (request, &path) {
                    (Request::Stop, _) => return Ok(()),
                    (Request::Reload, Some(path)) => self.reload(path.clone()).await?,
                    (Request::Reload, None) => tracing::warn!("nothing to reload: there is no configuration file"),
                },
                () = tokio::time::sleep(ROLE_CHECK) => self.fail_if_one_ended().await?,
            }
        }
    }

    async fn start(&mut self, roles: Vec<Role>) -> Result<()> {
        for role in roles {
            let (stop, stopped) = watch::channel(false);
            let (ready, mut is_ready) = watch::channel(false);
            let task = tokio::task::spawn_local(start(role.clone(), self.json, ready, stopped));
            self.running.push(Running { role, stop, task });
            // The next role may need this one. A role that fails drops its end.
            let _ = is_ready.wait_for(|&ready| ready).await;
            self.fail_if_one_ended().await?;
        }
        Ok(())
    }

    /// A configuration that cannot be read changes nothing, and one that cannot be run is taken back: whoever reloads from
    /// afar may depend on what runs.
    async fn reload(&mut self, path: PathBuf) -> Result<()> {
        let wanted = match Config::read(&path).and_then(roles) {
            Ok(wanted) => wanted,
            Err(error) => {
                tracing::error!("everything stays as it was: {error:#}");
                return Ok(());
            }
        };
        let before: Vec<Role> = self.running.iter().map(|running| running.role.clone()).collect();
        match self.change_to(wanted).await {
            Ok(()) => Ok(()),
            Err(error) => {
                tracing::error!("going back to what ran before: {error:#}");
                self.change_to(before).await
            }
        }
    }

    /// Ends the roles that are not wanted, then starts those that do not run.
    async fn change_to(&mut self, wanted: Vec<Role>) -> Result<()> {
        let (kept, ended): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.running).into_iter().partition(|running| wanted.contains(&running.role));
        self.running = kept;
        for running in ended.into_iter().rev() {
            end(running).await;
        }
        let new = wanted.into_iter().filter(|role| !self.running.iter().any(|running| running.role == *role));
        self.start(new.collect()).await?;
        // They are stopped from the end, and devices last.
        self.running.sort_by_key(|running| running.role.place());
        Ok(())
    }

    async fn fail_if_one_ended(&mut self) -> Result<()> {
        let Some(at) = self.running.iter().position(|running| running.task.is_finished()) else { return Ok(()) };
        let ended = self.running.remove(at);
        match ended.task.await {
            Ok(Ok(())) => bail!("{} ended", ended.role.name()),
            Ok(Err(error)) => Err(error),
            Err(panic) => bail!("{} failed: {panic}; this is a bug, please report it", ended.role.name()),
        }
    }

    async fn stop_all(&mut self) {
        while let Some(running) = self.running.pop() {
            end(running).await;
        }
    }
}

async fn start(role: Role, json: bool, ready: watch::Sender<bool>, stop: watch::Receiver<bool>) -> Result<()> {
    match role {
        Role::WireGuard { file, userspace } => wireguard::run(file, userspace, ready, stop).await,
        Role::Registry(settings) => registry::run(settings, Report::new("registry", json), ready, stop).await,
        Role::Stun(settings) => stun::run(settings, json, ready, stop).await,
        Role::Gateway(settings) => gateway::run(settings, Report::new("gateway", json), ready, stop).await,
        Role::Agent(settings) => agent::run(settings, Report::new("agent", json), ready, stop).await,
    }
}

async fn end(running: Running) {
    let Running { role, stop, task } = running;
    let _ = stop.send(true);
    match tokio::time::timeout(STOP_WITHIN, task).await {
        Ok(Ok(Ok(()))) => {}
        Ok(Ok(Err(error))) => tracing::error!("{}: {error:#}", role.name()),
        Ok(Err(panic)) => tracing::error!("{} failed while stopping: {panic}", role.name()),
        Err(_) => tracing::error!("{} did not stop within {} s", role.name(), STOP_WITHIN.as_secs()),
    }
}
