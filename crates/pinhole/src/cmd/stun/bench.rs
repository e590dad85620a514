//! `pinhole stun bench`: how fast a server answers.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args as ClapArgs;
use pinhole_host::stun::flood::{self, Flood, Flooded};
use pinhole_host::stun::load::{self, Load};
use serde_json::json;

use crate::config::stun::StunAddress;

/// Ask a STUN server as fast as it answers
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  pinhole stun bench 127.0.0.1
  taskset -c 1 pinhole stun bench 127.0.0.1:3478 --seconds 5 --json
  pinhole stun bench 198.51.100.1 --rate 20000
  pinhole stun bench 198.51.100.1 --flood eth0

Only for your own server: it sends hundreds of thousands of requests a second. A server with limits answers some of them; start
ours with --rate-limit 0. One process asks from one core.")]
pub struct Args {
    /// The server
    #[arg(value_name = "ADDRESS[:PORT]")]
    server: StunAddress,
    /// For how long
    #[arg(short, long, value_name = "N", default_value_t = 3.0)]
    seconds: f64,
    /// Sockets to ask from
    #[arg(long, value_name = "N", default_value_t = 4)]
    sockets: usize,
    /// Requests outstanding per socket
    #[arg(long, value_name = "N", default_value_t = 64)]
    window: usize,
    /// Ask so often a second, answered or not, in place of as fast as it answers
    #[arg(long, value_name = "N", conflicts_with = "window")]
    rate: Option<f64>,
    /// Ask from this interface past all sockets, as fast as the kernel makes frames (as root, Linux 5.18)
    ///
    /// The server is to be a neighbour. A program at the interface counts the answers, and throws them away, so that it has to be
    /// free of other XDP programs.
    #[arg(long, value_name = "INTERFACE", conflicts_with_all = ["rate", "sockets", "window"])]
    flood: Option<String>,
    /// Print an object of JSON
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub fn run(args: &Args) -> Result<ExitCode> {
    let StunAddress(server) = args.server;
    let duration = Duration::try_from_secs_f64(args.seconds).context("--seconds is to be a number of seconds")?;
    if let Some(interface) = &args.flood {
        let flood = Flood { server, interface: interface.clone(), duration };
        let flooded = flood::run(&flood).with_context(|| format!("cannot ask {server} from {interface}"))?;
        return told(&flooded_text(&flooded, args.json));
    }
    let own_address = is_near(server);
    let load = Load { server, sockets: args.sockets, window: args.window, rate: args.rate, duration, own_address };
    let measured = load::run(&load).with_context(|| format!("cannot ask {server}: is a STUN server there?"))?;
    if measured.answers == 0 {
        bail!("{server} gave no right answer ({} were lost, {} wrong)", measured.lost, measured.wrong);
    }
    let (median, most) = (measured.latency(0.5), measured.latency(0.99));
    let text = match args.json {
        true => json!({
            "answers": measured.answers,
            "per_second": measured.per_second().round(),
            "p50_us": median.as_secs_f64() * 1e6,
            "p99_us": most.as_secs_f64() * 1e6,
            "lost": measured.lost,
            "wrong": measured.wrong,
            "seconds": measured.elapsed.as_secs_f64(),
        })
        .to_string(),
        false => format!(
            "{:.0} answers a second; half within {:.0} µs, 99 of 100 within {:.0} µs; {} lost, {} wrong",
            measured.per_second(),
            median.as_secs_f64() * 1e6,
            most.as_secs_f64() * 1e6,
            measured.lost,
            measured.wrong,
        ),
    };
    told(&text)
}

fn flooded_text(flooded: &Flooded, json: bool) -> String {
    let Flooded { sent, answers, elapsed } = flooded;
    let seconds = elapsed.as_secs_f64();
    let per_second = (*answers as f64 / seconds).round();
    match json {
        true => json!({ "sent": sent, "answers": answers, "per_second": per_second, "seconds": seconds }).to_string(),
        false => format!("{per_second:.0} answers a second to {:.0} requests", *sent as f64 / seconds),
    }
}

fn told(text: &str) -> Result<ExitCode> {
    crate::cmd::print(format!("{text}\n").as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// True where no NAT can be between: there every address is checked.
fn is_near(server: SocketAddr) -> bool {
    server.ip().is_loopback()
}
