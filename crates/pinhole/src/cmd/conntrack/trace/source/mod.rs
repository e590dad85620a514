//! Where packets come from: lines of the command line or standard input, a script, or a capture. One at a time, so that a
//! capture may be longer than memory.

mod lines;

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use pinhole_netfilter::script::{self, Script};
use pinhole_wire::pcap::Capture;

use super::Args;
use super::world::World;
use crate::cmd::conntrack::router::wrong_usage;
use lines::Lines;

/// What happens to the router.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// A packet comes in.
    Packet {
        /// Since the first one.
        at: Duration,
        /// By this interface, if that was said.
        side: Option<String>,
        /// The IP packet.
        packet: Vec<u8>,
    },
    /// All flows are forgotten.
    Flush,
    /// All flows lose so many seconds.
    Age(u32),
}

/// Packets, one after another.
pub(super) struct Source {
    from: From,
    notes: Vec<String>,
}

enum From {
    /// What the command line or a script says.
    Ready(std::vec::IntoIter<Event>),
    /// Standard input, line by line.
    Lines {
        lines: io::Lines<Box<dyn BufRead>>,
        number: usize,
        state: Lines,
    },
    Capture(Box<Capture<Box<dyn Read>>>),
}

impl Source {
    /// Opens what the arguments name. Wrong arguments end the program.
    pub(super) fn open(args: &Args, world: &World) -> Result<Self> {
        let names = world.interfaces().map(|(name, _)| name.to_owned()).collect();
        let from = match (&args.pcap, args.packets.as_slice(), &world.script) {
            (Some(path), _, _) => {
                let (reader, length) = open(path)?;
                let capture =
                    Capture::new(reader, length).with_context(|| format!("cannot read {}", path.display()))?;
                From::Capture(Box::new(capture))
            }
            (None, [only], _) if only == "-" => {
                let input: Box<dyn BufRead> = Box::new(BufReader::new(io::stdin()));
                From::Lines { lines: input.lines(), number: 0, state: Lines::new(names) }
            }
            (None, [], Some(script)) => From::Ready(of_script(script).into_iter()),
            (None, [], None) => {
                wrong_usage("no packets: give them as arguments, with --pcap FILE, or `-` for lines of standard input")
            }
            (None, lines, _) => {
                let mut state = Lines::new(names);
                let read = |(at, line): (usize, &String)| match state.read(line) {
                    Ok(event) => event,
                    Err(error) => wrong_usage(format!("packet {}, {line:?}: {error}", at + 1)),
                };
                From::Ready(lines.iter().enumerate().filter_map(read).collect::<Vec<_>>().into_iter())
            }
        };
        Ok(Self { from, notes: Vec::new() })
    }

    /// The next event.
    ///
    /// # Errors
    /// What cannot be read, and where.
    pub(super) fn next(&mut self, world: &mut World) -> Result<Option<Event>> {
        match &mut self.from {
            From::Ready(events) => Ok(events.next()),
            From::Lines { lines, number, state } => loop {
                let Some(line) = lines.next() else { return Ok(None) };
                *number += 1;
                let line = line.with_context(|| format!("cannot read line {number} of standard input"))?;
                if let Some(event) = state.read(&line).map_err(|error| anyhow::anyhow!("line {number}: {error}"))? {
                    return Ok(Some(event));
                }
            },
            From::Capture(capture) => {
                let was_whole = !capture.is_cut();
                let next = capture.next_packet()?;
                if was_whole && capture.is_cut() {
                    world.trust_checksums();
                    self.notes.push(
                        "the capture has only the beginning of packets: the rest is taken for zeros, and checksums are \
                         not looked at"
                            .into(),
                    );
                }
                Ok(next.map(|(at, packet)| Event::Packet { at, side: None, packet }))
            }
        }
    }

    /// How much of a capture is read, in parts of one.
    pub(super) fn progress(&self) -> Option<f64> {
        match &self.from {
            From::Capture(capture) => capture.progress(),
            From::Ready(_) | From::Lines { .. } => None,
        }
    }

    /// What else there was in a capture: how many frames without an IP packet.
    pub(super) fn skipped(&self) -> u64 {
        match &self.from {
            From::Capture(capture) => capture.skipped(),
            From::Ready(_) | From::Lines { .. } => 0,
        }
    }

    /// Whether packets were captured, so that a card may have had to fill in their checksums.
    pub(super) fn is_capture(&self) -> bool {
        matches!(self.from, From::Capture(_))
    }

    /// What the user should know, once.
    pub(super) fn take_notes(&mut self) -> Vec<String> {
        core::mem::take(&mut self.notes)
    }
}

/// The IP packets of a capture, for those who want nothing else.
pub(in crate::cmd::conntrack) struct Packets(Capture<Box<dyn Read>>);

impl Packets {
    /// Opens a capture.
    ///
    /// # Errors
    /// If it cannot be read, is none, or is of a link that is not known.
    pub(in crate::cmd::conntrack) fn open(path: &Path) -> Result<Self> {
        let (reader, length) = open(path)?;
        Capture::new(reader, length).map(Self).with_context(|| format!("cannot read {}", path.display()))
    }

    /// The next packet, and when it was seen since the first one.
    ///
    /// # Errors
    /// If the capture is damaged or ends in the middle of a packet.
    pub(in crate::cmd::conntrack) fn next(&mut self) -> Result<Option<(Duration, Vec<u8>)>> {
        self.0.next_packet().map_err(Into::into)
    }

    /// How many frames had no IP packet in them.
    pub(in crate::cmd::conntrack) const fn skipped(&self) -> u64 {
        self.0.skipped()
    }

    /// Whether some packet is not there as a whole.
    pub(in crate::cmd::conntrack) const fn is_cut(&self) -> bool {
        self.0.is_cut()
    }

    /// How much is read, in parts of one.
    pub(in crate::cmd::conntrack) fn progress(&self) -> Option<f64> {
        self.0.progress()
    }
}

/// A file or standard input, and its length if it has one.
fn open(path: &Path) -> Result<(Box<dyn Read>, Option<u64>)> {
    if path == Path::new("-") {
        return Ok((Box::new(BufReader::new(io::stdin())), None));
    }
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let length = file.metadata().ok().filter(|data| data.is_file()).map(|data| data.len());
    Ok((Box::new(BufReader::with_capacity(1 << 18, file)), length))
}

fn of_script(script: &Script) -> Vec<Event> {
    let event = |step: script::Step<'_>| match step.event {
        script::Event::Packet(side, packet) => {
            Event::Packet { at: step.at, side: Some(side.name().to_owned()), packet: packet.to_vec() }
        }
        script::Event::Flush => Event::Flush,
        script::Event::Age(seconds) => Event::Age(seconds),
    };
    script.steps().into_iter().map(event).collect()
}
