//! `pinhole agent`: keep one device's peers directly connected.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args as ClapArgs;
use ipnet::IpNet;

use crate::config::stun::StunAddress;
use crate::config::{self, Listen};
use crate::run::{self, Role};

/// Keep this host's WireGuard peers directly connected
#[derive(Debug, ClapArgs)]
#[command(after_help = "Example:
  pinhole agent --device wg0 --zone example.com. --server 10.0.0.254

The registry is a peer of wg0 with an endpoint; the other peers need none. A path that works is never touched.")]
pub struct Args {
    /// The WireGuard device
    #[arg(short, long, value_name = "NAME")]
    device: String,
    /// The zone that holds the peers
    #[arg(short, long, value_name = "ZONE")]
    zone: String,
    /// The DNS server: the registry's tunnel address, a wgsd or a resolver [port: 53]
    #[arg(short, long, value_name = "ADDRESS[:PORT]")]
    server: Listen,
    /// Also add peers that the zone announces, if their allowed-ips lie in this prefix (may be repeated)
    #[arg(long, value_name = "PREFIX")]
    accept: Vec<IpNet>,
    /// Persistent keepalive for peers that have none, in seconds; 0 leaves them without
    #[arg(long, value_name = "SECONDS", default_value_t = config::default_keepalive())]
    keepalive: u16,
    /// Ask this STUN server how the NAT maps the WireGuard port [default: the registry's host] (may be repeated)
    #[arg(long, value_name = "ADDRESS[:PORT]")]
    stun: Vec<StunAddress>,
    /// Print events as JSON, one object a line
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub fn run(args: Args) -> Result<ExitCode> {
    let Args { device, zone, server, accept, keepalive, stun, json } = args;
    let role = Role::Agent(config::Agent { device, zone, server, accept, keepalive, stun });
    run::until_stopped(vec![role], json)
}
