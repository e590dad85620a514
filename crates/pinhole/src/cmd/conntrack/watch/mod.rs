//! `pinhole conntrack watch`: flows as they begin, change and end.
//!
//! The kernel drops events that nobody reads in time. Then the table is read again and held against a mirror of the flows
//! that were seen, so that nothing that lasts is missed; how many events were lost is said.

mod line;
mod mirror;

use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args as ClapArgs, ValueEnum};
use pinhole_host::netlink;
use pinhole_host::netlink::conntrack::{self, Event, Events, Topics};
use tokio::io::unix::AsyncFd;
use tokio::signal::unix::{SignalKind, signal};

use super::filter::Filter;
use super::names::Services;
use super::output::{self, Output};
use super::people::People;
use super::trouble;
use line::Printer;
use mirror::Mirror;

/// Watch flows as they begin, change and end
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  pinhole conntrack watch -p udp --dport 51820        a tunnel's mapping as it comes and goes
  pinhole conntrack watch -e NEW,DESTROY -s 10.0.0.2  what a host opens, and what went through when it is over
  pinhole conntrack watch --json | jq .event          one object a line
  pinhole conntrack watch -o conntrack,timestamp      as `conntrack -E -o timestamp` prints it")]
pub(super) struct Args {
    #[command(flatten)]
    filter: Filter,
    /// Which events
    #[arg(short = 'e', long, value_enum, ignore_case = true, value_delimiter = ',', default_value = "ALL")]
    event_mask: Vec<Mask>,
    /// How to print; the others than table and json are those of conntrack(8) and may be combined
    #[arg(short, long, value_enum, value_delimiter = ',', default_value = "table")]
    output: Vec<Output>,
    /// For machines: the same as `--output json`
    #[arg(long, conflicts_with = "output")]
    json: bool,
    /// End after this many events
    #[arg(long, value_name = "COUNT")]
    count: Option<u64>,
    /// Bytes of events that may wait in the kernel
    #[arg(short, long, value_name = "BYTES", default_value_t = BUFFER)]
    buffer_size: usize,
    /// Ports as numbers, without names of services
    #[arg(short = 'N', long)]
    numeric: bool,
}

/// Room for about 10,000 events: an event and its bookkeeping take less than 800 bytes.
const BUFFER: usize = 8 << 20;

/// Events by conntrack(8)'s names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Mask {
    /// All of them
    #[value(name = "ALL")]
    All,
    /// Flows that begin
    #[value(name = "NEW")]
    New,
    /// Flows that change
    #[value(name = "UPDATES", alias = "UPDATE")]
    Updates,
    /// Flows that end
    #[value(name = "DESTROY")]
    Destroy,
}

/// Prints them until Ctrl-C.
pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    runtime.block_on(watch(args))
}

async fn watch(args: &Args) -> Result<ExitCode> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for signals")?;
    let mut watcher = Watcher::open(args)?;
    let written = loop {
        tokio::select! {
            _ = terminate.recv() => break Ok(()),
            _ = interrupt.recv() => break Ok(()),
            drained = watcher.drain() => match drained? {
                Ok(true) => {}
                Ok(false) => break Ok(()),
                Err(error) => break Err(error),
            },
        }
    };
    watcher.sum_up();
    output::ended(written)
}

struct Watcher<'a> {
    args: &'a Args,
    events: AsyncFd<Events>,
    mirror: Mirror,
    printer: Printer,
    out: BufWriter<StdoutLock<'static>>,
    /// How many events of each kind were shown: new, changed, ended.
    shown: [u64; 3],
    lost: u32,
}

impl<'a> Watcher<'a> {
    /// Listens first and reads the table then, so that no flow falls between.
    fn open(args: &'a Args) -> Result<Self> {
        let events = Events::open_for(Topics::ALL).map_err(trouble::explain)?;
        // A smaller buffer only loses events sooner, which is said when it happens.
        let _ = events.set_buffer(args.buffer_size);
        let events = events.into_async().map_err(trouble::explain)?;
        let services = if args.numeric { Services::default() } else { Services::of_this_system() };
        let json = args.json || args.output.contains(&Output::Json);
        let printer = Printer::new(json, Output::extras(&args.output), People::new(services));
        let mirror = Mirror::new(table(args)?);
        if printer.is_for_people() && io::stdout().is_terminal() {
            eprintln!("watching; {} such flows are there already; Ctrl-C ends it", mirror.len());
        }
        let out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
        Ok(Self { args, events, mirror, printer, out, shown: [0; 3], lost: 0 })
    }

    /// Waits for events and prints all that are there; false when enough have been shown.
    async fn drain(&mut self) -> Result<io::Result<bool>> {
        self.events.readable_mut().await.context("cannot wait for events")?.clear_ready();
        let mut overrun = false;
        loop {
            match self.events.get_mut().receive() {
                Ok(events) => {
                    for event in events {
                        let matches = self.args.filter.matches(entry(&event));
                        if self.mirror.take(&event, matches)
                            && let Err(error) = self.show(&event, false)
                        {
                            return Ok(Err(error));
                        }
                        if self.is_enough() {
                            return Ok(self.out.flush().map(|()| false));
                        }
                    }
                }
                Err(netlink::Error::Overrun) => overrun = true,
                Err(netlink::Error::Socket(error)) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(trouble::explain(error)),
            }
        }
        let written = if overrun { self.resynchronise()? } else { Ok(()) };
        Ok(written.and_then(|()| self.out.flush()).map(|()| !self.is_enough()))
    }

    /// Says how much was lost, reads the table, and shows what has become of the flows meanwhile.
    fn resynchronise(&mut self) -> Result<io::Result<()>> {
        let before = self.lost;
        self.lost = self.events.get_ref().lost().unwrap_or(before);
        let missed = self.mirror.resynchronise(table(self.args)?);
        let mut written = self.printer.lost(&mut self.out, self.lost.wrapping_sub(before), missed.len());
        for event in &missed {
            written = written.and_then(|()| self.show(event, true));
        }
        Ok(written)
    }

    fn show(&mut self, event: &Event, missed: bool) -> io::Result<()> {
        let (kind, mask) = match event {
            Event::New(_) => (0, Mask::New),
            Event::Updated(_) => (1, Mask::Updates),
            Event::Ended(_) => (2, Mask::Destroy),
        };
        if !self.args.event_mask.iter().any(|&wanted| wanted == Mask::All || wanted == mask) {
            return Ok(());
        }
        self.shown[kind] += 1;
        self.printer.event(&mut self.out, event, missed)
    }

    fn is_enough(&self) -> bool {
        self.args.count.is_some_and(|count| self.shown.iter().sum::<u64>() >= count)
    }

    fn sum_up(&self) {
        if self.printer.is_for_people() {
            let [new, changed, ended] = self.shown;
            let lost = if self.lost == 0 { String::new() } else { format!(", {} events lost", self.lost) };
            eprintln!("{new} new, {changed} changed, {ended} ended{lost}");
        }
    }
}

fn table(args: &Args) -> Result<Vec<conntrack::Entry>> {
    let mut entries = conntrack::dump(&args.filter.select()).map_err(trouble::explain)?;
    entries.retain(|entry| args.filter.matches(entry));
    Ok(entries)
}

fn entry(event: &Event) -> &conntrack::Entry {
    match event {
        Event::New(entry) | Event::Updated(entry) | Event::Ended(entry) => entry,
    }
}
