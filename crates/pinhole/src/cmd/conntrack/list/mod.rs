//! `pinhole conntrack list`: the table at one moment.

mod table;

use std::cmp::Reverse;
use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args as ClapArgs, ValueEnum};
use pinhole_host::netlink::conntrack::{self, Entry};

use super::classic;
use super::filter::Filter;
use super::json::Flow;
use super::names::Services;
use super::output::{self, Output};
use super::people::People;
use super::trouble;

/// List the flows that are being tracked
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  pinhole conntrack list -s 10.0.0.0/8 -n                 translated flows of the inside
  pinhole conntrack list -p tcp --state SYN_SENT          connections that nobody has answered
  pinhole conntrack list -u UNREPLIED --sort age          what goes unanswered, newest first
  pinhole conntrack list --json | jq '.[].source_nat'     for machines
  pinhole conntrack list -o conntrack                     as `conntrack -L` prints it")]
pub(super) struct Args {
    #[command(flatten)]
    filter: Filter,
    /// How to print; the others than table and json are those of conntrack(8) and may be combined
    #[arg(short, long, value_enum, value_delimiter = ',', default_value = "table")]
    output: Vec<Output>,
    /// For machines: the same as `--output json`
    #[arg(long, conflicts_with = "output")]
    json: bool,
    /// In this order; without it as the kernel has them
    #[arg(long, value_enum)]
    sort: Option<Order>,
    /// No more than this many
    #[arg(long, value_name = "COUNT")]
    limit: Option<usize>,
    /// Ports as numbers, without names of services
    #[arg(short = 'N', long)]
    numeric: bool,
}

/// What comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Order {
    /// Newest first
    Age,
    /// Most bytes first
    Bytes,
    /// Most packets first
    Packets,
    /// Least time left first
    Timeout,
    /// By protocol and state
    State,
    /// By initiator
    Source,
    /// By whom it called
    Destination,
}

/// Prints it.
pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let mut entries = conntrack::dump(&args.filter.select()).map_err(trouble::explain)?;
    entries.retain(|entry| args.filter.matches(entry));
    if let Some(order) = args.sort {
        warn_of_missing(order, &entries);
        sort(&mut entries, order);
    }
    let found = entries.len();
    entries.truncate(args.limit.unwrap_or(found));
    let mut out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    let printed = print(args, &entries, found, &mut out).and_then(|()| out.flush());
    output::ended(printed)
}

fn print(args: &Args, entries: &[Entry], found: usize, out: &mut impl Write) -> io::Result<()> {
    let now_ns = output::now_ns();
    if args.json || args.output.contains(&Output::Json) {
        return array(entries, now_ns, out);
    }
    if let Some(extras) = Output::extras(&args.output) {
        for entry in entries {
            classic::write(out, entry, &extras, now_ns / 1_000_000_000)?;
            out.write_all(b"\n")?;
        }
        out.flush()?;
        eprintln!("pinhole: {} flow entries have been shown.", entries.len());
        return Ok(());
    }
    let services = if args.numeric { Services::default() } else { Services::of_this_system() };
    let fill = conntrack::fill().ok();
    table::write(entries, found, fill, &People::new(services), now_ns, out)
}

/// One flow a line, so that a table of a million flows can be read line by line, too.
fn array(entries: &[Entry], now_ns: u64, out: &mut impl Write) -> io::Result<()> {
    out.write_all(b"[")?;
    for (at, entry) in entries.iter().enumerate() {
        out.write_all(if at == 0 { b"\n" } else { b",\n" })?;
        serde_json::to_writer(&mut *out, &Flow::new(entry, now_ns))?;
    }
    out.write_all(b"\n]\n")
}

fn sort(entries: &mut [Entry], order: Order) {
    let total = |entry: &Entry| entry.total().unwrap_or_default();
    match order {
        Order::Age => entries.sort_by_key(|entry| Reverse(entry.began_ns)),
        Order::Bytes => entries.sort_by_key(|entry| Reverse(total(entry).bytes)),
        Order::Packets => entries.sort_by_key(|entry| Reverse(total(entry).packets)),
        Order::Timeout => entries.sort_by_key(|entry| entry.timeout_s),
        Order::State => entries.sort_by_key(|entry| (entry.original.protocol, entry.state.map(|state| state.name()))),
        Order::Source => entries.sort_by_key(|entry| entry.original.source),
        Order::Destination => entries.sort_by_key(|entry| entry.original.destination),
    }
}

/// An order by what the kernel does not say is no order.
fn warn_of_missing(order: Order, entries: &[Entry]) {
    let missing = match order {
        Order::Age => entries.iter().all(|entry| entry.began_ns.is_none()).then_some(trouble::NO_TIMES),
        Order::Bytes | Order::Packets => entries.iter().all(|e| e.total().is_none()).then_some(trouble::NO_COUNTERS),
        Order::Timeout | Order::State | Order::Source | Order::Destination => None,
    };
    if let Some(words) = missing.filter(|_| !entries.is_empty()) {
        eprintln!("pinhole: not sorted, {words}");
    }
}

#[cfg(test)]
mod tests;
