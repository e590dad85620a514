//! `pinhole doctor`: which NAT is this host behind, what will work, and what to do about what does not.
//!
//! | file | what it is |
//! |---|---|
//! | [`collect`] | looks and asks, all at once, with a deadline |
//! | [`nat`] | what behaviour discovery found, as the diagnosis wants it |
//! | [`draw`] | the way to the Internet and the verdicts for people |
//! | [`json`] | the same for machines, and the other side's |

mod collect;
mod draw;
mod json;
mod nat;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args as ClapArgs, ValueEnum};
use pinhole_traversal::diagnosis::Diagnosis;
use pinhole_traversal::diagnosis::pair::{self, Outcome, Side, Verdict};
use pinhole_traversal::diagnosis::text::Lang;

use super::print;

pub(super) use collect::{first_hop, hops};
pub(super) use json::layer;
pub(super) use nat::outside;

/// No direct path is to be expected: neither success nor a failure of this program.
const NOT_DIRECT: u8 = 3;

/// Say which NAT this host is behind, what will work, what stands in the way, and what to do about it
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  pinhole doctor                              the way to the Internet, verdicts, and remedies, most useful first
  pinhole doctor --lang zh                    in Chinese
  pinhole doctor --json > here.json           for machines, and for the other side
  pinhole doctor --peer there.json            will these two connect directly, and by which technique?
  sudo pinhole doctor                         sees this host's own firewall, too

It takes less than 15 s. To see whether the router maps ports it asks for one and gives it back at once; --no-mapping asks for none.
Exit code: 0 if a direct path is to be expected, 3 if not, 1 for failure, 2 for wrong usage.")]
pub struct Args {
    /// STUN servers to ask; one that knows RFC 5780 is enough [default: a few well-known public ones]
    #[arg(long = "server", value_name = "HOST[:PORT]")]
    servers: Vec<String>,
    /// The UDP port that peers are to reach: WireGuard's
    #[arg(long, value_name = "PORT", default_value_t = 51_820, value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
    /// What `pinhole doctor --json` said on the other side (- for standard input): the verdict for the two
    #[arg(long, value_name = "FILE")]
    peer: Option<PathBuf>,
    /// Do not ask the router for a port
    #[arg(long)]
    no_mapping: bool,
    /// In this language [default: that of LC_ALL, LC_MESSAGES or LANG]
    #[arg(long, value_name = "LANGUAGE")]
    lang: Option<Language>,
    /// For machines
    #[arg(long)]
    json: bool,
}

/// A language by its name on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Language {
    /// English
    En,
    /// Chinese
    Zh,
}

/// What is said of this host and another one.
pub(crate) struct Pair {
    side: Side,
    verdict: Verdict,
}

/// Runs it.
pub fn run(args: &Args) -> Result<ExitCode> {
    let lang = args.lang.map_or_else(language, |language| match language {
        Language::En => Lang::En,
        Language::Zh => Lang::Zh,
    });
    // Wrong files are told before anything takes time.
    let other = args.peer.as_deref().map(read_peer).transpose()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot start")?;
    let facts = runtime.block_on(collect::collect(args));
    // A resolver or a router that hangs is not waited for.
    runtime.shutdown_background();
    let facts = facts?;
    let diagnosis = Diagnosis::of(&facts);
    let pair = other.map(|side| Pair { verdict: pair::judge(&diagnosis.side, &side), side });
    let text = match args.json {
        true => format!("{:#}\n", json::report(&facts, &diagnosis, pair.as_ref(), lang)),
        false => draw::report(&facts, &diagnosis, pair.as_ref(), lang),
    };
    print(text.as_bytes())?;
    let is_direct = match &pair {
        Some(pair) => matches!(pair.verdict.outcome, Outcome::Direct { .. }),
        None => diagnosis.is_reachable(),
    };
    Ok(if is_direct { ExitCode::SUCCESS } else { ExitCode::from(NOT_DIRECT) })
}

/// The language of the locale, by the variables in the order of setlocale(3).
fn language() -> Lang {
    let set = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    ["LC_ALL", "LC_MESSAGES", "LANG"].into_iter().find_map(set).map_or(Lang::En, |locale| Lang::of_locale(&locale))
}

fn read_peer(path: &Path) -> Result<Side> {
    let name = path.display();
    let mut text = String::new();
    match path.as_os_str() == "-" {
        true => std::io::stdin()
            .read_to_string(&mut text)
            .context("cannot read the peer's diagnosis from standard input")?,
        false => {
            text = std::fs::read_to_string(path).with_context(|| format!("cannot read the peer's diagnosis {name}"))?;
            text.len()
        }
    };
    json::read_side(&text).with_context(|| format!("{name} is not what `pinhole doctor --json` prints"))
}
