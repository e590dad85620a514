//! `pinhole stun query`: as whom others see this host, and by which NAT.

mod ask;
mod discover;
mod json;
pub(in crate::cmd) mod servers;
mod table;
mod watch;

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use clap::Args as ClapArgs;
use pinhole_host::probe::Route;
use pinhole_host::{embedded, wireguard};
use pinhole_stun::client::{Schedule, Transport};

/// The longest silence that a lifetime is looked for, without being told otherwise: RFC 4787 REQ-5 wants as much, and few
/// devices give more.
const LONGEST_LIFETIME: &str = "300";

/// Ask STUN servers for this host's public address, and find out how its NAT behaves
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  pinhole stun query                                as whom well-known servers see this host
  pinhole stun query stun.example.org --tcp         the same of one server, by TCP
  pinhole stun query --from-port 51820 --watch      how the mapping of WireGuard's port moves
  pinhole stun query --discover                     which NAT this is, by UDP and TCP
  pinhole stun query --discover --lifetime          and how long it keeps silent mappings: minutes

A port that another program has is borrowed by a raw socket (needs CAP_NET_RAW); the program is
not disturbed. If it is WireGuard's, its mark is taken, too.
Exit code: 0 if a server answered, 1 if none did, 2 for wrong usage.")]
pub struct Args {
    /// Whom to ask [default: a few well-known public servers]
    #[arg(value_name = "SERVER[:PORT]")]
    servers: Vec<String>,
    /// By TCP; with --discover by TCP only
    #[arg(long)]
    tcp: bool,
    /// With --discover by UDP only
    #[arg(long, conflicts_with = "tcp", requires = "discover")]
    udp: bool,
    /// By IPv4 only
    #[arg(short = '4', long)]
    ipv4: bool,
    /// By IPv6 only
    #[arg(short = '6', long, conflicts_with = "ipv4")]
    ipv6: bool,
    /// From this port
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    from_port: Option<u16>,
    /// By this interface
    #[arg(long, value_name = "NAME")]
    interface: Option<String>,
    /// With this mark, as policy routing knows it
    #[arg(long, value_name = "MARK", value_parser = parse_mark)]
    fwmark: Option<u32>,
    /// Ask again and again, and tell when the mapping moves
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true, default_missing_value = "15", value_parser = parse_seconds,
        conflicts_with = "discover")]
    watch: Option<Duration>,
    /// Give up after this time
    #[arg(long, value_name = "SECONDS", default_value = "3", value_parser = parse_seconds)]
    timeout: Duration,
    /// Find out how the NAT behaves
    #[arg(long)]
    discover: bool,
    /// With --discover: measure how long a silent mapping lives, up to this time
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true, default_missing_value = LONGEST_LIFETIME,
        value_parser = parse_seconds, requires = "discover")]
    lifetime: Option<Duration>,
    /// With --discover: show every observation
    #[arg(long, requires = "discover")]
    evidence: bool,
    /// For machines
    #[arg(long)]
    json: bool,
}

impl Args {
    fn transport(&self) -> Transport {
        if self.tcp { Transport::Stream } else { Transport::Datagram }
    }

    fn family(&self) -> servers::Family {
        match (self.ipv4, self.ipv6) {
            (true, _) => servers::Family::V4,
            (false, true) => servers::Family::V6,
            (false, false) => servers::Family::Any,
        }
    }

    /// The impatient schedule's moments, as far as they come before the timeout.
    fn schedule(&self) -> Schedule {
        let impatient = Schedule::IMPATIENT;
        let (mut at, mut wait, mut attempts) = (Duration::ZERO, impatient.first, 1);
        while attempts < impatient.attempts && at + wait < self.timeout {
            at += wait;
            wait = (wait * 2).min(impatient.longest);
            attempts += 1;
        }
        Schedule { attempts, last: self.timeout - at, stream: self.timeout, ..impatient }
    }

    fn route(&self) -> Route {
        let mark = self.fwmark.or_else(|| self.from_port.and_then(mark_of_wireguard)).unwrap_or_default();
        Route { interface: self.interface.clone(), mark }
    }
}

/// Runs it.
pub fn run(args: &Args) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    let code = runtime.block_on(async {
        match (args.discover, args.watch) {
            (true, _) => discover::run(args).await,
            (false, Some(interval)) => watch::run(args, interval).await,
            (false, None) => ask::run(args).await,
        }
    });
    // A resolver that hangs is not waited for.
    runtime.shutdown_background();
    code
}

/// The mark of the WireGuard device that listens at `port`: without it, its packets would go another way than these.
fn mark_of_wireguard(port: u16) -> Option<u32> {
    let devices = wireguard::list().ok()?;
    let device = |(name, _): (String, _)| wireguard::Control::open(&name).and_then(|mut control| control.device()).ok();
    let owner = devices.into_iter().filter_map(device).find(|device| device.listen_port == port)?;
    Some(owner.fwmark).filter(|mark| *mark != 0)
}

fn seed() -> Result<u64> {
    let mut seed = [0; 8];
    embedded::fill_random(&mut seed).context("the kernel gives no randomness")?;
    Ok(u64::from_ne_bytes(seed))
}

/// What a refusal of the kernel means to whoever asked.
fn refused(args: &Args, error: io::Error) -> anyhow::Error {
    let port = args.from_port.unwrap_or_default();
    match error.kind() {
        io::ErrorKind::PermissionDenied if args.from_port.is_some() => anyhow!(
            "cannot use port {port}: another program has it, and borrowing it needs CAP_NET_RAW (sudo, or \
             setcap cap_net_raw+ep); a port below 1024 needs CAP_NET_BIND_SERVICE"
        ),
        io::ErrorKind::PermissionDenied => {
            anyhow!("the kernel refuses: {error}; --interface and --fwmark need CAP_NET_RAW or CAP_NET_ADMIN (sudo)")
        }
        io::ErrorKind::AddrInUse => anyhow!(
            "port {port} is taken: by TCP no port of another program can be asked from; choose another --from-port"
        ),
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable | io::ErrorKind::AddrNotAvailable => {
            anyhow!("no route to the servers: {error}; is the network up? (ip route)")
        }
        _ if error.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error()) => {
            anyhow!("there is no interface {}; `ip link` lists them", args.interface.as_deref().unwrap_or_default())
        }
        _ => anyhow::Error::new(error).context("cannot open a socket"),
    }
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| format!("`{text}` is no number of seconds"))?;
    if !(0.1..=86_400.0).contains(&seconds) {
        return Err(format!("{text} s is not between 0.1 s and a day"));
    }
    Ok(Duration::from_secs_f64(seconds))
}

fn parse_mark(text: &str) -> Result<u32, String> {
    let mark = match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => text.parse(),
    };
    mark.map_err(|_| format!("`{text}` is not a mark: expected a number such as 51820 or 0xca6c"))
}
