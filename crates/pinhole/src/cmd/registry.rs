//! `pinhole registry`: serve the peers of a device by DNS-SD.

use std::fmt::Display;
use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args as ClapArgs;
use clap::error::ErrorKind;
use ipnet::IpNet;

use crate::config::{self, Domain, Itself, Listen, RelayPorts, Zone, parse_prefix};
use crate::run::{self, Role};

/// Serve the endpoints of a WireGuard device's peers by DNS-SD
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  pinhole registry --zone example.com. --device wg0
  pinhole registry --zone example.com. --device wg0 --self 192.0.2.1:51820
  pinhole registry -z example.com. -d wg0 --listen 0.0.0.0 --allow 198.51.100.0/24
  dig @10.0.0.254 _wireguard._udp.example.com. PTR

It listens on the device's own tunnel addresses unless told otherwise, so that only peers can ask.
Several zones: repeat --zone and --device in pairs.")]
pub struct Args {
    /// The zone to serve (repeat with --device for several)
    #[arg(short, long, value_name = "ZONE", required = true)]
    zone: Vec<Domain>,
    /// The WireGuard device whose peers are in the zone
    #[arg(short, long, value_name = "NAME", required = true)]
    device: Vec<String>,
    /// Listen here [default: the tunnel addresses of the devices, port 53] (may be repeated)
    #[arg(short, long, value_name = "ADDRESS[:PORT]")]
    listen: Vec<Listen>,
    /// Who may ask from outside the tunnel [default: everyone, if --listen names an address] (may be repeated)
    #[arg(long, value_name = "PREFIX", value_parser = parse_prefix)]
    allow: Vec<IpNet>,
    /// Serve the registry as a peer too, at this endpoint or, without one, at the address that was asked
    #[arg(long = "self", value_name = "ENDPOINT", num_args = 0..=1, value_parser = parse_endpoint)]
    itself: Option<Option<SocketAddr>>,
    /// Its allowed-ips (may be repeated)
    #[arg(long = "self-allowed-ips", value_name = "PREFIX", requires = "itself", value_parser = parse_prefix)]
    allowed_ips: Vec<IpNet>,
    /// Names of the zone's name servers [default: ns1 in the zone] (may be repeated)
    #[arg(long, value_name = "NAME")]
    ns: Vec<Domain>,
    /// Answers a second to one network outside the tunnel; 0 is unlimited
    #[arg(long, value_name = "N", default_value_t = config::default_rate_limit())]
    rate_limit: u32,
    /// Do not serve STUN at UDP 3478 and 3479, by which agents find out how their NATs map
    #[arg(long)]
    no_stun: bool,
    /// The UDP ports that pairs without a direct path are relayed by, two for each pair, or "off"
    #[arg(long, value_name = "FIRST-LAST", default_value_t = RelayPorts::default())]
    relay: RelayPorts,
    /// Megabits a second of one relayed pair; 0 is unlimited
    #[arg(long, value_name = "N", default_value_t = config::default_relay_mbits())]
    relay_mbits: u32,
    /// Print events as JSON, one object a line
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub fn run(args: Args) -> Result<ExitCode> {
    if args.zone.len() != args.device.len() {
        let (zones, devices) = (args.zone.len(), args.device.len());
        wrong_usage(format_args!("{zones} zones and {devices} devices: give one --device for each --zone"));
    }
    let itself = match args.itself {
        None => Itself::Absent,
        Some(endpoint) => Itself::Given { endpoint, allowed_ips: args.allowed_ips },
    };
    let zones = args.zone.into_iter().zip(args.device);
    let zone = zones.map(|(name, device)| Zone { name, device, itself: itself.clone(), ns: args.ns.clone() }).collect();
    let (listen, allow, rate_limit, stun) = (args.listen, args.allow, args.rate_limit, !args.no_stun);
    let (relay, relay_mbits) = (args.relay, args.relay_mbits);
    let registry = config::Registry { listen, allow, rate_limit, stun, relay, relay_mbits, zone };
    if let Err(error) = registry.check() {
        wrong_usage(error);
    }
    run::until_stopped(vec![Role::Registry(registry)], args.json)
}

fn wrong_usage(what: impl Display) -> ! {
    clap::Error::raw(ErrorKind::ValueValidation, format!("{what}\n")).exit()
}

fn parse_endpoint(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| format!("`{text}` is not an endpoint: expected 192.0.2.1:51820 or [2001:db8::1]:51820"))
}
