//! `pinhole stun serve`: a server until Ctrl-C.

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args as ClapArgs;
use clap::error::ErrorKind;

use crate::config::stun::{self, Stun, StunAddress, Xdp};
use crate::run::{self, Role};

/// Serve STUN by UDP, TCP and TLS
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  pinhole stun serve
  pinhole stun serve --listen 198.51.100.1 --second 198.51.100.2
  pinhole stun serve --listen 198.51.100.1 --partner 203.0.113.9 --partner-key /etc/pinhole/stun.key
  pinhole stun serve --listen 10.0.0.4 --public 198.51.100.1
  pinhole stun serve --xdp auto

With a second address, on this host or at a partner, clients can discover how their NAT behaves (RFC 5780). Nobody gets more
bytes than he sent, or 128, and only at the address that he asked from.")]
pub struct Args {
    /// Serve here [default: every address, port 3478] (may be repeated)
    #[arg(short, long, value_name = "ADDRESS[:PORT]")]
    listen: Vec<StunAddress>,
    /// A second address of this host (one per family)
    #[arg(long, value_name = "ADDRESS")]
    second: Vec<IpAddr>,
    /// Another host that answers in place of a second address (one per family)
    #[arg(long, value_name = "ADDRESS", requires = "partner_key")]
    partner: Vec<IpAddr>,
    /// The file with the key that both hosts have
    #[arg(long, value_name = "FILE", requires = "partner")]
    partner_key: Option<PathBuf>,
    /// The second port [default: 3479 with --second or --partner, else none]
    #[arg(long, value_name = "PORT")]
    second_port: Option<u16>,
    /// The address clients see, where a router translates one to one (the first, then the second)
    #[arg(long, value_name = "ADDRESS")]
    public: Vec<IpAddr>,
    /// Serve by UDP only
    #[arg(long)]
    no_tcp: bool,
    /// Serve by TLS too, with this certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_key", conflicts_with = "tls_self_signed")]
    tls_cert: Option<PathBuf>,
    /// And its key (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Serve by TLS too, with a certificate made for this run
    #[arg(long)]
    tls_self_signed: bool,
    /// The port for TLS
    #[arg(long, value_name = "PORT", default_value_t = stun::default_tls_port())]
    tls_port: u16,
    /// Call askers back who want to know whether a port of theirs can be reached
    #[arg(long)]
    call_back: bool,
    /// Requests a minute of one source; 0 is unlimited
    #[arg(long, value_name = "N", default_value_t = stun::default_rate_limit())]
    rate_limit: u32,
    /// Answer only these users: a file with lines NAME:PASSWORD
    #[arg(long, value_name = "FILE")]
    users: Option<PathBuf>,
    /// Their realm
    #[arg(long, value_name = "REALM", default_value_t = stun::default_realm())]
    realm: String,
    /// Threads per address and port; 0 is one per processor
    #[arg(long, value_name = "N", default_value_t = 0)]
    threads: usize,
    /// Answer plain requests on this interface before they reach a socket, past the firewall (may be repeated)
    ///
    /// Several times as many per core, by an XDP program in the network driver, or behind it where the driver has no XDP; `:native`
    /// or `:generic` after the name insists on one of both. Everything else, and everything where it is not possible, is answered
    /// from sockets as ever. Needs CAP_BPF and CAP_NET_ADMIN, and Linux 5.11.
    #[arg(long, value_name = "INTERFACE|auto", conflicts_with = "users")]
    xdp: Vec<Xdp>,
    /// Print events and counters as JSON, one object a line
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub fn run(args: Args) -> Result<ExitCode> {
    let json = args.json;
    let settings = Stun {
        listen: args.listen,
        second: args.second,
        partner: args.partner,
        partner_key: args.partner_key,
        second_port: args.second_port,
        public: args.public,
        tcp: !args.no_tcp,
        tls_cert: args.tls_cert,
        tls_key: args.tls_key,
        tls_self_signed: args.tls_self_signed,
        tls_port: args.tls_port,
        call_back: args.call_back,
        rate_limit: args.rate_limit,
        users: args.users,
        realm: args.realm,
        threads: args.threads,
        xdp: args.xdp,
    };
    if let Err(error) = settings.sites() {
        clap::Error::raw(ErrorKind::ValueValidation, format!("{error}\n")).exit();
    }
    run::until_stopped(vec![Role::Stun(settings)], json)
}
