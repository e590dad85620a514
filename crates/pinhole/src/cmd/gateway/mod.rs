//! `pinhole gateway`: this host as the NAT between two of its interfaces, run by our engine.

mod status;

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::error::ErrorKind;
use clap::{Args as ClapArgs, Subcommand};

use crate::config::{self, Ports};
use crate::run::gateway::{self, Settings};
use crate::run::{self, Role};

/// Be the NAT between two interfaces: full cone or any other behaviour, or rules
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  pinhole gateway up --inside eth1 --outside eth0
  pinhole gateway up --inside eth1 --outside eth0 --preset full_cone_router
  pinhole gateway up --inside eth1 --outside eth0 --behaviour 'openwrt udp=ei/ad udp-timeout=300'
  pinhole gateway up --inside eth1 --outside eth0 --external 203.0.113.9 --rules nat.rules
  pinhole gateway status --flows

IPv4 only; IPv6 is left as it is. docs/gateway.md says how packets find it.")]
pub struct Args {
    #[command(subcommand)]
    command: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Run until SIGTERM or Ctrl-C, and then undo all that was changed
    Up(Up),
    /// Show the running gateway: what it is, what went through it, what it translates
    Status {
        /// Show every translation
        #[arg(long)]
        flows: bool,
        /// For machines
        #[arg(long)]
        json: bool,
    },
    /// Undo what a gateway has left behind that was killed
    Clean,
}

#[derive(Debug, ClapArgs)]
struct Up {
    /// The interface that the hosts behind the NAT are at
    #[arg(long, value_name = "NAME")]
    inside: String,
    /// The interface that everybody else is at
    #[arg(long, value_name = "NAME")]
    outside: String,
    /// The address that the outside sees [default: the first one of the outside interface]
    #[arg(long, value_name = "ADDRESS")]
    external: Option<Ipv4Addr>,
    /// Its ports that are the gateway's [default: all; of an address of this host, those above the ones it draws from itself]
    #[arg(long, value_name = "FIRST-LAST")]
    ports: Option<Ports>,
    /// A behaviour by name [default: openwrt] [possible values: rfc4787, home_router, full_cone_router, openwrt,
    /// linux_masquerade, cgn_rfc6888, mobile_carrier, cloud_nat, corporate_firewall]
    #[arg(long, value_name = "NAME")]
    preset: Option<String>,
    /// What is different from that, in words: 'udp=ei/ad hairpin=external'
    #[arg(long, value_name = "WORDS")]
    behaviour: Option<String>,
    /// Rules as iptables-save writes them, instead of a behaviour
    #[arg(long, value_name = "FILE", conflicts_with_all = ["preset", "behaviour"])]
    rules: Option<PathBuf>,
    /// Print events as JSON, one object a line
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub fn run(args: Args) -> Result<ExitCode> {
    match args.command {
        What::Up(up) => return self::up(up),
        What::Status { flows, json } => status::show(flows, json)?,
        What::Clean => gateway::clean()?,
    }
    Ok(ExitCode::SUCCESS)
}

fn up(args: Up) -> Result<ExitCode> {
    let Up { inside, outside, external, ports, preset, behaviour, rules, json } = args;
    let settings = config::Gateway { inside, outside, external, ports, preset, behaviour, rules };
    if let Err(error) = settings.check() {
        clap::Error::raw(ErrorKind::ValueValidation, format!("{error:#}\n")).exit();
    }
    run::until_stopped(vec![Role::Gateway(Settings::read(settings)?)], json)
}
