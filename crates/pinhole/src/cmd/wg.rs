//! `pinhole wg`: WireGuard interfaces from wg-quick files, on the kernel's WireGuard or on our own, and what `wg` does for keys.

pub mod interface;
mod routes;
mod show;
mod state;

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, anyhow, bail};
use clap::{Args as ClapArgs, Subcommand};
use pinhole_host::embedded;
use pinhole_wg::{PresharedKey, PrivateKey};
use tokio::signal::unix::{SignalKind, signal};

use interface::{File, Interface};

/// What a child says on its standard output when the interface is up.
const READY: &str = "up";

/// Bring WireGuard interfaces up and down, show devices, make keys
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  pinhole wg up wg0                 bring up /etc/wireguard/wg0.conf
  pinhole wg up ./home.conf         bring up the interface home
  pinhole wg show                   all devices, whoever runs them
  pinhole wg genkey | tee private.key | pinhole wg pubkey")]
pub struct Args {
    #[command(subcommand)]
    command: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Bring up the interface that a wg-quick file describes
    Up {
        /// The file, or the name of one in /etc/wireguard without `.conf`
        #[arg(value_name = "FILE|NAME")]
        config: String,
        /// Run our own device even if the kernel has WireGuard
        #[arg(long)]
        userspace: bool,
        /// Stay until SIGTERM or Ctrl-C, and then take it down
        #[arg(short, long)]
        foreground: bool,
        /// Say on standard output when it is up, then leave the terminal
        #[arg(long, hide = true)]
        announce: bool,
    },
    /// Take down an interface that `up` brought up, also after a crash
    Down {
        /// The file, or the name of the interface
        #[arg(value_name = "FILE|NAME")]
        config: String,
    },
    /// Show devices and their peers
    Show {
        /// The device; all if missing
        name: Option<String>,
        /// For machines
        #[arg(long)]
        json: bool,
        /// Show private and preshared keys, too
        #[arg(long)]
        secrets: bool,
    },
    /// Make a private key
    Genkey,
    /// Read a private key and print the public one
    Pubkey,
    /// Make a preshared key
    Genpsk,
}

/// Runs it.
pub fn run(args: Args) -> Result<ExitCode> {
    match args.command {
        What::Up { config, userspace, foreground, announce } => {
            let path = path_of(&config);
            if foreground { stay(&path, userspace, announce)? } else { bring_up(&path, userspace)? }
        }
        What::Down { config } => interface::down(&name_of(&config)?)?,
        What::Show { name, json, secrets } => show::show(name.as_deref(), json, secrets)?,
        What::Genkey => print_line(&random_key()?.to_base64())?,
        What::Genpsk => print_line(&PresharedKey::from_bytes(random_bytes()?).to_base64())?,
        What::Pubkey => print_line(&read_key()?.public().to_string())?,
    }
    Ok(ExitCode::SUCCESS)
}

/// As wg-quick does it: a name stands for a file in /etc/wireguard.
fn path_of(config: &str) -> PathBuf {
    if config.contains('/') || config.ends_with(".conf") {
        PathBuf::from(config)
    } else {
        Path::new("/etc/wireguard").join(format!("{config}.conf"))
    }
}

fn name_of(config: &str) -> Result<String> {
    let path = path_of(config);
    let file = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let name = pinhole_wg::quick::interface_name(file).ok_or_else(|| interface::bad_name(&path))?;
    Ok(name.to_owned())
}

/// Brings the interface up and returns. Where we run the device ourselves, a child stays behind.
fn bring_up(path: &Path, userspace: bool) -> Result<()> {
    if !userspace && interface::kernel_has_wireguard() {
        return Interface::up(&File::read(path)?, false)?.leave();
    }
    let program = std::env::current_exe().context("cannot find the program that is running")?;
    let mut command = Command::new(program);
    command.args(["wg", "up", "--foreground", "--announce"]).args(userspace.then_some("--userspace"));
    // A file in the current directory stays one for the child, whatever it is called.
    let mut child = command
        .arg(std::path::absolute(path).context("cannot tell where the file is")?)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start the device's process")?;
    let mut said = String::new();
    if let Some(output) = child.stdout.take() {
        // An error here reads as silence, and silence as failure.
        let _ = BufReader::new(output).read_line(&mut said);
    }
    if said.trim_end() == READY {
        return Ok(());
    }
    // It has said why on the standard error that we share.
    let status = child.wait().context("cannot wait for the device's process")?;
    std::process::exit(status.code().unwrap_or(1));
}

/// Brings the interface up, stays until asked to stop, and takes it down.
fn stay(path: &Path, userspace: bool, announce: bool) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    runtime.block_on(async {
        // Listening begins before anything is changed, so that no signal leaves something half done.
        let mut terminate = signal(SignalKind::terminate()).context("cannot listen for signals")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for signals")?;
        let mut hangup = signal(SignalKind::hangup()).context("cannot listen for signals")?;
        let mut interface = Interface::up(&File::read(path)?, userspace)?;
        let told = if announce {
            leave_terminal()
        } else {
            eprintln!("{} is up ({}); Ctrl-C takes it down", interface.name(), interface.runner());
            Ok(())
        };
        if told.is_ok() {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                // Its terminal was closed.
                _ = hangup.recv() => {}
                () = interface.ended() => {}
            }
        }
        let down = interface.down();
        told.and(down)
    })
}

/// Tells the parent that the interface is up, and goes on without it.
fn leave_terminal() -> Result<()> {
    writeln!(std::io::stdout(), "{READY}").context("nobody waits for the interface any more")?;
    embedded::detach().context("cannot leave the terminal")
}

fn print_line(line: &str) -> Result<()> {
    super::print(format!("{line}\n").as_bytes())
}

fn random_bytes() -> Result<[u8; 32]> {
    let mut bytes = [0; 32];
    embedded::fill_random(&mut bytes).context("the kernel gives no randomness")?;
    Ok(bytes)
}

fn random_key() -> Result<PrivateKey> {
    embedded::generate_private_key().context("the kernel gives no randomness")
}

fn read_key() -> Result<PrivateKey> {
    let mut text = String::new();
    // A key is 44 characters; what is longer is none.
    std::io::stdin().take(1024).read_to_string(&mut text).context("cannot read standard input")?;
    if text.trim().is_empty() {
        bail!("no key on standard input: expected a private key, as `pinhole wg genkey` prints it");
    }
    text.trim().parse().map_err(|error| anyhow!("standard input: {error}"))
}
