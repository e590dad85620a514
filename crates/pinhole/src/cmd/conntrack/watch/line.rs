//! An event as a line: for people, for machines, or as `conntrack -E` prints it.

use std::io::{self, Write};

use pinhole_host::local_time::LocalTime;
use pinhole_host::netlink::conntrack::{Counters, Entry, Event};
use serde::Serialize;

use super::super::classic::{self, Extras};
use super::super::json::Flow;
use super::super::paint::{Paint, Tone};
use super::super::people::{self, People};
use super::super::{human, names, output};

/// Ends this long or shorter keep the columns of lines aligned; longer ones push the rest to the right.
const END_WIDTH: usize = 24;

/// Prints events.
#[derive(Debug)]
pub(super) struct Printer {
    form: Form,
}

#[derive(Debug)]
enum Form {
    People(People, Paint),
    Json,
    Classic(Extras),
}

/// One line for machines.
#[derive(Debug, Serialize)]
struct Line<'a> {
    event: &'static str,
    /// Seconds since 1970.
    time: f64,
    /// Found in the table after events were lost.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    missed: bool,
    #[serde(flatten)]
    flow: Flow<'a>,
}

impl Printer {
    pub(super) fn new(json: bool, extras: Option<Extras>, people: People) -> Self {
        let form = match extras {
            _ if json => Form::Json,
            Some(extras) => Form::Classic(extras),
            None => Form::People(people, Paint::for_stdout()),
        };
        Self { form }
    }

    pub(super) fn is_for_people(&self) -> bool {
        matches!(self.form, Form::People(..))
    }

    /// Writes one event; `missed` if the table told of it after its own event was lost.
    pub(super) fn event(&self, out: &mut impl Write, event: &Event, missed: bool) -> io::Result<()> {
        let (word, classic, tone, entry) = match event {
            Event::New(entry) => ("new", "[NEW]", Tone::Good, entry),
            Event::Updated(entry) => ("update", "[UPDATE]", Tone::Plain, entry),
            Event::Ended(entry) => ("destroy", "[DESTROY]", Tone::Fading, entry),
        };
        let now_ns = output::now_ns();
        let at_ns = entry.event_ns.unwrap_or(now_ns);
        match &self.form {
            Form::Json => {
                let flow = Flow::new(entry, now_ns);
                serde_json::to_writer(&mut *out, &Line { event: word, time: seconds(at_ns), missed, flow })?;
            }
            Form::Classic(extras) => {
                if extras.seen {
                    write!(out, "[{}.{:06}]\t", now_ns / 1_000_000_000, now_ns % 1_000_000_000 / 1000)?;
                }
                write!(out, "{classic:>9} ")?;
                classic::write(out, entry, extras, now_ns / 1_000_000_000)?;
            }
            Form::People(people, paint) => {
                let (state, state_tone) = people::state(entry);
                let text = format!(
                    "{}  {}  {:<7}  {:<END_WIDTH$}  {:<END_WIDTH$}  {}  {}",
                    clock(at_ns),
                    paint.paint(tone, &format!("{word:<7}")),
                    names::protocol(entry.original.protocol),
                    people.source(entry),
                    people.destination(entry),
                    paint.paint(state_tone, &format!("{state:<11}")),
                    remarks(people, event, missed),
                );
                out.write_all(text.trim_end().as_bytes())?;
            }
        }
        out.write_all(b"\n")
    }

    /// Says that the kernel dropped `count` events (0 where it does not say how many), and how much of it was found out.
    pub(super) fn lost(&self, out: &mut impl Write, count: u32, found: usize) -> io::Result<()> {
        let now_ns = output::now_ns();
        let counted = if count == 0 { "some".to_owned() } else { count.to_string() };
        let words = format!("{counted} events lost: read too slowly; the table tells of {found} changes meanwhile");
        match &self.form {
            Form::Json => {
                let line =
                    serde_json::json!({"event": "lost", "time": seconds(now_ns), "count": count, "found": found});
                writeln!(out, "{line}")
            }
            Form::People(_, paint) => {
                writeln!(out, "{}  {}", clock(now_ns), paint.paint(Tone::Bad, &format!("lost     {words}")))
            }
            Form::Classic(_) => {
                // Lines are for scripts that know conntrack's.
                eprintln!("pinhole: {words}");
                Ok(())
            }
        }
    }
}

/// What was sent, how long it took, and notes.
fn remarks(people: &People, event: &Event, missed: bool) -> String {
    let mut remarks = Vec::new();
    if let Event::Ended(entry) = event {
        let amount =
            |counters: Counters| format!("{} in {}", human::bytes(counters.bytes), human::amount(counters.packets));
        if let (Some(sent), Some(received)) = (entry.sent, entry.received) {
            remarks.push(format!("sent {}, back {}", amount(sent), amount(received)));
        }
        remarks.extend(age_ms(entry).map(|age_ms| match age_ms {
            0..1000 => format!("after {age_ms} ms"),
            1000.. => format!("after {}", human::span(age_ms / 1000)),
        }));
    }
    let entry = super::entry(event);
    let notes = people.notes(entry);
    // Without a state of its own "unreplied" is the state already.
    let is_the_state = entry.state.is_none() && notes == "unreplied";
    if !(notes.is_empty() || is_the_state) {
        remarks.push(notes);
    }
    if missed {
        remarks.push("its event was lost".to_owned());
    }
    remarks.join(", ")
}

fn age_ms(entry: &Entry) -> Option<u64> {
    Some(entry.ended_ns?.saturating_sub(entry.began_ns?) / 1_000_000)
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

/// The time of day, to the millisecond.
fn clock(ns: u64) -> String {
    let LocalTime { hour, minute, second, .. } = LocalTime::at((ns / 1_000_000_000).cast_signed());
    format!("{hour:02}:{minute:02}:{second:02}.{:03}", ns % 1_000_000_000 / 1_000_000)
}
